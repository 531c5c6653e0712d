// `fairlead agent`: the agent of the node this machine is, against a real API server; `fairlead agent cleanup` takes away what it made.
// Flags that kube-proxy has too have its names and meanings.

import { flushCompileCache } from "node:module";
import { hostname } from "node:os";
import { dirname, join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";

import type { AgentScope } from "../agent/cluster-source.ts";
import { nodePools, type NodePool } from "../agent/node-ranges.ts";
import { cleanUpNode, startNodeProcess, type NodePlaces } from "../agent/process.ts";
import { familyOf, parseAddress } from "../ip/address.ts";
import { parsePrefix, type Prefix } from "../ip/prefix.ts";
import type { Routing } from "../model/network.ts";
import type { SocketAddress } from "../kernel/sockets.ts";
import type { HealthAddresses } from "../serve/proxy/health.ts";
import { nodePortNumbers, nodePortRanges } from "./node-ports.ts";
import { findAccess } from "../watch/cluster/kubeconfig.ts";

export interface AgentOptions {
  readonly kubeconfig?: string;
  readonly context?: string;
  readonly node?: string;
  readonly hostnameOverride?: string;
  readonly only?: "services";
  readonly clusterCidr?: string;
  readonly serviceCidr?: string;
  readonly detectLocalMode?: string;
  readonly podBridgeInterface?: string;
  readonly podInterfaceNamePrefix?: string;
  readonly nodeportAddresses?: string;
  readonly serviceNodePortRange?: string;
  readonly healthzBindAddress: string;
  readonly metricsBindAddress: string;
  readonly domain: string;
  readonly routing?: Routing;
  readonly podCidr?: string;
  readonly allocateNodeCidrs?: boolean;
  readonly nodeCidrMaskSizeIpv4: string;
  readonly nodeCidrMaskSizeIpv6: string;
  readonly dns?: "pods" | "node-local";
  readonly dnsConf?: string;
  readonly stateDir: string;
  readonly cniDir: string;
  readonly cniBinDir: string;
  readonly cniConfDir: string;
}

/** When a start is over. */
const keepCompiledAfterMs = 1000;

export default async function agent(action: string | undefined, options: AgentOptions): Promise<number> {
  switch (action) {
    case undefined:
    case "run":
      return run(options);
    case "cleanup": {
      for (const line of await cleanUpNode()) process.stdout.write(`${line}\n`);
      return 0;
    }
    default:
      throw new Error(`unknown action ${JSON.stringify(action)}: run and cleanup are known`);
  }
}

async function run(options: AgentOptions): Promise<number> {
  const node = (options.hostnameOverride ?? options.node ?? hostname()).trim().toLowerCase();
  const nodePortCidrs = nodePortRanges(options.nodeportAddresses);
  const nodePorts = nodePortNumbers(options.serviceNodePortRange);
  const scope = scopeOf(options);
  const clusterCidrs = ranges("--cluster-cidr", options.clusterCidr);
  const chosen = {
    clusterCidrs,
    serviceCidrs: ranges("--service-cidr", options.serviceCidr),
    ...(nodePortCidrs === undefined ? {} : { nodePortCidrs }),
    ...(nodePorts === undefined ? {} : { nodePorts }),
    domain: options.domain,
    ...(options.routing !== undefined && { routing: options.routing }),
    podCidrs: ranges("--pod-cidr", options.podCidr),
    ...poolsOf(options, clusterCidrs),
    ...dnsOf(options),
    health: healthAddresses(options),
    places: nodePlaces(options),
  };
  const running = await startNodeProcess({
    ...chosen,
    access: await findAccess(options),
    node,
    scope,
    log: (line) => process.stdout.write(`${new Date().toISOString()} ${line}\n`),
  });
  const ended = Promise.withResolvers<number>();
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    process.once(signal, () => {
      running.stop().then(
        () => ended.resolve(0),
        (error: unknown) => ended.reject(error as Error),
      );
    });
  }
  running.ready.then(
    // What Node compiled is there for the next start, also where this process is killed one day.
    () => void setTimeout(flushCompileCache, keepCompiledAfterMs).unref(),
    (error: unknown) => ended.reject(error as Error),
  );
  let status = 1;
  try {
    status = await ended.promise;
  } finally {
    // What is under way (watches, a request to an API server that is gone) has nothing more to say.
    setImmediate(() => process.exit(status));
  }
  return status;
}

/** Where things are on a node. */
export function nodePlaces(
  options: Pick<AgentOptions, "stateDir" | "cniDir" | "cniBinDir" | "cniConfDir">,
): NodePlaces {
  return {
    state: options.stateDir,
    show: join(dirname(options.cniDir), "show.sock"),
    cni: options.cniDir,
    plugin: {
      binaries: options.cniBinDir,
      configurations: options.cniConfDir,
      from: join(dirname(fileURLToPath(import.meta.url)), "..", "..", "bin"),
    },
  };
}

function dnsOf({ dns = "pods", dnsConf = "/etc/coredns/Corefile", only }: AgentOptions): {
  readonly dns?: { readonly corefile: string };
} {
  if (dns === "pods") return {};
  if (only !== undefined)
    throw new Error(
      "--dns node-local needs the pod network, where the server has its place: it does not go with --only services",
    );
  return { dns: { corefile: dnsConf } };
}

function poolsOf(options: AgentOptions, clusterCidrs: readonly Prefix[]): { readonly nodePools?: readonly NodePool[] } {
  if (options.allocateNodeCidrs !== true) return {};
  if (clusterCidrs.length === 0) throw new Error("--allocate-node-cidrs needs --cluster-cidr: what is to be divided");
  if (options.podCidr !== undefined)
    throw new Error("--allocate-node-cidrs does not go with --pod-cidr, which says this node's ranges already");
  if (options.only !== undefined)
    throw new Error("--allocate-node-cidrs is for the pod network: it does not go with --only services");
  const maskSize = { 4: Number(options.nodeCidrMaskSizeIpv4), 6: Number(options.nodeCidrMaskSizeIpv6) };
  return { nodePools: nodePools(clusterCidrs, maskSize) };
}

function scopeOf(options: AgentOptions): AgentScope {
  if (options.only === undefined) return { kind: "all" };
  // Without ranges nobody is known to be none of the pods, and so nobody is masqueraded at cluster addresses: kube-proxy's default as well.
  const mode = options.detectLocalMode ?? "ClusterCIDR";
  const named = (flag: string, value: string | undefined): string => {
    if (value === undefined || value === "") throw new Error(`--detect-local-mode ${mode} needs ${flag}`);
    return value;
  };
  switch (mode) {
    case "ClusterCIDR":
      if (options.detectLocalMode !== undefined && options.clusterCidr === undefined)
        throw new Error("--detect-local-mode ClusterCIDR needs --cluster-cidr");
      return { kind: "services", local: { kind: "cluster-ranges" } };
    case "NodeCIDR":
      return { kind: "services", local: { kind: "node-ranges" } };
    case "BridgeInterface":
      return {
        kind: "services",
        local: { kind: "link", name: named("--pod-bridge-interface", options.podBridgeInterface) },
      };
    case "InterfaceNamePrefix":
      return {
        kind: "services",
        local: { kind: "link", name: `${named("--pod-interface-name-prefix", options.podInterfaceNamePrefix)}*` },
      };
    default:
      throw new Error(
        `--detect-local-mode ${mode} is unknown: ClusterCIDR, NodeCIDR, BridgeInterface and InterfaceNamePrefix are known`,
      );
  }
}

/** A list with commas, one range per family at most. */
function ranges(flag: string, list: string | undefined): readonly Prefix[] {
  const texts = (list ?? "").split(",").filter((text) => text.trim() !== "");
  const found = texts.map((text) => rangeOf(flag, text));
  for (const family of [4, 6] as const) {
    if (found.filter((range) => familyOf(range) === family).length > 1)
      throw new Error(`${flag} ${list} names two ranges of IPv${family}: one of each family`);
  }
  return found;
}

function rangeOf(flag: string, text: string): Prefix {
  const range = parsePrefix(text.trim());
  if (range === undefined) throw new Error(`${flag} ${text} is no CIDR such as 10.244.0.0/16`);
  return range;
}

function healthAddresses(options: AgentOptions): HealthAddresses {
  return {
    health: bindAddress("--healthz-bind-address", options.healthzBindAddress, 10_256),
    metrics: bindAddress("--metrics-bind-address", options.metricsBindAddress, 10_249),
  };
}

/** `127.0.0.1:10249`, `[::1]:10249`, an address without port; `0.0.0.0` and `::` are everywhere, the empty text is nowhere. */
function bindAddress(flag: string, text: string, portDefault: number): SocketAddress | undefined {
  if (text === "" || text === "0") return undefined;
  const bracketed = /^\[([^\]]+)\](?::(\d+))?$/.exec(text);
  const plain = /^([^:]+)(?::(\d+))?$/.exec(text);
  const [, host = text, portText] = bracketed ?? plain ?? [];
  const address = parseAddress(host);
  const port = Number(portText ?? portDefault);
  if (address === undefined || !(port >= 1 && port <= 65_535))
    throw new Error(`${flag} ${text} is no address such as 127.0.0.1:${portDefault} or [::1]:${portDefault}`);
  return address === "0.0.0.0" || address === "::" ? { port } : { address, port };
}
