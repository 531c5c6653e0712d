import assert from "node:assert/strict";
import { test } from "node:test";

import * as fc from "fast-check";

import { addressFromValue, addressValue } from "../ip/address.ts";
import type { Origin } from "../kube/object.ts";
import { disjointBlocks, disjointPorts, portText, rangesWithout, rangeText, type Block } from "./policy-blocks.ts";

const origin: Origin = { kind: "NetworkPolicy", name: "n" };

void test("a block without its exceptions", () => {
  const text = (cidr: string, except: readonly string[]): readonly string[] =>
    rangesWithout(cidr, except).map((range) => rangeText(cidr.includes(":") ? 6 : 4, range));
  assert.deepEqual(text("10.0.0.0/8", []), ["10.0.0.0/8"]);
  assert.deepEqual(text("10.0.0.0/8", ["10.0.0.0/9"]), ["10.128.0.0/9"]);
  assert.deepEqual(text("10.0.0.0/24", ["10.0.0.5/32", "10.0.0.64/26"]), [
    "10.0.0.0-10.0.0.4",
    "10.0.0.6-10.0.0.63",
    "10.0.0.128/25",
  ]);
  assert.deepEqual(text("10.0.0.0/24", ["10.0.0.0/24"]), []);
  assert.deepEqual(text("10.0.0.0/24", ["fd00::/8", "11.0.0.0/8"]), ["10.0.0.0/24"]);
  assert.deepEqual(text("0.0.0.0/0", ["255.255.255.255/32"]), ["0.0.0.0-255.255.255.254"]);
  assert.deepEqual(text("fd00::/64", ["fd00::/65"]), ["fd00::8000:0:0:0/65"]);
});

void test("ports that overlap or touch become one range, of one protocol only", () => {
  const port = (protocol: "tcp" | "udp", first: number, last: number) =>
    ({ protocol, first, last, origin, by: [] }) as const;
  assert.deepEqual(
    disjointPorts([port("udp", 80, 90), port("tcp", 85, 95), port("tcp", 80, 84), port("tcp", 100, 100)]).map(
      (range) => `${range.protocol} ${portText(range)}`,
    ),
    ["tcp 80-95", "tcp 100", "udp 80-90"],
  );
});

void test("boxes never overlap and mean the same addresses and ports, in any order", () => {
  const ports = fc.array(
    fc.record({
      protocol: fc.constantFrom<"tcp" | "udp">("tcp", "udp"),
      first: fc.integer({ min: 1, max: 6 }),
      length: fc.integer({ min: 0, max: 3 }),
    }),
    { minLength: 1, maxLength: 3 },
  );
  const block = fc
    .record({ first: fc.integer({ min: 0, max: 12 }), length: fc.integer({ min: 0, max: 6 }), ports })
    .map(({ first, length, ports: list }): Block => ({
      range: { first: BigInt(first), last: BigInt(first + length) },
      ports: list.map(({ protocol, first: port, length: more }) => ({
        protocol,
        first: port,
        last: port + more,
        origin,
        by: [],
      })),
    }));
  const points = (blocks: readonly Block[]): readonly string[] =>
    blocks.flatMap(({ range, ports: list }) => {
      const all: string[] = [];
      for (let address = range.first; address <= range.last; address++)
        for (const each of list)
          for (let port = each.first; port <= each.last; port++) all.push(`${address} ${each.protocol} ${port}`);
      return all;
    });
  fc.assert(
    fc.property(fc.array(block, { maxLength: 6 }), (blocks) => {
      const boxes = disjointBlocks(blocks);
      const covered = points(boxes);
      assert.equal(new Set(covered).size, covered.length, "boxes overlap");
      assert.deepEqual([...covered].sort(), [...new Set(points(blocks))].sort());
      assert.deepEqual(disjointBlocks([...blocks].reverse()), boxes);
    }),
  );
});

void test("ranges as nft writes them", () => {
  const range = (first: string, last: string): string =>
    rangeText(4, { first: addressValue(first), last: addressValue(last) });
  assert.equal(range("10.0.0.1", "10.0.0.1"), "10.0.0.1");
  assert.equal(range("10.0.0.2", "10.0.0.3"), "10.0.0.2/31");
  assert.equal(range("10.0.0.1", "10.0.0.2"), "10.0.0.1-10.0.0.2");
  assert.equal(range("0.0.0.0", "255.255.255.255"), "0.0.0.0/0");
  assert.equal(rangeText(6, { first: 0n, last: 2n ** 128n - 1n }), "::/0");
  assert.equal(addressFromValue(4, 0n), "0.0.0.0");
});
