// What NetworkPolicies' owners should know, as Events on the policies: in force and where, or not at all; what is odd about them today.
// (NetworkPolicy has no status any more: Kubernetes took it out with 1.28.)
//
// Not here: what is odd (model/policy-problems.ts), and `fairlead status`, which shows the same (control-status.ts).

import type { Agent } from "../agent/agent.ts";
import type { NetworkPolicy } from "../kube/kinds.ts";
import type { Network } from "../model/network.ts";
import { isolates } from "../model/policy-match.ts";
import { policyWarnings } from "../model/policy-problems.ts";
import type { NetworkSource } from "../model/source.ts";
import type { ObjectApi } from "./api/api.ts";
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
  const tell = (object: NetworkPolicy, statements: readonly Statement[]): boolean => {
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
    const objects = api.list({ group: "networking.k8s.io", resource: "networkpolicies" })
      .items as readonly NetworkPolicy[];
    const present = new Set(objects.map(({ metadata }) => metadata.uid ?? ""));
    for (const uid of known.keys()) if (!present.has(uid)) known.delete(uid);
    if (objects.length === 0) return;
    const nodes = agents();
    const inForce = await countInForce(nodes);
    if (isClosed) return;
    const findings = findingsOf(network);
    const waiting = objects.filter((object) =>
      tell(object, [
        ...enforcement(network, object, { inForce, nodes: nodes.length }),
        ...(findings.get(`${object.metadata.namespace ?? ""}/${object.metadata.name}`) ?? []),
      ]),
    );
    if (waiting.length > 0) lookAfter(lastingMs);
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
  lookAfter(gatherMs);
  return {
    close() {
      isClosed = true;
      timer?.cancel();
      subscription.close();
    },
  };
}

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

function enforcement(
  network: Network,
  { metadata }: NetworkPolicy,
  { inForce, nodes }: { readonly inForce: number; readonly nodes: number },
): readonly Statement[] {
  const policy = network.policies.find((each) => each.namespace === metadata.namespace && each.name === metadata.name);
  if (policy === undefined) return [];
  const what = (["ingress", "egress"] as const)
    .filter((direction) => policy[direction] !== undefined)
    .map((direction) => {
      const count = network.pods.filter((pod) => isolates(policy, direction, pod)).length;
      return `${count} ${count === 1 ? "pod" : "pods"} for ${direction}`;
    });
  const where = nodes === 0 ? "packets are off: nothing is sent" : `in force on ${inForce} of ${nodes} nodes`;
  return [
    {
      id: `enforced ${metadata.generation ?? 0} ${inForce}/${nodes}`,
      type: inForce === nodes ? "Normal" : "Warning",
      reason: "Enforced",
      message: `isolates ${what.join(" and ")}; ${where}`,
    },
  ];
}

/** By namespace/name of the policy. */
function findingsOf(network: Network): ReadonlyMap<string, readonly Statement[]> {
  let findings = found.get(network);
  if (findings === undefined) found.set(network, (findings = find(network)));
  return findings;
}

const found = new WeakMap<Network, ReadonlyMap<string, readonly Statement[]>>();

function find(network: Network): ReadonlyMap<string, readonly Statement[]> {
  const findings = new Map<string, Statement[]>();
  const own = network.problems.filter(({ origin }) => origin.kind === "NetworkPolicy");
  for (const { origin, message, severity } of [...own, ...policyWarnings(network)]) {
    const key = `${origin.namespace ?? ""}/${origin.name}`;
    const text = `${origin.field ?? "spec"}: ${message}`;
    const reason = severity === "error" ? "NotEnforced" : "PolicyWarning";
    const list = findings.get(key);
    const statement: Statement = { id: text, type: "Warning", reason, message: text };
    if (list === undefined) findings.set(key, [statement]);
    else list.push(statement);
  }
  return findings;
}
