// `fairlead exec [-it] POD -- CMD`: a process in the container's namespaces, its streams and exit status here.

import process from "node:process";
import { labClient } from "../lab/client.ts";
import { channel, createFrameReader, frame } from "../lab/frames.ts";
import { labPaths } from "../lab/paths.ts";

interface ExecOptions {
  readonly name: string;
  readonly namespace: string;
  readonly container?: string;
  readonly stdin?: boolean;
  readonly tty?: boolean;
}

export default async function exec(pod: string, command: readonly string[], options: ExecOptions): Promise<number> {
  const tty = options.tty === true && process.stdin.isTTY;
  const stream = await labClient(labPaths(options.name)).stream("/exec", {
    pod,
    namespace: options.namespace,
    container: options.container,
    command,
    stdin: options.stdin === true,
    tty,
    ...(tty && { columns: process.stdout.columns, rows: process.stdout.rows }),
  });
  const result = new Promise<number>((resolve, reject) => {
    const read = createFrameReader((number, payload) => {
      if (number === channel.stdout) process.stdout.write(payload);
      else if (number === channel.stderr) process.stderr.write(payload);
      else if (number === channel.result) {
        const { exitCode, message } = JSON.parse(payload.toString("utf8")) as { exitCode: number; message?: string };
        if (message !== undefined) process.stderr.write(`fairlead exec: ${message}\n`);
        resolve(exitCode);
      }
    });
    stream.on("data", read);
    stream.on("error", reject);
    stream.on("close", () => reject(new Error("the lab closed the stream before the command ended")));
  });
  if (options.stdin === true) {
    process.stdin.on("data", (chunk: Buffer) => stream.write(frame(channel.stdin, chunk)));
    process.stdin.on("end", () => stream.write(frame(channel.stdin, "")));
  }
  if (tty) {
    process.stdin.setRawMode(true);
    process.stdout.on("resize", () =>
      stream.write(
        frame(channel.resize, JSON.stringify({ columns: process.stdout.columns, rows: process.stdout.rows })),
      ),
    );
  }
  try {
    return await result;
  } finally {
    if (tty) process.stdin.setRawMode(false);
    process.stdin.destroy();
    stream.destroy();
  }
}
