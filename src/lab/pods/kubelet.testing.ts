// A node with a kubelet for tests: a real store and API, real namespaces, and a pod network that is one veth pair to the node for each pod.

import fs from "node:fs";
import { stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { CniRequest, PodNetwork } from "../../agent/cni.ts";
import { execFileSync } from "node:child_process";
import { createNetworkNamespace, type NetworkNamespace } from "../../kernel/namespaces.ts";
import { openHome } from "../../kernel/process.ts";
import type { Pod, PodSpec } from "../../kube/kinds.ts";
import type { KubeObject } from "../../kube/object.ts";
import type { ObjectApi } from "../api/api.ts";
import { openStore } from "../api/sqlite-store.ts";
import { createObjectApi } from "../api/write.ts";
import { createImages, type Images } from "./images/images.ts";
import { startKubelet, type Kubelet, type KubeletOptions } from "./kubelet.ts";

export interface TestNode {
  readonly api: ObjectApi;
  readonly images: Images;
  readonly kubelet: Kubelet;
  readonly node: NetworkNamespace;
  readonly lines: readonly string[];
  /** Creates a pod bound to the node. */
  run(name: string, spec: Omit<PodSpec, "nodeName">, metadata?: object): Pod;
  create(object: KubeObject): void;
  get(name: string): Pod | undefined;
  /** Resolves with the pod once it is as wanted. Rejects with its status after five seconds. */
  until(name: string, wanted: (pod: Pod | undefined) => boolean): Promise<Pod>;
  events(name: string): readonly string[];
  /** Ends the kubelet and starts a new one on the same store and folder. */
  restart(how: "kill" | "keep"): Promise<void>;
  close(): Promise<void>;
}

/** Starts it; `close` removes everything. */
export async function startTestNode(
  options: Partial<Pick<KubeletOptions, "clock" | "serviceAccountToken" | "network">> = {},
): Promise<TestNode> {
  await Promise.all(["/", "/proc", "/dev", "/tmp"].map((path) => stat(path)));
  openHome();
  const folder = fs.mkdtempSync(join(tmpdir(), "kubelet-"));
  const store = openStore({ path: join(folder, "store.db") });
  const api = createObjectApi({ store, admissions: [] });
  for (const name of ["default", "kube-node-lease"])
    api.create({ apiVersion: "v1", kind: "Namespace", metadata: { name } });
  const node = createNetworkNamespace();
  const images = createImages();
  const lines: string[] = [];
  const start = (): Kubelet =>
    startKubelet({
      node: "node-1",
      zone: "zone-a",
      api,
      network: vethNetwork(node),
      nodeNamespace: node,
      nodeAddresses: ["10.0.0.1"],
      images,
      stateDir: join(folder, "node-1"),
      cluster: { domain: "cluster.local", dnsAddresses: ["10.96.0.10"] },
      hostResolvers: { nameservers: ["192.0.2.53"], searches: [], options: [] },
      report: (line) => lines.push(line),
      ...options,
    });
  let kubelet = start();
  const get = (name: string): Pod | undefined =>
    api.get({ group: "", resource: "pods", namespace: "default", name }) as Pod | undefined;

  return {
    api,
    images,
    get kubelet() {
      return kubelet;
    },
    node,
    lines,
    run: (name, spec, metadata = {}) =>
      api.create({
        apiVersion: "v1",
        kind: "Pod",
        metadata: { name, namespace: "default", ...metadata },
        spec: { nodeName: "node-1", ...spec },
      }) as Pod,
    create: (object) => void api.create(object),
    get,
    until(name, wanted) {
      return new Promise((resolve, reject) => {
        const look = (): void => {
          const pod = get(name);
          if (!wanted(pod)) return;
          watch.close();
          clearTimeout(timer);
          resolve(pod as Pod);
        };
        const timer = setTimeout(() => {
          watch.close();
          reject(new Error(`pod ${name} stays ${JSON.stringify(get(name)?.status, null, 1)}\n${lines.join("\n")}`));
        }, 5000);
        const watch = api.watch({ group: "", resource: "pods" }, 0, () => look());
      });
    },
    events: (name) =>
      api
        .list({ group: "", resource: "events" })
        .items.map((item) => item as KubeObject & { involvedObject: { name: string }; reason: string; message: string })
        .filter(({ involvedObject }) => involvedObject.name === name)
        .map(({ reason, message }) => `${reason}: ${message}`),
    async restart(how) {
      await kubelet.stop({ pods: how });
      kubelet = start();
    },
    async close() {
      await kubelet.stop({ pods: "kill" });
      await api.flushed();
      store.close();
      node.close();
      fs.rmSync(folder, { recursive: true });
    },
  };
}

/** A pod network for one node without bridge, guard or Program: 10.1.0.0/24 with a veth pair a pod. */
function vethNetwork(node: NetworkNamespace): PodNetwork {
  const taken = new Map<string, number>();
  const link = (request: CniRequest): string => `v${request.containerId.slice(0, 10)}`;
  const ip = (where: NetworkNamespace | number, ...words: readonly string[]): void => {
    if (typeof where === "number") execFileSync("nsenter", [`--net=/proc/${process.pid}/fd/${where}`, "ip", ...words]);
    else where.run(() => execFileSync("ip", words));
  };
  return {
    async add(request) {
      const number = [...Array(250).keys()].find((n) => n >= 10 && ![...taken.values()].includes(n)) ?? 10;
      taken.set(request.containerId, number);
      const address = `10.1.0.${number}`;
      const fd = request.namespaceFd ?? -1;
      node.run(() =>
        execFileSync("ip", [
          "link",
          "add",
          link(request),
          "type",
          "veth",
          "peer",
          "name",
          "eth0",
          "netns",
          `/proc/${process.pid}/fd/${fd}`,
        ]),
      );
      ip(node, "link", "set", link(request), "up");
      ip(node, "addr", "replace", "10.1.0.1/32", "dev", "lo");
      ip(node, "route", "replace", `${address}/32`, "dev", link(request), "src", "10.1.0.1");
      ip(fd, "addr", "add", `${address}/24`, "dev", "eth0");
      ip(fd, "link", "set", "eth0", "up");
      return Promise.resolve({
        interfaces: [{ name: "eth0", mac: "02:00:00:00:00:01", mtu: 1500 }],
        ips: [{ address, bits: 32, gateway: "10.1.0.1", interface: 0 }],
        routes: [],
      });
    },
    delete(request) {
      if (taken.delete(request.containerId))
        try {
          ip(node, "link", "del", link(request));
        } catch {
          // Gone with the pod's namespace.
        }
      return Promise.resolve();
    },
    check: () => Promise.resolve(),
  };
}
