// Many watchers in a process of their own: each over a TLS connection of its own, each counting what it sees and how late. It looks for one
// mark in each event and parses nothing, so that the machine is left to the server.
//
//   node watchers.ts PORT COUNT PATH      with a client's certificate and key in the environment (CERT, KEY)
//
// Tells its parent when all of them have seen the state of before; answers "count" with how much they have seen since, "reset" likewise and
// forgets it, and "report" with how late it was. That takes half a second for a million events, in which nothing is read: to be asked for when all have come.

import process from "node:process";
import { connect, createSecureContext } from "node:tls";
import { sharedNowMs, stampLength, stampMark } from "./objects.ts";

const [port = "", count = "", path = ""] = process.argv.slice(2);
const context = createSecureContext({ cert: process.env["CERT"], key: process.env["KEY"] });
const watchers = Number(count);
const mark = Buffer.from(stampMark);
const lastChunk = Buffer.from("\r\n0\r\n\r\n");
// One buffer for all: what is read is looked through at once. This is half the price of Node's streams.
const buffer = Buffer.alloc(64 * 1024);
/** Events by how late they were, in tenths of a millisecond; the last counts all that were later. */
const delays = new Uint32Array(100_000);
let events = 0;
let open = 0;
let ended = 0;
const seen = new Uint32Array(watchers);

for (let index = 0; index < watchers; index++) {
  // A handshake costs both sides milliseconds: not all at once.
  if (index >= 16) await until(() => open > index - 16);
  watch(index);
}
await until(() => open === watchers);
process.send?.({ kind: "open" });
process.on("message", (question) => {
  const { user, system } = process.cpuUsage();
  const soFar = { events, ended, cpuMs: (user + system) / 1000 };
  if (question === "count" || question === "reset") {
    process.send?.({ kind: "count", ...soFar });
    if (question === "count") return;
    events = 0;
    delays.fill(0);
    seen.fill(0);
    return;
  }
  const at = (share: number): number | null => {
    let left = events * share;
    const tenths = delays.findIndex((count) => (left -= count) < 0);
    return tenths < 0 ? null : tenths / 10;
  };
  process.send?.({
    kind: "report",
    ...soFar,
    least: Math.min(...seen),
    p50: at(0.5),
    p99: at(0.99),
    max: delays.findLastIndex((count) => count > 0) / 10,
  });
});

function note(delayMs: number): void {
  const tenths = Math.min(Math.max(0, Math.round(delayMs * 10)), delays.length - 1);
  delays[tenths] = (delays[tenths] ?? 0) + 1;
  events++;
}

/** The number that is written there, with three decimals. */
function stampAt(data: Buffer, start: number): number {
  let digits = 0;
  for (let at = start; at < start + stampLength; at++) {
    const digit = (data[at] ?? 0) - 0x30;
    if (digit >= 0) digits = digits * 10 + digit;
  }
  return digits / 1000;
}

async function until(isTrue: () => boolean): Promise<void> {
  while (!isTrue()) await new Promise((resolve) => setTimeout(resolve, 5));
}

function watch(index: number): void {
  let isOpen = false;
  let rest: Buffer | undefined;
  const read = (chunk: Buffer): void => {
    const now = sharedNowMs();
    const data = rest === undefined ? chunk : Buffer.concat([rest, chunk]);
    rest = undefined;
    if (!isOpen) {
      if (!data.includes("k8s.io/initial-events-end")) {
        rest = Buffer.from(data);
        return;
      }
      isOpen = true;
      open++;
    }
    let from = 0;
    for (let at = data.indexOf(mark); at >= 0; at = data.indexOf(mark, from)) {
      const start = at + mark.length;
      if (start + stampLength > data.length) break;
      note(now - stampAt(data, start));
      seen[index] = (seen[index] ?? 0) + 1;
      from = start + stampLength;
    }
    // A server that cuts a watcher off ends its answer and may keep the connection.
    if (data.subarray(-7).equals(lastChunk) || data.equals(lastChunk.subarray(2))) ended++;
    // A mark may be cut in two; lines end with a newline.
    const kept = Math.max(from, data.length - mark.length - stampLength);
    if (data.at(-1) !== 0x0a && kept < data.length) rest = Buffer.from(data.subarray(kept));
  };
  const options = {
    host: "127.0.0.1",
    port: Number(port),
    secureContext: context,
    rejectUnauthorized: false,
    onread: {
      buffer,
      callback(count: number) {
        read(buffer.subarray(0, count));
        return true;
      },
    },
  };
  const socket = connect(options);
  socket.on("secureConnect", () =>
    socket.write(`GET ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: bench/1\r\nAccept: application/json\r\n\r\n`),
  );
  socket.on("error", () => undefined);
  socket.on("close", () => ended++);
}
