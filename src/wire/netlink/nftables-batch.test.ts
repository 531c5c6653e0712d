import assert from "node:assert/strict";
import { test } from "node:test";

import * as fc from "fast-check";

import { AttributeWriter, NetlinkFormatError, parseAttributes } from "./attributes.ts";
import { toHex } from "./golden.testing.ts";
import { decodeExpression, encodeExpression } from "./nftables-expressions.ts";
import { batchItemBytes, encodeBatch } from "./nftables-batch.ts";
import { TableDump, decodeGeneration, dumpRequests } from "./nftables-dump.ts";
import { compareBytes, familyNumbers, sortElements } from "./nftables-messages.ts";
import type { NftBatchItem, NftElementState, NftExpression, NftKernelFamily, NftSetState } from "./nftables.ts";

const at = { family: "inet", table: "t" } as const;

/** Records with the prototype that values have. */
const record = <T>(model: { [K in keyof T]: fc.Arbitrary<T[K]> }): fc.Arbitrary<T> =>
  fc.record(model, { noNullPrototype: true }) as fc.Arbitrary<T>;

const register = fc.integer({ min: 1, max: 23 });
const u32 = fc.integer({ min: 0, max: 0xffffffff });
const bytes = fc.uint8Array({ minLength: 1, maxLength: 16 });
const name = fc.stringMatching(/^[a-z][a-z0-9-]{0,20}$/);
const verdict = fc.oneof(
  record({ code: fc.constantFrom(0, 1, -1, -5) }),
  record({ code: fc.constantFrom(-3, -4), chain: name }),
);
const u64 = fc.bigInt({ min: 1n, max: 2n ** 63n });

const arbitraryExpression: fc.Arbitrary<NftExpression> = fc.oneof<fc.Arbitrary<NftExpression>[]>(
  record({ kind: fc.constant("immediate" as const), dreg: register, data: bytes }),
  record({ kind: fc.constant("verdict" as const), verdict }),
  record({ kind: fc.constant("meta-load" as const), key: u32, dreg: register }),
  record({ kind: fc.constant("meta-set" as const), key: u32, sreg: register }),
  record({ kind: fc.constant("ct-load" as const), key: u32, dreg: register }),
  record({ kind: fc.constant("ct-load" as const), key: u32, dreg: register, direction: fc.constantFrom(0, 1) }),
  record({ kind: fc.constant("ct-set" as const), key: u32, sreg: register }),
  record({ kind: fc.constant("payload" as const), dreg: register, base: u32, offset: u32, length: u32 }),
  record({ kind: fc.constant("fib" as const), dreg: register, result: u32, flags: u32 }),
  record({ kind: fc.constant("numgen" as const), dreg: register, modulus: u32, type: u32 }),
  record({
    kind: fc.constant("byteorder" as const),
    sreg: register,
    dreg: register,
    operation: u32,
    length: u32,
    size: u32,
  }),
  record({ kind: fc.constant("cmp" as const), sreg: register, op: u32, data: bytes }),
  record({ kind: fc.constant("range" as const), sreg: register, op: u32, from: bytes, to: bytes }),
  record({ kind: fc.constant("bitwise" as const), sreg: register, dreg: register, mask: bytes, xor: bytes }),
  record({ kind: fc.constant("lookup" as const), set: name, sreg: register, inverted: fc.boolean() }),
  record({
    kind: fc.constant("lookup" as const),
    set: name,
    sreg: register,
    dreg: fc.integer({ min: 0, max: 23 }),
    inverted: fc.constant(false),
  }),
  record({
    kind: fc.constant("dynset" as const),
    set: name,
    operation: fc.constantFrom(0, 1, 2),
    keyRegister: register,
    dataRegister: register,
    timeoutMs: u64,
  }),
  record({ kind: fc.constant("dynset" as const), set: name, operation: u32, keyRegister: register }),
  record({
    kind: fc.constant("nat" as const),
    type: u32,
    family: u32,
    addressRegister: register,
    portRegister: register,
    flags: fc.constantFrom(0, 16),
  }),
  record({ kind: fc.constant("masquerade" as const), flags: u32 }),
  record({ kind: fc.constant("redirect" as const), portRegister: register, flags: fc.constantFrom(0, 16) }),
  record({ kind: fc.constant("reject" as const), type: u32, code: fc.integer({ min: 0, max: 255 }) }),
  record({
    kind: fc.constant("log" as const),
    group: fc.integer({ min: 0, max: 0xffff }),
    prefix: name,
    snapLength: u32,
  }),
  record({ kind: fc.constant("limit" as const), rate: u64, unitSeconds: u64, burst: u32 }),
  fc.constant({ kind: "counter" as const }),
  fc.constant({ kind: "notrack" as const }),
  record({ kind: fc.constant("other" as const), name: fc.constant("osf"), data: bytes }),
);

void test("expressions come back as they went", () => {
  fc.assert(
    fc.property(arbitraryExpression, (expression) => {
      const writer = new AttributeWriter();
      encodeExpression(writer, expression, (set) => ({ name: String(set), id: undefined }));
      assert.deepEqual(
        decodeExpression(writer.take(), (set) => set),
        expression,
      );
    }),
  );
});

/** The bodies of the messages of one type, as a dump would give them. */
function bodies(batch: readonly NftBatchItem[], type: number): Uint8Array[] {
  return encodeBatch(batch)
    .requests.filter((request) => request.type === type)
    .map(({ body }) => body);
}

function roundTrip(set: NftSetState, elements: readonly NftElementState[]): readonly NftElementState[] {
  const batch: NftBatchItem[] = [
    { kind: "add-set", ...at, set },
    { kind: "add-elements", ...at, set: set.name, elements },
  ];
  const dump = new TableDump("inet", "t");
  for (const body of bodies(batch, 0x0a09)) assert.equal(dump.set(body), set.name);
  for (const body of bodies(batch, 0x0a0c)) dump.elements(body);
  const state = dump.finish();
  assert.deepEqual(state.sets, [set]);
  return state.elements.get(set.name) ?? [];
}

void test("sets and elements come back as they went, however many messages they take", () => {
  const set: NftSetState = { name: "m", flags: 8, keyType: 7, keyLength: 4, dataType: 0xffffff00 };
  const key = fc.uint8Array({ minLength: 4, maxLength: 4 });
  const element = fc.oneof(
    record({ key, verdict }),
    record({ key, verdict, timeoutMs: u64, userdata: fc.uint8Array({ minLength: 1, maxLength: 100 }) }),
  );
  fc.assert(
    fc.property(fc.array(element, { maxLength: 20 }), (elements) => {
      assert.deepEqual(roundTrip(set, elements), elements);
    }),
  );
  const many = Array.from({ length: 5000 }, (_, i) => ({
    key: Uint8Array.of(10, 0, i >> 8, i & 255),
    verdict: { code: -4, chain: "pick-3" },
  }));
  assert.deepEqual(roundTrip(set, many), many);
  assert.ok(bodies([{ kind: "add-elements", ...at, set: "m", elements: many }], 0x0a0c).length > 1);
});

void test("intervals are joined from their ends, and the last one needs none", () => {
  const set: NftSetState = { name: "i", flags: 4, keyType: 13, keyLength: 2 };
  const edges = fc.uniqueArray(fc.integer({ min: 0, max: 0xffff }), { minLength: 2, maxLength: 20 });
  const be16 = (value: number): Uint8Array => Uint8Array.of(value >> 8, value & 255);
  fc.assert(
    fc.property(edges, (numbers) => {
      const sorted = numbers.toSorted((a, b) => a - b);
      const intervals: NftElementState[] = [];
      for (let i = 0; i + 1 < sorted.length; i += 2)
        intervals.push({ key: be16(sorted[i]!), lastKey: be16(sorted[i + 1]!) });
      assert.deepEqual(roundTrip(set, intervals), intervals);
    }),
  );
  const whole = [{ key: be16(0), lastKey: be16(0xffff) }];
  assert.deepEqual(roundTrip(set, whole), whole);
  const neighbours = [
    { key: be16(1), lastKey: be16(5) },
    { key: be16(6), lastKey: be16(0xffff) },
  ];
  assert.deepEqual(roundTrip(set, neighbours), neighbours);
});

void test("a rule's anonymous sets come back inside it", () => {
  const rule = {
    expressions: [
      { kind: "meta-load", key: 16, dreg: 1 },
      { kind: "lookup", set: 0, sreg: 1, inverted: false },
    ],
    anonymousSets: [
      {
        set: { name: "", flags: 3, keyType: 12, keyLength: 1, size: 2 },
        elements: [{ key: Uint8Array.of(6) }, { key: Uint8Array.of(17) }],
      },
    ],
    userdata: Uint8Array.of(0, 2, 0x61, 0),
  } as const;
  const batch: NftBatchItem[] = [{ kind: "add-rule", ...at, chain: "c", rule }];
  const { requests, items } = encodeBatch(batch);
  assert.deepEqual(items, [-1, 0, 0, 0, -1]);
  assert.deepEqual(
    requests.map(({ type }) => type.toString(16)),
    ["10", "a09", "a0c", "a06", "11"],
  );
  const dump = new TableDump("inet", "t");
  for (const body of bodies([{ kind: "add-chain", ...at, chain: { name: "c" } }], 0x0a03)) dump.chain(body);
  for (const body of bodies(batch, 0x0a09)) dump.set(body);
  for (const body of bodies(batch, 0x0a0c)) dump.elements(body);
  // A dump adds the handle (NFTA_RULE_HANDLE 3).
  const handle = new AttributeWriter().be64(3, 7n).take();
  for (const body of bodies(batch, 0x0a06)) dump.rule(Uint8Array.from([...body, ...handle]));
  const state = dump.finish();
  assert.deepEqual(state.rules.get("c"), [{ handle: 7n, ...rule }]);
  assert.deepEqual(state.sets, []);
});

void test("the estimate of an item's bytes is never too small", () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 3000 }), fc.boolean(), (count, comment) => {
      const elements = Array.from({ length: count }, (_, i) => ({
        key: Uint8Array.of(i >> 8, i & 255),
        lastKey: Uint8Array.of(i >> 8, i & 255),
        ...(comment ? { userdata: new Uint8Array(i % 100) } : {}),
      }));
      const item: NftBatchItem = { kind: "add-elements", ...at, set: "s", elements };
      const sent = encodeBatch([item]).requests.reduce((sum, { body }) => sum + 16 + body.length, 0);
      assert.ok(sent <= batchItemBytes(item) + 64, `${sent} bytes`);
    }),
    { numRuns: 30 },
  );
});

void test("any bytes give a value or a NetlinkFormatError", () => {
  const set: NftSetState = { name: "i", flags: 4, keyType: 13, keyLength: 2, fieldLengths: [1], counter: true };
  const seeds = encodeBatch([
    { kind: "add-chain", ...at, chain: { name: "c", base: { type: "nat", hook: 0, priority: -100, policy: 1 } } },
    { kind: "add-set", ...at, set },
    { kind: "add-elements", ...at, set: "i", elements: [{ key: Uint8Array.of(1, 2), lastKey: Uint8Array.of(3, 4) }] },
    { kind: "add-rule", ...at, chain: "c", rule: { expressions: [{ kind: "numgen", dreg: 1, modulus: 2, type: 1 }] } },
  ]).requests.map(({ body }) => body);
  const damaged = fc
    .tuple(fc.constantFrom(...seeds), fc.array(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 })), { maxLength: 4 }))
    .map(([seed, changes]) => {
      const copy = seed.slice();
      for (const [index, value] of changes) copy[index % copy.length] = value;
      return copy;
    });
  fc.assert(
    fc.property(fc.array(fc.oneof(damaged, fc.uint8Array({ maxLength: 80 })), { maxLength: 6 }), (messages) => {
      try {
        const dump = new TableDump("inet", "t");
        for (const body of messages) {
          dump.set(body);
          dump.chain(body);
          dump.elements(body);
          dump.rule(body);
        }
        dump.finish();
        for (const body of messages) decodeGeneration(body);
      } catch (error) {
        assert.ok(error instanceof NetlinkFormatError, String(error));
      }
    }),
    { numRuns: 1000 },
  );
});

void test("requests of dumps, as `nft list table inet t` sends them", () => {
  assert.equal(toHex(dumpRequests.table("inet", "t").body), "010000000600010074000000");
  assert.equal(toHex(dumpRequests.elements("inet", "t", "s").body), "0100000006000100740000000600020073000000");
  assert.deepEqual(
    Object.entries(familyNumbers).map(([family, number]) => [
      dumpRequests.chains(family as NftKernelFamily).body[0],
      number,
    ]),
    Object.values(familyNumbers).map((number) => [number, number]),
  );
});

void test("elements are in the order of their bytes", () => {
  const key = (...bytes: number[]): NftElementState => ({ key: Uint8Array.from(bytes) });
  assert.deepEqual(sortElements([key(2), key(1, 0), key(1)]), [key(1), key(1, 0), key(2)]);
  assert.equal(compareBytes(Uint8Array.of(1), Uint8Array.of(1)), 0);
  assert.deepEqual(parseAttributes(new Uint8Array(0)).size, 0);
});
