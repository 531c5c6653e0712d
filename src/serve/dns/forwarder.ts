// Others' names: asked of an upstream, kept in a bounded cache for as long as they say (at most as the limits say), asked once for many clients.
//
// Not here: how an upstream is reached and whether it is well (upstreams.ts; in the lab the helper on the host's side).

import { randomInt } from "node:crypto";

import { boundTtls, finishResponse, ednsUdpBytes, type FinishedAnswer } from "../../wire/dns/answer.ts";
import { DnsFormatError } from "../../wire/dns/format-error.ts";
import { buildMessage, emptyMessage, headerFlags, rcodes } from "../../wire/dns/message.ts";
import { lowerName, readName } from "../../wire/dns/name.ts";
import type { Query } from "../../wire/dns/query.ts";
import { recordTypeName } from "../../wire/dns/record.ts";
import type { AnswerTimes } from "./answer-table.ts";
import type { StaleConfig } from "./corefile-plugins.ts";
import { countForward, type Metrics } from "./metrics.ts";
import type { Clock } from "./clock.ts";

/** Someone who answers questions about any name. */
export interface Upstream {
  /** For the log: `the host's resolvers`. */
  readonly name: string;
  /** The whole response to a query, both as DNS messages. Rejects with the reason where there is none. */
  resolve(query: Uint8Array): Promise<Uint8Array>;
}

export interface Forwarder {
  /** The answer to a question, at once from the cache or later. Rejects where the upstream gives none; throws NoUpstreamError. */
  ask(question: ForwardedQuestion, client?: () => string): CachedAnswer | Promise<CachedAnswer>;
  /** The upstream's whole response, not kept. */
  message(question: ForwardedQuestion): Promise<Uint8Array>;
  /** How many answers are kept. */
  cached(): { readonly success: number; readonly denial: number };
}

/** What of a client's query the upstream gets to see. `name` in lower case. */
export type ForwardedQuestion = Pick<Query, "name" | "type" | "class" | "flags" | "edns">;

export interface CachedAnswer {
  readonly answer: FinishedAnswer;
  /** Whole seconds since it came. */
  readonly age: number;
  /** Set where everybody who asks the same may get it until then without this cache being asked. */
  readonly times?: AnswerTimes;
}

/** Bounds of what others can make us keep, and for how long. */
export interface ForwarderLimits {
  readonly success: KeepLimits;
  readonly denial: KeepLimits;
  /** All kept answers together. */
  readonly bytesMax: number;
  /** Questions under way at once; more are refused at once. While half of them are taken, no client may have more than an eighth. */
  readonly waitingMax: number;
  /** Seconds that a SERVFAIL of an upstream is kept. */
  readonly keepServfail: number;
  /** Seconds that a question nobody answered is not asked again. */
  readonly keepFailure: number;
  readonly timeoutMs: number;
  /** An answer that is asked for often is fetched anew before it ends (CoreDNS's words). */
  readonly prefetch:
    | { readonly amount: number; readonly pauseSeconds: number; readonly percentage: number }
    | undefined;
  readonly stale: StaleConfig | undefined;
  /** TTLs are told as they came. */
  readonly keepTtl: boolean;
}

/** Of answers, or of "no". */
export interface KeepLimits {
  readonly entries: number;
  /** Seconds, and no client is told a longer or shorter time. */
  readonly maxSeconds: number;
  readonly minSeconds: number;
  /** Is it kept at all for this name? */
  readonly keeps: (name: string) => boolean;
}

const defaultKeep: KeepLimits = { entries: 9984, maxSeconds: 30, minSeconds: 0, keeps: () => true };

const defaultLimits: ForwarderLimits = {
  success: defaultKeep,
  denial: defaultKeep,
  bytesMax: 16 << 20,
  waitingMax: 1000,
  keepServfail: 2,
  keepFailure: 2,
  timeoutMs: 8000,
  prefetch: undefined,
  stale: undefined,
  keepTtl: false,
};

interface Entry {
  readonly answer: FinishedAnswer;
  readonly storedMs: number;
  readonly expiresMs: number;
  /** Until then it may still be given where stale answers are wanted. */
  readonly staleMs: number;
  readonly bytes: number;
  /** How often it was asked for without a long pause, and when last. */
  hits: number;
  hitMs: number;
}

export function createForwarder(options: {
  /** Who is asked for a name; undefined: nobody. */
  readonly upstreamOf: (name: string) => Upstream | undefined;
  readonly clock: Clock;
  readonly metrics: Metrics;
  readonly limits?: Partial<ForwarderLimits>;
}): Forwarder {
  const { clock, metrics } = options;
  const limits = { ...defaultLimits, ...options.limits };
  const caches = {
    success: createCache(limits.success.entries, limits.bytesMax / 2),
    denial: createCache(limits.denial.entries, limits.bytesMax / 2),
  };
  const waiting = new Map<string, Promise<CachedAnswer>>();
  const failures = new Map<string, { readonly error: unknown; readonly expiresMs: number }>();

  const upstreamFor = (question: ForwardedQuestion): Upstream => {
    const upstream = options.upstreamOf(question.name);
    if (upstream === undefined)
      throw new NoUpstreamError("it is no name of the cluster, and there is no upstream to ask");
    return upstream;
  };

  /** The answer as it is told from now on. */
  const keep = (
    key: string,
    question: ForwardedQuestion,
    whole: FinishedAnswer,
    seconds: number | undefined,
  ): FinishedAnswer => {
    const rcode = whole.flags & 0xf;
    const denial = rcode !== rcodes.NOERROR || whole.counts.answers === 0;
    const bounds = denial ? limits.denial : limits.success;
    if (!bounds.keeps(question.name)) return whole;
    const answer = boundTtls(whole, { min: bounds.minSeconds, max: bounds.maxSeconds });
    const time =
      rcode === rcodes.SERVFAIL
        ? limits.keepServfail
        : seconds === undefined
          ? 0
          : Math.min(Math.max(seconds, bounds.minSeconds), bounds.maxSeconds);
    if (time <= 0) return answer;
    caches[denial ? "success" : "denial"].remove(key);
    const staleSeconds = rcode === rcodes.SERVFAIL ? 0 : (limits.stale?.seconds ?? 0);
    caches[denial ? "denial" : "success"].set(key, entryOf(key, answer, clock.now(), time, staleSeconds));
    return answer;
  };

  /** Is there an answer that may still be given, fresh or stale? */
  const isKept = (key: string): boolean => {
    const now = clock.now();
    return (caches.success.get(key, now) ?? caches.denial.get(key, now)) !== undefined;
  };

  const fetchAnswer = async (key: string, question: ForwardedQuestion, upstream: Upstream): Promise<CachedAnswer> => {
    try {
      const { answer, seconds } = finishResponse(await askUpstream(upstream, question, limits, metrics, clock));
      // RFC 8767 5: a failure is no reason to forget an answer that may still be given.
      if (isFailure({ answer }) && isKept(key)) throw new Error(`${upstream.name} answered SERVFAIL`);
      return { answer: keep(key, question, answer, seconds), age: 0 };
    } catch (error) {
      const seconds = Math.max(limits.keepFailure, isKept(key) ? (limits.stale?.recheckSeconds ?? 0) : 0);
      if (seconds > 0) {
        if (failures.size >= limits.waitingMax) failures.clear();
        failures.set(key, { error, expiresMs: clock.now() + seconds * 1000 });
      }
      throw error;
    } finally {
      waiting.delete(key);
    }
  };

  // A flood of one client's names that nobody has in a cache must not keep others out.
  const perClient = new Map<string, number>();
  const fairly = (client: string, answer: Promise<CachedAnswer>): Promise<CachedAnswer> => {
    perClient.set(client, (perClient.get(client) ?? 0) + 1);
    const over = (): void => {
      const left = (perClient.get(client) ?? 1) - 1;
      if (left === 0) perClient.delete(client);
      else perClient.set(client, left);
    };
    answer.then(over, over);
    return answer;
  };

  const fetchOnce = (key: string, question: ForwardedQuestion, client = ""): Promise<CachedAnswer> => {
    const under = waiting.get(key);
    if (under !== undefined) return under;
    const failure = failures.get(key);
    if (failure !== undefined && failure.expiresMs > clock.now()) return Promise.reject(asError(failure.error));
    failures.delete(key);
    const upstream = upstreamFor(question);
    if (waiting.size >= limits.waitingMax)
      return Promise.reject(new Error(`${limits.waitingMax} questions already wait for ${upstream.name}`));
    if (waiting.size * 2 >= limits.waitingMax && client !== "" && (perClient.get(client) ?? 0) * 8 >= limits.waitingMax)
      return Promise.reject(new Error(`too many questions of one client, ${client}, wait for ${upstream.name}`));
    const answer = fetchAnswer(key, question, upstream);
    waiting.set(key, answer);
    return client === "" ? answer : fairly(client, answer);
  };

  const stale = (entry: Entry, key: string, question: ForwardedQuestion): CachedAnswer | Promise<CachedAnswer> => {
    const { verifyMs, ttl = 0 } = limits.stale ?? {};
    const fresh = fetchOnce(key, question);
    const give = (): CachedAnswer => {
      metrics.cacheStale++;
      // RFC 8767 4: it has a short TTL; CoreDNS tells 0 where nothing is said.
      return { answer: boundTtls(entry.answer, { min: ttl, max: ttl }), age: 0 };
    };
    if (verifyMs === undefined) {
      fresh.catch(() => {});
      return give();
    }
    const verified = verifyMs === 0 ? fresh : inTime(fresh, verifyMs, "the upstream");
    // Later it may still be kept.
    fresh.catch(() => {});
    return verified.then((answer) => (isFailure(answer) ? give() : answer), give);
  };

  return {
    ask(question, client) {
      const key = keyOf(question);
      const now = clock.now();
      const entry = caches.success.get(key, now) ?? caches.denial.get(key, now);
      if (entry === undefined) {
        metrics.cacheMisses++;
        return fetchOnce(key, question, client?.());
      }
      if (entry.expiresMs <= now) return stale(entry, key, question);
      metrics.cacheHits++;
      if (wantsPrefetch(entry, limits.prefetch, now)) {
        metrics.cachePrefetches++;
        fetchOnce(key, question).catch(() => {});
      }
      const { answer, storedMs, expiresMs } = entry;
      if (limits.keepTtl) return { answer, age: 0 };
      const age = Math.floor((now - storedMs) / 1000);
      // Who asks how often is to be seen here where that makes a difference.
      const isSeen = limits.prefetch !== undefined || isFailure(entry);
      return isSeen ? { answer, age } : { answer, age, times: { storedMs, expiresMs } };
    },
    message: async (question) => await askUpstream(upstreamFor(question), question, limits, metrics, clock),
    cached: () => ({ success: caches.success.size(), denial: caches.denial.size() }),
  };
}

/** Nobody is there to be asked: such questions are refused, not failed. */
export class NoUpstreamError extends Error {
  override readonly name = "NoUpstreamError";
}

function isFailure({ answer }: Pick<CachedAnswer, "answer">): boolean {
  return (answer.flags & 0xf) === rcodes.SERVFAIL;
}

// plugin/cache: at least `amount` hits without a pause, and less than `percentage` of its life left.
function wantsPrefetch(entry: Entry, prefetch: ForwarderLimits["prefetch"], now: number): boolean {
  if (prefetch === undefined || prefetch.amount === 0) return false;
  entry.hits = now - entry.hitMs > prefetch.pauseSeconds * 1000 ? 1 : entry.hits + 1;
  entry.hitMs = now;
  const life = entry.expiresMs - entry.storedMs;
  return entry.hits >= prefetch.amount && (entry.expiresMs - now) * 100 <= life * prefetch.percentage;
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

function entryOf(key: string, answer: FinishedAnswer, now: number, seconds: number, staleSeconds: number): Entry {
  // What the engine itself needs for an entry, measured: about 400 bytes.
  const bytes = answer.bytes.length + key.length + 8 * answer.ends.length + 400;
  const expiresMs = now + seconds * 1000;
  return { answer, storedMs: now, expiresMs, staleMs: expiresMs + staleSeconds * 1000, bytes, hits: 0, hitMs: now };
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}

interface Cache {
  /** Also one that is over, where it may still be given. */
  get(key: string, now: number): Entry | undefined;
  set(key: string, entry: Entry): void;
  remove(key: string): void;
  size(): number;
}

// The least recently used goes first: a Map keeps the order of insertion, and a hit inserts anew.
function createCache(entriesMax: number, bytesMax: number): Cache {
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
      if (entry.staleMs <= now) {
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
        if (entries.size <= entriesMax && total <= bytesMax) break;
        remove(oldest);
      }
    },
    remove,
    size: () => entries.size,
  };
}
