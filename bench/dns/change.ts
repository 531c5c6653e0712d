// How long from a change in the API server until the DNS server answers by it, the whole way: from the moment the write is sent, and from
// the moment it is acknowledged. Beside Fairlead, in turns in the same run: the real CoreDNS watching the same API server, and
// `kubectl get --raw …?watch=1`, which is what the API server's own delivery takes to a client that does nothing with it.
//
//   node bench/dns/change.ts [peer|fairlead] [SERVICES] [CHANGES]    etcd and kube-apiserver, or Fairlead's API server; 10,000 Services, 300 changes
//
// KUBECONFIG names an API server that holds the Services already (kube-apiserver takes about 50 a second). WORKERS=2: so many threads.
// Each round makes a Service with an address, gives a headless Service another number of endpoints, and takes the Service away; each time the
// name is asked from the moment of sending on, one question at a time with a millisecond's rest, which the figures have in them.
// Who is not measured is stopped meanwhile (SIGSTOP), so that each has the machine as if it were alone.
// Servers run as the bench does: `chrt`, `nice` before it are theirs too.

import { spawn, type ChildProcess } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { createInterface } from "node:readline";
import { setTimeout as rest } from "node:timers/promises";

import { corednsPath, createClient, type TestClient } from "../../test/dns/coredns.testing.ts";
import { openCluster, type ClusterClient } from "../../src/watch/cluster/client.ts";
import { findAccess } from "../../src/watch/cluster/kubeconfig.ts";
import type { DnsMessage } from "../../src/wire/dns/message.ts";
import { startFairlead, startPeer } from "../api/parts/servers.ts";
import { loadServices } from "./services.ts";

const [which = "peer", services = "10000", changes = "300"] = process.argv.slice(2);
const given = process.env["KUBECONFIG"];
const roundsOfChanges = 5;
const folder = mkdtempSync(join(tmpdir(), "fairlead-bench-"));
const path = {
  services: "/api/v1/namespaces/default/services",
  slices: "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices",
};
const name = `change-${process.pid}`;

/** Somebody who learns of changes. */
interface Learner {
  readonly label: string;
  readonly children: readonly ChildProcess[];
  /** Resolves with the time (`performance.now`) at which it knew; begins to look at once. */
  knows(change: Change): Promise<number>;
  close(): void;
}

type Change =
  | { readonly kind: "created" | "deleted"; readonly name: string }
  | { readonly kind: "endpoints"; readonly name: string; readonly count: number };

const server = given === undefined ? await (which === "fairlead" ? startFairlead() : startPeer()) : undefined;
try {
  await measure(given ?? server?.kubeconfig ?? "", server?.name ?? "the API server given");
} finally {
  await server?.stop();
  rmSync(folder, { recursive: true, force: true });
}
process.exit(0);

async function measure(kubeconfig: string, label: string): Promise<void> {
  const cluster = openCluster(await findAccess({ kubeconfig }));
  if (server !== undefined) await loadServices(cluster, Number(services));
  const learners = [
    startDns("fairlead dns", kubeconfig, 10_153),
    ...(corednsPath === undefined ? [] : [startDns("CoreDNS", kubeconfig, 10_053)]),
    await startKubectl(cluster, kubeconfig),
  ];
  try {
    await cluster.request({ method: "POST", path: path.services, body: serviceBody(name, { clusterIP: "None" }) });
    await cluster.request({ method: "POST", path: path.slices, body: sliceBody(1) });
    for (const learner of learners.slice(0, -1)) await learner.knows({ kind: "endpoints", name, count: 1 });
    const times: { readonly learner: Learner; readonly kind: Change["kind"]; sent: number; acknowledged: number }[] =
      [];
    let next = 0;
    for (let round = 0; round <= roundsOfChanges; round++) {
      for (const learner of learners) {
        for (const each of learners) signal(each, each === learner ? "SIGCONT" : "SIGSTOP");
        await rest(300);
        for (let i = 0; i < Number(changes) / 3 / roundsOfChanges; i++) {
          next++;
          for (const kind of ["created", "endpoints", "deleted"] as const) {
            const took = await change(cluster, learner, kind, next);
            await rest(5 + Math.random() * 10);
            // The first warms up.
            if (round === 0) continue;
            times.push({
              learner,
              kind,
              sent: took.known - took.sent,
              acknowledged: took.known - took.acknowledged,
            });
          }
        }
      }
    }
    const load = readFileSync("/proc/loadavg", "utf8").split(" ")[0];
    console.log(
      `${label}, ${changes} changes for each in ${roundsOfChanges} rounds in turns, load ${load}; milliseconds`,
    );
    // A Service is gone before its address is given back, and acknowledged behind that: so times may be below zero.
    console.log(
      `${"the write itself".padEnd(36)} ${describe(times.map(({ sent, acknowledged }) => sent - acknowledged))}`,
    );
    for (const learner of learners) {
      const own = times.filter((each) => each.learner === learner);
      for (const kind of ["created", "endpoints", "deleted"] as const) {
        const since = own.filter((each) => each.kind === kind).map(({ acknowledged }) => acknowledged);
        console.log(`${`${learner.label}, ${kind}, since ack.`.padEnd(36)} ${describe(since)}`);
      }
      console.log(
        `${`${learner.label}, all, since ack.`.padEnd(36)} ${describe(own.map((each) => each.acknowledged))}`,
      );
      console.log(`${`${learner.label}, all, since sent`.padEnd(36)} ${describe(own.map(({ sent }) => sent))}`);
    }
  } finally {
    for (const each of learners) each.close();
    await cluster.request({ method: "DELETE", path: `${path.services}/${name}` }).catch(() => {});
    await cluster.request({ method: "DELETE", path: `${path.slices}/${name}` }).catch(() => {});
    cluster.close();
  }
}

async function change(
  cluster: ClusterClient,
  learner: Learner,
  kind: Change["kind"],
  round: number,
): Promise<{ readonly sent: number; readonly acknowledged: number; readonly known: number }> {
  const own = `${name}-${round}`;
  const count = (round % 3) + 2;
  const known = learner.knows(kind === "endpoints" ? { kind, name, count } : { kind, name: own });
  const sent = performance.now();
  switch (kind) {
    case "created":
      await cluster.request({ method: "POST", path: path.services, body: serviceBody(own, {}) });
      break;
    case "endpoints":
      await cluster.request({ method: "PUT", path: `${path.slices}/${name}`, body: sliceBody(count) });
      break;
    case "deleted":
      await cluster.request({ method: "DELETE", path: `${path.services}/${own}` });
      break;
  }
  const acknowledged = performance.now();
  return { sent, acknowledged, known: await known };
}

function startDns(label: string, kubeconfig: string, port: number): Learner {
  const corefile = join(folder, label.replace(" ", "-"));
  // Neither keeps "no such name": CoreDNS's cache would for as long as its TTL says.
  const text = `.:${port} {\n bind 127.0.0.1\n kubernetes cluster.local in-addr.arpa {\n  kubeconfig ${kubeconfig}\n }\n}\n`;
  writeFileSync(corefile, text);
  const workers = process.env["WORKERS"] === undefined ? [] : ["--workers", process.env["WORKERS"]];
  const words = label === "CoreDNS" ? ["-conf", corefile] : ["dns", "--conf", corefile, ...workers];
  const child = spawn(label === "CoreDNS" ? (corednsPath ?? "") : "bin/fairlead", words, { stdio: "ignore" });
  const client = createClient(port);
  return {
    label,
    children: [child],
    async knows(wanted) {
      const asked = `${wanted.name}.default.svc.cluster.local`;
      for (;;) {
        const answer = await ask(client, asked);
        if (answer !== undefined && isBy(wanted, answer)) return performance.now();
        await rest(1);
      }
    },
    close() {
      client.close();
      child.kill("SIGKILL");
    },
  };
}

function ask(client: TestClient, asked: string): Promise<DnsMessage | undefined> {
  return client.ask(asked, "A").catch(() => undefined);
}

function isBy(wanted: Change, { rcode, answers }: DnsMessage): boolean {
  switch (wanted.kind) {
    case "created":
      return rcode === 0;
    case "deleted":
      return rcode === 3;
    case "endpoints":
      return answers.length === wanted.count;
  }
}

/** The bytes of a watch, by client-go: nothing is decoded there, and here one looks for type and name. */
async function startKubectl(cluster: ClusterClient, kubeconfig: string): Promise<Learner> {
  const waiting = new Map<string, (at: number) => void>();
  const children: ChildProcess[] = [];
  for (const collection of [path.services, path.slices]) {
    const list: { readonly metadata: { readonly resourceVersion: string } } = await cluster.request({
      path: `${collection}?limit=1`,
    });
    const watch = `${collection}?watch=1&resourceVersion=${list.metadata.resourceVersion}`;
    const words = ["--kubeconfig", kubeconfig, "get", "--raw", watch];
    const child = spawn("kubectl", words, { stdio: ["ignore", "pipe", "ignore"] });
    createInterface(child.stdout).on("line", (line) => {
      const [, type = "", own = ""] = /"type":"(\w+)".*?"name":"([^"]*)"/.exec(line) ?? [];
      waiting.get(`${type} ${own}`)?.(performance.now());
      waiting.delete(`${type} ${own}`);
    });
    children.push(child);
  }
  const types = { created: "ADDED", deleted: "DELETED", endpoints: "MODIFIED" } as const;
  return {
    label: "kubectl's watch",
    children,
    knows: (wanted) => new Promise((resolve) => waiting.set(`${types[wanted.kind]} ${wanted.name}`, resolve)),
    close() {
      for (const child of children) child.kill("SIGKILL");
    },
  };
}

function signal({ children }: Learner, how: "SIGSTOP" | "SIGCONT"): void {
  for (const child of children) child.kill(how);
}

function serviceBody(own: string, spec: object): object {
  return {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name: own, namespace: "default" },
    spec: { ports: [{ name: "http", port: 80 }], ...spec },
  };
}

function sliceBody(count: number): object {
  return {
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: { name, namespace: "default", labels: { "kubernetes.io/service-name": name } },
    addressType: "IPv4",
    ports: [{ name: "http", port: 80 }],
    endpoints: Array.from({ length: count }, (_, index) => ({ addresses: [`10.140.${count & 255}.${index + 1}`] })),
  };
}

function describe(times: readonly number[]): string {
  const sorted = times.toSorted((a, b) => a - b);
  const at = (share: number): string =>
    (sorted[Math.min(Math.floor(sorted.length * share), sorted.length - 1)] ?? 0).toFixed(1).padStart(6);
  return `${sorted.length} changes: median ${at(0.5)}, p90 ${at(0.9)}, p99 ${at(0.99)}, worst ${at(1)}`;
}
