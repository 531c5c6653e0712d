// The cluster's edge: what pods look like from outside, and what neither pods nor outsiders may do.

import assert from "node:assert/strict";
import { createSocket } from "node:dgram";
import { after, before, describe, test } from "node:test";

import { addressBytes, type Address, type Family } from "../../src/ip/address.ts";
import { macBytes, type Mac } from "../../src/ip/mac.ts";
import { addressAt, addressBits } from "../../src/ip/prefix.ts";
import type { Change } from "../../src/kernel/kernel.ts";
import { openKernel } from "../../src/kernel/linux.ts";
import type { NetworkNamespace } from "../../src/kernel/namespaces.ts";
import { bindUdpFd } from "../../src/kernel/sockets.ts";
import { serveUdp } from "../../src/kernel/udp.ts";
import { ping, probeTcp, probeUdp } from "../../src/lab/network/probe.ts";
import { vxlan } from "../../src/program/links.ts";
import { tunnelMac } from "../../src/program/places.ts";
import { podPort, startCluster, type TestCluster, type TestPod } from "./cluster.testing.ts";

const families = [4, 6] as const satisfies readonly Family[];
/** Silence is an answer here: long enough for any real one on this machine. */
const timeoutMs = 150;

describe("the edge of the cluster", () => {
  let cluster: TestCluster;
  let a: TestPod;
  let b: TestPod;
  let c: TestPod;
  before(async () => {
    cluster = await startCluster({ nodes: 2 });
    [a, b, c] = await Promise.all([
      cluster.addPod("a", "node-1", { hostPort: 8443 }),
      cluster.addPod("b", "node-1"),
      cluster.addPod("c", "node-2"),
    ]);
    cluster.serve(cluster.topology.internet.namespace, "internet");
    cluster.serve(cluster.node("node-2").machine.namespace, "node-2");
    await cluster.synced();
  });
  after(() => cluster.close());

  const addressOf = (machine: { readonly addresses: readonly Address[] }, family: Family): Address => {
    const found = machine.addresses.find((one) => one.includes(":") === (family === 6));
    assert.ok(found);
    return found;
  };
  /** Changes inside a pod, as root in it could make them. */
  const inside = (pod: TestPod, ...changes: Change[]): void => {
    const kernel = openKernel(pod.name, pod.namespace);
    try {
      for (const result of kernel.change(changes)) assert.ok(result.ok, result.ok ? "" : result.error.message);
    } finally {
      kernel.close();
    }
  };

  for (const family of families) {
    test(`IPv${family}: the internet sees the node's address, not the pod's`, async () => {
      const address = addressOf(cluster.topology.internet, family);
      const result = await probeTcp(a.namespace, { address, port: podPort, read: true });
      const node = addressOf(cluster.node("node-1").machine, family);
      assert.equal(result.said, `internet ${node}\n`);
      assert.equal((await ping(a.namespace, { address })).outcome, "answered");
    });

    test(`IPv${family}: nothing comes in from outside to a pod's own address`, async () => {
      const { namespace } = cluster.topology.internet;
      const result = await probeTcp(namespace, { address: a.address(family), port: podPort, timeoutMs });
      assert.notEqual(result.outcome, "answered");
    });

    test(`IPv${family}: a host port leads to its pod`, async () => {
      const address = addressOf(cluster.node("node-1").machine, family);
      const { namespace } = cluster.topology.internet;
      const result = await probeTcp(namespace, { address, port: 8443, read: true });
      assert.match(result.said ?? JSON.stringify(result), /^a /);
    });

    test(`IPv${family}: a pod and its node, and another node, reach each other`, async () => {
      const own = cluster.node("node-1").machine.namespace;
      const other = cluster.node("node-2").machine;
      assert.match((await probeTcp(own, { address: a.address(family), port: podPort, read: true })).said ?? "", /^a /);
      assert.match((await probeTcp(own, { address: c.address(family), port: podPort, read: true })).said ?? "", /^c /);
      const target = { address: addressOf(other, family), port: podPort, read: true };
      assert.match((await probeTcp(a.namespace, target)).said ?? "", /^node-2 /);
    });

    test(`IPv${family}: a pod with somebody else's address is not heard`, async () => {
      const stolen = addressAt(cluster.node("node-1").podCidr(family), 77);
      for (const source of [stolen, b.address(family)]) {
        inside(a, { kind: "set-address", link: "eth0", address: source, bits: addressBits(family) });
        for (const to of [b, c].filter((pod) => pod.address(family) !== source)) {
          const target = { address: to.address(family), port: podPort, source, timeoutMs };
          assert.equal((await probeUdp(a.namespace, target)).outcome, "timeout", `${source} to ${to.name}`);
        }
        inside(a, { kind: "delete-address", link: "eth0", address: source, bits: addressBits(family) });
      }
    });
  }

  test("a pod with somebody else's hardware address is not heard", async () => {
    const target = { address: b.address(4), port: podPort, timeoutMs };
    inside(c, { kind: "set-link", name: "eth0", mac: "02:00:00:00:00:77" });
    assert.equal((await probeUdp(c.namespace, target)).outcome, "timeout");
  });

  test("frames of a tunnel are taken from nodes only", async () => {
    const heard: string[] = [];
    let told = (): void => {};
    const server = serveUdp(a.namespace, { port: 9999 }, (datagram) => {
      heard.push(new TextDecoder().decode(datagram.bytes));
      told();
    });
    const node = addressOf(cluster.node("node-1").machine, 4);
    const send = async (from: NetworkNamespace, said: string): Promise<void> => {
      const socket = createSocket("udp4");
      socket.bind({ fd: bindUdpFd(from, { address: "0.0.0.0", port: 0 }) });
      const source = addressAt(cluster.node("node-2").podCidr(4), 77);
      const frame = tunnelled(tunnelMac("node-1"), source, a.address(4), 9999, said);
      await new Promise((resolve) => {
        socket.send(frame, vxlan.port, node, resolve);
      });
      socket.close();
    };
    try {
      await send(cluster.topology.internet.namespace, "stranger");
      const node2 = new Promise<void>((resolve) => (told = resolve));
      await send(cluster.node("node-2").machine.namespace, "node");
      await node2;
      assert.deepEqual(heard, ["node"]);
    } finally {
      server.close();
    }
  });

  test("packets of a pod's full MTU pass between nodes, and larger ones are refused with the right size", async () => {
    const mtu = cluster.config.underlayMtu - 50;
    const address = b.address(4);
    // 20 bytes of IP and 8 of ICMP.
    assert.equal((await ping(a.namespace, { address, bytes: mtu - 28 })).outcome, "answered");
    assert.equal((await ping(a.namespace, { address, bytes: mtu - 27 })).code, "EMSGSIZE");
    const across = cluster.node("node-2").machine.namespace;
    assert.equal((await ping(across, { address, bytes: mtu - 28 })).outcome, "answered");
  });
});

/** A UDP datagram in IPv4 (RFC 791) in Ethernet in VXLAN (RFC 7348), as the tunnel's other end would send it. */
function tunnelled(mac: Mac, source: Address, destination: Address, port: number, text: string): Uint8Array {
  const payload = new TextEncoder().encode(text);
  const packet = new Uint8Array(8 + 14 + 20 + 8 + payload.length);
  const view = new DataView(packet.buffer);
  view.setUint8(0, 0x08);
  view.setUint32(4, vxlan.vni << 8);
  packet.set(macBytes(mac), 8);
  packet.set(macBytes("02:00:00:00:00:77"), 14);
  view.setUint16(20, 0x0800);
  const ip = 22;
  view.setUint8(ip, 0x45);
  view.setUint16(ip + 2, 28 + payload.length);
  view.setUint8(ip + 8, 64);
  view.setUint8(ip + 9, 17);
  packet.set(addressBytes(source), ip + 12);
  packet.set(addressBytes(destination), ip + 16);
  view.setUint16(ip + 10, checksum(packet.subarray(ip, ip + 20)));
  const udp = ip + 20;
  view.setUint16(udp, 1234);
  view.setUint16(udp + 2, port);
  // A checksum of 0 is none (RFC 768).
  view.setUint16(udp + 4, 8 + payload.length);
  packet.set(payload, udp + 8);
  return packet;
}

/** RFC 1071. */
function checksum(bytes: Uint8Array): number {
  let sum = 0;
  for (let index = 0; index < bytes.length; index += 2) sum += ((bytes[index] ?? 0) << 8) | (bytes[index + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}
