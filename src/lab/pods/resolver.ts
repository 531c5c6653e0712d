// A stub resolver: /etc/resolv.conf's search list, ndots and servers (resolv.conf(5)), over any way to exchange a query for an answer.
// Used by the tools inside containers and by built-in servers that dial names from their pod.

import { isIP } from "node:net";
import type { Address } from "../../ip/address.ts";
import { buildQuery, parseMessage, rcodes, type DnsMessage } from "../../wire/dns/message.ts";
import type { DnsRecord, RecordType } from "../../wire/dns/record.ts";
import { parseResolvConf, type ResolverSettings } from "./identity-files.ts";

/** Sends a query to a server and gives its answer's bytes. Rejects on timeout or where nothing listens. */
export type Exchange = (
  server: { readonly address: Address; readonly port: number },
  query: Uint8Array,
) => Promise<Uint8Array>;

export interface Resolver {
  readonly settings: ResolverSettings;
  /** One question as it is, no search list. Tries the servers in order. Rejects when none answers. */
  ask(name: string, type: RecordType): Promise<DnsMessage>;
  /** The names tried for a name, in order (ndots, search). */
  candidates(name: string): readonly string[];
  /** The first candidate that exists, with its answer; undefined where none does. */
  search(name: string, type: RecordType): Promise<{ readonly name: string; readonly message: DnsMessage } | undefined>;
  /** Addresses of a host name (or the address itself); empty where there are none. */
  addresses(name: string): Promise<readonly Address[]>;
}

/** A resolver by the text of a resolv.conf. `random` gives query ids. */
export function createResolver(resolvConf: string, exchange: Exchange, port = 53): Resolver {
  const settings = parseResolvConf(resolvConf);
  const ndots = Number(
    /^ndots:(\d+)$/.exec(settings.options.find((option) => option.startsWith("ndots:")) ?? "")?.[1] ?? 1,
  );

  const ask = async (name: string, type: RecordType): Promise<DnsMessage> => {
    let failure: unknown = new Error("no nameserver in /etc/resolv.conf");
    for (const address of settings.nameservers) {
      try {
        const id = Math.floor(Math.random() * 0x10000);
        const answer = parseMessage(await exchange({ address, port }, buildQuery({ id, name, type, udpBytes: 1232 })));
        if (answer.id === id) return answer;
      } catch (error) {
        failure = error;
      }
    }
    throw failure;
  };
  const candidates = (name: string): readonly string[] => {
    if (name.endsWith(".")) return [name.slice(0, -1)];
    const searched = settings.searches.map((suffix) => `${name}.${suffix}`);
    const dots = name.split(".").length - 1;
    return dots >= ndots ? [name, ...searched] : [...searched, name];
  };
  const search: Resolver["search"] = async (name, type) => {
    for (const candidate of candidates(name)) {
      const message = await ask(candidate, type);
      if (message.rcode === rcodes.NOERROR && message.answers.length > 0) return { name: candidate, message };
      // A server that could not answer must not look like a name that is not there.
      if (message.rcode !== rcodes.NOERROR && message.rcode !== rcodes.NXDOMAIN)
        throw new Error(`${candidate}: the server answered rcode ${message.rcode}`);
    }
    return undefined;
  };
  return {
    settings,
    ask,
    candidates,
    search,
    async addresses(name) {
      if (isIP(name) !== 0) return [name];
      if (name === "localhost") return ["127.0.0.1"];
      const [four, six] = await Promise.all([search(name, "A"), search(name, "AAAA")]);
      return [...(four?.message.answers ?? []), ...(six?.message.answers ?? [])].flatMap(addressOf);
    },
  };
}

function addressOf({ data }: DnsRecord): readonly Address[] {
  return data.kind === "A" || data.kind === "AAAA" ? [data.address] : [];
}
