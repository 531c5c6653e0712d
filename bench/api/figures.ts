// Figures of the API server: start, durable creates over TLS, many watchers, long lists, memory.
// The server is a process of its own (`figures.ts serve FOLDER`), the clients are this one: both share the machine's cores.
//
//   npm run bench -- api                 all of it
//   npm run bench -- api --objects 50000 with as many objects for the memory figure

import { fork, spawnSync, type ChildProcess } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { Agent, createServer, request } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";

import { parseAddress } from "../../src/ip/address.ts";

const pods = "/api/v1/namespaces/default/pods";

const container = {
  name: "web",
  image: "registry.example.com/team/web:1.2.3",
  args: ["--listen", ":8080", "--log-level", "info"],
  env: Array.from({ length: 12 }, (_, index) => ({ name: `SETTING_${index}`, value: `value number ${index}` })),
  ports: [{ name: "http", containerPort: 8080 }],
  resources: { requests: { cpu: "100m", memory: "128Mi" }, limits: { cpu: "1", memory: "256Mi" } },
  readinessProbe: { httpGet: { path: "/healthz", port: "http" }, periodSeconds: 5 },
  volumeMounts: [{ name: "config", mountPath: "/etc/web" }],
};

/** A pod of about the size that real ones have. */
function pod(name: string): object {
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name, namespace: "default", labels: { app: "web", "pod-template-hash": "5d4f8c7b9", tier: "front" } },
    spec: { containers: [container], volumes: [{ name: "config", configMap: { name: "web" } }], nodeName: "node-1" },
  };
}

if (process.argv[2] === "serve") await serve(process.argv[3] ?? "");
else await measure();

async function serve(folder: string): Promise<void> {
  const { openStore } = await import("../../src/lab/api/sqlite-store.ts");
  const { createObjectApi } = await import("../../src/lab/api/write.ts");
  const { startApiServer } = await import("../../src/lab/apiserver/server.ts");
  const { openCertificates } = await import("../../src/lab/apiserver/tls.ts");
  const api = createObjectApi({ store: openStore({ path: join(folder, "store.db") }), admissions: [] });
  api.create({ apiVersion: "v1", kind: "Namespace", metadata: { name: "default" } });
  const address = parseAddress("127.0.0.1");
  const certificates = openCertificates({
    folder: join(folder, "pki"),
    names: ["localhost"],
    addresses: address === undefined ? [] : [address],
  });
  const server = createServer({ key: certificates.server.key, cert: certificates.server.certificate });
  startApiServer({ api, servers: [server] });
  server.listen(0, "127.0.0.1", () => process.send?.({ port: (server.address() as AddressInfo).port }));
  process.on("message", () => {
    globalThis.gc?.();
    process.send?.({ memory: process.memoryUsage(), cpu: process.cpuUsage() });
  });
}

interface Server {
  readonly child: ChildProcess;
  readonly port: number;
  readonly folder: string;
}

async function start(): Promise<Server> {
  const folder = mkdtempSync(join(tmpdir(), "fairlead-bench-"));
  const child = fork(import.meta.filename, ["serve", folder], {
    execArgv: ["--expose-gc", "--disable-warning=ExperimentalWarning"],
  });
  const { port } = await message<{ port: number }>(child);
  return { child, port, folder };
}

function message<T>(child: ChildProcess): Promise<T> {
  return new Promise((resolve, reject) => {
    child.once("message", (value) => resolve(value as T));
    child.once("exit", (code) => reject(new Error(`the server ended with ${code}`)));
  });
}

function stop({ child, folder }: Server): void {
  child.removeAllListeners("exit");
  child.kill("SIGKILL");
  rmSync(folder, { recursive: true, force: true });
}

interface Client {
  readonly port: number;
  readonly agent: Agent;
}

function send(
  { port, agent }: Client,
  method: string,
  path: string,
  body?: string,
  accept = "application/json",
): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const sent = request(
      {
        host: "127.0.0.1",
        port,
        agent,
        method,
        path,
        headers: {
          Accept: accept,
          ...(body === undefined
            ? {}
            : { "Content-Type": "application/json", "Content-Length": Buffer.byteLength(body) }),
        },
      },
      (response) => {
        const chunks: Buffer[] = [];
        response.on("data", (chunk: Buffer) => chunks.push(chunk));
        response.on("end", () => resolve({ status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString() }));
        response.on("error", reject);
      },
    );
    sent.on("error", reject);
    sent.end(body);
  });
}

async function measure(): Promise<void> {
  const objects = Number(process.argv[process.argv.indexOf("--objects") + 1]) || 10_000;
  const began = performance.now();
  const server = await start();
  const client = {
    port: server.port,
    agent: new Agent({ keepAlive: true, rejectUnauthorized: false, maxSockets: 64 }),
  };
  await send(client, "GET", "/version");
  console.log(
    `start to first answer            ${ms(performance.now() - began)} (process, certificates and TLS included)`,
  );
  try {
    await creates(server, client, objects);
    await lists(server, client);
    await memory(server, objects);
    await watchers(server, client, { watchers: 1000, writesPerSecond: 200, seconds: 5 });
  } finally {
    client.agent.destroy();
    stop(server);
  }
}

function ms(value: number): string {
  return `${value.toFixed(value < 10 ? 1 : 0)} ms`;
}

async function creates(server: Server, client: Client, count: number): Promise<void> {
  const cpuBefore = (await facts(server)).cpu;
  const began = performance.now();
  let next = 0;
  const one = async (): Promise<void> => {
    for (let index = next++; index < count; index = next++) {
      const { status, text } = await send(client, "POST", pods, JSON.stringify(pod(`pod-${index}`)));
      if (status !== 201) throw new Error(`create: ${status} ${text}`);
    }
  };
  await Promise.all(Array.from({ length: 64 }, one));
  const seconds = (performance.now() - began) / 1000;
  console.log(
    `durable creates, TLS, 64 clients ${Math.round(count / seconds)} /s (${count} pods of ${JSON.stringify(pod("x")).length} bytes)`,
  );
  const cpu = (await facts(server)).cpu;
  const cpuMs = (cpu.user + cpu.system - cpuBefore.user - cpuBefore.system) / 1000;
  console.log(`  of it the server's own         ${(cpuMs / count).toFixed(2)} ms of processor a create`);
}

async function lists(server: Server, client: Client): Promise<void> {
  let began = performance.now();
  const { text } = await send(client, "GET", pods);
  console.log(
    `list, whole                      ${ms(performance.now() - began)} (${(text.length / 1e6).toFixed(1)} MB)`,
  );
  began = performance.now();
  let rows = 0;
  let token = "";
  do {
    const page = await send(
      client,
      "GET",
      `${pods}?limit=500&continue=${token}`,
      undefined,
      "application/json;as=Table;v=v1;g=meta.k8s.io",
    );
    const { metadata, rows: some } = JSON.parse(page.text) as { metadata: { continue?: string }; rows: unknown[] };
    rows += some.length;
    token = metadata.continue ?? "";
  } while (token !== "");
  console.log(`list, tables of 500              ${ms(performance.now() - began)} (${rows} rows)`);
  const line = [
    "--server",
    `https://127.0.0.1:${server.port}`,
    "--insecure-skip-tls-verify",
    "--token=any",
    "get",
    "pods",
    "-A",
  ];
  const env = { PATH: process.env["PATH"], HOME: server.folder, KUBECONFIG: "/dev/null" };
  if (spawnSync("kubectl", line, { env }).status !== 0) return;
  began = performance.now();
  spawnSync("kubectl", line, { env, maxBuffer: 1e9 });
  console.log(`kubectl get pods -A              ${ms(performance.now() - began)}`);
}

interface Facts {
  readonly memory: NodeJS.MemoryUsage;
  readonly cpu: NodeJS.CpuUsage;
}

function facts({ child }: Server): Promise<Facts> {
  const answer = message<Facts>(child);
  child.send("facts");
  return answer;
}

async function memory(server: Server, objects: number): Promise<void> {
  const { rss, heapUsed } = (await facts(server)).memory;
  console.log(
    `memory with ${objects} pods         ${Math.round(rss / 1e6)} MB resident, ${Math.round(heapUsed / 1e6)} MB of objects`,
  );
}

async function watchers(
  server: Server,
  client: Client,
  load: { watchers: number; writesPerSecond: number; seconds: number },
): Promise<void> {
  const delays: number[] = [];
  const path = "/api/v1/namespaces/default/configmaps";
  let open = 0;
  const agent = new Agent({ keepAlive: true, rejectUnauthorized: false });
  const watches = Array.from({ length: load.watchers }, () =>
    watch(
      { ...client, agent },
      `${path}?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true`,
      {
        opened: () => open++,
        seen: (at) => delays.push(performance.now() - at),
      },
    ),
  );
  while (open < load.watchers) await new Promise((resolve) => setTimeout(resolve, 20));
  const count = load.writesPerSecond * load.seconds;
  const { cpu: cpuBefore } = await facts(server);
  const began = performance.now();
  const writes: Promise<unknown>[] = [];
  for (let index = 0; index < count; index++) {
    const due = began + (index * 1000) / load.writesPerSecond;
    const wait = due - performance.now();
    if (wait > 1) await new Promise((resolve) => setTimeout(resolve, wait));
    const body = {
      apiVersion: "v1",
      kind: "ConfigMap",
      metadata: { name: `c-${index}` },
      data: { at: String(performance.now()) },
    };
    writes.push(send(client, "POST", path, JSON.stringify(body)));
  }
  await Promise.all(writes);
  const tookSeconds = (performance.now() - began) / 1000;
  while (delays.length < count * load.watchers && performance.now() - began < (load.seconds + 60) * 1000)
    await new Promise((resolve) => setTimeout(resolve, 50));
  const { cpu } = await facts(server);
  const busy = (cpu.user + cpu.system - cpuBefore.user - cpuBefore.system) / 1e6 / ((performance.now() - began) / 1000);
  for (const each of watches) each.destroy();
  agent.destroy();
  delays.sort((a, b) => a - b);
  const at = (share: number): string => ms(delays[Math.floor(delays.length * share)] ?? Number.NaN);
  console.log(
    `${load.watchers} watchers, ${Math.round(count / tookSeconds)} writes/s   ${delays.length} events of ${count * load.watchers} seen; p50 ${at(0.5)}, p99 ${at(0.99)}`,
  );
  console.log(`  meanwhile the server needed    ${busy.toFixed(2)} processors`);
}

function watch(client: Client, path: string, on: { opened(): void; seen(at: number): void }): { destroy(): void } {
  const sent = request({ host: "127.0.0.1", port: client.port, agent: client.agent, path }, (response) => {
    let rest = "";
    response.setEncoding("latin1").on("data", (text: string) => {
      const lines = (rest + text).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) {
        if (line.includes("initial-events-end")) on.opened();
        // Parsing all of it would measure the client.
        const at = /"at":"([\d.]+)"/.exec(line)?.[1];
        if (at !== undefined) on.seen(Number(at));
      }
    });
    response.on("error", () => undefined);
  });
  sent.on("error", () => undefined);
  sent.end();
  return sent;
}
