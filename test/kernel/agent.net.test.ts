// `fairlead agent` on a node of its own, against an API server: in kube-proxy's place beside another program's pod network, and for everything.
// Needs: nft

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { createServer, Socket } from "node:net";
import { join } from "node:path";
import process from "node:process";
import { after, afterEach, before, describe, test } from "node:test";

import { listenTcpFd, tcpSocketFd } from "../../src/kernel/sockets.ts";
import { createNetworkNamespace, type NetworkNamespace } from "../../src/kernel/namespaces.ts";
import { openKernel } from "../../src/kernel/linux.ts";
import { type Change, type NetworkKernel } from "../../src/kernel/kernel.ts";
import type { Node } from "../../src/kube/kinds.ts";
import { probeTcp, type TcpResult } from "../../src/lab/network/probe.ts";
import { createTopology, type Machine, type Topology } from "../../src/lab/network/topology.ts";
import { routeProtocol } from "../../src/program/program.ts";
import {
  endAll,
  nodeObject,
  runFairlead,
  serviceObjects,
  startApi,
  type AgentProcess,
  type TestApi,
} from "./agent.testing.ts";

interface Pod {
  readonly namespace: NetworkNamespace;
  readonly address: string;
}

function must(kernel: NetworkKernel, changes: readonly Change[]): void {
  for (const result of kernel.change(changes)) if (!result.ok) throw result.error;
}

/** What `nft -f` reads, inside a namespace. */
function nft(namespace: NetworkNamespace, text: string): string {
  const result = namespace.run(() => spawnSync("nft", ["-f", "-"], { input: readable(text), encoding: "utf8" }));
  assert.equal(result.status, 0, result.stderr);
  return result.stdout;
}

/** nft wants an end of line, or a semicolon, before a closing brace and an end of line behind it. */
function readable(text: string): string {
  return text.replaceAll(/ \}(?!;)/g, "\n}\n");
}

function ruleset(namespace: NetworkNamespace): string {
  return namespace.run(() => spawnSync("nft", ["list", "ruleset"], { encoding: "utf8" })).stdout;
}

/** `table ip fairlead` … */
function tables(namespace: NetworkNamespace): readonly string[] {
  const { stdout } = namespace.run(() => spawnSync("nft", ["list", "tables"], { encoding: "utf8" }));
  return stdout
    .split("\n")
    .filter((line) => line !== "")
    .sort();
}

function ownRoutes({ kernel }: Machine): readonly unknown[] {
  return kernel.routes().filter(({ protocol }) => protocol === routeProtocol);
}

const servers: { close(): unknown }[] = [];
const sockets = new Set<Socket>();

/** Says its name and the client's address, then repeats what it hears. */
function serve(namespace: NetworkNamespace, name: string): void {
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
  must(node.kernel, [
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
  must(kernel, [
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

const vip = "10.96.0.100";
const nodePort = 30080;

async function ask(from: NetworkNamespace, address: string, port = 80): Promise<TcpResult> {
  return probeTcp(from, { address, port, read: true });
}

/** Asks until each of the expected has answered; who saw whom. */
async function askAll(
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

describe("in kube-proxy's place, beside a bridge that another program made", () => {
  let topology: Topology;
  let node: Machine;
  let api: TestApi;
  const pods = new Map<string, Pod>();
  before(async () => {
    topology = createTopology({ families: [4], nodeCidrs: ["172.18.0.0/16"] });
    node = topology.addNode("node-1", ["172.18.0.11"]);
    must(node.kernel, [
      { kind: "create-bridge", name: "cni0", mac: "0a:00:00:00:00:01", mtu: 1500 },
      { kind: "set-link", name: "cni0", up: true },
      { kind: "set-address", link: "cni0", address: "10.244.1.1", bits: 24 },
    ]);
    node.kernel.writeSysctl("net/ipv4/ip_forward", "1");
    // What every CNI plugin with a bridge asks for; without it the answer of a pod next door passes by the translation.
    node.kernel.writeSysctl("net/bridge/bridge-nf-call-iptables", "1");
    for (const [index, name] of ["client", "a", "b"].entries()) pods.set(name, addBridgePod(node, 5 + index, name));
    api = await startApi([node.namespace]);
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
  });
  afterEach(endAll);
  after(() => {
    for (const socket of sockets) socket.destroy();
    for (const server of servers) server.close();
    for (const { namespace } of pods.values()) namespace.close();
    api.close();
    topology.close();
  });

  const flags = (given: Readonly<Record<string, string>>): readonly string[] =>
    Object.entries({ kubeconfig: api.kubeconfig, "cluster-cidr": "10.244.0.0/16", ...given }).flatMap(
      ([name, value]) => [`--${name}`, value],
    );
  const start = (more: Readonly<Record<string, string>> = {}): AgentProcess =>
    runFairlead(node.namespace, "agent", ...flags({ node: "node-1", only: "services", ...more }));
  const pod = (name: string): Pod => {
    const found = pods.get(name);
    assert.ok(found);
    return found;
  };
  const cleanUp = async (): Promise<readonly string[]> => {
    const cleaning = runFairlead(node.namespace, "agent", "cleanup");
    assert.equal(await cleaning.ended, 0, cleaning.lines.join("\n"));
    return cleaning.lines;
  };

  void test("Services answer from pods, the node and outside; the endpoint sees whom it must; nothing else of the node is touched", async () => {
    const before = node.kernel.links().map(({ name }) => name);
    const agent = start();
    await agent.says(/programmed \d+ changes/);
    const client = pod("client");
    const fromPod = await askAll(client.namespace, vip, 80, ["a", "b"]);
    assert.deepEqual(new Set(fromPod.values()), new Set([client.address]));
    // An endpoint that asks itself: else it would answer itself directly.
    assert.equal((await askAll(pod("a").namespace, vip, 80, ["a", "b"])).get("a"), "10.244.1.1");
    await askAll(node.namespace, vip, 80, ["a", "b"]);
    const outside = await askAll(topology.internet.namespace, "172.18.0.11", nodePort, ["a", "b"]);
    assert.deepEqual(new Set(outside.values()), new Set(["10.244.1.1"]));
    assert.equal((await ask(client.namespace, "10.96.0.101")).outcome, "refused");
    assert.deepEqual(
      node.kernel.links().map(({ name }) => name),
      before,
    );
    assert.deepEqual(ownRoutes(node), []);
    assert.deepEqual(tables(node.namespace), ["table ip fairlead", "table ip6 fairlead"]);
    const health = await probeTcp(node.namespace, {
      address: "127.0.0.1",
      port: 10_256,
      send: "GET /healthz HTTP/1.0\r\n\r\n",
      read: true,
    });
    assert.match(health.said ?? "", /^HTTP\/1\.1 200/);
    const mode = await probeTcp(node.namespace, {
      address: "127.0.0.1",
      port: 10_249,
      send: "GET /proxyMode HTTP/1.0\r\n\r\n",
      read: true,
    });
    assert.match(mode.said ?? "", /nftables$/);
  });

  void test("a change of the API is a change of the kernel, and SIGTERM leaves all of it", async () => {
    const agent = start();
    await agent.says(/programmed \d+ changes/);
    const [service, slice] = serviceObjects("late", "10.96.0.102", [{ address: pod("a").address, node: "node-1" }]);
    assert.ok(service && slice);
    api.api.create(service);
    api.api.create(slice);
    await agent.says(/done .*(late|changes)/);
    assert.equal((await ask(pod("client").namespace, "10.96.0.102")).outcome, "answered");
    assert.equal(await agent.end(), 0);
    assert.equal((await ask(pod("client").namespace, "10.96.0.102")).outcome, "answered");
  });

  void test("a restart on equal state writes nothing", async () => {
    const first = start();
    await first.says(/programmed \d+ changes/);
    await first.end();
    const seen: string[] = [];
    const marked = Promise.withResolvers<void>();
    const monitor = node.kernel.monitor(({ kind, detail }) => {
      if (/by .*nft/.test(detail)) marked.resolve();
      else seen.push(`${kind} ${detail}`);
    });
    const second = start();
    await second.says(/programmed 0 changes/);
    // What another program changes is told after all that the agent might have changed before.
    nft(node.namespace, "add table inet marker; delete table inet marker");
    await marked.promise;
    assert.deepEqual(seen, []);
    monitor.close();
  });

  void test("a second agent is refused, and so is a cleanup beside one", async () => {
    const agent = start();
    await agent.says(/programmed/);
    const second = start();
    assert.equal(await second.ended, 1);
    assert.match(second.lines.join("\n"), /another Fairlead agent works in this network namespace/);
    const cleaning = runFairlead(node.namespace, "agent", "cleanup");
    assert.equal(await cleaning.ended, 1);
  });

  void test("cleanup leaves nothing of ours, and everything of others'", async () => {
    nft(node.namespace, "table inet mine { chain c { type filter hook input priority 0; } }");
    const agent = start();
    await agent.says(/programmed/);
    await agent.end();
    assert.deepEqual(tables(node.namespace), ["table inet mine", "table ip fairlead", "table ip6 fairlead"]);
    assert.deepEqual(await cleanUp(), ["delete table ip fairlead", "delete table ip6 fairlead"]);
    assert.deepEqual(tables(node.namespace), ["table inet mine"]);
    nft(node.namespace, "delete table inet mine");
    assert.deepEqual(await cleanUp(), []);
  });

  for (const [mode, theirs] of [
    ["nftables", kubeProxyTable],
    ["iptables", kubeProxyChains],
  ] as const) {
    void test(`takes over from a kube-proxy in ${mode} mode without losing a connection; kubelet's and others' rules stay`, async () => {
      await cleanUp();
      nft(node.namespace, theirs(pod("a").address));
      const socket = new Socket({ fd: tcpSocketFd(pod("client").namespace, 4) });
      sockets.add(socket);
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
        });
      const greeted = heard(`a ${pod("client").address}\n`);
      socket.connect({ host: vip, port: 80 });
      await greeted;
      const agent = start();
      await agent.says(/took over from kube-proxy/);
      const echoed = heard("still there");
      socket.write("still there");
      await echoed;
      await askAll(pod("client").namespace, vip, 80, ["a", "b"]);
      const left = ruleset(node.namespace);
      assert.doesNotMatch(left, /kube-proxy|KUBE-(SERVICES|SVC|SEP|POSTROUTING|MARK-MASQ)/);
      if (mode === "iptables") assert.match(left, /KUBE-FIREWALL[^]*jump KUBE-FIREWALL/);
      if (mode === "iptables") assert.match(left, /tcp dport 2222 accept/);
      socket.destroy();
      await agent.end();
      if (mode === "iptables") nft(node.namespace, "delete table ip nat; delete table ip filter");
      await cleanUp();
    });
  }

  void test("a firewall that drops in forward is told, with what to do; its cure lets packets pass", async () => {
    nft(
      node.namespace,
      "table ip filter { chain FORWARD { type filter hook forward priority 0; policy drop; } chain DOCKER-USER { } }",
    );
    const agent = start();
    await agent.says(/programmed/);
    assert.equal((await ask(topology.internet.namespace, "172.18.0.11", nodePort)).outcome, "timeout");
    const said = await agent.says(/forward/);
    assert.match(said, /table ip filter, chain FORWARD drops/);
    const cure = /nft '([^']+)'/.exec(said)?.[1];
    assert.ok(cure !== undefined, said);
    nft(node.namespace, cure);
    assert.equal((await ask(topology.internet.namespace, "172.18.0.11", nodePort)).outcome, "answered");
    await agent.end();
    nft(node.namespace, "delete table ip filter");
    await cleanUp();
  });

  void test("node ports answer at the addresses that --nodeport-addresses names", async () => {
    must(node.kernel, [{ kind: "set-address", link: "eth0", address: "172.18.7.7", bits: 32 }]);
    const agent = start({ "nodeport-addresses": "172.18.7.0/24" });
    await agent.says(/programmed/);
    assert.equal((await ask(pod("client").namespace, "172.18.7.7", nodePort)).outcome, "answered");
    assert.equal((await ask(pod("client").namespace, "172.18.0.11", nodePort)).outcome, "refused");
    await agent.end();
    must(node.kernel, [{ kind: "delete-address", link: "eth0", address: "172.18.7.7", bits: 32 }]);
    await cleanUp();
  });

  void test("what is wrong on the command line is said with the option's name", async () => {
    for (const [option, value, message] of [
      ["cluster-cidr", "10.0.0.0", /--cluster-cidr 10\.0\.0\.0 is no CIDR/],
      ["healthz-bind-address", "nowhere:1", /--healthz-bind-address nowhere:1 is no address/],
      ["detect-local-mode", "Magic", /--detect-local-mode Magic is unknown/],
      ["detect-local-mode", "BridgeInterface", /needs --pod-bridge-interface/],
    ] as const) {
      const agent = start({ [option]: value });
      assert.equal(await agent.ended, 1);
      assert.match(agent.lines.join("\n"), message);
    }
  });
});

/** What kube-proxy 1.36 makes of one Service with one endpoint, in short (nft list table ip kube-proxy). */
function kubeProxyTable(endpoint: string): string {
  return `table ip kube-proxy {
  map service-ips { type ipv4_addr . inet_proto . inet_service : verdict; elements = { ${vip} . tcp . 80 : goto service-X }; }
  chain endpoint-X { meta l4proto tcp dnat to ${endpoint}:8080 }
  chain service-X { goto endpoint-X }
  chain services { ip daddr . meta l4proto . th dport vmap @service-ips }
  chain nat-prerouting { type nat hook prerouting priority dstnat; jump services; }
  chain nat-output { type nat hook output priority -100; jump services; }
  chain nat-postrouting { type nat hook postrouting priority srcnat; }
}
table ip6 kube-proxy { chain c { type nat hook prerouting priority dstnat; } }
`;
}

/** The same by iptables-nft, with kubelet's chain and a stranger's rule beside (iptables-save). */
function kubeProxyChains(endpoint: string): string {
  return `table ip nat {
  chain KUBE-MARK-MASQ { meta mark set mark or 0x4000 }
  chain KUBE-SEP-AAAAAAAAAAAAAAAA { meta l4proto tcp dnat to ${endpoint}:8080 }
  chain KUBE-SVC-AAAAAAAAAAAAAAAA { goto KUBE-SEP-AAAAAAAAAAAAAAAA }
  chain KUBE-SERVICES { ip daddr ${vip} tcp dport 80 counter jump KUBE-SVC-AAAAAAAAAAAAAAAA }
  chain KUBE-POSTROUTING { return; }
  chain PREROUTING { type nat hook prerouting priority dstnat; counter jump KUBE-SERVICES; }
  chain OUTPUT { type nat hook output priority -100; counter jump KUBE-SERVICES; }
  chain POSTROUTING { type nat hook postrouting priority srcnat; counter jump KUBE-POSTROUTING; }
}
table ip filter {
  chain KUBE-FIREWALL { ip saddr != 127.0.0.0/8 ip daddr 127.0.0.0/8 drop; }
  chain KUBE-FORWARD { ct state invalid drop; }
  chain INPUT { type filter hook input priority 0; jump KUBE-FIREWALL; tcp dport 2222 accept; }
  chain FORWARD { type filter hook forward priority 0; counter jump KUBE-FORWARD; }
}
`;
}

describe("for everything", () => {
  let topology: Topology;
  let api: TestApi;
  const machines = new Map<string, Machine>();
  before(async () => {
    topology = createTopology({ families: [4, 6], nodeCidrs: ["172.18.0.0/16", "fd00:172:18::/64"] });
    for (const index of [1, 2]) {
      const name = `node-${index}`;
      machines.set(name, topology.addNode(name, [`172.18.0.1${index}`, `fd00:172:18::1${index}`]));
    }
    api = await startApi([...machines.values()].map(({ namespace }) => namespace));
    // The node controller has not come by yet: no ranges.
    for (const [name, { addresses }] of machines) api.api.create(nodeObject(name, addresses, []));
  });
  afterEach(endAll);
  after(() => {
    api.close();
    topology.close();
  });

  const machine = (name: string): Machine => {
    const found = machines.get(name);
    assert.ok(found);
    return found;
  };
  const places = (name: string): readonly string[] => [
    `--state-dir=${join(api.folder, name, "state")}`,
    `--cni-dir=${join(api.folder, name, "cni")}`,
    `--cni-bin-dir=${join(api.folder, name, "bin")}`,
    `--cni-conf-dir=${join(api.folder, name, "net.d")}`,
  ];
  const start = (name: string): AgentProcess => {
    const reach = [`--kubeconfig=${api.kubeconfig}`, `--node=${name}`];
    return runFairlead(machine(name).namespace, "agent", ...reach, ...places(name));
  };
  const giveRange = (name: string, podCidrs: readonly string[]): void => {
    const key = { group: "", resource: "nodes", name };
    const object = api.api.get(key) as Node;
    api.api.update({ ...object, spec: { ...object.spec, podCIDRs: podCidrs } });
  };
  /** What a runtime does. */
  const cni = (
    name: string,
    command: string,
    pod: { readonly id: string; readonly namespace: NetworkNamespace; readonly path: string },
  ): { readonly status: number | null; readonly stdout: string } =>
    machine(name).namespace.run(() =>
      spawnSync(join(api.folder, name, "bin", "fairlead-cni"), [], {
        input: JSON.stringify({ cniVersion: "1.0.0", name: "fairlead", type: "fairlead-cni" }),
        env: {
          PATH: process.env.PATH,
          CNI_COMMAND: command,
          CNI_CONTAINERID: pod.id,
          CNI_NETNS: pod.path,
          CNI_IFNAME: "eth0",
          CNI_ARGS: `K8S_POD_NAMESPACE=default;K8S_POD_NAME=${pod.id};K8S_POD_UID=${pod.id}`,
        },
        encoding: "utf8",
      }),
    );

  void test("pods come when the node has ranges, reach each other across nodes, outlive their agent; uninstall leaves nothing", async () => {
    const before = machine("node-1").kernel.links().length;
    const agents = ["node-1", "node-2"].map((name) => start(name));
    await Promise.all(agents.map((agent) => agent.says(/has no pod ranges yet/)));
    assert.deepEqual(listOf(join(api.folder, "node-1", "net.d")), [], "no configuration before there is a network");
    giveRange("node-1", ["10.244.1.0/24", "fd00:10:244:1::/64"]);
    giveRange("node-2", ["10.244.2.0/24", "fd00:10:244:2::/64"]);
    await Promise.all(agents.map((agent) => agent.says(/NetworkUnavailable is False/)));
    const conditions = (api.api.get({ group: "", resource: "nodes", name: "node-1" }) as Node).status?.conditions;
    assert.equal(conditions?.find(({ type }) => type === "NetworkUnavailable")?.status, "False");
    assert.deepEqual(
      JSON.parse(readFileSync(join(api.folder, "node-1", "net.d", "05-fairlead.conflist"), "utf8")).plugins[0].type,
      "fairlead-cni",
    );
    const pods = ["node-1", "node-2"].map((name) => {
      const namespace = createNetworkNamespace();
      const pod = { id: `on-${name}`, namespace, path: `/proc/${process.pid}/fd/${namespace.fd}` };
      const result = cni(name, "ADD", pod);
      assert.equal(result.status, 0, result.stdout);
      const ips = JSON.parse(result.stdout).ips as { address: string }[];
      serve(namespace, pod.id);
      return { ...pod, node: name, addresses: ips.map(({ address }) => address.split("/")[0] ?? "") };
    });
    const [one, two] = pods;
    assert.ok(one && two);
    for (const [family, address] of two.addresses.entries()) {
      const result = await ask(one.namespace, address, 8080);
      assert.equal(result.said?.trim(), `on-node-2 ${one.addresses[family]}`);
    }
    await agents[0]?.end("SIGKILL");
    assert.equal((await ask(one.namespace, two.addresses[0] ?? "", 8080)).outcome, "answered");
    const again = start("node-1");
    await again.says(/programmed 0 changes/);
    await again.end();
    await agents[1]?.end();
    for (const name of machines.keys()) {
      const uninstalling = runFairlead(machine(name).namespace, "uninstall", ...places(name));
      assert.equal(await uninstalling.ended, 0, uninstalling.lines.join("\n"));
      assert.deepEqual(tables(machine(name).namespace), []);
      assert.deepEqual(listOf(join(api.folder, name)), ["bin", "net.d"]);
      assert.deepEqual([...listOf(join(api.folder, name, "bin")), ...listOf(join(api.folder, name, "net.d"))], []);
      assert.deepEqual(ownRoutes(machine(name)), []);
    }
    assert.equal(machine("node-1").kernel.links().length, before);
    for (const socket of sockets) socket.destroy();
    for (const server of servers) server.close();
    for (const { namespace } of pods) namespace.close();
  });
});

function listOf(folder: string): readonly string[] {
  try {
    return readdirSync(folder).sort();
  } catch {
    return [];
  }
}
