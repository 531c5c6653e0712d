import assert from "node:assert/strict";
import { test } from "node:test";

import { conformance } from "./conformance.testing.ts";
import { createFakeKernel, createFakeWorld, type FakeKernel } from "./fake.ts";
import { KernelError } from "./kernel.ts";

conformance("the fake kernel", () => {
  const world = createFakeWorld();
  const withLoopback = (name: string): FakeKernel => {
    const kernel = world.kernel(name);
    kernel.byHand.change({ kind: "set-link", name: "lo", up: true });
    return kernel;
  };
  const kernel = withLoopback("one");
  const other = withLoopback("two");
  return {
    kernel,
    other,
    otherFd: other.namespaceFd,
    byHand: kernel.byHand.change,
    destroyOther: () => other.destroy(),
    close() {
      kernel.close();
      other.close();
    },
  };
});

test("injected faults depend on the seed alone", () => {
  const run = (seed: number): boolean[] => {
    const kernel = createFakeKernel("one");
    kernel.failOneIn(3, seed);
    return Array.from(
      { length: 50 },
      () => kernel.change([{ kind: "set-link", name: "lo", up: true }])[0]?.ok === true,
    );
  };
  assert.deepEqual(run(7), run(7));
  assert.notDeepEqual(run(7), run(8));
  const failures = run(7).filter((ok) => !ok).length;
  assert.ok(failures > 5 && failures < 30, `${failures} of 50 failed`);
});

test("an injected fault of a batch leaves nothing of it", () => {
  const kernel = createFakeKernel("one");
  kernel.failWhen((write) => (write.kind === "add-chain" ? "ENOMEM" : undefined));
  assert.throws(
    () =>
      kernel.nftCommit([
        { kind: "add-table", family: "ip", table: "t" },
        { kind: "add-chain", family: "ip", table: "t", chain: { name: "a" } },
      ]),
    (error) => error instanceof KernelError && error.code === "ENOMEM" && error.index === 1,
  );
  assert.equal(kernel.nftTable("ip", "t"), undefined);
});
