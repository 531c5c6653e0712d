// A node with a kubelet for tests: a real store and API, real namespaces, and a pod network that is one veth pair to the node for each pod.

import fs from "node:fs";
import { stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { CniRequest, PodNetwork } from "../../serve/cni/cni.ts";
import { mustChange } from "../../kernel/kernel.ts";
import { openKernel } from "../../kernel/linux.ts";
import { createNetworkNamespace, openNetworkNamespace, type NetworkNamespace } from "../../kernel/namespaces.ts";
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

/** A pod network for one node without bridge, guard or Program: 10.1.0.0/24 with a veth pair a pod, routed by the node. */
function vethNetwork(node: NetworkNamespace): PodNetwork {
  const taken = new Map<string, number>();
  const kernel = openKernel("node", node);
  const gateway = "10.1.0.1";
  kernel.writeSysctl("net/ipv4/ip_forward", "1");
  mustChange(kernel, [{ kind: "set-address", link: "lo", address: gateway, bits: 32 }]);
  const link = (request: CniRequest): string => `v${request.containerId.slice(0, 10)}`;
  return {
    add(request) {
      const number = [...Array(250).keys()].find((n) => n >= 10 && ![...taken.values()].includes(n)) ?? 10;
      taken.set(request.containerId, number);
      const address = `10.1.0.${number}`;
      const namespaceFd = request.namespaceFd ?? -1;
      mustChange(kernel, [
        { kind: "create-veth", name: link(request), mtu: 1500, peer: { name: "eth0", namespaceFd } },
        { kind: "set-link", name: link(request), up: true },
        {
          kind: "set-route",
          to: `${address}/32`,
          action: "forward",
          link: link(request),
          source: gateway,
          metric: 0,
          protocol: 4,
          scope: "link",
        },
      ]);
      const namespace = openNetworkNamespace(`/proc/self/fd/${namespaceFd}`);
      const pod = openKernel("pod", namespace);
      mustChange(pod, [
        { kind: "set-address", link: "eth0", address, bits: 32 },
        { kind: "set-link", name: "eth0", up: true },
        {
          kind: "set-route",
          to: `${gateway}/32`,
          action: "forward",
          link: "eth0",
          metric: 0,
          protocol: 4,
          scope: "link",
        },
        { kind: "set-route", to: "0.0.0.0/0", action: "forward", link: "eth0", via: gateway, metric: 0, protocol: 4 },
      ]);
      pod.close();
      namespace.close();
      return Promise.resolve({
        interfaces: [{ name: "eth0", mac: "02:00:00:00:00:01", mtu: 1500 }],
        ips: [{ address, bits: 32, gateway, interface: 0 }],
        routes: [],
      });
    },
    delete(request) {
      // Gone already with the pod's namespace: no error of this test's.
      if (taken.delete(request.containerId)) kernel.change([{ kind: "delete-link", name: link(request) }]);
      return Promise.resolve();
    },
    check: () => Promise.resolve(),
  };
}
