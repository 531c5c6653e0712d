import assert from "node:assert/strict";
import { test } from "node:test";

import * as fc from "fast-check";

import { buildNetwork } from "../model/build.ts";
import { clusterConfig } from "../model/cluster.ts";
import type { Attachment } from "../model/network.ts";
import { attachment, node, objects } from "../model/objects.testing.ts";
import { compile } from "./compile.ts";

// Lists are made from the lists before; what came of them must be what nothing remembered would give.

const network = buildNetwork(clusterConfig(), objects({ nodes: [node(1), node(2)] }));
/** Equal pods that nothing is known of. */
const strangers = (pods: readonly Attachment[]): readonly Attachment[] => structuredClone(pods);
const pods = (count: number): readonly Attachment[] =>
  Array.from({ length: count }, (_, index) => attachment(`pod-${(index * 37) % 101}`, { node: 1, host: index + 2 }));

void test("pods come and go by ones and by hundreds: the Program is that of a fresh start", () => {
  const all = pods(90);
  const change = fc.oneof(
    { weight: 4, arbitrary: fc.record({ kind: fc.constant("flip" as const), at: fc.nat(all.length - 1) }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("only" as const), from: fc.nat(80), to: fc.nat(90) }) },
    // Two that claim one address, for a while.
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("twin" as const), at: fc.nat(all.length - 1) }) },
  );
  fc.assert(
    fc.property(fc.array(change, { maxLength: 40 }), (changes) => {
      const here = new Map<string, Attachment>();
      const flip = (key: string, pod: Attachment): void => void (here.delete(key) || here.set(key, pod));
      for (const one of changes) {
        if (one.kind === "flip") flip(`${one.at}`, all[one.at] as Attachment);
        else if (one.kind === "twin") {
          const pod = all[one.at] as Attachment;
          flip(`twin ${one.at}`, { ...pod, id: `twin-${one.at}`, link: `flptwin${one.at}` });
        } else {
          here.clear();
          for (let at = one.from; at < one.to; at++) here.set(`${at}`, all[at] as Attachment);
        }
        const list = [...here.values()].sort((a, b) => (a.id < b.id ? -1 : 1));
        assert.deepEqual(compile(network, "node-1", list), compile(network, "node-1", strangers(list)));
      }
    }),
    { numRuns: 40 },
  );
});

void test("a pod more leaves the others' entries as they are, by identity", () => {
  const [last, ...most] = pods(60);
  const before = compile(network, "node-1", most);
  const after = compile(network, "node-1", [...most, last as Attachment]);
  for (const part of ["links", "routes", "neighbours", "forwarding", "addresses"] as const) {
    const known = new Set<unknown>(before[part]);
    const fresh = (after[part] as readonly unknown[]).filter((entry) => !known.has(entry));
    assert.equal(fresh.length, { links: 1, routes: 2, neighbours: 2, forwarding: 1, addresses: 0 }[part], part);
  }
});
