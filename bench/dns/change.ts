// How long from the API server's answer to a change until the DNS server answers by it, one change after another.
//
//   node bench/dns/change.ts KUBECONFIG PORT [CHANGES]
//
// Asks a server that runs already (`fairlead dns` with that kubeconfig, on 127.0.0.1). Each round makes a Service with an address of its own,
// gives a headless Service another endpoint, and takes the Service away; after each the name is asked until the answer is the new one,
// a question at a time with a short rest between.
// The figure has the API server's watch, its event's way and decoding, and the making of the answer in it; what a bare watcher of the same
// Services sees is told beside, which is what the server cannot be quicker than.

import process from "node:process";
import { setTimeout as rest } from "node:timers/promises";

import { createClient } from "../../test/dns/coredns.testing.ts";
import { openCluster } from "../../src/watch/cluster/client.ts";
import { findAccess } from "../../src/watch/cluster/kubeconfig.ts";
import type { DnsMessage } from "../../src/wire/dns/message.ts";

const [kubeconfig = "", port = "0", changes = "200"] = process.argv.slice(2);
await measure(Number(port), Number(changes));

async function measure(serverPort: number, rounds: number): Promise<void> {
  const cluster = openCluster(await findAccess({ kubeconfig }));
  const dns = createClient(serverPort);
  const seen = new Map<string, number>();
  const stop = new AbortController();
  const opened = Promise.withResolvers<void>();
  void cluster.lines(`/api/v1/namespaces/default/services?watch=1`, {
    signal: stop.signal,
    opened: opened.resolve,
    line: (value) => {
      const { type, object } = value as {
        readonly type: string;
        readonly object: { readonly metadata: { name: string } };
      };
      if (type === "ADDED") seen.set(object.metadata.name, performance.now());
    },
  });
  await opened.promise;
  const took = { watcher: [] as number[], created: [] as number[], endpoint: [] as number[], deleted: [] as number[] };
  const services = "/api/v1/namespaces/default/services";
  const slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
  const run = `change-${process.pid}`;

  /** Milliseconds until `isNew` of the answer to a name's A. */
  const until = async (name: string, isNew: (answer: DnsMessage) => boolean): Promise<number> => {
    const began = performance.now();
    for (;;) {
      const answer = await dns.ask(`${name}.default.svc.cluster.local`, "A");
      if (isNew(answer)) return performance.now() - began;
      await rest(1);
    }
  };
  const service = (name: string, spec: object): object => ({
    apiVersion: "v1",
    kind: "Service",
    metadata: { name, namespace: "default" },
    spec: { ports: [{ name: "http", port: 80 }], ...spec },
  });
  const slice = (count: number): object => ({
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: { name: run, namespace: "default", labels: { "kubernetes.io/service-name": run } },
    addressType: "IPv4",
    ports: [{ name: "http", port: 80 }],
    endpoints: Array.from({ length: count }, (_, index) => ({ addresses: [`10.140.${count & 255}.${index + 1}`] })),
  });
  try {
    await cluster.request({ method: "POST", path: services, body: service(run, { clusterIP: "None" }) });
    await cluster.request({ method: "POST", path: slices, body: slice(1) });
    await until(run, ({ answers }) => answers.length === 1);
    for (let round = 0; round < rounds; round++) {
      const name = `${run}-${round}`;
      await cluster.request({ method: "POST", path: services, body: service(name, {}) });
      const began = performance.now();
      took.created.push(await until(name, ({ rcode }) => rcode === 0));
      while (!seen.has(name)) await rest(1);
      took.watcher.push(Math.max((seen.get(name) ?? 0) - began, 0));
      const count = (round % 3) + 2;
      await cluster.request({ method: "PUT", path: `${slices}/${run}`, body: slice(count) });
      took.endpoint.push(await until(run, ({ answers }) => answers.length === count));
      await cluster.request({ method: "DELETE", path: `${services}/${name}` });
      took.deleted.push(await until(name, ({ rcode }) => rcode === 3));
    }
    for (const [what, times] of Object.entries(took)) console.log(`${what.padEnd(8)} ${describe(times)}`);
    console.log(`all      ${describe([...took.created, ...took.endpoint, ...took.deleted])}`);
  } finally {
    stop.abort();
    await cluster.request({ method: "DELETE", path: `${services}/${run}` }).catch(() => {});
    await cluster.request({ method: "DELETE", path: `${slices}/${run}` }).catch(() => {});
    dns.close();
    cluster.close();
  }
}

function describe(times: readonly number[]): string {
  const sorted = times.toSorted((a, b) => a - b);
  const at = (share: number): string =>
    (sorted[Math.min(Math.floor(sorted.length * share), sorted.length - 1)] ?? 0).toFixed(1);
  return `${sorted.length} changes: median ${at(0.5)}, p90 ${at(0.9)}, p99 ${at(0.99)}, worst ${at(1)} ms`;
}
