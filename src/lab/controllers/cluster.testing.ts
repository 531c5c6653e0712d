// A small cluster for tests: the real store in memory, the controllers, and a kubelet that only reports.

import type { DaemonSet, Deployment, Job, Node, Pod, Service, StatefulSet } from "../../kube/kinds.ts";
import type { KubeObject } from "../../kube/object.ts";
import { resourceOf } from "../../kube/resources.ts";
import type { ClusterConfig } from "../../model/network.ts";
import type { Admission, ObjectApi } from "../api/api.ts";
import type { Store } from "../api/store.ts";
import { openStore } from "../api/sqlite-store.ts";
import { createObjectApi } from "../api/write.ts";
import { microTimeText, timeText } from "../../watch/clock.ts";
import { createFakeClock, type FakeClock } from "./clock.testing.ts";
import type { RequestAuthority } from "./certificate-requests.ts";
import type { EventRetention } from "./event-retention.ts";
import { leaseNamespace } from "./node-lifecycle.ts";
import { nodes as nodesResource, pods } from "./resources.ts";
import type { TypedResource } from "./resources.ts";
import { createServiceAllocator } from "./service-addresses.ts";
import { admissions } from "./admissions.ts";
import { startControllers, type Failure, type Runtime } from "./start.ts";

export const testConfig: ClusterConfig = {
  domain: "cluster.local",
  families: [4, 6],
  podCidrs: ["10.244.0.0/16", "fd00:10:244::/56"],
  serviceCidrs: ["10.96.0.0/16", "fd00:10:96::/112"],
  nodeCidrs: ["172.18.0.0/24", "fd00:172:18::/64"],
  dnsAddresses: ["10.96.0.10", "fd00:10:96::a"],
  overlay: "vxlan",
  underlayMtu: 1500,
  nodePorts: { first: 30000, last: 32767 },
};

export interface TestCluster {
  readonly api: ObjectApi;
  readonly store: Store;
  /** An allocator that knows nothing yet, as after a restart. */
  newAllocator(): Admission;
  readonly clock: FakeClock;
  readonly runtime: Runtime;
  readonly failures: Failure[];
  /** Creates the objects of a test in the given order. */
  create(...objects: readonly KubeObject[]): void;
  /** Changes an object as a client would: read, edit, write. */
  edit<T extends KubeObject>(resource: TypedResource<T>, name: string, change: (object: T) => T): void;
  get<T extends KubeObject>(resource: TypedResource<T>, name: string): T | undefined;
  must<T extends KubeObject>(resource: TypedResource<T>, name: string): T;
  list<T extends KubeObject>(resource: TypedResource<T>): readonly T[];
  remove(resource: TypedResource, name: string, options?: Parameters<ObjectApi["delete"]>[1]): void;
  idle(): Promise<void>;
  /** What a kubelet would do to all pods on nodes: run the new ones (not those for which `run` says no), finish deleting the others. Then idle. */
  kubelet(run?: (pod: Pod) => boolean): Promise<void>;
  /** kubelet() until nothing changes any more. */
  settle(run?: (pod: Pod) => boolean): Promise<void>;
  /** Nodes whose kubelets are dead. */
  readonly silent: Set<string>;
  /** Moves the clock, in steps in which kubelets renew their leases. */
  pass(ms: number): Promise<void>;
  /** Stops the controllers and starts others over the same store, then idle. */
  restart(): Promise<void>;
  close(): void;
}

const kubeletMs = 300;

/** A cluster of that many nodes, with namespace `default` (which names without a namespace mean). */
export async function testCluster(
  options: {
    readonly nodes?: number | readonly Node[];
    readonly enabled?: (name: string) => boolean;
    readonly seed?: number;
    readonly eventRetention?: EventRetention;
    readonly requestAuthority?: RequestAuthority;
    /** Further steps of every write. */
    readonly admissions?: readonly Admission[];
    readonly config?: Partial<ClusterConfig>;
  } = {},
): Promise<TestCluster> {
  const clock = createFakeClock();
  const random = seededRandom(options.seed ?? 1);
  const config = { ...testConfig, ...options.config };
  const store = openStore({ path: ":memory:", clock: () => clock.now(), random });
  const newAllocator = (): Admission =>
    createServiceAllocator({
      serviceCidrs: config.serviceCidrs,
      nodePorts: config.nodePorts,
      families: config.families,
      random,
    });
  const api = createObjectApi({
    store,
    admissions: [...admissions, newAllocator(), ...(options.admissions ?? [])],
    clock: () => clock.now(),
    random,
  });
  const failures: Failure[] = [];
  const start = (): Runtime =>
    startControllers({
      api,
      clock,
      random,
      config,
      rootCa: "-----BEGIN CERTIFICATE-----",
      failed: (failure) => failures.push(failure),
      ...(options.requestAuthority === undefined ? {} : { requestAuthority: options.requestAuthority }),
      ...(options.eventRetention === undefined ? {} : { eventRetention: options.eventRetention }),
      ...(options.enabled === undefined ? {} : { enabled: options.enabled }),
    });
  let runtime = start();
  const { nodes = 3 } = options;
  const nodeObjects =
    typeof nodes === "number" ? Array.from({ length: nodes }, (_, i) => testNode(`node-${i + 1}`)) : nodes;
  for (const object of [namespace("default"), namespace(leaseNamespace), ...nodeObjects]) api.create(object);

  const silent = new Set<string>();
  const at = (name: string): { namespace: string; name: string } => {
    const [namespace = "", rest] = name.split("/");
    return rest === undefined ? { namespace: "default", name } : { namespace, name: rest };
  };
  const keyIn = (resource: TypedResource, name: string): Parameters<ObjectApi["get"]>[0] =>
    resource.namespaced ? { ...resource, ...at(name) } : { ...resource, name };
  const cluster: TestCluster = {
    api,
    store,
    newAllocator,
    clock,
    get runtime() {
      return runtime;
    },
    failures,
    create: (...objects) => {
      for (const object of objects) {
        const isNamespaced = resourceOf(object.apiVersion, object.kind)?.namespaced === true;
        const metadata =
          isNamespaced && object.metadata.namespace === undefined
            ? { ...object.metadata, namespace: "default" }
            : object.metadata;
        api.create({ ...object, metadata });
      }
    },
    get: <T extends KubeObject>(resource: TypedResource<T>, name: string) =>
      api.get(keyIn(resource, name)) as T | undefined,
    must: (resource, name) => {
      const object = cluster.get(resource, name);
      if (object === undefined) throw new Error(`${resource.kind} ${name} is not there`);
      return object;
    },
    list: <T extends KubeObject>(resource: TypedResource<T>) => api.list(resource).items as readonly T[],
    edit: (resource, name, change) => {
      api.update(change(cluster.must(resource, name)));
    },
    remove: (resource, name, deleteOptions) => {
      api.delete(keyIn(resource, name), deleteOptions);
    },
    idle: () => runtime.idle(),
    async kubelet(run = () => true) {
      for (const pod of cluster.list(pods)) report(api, pod, clock.now(), run);
      await runtime.idle();
      // The time that a pod takes at least: controllers may wait so long.
      clock.advance(kubeletMs);
      await runtime.idle();
    },
    async settle(run) {
      for (let round = 0; round < 60; round++) {
        const before = api.revision;
        await cluster.kubelet(run);
        if (api.revision === before) return;
      }
      throw new Error("the cluster does not come to rest");
    },
    silent,
    async pass(ms) {
      await runtime.idle();
      for (let left = ms; left > 0; left -= 20_000) {
        clock.advance(Math.min(left, 20_000));
        for (const { metadata } of cluster.list(nodesResource)) {
          if (!silent.has(metadata.name)) renewLease(api, metadata.name, clock.now());
        }
        await runtime.idle();
      }
    },
    async restart() {
      runtime.stop();
      runtime = start();
      await runtime.idle();
    },
    close() {
      runtime.stop();
      store.close();
    },
  };
  await runtime.idle();
  return cluster;
}

function renewLease(api: ObjectApi, node: string, nowMs: number): void {
  const metadata = { namespace: leaseNamespace, name: node };
  const lease = {
    apiVersion: "coordination.k8s.io/v1",
    kind: "Lease",
    metadata,
    spec: { renewTime: microTimeText(nowMs) },
  };
  api.apply(lease);
}

const podNumbers = new Map<string, number>();

/** The status a kubelet gives a pod on a node, or the end of one that is being deleted. */
function report(api: ObjectApi, pod: Pod, nowMs: number, run: (pod: Pod) => boolean): void {
  const { spec, status, metadata } = pod;
  if ((spec.nodeName ?? "") === "" || status?.phase === "Succeeded" || status?.phase === "Failed") return;
  const { namespace = "", name } = metadata;
  if (metadata.deletionTimestamp !== undefined) {
    // Whoever holds it hears how it ended.
    if ((metadata.finalizers ?? []).length > 0) api.updateStatus({ ...pod, status: { ...status, phase: "Failed" } });
    api.delete({ ...pods, namespace, name }, { gracePeriodSeconds: 0 });
    return;
  }
  const isReady = run(pod);
  const was = status?.conditions?.find(({ type }) => type === "Ready");
  if (was?.status === (isReady ? "True" : "False")) return;
  const number = podNumbers.get(metadata.uid ?? "") ?? podNumbers.size + 1;
  podNumbers.set(metadata.uid ?? "", number);
  const podIPs = [{ ip: `10.244.${number >> 8}.${number & 255}` }, { ip: `fd00:10:244::${number.toString(16)}` }];
  api.updateStatus({
    ...pod,
    status: {
      ...status,
      phase: "Running",
      podIP: podIPs[0]?.ip ?? "",
      podIPs,
      startTime: status?.startTime ?? timeText(nowMs),
      conditions: [
        ...(status?.conditions ?? []).filter(({ type }) => type !== "Ready"),
        { type: "Ready", status: isReady ? "True" : "False", lastTransitionTime: timeText(nowMs) },
      ],
    },
  });
}

export function namespace(name: string): KubeObject {
  return { apiVersion: "v1", kind: "Namespace", metadata: { name } };
}

export function testNode(
  name: string,
  more: { labels?: Readonly<Record<string, string>>; spec?: Node["spec"] } = {},
): Node {
  return {
    apiVersion: "v1",
    kind: "Node",
    metadata: { name, labels: { "kubernetes.io/hostname": name, ...more.labels } },
    spec: more.spec ?? {},
    status: { conditions: [{ type: "Ready", status: "True" }] },
  };
}

/** Numbers from 0 to below 1 that are the same for the same seed (mulberry32). */
export function seededRandom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** The metadata, selector and template that workloads of an app have. */
export function app(name: string): {
  readonly labels: { readonly app: string };
  readonly selector: { readonly matchLabels: { readonly app: string } };
  readonly template: { readonly metadata: { readonly labels: { readonly app: string } }; readonly spec: Pod["spec"] };
} {
  const labels = { app: name };
  return {
    labels,
    selector: { matchLabels: labels },
    template: {
      metadata: { labels },
      spec: { containers: [{ name: "main", image: "nginx", ports: [{ name: "http", containerPort: 8080 }] }] },
    },
  };
}

export function deployment(name: string, replicas: number, spec: Partial<Deployment["spec"]> = {}): Deployment {
  const { selector, template } = app(name);
  return {
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: { name },
    spec: { replicas, selector, template, ...spec },
  };
}

export function service(name: string, spec: Partial<Service["spec"]> = {}): Service {
  return {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name },
    spec: { selector: { app: name }, ports: [{ name: "http", port: 80, targetPort: "http" }], ...spec },
  };
}

export function statefulSet(name: string, replicas: number, spec: Partial<StatefulSet["spec"]> = {}): StatefulSet {
  const { selector, template } = app(name);
  return {
    apiVersion: "apps/v1",
    kind: "StatefulSet",
    metadata: { name },
    spec: { replicas, serviceName: name, selector, template, ...spec },
  };
}

export function daemonSet(name: string, spec: Partial<DaemonSet["spec"]> = {}): DaemonSet {
  const { selector, template } = app(name);
  return { apiVersion: "apps/v1", kind: "DaemonSet", metadata: { name }, spec: { selector, template, ...spec } };
}

export function job(name: string, spec: Partial<Job["spec"]> = {}): Job {
  const { template } = app(name);
  return {
    apiVersion: "batch/v1",
    kind: "Job",
    metadata: { name },
    spec: { template: { ...template, spec: { ...template.spec, restartPolicy: "Never" } }, ...spec },
  };
}
