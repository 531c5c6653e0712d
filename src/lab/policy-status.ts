// What policies' owners should know, as Events on the policies: in force and where, or not at all; what is odd about them today.
// ClusterNetworkPolicies have it in their status as well, as conditions Accepted and Enforced.
// (NetworkPolicy has no status any more: Kubernetes took it out with 1.28.) Kinds that ClusterNetworkPolicy has replaced are not enforced,
// which their objects are told.
//
// Not here: what is odd (model/policy-problems.ts), and `fairlead status`, which shows the same (control-status.ts).

import type { Agent } from "../agent/agent.ts";
import { sameJson } from "../kube/equal.ts";
import type { Condition, NetworkPolicy } from "../kube/kinds.ts";
import type { ClusterNetworkPolicy } from "../kube/policy-kinds.ts";
import { keyOf, type KubeObject } from "../kube/object.ts";
import type { Network } from "../model/network.ts";
import { isolates, isSubject } from "../model/policy-match.ts";
import { policyWarnings } from "../model/policy-problems.ts";
import type { NetworkSource } from "../model/source.ts";
import type { ObjectApi } from "./api/api.ts";
import { StatusError } from "./api/store.ts";
import { unhandled } from "./api/unhandled.ts";
import { systemClock, type Clock } from "./controllers/clock.ts";
import { createEventSink } from "./controllers/events.ts";

/** Changes are gathered for so long: pods of a Deployment come together. */
const gatherMs = 200;

/** What is odd for a moment only, as while pods start, is not worth an Event. */
const lastingMs = 3_000;

/** Watches until closed. `agents` are those of the nodes there are now; none where packets are off. */
export function startPolicyStatus(options: {
  readonly api: ObjectApi;
  readonly source: NetworkSource;
  readonly agents: () => readonly Pick<Agent, "synced">[];
  readonly clock?: Clock;
}): { close(): void } {
  const { api, source, agents, clock = systemClock } = options;
  /** By policy and statement: since when it is true, and whether it was told. */
  const known = new Map<string, Map<string, { readonly sinceMs: number; isTold: boolean }>>();
  let timer: { cancel(): void } | undefined;
  let dueMs = 0;
  let isClosed = false;
  const sink = createEventSink({
    api,
    clock,
    random: Math.random,
    wake: () => void setImmediate(() => void (isClosed || sink.drain(() => true))),
  });
  const recorder = sink.recorder("fairlead-policy");

  /** True where something is still too young to be told. */
  const tell = (object: KubeObject, statements: readonly Statement[]): boolean => {
    const { uid = "" } = object.metadata;
    const before = known.get(uid);
    const now = new Map(
      statements.map(({ id }) => [id, before?.get(id) ?? { sinceMs: clock.now(), isTold: false }] as const),
    );
    known.set(uid, now);
    let isWaiting = false;
    for (const { id, type, reason, message } of statements) {
      const entry = now.get(id);
      if (entry === undefined || entry.isTold) continue;
      entry.isTold = reason !== "PolicyWarning" || clock.now() - entry.sinceMs >= lastingMs;
      if (entry.isTold) recorder.record(object, type, reason, message);
      else isWaiting = true;
    }
    return isWaiting;
  };
  const look = async (): Promise<void> => {
    const network = source.current();
    const policies = api.list(kinds.policies).items as readonly NetworkPolicy[];
    const clusterPolicies = api.list(kinds.clusterPolicies).items as readonly ClusterNetworkPolicy[];
    const replaced = kinds.replaced.flatMap((kind) => api.list(kind).items);
    const objects = [...policies, ...clusterPolicies, ...replaced];
    const present = new Set(objects.map(({ metadata }) => metadata.uid ?? ""));
    for (const uid of known.keys()) if (!present.has(uid)) known.delete(uid);
    if (objects.length === 0) return;
    const nodes = agents();
    const force = { inForce: await countInForce(nodes), nodes: nodes.length };
    if (isClosed) return;
    const findings = findingsOf(network);
    const found = (object: KubeObject): readonly Statement[] => findings.get(`${object.kind} ${keyOf(object)}`) ?? [];
    for (const object of clusterPolicies)
      writeConditions(api, object, conditionsOf(network, object, force, found(object)));
    const waiting = [
      ...policies.map((object) => tell(object, [...enforcement(network, object, force), ...found(object)])),
      ...clusterPolicies.map((object) =>
        tell(object, [...clusterEnforcement(network, object, force), ...found(object)]),
      ),
      ...replaced.map((object) => tell(object, replacedStatements(object))),
    ];
    if (waiting.includes(true)) lookAfter(lastingMs);
  };
  const lookAfter = (delayMs: number): void => {
    const due = clock.now() + delayMs;
    if (isClosed || (timer !== undefined && dueMs <= due)) return;
    timer?.cancel();
    dueMs = due;
    timer = clock.after(delayMs, () => {
      timer = undefined;
      look().catch((error: unknown) => console.error(`${new Date(clock.now()).toISOString()} policy status:`, error));
    });
  };
  const subscription = source.subscribe(() => lookAfter(gatherMs));
  const watches = kinds.replaced.map((kind) =>
    api.watch(kind, api.revision, (event) => {
      if (event.type !== "BOOKMARK") lookAfter(gatherMs);
    }),
  );
  lookAfter(gatherMs);
  return {
    close() {
      isClosed = true;
      timer?.cancel();
      subscription.close();
      for (const watch of watches) watch.close();
    },
  };
}

const group = "policy.networking.k8s.io";
const kinds = {
  policies: { group: "networking.k8s.io", resource: "networkpolicies" },
  clusterPolicies: { group, resource: "clusternetworkpolicies" },
  replaced: [
    { group, resource: "adminnetworkpolicies" },
    { group, resource: "baselineadminnetworkpolicies" },
  ],
} as const;

/** Something that is true of a policy now. Told once for as long as it stays true. */
interface Statement {
  readonly id: string;
  readonly type: "Normal" | "Warning";
  readonly reason: "Enforced" | "NotEnforced" | "PolicyWarning";
  readonly message: string;
}

/** On how many nodes the kernel holds what is known now. */
async function countInForce(agents: readonly Pick<Agent, "synced">[]): Promise<number> {
  const reports = await Promise.allSettled(agents.map(async (agent) => agent.synced()));
  return reports.filter(
    (each) => each.status === "fulfilled" && !each.value.failures.some(({ part }) => part.startsWith("table")),
  ).length;
}

function enforcement(network: Network, { metadata }: NetworkPolicy, force: Force): readonly Statement[] {
  const policy = network.policies.find((each) => each.namespace === metadata.namespace && each.name === metadata.name);
  if (policy === undefined) return [];
  const what = (["ingress", "egress"] as const)
    .filter((direction) => policy[direction] !== undefined)
    .map((direction) => {
      const count = network.pods.filter((pod) => isolates(policy, direction, pod)).length;
      return `${count} ${count === 1 ? "pod" : "pods"} for ${direction}`;
    });
  return [
    {
      id: `enforced ${metadata.generation ?? 0} ${force.inForce}/${force.nodes}`,
      type: force.inForce === force.nodes ? "Normal" : "Warning",
      reason: "Enforced",
      message: `isolates ${what.join(" and ")}; ${forceText(force)}`,
    },
  ];
}

/** Nodes whose kernel holds what is known, of all there are. */
interface Force {
  readonly inForce: number;
  readonly nodes: number;
}

function forceText({ inForce, nodes }: Force): string {
  return nodes === 0 ? "packets are off: nothing is sent" : `in force on ${inForce} of ${nodes} nodes`;
}

function clusterEnforcement(network: Network, { metadata }: ClusterNetworkPolicy, force: Force): readonly Statement[] {
  const policy = network.clusterPolicies.find(({ name }) => name === metadata.name);
  if (policy === undefined) return [];
  const count = network.pods.filter((pod) => isSubject(network, policy, pod)).length;
  return [
    {
      id: `enforced ${metadata.generation ?? 0} ${force.inForce}/${force.nodes}`,
      type: force.inForce === force.nodes ? "Normal" : "Warning",
      reason: "Enforced",
      message: `is for ${count} ${count === 1 ? "pod" : "pods"}; ${forceText(force)}`,
    },
  ];
}

/** A kind that nobody enforces any more, here or elsewhere in its newest version. */
function replacedStatements(object: KubeObject): readonly Statement[] {
  const message = unhandled(object);
  return message === undefined ? [] : [{ id: message, type: "Warning", reason: "NotEnforced", message }];
}

/** What a ClusterNetworkPolicy's status says. */
function conditionsOf(
  network: Network,
  { metadata }: ClusterNetworkPolicy,
  force: Force,
  findings: readonly Statement[],
): readonly Omit<Condition, "lastTransitionTime">[] {
  const problems = findings.filter(({ reason }) => reason === "NotEnforced").map(({ message }) => message);
  const isOff = network.cluster.policy === "off";
  const observedGeneration = metadata.generation ?? 0;
  const accepted =
    problems.length === 0 || isOff
      ? ({ status: "True", reason: "Accepted", message: "everything it says is understood" } as const)
      : ({ status: "False", reason: "NotSupported", message: problems.join("; ") } as const);
  const enforced = isOff
    ? ({ status: "False", reason: "PoliciesAreOff", message: problems.join("; ") } as const)
    : force.nodes === 0
      ? ({ status: "False", reason: "PacketsAreOff", message: forceText(force) } as const)
      : force.inForce < force.nodes
        ? ({ status: "False", reason: "NotOnAllNodes", message: forceText(force) } as const)
        : ({ status: "True", reason: "InForce", message: forceText(force) } as const);
  return [
    { type: "Accepted", observedGeneration, ...accepted },
    { type: "Enforced", observedGeneration, ...enforced },
  ];
}

/** Ours of the conditions; others' stay. Nothing is written where nothing is new. */
function writeConditions(
  api: ObjectApi,
  { metadata }: ClusterNetworkPolicy,
  wanted: readonly Omit<Condition, "lastTransitionTime">[],
): void {
  const object = api.get({ ...kinds.clusterPolicies, name: metadata.name }) as ClusterNetworkPolicy | undefined;
  if (object === undefined || object.metadata.uid !== metadata.uid) return;
  const before = object.status?.conditions ?? [];
  const now = new Date().toISOString().replace(/\.\d+Z$/, "Z");
  const own = wanted.map((condition): Condition => {
    const old = before.find(({ type }) => type === condition.type);
    const isSame = old?.status === condition.status && old.lastTransitionTime !== undefined;
    return { ...condition, lastTransitionTime: isSame ? (old.lastTransitionTime ?? now) : now };
  });
  const conditions = [...before.filter(({ type }) => !own.some((each) => each.type === type)), ...own];
  if (sameJson(conditions, before)) return;
  try {
    api.updateStatus({ ...object, status: { conditions } });
  } catch (error) {
    // Somebody else's write came first: the change calls again.
    if (!(error instanceof StatusError)) throw error;
  }
}

/** By kind, namespace and name of the policy. */
function findingsOf(network: Network): ReadonlyMap<string, readonly Statement[]> {
  let findings = found.get(network);
  if (findings === undefined) found.set(network, (findings = find(network)));
  return findings;
}

const found = new WeakMap<Network, ReadonlyMap<string, readonly Statement[]>>();

function find(network: Network): ReadonlyMap<string, readonly Statement[]> {
  const findings = new Map<string, Statement[]>();
  const own = network.problems.filter(({ origin }) => ["NetworkPolicy", "ClusterNetworkPolicy"].includes(origin.kind));
  for (const { origin, message, severity } of [...own, ...policyWarnings(network)]) {
    const key = `${origin.kind} ${keyOf({ metadata: origin })}`;
    const text = `${origin.field ?? "spec"}: ${message}`;
    const reason = severity === "error" ? "NotEnforced" : "PolicyWarning";
    const list = findings.get(key);
    const statement: Statement = { id: text, type: "Warning", reason, message: text };
    if (list === undefined) findings.set(key, [statement]);
    else list.push(statement);
  }
  return findings;
}
