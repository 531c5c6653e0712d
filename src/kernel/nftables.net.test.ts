// Our tables in a real kernel: what we install is what we read, nft shows it, and what nft shows it loads again to the same.

import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";

import * as fc from "fast-check";

import { arbitraryTable } from "../program/nftables/arbitrary.testing.ts";
import { diffTables, planRemoval, planTable, splitPlan, type NftPlan } from "../program/nftables/diff.ts";
import { encodeTable } from "../program/nftables/encode.ts";
import { formatTable } from "../program/nftables/format.ts";
import { nft, nftMissing } from "../program/nftables/nft.testing.ts";
import type { NftTable } from "../program/nftables/ruleset.ts";
import { inetSample, sampleElement, sampleRule, samples } from "../program/nftables/samples.testing.ts";
import { sortElements } from "../wire/netlink/nftables-messages.ts";
import type { NftRuleState, NftTableState } from "../wire/netlink/nftables.ts";
import { KernelError } from "./kernel.ts";
import { createNetworkNamespace, type NetworkNamespace } from "./namespaces.ts";
import { createNftablesSocket, type NftablesSocket } from "./nftables.ts";

const small: NftTable = {
  family: "inet",
  name: "small",
  sets: [{ name: "s", key: ["ipv4_addr"], data: ["mark"], flags: [], elements: [] }],
  chains: [{ name: "c", rules: [sampleRule({ kind: "counter" })] }],
};

let namespace: NetworkNamespace;
let socket: NftablesSocket;

before(() => {
  namespace = createNetworkNamespace();
  socket = createNftablesSocket(namespace);
});
afterEach(() => {
  for (const table of [...samples, small]) if (socket.table(table.family, table.name) !== undefined) remove(table);
});
after(() => {
  socket.close();
  namespace.close();
});

function commit(plan: NftPlan, bytesMax: number = socket.batchBytesMax): void {
  for (const batch of splitPlan(plan, bytesMax)) socket.commit(batch);
}

function inside(commands: readonly string[], input?: string): string {
  return namespace.run(() => nft(commands, input));
}

function dump(table: NftTable): NftTableState {
  return socket.table(table.family, table.name) ?? assert.fail(`no table ${table.family} ${table.name}`);
}

function remove(table: NftTable): void {
  commit(planRemoval(table.family, table.name));
}

/** Without what means nothing: the order of chains, sets and elements, and handles. */
function comparable(state: NftTableState): unknown {
  const byName = (a: { name: string }, b: { name: string }): number => (a.name < b.name ? -1 : 1);
  const withoutHandle = (rule: NftRuleState): unknown => ({ ...rule, handle: undefined });
  return {
    chains: state.chains.toSorted(byName),
    rules: new Map([...state.rules].map(([chain, rules]) => [chain, rules.map(withoutHandle)])),
    sets: state.sets.toSorted(byName),
    elements: new Map([...state.elements].map(([set, elements]) => [set, sortElements(elements)])),
  };
}

for (const table of samples)
  void test(`family ${table.family}: what is installed is what is read, and planned again it is nothing`, () => {
    commit(planTable(table, undefined));
    assert.deepEqual(comparable(dump(table)), comparable(encodeTable(table)));
    assert.deepEqual(planTable(table, dump(table)), []);
    remove(table);
    assert.equal(socket.table(table.family, table.name), undefined);
  });

for (const table of samples)
  void test(
    `family ${table.family}: nft lists it and loads its own listing to the same`,
    { skip: nftMissing() },
    () => {
      commit(planTable(table, undefined));
      const ours = comparable(dump(table));
      const listing = inside(["list", "table", table.family, table.name]);
      inside(["flush", "ruleset"]);
      inside(["-f", "-"], listing);
      assert.deepEqual(comparable(dump(table)), ours);
      assert.deepEqual(planTable(table, dump(table)), []);
      remove(table);
    },
  );

for (const table of samples)
  void test(`family ${table.family}: nft loads our text to what we install`, { skip: nftMissing() }, () => {
    inside(["-f", "-"], formatTable(table, { annotate: ({ name }) => name }));
    assert.deepEqual(comparable(dump(table)), comparable(encodeTable(table)));
    remove(table);
  });

void test("from any table to any other, in transactions large and small", () => {
  fc.assert(
    fc.property(
      arbitraryTable(inetSample),
      arbitraryTable(inetSample),
      fc.constantFrom(1, 4000, 1_000_000),
      fc.boolean(),
      (first, second, bytesMax, fromDump) => {
        commit(planTable(first, undefined));
        try {
          commit(fromDump ? planTable(second, dump(first)) : diffTables(first, second), bytesMax);
          assert.deepEqual(planTable(second, dump(second)), []);
        } finally {
          remove(first);
        }
      },
    ),
    { numRuns: 40 },
  );
});

void test("what others changed by hand is put back", { skip: nftMissing() }, () => {
  commit(planTable(inetSample, undefined));
  const byHand = [
    "delete element inet sample identities { 10.244.1.2 }",
    "add element inet sample identities { 10.9.9.9 : 0x9 }",
    "add rule inet sample by-nothing counter drop",
    "insert rule inet sample prerouting accept",
    "add chain inet sample theirs",
    "add set inet sample theirs { type ipv4_addr; }",
    "delete element inet sample ranges { 10.0.0.0/8 }\nadd element inet sample ranges { 10.1.0.0/16 }",
    "chain inet sample forward { policy accept; }",
  ];
  for (const command of byHand) {
    inside(["-f", "-"], `${command}\n`);
    const plan = planTable(inetSample, dump(inetSample));
    assert.notDeepEqual(plan, [], command);
    commit(plan);
    assert.deepEqual(planTable(inetSample, dump(inetSample)), [], command);
  }
  remove(inetSample);
});

void test("what packets put into dynamic sets is left alone", { skip: nftMissing() }, () => {
  commit(planTable(inetSample, undefined));
  inside(["add", "element", "inet", "sample", "seen", "{ 10.0.0.9 timeout 50s }"]);
  assert.equal(dump(inetSample).elements.get("seen")?.length, 1);
  assert.deepEqual(planTable(inetSample, dump(inetSample)), []);
  remove(inetSample);
});

void test("a refused transaction changes nothing and names its item", () => {
  commit(planTable(small, undefined));
  const at = { family: "inet", table: "small" } as const;
  const key = Uint8Array.of(10, 0, 0, 1);
  const error = catchKernelError(() =>
    socket.commit([
      { kind: "add-elements", ...at, set: "s", elements: [{ key, data: Uint8Array.of(1, 0, 0, 0) }] },
      { kind: "flush-chain", ...at, chain: "c" },
      { kind: "delete-elements", ...at, set: "s", elements: [{ key: Uint8Array.of(10, 0, 0, 2) }] },
    ]),
  );
  assert.equal(error.code, "ENOENT");
  assert.equal(error.index, 2);
  assert.match(
    error.message,
    /^nftables transaction, item 2 of 3, delete 1 elements of set inet small s: ENOENT: .+; another program/,
  );
  assert.deepEqual(planTable(small, dump(small)), []);
  const missing = catchKernelError(() => socket.commit([{ kind: "delete-chain", ...at, chain: "nowhere" }]));
  assert.equal(missing.code, "ENOENT");
  const busy = catchKernelError(() =>
    socket.commit([
      { kind: "add-chain", ...at, chain: { name: "d" } },
      {
        kind: "add-rule",
        ...at,
        chain: "c",
        rule: { expressions: [{ kind: "verdict", verdict: { code: -3, chain: "d" } }] },
      },
      { kind: "delete-chain", ...at, chain: "d" },
    ]),
  );
  assert.equal(busy.code, "EBUSY");
  assert.equal(busy.index, 2);
  remove(small);
});

void test("a transaction larger than the socket is refused as a whole, and splits into ones that fit", () => {
  const elements = Array.from({ length: 56_000 }, (_, i) =>
    sampleElement([`10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`], { data: ["0x1"], comment: "x".repeat(120) }),
  );
  const table: NftTable = { ...small, sets: [{ ...small.sets[0]!, elements }] };
  const plan = planTable(table, undefined);
  assert.equal(catchKernelError(() => socket.commit(plan.flat())).code, "EMSGSIZE");
  assert.equal(socket.table("inet", "small"), undefined);
  commit(plan);
  assert.equal(dump(table).elements.get("s")?.length, elements.length);
  assert.deepEqual(planTable(table, dump(table)), []);
  remove(table);
});

function catchKernelError(work: () => void): KernelError {
  try {
    work();
  } catch (error) {
    if (error instanceof KernelError) return error;
    throw error;
  }
  return assert.fail("the kernel took it");
}
