// A node that answers DNS itself takes the DNS Service's place for its clients and gives it back: who answers, and what becomes of questions
// that are under way meanwhile. The Service's pod says REFUSED to everything, the node's server knows the cluster.

import assert from "node:assert/strict";
import { test } from "node:test";

import { createNodeDnsSource, type NodeDnsSource } from "../../src/agent/node-dns-source.ts";
import { startNodeDns, type NodeDns } from "../../src/agent/node-dns.ts";
import { serveUdp } from "../../src/kernel/udp.ts";
import { compileZone } from "../../src/program/zone.ts";
import { queryDns } from "../../src/serve/dns/client.ts";
import { rcodeName } from "../../src/wire/dns/message.ts";
import { startCluster } from "./cluster.testing.ts";

const dnsAddress = "10.96.0.10";

await test("taking the Service's address and giving it back loses no question, also none that is under way", async () => {
  const sources = new Map<string, NodeDnsSource>();
  const cluster = await startCluster({
    nodes: 2,
    between(node, source, kernel) {
      const own = createNodeDnsSource({ node, source, kernel });
      sources.set(node, own);
      return { source: own, answers: own.answers };
    },
  });
  const [client, pod] = await Promise.all([cluster.addPod("client", "node-1"), cluster.addPod("coredns", "node-2")]);
  // The Service's pod; it answers names that begin with "slow" when it is told to.
  const held: (() => void)[] = [];
  const asker: string[] = [];
  const remote = serveUdp(pod.namespace, { port: 53 }, (datagram) => {
    asker.push(datagram.source().address);
    const refusal = datagram.bytes.slice();
    refusal[2] = 0x80;
    refusal[3] = 5;
    const reply = datagram.later();
    if (Buffer.from(refusal).includes("slow")) held.push(() => reply(refusal));
    else reply(refusal);
  });
  const ask = async (name: string, timeoutMs = 30_000): Promise<string> => {
    const { rcode } = await queryDns(client.namespace, dnsAddress, name, "A", { tries: 1, timeoutMs, udpBytes: 0 });
    return rcodeName(rcode);
  };
  const asked = async (count: number, list: readonly unknown[]): Promise<void> => {
    while (list.length < count) await new Promise((resolve) => void setTimeout(resolve, 10));
  };
  const service = cluster.service("kube-dns", 10, [pod], { protocols: ["udp"] });
  const [port] = service.ports;
  assert.ok(port);
  const dns = {
    ...service,
    namespace: "kube-system",
    ports: [{ ...port, port: 53, endpoints: port.endpoints.map((endpoint) => ({ ...endpoint, port: 53 })) }],
  };
  const upstream: (() => void)[] = [];
  const source = sources.get("node-1");
  assert.ok(source);
  const log: string[] = [];
  let server: NodeDns | undefined;
  try {
    await cluster.setServices(dns);
    assert.equal(await ask("kube-dns.kube-system.svc.cluster.local"), "REFUSED");
    const slow = ask("slow.example");
    await asked(1, held);

    server = startNodeDns({
      node: "node-1",
      source,
      network: cluster.node("node-1"),
      zone: () => compileZone(source.current()),
      domain: "cluster.local",
      upstream: {
        name: "a test",
        resolve: (query) =>
          new Promise((resolve) => {
            upstream.push(() => resolve(responseTo(query)));
          }),
      },
      corefile: { path: "Corefile", text: () => "", read: () => undefined, list: () => [], env: {} },
      log: (line) => log.push(line),
      lameduckMs: 1000,
    });
    await server.taken;
    const before = asker.length;
    assert.equal(await ask("kube-dns.kube-system.svc.cluster.local"), "NOERROR");
    assert.equal(await ask("nobody.kube-system.svc.cluster.local"), "NXDOMAIN");
    assert.equal(asker.length, before, "no question leaves the node");
    for (const answer of held) answer();
    assert.equal(await slow, "REFUSED", "what was asked before comes back from whom it was asked of");

    const far = ask("far.example");
    await asked(1, upstream);
    const closed = server.close();
    while (!log.some((line) => line.includes("handed back")))
      await new Promise((resolve) => void setTimeout(resolve, 10));
    assert.equal(await ask("kube-dns.kube-system.svc.cluster.local"), "REFUSED");
    for (const answer of upstream) answer();
    assert.equal(await far, "NOERROR", "what was asked here is answered here");
    await closed;
    assert.equal(await ask("kube-dns.kube-system.svc.cluster.local"), "REFUSED");
    assert.deepEqual(
      cluster
        .node("node-1")
        .attachments.list()
        .map(({ name }) => name),
      ["client"],
    );
    assert.deepEqual(
      asker.filter((address) => address !== client.address(4)),
      [],
      "the Service's pod sees the client",
    );
  } finally {
    await server?.close("at once");
    remote.close();
    for (const each of sources.values()) each.close();
    await cluster.close();
  }
});

/** An empty answer to a query. */
function responseTo(query: Uint8Array): Uint8Array {
  const response = query.slice();
  response[2] = 0x81;
  response[3] = 0x80;
  return response;
}
