// `fairlead agent --only services` alone, at any number of Services: the real process against a server of generated objects with all that
// real ones carry (managedFields, labels, annotations). Cold start, memory, one change at a time from the watch's event to the kernel.
//
//   node bench/services/alone.ts [SERVICES] [ENDPOINTS]      44,000 Services of three endpoints
//
// A kube-apiserver takes about 45 Services a second, so that the same objects would need a quarter of an hour to be there. Plain HTTP.
// It runs itself again in namespaces of its own. `FAIRLEAD`: another program than bin/fairlead.

import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { performance } from "node:perf_hooks";
import process from "node:process";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";

import { openKernel } from "../../src/kernel/linux.ts";
import { currentNetworkNamespace } from "../../src/kernel/namespaces.ts";

const inside = "FAIRLEAD_BENCH_INSIDE";
if (process.env[inside] === undefined) {
  const again = [process.execPath, fileURLToPath(import.meta.url), ...process.argv.slice(2)];
  const user = process.getuid?.() === 0 ? [] : ["-U", "--map-root-user"];
  const { status } = spawnSync("unshare", [...user, "-nmpuif", "--mount-proc", "--kill-child", "--", ...again], {
    stdio: "inherit",
    env: { ...process.env, [inside]: "1" },
  });
  process.exit(status ?? 1);
}

const servicesCount = Number(process.argv[2] ?? 44_000);
const endpointsCount = Number(process.argv[3] ?? 3);
const changes = Number(process.env.CHANGES ?? 200);
const restMs = 40;

interface Object {
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly [field: string]: unknown };
  readonly [field: string]: unknown;
}

const kinds: Readonly<Record<string, string>> = { services: "Service", endpointslices: "EndpointSlice", nodes: "Node" };
const watches = new Map<string, ServerResponse>();
let revision = 1_000_000;
const folder = mkdtempSync(join(tmpdir(), "fairlead-alone-"));
const kernel = openKernel("bench", currentNetworkNamespace());
kernel.change([
  { kind: "set-link", name: "lo", up: true },
  { kind: "set-address", link: "lo", address: "192.0.2.1", bits: 32 },
]);
const server = createServer((request, response) => {
  const { pathname, searchParams } = new URL(request.url ?? "/", "http://localhost");
  request.resume();
  if (request.method !== "GET") return void response.end("{}");
  const resource = pathname.split("/").at(-1) ?? "";
  if (searchParams.get("watch") === null) return void response.end(JSON.stringify(nodeObject()));
  void answerWatch(resource, response);
});
server.listen(0, "127.0.0.1");
await once(server, "listening");
const kubeconfig = join(folder, "kubeconfig");
writeFileSync(kubeconfig, JSON.stringify(configOf(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)));

const started = performance.now();
const fairlead = process.env.FAIRLEAD ?? resolve("bin/fairlead");
const child = spawn(fairlead, ["agent", "--kubeconfig", kubeconfig, "--node", "n1", "--only", "services"], {
  stdio: ["ignore", "pipe", "inherit"],
});
try {
  await measure();
} finally {
  child.kill("SIGKILL");
  server.closeAllConnections();
  server.close();
  kernel.close();
  rmSync(folder, { recursive: true, force: true });
}
process.exit(0);

async function measure(): Promise<void> {
  const [, inHand = "", processorMs = ""] = await said(
    child,
    /programmed \d+ changes (\d+) ms.* processor's time (\d+) and/,
  );
  tell("process start to programmed, ms", performance.now() - started);
  tell("objects in hand to kernel, ms", Number(inHand));
  tell("objects in hand to kernel, ms of processors", Number(processorMs));
  tell("processor time since the start, ms", processorSeconds(child) * 1000);
  tellMemory("programmed");
  await delay(5000);
  tellMemory("5 s later");

  let written: (() => void) | undefined;
  const monitor = kernel.monitor(({ kind }) => void (kind === "nftables" && written?.()));
  const late = async (event: () => void): Promise<number> => {
    const change = new Promise<number>((resolve) => (written = () => resolve(performance.now())));
    const sentAt = performance.now();
    event();
    return (await change) - sentAt;
  };
  const processorBefore = processorSeconds(child);
  const counts: number[] = [];
  for (let change = 0; change < changes; change++) {
    const index = (change * 7919) % servicesCount;
    const count = endpointsCount - (change >= servicesCount ? 0 : 1);
    counts.push(await late(() => send("MODIFIED", sliceObject(index, count, `service-${index}`))));
    await delay(restMs);
  }
  tellQuantiles("a Service loses an endpoint", counts);
  tell("processor time of such a change, ms", ((processorSeconds(child) - processorBefore) * 1000) / changes);
  const added: number[] = [];
  for (let change = 0; change < changes; change++) {
    const index = servicesCount + change;
    added.push(
      await late(() => {
        send("ADDED", serviceObject(index, `service-${index}`));
        send("ADDED", sliceObject(index, endpointsCount, `service-${index}`));
      }),
    );
    await delay(restMs);
  }
  tellQuantiles("a Service added", added);
  const bigs: number[] = [];
  const big = servicesCount + changes;
  await late(() => {
    send("ADDED", serviceObject(big, "big"));
    for (let part = 0; part < 10; part++) send("ADDED", sliceObject(big + part, 100, "big", part));
  });
  await delay(500);
  for (let part = 0; part < 10; part++) {
    bigs.push(await late(() => send("MODIFIED", sliceObject(big + part, 99, "big", part))));
    await delay(200);
  }
  tellQuantiles("a Service of 1,000 endpoints loses one", bigs);
  tellMemory("after these changes");
  monitor.close();
}

function tell(what: string, value: number): void {
  console.log(`${`${servicesCount} x ${endpointsCount}: ${what}`.padEnd(70)} ${value.toFixed(value < 100 ? 1 : 0)}`);
}

function tellQuantiles(what: string, all: readonly number[]): void {
  const sorted = all.toSorted((a, b) => a - b);
  const at = (part: number): number =>
    sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? Number.NaN;
  tell(`${what}, event to kernel, p50 ms`, at(0.5));
  tell(`${what}, event to kernel, p99 ms`, at(0.99));
}

function tellMemory(when: string): void {
  const text = readFileSync(`/proc/${child.pid}/status`, "utf8");
  const field = (name: string): number => Number(new RegExp(`${name}:\\s+(\\d+)`).exec(text)?.[1] ?? 0) / 1024;
  tell(`memory, ${when}, resident MB`, field("VmRSS"));
  tell(`memory, ${when}, of it anonymous (RssAnon) MB`, field("RssAnon"));
  tell(`memory, ${when}, the most so far (VmHWM) MB`, field("VmHWM"));
}

/** proc(5): utime 14, stime 15. */
function processorSeconds({ pid }: ChildProcess): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8")
    .replace(/^.*\) /, "")
    .split(" ");
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

function said(process: ChildProcess, pattern: RegExp): Promise<RegExpExecArray> {
  return new Promise((resolve, reject) => {
    let text = "";
    process.stdout?.on("data", (chunk: Buffer) => {
      text = (text + chunk.toString()).slice(-100_000);
      const match = pattern.exec(text);
      if (match !== null) resolve(match);
    });
    process.once("exit", (code) => reject(new Error(`ended with ${code}: ${text.slice(-2000)}`)));
  });
}

// ---------------------------------------------------------------- the server

async function answerWatch(resource: string, response: ServerResponse): Promise<void> {
  response.writeHead(200, { "content-type": "application/json" });
  response.flushHeaders();
  for (const lines of initialLines(resource)) if (!response.write(lines)) await once(response, "drain");
  const annotations = { "k8s.io/initial-events-end": "true" };
  const kind = kinds[resource] ?? "Unknown";
  response.write(lineOf("BOOKMARK", { kind, metadata: { name: "", resourceVersion: "1000", annotations } }));
  watches.set(resource, response);
}

/** A hundred objects at a time. */
function* initialLines(resource: string): Generator<string> {
  if (resource === "nodes") yield lineOf("ADDED", nodeObject());
  if (resource === "servicecidrs") yield lineOf("ADDED", serviceCidr());
  if (resource !== "services" && resource !== "endpointslices") return;
  for (let first = 0; first < servicesCount; first += 100) {
    let lines = "";
    for (let index = first; index < Math.min(servicesCount, first + 100); index++) {
      const name = `service-${index}`;
      const object = resource === "services" ? serviceObject(index, name) : sliceObject(index, endpointsCount, name);
      lines += lineOf("ADDED", object);
    }
    yield lines;
  }
}

function send(type: "ADDED" | "MODIFIED", object: Object): void {
  watches.get(object.kind === "Service" ? "services" : "endpointslices")?.write(lineOf(type, object));
}

function lineOf(type: string, object: Object): string {
  return `${JSON.stringify({ type, object })}\n`;
}

function configOf(url: string): object {
  return {
    "current-context": "bench",
    contexts: [{ name: "bench", context: { cluster: "bench", user: "bench" } }],
    clusters: [{ name: "bench", cluster: { server: url } }],
    users: [{ name: "bench", user: {} }],
  };
}

// ---------------------------------------------------------------- the objects, as kube-apiserver gives them

function metadata(name: string, index: number, more: object = {}): Object["metadata"] {
  return {
    name,
    namespace: `team-${index % 50}`,
    uid: `6c7f0c2e-7d0e-4d0a-9a1f-${index.toString(16).padStart(12, "0")}`,
    resourceVersion: String(revision++),
    generation: 1,
    creationTimestamp: "2026-11-21T08:00:00Z",
    ...more,
  };
}

function serviceObject(index: number, name: string): Object {
  return {
    kind: "Service",
    apiVersion: "v1",
    metadata: metadata(name, index, {
      labels: { app: name, "app.kubernetes.io/part-of": "shop" },
      annotations: { "kubectl.kubernetes.io/last-applied-configuration": "x".repeat(300) },
      managedFields: [
        {
          manager: "kubectl-client-side-apply",
          operation: "Update",
          apiVersion: "v1",
          time: "2026-11-21T08:00:00Z",
          fieldsType: "FieldsV1",
          fieldsV1: { "f:spec": { "f:internalTrafficPolicy": {}, "f:ports": {}, "f:selector": {}, "f:type": {} } },
        },
      ],
    }),
    spec: {
      ports: [{ name: "http", protocol: "TCP", port: 80, targetPort: 8080 }],
      selector: { app: name },
      clusterIP: clusterIp(index),
      clusterIPs: [clusterIp(index)],
      type: "ClusterIP",
      sessionAffinity: "None",
      ipFamilies: ["IPv4"],
      ipFamilyPolicy: "SingleStack",
      internalTrafficPolicy: "Cluster",
    },
    status: { loadBalancer: {} },
  };
}

function clusterIp(index: number): string {
  return `10.${96 + (index >> 16)}.${(index >> 8) & 255}.${index & 255}`;
}

function sliceObject(index: number, count: number, service: string, part: number = 0): Object {
  const owner = index - part;
  return {
    kind: "EndpointSlice",
    apiVersion: "discovery.k8s.io/v1",
    metadata: metadata(`${service}-x7k2${part}`, owner, {
      generateName: `${service}-`,
      labels: {
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
        "kubernetes.io/service-name": service,
      },
      annotations: { "endpoints.kubernetes.io/last-change-trigger-time": "2026-11-21T08:00:00Z" },
      ownerReferences: [{ apiVersion: "v1", kind: "Service", name: service, uid: `${owner}`, controller: true }],
      managedFields: [
        {
          manager: "kube-controller-manager",
          operation: "Update",
          apiVersion: "discovery.k8s.io/v1",
          time: "2026-11-21T08:00:00Z",
          fieldsType: "FieldsV1",
          fieldsV1: { "f:addressType": {}, "f:endpoints": {}, "f:metadata": { "f:annotations": {} }, "f:ports": {} },
        },
      ],
    }),
    addressType: "IPv4",
    endpoints: Array.from({ length: count }, (_, n) => ({
      addresses: [`10.${128 + (n % 100)}.${((index >> 8) + 20 * part) & 255}.${index & 255}`],
      conditions: { ready: true, serving: true, terminating: false },
      nodeName: `node-${(n % 3) + 1}`,
      targetRef: {
        kind: "Pod",
        namespace: `team-${owner % 50}`,
        name: `${service}-7d4b9c6f5d-x${part}${n}`,
        uid: `0b6dfb66-52e2-4c5a-9f8f-${(index * 4 + n).toString(16).padStart(12, "0")}`,
      },
    })),
    ports: [{ name: "http", protocol: "TCP", port: 8080 }],
  };
}

function nodeObject(): Object {
  return {
    kind: "Node",
    apiVersion: "v1",
    metadata: { name: "n1", uid: "n1", resourceVersion: "7" },
    spec: { podCIDR: "10.244.1.0/24", podCIDRs: ["10.244.1.0/24"] },
    status: { addresses: [{ type: "InternalIP", address: "192.0.2.1" }] },
  };
}

function serviceCidr(): Object {
  return {
    kind: "ServiceCIDR",
    apiVersion: "networking.k8s.io/v1",
    metadata: { name: "kubernetes", uid: "c", resourceVersion: "5" },
    spec: { cidrs: ["10.96.0.0/12"] },
  };
}
