// How nodes reach each other's pods: through the tunnel, by routes, or both; and from one to the other while packets flow.

import assert from "node:assert/strict";
import net from "node:net";
import { describe, test } from "node:test";

import type { Address, Family } from "../../src/ip/address.ts";
import { contains } from "../../src/ip/prefix.ts";
import { mustChange } from "../../src/kernel/kernel.ts";
import { openKernel } from "../../src/kernel/linux.ts";
import { tcpSocketFd } from "../../src/kernel/sockets.ts";
import type { Routing } from "../../src/model/network.ts";
import { routeProtocol } from "../../src/program/program.ts";
import { podPort, startCluster, type TestCluster, type TestPod } from "./cluster.testing.ts";

/** What is said there; throws where nobody answers in time. */
function ask(from: TestPod, address: Address): Promise<string> {
  const family: Family = address.includes(":") ? 6 : 4;
  return new Promise((resolve, reject) => {
    const socket = new net.Socket({ fd: tcpSocketFd(from.namespace, family) });
    let said = "";
    socket.setTimeout(5000, () => socket.destroy(new Error(`${from.name} heard nothing from ${address}`)));
    socket.on("data", (chunk) => (said += String(chunk)));
    socket.on("error", reject);
    socket.on("close", () => resolve(said));
    socket.connect({ host: address, port: podPort });
  });
}

async function everyoneReachesEveryone(pods: readonly TestPod[], families: readonly Family[]): Promise<void> {
  for (const from of pods)
    for (const to of pods)
      for (const family of families)
        assert.equal(await ask(from, to.address(family)), `${to.name} ${from.address(family)}\n`);
}

/** How a node reaches another one's pods, as its kernel says. */
function way(cluster: TestCluster, from: string, to: string, family: Family): "tunnel" | "direct" {
  const range = cluster.node(to).podCidr(family);
  const route = cluster
    .node(from)
    .machine.kernel.routes()
    .find((one) => one.to === range);
  assert.ok(route, `${from} has no route to ${range}`);
  return route.link === "fl.vx" ? "tunnel" : "direct";
}

function mtuOf(pod: TestPod): number | undefined {
  const kernel = openKernel(pod.name, pod.namespace);
  try {
    return kernel.links().find(({ name }) => name === "eth0")?.mtu;
  } finally {
    kernel.close();
  }
}

async function podPerNode(cluster: TestCluster, nodes: number): Promise<readonly TestPod[]> {
  const pods: TestPod[] = [];
  for (let index = 1; index <= nodes; index++) pods.push(await cluster.addPod(`pod-${index}`, `node-${index}`));
  return pods;
}

const halves = ["172.18.0.0/17", "172.18.128.0/17", "fd00:172:18::/65", "fd00:172:18:0:8000::/65"];

describe("routing between nodes", () => {
  for (const families of [[4, 6], [6, 4], [4], [6]] as const) {
    test(`native: as they are, with the underlay's MTU (IPv${families.join(" and IPv")})`, async (t) => {
      const cluster = await startCluster({ nodes: 2, families, cluster: { routing: "native" } });
      t.after(() => cluster.close());
      const pods = await podPerNode(cluster, 2);
      await everyoneReachesEveryone(pods, families);
      for (const family of families) assert.equal(way(cluster, "node-1", "node-2", family), "direct");
      assert.deepEqual(pods.map(mtuOf), [1500, 1500]);
    });
  }

  test("VXLAN over IPv6, and its MTU", async (t) => {
    const cluster = await startCluster({ nodes: 2, families: [6, 4] });
    t.after(() => cluster.close());
    const pods = await podPerNode(cluster, 2);
    await everyoneReachesEveryone(pods, [6, 4]);
    assert.deepEqual(pods.map(mtuOf), [1430, 1430]);
    const tunnel = cluster
      .node("node-1")
      .machine.kernel.links()
      .find(({ name }) => name === "fl.vx");
    assert.ok(tunnel?.vxlan?.local?.includes(":"));
  });

  test("mixed: as they are inside a subnet, through the tunnel between subnets", async (t) => {
    const cluster = await startCluster({ nodes: 3, cluster: { routing: "mixed", subnets: halves } });
    t.after(() => cluster.close());
    const pods = await podPerNode(cluster, 3);
    await everyoneReachesEveryone(pods, [4, 6]);
    for (const family of [4, 6] as const) {
      assert.equal(way(cluster, "node-1", "node-3", family), "direct");
      assert.equal(way(cluster, "node-1", "node-2", family), "tunnel");
    }
    assert.ok(contains("172.18.128.0/17", cluster.topology.nodes.get("node-2")?.addresses[0] ?? ""));
    assert.deepEqual(pods.map(mtuOf), [1450, 1450, 1450]);
  });

  test("a cluster changes its way node by node, there and back, and every connection made meanwhile is answered", async (t) => {
    const cluster = await startCluster({ nodes: 3 });
    t.after(() => cluster.close());
    const pods = await podPerNode(cluster, 3);
    let going = true;
    let answered = 0;
    const traffic = pods.flatMap((from, index) => {
      const to = pods[(index + 1) % pods.length] as TestPod;
      return ([4, 6] as const).map(async (family) => {
        while (going) {
          assert.equal(await ask(from, to.address(family)), `${to.name} ${from.address(family)}\n`);
          answered++;
        }
      });
    });
    const change = async (routing: Routing): Promise<void> => {
      for (const node of ["node-1", "node-2", "node-3"]) {
        cluster.setNode(node, { routing });
        await cluster.synced();
        const enough = answered + 30;
        while (answered < enough && going) await new Promise((resolve) => void setImmediate(resolve));
      }
    };
    try {
      await change("native");
      assert.equal(way(cluster, "node-1", "node-3", 4), "direct");
      assert.equal(way(cluster, "node-1", "node-3", 6), "direct");
      assert.deepEqual(pods.map(mtuOf), [1500, 1500, 1500]);
      await change("vxlan");
      assert.equal(way(cluster, "node-1", "node-3", 4), "tunnel");
      assert.equal(way(cluster, "node-1", "node-3", 6), "tunnel");
      assert.deepEqual(pods.map(mtuOf), [1450, 1450, 1450]);
    } finally {
      going = false;
    }
    await Promise.all(traffic);
  });

  test("the underlay's MTU changes: pods' links follow on both ends", async (t) => {
    const cluster = await startCluster({ nodes: 2 });
    t.after(() => cluster.close());
    const pods = await podPerNode(cluster, 2);
    for (const underlayMtu of [1400, 9000, 1500]) {
      cluster.setConfig({ underlayMtu });
      await cluster.synced();
      assert.deepEqual(pods.map(mtuOf), [underlayMtu - 50, underlayMtu - 50]);
      const ends = cluster
        .node("node-1")
        .machine.kernel.links()
        .filter(({ name }) => name.startsWith("flp"));
      assert.deepEqual(
        ends.map(({ mtu }) => mtu),
        [underlayMtu - 50],
      );
    }
    await everyoneReachesEveryone(pods, [4, 6]);
  });

  for (const routing of ["vxlan", "native"] as const) {
    test(`a node gets other addresses while it runs: everybody follows, also itself (${routing})`, async (t) => {
      const cluster = await startCluster({ nodes: 3, cluster: { routing } });
      t.after(() => cluster.close());
      const pods = await podPerNode(cluster, 3);
      await everyoneReachesEveryone(pods, [4, 6]);
      const before = cluster.node("node-2").machine;
      const moved = ["172.18.0.99", "fd00:172:18::99"];
      readdress(cluster, "node-2", moved);
      cluster.setNode("node-2", { addresses: moved });
      await cluster.synced();
      await everyoneReachesEveryone(pods, [4, 6]);
      const kernels = cluster.names().map((name) => cluster.node(name).machine.kernel);
      const ways = kernels.flatMap((kernel) => [
        ...kernel.forwarding().map(({ remote }) => remote),
        ...kernel.routes().map(({ via }) => via),
      ]);
      for (const address of before.addresses) assert.ok(!ways.includes(address), `${address} is still somebody's way`);
      assert.equal(kernels[1]?.links().find(({ name }) => name === "fl.vx")?.vxlan?.local, moved[0]);
    });

    test(`a node is made anew under another name, with the same addresses and ranges (${routing})`, async (t) => {
      const cluster = await startCluster({ nodes: 3, cluster: { routing } });
      t.after(() => cluster.close());
      const [one, two, three] = await podPerNode(cluster, 3);
      assert.ok(one && two && three);
      await everyoneReachesEveryone([one, two, three], [4, 6]);
      // Its kubelet knows nothing of pods that were bound to the other name, and ends them.
      await cluster.deletePod(two);
      await cluster.rename("node-2", "other");
      const pods = [one, await cluster.addPod("pod-4", "other"), three];
      await cluster.synced();
      await everyoneReachesEveryone(pods, [4, 6]);
      for (const name of ["node-1", "node-3"]) {
        const { kernel } = cluster.node(name).machine;
        const neighbours = kernel.neighbours().filter(({ link, permanent }) => link === "fl.vx" && permanent);
        assert.equal(neighbours.length, 4, "two nodes, two families");
        assert.equal(kernel.forwarding().filter(({ link, static: kept }) => link === "fl.vx" && kept).length, 2);
      }
    });
  }
});

/** Gives a node's uplink other addresses in place of its own, as an administrator does; the others find them as ARP would. */
function readdress(cluster: TestCluster, name: string, addresses: readonly Address[]): void {
  const { machine } = cluster.node(name);
  const uplink = machine.kernel.addresses().find(({ address }) => address === machine.addresses[0])?.link;
  const { mac } = machine.kernel.links().find((link) => link.name === uplink) ?? {};
  assert.ok(uplink !== undefined && mac !== undefined);
  const bits = (address: Address): number => (address.includes(":") ? 64 : 16);
  const routes = machine.kernel.routes().filter(({ via, table }) => via !== undefined && table === 254);
  const own = routes.filter(({ protocol, link }) => protocol !== routeProtocol && link === uplink);
  mustChange(machine.kernel, [
    // First: an address goes with the one before it of the same range.
    ...machine.addresses.map((address) => ({
      kind: "delete-address" as const,
      link: uplink,
      address,
      bits: bits(address),
    })),
    ...addresses.map((address) => ({ kind: "set-address" as const, link: uplink, address, bits: bits(address) })),
    // The kernel takes the default route with the address it came from.
    ...own.map(({ to, via, metric, protocol }) => ({
      kind: "set-route" as const,
      to,
      ...(via !== undefined && { via }),
      action: "forward" as const,
      link: uplink,
      metric,
      protocol,
    })),
  ]);
  for (const other of cluster.names().filter((each) => each !== name))
    mustChange(
      cluster.node(other).machine.kernel,
      addresses.map((address) => ({ kind: "set-neighbour", link: uplink, address, mac })),
    );
}
