// How long to wait before trying again: 10 s, doubled each time up to 5 minutes, forgotten after 10 minutes of quiet.
// The kubelet's numbers for crashing containers and for images (MaxContainerBackOff, pkg/kubelet/kubelet.go).

export interface Backoff {
  /** Milliseconds still to wait, 0 for now; counted from `since`, or from the last try where it is left out. */
  waitMs(key: string, since?: number): number;
  /** A try is made now: the next one waits longer. Gives the wait after it. */
  tried(key: string): number;
  forget(key: string): void;
}

/** A back-off table over the given time in milliseconds since 1970. */
export function createBackoff(now: () => number, limits: BackoffLimits = kubeletLimits): Backoff {
  const entries = new Map<string, { delay: number; at: number }>();
  const current = (key: string): { delay: number; at: number } | undefined => {
    const entry = entries.get(key);
    return entry !== undefined && now() - entry.at > limits.quietMs ? undefined : entry;
  };
  return {
    waitMs(key, since) {
      const entry = current(key);
      return entry === undefined ? 0 : Math.max(0, (since ?? entry.at) + entry.delay - now());
    },
    tried(key) {
      const entry = current(key);
      const delay = entry === undefined ? limits.firstMs : Math.min(entry.delay * 2, limits.longestMs);
      entries.set(key, { delay, at: now() });
      return delay;
    },
    forget: (key) => void entries.delete(key),
  };
}

export interface BackoffLimits {
  readonly firstMs: number;
  readonly longestMs: number;
  readonly quietMs: number;
}

const kubeletLimits: BackoffLimits = { firstMs: 10_000, longestMs: 300_000, quietMs: 600_000 };

/** Go's way to write a duration in whole seconds: `10s`, `1m20s`, `5m0s`. */
export function durationText(ms: number): string {
  const seconds = Math.round(ms / 1000);
  if (seconds < 60) return `${seconds}s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes}m${seconds % 60}s`;
  return `${Math.floor(minutes / 60)}h${minutes % 60}m${seconds % 60}s`;
}
