// The cluster's DNS server (README.md is its manual): one zone, others' names by an upstream, UDP and TCP, health, readiness, metrics.
// Everything it listens on is made inside the given network namespace, so one process serves any number of pods.
//
// Not here: what an answer is (responder.ts), others' names (forwarder.ts).
// Their places for later: the Corefile (options below), answering a search list in one query (responder.ts), DNS over TLS (an Upstream).

import type { Server } from "node:http";

import type { Zone } from "../../program/zone.ts";
import type { NetworkNamespace } from "../../kernel/namespaces.ts";
import { serveUdp, type UdpServer } from "../../kernel/udp.ts";
import { createForwarder, type Upstream } from "./forwarder.ts";
import { startHttp } from "./http.ts";
import { createDnsLog, type DnsLog } from "./log.ts";
import { createMetrics, formatMetrics } from "./metrics.ts";
import { createResponder } from "./responder.ts";
import { startTcp, type TcpServer } from "./tcp.ts";

/** What a server is made of. */
export interface DnsServerOptions {
  /** Where it listens, on every address. */
  readonly namespace: NetworkNamespace;
  /** Today's zone; undefined until the objects are known (then questions about it get SERVFAIL, never "no such name"). */
  readonly zone: () => Zone | undefined;
  /** Who is asked for others' names; undefined: nobody, and such questions are REFUSED. */
  readonly upstream: Upstream | undefined;
  /** The cluster's domain, known before the zone is: `cluster.local`. */
  readonly domain: string;
  /** Takes the log, a line at a time, without line ends. */
  readonly log: (line: string) => void;
  readonly clock?: Clock;
  /** From 0 up to 1: which address of several comes first. */
  readonly dice?: () => number;
  readonly ports?: Partial<DnsPorts>;
}

/** Milliseconds that only go forward, from any start. */
export interface Clock {
  now(): number;
}

/** Ports of a DNS pod, CoreDNS's by default: probes, dashboards and NetworkPolicies know them. */
interface DnsPorts {
  readonly dns: number;
  readonly health: number;
  readonly ready: number;
  readonly metrics: number;
}

export interface DnsServer {
  /** Where it listens: chosen by the kernel for those asked as 0. */
  readonly ports: DnsPorts;
  /** Resolves when every socket is gone. */
  close(): Promise<void>;
}

/** Starts serving. Resolves when it listens on all ports; rejects with the KernelError of the one that is taken, and leaves none open. */
export async function startDnsServer(options: DnsServerOptions): Promise<DnsServer> {
  const { namespace, zone, domain, clock = performance } = options;
  const ports: DnsPorts = { dns: 53, health: 8080, ready: 8181, metrics: 9153, ...options.ports };
  const log = createDnsLog(options.log, clock);
  const metrics = createMetrics(domain);
  const forwarder = options.upstream && createForwarder({ upstream: options.upstream, clock, metrics });
  const responder = createResponder({
    zone,
    domain,
    forwarder,
    log,
    clock,
    metrics,
    dice: options.dice ?? Math.random,
  });
  const parts: { udp?: UdpServer; tcp?: TcpServer; http: Server[] } = { http: [] };
  const closeAll = async (): Promise<void> => {
    parts.udp?.close();
    await Promise.all([parts.tcp?.close(), ...parts.http.map(closeHttp)]);
  };
  try {
    parts.udp = serveUdp(namespace, { port: ports.dns }, responder.datagram);
    parts.tcp = await startTcp(namespace, parts.udp.port, responder);
    const serve = async (port: number, path: string, page: () => { status: number; body: string }): Promise<number> => {
      const started = await startHttp(namespace, port, path, page);
      parts.http.push(started.server);
      return started.port;
    };
    const health = await serve(ports.health, "/health", () => ({ status: 200, body: "OK" }));
    const ready = await serve(ports.ready, "/ready", () =>
      zone() === undefined ? { status: 503, body: "kubernetes" } : { status: 200, body: "OK" },
    );
    const metricsPort = await serve(ports.metrics, "/metrics", () => ({
      status: 200,
      body: formatMetrics(metrics, { cacheEntries: forwarder?.cached() ?? 0, unsent: parts.udp?.unsent() ?? 0 }),
    }));
    const bound = { dns: parts.udp.port, health, ready, metrics: metricsPort };
    announce(log, bound, options);
    return { ports: bound, close: closeAll };
  } catch (error) {
    await closeAll();
    throw error;
  }
}

function announce(log: DnsLog, ports: DnsPorts, options: DnsServerOptions): void {
  log.info(`Fairlead DNS: .:${ports.dns} (udp, tcp)`);
  log.info(`zone ${options.domain}. and the cluster's in-addr.arpa and ip6.arpa ranges`);
  log.info(
    options.upstream === undefined
      ? "other names: refused, there is no upstream"
      : `other names: ${options.upstream.name}`,
  );
  log.info(`health :${ports.health}/health, ready :${ports.ready}/ready, metrics :${ports.metrics}/metrics`);
  if (options.zone() === undefined)
    log.info(`waiting for the cluster's objects; until then ${options.domain}. is SERVFAIL`);
}

async function closeHttp(server: Server): Promise<void> {
  server.closeAllConnections();
  await new Promise<void>((resolve) => server.close(() => resolve()));
}
