import assert from "node:assert/strict";
import { describe, test } from "node:test";

import fc from "fast-check";

import { createFakeKernel, type FakeKernel } from "../kernel/fake.ts";
import type { Attachment } from "../model/network.ts";
import { loopbackGuard, preroutingGuard } from "../program/guard.ts";
import type { Program } from "../program/program.ts";
import { attachmentOf, programOf } from "./program.testing.ts";
import { reconcile, removeEverything } from "./reconcile.ts";
import type { ReconcileReport } from "./report.ts";

/** A node with its uplink, as the lab makes one. */
function nodeKernel(): FakeKernel {
  const kernel = createFakeKernel("node-1");
  kernel.byHand.change(
    { kind: "create-veth", name: "eth0", mtu: 1500, peer: { name: "wire" } },
    { kind: "set-link", name: "eth0", up: true },
    { kind: "set-link", name: "wire", up: true },
    { kind: "set-address", link: "eth0", address: "172.30.0.11", bits: 24 },
    { kind: "set-route", to: "0.0.0.0/0", action: "forward", via: "172.30.0.1", metric: 0, protocol: 3 },
  );
  return kernel;
}

/** What making a pod's sandbox leaves on the node. */
function plug(kernel: FakeKernel, attachment: Attachment): void {
  const [result] = kernel.change([
    {
      kind: "create-veth",
      name: attachment.link,
      mtu: 1430,
      alias: "fairlead pod",
      peer: { name: `peer${attachment.link.slice(-6)}` },
    },
  ]);
  assert.deepEqual(result, { ok: true });
}

function clean(report: ReconcileReport): ReconcileReport {
  assert.deepEqual(
    report.failures.map((failure) => `${failure.text}: ${failure.error.message}`),
    [],
  );
  return report;
}

/** All that can be seen of a kernel, without its numbers. */
function snapshot(kernel: FakeKernel): unknown {
  const sorted = <T>(values: readonly T[]): string[] => values.map((value) => JSON.stringify(value)).sort();
  const names = new Map(kernel.links().map((link) => [link.index, link.name]));
  return {
    links: sorted(
      kernel.links().map(({ index: _index, peer: _peer, master, ...rest }) => ({
        ...rest,
        master: master === undefined ? "" : names.get(master),
      })),
    ),
    addresses: sorted(kernel.addresses()),
    routes: sorted(kernel.routes()),
    neighbours: sorted(kernel.neighbours()),
    forwarding: sorted(kernel.forwarding()),
  };
}

const pods = [attachmentOf(5), attachmentOf(6)];

function installed(): { kernel: FakeKernel; program: Program; last: ReconcileReport } {
  const kernel = nodeKernel();
  for (const pod of pods) plug(kernel, pod);
  const program = programOf(pods);
  const last = clean(reconcile(program, kernel));
  kernel.forgetWrites();
  return { kernel, program, last };
}

describe("reconcile", () => {
  test("an empty node gets everything, in an order that works the first time", () => {
    const { kernel, last } = installed();
    assert.equal(last.drift.length, 0, "on a first run nothing counts as drift");
    assert.ok(kernel.routes().some((route) => route.to === "10.244.2.0/24" && route.link === "fl.vx"));
    const port = kernel.links().find((link) => link.name === pods[0]?.link);
    assert.equal(port?.bridgePort?.isolated, true);
    assert.equal(kernel.readSysctl("net/ipv4/ip_forward"), "1");
  });

  test("loopback is opened when its guard stands, and not before", () => {
    const kernel = nodeKernel();
    for (const pod of pods) plug(kernel, pod);
    const path = "net/ipv4/conf/all/route_localnet";
    const program = programOf(pods);
    const opening = {
      ...program,
      tables: [{ family: "ip", name: "fairlead", chains: [preroutingGuard(loopbackGuard(4))], sets: [] }],
      sysctls: [...program.sysctls, { path, value: "1", origin: { kind: "Node", name: "n" } }],
    } satisfies Program;
    kernel.failWhen((write) => ("table" in write ? "ENOMEM" : undefined));
    const refused = reconcile(opening, kernel);
    assert.deepEqual([kernel.readSysctl("net/ipv4/ip_forward"), kernel.readSysctl(path)], ["1", "0"]);
    kernel.failWhen(undefined);
    clean(reconcile(opening, kernel, { last: refused }));
    assert.equal(kernel.readSysctl(path), "1");
  });

  test("a restart on equal state writes nothing", () => {
    const { kernel, program } = installed();
    const report = clean(reconcile(program, kernel));
    assert.deepEqual(report.made, []);
    assert.deepEqual([kernel.writes.changes, kernel.writes.batches, kernel.writes.sysctls], [[], [], []]);
  });

  test("with the last Program known, an equal one is not even read back", () => {
    const { kernel, last } = installed();
    clean(reconcile(programOf(pods), kernel, { last }));
    assert.deepEqual([kernel.writes.changes.length, kernel.writes.dumps], [0, 0]);
  });

  test("one more pod costs only its own changes, and no dump", () => {
    const { kernel, last } = installed();
    const pod = attachmentOf(7);
    plug(kernel, pod);
    kernel.forgetWrites();
    const report = clean(reconcile(programOf([...pods, pod]), kernel, { last }));
    assert.equal(kernel.writes.dumps, 0);
    assert.deepEqual(
      report.made.map((made) => made.text),
      [
        `link set ${pod.link} mtu 1430 master cbr0 addrgenmode none; ` +
          `link set ${pod.link} type bridge_slave isolated on hairpin off learning off flood off mcast_flood off bcast_flood off neigh_suppress off; ` +
          `link set ${pod.link} up`,
        "neigh replace 10.244.1.7 lladdr 0a:58:0a:f4:01:07 dev cbr0 nud permanent",
        "neigh replace fd00:10:244:1::7 lladdr 0a:58:0a:f4:01:07 dev cbr0 nud permanent",
        `fdb replace 0a:58:0a:f4:01:07 dev ${pod.link} static`,
        "route replace 10.244.1.7/32 dev cbr0 metric 100",
        "route replace fd00:10:244:1::7/128 dev cbr0 metric 100",
      ],
    );
  });

  test("a pod that goes leaves nothing behind", () => {
    const { kernel, last } = installed();
    const [first] = pods;
    assert.ok(first);
    const before = nodeKernel();
    plug(before, first);
    clean(reconcile(programOf([first]), before));
    clean(reconcile(programOf([first]), kernel, { last }));
    assert.deepEqual(snapshot(kernel), snapshot(before));
  });

  test("a node that loses its range and gets it again: what the kernel dropped with the last address is written again, and no drift", () => {
    const { kernel, program, last } = installed();
    const before = snapshot(kernel);
    const isOfRange = ({ address }: { readonly address: string }): boolean => address.startsWith("10.244.1.");
    const without = programOf(pods, { addresses: program.addresses.filter((entry) => !isOfRange(entry)) });
    const lost = clean(reconcile(without, kernel, { last }));
    assert.deepEqual(lost.drift, []);
    const again = clean(reconcile(program, kernel, { last: lost }));
    assert.deepEqual(again.drift, []);
    assert.deepEqual(snapshot(kernel), before);
  });

  test("what others own stays, also when everything of ours goes", () => {
    const kernel = nodeKernel();
    kernel.byHand.change(
      { kind: "create-bridge", name: "docker0", mac: "02:42:00:00:00:01", mtu: 1500, alias: "fairlead" },
      { kind: "set-link", name: "docker0", up: true },
      { kind: "set-address", link: "docker0", address: "172.17.0.1", bits: 16 },
      { kind: "set-route", to: "192.0.2.0/24", action: "forward", link: "docker0", metric: 0, protocol: 4 },
      { kind: "set-neighbour", link: "eth0", address: "172.30.0.9", mac: "02:00:00:00:00:09" },
      { kind: "create-veth", name: "flpofsomebody", mtu: 1500, peer: { name: "x" } },
    );
    const before = snapshot(kernel);
    for (const pod of pods) plug(kernel, pod);
    clean(reconcile(programOf(pods), kernel));
    clean(removeEverything(kernel));
    assert.deepEqual(snapshot(kernel), before);
  });

  test("what an earlier run left is swept", () => {
    const { kernel } = installed();
    const [first] = pods;
    assert.ok(first);
    const report = clean(reconcile(programOf([first]), kernel));
    assert.equal(report.drift.length, 0);
    assert.ok(!kernel.links().some((link) => link.name === pods[1]?.link));
    assert.ok(!kernel.routes().some((route) => route.to === "10.244.1.6/32"));
    assert.ok(!kernel.neighbours().some((neighbour) => neighbour.address === "10.244.1.6"));
  });

  const hands: readonly { what: string; undo: (kernel: FakeKernel) => void; drift: readonly string[] }[] = [
    {
      what: "a route deleted",
      undo: (kernel) =>
        kernel.byHand.change({ kind: "delete-route", to: "10.244.2.0/24", metric: 100, protocol: 0xf1 }),
      drift: ["missing route 10.244.2.0/24 via 10.244.2.0 dev fl.vx metric 100"],
    },
    {
      what: "a route sent elsewhere",
      undo: (kernel) =>
        kernel.byHand.change({
          kind: "set-route",
          to: "10.244.2.0/24",
          action: "forward",
          link: "eth0",
          metric: 100,
          protocol: 4,
        }),
      drift: ["changed route 10.244.2.0/24 via 10.244.2.0 dev fl.vx metric 100"],
    },
    {
      what: "a route added under our number",
      undo: (kernel) =>
        kernel.byHand.change({
          kind: "set-route",
          to: "10.9.0.0/16",
          action: "forward",
          link: "eth0",
          metric: 5,
          protocol: 0xf1,
        }),
      drift: ["extra route 10.9.0.0/16 dev eth0 metric 5"],
    },
    {
      what: "an address deleted",
      undo: (kernel) => kernel.byHand.change({ kind: "delete-address", link: "cbr0", address: "10.244.1.1", bits: 32 }),
      // The link's only one: what of IPv4 hung on the link went with it.
      drift: [
        "missing addr 10.244.1.1/32 dev cbr0",
        "missing neigh 10.244.1.5 lladdr 0a:58:0a:f4:01:05 dev cbr0",
        "missing neigh 10.244.1.6 lladdr 0a:58:0a:f4:01:06 dev cbr0",
        "missing route 10.244.1.5/32 dev cbr0 metric 100",
        "missing route 10.244.1.6/32 dev cbr0 metric 100",
      ],
    },
    {
      what: "a neighbour changed",
      undo: (kernel) =>
        kernel.byHand.change({ kind: "set-neighbour", link: "cbr0", address: "10.244.1.5", mac: "02:00:00:00:00:01" }),
      drift: ["changed neigh 10.244.1.5 lladdr 0a:58:0a:f4:01:05 dev cbr0"],
    },
    {
      what: "isolation switched off",
      undo: (kernel) =>
        kernel.byHand.change({
          kind: "set-bridge-port",
          name: pods[0]?.link ?? "",
          settings: { isolated: false, learning: true },
        }),
      drift: [`changed link ${pods[0]?.link} type veth`],
    },
    {
      what: "a sysctl switched off",
      undo: (kernel) => kernel.byHand.sysctl("net/ipv4/ip_forward", "0"),
      drift: ["changed sysctl net/ipv4/ip_forward=1"],
    },
  ];
  for (const hand of hands) {
    test(`by hand: ${hand.what} is put back and reported`, () => {
      const { kernel, program, last } = installed();
      const before = snapshot(kernel);
      hand.undo(kernel);
      const report = clean(reconcile(program, kernel, { last, suspect: "all" }));
      assert.deepEqual(
        report.drift.map((one) => `${one.kind} ${one.text}`),
        hand.drift,
      );
      assert.deepEqual(snapshot(kernel), before);
    });
  }

  test("by hand: a bridge deleted, or taken down, comes back with all that hung on it", () => {
    for (const change of [
      { kind: "delete-link", name: "cbr0" },
      { kind: "set-link", name: "cbr0", up: false },
    ] as const) {
      const { kernel, program, last } = installed();
      const before = snapshot(kernel);
      kernel.byHand.change(change);
      const report = clean(reconcile(program, kernel, { last, suspect: new Set(["links"]) }));
      assert.ok(report.drift.some((one) => one.text === "link cbr0 type bridge"));
      assert.ok(report.drift.some((one) => one.part === "routes" && one.origin?.name === "pod-5"));
      assert.deepEqual(snapshot(kernel), before);
    }
  });

  test("by hand: a pod's link deleted is reported as lost and blocks nobody else", () => {
    const { kernel, program, last } = installed();
    const [first, second] = pods;
    assert.ok(first && second);
    kernel.byHand.change({ kind: "delete-link", name: first.link });
    const report = clean(reconcile(program, kernel, { last, suspect: "all" }));
    assert.deepEqual(report.lostLinks, [first.link]);
    assert.ok(report.drift.some((one) => one.kind === "missing" && one.origin?.name === "pod-5"));
    plug(kernel, first);
    const repaired = clean(reconcile(program, kernel, { last: report, suspect: "all" }));
    assert.deepEqual(repaired.lostLinks, []);
    assert.equal(repaired.suspect.size, 0);
  });

  test("a vxlan link with other settings is made anew", () => {
    const { kernel, last } = installed();
    const program = programOf(pods);
    const links = program.links.map((link) => (link.kind === "vxlan" ? { ...link, vni: 5000 } : link));
    clean(reconcile({ ...program, links }, kernel, { last }));
    assert.equal(kernel.links().find((link) => link.name === "fl.vx")?.vxlan?.vni, 5000);
    assert.ok(kernel.routes().some((route) => route.to === "10.244.2.0/24"));
    assert.ok(kernel.forwarding().some((entry) => entry.remote === "172.30.0.12"));
  });

  test("a failing entry is reported, blocks nothing, is no drift and is tried again", () => {
    const kernel = nodeKernel();
    for (const pod of pods) plug(kernel, pod);
    const program = programOf(pods);
    kernel.failWhen((write) => ("to" in write && write.to === "10.244.1.5/32" ? "ENOMEM" : undefined));
    const failed = reconcile(program, kernel);
    assert.deepEqual(
      failed.failures.map((failure) => [failure.text, failure.error.code, failure.origin?.name]),
      [["route replace 10.244.1.5/32 dev cbr0 metric 100", "ENOMEM", "pod-5"]],
    );
    assert.ok(kernel.routes().some((route) => route.to === "10.244.1.6/32"));
    kernel.failWhen(undefined);
    kernel.forgetWrites();
    const retried = clean(reconcile(program, kernel, { last: failed }));
    assert.deepEqual(
      retried.made.map((made) => made.text),
      ["route replace 10.244.1.5/32 dev cbr0 metric 100"],
    );
    assert.deepEqual(retried.drift, []);
  });

  test("whatever fails on the way, in the end the kernel is what a fresh one would be", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 2, max: 12 }),
        fc.integer({ min: 1, max: 1 << 30 }),
        fc.array(fc.uniqueArray(fc.integer({ min: 2, max: 9 }), { maxLength: 6 }), { minLength: 1, maxLength: 5 }),
        (oneIn, seed, series) => {
          const kernel = nodeKernel();
          let last: ReconcileReport | undefined;
          for (const numbers of series) {
            const attachments = numbers.map(attachmentOf);
            for (const attachment of attachments)
              if (!kernel.links().some((link) => link.name === attachment.link)) plug(kernel, attachment);
            kernel.failOneIn(oneIn, seed);
            last = reconcile(programOf(attachments), kernel, last === undefined ? {} : { last });
            kernel.failOneIn(0);
          }
          const wanted = (series.at(-1) ?? []).map(attachmentOf);
          for (const attachment of wanted)
            if (!kernel.links().some((link) => link.name === attachment.link)) plug(kernel, attachment);
          // Once to repair, once more because what a removal needs may have been repaired just now.
          for (let round = 0; round < 2; round++)
            last = reconcile(programOf(wanted), kernel, last === undefined ? {} : { last });
          assert.deepEqual(last?.failures, []);
          const fresh = nodeKernel();
          for (const attachment of wanted) plug(fresh, attachment);
          clean(reconcile(programOf(wanted), fresh));
          assert.deepEqual(snapshot(kernel), snapshot(fresh));
        },
      ),
      { numRuns: 60 },
    );
  });
});
