// The cluster's DNS server (README.md is its manual): the server blocks of a Corefile on their ports, UDP and TCP, health, readiness, metrics.
// Everything it listens on is made inside the given network namespace, so one process serves any number of pods.
// A new Corefile takes effect between two questions: sockets that both have stay open, so no question is lost.
//
// Not here: what an answer is (block.ts), the Corefile's text (corefile.ts), where it comes from and when it changed (the caller).

import type { Server } from "node:http";

import type { NetworkNamespace } from "../../kernel/namespaces.ts";
import { serveUdp, type UdpServer } from "../../kernel/udp.ts";
import type { Zone } from "../../program/zone.ts";
import { isWithin, lowerName, type DnsName } from "../../wire/dns/name.ts";
import { createAnswers, type Answers } from "./answers.ts";
import { createBlock, type BlockParts, type RarePlugins, type ZoneBlock } from "./block.ts";
import { bindAddresses } from "./bind.ts";
import type { Clock } from "./clock.ts";
import { parseCorefile, type Corefile, type ServerConfig } from "./corefile.ts";
import { defaultCorefileText } from "./default-corefile.ts";
import type { Upstream } from "./forwarder.ts";
import { startHttp } from "./http.ts";
import { createDnsLog, type DnsLog } from "./log.ts";
import { createQueryLog, type QueryLog } from "./query-log.ts";
import { createMetrics, formatMetrics, type Metrics } from "./metrics.ts";
import { createResponder } from "./responder.ts";
import { createTallyMemory, takeTally } from "./tally.ts";
import type { Relay } from "./upstreams.ts";
import { startTcp, type TcpServer } from "./tcp.ts";
import { createZoneSerial } from "./zone-serial.ts";
import { startWorkers, type Workers, type WorkerSockets } from "./workers.ts";

/** What a server is made of. */
export interface DnsServerOptions {
  /** Where it listens. */
  readonly namespace: NetworkNamespace;
  /** Today's zone; undefined until the objects are known (then questions about it get SERVFAIL, never "no such name"). */
  readonly zone: () => Zone | undefined;
  /** Stands for the servers of `/etc/resolv.conf`; undefined: the file itself is read. */
  readonly upstream: Upstream | undefined;
  /** For servers that are not reached from there. */
  readonly relay?: Relay;
  /** From where others' names are asked: `namespace` where absent. */
  readonly outward?: NetworkNamespace;
  /** The cluster's domain, known before the zone is: `cluster.local`. */
  readonly domain: string;
  /** Takes the log, a line at a time, without line ends. */
  readonly log: (line: string) => void;
  /** Takes lines of the query log as bytes with their ends, its own until it returns; `log` takes them where it is absent. */
  readonly logLines?: (lines: Uint8Array) => void;
  /** What it does; `defaultCorefile` of the domain where it is missing. */
  readonly corefile?: Corefile;
  /** Files that a Corefile names (hosts, certificates). */
  readonly read?: (path: string) => string | undefined;
  readonly clock?: Clock;
  /** From 0 up to 1: which address of several comes first. */
  readonly dice?: () => number;
  /** In place of the Corefile's, for those that are given. */
  readonly ports?: Partial<DnsPorts>;
  /** Threads that answer, this one with them; 1 where absent. Further ones need `subscribe`: they do not look at the zone themselves. */
  readonly workers?: number;
  /** Calls back soon after the zone may have changed. */
  readonly subscribe?: (listener: () => void) => { close(): void };
}

/** Ports of a DNS pod, CoreDNS's by default: probes, dashboards and NetworkPolicies know them. 0: not served. */
interface DnsPorts {
  readonly dns: number;
  readonly health: number;
  readonly ready: number;
  readonly metrics: number;
}

export interface DnsServer {
  /** Where it listens: chosen by the kernel for those asked as 0. `dns` is the first server block's. */
  readonly ports: DnsPorts;
  /** Acts by another Corefile from now on. Rejects, and goes on by the old one, where a socket of it cannot be made. */
  reload(corefile: Corefile): Promise<void>;
  /** Counts a Corefile that could not be read, and says why in the log. */
  refuseReload(reason: string): void;
  /** Resolves when every socket is gone. With `lameduck` it serves on for as long as the Corefile says. */
  close(how?: "at once" | "lameduck"): Promise<void>;
}

/** What a server without a Corefile does. */
export function defaultCorefile(domain: string): Corefile {
  return parseCorefile(defaultCorefileText(domain));
}

/** Starts serving. Resolves when it listens on all ports; rejects with the KernelError of the one that is taken, and leaves none open. */
export async function startDnsServer(options: DnsServerOptions): Promise<DnsServer> {
  const { clock = performance, domain } = options;
  const queryLog = createQueryLog(options.logLines ?? ((lines) => logEach(options.log, lines)));
  const write = (line: string): void => {
    // What was answered before is said before.
    queryLog.flush();
    options.log(line);
  };
  const log = createDnsLog(write, clock);
  const state: State = {
    options,
    clock,
    dice: options.dice ?? Math.random,
    domain: lowerName(domain),
    log,
    queryLog,
    serialOf: createZoneSerial(),
    sockets: new Map(),
    pages: new Map(),
    metrics: new Map(),
    blocks: new Map(),
    corefile: options.corefile ?? defaultCorefile(domain),
    reloadFailures: 0,
    workers:
      (options.workers ?? 1) > 1 ? startWorkers((options.workers ?? 1) - 1, { log, queryLog, clock }) : undefined,
    following: undefined,
  };
  state.following = followZone(state);
  try {
    await actBy(state, state.corefile);
  } catch (error) {
    await closeAll(state);
    throw error;
  }
  announce(state);
  const bound = (kind: PageKind): number => [...state.pages.values()].find((page) => page.kind === kind)?.bound ?? 0;
  return {
    get ports() {
      const [first] = state.sockets.values();
      return { dns: first?.udp.port ?? 0, health: bound("health"), ready: bound("ready"), metrics: bound("metrics") };
    },
    async reload(corefile) {
      try {
        await actBy(state, corefile);
      } catch (error) {
        refuseReload(state, error instanceof Error ? error.message : String(error));
        throw error;
      }
      state.log.info("Reloading complete");
      announce(state);
    },
    refuseReload: (reason) => refuseReload(state, reason),
    async close(how = "at once") {
      const lameduckMs = Math.max(0, ...state.corefile.servers.map(({ health }) => health?.lameduckMs ?? 0));
      if (how === "lameduck" && lameduckMs > 0) {
        state.log.info(`Going into lameduck mode for ${lameduckMs / 1000}s`);
        await new Promise((resolve) => setTimeout(resolve, lameduckMs));
      }
      await closeAll(state);
    },
  };
}

interface State {
  readonly options: DnsServerOptions;
  readonly clock: Clock;
  readonly dice: () => number;
  readonly domain: DnsName;
  readonly log: DnsLog;
  readonly queryLog: QueryLog;
  readonly serialOf: BlockParts["serialOf"];
  /** By port and address. */
  readonly sockets: Map<string, Socket>;
  readonly pages: Map<string, { readonly kind: PageKind; readonly server: Server; readonly bound: number }>;
  /** By port as the Corefile has it; counts outlive a reload. */
  readonly metrics: Map<number, Metrics>;
  /** By socket: zones, longest first. */
  blocks: ReadonlyMap<string, readonly { readonly zone: DnsName; readonly block: ZoneBlock }[]>;
  corefile: Corefile;
  reloadFailures: number;
  readonly workers: Workers | undefined;
  following: { close(): void } | undefined;
}

interface Socket {
  readonly port: number;
  readonly udp: UdpServer;
  readonly tcp: TcpServer;
  readonly answers: Answers;
  /** What was counted by itself, and what of it the metrics have. */
  readonly workers: WorkerSockets | undefined;
  readonly taken: ReadonlyMap<Float64Array, Float64Array>;
}

type PageKind = "health" | "ready" | "metrics";

/** Opens what is new, puts the new blocks in place at once, closes what is over. Throws with everything as it was. */
async function actBy(state: State, corefile: Corefile): Promise<void> {
  const { namespace, ports = {} } = state.options;
  const before = { sockets: new Set(state.sockets.keys()), pages: new Set(state.pages.keys()), blocks: state.blocks };
  const blocks = new Map<string, { readonly zone: DnsName; readonly block: ZoneBlock }[]>();
  const places = new Map<string, { readonly port: number; readonly address: string | undefined }>();
  const made: ZoneBlock[] = [];
  const plugins = await rarePlugins(corefile);
  try {
    for (const config of corefile.servers) {
      const metrics = metricsOf(state, config.zones[0]?.port ?? 53);
      // Where the block listens; all its places have the same blocks beside it but for what `bind` of others says.
      let place = "";
      const blockFor = (name: DnsName): ZoneBlock | undefined =>
        blocks.get(place)?.find(({ zone }) => isWithin(name, zone))?.block;
      const block = createBlock(config, { ...blockParts(state, metrics), ...plugins, blockFor });
      made.push(block);
      for (const { name: zone, port } of config.zones) {
        for (const address of bindAddresses(namespace, config.bind)) {
          const key = `${port} ${address ?? ""}`;
          place ||= key;
          places.set(key, { port, address });
          blocks.set(
            key,
            [...(blocks.get(key) ?? []), { zone, block }].toSorted((a, b) => b.zone.length - a.zone.length),
          );
        }
      }
    }
    // The sockets that stay see the new blocks only when all the new ones are open.
    for (const [key, { port, address }] of places) {
      if (state.sockets.has(key)) continue;
      state.sockets.set(key, await openSocket(state, key, { port, address }));
    }
    const wanted = pagesOf(corefile, ports);
    for (const [key, { kind, port }] of wanted) if (!state.pages.has(key)) await openPage(state, key, kind, port);
    state.blocks = blocks;
    state.corefile = corefile;
    forgetAnswers(state);
    for (const block of made) block.begin();
    for (const key of state.sockets.keys()) if (!places.has(key)) void closeSocket(state, key);
    for (const key of state.pages.keys()) if (!wanted.has(key)) void closePage(state, key);
  } catch (error) {
    for (const block of made) block.close("at once");
    for (const key of state.sockets.keys()) if (!before.sockets.has(key)) await closeSocket(state, key);
    for (const key of state.pages.keys()) if (!before.pages.has(key)) await closePage(state, key);
    throw error;
  }
  // Questions under way still hold the old ones.
  for (const block of distinctBlocks(before.blocks)) block.close("when answered");
}

async function rarePlugins({ servers }: Corefile): Promise<RarePlugins> {
  const has = (plugin: "files" | "transfers" | "templates"): boolean => servers.some((each) => each[plugin].length > 0);
  return {
    openZoneFiles: has("files") ? (await import("./zone-files.ts")).openZoneFiles : undefined,
    transfer: has("transfers") ? await import("./transfer.ts") : undefined,
    answerByTemplates: has("templates") ? (await import("./template.ts")).answerByTemplates : undefined,
  };
}

function blockParts(state: State, metrics: Metrics): Omit<BlockParts, keyof RarePlugins | "blockFor"> {
  const { namespace, outward = namespace, zone, upstream, relay, read = () => undefined } = state.options;
  const { clock, dice, log, domain, serialOf } = state;
  const changed = (): void => forgetAnswers(state);
  return {
    namespace: outward,
    zone,
    domain,
    host: upstream,
    relay,
    read,
    clock,
    dice,
    log,
    metrics,
    changed,
    serialOf,
  };
}

/**
 * Looks at the zone soon after each change: no question has to wait for it, and further threads do not look themselves. In a storm of
 * changes that takes a quarter of the time at most.
 */
function followZone(state: State): { close(): void } | undefined {
  let notBefore = 0;
  let timer: NodeJS.Timeout | undefined;
  const look = (): void => {
    timer = undefined;
    const began = state.clock.now();
    for (const { answers } of state.sockets.values()) answers.refresh();
    const ended = state.clock.now();
    notBefore = ended + (ended - began) * 3;
  };
  const subscription = state.options.subscribe?.(() => {
    if (timer !== undefined) return;
    const waitMs = notBefore - state.clock.now();
    if (waitMs <= 0) look();
    else timer = setTimeout(look, waitMs);
  });
  return (
    subscription && {
      close() {
        clearTimeout(timer);
        subscription.close();
      },
    }
  );
}

function forgetAnswers(state: State): void {
  for (const { answers } of state.sockets.values()) answers.clear();
}

function metricsOf(state: State, port: number): Metrics {
  let metrics = state.metrics.get(port);
  if (metrics === undefined) state.metrics.set(port, (metrics = createMetrics(state.domain, port)));
  return metrics;
}

async function openSocket(
  state: State,
  key: string,
  { port, address }: { readonly port: number; readonly address: string | undefined },
): Promise<Socket> {
  const { domain, log, queryLog, clock, dice } = state;
  const { namespace, ports = {}, zone } = state.options;
  const answers = createAnswers({ zone, shared: state.workers !== undefined });
  const tally = createTallyMemory(false);
  const responder = createResponder({
    blocks: () => state.blocks.get(key) ?? [],
    domain,
    log,
    queryLog,
    clock,
    dice,
    metrics: metricsOf(state, port),
    answers,
    tally,
  });
  const place = { ...(address !== undefined && { address }), port: port === 53 ? (ports.dns ?? port) : port };
  const sharing = state.workers === undefined ? {} : { sharing: true as const };
  const udp = serveUdp(namespace, { ...place, ...sharing }, responder.datagram, responder.quick);
  let tcp: TcpServer | undefined;
  try {
    const bound = { ...place, port: udp.port };
    tcp = await startTcp(namespace, bound, responder);
    const { memories } = answers;
    const workers = state.workers?.open({ namespace, address: bound, memories, handle: responder.datagram });
    const tallies = [tally, ...(workers?.tallies ?? [])];
    const taken = new Map(tallies.map((each) => [each, createTallyMemory(false)]));
    return { port, udp, tcp, answers, workers, taken };
  } catch (error) {
    udp.close();
    await tcp?.close();
    throw error;
  }
}

/** Puts what the threads counted by themselves into the metrics. */
function takeTallies(state: State, { port, taken }: Socket): void {
  for (const [tally, seen] of taken) takeTally(metricsOf(state, port), tally, seen);
}

async function closeSocket(state: State, key: string): Promise<void> {
  const socket = state.sockets.get(key);
  state.sockets.delete(key);
  if (socket === undefined) return;
  socket.udp.close();
  socket.workers?.close();
  takeTallies(state, socket);
  await socket.tcp.close();
}

function pagesOf(
  corefile: Corefile,
  ports: Partial<DnsPorts>,
): Map<string, { readonly kind: PageKind; readonly port: number }> {
  const pages = new Map<string, { readonly kind: PageKind; readonly port: number }>();
  const add = (kind: PageKind, port: number | undefined): void => {
    if (port !== undefined) pages.set(`${kind} ${port}`, { kind, port: ports[kind] ?? port });
  };
  for (const { health, ready, prometheus } of corefile.servers) {
    add("health", health?.port);
    add("ready", ready?.port);
    add("metrics", prometheus?.port);
  }
  return pages;
}

async function openPage(state: State, key: string, kind: PageKind, port: number): Promise<void> {
  const { server, port: bound } = await startHttp(state.options.namespace, port, `/${kind}`, () => pageOf(state, kind));
  state.pages.set(key, { kind, server, bound });
}

/** Are there names that cannot be answered yet? */
function waitsForZone({ corefile, options }: State): boolean {
  return corefile.servers.some(({ kubernetes }) => kubernetes !== undefined) && options.zone() === undefined;
}

function pageOf(state: State, kind: PageKind): { readonly status: number; readonly body: string } {
  switch (kind) {
    case "health":
      return { status: 200, body: "OK" };
    case "ready": {
      return waitsForZone(state) ? { status: 503, body: "kubernetes" } : { status: 200, body: "OK" };
    }
    case "metrics":
      return { status: 200, body: metricsPage(state) };
  }
}

function metricsPage(state: State): string {
  for (const socket of state.sockets.values()) takeTallies(state, socket);
  const ports = [...state.metrics].map(([port, metrics]) => {
    const sockets = [...state.sockets].filter(([key]) => key.startsWith(`${port} `));
    const blocks = new Set(sockets.flatMap(([key]) => (state.blocks.get(key) ?? []).map(({ block }) => block)));
    const cacheEntries = { success: 0, denial: 0 };
    for (const { forwarder } of blocks) {
      const { success, denial } = forwarder.cached();
      cacheEntries.success += success;
      cacheEntries.denial += denial;
    }
    const unsent = sockets.reduce((sum, [, { udp, workers }]) => sum + udp.unsent() + (workers?.unsent() ?? 0), 0);
    const dropped = sockets.reduce((sum, [, { udp, workers }]) => sum + udp.dropped() + (workers?.dropped() ?? 0), 0);
    return { metrics, cacheEntries, unsent, dropped };
  });
  return formatMetrics(ports, { reloadFailures: state.reloadFailures });
}

async function closePage(state: State, key: string): Promise<void> {
  const page = state.pages.get(key);
  state.pages.delete(key);
  if (page === undefined) return;
  page.server.closeAllConnections();
  await new Promise<void>((resolve) => page.server.close(() => resolve()));
}

async function closeAll(state: State): Promise<void> {
  for (const block of distinctBlocks(state.blocks)) block.close("at once");
  state.blocks = new Map();
  await Promise.all([
    ...[...state.sockets.keys()].map((key) => closeSocket(state, key)),
    ...[...state.pages.keys()].map((key) => closePage(state, key)),
  ]);
  // The last reply of a thread has left before it ends.
  state.following?.close();
  await state.workers?.close();
  state.queryLog.flush();
}

function logEach(log: (line: string) => void, lines: Uint8Array): void {
  for (const line of new TextDecoder().decode(lines).split("\n")) if (line !== "") log(line);
}

function distinctBlocks(blocks: State["blocks"]): Set<ZoneBlock> {
  return new Set([...blocks.values()].flatMap((list) => list.map(({ block }) => block)));
}

function refuseReload(state: State, reason: string): void {
  state.reloadFailures++;
  state.log.error(`plugin/reload: the new Corefile is not used, the old one stays in force: ${reason}`);
}

function announce(state: State): void {
  const { log, blocks, sockets } = state;
  for (const [key, { udp }] of sockets) {
    const address = key.slice(key.indexOf(" ") + 1);
    for (const { zone, block } of blocks.get(key) ?? []) {
      log.info(
        `Fairlead DNS: ${zone === "." ? "." : `${zone}.`}:${udp.port}${address === "" ? "" : ` on ${address}`} (udp, tcp)`,
      );
      for (const line of describe(block.config, block)) log.info(line);
    }
  }
  const pages = [...state.pages.values()].map(({ kind, bound }) => `${kind} :${bound}/${kind}`);
  if (pages.length > 0) log.info(pages.join(", "));
  if (waitsForZone(state))
    log.info(`waiting for the cluster's objects; until then ${state.options.domain}. is SERVFAIL`);
}

function describe({ kubernetes }: ServerConfig, { upstreams, files }: ZoneBlock): string[] {
  return [
    ...(kubernetes === undefined
      ? []
      : [
          `zones ${kubernetes.zones.map((zone) => `${zone}.`).join(" ")} (ttl ${kubernetes.ttl}, pods ${kubernetes.pods})`,
        ]),
    ...(files?.names() ?? []).map((each) => `zone ${each}`),
    upstreams.names.length === 0
      ? "other names: refused, there is no upstream"
      : `other names: ${upstreams.names.join("; ")}`,
  ];
}
