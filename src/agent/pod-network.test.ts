import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { programOf } from "../apply/program.testing.ts";
import { createFakeWorld, type FakeKernel, type FakeWorld } from "../kernel/fake.ts";
import type { Network } from "../model/network.ts";
import { startAgent, type Agent } from "./agent.ts";
import { openAttachments, type AttachmentStore } from "./attachments.ts";
import { CniError, type CniRequest } from "../serve/cni/cni.ts";
import { createIpam, type Ipam } from "./ipam.ts";
import { createPodNetwork, podLinkName, type NodePodNetwork } from "./pod-network.ts";

interface Bench {
  readonly world: FakeWorld;
  readonly kernel: FakeKernel;
  readonly agent: Agent;
  readonly attachments: AttachmentStore;
  readonly ipam: Ipam;
  readonly network: NodePodNetwork;
  /** How many reconciliations there were. */
  compiled(): number;
  /** A new pod's namespace and the request of its ADD. */
  pod(id: string): { readonly kernel: FakeKernel; readonly request: CniRequest };
}

function bench(range = "10.244.1.0/24", attachments = openAttachments()): Bench {
  let compiled = 0;
  const world = createFakeWorld();
  const kernel = world.kernel("node-1");
  const ipam = createIpam([range, "fd00:10:244:1::/64"], attachments);
  const agent = startAgent({
    node: "node-1",
    kernel,
    source: { current: () => ({}) as Network, subscribe: () => ({ close() {} }) },
    attachments,
    compile(_network, _node, pods) {
      compiled++;
      return programOf(pods);
    },
  });
  const network = createPodNetwork({
    node: "node-1",
    kernel,
    agent,
    attachments,
    ipam,
    openKernel: (_name, fd) => ({ ...world.open(fd), close() {} }),
    namespaceId: (fd) => String(fd),
  });
  return {
    world,
    kernel,
    agent,
    attachments,
    ipam,
    network,
    compiled: () => compiled,
    pod(id) {
      const inside = world.kernel(`pod ${id}`);
      const request: CniRequest = {
        containerId: id,
        namespaceFd: inside.namespaceFd,
        interfaceName: "eth0",
        podNamespace: "default",
        podName: id,
        podUid: `uid-${id}`,
        portMappings: [{ hostPort: 8080, containerPort: 80, protocol: "tcp" }],
      };
      return { kernel: inside, request };
    },
  };
}

/** What a pod that was never there would have left. */
function traces({ kernel, attachments, ipam }: Bench): unknown {
  return {
    links: kernel.links().filter((link) => link.kind === "veth"),
    routes: kernel.routes().filter((route) => route.to === "10.244.1.2/32"),
    neighbours: kernel.neighbours().filter((neighbour) => neighbour.link === "cbr0"),
    attachments: attachments.list(),
    used: ipam.usage().map((usage) => usage.used),
  };
}
const none = { links: [], routes: [], neighbours: [], attachments: [], used: [0, 0] };

describe("pod network", () => {
  test("ADD gives addresses of both families, a gateway and routes, and the node's Program is in force when it returns", async () => {
    const it = bench();
    const pod = it.pod("a");
    const result = await it.network.add(pod.request);
    assert.deepEqual(
      result.ips.map((ip) => [ip.address, ip.bits, ip.gateway]),
      [
        ["10.244.1.2", 32, "10.244.1.1"],
        ["fd00:10:244:1::2", 128, "fd00:10:244:1::1"],
      ],
    );
    assert.deepEqual(
      result.interfaces.map(({ name, mtu }) => [name, mtu]),
      [
        [podLinkName("a"), 1430],
        ["eth0", 1430],
      ],
    );
    assert.ok(it.kernel.routes().some((route) => route.to === "10.244.1.2/32"));
    assert.ok(it.kernel.links().find((link) => link.name === podLinkName("a"))?.bridgePort?.isolated);
    const inside = pod.kernel;
    assert.deepEqual(
      inside.routes().flatMap((route) => (route.via === undefined ? [] : [`${route.to} via ${route.via}`])),
      ["0.0.0.0/0 via 10.244.1.1", "::/0 via fd00:10:244:1::1"],
    );
    const bridge = it.kernel.links().find((link) => link.name === "cbr0");
    assert.deepEqual([...new Set(inside.neighbours().map((neighbour) => neighbour.mac))], [bridge?.mac]);
    assert.deepEqual(it.attachments.get("a")?.hostPorts, [{ hostPort: 8080, port: 80, protocol: "tcp" }]);
    await it.agent.stop();
  });

  test("many ADDs at once are few reconciliations", async () => {
    const it = bench();
    await it.agent.synced();
    const before = it.compiled();
    await Promise.all(Array.from({ length: 50 }, (_, index) => it.network.add(it.pod(`pod-${index}`).request)));
    assert.ok(it.compiled() - before <= 3, `${it.compiled() - before} reconciliations`);
    assert.equal(new Set(it.attachments.list().flatMap((attachment) => attachment.addresses)).size, 100);
    assert.deepEqual(it.agent.failures(), []);
    await it.agent.stop();
  });

  test("DEL leaves nothing, may be repeated, and may come for a sandbox that never was", async () => {
    const it = bench();
    const pod = it.pod("a");
    await it.network.add(pod.request);
    await it.network.delete(pod.request);
    assert.deepEqual(traces(it), none);
    assert.equal(
      pod.kernel.links().some((link) => link.name === "eth0"),
      false,
    );
    const { namespaceFd: _gone, ...withoutNamespace } = pod.request;
    await it.network.delete(withoutNamespace);
    await it.network.delete(it.pod("never").request);
    await it.agent.stop();
  });

  for (const kind of ["create-veth", "set-address", "set-forwarding", "set-bridge-port"] as const) {
    test(`an ADD whose ${kind} fails throws and leaves nothing`, async () => {
      const it = bench();
      await it.agent.synced();
      const pod = it.pod("a");
      const fail = (write: { kind: string }): string | undefined => (write.kind === kind ? "ENOMEM" : undefined);
      it.kernel.failWhen(fail);
      pod.kernel.failWhen(fail);
      await assert.rejects(
        it.network.add(pod.request),
        (error) => error instanceof CniError && /ENOMEM/.test(error.message),
      );
      it.kernel.failWhen(undefined);
      await it.agent.synced();
      assert.deepEqual(traces(it), none);
      await it.agent.stop();
    });
  }

  test("of ADDs that come together one that fails is nobody else's trouble", async () => {
    const it = bench();
    await it.agent.synced();
    const [good, bad, other] = [it.pod("good"), it.pod("bad"), it.pod("other")];
    bad.kernel.failWhen((write) => (write.kind === "set-address" ? "ENOMEM" : undefined));
    const results = await Promise.allSettled([good, bad, other].map(({ request }) => it.network.add(request)));
    assert.deepEqual(
      results.map(({ status }) => status),
      ["fulfilled", "rejected", "fulfilled"],
    );
    await it.agent.synced();
    assert.deepEqual(
      it.kernel
        .links()
        .flatMap(({ kind, name }) => (kind === "veth" ? [name] : []))
        .sort(),
      [podLinkName("good"), podLinkName("other")].sort(),
    );
    assert.equal(it.attachments.list().length, 2);
    await it.agent.stop();
  });

  test("a second ADD for one sandbox is refused and changes nothing", async () => {
    const it = bench();
    const { request } = it.pod("a");
    await it.network.add(request);
    await assert.rejects(it.network.add(request), /has a network already/);
    assert.equal(it.attachments.list().length, 1);
    await it.agent.stop();
  });

  test("a full range is a clear error, and a DEL makes room", async () => {
    const it = bench("10.244.1.0/29");
    const pods = Array.from({ length: 5 }, (_, index) => it.pod(`pod-${index}`));
    await Promise.all(pods.map((pod) => it.network.add(pod.request)));
    const late = it.pod("late");
    await assert.rejects(it.network.add(late.request), /no free address in 10\.244\.1\.0\/29: all 5 are in use/);
    await it.network.delete(pods[2]?.request ?? late.request);
    assert.equal((await it.network.add(late.request)).ips[0]?.address, "10.244.1.4");
    await it.agent.stop();
  });

  test("CHECK passes for what ADD made and names what is missing", async () => {
    const it = bench();
    const pod = it.pod("a");
    await it.network.add(pod.request);
    await it.network.check(pod.request);
    pod.kernel.byHand.change({ kind: "delete-address", link: "eth0", address: "10.244.1.2", bits: 32 });
    await assert.rejects(it.network.check(pod.request), /address 10\.244\.1\.2 of the pod is gone/);
    await assert.rejects(it.network.check(it.pod("b").request), /has no network here/);
    await it.agent.stop();
  });

  test("a pod's link that somebody deletes is made again, with the pod's addresses", async () => {
    const it = bench();
    const pod = it.pod("a");
    await it.network.add(pod.request);
    it.kernel.byHand.change({ kind: "delete-link", name: podLinkName("a") });
    it.agent.suspectEverything();
    const report = await it.agent.synced();
    assert.deepEqual(report.lostLinks, [podLinkName("a")]);
    const repaired = await it.agent.synced();
    assert.deepEqual([repaired.lostLinks, repaired.failures], [[], []]);
    await it.network.check(pod.request);
    await it.agent.stop();
  });

  test("after a restart of the machine the places of its pods are free", async () => {
    const before = bench();
    await before.network.add(before.pod("a").request);
    await before.agent.stop();
    const it = bench("10.244.1.0/24", before.attachments);
    assert.deepEqual(it.attachments.list(), []);
    assert.deepEqual(
      it.ipam.usage().map((usage) => usage.used),
      [0, 0],
    );
    await it.network.add(it.pod("a").request);
    await it.agent.stop();
  });

  test("a link whose agent was killed before it could say that it is ours does not stand in a pod's way", async () => {
    const before = bench();
    const pod = before.pod("a");
    const inside = { name: "eth0", namespaceFd: pod.request.namespaceFd ?? -1 };
    before.kernel.byHand.change(
      { kind: "create-veth", name: podLinkName("a"), mtu: 1450, peer: inside },
      { kind: "create-veth", name: "flpsomebody", mtu: 1450, peer: { name: "other" } },
    );
    await before.agent.synced();
    const network = createPodNetwork({
      ...before,
      node: "node-1",
      openKernel: (_name, fd) => ({ ...before.world.open(fd), close() {} }),
      namespaceId: String,
    });
    assert.deepEqual(
      before.kernel
        .links()
        .flatMap(({ name, kind }) => (kind === "veth" ? [name] : []))
        .toSorted(),
      ["flpsomebody", "other"],
    );
    await network.add(pod.request);
    await before.agent.stop();
  });

  test("sandboxes that are gone are collected, living ones are not", async () => {
    const it = bench();
    await it.network.add(it.pod("a").request);
    await it.network.add(it.pod("b").request);
    assert.deepEqual(await it.network.collect(new Set(["b"])), ["a"]);
    assert.deepEqual(
      it.attachments.list().map((attachment) => attachment.id),
      ["b"],
    );
    await it.agent.stop();
  });
});
