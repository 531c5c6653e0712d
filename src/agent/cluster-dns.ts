// Cluster DNS as a Deployment of a real cluster: the server of serve/dns, its zone kept current by watches of the API server.
// Only what the Corefile's kubernetes plugin shows is watched: pods only where they have names (`pods verified`) or search lists (autopath).
//
// How it ends: on `close` it goes on answering for as long as `health { lameduck }` says, while others take over.
// Not here: how watches are kept going (watch/cluster/informer.ts), what an answer is (serve/dns).

import { isDeepStrictEqual } from "node:util";

import type { Address } from "../ip/address.ts";
import type { Service } from "../kube/kinds.ts";
import type { KubeObject } from "../kube/object.ts";
import type { NetworkNamespace } from "../kernel/namespaces.ts";
import type { ClusterObjects, ObjectChanges } from "../model/build.ts";
import { defaultNodePorts } from "../model/cluster.ts";
import type { ClusterConfig } from "../model/network.ts";
import { compileZone, type Zone } from "../program/zone.ts";
import { followCorefile } from "../serve/dns/corefile-file.ts";
import { parseCorefile, type Corefile } from "../serve/dns/corefile.ts";
import type { ApiServer } from "../serve/dns/corefile-plugins.ts";
import { defaultCorefile, startDnsServer, type DnsServer, type DnsServerOptions } from "../serve/dns/server.ts";
import type { ClusterClient, ResourceVersioned } from "../watch/cluster/client.ts";
import { findAccess, readKubeconfig, type ClusterAccess } from "../watch/cluster/kubeconfig.ts";
import { startInformer, type Informer } from "../watch/cluster/informer.ts";
import { createChangeLog } from "./change-log.ts";
import { dnsObject } from "./dns-objects.ts";
import { createObjectsSource } from "./network-source.ts";

export interface ClusterDnsOptions {
  /** Opens the way to the API server that the Corefile names (undefined: it names none), once the Corefile shows a cluster. */
  readonly connect: (named: ApiServer | undefined) => Promise<ClusterClient>;
  /** Where the server listens. */
  readonly namespace: NetworkNamespace;
  /** The Corefile's path, for messages and for what it imports. */
  readonly corefile: string;
  /** A file's text; undefined where there is none. */
  readonly read: (path: string) => string | undefined;
  /** Paths that a pattern of the Corefile's `import` means. */
  readonly list: (pattern: string) => readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Takes the log, a line at a time. */
  readonly log: (line: string) => void;
  /** Takes lines of the query log (serve/dns/server.ts). */
  readonly logLines?: NonNullable<DnsServerOptions["logLines"]>;
  /** In place of the Corefile's ports. */
  readonly ports?: DnsServerOptions["ports"];
  /** Threads that answer; 1 where absent. */
  readonly workers?: number;
  /** Called when all objects have been read and the zone is made, before the first answer: only the start waits for what it does. */
  readonly settle?: () => void;
}

export interface ClusterDns {
  readonly ports: DnsServer["ports"];
  /** Resolves when the zone is known: until then names of the cluster are SERVFAIL and `/ready` says 503. */
  readonly synced: Promise<void>;
  /** Goes on answering through the lameduck time, then ends. */
  close(): Promise<void>;
}

const kubeDns = "kube-system/kube-dns";

/** Starts serving. Rejects with CorefileError, what `connect` rejects with, or the KernelError of a port that is taken. */
export async function startClusterDns(options: ClusterDnsOptions): Promise<ClusterDns> {
  const { namespace, corefile: path, read, list, env, log } = options;
  let named: ApiServer | undefined;
  const parse = (text: string): Corefile => {
    const parsed = parseCorefile(text, { file: path, read, list, env });
    if (!showsCluster(parsed)) return parsed;
    const wanted = apiServerOf(parsed, path);
    if (connected && !isDeepStrictEqual(wanted, named))
      throw new Error(`${path}: it names another API server than before: the server must be started anew for that`);
    named = wanted;
    return parsed;
  };
  let connected = false;
  const connect = async (): Promise<ClusterClient> => {
    const client = await options.connect(named);
    connected = true;
    return client;
  };
  const textNow = (): string => read(path) ?? "";
  const text = textNow();
  const corefile = text === "" ? defaultCorefile("cluster.local") : parse(text);
  if (text === "") log(`[INFO] there is no ${path}: the defaults hold`);

  const domain = domainOf(corefile);
  const objects = followObjects({
    connect,
    domain,
    log: (line) => log(`[INFO] plugin/kubernetes: ${line}`),
    settle: options.settle ?? (() => {}),
  });
  try {
    await objects.watch(corefile);
    const server = await startDnsServer({
      namespace,
      zone: objects.zone,
      upstream: undefined,
      domain,
      log,
      ...(options.logLines !== undefined && { logLines: options.logLines }),
      corefile,
      read,
      ...(options.ports !== undefined && { ports: options.ports }),
      ...(options.workers !== undefined && { workers: options.workers }),
      subscribe: objects.subscribe,
    });
    const following = followCorefile(
      server,
      { read: textNow, parse, prepare: (next) => objects.watch(next).then(() => objects.synced()) },
      { text, corefile },
    );
    // The first question finds the zone made.
    const synced = objects.synced().then(() => void objects.zone());
    const end = async (): Promise<void> => {
      following.close();
      await server.close("lameduck");
      objects.close();
    };
    let ended: Promise<void> | undefined;
    return {
      get ports() {
        return server.ports;
      },
      synced,
      close: () => (ended ??= end()),
    };
  } catch (error) {
    objects.close();
    throw error;
  }
}

/** The first of the kubernetes plugin's zones that is no reverse zone. */
function domainOf({ servers }: Corefile): string {
  const zones = servers.flatMap(({ kubernetes }) => kubernetes?.zones ?? []);
  return zones.find((zone) => !zone.endsWith(".arpa")) ?? "cluster.local";
}

/** One that only forwards, as in front of each node's pods, needs no API server. */
function showsCluster({ servers }: Corefile): boolean {
  return servers.some(({ kubernetes }) => kubernetes !== undefined);
}

/** The one API server of a Corefile. Throws where its blocks name several: one process reads one cluster. */
function apiServerOf({ servers }: Corefile, path: string): ApiServer | undefined {
  const named = servers.flatMap(({ kubernetes }) => (kubernetes === undefined ? [] : [kubernetes.apiServer]));
  if (named.some((each) => !isDeepStrictEqual(each, named[0])))
    throw new Error(`${path}: its server blocks name different API servers: run one server for each cluster`);
  return named[0];
}

/**
 * The access that a Corefile's `kubeconfig`, or `endpoint` with `tls`, stands for; the command line's, $KUBECONFIG's or the pod's own where
 * it names none. Throws KubeconfigError.
 */
export async function accessOf(
  named: ApiServer | undefined,
  otherwise: { readonly kubeconfig?: string; readonly context?: string },
): Promise<ClusterAccess> {
  switch (named?.kind) {
    case undefined:
      return findAccess(otherwise);
    case "kubeconfig":
      return readKubeconfig(named.file, named.context);
    case "endpoint": {
      const { url, tls } = named;
      return {
        server: url.replace(/\/+$/, ""),
        ...(tls === undefined ? {} : { authority: { file: tls.authority } }),
        insecure: false,
        user:
          tls === undefined
            ? { kind: "nobody" }
            : { kind: "certificate", certificate: { file: tls.certificate }, key: { file: tls.key } },
        namespace: "default",
        from: "the Corefile's endpoint",
      };
    }
  }
}

type Kind = "namespaces" | "services" | "endpointSlices" | "pods";

const resources: { readonly [kind in Kind]: ResourceVersioned } = {
  namespaces: { group: "", version: "v1", resource: "namespaces" },
  services: { group: "", version: "v1", resource: "services" },
  endpointSlices: { group: "discovery.k8s.io", version: "v1", resource: "endpointslices" },
  pods: { group: "", version: "v1", resource: "pods" },
};

function kindsFor({ servers }: Corefile): readonly Kind[] {
  const shown = servers.filter(({ kubernetes }) => kubernetes !== undefined);
  if (shown.length === 0) return [];
  const needsPods = shown.some(({ kubernetes, autopath }) => kubernetes?.pods === "verified" || autopath !== undefined);
  return ["namespaces", "services", "endpointSlices", ...(needsPods ? (["pods"] as const) : [])];
}

interface FollowedObjects {
  /** Begins to watch what this Corefile needs besides what is watched already; the first that needs anything opens the way there. */
  watch(corefile: Corefile): Promise<void>;
  /** Resolves when everything that is watched is known. */
  synced(): Promise<void>;
  /** Today's zone; undefined until everything was known once. */
  zone(): Zone | undefined;
  /** Calls back soon after each change. */
  readonly subscribe: (listener: () => void) => { close(): void };
  close(): void;
}

function followObjects(parts: {
  readonly connect: () => Promise<ClusterClient>;
  readonly domain: string;
  readonly log: (line: string) => void;
  readonly settle: () => void;
}): FollowedObjects {
  const informers = new Map<Kind, Informer<KubeObject>>();
  const lists = new Map<Kind, readonly KubeObject[]>();
  const services = createChangeLog();
  const endpointSlices = createChangeLog();
  let isSynced = false;
  let client: Promise<ClusterClient> | undefined;
  let isClosed = false;
  let cluster: ClusterConfig | undefined;
  let made: { readonly network: ReturnType<typeof source.current>; readonly zone: Zone } | undefined;

  const all = (kind: Kind): readonly KubeObject[] => {
    let known = lists.get(kind);
    if (known === undefined) lists.set(kind, (known = [...(informers.get(kind)?.objects.values() ?? [])]));
    return known;
  };
  const source = createObjectsSource({
    cluster() {
      const service = informers.get("services")?.objects.get(kubeDns) as Service | undefined;
      const addresses = addressesOf(service);
      if (cluster === undefined || cluster.dnsAddresses.join() !== addresses.join())
        cluster = configOf(parts.domain, addresses);
      return cluster;
    },
    objects: () =>
      ({
        nodes: [],
        namespaces: all("namespaces"),
        pods: all("pods"),
        // Lists of ten thousands: made where they are asked for.
        get services() {
          return all("services");
        },
        get endpointSlices() {
          return all("endpointSlices");
        },
        networkPolicies: [],
        clusterNetworkPolicies: [],
      }) as unknown as ClusterObjects,
    takeChanges: () =>
      ({ services: services.take(), endpointSlices: endpointSlices.take() }) as unknown as ObjectChanges,
  });
  const zone = (): Zone | undefined => {
    if (!isSynced) return undefined;
    const network = source.current();
    if (made?.network !== network) made = { network, zone: compileZone(network, { previous: made?.zone }) };
    return made.zone;
  };
  const synced = async (): Promise<void> => {
    await Promise.all([...informers.values()].map((informer) => informer.synced));
    if (isSynced) return;
    isSynced = true;
    zone();
    parts.settle();
  };
  /** One way for all, whoever asks meanwhile; where it cannot be opened, the next who asks tries again. */
  const opened = async (): Promise<ClusterClient> => {
    const opening = (client ??= parts.connect());
    try {
      return await opening;
    } catch (error) {
      if (client === opening) client = undefined;
      throw error;
    }
  };
  return {
    async watch(corefile) {
      for (const kind of kindsFor(corefile)) {
        const client = await opened();
        if (isClosed) return;
        if (informers.has(kind)) continue;
        informers.set(
          kind,
          startInformer<KubeObject>({
            client,
            resource: resources[kind],
            keep: dnsObject,
            log: parts.log,
            changed(changes) {
              lists.delete(kind);
              if (kind === "services") services.note(changes);
              if (kind === "endpointSlices") endpointSlices.note(changes);
              source.changed();
            },
          }),
        );
      }
    },
    synced,
    subscribe: source.subscribe,
    zone,
    close() {
      isClosed = true;
      for (const informer of informers.values()) informer.close();
      client?.then(
        (known) => known.close(),
        () => undefined,
      );
      source.close();
    },
  };
}

function addressesOf(service: Service | undefined): readonly Address[] {
  const { clusterIPs, clusterIP } = service?.spec ?? {};
  const addresses = clusterIPs ?? (clusterIP === undefined ? [] : [clusterIP]);
  return addresses.filter((address) => address !== "" && address !== "None");
}

/** What names need to know of the cluster. Ranges are not known here: reverse names are the cluster's where something has the address. */
function configOf(domain: string, dnsAddresses: readonly Address[]): ClusterConfig {
  return {
    domain,
    families: [4, 6],
    podCidrs: [],
    serviceCidrs: [],
    nodeCidrs: [],
    dnsAddresses,
    overlay: "vxlan",
    underlayMtu: 1500,
    nodePorts: defaultNodePorts,
  };
}
