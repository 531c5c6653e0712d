// What a container says before the client it was made for has attached: `kubectl run -i` makes a pod with stdinOnce and attaches once it
// runs, and by then a command of a few milliseconds has said everything. Container runtimes lose it.

import type { Readable } from "node:stream";
import type { ContainerProcess, EarlyOutput } from "./container.ts";

/** More than this is not kept: the log has it. */
const keptBytesMax = 1024 * 1024;

/** The process, which hands out once what it has said so far. */
export function withEarlyOutput(process: ContainerProcess): ContainerProcess {
  let said: EarlyOutput[] = [];
  let bytes = 0;
  const stops = [keep(process.stdout, "stdout"), keep(process.stderr, "stderr")];
  return {
    ...process,
    takeEarlyOutput() {
      const taken = said;
      said = [];
      for (const stop of stops) stop();
      return taken;
    },
  };

  function keep(from: Readable | undefined, stream: EarlyOutput["stream"]): () => void {
    const listener = (chunk: Buffer): void => {
      bytes += chunk.length;
      if (bytes <= keptBytesMax) said.push({ stream, chunk });
    };
    from?.on("data", listener);
    return () => void from?.off("data", listener);
  }
}
