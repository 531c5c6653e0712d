import assert from "node:assert/strict";
import { test } from "node:test";

import { askEveryMs, createClaims, type Claims } from "./layer2-claims.ts";
import { createShares } from "./layer2-port.ts";

const address = "192.0.2.1";
const [low, high] = ["02:00:00:00:00:01", "02:00:00:00:00:02"];

/** Lets the time pass from one to another; whoever `answers` does so to each question. Gives when the address was taken. */
function pass(claims: Claims, from: number, to: number, answers: (nowMs: number) => boolean): number | undefined {
  for (let now = from; now < to; now += askEveryMs) {
    claims.settle(now);
    const { ask, taken } = claims.next(now);
    if (taken.length > 0) return now;
    if (ask.length > 0 && answers(now)) claims.answered(address, now);
  }
  return undefined;
}

void test("what nobody answers for is taken after two fifths of a second of questions", () => {
  const claims = createClaims();
  claims.want(address, "ask", 0);
  assert.equal(claims.isHeld(address), false);
  assert.equal(
    pass(claims, 0, 5000, () => false),
    400,
  );
  assert.deepEqual(claims.held(), [address]);
  assert.equal(claims.isAsking(), false);
});

void test("whoever held it is known to be gone: at once", () => {
  const claims = createClaims();
  claims.want(address, "ask", 0);
  pass(claims, 0, 100, () => true);
  claims.want(address, "at once", 100);
  assert.deepEqual(claims.next(100).taken, [address]);
});

void test("while another answers it is waited for; then it is taken", () => {
  const claims = createClaims();
  claims.want(address, "ask", 0);
  assert.equal(
    pass(claims, 0, 1900, (now) => now < 1000),
    1350,
  );
});

void test("whoever waits is answered all the time, however many a second the holder answers", () => {
  const claims = createClaims();
  const mayAnswer = createShares();
  claims.want(address, "ask", 0);
  assert.equal(
    pass(claims, 0, 1950, (now) => mayAnswer(`${high} ${address}`, now)),
    undefined,
  );
});

void test("who was held up has not waited: the holder has as long to let go as it would have had", () => {
  const claims = createClaims();
  claims.want(address, "ask", 0);
  assert.equal(
    pass(claims, 0, 500, () => true),
    undefined,
  );
  // For two seconds nothing; the answer to the last question waits.
  claims.answered(address, 2500);
  assert.equal(
    pass(claims, 2500, 10_000, (now) => now < 3000),
    3350,
  );
});

void test("who never lets go is told to after two seconds; two who will not agree take turns by the minute", () => {
  const [one, two] = [createClaims(), createClaims()];
  two.want(address, "at once", 0);
  two.next(0);
  one.want(address, "ask", 0);
  let [holder, other] = [two, one];
  let now = 0;
  const moves: number[] = [];
  while (moves.length < 14) {
    const current = holder;
    const at = pass(other, now, now + 100_000, () => current.isHeld(address));
    assert.ok(at !== undefined);
    assert.equal(other.isHeld(address), true);
    assert.equal(holder.announced(address, low, high, at), true);
    assert.equal(holder.isHeld(address), false);
    moves.push(at - now);
    [holder, other, now] = [other, holder, at];
  }
  assert.equal(moves[0], 2000);
  assert.equal(moves.at(-1), 60_000);
});

void test("of two who take it at the same moment the lower one keeps it, and says so again", () => {
  const claims = createClaims();
  claims.want(address, "at once", 0);
  claims.next(0);
  assert.equal(claims.announced(address, high, low, 100), false);
  assert.deepEqual(claims.next(100), { ask: [], tell: [address], taken: [] });
  assert.equal(claims.announced(address, high, low, 400), true);
});

void test("what came here is told at once and four times more, and never after it was let go", () => {
  const told = (claims: Claims): number[] => {
    const times: number[] = [];
    for (let now = 0; now < 6000; now += 50) if (claims.next(now).tell.length > 0) times.push(now);
    return times;
  };
  const kept = createClaims();
  kept.want(address, "at once", 0);
  assert.deepEqual(told(kept), [0, 500, 1000, 2000, 4000]);
  kept.tellAgain(0);
  assert.deepEqual(told(kept), [500, 1000, 2000, 4000]);
  const letGo: readonly ((claims: Claims) => void)[] = [
    (claims) => claims.drop(address),
    (claims) => {
      claims.drop(address);
      claims.want(address, "ask", 0);
    },
    (claims) => claims.restart(0),
    (claims) => void claims.announced(address, low, high, 0),
  ];
  for (const how of letGo) {
    const claims = createClaims();
    claims.want(address, "at once", 0);
    claims.next(0);
    how(claims);
    assert.deepEqual(told(claims), []);
  }
});

void test("after a time away everything is asked for anew, and what is not wanted any more is forgotten", () => {
  const claims = createClaims();
  claims.want(address, "at once", 0);
  claims.restart(5000);
  assert.equal(claims.isHeld(address), false);
  assert.equal(claims.isAsking(), true);
  claims.drop(address);
  assert.deepEqual([claims.isAsking(), pass(claims, 5000, 6000, () => false)], [false, undefined]);
});

void test("a flood of addresses is asked about a few at a time, each in its turn", () => {
  const claims = createClaims();
  const many = Array.from({ length: 100 }, (_, index) => `192.0.2.${index}`);
  for (const each of many) claims.want(each, "ask", 0);
  const asked = [0, 50, 100, 150, 200].map((now) => claims.next(now).ask);
  assert.ok(asked.every(({ length }) => length <= 40));
  assert.deepEqual(new Set(asked.flat()), new Set(many));
});
