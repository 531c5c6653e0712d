// Further threads of the server (worker.ts): where they are started, which sockets they serve, and their questions that need the zone, the
// cache or an upstream. A thread that ends by itself leaves its clients to the others: its sockets are closed, and the kernel gives
// its clients to those that are left.

import { Worker } from "node:worker_threads";

import { closeUdp, openUdp, type Datagram } from "../../kernel/udp.ts";
import type { NetworkNamespace } from "../../kernel/namespaces.ts";
import type { SocketAddress } from "../../kernel/sockets.ts";
import type { TableMemory } from "./answer-table.ts";
import type { DnsLog } from "./log.ts";
import type { QueryLog } from "./query-log.ts";
import type { Clock } from "./clock.ts";
import { aheadOfMachine } from "./thread-clock.ts";
import { createTallyMemory, lostOf } from "./tally.ts";
import type { FromWorker, ToWorker, WorkerQuestion } from "./worker.ts";

export interface Workers {
  /** Gives each thread a socket at the address, beside the server's own. Throws KernelError with none opened. */
  open(socket: SharedSocket): WorkerSockets;
  /** Resolves when all have ended. */
  close(): Promise<void>;
}

export interface SharedSocket {
  readonly namespace: NetworkNamespace;
  readonly address: SocketAddress;
  readonly memories: readonly TableMemory[];
  readonly handle: (datagram: Datagram) => void;
}

/** The sockets of all threads at one address. */
export interface WorkerSockets {
  /** What they counted. */
  readonly tallies: readonly Float64Array[];
  dropped(): number;
  unsent(): number;
  close(): void;
}

/** Starts `count` threads. */
export function startWorkers(
  count: number,
  { log, queryLog, clock }: { readonly log: DnsLog; readonly queryLog: QueryLog; readonly clock: Clock },
): Workers {
  const threads = Array.from({ length: count }, (_, index) => startThread(index + 2, log, queryLog));
  let next = 0;
  return {
    open({ namespace, address, memories, handle }) {
      const socket = next++;
      const opened: { readonly fd: number; readonly port: number }[] = [];
      try {
        for (const _ of threads) opened.push(openUdp(namespace, { ...address, sharing: true }));
      } catch (error) {
        for (const { fd } of opened) closeUdp(fd);
        throw error;
      }
      const tallies = threads.map((thread, index) => {
        const tally = createTallyMemory(true);
        const { fd, port } = opened[index] as (typeof opened)[0];
        const ahead = aheadOfMachine(clock);
        thread.open({ kind: "open", socket, fd, port, memories, tally, ahead }, handle);
        return tally;
      });
      const sum = (of: (numbers: Float64Array) => number): number => tallies.reduce((all, each) => all + of(each), 0);
      return {
        tallies,
        dropped: () => sum((tally) => lostOf(tally).dropped),
        unsent: () => sum((tally) => lostOf(tally).unsent),
        close() {
          for (const thread of threads) thread.close(socket);
        },
      };
    },
    async close() {
      await Promise.all(threads.map((thread) => thread.end()));
    },
  };
}

interface Thread {
  open(message: Extract<ToWorker, { readonly kind: "open" }>, handle: (datagram: Datagram) => void): void;
  close(socket: number): void;
  end(): Promise<void>;
}

/** It keeps no answers of its own, so this is plenty. */
const resourceLimits = { maxYoungGenerationSizeMb: 2, maxOldGenerationSizeMb: 32 };

function startThread(number: number, log: DnsLog, queryLog: QueryLog): Thread {
  const worker = new Worker(new URL("./worker.ts", import.meta.url), { resourceLimits, name: `dns-${number}` });
  const sockets = new Map<number, { readonly fd: number; readonly handle: (datagram: Datagram) => void }>();
  let state: "runs" | "ends" | "gone" = "runs";
  const tell = (message: ToWorker): void => worker.postMessage(message, []);
  worker.unref();
  worker.on("error", (error) =>
    log.error(`worker ${number}: ${error instanceof Error ? error.message : String(error)}`),
  );
  worker.on("exit", () => {
    if (state === "runs") log.error(`worker ${number} has ended: the others answer its clients`);
    // Nobody reads them any more, and the kernel would go on giving them questions.
    if (state === "runs") for (const { fd } of sockets.values()) closeUdp(fd);
    state = "gone";
    sockets.clear();
  });
  let formatsTold = 0;
  worker.on("message", ({ questions, lines }: FromWorker) => {
    if (lines !== undefined) queryLog.lines(lines);
    const replies: { ticket: number; bytes: Uint8Array | undefined }[] = [];
    let isNow = true;
    for (const question of questions) {
      const reply = (bytes: Uint8Array | undefined): void => {
        if (isNow) replies.push({ ticket: question.ticket, bytes });
        else if (state === "runs") tell({ kind: "replies", replies: [{ ticket: question.ticket, bytes }] });
      };
      answer(question, sockets.get(question.socket)?.handle, reply);
    }
    isNow = false;
    if (replies.length > 0) tell({ kind: "replies", replies });
    // A format is new with the first answer that is logged so; until it is known there, such questions come here.
    const { formats } = queryLog;
    if (formats.length > formatsTold) tell({ kind: "formats", formats: [...formats] });
    formatsTold = formats.length;
  });
  return {
    open(message, handle) {
      if (state !== "runs") return closeUdp(message.fd);
      sockets.set(message.socket, { fd: message.fd, handle });
      tell(message);
    },
    close(socket) {
      if (sockets.delete(socket)) tell({ kind: "close", socket });
    },
    async end() {
      if (state !== "runs") return;
      for (const socket of sockets.keys()) tell({ kind: "close", socket });
      state = "ends";
      worker.ref();
      await new Promise<void>((resolve) => {
        worker.once("exit", () => resolve());
        tell({ kind: "end" });
      });
    },
  };
}

/** Asks as if the datagram had come here. `reply` is called once. */
function answer(
  { bytes, family, source }: WorkerQuestion,
  handle: ((datagram: Datagram) => void) | undefined,
  reply: (bytes: Uint8Array | undefined) => void,
): void {
  const room = new Uint8Array(roomBytes);
  let isLater = false;
  let sent: Uint8Array | undefined;
  handle?.({
    bytes,
    cut: false,
    family,
    room,
    send: (length) => (sent = room.subarray(0, length)),
    later() {
      isLater = true;
      return reply;
    },
    source: () => source,
  });
  if (!isLater) reply(sent?.slice());
}

/** Of a response by UDP. */
const roomBytes = 4096;
