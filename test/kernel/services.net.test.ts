// Packets to Services: from pods, nodes and outside; what the endpoint sees as its client, and what comes back where there is no endpoint.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import type { Address, Family } from "../../src/ip/address.ts";
import { probeTcp, probeUdp, type TcpResult } from "../../src/lab/network/probe.ts";
import type { NetworkService } from "../../src/model/network.ts";
import { startCluster, type TestCluster, type TestPod } from "./cluster.testing.ts";

const families = [4, 6] as const satisfies readonly Family[];
const nodePort = 30080;

/** Resolves when it holds; fails where it does not in time. */
async function until(holds: () => boolean, ms: number): Promise<void> {
  const deadline = performance.now() + ms;
  while (!holds()) {
    assert.ok(performance.now() < deadline, `not within ${ms} ms`);
    await new Promise((resolve) => void setTimeout(resolve, 50));
  }
}

describe("services", () => {
  let cluster: TestCluster;
  let client: TestPod;
  let near: TestPod;
  let far: TestPod;
  before(async () => {
    cluster = await startCluster({ nodes: 2 });
    [client, near, far] = await Promise.all([
      cluster.addPod("client", "node-1"),
      cluster.addPod("near", "node-1"),
      cluster.addPod("far", "node-2"),
    ]);
    await cluster.setServices(
      cluster.service("both", 100, [near, far], { nodePort }),
      cluster.service("self", 101, [client]),
      cluster.service("nobody", 102, [], { nodePort: nodePort + 1 }),
    );
  });
  after(() => cluster.close());

  const vip = (offset: number, family: Family): Address =>
    family === 4 ? `10.96.0.${offset}` : `fd00:10:96::${offset.toString(16)}`;
  const nodeAddress = (node: string, family: Family): Address => {
    const found = cluster.node(node).machine.addresses.find((one) => one.includes(":") === (family === 6));
    assert.ok(found);
    return found;
  };
  /** Who answered, and as whom it saw the client. Asks until every one of `expected` has answered. */
  const ask = async (expected: readonly string[], probe: () => Promise<TcpResult>): Promise<Map<string, Address>> => {
    const seen = new Map<string, Address>();
    // Each of two endpoints is chosen with probability 1/2: not to be chosen 60 times happens once in 10^18.
    for (let round = 0; round < 60 && seen.size < expected.length; round++) {
      const result = await probe();
      assert.equal(result.outcome, "answered", JSON.stringify(result));
      const [name = "", client = ""] = (result.said ?? "").trim().split(" ");
      seen.set(name, client);
    }
    assert.deepEqual([...seen.keys()].sort(), [...expected].sort());
    return seen;
  };

  /**
   * RFC 4443 2.4 (f): a node limits how many errors it sends, and Linux counts redirects it only thought of against the same budget
   * (net/ipv6/ip6_output.c, ip6_forward): one datagram in a hundred milliseconds may go unanswered. Clients ask again, and so does this.
   */
  const refusalByUdp = async (pod: TestPod, target: { address: Address; port: number }): Promise<string> => {
    for (let round = 0; round < 4; round++) {
      const { outcome } = await probeUdp(pod.namespace, { ...target, timeoutMs: 150 });
      if (outcome !== "timeout") return outcome;
    }
    return "timeout";
  };

  for (const family of families) {
    describe(`IPv${family}`, () => {
      test("a pod reaches all endpoints, and they see the pod's address", async () => {
        const target = { address: vip(100, family), port: 80, read: true };
        const seen = await ask(["near", "far"], () => probeTcp(client.namespace, target));
        assert.deepEqual(new Set(seen.values()), new Set([client.address(family)]));
      });

      test("UDP answers come from the Service's address", async () => {
        const result = await probeUdp(client.namespace, { address: vip(100, family), port: 80 });
        assert.equal(result.outcome, "answered", JSON.stringify(result));
        assert.match(result.said ?? "", new RegExp(`^(near|far) ${client.address(family)}$`));
      });

      test("a pod that is its own only endpoint reaches itself", async () => {
        const target = { address: vip(101, family), port: 80, read: true };
        await ask(["client"], () => probeTcp(client.namespace, target));
      });

      test("a node reaches it too", async () => {
        const target = { address: vip(100, family), port: 80, read: true };
        await ask(["near", "far"], () => probeTcp(cluster.node("node-1").machine.namespace, target));
      });

      test("without endpoints connections are refused at once, by TCP and UDP", async () => {
        const target = { address: vip(102, family), port: 80 };
        assert.equal((await probeTcp(client.namespace, target)).outcome, "refused", "pod by TCP");
        assert.equal(await refusalByUdp(client, target), "refused", "pod by UDP");
        const node = cluster.node("node-2").machine.namespace;
        assert.equal((await probeTcp(node, target)).outcome, "refused", "node");
        const outside = { address: nodeAddress("node-1", family), port: nodePort + 1 };
        assert.equal((await probeTcp(cluster.topology.internet.namespace, outside)).outcome, "refused", "outside");
      });

      for (const entry of ["node-1", "node-2"]) {
        test(`from outside, ${entry}'s node port leads to endpoints on every node`, async () => {
          const target = { address: nodeAddress(entry, family), port: nodePort, read: true };
          await ask(["near", "far"], () => probeTcp(cluster.topology.internet.namespace, target));
        });
      }

      test("a pod reaches node ports, its own node's and another's", async () => {
        for (const entry of ["node-1", "node-2"]) {
          const target = { address: nodeAddress(entry, family), port: nodePort, read: true };
          await ask(["near", "far"], () => probeTcp(client.namespace, target));
        }
      });
    });
  }

  for (const family of families) {
    test(`IPv${family}: a client with session affinity stays, and goes on elsewhere when its endpoint is gone`, async () => {
      const sticky = (...pods: readonly TestPod[]) => ({
        ...cluster.service("sticky", 103, pods),
        sessionAffinitySeconds: 600,
      });
      const target = { address: vip(103, family), port: 80, read: true };
      const name = async (): Promise<string> =>
        ((await probeTcp(client.namespace, target)).said ?? "").split(" ")[0] ?? "";
      await cluster.setServices(sticky(client, near, far));
      const first = await name();
      for (let round = 0; round < 20; round++) assert.equal(await name(), first);
      const left = [client, near, far].filter((pod) => pod.name !== first);
      await cluster.setServices(sticky(...left));
      const second = await name();
      assert.ok(
        left.some((pod) => pod.name === second),
        second,
      );
      for (let round = 0; round < 20; round++) assert.equal(await name(), second);
      // Back again: whoever stays keeps to its choice.
      await cluster.setServices(sticky(client, near, far));
      for (let round = 0; round < 20; round++) assert.equal(await name(), second);
      await cluster.setServices(cluster.service("both", 100, [near, far], { nodePort }));
    });
  }

  /** The endpoints of a Service with other conditions or hints, by pod. */
  const changed = (
    service: NetworkService,
    change: (pod: string) => Partial<NetworkService["ports"][number]["endpoints"][number]>,
  ): NetworkService => ({
    ...service,
    ports: service.ports.map((port) => ({
      ...port,
      endpoints: port.endpoints.map((endpoint) => ({ ...endpoint, ...change(endpoint.pod ?? "") })),
    })),
  });

  for (const family of families) {
    const target = { address: vip(107, family), port: 80, read: true };

    test(`IPv${family}: hints lead to the endpoint of the node itself`, async () => {
      const service = cluster.service("hinted", 107, [near, far]);
      const node = (pod: string): string => (pod === "default/near" ? "node-1" : "node-2");
      await cluster.setServices(changed(service, (pod) => ({ forNodes: [node(pod)] })));
      for (const [name, answer] of [
        ["node-1", "near"],
        ["node-2", "far"],
      ] as const)
        for (let round = 0; round < 12; round++)
          assert.match(
            (await probeTcp(cluster.node(name).machine.namespace, target)).said ?? "",
            new RegExp(`^${answer} `),
          );
      // One endpoint without a hint, and hints mean nothing.
      await cluster.setServices(changed(service, (pod) => (pod === "default/near" ? { forNodes: ["node-1"] } : {})));
      await ask(["near", "far"], () => probeTcp(client.namespace, target));
    });

    test(`IPv${family}: an endpoint that terminates serves while no other is ready`, async () => {
      const service = cluster.service("leaving", 107, [near, far]);
      const leaving = { ready: false, serving: true, terminating: true };
      await cluster.setServices(changed(service, () => leaving));
      await ask(["near", "far"], () => probeTcp(client.namespace, target));
      await cluster.setServices(changed(service, (pod) => (pod === "default/near" ? leaving : {})));
      for (let round = 0; round < 12; round++)
        assert.match((await probeTcp(client.namespace, target)).said ?? "", /^far /);
      await cluster.setServices(changed(service, () => ({ ...leaving, serving: false })));
      assert.equal((await probeTcp(client.namespace, target)).outcome, "refused");
      await cluster.setServices(cluster.service("both", 100, [near, far], { nodePort }));
    });
  }

  test("session affinity ends with its timeout", async () => {
    const service = { ...cluster.service("brief", 108, [near, far]), sessionAffinitySeconds: 2 };
    await cluster.setServices(service);
    const { kernel } = cluster.node("node-1").machine;
    for (const family of families) {
      const remembered = (): number =>
        kernel.nftTable(family === 4 ? "ip" : "ip6", "fairlead")?.elements.get("affinity")?.length ?? 0;
      await probeTcp(client.namespace, { address: vip(108, family), port: 80 });
      assert.equal(remembered(), 1);
      await until(() => remembered() === 0, 5000);
    }
    await cluster.setServices(cluster.service("both", 100, [near, far], { nodePort }));
  });

  /** What node-1 tracks of the client's datagrams to a Service, by endpoint. */
  const tracked = (address: Address): readonly string[] =>
    cluster
      .node("node-1")
      .machine.kernel.connections()
      .filter((one) => one.protocol === 17 && one.destination === address)
      .map((one) => one.replySource);
  const sendTo = async (address: Address, times: number): Promise<void> => {
    for (let round = 0; round < times; round++) await probeUdp(client.namespace, { address, port: 80, timeoutMs: 300 });
  };

  test("UDP: what an endpoint has left behind is forgotten, and nothing else", async () => {
    const address = vip(104, 4);
    const udp = (...pods: readonly TestPod[]) => cluster.service("udp", 104, pods);
    await cluster.setServices(udp(near, far));
    await sendTo(address, 24);
    assert.deepEqual([...new Set(tracked(address))].sort(), [near.address(4), far.address(4)].sort());
    const kept = tracked(address).filter((one) => one === far.address(4)).length;
    await cluster.setServices(udp(far));
    assert.deepEqual(
      tracked(address),
      Array.from({ length: kept }, () => far.address(4)),
      "those to the endpoint that stays",
    );
    await cluster.setServices(udp(far, near));
    assert.equal(tracked(address).length, kept, "another endpoint more flushes nothing");
    await cluster.setServices(udp());
    assert.deepEqual(tracked(address), [], "no endpoint is left");
    await cluster.setServices(udp(far));
    await sendTo(address, 2);
    assert.equal(tracked(address).length, 2);
    await cluster.setServices();
    assert.deepEqual(tracked(address), [], "the Service is gone");
  });

  test("UDP: who sent while there was no endpoint is served when there is one", async () => {
    const address = vip(105, 4);
    await cluster.setServices({ ...cluster.service("late", 105, [far]), internalTrafficPolicy: "Local" });
    assert.equal((await probeUdp(client.namespace, { address, port: 80, timeoutMs: 100 })).outcome, "timeout");
    await cluster.setServices(cluster.service("late", 105, [far]));
    assert.equal((await probeUdp(client.namespace, { address, port: 80 })).outcome, "answered");
    await cluster.setServices(cluster.service("both", 100, [near, far], { nodePort }));
  });

  test("TCP is left alone: a connection to an endpoint that is removed goes on", async () => {
    const address = vip(106, 4);
    await cluster.setServices(cluster.service("tcp", 106, [far]));
    assert.equal((await probeTcp(client.namespace, { address, port: 80, read: true })).outcome, "answered");
    const count = (): number =>
      cluster
        .node("node-1")
        .machine.kernel.connections()
        .filter((one) => one.protocol === 6 && one.destination === address && one.replySource === far.address(4))
        .length;
    assert.equal(count(), 1);
    await cluster.setServices();
    assert.equal(count(), 1);
    await cluster.setServices(cluster.service("both", 100, [near, far], { nodePort }));
  });

  test("an endpoint that is removed gets no more UDP of a client that keeps its port", async () => {
    const [address] = [vip(100, 4)];
    const request = { address, port: 80 };
    const first = await probeUdp(client.namespace, request);
    assert.equal(first.outcome, "answered");
    await cluster.setServices(cluster.service("both", 100, [far], { nodePort }));
    const tracked = cluster
      .node("node-1")
      .machine.kernel.connections()
      .filter((one) => one.protocol === 17 && one.destination === address && one.replySource === near.address(4));
    assert.deepEqual(tracked, []);
  });
});
