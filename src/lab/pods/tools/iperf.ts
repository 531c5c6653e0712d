// iperf, for machines that have none: the TCP half of iperf 2, server and client, with its plain and its comma-separated reports.
// What it measures is also this program: one Node process fills a few Gbit/s.

import { lookup } from "node:dns/promises";
import net from "node:net";
import process from "node:process";
import { parseOptions, UsageError, type OptionTable, type ParsedOptions } from "./options.ts";

/** 0 where the test ran to its end, else 1. */
export async function iperf(words: readonly string[]): Promise<number> {
  try {
    const options = parseOptions(words, table);
    if (options.has("version")) {
      process.stdout.write("iperf version 2.2.0 (Fairlead's, TCP only)\n");
      return 1;
    }
    if (options.has("u")) throw new UsageError("-u: this iperf has TCP only");
    const port = Number(options.value("p") ?? 5001);
    if (options.has("s")) return await serve(port);
    const host = options.value("c");
    if (host === undefined) throw new UsageError("give -s, or -c HOST");
    return await measure(host, port, options);
  } catch (error) {
    process.stderr.write(`iperf: ${(error as Error).message}\n`);
    return 1;
  }
}

const table: OptionTable = {
  flags: ["s", "e", "V", "u", "version", "D"],
  values: ["c", "p", "t", "i", "reportstyle", "f", "B", "w", "P", "l"],
  letters: { v: "version", y: "reportstyle" },
};

/** Takes in all that comes until it is told to stop. */
function serve(port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const open = new Set<net.Socket>();
    const server = net.createServer((socket) => {
      open.add(socket);
      socket.on("close", () => open.delete(socket));
      socket.on("error", () => socket.destroy());
      socket.resume();
    });
    server.on("error", reject);
    server.listen(port, () => process.stdout.write(`Server listening on TCP port ${port}\n`));
    const end = (): void => {
      server.close();
      for (const socket of open) socket.destroy();
      resolve(0);
    };
    for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, end);
  });
}

async function measure(host: string, port: number, options: ParsedOptions): Promise<number> {
  const { address } = await lookup(host, { family: options.has("V") ? 6 : 0 });
  const socket = net.connect({ host: address, port });
  await new Promise<void>((resolve, reject) => void socket.once("connect", resolve).once("error", reject));
  const seconds = Number(options.value("t") ?? 10);
  const every = Number(options.value("i") ?? 0);
  const asTable = (options.value("reportstyle") ?? "").toLowerCase() === "c";
  const report = asTable ? csvReport(socket) : plainReport(socket);
  const began = performance.now();
  let before = { at: 0, bytes: 0 };
  const look = (): void => {
    const now = { at: (performance.now() - began) / 1000, bytes: sentBytes(socket) };
    report.interval(before.at, now.at, now.bytes - before.bytes);
    before = now;
  };
  const timer = every > 0 ? setInterval(look, every * 1000) : undefined;
  const failure = await fill(socket, seconds * 1000);
  clearInterval(timer);
  const total = { at: (performance.now() - began) / 1000, bytes: sentBytes(socket) };
  if (every > 0 && total.at - before.at > every / 2) look();
  report.total(total.at, total.bytes);
  socket.destroy();
  if (failure !== undefined) process.stderr.write(`iperf: write failed: ${failure.message}\n`);
  return failure === undefined ? 0 : 1;
}

/** What has left this process. */
function sentBytes(socket: net.Socket): number {
  return socket.bytesWritten - socket.writableLength;
}

/** Writes as fast as it is taken; gives the error that ended it early. */
function fill(socket: net.Socket, ms: number): Promise<Error | undefined> {
  const chunk = Buffer.alloc(128 * 1024, "0123456789");
  return new Promise((resolve) => {
    let ended = false;
    const end = (error?: Error): void => {
      ended = true;
      clearTimeout(timer);
      resolve(error);
    };
    const timer = setTimeout(end, ms);
    const write = (): void => {
      while (!ended && socket.write(chunk));
    };
    socket.on("drain", write);
    socket.once("error", end);
    write();
  });
}

interface Report {
  interval(from: number, to: number, bytes: number): void;
  total(seconds: number, bytes: number): void;
}

/** As iperf 2.2's --reportstyle C: a line of names, then 17 fields a line, the last one over the whole time. */
function csvReport(socket: net.Socket): Report {
  process.stdout.write(
    "time,srcaddress,srcport,dstaddr,dstport,transferid,istart,iend,bytes,speed,writecnt,writeerr,tcpretry,tcpcwnd,tcppcwnd,tcprtt,tcprttvar\n",
  );
  const ends = `${socket.localAddress},${socket.localPort},${socket.remoteAddress},${socket.remotePort}`;
  const line = (from: number, to: number, bytes: number): void => {
    const stamp = new Date().toISOString().replaceAll(/[-:TZ]/g, "");
    const speed = Math.round((bytes * 8) / Math.max(to - from, 0.001));
    process.stdout.write(
      `+0000:${stamp},${ends},1,${from.toFixed(1)},${to.toFixed(1)},${bytes},${speed},-1,-1,-1,-1,-1,0,0\n`,
    );
  };
  return { interval: line, total: (seconds, bytes) => line(0, seconds, bytes) };
}

function plainReport(socket: net.Socket): Report {
  const { localAddress, localPort, remoteAddress, remotePort } = socket;
  process.stdout.write(
    `[  1] local ${localAddress} port ${localPort} connected with ${remoteAddress} port ${remotePort}\n[ ID] Interval       Transfer     Bandwidth\n`,
  );
  const line = (from: number, to: number, bytes: number): void => {
    const gigabits = (bytes * 8) / Math.max(to - from, 0.001) / 1e9;
    const span = `${from.toFixed(2)}-${to.toFixed(2)} sec`;
    process.stdout.write(`[  1] ${span}  ${(bytes / 2 ** 30).toFixed(2)} GBytes  ${gigabits.toFixed(2)} Gbits/sec\n`);
  };
  return { interval: line, total: (seconds, bytes) => line(0, seconds, bytes) };
}
