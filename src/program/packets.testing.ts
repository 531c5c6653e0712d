// Two nodes, their pods and an outside in network namespaces, with Programs put in by `ip`, `bridge` and `nft` from their text:
// what a Program says is tried on real packets here, apart from our own way into the kernel (apply/, kernel/), which has tests of its own.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import dgram from "node:dgram";
import { once } from "node:events";
import fs from "node:fs";
import net from "node:net";
import process from "node:process";

import { familyOf, type Address } from "../ip/address.ts";
import type { Mac } from "../ip/mac.ts";
import { check, libc } from "../kernel/ffi.ts";
import { createNetworkNamespace, type NetworkNamespace } from "../kernel/namespaces.ts";
import { bindUdpFd, listenTcpFd, tcpSocketFd } from "../kernel/sockets.ts";
import type { Attachment, Network } from "../model/network.ts";
import { formatTables } from "./format.ts";
import { routeText } from "./lines.ts";
import { gatewayOf, bridgeMac, ofFamily } from "./places.ts";
import type { Link, Program } from "./program.ts";

/** Namespaces by name: nodes, pods, `outside` and `switch`. */
export interface PacketLab {
  readonly places: ReadonlyMap<string, NetworkNamespace>;
  /** Runs a shell script inside; its output. Fails the test where the script fails. */
  sh(place: string, script: string): string;
  close(): void;
}

/** A node of the lab: its Program, and the pods on it. */
export interface LabNode {
  readonly name: string;
  readonly program: Program;
  readonly pods: readonly Attachment[];
}

/** The outside's addresses on the underlay, which is every node's default route. */
export const outside = { 4: "172.18.254.254", 6: "fd00:172:18::fefe" } as const;

/** Makes the namespaces and links that are not a Program's, then puts the Programs in. */
export function createPacketLab(network: Network, nodes: readonly LabNode[]): PacketLab {
  const names = ["switch", "outside", ...nodes.flatMap(({ name, pods }) => [name, ...pods.map((pod) => pod.name)])];
  const places = new Map(names.map((name) => [name, createNetworkNamespace()]));
  const lab: PacketLab = {
    places,
    sh: (place, script) => run(placeOf(places, place), script),
    close: () => {
      for (const place of places.values()) place.close();
    },
  };
  const path = (name: string): string => pathOf(placeOf(places, name));
  lab.sh("switch", "ip link add br0 type bridge; ip link set br0 up");
  const plug = (name: string, index: number): void => {
    lab.sh(
      "switch",
      `ip link add port${index} type veth peer name eth0 netns ${path(name)}; ip link set port${index} master br0 up`,
    );
  };
  plug("outside", 0);
  lab.sh("outside", `${addressCommands([outside[4], outside[6]], [16, 64])}; ip link set eth0 up`);
  for (const [index, node] of nodes.entries()) {
    plug(node.name, index + 1);
    const addresses = network.nodes.find(({ name }) => name === node.name)?.addresses ?? [];
    lab.sh(
      node.name,
      `${addressCommands(addresses, [16, 64])}; ip link set eth0 up\n${addresses
        .map((address) => `${ip(address)} route add default via ${outside[familyOf(address)]}`)
        .join("\n")}`,
    );
    lab.sh(
      node.name,
      linkCommands(node.program, (pod) => path(nameOf(node, pod))),
    );
    for (const pod of node.pods) lab.sh(pod.name, podCommands(network, node.name, pod));
    install(lab, node.program);
  }
  return lab;
}

/** Puts everything of a Program but its links into its node; again and again, as it changes. */
export function install(lab: PacketLab, program: Program): void {
  const commands = [
    ...program.sysctls.map(({ path, value }) => `echo ${value} > /proc/sys/${path}`),
    ...program.addresses.map(
      ({ address, bits, link }) => `${ip(address)} addr replace ${address}/${bits} dev ${link} nodad`,
    ),
    ...program.neighbours.map(
      ({ address, link, mac }) => `${ip(address)} neigh replace ${address} lladdr ${mac} dev ${link} nud permanent`,
    ),
    ...program.forwarding.map(({ link, mac, remote }) =>
      remote === undefined
        ? `bridge fdb replace ${mac} dev ${link} master static`
        : `bridge fdb replace ${mac} dev ${link} dst ${remote} self permanent`,
    ),
    ...program.routes.map((route) => `${ip(route.to)} route replace ${routeText(route)}`),
    `nft -f - <<'END'\n${program.tables.map(({ family, name }) => `table ${family} ${name}\ndelete table ${family} ${name}\n`).join("")}${formatTables(program)}\nEND`,
  ];
  lab.sh(program.node, commands.join("\n"));
}

function linkCommands(program: Program, podPath: (link: string) => string): string {
  return program.links.map((link) => linkCommand(link, podPath)).join("\n");
}

function linkCommand(link: Link, podPath: (link: string) => string): string {
  switch (link.kind) {
    case "bridge":
      return `ip link add ${link.name} address ${link.mac} mtu ${link.mtu} type bridge; ${withoutLinkLocal(link.name)}`;
    case "vxlan":
      return `ip link add ${link.name} address ${link.mac} mtu ${link.mtu} type vxlan id ${link.vni} dstport ${link.port} local ${link.local} nolearning
        ${withoutLinkLocal(link.name)}`;
    case "pod":
      return `ip link add ${link.name} mtu ${link.mtu} type veth peer name eth0 mtu ${link.mtu} netns ${podPath(link.name)}
        ip link set ${link.name} master ${link.bridge}
        bridge link set dev ${link.name} isolated on learning off flood off mcast_flood off bcast_flood off
        ${withoutLinkLocal(link.name)}`;
    case "uplink":
      return "";
  }
}

/** As apply/links.ts does it: a bridge with a link-local address tells pods by IPv6 redirects that they are neighbours, which they are not. */
function withoutLinkLocal(link: string): string {
  return `ip link set ${link} addrgenmode none; ip link set ${link} up`;
}

function podCommands(network: Network, nodeName: string, { mac, addresses }: Attachment): string {
  const ranges = network.nodes.find(({ name }) => name === nodeName)?.podCidrs ?? [];
  const ways = addresses.map((address) => {
    const gateway = gatewayOf(ofFamily(ranges, familyOf(address)) ?? "");
    return `${ip(address)} neigh replace ${gateway} lladdr ${bridgeMac(nodeName)} dev eth0 nud permanent
      ${ip(address)} route add ${gateway} dev eth0; ${ip(address)} route add default via ${gateway}`;
  });
  return `ip link set eth0 address ${mac}; ${addressCommands(addresses, [32, 128])}; ip link set eth0 up\n${ways.join("\n")}`;
}

function addressCommands(addresses: readonly Address[], [bits4, bits6]: readonly [number, number]): string {
  return addresses
    .map((address) => `${ip(address)} addr add ${address}/${familyOf(address) === 4 ? bits4 : bits6} dev eth0 nodad`)
    .join("; ");
}

function ip(destination: string): string {
  return familyOf(destination) === 4 ? "ip" : "ip -6";
}

function nameOf({ pods }: LabNode, link: string): string {
  return pods.find((pod) => pod.link === link)?.name ?? link;
}

function placeOf(places: ReadonlyMap<string, NetworkNamespace>, name: string): NetworkNamespace {
  const place = places.get(name);
  assert.ok(place, `there is a place ${name}`);
  return place;
}

function pathOf({ fd }: NetworkNamespace): string {
  return `/proc/${process.pid}/fd/${fd}`;
}

function run(place: NetworkNamespace, script: string): string {
  const { status, stdout, stderr } = spawnSync("nsenter", [`--net=${pathOf(place)}`, "sh", "-e", "-c", script], {
    encoding: "utf8",
  });
  assert.equal(status, 0, `${stderr}\nof\n${script}`);
  return stdout;
}

/** Servers at a place that say who they are and whom they see: `api saw 10.244.1.5`. TCP and UDP on the same port. */
export async function serve(
  lab: PacketLab,
  name: string,
  port: number,
): Promise<{ close(): void; readonly heard: string[] }> {
  const place = placeOf(lab.places, name);
  const heard: string[] = [];
  const greet = (address: string | undefined): string => `${name} saw ${(address ?? "").replace("::ffff:", "")}`;
  const tcp = net.createServer((socket) => {
    socket.on("error", () => {});
    socket.end(greet(socket.remoteAddress));
  });
  tcp.listen({ fd: listenTcpFd(place, { port }) });
  const udp = dgram.createSocket("udp6");
  udp.on("message", (message, { address, port: from }) => {
    heard.push(`${message.toString()} from ${address.replace("::ffff:", "")}`);
    udp.send(greet(address), from, address);
  });
  udp.bind({ fd: bindUdpFd(place, { port }) });
  await once(tcp, "listening");
  return {
    heard,
    close() {
      tcp.close();
      udp.close();
    },
  };
}

/** After that, nobody answers. */
const silenceMs = 3000;

/** What a TCP connection from a place gets: the server's words, or the error's code. `local` is the source address to ask from. */
export async function ask(
  lab: PacketLab,
  from: string,
  host: Address,
  port: number,
  patienceMs: number = silenceMs,
  local?: Address,
): Promise<string> {
  const socket = new net.Socket({ fd: tcpSocketFd(placeOf(lab.places, from), familyOf(host)) });
  const words: Buffer[] = [];
  socket.on("data", (chunk: Buffer) => words.push(chunk));
  return new Promise((resolve) => {
    socket.setTimeout(patienceMs, () => socket.destroy(Object.assign(new Error("silence"), { code: "SILENCE" })));
    socket.on("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    socket.on("end", () => {
      resolve(Buffer.concat(words).toString());
      socket.destroy();
    });
    socket.connect({ host, port, ...(local !== undefined && { localAddress: local }) });
  });
}

/** What a datagram from a place gets: the server's words, or the error's code. `local` is the source address to send from. */
export async function askUdp(lab: PacketLab, from: string, host: Address, port: number): Promise<string> {
  const any = familyOf(host) === 4 ? "0.0.0.0" : "::";
  const socket = dgram.createSocket(familyOf(host) === 4 ? "udp4" : "udp6");
  socket.bind({ fd: bindUdpFd(placeOf(lab.places, from), { port: 0, address: any }) });
  return new Promise((resolve) => {
    const deadline = setTimeout(() => end("SILENCE"), silenceMs);
    const end = (text: string): void => {
      clearTimeout(deadline);
      socket.close();
      resolve(text);
    };
    socket.on("error", (error: NodeJS.ErrnoException) => end(error.code ?? error.message));
    socket.on("message", (message) => end(message.toString()));
    socket.connect(port, host, () =>
      socket.send("hello", (error) => error !== null && end((error as NodeJS.ErrnoException).code ?? "")),
    );
  });
}

const socketCall = libc("int socket(int domain, int type, int protocol)");
const sendTo = libc(
  "ssize_t sendto(int fd, const uint8_t *bytes, size_t length, int flags, const uint8_t *to, uint32_t toLength)",
);
const AF_PACKET = 17;
const SOCK_RAW = 3;

/** The hardware address of a place's eth0. */
export function linkMac(lab: PacketLab, place: string): Mac {
  return /([0-9a-f]{2}:){5}[0-9a-f]{2}/.exec(lab.sh(place, "ip -o link show eth0"))?.[0] ?? "";
}

/** Sends a frame as it is from a place's eth0 (packet(7)). */
export function sendFrame(lab: PacketLab, from: string, frame: Uint8Array): void {
  const place = placeOf(lab.places, from);
  const index = Number.parseInt(lab.sh(from, "ip -o link show eth0"), 10);
  const fd = check(
    "open a packet socket",
    place.run(() => socketCall(AF_PACKET, SOCK_RAW, 0)),
  );
  // struct sockaddr_ll: family, protocol, ifindex, hatype, pkttype, halen, addr[8]
  const to = new Uint8Array(20);
  const view = new DataView(to.buffer);
  view.setUint16(0, AF_PACKET, true);
  view.setInt32(4, index, true);
  to[11] = 6;
  to.set(frame.subarray(0, 6), 12);
  try {
    check("send a frame", sendTo(fd, frame, frame.length, 0, to, to.length));
  } finally {
    fs.closeSync(fd);
  }
}
