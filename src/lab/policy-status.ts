// Policies' status in a lab: Events and conditions written to its store (agent/policy-status.ts says when). Kinds that ClusterNetworkPolicy
// has replaced are not enforced, which their objects are told.
//
// Not here: what is true of a policy (model/policy-status.ts), and `fairlead status`, which shows the same (control-status.ts).

import type { Agent } from "../agent/agent.ts";
import { startPolicyStatus } from "../agent/policy-status.ts";
import type { Condition } from "../kube/kinds.ts";
import type { ClusterNetworkPolicy } from "../kube/policy-kinds.ts";
import type { KubeObject } from "../kube/object.ts";
import type { Statement } from "../model/policy-status.ts";
import type { NetworkSource } from "../model/source.ts";
import type { ObjectApi } from "./api/api.ts";
import { StatusError } from "./api/store.ts";
import { unhandled } from "./api/unhandled.ts";
import { systemClock, type Clock } from "../watch/clock.ts";
import { createEventSink } from "./controllers/events.ts";

const group = "policy.networking.k8s.io";
const policies = { group: "networking.k8s.io", resource: "networkpolicies" } as const;
const clusterPolicies = { group, resource: "clusternetworkpolicies" } as const;
const replaced = [
  { group, resource: "adminnetworkpolicies" },
  { group, resource: "baselineadminnetworkpolicies" },
] as const;

/** Watches until closed. `agents` are those of the nodes there are now; none where packets are off. */
export function startLabPolicyStatus(options: {
  readonly api: ObjectApi;
  readonly source: NetworkSource;
  readonly agents: () => readonly Pick<Agent, "synced">[];
  readonly clock?: Clock;
}): { close(): void } {
  const { api, source, agents, clock = systemClock } = options;
  let isClosed = false;
  const sink = createEventSink({
    api,
    clock,
    random: Math.random,
    wake: () => void setImmediate(() => void (isClosed || sink.drain(() => true))),
  });
  const recorder = sink.recorder("fairlead-policy");
  const status = startPolicyStatus({
    source,
    clock,
    objects: () => [policies, clusterPolicies, ...replaced].flatMap((kind) => api.list(kind).items as KubeObject[]),
    others: replacedStatements,
    async force() {
      const nodes = agents();
      return { inForce: await countInForce(nodes), nodes: nodes.length };
    },
    tell: (object, { type, reason, message }) => recorder.record(object, type, reason, message),
    writeConditions: (object, conditions) => writeConditions(api, object, conditions),
    log: (line) => console.error(`${new Date(clock.now()).toISOString()} ${line}`),
  });
  const watches = replaced.map((kind) =>
    api.watch(kind, api.revision, (event) => {
      if (event.type !== "BOOKMARK") status.lookSoon();
    }),
  );
  return {
    close() {
      isClosed = true;
      status.close();
      for (const watch of watches) watch.close();
    },
  };
}

/** On how many nodes the kernel holds what is known now. */
async function countInForce(agents: readonly Pick<Agent, "synced">[]): Promise<number> {
  const reports = await Promise.allSettled(agents.map(async (agent) => agent.synced()));
  return reports.filter(
    (each) => each.status === "fulfilled" && !each.value.failures.some(({ part }) => part.startsWith("table")),
  ).length;
}

/** A kind that nobody enforces any more, here or elsewhere in its newest version; undefined where it is another. */
function replacedStatements(object: KubeObject): readonly Statement[] | undefined {
  if (object.kind === "NetworkPolicy" || object.kind === "ClusterNetworkPolicy") return undefined;
  const message = unhandled(object);
  return message === undefined ? [] : [{ id: message, type: "Warning", reason: "NotEnforced", message }];
}

function writeConditions(api: ObjectApi, { metadata }: ClusterNetworkPolicy, conditions: readonly Condition[]): void {
  const object = api.get({ ...clusterPolicies, name: metadata.name }) as ClusterNetworkPolicy | undefined;
  if (object === undefined || object.metadata.resourceVersion !== metadata.resourceVersion) return;
  try {
    api.updateStatus({ ...object, status: { conditions } });
  } catch (error) {
    // Somebody else's write came first: the change calls again.
    if (!(error instanceof StatusError)) throw error;
  }
}
