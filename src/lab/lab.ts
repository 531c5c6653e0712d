// One lab, wired: store → controllers → Network → agents → kernels, and kubelets that make the pods. This file only connects parts.
//
// Not here: the process around it (daemon.ts), the door to it (control.ts).

import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { Agent, AgentEvent } from "../agent/agent.ts";
import { openAttachments, type AttachmentStore } from "../agent/attachments.ts";
import type { PodNetwork } from "../serve/cni/cni.ts";
import { conntrackEvent } from "../agent/conntrack-use.ts";
import type { Ipam } from "../agent/ipam.ts";
import { createNodeDnsSource, withDnsPods } from "../agent/node-dns-source.ts";
import type { NodeDns } from "../agent/node-dns.ts";
import { driftEvents } from "../agent/node-events.ts";
import { isToStay, startNode as startNodeNetwork } from "../agent/node.ts";
import { formatReport, type Drift } from "../apply/report.ts";
import { familyOf, type Address } from "../ip/address.ts";
import type { Node } from "../kube/kinds.ts";
import { MS_NODEV, MS_NOSUID, mountFilesystem, unmount } from "../kernel/mounts.ts";
import { clusterConfig } from "../model/cluster.ts";
import type { ClusterConfig, Network, Protocol } from "../model/network.ts";
import type { Program } from "../program/program.ts";
import type { Zone } from "../program/zone.ts";
import type { World } from "../trace/world.ts";
import type { ServedApi } from "./api/api.ts";
import { openApiDoor, openLabCertificates } from "./api-door.ts";
import { openAccess } from "./apiserver/access.ts";
import { actingAs, kubeletActor } from "./actors.ts";
import { admissionPlugins } from "./api/admission/plugins.ts";
import { openStore } from "./api/sqlite-store.ts";
import { StatusError } from "./api/store.ts";
import { createObjectApi } from "./api/write.ts";
import type { LabConfig } from "./config.ts";
import { createServiceAllocator } from "./controllers/service-addresses.ts";
import { admissions } from "./controllers/admissions.ts";
import { apiSideControllers, startControllers } from "./controllers/start.ts";
import { startAnnouncer } from "./layer2.ts";
import { startLabNodeDns } from "./node-dns.ts";
import { createNetworkSource } from "./network-source.ts";
import { createTopology, routerAddress, type Machine, type Topology } from "./network/topology.ts";
import { nodeGrace } from "./controllers/node-lifecycle.ts";
import { nodeAddressesOf, outsideAddresses, podCidrsOf, zoneOfNode } from "./node-object.ts";
import type { Outside } from "./outside/connect.ts";
import type { LabPaths } from "./paths.ts";
import { createImages, type Images } from "./pods/images/images.ts";
import { hears, listenersOf, placesOf, type Listener } from "./pods/listeners.ts";
import { machineResolvers, startKubelet, type Kubelet } from "./pods/kubelet.ts";
import { startRouterDns } from "./router-dns.ts";
import { startRecordKubelet, type RecordKubelet } from "./records.ts";
import { createNodeLog, type NodeLog } from "./node-log.ts";
import { createNodeTelling } from "./node-events.ts";
import { createPolicyTelling } from "./policy-drops.ts";
import { startLabPolicyStatus } from "./policy-status.ts";
import { ensureSystemObjects } from "./system.ts";
import { registerSystemWorkloads } from "./system-workloads.ts";
import { webhookDial } from "./webhook-dial.ts";
import { makeWorld, zoneOf } from "./world.ts";

export interface Lab {
  readonly config: LabConfig;
  readonly cluster: ClusterConfig;
  readonly api: ServedApi;
  readonly images: Images;
  readonly topology: Topology | undefined;
  /** Which node answers for which load balancer's address; undefined where packets are off. */
  readonly announced: ReadonlyMap<Address, string> | undefined;
  nodes(): ReadonlyMap<string, LabNode>;
  network(): Network;
  zone(): Zone | undefined;
  world(): World;
  /** Resolves when every node's kernel holds what is known now. */
  programmed(): Promise<void>;
  /** stop, start, add or delete a node; what happened, in words. Throws StatusError. */
  nodeAction(action: "stop" | "start" | "add" | "delete", name: string | undefined): Promise<string>;
  stop(): Promise<void>;
}

export interface LabNode {
  readonly name: string;
  readonly index: number;
  readonly addresses: readonly Address[];
  readonly attachments: AttachmentStore;
  /** Undefined where packets are off. */
  readonly machine: Machine | undefined;
  readonly agent: Agent | undefined;
  readonly log: NodeLog;
  /** What others changed and was put back, newest last: what the agent programs, and what the lab gave the node's own link. */
  drift(): readonly TimedDrift[];
  ipam(): Ipam | undefined;
  /** Functions of CNI's shape; undefined where packets are off. */
  readonly network: PodNetwork | undefined;
  /** No health checks are answered any more. */
  readonly closeHealth: () => void;
  /** The node's own DNS server, where nodes have one. */
  readonly dns: NodeDns | undefined;
  /** Undefined while the node is stopped, or where packets are off. */
  kubelet: Kubelet | undefined;
  records: RecordKubelet | undefined;
  stopped: boolean;
}

type TimedDrift = Drift & { readonly time: string };

const uplinkDriftMax = 1000;

export interface LabOptions {
  readonly config: LabConfig;
  readonly paths: LabPaths;
  readonly outside: Outside;
  /** The listener on the host's loopback for the API server; without it the API is open inside only. */
  readonly apiListenerFd?: number;
  /** Tells a finished step of the start. */
  readonly step: (what: string, detail: string) => void;
}

/** Starts everything; resolves when objects can be applied. Throws where a part cannot start, naming it. */
export async function startLab(options: LabOptions): Promise<Lab> {
  const { config, paths, outside, step } = options;
  const cluster = clusterConfig(config);
  const store = openStore({ path: paths.store });
  const packets = config.packets === "on";
  const insideAddresses = packets ? config.nodeCidrs.map(routerAddress) : [];
  const certificates = openLabCertificates({ cluster, paths, insideAddresses });
  const nodes = new Map<string, LabNode>();
  const access = openAccess({ store, certificates, domain: cluster.domain });
  const plugins = admissionPlugins({
    askAs: (request) => access.askAs(request),
    ...(packets && {
      dial: webhookDial({
        api: () => api,
        from: () => [...nodes.values()].find((node) => !node.stopped && node.machine !== undefined)?.machine?.namespace,
      }),
    }),
  });
  const api = createObjectApi({
    store,
    admissions: [...admissions, access.admission, ...plugins.admissions, createServiceAllocator(cluster)],
    validations: plugins.validations,
    connections: plugins.connections,
  });
  mkdirSync(paths.nodes, { recursive: true, mode: 0o700 });
  // What the API gives to pods lies in memory, as on any node, and goes with the daemon.
  const memory = join(paths.folder, "memory");
  if (config.packets === "on") {
    mkdirSync(memory, { recursive: true, mode: 0o700 });
    mountFilesystem("tmpfs", memory, { flags: MS_NOSUID | MS_NODEV, data: "mode=700" });
  }
  const images = createImages({ file: paths.images });

  const uplinkDrift = new Map<string, readonly TimedDrift[]>();
  const topology = packets
    ? createTopology({
        families: config.families,
        nodeCidrs: config.nodeCidrs,
        ...(cluster.subnets !== undefined && { subnets: cluster.subnets }),
        mtu: cluster.underlayMtu,
        putBack(name, drift) {
          const time = new Date().toISOString();
          const timed = drift.map((one) => ({ ...one, time }));
          uplinkDrift.set(name, [...(uplinkDrift.get(name) ?? []), ...timed].slice(-uplinkDriftMax));
          nodes.get(name)?.log.write(timed.map(({ kind, text }) => `${time} put back (${kind})  ${text}`).join("\n"));
          for (const event of driftEvents(drift)) nodeTelling.tell(name, event);
        },
      })
    : undefined;
  const known = api.list({ group: "", resource: "nodes" }).items as readonly Node[];
  const wanted =
    known.length > 0
      ? known.map((node) => node.metadata.name)
      : Array.from({ length: config.nodes }, (_, i) => `node-${i + 1}`);
  const machines = new Map(
    wanted.map((name) => [name, topology?.addNode(name, nodeAddressesOf(cluster, indexOf(name)))]),
  );
  if (topology !== undefined) step("links and namespaces", `${wanted.length} nodes, 1 underlay, internet`);

  const controllers = startControllers({
    api,
    config: cluster,
    rootCa: certificates.authority,
    requestAuthority: { ...certificates, authorize: access.authorize },
    enabled: (name) => config.controllers !== "none" || apiSideControllers.has(name),
    failed: (failure) =>
      console.error(`${new Date().toISOString()} controller ${failure.controller}: ${failure.key}:`, failure.error),
  });
  const source = createNetworkSource(api, cluster, config.nodePortCidrs);
  const zone = (): Zone => zoneOf(source.current());
  ensureSystemObjects(api, cluster);
  registerSystemWorkloads({
    images,
    zone,
    outside,
    cluster,
    log: (node) => nodes.get(node)?.log,
  });

  const policyStatus = startLabPolicyStatus({
    api,
    source,
    agents: () => [...nodes.values()].flatMap(({ agent }) => agent ?? []),
  });

  const policyTelling = createPolicyTelling({ api });
  const nodeTelling = createNodeTelling({ api });

  const startNode = (name: string): void => {
    const machine = machines.get(name);
    const index = indexOf(name);
    const addresses = nodeAddressesOf(cluster, index);
    const folder = join(paths.nodes, name);
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    const log = createNodeLog();
    const dnsSource =
      machine && config.dns === "node-local"
        ? createNodeDnsSource({ node: name, source, kernel: machine.kernel })
        : undefined;
    const network =
      machine &&
      startNodeNetwork({
        node: name,
        kernel: machine.kernel,
        source: dnsSource ?? source,
        ...(dnsSource !== undefined && { answers: dnsSource.answers }),
        podCidrs: () => podCidrsOf(api, name),
        attachmentsFile: join(folder, "attachments.json"),
        health: {
          namespace: machine.namespace,
          isEligible: () => isToStay(api.get({ group: "", resource: "nodes", name }) as Node | undefined),
          report: (line) => log.write(logLine(line)),
          warn(message) {
            log.write(logLine(message));
            nodeTelling.tell(name, conntrackEvent(message));
          },
        },
        policyFlows: {
          namespace: machine.namespace,
          told: (flow) => policyTelling.told(flow, (line) => log.write(line)),
          report: (line) => log.write(logLine(line)),
        },
        report(event) {
          log.write(agentLine(event));
          nodeTelling.told(name, event);
        },
      });
    const node: LabNode = {
      name,
      index,
      addresses,
      attachments: network?.attachments ?? openAttachments(join(folder, "attachments.json")),
      machine,
      agent: network?.agent,
      log,
      drift: () =>
        [...(network?.agent.drift() ?? []), ...(uplinkDrift.get(name) ?? [])].sort((a, b) =>
          a.time < b.time ? -1 : 1,
        ),
      ipam: () => network?.ipam(),
      network: network?.podNetwork,
      closeHealth: () => network?.closeHealth(),
      dns:
        network &&
        dnsSource &&
        startLabNodeDns({ api, cluster, outside, node: name, source: dnsSource, network, zone, log: log.write }),
      kubelet: undefined,
      records: undefined,
      stopped: false,
    };
    nodes.set(name, node);
    startPods(node, folder);
  };

  const startPods = (node: LabNode, folder: string): void => {
    if (node.machine === undefined || node.network === undefined) {
      node.records = startRecordKubelet({
        node: node.name,
        api: actingAs(api, kubeletActor(node.name)),
        zone: zoneOfNode(node.index),
        nodeAddresses: node.addresses,
        clock: Date.now,
        attachments: node.attachments,
      });
      return;
    }
    node.kubelet = startKubelet({
      node: node.name,
      zone: zoneOfNode(node.index),
      api: actingAs(api, kubeletActor(node.name)),
      network: node.network,
      nodeNamespace: node.machine.namespace,
      nodeAddresses: node.addresses,
      images,
      stateDir: folder,
      memoryDir: join(memory, node.name),
      cluster: { domain: cluster.domain, dnsAddresses: cluster.dnsAddresses },
      hostResolvers: { ...machineResolvers(), nameservers: insideAddresses },
      isLinked: () => topology?.carries(node.name) !== false,
      serviceAccountToken: (request) => access.podToken(request),
      report: (line) => node.log.write(line),
    });
  };

  const door = await openApiDoor({
    api,
    cluster,
    certificates,
    access,
    name: config.name,
    paths,
    outside: options.apiListenerFd === undefined ? undefined : { fd: options.apiListenerFd, port: config.apiPort },
    inside: topology && { namespace: topology.underlay.namespace, addresses: insideAddresses },
    nodeOf: (name) => nodes.get(name),
  });
  if (options.apiListenerFd !== undefined) step("api server", `https://127.0.0.1:${config.apiPort}`);
  for (const name of wanted) startNode(name);
  const routerDns =
    topology &&
    startRouterDns({
      router: topology.underlay,
      outside,
      log: (line) => console.error(logLine(line)),
    });
  const announcer =
    topology && startAnnouncer({ source, topology, log: (node, line) => nodes.get(node)?.log.write(logLine(line)) });
  await programmed();
  const programs = [...nodes.values()].map((node) => node.agent?.program());
  const routes = programs.reduce((sum, program) => sum + (program?.routes.length ?? 0), 0);
  const elements = programs
    .flatMap((program) => program?.tables ?? [])
    .flatMap((table) => table.sets)
    .reduce((sum, set) => sum + set.elements.length, 0);
  if (packets) step("network programmed", `${routes} routes · ${elements} map elements`);
  else step("objects and controllers", `${store.revision} revisions`);

  /** Nodes that were stopped, and those whose link somebody took down. */
  const cutOff = (): ReadonlySet<string> => {
    const carrying = topology?.carrying();
    const isCut = ({ name, stopped }: LabNode): boolean => stopped || carrying?.has(name) === false;
    return new Set([...nodes.values()].filter(isCut).map(({ name }) => name));
  };

  async function programmed(): Promise<void> {
    await controllers.idle();
    await api.flushed();
    // The agents hear of the last writes in the turn after.
    await new Promise<void>((resolve) => void setImmediate(resolve));
    await Promise.all([...nodes.values()].map(async (node) => node.agent?.synced()));
  }

  const nodeAction: Lab["nodeAction"] = async (action, name) => {
    switch (action) {
      case "add": {
        const fresh = name ?? `node-${nextIndex(nodes) + 1}`;
        if (nodes.has(fresh)) throw new StatusError(409, "AlreadyExists", `node ${fresh} exists already`);
        const index = indexOf(fresh);
        machines.set(fresh, topology?.addNode(fresh, nodeAddressesOf(cluster, index)));
        startNode(fresh);
        await programmed();
        return `node ${fresh} added, addresses ${nodeAddressesOf(cluster, index).join(", ")}`;
      }
      case "stop": {
        const node = nodeOrThrow(nodes, name);
        if (node.stopped) return `node ${node.name} is stopped already`;
        node.stopped = true;
        topology?.setUplink(node.name, "down");
        await node.kubelet?.stop({ pods: "keep" });
        node.kubelet = undefined;
        node.records?.stop();
        return `node ${node.name} stopped: its link is down, its kubelet says nothing any more; the cluster notices after ${nodeGrace.silentMs / 1000} s, as clusters do`;
      }
      case "start": {
        const node = nodeOrThrow(nodes, name);
        if (!node.stopped) return `node ${node.name} runs`;
        node.stopped = false;
        topology?.setUplink(node.name, "up");
        startPods(node, join(paths.nodes, node.name));
        return `node ${node.name} started`;
      }
      case "delete": {
        const node = nodeOrThrow(nodes, name);
        await node.kubelet?.stop({ pods: "kill" });
        node.records?.stop();
        await node.dns?.close("at once");
        await node.agent?.stop();
        node.closeHealth();
        nodes.delete(node.name);
        machines.delete(node.name);
        topology?.removeNode(node.name);
        if (api.get({ group: "", resource: "nodes", name: node.name }) !== undefined)
          api.delete({ group: "", resource: "nodes", name: node.name });
        rmSync(join(paths.nodes, node.name), { recursive: true, force: true });
        return `node ${node.name} deleted`;
      }
    }
  };

  return {
    config,
    cluster,
    api,
    images,
    topology,
    announced: announcer?.held,
    nodes: () => nodes,
    network: () => source.current(),
    zone,
    world: () => {
      const all = [...nodes.values()];
      return makeWorld({
        api,
        network: withDnsPods(
          source.current(),
          all.flatMap(({ name: node, dns }) => {
            const place = dns?.place();
            return place === undefined ? [] : [{ node, place }];
          }),
        ),
        attachments: new Map(all.map((node) => [node.name, node.attachments])),
        ...(announcer !== undefined && { held: announcer.held }),
        ...(packets && {
          programs: programsOf(all),
          listening: (place, protocol, port, address) => listening(nodes, topology, place, { protocol, port, address }),
        }),
        router: topology?.underlay.addresses ?? [],
        cutOff: cutOff(),
        outside:
          topology?.internet.addresses ??
          outsideAddresses.filter((address) => cluster.families.includes(familyOf(address))),
      });
    },
    programmed,
    nodeAction,
    async stop() {
      await Promise.all([...nodes.values()].map(async (node) => node.kubelet?.stop({ pods: "kill" })));
      for (const node of nodes.values()) node.records?.stop();
      await Promise.all([...nodes.values()].map(async (node) => node.dns?.close("at once")));
      await Promise.all([...nodes.values()].map(async (node) => node.agent?.stop()));
      await routerDns?.close();
      door.close();
      policyStatus.close();
      policyTelling.close();
      nodeTelling.close();
      announcer?.close();
      for (const node of nodes.values()) node.closeHealth();
      controllers.stop();
      source.close();
      await api.flushed();
      store.close();
      topology?.close();
      if (packets) unmount(memory);
    },
  };
}

/** The place of a node in the node range: node-1 has 0. Nodes of other names take theirs from the number they end with. */
function indexOf(name: string): number {
  const number = Number(/(\d+)$/.exec(name)?.[1] ?? Number.NaN);
  if (!Number.isInteger(number) || number < 1 || number > 250)
    throw new StatusError(
      400,
      "BadRequest",
      `node ${name}: the name must end with a number from 1 to 250, such as node-4: its address follows from it`,
    );
  return number - 1;
}

function nextIndex(nodes: ReadonlyMap<string, LabNode>): number {
  const taken = new Set([...nodes.values()].map((node) => node.index));
  let index = 0;
  while (taken.has(index)) index++;
  return index;
}

function nodeOrThrow(nodes: ReadonlyMap<string, LabNode>, name: string | undefined): LabNode {
  const node = nodes.get(name ?? "");
  if (node === undefined)
    throw new StatusError(404, "NotFound", `nodes "${name}" not found; there are: ${[...nodes.keys()].join(", ")}`);
  return node;
}

function logLine(text: string): string {
  return `${new Date().toISOString()} ${text}`;
}

function agentLine(event: AgentEvent): string {
  const time = new Date().toISOString();
  switch (event.kind) {
    case "reconciled":
      return `${time} ${formatReport(event.report)} (${event.tookMs.toFixed(1)} ms)`;
    case "compile-failed":
      return `${time} compile failed, the last program stays: ${String(event.error)}`;
  }
}

function programsOf(nodes: readonly LabNode[]): ReadonlyMap<string, Program> {
  return new Map(
    nodes.flatMap((node) => {
      const program = node.agent?.program();
      return program === undefined ? [] : [[node.name, program] as const];
    }),
  );
}

/** What the kernel says about sockets: in the pod's namespace, in the node's, or outside. */
function listening(
  nodes: ReadonlyMap<string, LabNode>,
  topology: Topology | undefined,
  place: { readonly kind: "pod" | "node" | "outside"; readonly name: string },
  { protocol, port, address }: { readonly protocol: Protocol; readonly port: number; readonly address: Address },
): ReturnType<World["listening"]> {
  const found = listenersAt(nodes, topology, place, address);
  if (found === undefined) return { listening: "unknown" };
  const socket = found.find((each) => each.port === port && each.protocol === protocol && hears(each, address));
  if (socket === undefined) {
    const instead = placesOf(found.filter((each) => each.protocol === protocol));
    return { listening: "no", ...(instead.length > 0 && { instead }) };
  }
  return { listening: "yes", ...(socket.container !== undefined && { container: socket.container }) };
}

function listenersAt(
  nodes: ReadonlyMap<string, LabNode>,
  topology: Topology | undefined,
  place: { readonly kind: "pod" | "node" | "outside"; readonly name: string },
  address: Address,
): readonly Listener[] | undefined {
  switch (place.kind) {
    case "outside": {
      const isRouter = topology?.underlay.addresses.includes(address) === true;
      return topology && listenersOf((isRouter ? topology.underlay : topology.internet).namespace, []);
    }
    case "node": {
      const machine = nodes.get(place.name)?.machine;
      return machine && listenersOf(machine.namespace, []);
    }
    case "pod": {
      const [namespace = "", pod = ""] = place.name.split("/");
      return [...nodes.values()]
        .map((node) => node.kubelet?.listeners({ namespace, pod }))
        .find((each) => each !== undefined);
    }
  }
}
