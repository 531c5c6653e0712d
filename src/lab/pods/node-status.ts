// The Node object and its Lease: made when the kubelet starts, renewed while it runs. A node whose Lease is not renewed is taken for lost.

import fs from "node:fs";
import os from "node:os";
import process from "node:process";
import type { Address } from "../../ip/address.ts";
import type { Condition, Lease, Node, Quantity } from "../../kube/kinds.ts";
import type { KubeObject } from "../../kube/object.ts";
import type { ObjectApi } from "../api/api.ts";
import { StatusError } from "../api/store.ts";
import { microTimeText, timeText, type Clock } from "../../watch/clock.ts";

// The kubelet's defaults: nodeLeaseDurationSeconds 40, renewed every quarter of it; status at least every 5 minutes.
const leaseSeconds = 40;
const statusPeriodMs = 300_000;
const leaseNamespace = "kube-node-lease";

export interface NodeOptions {
  readonly node: string;
  readonly zone: string;
  readonly api: ObjectApi;
  readonly nodeAddresses: readonly Address[];
  readonly clock: Clock;
  readonly allocatable: Readonly<Record<string, Quantity>>;
  /** Does the node's link carry anything? Without it no API server hears of the node. Yes unless given. */
  readonly isLinked?: () => boolean;
  readonly report: (line: string) => void;
}

/** Registers the node and keeps it alive until stopped. */
export function keepNode(options: NodeOptions): { stop(): void } {
  const { clock } = options;
  let stopped = false;
  let statusAt = Number.NEGATIVE_INFINITY;
  let timer: { cancel(): void } | undefined;
  const beat = (): void => {
    if (stopped) return;
    timer = clock.after((leaseSeconds / 4) * 1000, beat);
    if (options.isLinked?.() === false) {
      // The status is old when it comes back, and is told at once.
      statusAt = Number.NEGATIVE_INFINITY;
      return;
    }
    try {
      if (clock.now() - statusAt >= statusPeriodMs || nodeOf(options) === undefined) {
        writeNode(options);
        statusAt = clock.now();
      }
      writeLease(options);
    } catch (error) {
      if (!(error instanceof StatusError)) throw error;
      options.report(`keep Node ${options.node}: ${error.message}`);
    }
  };
  beat();
  return {
    stop() {
      stopped = true;
      timer?.cancel();
    },
  };
}

function nodeOf({ api, node }: NodeOptions): Node | undefined {
  return api.get({ group: "", resource: "nodes", name: node }) as Node | undefined;
}

function writeNode(options: NodeOptions): void {
  const { api, node } = options;
  const labels = {
    "beta.kubernetes.io/arch": architecture(),
    "beta.kubernetes.io/os": "linux",
    "kubernetes.io/arch": architecture(),
    "kubernetes.io/hostname": node,
    "kubernetes.io/os": "linux",
    "topology.kubernetes.io/region": "lab",
    "topology.kubernetes.io/zone": options.zone,
  };
  const existing = nodeOf(options);
  const base: KubeObject = existing ?? { apiVersion: "v1", kind: "Node", metadata: { name: node }, spec: {} };
  // Labels that somebody has changed by hand stay changed.
  const labelled = { ...base, metadata: { ...base.metadata, labels: { ...labels, ...base.metadata.labels } } };
  const registered = (existing === undefined ? api.create(labelled) : api.update(labelled)) as Node;
  api.updateStatus({ ...registered, status: nodeStatus(options, registered.status) });
}

/** What the kubelet knows of its node; conditions, resources and fields of others stay. */
function nodeStatus(options: NodeOptions, before: Node["status"]): object {
  const previous = before?.conditions ?? [];
  const now = timeText(options.clock.now());
  const conditions: Condition[] = [
    {
      type: "MemoryPressure",
      status: "False",
      reason: "KubeletHasSufficientMemory",
      message: "kubelet has sufficient memory available",
    },
    {
      type: "DiskPressure",
      status: "False",
      reason: "KubeletHasNoDiskPressure",
      message: "kubelet has no disk pressure",
    },
    {
      type: "PIDPressure",
      status: "False",
      reason: "KubeletHasSufficientPID",
      message: "kubelet has sufficient PID available",
    },
    { type: "Ready", status: "True", reason: "KubeletReady", message: "kubelet is posting ready status" },
  ];
  const own = conditions.map((condition) => {
    const old = previous.find(({ type }) => type === condition.type);
    const since = old?.status === condition.status ? old.lastTransitionTime : undefined;
    return { ...condition, lastHeartbeatTime: now, lastTransitionTime: since ?? now };
  });
  return {
    ...before,
    addresses: [
      ...options.nodeAddresses.map((address) => ({ type: "InternalIP", address })),
      { type: "Hostname", address: options.node },
    ],
    capacity: { ...before?.capacity, ...options.allocatable },
    allocatable: { ...before?.allocatable, ...options.allocatable },
    conditions: [...own, ...previous.filter(({ type }) => !own.some((condition) => condition.type === type))],
    daemonEndpoints: { kubeletEndpoint: { Port: 10250 } },
    nodeInfo: {
      architecture: architecture(),
      operatingSystem: "linux",
      kernelVersion: os.release(),
      osImage: osImage(),
      containerRuntimeVersion: `fairlead://${process.version.slice(1)}`,
      kubeletVersion: "v1.36.0-fairlead",
      kubeProxyVersion: "",
      machineID: "",
      systemUUID: "",
      bootID: "",
    },
  };
}

function writeLease({ api, node, clock }: NodeOptions): void {
  const key = { group: "coordination.k8s.io", resource: "leases", namespace: leaseNamespace, name: node };
  const spec = { holderIdentity: node, leaseDurationSeconds: leaseSeconds, renewTime: microTimeText(clock.now()) };
  const existing = api.get(key) as Lease | undefined;
  if (existing !== undefined) {
    api.update({ ...existing, spec: { ...existing.spec, ...spec } });
    return;
  }
  // The namespace comes with the system's objects, perhaps a moment later: the next beat makes the Lease.
  if (api.get({ group: "", resource: "namespaces", name: leaseNamespace }) === undefined) return;
  const { uid = "" } = api.get({ group: "", resource: "nodes", name: node })?.metadata ?? {};
  api.create({
    apiVersion: "coordination.k8s.io/v1",
    kind: "Lease",
    metadata: {
      name: node,
      namespace: leaseNamespace,
      ownerReferences: [{ apiVersion: "v1", kind: "Node", name: node, uid }],
    },
    spec,
  });
}

/** What a node of this machine holds; every node has all of it, as the scheduler asks for no resources. */
export function nodeCapacity(): Readonly<Record<string, Quantity>> {
  return {
    cpu: String(os.availableParallelism()),
    memory: `${Math.floor(os.totalmem() / 1024)}Ki`,
    "ephemeral-storage": "10Gi",
    // A bridge takes 1,023 ports.
    pods: "1000",
  };
}

function architecture(): string {
  return process.arch === "x64" ? "amd64" : process.arch;
}

let image: string | undefined;

function osImage(): string {
  if (image !== undefined) return image;
  try {
    image = /^PRETTY_NAME="?([^"\n]*)/m.exec(fs.readFileSync("/etc/os-release", "utf8"))?.[1] ?? "Linux";
  } catch {
    image = "Linux";
  }
  return image;
}
