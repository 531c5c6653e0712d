// What a process that reads everything once and then lives for months does about its memory: reading leaves as much garbage behind as is
// kept, and V8, which lets a heap grow to several times what is in use before it looks for more, would keep the room for hours.

import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

/** Soon, when what the start began is over: collects everything, and from then on when the heap has grown by so much. */
export function settleMemory({ growingPercent }: { readonly growingPercent?: number } = {}): void {
  const settle = (): void => {
    setFlagsFromString("--expose-gc");
    const collect = runInNewContext("gc") as (options: { readonly type: string; readonly flavor: string }) => void;
    collect({ type: "major", flavor: "last-resort" });
    if (growingPercent !== undefined) setFlagsFromString(`--heap-growing-percent=${growingPercent}`);
  };
  setTimeout(settle, settledMs).unref();
}

const settledMs = 500;
