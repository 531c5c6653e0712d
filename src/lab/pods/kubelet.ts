// The kubelet of one lab node: registers the node, keeps its Lease, starts and ends the pods that are bound to it, and is asked for
// exec, attach, logs and what listens where. All kubelets of a lab live in one process.
//
// Not here: one pod (worker.ts), one container (runner.ts).

import { randomBytes } from "node:crypto";
import fs from "node:fs";
import { dirname, join } from "node:path";
import type { PodNetwork } from "../../serve/cni/cni.ts";
import type { Address } from "../../ip/address.ts";
import type { NetworkNamespace } from "../../kernel/namespaces.ts";
import { openHome } from "../../kernel/process.ts";
import type { ConfigMap, Pod, Secret, Service } from "../../kube/kinds.ts";
import type { ObjectApi } from "../api/api.ts";
import type { WatchEvent } from "../api/store.ts";
import { systemClock, type Clock } from "../../watch/clock.ts";
import { createBackoff } from "./backoff.ts";
import type { ContainerProcess } from "./container.ts";
import type { Lookups } from "./env.ts";
import { createEventRecorder } from "./events.ts";
import { parseResolvConf, type ResolverSettings } from "./identity-files.ts";
import type { Images } from "./images/images.ts";
import { listenersOf, type Listener } from "./listeners.ts";
import { createLogStore, type LogOptions, type LogReader } from "./logs.ts";
import { keepNode, nodeCapacity } from "./node-status.ts";
import { rejectionOf, type Rejection } from "./rejection.ts";
import { logPod, type ContainerRunner } from "./runner.ts";
import { createToolbox } from "./toolbox.ts";
import type { TokenRequest } from "./volumes.ts";
import { startPodWorker, storedPod, type NodeContext, type PodWorker } from "./worker.ts";

export interface KubeletOptions {
  readonly node: string;
  /** topology.kubernetes.io/zone */
  readonly zone: string;
  readonly api: ObjectApi;
  readonly network: PodNetwork;
  readonly nodeNamespace: NetworkNamespace;
  readonly nodeAddresses: readonly Address[];
  readonly images: Images;
  /** A folder of this node's own, kept over restarts of the lab. */
  readonly stateDir: string;
  /** A folder in memory, for configuration, secrets and tokens of this node's pods; below stateDir unless given. */
  readonly memoryDir?: string;
  /** Where persistent volume claims of the whole lab lie; beside the nodes' folders unless given. */
  readonly claims?: string;
  readonly cluster: { readonly domain: string; readonly dnsAddresses: readonly Address[] };
  /** The machine's resolver settings; from /etc/resolv.conf unless given. */
  readonly hostResolvers?: ResolverSettings;
  /** See keepNode. */
  readonly isLinked?: () => boolean;
  readonly clock?: Clock;
  readonly serviceAccountToken?: (request: TokenRequest) => string;
  /** A line for the node's log. */
  readonly report: (line: string) => void;
}

/** How people name a container: without a container, the pod's default one. */
export interface ContainerName {
  readonly namespace: string;
  readonly pod: string;
  readonly container?: string;
}

export interface Kubelet {
  /** Starts a command in a container. Throws Error where there is no such container or it is not running, StartError where the command cannot be started. */
  exec(
    where: ContainerName,
    command: { readonly argv: readonly string[]; readonly tty: boolean; readonly stdin: boolean },
  ): ContainerProcess;
  /** The streams of a container's first process; undefined where its server lives in the daemon: it has none. Throws Error where it does not run. */
  attach(where: ContainerName): ContainerProcess | undefined;
  /** Throws Error where there is nothing to read. */
  logs(where: ContainerName, options?: LogOptions): LogReader;
  /** The network namespace of a running pod (for hostNetwork the node's), for probes and captures; undefined where there is none. */
  sandboxOf(where: ContainerName): NetworkNamespace | undefined;
  /** What listens in a pod's network namespace; undefined where the pod has none. */
  listeners(where: ContainerName): readonly Listener[] | undefined;
  /**
   * `kill`: processes and sandboxes go, objects and addresses stay for the next start. `keep`: the node is cut off; its pods run on unseen,
   * and the next kubelet with the same stateDir takes them over.
   */
  stop(how: { readonly pods: "kill" | "keep" }): Promise<void>;
}

/** Starts the kubelet; the Node object exists when it returns. */
export function startKubelet(options: KubeletOptions): Kubelet {
  const { api, clock = systemClock, node, stateDir } = options;
  openHome();
  fs.mkdirSync(stateDir, { recursive: true, mode: 0o700 });
  const allocatable = nodeCapacity();
  const events = createEventRecorder({ api, clock, node, report: options.report });
  const logs = createLogStore(join(stateDir, "logs"), { now: () => clock.now() });
  const services = serviceCache(api);
  const context: NodeContext = {
    nodeName: node,
    nodeAddresses: options.nodeAddresses,
    nodeNetwork: options.nodeNamespace,
    allocatable,
    api,
    network: options.network,
    dns: {
      domain: options.cluster.domain,
      addresses: options.cluster.dnsAddresses,
      host: options.hostResolvers ?? machineResolvers(),
    },
    clock,
    images: options.images,
    toolbox: createToolbox(stateDir),
    logs,
    events,
    backoff: createBackoff(() => clock.now()),
    random: () => randomBytes(32).toString("hex"),
    serviceAccountToken: options.serviceAccountToken ?? noTokens,
    lookups: (namespace) => lookupsOf(api, namespace, services.of),
    podsFolder: join(stateDir, "pods"),
    ...(options.memoryDir === undefined ? {} : { memoryFolder: options.memoryDir }),
    nodeDisk: join(stateDir, "disk"),
    claims: options.claims ?? join(dirname(stateDir), ".claims"),
    nodeHosts: `127.0.0.1\tlocalhost\n::1\tlocalhost\n${options.nodeAddresses.map((address) => `${address}\t${node}\n`).join("")}`,
    report: options.report,
  };
  writeNodeFiles(context);
  const registration = keepNode({ ...options, clock, allocatable });
  const left = dormant.get(stateDir);
  dormant.delete(stateDir);
  const workers = left?.workers ?? new Map<string, PodWorker>();
  left?.wake();
  // What the store does not know any more has been removed while nobody looked.
  const present = new Set(api.list(podResource).items.map((pod) => pod.metadata.uid));
  for (const [uid, worker] of workers) if (!present.has(uid)) void worker.gone();
  sweep(context, present);

  const reject = (pod: Pod, { reason, message }: Rejection): void => {
    events.record(pod, "Warning", reason, message);
    const there = storedPod(api, pod);
    if (there === undefined) return;
    const { status } = there;
    api.updateStatus({ ...there, status: { ...status, phase: "Failed", reason, message } });
  };
  const podEvent = (event: WatchEvent): void => {
    if (event.type === "BOOKMARK") return;
    const pod = event.object as Pod;
    if (pod.spec.nodeName !== node) return;
    const uid = pod.metadata.uid ?? "";
    const worker = workers.get(uid);
    if (event.type === "DELETED") void worker?.gone();
    else if (worker !== undefined) worker.update(pod);
    else {
      const others = (): readonly Pod[] => [...workers.values()].map((other) => other.pod);
      const rejection = isNew(pod) ? rejectionOf(pod, others) : undefined;
      if (rejection !== undefined) return reject(pod, rejection);
      workers.set(
        uid,
        startPodWorker(context, pod, () => void workers.delete(uid)),
      );
    }
  };
  const objectEvent =
    (kind: string) =>
    (event: WatchEvent): void => {
      if (event.type === "BOOKMARK") return;
      const { namespace, name } = event.object.metadata;
      for (const worker of workers.values())
        if (worker.pod.metadata.namespace === namespace) worker.objectChanged(`${kind}/${name}`);
    };
  const since = api.revision;
  // At once and not with the first events: pods that were running when the lab ended must not look ready for another moment.
  for (const object of api.list(podResource).items) podEvent({ type: "ADDED", object, resourceVersion: since });
  const watches = [
    api.watch(podResource, since, podEvent),
    api.watch({ group: "", resource: "configmaps" }, since, objectEvent("configmap")),
    api.watch({ group: "", resource: "secrets" }, since, objectEvent("secret")),
    services,
  ];

  const find = ({ namespace, pod }: ContainerName): PodWorker => {
    // By the store first: a node has hundreds of pods, and who looks for all of them would look at each for each.
    const known = workers.get(api.get({ ...podResource, namespace, name: pod })?.metadata.uid ?? "");
    if (known !== undefined) return known;
    for (const worker of workers.values()) {
      const { metadata } = worker.pod;
      if (metadata.name === pod && metadata.namespace === namespace) return worker;
    }
    throw new Error(`pod ${namespace}/${pod} is not on node ${node}`);
  };
  const runnerOf = (where: ContainerName): ContainerRunner => find(where).runner(where.container);
  const sandboxOf = (where: ContainerName): NetworkNamespace | undefined => {
    try {
      return find(where).sandbox?.network;
    } catch {
      return undefined;
    }
  };

  return {
    exec: (where, { argv, tty, stdin }) => runnerOf(where).exec({ argv, terminal: tty, stdin }),
    attach: (where) => runnerOf(where).attach(),
    logs(where, logOptions = {}) {
      const worker = find(where);
      const { name } = worker.runner(where.container);
      return logs.read(logPod(worker.pod), name, logOptions, hasRun(worker.pod, name));
    },
    sandboxOf,
    listeners(where) {
      const network = sandboxOf(where);
      return network === undefined ? undefined : listenersOf(network, find(where).runners);
    },
    async stop(how) {
      for (const watch of watches) watch.close();
      registration.stop();
      events.flush();
      events.stop();
      if (how.pods === "kill") {
        await Promise.all([...workers.values()].map((worker) => worker.stop()));
        return;
      }
      const sleeping = [...workers.values()].map((worker) => worker.sleep());
      dormant.set(stateDir, {
        workers,
        wake() {
          events.resume();
          for (const wake of sleeping) wake();
        },
      });
    },
  };
}

/** By the container's status: has it run, and has it run before that? */
function hasRun({ status }: Pod, container: string): { readonly newest: boolean; readonly previous: boolean } {
  const all = [
    ...(status?.initContainerStatuses ?? []),
    ...(status?.containerStatuses ?? []),
    ...(status?.ephemeralContainerStatuses ?? []),
  ];
  const found = all.find(({ name }) => name === container);
  const previous = found?.lastState?.terminated !== undefined;
  const { running, terminated } = found?.state ?? {};
  return { newest: previous || running !== undefined || terminated !== undefined, previous };
}

/** No kubelet has seen it yet. */
function isNew({ metadata, status }: Pod): boolean {
  return status?.startTime === undefined && status?.phase !== "Failed" && metadata.deletionTimestamp === undefined;
}

const podResource = { group: "", resource: "pods" } as const;

/** Pods of nodes that were cut off, until a kubelet with the same folder takes them over. */
const dormant = new Map<string, { readonly workers: Map<string, PodWorker>; readonly wake: () => void }>();

/** What a hostPath of /etc finds on a node, besides what pods put there. */
function writeNodeFiles({ nodeDisk, nodeHosts, nodeName }: NodeContext): void {
  const etc = join(nodeDisk, "etc");
  fs.mkdirSync(etc, { recursive: true });
  for (const [name, text] of [
    ["hosts", nodeHosts],
    ["hostname", `${nodeName}\n`],
  ] as const)
    if (!fs.existsSync(join(etc, name))) fs.writeFileSync(join(etc, name), text);
}

/** Removes the folders of pods that are no more: the lab may have ended between a pod's removal and its folder's. */
function sweep(context: NodeContext, present: ReadonlySet<string | undefined>): void {
  for (const uid of readFolder(context.podsFolder))
    if (!present.has(uid)) fs.rmSync(join(context.podsFolder, uid), { recursive: true, force: true });
}

function readFolder(path: string): readonly string[] {
  try {
    return fs.readdirSync(path);
  } catch {
    return [];
  }
}

/** What the machine's own /etc/resolv.conf says. */
export function machineResolvers(): ResolverSettings {
  try {
    return parseResolvConf(fs.readFileSync("/etc/resolv.conf", "utf8"));
  } catch {
    return { nameservers: [], searches: [], options: [] };
  }
}

function noTokens({ namespace, serviceAccount }: TokenRequest): string {
  return `no token: this lab has no API server that would accept one for ${namespace}/${serviceAccount}\n`;
}

function lookupsOf(api: ObjectApi, namespace: string, services: (namespace: string) => readonly Service[]): Lookups {
  return {
    configMap: (name) => api.get({ group: "", resource: "configmaps", namespace, name }) as ConfigMap | undefined,
    secret: (name) => api.get({ group: "", resource: "secrets", namespace, name }) as Secret | undefined,
    services: () => services(namespace),
    apiService: () => services("default").find(({ metadata }) => metadata.name === "kubernetes"),
  };
}

/** Services by namespace, listed again only after one has changed: every container that starts asks. */
function serviceCache(api: ObjectApi): { of(namespace: string): readonly Service[]; close(): void } {
  const resource = { group: "", resource: "services" };
  const known = new Map<string, readonly Service[]>();
  let followed = true;
  const watch = api.watch(resource, api.revision, () => known.clear());
  return {
    of(namespace) {
      let list = followed ? known.get(namespace) : undefined;
      if (list === undefined)
        known.set(namespace, (list = api.list(resource, { namespace }).items as readonly Service[]));
      return list;
    },
    close() {
      followed = false;
      watch.close();
    },
  };
}
