// The specification's word against the compiler's: an oracle that knows only the objects, and the Programs made of them, executed packet by
// packet. WORLDS=5000 SEED=1 node --test test/policy/oracle.test.ts asks about more worlds, FAIRLEAD_LONG=1 about all of the grammar; a failure is shrunk to a small manifest.

import assert from "node:assert/strict";
import process from "node:process";
import { test } from "node:test";

import { stringify } from "yaml";

import { everyClusterWorld, everyWorld, randomWorld } from "./random.testing.ts";
import { disagreements, rememberingBuilder, shrink, type PolicyWorld } from "./worlds.testing.ts";

const firstSeed = Number(process.env["SEED"] ?? 1);
const isLong = process.env["FAIRLEAD_LONG"] === "1";
const worlds = Number(process.env["WORLDS"] ?? (isLong ? 500 : 15));
/** A number prime to those of the grammar's choices: every choice comes up, though not with every other. */
const stride = isLong ? 1 : 5;
const clusterStride = isLong ? 1 : 11;

void test("every policy of a small grammar: oracle and Programs agree", (t) => {
  let asked = 0;
  let count = 0;
  for (const world of everyWorld()) {
    if (count++ % stride !== 0) continue;
    asked += agree(world, `world ${count}`);
  }
  t.diagnostic(`${Math.ceil(count / stride)} of ${count} worlds, ${asked} connections`);
});

void test("every cluster policy of a small grammar: oracle and Programs agree", (t) => {
  let asked = 0;
  let count = 0;
  for (const world of everyClusterWorld()) {
    if (count++ % clusterStride !== 0) continue;
    asked += agree(world, `world ${count}`);
  }
  t.diagnostic(`${Math.ceil(count / clusterStride)} of ${count} worlds, ${asked} connections`);
});

void test("random policies: oracle and Programs agree", (t) => {
  let asked = 0;
  const build = rememberingBuilder();
  for (let seed = firstSeed; seed < firstSeed + worlds; seed++)
    asked += agree(randomWorld(seed), `seed ${seed}`, build);
  t.diagnostic(`${worlds} worlds, ${asked} connections`);
});

function agree(world: PolicyWorld, name: string, build?: Parameters<typeof disagreements>[1]): number {
  const { asked, found } = disagreements(world, build);
  if (found.length === 0) return asked;
  const isAlone = disagreements(world).found.length > 0;
  const small = isAlone ? shrink(world, (candidate) => disagreements(candidate).found.length > 0) : world;
  const text = [...small.namespaces, ...small.pods, ...small.policies, ...small.clusterPolicies]
    .map((object) => stringify(object))
    .join("---\n");
  assert.fail(
    `${name}${isAlone ? "" : " (only after the worlds before it)"}:\n${disagreements(small, build).found.slice(0, 10).join("\n")}\n${text}`,
  );
}
