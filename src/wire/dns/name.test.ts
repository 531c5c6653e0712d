import assert from "node:assert/strict";
import { test } from "node:test";

import { DnsFormatError } from "./format-error.ts";
import { isWithin, lowerName, nameLabels, readName, skipName } from "./name.ts";

const bytes = (...parts: readonly (number | string)[]): Uint8Array =>
  Uint8Array.from(parts.flatMap((part) => (typeof part === "number" ? [part] : [part.length, ...Buffer.from(part)])));

await test("labels, pointers, and where the next thing starts", () => {
  const message = bytes("svc", "local", 0, "api", 0xc0, 0);
  assert.deepEqual(readName(message, 0), { name: "svc.local", end: 11 });
  assert.deepEqual(readName(message, 11), { name: "api.svc.local", end: 17 });
  assert.equal(skipName(message, 11), 17);
  assert.deepEqual(readName(bytes(0), 0), { name: ".", end: 1 });
});

await test("a pointer must lead backwards; loops are refused", () => {
  assert.throws(() => readName(bytes(0xc0, 0), 0), /leads forward/);
  assert.throws(() => readName(bytes("a", 0xc0, 0), 0), /leads forward/);
  assert.throws(() => readName(bytes(0xc0, 2, 0xc0, 0), 0), /leads forward/);
  // Two pointers at each other, entered at the second.
  assert.throws(() => readName(bytes(0xc0, 2, 0xc0, 0), 2), /leads forward/);
  // Backwards, but into the name that is being read.
  assert.throws(() => readName(bytes("a", "b", 0xc0, 2), 0), /leads forward/);
});

await test("what is cut off, too long or reserved is a DnsFormatError", () => {
  for (const bad of [bytes(), bytes(3, 97), bytes("abc"), bytes(0xc0), bytes(0x40, 0), bytes(0x80, 0)]) {
    assert.throws(() => readName(bad, 0), DnsFormatError);
    assert.throws(() => skipName(bad, 0), DnsFormatError);
  }
  const long = bytes(...Array.from({ length: 26 }, () => "123456789"), 0);
  assert.throws(() => readName(long, 0), /more than 255 bytes/);
});

await test("text that is no name is a DnsFormatError", () => {
  for (const bad of ["a..b", ".a", "x".repeat(64), "é", `${"abcdefgh.".repeat(29)}x`, "a\\", "a\\999"])
    assert.throws(() => nameLabels(bad), DnsFormatError, bad);
});

await test("the root and a final dot", () => {
  assert.deepEqual(nameLabels("."), []);
  assert.deepEqual(nameLabels("a.b."), nameLabels("a.b"));
  assert.equal(lowerName("Api.LOCAL."), "api.local");
  assert.equal(lowerName("."), ".");
});

await test("within: at label borders only", () => {
  assert.equal(isWithin("cluster.local", "cluster.local"), true);
  assert.equal(isWithin("a.cluster.local", "cluster.local"), true);
  assert.equal(isWithin("acluster.local", "cluster.local"), false);
  assert.equal(isWithin("a\\.cluster.local", "cluster.local"), false);
  assert.equal(isWithin("local", "cluster.local"), false);
  assert.equal(isWithin("anything", "."), true);
});
