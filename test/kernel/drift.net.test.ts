// What people and other programs do to a node by hand is put back, reported with the object it belongs to, and packets flow again.
// Also: a restart writes nothing, a stopped node comes back, and many rounds leave nothing behind.
// Needs: nft, ip, bridge

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";

import type { Address } from "../../src/ip/address.ts";
import { addressAt } from "../../src/ip/prefix.ts";
import type { NetworkNamespace } from "../../src/kernel/namespaces.ts";
import { probeTcp, type Outcome } from "../../src/lab/network/probe.ts";
import { podPort, startCluster, type TestCluster, type TestPod } from "./cluster.testing.ts";

/** What a person types on a node. */
function type(namespace: NetworkNamespace, command: string): void {
  const result = namespace.run(() => spawnSync("sh", ["-c", command], { encoding: "utf8" }));
  assert.equal(result.status, 0, `${command}: ${result.stderr}`);
}

describe("by hand", () => {
  let cluster: TestCluster;
  let a: TestPod;
  let b: TestPod;
  let c: TestPod;
  before(async () => {
    cluster = await startCluster({ nodes: 2 });
    [a, b, c] = await Promise.all([
      cluster.addPod("a", "node-1"),
      cluster.addPod("b", "node-1"),
      cluster.addPod("c", "node-2"),
    ]);
    await cluster.setServices(cluster.service("web", 100, [b, c]));
  });
  after(() => cluster.close());

  /** Everything that should work does: the neighbour, the other node, the Service. */
  const works = async (): Promise<void> => {
    // The kernel tells a new bridge of its carrier up to a second late (linkwatch); what is sent before is lost, and sent again a second later.
    const ask = async (address: string, port: number): Promise<Outcome> =>
      (await probeTcp(a.namespace, { address, port, timeoutMs: 5000 })).outcome;
    for (const family of [4, 6] as const) {
      assert.equal(await ask(b.address(family), podPort), "answered", `neighbour, IPv${family}`);
      assert.equal(await ask(c.address(family), podPort), "answered", `other node, IPv${family}`);
    }
    assert.equal(await ask("10.96.0.100", 80), "answered", "service");
    assert.equal(await ask("fd00:10:96::64", 80), "answered", "service by IPv6");
  };

  const hands: readonly {
    readonly what: string;
    readonly command: (pod: TestPod) => string;
    readonly reported: (pod: TestPod) => string;
    readonly origin: string;
  }[] = [
    {
      what: "the route to another node",
      command: () => `ip route del ${cluster.node("node-2").podCidr(4)}`,
      reported: () => `route ${cluster.node("node-2").podCidr(4)}`,
      origin: "node-2",
    },
    {
      what: "the IPv6 route to a pod",
      command: (pod) => `ip -6 route del ${pod.address(6)}`,
      reported: (pod) => `route ${pod.address(6)}/128`,
      origin: "b",
    },
    {
      what: "the tunnel",
      command: () => "ip link del fl.vx",
      reported: () => "link fl.vx",
      origin: "node-1",
    },
    {
      what: "the pods' bridge",
      command: () => "ip link del cbr0",
      reported: () => "link cbr0",
      origin: "node-1",
    },
    {
      what: "the pods' bridge taken down",
      command: () => "ip link set cbr0 down; ip link set cbr0 up",
      reported: (pod) => `route ${pod.address(4)}/32`,
      origin: "b",
    },
    {
      what: "a gateway's address",
      command: (pod) => `ip addr del ${gatewayOf(pod)}/32 dev cbr0`,
      reported: (pod) => `addr ${gatewayOf(pod)}/32`,
      origin: "node-1",
    },
    {
      what: "a pod's hardware address",
      command: (pod) => `ip neigh replace ${pod.address(4)} lladdr 02:00:00:00:00:01 dev cbr0`,
      reported: (pod) => `neigh ${pod.address(4)}`,
      origin: "b",
    },
    {
      what: "a Service's element",
      command: () => "nft delete element ip fairlead services '{ 10.96.0.100 . tcp . 80 }'",
      reported: () => "services 10.96.0.100 . tcp . 80",
      origin: "web",
    },
    {
      what: "the rules of a chain",
      command: () => "nft flush chain bridge fairlead guard",
      reported: () => "rule bridge fairlead guard",
      origin: "",
    },
    {
      what: "a whole table",
      command: () => "nft delete table ip6 fairlead",
      reported: () => "table ip6 fairlead",
      origin: "",
    },
    {
      what: "a pod's isolation",
      command: (pod) => `bridge link set dev ${linkOf(pod)} isolated off`,
      reported: (pod) => `link ${linkOf(pod)}`,
      origin: "b",
    },
    {
      what: "a pod's link",
      command: (pod) => `ip link del ${linkOf(pod)}`,
      reported: (pod) => `link ${linkOf(pod)}`,
      origin: "b",
    },
  ];
  const linkOf = (pod: TestPod): string => {
    const attachment = cluster.node(pod.node).attachments.get(pod.id);
    assert.ok(attachment);
    return attachment.link;
  };

  const gatewayOf = (pod: TestPod): Address => addressAt(cluster.node(pod.node).podCidr(4), 1);

  for (const hand of hands) {
    test(`${hand.what} is put back and reported`, async () => {
      const node = cluster.node("node-1");
      node.forgetDrift();
      type(node.machine.namespace, hand.command(b));
      const drift = await node.putBack(hand.reported(b));
      assert.equal(drift.origin?.name ?? "", hand.origin);
      await cluster.synced();
      await works();
    });
  }

  test("what is added under our names is taken away; what others own stays", async () => {
    const node = cluster.node("node-1");
    type(
      node.machine.namespace,
      [
        "ip route add 10.9.0.0/16 dev eth0 proto 241",
        "ip route add 10.8.0.0/16 dev eth0",
        "nft add element ip fairlead services '{ 10.96.0.99 . tcp . 80 : 1 }'",
        "nft add table ip somebody",
      ].join(" && "),
    );
    await node.putBack("route 10.9.0.0/16");
    assert.equal((await node.putBack("element ip fairlead services 10.96.0.99 . tcp . 80 : 0:1")).kind, "extra");
    const routes = node.machine.kernel.routes().map((route) => route.to);
    assert.ok(!routes.includes("10.9.0.0/16") && routes.includes("10.8.0.0/16"));
    assert.ok(node.machine.kernel.nftTable("ip", "somebody"));
    type(node.machine.namespace, "ip route del 10.8.0.0/16 && nft delete table ip somebody");
  });

  test("a node whose wire was pulled is cut off, and back when it is plugged in again", async () => {
    const target = { address: c.address(4), port: podPort, timeoutMs: 150 };
    cluster.topology.setUplink("node-2", "down");
    assert.notEqual((await probeTcp(a.namespace, target)).outcome, "answered");
    assert.equal((await probeTcp(c.namespace, { ...target, timeoutMs: 1000 })).outcome, "answered", "itself");
    cluster.topology.setUplink("node-2", "up");
    await works();
  });
});

test("a restarted agent finds everything as it left it and writes nothing", async (t) => {
  const stateDir = mkdtempSync(join(tmpdir(), "fairlead-"));
  t.after(() => rmSync(stateDir, { recursive: true }));
  const cluster = await startCluster({ nodes: 2, stateDir });
  try {
    const [a, b] = await Promise.all([
      cluster.addPod("a", "node-1"),
      cluster.addPod("b", "node-1", { hostPort: 8443 }),
    ]);
    await cluster.setServices(
      cluster.service("web", 100, [a, b], { nodePort: 30080 }),
      cluster.service("none", 101, []),
    );
    for (const name of ["node-1", "node-2"]) {
      const { agent } = await cluster.restart(name);
      const report = await agent.synced();
      assert.deepEqual(
        report.made.map((made) => made.text),
        [],
      );
    }
    const d = await cluster.addPod("d", "node-1");
    // The range's own, the gateway, a and b came before.
    const next = ([4, 6] as const).map((family) => addressAt(cluster.node("node-1").podCidr(family), 4));
    assert.deepEqual(d.addresses, next, "addresses go on where they were");
    const target = { address: b.address(4), port: podPort };
    assert.equal((await probeTcp(d.namespace, target)).outcome, "answered");
  } finally {
    await cluster.close();
  }
});

test("cleanup removes all that is ours and nothing else", async () => {
  const cluster = await startCluster({ nodes: 2 });
  try {
    const pod = await cluster.addPod("a", "node-1");
    await cluster.setServices(cluster.service("web", 100, [pod]));
    const node = cluster.node("node-1");
    const report = await node.agent.cleanup();
    assert.deepEqual(report.failures, []);
    const { kernel } = node.machine;
    assert.deepEqual(
      kernel
        .links()
        .map((link) => link.name)
        .sort(),
      ["eth0", "lo"],
    );
    assert.deepEqual(
      kernel.routes().filter((route) => route.protocol === 0xf1),
      [],
    );
    for (const family of ["ip", "ip6", "bridge"] as const) assert.equal(kernel.nftTable(family, "fairlead"), undefined);
    assert.ok(kernel.routes().some((route) => route.to === "0.0.0.0/0"));
  } finally {
    await cluster.close();
  }
});

test("twenty rounds leave no descriptor and no namespace behind", async (t) => {
  const round = async (): Promise<void> => {
    const cluster = await startCluster({ nodes: 2 });
    const pods = await Promise.all([cluster.addPod("a", "node-1"), cluster.addPod("b", "node-2")]);
    const [a, b] = pods;
    assert.ok(a && b);
    assert.equal((await probeTcp(a.namespace, { address: b.address(4), port: podPort })).outcome, "answered");
    await cluster.deletePod(a);
    await cluster.close();
  };
  // The first round opens what stays for good: home's own descriptors.
  await round();
  const descriptors = (): number => readdirSync("/proc/self/fd").length;
  const before = descriptors();
  for (let index = 0; index < 19; index++) await round();
  // Node closes what a finished connection held some turns of its event loop later.
  await t.waitFor(() => assert.ok(descriptors() <= before, `${before} before, ${descriptors()} now`), {
    timeout: 10_000,
  });
});
