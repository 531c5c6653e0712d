// Others' names: asked of an upstream, kept in a bounded cache for as long as they say (at most half a minute), asked once for many clients.
//
// Not here: how an upstream is reached (an `Upstream`; in the lab the helper on the host's side). Health checks, stub domains, stale answers
// and DNS over TLS are more Upstreams and have their place behind that interface.

import { randomInt } from "node:crypto";

import { finishResponse, ednsUdpBytes, type FinishedAnswer } from "../../wire/dns/answer.ts";
import { DnsFormatError } from "../../wire/dns/format-error.ts";
import { buildMessage, emptyMessage, headerFlags, rcodes } from "../../wire/dns/message.ts";
import { lowerName, readName } from "../../wire/dns/name.ts";
import type { Query } from "../../wire/dns/query.ts";
import { recordTypeName } from "../../wire/dns/record.ts";
import { countForward, type Metrics } from "./metrics.ts";
import type { Clock } from "./server.ts";

/** Someone who answers questions about any name. */
export interface Upstream {
  /** For the log: `the host's resolvers`. */
  readonly name: string;
  /** The whole response to a query, both as DNS messages. Rejects with the reason where there is none. */
  resolve(query: Uint8Array): Promise<Uint8Array>;
}

export interface Forwarder {
  /** The answer to a question, at once from the cache or later. Rejects where the upstream gives none; the reason is the message. */
  ask(question: ForwardedQuestion): CachedAnswer | Promise<CachedAnswer>;
  /** The upstream's whole response, not kept. */
  message(question: ForwardedQuestion): Promise<Uint8Array>;
  /** How many answers are kept. */
  cached(): number;
}

/** What of a client's query the upstream gets to see. `name` in lower case. */
export type ForwardedQuestion = Pick<Query, "name" | "type" | "class" | "flags" | "edns">;

export interface CachedAnswer {
  readonly answer: FinishedAnswer;
  /** Whole seconds since it came. */
  readonly age: number;
}

/** Bounds of what others can make us keep. */
export interface ForwarderLimits {
  readonly entriesMax: number;
  readonly bytesMax: number;
  /** Questions under way at once; more are refused at once (CoreDNS's forward: max_concurrent 1000). */
  readonly waitingMax: number;
  /** Seconds: kubeadm's Corefile has `cache 30`. */
  readonly keepMax: number;
  /** Seconds that a failure is not tried again. */
  readonly keepFailure: number;
  readonly timeoutMs: number;
}

const defaultLimits: ForwarderLimits = {
  entriesMax: 10_000,
  bytesMax: 16 << 20,
  waitingMax: 1000,
  keepMax: 30,
  keepFailure: 2,
  timeoutMs: 8000,
};

interface Entry {
  readonly answer: FinishedAnswer;
  readonly storedMs: number;
  readonly expiresMs: number;
  readonly bytes: number;
}

export function createForwarder(options: {
  readonly upstream: Upstream;
  readonly clock: Clock;
  readonly metrics: Metrics;
  readonly limits?: Partial<ForwarderLimits>;
}): Forwarder {
  const { clock, metrics } = options;
  const limits = { ...defaultLimits, ...options.limits };
  const cache = createCache(limits);
  const waiting = new Map<string, Promise<CachedAnswer>>();
  const failures = new Map<string, { readonly error: unknown; readonly expiresMs: number }>();

  const fetchAnswer = async (key: string, question: ForwardedQuestion): Promise<CachedAnswer> => {
    try {
      const { answer, seconds } = finishResponse(await askUpstream(options.upstream, question, limits, metrics, clock));
      const rcode = answer.flags & 0xf;
      const keep = rcode === rcodes.SERVFAIL ? limits.keepFailure : Math.min(seconds ?? 0, limits.keepMax);
      const now = clock.now();
      if (keep > 0) cache.set(key, entryOf(key, answer, now, keep));
      return { answer, age: 0 };
    } catch (error) {
      if (failures.size >= limits.waitingMax) failures.clear();
      failures.set(key, { error, expiresMs: clock.now() + limits.keepFailure * 1000 });
      throw error;
    } finally {
      waiting.delete(key);
    }
  };

  return {
    ask(question) {
      const key = keyOf(question);
      const now = clock.now();
      const entry = cache.get(key, now);
      if (entry !== undefined) {
        metrics.cacheHits++;
        return { answer: entry.answer, age: Math.floor((now - entry.storedMs) / 1000) };
      }
      metrics.cacheMisses++;
      const under = waiting.get(key);
      if (under !== undefined) return under;
      const failure = failures.get(key);
      if (failure !== undefined && failure.expiresMs > now) return Promise.reject(asError(failure.error));
      failures.delete(key);
      if (waiting.size >= limits.waitingMax)
        return Promise.reject(new Error(`${limits.waitingMax} questions already wait for ${options.upstream.name}`));
      const answer = fetchAnswer(key, question);
      waiting.set(key, answer);
      return answer;
    },
    message: (question) => askUpstream(options.upstream, question, limits, metrics, clock),
    cached: () => cache.size(),
  };
}

async function askUpstream(
  upstream: Upstream,
  question: ForwardedQuestion,
  limits: ForwarderLimits,
  metrics: Metrics,
  clock: Clock,
): Promise<Uint8Array> {
  const started = clock.now();
  let outcome: "answered" | "failed" = "failed";
  try {
    const id = randomInt(0x10000);
    const response = await inTime(upstream.resolve(queryBytes(question, id)), limits.timeoutMs, upstream.name);
    checkResponse(response, id, question);
    outcome = "answered";
    return response;
  } finally {
    countForward(metrics, (clock.now() - started) / 1000, outcome);
  }
}

// The flags a client decides about its answer: DO, AD (RFC 6840 5.7) and CD.
function keyOf(question: ForwardedQuestion): string {
  const bits = question.flags & (headerFlags.authenticData | headerFlags.checkingDisabled);
  return `${question.type} ${question.class} ${bits} ${question.edns?.dnssecOk === true ? 1 : 0} ${question.name}`;
}

function queryBytes(question: ForwardedQuestion, id: number): Uint8Array {
  return buildMessage({
    ...emptyMessage,
    id,
    recursionDesired: true,
    authenticData: (question.flags & headerFlags.authenticData) !== 0,
    checkingDisabled: (question.flags & headerFlags.checkingDisabled) !== 0,
    questions: [{ name: question.name, type: recordTypeName(question.type), class: question.class }],
    edns: { udpBytes: ednsUdpBytes, version: 0, dnssecOk: question.edns?.dnssecOk === true, options: [] },
  });
}

// An answer to another question would be kept under ours: it counts as none.
function checkResponse(response: Uint8Array, id: number, question: ForwardedQuestion): void {
  const uint16 = (at: number): number => ((response[at] ?? 0) << 8) | (response[at + 1] ?? 0);
  if (response.length < 12 || uint16(0) !== id || (uint16(2) & headerFlags.response) === 0)
    throw new Error("the upstream sent something that answers no question");
  // RFC 1035 4.1.1: a server that cannot read the question may leave it out.
  if (uint16(4) === 0 && (uint16(2) & 0xf) !== 0)
    throw new Error(`the upstream answered with rcode ${uint16(2) & 0xf}`);
  const { name, end } = readName(response, 12);
  const same = uint16(4) === 1 && lowerName(name) === question.name && uint16(end) === question.type;
  if (!same) throw new DnsFormatError("the upstream answered another question", 12);
}

async function inTime<T>(promise: Promise<T>, ms: number, who: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${who}: no answer within ${ms / 1000} s`)), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

function entryOf(key: string, answer: FinishedAnswer, now: number, seconds: number): Entry {
  // What the engine itself needs for an entry, measured: about 400 bytes.
  const bytes = answer.bytes.length + key.length + 8 * answer.ends.length + 400;
  return { answer, storedMs: now, expiresMs: now + seconds * 1000, bytes };
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}

interface Cache {
  get(key: string, now: number): Entry | undefined;
  set(key: string, entry: Entry): void;
  size(): number;
}

// The least recently used goes first: a Map keeps the order of insertion, and a hit inserts anew.
function createCache(limits: ForwarderLimits): Cache {
  const entries = new Map<string, Entry>();
  let total = 0;
  const remove = (key: string): void => {
    total -= entries.get(key)?.bytes ?? 0;
    entries.delete(key);
  };
  return {
    get(key, now) {
      const entry = entries.get(key);
      if (entry === undefined) return undefined;
      if (entry.expiresMs <= now) {
        remove(key);
        return undefined;
      }
      entries.delete(key);
      entries.set(key, entry);
      return entry;
    },
    set(key, entry) {
      remove(key);
      entries.set(key, entry);
      total += entry.bytes;
      for (const oldest of entries.keys()) {
        if (entries.size <= limits.entriesMax && total <= limits.bytesMax) break;
        remove(oldest);
      }
    },
    size: () => entries.size,
  };
}
