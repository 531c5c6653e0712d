import assert from "node:assert/strict";
import { test } from "node:test";

import { encodeElements } from "./encode.ts";
import { formatElementState } from "./format-state.ts";
import type { NftSet } from "./ruleset.ts";
import { inetSample } from "./samples.testing.ts";

function texts(name: string): string[] {
  const set: NftSet = inetSample.sets.find((set) => set.name === name) ?? assert.fail(name);
  return encodeElements(set, set.elements).map((state) => formatElementState(set, state));
}

void test("elements as the kernel holds them, in words", () => {
  assert.deepEqual(texts("services4").slice(0, 4), [
    "10.96.0.1 . tcp . 443 : goto pick-1",
    "10.96.0.10 . udp . 53 : goto pick-3",
    "10.96.0.11 . sctp . 5060 : jump no-endpoints",
    "10.96.0.12 . tcp . 80 : drop",
  ]);
  assert.deepEqual(texts("backends6"), ["fd00:96::1 . tcp . 443 . 0x1 : fd00:244::2 . 6443"]);
  assert.deepEqual(texts("allow-ranges")[1], "0x2 . 10.0.0.0-10.255.255.255 . udp . 53");
  assert.deepEqual(texts("port-marks")[0], "0-1023 : 0x1");
  assert.deepEqual(texts("expiring")[0], "0a:58:0a:f4:01:02");
});

void test("bytes that do not fit the types are shown as they are", () => {
  assert.equal(
    formatElementState({ key: ["ipv6_addr"], flags: [] }, { key: Uint8Array.of(10, 0, 0, 1) }),
    "0x0a000001",
  );
  const odd = { key: Uint8Array.of(0, 80), data: Uint8Array.of(1, 2), verdict: { code: -9 } };
  assert.equal(formatElementState({ key: ["inet_service"], flags: [] }, odd), "80 : verdict -9");
});
