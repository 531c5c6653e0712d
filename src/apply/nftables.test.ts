import assert from "node:assert/strict";
import { describe, test } from "node:test";

import fc from "fast-check";

import { createFakeKernel, type FakeKernel } from "../kernel/fake.ts";
import type { Origin } from "../kube/object.ts";
import type { NftElement, NftTable } from "../program/nftables/ruleset.ts";
import type { Program } from "../program/program.ts";
import type { NftBatchItem } from "../wire/netlink/nftables.ts";
import { programOf } from "./program.testing.ts";
import { reconcile, removeEverything } from "./reconcile.ts";
import type { ReconcileReport } from "./report.ts";

const origin: Origin = { kind: "Service", namespace: "default", name: "web" };

/** A table in the shape of the real one: a verdict map of Services, a map of backends, and a chain per number of them. */
function tableOf(services: Readonly<Record<string, readonly string[]>>): NftTable {
  const sizes = [...new Set(Object.values(services).map((backends) => backends.length))].sort((a, b) => a - b);
  const addresses = Object.keys(services).sort();
  return {
    family: "ip",
    name: "fairlead",
    chains: [
      {
        name: "services",
        base: { type: "nat", hook: "prerouting", priority: -100, policy: "accept" },
        rules: [
          {
            statements: [
              {
                kind: "vmap",
                key: [
                  { kind: "field", field: "ip daddr" },
                  { kind: "field", field: "meta l4proto" },
                  { kind: "field", field: "th dport" },
                ],
                map: "services",
              },
            ],
            origin,
          },
        ],
      },
      ...sizes.map((size) => ({
        name: `pick-${size}`,
        rules: [{ statements: [{ kind: "verdict" as const, verdict: { kind: "accept" as const } }], origin }],
      })),
    ],
    sets: [
      {
        name: "services",
        key: ["ipv4_addr", "inet_proto", "inet_service"],
        data: "verdict",
        flags: [],
        elements: addresses.map((address): NftElement => ({
          key: [address, "udp", "53"],
          data: { kind: "goto", chain: `pick-${services[address]?.length}` },
          origin: { ...origin, name: `service-${address}` },
        })),
      },
      {
        name: "backends",
        key: ["ipv4_addr", "inet_proto", "inet_service", "mark"],
        data: ["ipv4_addr", "inet_service"],
        flags: [],
        elements: addresses.flatMap((address) =>
          (services[address] ?? []).map((backend, index): NftElement => ({
            key: [address, "udp", "53", `0x${index.toString(16)}`],
            data: [backend, "5353"],
            origin: { ...origin, name: `backend-${backend}` },
          })),
        ),
      },
    ],
  };
}

function programWith(...tables: readonly NftTable[]): Program {
  return {
    ...programOf([]),
    links: [],
    addresses: [],
    routes: [],
    neighbours: [],
    forwarding: [],
    sysctls: [],
    tables,
  };
}

const shop = { "10.96.0.1": ["10.244.1.2", "10.244.1.3"], "10.96.0.2": ["10.244.1.2"] };

function clean(report: ReconcileReport): ReconcileReport {
  assert.deepEqual(
    report.failures.map((failure) => failure.error.message),
    [],
  );
  return report;
}

function installed(): { kernel: FakeKernel; program: Program; last: ReconcileReport } {
  const kernel = createFakeKernel("node-1");
  const program = programWith(tableOf(shop));
  const last = clean(reconcile(program, kernel));
  kernel.forgetWrites();
  return { kernel, program, last };
}

function content(kernel: FakeKernel): unknown {
  const state = kernel.nftTable("ip", "fairlead");
  if (state === undefined) return undefined;
  const text = (value: unknown): string =>
    JSON.stringify(value, (_key, inner: unknown) => (typeof inner === "bigint" ? "" : inner));
  return {
    chains: state.chains.map((chain) => chain.name).sort(),
    rules: Object.fromEntries(
      state.rules.entries().map(([chain, rules]) => [chain, rules.map(({ handle: _handle, ...rule }) => text(rule))]),
    ),
    elements: Object.fromEntries(
      state.elements.entries().map(([set, elements]) => [set, elements.map(text).sort((a, b) => (a < b ? -1 : 1))]),
    ),
  };
}

describe("tables", () => {
  test("a restart on an equal table writes nothing", () => {
    const { kernel, program } = installed();
    const report = clean(reconcile(program, kernel));
    assert.deepEqual([report.made, kernel.writes.batches], [[], []]);
  });

  test("a change sends what changed, in one transaction, without a dump; its words name the object", () => {
    const { kernel, last } = installed();
    const next = programWith(tableOf({ ...shop, "10.96.0.3": ["10.244.1.4"] }));
    const report = clean(reconcile(next, kernel, { last }));
    assert.deepEqual([kernel.writes.batches.length, kernel.writes.dumps], [1, 0]);
    assert.deepEqual(
      report.made.map((made) => [made.text, made.origin?.name]),
      [
        ["add element ip fairlead backends 10.96.0.3 . udp . 53 . 0x0 : 10.244.1.4 . 5353", "backend-10.244.1.4"],
        ["add element ip fairlead services 10.96.0.3 . udp . 53 : goto pick-1", "service-10.96.0.3"],
      ],
    );
  });

  test("several tables' changes are one transaction", () => {
    const kernel = createFakeKernel("node-1");
    const other = { ...tableOf(shop), name: "other" };
    const last = clean(reconcile(programWith(tableOf(shop), other), kernel));
    kernel.forgetWrites();
    const changed = { ...tableOf({}), name: "other" };
    clean(reconcile(programWith(tableOf({}), changed), kernel, { last }));
    assert.equal(kernel.writes.batches.length, 1);
  });

  const at = { family: "ip", table: "fairlead" } as const;
  const hands: readonly { what: string; batch: (kernel: FakeKernel) => NftBatchItem[]; drift: readonly string[] }[] = [
    {
      what: "an element deleted",
      batch: (kernel) => {
        const [element] = kernel.nftTable("ip", "fairlead")?.elements.get("services") ?? [];
        assert.ok(element);
        return [{ kind: "delete-elements", ...at, set: "services", elements: [element] }];
      },
      drift: ["missing element ip fairlead services 10.96.0.1 . udp . 53 : goto pick-2"],
    },
    {
      what: "an element sent elsewhere",
      batch: (kernel) => {
        const [element] = kernel.nftTable("ip", "fairlead")?.elements.get("services") ?? [];
        assert.ok(element);
        const wrong = { ...element, verdict: { code: -4, chain: "pick-1" } };
        return [
          { kind: "delete-elements", ...at, set: "services", elements: [element] },
          { kind: "add-elements", ...at, set: "services", elements: [wrong] },
        ];
      },
      drift: ["changed element ip fairlead services 10.96.0.1 . udp . 53 : goto pick-2"],
    },
    {
      what: "a chain's rules flushed",
      batch: () => [{ kind: "flush-chain", ...at, chain: "services" }],
      drift: ["missing rule ip fairlead services"],
    },
    {
      what: "a foreign chain",
      batch: () => [{ kind: "add-chain", ...at, chain: { name: "mine" } }],
      drift: ["extra chain ip fairlead mine"],
    },
  ];
  for (const hand of hands) {
    test(`by hand: ${hand.what} is put back and reported`, () => {
      const { kernel, program, last } = installed();
      const before = content(kernel);
      kernel.byHand.nft(...hand.batch(kernel));
      const report = clean(reconcile(program, kernel, { last, suspect: new Set(["table ip fairlead"]) }));
      assert.deepEqual(
        report.drift.map((one) => `${one.kind} ${one.text}`),
        hand.drift,
      );
      assert.deepEqual(content(kernel), before);
    });
  }

  test("by hand, and the Program changes too: only what the hand did is drift", () => {
    const { kernel, last } = installed();
    kernel.byHand.nft({ kind: "flush-chain", ...at, chain: "services" });
    const next = programWith(tableOf({ ...shop, "10.96.0.3": ["10.244.1.4"] }));
    const report = clean(reconcile(next, kernel, { last, suspect: "all" }));
    assert.deepEqual(
      report.drift.map((one) => one.text),
      ["rule ip fairlead services"],
    );
  });

  test("a whole table deleted behind our back comes back, also when nobody told us", () => {
    const { kernel, last } = installed();
    kernel.byHand.nft({ kind: "delete-table", ...at });
    const next = programWith(tableOf({ ...shop, "10.96.0.3": ["10.244.1.4"] }));
    clean(reconcile(next, kernel, { last }));
    const fresh = createFakeKernel("node-1");
    clean(reconcile(next, fresh));
    assert.deepEqual(content(kernel), content(fresh));
  });

  test("an element that is refused is left out and named; the others are in force", () => {
    const kernel = createFakeKernel("node-1");
    const many = Object.fromEntries(Array.from({ length: 100 }, (_, index) => [`10.96.1.${index}`, ["10.244.1.2"]]));
    const bad = "10.96.1.42";
    const refused = (write: { kind: string }): boolean =>
      write.kind === "add-elements" &&
      (write as Extract<NftBatchItem, { kind: "add-elements" }>).set === "services" &&
      (write as Extract<NftBatchItem, { kind: "add-elements" }>).elements.some(
        (element) => Buffer.from(element.key).subarray(0, 4).join(".") === bad,
      );
    kernel.failWhen((write) => (refused(write) ? "EINVAL" : undefined));
    const report = reconcile(programWith(tableOf(many)), kernel);
    assert.deepEqual(
      report.failures.map((failure) => [failure.text, failure.error.code, failure.origin?.name]),
      [[`add element ip fairlead services ${bad} . udp . 53 : goto pick-1`, "EINVAL", `service-${bad}`]],
    );
    assert.equal(kernel.nftTable("ip", "fairlead")?.elements.get("services")?.length, 99);
    kernel.failWhen(undefined);
    const retried = clean(reconcile(programWith(tableOf(many)), kernel, { last: report }));
    assert.deepEqual(retried.drift, []);
    assert.equal(kernel.nftTable("ip", "fairlead")?.elements.get("services")?.length, 100);
  });

  test("a refused rule leaves the table as it was, and the rest of the Program goes on", () => {
    const kernel = createFakeKernel("node-1");
    kernel.failWhen((write) => (write.kind === "add-rule" && write.table === "fairlead" ? "EOPNOTSUPP" : undefined));
    const other = { ...tableOf(shop), name: "other" };
    const report = reconcile(programWith(tableOf(shop), other), kernel);
    assert.deepEqual(
      report.failures.map((failure) => failure.part),
      ["table ip fairlead"],
    );
    assert.ok(kernel.nftTable("ip", "other"));
  });

  test("a small socket makes a series of transactions", () => {
    const kernel = { ...createFakeKernel("node-1"), nftBatchBytesMax: 20_000 };
    const many = Object.fromEntries(
      Array.from({ length: 600 }, (_, i) => [`10.96.${i >> 8}.${i & 255}`, ["10.244.1.2"]]),
    );
    clean(reconcile(programWith(tableOf(many)), kernel));
    assert.equal(kernel.nftTable("ip", "fairlead")?.elements.get("services")?.length, 600);
  });

  test("tables of ours that nobody wants are removed, others' stay", () => {
    const { kernel, last } = installed();
    kernel.byHand.nft({ kind: "add-table", family: "ip", table: "somebody" });
    kernel.byHand.nft({ kind: "add-table", family: "inet", table: "fairlead" });
    clean(reconcile(programWith(), kernel, { last }));
    assert.equal(kernel.nftTable("ip", "fairlead"), undefined);
    clean(removeEverything(kernel));
    assert.equal(kernel.nftTable("inet", "fairlead"), undefined);
    assert.ok(kernel.nftTable("ip", "somebody"));
  });

  test("whatever fails on the way, in the end the table is what a fresh one would be", () => {
    const services = fc.dictionary(
      fc.integer({ min: 1, max: 9 }).map((last) => `10.96.0.${last}`),
      fc.uniqueArray(
        fc.integer({ min: 1, max: 5 }).map((last) => `10.244.1.${last}`),
        { minLength: 1, maxLength: 3 },
      ),
      { maxKeys: 6 },
    );
    fc.assert(
      fc.property(
        fc.array(services, { minLength: 1, maxLength: 5 }),
        fc.integer({ min: 2, max: 20 }),
        fc.integer({ min: 1, max: 1 << 30 }),
        (series, oneIn, seed) => {
          const kernel = createFakeKernel("node-1");
          let last: ReconcileReport | undefined;
          kernel.failOneIn(oneIn, seed);
          for (const one of series)
            last = reconcile(programWith(tableOf(one)), kernel, last === undefined ? {} : { last });
          kernel.failOneIn(0);
          const wanted = programWith(tableOf(series.at(-1) ?? {}));
          clean(reconcile(wanted, kernel, last === undefined ? {} : { last }));
          const fresh = createFakeKernel("node-1");
          clean(reconcile(wanted, fresh));
          assert.deepEqual(content(kernel), content(fresh));
        },
      ),
      { numRuns: 60 },
    );
  });
});

describe("connections of UDP Services", () => {
  const connection = (port: number, replySource: string, replySourcePort: number) => ({
    protocol: 17,
    source: "10.244.1.9",
    destination: "10.96.0.1",
    sourcePort: port,
    destinationPort: 53,
    replySource,
    replyDestination: "10.244.1.9",
    replySourcePort,
    replyDestinationPort: port,
    mark: 0,
    assured: true,
    timeoutSeconds: 100,
  });
  const after = (services: Readonly<Record<string, readonly string[]>>): readonly number[] => {
    const { kernel, last } = installed();
    kernel.setConnections([
      connection(1, "10.244.1.2", 5353),
      connection(2, "10.244.1.3", 5353),
      { ...connection(3, "10.244.1.2", 5353), protocol: 6 },
    ]);
    clean(reconcile(programWith(tableOf(services)), kernel, { last }));
    return kernel.connections().map((one) => one.sourcePort ?? 0);
  };

  test("those to a removed endpoint are forgotten, those to others and TCP stay", () => {
    assert.deepEqual(after({ ...shop, "10.96.0.1": ["10.244.1.3"] }), [2, 3]);
  });

  test("an endpoint at another index is the same endpoint", () => {
    assert.deepEqual(after({ ...shop, "10.96.0.1": ["10.244.1.3", "10.244.1.2"] }), [1, 2, 3]);
  });

  test("a removed Service takes all of its own along", () => {
    assert.deepEqual(after({ "10.96.0.2": ["10.244.1.2"] }), [3]);
  });

  test("a Service that gets its first endpoint frees clients that talked to the bare address", () => {
    const kernel = createFakeKernel("node-1");
    const last = clean(reconcile(programWith(tableOf({})), kernel));
    kernel.setConnections([connection(1, "10.96.0.1", 53), connection(2, "10.96.0.7", 53)]);
    clean(reconcile(programWith(tableOf(shop)), kernel, { last }));
    assert.deepEqual(
      kernel.connections().map((one) => one.sourcePort),
      [2],
    );
  });

  test("a restart forgets nothing", () => {
    const { kernel, program } = installed();
    kernel.setConnections([connection(1, "10.244.1.99", 5353)]);
    clean(reconcile(program, kernel));
    assert.equal(kernel.connections().length, 1);
  });
});
