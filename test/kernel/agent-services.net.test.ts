// `fairlead agent --only services`: kube-proxy's place, beside another program's pod network.
// Needs: nft

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";

import { mustChange } from "../../src/kernel/kernel.ts";
import { outsideAddresses } from "../../src/lab/node-object.ts";
import { probeTcp } from "../../src/lab/network/probe.ts";
import {
  ask,
  askAll,
  nft,
  nodePort,
  ownRoutes,
  serve,
  startBridgeNode,
  tables,
  vip,
  type BridgeNode,
} from "./agent-node.testing.ts";
import { endAll, runFairlead, serviceObjects, type AgentProcess } from "./agent.testing.ts";

describe("in kube-proxy's place, beside a bridge that another program made", () => {
  let place: BridgeNode;
  let links: readonly string[] = [];
  /** The one of the first tests. */
  let agent: AgentProcess;
  before(async () => {
    place = await startBridgeNode();
    links = place.node.kernel.links().map(({ name }) => name);
    agent = place.start();
    await agent.says(/programmed \d+ changes/);
  });
  after(async () => {
    await endAll();
    place.close();
  });

  void test("Services answer from pods, the node and outside; the endpoint sees whom it must; nothing else of the node is touched", async () => {
    const client = place.pod("client");
    const fromPod = await askAll(client.namespace, vip, 80, ["a", "b"]);
    assert.deepEqual(new Set(fromPod.values()), new Set([client.address]));
    // An endpoint that asks itself: else it would answer itself directly.
    assert.equal((await askAll(place.pod("a").namespace, vip, 80, ["a", "b"])).get("a"), "10.244.1.1");
    await askAll(place.node.namespace, vip, 80, ["a", "b"]);
    const outside = await askAll(place.topology.internet.namespace, "172.18.0.11", nodePort, ["a", "b"]);
    assert.deepEqual(new Set(outside.values()), new Set(["10.244.1.1"]));
    assert.equal((await ask(client.namespace, "10.96.0.101")).outcome, "refused");
    assert.deepEqual(
      place.node.kernel.links().map(({ name }) => name),
      links,
    );
    assert.deepEqual(ownRoutes(place.node), []);
    assert.deepEqual(tables(place.node.namespace), ["table ip fairlead", "table ip6 fairlead"]);
    const health = await probeTcp(place.node.namespace, {
      address: "127.0.0.1",
      port: 10_256,
      send: "GET /healthz HTTP/1.0\r\n\r\n",
      read: true,
    });
    assert.match(health.said ?? "", /^HTTP\/1\.1 200/);
    const mode = await probeTcp(place.node.namespace, {
      address: "127.0.0.1",
      port: 10_249,
      send: "GET /proxyMode HTTP/1.0\r\n\r\n",
      read: true,
    });
    assert.match(mode.said ?? "", /nftables$/);
    const metrics = await probeTcp(place.node.namespace, {
      address: "127.0.0.1",
      port: 10_249,
      send: "GET /metrics HTTP/1.0\r\n\r\n",
      read: true,
    });
    assert.match(metrics.said ?? "", /^kubeproxy_sync_proxy_rules_duration_seconds_count [1-9]/m);
    assert.match(metrics.said ?? "", /^fairlead_watch_connected\{resource="services"\} 1$/m);
    for (const name of ["service_changes_total", "endpoint_changes_total"])
      assert.match(metrics.said ?? "", new RegExp(`^kubeproxy_sync_proxy_rules_${name} [1-9]`, "m"));
    assert.match(metrics.said ?? "", /^kubeproxy_sync_proxy_rules_nftables_sync_failures_total 0$/m);
    assert.match(metrics.said ?? "", /^process_resident_memory_bytes [1-9]/m);
    const showing = runFairlead(
      place.node.namespace,
      "show",
      "services",
      "--here",
      "--cni-dir",
      join(place.api.folder, "cni"),
    );
    assert.equal(await showing.ended, 0, showing.lines.join("\n"));
    assert.match(showing.lines.join("\n"), /^10\.96\.0\.100:80\/tcp {2}one of 2/m);
  });

  void test("a change of the API is a change of the kernel", async () => {
    const [service, slice] = serviceObjects("late", "10.96.0.102", [
      { address: place.pod("a").address, node: "node-1" },
    ]);
    assert.ok(service && slice);
    place.api.api.create(slice);
    place.api.api.create(service);
    await agent.says(/EndpointSlice default\/late/);
    await askAll(place.pod("client").namespace, "10.96.0.102", 80, ["a"]);
  });

  void test("a second agent is refused, and so is a cleanup beside one; what cannot be had ends an agent, with words", async () => {
    const second = place.start();
    assert.equal(await second.ended, 1);
    assert.match(second.lines.join("\n"), /another Fairlead agent works in this network namespace/);
    const cleaning = runFairlead(place.node.namespace, "agent", "cleanup");
    assert.equal(await cleaning.ended, 1);
    const lost = place.start({ kubeconfig: join(place.api.folder, "none") });
    assert.equal(await lost.ended, 1);
    assert.match(lost.lines.join("\n"), /read kubeconfig .*none: ENOENT/);
  });

  void test("SIGTERM leaves all of it, and a restart on equal state writes nothing", async () => {
    assert.equal(await agent.end(), 0);
    assert.equal((await ask(place.pod("client").namespace, vip)).outcome, "answered");
    const seen: string[] = [];
    const marked = Promise.withResolvers<void>();
    const monitor = place.node.kernel.monitor(({ kind, detail }) => {
      if (/by .*nft/.test(detail)) marked.resolve();
      else seen.push(`${kind} ${detail}`);
    });
    agent = place.start();
    await agent.says(/programmed 0 changes/);
    // What another program changes is told after all that the agent might have changed before.
    nft(place.node.namespace, "add table inet mine");
    await marked.promise;
    assert.deepEqual(seen, []);
    monitor.close();
  });

  void test("cleanup leaves nothing of ours, and everything of others'", async () => {
    await agent.end();
    assert.deepEqual(tables(place.node.namespace), ["table inet mine", "table ip fairlead", "table ip6 fairlead"]);
    assert.deepEqual(await place.cleanUp(), ["delete table ip fairlead", "delete table ip6 fairlead"]);
    assert.deepEqual(tables(place.node.namespace), ["table inet mine"]);
  });

  void test("node ports answer at the addresses that --nodeport-addresses names", async () => {
    mustChange(place.node.kernel, [{ kind: "set-address", link: "eth0", address: "172.18.7.7", bits: 32 }]);
    agent = place.start({ "nodeport-addresses": "172.18.7.0/24" });
    await agent.says(/programmed/);
    assert.equal((await ask(place.pod("client").namespace, "172.18.7.7", nodePort)).outcome, "answered");
    assert.equal((await ask(place.pod("client").namespace, "172.18.0.11", nodePort)).outcome, "refused");
    await agent.end();
  });

  void test("an external address that is the node's own takes no port of --service-node-port-range", async () => {
    const given = { externalIPs: ["172.18.0.11"], ports: [{ name: "http", port: 20_080, protocol: "TCP" }] };
    const { pod, api } = place;
    const endpoint = { address: pod("a").address, node: "node-1" };
    for (const object of serviceObjects("taker", "10.96.0.104", [endpoint], given)) api.api.create(object);
    const outcome = async (): Promise<string> => (await ask(pod("client").namespace, "172.18.0.11", 20_080)).outcome;
    agent = place.start();
    await agent.says(/programmed/);
    assert.equal(await outcome(), "answered", "with the default range it is anybody's");
    await agent.end();
    agent = place.start({ "service-node-port-range": "20000-20999" });
    await agent.says(/programmed/);
    assert.equal(await outcome(), "refused");
    await agent.end();
  });

  void test("node ports at 127.0.0.1 lead everywhere and for the node alone; the guard is there before, and cleanup says what stays", async () => {
    const { node, topology } = place;
    const setting = "net/ipv4/conf/all/route_localnet";
    assert.equal(node.kernel.readSysctl(setting), "0");
    const [abroad] = outsideAddresses;
    assert.ok(abroad !== undefined);
    serve(topology.internet.namespace, "abroad");
    const objects = serviceObjects("abroad", "10.96.0.103", [{ address: abroad, node: "node-9" }], {
      type: "NodePort",
      ports: [{ name: "http", port: 80, targetPort: 8080, protocol: "TCP", nodePort: 30_333 }],
    });
    for (const object of objects) place.api.api.create(object);
    agent = place.start({ "nodeport-addresses": "127.0.0.0/8" });
    await agent.says(/programmed/);
    assert.equal(node.kernel.readSysctl(setting), "1");
    const near = await askAll(node.namespace, "127.0.0.1", nodePort, ["a", "b"]);
    assert.deepEqual(new Set(near.values()), new Set(["10.244.1.1"]));
    const far = await askAll(node.namespace, "127.0.0.1", 30_333, ["abroad"]);
    assert.deepEqual([...far.values()], ["172.18.0.11"]);
    for (const address of ["172.18.0.11", "127.0.0.1"])
      assert.equal((await ask(place.pod("client").namespace, address, nodePort)).outcome, "refused");
    // A pod that sends for its node's loopback: silence, and it is the guard.
    const { namespace } = place.pod("client");
    const byNode =
      "ip address flush dev lo; ip link set lo down; echo 1 >/proc/sys/net/ipv4/conf/all/route_localnet; ip route replace 127.0.0.1/32 via 10.244.1.1";
    assert.equal(namespace.run(() => spawnSync("sh", ["-e", "-c", byNode])).status, 0);
    assert.equal((await ask(namespace, "127.0.0.1", nodePort)).outcome, "timeout");
    const rules = node.namespace.run(() => spawnSync("nft", ["list", "chain", "ip", "fairlead", "guard-prerouting"]));
    assert.match(String(rules.stdout), /ip daddr 127\.0\.0\.0\/8 iifname != "lo" counter packets [1-9]/);
    await agent.end();
    assert.match((await place.cleanUp()).join("\n"), /route_localnet=0/);
  });
});
