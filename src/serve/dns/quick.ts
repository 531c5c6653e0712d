// Answers that are kept as bytes, given to a batch of datagrams, counted, and logged where somebody wants that.
//
// Not here: the socket (kernel/udp.ts), what is kept (answers.ts).

import type { QuickAnswers, QuickDatagram } from "../../kernel/udp.ts";
import type { AnswerReader } from "./answer-table.ts";
import type { LoggedQuery, QueryLog } from "./query-log.ts";
import type { Tally } from "./tally.ts";

export function quickAnswers(parts: {
  readonly reader: AnswerReader;
  readonly clock: { now(): number };
  readonly tally: Tally;
  readonly queryLog: QueryLog;
  /** Before a batch, and behind it. */
  readonly begin: () => void;
  readonly end?: () => void;
}): QuickAnswers {
  const { reader, clock, tally, queryLog, begin, end } = parts;
  let began = 0;
  let count = 0;
  const logged = nothingLogged();
  /** False: this thread does not know the format. */
  const log = (datagram: QuickDatagram, size: number): boolean => {
    logged.bytes = datagram.bytes;
    logged.response = datagram.bytes;
    logged.at = datagram.at;
    logged.length = datagram.length;
    logged.from = datagram.room;
    logged.size = size;
    logged.sourceAt = datagram.source;
    logged.rcode = reader.rcode;
    readOpt(logged);
    logged.took = clock.now() - began;
    return queryLog.write(reader.logFormat, logged);
  };
  return {
    begin() {
      begin();
      began = clock.now();
      count = 0;
    },
    answer(datagram) {
      const size = reader.read(datagram.bytes, datagram.at, datagram.length, datagram.room, 0, began);
      if (size === 0 || (reader.logFormat !== 0 && !log(datagram, size))) return 0;
      count++;
      tally.count(datagram.family, reader, datagram.length, size);
      return size;
    },
    end() {
      tally.took(count, clock.now() - began);
      end?.();
    },
  };
}

/** For lines of the query log: one value for all. */
export function nothingLogged(): LoggedQuery {
  const none = new Uint8Array();
  return {
    bytes: none,
    at: 0,
    length: 0,
    response: none,
    from: 0,
    size: 0,
    protocol: "udp",
    rcode: 0,
    udpBytes: -1,
    dnssecOk: false,
    sourceAt: -1,
    source: { address: "0.0.0.0", port: 0 },
    took: 0,
  };
}

/** What a question that the table could answer says about EDNS: its OPT record, where it has one, ends it (answer-table.ts). */
export function readOpt(logged: LoggedQuery): void {
  const { bytes, at, length } = logged;
  if (bytes[at + 11] === 0) {
    logged.udpBytes = -1;
    logged.dnssecOk = false;
    return;
  }
  let opt = at + 12;
  for (let size = bytes[opt] as number; size > 0 && opt < at + length; size = bytes[opt] as number) opt += size + 1;
  opt += 5;
  logged.udpBytes = ((bytes[opt + 3] as number) << 8) | (bytes[opt + 4] as number);
  logged.dnssecOk = ((bytes[opt + 7] as number) & 0x80) !== 0;
}
