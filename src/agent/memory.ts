// What a process that reads everything once and then lives for months does about its memory: reading leaves as much garbage behind as is
// kept, and V8, which lets a heap grow to several times what is in use before it looks for more, would keep the room for hours.

import { getHeapStatistics, setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

/**
 * Now, as the last step of a start: collects what the start has left, and with `roomBytes` from then on when the heap has grown by so much, or
 * by two fifths where it is small: a look at a heap of tens of thousands of Services is a quarter of a second. Left to V8, the collection would
 * come with one of the first changes. (Once over everything is enough: `last-resort` takes two to three times as long for a twentieth of the
 * memory, and forgets compiled code.)
 */
export function settleMemory({ roomBytes }: { readonly roomBytes: number }): void {
  collector()({ type: "major" });
  const percent = Math.round((100 * roomBytes) / getHeapStatistics().used_heap_size);
  setFlagsFromString(`--heap-growing-percent=${Math.max(percentMin, Math.min(percent, percentMax))}`);
}

const percentMin = 8;
const percentMax = 40;

/**
 * Now, before anybody is answered: a collection of everything is a tenth of a second with ten thousand Services, for which questions would wait
 * later. What is kept for good should have been made: what goes with it is collected too.
 */
export function collectNow(): void {
  collector()({ type: "major", flavor: "last-resort" });
}

/**
 * Now, between two steps of a start, where the first one has left much: what the second one makes comes into the place of what nobody wants any more.
 * A quarter of a second with 44,000 Services, for 30 to 50 MB.
 */
export function collectBetween(): void {
  if (getHeapStatistics().used_heap_size > muchBytes) collector()({ type: "major" });
}

const muchBytes = 100 * 2 ** 20;

function collector(): (options: { readonly type: "major"; readonly flavor?: "last-resort" }) => void {
  setFlagsFromString("--expose-gc");
  return runInNewContext("gc") as ReturnType<typeof collector>;
}
