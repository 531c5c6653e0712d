// What runs in the pods of a real cluster's tests and how it is asked: servers, a client, and traffic that must never fail.
//
// Not here: the cluster (cluster.testing.ts), what the pods' images hold (image.testing.ts).

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import path from "node:path";
import process from "node:process";

import { renderChart } from "../../scripts/chart.ts";
import type { KubeObject } from "../../src/kube/object.ts";
import { ranges, underlay, until, type RealCluster, type RealNode } from "./cluster.testing.ts";
import { testImage } from "./image.testing.ts";

export interface Pod extends KubeObject {
  readonly spec: { readonly nodeName?: string };
  readonly status?: {
    readonly podIPs?: readonly { readonly ip: string }[];
    readonly containerStatuses?: readonly { readonly ready: boolean; readonly restartCount: number }[];
  };
}

/** Has Node in it, which asks and answers here. */
const ownImage = "docker.io/library/fairlead:0.1.0";
const program = ["/opt/fairlead/node_modules/.bin/node", "-e"] as const;

/** The file of Fairlead's image. FAIRLEAD_IMAGE: another tar with docker.io/library/fairlead, such as deploy/Dockerfile's by `docker save`. */
export function makeOwnImage(folder: string): string {
  const { FAIRLEAD_IMAGE: given } = process.env;
  if (given !== undefined) return given;
  const file = path.join(folder, "fairlead.tar");
  execFileSync(process.execPath, ["scripts/image.ts", "--output", file], { stdio: "inherit" });
  return file;
}

/** The chart for this cluster. */
export function clusterChart(
  agent: Readonly<Record<string, unknown>>,
  dns: Readonly<Record<string, unknown>> = {},
): string {
  return renderChart({
    apiServer: { host: underlay.control[0], port: 6443 },
    agent: { flags: ["--cluster-cidr", ranges.pods.join(",")], ...agent },
    dns: { clusterIP: ranges.dns, ...dns },
  });
}

/** Prints what a URL answers. */
export const getter = `fetch(process.argv[1], { signal: AbortSignal.timeout(5000) })
  .then(async (response) => console.log(await response.text()), (error) => { console.log(error.cause ?? error); process.exit(1); });`;

/** Asks the Service ten times a second; a line for each answer, and for each that did not come. */
const asker = `const ask = () => {
  const request = require("http").get({ host: process.argv[1], path: "/hostname", agent: false, timeout: 5000 }, (response) => {
    response.resume().on("end", () => { console.log("ok"); setTimeout(ask, 100); });
  });
  request.on("timeout", () => request.destroy(new Error("no answer in 5 s")));
  request.on("error", (error) => { console.log("FAIL", new Date(), error.message); setTimeout(ask, 100); });
};
ask();`;
/** One connection for all of the test, with something on it five times a second. */
const keeper = `const socket = require("net").connect(9000, process.argv[1]);
setInterval(() => socket.write("tick"), 200);
socket.on("data", () => console.log("ok")).on("error", () => {}).on("close", () => console.log("FAIL: the connection ended"));`;
const echoer = `require("net").createServer((socket) => socket.pipe(socket)).listen(9000);`;

/** Commands of pods. */
export const commands = {
  idle: [...program, "setInterval(() => {}, 1e6)"],
  /** Answers /hostname and /clientip at 8080. */
  web: ["/bin/agnhost", "netexec", "--http-port=8080"],
  /** Sends back what it gets at 9000. */
  echoes: [...program, echoer],
  asks: (host: string): readonly string[] => [...program, asker, host],
  keeps: (host: string): readonly string[] => [...program, keeper, host],
} as const;

export const bracketed = (address: string): string => (address.includes(":") ? `[${address}]` : address);

export function addressesOf(pod: Pod): readonly string[] {
  return (pod.status?.podIPs ?? []).map(({ ip }) => ip);
}

/** What a URL answers to a pod of ours. */
export function fetchFrom(
  at: RealNode,
  pod: string,
  url: string,
): { readonly status: number | null; readonly output: string } {
  return at.exec(pod, ...program, getter, url);
}

/** What a URL answers to a machine outside of the cluster, or "". */
export function fetchFromOutside(url: string): string {
  try {
    const words = ["--net=/run/netns/outside", process.execPath, "-e", getter, url];
    return execFileSync("nsenter", words, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim();
  } catch {
    return "";
  }
}

export interface Workloads {
  pods(namespace: string, selector: string): Promise<readonly Pod[]>;
  podNamed(name: string): Promise<Pod>;
  nodeOf(pod: Pod | undefined): RealNode;
  /** True, or what is missing. */
  allReady(namespace: string, selector: string, count: number): Promise<true | readonly string[]>;
  nodesReady(count: number): Promise<true | readonly unknown[]>;
  /** A pod on a node of the test's choice. */
  podOn(node: string, name: string, labels: Readonly<Record<string, string>>, command: readonly string[]): KubeObject;
  /** What a pod has written. */
  linesOf(node: RealNode, pod: string): readonly string[];
  /** Does something while pods `asks` and `keeps` of the first node go on; nothing of them may fail. `tell` says what helps if it does. */
  underTraffic(work: () => Promise<void>, tell: () => string): Promise<void>;
}

/** The pods of a namespace of a cluster that may be there later. */
export function workloads(namespace: string, cluster: () => RealCluster): Workloads {
  const pods: Workloads["pods"] = async (where, selector) => {
    const query = `labelSelector=${encodeURIComponent(selector)}`;
    const { items } = await cluster().client.request<{ readonly items: readonly Pod[] }>({
      path: `/api/v1/namespaces/${where}/pods?${query}`,
    });
    return items;
  };
  const linesOf: Workloads["linesOf"] = (node, pod) => {
    const text = node.run("sh", "-c", `cat /run/pod-logs/${namespace}_${pod}_*/*/*.log`);
    return text.split("\n").flatMap((line) => / std(?:out|err) [FP] (.*)$/.exec(line)?.[1] ?? []);
  };
  return {
    pods,
    linesOf,
    podNamed: (name) => cluster().client.request<Pod>({ path: `/api/v1/namespaces/${namespace}/pods/${name}` }),
    nodeOf(pod) {
      const node = cluster().nodes.find(({ name }) => name === pod?.spec.nodeName);
      if (node === undefined) throw new Error(`${pod?.metadata.name ?? "a pod"} is on no node`);
      return node;
    },
    async allReady(where, selector, count) {
      const found = await pods(where, selector);
      const waiting = found
        .filter((pod) => !isPodReady(pod))
        .map((pod) => `${pod.metadata.name} ${JSON.stringify(pod.status)}`);
      return found.length === count && waiting.length === 0 ? true : [`${found.length} of ${count}`, ...waiting];
    },
    async nodesReady(count) {
      const { items } = await cluster().client.request<{
        readonly items: readonly {
          readonly metadata: { readonly name: string };
          readonly status: {
            readonly conditions: readonly {
              readonly type: string;
              readonly status: string;
              readonly message?: string;
            }[];
          };
        }[];
      }>({ path: "/api/v1/nodes" });
      const waiting = items.flatMap(({ metadata, status }) =>
        status.conditions
          .filter(({ type, status: is }) => type === "Ready" && is !== "True")
          .map(({ message }) => `${metadata.name}: ${message}`),
      );
      return items.length === count && waiting.length === 0 ? true : [items.length, ...waiting];
    },
    podOn: (node, name, labels, command) => ({
      apiVersion: "v1",
      kind: "Pod",
      metadata: { name, namespace, labels },
      spec: {
        nodeName: node,
        terminationGracePeriodSeconds: 1,
        containers: [
          {
            name: "main",
            image: command[0] === program[0] ? ownImage : testImage,
            imagePullPolicy: "IfNotPresent",
            command,
            ...(labels["app"] === "web" && {
              readinessProbe: { httpGet: { path: "/healthz", port: 8080 }, periodSeconds: 2, timeoutSeconds: 5 },
            }),
          },
        ],
      },
    }),
    async underTraffic(work, tell) {
      const [node] = cluster().nodes;
      assert.ok(node);
      const counts = (): readonly [number, number] => [linesOf(node, "asks").length, linesOf(node, "keeps").length];
      const before = counts();
      const goesOn = (from: readonly [number, number]) => (): boolean =>
        counts().every((count, index) => count > (from[index] ?? 0) + 5);
      await until("traffic to flow", 60, goesOn(before));
      await work();
      await until("traffic to go on", 60, goesOn(counts()));
      const failures = ["asks", "keeps"].flatMap((pod, index) =>
        linesOf(node, pod)
          .slice(before[index])
          .filter((line) => line.includes("FAIL")),
      );
      if (failures.length > 0) console.error(tell());
      assert.deepEqual(failures, []);
    },
  };
}

function isPodReady(pod: Pod): boolean {
  const states = pod.status?.containerStatuses ?? [];
  return pod.metadata.deletionTimestamp === undefined && states.length > 0 && states.every(({ ready }) => ready);
}
