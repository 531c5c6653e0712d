import assert from "node:assert/strict";
import { test } from "node:test";

import * as fc from "fast-check";

import { commitBatch, createTables, tableState, type FakeTables } from "../../kernel/fake-nftables.ts";
import { batchItemBytes, encodeBatch } from "../../wire/netlink/nftables-batch.ts";
import type { NftBatchItem } from "../../wire/netlink/nftables.ts";
import { arbitraryTable } from "./arbitrary.testing.ts";
import { elementCount, diffTables, planRemoval, planTable, splitPlan, type NftPlan } from "./diff.ts";
import type { NftElement, NftSet, NftTable } from "./ruleset.ts";
import { inetSample, sampleElement, sampleRule } from "./samples.testing.ts";

function present(tables: FakeTables, table: NftTable): ReturnType<typeof tableState> {
  return tableState(tables, table.family, table.name);
}

/** A line an item, for expectations. */
function words(plan: NftPlan): string[] {
  return plan.flat().map((item) => {
    if ("elements" in item) return `${item.kind} ${item.set} ${item.elements.length}`;
    if ("set" in item) return `${item.kind} ${typeof item.set === "string" ? item.set : item.set.name}`;
    if ("chain" in item) return `${item.kind} ${typeof item.chain === "string" ? item.chain : item.chain.name}`;
    return item.kind;
  });
}

void test("every plan leads where it should, one unit at a time, and then there is nothing to do", () => {
  fc.assert(
    fc.property(arbitraryTable(inetSample), arbitraryTable(inetSample), (first, second) => {
      for (const way of ["dump", "previous"] as const) {
        const tables = createTables();
        for (const unit of planTable(first, undefined)) commitBatch(tables, unit);
        assert.deepEqual(words(planTable(first, present(tables, first))), []);
        const plan = way === "dump" ? planTable(second, present(tables, first)) : diffTables(first, second);
        for (const unit of plan) commitBatch(tables, unit);
        assert.deepEqual(words(planTable(second, present(tables, second))), []);
      }
    }),
    { numRuns: 150 },
  );
});

void test("both ways to plan say the same", () => {
  fc.assert(
    fc.property(arbitraryTable(inetSample), arbitraryTable(inetSample), (first, second) => {
      const tables = createTables();
      commitBatch(tables, planTable(first, undefined).flat());
      const sorted = (plan: NftPlan): string[] => words(plan).sort();
      assert.deepEqual(sorted(diffTables(first, second)), sorted(planTable(second, present(tables, first))));
    }),
    { numRuns: 60 },
  );
});

// ---------------------------------------------------------------- Services

const origin = { kind: "Test", name: "t" };
const countMax = 4;

/** The shape of DESIGN's Services: a verdict by count, and as many backends. */
function servicesTable(counts: ReadonlyMap<number, readonly number[]>): NftTable {
  const services: NftElement[] = [];
  const backends: NftElement[] = [];
  for (const [service, endpoints] of counts) {
    const key = [`10.96.0.${service}`, "tcp", "80"];
    services.push(sampleElement(key, { data: { kind: "goto", chain: `pick-${endpoints.length}` } }));
    for (const [index, endpoint] of endpoints.entries())
      backends.push(sampleElement([...key, String(index)], { data: [`10.244.0.${endpoint}`, "8080"] }));
  }
  const target: NftSet["key"] = ["ipv4_addr", "inet_proto", "inet_service"];
  const numbers = new Set([...counts.values()].map((endpoints) => endpoints.length));
  return {
    family: "inet",
    name: "t",
    sets: [
      { name: "services", key: target, data: "verdict", flags: [], elements: services },
      {
        name: "backends",
        key: [...target, "index"],
        data: ["ipv4_addr", "inet_service"],
        flags: [],
        elements: backends,
      },
    ],
    chains: [
      {
        name: "prerouting",
        base: { type: "nat", hook: "prerouting", priority: -100, policy: "accept" },
        rules: [sampleRule({ kind: "vmap", key: fieldsOfKey, map: "services" })],
      },
      ...[...numbers].map((count) => ({
        name: `pick-${count}`,
        rules: [
          sampleRule({
            kind: "dnat",
            key: [...fieldsOfKey, { kind: "random", below: count }],
            map: "backends",
          } as const),
        ],
      })),
    ],
  };
}

const fieldsOfKey = (["ip daddr", "meta l4proto", "th dport"] as const).map(
  (field) => ({ kind: "field", field }) as const,
);

/** Services whose verdict goes to a chain of n choices without n backends, or to a chain without rules. */
function brokenServices(tables: FakeTables, table: NftTable): string[] {
  const state = present(tables, table);
  const backends = new Set(state?.elements.get("backends")?.map(({ key }) => key.toString()));
  const broken: string[] = [];
  for (const { key, verdict } of state?.elements.get("services") ?? []) {
    const count = Number(verdict?.chain?.slice("pick-".length));
    if (state?.rules.get(`pick-${count}`)?.length !== 1)
      broken.push(`${key.join()} goes to pick-${count}, which is empty`);
    for (let index = 0; index < count; index++)
      if (!backends.has([...key, index, 0, 0, 0].toString()))
        broken.push(`${key.join()} of ${count} has no backend ${index}`);
  }
  return broken;
}

const arbitraryServices = fc
  .dictionary(
    fc.integer({ min: 1, max: 9 }).map(String),
    fc.array(fc.integer({ min: 1, max: 200 }), { minLength: 1, maxLength: countMax }),
  )
  .map((services) => servicesTable(new Map(Object.entries(services).map(([name, ends]) => [Number(name), ends]))));

void test("after every unit each Service has all the backends its number of choices asks for", () => {
  fc.assert(
    fc.property(arbitraryServices, arbitraryServices, (first, second) => {
      const tables = createTables();
      const steps = [...planTable(first, undefined), ...diffTables(first, second)];
      for (const unit of steps) {
        commitBatch(tables, unit);
        assert.deepEqual(brokenServices(tables, first), []);
      }
      assert.deepEqual(words(planTable(second, present(tables, second))), []);
    }),
    { numRuns: 200 },
  );
});

void test("one more Service is two items", () => {
  const few = servicesTable(new Map([[1, [1, 2]]]));
  const more: NftTable = {
    ...few,
    sets: servicesTable(
      new Map([
        [1, [1, 2]],
        [2, [3, 4]],
      ]),
    ).sets,
  };
  assert.deepEqual(words(diffTables(few, more)), ["add-elements backends 2", "add-elements services 1"]);
  assert.deepEqual(words(diffTables(more, few)), ["delete-elements services 1", "delete-elements backends 2"]);
});

void test("elements that stayed the same array, or the same objects, are not looked at", () => {
  const untouchable = (element: NftElement): NftElement =>
    Object.defineProperty({ ...element }, "key", {
      get: () => assert.fail("an element that did not change was read"),
    });
  const kept = [untouchable(sampleElement(["10.0.0.1"])), untouchable(sampleElement(["10.0.0.2"]))];
  const table = (elements: readonly NftElement[]): NftTable => ({
    family: "inet",
    name: "t",
    chains: [],
    sets: [{ name: "s", key: ["ipv4_addr"], flags: [], elements }],
  });
  assert.deepEqual(words(diffTables(table(kept), table(kept))), []);
  assert.deepEqual(words(diffTables(table(kept), table([kept[0]!, sampleElement(["10.0.0.3"]), kept[1]!]))), [
    "add-elements s 1",
  ]);
});

// ---------------------------------------------------------------- particular changes

function withSet(set: NftSet): NftTable {
  const rules = [sampleRule({ kind: "lookup", key: [{ kind: "field", field: "ip saddr" }], op: "==", set: "s" })];
  return {
    family: "inet",
    name: "t",
    sets: [set],
    chains: [
      { name: "c", rules },
      { name: "d", rules: [] },
    ],
  };
}

void test("a set of another type is made anew, and the rules that use it around it", () => {
  const before = withSet({ name: "s", key: ["ipv4_addr"], flags: [], elements: [sampleElement(["10.0.0.1"])] });
  const after = withSet({
    name: "s",
    key: ["ipv4_addr"],
    flags: ["interval"],
    elements: [sampleElement(["10.0.0.0/8"])],
  });
  assert.deepEqual(words(diffTables(before, after)), [
    "flush-chain c",
    "delete-set s",
    "add-set s",
    "add-rule c",
    "add-elements s 1",
  ]);
});

void test("an interval that goes is deleted in the same unit as the one that overlaps it comes", () => {
  const elements = (...ranges: string[]): NftElement[] => ranges.map((range) => sampleElement([range]));
  const set = { name: "s", key: ["ipv4_addr"], flags: ["interval"] } as const;
  const plan = diffTables(
    withSet({ ...set, elements: elements("10.0.0.0/8", "11.0.0.1") }),
    withSet({ ...set, elements: elements("10.0.0.0/9", "11.0.0.1") }),
  );
  assert.equal(plan.length, 1);
  assert.deepEqual(words(plan), ["delete-elements s 1", "add-elements s 1"]);
});

void test("what nobody asked for goes, and a chain that becomes a base chain takes everything along", () => {
  const tables = createTables();
  const table = withSet({ name: "s", key: ["ipv4_addr"], flags: [], elements: [] });
  commitBatch(tables, planTable(table, undefined).flat());
  const wanted: NftTable = { ...table, sets: [], chains: [{ name: "d", rules: [] }] };
  assert.deepEqual(words(planTable(wanted, present(tables, table))), [
    "flush-chain c",
    "delete-set s",
    "delete-chain c",
  ]);
  const base = { type: "filter", hook: "input", priority: 0, policy: "accept" } as const;
  assert.deepEqual(words(diffTables(table, { ...table, chains: [{ name: "d", base, rules: [] }] })), [
    "delete-table",
    "add-table",
    "add-chain d",
    "add-set s",
  ]);
  const at = { family: "inet", table: "t" } as const;
  assert.deepEqual(planRemoval("inet", "t"), [[{ kind: "flush-table", ...at }], [{ kind: "delete-table", ...at }]]);
});

void test("batches keep the units' order, respect the bound, and neighbours are joined", () => {
  const elements = Array.from({ length: 4000 }, (_, i) => sampleElement([`10.0.${i >> 8}.${i & 255}`]));
  const plan = planTable(withSet({ name: "s", key: ["ipv4_addr"], flags: [], elements }), undefined);
  const whole = splitPlan(plan, 10_000_000);
  assert.equal(whole.length, 1);
  assert.deepEqual(words(whole), [
    "add-table",
    "add-chain c",
    "add-chain d",
    "add-set s",
    "add-elements s 4000",
    "add-rule c",
  ]);
  const batches = splitPlan(plan, 50_000);
  assert.ok(batches.length > 1);
  const bytes = (batch: readonly NftBatchItem[]): number =>
    encodeBatch(batch).requests.reduce((sum, { body }) => sum + 16 + body.length, 0);
  for (const batch of batches) {
    assert.ok(bytes(batch) <= 50_000, `${bytes(batch)} bytes`);
    assert.ok(bytes(batch) <= batch.reduce((sum, item) => sum + batchItemBytes(item), 64));
  }
  const count = (list: readonly (readonly NftBatchItem[])[]): number =>
    list.flat().reduce((sum, item) => sum + ("elements" in item ? item.elements.length : 0), 0);
  assert.equal(count(batches), 4000);
});

void test("a long set is filled a megabyte at a time, and ends as the table says", () => {
  const elements = Array.from({ length: 80_000 }, (_, i) =>
    sampleElement([`10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`]),
  );
  const table = withSet({ name: "s", key: ["ipv4_addr"], flags: [], elements });
  const batches = splitPlan(planTable(table, undefined), 16_000_000);
  assert.ok(batches.length > 1, `${batches.length} transactions`);
  // Each piece is encoded when it is its turn: what 80,000 elements come to as a whole weighs more than they do.
  for (const item of batches.flat())
    if ("elements" in item) assert.ok(item.elements.length === elementCount(item) && elementCount(item) <= 500);
  const tables = createTables();
  for (const batch of batches) commitBatch(tables, batch);
  assert.equal(present(tables, table)?.elements.get("s")?.length, 80_000);
  assert.deepEqual(words(planTable(table, present(tables, table))), []);
});

void test("what is filled last comes after rules and verdict maps, and goes before them", () => {
  const table = (filled: boolean): NftTable => ({
    family: "ip",
    name: "t",
    chains: [
      { name: "c", base: { type: "filter", hook: "input", priority: 0, policy: "accept" }, rules: [] },
      { name: "x", rules: filled ? [sampleRule({ kind: "counter" })] : [] },
    ],
    sets: [
      {
        name: "front",
        key: ["inet_service"],
        data: ["classid"],
        flags: [],
        filled: "last",
        elements: filled ? [front] : [],
      },
      { name: "back", key: ["classid"], flags: [], elements: filled ? [sampleElement(["0:1"])] : [] },
    ],
  });
  const front = sampleElement(["80"], { data: ["0:1"] });
  const up = words(diffTables(table(false), table(true)));
  assert.deepEqual(up, ["add-elements back 1", "add-rule x", "add-elements front 1"]);
  const down = words(diffTables(table(true), table(false)));
  assert.ok(down.indexOf("delete-elements front 1") < down.indexOf("delete-elements back 1"), down.join(", "));
});

void test("origins are for people: they make no difference", () => {
  const table = withSet({ name: "s", key: ["ipv4_addr"], flags: [], elements: [sampleElement(["10.0.0.1"])] });
  const moved = withSet({ name: "s", key: ["ipv4_addr"], flags: [], elements: [{ key: ["10.0.0.1"], origin }] });
  assert.deepEqual(words(diffTables(table, moved)), []);
});

void test("sets of one name in two tables are kept apart in one transaction", () => {
  const add = (family: "ip" | "ip6", key: Uint8Array): NftBatchItem => ({
    kind: "add-elements",
    family,
    table: "fairlead",
    set: "nodes",
    elements: [{ key }],
  });
  const [four, six] = [add("ip", new Uint8Array(4)), add("ip6", new Uint8Array(16))];
  assert.deepEqual(splitPlan([[four], [six]], 100_000), [[four, six]]);
  assert.deepEqual(
    splitPlan([[four], [four]], 100_000)[0]?.map((item) => "elements" in item && item.elements.length),
    [2],
  );
});
