// Node ports at 127.0.0.1, on real packets: the node itself reaches every endpoint there, and nobody else reaches its loopback.
// Needs: ip, nft

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";

import { buildNetwork } from "../model/build.ts";
import { clusterConfig } from "../model/cluster.ts";
import type { Network } from "../model/network.ts";
import { attachment, node, objects, pod, service, slice } from "../model/objects.testing.ts";
import { compile } from "./compile.ts";
import { ask, askUdp, createPacketLab, outside, serve, type PacketLab } from "./packets.testing.ts";
import type { Program } from "./program.ts";

const a = attachment("a", { node: 1, host: 5 });
const c = attachment("c", { node: 2, host: 9 });
const pods = { "node-1": [a], "node-2": [c] } as const;
const here = { addresses: ["10.244.1.5"], nodeName: "node-1" };
const there = { addresses: ["10.244.2.9"], nodeName: "node-2" };

const ports = (nodePort: number): { name: string; port: number; protocol: "TCP" | "UDP"; nodePort: number }[] =>
  (["TCP", "UDP"] as const).map((protocol) => ({ name: protocol.toLowerCase(), port: 80, protocol, nodePort }));
const to = (port: number): { ports: { name: string; port: number; protocol: "TCP" | "UDP" }[] } => ({
  ports: (["TCP", "UDP"] as const).map((protocol) => ({ name: protocol.toLowerCase(), port, protocol })),
});
const nodePortService = (name: string, n: number, local = false): ReturnType<typeof service> =>
  service(name, {
    type: "NodePort",
    clusterIPs: [`10.96.0.${n}`],
    ports: ports(30_000 + n),
    ...(local && { externalTrafficPolicy: "Local" as const }),
  });

/** node-1's node ports answer at its address and at its loopback, node-2's at its address alone. */
function network(): Network {
  const built = buildNetwork(
    clusterConfig({ families: [4] }),
    objects({
      nodes: [node(1), node(2)],
      pods: [pod("a", { node: 1, host: 5 }), pod("c", { node: 2, host: 9 })],
      services: [
        nodePortService("here", 1),
        nodePortService("there", 2),
        nodePortService("host", 3),
        nodePortService("abroad", 4),
        nodePortService("none", 5),
        nodePortService("local-here", 6, true),
        nodePortService("local-there", 7, true),
        {
          ...nodePortService("sticky", 8),
          spec: { ...nodePortService("sticky", 8).spec, sessionAffinity: "ClientIP" },
        },
      ],
      endpointSlices: [
        slice("here", [here], to(8080)),
        slice("there", [there], to(8080)),
        slice("host", [{ addresses: ["172.18.0.3"], nodeName: "node-2" }], to(9000)),
        slice("abroad", [{ addresses: [outside[4]] }], to(8080)),
        slice("local-here", [here], to(8080)),
        slice("local-there", [there], to(8080)),
        slice("sticky", [there], to(8080)),
      ],
    }),
  );
  const nodes = built.nodes.map((each) =>
    each.name === "node-1" ? { ...each, nodePortAddresses: ["127.0.0.1", "172.18.0.2"] } : each,
  );
  return { ...built, nodes };
}

void describe("node ports at 127.0.0.1", () => {
  let lab: PacketLab;
  let program: Program;
  const servers: { close(): void }[] = [];

  before(async () => {
    const today = network();
    program = compile(today, "node-1", pods["node-1"]);
    lab = createPacketLab(
      today,
      (["node-1", "node-2"] as const).map((name) => ({
        name,
        pods: pods[name],
        program: name === "node-1" ? program : compile(today, name, pods[name]),
      })),
    );
    for (const place of ["node-1", "node-2"]) lab.sh(place, "ip link set lo up");
    for (const [name, port] of [
      ["a", 8080],
      ["c", 8080],
      ["outside", 8080],
      ["node-1", 9000],
      ["node-2", 9000],
    ] as const)
      servers.push(await serve(lab, name, port));
  });
  after(() => {
    for (const server of servers) server.close();
    lab.close();
  });

  const connections: readonly (readonly [string, string, number, string])[] = [
    // Endpoints here, across the tunnel, of another node's own network, and outside of the cluster: each sees the node.
    ["node-1", "127.0.0.1", 30_001, "a saw 10.244.1.1"],
    ["node-1", "127.0.0.1", 30_002, "c saw 10.244.1.0"],
    ["node-1", "127.0.0.1", 30_003, "node-2 saw 172.18.0.2"],
    ["node-1", "127.0.0.1", 30_004, "outside saw 172.18.0.2"],
    ["node-1", "127.0.0.1", 30_005, "ECONNREFUSED"],
    ["node-1", "127.0.0.1", 30_008, "c saw 10.244.1.0"],
    // Whoever is inside gets an endpoint wherever it is.
    ["node-1", "127.0.0.1", 30_006, "a saw 10.244.1.1"],
    ["node-1", "127.0.0.1", 30_007, "c saw 10.244.1.0"],
    // The node's address answers as ever, and the loopback of whoever has not asked for it does not.
    ["outside", "172.18.0.2", 30_002, "c saw 10.244.1.0"],
    ["node-2", "127.0.0.1", 30_002, "ECONNREFUSED"],
    ["a", "127.0.0.1", 30_002, "ECONNREFUSED"],
    ["node-1", "127.0.0.1", 9000, "node-1 saw 127.0.0.1"],
  ];
  for (const [from, host, port, answer] of connections) {
    void it(`${from} -> ${host}:${port}  ${answer}`, async () => {
      if (from === "a") lab.sh("a", "ip link set lo up");
      assert.equal(await ask(lab, from, host, port), answer);
      if (port === 9000) return;
      // Who sends a datagram that is refused on its way out hears of it at once.
      const refused = answer === "ECONNREFUSED" && from === "node-1" ? "EPERM" : answer;
      assert.equal(await askUdp(lab, from, host, port), refused);
    });
  }

  // CVE-2020-8558: who is on a node's link, or is its pod, sends to 127.0.0.1 by way of the node.
  const strangers = [
    ["outside", "172.18.0.2", "eth0"],
    ["a", "10.244.1.1", "cbr0"],
  ] as const;
  for (const [from, gateway, link] of strangers) {
    void it(`${from}: sends for the node's loopback and gets nothing`, async () => {
      lab.sh(
        from,
        `ip address flush dev lo; ip link set lo down; echo 1 >/proc/sys/net/ipv4/conf/all/route_localnet
         ip route replace 127.0.0.1/32 via ${gateway}`,
      );
      const patienceMs = 500;
      for (const port of [9000, 30_001, 30_002])
        assert.equal(await ask(lab, from, "127.0.0.1", port, patienceMs), "SILENCE");
      // So it is the guard, and nothing else: without it they would be answered.
      lab.sh("node-1", `nft insert rule ip fairlead guard-prerouting iifname ${link} accept`);
      assert.match(await ask(lab, from, "127.0.0.1", 9000), /^node-1 saw /);
      lab.sh("node-1", `nft delete rule ip fairlead guard-prerouting handle ${handleOf(lab, link)}`);
      assert.equal(await ask(lab, from, "127.0.0.1", 9000, patienceMs), "SILENCE");
      lab.sh(from, "ip route delete 127.0.0.1/32; ip link set lo up; ip address replace 127.0.0.1/8 dev lo");
    });
  }
});

/** Of the rule that lets packets of a link pass the guard. */
function handleOf(lab: PacketLab, link: string): string {
  const chain = lab.sh("node-1", "nft -a list chain ip fairlead guard-prerouting");
  return new RegExp(`iifname "${link}" accept # handle (\\d+)`).exec(chain)?.[1] ?? "";
}
