// Cluster DNS on the node itself: a server in a place of its own in the node's pod network, which this node's pods get when they ask the
// DNS Service's address. A question never leaves the node, and DNS is as near where no DNS pod runs.
//
// How it takes over without losing a question: the server answers before the node's Program leads to it, and what is under way elsewhere
// stays there (node-dns-source.ts). How it hands back: the Program first, then it answers on for a while, then it ends.
// Not here: what an answer is (serve/dns), where zone and Corefile come from (the caller).

import { createHash } from "node:crypto";

import { createNetworkNamespace, type NetworkNamespace } from "../kernel/namespaces.ts";
import type { Zone } from "../program/zone.ts";
import { CniError, cniCodes, type CniRequest } from "../serve/cni/cni.ts";
import { followCorefile } from "../serve/dns/corefile-file.ts";
import { parseCorefile, type Corefile } from "../serve/dns/corefile.ts";
import { defaultCorefile, startDnsServer, type DnsServer, type DnsServerOptions } from "../serve/dns/server.ts";
import type { NodeNetwork } from "./node.ts";
import { dnsNamespace, type DnsPlace, type NodeDnsSource } from "./node-dns-source.ts";

export interface NodeDnsOptions {
  readonly node: string;
  /** The same as the node's agent has. */
  readonly source: NodeDnsSource;
  readonly network: Pick<NodeNetwork, "agent" | "podNetwork" | "attachments">;
  /** Today's zone; undefined until the cluster is known. */
  readonly zone: () => Zone | undefined;
  readonly domain: string;
  /** See DnsServerOptions. */
  readonly upstream: DnsServerOptions["upstream"];
  readonly relay?: DnsServerOptions["relay"];
  /** From where others' names are asked; the server's own place where absent. */
  readonly outward?: NetworkNamespace;
  readonly corefile: {
    /** For messages. */
    readonly path: string;
    /** The text now; empty where there is none. */
    readonly text: () => string;
    /** Files that it names. */
    readonly read: (path: string) => string | undefined;
    readonly list: (pattern: string) => readonly string[];
    readonly env: Readonly<Record<string, string | undefined>>;
  };
  readonly log: (line: string) => void;
  /** How long it answers on after handing back: 5 s, as long as resolvers wait for an answer, or `health { lameduck }` where that is longer. */
  readonly lameduckMs?: number;
}

export interface NodeDns {
  /** Resolves when this node's clients are answered here. */
  readonly taken: Promise<void>;
  /** Where it is; undefined while it has no place. */
  place(): DnsPlace | undefined;
  /** Hands back to the Service's pods, and ends. `at once` where the node itself ends: nobody is left to ask. */
  close(how?: "lameduck" | "at once"): Promise<void>;
}

/** How long until what could not be had yet (ranges, the bridge, an address) is tried again. */
const retryMs = 1000;
const lameduckMs = 5000;

/** Starts at once; trouble is logged and tried again, for meanwhile the Service's pods answer. */
export function startNodeDns(options: NodeDnsOptions): NodeDns {
  const { node, source, log } = options;
  const { agent, podNetwork, attachments } = options.network;
  const stop = new AbortController();
  const taken = Promise.withResolvers<void>();
  const containerId = createHash("sha256").update(`dns ${node}`).digest("hex");
  const name = `node-dns-${node}`;
  let serving:
    | { readonly server: DnsServer; readonly following: { close(): void }; readonly place: DnsPlace }
    | undefined;
  let namespace: NetworkNamespace | undefined;
  const request = (): CniRequest => ({
    containerId,
    interfaceName: "eth0",
    podNamespace: dnsNamespace,
    podName: name,
    podUid: containerId.slice(0, 32),
    portMappings: [],
    // A network of its own: a runtime's GC knows nothing of it.
    network: "fairlead-node-dns",
    ...(namespace !== undefined && { namespaceFd: namespace.fd }),
  });

  const begin = async (): Promise<void> => {
    // What an agent before this one left when it was killed.
    const left = attachments.get(containerId);
    await podNetwork.delete(request());
    if (left !== undefined) source.forget({ name, addresses: left.addresses, port: 53 });
    namespace = createNetworkNamespace();
    const { ips } = await podNetwork.add(request());
    const { server, following } = await serve(options, namespace);
    const place = { name, addresses: ips.map(({ address }) => address), port: server.ports.dns };
    serving = { server, following, place };
    if (stop.signal.aborted) return;
    source.place(place);
    await agent.synced();
    log(`DNS: this node's pods are answered here, at ${place.addresses.join(" and ")}`);
    taken.resolve();
  };
  const end = async (): Promise<void> => {
    if (serving === undefined) {
      if (namespace !== undefined) await podNetwork.delete(request()).catch(() => {});
    } else {
      serving.following.close();
      await serving.server.close("at once");
      source.forget(serving.place);
      await podNetwork.delete(request());
    }
    namespace?.close();
    namespace = undefined;
    serving = undefined;
  };
  const run = async (): Promise<void> => {
    for (let told = ""; !stop.signal.aborted;) {
      try {
        await begin();
        return;
      } catch (error) {
        source.place(undefined);
        await end().catch(() => {});
        const message = error instanceof Error ? error.message : String(error);
        const isEarly = error instanceof CniError && error.code === cniCodes.tryAgainLater;
        if (message !== told && !isEarly) log(`DNS: cannot answer on this node, the Service's pods do: ${message}`);
        told = message;
        await pause(retryMs, stop.signal);
      }
    }
  };
  const running = run();
  let ended: Promise<void> | undefined;
  const close = async (how: "lameduck" | "at once"): Promise<void> => {
    stop.abort();
    await running;
    if (serving !== undefined && how === "lameduck") {
      source.place(undefined);
      await agent.synced();
      log("DNS: handed back to the Service's pods");
      await new Promise((resolve) => void setTimeout(resolve, options.lameduckMs ?? lameduckMs));
    }
    await end();
  };
  return { taken: taken.promise, place: () => serving?.place, close: (how = "lameduck") => (ended ??= close(how)) };
}

async function serve(
  options: NodeDnsOptions,
  namespace: NetworkNamespace,
): Promise<{ readonly server: DnsServer; readonly following: { close(): void } }> {
  const { zone, domain, upstream, relay, outward, log } = options;
  const { path, text, read, list, env } = options.corefile;
  const parse = (each: string): Corefile => parseCorefile(each, { file: path, read, list, env });
  const first = text();
  const corefile = first === "" ? defaultCorefile(domain) : parse(first);
  const server = await startDnsServer({
    namespace,
    zone,
    domain,
    upstream,
    ...(relay !== undefined && { relay }),
    ...(outward !== undefined && { outward }),
    log,
    corefile,
    read,
  });
  return { server, following: followCorefile(server, { read: text, parse }, { text: first, corefile }) };
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener("abort", done);
  });
}
