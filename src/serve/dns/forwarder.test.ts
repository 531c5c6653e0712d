import assert from "node:assert/strict";
import { test } from "node:test";

import { buildMessage, parseMessage } from "../../wire/dns/message.ts";
import { recordTypes } from "../../wire/dns/record.ts";
import {
  createForwarder,
  type CachedAnswer,
  type ForwardedQuestion,
  type Forwarder,
  type ForwarderLimits,
} from "./forwarder.ts";
import { createMetrics, type Metrics } from "./metrics.ts";
import { answerOf } from "./server.testing.ts";

const question = (name: string, parts: Partial<ForwardedQuestion> = {}): ForwardedQuestion => ({
  name,
  type: recordTypes.A,
  class: 1,
  flags: 0x0100,
  edns: undefined,
  ...parts,
});

interface Setting {
  readonly forwarder: Forwarder;
  readonly metrics: Metrics;
  /** The questions that wait for the upstream, oldest first. */
  readonly waiting: { readonly name: string; answer(parts?: Parameters<typeof respond>[1]): void; fail(): void }[];
  now: number;
}

function respond(
  query: Uint8Array,
  parts: { readonly ttl?: number; readonly size?: number; readonly rcode?: number },
): Uint8Array {
  const message = parseMessage(query);
  const name = message.questions[0]?.name ?? "";
  const text = "x".repeat(parts.size ?? 1);
  return buildMessage({
    ...message,
    response: true,
    rcode: parts.rcode ?? 0,
    answers: [answerOf(name, { kind: "TXT", strings: [text] }, parts.ttl ?? 300)],
  });
}

const keep = { entries: 10, maxSeconds: 30, minSeconds: 0, keeps: () => true };

/** A forwarder whose upstream answers when the test says so. */
function setUp(limits: Partial<ForwarderLimits> = {}): Setting {
  const metrics = createMetrics("cluster.local", 53);
  const waiting: Setting["waiting"] = [];
  const setting = { now: 0, metrics, waiting };
  const upstream = {
    name: "the test's upstream",
    resolve: (query: Uint8Array): Promise<Uint8Array> =>
      new Promise((resolve, reject) => {
        waiting.push({
          name: parseMessage(query).questions[0]?.name ?? "",
          answer: (parts = {}) => resolve(respond(query, parts)),
          fail: () => reject(new Error("nobody there")),
        });
      }),
  };
  const forwarder = createForwarder({ upstreamOf: () => upstream, clock: { now: () => setting.now }, metrics, limits });
  return Object.assign(setting, { forwarder });
}

/** Asks and has the upstream answer. */
async function fetchedAnswer(
  setting: Setting,
  name: string,
  parts: Parameters<typeof respond>[1] = {},
): Promise<CachedAnswer> {
  const answer = setting.forwarder.ask(question(name));
  setting.waiting.pop()?.answer(parts);
  return await answer;
}

async function fetched(setting: Setting, name: string, parts: Parameters<typeof respond>[1] = {}): Promise<void> {
  await fetchedAnswer(setting, name, parts);
}

/** Answers what still waits, so that nothing is left when the test ends. */
function finish(setting: Setting): void {
  for (const each of setting.waiting) each.answer();
}

const isCached = (setting: Setting, name: string): boolean => {
  const answer = setting.forwarder.ask(question(name));
  if (!(answer instanceof Promise)) return true;
  setting.waiting.pop()?.fail();
  answer.catch(() => {});
  return false;
};

await test("many clients with one question are one question to the upstream", async () => {
  const setting = setUp();
  const answers = Array.from({ length: 50 }, async () => await setting.forwarder.ask(question("a.example")));
  assert.equal(setting.waiting.length, 1);
  setting.waiting[0]?.answer();
  const [first, ...others] = await Promise.all(answers);
  assert.ok(others.every((each) => each.answer === first?.answer));
  assert.equal(setting.metrics.forwarded, 1);
});

await test("what a client asks for besides the name is another question: type, DO, AD, CD", () => {
  const setting = setUp();
  void setting.forwarder.ask(question("a.example"));
  void setting.forwarder.ask(question("a.example", { type: recordTypes.AAAA }));
  void setting.forwarder.ask(question("a.example", { edns: { udpBytes: 1232, version: 0, dnssecOk: true } }));
  void setting.forwarder.ask(question("a.example", { flags: 0x0120 }));
  void setting.forwarder.ask(question("a.example", { flags: 0x0110 }));
  // Its size is the client's own matter.
  void setting.forwarder.ask(question("a.example", { edns: { udpBytes: 4096, version: 0, dnssecOk: false } }));
  assert.equal(setting.waiting.length, 5);
  finish(setting);
});

await test("kept for its TTL, and never longer than the limit", async () => {
  const setting = setUp();
  await fetched(setting, "short.example", { ttl: 2 });
  await fetched(setting, "long.example", { ttl: 86_400 });
  await fetched(setting, "none.example", { ttl: 0 });
  assert.equal(isCached(setting, "none.example"), false);
  setting.now = 1999;
  assert.deepEqual([isCached(setting, "short.example"), isCached(setting, "long.example")], [true, true]);
  setting.now = 2000;
  assert.deepEqual([isCached(setting, "short.example"), isCached(setting, "long.example")], [false, true]);
  setting.now = 30_000;
  assert.equal(isCached(setting, "long.example"), false);
});

await test("bounded by entries: the one not asked for longest goes first", async () => {
  const setting = setUp({ success: { ...keep, entries: 3 } });
  for (const name of ["a", "b", "c"]) await fetched(setting, name);
  assert.equal(isCached(setting, "a"), true);
  await fetched(setting, "d");
  assert.deepEqual(
    ["a", "b", "c", "d"].map((name) => isCached(setting, name)),
    [true, false, true, true],
  );
  assert.equal(setting.forwarder.cached().success, 3);
});

await test("bounded by bytes", async () => {
  const setting = setUp({ bytesMax: 10_000 });
  for (let i = 0; i < 20; i++) await fetched(setting, `n${i}`, { size: 255 });
  const { success } = setting.forwarder.cached();
  assert.ok(success >= 5 && success <= 8, String(success));
  assert.equal(isCached(setting, "n19"), true);
});

await test("bounded in what waits", async () => {
  const setting = setUp({ waitingMax: 2 });
  void setting.forwarder.ask(question("a"));
  void setting.forwarder.ask(question("b"));
  await assert.rejects(
    async () => setting.forwarder.ask(question("c")),
    /2 questions already wait for the test's upstream/,
  );
  setting.waiting[0]?.answer();
  await setting.forwarder.ask(question("a"));
  void setting.forwarder.ask(question("c"));
  assert.equal(setting.waiting.length, 3);
  finish(setting);
});

await test("a failure is not tried again for two seconds, then it is", async () => {
  const setting = setUp();
  const first = setting.forwarder.ask(question("a"));
  setting.waiting[0]?.fail();
  await assert.rejects(async () => first, /nobody there/);
  await assert.rejects(async () => setting.forwarder.ask(question("a")), /nobody there/);
  assert.equal(setting.waiting.length, 1);
  setting.now = 2000;
  void setting.forwarder.ask(question("a"));
  assert.equal(setting.waiting.length, 2);
  assert.equal(setting.metrics.forwardFailures, 1);
  finish(setting);
});

await test("an upstream that never answers is given up", async () => {
  const setting = setUp({ timeoutMs: 10 });
  await assert.rejects(
    async () => setting.forwarder.ask(question("a")),
    /the test's upstream: no answer within 0.01 s/,
  );
});

await test("a SERVFAIL of the upstream is passed on and kept for two seconds", async () => {
  const setting = setUp();
  await fetched(setting, "a", { rcode: 2 });
  assert.equal(isCached(setting, "a"), true);
  setting.now = 2000;
  assert.equal(isCached(setting, "a"), false);
});

await test("clients are told no longer time than an answer is kept for, and no shorter than the least", async () => {
  const setting = setUp({ success: { ...keep, minSeconds: 5 }, keepServfail: 40 });
  assert.equal(ttlOf(await fetchedAnswer(setting, "long", { ttl: 3600 })), 30);
  assert.equal(ttlOf(await fetchedAnswer(setting, "middle", { ttl: 20 })), 20);
  assert.equal(ttlOf(await fetchedAnswer(setting, "short", { ttl: 1 })), 5);
  await fetched(setting, "a", { rcode: 2 });
  setting.now = 39_000;
  assert.equal(isCached(setting, "a"), true);
});

const stale = { seconds: 100, verifyMs: undefined, ttl: 0, recheckSeconds: 0 };

/** Of the only record: a pointer to the name, then type, class and TTL. */
function ttlOf({ answer, age }: CachedAnswer): number {
  return Math.max(new DataView(answer.bytes.buffer, answer.bytes.byteOffset).getUint32(2 + 4) - age, 0);
}

await test("stale: given at once while it is fetched anew, for as long as it may be; verified: only where the upstream fails", async () => {
  const setting = setUp({ stale });
  await fetched(setting, "a", { ttl: 10 });
  setting.now = 20_000;
  assert.equal(ttlOf(await setting.forwarder.ask(question("a"))), 0);
  assert.equal(setting.waiting.length, 1);
  setting.waiting.pop()?.answer({ ttl: 10 });
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(ttlOf(await setting.forwarder.ask(question("a"))), 10);
  setting.now = 200_000;
  assert.equal(isCached(setting, "a"), false);

  const verified = setUp({ stale: { ...stale, verifyMs: 0, ttl: 30 } });
  await fetched(verified, "a", { ttl: 10 });
  verified.now = 20_000;
  const asked = verified.forwarder.ask(question("a"));
  verified.waiting.pop()?.fail();
  assert.equal(ttlOf(await asked), 30);
  assert.equal(verified.metrics.cacheStale, 1);
});

await test("stale: verified for a time; an upstream that fails takes nothing away, and is asked again later", async () => {
  const slow = setUp({ stale: { ...stale, verifyMs: 1, ttl: 7 } });
  await fetched(slow, "a", { ttl: 10 });
  slow.now = 20_000;
  assert.equal(ttlOf(await slow.forwarder.ask(question("a"))), 7, "the upstream has not answered");
  slow.waiting.pop()?.answer({ ttl: 10 });
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(ttlOf(await slow.forwarder.ask(question("a"))), 10, "what it says later is kept");

  const failing = setUp({ stale: { ...stale, recheckSeconds: 30 } });
  await fetched(failing, "a", { ttl: 10 });
  failing.now = 20_000;
  await failing.forwarder.ask(question("a"));
  failing.waiting.pop()?.answer({ rcode: 2 });
  await new Promise((resolve) => setImmediate(resolve));
  failing.now = 49_000;
  assert.equal(ttlOf(await failing.forwarder.ask(question("a"))), 0);
  assert.equal(failing.waiting.length, 0, "not asked again yet");
  failing.now = 51_000;
  await failing.forwarder.ask(question("a"));
  failing.waiting.pop()?.answer({ ttl: 10 });
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(ttlOf(await failing.forwarder.ask(question("a"))), 10);
});

await test("prefetch: an answer that is asked for often never ends", async () => {
  const setting = setUp({ prefetch: { amount: 3, pauseSeconds: 60, percentage: 10 } });
  await fetched(setting, "a", { ttl: 20 });
  await setting.forwarder.ask(question("a"));
  await setting.forwarder.ask(question("a"));
  setting.now = 10_000;
  await setting.forwarder.ask(question("a"));
  assert.equal(setting.waiting.length, 0, "half of its life is left");
  setting.now = 18_500;
  await setting.forwarder.ask(question("a"));
  assert.equal(setting.waiting.length, 1);
  setting.waiting.pop()?.answer({ ttl: 20 });
  await new Promise((resolve) => setImmediate(resolve));
  setting.now = 30_000;
  assert.equal(isCached(setting, "a"), true);
});

await test("bounds: denial has its own, a name may be left out, a least time", async () => {
  const setting = setUp({
    success: { ...keep, minSeconds: 5, keeps: (name) => name !== "never" },
    denial: { ...keep, entries: 1 },
  });
  await fetched(setting, "never");
  assert.equal(isCached(setting, "never"), false);
  await fetched(setting, "short", { ttl: 1 });
  setting.now = 4000;
  assert.equal(isCached(setting, "short"), true);
});

await test("one client's flood leaves room for others", async () => {
  const setting = setUp({ waitingMax: 16 });
  const ask = (name: string, client: string): Promise<unknown> =>
    Promise.resolve(setting.forwarder.ask(question(name), () => client));
  const flood = Array.from({ length: 40 }, async (_, i) => await ask(`n${i}`, "10.244.1.5"));
  const results = Promise.allSettled(flood);
  assert.equal(setting.waiting.length, 8);
  const other = ask("other", "10.244.1.6");
  assert.equal(setting.waiting.length, 9);
  finish(setting);
  await other;
  const refused = (await results).filter(({ status }) => status === "rejected");
  assert.equal(refused.length, 32);
  // When they are answered it may ask again.
  const again = ask("again", "10.244.1.5");
  setting.waiting.at(-1)?.answer();
  await again;
});
