import assert from "node:assert/strict";
import { test } from "node:test";

import { conntrackUseText, conntrackWarning, watchConntrackUse } from "./conntrack-use.ts";

function table(limit: number | undefined) {
  const kernel = {
    entries: 0,
    readSysctl(path: string): string | undefined {
      if (limit === undefined) return undefined;
      return String(path.endsWith("_count") ? kernel.entries : limit);
    },
  };
  return kernel;
}

void test("a table that fills is told once, and again after it had room in between", () => {
  const kernel = table(1000);
  const told: string[] = [];
  let look = (): void => {};
  const watch = watchConntrackUse({
    kernel,
    node: "node-1",
    warn: (message) => void told.push(message),
    every(_ms, call) {
      look = call;
      return { close() {} };
    },
  });
  const at = (entries: number): number => {
    kernel.entries = entries;
    look();
    return told.length;
  };
  assert.deepEqual([799, 800, 990, 750, 850, 699, 801].map(at), [0, 1, 1, 1, 1, 1, 2]);
  assert.match(told[0] ?? "", /^800 of 1000 connections are tracked on node node-1: .*nf_conntrack_max/);
  watch.close();
});

void test("while it is nearly full whoever asks is told, and nothing else", () => {
  const kernel = table(1000);
  const at = (entries: number): boolean => {
    kernel.entries = entries;
    return conntrackWarning(kernel, "node-1") !== undefined;
  };
  assert.deepEqual([799, 800, 990, 799].map(at), [false, true, true, false]);
  assert.equal(conntrackWarning(table(0), "node-1"), undefined);
  assert.equal(conntrackWarning(table(undefined), "node-1"), undefined);
});

void test("metrics; none where connections are not tracked", () => {
  const kernel = table(1000);
  kernel.entries = 7;
  assert.match(conntrackUseText(kernel), /^fairlead_conntrack_entries 7$/m);
  assert.match(conntrackUseText(kernel), /^fairlead_conntrack_entries_limit 1000$/m);
  assert.equal(conntrackUseText(table(undefined)), "");
});
