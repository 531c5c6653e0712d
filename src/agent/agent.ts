// One node's agent: whenever the Network or the node's pods change, or somebody else's hand touches the kernel, the node's Program is
// compiled and the kernel brought to it. Events only mark dirty; the work runs at its own pace.
//
// Invariants: memoryless (a restarted agent compiles the same Program and writes nothing); no kernel call inside an event handler;
// a failure is retried with back-off and never blocks what follows. Stopping leaves the kernel as it is.
// Not here: how a pod's link is made (pod-network.ts), and what the Program says (program/).

import { performance } from "node:perf_hooks";
import process from "node:process";

import type { Drift, Failure, Part, ReconcileReport } from "../apply/report.ts";
import { ownLinkName } from "../apply/links.ts";
import { reconcile, removeEverything } from "../apply/reconcile.ts";
import type { ConnectionMatch, MonitorEvent, NetworkKernel } from "../kernel/kernel.ts";
import type { Attachment, Network } from "../model/network.ts";
import type { NetworkSource } from "../model/source.ts";
import type { Program, Route } from "../program/program.ts";
import type { AttachmentStore } from "./attachments.ts";
import { createSpared, isServing } from "./spared.ts";

export interface AgentOptions {
  /** The node's name in the Network. */
  readonly node: string;
  readonly kernel: NetworkKernel;
  readonly source: NetworkSource;
  readonly attachments: AttachmentStore;
  readonly compile: (network: Network, node: string, attachments: readonly Attachment[]) => Program;
  /** Does the endpoint of a UDP connection still answer, though it gets no new ones? What the Network says of it where absent. */
  readonly answers?: (match: ConnectionMatch) => boolean;
  /** What happened, for logs and Events. */
  readonly report?: (event: AgentEvent) => void;
  readonly clock?: Clock;
  /** How long events are gathered before they are acted on. */
  readonly debounceMs?: number;
}

export type AgentEvent =
  /** Something was written, failed or had to be put back; reconciliations without any of it are silent. formatReport gives the words. */
  | {
      readonly kind: "reconciled";
      readonly report: ReconcileReport;
      readonly tookMs: number;
      /** Since the first of the changes that it brought was known here. */
      readonly latencyMs: number;
    }
  /** `compile` threw: the last Program stays in force. A defect of ours. */
  | { readonly kind: "compile-failed"; readonly error: unknown };

/** Time as a parameter. */
export interface Clock {
  /** Milliseconds, for intervals. */
  now(): number;
  /** RFC 3339, for logs. */
  date(): string;
  /** What this process has computed so far, in milliseconds; where absent, all time counts as computed. */
  processor?(): number;
  setTimer(delayMs: number, call: () => void): { cancel(): void };
}

export interface Agent {
  /** The Program last given to the kernel; undefined before the first. */
  program(): Program | undefined;
  /**
   * Resolves when everything known at the time of the call has been brought to the kernel, with the report of that reconciliation.
   * What failed is in the report and is retried. Rejects where no Program could be compiled, and after `stop`.
   */
  synced(): Promise<ReconcileReport>;
  /** What others changed and we put back, newest last; the last thousand. */
  drift(): readonly (Drift & { readonly time: string })[];
  /** What the kernel refused last and is being retried. */
  failures(): readonly Failure[];
  /** Reads everything back at the next reconciliation. */
  suspectEverything(): void;
  /** Who can make pods' links again when they are gone: called with the attachments, after a reconciliation; true where some were made. */
  onLostLinks(remake: (lost: readonly Attachment[]) => boolean): void;
  /** Who does in the pods' own namespaces what a Program means for them: called after each reconciliation. */
  onReconciled(call: (program: Program) => void): void;
  /** Ends the agent; the kernel keeps what it has, and pods keep talking. */
  stop(): Promise<void>;
  /** Ends the agent and removes all that is ours from the kernel. */
  cleanup(): Promise<ReconcileReport>;
}

const driftKeptMax = 1000;
const retryDelayMs = { first: 100, max: 30_000 };
/**
 * After a reconciliation the next one waits as long as it took, but no longer than this: others get a turn. Of a few changes only what was
 * computed counts: the kernel takes 20 ms to delete a link, and whoever deletes pods one after another would wait as long again for nothing.
 */
const pauseMsMax = 20;
/**
 * Where many things come at once to a process that is busy, it waits twice as long as it came too late, to gather more of them: a
 * reconciliation costs something beside what it makes. Single changes do not wait.
 */
const gatherMsMax = 230;
const manyChanges = 20;
/** Of sysctls the monitor tells forwarding and reverse path filters only: all are read again at this interval. */
const sysctlIntervalMs = 30_000;

/** Starts the agent of one node; the first reconciliation begins at once. */
export function startAgent(options: AgentOptions): Agent {
  const {
    node,
    kernel,
    source,
    attachments,
    compile,
    report = () => {},
    clock = systemClock,
    debounceMs = 2,
  } = options;
  const drift: (Drift & { readonly time: string })[] = [];
  let suspect: Set<Part> | "all" = new Set();
  let last: ReconcileReport | undefined;
  let waiting: { resolve(report: ReconcileReport): void; reject(error: unknown): void }[] = [];
  let dirty = false;
  let dirtySince: number | undefined;
  let stopped = false;
  let timer: { cancel(): void } | undefined;
  let timerDueAt = 0;
  let retries = 0;
  let notBefore = 0;
  let reconciled: (program: Program) => void = () => {};
  const spared = createSpared({
    answers: options.answers ?? ((match) => isServing(source.current(), options.node, match)),
    forget: (match) => void kernel.flushConnections(match),
    setTimer: clock.setTimer,
  });
  let remake: ((lost: readonly Attachment[]) => boolean) | undefined;

  const schedule = (delayMs: number): void => {
    if (stopped) return;
    const due = Math.max(clock.now() + delayMs, notBefore);
    if (timer !== undefined && timerDueAt <= due) return;
    timer?.cancel();
    timerDueAt = due;
    timer = clock.setTimer(Math.max(0, due - clock.now()), run);
  };
  const markDirty = (): void => {
    dirty = true;
    dirtySince ??= clock.now();
    schedule(debounceMs);
  };
  const markSuspect = (parts: readonly Part[] | "all"): void => {
    if (parts === "all") suspect = "all";
    else if (suspect !== "all") for (const part of parts) suspect.add(part);
    if (parts.length > 0) markDirty();
  };

  const run = (): void => {
    timer = undefined;
    if (stopped) return;
    const started = clock.now();
    const computedBefore = clock.processor?.();
    const lateMs = Math.max(0, started - timerDueAt);
    const since = dirtySince ?? started;
    dirty = false;
    dirtySince = undefined;
    const waiters = waiting;
    waiting = [];
    let program: Program;
    try {
      program = compile(source.current(), node, attachments.list());
    } catch (error) {
      report({ kind: "compile-failed", error });
      for (const waiter of waiters) waiter.reject(error);
      return;
    }
    const readBack = suspect;
    suspect = new Set();
    last = reconcile(program, kernel, {
      ...(last === undefined ? {} : { last }),
      suspect: readBack,
      spares: spared.spares,
    });
    spared.forgetGone();
    const tookMs = clock.now() - started;
    // Whatever happens outside, others get a turn.
    const few = last.made.length < manyChanges;
    const computed = computedBefore === undefined ? tookMs : (clock.processor?.() ?? 0) - computedBefore;
    notBefore =
      clock.now() + Math.min(few ? computed : tookMs, pauseMsMax) + (few ? 0 : Math.min(2 * lateMs, gatherMsMax));
    record(last, tookMs, clock.now() - since);
    for (const waiter of waiters) waiter.resolve(last);
    // Who waited knows what was made; the next reconciliation does not ask, and its bytes weigh as much as the Program.
    last = { ...last, made: [] };
    if (last.lostLinks.length > 0) remakeLinks(last.lostLinks);
    reconciled(program);
    scheduleRetry(last);
  };

  const record = (result: ReconcileReport, tookMs: number, latencyMs: number): void => {
    const time = clock.date();
    drift.push(...result.drift.map((one) => ({ ...one, time })));
    if (drift.length > driftKeptMax) drift.splice(0, drift.length - driftKeptMax);
    if (result.made.length + result.failures.length + result.drift.length === 0) return;
    report({ kind: "reconciled", report: result, tookMs, latencyMs });
  };
  const scheduleRetry = (result: ReconcileReport): void => {
    if (result.suspect.size === 0) {
      retries = 0;
      return;
    }
    schedule(Math.min(retryDelayMs.max, retryDelayMs.first * 2 ** retries++));
  };
  const remakeLinks = (links: readonly string[]): void => {
    const lost = attachments.list().filter((attachment) => links.includes(attachment.link));
    if (lost.length > 0 && remake?.(lost) === true) markSuspect("all");
  };

  const resync = (): void => {
    resyncTimer = clock.setTimer(sysctlIntervalMs, resync);
    markSuspect(["sysctls"]);
  };
  let resyncTimer = clock.setTimer(sysctlIntervalMs, resync);
  const subscriptions = [
    source.subscribe(markDirty),
    attachments.subscribe(markDirty),
    kernel.monitor((event) => markSuspect(partsOf(event, last?.program))),
  ];
  dirty = true;
  schedule(0);

  const end = (): void => {
    if (stopped) return;
    stopped = true;
    timer?.cancel();
    resyncTimer.cancel();
    spared.close();
    for (const subscription of subscriptions) subscription.close();
    for (const waiter of waiting) waiter.reject(new Error(`agent of ${node}: stopped`));
    waiting = [];
  };

  return {
    program: () => last?.program,
    synced() {
      if (stopped) return Promise.reject(new Error(`agent of ${node}: stopped`));
      if (!dirty && last !== undefined) return Promise.resolve(last);
      return new Promise((resolve, reject) => {
        waiting.push({ resolve, reject });
        schedule(0);
      });
    },
    drift: () => drift,
    failures: () => last?.failures ?? [],
    suspectEverything: () => markSuspect("all"),
    onLostLinks(call) {
      remake = call;
    },
    onReconciled(call) {
      reconciled = call;
    },
    async stop() {
      end();
    },
    async cleanup() {
      end();
      return removeEverything(kernel);
    },
  };
}

/** Which parts an event seen in the kernel may have changed. */
function partsOf(event: MonitorEvent, program: Program | undefined): readonly Part[] {
  const isOurs = event.link === undefined || program === undefined || event.link.names.some(ownLinkName);
  switch (event.kind) {
    case "link":
      if (isOurs) return ["links", "addresses", "neighbours", "forwarding", "routes", "sysctls"];
      return event.link.isNew ? [] : partsBehind(program);
    case "address":
      // IPv4 routes go with the address that is their source.
      return isOurs ? ["addresses", "routes"] : partsBehind(program);
    case "route":
      return ["routes"];
    case "neighbour":
      return isOurs ? ["neighbours", "forwarding"] : [];
    case "sysctl":
      return ["sysctls"];
    case "nftables":
      return (program?.tables ?? []).map((table): Part => `table ${table.family} ${table.name}`);
  }
}

/**
 * What may hang on somebody else's link, such as containers of another network have by the hundred: routes whose next hop is behind it, which
 * the kernel drops without a word.
 */
function partsBehind(program: Program | undefined): readonly Part[] {
  return program?.routes.every(isOnOwnLink) === true ? [] : ["routes"];
}

function isOnOwnLink({ action, link }: Route): boolean {
  return action === "unreachable" || (link !== undefined && ownLinkName(link));
}

const systemClock: Clock = {
  now: () => performance.now(),
  date: () => new Date().toISOString(),
  processor() {
    const { user, system } = process.threadCpuUsage();
    return (user + system) / 1000;
  },
  setTimer(delayMs, call) {
    const timer = setTimeout(call, delayMs);
    return { cancel: () => clearTimeout(timer) };
  },
};
