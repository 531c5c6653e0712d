// How long the server itself needs for a change: from a watch's event in its hands to the new answer in a client's, by UDP.
//
//   node --max-semi-space-size=2 --heap-growing-percent=20 bench/dns/event.ts [SERVICES] [CHANGES]
//
// The API server is left out (bench/dns/change.ts has the whole way): events are handed in as values. Server and client are one process.

import process from "node:process";
import { setTimeout as rest } from "node:timers/promises";

import { startClusterDns } from "../../src/agent/cluster-dns.ts";
import { currentNetworkNamespace } from "../../src/kernel/namespaces.ts";
import type { KubeObject } from "../../src/kube/object.ts";
import { rcodes } from "../../src/wire/dns/message.ts";
import type { ClusterClient } from "../../src/watch/cluster/client.ts";
import { createClient } from "../../test/dns/coredns.testing.ts";

const [services = "10000", changes = "1000"] = process.argv.slice(2);
await measure(Number(services), Number(changes));

async function measure(count: number, rounds: number): Promise<void> {
  let version = 1;
  const meta = (name: string): KubeObject["metadata"] => ({
    name,
    namespace: "default",
    uid: name,
    resourceVersion: String(version++),
  });
  const service = (name: string, address: string): KubeObject => ({
    apiVersion: "v1",
    kind: "Service",
    metadata: meta(name),
    spec: { clusterIP: address, clusterIPs: [address], ports: [{ name: "http", port: 80, protocol: "TCP" }] },
  });
  const slice = (name: string, index: number): KubeObject => ({
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: { ...meta(name), labels: { "kubernetes.io/service-name": name } },
    addressType: "IPv4",
    ports: [{ name: "http", port: 80, protocol: "TCP" }],
    endpoints: [1, 2, 3].map((n) => ({ addresses: [`10.${128 + n}.${index >> 8}.${index & 255}`] })),
  });
  const names = Array.from({ length: count }, (_, index) => `service-${index}`);
  const initial: Readonly<Record<string, readonly KubeObject[]>> = {
    namespaces: [
      { apiVersion: "v1", kind: "Namespace", metadata: { name: "default", uid: "d", resourceVersion: "1" } },
    ],
    services: names.map((name, index) => service(name, `10.97.${index >> 8}.${index & 255}`)),
    endpointslices: names.map(slice),
  };
  const streams = new Map<string, (line: unknown) => void>();
  const client: ClusterClient = {
    access: { server: "http://here", insecure: false, user: { kind: "nobody" }, namespace: "default", from: "here" },
    request: () => Promise.reject(new Error("not asked for")),
    async lines(path, { signal, line, opened }) {
      const resource = /([a-z]+)\?/.exec(path)?.[1] ?? "";
      opened?.();
      for (const object of initial[resource] ?? []) line({ type: "ADDED", object });
      const annotations = { "k8s.io/initial-events-end": "true" };
      line({ type: "BOOKMARK", object: { metadata: { name: "", resourceVersion: "1", annotations } } });
      streams.set(resource, line);
      await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve()));
    },
    close: () => {},
  };
  const corefile =
    ".:10573 {\n bind 127.0.0.1\n kubernetes cluster.local in-addr.arpa {\n  pods disabled\n }\n loadbalance\n}\n";
  const dns = await startClusterDns({
    connect: async () => client,
    namespace: currentNetworkNamespace(),
    corefile: "Corefile",
    read: () => corefile,
    list: () => [],
    env: {},
    log: () => {},
  });
  await dns.synced;
  const asker = createClient(10_573);
  const ask = async (name: string): Promise<string> => {
    const { rcode, answers } = await asker.ask(`${name}.default.svc.cluster.local`, "A");
    const [first] = answers;
    return rcode === rcodes.NXDOMAIN ? "none" : first?.data.kind === "A" ? first.data.address : "nothing";
  };
  for (const name of names) await ask(name);
  const took: number[] = [];
  const cpu = process.cpuUsage();
  for (let round = 0; round < rounds; round++) {
    const address = `10.98.${(round >> 8) & 255}.${round & 255}`;
    const name = round % 3 === 2 ? "new" : `service-${(round * 7919) % count}`;
    const gone = round % 6 === 5;
    const object = service(name, address);
    const began = performance.now();
    streams.get("services")?.({ type: gone ? "DELETED" : name === "new" ? "ADDED" : "MODIFIED", object });
    const answer = await ask(name);
    took.push(performance.now() - began);
    if (answer !== (gone ? "none" : address)) throw new Error(`${name}: ${answer} instead of ${address}`);
    // As in a cluster, other things happen in between.
    await rest(2);
  }
  const { user, system } = process.cpuUsage(cpu);
  const sorted = took.toSorted((a, b) => a - b);
  const at = (share: number): string => (sorted[Math.min(Math.floor(rounds * share), rounds - 1)] ?? NaN).toFixed(2);
  console.log(
    `${count} Services, ${rounds} changes: median ${at(0.5)}, p90 ${at(0.9)}, p99 ${at(0.99)}, worst ${at(1)} ms`,
  );
  console.log(`${((user + system) / rounds / 1000).toFixed(2)} ms of processor a change, the client's with it`);
  asker.close();
  await dns.close();
}
