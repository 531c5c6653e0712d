// From a query's bytes to a response's: what no server block may see is refused here, the rest is answered by the block of the longest zone.
// UDP and TCP share it; only the room for the response differs.
//
// Not here: what the answer is (block.ts), the log's format (query-log.ts).

import type { Address } from "../../ip/address.ts";
import type { Datagram, QuickAnswers } from "../../kernel/udp.ts";
import { ednsUdpBytes, udpLimit, writeAnswer, writeRcode, writeRefusal } from "../../wire/dns/answer.ts";
import { rcodes } from "../../wire/dns/message.ts";
import { isWithin, type DnsName } from "../../wire/dns/name.ts";
import { readQuery, type Query } from "../../wire/dns/query.ts";
import { classAny, classIn, recordTypeName, recordTypes } from "../../wire/dns/record.ts";
import { silence } from "./acl.ts";
import { readAnswers } from "./answer-table.ts";
import type { Answers } from "./answers.ts";
import type { ZoneBlock } from "./block.ts";
import { isTransfer, transferring, type Outcome } from "./outcome.ts";
import type { TransferMessages } from "./transfer.ts";
import { NoUpstreamError } from "./forwarder.ts";
import type { DnsLog } from "./log.ts";
import { countRequest, countResponse, type Metrics, type RequestLabels } from "./metrics.ts";
import { classChaos } from "./own-names.ts";
import { logFormatOf, type QueryLog } from "./query-log.ts";
import { nothingLogged, quickAnswers, readOpt } from "./quick.ts";
import type { Clock } from "./clock.ts";
import { createTally } from "./tally.ts";

export interface Responder {
  /** Answers a datagram, now or later. */
  readonly datagram: (datagram: Datagram) => void;
  /** Answers again what was answered before. */
  readonly quick: QuickAnswers;
  /**
   * The response to a message that came by TCP, to be taken one by one where it is several (they throw where they cannot go on); undefined
   * where silence is the answer. Never rejects.
   */
  stream(asked: Uint8Array, client: Client): Promise<Uint8Array | Iterable<Uint8Array> | undefined>;
}

/** Who asked. */
export interface Client {
  readonly family: 4 | 6;
  readonly source: () => { readonly address: Address; readonly port: number };
}

export interface ResponderOptions {
  /** The server blocks of this port and their zones, longest zone first; may change at any time. */
  readonly blocks: () => readonly { readonly zone: DnsName; readonly block: ZoneBlock }[];
  /** The cluster's domain in lower case, for the counts. */
  readonly domain: DnsName;
  readonly log: DnsLog;
  readonly queryLog: QueryLog;
  readonly clock: Clock;
  readonly metrics: Metrics;
  readonly dice: () => number;
  /** What was answered before. */
  readonly answers: Answers;
  /** Where answers from there are counted (tally.ts). */
  readonly tally: Float64Array;
}

export function createResponder(options: ResponderOptions): Responder {
  const answerer = createAnswerer(options);
  const { metrics, clock, answers, dice, queryLog } = options;
  const logged = nothingLogged();
  // One value for all datagrams, as the socket does it.
  let under: Datagram | undefined;
  const noSource = { address: "0.0.0.0", port: 0 };
  const datagramSource = (): { readonly address: Address; readonly port: number } => under?.source() ?? noSource;
  const reader = readAnswers(answers.memories, dice);
  /** What is known already, for a stream. */
  const again = (asked: Uint8Array, labels: RequestLabels, source: Client["source"]): Uint8Array | undefined => {
    answers.refresh();
    const bytes = new Uint8Array(asked.length * 2 + againBytesMax);
    bytes.set(asked);
    const size = reader.read(bytes, 0, asked.length, asked.length, asked.length + againBytesMax, labels.started);
    if (size === 0) return undefined;
    if (reader.isOthers) metrics.cacheHits++;
    countRequest(metrics, labels, reader.type, reader.isCluster ? "cluster" : "other");
    const ended = clock.now();
    countResponse(metrics, labels, { rcode: reader.rcode, bytes: size, ended });
    if (reader.logFormat !== 0) {
      const places = { bytes, at: 0, length: asked.length, response: bytes, from: asked.length, size };
      Object.assign(logged, places, { protocol: labels.protocol, rcode: reader.rcode, source: source() });
      logged.took = ended - labels.started;
      readOpt(logged);
      queryLog.write(reader.logFormat, logged);
    }
    return bytes.subarray(asked.length, asked.length + size);
  };
  return {
    quick: quickAnswers({ reader, clock, tally: createTally(options.tally), queryLog, begin: answers.refresh }),
    datagram(datagram) {
      const started = clock.now();
      const { bytes: asked, room } = datagram;
      // Larger than any query there is; what was cut off cannot be checked.
      const query = datagram.cut ? ({ kind: "silence" } as const) : readQuery(asked);
      if (query.kind === "silence") return;
      const labels: RequestLabels = { protocol: "udp", family: datagram.family, started, bytes: asked.length };
      if (query.kind === "refusal") {
        datagram.send(writeRefusal(room, query));
        countResponse(metrics, labels, { rcode: query.rcode, bytes: 12, ended: clock.now() });
        return;
      }
      under = datagram;
      const block = answerer.blockFor(query.name);
      const { bufsize } = block?.config ?? {};
      const limit = Math.min(udpLimit(query), bufsize ?? Infinity);
      const outcome = answerer.answer(block, query, datagramSource);
      if (outcome === silence) return;
      if (!(outcome instanceof Promise)) {
        if (typeof outcome !== "number" && (outcome.owner !== undefined || outcome.times !== undefined)) {
          const { name } = query;
          const { answer, owner = 0, times } = outcome;
          const { flags, counts } = answer;
          // Kept answers are not cut: what could be too large for somebody is written each time.
          const isSmall = bufsize === undefined || query.questionEnd + answer.bytes.length + optBytesMax <= bufsize;
          if (isSmall)
            answers.keep(asked, query.questionEnd, answer, {
              owner,
              ...(times !== undefined && { times }),
              turns: block?.config.loadbalance === true,
              isCluster: isWithin(name, options.domain),
              logFormat: logFormatOf(queryLog, block?.config.log, {
                name,
                rcode: flags & 0xf,
                answers: counts.answers,
              }),
            });
        }
        datagram.send(answerer.write(room, asked, query, outcome, { limit, labels, block, source: datagramSource }));
        return;
      }
      const reply = datagram.later();
      const copy = asked.slice();
      const source = block?.config.log === undefined ? noSource : datagram.source();
      void outcome.then((late) => {
        if (late === silence) return;
        const out = new Uint8Array(ednsUdpBytes);
        const length = answerer.write(out, copy, query, late, { limit, labels, block, source: () => source });
        reply(out.subarray(0, length));
      });
    },

    async stream(asked, { family, source }) {
      const labels: RequestLabels = { protocol: "tcp", family, started: clock.now(), bytes: asked.length };
      const known = again(asked, labels, source);
      if (known !== undefined) return known;
      const query = readQuery(asked);
      if (query.kind === "silence") return undefined;
      if (query.kind === "refusal") {
        const out = new Uint8Array(12);
        writeRefusal(out, query);
        countResponse(metrics, labels, { rcode: query.rcode, bytes: 12, ended: clock.now() });
        return out;
      }
      const block = answerer.blockFor(query.name);
      let outcome = await answerer.answer(block, query, source, "stream");
      if (outcome === silence) return undefined;
      if (outcome === transferring) {
        const messages = block?.transfers?.messages(query, asked) ?? rcodes.REFUSED;
        if (typeof messages !== "number") return answerer.transfer(asked, query, messages, { labels, block, source });
        outcome = messages;
      }
      const records = typeof outcome === "number" ? 0 : outcome.answer.bytes.length;
      const out = new Uint8Array(Math.min(query.questionEnd + records + 16, streamBytesMax));
      const sending = { limit: streamBytesMax, labels, block, source };
      return out.subarray(0, answerer.write(out, asked, query, outcome, sending));
    },
  };
}

/** What is kept to be said again is no larger, an OPT record with it. */
const againBytesMax = 4096 + 16;

/** An OPT record without options. */
const optBytesMax = 11;

/** RFC 1035 4.2.2: two bytes of length. */
const streamBytesMax = 0xffff;

interface Answerer {
  /** Whose question it is; undefined: nobody's here. */
  blockFor(name: DnsName): ZoneBlock | undefined;
  /** Never rejects. */
  answer(
    block: ZoneBlock | undefined,
    query: Query,
    source: Client["source"],
    way?: "stream",
  ): Outcome | Promise<Outcome>;
  /** Writes the response, counts and logs it; gives its length. */
  write(out: Uint8Array, asked: Uint8Array, query: Query, outcome: Outcome, sending: Sending): number;
  /** A zone's messages; the first is counted and logged as the response. */
  transfer(
    asked: Uint8Array,
    query: Query,
    messages: TransferMessages,
    sending: Omit<Sending, "limit">,
  ): Iterable<Uint8Array>;
}

interface Sending {
  readonly limit: number;
  readonly labels: RequestLabels;
  readonly block: ZoneBlock | undefined;
  readonly source: Client["source"];
}

function createAnswerer(options: ResponderOptions): Answerer {
  const { log, queryLog, clock, metrics, dice, domain, blocks } = options;
  const logged = nothingLogged();

  const failed = (query: Query, error: unknown): number => {
    const reason = error instanceof Error ? error.message : String(error);
    if (error instanceof NoUpstreamError) {
      log.refused(describe(query), reason);
      return rcodes.REFUSED;
    }
    log.failed(describe(query), reason);
    return rcodes.SERVFAIL;
  };

  /** Counts and logs a response. */
  const said = (
    asked: Uint8Array,
    query: Query,
    response: { readonly rcode: number; readonly out: Uint8Array; readonly length: number },
    { labels, block, source }: Omit<Sending, "limit">,
  ): void => {
    const { rcode, out, length } = response;
    const ended = clock.now();
    countRequest(metrics, labels, query.type, isWithin(query.name, domain) ? "cluster" : "other");
    countResponse(metrics, labels, { rcode, bytes: length, ended });
    const count = ((out[6] ?? 0) << 8) | (out[7] ?? 0);
    const format = logFormatOf(queryLog, block?.config.log, { name: query.name, rcode, answers: count });
    if (format === 0) return;
    const places = { bytes: asked, length: asked.length, response: out, size: length };
    Object.assign(logged, places, { protocol: labels.protocol, rcode, source: source() });
    logged.udpBytes = query.edns?.udpBytes ?? -1;
    logged.dnssecOk = query.edns?.dnssecOk === true;
    logged.took = ended - labels.started;
    queryLog.write(format, logged);
  };

  return {
    blockFor: (name) => blocks().find(({ zone }) => isWithin(name, zone))?.block,
    answer(block, query, source, way) {
      // RFC 6891 6.1.3
      if (query.edns !== undefined && query.edns.version > 0) return rcodes.BADVERS;
      const mayBeZone = way === "stream" && query.class === classIn && isTransfer(query.type);
      if (block === undefined || (!mayBeZone && !isAnswerable(query))) return rcodes.REFUSED;
      try {
        const outcome = block.answer(query, () => source().address);
        return outcome instanceof Promise ? outcome.catch((error: unknown) => failed(query, error)) : outcome;
      } catch (error) {
        return failed(query, error);
      }
    },
    write(out, asked, query, outcome, { limit, labels, block, source }) {
      let length: number;
      let rcode: number;
      if (typeof outcome === "number") {
        rcode = outcome;
        length = writeRcode(out, asked, query, outcome);
      } else {
        const { answer, age } = outcome;
        const turns = answer.rotation !== undefined && block?.config.loadbalance === true;
        const turn = turns ? Math.floor(dice() * (answer.rotation?.count ?? 1)) : 0;
        rcode = answer.flags & 0xf;
        length = writeAnswer(out, asked, query, answer, { limit, turn, age });
      }
      said(asked, query, { rcode, out, length }, { labels, block, source });
      return length;
    },
    *transfer(asked, query, { each, summary }, sending) {
      let isFirst = true;
      try {
        for (const out of each) {
          if (isFirst) said(asked, query, { rcode: rcodes.NOERROR, out, length: out.length }, sending);
          isFirst = false;
          yield out;
        }
      } catch (error) {
        failed(query, error);
        throw error;
      }
      log.info(`plugin/transfer: ${describe(query)} to ${sending.source().address}: ${summary()}`);
    },
  };
}

/** Data of class IN. RFC 6895 3.1: types that are no data, such as zone transfers, are refused. ANY is answered (RFC 8482). */
function isAnswerable(query: Query): boolean {
  // Class CHAOS has its plugin.
  if (query.class !== classIn && query.class !== classAny && query.class !== classChaos) return false;
  return !(query.type === 0 || query.type === recordTypes.OPT || (query.type >= 128 && query.type < recordTypes.ANY));
}

function describe(query: Query): string {
  return `${query.name}. ${recordTypeName(query.type)}`;
}
