// The real CoreDNS beside this server, both fed by one lab's API server: the same objects, so the same names.
// The binary is not part of this repository: `go install github.com/coredns/coredns@v1.15.0`, found by COREDNS or in the cache of peers.

import { spawn } from "node:child_process";
import dgram from "node:dgram";
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { homedir } from "node:os";
import { join } from "node:path";
import process from "node:process";

import { createNetworkBuilder, type ClusterObjects } from "../../src/model/build.ts";
import { clusterConfig } from "../../src/model/cluster.ts";
import { compileZone, type Zone } from "../../src/program/zone.ts";
import { currentNetworkNamespace } from "../../src/kernel/namespaces.ts";
import { parseCorefile } from "../../src/serve/dns/corefile.ts";
import { startDnsServer, type DnsServer } from "../../src/serve/dns/server.ts";
import { openCluster, resourcePath, type ResourceVersioned } from "../../src/watch/cluster/client.ts";
import { findAccess } from "../../src/watch/cluster/kubeconfig.ts";
import { buildQuery, parseMessage, rcodeName, type DnsMessage } from "../../src/wire/dns/message.ts";
import { formatRecordData, recordTypeName, typeOfData, type RecordType } from "../../src/wire/dns/record.ts";
import type { TestLab } from "../lab/lab.testing.ts";

/** Where CoreDNS is; undefined where it is not. */
export const corednsPath: string | undefined = [
  process.env["COREDNS"] ?? "",
  join(homedir(), ".cache/fairlead-peers/bin/coredns"),
].find((path) => path !== "" && existsSync(path));

/** Why a test that needs it is skipped, false where it is there. */
export const corednsMissing: string | false =
  corednsPath === undefined && "no CoreDNS: go install github.com/coredns/coredns@v1.15.0, and name it in COREDNS";

/** Ports of the loopback that nobody has now. */
export async function freePorts(count: number): Promise<readonly number[]> {
  const servers = await Promise.all(
    Array.from({ length: count }, async () => {
      const server = createServer().listen(0, "127.0.0.1");
      await once(server, "listening");
      return server;
    }),
  );
  const ports = servers.map((server) => (server.address() as AddressInfo).port);
  for (const server of servers) server.close();
  return ports;
}

/** Starts CoreDNS with a Corefile; resolves when one of these names exists for it. Kill it in `finally`. */
export async function startCoredns(
  lab: Pick<TestLab, "file">,
  corefile: string,
  port: number,
  names: readonly string[] = ["kubernetes.default.svc.cluster.local"],
): Promise<{ readonly pid: number; stop(): Promise<void> }> {
  const child = spawn(corednsPath ?? "", ["-conf", lab.file("Corefile", corefile)], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  child.stdout.on("data", (chunk: Buffer) => (output += chunk.toString()));
  child.stderr.on("data", (chunk: Buffer) => (output += chunk.toString()));
  const ended = new Promise<void>((resolve) => child.on("close", () => resolve()));
  let dead = false;
  void ended.then(() => (dead = true));
  const client = createClient(port);
  try {
    for (;;) {
      if (dead) throw new Error(`CoreDNS ended: ${output}`);
      const all = await Promise.all(names.map((name) => client.ask(name, "A").catch(() => undefined)));
      if (all.some((answer) => answer?.rcode === 0)) break;
    }
  } finally {
    client.close();
  }
  return {
    pid: child.pid ?? 0,
    async stop() {
      child.kill("SIGKILL");
      await ended;
    },
  };
}

/** This server by the same Corefile; files that it names are the machine's. */
export function startOwn(corefile: string, zone: () => Zone | undefined = () => undefined): Promise<DnsServer> {
  return startDnsServer({
    namespace: currentNetworkNamespace(),
    zone,
    upstream: undefined,
    domain: "cluster.local",
    log: () => {},
    corefile: parseCorefile(corefile),
    read: (path) => readFileSync(path, "utf8"),
  });
}

export interface TestClient {
  /** Rejects after a second without an answer. */
  ask(name: string, type: RecordType, edns?: number): Promise<DnsMessage>;
  /** The response to these bytes, whose id is set here; undefined where there is none within `patienceMs`. */
  send(query: Uint8Array, patienceMs: number): Promise<Uint8Array | undefined>;
  close(): void;
}

/** Asks a server on 127.0.0.1, many questions at once. */
export function createClient(port: number): TestClient {
  const socket = dgram.createSocket("udp4");
  const waiting = new Map<number, (bytes: Uint8Array) => void>();
  let next = 0;
  socket.on("error", () => {});
  socket.on("message", (bytes) => waiting.get(bytes.readUInt16BE(0))?.(bytes));
  return {
    ask(name, type, edns = 1232) {
      const id = next++ & 0xffff;
      const query = buildQuery({ id, name, type, ...(edns === 0 ? {} : { udpBytes: edns }) });
      return new Promise((resolve, reject) => {
        const timer = setTimeout(() => {
          waiting.delete(id);
          reject(new Error(`port ${port}: no answer for ${name} ${type}`));
        }, 1000);
        waiting.set(id, (bytes) => {
          clearTimeout(timer);
          waiting.delete(id);
          resolve(parseMessage(bytes));
        });
        socket.send(query, port, "127.0.0.1");
      });
    },
    send(query, patienceMs) {
      const id = next++ & 0xffff;
      const bytes = query.slice();
      bytes[0] = id >> 8;
      bytes[1] = id & 0xff;
      return new Promise((resolve) => {
        const end = (response: Uint8Array | undefined): void => {
          clearTimeout(timer);
          waiting.delete(id);
          resolve(response);
        };
        const timer = setTimeout(() => end(undefined), patienceMs);
        waiting.set(id, end);
        socket.send(bytes, port, "127.0.0.1");
      });
    },
    close: () => socket.close(),
  };
}

const resources: readonly (readonly [kind: keyof ClusterObjects, resource: ResourceVersioned])[] = [
  ["nodes", { group: "", version: "v1", resource: "nodes" }],
  ["namespaces", { group: "", version: "v1", resource: "namespaces" }],
  ["pods", { group: "", version: "v1", resource: "pods" }],
  ["services", { group: "", version: "v1", resource: "services" }],
  ["endpointSlices", { group: "discovery.k8s.io", version: "v1", resource: "endpointslices" }],
  ["networkPolicies", { group: "networking.k8s.io", version: "v1", resource: "networkpolicies" }],
];

/** The zone of what the API server has now. */
export async function zoneOfLab(kubeconfig: string): Promise<Zone> {
  const cluster = openCluster(await findAccess({ kubeconfig }));
  try {
    const lists = resources.map(async ([kind, resource]) => {
      const { items } = await cluster.request<{ readonly items: unknown[] }>({ path: resourcePath(resource) });
      return [kind, items] as const;
    });
    const objects = { ...Object.fromEntries(await Promise.all(lists)), clusterNetworkPolicies: [] };
    return compileZone(createNetworkBuilder(clusterConfig())(objects as unknown as ClusterObjects));
  } finally {
    cluster.close();
  }
}

/** What a client can tell, but for RA (README.md, "How it differs") and the order of records. */
export function essence(bytes: Uint8Array | undefined): string {
  if (bytes === undefined) return "silence";
  if (bytes.length === 12) return `${rcodeName((bytes[3] ?? 0) & 0xf)}, a header alone`;
  const parsed = parseMessage(bytes);
  const { rcode, authoritative, truncated, recursionDesired, checkingDisabled, authenticData, edns: opt } = parsed;
  const flags = Object.entries({
    aa: authoritative,
    tc: truncated,
    rd: recursionDesired,
    cd: checkingDisabled,
    ad: authenticData,
  })
    .filter(([, isSet]) => isSet)
    .map(([flag]) => flag);
  const section = (name: string, records: DnsMessage["answers"]): string[] =>
    records.length === 0
      ? []
      : [
          `${name}: ${records
            .map(
              (record) =>
                `${record.name.toLowerCase()} ${record.ttl} ${record.class} ${recordTypeName(typeOfData(record.data))} ${formatRecordData(record.data).toLowerCase()}`,
            )
            .toSorted()
            .join(", ")}`,
        ];
  return [
    rcodeName(rcode),
    flags.join(" "),
    ...section("answer", parsed.answers),
    ...section("authority", parsed.authority),
    ...section("additional", parsed.additional),
    ...(opt === undefined ? [] : [`EDNS${opt.dnssecOk ? " DO" : ""}`]),
  ]
    .filter((part) => part !== "")
    .join(" | ");
}
