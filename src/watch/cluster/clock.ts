// Time as a parameter.

/** Intervals and timers. */
export interface IntervalClock {
  /** Milliseconds, for intervals; it only goes forward. */
  now(): number;
  setTimer(delayMs: number, call: () => void): { cancel(): void };
}

/** The machine's. */
export const systemClock: IntervalClock = {
  now: () => performance.now(),
  setTimer(delayMs, call) {
    const timer = setTimeout(call, delayMs);
    return { cancel: () => clearTimeout(timer) };
  },
};
