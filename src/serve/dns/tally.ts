// Counts of answers that were read from a table (answers.ts), as numbers in a block of memory: each thread that reads has its own,
// and the metrics page takes up what each has counted since the last time (metrics.ts has the names).

import { countedTypes, durationBounds, sizeBounds, type Metrics, requestKey } from "./metrics.ts";

export interface Tally {
  /** A response that is about to be sent. */
  count(
    family: 4 | 6,
    response: {
      readonly type: number;
      readonly rcode: number;
      readonly isCluster: boolean;
      readonly isOthers: boolean;
    },
    asked: number,
    sent: number,
  ): void;
  /** So many were sent, in so many milliseconds from the moment they were taken. */
  took(count: number, milliseconds: number): void;
  /** How many were not answered or could not be sent so far (kernel/udp.ts). */
  lost(dropped: number, unsent: number): void;
}

// Places of the numbers, each a double.
const typeCount = countedTypes.length + 1;
const requestsAt = 0;
const rcodesAt = requestsAt + 4 * typeCount;
const durationsAt = rcodesAt + 16;
const askedAt = durationsAt + durationBounds.length + 2;
const sentAt = askedAt + sizeBounds.length + 2;
const lostAt = sentAt + sizeBounds.length + 2;
const othersAt = lostAt + 2;
const tallyLength = othersAt + 1;

export function createTallyMemory(shared: boolean): Float64Array {
  return new Float64Array(shared ? new SharedArrayBuffer(tallyLength * 8) : new ArrayBuffer(tallyLength * 8));
}

/** Where one thread counts. */
export function createTally(numbers: Float64Array): Tally {
  const typeIndex = new Uint8Array(256);
  for (const [index, type] of countedTypes.entries()) typeIndex[type] = index + 1;
  const add = (at: number, value: number): void => {
    numbers[at] = (numbers[at] as number) + value;
  };
  const observe = (at: number, bounds: readonly number[], value: number, count: number): void => {
    let bucket = 0;
    while (bucket < bounds.length && value > (bounds[bucket] as number)) bucket++;
    add(at + bucket, count);
    add(at + bounds.length + 1, value * count);
  };
  return {
    count(family, { type, rcode, isCluster, isOthers }, asked, sent) {
      if (isOthers) add(othersAt, 1);
      const place = (family === 4 ? 0 : 2) + (isCluster ? 0 : 1);
      add(requestsAt + place * typeCount + (type < 256 ? (typeIndex[type] as number) : 0), 1);
      add(rcodesAt + rcode, 1);
      observe(askedAt, sizeBounds, asked, 1);
      observe(sentAt, sizeBounds, sent, 1);
    },
    took(count, milliseconds) {
      if (count > 0) observe(durationsAt, durationBounds, milliseconds / 1000, count);
    },
    lost(dropped, unsent) {
      numbers[lostAt] = dropped;
      numbers[lostAt + 1] = unsent;
    },
  };
}

/** Adds what was counted since the last call to the metrics; `seen` is what that call saw. */
export function takeTally(metrics: Metrics, numbers: Float64Array, seen: Float64Array): void {
  const now = numbers.slice();
  const since = (at: number): number => (now[at] as number) - (seen[at] as number);
  for (const [place, [family, zone]] of places.entries()) {
    for (let index = 0; index < typeCount; index++) {
      const count = since(requestsAt + place * typeCount + index);
      if (count === 0) continue;
      const key = requestKey(
        metrics,
        { protocol: "udp", family },
        index === 0 ? 0 : (countedTypes[index - 1] as number),
        zone,
      );
      metrics.requests.set(key, (metrics.requests.get(key) ?? 0) + count);
    }
  }
  for (let rcode = 0; rcode < 16; rcode++) {
    const key = metrics.responseKeys[rcode] ?? "";
    const count = since(rcodesAt + rcode);
    if (count > 0) metrics.responses.set(key, (metrics.responses.get(key) ?? 0) + count);
  }
  for (const [histogram, at] of [
    [metrics.durations, durationsAt],
    [metrics.requestBytes.udp, askedAt],
    [metrics.responseBytes.udp, sentAt],
  ] as const) {
    for (let bucket = 0; bucket <= histogram.bounds.length; bucket++)
      histogram.counts[bucket] = (histogram.counts[bucket] ?? 0) + since(at + bucket);
    histogram.sum += since(at + histogram.bounds.length + 1);
  }
  // An answer of others that is kept is a hit of their cache.
  metrics.cacheHits += since(othersAt);
  seen.set(now);
}

/** What `lost` was told last. */
export function lostOf(numbers: Float64Array): { readonly dropped: number; readonly unsent: number } {
  return { dropped: numbers[lostAt] ?? 0, unsent: numbers[lostAt + 1] ?? 0 };
}

const places = [
  [4, "cluster"],
  [4, "other"],
  [6, "cluster"],
  [6, "other"],
] as const;
