// Nodes with pods on a bridge that another program made, and what their tests ask: packets, nft, what a kernel holds.
// Needs: nft

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { createServer, Socket } from "node:net";
import { join } from "node:path";

import { listenTcpFd, tcpSocketFd } from "../../src/kernel/sockets.ts";
import { createNetworkNamespace, type NetworkNamespace } from "../../src/kernel/namespaces.ts";
import { openKernel } from "../../src/kernel/linux.ts";
import { mustChange } from "../../src/kernel/kernel.ts";
import { probeTcp, type TcpResult } from "../../src/lab/network/probe.ts";
import { createTopology, type Machine, type Topology } from "../../src/lab/network/topology.ts";
import { routeProtocol } from "../../src/program/program.ts";
import { nodeObject, runFairlead, serviceObjects, startApi, type AgentProcess, type TestApi } from "./agent.testing.ts";

/** A node whose pods are on a bridge that another program made, with an API server that knows two Services: web (a and b), and idle. */
export interface BridgeNode {
  readonly topology: Topology;
  readonly node: Machine;
  readonly api: TestApi;
  pod(name: "client" | "a" | "b"): Pod;
  /** `fairlead agent --only services` there. */
  start(more?: Readonly<Record<string, string>>): AgentProcess;
  /** `fairlead agent cleanup`; what it said. */
  cleanUp(): Promise<readonly string[]>;
  close(): void;
}

export async function startBridgeNode(): Promise<BridgeNode> {
  const pods = new Map<string, Pod>();
  const topology = createTopology({ families: [4], nodeCidrs: ["172.18.0.0/16"] });
  const node = topology.addNode("node-1", ["172.18.0.11"]);
  mustChange(node.kernel, [
    { kind: "create-bridge", name: "cni0", mac: "0a:00:00:00:00:01", mtu: 1500 },
    { kind: "set-link", name: "cni0", up: true },
    { kind: "set-address", link: "cni0", address: "10.244.1.1", bits: 24 },
  ]);
  node.kernel.writeSysctl("net/ipv4/ip_forward", "1");
  // What every CNI plugin with a bridge asks for; without it the answer of a pod next door passes by the translation.
  node.kernel.writeSysctl("net/bridge/bridge-nf-call-iptables", "1");
  for (const [index, name] of ["client", "a", "b"].entries()) pods.set(name, addBridgePod(node, 5 + index, name));
  const api = await startApi([node.namespace]);
  const endpoints = ["a", "b"].map((name) => ({ address: pods.get(name)?.address ?? "", node: "node-1" }));
  const objects = [
    nodeObject("node-1", ["172.18.0.11"], ["10.244.1.0/24"]),
    ...serviceObjects("web", vip, endpoints, {
      type: "NodePort",
      ports: [{ name: "http", port: 80, targetPort: 8080, protocol: "TCP", nodePort }],
    }),
    ...serviceObjects("idle", "10.96.0.101", []),
  ];
  for (const object of objects) api.api.create(object);

  const flags = (given: Readonly<Record<string, string>>): readonly string[] =>
    Object.entries({
      kubeconfig: api.kubeconfig,
      "cluster-cidr": "10.244.0.0/16",
      "cni-dir": join(api.folder, "cni"),
      ...given,
    }).flatMap(([name, value]) => [`--${name}`, value]);
  return {
    topology,
    node,
    api,
    pod(name) {
      const found = pods.get(name);
      assert.ok(found);
      return found;
    },
    start: (more = {}) => runFairlead(node.namespace, "agent", ...flags({ node: "node-1", only: "services", ...more })),
    async cleanUp() {
      const cleaning = runFairlead(node.namespace, "agent", "cleanup");
      assert.equal(await cleaning.ended, 0, cleaning.lines.join("\n"));
      return cleaning.lines;
    },
    close() {
      closeServers();
      for (const { namespace } of pods.values()) namespace.close();
      api.close();
      topology.close();
    },
  };
}

/** Every server and connection that `serve` made ends. */
export function closeServers(): void {
  for (const socket of sockets) socket.destroy();
  for (const server of servers.splice(0)) server.close();
}

export interface Pod {
  readonly namespace: NetworkNamespace;
  readonly address: string;
}

/** What `nft -f` reads, inside a namespace. */
export function nft(namespace: NetworkNamespace, text: string): string {
  const result = namespace.run(() => spawnSync("nft", ["-f", "-"], { input: readable(text), encoding: "utf8" }));
  assert.equal(result.status, 0, result.stderr);
  return result.stdout;
}

/** nft wants an end of line, or a semicolon, before a closing brace and an end of line behind it. */
function readable(text: string): string {
  return text.replaceAll(/ \}(?!;)/g, "\n}\n");
}

export function ruleset(namespace: NetworkNamespace): string {
  return namespace.run(() => spawnSync("nft", ["list", "ruleset"], { encoding: "utf8" })).stdout;
}

/** `table ip fairlead` … */
export function tables(namespace: NetworkNamespace): readonly string[] {
  const { stdout } = namespace.run(() => spawnSync("nft", ["list", "tables"], { encoding: "utf8" }));
  return stdout
    .split("\n")
    .filter((line) => line !== "")
    .sort();
}

export function ownRoutes({ kernel }: Machine): readonly unknown[] {
  return kernel.routes().filter(({ protocol }) => protocol === routeProtocol);
}

const servers: { close(): unknown }[] = [];
const sockets = new Set<Socket>();

/** Says its name and the client's address, then repeats what it hears. */
export function serve(namespace: NetworkNamespace, name: string): void {
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    socket.write(`${name} ${(socket.remoteAddress ?? "").replace("::ffff:", "")}\n`);
    socket.pipe(socket);
  });
  server.listen({ fd: listenTcpFd(namespace, { port: 8080 }) });
  servers.push(server);
}

/** A pod as Debian's bridge plugin makes it: a port of cni0 with hairpin, the bridge as gateway. */
function addBridgePod(node: Machine, host: number, name: string): Pod {
  const namespace = createNetworkNamespace();
  const address = `10.244.1.${host}`;
  mustChange(node.kernel, [
    {
      kind: "create-veth",
      name: `veth${host}`,
      mtu: 1500,
      peer: { name: "eth0", namespaceFd: namespace.fd },
    },
    { kind: "set-link", name: `veth${host}`, master: "cni0", up: true },
    { kind: "set-bridge-port", name: `veth${host}`, settings: { hairpin: true } },
  ]);
  const kernel = openKernel(name, namespace);
  mustChange(kernel, [
    { kind: "set-link", name: "eth0", up: true },
    { kind: "set-address", link: "eth0", address, bits: 24 },
    {
      kind: "set-route",
      to: "0.0.0.0/0",
      action: "forward",
      via: "10.244.1.1",
      link: "eth0",
      metric: 0,
      protocol: 4,
    },
  ]);
  kernel.close();
  serve(namespace, name);
  return { namespace, address };
}

export const vip = "10.96.0.100";
export const nodePort = 30080;

export async function ask(from: NetworkNamespace, address: string, port = 80): Promise<TcpResult> {
  return probeTcp(from, { address, port, read: true });
}

/** Asks until each of the expected has answered; who saw whom. */
export async function askAll(
  from: NetworkNamespace,
  address: string,
  port: number,
  expected: readonly string[],
): Promise<Map<string, string>> {
  const seen = new Map<string, string>();
  // Not to be chosen 60 times, of two, happens once in 10^18.
  for (let round = 0; round < 60 && seen.size < expected.length; round++) {
    const result = await ask(from, address, port);
    assert.equal(result.outcome, "answered", JSON.stringify(result));
    const [name = "", client = ""] = (result.said ?? "").trim().split(" ");
    seen.set(name, client);
  }
  assert.deepEqual([...seen.keys()].sort(), [...expected].sort());
  return seen;
}

/** A connection through Service `web` that stays; to this pod where one is named. */
export async function openConnection(
  place: BridgeNode,
  pod: "a" | "b" | "" = "",
): Promise<{ echoes(): Promise<void>; close(): void }> {
  const socket = new Socket({ fd: tcpSocketFd(place.pod("client").namespace, 4) });
  const heard = (text: string): Promise<void> =>
    new Promise((resolve, reject) => {
      let all = "";
      const listen = (chunk: Buffer): void => {
        all += chunk.toString();
        if (!all.includes(text)) return;
        socket.off("data", listen);
        resolve();
      };
      socket.on("data", listen);
      socket.once("close", () => reject(new Error(`the connection ended: ${all}`)));
      socket.once("error", reject);
    });
  const greeted = heard(`${pod} ${place.pod("client").address}\n`);
  socket.connect({ host: vip, port: 80 });
  await greeted;
  let turn = 0;
  return {
    async echoes() {
      const text = `still there ${++turn}`;
      const echoed = heard(text);
      socket.write(text);
      await echoed;
    },
    close: () => void socket.destroy(),
  };
}
