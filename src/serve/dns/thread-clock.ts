// One clock for all threads of a server: each thread's `performance.now()` begins when the thread does, the machine's own is one for all.

import process from "node:process";

/** How far a clock of this thread is ahead of the machine's, in milliseconds. */
export function aheadOfMachine(clock: { now(): number }): number {
  return clock.now() - Number(process.hrtime.bigint()) / 1e6;
}

/** The clock that is so far ahead of the machine's, in any thread. */
export function clockAhead(milliseconds: number): { now(): number } {
  const difference = milliseconds - aheadOfMachine(performance);
  return { now: () => performance.now() + difference };
}
