// A further thread of the server: it has sockets of its own on the server's ports, answers from the tables that the server's own thread writes,
// and hands it what is not there. It knows no zone, no Corefile and no upstream, so a changed answer is changed for all threads at once.
//
// Not here: starting threads and what they ask (workers.ts).

import { parentPort } from "node:worker_threads";

import { serveFd, type Datagram, type UdpServer } from "../../kernel/udp.ts";
import type { Address } from "../../ip/address.ts";
import { readAnswers, type TableMemory } from "./answer-table.ts";
import { createQueryLog } from "./query-log.ts";
import { quickAnswers } from "./quick.ts";
import { createTally } from "./tally.ts";
import { clockAhead } from "./thread-clock.ts";

/** What the server's own thread says. */
export type ToWorker =
  | {
      readonly kind: "open";
      readonly socket: number;
      readonly fd: number;
      readonly port: number;
      readonly memories: readonly TableMemory[];
      readonly tally: Float64Array;
      /** The server's clock (thread-clock.ts). */
      readonly ahead: number;
    }
  | { readonly kind: "close"; readonly socket: number }
  /** When everything that was said before is done. */
  | { readonly kind: "end" }
  | { readonly kind: "replies"; readonly replies: readonly Reply[] }
  /** Those of the query log (query-log.ts), in the order of their numbers. */
  | { readonly kind: "formats"; readonly formats: readonly string[] };

/** Without bytes: there will be none. */
interface Reply {
  readonly ticket: number;
  readonly bytes: Uint8Array | undefined;
}

/** Questions that are not in the tables, or lines of the query log about those that were. */
export interface FromWorker {
  readonly questions: readonly WorkerQuestion[];
  readonly lines?: Uint8Array;
}

export interface WorkerQuestion {
  readonly socket: number;
  readonly ticket: number;
  readonly bytes: Uint8Array;
  readonly family: 4 | 6;
  readonly source: { readonly address: Address; readonly port: number };
}

/** More questions are not handed over: their clients ask again, and most of the flood's others are answered from the tables. */
const waitingMax = 4096;

const servers = new Map<number, UdpServer>();
const waiting = new Map<number, (reply: Uint8Array) => void>();
const queryLog = createQueryLog((lines) => {
  parentPort?.postMessage({ questions: [], lines: lines.slice() } satisfies FromWorker, []);
});
let questions: WorkerQuestion[] = [];
let next = 0;

parentPort?.on("message", (message: ToWorker) => {
  switch (message.kind) {
    case "open":
      return open(message);
    case "close":
      servers.get(message.socket)?.close();
      servers.delete(message.socket);
      return;
    case "end":
      queryLog.flush();
      return parentPort?.close();
    case "formats":
      return queryLog.learn(message.formats);
    case "replies":
      for (const { ticket, bytes } of message.replies) {
        if (bytes !== undefined) waiting.get(ticket)?.(bytes);
        waiting.delete(ticket);
      }
  }
});

function open({
  socket,
  fd,
  port,
  memories,
  tally: numbers,
  ahead,
}: Extract<ToWorker, { readonly kind: "open" }>): void {
  const tally = createTally(numbers);
  const quick = quickAnswers({
    reader: readAnswers(memories, Math.random),
    clock: clockAhead(ahead),
    tally,
    queryLog,
    begin() {},
    end() {
      tally.lost(server.dropped(), server.unsent());
      if (questions.length === 0) return;
      parentPort?.postMessage({ questions } satisfies FromWorker, []);
      questions = [];
    },
  });
  const server = serveFd(fd, port, (datagram) => handOver(socket, datagram), quick);
  servers.set(socket, server);
}

function handOver(socket: number, datagram: Datagram): void {
  // What was cut off is no query of anybody's.
  if (datagram.cut || waiting.size >= waitingMax) return;
  const ticket = next++;
  waiting.set(ticket, datagram.later());
  const { bytes, family } = datagram;
  questions.push({ socket, ticket, bytes: bytes.slice(), family, source: datagram.source() });
}
