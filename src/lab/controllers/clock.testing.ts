// A clock that stands still until a test moves it.

import type { Clock } from "../../watch/clock.ts";

export interface FakeClock extends Clock {
  /** Moves on and runs what became due, in order of time. */
  advance(ms: number): void;
  /** Timers not yet due. */
  readonly pending: number;
}

export function createFakeClock(start: number = Date.parse("2026-01-01T00:00:00Z")): FakeClock {
  let now = start;
  let serial = 0;
  const timers = new Map<number, { at: number; run: () => void }>();
  const next = (until: number): number | undefined =>
    [...timers].filter(([, { at }]) => at <= until).sort(([a, { at: x }], [b, { at: y }]) => x - y || a - b)[0]?.[0];
  return {
    now: () => now,
    after(delayMs, run) {
      const id = serial++;
      timers.set(id, { at: now + delayMs, run });
      return { cancel: () => void timers.delete(id) };
    },
    advance(ms) {
      const until = now + ms;
      for (let id = next(until); id !== undefined; id = next(until)) {
        const timer = timers.get(id);
        timers.delete(id);
        if (timer === undefined) continue;
        now = Math.max(now, timer.at);
        timer.run();
      }
      now = until;
    },
    get pending() {
      return timers.size;
    },
  };
}
