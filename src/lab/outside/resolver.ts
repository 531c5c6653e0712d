// The host's resolvers, as /etc/resolv.conf names them: a query goes to the one that answered last, to the next one too when that takes long.
// The file is read again when it changes, and nobody is asked before there is a question.
// Other servers are asked when a lab's Corefile names them, but for those that only this machine or its link can reach.

import { readFileSync, statSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";

import { parseAddress } from "../../ip/address.ts";
import { contains, type Prefix } from "../../ip/prefix.ts";
import { reservedRanges } from "../../ip/reserved.ts";
import { currentNetworkNamespace, type NetworkNamespace } from "../../kernel/namespaces.ts";
import { exchangeDns } from "../../serve/dns/client.ts";
import { rcodes } from "../../wire/dns/message.ts";

import type { Question } from "./protocol.ts";

export interface HostResolver {
  /** The response to a DNS query, its id kept. Rejects with a reason for people. */
  resolve(query: Uint8Array): Promise<Uint8Array>;
  /** That server's response. Rejects likewise. */
  ask(question: Question): Promise<Uint8Array>;
}

export interface HostResolverOptions {
  /** Where the resolvers are reached from; the host's own network unless said otherwise. */
  readonly namespace?: NetworkNamespace;
  readonly resolvConf?: string;
  readonly port?: number;
  /** How long one resolver has. */
  readonly timeoutMs?: number;
  /** How long one resolver has before the next is asked as well. */
  readonly headStartMs?: number;
}

export function createHostResolver(options: HostResolverOptions = {}): HostResolver {
  const { resolvConf = "/etc/resolv.conf", port = 53, timeoutMs = 5000, headStartMs = 800 } = options;
  const namespace = options.namespace ?? currentNetworkNamespace();
  const list = createServerList(resolvConf);
  let preferred: string | undefined;

  const ask = async (server: string, query: Uint8Array): Promise<Uint8Array> => {
    const response = await exchangeDns({ namespace, server, port, timeoutMs, query });
    // These say something about that resolver, not about the name: another one may know.
    const rcode = (response[3] ?? 0) & 0xf;
    if (rcode === rcodes.SERVFAIL || rcode === rcodes.REFUSED || rcode === rcodes.NOTIMP)
      throw new Unhelpful(server, rcode, response);
    preferred = server;
    return response;
  };

  return {
    async ask({ server: { address, port }, query }) {
      const near = nearRanges.find((range) => contains(range, address));
      if (near !== undefined)
        throw new Error(`ask DNS server ${address} port ${port}: ${near} is for this machine or its link alone`);
      return await exchangeDns({ namespace, server: address, port, timeoutMs: askTimeoutMs, query });
    },
    async resolve(query) {
      const servers = list.current();
      const first = servers.filter((server) => server === preferred);
      const tries: Promise<Uint8Array>[] = [];
      for (const server of [...first, ...servers.filter((server) => server !== preferred)]) {
        tries.push(ask(server, query));
        // The first good answer, or nothing when all so far have failed or this one takes too long.
        const good = Promise.any(tries).catch(() => undefined);
        const answer = await Promise.race([good, delay(headStartMs, undefined, { ref: false })]);
        if (answer !== undefined) return answer;
      }
      return await Promise.any(tries).catch((error: AggregateError) => lastWord(error.errors));
    },
  };
}

/** As long as CoreDNS waits for an upstream. */
const askTimeoutMs = 2000;
/** This host, its link, groups: what a lab must not see of the machine. */
const nearRanges: readonly Prefix[] = [...reservedRanges.map(({ range }) => range), "::ffff:0:0/96"];

/** The resolver addresses of a resolv.conf(5), at most the three that C libraries use. Zone ids (`fe80::1%eth0`) are kept. */
export function parseResolvConf(text: string): string[] {
  const servers: string[] = [];
  for (const line of text.split("\n")) {
    const match = /^\s*nameserver\s+(\S+)/.exec(line);
    const [address = "", zone] = match?.[1]?.split("%") ?? [];
    const canonical = parseAddress(address);
    if (canonical !== undefined) servers.push(zone === undefined ? canonical : `${canonical}%${zone}`);
  }
  return servers.slice(0, 3);
}

/** A resolver that answered, but with no answer. */
class Unhelpful extends Error {
  override readonly name = "Unhelpful";
  readonly response: Uint8Array;

  constructor(server: string, rcode: number, response: Uint8Array) {
    super(`resolver ${server} answered with rcode ${rcode}`);
    this.response = response;
  }
}

// Nobody knew: pass on what a resolver said, else say why there is no answer.
function lastWord(errors: readonly unknown[]): Uint8Array {
  const unhelpful = errors.find((error) => error instanceof Unhelpful);
  if (unhelpful !== undefined) return unhelpful.response;
  const reasons = errors.map((error) => (error instanceof Error ? error.message : String(error)));
  throw new Error(`none of the host's resolvers answered (${reasons.join("; ")})`);
}

function createServerList(file: string): { current(): readonly string[] } {
  let seen = "";
  let servers: readonly string[] = [];
  return {
    current() {
      const version = versionOf(file);
      if (version === undefined) throw new Error(`the host has no resolver: there is no ${file}`);
      if (version !== seen) servers = parseResolvConf(readFileSync(file, "utf8"));
      seen = version;
      if (servers.length === 0) throw new Error(`the host has no resolver: ${file} names none`);
      return servers;
    },
  };
}

function versionOf(file: string): string | undefined {
  const stat = statSync(file, { throwIfNoEntry: false });
  return stat === undefined ? undefined : `${stat.ino} ${stat.mtimeMs} ${stat.size}`;
}
