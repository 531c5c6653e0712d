// The agent of a real node: an API server's objects in, the node's kernel out; and what goes with it: one agent a node, kernel features,
// hand-over from a kube-proxy, the CNI plugin's other end, and what the cluster is told.
//
// Invariants: nothing is written before everything is known; ending leaves the kernel as it is.
// Not here: the command line (cli/agent.ts), what a node is made of (node.ts).

import { globSync, rmdirSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { performance } from "node:perf_hooks";
import process from "node:process";

import { removeEverything } from "../apply/reconcile.ts";
import { ownLinkName } from "../apply/links.ts";
import { formatReport, isWholeTable } from "../apply/report.ts";
import { loopbackSysctl } from "../program/sysctls.ts";
import type { Prefix } from "../ip/prefix.ts";
import type { NetworkKernel } from "../kernel/kernel.ts";
import { openKernel } from "../kernel/linux.ts";
import { currentNetworkNamespace, type NetworkNamespace } from "../kernel/namespaces.ts";
import { probe, type Feature } from "../kernel/probe.ts";
import type { Network, Routing } from "../model/network.ts";
import type { NetworkSource } from "../model/source.ts";
import type { Zone } from "../program/zone.ts";
import { formatCniEvent, startCniServer } from "../serve/cni/server.ts";
import type { HealthAddresses } from "../serve/proxy/health.ts";
import { createProgrammingRecord } from "../serve/proxy/policy-metrics.ts";
import { openCluster, type ClusterClient } from "../watch/cluster/client.ts";
import type { ClusterAccess } from "../watch/cluster/kubeconfig.ts";
import type { AgentEvent } from "./agent.ts";
import { startClusterSource, type AgentScope, type ClusterSource } from "./cluster-source.ts";
import { installExecutables, removeCniFiles, rivals, writeConfiguration, type CniPlaces } from "./cni-files.ts";
import { conntrackEvent } from "./conntrack-use.ts";
import { readText } from "./files.ts";
import { forwardDrops } from "./firewall.ts";
import { hasKubeProxy, removeKubeProxy } from "./kube-proxy.ts";
import { startLoadBalancers, type LoadBalancers } from "./load-balancers.ts";
import { takeAgentLock } from "./lock.ts";
import { collectBetween, settleMemory } from "./memory.ts";
import { watchMachine, type MachineFacts } from "./machine.ts";
import { clearNetworkUnavailable, createNodeEvents, eventsOf, type NodeEvents } from "./node-events.ts";
import { startShowServer } from "./show-server.ts";
import type { ShownNode } from "./show.ts";
import { changesText, networkProgrammingText, processText, watchMetricsText } from "./watch-metrics.ts";
import { startPolicyReports, type PolicyReports } from "./policy-reports.ts";
import { noteOnNode, type NodeNotes } from "./node-notes.ts";
import { claimNodeRanges, type NodePool } from "./node-ranges.ts";
import { createNodeDnsSource, withDnsAddresses, type NodeDnsSource } from "./node-dns-source.ts";
import type { NodeDns } from "./node-dns.ts";
import { isToStay, startNode, type NodeNetwork } from "./node.ts";

export interface ProcessOptions {
  readonly access: ClusterAccess;
  /** The Node object's name. */
  readonly node: string;
  readonly scope: AgentScope;
  readonly clusterCidrs: readonly Prefix[];
  readonly serviceCidrs: readonly Prefix[];
  readonly nodePortCidrs?: readonly Prefix[];
  /** Where kube-apiserver has node ports, if it was told. */
  readonly nodePorts?: { readonly first: number; readonly last: number };
  readonly domain: string;
  /** How this node reaches other nodes' pods; what its Node object says where absent. */
  readonly routing?: Routing;
  /** The node's pod ranges where its Node object has none. */
  readonly podCidrs?: readonly Prefix[];
  /** Out of these the node takes its pods' ranges, where its Node object has none and none are given. */
  readonly nodePools?: readonly NodePool[];
  /** This node answers its pods' questions for names itself, by that Corefile; the DNS Service's pods do where absent. */
  readonly dns?: { readonly corefile: string };
  readonly health: HealthAddresses;
  readonly places: NodePlaces;
  /** A line each, without time. */
  readonly log: (line: string) => void;
}

/** Where an agent keeps and puts things on its node. */
export interface NodePlaces {
  /** What must outlive the process: `/var/lib/fairlead`. */
  readonly state: string;
  /** Where `fairlead show --here` finds the agent: `/run/fairlead/show.sock`. */
  readonly show: string;
  /** Where the CNI plugin finds the agent: `/run/fairlead/cni`. */
  readonly cni: string;
  readonly plugin: CniPlaces;
}

export interface NodeProcess {
  /** Resolves when the kernel holds for the first time what the cluster says. */
  readonly ready: Promise<void>;
  /** Ends the agent; the kernel keeps what it has. */
  stop(): Promise<void>;
}

/** What each scope needs of a kernel. Lowest: Linux 5.15. */
export const featuresOf: Readonly<Record<AgentScope["kind"], readonly Feature[]>> = {
  services: ["connection tracking", "nf_tables", "nf_tables nat", "nf_tables fib", "nf_tables numgen"],
  all: [
    "veth",
    "bridge",
    "vxlan",
    "connection tracking",
    "nf_tables",
    "nf_tables nat",
    "nf_tables fib",
    "nf_tables numgen",
  ],
};

/** Said where only Services are asked for: nobody should believe in policies that are stored and stop nothing. */
const policiesAreOthers =
  "NetworkPolicies and ClusterNetworkPolicies are NOT enforced by Fairlead on this node (Services only): unless the pod network does it, every packet they would stop passes";

/** A kernel that lacks something. */
export class MissingFeature extends Error {
  override readonly name = "MissingFeature";
}

/** How often it is looked whether a kube-proxy has come back, and whether it has gone again. */
const kubeProxyIntervalMs = 60_000;
const kubeProxyThereMs = 600_000;
const retryMs = 10_000;
const firewallIntervalMs = 300_000;
const waitingIntervalMs = 30_000;

/** Starts the agent of this machine's node. Rejects with LockedError and MissingFeature before anything is written. */
export async function startNodeProcess(options: ProcessOptions): Promise<NodeProcess> {
  const { access, node, scope, places, log } = options;
  const lock = await takeAgentLock();
  try {
    requireFeatures(scope);
  } catch (error) {
    lock.close();
    throw error;
  }
  const namespace = currentNetworkNamespace();
  const kernel = openKernel(node, namespace);
  let sayNotes = (): void => {};
  let policies: NodeNotes["policies"];
  let podCidrs = options.podCidrs ?? [];
  const machine = watchMachine(kernel, {
    isOurs: ownLinkName,
    changed() {
      source.machineChanged();
      sayNotes();
    },
  });
  const client = openCluster(access);
  const source: ClusterSource = startClusterSource({ ...options, client, machine });
  const events = createNodeEvents({ client, name: node, node: source.node, log });
  const timers = new Set<NodeJS.Timeout>();
  const later = (delayMs: number, call: () => void): void => {
    const timer = setTimeout(() => {
      timers.delete(timer);
      call();
    }, delayMs);
    timers.add(timer);
  };
  const arrivals = createProgrammingRecord();
  const ownDns = options.dns && createNodeDnsSource({ node, source, kernel });
  let dns: NodeDns | undefined;
  let network: NodeNetwork | undefined;
  let shower: { close(): void } | undefined;
  let plugin: { close(): Promise<void> } | undefined;
  let reports: PolicyReports | undefined;
  let balancers: LoadBalancers | undefined;
  let stopped = false;

  const run = async (): Promise<void> => {
    let isSynced = false;
    const tellWaiting = (): void => {
      if (isSynced) return;
      const missing = [...source.status()].flatMap(([kind, { synced, trouble }]) =>
        synced ? [] : [`${kind} (${trouble ?? "no answer yet"})`],
      );
      log(`nothing is written before everything is known; still missing: ${missing.join(", ")}`);
      later(waitingIntervalMs, tellWaiting);
    };
    later(waitingIntervalMs, tellWaiting);
    await source.synced;
    isSynced = true;
    await nodeIsKnown(source, node, log);
    if (stopped) return;
    const known = { at: performance.now(), processorMs: processorMs() };
    if (source.current().cluster.serviceCidrs.length === 0)
      log(
        "the API server has no ServiceCIDR objects (before Kubernetes 1.33): give --service-cidr, or clients from outside of the cluster get no answer at cluster addresses",
      );
    // Objects and Network are read; the Program is what comes now.
    collectBetween();
    if (scope.kind === "services") {
      log(policiesAreOthers);
      events.tell({ type: "Warning", reason: "PoliciesNotEnforced", message: policiesAreOthers });
    }
    network = startNode({
      node,
      kernel,
      source: ownDns ?? source,
      ...(ownDns !== undefined && { answers: ownDns.answers }),
      podCidrs: () => source.current().nodes.find(({ name }) => name === node)?.podCidrs ?? [],
      ...(scope.kind === "all" ? { attachmentsFile: join(places.state, "attachments.json") } : {}),
      health: {
        namespace,
        isEligible: () => isToStay(source.node()),
        addresses: options.health,
        moreMetrics: () =>
          [
            networkProgrammingText(arrivals),
            changesText(source.changes()),
            processText(),
            watchMetricsText(source.status(), performance.now()),
            balancers?.metrics() ?? "",
          ].join(""),
        report: log,
        warn(message) {
          log(message);
          events.tell(conntrackEvent(message));
        },
      },
      ...(scope.kind === "all" && {
        policyFlows: { namespace, told: ({ text }: { readonly text: string }) => log(text), report: log },
      }),
      report(event) {
        for (const triggeredAt of source.takeTriggers()) arrivals.programmed(Math.max(0, Date.now() - triggeredAt));
        tell(event, log, events);
        if (scope.kind !== "all" || event.kind !== "reconciled") return;
        const now = event.report.failures.some(isWholeTable) ? "failing" : "in-force";
        if (now === policies) return;
        policies = now;
        sayNotes();
      },
    });
    try {
      shower = await startShowServer(places.show, () => ({
        ...shownNode(node, kernel, ownDns ?? source, network),
        servicesOnly: scope.kind === "services",
        announced: balancers?.announced() ?? [],
      }));
    } catch (error) {
      log(`answer fairlead show --here at ${places.show}: ${error instanceof Error ? error.message : String(error)}`);
    }
    const first = await network.agent.synced();
    const sinceKnown = `${(performance.now() - known.at).toFixed(0)} ms after all objects were known`;
    const sinceStart = `${performance.now().toFixed(0)} ms after the start`;
    const processor = `of the processor's time ${(processorMs() - known.processorMs).toFixed(0)} and ${processorMs().toFixed(0)} ms`;
    log(`programmed ${first.made.length} changes ${sinceKnown}, ${sinceStart}; ${processor}`);
    // The kernel has it all, and nobody has been told yet that this agent is ready: nothing that comes later waits for it.
    settleMemory({ roomBytes: 20e6 });
    if (first.failures.some(isWholeTable))
      log("a table could not be written: what another proxy left stays until it can");
    else handOver(kernel, { log, events });
    lookForKubeProxy(kernel, { log, events, later });
    lookForFirewalls(kernel, scope.kind, { log, events, later });
    const noteChanged = (): void => sayNotes();
    const place = { client, node, scope: scope.kind, source, machine, namespace, kernel, noteChanged, log };
    balancers = startLoadBalancers(place);
    const layer2 = balancers.note;
    // Only now: whoever reads it may send packets as they are, and they are taken.
    const notes = (): Omit<NodeNotes, "routing"> => ({ podCidrs, policies, layer2: layer2() });
    sayNotes = noteOnChange(options, { client, source, machine, later, notes });
    sayNotes();
    takeRanges(options, { client, source, later }, (taken) => {
      podCidrs = taken;
      sayNotes();
    });
    if (scope.kind === "all") reports = startPolicyReports({ client, node, source, log });
    if (scope.kind === "all") plugin = await openToPods(options, { client, source, network, events, later });
    if (ownDns !== undefined && options.dns !== undefined) {
      dns = await answerDns(options.dns.corefile, { options, source, ownDns, network, namespace });
      if (stopped) await dns.close();
    }
  };
  const ready = run();
  return {
    ready,
    async stop() {
      stopped = true;
      for (const timer of timers) clearTimeout(timer);
      shower?.close();
      // While everything else still works: the Service's pods take over before this server goes.
      await dns?.close();
      ownDns?.close();
      await balancers?.close();
      await reports?.close();
      await plugin?.close();
      network?.closeHealth();
      await network?.agent.stop();
      source.close();
      machine.close();
      client.close();
      kernel.close();
      lock.close();
    },
  };
}

/** The node's own DNS server, with the node's files: a ConfigMap is mounted where the Corefile is. Loaded by agents that have one. */
async function answerDns(
  corefile: string,
  parts: {
    readonly options: ProcessOptions;
    readonly source: ClusterSource;
    readonly ownDns: NodeDnsSource;
    readonly network: NodeNetwork;
    readonly namespace: NetworkNamespace;
  },
): Promise<NodeDns> {
  const [{ startNodeDns }, { compileZone }] = await Promise.all([
    import("./node-dns.ts"),
    import("../program/zone.ts"),
  ]);
  const { options, source, ownDns, network, namespace } = parts;
  const { node, domain, log } = options;
  let made: { readonly from: Network; readonly zone: Zone } | undefined;
  return startNodeDns({
    node,
    source: ownDns,
    network,
    domain,
    upstream: undefined,
    // The node's own resolvers may be on its loopback.
    outward: namespace,
    zone() {
      const from = source.current();
      if (made?.from !== from) made = { from, zone: compileZone(withDnsAddresses(from), { previous: made?.zone }) };
      return made.zone;
    },
    corefile: {
      path: corefile,
      text: () => readText(corefile) ?? "",
      read: readText,
      list: (pattern) => globSync(pattern).toSorted(),
      env: process.env,
    },
    log: (line) => log(line),
  });
}

/** Removes all that is ours from this machine's kernel; what was there, in words. Rejects with LockedError while an agent runs. */
export async function cleanUpNode(): Promise<readonly string[]> {
  const lock = await takeAgentLock();
  const kernel = openKernel("this node", currentNetworkNamespace());
  try {
    const report = removeEverything(kernel);
    const [failure] = report.failures;
    if (failure !== undefined) throw failure.error;
    const isOpen = report.made.length > 0 && kernel.readSysctl(loopbackSysctl) === "1";
    return [...report.made.map(({ text }) => text), ...(isOpen ? [openLoopback] : [])];
  } finally {
    kernel.close();
    lock.close();
  }
}

/** Whose setting it is nobody knows by now, but our guard has gone with our tables. */
const openLoopback =
  `${loopbackSysctl} is 1, as node ports at 127.0.0.1 need it, and nothing of ours keeps others from this node's loopback any more: ` +
  "sysctl -w net.ipv4.conf.all.route_localnet=0, unless another program wants it";

/** As cleanUpNode, and the plugin, its configuration and our state with it. */
export async function uninstallNode(places: NodePlaces): Promise<readonly string[]> {
  // First the configuration: no pod is started into a network that is going.
  const files = removeCniFiles(places.plugin);
  const done = await cleanUpNode();
  // With what a killed agent had only begun.
  for (const name of ["attachments.json", "attachments.json.new"]) rmSync(join(places.state, name), { force: true });
  rmSync(places.show, { force: true });
  rmSync(places.cni, { recursive: true, force: true });
  for (const folder of [places.state, dirname(places.show), dirname(places.cni)]) removeIfEmpty(folder);
  return [...files.map((file) => `delete ${file}`), ...done];
}

function removeIfEmpty(folder: string): void {
  try {
    rmdirSync(folder);
  } catch {
    // Missing, or somebody else's too.
  }
}

function requireFeatures(scope: AgentScope): void {
  for (const feature of featuresOf[scope.kind]) {
    const answer = probe(feature);
    if (!answer.available)
      throw new MissingFeature(`start the agent: this kernel has no ${feature}: ${answer.reason} (docs/agent.md)`);
  }
}

/** What this process took of the processors so far, kernel included. */
function processorMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

function shownNode(
  name: string,
  kernel: NetworkKernel,
  source: NetworkSource,
  node: NodeNetwork | undefined,
): Omit<ShownNode, "announced" | "servicesOnly"> {
  if (node === undefined) throw new Error("the agent does not know the cluster yet");
  const { agent, attachments } = node;
  const network = source.current();
  return {
    name,
    network,
    kernel,
    attachments,
    program: agent.program(),
    ipam: node.ipam(),
    drift: agent.drift(),
  };
}

/** Resolves when the Node object has been seen once. */
async function nodeIsKnown(source: ClusterSource, node: string, log: (line: string) => void): Promise<void> {
  if (source.node() !== undefined) return;
  log(`node ${node} is no object of the cluster yet: waiting for it (kubelet makes it; is --node right?)`);
  await new Promise<void>((resolve) => {
    const subscription = source.subscribe(() => {
      if (source.node() === undefined) return;
      subscription.close();
      resolve();
    });
  });
}

function tell(event: AgentEvent, log: (line: string) => void, events: NodeEvents): void {
  switch (event.kind) {
    case "reconciled": {
      const { report } = event;
      for (const line of formatReport(report).split("\n")) log(`${line} (${event.tookMs.toFixed(1)} ms)`);
      break;
    }
    case "compile-failed":
      log(`compile failed, the last program stays: ${String(event.error)}`);
      break;
  }
  for (const each of eventsOf(event)) events.tell(each);
}

/** Says on the Node what the command line said, whether policies are in force and load balancers announced, again and again until it stands there. */
function noteOnChange(
  { routing, log }: ProcessOptions,
  parts: {
    readonly client: ClusterClient;
    readonly source: ClusterSource;
    readonly machine: MachineFacts;
    readonly later: Aids["later"];
    readonly notes: () => Omit<NodeNotes, "routing">;
  },
): () => void {
  const { client, source, machine, later, notes } = parts;
  const say = (): void => {
    const node = source.node();
    if (node === undefined) return;
    const own = (node.status?.addresses ?? []).flatMap(({ type, address }) => (type === "InternalIP" ? [address] : []));
    const way = routing && { mode: routing, subnets: machine.subnetsOf(own) };
    noteOnNode(client, node, { routing: way, ...notes() }).then(
      (words) => void (words !== "" && log(`said on the Node: ${words}`)),
      (error: unknown) => {
        log(
          `say on the Node what others act upon (routing, pod ranges, policies, layer 2): ${String(error)}; tried again`,
        );
        later(retryMs, say);
      },
    );
  };
  // A Node that is made anew says nothing of its agent.
  let uid = source.node()?.metadata.uid;
  source.subscribe(() => {
    const today = source.node()?.metadata.uid;
    if (today === uid) return;
    uid = today;
    say();
  });
  return say;
}

/** Takes the node's part of the pools where the cluster gives it none, trying until it is there. */
function takeRanges(
  { node, nodePools: pools, log }: ProcessOptions,
  parts: { readonly client: ClusterClient; readonly source: ClusterSource; readonly later: Aids["later"] },
  taken: (ranges: readonly Prefix[]) => void,
): void {
  if (pools === undefined) return;
  const { client, source, later } = parts;
  const othersRanges = (): readonly Prefix[] =>
    source.current().nodes.flatMap(({ name, podCidrs }) => (name === node ? [] : podCidrs));
  const take = (): void => {
    if ((source.node()?.spec?.podCIDRs ?? []).length > 0) return;
    claimNodeRanges({ client, node, pools, othersRanges }).then(taken, (error: unknown) => {
      log(`${error instanceof Error ? error.message : String(error)}; tried again`);
      later(retryMs, take);
    });
  };
  take();
}

interface Aids {
  readonly log: (line: string) => void;
  readonly events: NodeEvents;
  readonly later: (delayMs: number, call: () => void) => void;
}

/** Takes a kube-proxy's place; ours stands already, so that no connection is without a translation for a moment. */
function handOver(kernel: NetworkKernel, { log, events }: Omit<Aids, "later">): void {
  const { removed, left } = removeKubeProxy(kernel);
  for (const line of left) log(`of a kube-proxy there is left: ${line}`);
  if (removed.length === 0) return;
  log(`took over from kube-proxy: removed ${removed.join(", ")}`);
  events.tell({ type: "Normal", reason: "TookOverFromKubeProxy", message: `removed ${removed.join(", ")}` });
}

/**
 * Tells of a kube-proxy that writes its tables beside ours, whenever it comes. They stay: it may be there to take over, and would have none
 * when this agent goes.
 */
function lookForKubeProxy(kernel: NetworkKernel, { log, events, later }: Aids): void {
  let isThere = false;
  const look = (): void => {
    const was = isThere;
    isThere = hasKubeProxy(kernel);
    if (isThere && !was) {
      const message =
        "kube-proxy has written its tables beside ours, and the first one to see a connection translates it: stop one of the two (an agent that starts removes what a kube-proxy left)";
      log(message);
      events.tell({ type: "Warning", reason: "KubeProxyRuns", message });
    }
    if (was && !isThere) log("kube-proxy's tables are gone");
    // Its tables are read whole, and may be large.
    later(isThere ? kubeProxyThereMs : kubeProxyIntervalMs, look);
  };
  later(kubeProxyIntervalMs, look);
}

/** Docker and others come after us, too: looked at from time to time, told when it is another thing than the last time. */
function lookForFirewalls(kernel: NetworkKernel, scope: AgentScope["kind"], aids: Aids): void {
  let told = "";
  const look = (): void => {
    const lines = forwardDrops(kernel, scope);
    if (lines.join("\n") !== told)
      for (const line of lines) {
        aids.log(line);
        aids.events.tell({ type: "Warning", reason: "ForwardDropped", message: line });
      }
    told = lines.join("\n");
    aids.later(firewallIntervalMs, look);
  };
  look();
}

/** Lets pods come: the plugin's other end, then the plugin, then its configuration, then the node's condition. */
async function openToPods(
  { places, node, log }: ProcessOptions,
  parts: {
    readonly client: ClusterClient;
    readonly source: ClusterSource;
    readonly network: NodeNetwork;
    readonly events: NodeEvents;
    readonly later: Aids["later"];
  },
): Promise<{ close(): Promise<void> }> {
  const { client, source, network, later } = parts;
  const server = await startCniServer({
    network: network.podNetwork,
    directory: places.cni,
    report: (event) => log(formatCniEvent(event)),
  });
  let subscription: { close(): void } | undefined;
  const open = (): void => {
    if (network.ipam() === undefined) {
      log(`node ${node} has no pod ranges yet (Node spec.podCIDRs): waiting for the node controller`);
      subscription = source.subscribe(() => {
        if (network.ipam() === undefined) return;
        subscription?.close();
        open();
      });
      return;
    }
    if (installExecutables(places.plugin, places.cni)) log(`put fairlead-cni into ${places.plugin.binaries}`);
    if (writeConfiguration(places.plugin)) log(`wrote a network configuration into ${places.plugin.configurations}`);
    const before = rivals(places.plugin);
    if (before.length > 0)
      log(
        `${places.plugin.configurations} holds ${before.join(", ")}, which runtimes take before ours: remove what is not in use`,
      );
    let isAsking = false;
    const clear = (): void => {
      const object = source.node();
      if (object === undefined || isAsking) return;
      isAsking = true;
      clearNetworkUnavailable(client, object)
        .then(
          (result) => void (result === "written" && log(`node ${node}: NetworkUnavailable is False`)),
          (error: unknown) => {
            log(`clear NetworkUnavailable of node ${node}: ${error instanceof Error ? error.message : String(error)}`);
            later(retryMs, clear);
          },
        )
        .finally(() => (isAsking = false));
    };
    clear();
    // A cloud's node controller, or a node made anew, sets it again.
    subscription = source.subscribe(() => {
      const condition = source.node()?.status?.conditions?.find(({ type }) => type === "NetworkUnavailable");
      if (condition?.status === "True") clear();
    });
  };
  open();
  return {
    async close() {
      subscription?.close();
      await server.close();
    },
  };
}
