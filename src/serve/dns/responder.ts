// From a query's bytes to a response's: the zone's finished answers at once, others' names through the forwarder, refusals for the rest.
// UDP and TCP share it; only the room for the response differs.
//
// Autopath (answering a search list's first name with the last one's answer) has its place in `answerNow`, between zone and forwarder.

import type { Datagram } from "../../kernel/udp.ts";
import { finishedAnswer } from "../../program/zone-answer.ts";
import { lookup } from "../../program/zone-lookup.ts";
import type { Zone } from "../../program/zone.ts";
import { ednsUdpBytes, finishAnswer, udpLimit, writeAnswer, writeRcode, writeRefusal } from "../../wire/dns/answer.ts";
import { parseMessage, rcodes } from "../../wire/dns/message.ts";
import { isWithin, lowerName } from "../../wire/dns/name.ts";
import { readQuery, type Query } from "../../wire/dns/query.ts";
import { classAny, classIn, recordTypeName, recordTypes } from "../../wire/dns/record.ts";
import type { CachedAnswer, Forwarder } from "./forwarder.ts";
import type { DnsLog } from "./log.ts";
import { countRequest, countResponse, type Metrics, type RequestLabels } from "./metrics.ts";
import type { Clock } from "./server.ts";

export interface Responder {
  /** Answers a datagram, now or later. */
  readonly datagram: (datagram: Datagram) => void;
  /** The response to a message that came by TCP, undefined where silence is the answer. Never rejects. */
  stream(asked: Uint8Array, family: 4 | 6): Promise<Uint8Array | undefined>;
}

export interface ResponderOptions {
  readonly zone: () => Zone | undefined;
  readonly domain: string;
  readonly forwarder: Forwarder | undefined;
  readonly log: DnsLog;
  readonly clock: Clock;
  readonly metrics: Metrics;
  readonly dice: () => number;
}

export function createResponder(options: ResponderOptions): Responder {
  const answerer = createAnswerer(options);
  const { metrics, clock } = options;
  return {
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
      const limit = udpLimit(query);
      const outcome = answerer.answer(query);
      if (!(outcome instanceof Promise)) {
        datagram.send(answerer.write(room, asked, query, outcome, { limit, labels }));
        return;
      }
      const reply = datagram.later();
      const copy = asked.slice();
      void outcome.then((late) => {
        const out = new Uint8Array(ednsUdpBytes);
        reply(out.subarray(0, answerer.write(out, copy, query, late, { limit, labels })));
      });
    },

    async stream(asked, family) {
      const labels: RequestLabels = { protocol: "tcp", family, started: clock.now(), bytes: asked.length };
      const query = readQuery(asked);
      if (query.kind === "silence") return undefined;
      if (query.kind === "refusal") {
        const out = new Uint8Array(12);
        writeRefusal(out, query);
        countResponse(metrics, labels, { rcode: query.rcode, bytes: 12, ended: clock.now() });
        return out;
      }
      const outcome = await answerer.answer(query);
      const records = typeof outcome === "number" ? 0 : outcome.answer.bytes.length;
      const out = new Uint8Array(Math.min(query.questionEnd + records + 16, streamBytesMax));
      return out.subarray(0, answerer.write(out, asked, query, outcome, { limit: streamBytesMax, labels }));
    },
  };
}

/** RFC 1035 4.2.2: two bytes of length. */
const streamBytesMax = 0xffff;

/** A whole answer (and its age in a cache, in seconds), or only an rcode. */
type Outcome = CachedAnswer | number;

interface Answerer {
  /** Never rejects. */
  answer(query: Query): Outcome | Promise<Outcome>;
  /** Writes the response and counts it; gives its length. */
  write(
    out: Uint8Array,
    asked: Uint8Array,
    query: Query,
    outcome: Outcome,
    sending: { readonly limit: number; readonly labels: RequestLabels },
  ): number;
}

function createAnswerer(options: ResponderOptions): Answerer {
  const { forwarder, log, clock, metrics, dice } = options;
  const domain = lowerName(options.domain);

  const failed = (query: Query, error: unknown): number => {
    log.failed(describe(query), error instanceof Error ? error.message : String(error));
    return rcodes.SERVFAIL;
  };

  const forward = (query: Query): Outcome | Promise<Outcome> => {
    if (forwarder === undefined) {
      log.refused(describe(query), "it is no name of the cluster, and there is no upstream to ask");
      return rcodes.REFUSED;
    }
    const answer = forwarder.ask(query);
    return answer instanceof Promise ? answer.catch((error: unknown) => failed(query, error)) : answer;
  };

  const answerNow = (query: Query): Outcome | Promise<Outcome> => {
    // RFC 6891 6.1.3
    if (query.edns !== undefined && query.edns.version > 0) return rcodes.BADVERS;
    if (query.class !== classIn && query.class !== classAny) return rcodes.REFUSED;
    if (isMetaType(query.type)) return rcodes.REFUSED;
    const zone = options.zone();
    if (zone === undefined) return mayBeOurs(query.name, domain) ? rcodes.SERVFAIL : forward(query);
    const answer = finishedAnswer(zone, query.name, query.type);
    if (answer === undefined) return forward(query);
    if (answer.continueAt === undefined || forwarder === undefined) return { answer, age: 0 };
    return completeChain(zone, query, answer.continueAt, forwarder).catch((error: unknown) => failed(query, error));
  };

  return {
    answer(query) {
      try {
        return answerNow(query);
      } catch (error) {
        return failed(query, error);
      }
    },
    write(out, asked, query, outcome, { limit, labels }) {
      let length: number;
      let rcode: number;
      if (typeof outcome === "number") {
        rcode = outcome;
        length = writeRcode(out, asked, query, outcome);
      } else {
        const { answer, age } = outcome;
        const turn = answer.rotation === undefined ? 0 : Math.floor(dice() * answer.rotation.count);
        rcode = answer.flags & 0xf;
        length = writeAnswer(out, asked, query, answer, { limit, turn, age });
      }
      countRequest(metrics, labels, query.type, isWithin(query.name, domain) ? "cluster" : "other");
      countResponse(metrics, labels, { rcode, bytes: length, ended: clock.now() });
      return length;
    },
  };
}

/** An ExternalName Service: our CNAME, and behind it what the upstream says about its target (specification 2.6). */
async function completeChain(zone: Zone, query: Query, target: string, forwarder: Forwarder): Promise<Outcome> {
  const { answers, authority, rcode } = parseMessage(await forwarder.message({ ...query, name: target }));
  const chain = lookup(zone, query.name, recordTypeName(query.type))?.answers ?? [];
  const whole = { answers: [...chain, ...answers], authority, rcode: rcode & 0xf };
  return { answer: finishAnswer({ name: query.name, type: query.type, authoritative: true, ...whole }), age: 0 };
}

/** RFC 6895 3.1: types that are no data, such as zone transfers. ANY is answered (RFC 8482). */
function isMetaType(type: number): boolean {
  return type === 0 || type === recordTypes.OPT || (type >= 128 && type < recordTypes.ANY);
}

/** Before the objects are known, so are the ranges of addresses: any reverse name could be ours. */
function mayBeOurs(name: string, domain: string): boolean {
  return isWithin(name, domain) || isWithin(name, "in-addr.arpa") || isWithin(name, "ip6.arpa");
}

function describe(query: Query): string {
  return `${query.name}. ${recordTypeName(query.type)}`;
}
