import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { attachmentOf, programOf } from "../apply/program.testing.ts";
import { createFakeKernel, type FakeKernel } from "../kernel/fake.ts";
import type { Network } from "../model/network.ts";
import type { NetworkSource } from "../model/source.ts";
import type { Program } from "../program/program.ts";
import { startAgent, type Agent, type AgentEvent, type Clock } from "./agent.ts";
import { openAttachments, type AttachmentStore } from "./attachments.ts";

/** Time that passes only when a test says so. */
interface TestClock extends Clock {
  /** Runs the timers due within this time, in order. */
  pass(ms: number): void;
}

function testClock(): TestClock {
  let now = 0;
  const timers = new Set<{ at: number; call: () => void }>();
  return {
    now: () => now,
    date: () => new Date(now).toISOString(),
    setTimer(delayMs, call) {
      const timer = { at: now + delayMs, call };
      timers.add(timer);
      return { cancel: () => void timers.delete(timer) };
    },
    pass(ms) {
      const until = now + ms;
      for (;;) {
        const due = [...timers].filter((timer) => timer.at <= until).sort((a, b) => a.at - b.at)[0];
        if (due === undefined) break;
        timers.delete(due);
        now = Math.max(now, due.at);
        due.call();
      }
      now = until;
    },
  };
}

interface Bench {
  readonly kernel: FakeKernel;
  readonly clock: TestClock;
  readonly attachments: AttachmentStore;
  readonly events: AgentEvent[];
  readonly agent: Agent;
  /** Changes what compile gives. */
  set(overrides: Partial<Program>): void;
  compiled(): number;
}

function bench(compileError?: () => Error | undefined): Bench {
  const kernel = createFakeKernel("node-1");
  const clock = testClock();
  const attachments = openAttachments();
  const events: AgentEvent[] = [];
  const listeners = new Set<() => void>();
  let overrides: Partial<Program> = { links: programOf([]).links };
  let compiled = 0;
  const source: NetworkSource = {
    current: () => ({}) as Network,
    subscribe(changed) {
      listeners.add(changed);
      return { close: () => void listeners.delete(changed) };
    },
  };
  const agent = startAgent({
    node: "node-1",
    kernel,
    source,
    attachments,
    clock,
    compile(_network, _node, pods) {
      compiled++;
      const error = compileError?.();
      if (error !== undefined) throw error;
      return { ...programOf(pods), ...overrides };
    },
    report: (event) => events.push(event),
  });
  return {
    kernel,
    clock,
    attachments,
    events,
    agent,
    set(wanted) {
      overrides = wanted;
      for (const listener of listeners) listener();
    },
    compiled: () => compiled,
  };
}

/** The fake kernel tells its monitors in the next turn. */
const nextTurn = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));

describe("agent", () => {
  test("another network's links are none of our business, but for routes behind them", async () => {
    const { agent, clock, kernel, set } = bench();
    const synced = agent.synced();
    clock.pass(0);
    await synced;
    clock.pass(100);
    const settle = async (): Promise<number> => {
      await nextTurn();
      clock.pass(100);
      const { dumps } = kernel.writes;
      kernel.forgetWrites();
      return dumps;
    };
    await settle();
    const theirs = { kind: "create-bridge", name: "docker0", mac: "02:00:00:00:00:99", mtu: 1500 } as const;
    kernel.byHand.change(
      theirs,
      { kind: "set-link", name: "docker0", up: true },
      { kind: "set-address", link: "docker0", address: "172.17.0.1", bits: 16 },
      { kind: "set-neighbour", link: "docker0", address: "172.17.0.9", mac: "02:00:00:00:00:98" },
    );
    assert.equal(await settle(), 0);
    kernel.byHand.change({ kind: "delete-neighbour", link: "cbr0", address: "10.244.1.9" });
    assert.ok((await settle()) > 0);
    // A link that becomes one of ours by its name.
    kernel.byHand.change({ kind: "set-link", name: "docker0", rename: "flp000000000099" });
    assert.ok((await settle()) > 1);
    kernel.byHand.change(
      { ...theirs, name: "eth0" },
      { kind: "set-link", name: "eth0", up: true },
      { kind: "set-address", link: "eth0", address: "192.0.2.1", bits: 24 },
    );
    const origin = { kind: "Node", name: "node-2" };
    set({ routes: [{ to: "10.244.2.0/24", action: "forward", via: "192.0.2.2", metric: 1024, origin }] });
    await settle();
    kernel.byHand.change({ ...theirs, name: "docker1" });
    assert.equal(await settle(), 0);
    kernel.byHand.change({ kind: "delete-link", name: "docker1" });
    assert.equal(await settle(), 1);
    await agent.stop();
  });

  test("the first reconciliation begins at once; synced gives its report", async () => {
    const { agent, clock, kernel } = bench();
    const synced = agent.synced();
    clock.pass(0);
    const report = await synced;
    assert.ok(report.made.length > 0);
    assert.ok(kernel.links().some((link) => link.name === "cbr0"));
    assert.equal(agent.program()?.node, "node-1");
    await agent.stop();
  });

  test("many events are one reconciliation, a moment later", async () => {
    const { agent, clock, set, compiled } = bench();
    clock.pass(100);
    const before = compiled();
    for (let mtu = 1400; mtu < 1410; mtu++)
      set({ links: programOf([]).links.map((link) => (link.kind === "uplink" ? link : { ...link, mtu })) });
    assert.equal(compiled(), before);
    clock.pass(100);
    assert.equal(compiled(), before + 1);
    assert.equal(agent.program()?.links[0]?.mtu, 1409);
    await agent.stop();
  });

  test("synced waits for what was known when it was called, and not when nothing is new", async () => {
    const { agent, attachments, clock } = bench();
    clock.pass(100);
    await agent.synced();
    attachments.put(attachmentOf(5));
    let done = false;
    const synced = agent.synced().then((report) => {
      done = true;
      return report;
    });
    await nextTurn();
    assert.equal(done, false);
    clock.pass(100);
    const report = await synced;
    assert.ok(report.program.neighbours.some((neighbour) => neighbour.address === "10.244.1.5"));
    await agent.stop();
  });

  test("somebody else's hand is put back, logged with its time and reported", async () => {
    const { agent, clock, kernel, events } = bench();
    clock.pass(1000);
    kernel.byHand.change({ kind: "delete-route", to: "10.244.2.0/24", metric: 100, protocol: 0xf1 });
    await nextTurn();
    clock.pass(100);
    assert.ok(kernel.routes().some((route) => route.to === "10.244.2.0/24"));
    assert.deepEqual(
      agent.drift().map((one) => [one.kind, one.text, one.origin?.name, one.time]),
      [["missing", "route 10.244.2.0/24 via 10.244.2.0 dev fl.vx metric 100", "node-2", "1970-01-01T00:00:01.002Z"]],
    );
    const last = events.at(-1);
    assert.ok(last?.kind === "reconciled" && last.report.drift.length === 1);
    await agent.stop();
  });

  test("an event that changed nothing of ours writes nothing and is not reported", async () => {
    const { agent, clock, kernel, events } = bench();
    clock.pass(1000);
    kernel.forgetWrites();
    const before = events.length;
    kernel.byHand.change({ kind: "create-bridge", name: "docker0", mac: "02:42:00:00:00:01", mtu: 1500 });
    await nextTurn();
    clock.pass(100);
    assert.deepEqual([kernel.writes.changes, events.length], [[], before]);
    await agent.stop();
  });

  test("sysctls, most of which nobody watches, are read again by and by", async () => {
    const { agent, clock, kernel } = bench();
    clock.pass(1000);
    kernel.byHand.sysctl("net/ipv4/ip_forward", "0");
    clock.pass(60_000);
    assert.equal(kernel.readSysctl("net/ipv4/ip_forward"), "1");
    assert.equal(agent.drift().length, 1);
    await agent.stop();
  });

  test("a failure is tried again, later and later, until it succeeds", async () => {
    const { agent, clock, kernel, compiled } = bench();
    let refuse = true;
    kernel.failWhen((write) => (refuse && "to" in write ? "ENOMEM" : undefined));
    clock.pass(0);
    assert.ok(agent.failures().length > 0);
    clock.pass(10_000);
    const attempts = compiled();
    assert.ok(attempts >= 5 && attempts <= 9, `${attempts} attempts in ten seconds`);
    refuse = false;
    clock.pass(30_000);
    assert.deepEqual(agent.failures(), []);
    assert.ok(kernel.routes().some((route) => route.to === "10.244.2.0/24"));
    await agent.stop();
  });

  test("a compile that throws leaves the last Program in force and rejects who waits", async () => {
    let error: Error | undefined;
    const { agent, clock, set, events, kernel } = bench(() => error);
    clock.pass(100);
    error = new Error("defect");
    set({});
    const synced = agent.synced();
    clock.pass(100);
    await assert.rejects(synced, /defect/);
    assert.equal(events.at(-1)?.kind, "compile-failed");
    assert.ok(kernel.routes().some((route) => route.to === "10.244.2.0/24"));
    await agent.stop();
  });

  test("stop leaves the kernel as it is and rejects who waits; cleanup takes everything away", async () => {
    const { agent, clock, kernel, set } = bench();
    clock.pass(100);
    set({});
    const waiting = agent.synced();
    await agent.stop();
    await assert.rejects(waiting, /stopped/);
    clock.pass(100_000);
    assert.ok(kernel.links().some((link) => link.name === "cbr0"));
    await agent.cleanup();
    assert.deepEqual(
      kernel.links().map((link) => link.name),
      ["lo"],
    );
  });
});
