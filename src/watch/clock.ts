// Time of the day, as objects have it: a parameter, so that tests and simulations decide how late it is.
//
// Not here: intervals of watches, which no change of the machine's time may touch (cluster/clock.ts).

/** What tells the time and wakes up later. */
export interface Clock {
  /** Milliseconds since 1970, as Date.now() gives them. */
  now(): number;
  /** Runs once after that many milliseconds unless cancelled. It does not keep the process alive. */
  after(delayMs: number, run: () => void): { cancel(): void };
}

/** The machine's clock. */
export const systemClock: Clock = {
  now: () => Date.now(),
  after(delayMs, run) {
    // A longer delay would overflow the timer's 32 bits and fire at once: wake up early instead, callers look again.
    const timer = setTimeout(run, Math.min(delayMs, 0x7fff_ffff));
    timer.unref();
    return { cancel: () => clearTimeout(timer) };
  },
};

/** meta/v1 Time: RFC 3339 in UTC with whole seconds. */
export function timeText(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 19)}Z`;
}

/** meta/v1 MicroTime: RFC 3339 in UTC with six decimals. */
export function microTimeText(ms: number): string {
  return new Date(ms).toISOString().replace("Z", "000Z");
}

/** The milliseconds of an API time; undefined for absent or unreadable text. */
export function timeMs(text: string | undefined): number | undefined {
  const ms = text === undefined ? Number.NaN : Date.parse(text);
  return Number.isNaN(ms) ? undefined : ms;
}
