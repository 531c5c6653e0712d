import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import type { Address } from "../ip/address.ts";
import { hostPrefix } from "../ip/prefix.ts";
import { carriersUp } from "../kernel/carrier.ts";
import { mustChange, type NetworkKernel } from "../kernel/kernel.ts";
import { openKernel } from "../kernel/linux.ts";
import { createNetworkNamespace, type NetworkNamespace } from "../kernel/namespaces.ts";
import { openPacketSocket, type PacketSocket } from "../kernel/packet-socket.ts";
import { arpAnnouncement, arpRequest, encodeArp } from "../wire/layer2/arp.ts";
import {
  encodeNeighbourMessage,
  neighbourAnnouncement,
  neighbourSolicitation,
} from "../wire/layer2/neighbour-discovery.ts";
import { openLayer2Port } from "./layer2-port.ts";

interface End {
  readonly namespace: NetworkNamespace;
  readonly kernel: NetworkKernel;
  readonly link: number;
}

const macs = { node: "02:00:00:00:00:0a", link: "02:00:00:00:00:0b" } as const;
let node: End;
let link: End;
// A packet socket keeps no process alive.
let stay: NodeJS.Timeout;

before(async () => {
  stay = setInterval(() => {}, 60_000);
  const [one, two] = [createNetworkNamespace(), createNetworkNamespace()];
  const [a, b] = [openKernel("node", one), openKernel("link", two)];
  const peer = { name: "eth0", mac: macs.link, namespaceFd: two.fd };
  mustChange(a, [
    { kind: "create-veth", name: "eth0", mac: macs.node, mtu: 1500, peer },
    { kind: "set-link", name: "eth0", up: true },
  ]);
  mustChange(b, [{ kind: "set-link", name: "eth0", up: true }]);
  for (const kernel of [a, b]) assert.deepEqual(await carriersUp(kernel, ["eth0"]), []);
  const end = (namespace: NetworkNamespace, kernel: NetworkKernel): End => {
    const found = kernel.links().find(({ name }) => name === "eth0");
    assert.ok(found);
    return { namespace, kernel, link: found.index };
  };
  node = end(one, a);
  link = end(two, b);
});

after(() => {
  clearInterval(stay);
  for (const { kernel, namespace } of [node, link]) {
    kernel.close();
    namespace.close();
  }
});

const families = [
  { family: 4, own: "192.0.2.1", held: "192.0.2.9", client: "192.0.2.2" },
  { family: 6, own: "2001:db8::1", held: "2001:db8::9", client: "2001:db8::2" },
] as const;

for (const { family, own, held, client } of families)
  void test(`IPv${family}: what waited for a node that was held up is answered when all of it is read, or never`, () => {
    const protocol = family === 4 ? "arp" : "ipv6";
    const holds = new Set<Address>([held]);
    const place = { index: node.link, name: "eth0", mac: macs.node, address: own };
    const port = openLayer2Port(node.namespace, place, {
      isHeld: (address) => holds.has(address),
      isKnown: () => false,
      asked() {},
      announced: (address) => void holds.delete(address),
      answered() {},
      report: (line) => assert.fail(line),
    });
    port.listen([held], [], [held]);
    let answers = 0;
    let arrived = 0;
    let announced = 0;
    const listen = (end: End, kind: "asked" | "answered", came: () => void): PacketSocket => {
      const wanted = { kind, protocol, about: [hostPrefix(held)] } as const;
      return openPacketSocket(end.namespace, { link: end.link, linkName: "eth0", wanted, came });
    };
    const asker = listen(link, "answered", () => void answers++);
    const others = [listen(node, "asked", () => void arrived++), listen(link, "asked", () => void announced++)];
    if (family === 6) others.push(listen(node, "answered", () => void arrived++));
    /** Without giving the port its turn: for so long it is held up. */
    const until = (isSo: () => boolean): void => {
      for (let tries = 0; !isSo(); tries++) {
        assert.ok(tries < 1e6, `${arrived} arrived, ${answers} answers, ${announced} announced`);
        for (const socket of [asker, ...others]) socket.look();
      }
    };
    /** A few of the questions come from where answers are heard; one alone is not answered more than forty times a second. */
    const ask = (): void => {
      for (let number = 0; number < 200; number++) {
        const mac = number < 5 ? macs.link : `02:00:00:00:01:${number.toString(16).padStart(2, "0")}`;
        const from = { mac, address: client };
        const frame =
          family === 4 ? encodeArp(arpRequest(from, held)) : encodeNeighbourMessage(neighbourSolicitation(from, held));
        assert.ok(asker.send(frame));
      }
    };
    ask();
    until(() => arrived === 200);
    port.look();
    until(() => answers === 5);

    ask();
    const from = { mac: macs.link, address: client };
    const taken =
      family === 4
        ? encodeArp(arpAnnouncement(macs.link, held))
        : encodeNeighbourMessage(neighbourAnnouncement(from, held));
    assert.ok(asker.send(taken));
    until(() => arrived === 401);
    port.look();
    assert.ok(!holds.has(held));
    // What was answered went before this; Neighbour Discovery's comes as answers do.
    port.announce(held);
    until(() => announced + answers > 5);
    asker.look();
    assert.deepEqual(
      { announced, answers },
      family === 4 ? { announced: 1, answers: 5 } : { announced: 0, answers: 6 },
    );
    for (const socket of [port, asker, ...others]) socket.close();
  });
