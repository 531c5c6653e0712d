import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import type { Address } from "../ip/address.ts";
import { arpAnswer, arpRequest, decodeArp, encodeArp, type ArpPacket } from "../wire/layer2/arp.ts";
import {
  decodeNeighbourMessage,
  encodeNeighbourMessage,
  neighbourSolicitation,
  solicitedNode,
} from "../wire/layer2/neighbour-discovery.ts";
import { carriersUp } from "./carrier.ts";
import { KernelError, mustChange, type NetworkKernel } from "./kernel.ts";
import { openKernel } from "./linux.ts";
import { createNetworkNamespace, type NetworkNamespace } from "./namespaces.ts";
import { joinGroups, openPacketSocket } from "./packet-socket.ts";

interface End {
  readonly namespace: NetworkNamespace;
  readonly kernel: NetworkKernel;
  readonly link: number;
  readonly mac: string;
}

let left: End;
let right: End;
// A packet socket keeps no process alive.
let stay: NodeJS.Timeout;

before(() => {
  stay = setInterval(() => {}, 60_000);
  const [one, two] = [createNetworkNamespace(), createNetworkNamespace()];
  const [a, b] = [openKernel("left", one), openKernel("right", two)];
  const macs = ["02:00:00:00:00:0a", "02:00:00:00:00:0b"] as const;
  mustChange(a, [
    {
      kind: "create-veth",
      name: "eth0",
      mac: macs[0],
      mtu: 1500,
      peer: { name: "eth0", mac: macs[1], namespaceFd: two.fd },
    },
    { kind: "set-link", name: "eth0", up: true },
  ]);
  mustChange(b, [{ kind: "set-link", name: "eth0", up: true }]);
  a.idleLinks(["eth0"]);
  b.idleLinks(["eth0"]);
  const end = (namespace: NetworkNamespace, kernel: NetworkKernel): End => {
    const link = kernel.links().find(({ name }) => name === "eth0");
    assert.ok(link?.mac);
    return { namespace, kernel, link: link.index, mac: link.mac };
  };
  left = end(one, a);
  right = end(two, b);
});

after(() => {
  clearInterval(stay);
  for (const { kernel, namespace } of [left, right]) {
    kernel.close();
    namespace.close();
  }
});

void test("questions about the wanted addresses come, others do not; what is sent arrives", async () => {
  const asked: Address[] = [];
  const sawLast = Promise.withResolvers<void>();
  const answered = Promise.withResolvers<ArpPacket | undefined>();
  const listener = openPacketSocket(right.namespace, {
    link: right.link,
    linkName: "eth0",
    wanted: { kind: "asked", protocol: "arp", about: [] },
    came(frame) {
      const packet = decodeArp(frame);
      assert.ok(packet);
      asked.push(packet.targetAddress);
      if (packet.targetAddress === "192.0.2.9") assert.ok(listener.send(encodeArp(arpAnswer(packet, right.mac))));
      if (packet.targetAddress === "192.0.2.3") sawLast.resolve();
    },
  });
  const asker = openPacketSocket(left.namespace, {
    link: left.link,
    linkName: "eth0",
    wanted: { kind: "answered", protocol: "arp", about: ["192.0.2.9/32"] },
    came: (frame) => answered.resolve(decodeArp(frame)),
  });
  const ask = (address: Address): void => {
    assert.ok(asker.send(encodeArp(arpRequest({ mac: left.mac, address: "192.0.2.1" }, address))));
  };
  ask("192.0.2.9");
  listener.want(["192.0.2.9/32", "192.0.2.2/31"]);
  for (const address of ["192.0.2.9", "192.0.2.1", "192.0.2.4", "192.0.2.3"]) ask(address);
  await sawLast.promise;
  assert.deepEqual(asked, ["192.0.2.9", "192.0.2.3"]);
  assert.equal((await answered.promise)?.senderMac, right.mac);
  listener.close();
  asker.close();
});

void test("more addresses than a filter holds: the ranges they are of", async () => {
  const seen = Promise.withResolvers<Address | undefined>();
  const listener = openPacketSocket(right.namespace, {
    link: right.link,
    linkName: "eth0",
    wanted: { kind: "asked", protocol: "ipv6", about: [] },
    came: (frame) => seen.resolve(decodeNeighbourMessage(frame)?.target),
  });
  const many = Array.from({ length: 2000 }, (_, index) => `2001:db8::${index.toString(16)}/128`);
  listener.want(many, ["2001:db8::/64"]);
  const asker = openPacketSocket(left.namespace, {
    link: left.link,
    linkName: "eth0",
    wanted: { kind: "answered", protocol: "ipv6", about: [] },
    came: () => {},
  });
  for (const target of ["2001:db8:0:1::1", "2001:db8::77"])
    assert.ok(asker.send(encodeNeighbourMessage(neighbourSolicitation({ mac: left.mac, address: "fe80::1" }, target))));
  assert.equal(await seen.promise, "2001:db8::77");
  listener.close();
  asker.close();
});

void test("a flood takes its share and no more; what is asked later is seen", async () => {
  let count = 0;
  const last = Promise.withResolvers<void>();
  const listener = openPacketSocket(right.namespace, {
    link: right.link,
    linkName: "eth0",
    wanted: { kind: "asked", protocol: "arp", about: ["192.0.2.0/24"] },
    most: { frames: 10, spanMs: 200 },
    came(frame) {
      count++;
      if (decodeArp(frame)?.targetAddress === "192.0.2.99") last.resolve();
    },
  });
  const asker = openPacketSocket(left.namespace, {
    link: left.link,
    linkName: "eth0",
    wanted: { kind: "answered", protocol: "arp", about: [] },
    came: () => {},
  });
  const frame = encodeArp(arpRequest({ mac: left.mac, address: "192.0.2.1" }, "192.0.2.9"));
  for (let index = 0; index < 25; index++) asker.send(frame);
  listener.look();
  listener.look();
  assert.equal(count, 10);
  asker.send(encodeArp(arpRequest({ mac: left.mac, address: "192.0.2.1" }, "192.0.2.99")));
  await last.promise;
  assert.equal(count, 26);
  listener.close();
  asker.close();
});

void test("a link that was set down and up again is listened to as before", async () => {
  const seen = Promise.withResolvers<void>();
  const listener = openPacketSocket(right.namespace, {
    link: right.link,
    linkName: "eth0",
    wanted: { kind: "asked", protocol: "arp", about: ["192.0.2.9/32"] },
    came: () => seen.resolve(),
  });
  const asker = openPacketSocket(left.namespace, {
    link: left.link,
    linkName: "eth0",
    wanted: { kind: "answered", protocol: "arp", about: [] },
    came: () => {},
  });
  mustChange(right.kernel, [{ kind: "set-link", name: "eth0", up: false }]);
  // The event loop learns of it.
  for (let turn = 0; turn < 10; turn++) await new Promise((resolve) => setImmediate(resolve));
  listener.look();
  mustChange(right.kernel, [{ kind: "set-link", name: "eth0", up: true }]);
  assert.deepEqual(await carriersUp(right.kernel, ["eth0"]), []);
  assert.deepEqual(await carriersUp(left.kernel, ["eth0"]), []);
  asker.send(encodeArp(arpRequest({ mac: left.mac, address: "192.0.2.1" }, "192.0.2.9")));
  await seen.promise;
  listener.close();
  asker.close();
});

void test("groups are joined, hundreds of them; a link that is not there is said", () => {
  const groups = Array.from({ length: 1500 }, (_, index) => solicitedNode(`2001:db8::${index.toString(16)}`));
  const member = joinGroups(right.namespace, right.link, groups);
  assert.deepEqual(member.refused, []);
  member.close();
  assert.deepEqual(joinGroups(right.namespace, 4711, ["ff02::1:ff00:1"]).refused, ["ff02::1:ff00:1"]);
  const wanted = { kind: "asked", protocol: "arp", about: [] } as const;
  assert.throws(
    () => openPacketSocket(right.namespace, { link: 4711, linkName: "eth9", wanted, came: () => {} }),
    (error: unknown) => error instanceof KernelError && error.code === "ENODEV",
  );
});
