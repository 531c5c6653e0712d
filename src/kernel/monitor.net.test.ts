// Needs: ip, nft

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { afterEach, beforeEach, test } from "node:test";

import type { Change, Closable, MonitorEvent, NetworkKernel } from "./kernel.ts";
import { openKernel } from "./linux.ts";
import { createNetworkNamespace, type NetworkNamespace } from "./namespaces.ts";
import { openNetlinkSocket, protocol as netlinkProtocol } from "./netlink-socket.ts";

let node: NetworkNamespace;
let pod: NetworkNamespace;
let kernel: NetworkKernel;
let inPod: NetworkKernel;
let monitor: Closable;
let events: MonitorEvent[];
let told: () => void;

beforeEach(() => {
  [node, pod] = [createNetworkNamespace(), createNetworkNamespace()];
  [kernel, inPod] = [openKernel("node-1", node), openKernel("pod", pod)];
  make(kernel, ...network);
  events = [];
  told = () => undefined;
  monitor = kernel.monitor((event) => {
    events.push(event);
    told();
  });
});
afterEach(() => {
  for (const one of [monitor, kernel, inPod, node, pod]) one.close();
});

const protocol = 0xf1;
const network: readonly Change[] = [
  { kind: "create-bridge", name: "cbr0", mac: "02:00:00:00:00:01", mtu: 1450 },
  { kind: "set-link", name: "cbr0", up: true },
  { kind: "create-vxlan", name: "fl.vx", mac: "02:00:00:00:00:02", mtu: 1450, vni: 1, port: 8472, local: "192.0.2.1" },
  { kind: "set-address", link: "cbr0", address: "10.0.0.1", bits: 24 },
  { kind: "set-address", link: "cbr0", address: "fd00::1", bits: 64 },
  { kind: "create-veth", name: "port", mtu: 1450, peer: { name: "far" } },
  { kind: "set-link", name: "port", master: "cbr0" },
  { kind: "set-forwarding", link: "fl.vx", mac: "02:00:00:00:00:09", remote: "192.0.2.2" },
  { kind: "set-neighbour", link: "cbr0", address: "10.0.0.5", mac: "02:00:00:00:00:05" },
];

function make(where: NetworkKernel, ...changes: Change[]): void {
  for (const result of where.change(changes)) if (!result.ok) throw result.error;
}

function run(command: string): void {
  const result = node.run(() => spawnSync("sh", ["-ec", command], { encoding: "utf8" }));
  assert.equal(result.status, 0, result.stderr);
}

/** What is told until the ruleset of a table named `fence` is seen to change: that table's own event left out. */
async function untilFence(): Promise<string[]> {
  run("nft add table ip fence; nft delete table ip fence");
  while (!events.some((event) => event.kind === "nftables" && / by nft /.test(event.detail)))
    await new Promise<void>((resolve) => (told = resolve));
  const seen = events.filter((event) => event.kind !== "nftables").map((event) => `${event.kind}: ${event.detail}`);
  events = [];
  return seen;
}

void test("every change by another program is told", async () => {
  const cases: readonly (readonly [string, string])[] = [
    ["ip link set cbr0 mtu 1300", "link: link cbr0 changed"],
    ["ip link set cbr0 alias theirs", "link: link cbr0 changed"],
    ["ip link add theirs type bridge", "link: link theirs created"],
    ["ip link delete theirs", "link: link theirs deleted"],
    ["bridge link set dev port isolated on", "link: bridge port port changed"],
    ["ip link set port nomaster", "link: link port changed"],
    ["sysctl -qw net.ipv4.ip_forward=1", "sysctl: net.ipv4.conf.all.forwarding set to 1"],
    ["sysctl -qw net.ipv6.conf.all.forwarding=1", "sysctl: net.ipv6.conf.all.forwarding set to 1"],
    ["sysctl -qw net.ipv4.conf.all.rp_filter=1", "sysctl: net.ipv4.conf.all.rp_filter set to 1"],
    ["ip address add 10.0.1.1/24 dev cbr0", "address: address 10.0.1.1/24 on cbr0 set"],
    ["ip address delete 10.0.1.1/24 dev cbr0", "address: address 10.0.1.1/24 on cbr0 deleted"],
    ["ip address add fd01::1/64 dev cbr0", "address: address fd01::1/64 on cbr0 set"],
    ["ip address delete fd01::1/64 dev cbr0", "address: address fd01::1/64 on cbr0 deleted"],
    ["ip route add 10.9.0.0/16 via 10.0.0.9", "route: route to 10.9.0.0/16 set"],
    ["ip route delete 10.9.0.0/16", "route: route to 10.9.0.0/16 deleted"],
    ["ip route add fd09::/64 via fd00::9", "route: route to fd09::/64 set"],
    ["ip neigh delete 10.0.0.5 dev cbr0", "neighbour: neighbour 10.0.0.5 on cbr0 set"],
    [
      "bridge fdb del 02:00:00:00:00:09 dev fl.vx dst 192.0.2.2",
      "neighbour: forwarding of 02:00:00:00:00:09 on fl.vx deleted",
    ],
  ];
  for (const [command, expected] of cases) {
    run(command);
    const seen = await untilFence();
    assert.ok(seen.includes(expected), `${command}: ${seen.join("; ")}`);
  }
});

void test("nothing that we do is told, whichever of our sockets does it", async () => {
  const route = (to: string): Change => ({
    kind: "set-route",
    to,
    action: "forward",
    link: "cbr0",
    metric: 0,
    protocol,
  });
  const second = openKernel("node-1", node);
  for (const ours of [kernel, second]) {
    make(
      ours,
      { kind: "create-veth", name: "flp1", mtu: 1450, peer: { name: "eth0", namespaceFd: pod.fd } },
      { kind: "set-link", name: "flp1", master: "cbr0", up: true, alias: "ours" },
      { kind: "set-bridge-port", name: "flp1", settings: { isolated: true } },
      { kind: "set-forwarding", link: "flp1", mac: "02:00:00:00:00:07" },
      { kind: "set-forwarding", link: "fl.vx", mac: "02:00:00:00:00:08", remote: "192.0.2.3" },
      { kind: "set-neighbour", link: "cbr0", address: "10.0.0.6", mac: "02:00:00:00:00:06" },
      { kind: "set-address", link: "cbr0", address: "fd00::2", bits: 64 },
      route("10.7.0.0/16"),
      route("fd07::/64"),
    );
    ours.nftCommit([{ kind: "add-table", family: "ip", table: "ours" }]);
    ours.nftCommit([{ kind: "delete-table", family: "ip", table: "ours" }]);
    // The other end comes up later: the port gets its carrier by the kernel's own hand.
    make(inPod, { kind: "set-link", name: "eth0", up: true });
    make(ours, { kind: "delete-address", link: "cbr0", address: "fd00::2", bits: 64 });
    make(ours, { kind: "delete-link", name: "flp1" });
  }
  second.close();
  assert.deepEqual(await untilFence(), []);
});

void test("an IPv6 address of ours that the kernel tells of later is no news", async () => {
  const wanted = Array.from({ length: 50 }, (_, index) => `fd00::1:${(index + 1).toString(16)}`);
  for (const address of wanted) make(kernel, { kind: "set-address", link: "cbr0", address, bits: 64 });
  assert.deepEqual(await untilFence(), []);
  for (const address of wanted) make(kernel, { kind: "delete-address", link: "cbr0", address, bits: 64 });
  assert.deepEqual(await untilFence(), []);
});

void test("another program's transaction is told with the program's name, ours is not", async () => {
  kernel.nftCommit([{ kind: "add-table", family: "ip", table: "ours" }]);
  run("nft add table ip theirs");
  await untilFence();
  kernel.nftCommit([{ kind: "delete-table", family: "ip", table: "ours" }]);
  run("nft delete table ip theirs");
  events = [];
  run("nft add table ip theirs");
  while (events.length === 0) await new Promise<void>((resolve) => (told = resolve));
  for (const event of events) assert.match(event.detail, /^ruleset changed by nft \(process \d+\)$/);
});

void test("a refused transaction of ours is not taken for another's", async () => {
  assert.throws(() => kernel.nftCommit([{ kind: "delete-table", family: "ip", table: "nothing" }]));
  kernel.nftCommit([{ kind: "add-table", family: "ip", table: "ours" }]);
  assert.deepEqual(await untilFence(), []);
});

void test("a transaction that could not even be sent leaves the monitor listening", async () => {
  const socket = openNetlinkSocket(node, netlinkProtocol.netfilter, { sendBufferBytes: 1 });
  const request = { type: 0x101, flags: 0, body: new Uint8Array(60_000) };
  assert.throws(() => socket.transaction([request], "send too much"), /EMSGSIZE/);
  assert.deepEqual(await untilFence(), []);
  socket.close();
});

void test("what a sysctl of ours takes away is our own doing, and so is the sysctl", async () => {
  kernel.writeSysctl("net/ipv4/ip_forward", "1");
  kernel.writeSysctl("net/ipv6/conf/all/forwarding", "1");
  kernel.writeSysctl("net/ipv6/conf/cbr0/disable_ipv6", "1");
  assert.ok(!kernel.addresses().some((one) => one.address === "fd00::1"));
  assert.deepEqual(await untilFence(), []);
  run("sysctl -qw net.ipv6.conf.cbr0.disable_ipv6=0; ip address add fd00::3/64 dev cbr0");
  assert.deepEqual(await untilFence(), ["address: address fd00::3/64 on cbr0 set"]);
});

void test("a monitor keeps no process alive", () => {
  const from = (file: string): string => JSON.stringify(import.meta.resolve(file));
  const source = `
    const { createNetworkNamespace } = await import(${from("./namespaces.ts")});
    const { openKernel } = await import(${from("./linux.ts")});
    openKernel("node-1", createNetworkNamespace()).monitor(() => {});`;
  const child = spawnSync(process.execPath, ["--input-type=module", "-e", source], {
    encoding: "utf8",
    timeout: 60_000,
  });
  assert.equal(child.status, 0, child.stderr);
});
