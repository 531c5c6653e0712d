// A small cluster of real namespaces over a hand-written Network: compile, apply and agents as in the lab, no store and no controllers.
// Pods are namespaces with a TCP and a UDP server that say who they are and who asked.

import assert from "node:assert/strict";
import net from "node:net";

import type { AgentEvent } from "../../src/agent/agent.ts";
import type { CniRequest } from "../../src/serve/cni/cni.ts";
import { startNode, type NodeNetwork, type NodeOptions } from "../../src/agent/node.ts";
import { formatReport, type Drift } from "../../src/apply/report.ts";
import type { Address, Family } from "../../src/ip/address.ts";
import { addressAt, subnet, type Prefix } from "../../src/ip/prefix.ts";
import type { NetworkKernel } from "../../src/kernel/kernel.ts";
import { createNetworkNamespace, type NetworkNamespace } from "../../src/kernel/namespaces.ts";
import { listenTcpFd } from "../../src/kernel/sockets.ts";
import { serveUdp } from "../../src/kernel/udp.ts";
import { createTopology, type Machine, type Topology } from "../../src/lab/network/topology.ts";
import { nodeAddressesOf } from "../../src/lab/node-object.ts";
import { clusterConfig, nodePodCidrBits, type ClusterOptions } from "../../src/model/cluster.ts";
import type {
  ClusterConfig,
  Endpoint,
  Network,
  NetworkNode,
  NetworkPod,
  NetworkService,
  Protocol,
} from "../../src/model/network.ts";
import type { NetworkSource } from "../../src/model/source.ts";

/** The port pods serve on. */
export const podPort = 8080;

export interface TestPod {
  readonly name: string;
  readonly node: string;
  readonly id: string;
  readonly namespace: NetworkNamespace;
  /** IPv4 first. */
  readonly addresses: readonly Address[];
  address(family: Family): Address;
}

export interface TestNode extends NodeNetwork {
  readonly machine: Machine;
  /** The range its pods' addresses are from. */
  podCidr(family: Family): Prefix;
  /** Resolves when drift whose text holds `words` has been put back since the last `forgetDrift()`. */
  putBack(words: string): Promise<Drift>;
  forgetDrift(): void;
}

export interface TestCluster {
  readonly config: ClusterConfig;
  readonly topology: Topology;
  node(name: string): TestNode;
  names(): readonly string[];
  addPod(name: string, node: string, options?: { readonly hostPort?: number }): Promise<TestPod>;
  deletePod(pod: TestPod): Promise<void>;
  /** Replaces the Services; resolves when every node has them. */
  setServices(...services: readonly NetworkService[]): Promise<void>;
  /** A Service on these pods; the address is at `offset` of each service range. */
  service(
    name: string,
    offset: number,
    pods: readonly TestPod[],
    options?: { readonly nodePort?: number; readonly protocols?: readonly Protocol[] },
  ): NetworkService;
  /** Serves on `podPort` inside a namespace; what is said names the server and the asker's address. */
  serve(namespace: NetworkNamespace, name: string, port?: number): void;
  synced(): Promise<void>;
  /** Says something else of one node; other nodes hear of it at once, whenever they come to act on it. */
  setNode(name: string, facts: Partial<NetworkNode>): void;
  /** Says something else of the whole cluster. */
  setConfig(config: Partial<ClusterConfig>): void;
  /** The node's object goes, and one of another name comes with the same addresses and ranges; its agent is started anew by that name. */
  rename(name: string, next: string): Promise<TestNode>;
  /** Starts the node's agent again, from what is on disk and in the kernel. */
  restart(node: string): Promise<TestNode>;
  close(): Promise<void>;
}

/** Brings the cluster up, without pods. `stateDir` keeps the nodes' attachments. */
export async function startCluster(options: {
  readonly nodes: number;
  readonly families?: readonly Family[];
  readonly stateDir?: string;
  /** More of the cluster's configuration. */
  readonly cluster?: ClusterOptions;
  /** What stands between the Network and a node's agent. */
  readonly between?: (
    node: string,
    source: NetworkSource,
    kernel: NetworkKernel,
  ) => Pick<NodeOptions, "source" | "answers">;
}): Promise<TestCluster> {
  const config = clusterConfig({ families: options.families ?? [4, 6], ...options.cluster });
  const { families, nodeCidrs, subnets } = config;
  const topology = createTopology({ families, nodeCidrs, ...(subnets !== undefined && { subnets }) });
  const servers: { close(): unknown }[] = [];
  const nodes = new Map<string, TestNode>();
  const pods = new Map<string, TestPod>();
  const networkNodes = Array.from({ length: options.nodes }, (_, index) => networkNode(config, index));
  const source = createSource(config, networkNodes);
  let sandboxes = 0;

  const start = (name: string, machine: Machine | undefined = topology.nodes.get(name)): TestNode => {
    const facts = source.current().nodes.find((node) => node.name === name);
    assert.ok(machine && facts);
    const drift: Drift[] = [];
    const waiting = new Set<() => void>();
    const { stateDir, between = () => ({ source }) } = options;
    const node = startNode({
      node: name,
      kernel: machine.kernel,
      ...between(name, source, machine.kernel),
      podCidrs: () => facts.podCidrs,
      ...(stateDir === undefined ? {} : { attachmentsFile: `${stateDir}/${name}.json` }),
      report(event: AgentEvent) {
        if (event.kind === "compile-failed") throw event.error;
        drift.push(...event.report.drift);
        for (const look of waiting) look();
      },
    });
    const putBack = (words: string): Promise<Drift> =>
      new Promise((resolve) => {
        const look = (): void => {
          const found = drift.find((one) => one.text.includes(words));
          if (found === undefined) return;
          waiting.delete(look);
          resolve(found);
        };
        waiting.add(look);
        look();
      });
    const podCidr = (family: Family): Prefix => {
      const found = facts.podCidrs.find((one) => one.includes(":") === (family === 6));
      assert.ok(found, `${name} has no IPv${family} range`);
      return found;
    };
    const test = { ...node, machine, podCidr, putBack, forgetDrift: () => void drift.splice(0) };
    nodes.set(name, test);
    return test;
  };
  const nodeOf = (name: string): TestNode => {
    const node = nodes.get(name);
    assert.ok(node, `no node ${name}`);
    return node;
  };
  const serve = (namespace: NetworkNamespace, name: string, port: number = podPort): void => {
    const tcp = net.createServer((socket) => {
      socket.on("error", () => {});
      socket.end(`${name} ${plain(socket.remoteAddress ?? "")}\n`);
    });
    tcp.listen({ fd: listenTcpFd(namespace, { port }) });
    const udp = serveUdp(namespace, { port }, (datagram) => {
      const said = Buffer.from(`${name} ${plain(datagram.source().address)}`);
      datagram.room.set(said);
      datagram.send(said.length);
    });
    servers.push(tcp, udp);
  };
  const synced = async (): Promise<void> => {
    for (const { agent } of nodes.values()) {
      const report = await agent.synced();
      if (report.failures.length > 0) assert.fail(formatReport(report));
    }
  };

  for (const { name, addresses } of networkNodes) topology.addNode(name, addresses);
  for (const { name } of networkNodes) start(name);
  await synced();

  const request = (pod: { id: string; name: string; namespace: NetworkNamespace }): CniRequest => ({
    containerId: pod.id,
    namespaceFd: pod.namespace.fd,
    interfaceName: "eth0",
    podNamespace: "default",
    podName: pod.name,
    podUid: `uid-${pod.id}`,
    portMappings: [],
  });

  const setNode = (name: string, facts: Partial<NetworkNode>): void => {
    const { nodes: before } = source.current();
    source.set({ nodes: before.map((node) => (node.name === name ? { ...node, ...facts } : node)) });
  };

  return {
    config,
    topology,
    node: nodeOf,
    names: () => [...nodes.keys()],
    serve,
    synced,
    async addPod(name, node, { hostPort } = {}) {
      const namespace = createNetworkNamespace();
      const id = `sandbox-${++sandboxes}`;
      const portMappings =
        hostPort === undefined ? [] : [{ hostPort, containerPort: podPort, protocol: "tcp" as const }];
      let addresses: readonly Address[];
      try {
        const result = await nodeOf(node).podNetwork.add({ ...request({ id, name, namespace }), portMappings });
        addresses = result.ips.map((ip) => ip.address);
      } catch (error) {
        namespace.close();
        throw error;
      }
      const address = (family: Family): Address => {
        const found = addresses.find((one) => one.includes(":") === (family === 6));
        assert.ok(found, `${name} has no IPv${family} address`);
        return found;
      };
      const pod: TestPod = { name, node, id, namespace, addresses, address };
      serve(namespace, name);
      pods.set(id, pod);
      source.set({ pods: [...pods.values()].map(networkPod) });
      return pod;
    },
    async deletePod(pod) {
      await nodeOf(pod.node).podNetwork.delete(request(pod));
      pod.namespace.close();
      pods.delete(pod.id);
      source.set({ pods: [...pods.values()].map(networkPod) });
    },
    setNode,
    setConfig(change) {
      source.set({ cluster: { ...source.current().cluster, ...change } });
    },
    async setServices(...services) {
      source.set({ services });
      await synced();
    },
    service: (name, offset, endpoints, rest = {}) => networkService(config, name, offset, endpoints, rest),
    async rename(name, next) {
      const old = nodeOf(name);
      await old.agent.stop();
      nodes.delete(name);
      const origin = { kind: "Node", name: next };
      setNode(name, { name: next, origin });
      const node = start(next, old.machine);
      await synced();
      return node;
    },
    async restart(name) {
      await nodeOf(name).agent.stop();
      const node = start(name);
      await node.agent.synced();
      return node;
    },
    async close() {
      for (const { agent } of nodes.values()) await agent.stop();
      for (const server of servers) server.close();
      for (const pod of pods.values()) pod.namespace.close();
      topology.close();
    },
  };
}

/** A Network that tests change by hand. */
function createSource(
  cluster: ClusterConfig,
  nodes: readonly NetworkNode[],
): NetworkSource & { set(change: Partial<Network>): void } {
  let network: Network = {
    cluster,
    nodes,
    pods: [],
    services: [],
    namespaces: [],
    policies: [],
    clusterPolicies: [],
    problems: [],
  };
  const listeners = new Set<() => void>();
  return {
    current: () => network,
    subscribe(changed) {
      listeners.add(changed);
      return { close: () => void listeners.delete(changed) };
    },
    set(change) {
      network = { ...network, ...change };
      for (const listener of listeners) listener();
    },
  };
}

function networkNode(config: ClusterConfig, index: number): NetworkNode {
  const name = `node-${index + 1}`;
  return {
    name,
    labels: {},
    addresses: nodeAddressesOf(config, index),
    podCidrs: config.podCidrs.map((range) => subnet(range, nodePodCidrBits(range.includes(":") ? 6 : 4), index + 1)),
    ready: true,
    origin: { kind: "Node", name },
  };
}

function networkPod(pod: TestPod): NetworkPod {
  const { name, node, addresses } = pod;
  return {
    namespace: "default",
    name,
    labels: {},
    node,
    addresses,
    hostNetwork: false,
    ready: true,
    containerPorts: [],
    origin: { kind: "Pod", namespace: "default", name },
  };
}

function networkService(
  config: ClusterConfig,
  name: string,
  offset: number,
  pods: readonly TestPod[],
  { nodePort, protocols = ["tcp", "udp"] }: { nodePort?: number; protocols?: readonly Protocol[] },
): NetworkService {
  const origin = { kind: "Service", namespace: "default", name };
  const endpoints = pods.flatMap((pod) =>
    pod.addresses.map((address): Endpoint => ({
      address,
      port: podPort,
      ready: true,
      serving: true,
      terminating: false,
      node: pod.node,
      pod: `default/${pod.name}`,
      origin: { kind: "EndpointSlice", namespace: "default", name: `${name}-1` },
    })),
  );
  return {
    namespace: "default",
    name,
    type: nodePort === undefined ? "ClusterIP" : "NodePort",
    clusterIps: config.serviceCidrs.map((range) => addressAt(range, offset)),
    headless: false,
    publishNotReadyAddresses: false,
    internalTrafficPolicy: "Cluster",
    externalTrafficPolicy: "Cluster",
    ports: protocols.map((protocol, index) => ({
      name: protocol,
      protocol,
      port: 80,
      ...(nodePort === undefined ? {} : { nodePort }),
      endpoints: endpoints.toSorted((a, b) => (a.address < b.address ? -1 : 1)),
      origin: { ...origin, field: `spec.ports[${index}]` },
    })),
    origin,
  };
}

/** A socket for both families tells IPv4 addresses in IPv6 form. */
function plain(address: string): string {
  return address.replace(/^::ffff:(?=\d+\.)/, "");
}
