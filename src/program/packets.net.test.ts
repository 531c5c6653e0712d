// What Programs say, tried on real packets: two nodes, pods, an outside. Addresses tell who answered and whom the server saw.
// Needs: ip, nft

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";

import type { Service } from "../kube/kinds.ts";
import { buildNetwork } from "../model/build.ts";
import { clusterConfig } from "../model/cluster.ts";
import type { Network } from "../model/network.ts";
import { attachment, node, objects, pod, service, slice } from "../model/objects.testing.ts";
import { compile } from "./compile.ts";
import {
  arp,
  checksum,
  etherType,
  frame,
  neighbourAdvertisement,
  routerAdvertisement,
  udp4,
  udp6,
  vxlan,
} from "./frames.testing.ts";
import { formatTable } from "./nftables/format.ts";
import {
  ask,
  askUdp,
  createPacketLab,
  install,
  linkMac,
  outside,
  sendFrame,
  serve,
  type PacketLab,
} from "./packets.testing.ts";
import { bridgeMac, tunnelMac } from "./places.ts";
import type { Program } from "./program.ts";

const cluster = clusterConfig();
const a = attachment("a", { node: 1, host: 5 }, [
  { protocol: "tcp", hostPort: 8088, port: 8080 },
  { protocol: "tcp", hostPort: 8089, hostIp: "::1", port: 8080 },
]);
const b = attachment("b", { node: 1, host: 6 });
const c = attachment("c", { node: 2, host: 9 });
const pods = { "node-1": [a, b], "node-2": [c] } as const;
const endpoint = {
  a: { addresses: ["10.244.1.5"], nodeName: "node-1" },
  b: { addresses: ["10.244.1.6"], nodeName: "node-1" },
  c: { addresses: ["10.244.2.9"], nodeName: "node-2" },
};
const endpoint6 = {
  a: { addresses: ["fd00:10:244:1::5"], nodeName: "node-1" },
  b: { addresses: ["fd00:10:244:1::6"], nodeName: "node-1" },
  c: { addresses: ["fd00:10:244:2::9"], nodeName: "node-2" },
};

/** `both` has b and c, `near` a, `far` c; `none` has none. */
function network(changed: { readonly sticky?: readonly (keyof typeof endpoint)[] } = {}): Network {
  const ports = [
    { name: "http", port: 80, protocol: "TCP" as const },
    { name: "udp", port: 80, protocol: "UDP" as const },
  ];
  const slicePorts = [
    { name: "http", port: 8080, protocol: "TCP" as const },
    { name: "udp", port: 8080, protocol: "UDP" as const },
  ];
  const ips = (n: number): string[] => [`10.96.0.${n}`, `fd00:10:96::${n}`];
  const six = { addressType: "IPv6", ports: slicePorts } as const;
  return buildNetwork(
    cluster,
    objects({
      nodes: [node(1), node(2)],
      pods: [pod("a", { node: 1, host: 5 }), pod("b", { node: 1, host: 6 }), pod("c", { node: 2, host: 9 })],
      services: [
        service("both", { clusterIPs: ips(20), ports }),
        service("near", { clusterIPs: ips(21), ports }),
        service("far", { clusterIPs: ips(22), ports: [{ ...ports[0], port: 80, nodePort: 30080 }], type: "NodePort" }),
        service("none", {
          clusterIPs: ips(23),
          ports: [{ ...ports[0], port: 80, nodePort: 30081 }, ports[1] ?? { port: 1 }],
          type: "NodePort",
        }),
        service("sticky", { clusterIPs: ips(24), ports, sessionAffinity: "ClientIP" }),
        service("tunnel", {
          clusterIPs: ips(26),
          ports: [{ name: "udp", port: 80, protocol: "UDP", nodePort: 30089 }],
          type: "NodePort",
        }),
        service("local", {
          clusterIPs: ips(25),
          ports: [{ name: "http", port: 80, nodePort: 30085 }],
          type: "NodePort",
          externalTrafficPolicy: "Local",
        }),
        balanced("wide", 27, ["172.18.255.1", "fd00:172:18::ff01"]),
        balanced("kept", 28, ["172.18.255.2"], { externalTrafficPolicy: "Local" }),
        balanced("guarded", 29, ["172.18.255.3", "fd00:172:18::ff03"], {
          loadBalancerSourceRanges: ["172.18.254.0/25", "10.244.1.0/24", "10.244.1.5/32"],
          ports: [{ name: "http", port: 80, nodePort: 30087 }],
        }),
        balanced("held", 32, ["172.18.255.4"], { loadBalancerSourceRanges: ["172.18.0.2/32"] }),
        service("named", { clusterIPs: ips(30), ports, externalIPs: ["192.0.2.7"] }),
        {
          ...balanced("proxied", 31, []),
          status: { loadBalancer: { ingress: [{ ip: "192.0.2.8", ipMode: "Proxy" }] } },
        },
      ],
      endpointSlices: [
        slice("both", [endpoint.b, endpoint.c], { ports: slicePorts }),
        slice("near", [endpoint.a], { ports: slicePorts }),
        slice("near", [endpoint6.a], { ...six, name: "near-6" }),
        slice("far", [endpoint.c], { ports: slicePorts }),
        slice("far", [endpoint6.c], { ...six, name: "far-6" }),
        slice(
          "sticky",
          (changed.sticky ?? ["a", "b", "c"]).map((name) => endpoint[name]),
          { ports: slicePorts },
        ),
        slice(
          "sticky",
          (changed.sticky ?? ["a", "b", "c"]).map((name) => endpoint6[name]),
          { ...six, name: "sticky-6" },
        ),
        slice("tunnel", [{ addresses: ["172.18.0.3"] }], { ports: [{ name: "udp", port: 4789, protocol: "UDP" }] }),
        slice("local", [endpoint.a], { ports: slicePorts }),
        slice("wide", [endpoint.c], { ports: slicePorts }),
        slice("wide", [endpoint6.c], { ...six, name: "wide-6" }),
        slice("kept", [endpoint.a], { ports: slicePorts }),
        slice("guarded", [endpoint.c], { ports: slicePorts }),
        slice("guarded", [endpoint6.c], { ...six, name: "guarded-6" }),
        slice("held", [endpoint.c], { ports: slicePorts }),
        slice("named", [endpoint.c], { ports: slicePorts }),
        slice("proxied", [endpoint.c], { ports: slicePorts }),
      ],
    }),
  );
}

/** A Service of type LoadBalancer without node ports that has got these addresses. */
function balanced(name: string, n: number, ingress: readonly string[], spec: Partial<Service["spec"]> = {}): Service {
  return {
    ...service(name, {
      type: "LoadBalancer",
      allocateLoadBalancerNodePorts: false,
      clusterIPs: [`10.96.0.${n}`, `fd00:10:96::${n}`],
      ports: [{ name: "http", port: 80 }],
      ...spec,
    }),
    status: { loadBalancer: { ingress: ingress.map((ip) => ({ ip })) } },
  };
}

void describe("packets", () => {
  let lab: PacketLab;
  const servers: { close(): void; readonly heard: string[] }[] = [];

  before(async () => {
    const today = network();
    lab = createPacketLab(
      today,
      (["node-1", "node-2"] as const).map((name) => ({
        name,
        pods: pods[name],
        program: compile(today, name, pods[name]),
      })),
    );
    // The balancers' addresses lead to node-1, which is what announcing them comes to.
    lab.sh(
      "outside",
      `for address in 172.18.255.1 172.18.255.2 172.18.255.3 192.0.2.7; do ip route add $address via 172.18.0.2; done
       for address in fd00:172:18::ff01 fd00:172:18::ff03; do ip route add $address via fd00:172:18::2; done
       ip addr add 192.0.2.8/32 dev eth0`,
    );
    // As a cloud's agent does it.
    lab.sh("node-1", "ip addr add 172.18.255.4/32 dev lo");
    for (const name of ["a", "b", "c", "outside"]) servers.push(await serve(lab, name, 8080));
    for (const name of ["node-1", "node-2"]) servers.push(await serve(lab, name, 9000));
  });
  after(() => {
    for (const server of servers) server.close();
    lab.close();
  });

  // Who asks, what for, and the answer.
  const connections: readonly (readonly [string, string, number, string])[] = [
    // Pods reach pods with their own addresses, on one node and on two, in both families.
    ["a", "10.244.1.6", 8080, "b saw 10.244.1.5"],
    ["a", "10.244.2.9", 8080, "c saw 10.244.1.5"],
    ["a", "fd00:10:244:1::6", 8080, "b saw fd00:10:244:1::5"],
    ["a", "fd00:10:244:2::9", 8080, "c saw fd00:10:244:1::5"],
    // Nodes and pods, without translation.
    ["node-1", "10.244.1.5", 8080, "a saw 10.244.1.1"],
    ["node-1", "10.244.2.9", 8080, "c saw 10.244.1.0"],
    ["node-1", "fd00:10:244:2::9", 8080, "c saw fd00:10:244:1::"],
    ["a", "172.18.0.2", 9000, "node-1 saw 10.244.1.5"],
    ["a", "172.18.0.3", 9000, "node-2 saw 10.244.1.5"],
    ["a", "fd00:172:18::3", 9000, "node-2 saw fd00:10:244:1::5"],
    // Services from pods: the source is kept.
    ["a", "10.96.0.22", 80, "c saw 10.244.1.5"],
    ["c", "10.96.0.21", 80, "a saw 10.244.2.9"],
    ["b", "10.96.0.21", 80, "a saw 10.244.1.6"],
    ["b", "fd00:10:96::21", 80, "a saw fd00:10:244:1::6"],
    ["a", "fd00:10:96::22", 80, "c saw fd00:10:244:1::5"],
    // A pod to itself: it sees its node.
    ["a", "10.96.0.21", 80, "a saw 10.244.1.1"],
    ["a", "fd00:10:96::21", 80, "a saw fd00:10:244:1::1"],
    // Services from nodes, and from outside by a route.
    ["node-1", "10.96.0.21", 80, "a saw 10.244.1.1"],
    ["node-1", "10.96.0.22", 80, "c saw 10.244.1.0"],
    ["node-2", "10.96.0.21", 80, "a saw 10.244.2.0"],
    ["node-1", "fd00:10:96::22", 80, "c saw fd00:10:244:1::"],
    // No endpoint, no such port.
    ["a", "10.96.0.23", 80, "ECONNREFUSED"],
    ["node-1", "10.96.0.23", 80, "ECONNREFUSED"],
    ["a", "fd00:10:96::23", 80, "ECONNREFUSED"],
    ["node-1", "fd00:10:96::23", 80, "ECONNREFUSED"],
    ["a", "10.96.0.21", 81, "ECONNREFUSED"],
    ["outside", "172.18.0.2", 30081, "ECONNREFUSED"],
    // Node ports: from outside, from pods of this and another node, from this and another node.
    ["outside", "172.18.0.2", 30080, "c saw 10.244.1.0"],
    ["outside", "172.18.0.3", 30080, "c saw 10.244.2.1"],
    ["outside", "fd00:172:18::2", 30080, "c saw fd00:10:244:1::"],
    ["a", "172.18.0.2", 30080, "c saw 10.244.1.0"],
    ["c", "172.18.0.2", 30080, "c saw 10.244.1.0"],
    ["node-1", "172.18.0.2", 30080, "c saw 10.244.1.0"],
    ["node-2", "172.18.0.2", 30080, "c saw 10.244.1.0"],
    // externalTrafficPolicy Local keeps the client.
    ["outside", "172.18.0.2", 30085, `a saw ${outside[4]}`],
    ["outside", "172.18.0.3", 30085, "SILENCE"],
    // Whoever is inside gets an endpoint wherever it is: the node and its pods; other nodes and their pods are outside.
    ["c", "172.18.0.2", 30085, "a saw 10.244.2.9"],
    ["c", "172.18.0.3", 30085, "a saw 10.244.2.9"],
    ["a", "172.18.0.3", 30085, "SILENCE"],
    ["node-2", "172.18.0.3", 30085, "a saw 172.18.0.3"],
    ["node-1", "172.18.0.3", 30085, "SILENCE"],
    // Load balancers' addresses, from outside and short-circuited from inside.
    ["outside", "172.18.255.1", 80, "c saw 10.244.1.0"],
    ["outside", "fd00:172:18::ff01", 80, "c saw fd00:10:244:1::"],
    ["a", "172.18.255.1", 80, "c saw 10.244.1.0"],
    ["node-1", "172.18.255.1", 80, "c saw 10.244.1.0"],
    ["node-2", "fd00:172:18::ff01", 80, "c saw fd00:10:244:2::1"],
    ["outside", "172.18.255.1", 81, "ECONNREFUSED"],
    // An address of the pool that no Service has is nobody's, as any other on that link.
    ["a", "172.18.255.77", 80, "SILENCE"],
    ["outside", "172.18.255.2", 80, `a saw ${outside[4]}`],
    ["c", "172.18.255.2", 80, "a saw 10.244.2.9"],
    ["node-2", "172.18.255.2", 80, "a saw 172.18.0.3"],
    // Source ranges: for the balancer's address, neither for node ports nor for the cluster address.
    ["outside", "172.18.255.3", 80, "SILENCE"],
    ["outside", "fd00:172:18::ff03", 80, "SILENCE"],
    ["a", "172.18.255.3", 80, "c saw 10.244.1.0"],
    ["c", "172.18.255.3", 80, "SILENCE"],
    ["node-1", "172.18.255.3", 80, "SILENCE"],
    ["outside", "172.18.0.2", 30087, "c saw 10.244.1.0"],
    // A node that may connect and has the balancer's address on a link asks with it.
    ["node-1", "172.18.255.4", 80, "c saw 10.244.1.0"],
    ["a", "172.18.255.4", 80, "SILENCE"],
    ["c", "10.96.0.29", 80, "c saw 10.244.2.1"],
    // External addresses; and a balancer that is to be asked itself.
    ["outside", "192.0.2.7", 80, "c saw 10.244.1.0"],
    ["a", "192.0.2.7", 80, "c saw 10.244.1.0"],
    ["a", "192.0.2.8", 8080, "outside saw 172.18.0.2"],
    // hostPort keeps the client as well, but for the pod itself.
    ["outside", "172.18.0.2", 8088, `a saw ${outside[4]}`],
    ["outside", "fd00:172:18::2", 8088, `a saw ${outside[6]}`],
    ["c", "172.18.0.2", 8088, "a saw 10.244.2.9"],
    ["node-1", "172.18.0.2", 8088, "a saw 172.18.0.2"],
    ["a", "172.18.0.2", 8088, "a saw 10.244.1.1"],
    // The node reaches it at loopback as well; nobody else does.
    ["node-1", "127.0.0.1", 8088, "a saw 10.244.1.1"],
    ["node-2", "127.0.0.1", 8088, "ECONNREFUSED"],
    ["c", "127.0.0.1", 8088, "ECONNREFUSED"],
    // The outside sees the node.
    ["a", outside[4], 8080, "outside saw 172.18.0.2"],
    ["a", outside[6], 8080, "outside saw fd00:172:18::2"],
    // Addresses that nobody has.
    ["a", "10.244.1.77", 8080, "EHOSTUNREACH"],
    ["a", "10.244.77.7", 8080, "EHOSTUNREACH"],
    ["node-1", "10.244.1.77", 8080, "EHOSTUNREACH"],
  ];
  for (const [from, host, port, answer] of connections) {
    void it(`${from} -> ${host}:${port}  ${answer}`, async () => {
      // Where nobody is expected to answer, less patience: too little of it can only make the test pass, never fail.
      const patienceMs = answer === "SILENCE" ? 500 : undefined;
      assert.equal(await ask(lab, from, host, port, patienceMs), answer);
    });
  }

  void it("a hostPort at ::1 answers the node's other addresses, and neither ::1 itself nor anybody else", async () => {
    const own = "fd00:172:18::2";
    assert.equal(await ask(lab, "node-1", "::1", 8089, undefined, own), `a saw ${own}`);
    assert.equal(await ask(lab, "node-1", "::1", 8089, 500), "SILENCE");
    assert.equal(await ask(lab, "node-1", own, 8089), "ECONNREFUSED");
    assert.equal(await ask(lab, "b", "::1", 8089), "ECONNREFUSED");
  });

  void it("a Service from outside, by a route to the node: the endpoint sees the node", async () => {
    lab.sh("outside", "ip route add 10.96.0.0/16 via 172.18.0.2");
    assert.equal(await ask(lab, "outside", "10.96.0.22", 80), "c saw 10.244.1.0");
    assert.equal(await ask(lab, "outside", "10.96.0.23", 80), "ECONNREFUSED");
  });

  void it("UDP: answers come from the address that was asked, and nobody there means refused", async () => {
    assert.equal(await askUdp(lab, "b", "10.96.0.21", 80), "a saw 10.244.1.6");
    assert.equal(await askUdp(lab, "c", "10.96.0.21", 80), "a saw 10.244.2.9");
    assert.equal(await askUdp(lab, "b", "fd00:10:96::21", 80), "a saw fd00:10:244:1::6");
    assert.equal(await askUdp(lab, "a", "10.96.0.23", 80), "ECONNREFUSED");
    assert.equal(await askUdp(lab, "a", "fd00:10:96::23", 80), "ECONNREFUSED");
  });

  void it("packets as large as a pod may send pass the tunnel, larger ones do not leave the pod", () => {
    const mtu = 1500 - 50;
    assert.match(lab.sh("a", `ping -c 1 -W 3 -M do -s ${mtu - 28} 10.244.2.9`), / 0% packet loss/);
    assert.match(lab.sh("a", `ping -c 1 -W 3 -M do -s ${mtu - 27} 10.244.2.9 2>&1 || true`), /message too long/i);
    assert.match(lab.sh("a", `ping -6 -c 1 -W 3 -M do -s ${mtu - 48} fd00:10:244:2::9`), / 0% packet loss/);
  });

  void it("every endpoint gets its share", async () => {
    const seen = new Set<string>();
    for (let round = 0; round < 64 && seen.size < 2; round++) seen.add(await ask(lab, "a", "10.96.0.20", 80));
    assert.deepEqual([...seen].sort(), ["b saw 10.244.1.5", "c saw 10.244.1.5"]);
  });

  void it("session affinity: one client, one endpoint, until that is gone", async () => {
    const first = await ask(lab, "a", "10.96.0.24", 80);
    for (let round = 0; round < 12; round++) assert.equal(await ask(lab, "a", "10.96.0.24", 80), first);
    const gone = first.slice(0, 1) as "a" | "b" | "c";
    const left = (["a", "b", "c"] as const).filter((name) => name !== gone);
    lab.sh(
      "node-1",
      changeEndpoints(compile(network(), "node-1", [a, b]), compile(network({ sticky: left }), "node-1", [a, b])),
    );
    const second = await ask(lab, "a", "10.96.0.24", 80);
    assert.notEqual(second.slice(0, 1), gone);
    for (let round = 0; round < 12; round++) assert.equal(await ask(lab, "a", "10.96.0.24", 80), second);
    install(lab, compile(network(), "node-1", pods["node-1"]));
  });

  void it("session affinity (ip6): clients are told apart, and a packet with a mark of its own is served too", async () => {
    const seen = new Set<string>();
    // Another source each time: 20 clients of which all choose the same of three happen once in 10^9.
    for (let n = 1; n <= 20; n++) {
      lab.sh(
        "outside",
        `ip -6 addr add fd00:172:18::e:${n}/128 dev eth0 nodad; ip -6 route replace fd00:10:96::/112 via fd00:172:18::2 src fd00:172:18::e:${n}`,
      );
      const answer = await ask(lab, "outside", "fd00:10:96::24", 80);
      for (let round = 0; round < 2; round++) assert.equal(await ask(lab, "outside", "fd00:10:96::24", 80), answer);
      seen.add(answer.slice(0, 1));
    }
    assert.ok(seen.size > 1, [...seen].join(" "));
    assert.equal(lab.sh("node-1", "nft list map ip6 fairlead clients").match(/fd00:172:18::e:/g)?.length, 20);
    lab.sh(
      "node-1",
      "nft add table ip6 other; nft add chain ip6 other p '{ type filter hook prerouting priority -150; }'; nft add rule ip6 other p meta mark set 0x7",
    );
    assert.match(await ask(lab, "outside", "fd00:10:96::24", 80), /^[abc] saw /);
    // TCP alone: the kernel's own reports of multicast listeners have a priority.
    lab.sh(
      "node-1",
      "nft delete table ip6 other; nft add table ip6 marks; nft add chain ip6 marks p '{ type filter hook postrouting priority 200; }'; nft add rule ip6 marks p meta l4proto != tcp accept; nft add rule ip6 marks p ct mark != 0 counter; nft add rule ip6 marks p meta mark != 0 counter; nft add rule ip6 marks p meta priority 1-0xfffffffe counter",
    );
    assert.match(await ask(lab, "outside", "fd00:10:96::24", 80), /^[abc] saw /);
    assert.equal(
      lab.sh("node-1", "nft list table ip6 marks").match(/counter packets 0/g)?.length,
      3,
      "no scratch is left",
    );
    lab.sh("node-1", "nft delete table ip6 marks");
  });

  /** What a place's server heard of frames with these words. */
  const heard = (place: number, words: string): readonly string[] =>
    (servers[place]?.heard ?? []).filter((line) => line.startsWith(words));

  void it("a pod is heard with its own addresses only", async () => {
    const to = bridgeMac("node-1");
    const say = (mac: string, source: string, text: string): void =>
      sendFrame(lab, "a", frame(to, mac, etherType.ip, udp4(source, "10.244.2.9", 8080, `frame ${text}`)));
    say(a.mac, "10.244.1.6", "with another pod's address");
    say(b.mac, "10.244.1.6", "with another pod's address and link");
    say(b.mac, "10.244.1.5", "with another pod's link");
    say(a.mac, "172.18.0.2", "with the node's address");
    say(a.mac, "10.244.1.1", "with the gateway's address");
    say(a.mac, outside[4], "with an address of the outside");
    // IEEE 802.1Q 9.6: the same behind a tag, which the guard must not look past.
    const tagged = [0, 1, 0x08, 0x00, ...udp4("10.244.1.6", "10.244.2.9", 8080, "frame with a tag")];
    sendFrame(lab, "a", frame(to, a.mac, etherType.vlan, Uint8Array.from(tagged)));
    say(a.mac, "10.244.1.5", "with its own");
    // Frames of one link keep their order: what was let through is there before the answer to what comes after it.
    assert.equal(await askUdp(lab, "a", "10.244.2.9", 8080), "c saw 10.244.1.5");
    assert.deepEqual(heard(2, "frame"), ["frame with its own from 10.244.1.5"]);
  });

  void it("frames that go around the bridge's hooks do not reach the node", async () => {
    // IEEE 802.1Q 8.6.3: bridges keep frames to these addresses from each other; Linux hands them to the port itself.
    const around = (type: number, packet: Uint8Array): void =>
      sendFrame(lab, "a", frame("01:80:c2:00:00:0e", a.mac, type, packet));
    around(etherType.ip, udp4("10.244.1.6", "172.18.0.2", 9000, "around"));
    around(etherType.ip6, udp6("fd00:10:244:1::6", "fd00:172:18::2", 9000, "around"));
    assert.equal(await askUdp(lab, "a", "10.244.1.1", 9000), "node-1 saw 10.244.1.5");
    assert.equal(await askUdp(lab, "a", "fd00:10:244:1::1", 9000), "node-1 saw fd00:10:244:1::5");
    assert.deepEqual(heard(4, "around"), []);
  });

  void it("ARP and neighbour discovery about others are dropped", () => {
    const dropped = (): number =>
      [...lab.sh("node-1", "nft list table bridge fairlead").matchAll(/counter packets (\d+)/g)].reduce(
        (sum, [, count]) => sum + Number(count),
        0,
      );
    const broadcast = "ff:ff:ff:ff:ff:ff";
    const gateway = bridgeMac("node-1");
    const before = dropped();
    sendFrame(lab, "a", frame(broadcast, a.mac, etherType.arp, arp(a.mac, "10.244.1.6")));
    sendFrame(lab, "a", frame(broadcast, a.mac, etherType.arp, arp(b.mac, "10.244.1.5")));
    sendFrame(lab, "a", frame(gateway, a.mac, etherType.ip6, neighbourAdvertisement(a.mac, "fd00:10:244:1::6")));
    sendFrame(lab, "a", frame(gateway, a.mac, etherType.ip6, routerAdvertisement(a.mac)));
    assert.equal(dropped() - before, 4);
    sendFrame(lab, "a", frame(broadcast, a.mac, etherType.arp, arp(a.mac, "10.244.1.5")));
    sendFrame(lab, "a", frame(gateway, a.mac, etherType.ip6, neighbourAdvertisement(a.mac, "fd00:10:244:1::5")));
    assert.equal(dropped() - before, 4);
    for (const address of b.addresses) {
      const family = address.includes(":") ? "-6" : "-4";
      assert.match(lab.sh("node-1", `ip ${family} neigh show ${address}`), new RegExp(`lladdr ${b.mac} PERMANENT`));
    }
  });

  void it("only nodes speak VXLAN to a node", async () => {
    const inner = udp4("10.244.1.6", "10.244.2.9", 8080, "tunnelled");
    const packet = vxlan(frame(tunnelMac("node-2"), tunnelMac("node-1"), etherType.ip, inner));
    const say = (place: string, to: string, mac: string, source: string): void =>
      sendFrame(lab, place, frame(to, mac, etherType.ip, udp4(source, "172.18.0.3", 4789, packet)));
    say("a", bridgeMac("node-1"), a.mac, "10.244.1.5");
    say("c", bridgeMac("node-2"), c.mac, "10.244.2.9");
    say("outside", linkMac(lab, "node-2"), linkMac(lab, "outside"), outside[4]);
    // By a node port that leads to the other node's tunnel, the packet would get there with a node's address.
    const asked = udp4(outside[4], "172.18.0.2", 30089, packet);
    sendFrame(lab, "outside", frame(linkMac(lab, "node-1"), linkMac(lab, "outside"), etherType.ip, asked));
    assert.equal(await askUdp(lab, "a", "10.244.2.9", 8080), "c saw 10.244.1.5");
    assert.equal(await ask(lab, "c", "172.18.0.3", 9000), "node-2 saw 10.244.2.9");
    assert.equal(await ask(lab, "outside", "172.18.0.3", 9000), `node-2 saw ${outside[4]}`);
    assert.equal(await ask(lab, "outside", "172.18.0.2", 30080), "c saw 10.244.1.0");
    assert.deepEqual(heard(2, "tunnelled"), []);
    // The very same packet from a node is believed.
    say("node-1", linkMac(lab, "node-2"), linkMac(lab, "node-1"), "172.18.0.2");
    assert.equal(await ask(lab, "node-1", "172.18.0.3", 9000), "node-2 saw 172.18.0.2");
    assert.deepEqual(heard(2, "tunnelled"), ["tunnelled from 10.244.1.6"]);
  });

  void it("nobody outside passes for a pod", async () => {
    const to = linkMac(lab, "node-1");
    const mac = linkMac(lab, "outside");
    sendFrame(lab, "outside", frame(to, mac, etherType.ip, udp4("10.244.2.9", "10.244.1.5", 8080, "stranger")));
    assert.equal(await ask(lab, "outside", "172.18.0.2", 9000), `node-1 saw ${outside[4]}`);
    assert.equal(await askUdp(lab, "c", "10.244.1.5", 8080), "a saw 10.244.2.9");
    assert.deepEqual(heard(0, "stranger"), []);
  });

  void it("packets that conntrack does not translate leave no neighbour behind", async () => {
    // RFC 792: an echo reply that nobody asked for.
    const packet = udp4("10.244.1.5", "10.96.77.7", 0, "");
    packet[9] = 1;
    packet.set([0, 0, 0xff, 0xff, 0, 0, 0, 0], 20);
    new DataView(packet.buffer).setUint16(10, 0);
    new DataView(packet.buffer).setUint16(10, checksum(packet.subarray(0, 20)));
    sendFrame(lab, "a", frame(bridgeMac("node-1"), a.mac, etherType.ip, packet));
    assert.equal(await ask(lab, "a", "10.244.1.6", 8080), "b saw 10.244.1.5");
    assert.doesNotMatch(lab.sh("node-1", "ip neigh show dev cbr0"), /10\.96\./);
  });

  void it("Debian's nft lists what it was given and loads what it lists", () => {
    for (const node of ["node-1", "node-2"]) {
      const listed = lab.sh(node, "nft list ruleset > /tmp/fairlead-listed.nft; cat /tmp/fairlead-listed.nft");
      assert.match(listed, /map services/);
      lab.sh(node, "nft flush ruleset; nft -f /tmp/fairlead-listed.nft; rm /tmp/fairlead-listed.nft");
      const again = lab.sh(node, "nft list ruleset");
      assert.equal(withoutCounters(again), withoutCounters(listed));
    }
  });
});

void describe("packets of a cluster that has IPv6 only", () => {
  const ipv6 = clusterConfig({ families: [6] });
  const only6 = <T extends { readonly addresses: readonly string[] }>(attached: T): T => ({
    ...attached,
    addresses: attached.addresses.slice(1),
  });
  const [a6, c6] = [only6(a), only6(c)];
  const places = { "node-1": [a6], "node-2": [c6] } as const;
  const today = buildNetwork(
    ipv6,
    objects({
      nodes: [1, 2].map((n) => {
        const base = node(n, { podCIDRs: [`fd00:10:244:${n}::/64`] });
        return { ...base, status: { addresses: (base.status?.addresses ?? []).slice(1) } };
      }),
      services: [service("far", { clusterIPs: ["fd00:10:96::22"] })],
      endpointSlices: [slice("far", [endpoint6.c], { addressType: "IPv6" })],
    }),
  );
  let lab: PacketLab;
  const servers: { close(): void }[] = [];
  before(async () => {
    const nodes = (["node-1", "node-2"] as const).map((name) => {
      return { name, pods: places[name], program: compile(today, name, places[name]) };
    });
    lab = createPacketLab(today, nodes);
    servers.push(await serve(lab, "a", 8080), await serve(lab, "c", 8080), await serve(lab, "outside", 8080));
  });
  after(() => {
    for (const server of servers) server.close();
    lab.close();
  });

  for (const [host, port, answer] of [
    ["fd00:10:244:2::9", 8080, "c saw fd00:10:244:1::5"],
    ["fd00:10:96::22", 80, "c saw fd00:10:244:1::5"],
    [outside[6], 8080, "outside saw fd00:172:18::2"],
  ] as const) {
    void it(`a -> ${host}:${port}  ${answer}`, async () => {
      assert.equal(await ask(lab, "a", host, port), answer);
    });
  }

  void it("packets as large as a pod may send pass the tunnel", () => {
    const mtu = 1500 - 70;
    assert.match(lab.sh("a", "ip -o link show eth0"), new RegExp(`mtu ${mtu} `));
    assert.match(lab.sh("a", `ping -6 -c 1 -W 3 -M do -s ${mtu - 48} fd00:10:244:2::9`), / 0% packet loss/);
  });
});

function withoutCounters(text: string): string {
  return text.replace(/packets \d+ bytes \d+|expires \w+/g, "");
}

/** Other elements in the maps of Services, without touching the map that the kernel fills. */
function changeEndpoints(before: Program, next: Program): string {
  const table = next.tables.find(({ family }) => family === "ip");
  assert.ok(table);
  const chains = new Set(
    before.tables.filter(({ family }) => family === "ip").flatMap((each) => each.chains.map(({ name }) => name)),
  );
  const sets = table.sets.filter(({ name }) => ["services", "affine-choices", "affine-backends"].includes(name));
  const part = { ...table, chains: table.chains.filter(({ name }) => !chains.has(name)), sets };
  const flushes = sets.map(({ name }) => `flush map ip fairlead ${name}\n`).join("");
  return `nft -f - <<'END'\n${flushes}${formatTable(part)}END`;
}
