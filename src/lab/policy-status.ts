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
  readonly agents: () => readonly Agent[];
  readonly clock?: Clock;
}): { close(): void } {
  const { api, source, agents, clock = systemClock } = options;
  /** By policy: what there is to say, since when, and whether it was said. */
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

  let isWaiting = false;
  const look = async (): Promise<void> => {
    const network = source.current();
    const objects = api.list({ group: "networking.k8s.io", resource: "networkpolicies" })
      .items as readonly NetworkPolicy[];
    const present = new Set(objects.map(({ metadata }) => metadata.uid ?? ""));
    for (const uid of known.keys()) if (!present.has(uid)) known.delete(uid);
    if (objects.length === 0) return;
    const nodes = agents();
    const reports = await Promise.allSettled(nodes.map(async (agent) => agent.synced()));
    if (isClosed) return;
    const inForce = reports.filter(
      (each) => each.status === "fulfilled" && !each.value.failures.some(({ part }) => part.startsWith("table")),
    ).length;
    const findings = findingsOf(network);
    isWaiting = false;
    for (const object of objects) {
      const { uid = "", namespace = "", name, generation = 0 } = object.metadata;
      const before = known.get(uid);
      const now = new Map<string, { readonly sinceMs: number; isTold: boolean }>();
      const tell = (
        reason: "Enforced" | "NotEnforced" | "PolicyWarning",
        message: string,
        { type, id = message }: { readonly type: "Normal" | "Warning"; readonly id?: string },
      ): void => {
        const entry = before?.get(id) ?? { sinceMs: clock.now(), isTold: false };
        now.set(id, entry);
        if (entry.isTold) return;
        entry.isTold = reason !== "PolicyWarning" || clock.now() - entry.sinceMs >= lastingMs;
        if (entry.isTold) recorder.record(object, type, reason, message);
        else isWaiting = true;
      };
      const policy = network.policies.find((each) => each.namespace === namespace && each.name === name);
      if (policy !== undefined) {
        const pods = (["ingress", "egress"] as const).map((direction) => ({
          direction,
          count: network.pods.filter((pod) => isolates(policy, direction, pod)).length,
          isThere: policy[direction] !== undefined,
        }));
        const what = pods
          .filter(({ isThere }) => isThere)
          .map(({ direction, count }) => `${count} ${count === 1 ? "pod" : "pods"} for ${direction}`);
        const where =
          nodes.length === 0 ? "packets are off: nothing is sent" : `in force on ${inForce} of ${nodes.length} nodes`;
        const type = inForce === nodes.length ? "Normal" : "Warning";
        tell("Enforced", `isolates ${what.join(" and ") || "nobody"}; ${where}`, {
          type,
          id: `enforced ${generation} ${inForce}/${nodes.length}`,
        });
      }
      for (const { message, reason } of findings.get(`${namespace}/${name}`) ?? [])
        tell(reason, message, { type: "Warning" });
      known.set(uid, now);
    }
  };
  const lookAfter = (delayMs: number): void => {
    const due = clock.now() + delayMs;
    if (isClosed || (timer !== undefined && dueMs <= due)) return;
    timer?.cancel();
    dueMs = due;
    timer = clock.after(delayMs, () => {
      timer = undefined;
      look()
        .then(() => isWaiting && lookAfter(lastingMs))
        .catch((error: unknown) => console.error(`${new Date(clock.now()).toISOString()} policy status:`, error));
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

interface Finding {
  readonly reason: "NotEnforced" | "PolicyWarning";
  readonly message: string;
}

/** By namespace/name of the policy. */
function findingsOf(network: Network): ReadonlyMap<string, readonly Finding[]> {
  const findings = new Map<string, Finding[]>();
  const own = network.problems.filter(({ origin }) => origin.kind === "NetworkPolicy");
  for (const { origin, message, severity } of [...own, ...policyWarnings(network)]) {
    const key = `${origin.namespace ?? ""}/${origin.name}`;
    const finding: Finding = {
      reason: severity === "error" ? "NotEnforced" : "PolicyWarning",
      message: `${origin.field ?? "spec"}: ${message}`,
    };
    const list = findings.get(key);
    if (list === undefined) findings.set(key, [finding]);
    else list.push(finding);
  }
  return findings;
}
