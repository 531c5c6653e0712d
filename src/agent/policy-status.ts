// What policies' owners should know, told as things change: Events on the policies, and conditions on ClusterNetworkPolicies. Each
// statement is told once for as long as it stays true.
//
// Not here: the statements (model/policy-status.ts), and where they are written: a lab's store (lab/policy-status.ts) or a real cluster's API
// server (policy-reports.ts).

import type { Condition } from "../kube/kinds.ts";
import { sameJson } from "../kube/equal.ts";
import type { KubeObject } from "../kube/object.ts";
import type { ClusterNetworkPolicy } from "../kube/policy-kinds.ts";
import {
  clusterPolicyConditions,
  policyStatements,
  withConditions,
  type Force,
  type Statement,
} from "../model/policy-status.ts";
import type { NetworkSource } from "../model/source.ts";
import { timeText, type Clock } from "../watch/clock.ts";

export interface PolicyStatusOptions {
  readonly source: NetworkSource;
  readonly clock: Clock;
  /** Every object there is to tell about. */
  objects(): readonly KubeObject[];
  force(): Promise<Force>;
  /** Statements about objects that are no policy to the model. */
  readonly others?: (object: KubeObject) => readonly Statement[] | undefined;
  tell(object: KubeObject, statement: Statement): void;
  /** Writes all of the status' conditions. What fails is tried again at the next look. */
  writeConditions(object: ClusterNetworkPolicy, conditions: readonly Condition[]): void;
  readonly log: (line: string) => void;
}

export interface PolicyStatus {
  /** Something changed that the source does not tell. */
  lookSoon(): void;
  close(): void;
}

/** Changes are gathered for so long: pods of a Deployment come together. */
const gatherMs = 200;
/** What is odd for a moment only, as while pods start, is not worth an Event; nor is how many a policy known before means meanwhile. */
const lastingMs = 3_000;
/** A look reads every policy against every pod: in large clusters it may take this share of the time. */
const shareMax = 1 / 50;

/** A statement that is true. */
interface Told {
  readonly sinceMs: number;
  readonly mayPass: boolean;
  isTold: boolean;
}

/** Looks after every change until closed. */
export function startPolicyStatus(options: PolicyStatusOptions): PolicyStatus {
  const { source, clock } = options;
  /** By policy and statement. */
  const known = new Map<string, ReadonlyMap<string, Told>>();
  let timer: { cancel(): void } | undefined;
  let dueMs = 0;
  let restsUntilMs = 0;
  let isClosed = false;

  /** True where something is still too young to be told. */
  const tell = (object: KubeObject, statements: readonly Statement[]): boolean => {
    const { uid = "" } = object.metadata;
    const before = known.get(uid);
    const begun = ({ isPassing, follows = "" }: Statement): Told => ({
      sinceMs: clock.now(),
      mayPass: isPassing === true || before?.has(follows) === true,
      isTold: false,
    });
    const now = new Map(statements.map((each) => [each.id, before?.get(each.id) ?? begun(each)] as const));
    known.set(uid, now);
    let isWaiting = false;
    for (const statement of statements) {
      const entry = now.get(statement.id);
      if (entry === undefined || entry.isTold) continue;
      entry.isTold = !entry.mayPass || clock.now() - entry.sinceMs >= lastingMs;
      if (entry.isTold) options.tell(object, statement);
      else isWaiting = true;
    }
    return isWaiting;
  };
  const look = async (): Promise<void> => {
    const objects = options.objects();
    const present = new Set(objects.map(({ metadata }) => metadata.uid ?? ""));
    for (const uid of known.keys()) if (!present.has(uid)) known.delete(uid);
    if (objects.length === 0) return;
    const network = source.current();
    const force = await options.force();
    if (isClosed) return;
    const began = performance.now();
    const waiting = objects.map((object) => {
      if (object.kind === "ClusterNetworkPolicy") {
        const policy = object as ClusterNetworkPolicy;
        const before = policy.status?.conditions ?? [];
        const wanted = clusterPolicyConditions(network, policy, force);
        const conditions = withConditions(before, wanted, timeText(clock.now()));
        if (!sameJson(conditions, before)) options.writeConditions(policy, conditions);
      }
      return tell(object, options.others?.(object) ?? policyStatements(network, object, force));
    });
    restsUntilMs = clock.now() + (performance.now() - began) / shareMax;
    if (waiting.includes(true)) lookAfter(lastingMs);
  };
  const lookAfter = (delayMs: number): void => {
    const due = Math.max(clock.now() + delayMs, restsUntilMs);
    if (isClosed || (timer !== undefined && dueMs <= due)) return;
    timer?.cancel();
    dueMs = due;
    timer = clock.after(due - clock.now(), () => {
      timer = undefined;
      look().catch((error: unknown) => options.log(`policy status: ${String(error)}`));
    });
  };
  const subscription = source.subscribe(() => lookAfter(gatherMs));
  lookAfter(gatherMs);
  return {
    lookSoon: () => lookAfter(gatherMs),
    close() {
      isClosed = true;
      timer?.cancel();
      subscription.close();
    },
  };
}
