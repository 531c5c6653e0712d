// While a change is on its way to the kernel: where it takes several transactions, every state in between lets nothing through that both
// the old and the new policies forbid, and stops nothing that both allow. Each transaction here is as small as a plan's parts can be.

import assert from "node:assert/strict";
import process from "node:process";
import { test } from "node:test";

import { commitBatch, createTables, tableState } from "../../src/kernel/fake-nftables.ts";
import { buildNetwork } from "../../src/model/build.ts";
import { compile } from "../../src/program/compile.ts";
import { diffTables, splitPlan } from "../../src/program/nftables/diff.ts";
import { encodeElements } from "../../src/program/nftables/encode.ts";
import type { NftElement, NftTable } from "../../src/program/nftables/ruleset.ts";
import type { Program } from "../../src/program/program.ts";
import type { NftElementState } from "../../src/wire/netlink/nftables.ts";
import { createDice, randomClusterPolicies, randomPolicies, randomWorld } from "./random.testing.ts";
import {
  answerIn,
  attachmentsOf,
  cluster,
  clusterObjects,
  oracleAnswer,
  probesOf,
  tracerWorld,
  type PolicyWorld,
} from "./worlds.testing.ts";

/** Worlds a test. */
const worlds = process.env["FAIRLEAD_LONG"] === "1" ? 24 : 3;

void test("policies that change", (t) => {
  let states = 0;
  for (let seed = 1; seed <= worlds; seed++) {
    const before = randomWorld(seed);
    const others = randomPolicies(createDice(seed + 1000), before);
    // Some stay, some go, some come.
    const kept = before.policies.filter((_, index) => index % 2 === 0);
    const names = new Set(kept.map(({ metadata }) => `${metadata.namespace}/${metadata.name}`));
    const fresh = others.filter(({ metadata }) => !names.has(`${metadata.namespace}/${metadata.name}`));
    states += between(before, { ...before, policies: [...kept, ...fresh] }, `seed ${seed}`);
  }
  t.diagnostic(`${states} states`);
});

void test("cluster policies that change", (t) => {
  let states = 0;
  for (let seed = 301; seed <= 300 + worlds; seed++) {
    const before = randomWorld(seed);
    const others = randomClusterPolicies(createDice(seed + 1000), before);
    const kept = before.clusterPolicies.filter((_, index) => index % 2 === 0);
    const names = new Set(kept.map(({ metadata }) => metadata.name));
    const fresh = others.filter(({ metadata }) => !names.has(metadata.name));
    // Of NetworkPolicies some go at the same time.
    const policies = before.policies.slice(seed % 2);
    states += between(before, { ...before, policies, clusterPolicies: [...kept, ...fresh] }, `seed ${seed}`);
  }
  t.diagnostic(`${states} states`);
});

void test("a pod whose labels change", (t) => {
  let states = 0;
  for (let seed = 101; seed <= 100 + worlds; seed++) {
    const before = randomWorld(seed);
    const [first, ...rest] = before.pods;
    if (first === undefined) continue;
    const relabelled = { ...first, metadata: { ...first.metadata, labels: { app: "api", tier: "front" } } };
    states += between(before, { ...before, pods: [relabelled, ...rest] }, `seed ${seed}`);
  }
  t.diagnostic(`${states} states`);
});

void test("a pod that goes and one that comes", (t) => {
  let states = 0;
  for (let seed = 201; seed <= 200 + Math.ceil(worlds / 4); seed++) {
    const after = randomWorld(seed);
    const [first, ...rest] = after.pods;
    if (first === undefined) continue;
    states += between({ ...after, pods: rest }, after, `seed ${seed} comes`);
    states += between(after, { ...after, pods: rest }, `seed ${seed} goes`);
  }
  t.diagnostic(`${states} states`);
});

/** How many states there were. */
function between(before: PolicyWorld, after: PolicyWorld, name: string): number {
  const [old, next] = [programsOf(before), programsOf(after)];
  let count = 0;
  for (const [node, program] of next) {
    for (const [at, table] of program.tables.entries()) {
      const previous = old.get(node)?.tables[at];
      if (table.family === "bridge" || previous === undefined) continue;
      const family = table.family === "ip" ? 4 : 6;
      for (const state of statesBetween(previous, table)) {
        count++;
        const programs = new Map(old).set(node, { ...program, tables: program.tables.with(at, state) });
        check(before, after, programs, family, `${name}, ${node}, state ${count}`);
      }
    }
  }
  return count;
}

function check(
  before: PolicyWorld,
  after: PolicyWorld,
  programs: ReadonlyMap<string, Program>,
  family: 4 | 6,
  name: string,
): void {
  const world = tracerWorld(buildNetwork(cluster, clusterObjects(before)), programs, attachmentsOf(before));
  const names = new Set(after.pods.map(({ metadata }) => metadata.name));
  for (const probe of probesOf(before, family)) {
    if (probe.by !== "address") continue;
    const { from, to } = probe.question;
    if ([from, to].some((end) => end.kind === "pod" && !names.has(end.pod.metadata.name))) continue;
    const was = oracleAnswer(before, probe.question);
    const willBe = oracleAnswer(after, { ...probe.question, from: renewed(after, from), to: renewed(after, to) });
    const isSame =
      was.kind === willBe.kind && (was.kind === "allowed" || (willBe.kind === "denied" && was.by === willBe.by));
    if (!isSame) continue;
    const { answer } = answerIn(world, probe);
    assert.equal(
      answer.kind,
      was.kind,
      `${name}: ${JSON.stringify(probe.packet)} was and will be ${JSON.stringify(was)}`,
    );
  }
}

function renewed<E extends Parameters<typeof oracleAnswer>[1]["from"]>(after: PolicyWorld, end: E): E {
  if (end.kind !== "pod") return end;
  const pod = after.pods.find(({ metadata }) => metadata.name === end.pod.metadata.name);
  return { ...end, pod: pod ?? end.pod };
}

function programsOf(world: PolicyWorld): Map<string, Program> {
  const network = buildNetwork(cluster, clusterObjects(world));
  const attachments = attachmentsOf(world);
  return new Map(network.nodes.map(({ name }) => [name, compile(network, name, attachments.get(name) ?? [])]));
}

/** The tables a kernel holds after each transaction on the way, the last one left out: that is the new table. */
function* statesBetween(previous: NftTable, next: NftTable): Iterable<NftTable> {
  const kernel = createTables();
  for (const batch of splitPlan(diffTables(undefined, previous), 1e9)) commitBatch(kernel, batch);
  const batches = splitPlan(diffTables(previous, next), 1);
  const known = [previous, next].map(
    ({ sets }) =>
      new Map(
        sets.map((set) => [
          set.name,
          new Map(
            encodeElements(set, set.elements).map((state, index) => [
              stateKey(state),
              set.elements[index] as NftElement,
            ]),
          ),
        ]),
      ),
  );
  for (const batch of batches.slice(0, -1)) {
    commitBatch(kernel, batch);
    const state = tableState(kernel, next.family, next.name);
    yield {
      ...next,
      sets: next.sets.map((set) => ({
        ...set,
        elements: (state?.elements.get(set.name) ?? []).map((each) => {
          const element = known
            .map((sets) => sets.get(set.name)?.get(stateKey(each)))
            .find((found) => found !== undefined);
          return element ?? assert.fail(`set ${set.name} holds what neither table has`);
        }),
      })),
    };
  }
}

function stateKey({ key, keyEnd, data, verdict }: NftElementState): string {
  return (
    [key, keyEnd, data].map((bytes) => (bytes === undefined ? "" : Buffer.from(bytes).toString("hex"))).join(" ") +
    JSON.stringify(verdict)
  );
}
