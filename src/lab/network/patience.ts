// Waiting for an answer, measured in time in which it could have been noticed.
//
// A process that was held up (a synchronous child, a busy machine) finds its timers due before it reads what has arrived meanwhile: a
// plain timer would call an answer that is there silence.

const slices = 10;

/** Calls `late` once after `ms` milliseconds, of which what the event loop stood still counts a tenth at most. Returns how to call it off. */
export function afterWaiting(ms: number, late: () => void): () => void {
  let left = slices;
  const timer = setInterval(() => {
    if (--left > 0) return;
    clearInterval(timer);
    late();
  }, ms / slices);
  return () => clearInterval(timer);
}
