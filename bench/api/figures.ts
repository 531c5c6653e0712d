// Figures of the API server beside the real one (etcd and kube-apiserver), in turns in the same run: start to the first answer, durable
// creates over TLS, many watchers, `kubectl get pods -A`, memory. Servers, watchers and writers are processes of their own and share the
// machine; what the clients need is printed beside.
//
//   node bench/api/figures.ts [start] [creates] [list] [watch] [memory]      all of them where none is named
//   ROUNDS=5  CREATES=4000  OBJECTS=50000  PEER=off  are what else can be said

import { fork, spawnSync, type ChildProcess } from "node:child_process";
import { join } from "node:path";
import process from "node:process";
import { openConnection, type Connection } from "./parts/connection.ts";
import { podText, stampedText } from "./parts/objects.ts";
import { hasPeers, startFairlead, startPeer, type RunningServer } from "./parts/servers.ts";

const rounds = Number(process.env["ROUNDS"] ?? 3);
const objects = Number(process.env["OBJECTS"] ?? 50_000);
const creates = Number(process.env["CREATES"] ?? 4000);
const withPeer = process.env["PEER"] !== "off" && hasPeers();
const words = process.argv.slice(2);

/** Figures of one server by name, a number a round. */
type Figures = Map<string, number[]>;
const results = new Map<string, Figures>();

const measures: { readonly [word: string]: (server: RunningServer) => Promise<void> } = {
  start: measureStart,
  creates: measureCreates,
  list: measureList,
  watch: measureWatch,
  memory: measureMemory,
};

async function measureAll(): Promise<void> {
  if (process.env["PEER"] !== "off" && !withPeer) console.log("etcd and kube-apiserver are not there: without them");
  for (const [word, measure] of Object.entries(measures)) {
    if (words.length > 0 && !words.includes(word)) continue;
    if (word === "start") await keepCompiled();
    for (let round = 0; round < (word === "memory" ? 1 : rounds); round++)
      for (const startServer of withPeer ? [startFairlead, startPeer] : [startFairlead]) {
        const server = await startServer();
        try {
          await measure(server);
        } finally {
          await server.stop();
        }
      }
  }
  summary();
}

function note(server: RunningServer, what: string, value: number, unit: string): void {
  let figures = results.get(what);
  if (figures === undefined) results.set(what, (figures = new Map()));
  figures.set(server.name, [...(figures.get(server.name) ?? []), value]);
  console.log(`  ${server.name.padEnd(22)} ${what}: ${value.toFixed(value < 10 ? 2 : 0)} ${unit}`);
}

function summary(): void {
  console.log(`\nmedians of ${rounds} rounds`);
  for (const [what, figures] of results) {
    const texts = [...figures].map(
      ([name, values]) => `${name} ${median(values).toFixed(median(values) < 10 ? 2 : 0)}`,
    );
    console.log(`${what.padEnd(48)} ${texts.join("   ")}`);
  }
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}

/** Whoever starts it a second time finds what Node has compiled: kept two seconds after a start (parts/serve.ts). */
async function keepCompiled(): Promise<void> {
  const server = await startFairlead();
  await new Promise((resolve) => setTimeout(resolve, 3500));
  await server.stop();
}

async function measureStart(server: RunningServer): Promise<void> {
  note(server, "start to first answer, ms", server.firstAnswerMs, "ms");
}

const namespace = "bench";
const pods = `/api/v1/namespaces/${namespace}/pods`;

/** Connections, a namespace, and in it the account that pods of the real server must have. */
async function prepared(server: RunningServer, connections: number): Promise<readonly Connection[]> {
  const open: Connection[] = [];
  for (let index = 0; index < connections; index++) open.push(await openConnection(server.port, server.context));
  const [first] = open;
  if (first === undefined) throw new Error("no connection");
  await create(first, "/api/v1/namespaces", JSON.stringify({ metadata: { name: namespace } }));
  const account = JSON.stringify({ metadata: { name: "default" } });
  await create(first, `/api/v1/namespaces/${namespace}/serviceaccounts`, account);
  return open;
}

/** Creates; tries again where the server is too busy, as any client would. */
async function create(connection: Connection, path: string, body: string): Promise<void> {
  for (let tries = 0; ; tries++) {
    const { status, body: answer } = await connection.request("POST", path, body);
    if (status === 201 || status === 409) return;
    if (tries === 10 || (status < 500 && status !== 429))
      throw new Error(`create ${path}: ${status} ${answer.toString()}`);
  }
}

/** Writes pods until there are `to`, each connection one after another. Gives what it took. */
async function writePods(connections: readonly Connection[], from: number, to: number): Promise<number> {
  const texts: string[] = [];
  for (let index = from; index < to; index++) texts.push(podText(`pod-${index}`, namespace));
  const began = performance.now();
  let next = 0;
  await Promise.all(
    connections.map(async (connection) => {
      for (let index = next++; index < texts.length; index = next++) await create(connection, pods, texts[index] ?? "");
    }),
  );
  return performance.now() - began;
}

async function measureCreates(server: RunningServer): Promise<void> {
  const connections = await prepared(server, 64);
  // The first ones are made while code is still being compiled.
  const first = creates / 4;
  await writePods(connections, 0, first);
  const [cpuBefore, ownBefore] = [server.cpuMs(), process.cpuUsage()];
  const tookMs = await writePods(connections, first, first + creates);
  const own = process.cpuUsage(ownBefore);
  note(server, "durable creates over TLS, a second", (creates * 1000) / tookMs, "/s");
  note(server, "processor of a create, µs", ((server.cpuMs() - cpuBefore) * 1000) / creates, "µs");
  note(server, "processor of a create, the client's, µs", (own.user + own.system) / creates, "µs");
  for (const each of connections) each.close();
}

async function measureList(server: RunningServer): Promise<void> {
  const connections = await prepared(server, 32);
  await writePods(connections, 0, 10_000);
  for (const each of connections) each.close();
  const kubectl = ["--kubeconfig", server.kubeconfig, "get", "pods", "-A"];
  // Discovery is kept in a file after the first time, as it is at home.
  const env = { PATH: process.env["PATH"], HOME: join(server.kubeconfig, "..") };
  spawnSync("kubectl", kubectl, { env, maxBuffer: 1e9 });
  for (let times = 0; times < 3; times++) {
    const cpuBefore = server.cpuMs();
    const began = performance.now();
    const { stdout, status } = spawnSync("kubectl", kubectl, { env, maxBuffer: 1e9 });
    const tookMs = performance.now() - began;
    const lines = stdout.toString().split("\n").length - 2;
    if (status !== 0 || lines < 10_000) throw new Error(`kubectl get pods -A: status ${status}, ${lines} lines`);
    note(server, "kubectl get pods -A, 10,000 pods, ms", tookMs, "ms");
    note(server, "  of it the server's processor, ms", server.cpuMs() - cpuBefore, "ms");
  }
}

/** What is warmed up first is compiled, and the journal has its room: servers run longer than seconds. */
const load = { watchers: 1000, writesPerSecond: 200, warmSeconds: 4, seconds: 5, secondsMax: 30 };

async function measureWatch(server: RunningServer): Promise<void> {
  const connections = await prepared(server, 16);
  const path = `/api/v1/namespaces/${namespace}/configmaps`;
  const query = "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
  const { certificate, key } = server.certificates.admin;
  const watchers = fork(
    join(import.meta.dirname, "parts/watchers.ts"),
    [String(server.port), String(load.watchers), `${path}?${query}`],
    { env: { ...process.env, CERT: certificate, KEY: key } },
  );
  try {
    await message(watchers);
    const warm = load.writesPerSecond * load.warmSeconds;
    await writeSteadily(connections, path, 0, warm);
    await allSeen(watchers, warm);
    const before = await ask(watchers, "reset");
    const cpuBefore = server.cpuMs();
    const began = performance.now();
    const count = load.writesPerSecond * load.seconds;
    await writeSteadily(connections, path, warm, warm + count);
    const tookMs = performance.now() - began;
    const after = await allSeen(watchers, count);
    const seconds = (performance.now() - began) / 1000;
    const cpuMs = server.cpuMs() - cpuBefore;
    const delays = await ask(watchers, "report");
    note(server, "watch: writes a second", (count * 1000) / tookMs, "/s");
    note(server, `watch: events seen of ${count * load.watchers}`, after.events, "");
    note(server, `watch: watchers cut off of ${load.watchers}`, after.ended, "");
    // Where everybody was cut off there is no delay.
    if (delays.p50 !== null) note(server, "watch: seen after, median, ms", delays.p50, "ms");
    if (delays.p99 !== null) note(server, "watch: seen after, p99, ms", delays.p99, "ms");
    note(server, "watch: processors of the server", cpuMs / 1000 / seconds, "");
    note(server, "watch: processors of the watchers", (after.cpuMs - before.cpuMs) / 1000 / seconds, "");
  } finally {
    watchers.kill("SIGKILL");
    for (const each of connections) each.close();
  }
}

/** Waits until every watcher has seen so many events, one is cut off, or it takes too long. */
async function allSeen(watchers: ChildProcess, count: number): Promise<WatchReport> {
  const began = performance.now();
  for (;;) {
    const so = await ask(watchers, "count");
    const isOver = so.ended > 0 || performance.now() - began > load.secondsMax * 1000;
    if (isOver || so.events >= count * load.watchers) return so;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Small objects by number, at the same distance from each other; whoever is late waits for nobody. */
async function writeSteadily(
  connections: readonly Connection[],
  path: string,
  from: number,
  to: number,
): Promise<void> {
  const began = performance.now();
  const idle = [...connections];
  const waiting: ((connection: Connection) => void)[] = [];
  const free = (connection: Connection): void => {
    const next = waiting.shift();
    if (next === undefined) idle.push(connection);
    else next(connection);
  };
  const writes: Promise<void>[] = [];
  for (let index = from; index < to; index++) {
    const waitMs = began + ((index - from) * 1000) / load.writesPerSecond - performance.now();
    if (waitMs > 1) await new Promise((resolve) => setTimeout(resolve, waitMs));
    const body = stampedText(`c-${index}`);
    const connection = idle.pop() ?? (await new Promise<Connection>((resolve) => waiting.push(resolve)));
    writes.push(create(connection, path, body).finally(() => free(connection)));
  }
  await Promise.all(writes);
}

interface WatchReport {
  readonly events: number;
  readonly least: number;
  readonly ended: number;
  readonly p50: number | null;
  readonly p99: number | null;
  readonly cpuMs: number;
}

/** Delays are in reports only. */
function ask(watchers: ChildProcess, question: "count" | "reset" | "report"): Promise<WatchReport> {
  const answer = message<WatchReport>(watchers);
  watchers.send(question);
  return answer;
}

function message<T>(child: ChildProcess): Promise<T> {
  return new Promise((resolve, reject) => {
    const failed = (code: number | null): void => reject(new Error(`the watchers ended with ${code}`));
    child.once("exit", failed);
    child.once("message", (value) => {
      child.off("exit", failed);
      resolve(value as T);
    });
  });
}

async function measureMemory(server: RunningServer): Promise<void> {
  const connections = await prepared(server, 32);
  for (let from = 0; from < objects; from += 5000) await writePods(connections, from, Math.min(objects, from + 5000));
  for (const each of connections) each.close();
  const memory = server.memory();
  const total = memory.reduce((sum, { bytes }) => sum + bytes, 0);
  note(server, `memory with ${objects} pods, MB`, total / 1e6, "MB");
  for (const { process: name, bytes } of memory) console.log(`    ${name}: ${Math.round(bytes / 1e6)} MB`);
}

await measureAll();
