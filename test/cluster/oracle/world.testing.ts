// One small world around a node under test: pods on it, another node with more endpoints, and the internet, with servers that tell who
// they are and whom they see. Worlds are alike down to the addresses, so that what differs is what programs their node.
//
//   outside ── router ── node-1: pods a, b, and the node itself
//                   └─── node-2: endpoints, and pods that ask

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import dgram from "node:dgram";
import { createServer, type Socket } from "node:net";

import { familyOf, type Address } from "../../../src/ip/address.ts";
import { mustChange } from "../../../src/kernel/kernel.ts";
import { createNetworkNamespace, type NetworkNamespace } from "../../../src/kernel/namespaces.ts";
import { bindUdpFd, listenTcpFd } from "../../../src/kernel/sockets.ts";
import { readSysctl, writeSysctl } from "../../../src/kernel/sysctls.ts";
import { createTopology } from "../../../src/lab/network/topology.ts";

export const podCidrs = "10.244.0.0/16,fd00:10:244::/56";
export const nodeAddresses = ["172.18.0.11", "fd00:172:18::11"] as const;
/** Of node-1, on the links to its pods. */
export const podGateways: readonly Address[] = ["10.244.1.1", "fd00:10:244:1::1"];
/** Of load balancers, on node-1's loopback. */
export const balancersOnNode: readonly Address[] = ["198.51.100.100", "2001:db8:5::100"];
export const otherAddresses = ["172.18.0.12", "fd00:172:18::12"] as const;
export const outsideAddresses = ["203.0.113.10", "2001:db8:1::10"] as const;
/** Where all servers listen, TCP and UDP. */
export const serverPorts = [8080, 8081] as const;

/** Who asks. `passer`: a pod of the other node; `other`: that node itself. */
export const places = ["pod", "node", "passer", "other", "outside"] as const;
export type Place = (typeof places)[number];

export interface World {
  readonly node: NetworkNamespace;
  namespaceOf(place: Place): NetworkNamespace;
  close(): void;
}

/** The n-th pod of a node. */
export function podAddress(node: 1 | 2, n: number): readonly [Address, Address] {
  return [`10.244.${node}.${n}`, `fd00:10:244:${node}::${n.toString(16)}`];
}

/** Pods of node-2 that serve, and those that only ask. */
export const farPods: readonly number[] = [5, 6, 7, 8];
export const askers: readonly number[] = Array.from({ length: 40 }, (_, index) => 100 + index);

/** What leads to the node under test, for whoever is not on it: Services' ranges, and balancers' and external addresses. */
const ledHere = ["10.96.0.0/16", "198.51.100.0/24", "fd00:10:96::/112", "2001:db8:5::/64"];

export function startWorld(): World {
  const topology = createTopology({ families: [4, 6], nodeCidrs: ["172.18.0.0/16", "fd00:172:18::/64"] });
  const node = topology.addNode("node-1", nodeAddresses);
  const other = topology.addNode("node-2", otherAddresses);
  const closing: (() => void)[] = [];
  for (const { kernel } of [node, other]) {
    kernel.writeSysctl("net/ipv4/ip_forward", "1");
    kernel.writeSysctl("net/ipv6/conf/all/forwarding", "1");
    kernel.writeSysctl("net/ipv4/conf/all/send_redirects", "0");
    kernel.writeSysctl("net/ipv4/conf/eth0/send_redirects", "0");
  }
  // The pods of node-1 as well: endpoints outside answer them.
  ip(
    topology.underlay.namespace,
    [...ledHere, "10.244.1.0/24", "fd00:10:244:1::/64"].map(
      (range) => `route add ${range} via ${familyOf(range) === 4 ? nodeAddresses[0] : nodeAddresses[1]}`,
    ),
  );
  ip(node.namespace, [
    `route add 10.244.2.0/24 via ${otherAddresses[0]}`,
    `route add fd00:10:244:2::/64 via ${otherAddresses[1]}`,
    // As clouds' agents do with balancers' addresses.
    ...balancersOnNode.map((address) => `addr add ${address} dev lo`),
  ]);
  const far = [...farPods, ...askers].flatMap((n) => podAddress(2, n));
  ip(other.namespace, [
    ...far.map((address) => `addr add ${address}${familyOf(address) === 4 ? "/32" : "/128 nodad"} dev lo`),
    ...["10.244.1.0/24", "fd00:10:244:1::/64", ...ledHere].map(
      (range) => `route add ${range} via ${familyOf(range) === 4 ? nodeAddresses[0] : nodeAddresses[1]}`,
    ),
  ]);
  const pods = [5, 6].map((n) => {
    const namespace = createNetworkNamespace();
    const [four, six] = podAddress(1, n);
    const link = `pod${n}`;
    const [hostMac, podMac] = [`0a:00:00:00:01:0${n}`, `0a:00:00:00:02:0${n}`];
    mustChange(node.kernel, [
      {
        kind: "create-veth",
        name: link,
        mac: hostMac,
        mtu: 1500,
        peer: { name: "eth0", mac: podMac, namespaceFd: namespace.fd },
      },
      { kind: "set-link", name: link, addressGeneration: "none", up: true },
    ]);
    ip(namespace, [
      "link set eth0 addrgenmode none",
      "link set eth0 up",
      `addr add ${four}/32 dev eth0`,
      `addr add ${six}/128 dev eth0 nodad`,
      `neigh replace 169.254.1.1 lladdr ${hostMac} dev eth0 nud permanent`,
      `neigh replace fe80::1 lladdr ${hostMac} dev eth0 nud permanent`,
      "route add default via 169.254.1.1 dev eth0 onlink",
      "route add default via fe80::1 dev eth0 onlink",
    ]);
    ip(node.namespace, [
      `addr add 10.244.1.1/32 dev ${link}`,
      `addr add fd00:10:244:1::1/128 dev ${link} nodad`,
      `neigh replace ${four} lladdr ${podMac} dev ${link} nud permanent`,
      `neigh replace ${six} lladdr ${podMac} dev ${link} nud permanent`,
      `route add ${four} dev ${link}`,
      `route add ${six} dev ${link}`,
    ]);
    node.kernel.writeSysctl(`net/ipv4/conf/${link}/send_redirects`, "0");
    closing.push(() => namespace.close());
    return { namespace, addresses: [four, six] };
  });
  const { internet, underlay } = topology;
  // Every refusal is to be seen: the kernel sends few of the errors that TCP gets from kube-proxy.
  for (const namespace of [
    ...pods.map((pod) => pod.namespace),
    ...[node, other, internet, underlay].map((machine) => machine.namespace),
  ])
    for (const [path, value] of [
      ["net/ipv4/icmp_ratelimit", "0"],
      ["net/ipv4/icmp_msgs_per_sec", "1000000"],
      ["net/ipv4/icmp_msgs_burst", "1000000"],
      ["net/ipv6/icmp/ratelimit", "0"],
    ] as const)
      if (readSysctl(namespace, "world", path) !== undefined) writeSysctl(namespace, "world", path, value);
  const farServers = farPods.flatMap((n) => podAddress(2, n));
  for (const [namespace, addresses] of [
    ...pods.map(({ namespace, addresses }) => [namespace, addresses] as const),
    [node.namespace, nodeAddresses],
    [other.namespace, [...otherAddresses, ...farServers]],
    [internet.namespace, outsideAddresses],
  ] as const)
    for (const port of serverPorts) closing.push(serve(namespace, addresses, port));
  const [asking] = pods;
  assert.ok(asking);
  const namespaces: Readonly<Record<Place, NetworkNamespace>> = {
    pod: asking.namespace,
    node: node.namespace,
    passer: other.namespace,
    other: other.namespace,
    outside: internet.namespace,
  };
  return {
    node: node.namespace,
    namespaceOf: (place) => namespaces[place],
    close() {
      for (const close of closing) close();
      topology.close();
    },
  };
}

function ip(namespace: NetworkNamespace, lines: readonly string[]): void {
  const { status, stderr } = namespace.run(() =>
    spawnSync("ip", ["-batch", "-"], { input: `${lines.join("\n")}\n`, encoding: "utf8" }),
  );
  assert.equal(status, 0, `${stderr}\n${lines.join("\n")}`);
}

/** Says `address:port client` at once by TCP and repeats what it hears; says the same for each datagram. */
function serve(namespace: NetworkNamespace, addresses: readonly Address[], port: number): () => void {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
    socket.on("error", () => {});
    socket.write(`${plain(socket.localAddress)}:${port} ${plain(socket.remoteAddress)}\n`);
    socket.pipe(socket);
  });
  server.listen({ fd: listenTcpFd(namespace, { port }) });
  const datagrams = addresses.map((address) => {
    const socket = dgram.createSocket(familyOf(address) === 4 ? "udp4" : "udp6");
    socket.on("error", () => {});
    socket.on("message", (_, from) => {
      socket.send(`${address}:${port} ${from.address}`, from.port, from.address, () => {});
    });
    socket.bind({ fd: bindUdpFd(namespace, { address, port }) });
    return socket;
  });
  return () => {
    server.close();
    for (const socket of sockets) socket.destroy();
    for (const socket of datagrams) socket.close();
  };
}

function plain(address: string | undefined): string {
  return (address ?? "").replace("::ffff:", "");
}
