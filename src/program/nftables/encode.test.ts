import assert from "node:assert/strict";
import { test } from "node:test";

import { encodeElements, encodeTable } from "./encode.ts";
import { ourMessages, readGolden } from "./golden.testing.ts";
import type { NftSet, NftTable, Statement } from "./ruleset.ts";
import { inetSample, sampleElement, sampleRule, samples } from "./samples.testing.ts";

for (const table of samples)
  void test(`family ${table.family}: every message is byte for byte nft's`, () => {
    // nft sends a set's elements right after the set, we after all sets: the order differs, the messages do not.
    const ours = ourMessages(table).sort();
    assert.deepEqual(ours, [...(readGolden().get(table.family) ?? [])].sort());
  });

function tableOf(statements: readonly Statement[], sets: readonly NftSet[] = inetSample.sets): NftTable {
  return { family: "inet", name: "t", sets, chains: [{ name: "c", rules: [sampleRule(...statements)] }] };
}

const refused: readonly { why: RegExp; table: NftTable }[] = [
  {
    why: /rule of nftables chain t c: table t has no set or map nothing/,
    table: tableOf([{ kind: "lookup", key: [{ kind: "field", field: "ip saddr" }], op: "==", set: "nothing" }]),
  },
  {
    why: /services4 is a verdict map, not a set/,
    table: tableOf([{ kind: "lookup", key: [{ kind: "field", field: "ip saddr" }], op: "==", set: "services4" }]),
  },
  {
    why: /a key of ipv6_addr for ranges, whose key is ipv4_addr/,
    table: tableOf([{ kind: "lookup", key: [{ kind: "field", field: "ip6 saddr" }], op: "==", set: "ranges" }]),
  },
  {
    why: /a field of ip6 after a match of ip$/,
    table: tableOf([
      { kind: "match", field: "ip saddr", op: "==", values: ["10.0.0.1"] },
      { kind: "match", field: "ip6 saddr", op: "==", values: ["fd00::1"] },
    ]),
  },
  { why: /translation of ports needs a match of meta l4proto/, table: tableOf([{ kind: "redirect", port: 80 }]) },
  {
    why: /"300.0.0.1" is no value of nftables type ipv4_addr/,
    table: tableOf([{ kind: "match", field: "ip saddr", op: "==", values: ["300.0.0.1"] }]),
  },
  {
    // The rule that nft 1.0.6 aborts on.
    why: /key of 20 bytes; nft 1.0.6 reads updates of maps with at most 16/,
    table: tableOf(
      [
        {
          kind: "update",
          set: "m",
          key: [
            { kind: "field", field: "ip6 saddr" },
            { kind: "field", field: "th dport" },
          ],
          data: "meta mark",
        },
      ],
      [{ name: "m", key: ["ipv6_addr", "inet_service"], data: ["mark"], flags: ["dynamic", "timeout"], elements: [] }],
    ),
  },
  {
    why: /element of nftables set s \{ 10.0.0.9-10.0.0.1 \}: range 10.0.0.9-10.0.0.1 ends before it starts/,
    table: tableOf(
      [],
      [{ name: "s", key: ["ipv4_addr"], flags: ["interval"], elements: [sampleElement(["10.0.0.9-10.0.0.1"])] }],
    ),
  },
  {
    why: /nftables set s: a key has at most 5 parts/,
    table: tableOf([], [{ name: "s", key: Array(6).fill("mark") as "mark"[], flags: [], elements: [] }]),
  },
  {
    why: /nftables comment "a \\"quote\\"": at most 127 bytes, no quotes/,
    table: { family: "inet", name: "t", sets: [], chains: [{ name: "c", comment: 'a "quote"', rules: [] }] },
  },
];

for (const { why, table } of refused)
  void test(`refused: ${why.source}`, () => {
    assert.throws(() => encodeTable(table), { name: "RangeError", message: why });
  });

void test("the same table is encoded once, the same elements too", () => {
  assert.equal(encodeTable(inetSample), encodeTable(inetSample));
  const set: NftSet = { name: "s", key: ["ipv4_addr"], flags: [], elements: [sampleElement(["10.0.0.1"])] };
  assert.equal(encodeElements({ ...set }, set.elements), encodeElements(set, set.elements));
  // Not so where the key lies differently in memory.
  assert.deepEqual(encodeElements({ ...set, flags: ["interval"] }, set.elements), [
    { key: Uint8Array.of(10, 0, 0, 1), lastKey: Uint8Array.of(10, 0, 0, 1) },
  ]);
});
