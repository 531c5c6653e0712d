// Who answers others' names: the servers of a Corefile's `forward` lines, asked from inside the pod's network namespace by UDP, TCP or TLS.
// A server that fails is checked in the background (a question for the root's NS) and left out until it answers; where all are out, one is
// tried anyway, for a check may be wrong and silence helps nobody.
//
// Not here: the cache and asking once for many (forwarder.ts), a server's connection (stream-connection.ts), UDP (client.ts).

import { randomInt } from "node:crypto";

import { parseAddress, type Address } from "../../ip/address.ts";
import type { NetworkNamespace } from "../../kernel/namespaces.ts";
import { buildMessage, emptyMessage } from "../../wire/dns/message.ts";
import { isWithin, type DnsName } from "../../wire/dns/name.ts";
import { exchangeDns } from "./client.ts";
import type { ForwardConfig, ForwardTarget } from "./corefile-forward.ts";
import type { Upstream } from "./forwarder.ts";
import type { DnsLog } from "./log.ts";
import { countCheckFailure, type Metrics } from "./metrics.ts";
import type { Clock } from "./clock.ts";
import { createStreamConnection, type StreamConnection } from "./stream-connection.ts";

/** The `forward` lines of one server block. */
export interface Upstreams {
  /** Who is asked for a name (lower case); undefined: nobody. */
  of(name: DnsName): Upstream | undefined;
  /** All of them, for the log. */
  readonly names: readonly string[];
  /** Those that are reached through the pod's network, for a loop can lead through them. */
  readonly own: readonly { readonly from: DnsName; readonly upstream: Upstream }[];
  /** Ends checks; connections at once, or when the questions under way are answered. */
  close(how: CloseHow): void;
}

export type CloseHow = "at once" | "when answered";

/** Asks servers that the pod's network does not lead to. */
export interface Relay {
  /** Is this one of them? */
  serves(address: Address): boolean;
  /** A server's response to a query. Rejects with the reason where there is none. */
  ask(server: { readonly address: Address; readonly port: number }, query: Uint8Array): Promise<Uint8Array>;
}

export interface UpstreamParts {
  readonly namespace: NetworkNamespace;
  readonly relay?: Relay | undefined;
  /** Stands for `/etc/resolv.conf` where the pod's own would lead nowhere. */
  readonly host: Upstream | undefined;
  readonly read: (path: string) => string | undefined;
  readonly clock: Clock;
  readonly dice: () => number;
  readonly log: DnsLog;
  readonly metrics: Metrics;
}

export function createUpstreams(configs: readonly ForwardConfig[], parts: UpstreamParts): Upstreams {
  const groups = configs.map((config) => ({ config, group: createGroup(config, parts) }));
  return {
    of(name) {
      const asked = groups.filter(
        ({ config, group }) =>
          group.size > 0 && isWithin(name, config.from) && !config.except.some((zone) => isWithin(name, zone)),
      );
      const [first] = asked;
      if (first === undefined || asked.length === 1 || first.config.next.length === 0) return first?.group.upstream;
      return { name: first.group.upstream.name, resolve: (query) => resolveInTurn(asked, query) };
    },
    names: groups
      .filter(({ group }) => group.size > 0)
      .map(({ config, group }) => `${absolute(config.from)} ${group.upstream.name}`),
    own: groups
      .filter(({ group }) => group.ownSize > 0)
      .map(({ config, group }) => ({ from: config.from, upstream: group.upstream })),
    close(how) {
      for (const { group } of groups) group.close(how);
    },
  };
}

// `next NXDOMAIN`: the following `forward` is asked where this one says so.
async function resolveInTurn(
  asked: readonly { readonly config: ForwardConfig; readonly group: Group }[],
  query: Uint8Array,
): Promise<Uint8Array> {
  for (const [index, { config, group }] of asked.entries()) {
    const response = await group.upstream.resolve(query);
    if (index === asked.length - 1 || !config.next.includes(rcodeOf(response))) return response;
  }
  throw new Error("no upstream");
}

interface Group {
  readonly upstream: Upstream;
  readonly size: number;
  readonly ownSize: number;
  close(how: CloseHow): void;
}

/** One server, and what is known of its health. */
interface Server {
  readonly name: string;
  readonly ask: (query: Uint8Array) => Promise<Uint8Array>;
  /** Failed checks in a row. */
  fails: number;
  checking: boolean;
  /** Failures are checked; the host's resolvers are somebody else's to check. */
  readonly checked: boolean;
  /** It is asked through the pod's network. */
  readonly own: boolean;
  close(how: CloseHow): void;
}

/** plugin/forward: all tries together. */
const patienceMs = 5000;

function createGroup(config: ForwardConfig, parts: UpstreamParts): Group {
  const servers = config.to.flatMap((target) => serversOf(target, config, parts));
  const timers = new Set<NodeJS.Timeout>();
  const state = { closed: false, turn: 0, under: 0 };

  const isDown = (server: Server): boolean => config.maxFails > 0 && server.fails >= config.maxFails;

  const check = async (server: Server): Promise<void> => {
    try {
      await server.ask(checkQuery(config));
      if (isDown(server)) parts.log.info(`upstream ${server.name} answers again`);
      server.fails = 0;
      server.checking = false;
    } catch (error) {
      server.fails++;
      countCheckFailure(parts.metrics, server.name);
      if (server.fails === config.maxFails)
        parts.log.info(`upstream ${server.name} is down, left out until it answers: ${String(error)}`);
      if (state.closed) return;
      const timer = setTimeout(() => {
        timers.delete(timer);
        void check(server);
      }, config.healthCheck.intervalMs);
      timer.unref();
      timers.add(timer);
    }
  };
  const failed = (server: Server): void => {
    if (!server.checked || server.checking || config.maxFails === 0 || config.healthCheck.intervalMs === 0) return;
    server.checking = true;
    void check(server);
  };

  const order = (): Server[] => {
    const start =
      config.policy === "sequential"
        ? 0
        : config.policy === "random"
          ? Math.floor(parts.dice() * servers.length)
          : state.turn++;
    const listed = servers.map((_, index) => servers[(start + index) % servers.length] as Server);
    const up = listed.filter((server) => !isDown(server));
    return up.length > 0 ? up : listed.slice(0, 1);
  };

  const tryAll = async (query: Uint8Array): Promise<Uint8Array> => {
    const until = parts.clock.now() + patienceMs;
    const reasons: string[] = [];
    let refused: Uint8Array | undefined;
    const heard = new Set<Server>();
    // Each twice: one lost datagram is no reason to fail.
    const listed = order();
    for (const server of [...listed, ...listed]) {
      if (parts.clock.now() >= until) break;
      if (heard.has(server)) continue;
      try {
        const response = await server.ask(query);
        if (!config.failover.includes(rcodeOf(response))) return response;
        refused ??= response;
        heard.add(server);
      } catch (error) {
        failed(server);
        reasons.push(error instanceof Error ? error.message : String(error));
      }
    }
    if (refused !== undefined) return refused;
    throw new Error([...new Set(reasons)].join("; "));
  };

  const only = servers.length === 1 ? servers[0] : undefined;
  const name = servers.map((server) => server.name).join(", ");
  const resolve = async (query: Uint8Array): Promise<Uint8Array> => {
    if (config.maxConcurrent > 0 && state.under >= config.maxConcurrent) {
      parts.metrics.concurrentRejects++;
      throw new Error(`${config.maxConcurrent} questions already wait for ${name} (max_concurrent)`);
    }
    state.under++;
    try {
      // The host's resolvers try again by themselves.
      return await (only?.checked === false ? only.ask(query) : tryAll(query));
    } finally {
      state.under--;
    }
  };
  return {
    upstream: { name, resolve },
    size: servers.length,
    ownSize: servers.filter((server) => server.own).length,
    close(how) {
      state.closed = true;
      for (const timer of timers) clearTimeout(timer);
      for (const server of servers) server.close(how);
    },
  };
}

function serversOf(target: ForwardTarget, config: ForwardConfig, parts: UpstreamParts): Server[] {
  if (target.kind === "server") return [networkServer(target, config, parts)];
  const { host } = parts;
  if (target.path === "/etc/resolv.conf" && host !== undefined) {
    return [
      {
        name: host.name,
        ask: (query) => host.resolve(query),
        fails: 0,
        checking: false,
        checked: false,
        own: false,
        close: () => {},
      },
    ];
  }
  return nameServersOf(parts.read(target.path) ?? "").map((address) =>
    networkServer({ kind: "server", protocol: "dns", address, port: 53 }, config, parts),
  );
}

// resolv.conf(5)
function nameServersOf(text: string): string[] {
  return text
    .split("\n")
    .map((line) => /^\s*nameserver\s+(\S+)/.exec(line)?.[1] ?? "")
    .filter((word) => parseAddress(word.replace(/%.*$/, "")) !== undefined);
}

function networkServer(
  target: Extract<ForwardTarget, { kind: "server" }>,
  config: ForwardConfig,
  { namespace, relay, read }: UpstreamParts,
): Server {
  const { protocol, address, port } = target;
  const name = `${protocol === "tls" ? "tls://" : ""}${address.includes(":") ? `[${address}]` : address}:${port}`;
  if (relay?.serves(address) === true) {
    const ask = (query: Uint8Array): Promise<Uint8Array> =>
      protocol === "tls" ? Promise.reject(new Error(noTls)) : relay.ask({ address, port }, query);
    return { name, ask, fails: 0, checking: false, checked: true, own: false, close: () => {} };
  }
  let connection: StreamConnection | undefined;
  const stream = (query: Uint8Array): Promise<Uint8Array> => {
    const serverName = config.tlsServerName ?? target.serverName;
    connection ??= createStreamConnection({
      namespace,
      address,
      port,
      name,
      timeoutMs: config.readTimeoutMs,
      idleMs: config.expireMs,
      ...(protocol === "dns"
        ? {}
        : { tls: { ...tlsFiles(config, read), ...(serverName === undefined ? {} : { serverName }) } }),
    });
    return connection.ask(query);
  };
  const datagram = (query: Uint8Array): Promise<Uint8Array> =>
    exchangeDns({ namespace, server: address, port, timeoutMs: config.readTimeoutMs, query });
  return {
    name,
    ask: protocol === "tls" || config.transport === "tcp" ? stream : datagram,
    fails: 0,
    checking: false,
    checked: true,
    own: true,
    close: (how) => connection?.close(how),
  };
}

const noTls =
  "it is outside of this network, where servers are asked by UDP and TCP alone: write its address without tls://";

function tlsFiles(
  { tls }: ForwardConfig,
  read: (path: string) => string | undefined,
): { readonly ca?: string; readonly cert?: string; readonly key?: string } {
  const file = (path: string): string => {
    const text = read(path);
    if (text === undefined) throw new Error(`forward's tls: there is no file ${path}`);
    return text;
  };
  return {
    ...(tls.ca === undefined ? {} : { ca: file(tls.ca) }),
    ...(tls.cert === undefined ? {} : { cert: file(tls.cert) }),
    ...(tls.key === undefined ? {} : { key: file(tls.key) }),
  };
}

function checkQuery({ healthCheck }: ForwardConfig): Uint8Array {
  return buildMessage({
    ...emptyMessage,
    id: randomInt(0x10000),
    recursionDesired: healthCheck.recursionDesired,
    questions: [{ name: healthCheck.domain, type: "NS", class: 1 }],
  });
}

function rcodeOf(response: Uint8Array): number {
  return (response[3] ?? 0) & 0xf;
}

function absolute(name: DnsName): string {
  return name === "." ? "." : `${name}.`;
}
