// One of many does a thing for the cluster: a Lease (coordination.k8s.io/v1) says who.
//
// As client-go's leaderelection: a holder that has not renewed for the lease's time, by the clock of who watches and since it saw the last
// change, has lost it; so that no two clocks are compared. Not here: what the holder does.

import { microTimeText } from "../clock.ts";
import { ApiError, resourcePath, type ClusterClient } from "./client.ts";
import { systemClock, type IntervalClock } from "./clock.ts";

interface Lease {
  readonly apiVersion: "coordination.k8s.io/v1";
  readonly kind: "Lease";
  readonly metadata: { readonly name: string; readonly namespace: string; readonly resourceVersion?: string };
  readonly spec?: {
    readonly holderIdentity?: string;
    readonly leaseDurationSeconds?: number;
    readonly acquireTime?: string;
    readonly renewTime?: string;
    readonly leaseTransitions?: number;
  };
}

export interface LeaseOptions {
  readonly client: ClusterClient;
  readonly namespace: string;
  readonly name: string;
  /** Unique among all who ask. */
  readonly identity: string;
  /** Without renewal for so long, another may take it. */
  readonly seconds: number;
  /** How long one who does not hold it waits until it looks again, in milliseconds; less where it can become free before. */
  readonly lookEveryMs: () => number;
  readonly acquired: () => void;
  /** Another has it, or nobody could be asked for too long. */
  readonly lost: () => void;
  readonly log: (line: string) => void;
  readonly clock?: IntervalClock;
}

export interface HeldLease {
  /** Gives it up where it is held, so that another can take it at once. Never rejects. */
  close(): Promise<void>;
}

/** Asks for the Lease until closed. */
export function holdLease(options: LeaseOptions): HeldLease {
  const { client, namespace, name, identity, seconds, log, clock = systemClock } = options;
  const resource = { group: "coordination.k8s.io", version: "v1", resource: "leases" };
  const path = resourcePath(resource, { namespace, name });
  const request = { timeoutMs: (seconds * 1000) / 3 } as const;
  let seen: { readonly version: string; readonly atMs: number } | undefined;
  let renewedMs: number | undefined;
  let timer: { cancel(): void } | undefined;
  let isClosed = false;
  let told = "";

  const read = async (): Promise<Lease | undefined> => {
    try {
      return await client.request<Lease>({ ...request, path });
    } catch (error) {
      if (error instanceof ApiError && error.status === 404) return undefined;
      throw error;
    }
  };
  const leaseOf = (before: Lease | undefined, holderIdentity: string): Lease => {
    const now = microTimeText(Date.now());
    const isSame = before?.spec?.holderIdentity === identity;
    return {
      apiVersion: "coordination.k8s.io/v1",
      kind: "Lease",
      metadata: { name, namespace, ...before?.metadata },
      spec: {
        holderIdentity,
        leaseDurationSeconds: holderIdentity === "" ? 1 : seconds,
        acquireTime: isSame ? (before.spec?.acquireTime ?? now) : now,
        renewTime: now,
        leaseTransitions: (before?.spec?.leaseTransitions ?? 0) + (isSame || before === undefined ? 0 : 1),
      },
    };
  };
  const write = async (before: Lease | undefined, holder: string): Promise<void> => {
    const body = leaseOf(before, holder);
    if (before === undefined)
      await client.request({ ...request, method: "POST", path: resourcePath(resource, { namespace }), body });
    // With the resourceVersion that was read: whoever comes second is refused.
    else await client.request({ ...request, method: "PUT", path, body });
  };
  /** Milliseconds until the next look. */
  const look = async (): Promise<number> => {
    const asked = clock.now();
    const lease = await read();
    const holder = lease?.spec?.holderIdentity ?? "";
    const version = lease?.metadata.resourceVersion ?? "";
    if (seen?.version !== version) seen = { version, atMs: clock.now() };
    const freeAtMs = seen.atMs + (lease?.spec?.leaseDurationSeconds ?? seconds) * 1000;
    if (holder !== "" && holder !== identity && clock.now() < freeAtMs) {
      lose();
      return Math.min(options.lookEveryMs(), freeAtMs - clock.now() + 50);
    }
    await write(lease, identity);
    const wasHeld = renewedMs !== undefined;
    renewedMs = asked;
    if (isClosed) return 0;
    if (!wasHeld) options.acquired();
    return (seconds * 1000) / 3;
  };
  const lose = (): void => {
    if (renewedMs === undefined) return;
    renewedMs = undefined;
    options.lost();
  };
  const round = async (): Promise<void> => {
    let delayMs: number;
    try {
      delayMs = await look();
      told = "";
    } catch (error) {
      const isConflict = error instanceof ApiError && error.status === 409;
      const text = error instanceof Error ? error.message : String(error);
      if (!isConflict && told !== text) log(`ask for lease ${namespace}/${name}: ${text}; tried again`);
      if (!isConflict) told = text;
      if (renewedMs !== undefined && clock.now() - renewedMs > (seconds * 1000 * 2) / 3) lose();
      delayMs = renewedMs === undefined ? options.lookEveryMs() : (seconds * 1000) / 6;
    }
    if (isClosed) return;
    timer = clock.setTimer(delayMs, () => {
      running = round();
    });
  };
  let running = round();
  return {
    async close() {
      isClosed = true;
      timer?.cancel();
      await running;
      if (renewedMs === undefined) return;
      renewedMs = undefined;
      try {
        const lease = await read();
        if (lease?.spec?.holderIdentity === identity) await write(lease, "");
      } catch {
        // It runs out by itself.
      }
    },
  };
}
