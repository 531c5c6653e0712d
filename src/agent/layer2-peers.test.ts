import assert from "node:assert/strict";
import { test } from "node:test";

import { createPeers, probeEveryMs, type Answerer, type Peers } from "./layer2-peers.ts";

/** Asks node-1 and its agent every half second from `from` to `to`; those named answer. Gives when it was given up and taken back. */
function pass(
  peers: Peers,
  { from, to, answers }: { readonly from: number; readonly to: number; readonly answers: readonly Answerer[] },
): readonly string[] {
  const changes: string[] = [];
  for (let now = from; now < to; now += 250) {
    if (peers.judge(now).length > 0) changes.push(`${now} ${peers.isThere("node-1") ? "there" : "gone"}`);
    if ((now - from) % probeEveryMs !== 0) continue;
    for (const kind of ["node", "agent"] as const) peers.probed("node-1", kind);
    for (const kind of answers) peers.heard("node-1", kind, now);
  }
  return changes;
}

function watched(): Peers {
  const peers = createPeers();
  peers.watch(new Set(["node-1"]), 0);
  return peers;
}

void test("a node that answers is there; one that is silent for a second and a half, and to three questions, is gone", () => {
  const peers = watched();
  assert.deepEqual(pass(peers, { from: 0, to: 20_000, answers: ["node", "agent"] }), []);
  assert.deepEqual(pass(peers, { from: 20_000, to: 30_000, answers: [] }), ["21250 gone"]);
  // The last answer came at 19500: never more than two seconds.
  assert.ok(21_250 - 19_500 < 2000);
});

void test("an agent that is away for some seconds changes nothing; one that stays away is given up", () => {
  const peers = watched();
  pass(peers, { from: 0, to: 1000, answers: ["node", "agent"] });
  assert.deepEqual(pass(peers, { from: 1000, to: 9000, answers: ["node"] }), []);
  pass(peers, { from: 9000, to: 10_000, answers: ["node", "agent"] });
  assert.deepEqual(pass(peers, { from: 10_000, to: 30_000, answers: ["node"] }), ["19500 gone"]);
});

void test("a node that was given up is there again when its agent answers, not when its kernel does", () => {
  const peers = watched();
  pass(peers, { from: 0, to: 5000, answers: [] });
  assert.equal(peers.isThere("node-1"), false);
  assert.deepEqual(pass(peers, { from: 5000, to: 8000, answers: ["node"] }), []);
  assert.deepEqual(pass(peers, { from: 8000, to: 9000, answers: ["node", "agent"] }), ["8250 there"]);
});

void test("who was held up has asked nothing, and judges nobody by it", () => {
  const peers = watched();
  pass(peers, { from: 0, to: 1000, answers: ["node", "agent"] });
  assert.deepEqual(peers.judge(60_000), []);
  assert.equal(peers.isThere("node-1"), true);
});

void test("own link back: everybody gets time; nodes that nobody watches are none of ours", () => {
  const peers = watched();
  pass(peers, { from: 0, to: 5000, answers: [] });
  peers.restart(5000);
  assert.equal(peers.isThere("node-1"), true);
  assert.deepEqual(pass(peers, { from: 5000, to: 8000, answers: [] }), ["6500 gone"]);
  peers.watch(new Set(["node-2"]), 9000);
  assert.equal(peers.isThere("node-1"), true);
  assert.deepEqual(peers.judge(9000), []);
});
