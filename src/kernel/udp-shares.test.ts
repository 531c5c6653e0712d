import assert from "node:assert/strict";
import { test } from "node:test";

import { createShares } from "./udp-shares.ts";

/** Batches of 64 in which every `every`th datagram is the quiet client's; what each got. */
function flood(
  shares: ReturnType<typeof createShares>,
  batches: number,
  every: number,
): { loud: number; quiet: number; asked: number } {
  const got = { loud: 0, quiet: 0, asked: 0 };
  for (let batch = 0, index = 0; batch < batches; batch++) {
    shares.batch(true);
    for (let slot = 0; slot < 64; slot++, index++) {
      const isQuiet = index % every === 0;
      if (isQuiet) got.asked++;
      if (shares.limited && !shares.takes(isQuiet ? 1 : 2)) continue;
      if (isQuiet) got.quiet++;
      else got.loud++;
    }
  }
  return got;
}

void test("one that sends a hundred times as much takes nothing from the other", () => {
  const shares = createShares(12_345);
  const got = flood(shares, 1000, 100);
  assert.equal(got.quiet, got.asked);
  assert.ok(got.loud < 0.1 * 64_000, `${got.loud} of 63360`);
  assert.equal(shares.dropped, 64_000 - got.loud - got.quiet);
});

void test("a client alone has all there is, and so has everybody where batches are not full", () => {
  const alone = createShares(1);
  for (let batch = 0; batch < 100; batch++) {
    alone.batch(true);
    for (let slot = 0; slot < 64; slot++) assert.ok(!alone.limited || alone.takes(7));
  }
  const calm = createShares(1);
  for (let batch = 0; batch < 100; batch++) {
    calm.batch(batch % 4 !== 3);
    assert.equal(calm.limited, false);
  }
});

void test("after a flood nobody is limited any more", () => {
  const shares = createShares(99);
  flood(shares, 500, 10);
  assert.equal(shares.limited, true);
  for (let batch = 0; batch < 10; batch++) shares.batch(false);
  assert.equal(shares.limited, false);
  assert.deepEqual(flood(shares, 3, 10), { loud: 172, quiet: 20, asked: 20 });
});
