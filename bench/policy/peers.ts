// NetworkPolicy at 10,000 pods, 500 namespaces and 2,000 policies beside the real kube-router (its network policy controller alone, with
// iptables and ipset, and with nftables), in turns: the first time all is in the kernel of a node with 100 of the pods, and one pod more.
// kube-router lists and watches what a few lines here serve as an API server would; it enforces IPv4 alone. For Fairlead stands scale.ts,
// which is both families.
// Needs kube-router in $PEERS/bin (~/.cache/fairlead-peers), ipset there or on the path, iptables, nft.
//
//   node bench/policy/peers.ts      ROUNDS=2 CHANGES=3 POLICIES=narrow|wide
//
// With `wide` policies, as the other figures have them, each policy also opens DNS to the pods of all namespaces. kube-router keeps a list of
// members for each policy, 20 million in all: it did not come to the end of its first sync, and took 10 GB for it. Hence `narrow`, for both.

import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { homedir, tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import process from "node:process";
import { createInterface } from "node:readline";

import { openKernel } from "../../src/kernel/linux.ts";
import { currentNetworkNamespace } from "../../src/kernel/namespaces.ts";
import { unshareFlags } from "../../src/kernel/refusal.ts";
import type { Pod } from "../../src/kube/kinds.ts";
import type { KubeObject } from "../../src/kube/object.ts";
import { bigPod, manyObjects } from "./cluster/objects.ts";

const inside = "FAIRLEAD_BENCH_INSIDE";
const binaries = join(process.env["PEERS"] ?? join(homedir(), ".cache/fairlead-peers"), "bin");
const rounds = Number(process.env["ROUNDS"] ?? 2);
const changes = Number(process.env["CHANGES"] ?? 3);
const port = 8001;

if (process.env[inside] === undefined) {
  for (let round = 0; round < rounds; round++)
    for (const what of (process.env["MODES"] ?? "iptables nftables fairlead").split(" ")) {
      const own = what === "fairlead" ? join(import.meta.dirname, "scale.ts") : import.meta.filename;
      console.log(what === "fairlead" ? "fairlead" : `kube-router, ${what}`);
      // A sync of kube-router is one iptables-restore or nft transaction, which only real root may make as large as that.
      const flags =
        process.getuid?.() === 0
          ? unshareFlags.map((each) => each.replace(/^-Ur/, "-").replace("--map-root-user", "--mount"))
          : unshareFlags;
      const { status } = spawnSync("unshare", [...flags, process.execPath, own], {
        stdio: "inherit",
        env: { POLICIES: "narrow", ...process.env, [inside]: what },
        timeout: 300_000,
        killSignal: "SIGKILL",
      });
      if (status !== 0) process.exit(status ?? 1);
    }
  console.log(`load average ${readFileSync("/proc/loadavg", "utf8").split(" ").slice(0, 2).join(" ")}`);
} else {
  await measure(process.env[inside] ?? "");
  process.exit(0);
}

async function measure(mode: string): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "fairlead-bench-"));
  const kernel = openKernel("node-1", currentNetworkNamespace());
  kernel.change([
    { kind: "set-link", name: "lo", up: true },
    { kind: "create-bridge", name: "uplink", mac: "02:00:00:00:00:01", mtu: 1500 },
    { kind: "set-address", link: "uplink", address: "172.18.1.1", bits: 16 },
    { kind: "set-link", name: "uplink", up: true },
  ]);
  kernel.close();
  const cluster = serveCluster();
  const kubeconfig = join(folder, "kubeconfig");
  const server = `http://127.0.0.1:${port}`;
  writeFileSync(
    kubeconfig,
    JSON.stringify({
      apiVersion: "v1",
      kind: "Config",
      "current-context": "bench",
      contexts: [{ name: "bench", context: { cluster: "bench", user: "bench" } }],
      clusters: [{ name: "bench", cluster: { server } }],
      users: [{ name: "bench", user: {} }],
    }),
  );
  const child = spawn(
    "kube-router",
    [
      "--run-firewall=true",
      "--run-router=false",
      "--run-service-proxy=false",
      "--run-loadbalancer=false",
      "--hostname-override=node-1",
      `--kubeconfig=${kubeconfig}`,
      "--iptables-sync-period=24h",
      `--use-nftables-for-netpol=${mode === "nftables"}`,
      "-v=1",
    ],
    {
      stdio: ["ignore", "ignore", "pipe"],
      env: { ...process.env, PATH: `${binaries}${delimiter}${process.env["PATH"]}` },
    },
  );
  try {
    const syncs = syncsOf(child);
    const first = await syncs();
    let busy = processorSeconds(child);
    console.log(`  first sync ${first} s; ${busy.toFixed(1)} s of processor since its start`);
    for (let index = 0; index < changes; index++) {
      const from = performance.now();
      cluster.add(withHost(anotherPod(index)));
      const took = await syncs();
      const before = busy;
      busy = processorSeconds(child);
      const seen = ((performance.now() - from) / 1000).toFixed(1);
      console.log(
        `  one pod more: sync of ${took} s, ${seen} s after it was there; ${(busy - before).toFixed(1)} s of processor`,
      );
    }
  } finally {
    child.kill("SIGKILL");
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Of the process and the programs it ran. */
function processorSeconds({ pid }: ChildProcess): number {
  const text = readFileSync(`/proc/${pid}/stat`, "utf8");
  // proc(5): utime, stime, cutime and cstime are fields 14 to 17; the name in parentheses may hold spaces.
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return fields.slice(11, 15).reduce((sum, ticks) => sum + Number(ticks), 0) / 100;
}

/** Each call waits for the next sync to end and gives its seconds. */
function syncsOf(child: ChildProcess): () => Promise<number> {
  const ended: number[] = [];
  const lines: string[] = [];
  let waiting: { resolve(seconds: number): void; reject(error: Error): void } | undefined;
  createInterface({ input: child.stderr as NodeJS.ReadableStream }).on("line", (line) => {
    lines.push(line);
    const took = /sync (?:iptables|nftables) took (.+)$/.exec(line)?.[1];
    if (took === undefined) return;
    ended.push(secondsOf(took));
    const first = waiting && ended.shift();
    if (first === undefined) return;
    waiting?.resolve(first);
    waiting = undefined;
  });
  child.on("exit", (code) =>
    waiting?.reject(new Error(`kube-router ended with ${code}:\n${lines.slice(-15).join("\n")}`)),
  );
  return () => {
    const first = ended.shift();
    return first === undefined
      ? new Promise((resolve, reject) => (waiting = { resolve, reject }))
      : Promise.resolve(first);
  };
}

/** Go's time.Duration: `1m2.5s`, `12.01s`, `450ms`. */
function secondsOf(duration: string): number {
  const units: Readonly<Record<string, number>> = { h: 3600, m: 60, s: 1, ms: 1e-3, µs: 1e-6, us: 1e-6, ns: 1e-9 };
  const parts = [...duration.matchAll(/([\d.]+)(h|ms|m|s|µs|us|ns)/g)];
  return Number(parts.reduce((sum, [, value, unit]) => sum + Number(value) * (units[unit ?? ""] ?? 0), 0).toFixed(3));
}

// ---------------------------------------------------------------- a cluster to list and to watch

function withHost(pod: Pod): Pod {
  const n = Number(pod.spec.nodeName?.slice("node-".length));
  const hostIP = `172.18.1.${n}`;
  return {
    ...pod,
    metadata: { ...pod.metadata, uid: `${pod.metadata.namespace}-${pod.metadata.name}` },
    status: { ...pod.status, hostIP, podIP: pod.status?.podIPs?.[0]?.ip ?? "" },
  };
}

function anotherPod(index: number): Pod {
  const made = bigPod(9_999 - index, { app: "web" });
  const ip = `10.150.0.${index + 1}`;
  return {
    ...made,
    metadata: { ...made.metadata, name: `more-${index}` },
    status: { phase: "Running", podIPs: [{ ip }] },
  };
}

function serveCluster(): { add(pod: Pod): void } {
  const all = manyObjects();
  const pods = all.pods.map(withHost);
  const resources: Readonly<Record<string, { readonly kind: string; readonly items: KubeObject[] }>> = {
    "/api/v1/nodes": { kind: "Node", items: [...all.nodes] },
    "/api/v1/pods": { kind: "Pod", items: pods },
    "/api/v1/namespaces": { kind: "Namespace", items: [...all.namespaces] },
    "/api/v1/services": { kind: "Service", items: [] },
    "/apis/discovery.k8s.io/v1/endpointslices": { kind: "EndpointSlice", items: [] },
    "/apis/networking.k8s.io/v1/networkpolicies": { kind: "NetworkPolicy", items: [...all.networkPolicies] },
  };
  const watchers: ServerResponse[] = [];
  let revision = 1;
  const answer = (response: ServerResponse, code: number, body: object): void => {
    response.writeHead(code, { "Content-Type": "application/json" }).end(JSON.stringify(body));
  };
  const status = (code: number, reason: string): object => ({
    apiVersion: "v1",
    kind: "Status",
    status: "Failure",
    code,
    reason,
  });
  createServer((request: IncomingMessage, response) => {
    const { pathname, searchParams } = new URL(request.url ?? "/", "http://cluster");
    if (pathname === "/api/v1/nodes/node-1") return answer(response, 200, all.nodes[0] ?? {});
    const found = resources[pathname];
    if (found === undefined) return answer(response, 404, status(404, "NotFound"));
    // Lists as a stream came later than watches: clients fall back.
    if (searchParams.has("sendInitialEvents")) return answer(response, 422, status(422, "Invalid"));
    if (searchParams.has("watch")) {
      response.writeHead(200, { "Content-Type": "application/json" }).flushHeaders();
      if (pathname === "/api/v1/pods") watchers.push(response);
      return;
    }
    const apiVersion = pathname.startsWith("/api/v1") ? "v1" : pathname.split("/").slice(2, 4).join("/");
    const metadata = { resourceVersion: String(revision) };
    answer(response, 200, { apiVersion, kind: `${found.kind}List`, metadata, items: found.items });
  }).listen(port, "127.0.0.1");
  return {
    add(pod) {
      const object = { ...pod, metadata: { ...pod.metadata, resourceVersion: String(++revision) } };
      for (const watcher of watchers) watcher.write(`${JSON.stringify({ type: "ADDED", object })}\n`);
    },
  };
}
