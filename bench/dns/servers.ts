// What the benches of cluster DNS have in common: a lab with Services, the servers beside each other with the same names, asking them.

import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";

import { corednsPath, createClient, zoneOfLab } from "../../test/dns/coredns.testing.ts";
import { withLabs, type TestLab } from "../../test/lab/lab.testing.ts";
import type { Load } from "./generator.ts";
import { serviceObjects } from "./services.ts";

export interface Server {
  readonly label: string;
  readonly port: number;
  readonly pid: number;
}

export interface Name {
  readonly name: string;
  readonly address: string;
}

export interface Bench {
  readonly lab: TestLab;
  readonly kubeconfig: string;
  /** The Services' names. */
  readonly names: readonly Name[];
  /** A file of questions for their addresses, in any order. `change` gives the names that are asked instead. */
  questions(change?: (name: string) => string): string;
  /** These end with the bench, or before. */
  readonly started: { stop(): Promise<void> | void }[];
}

/** Runs with so many Services of three endpoints each in a lab of its own. */
export async function withServices(services: number, run: (bench: Bench) => Promise<void>): Promise<void> {
  await withLabs(async (lab) => {
    const up = lab.fairlead("up", "--name", "bench", "--nodes", "1");
    if (up.status !== 0) throw new Error(up.stderr);
    for (let first = 0; first < services; first += 1000) {
      const count = Math.min(1000, services - first);
      const items = Array.from({ length: count }, (_, index) =>
        serviceObjects(first + index).map(({ body }) => body),
      ).flat();
      const list = lab.file("services.json", JSON.stringify({ apiVersion: "v1", kind: "List", items }));
      const applied = lab.fairlead("apply", "--name", "bench", "-f", list);
      if (applied.status !== 0) throw new Error(applied.stderr.slice(-2000));
    }
    const kubeconfig = join(lab.home, "bench", "kubeconfig");
    const zone = await zoneOfLab(kubeconfig);
    const names = [...(zone.namespaces.get("default")?.services.values() ?? [])].map((service) => ({
      name: `${service.name}.default.svc.cluster.local`,
      address: service.clusterIps[0] ?? "",
    }));
    const questions = (change: (name: string) => string = (name) => name): string => {
      const lines = names.map(({ name }) => `${change(name)} A\n`);
      return lab.file("questions", lines.toSorted(() => Math.random() - 0.5).join(""));
    };
    const started: Bench["started"] = [];
    try {
      await run({ lab, kubeconfig, names, questions, started });
    } finally {
      for (const each of started) await each.stop();
    }
  });
}

/** A Corefile with these lines besides the kubernetes plugin, for a server on this port. */
export function corefileOf({ kubeconfig }: Bench, port: number, lines: readonly string[]): string {
  const kubernetes = `kubernetes cluster.local in-addr.arpa ip6.arpa {\n  pods verified\n  ttl 5\n  kubeconfig ${kubeconfig}\n }`;
  return `.:${port} {\n bind 127.0.0.1\n ${kubernetes}\n ${lines.join("\n ")}\n}\n`;
}

/** WORKERS=2: so many threads. `output`: a file, where the log goes. */
export function startFairlead(bench: Bench, corefile: string, port: number, output: number | "ignore"): Server {
  const workers = process.env["WORKERS"] === undefined ? [] : ["--workers", process.env["WORKERS"]];
  const conf = bench.lab.file(`Corefile-${port}`, corefile);
  const child = spawn("bin/fairlead", ["dns", "--conf", conf, ...workers], { stdio: ["ignore", output, output] });
  return serverOf(bench, "Fairlead DNS", port, child);
}

/** Undefined where it is not here. */
export function startRealCoredns(
  bench: Bench,
  corefile: string,
  port: number,
  output: number | "ignore",
): Server | undefined {
  if (corednsPath === undefined) {
    console.log("CoreDNS is not here: left out");
    return undefined;
  }
  const conf = bench.lab.file(`Corefile-${port}`, corefile);
  return serverOf(bench, "CoreDNS", port, spawn(corednsPath, ["-conf", conf], { stdio: ["ignore", output, output] }));
}

/** One thread with these names as local data. Undefined where it is not here. */
export function startUnbound(bench: Bench, names: readonly Name[], zone: string, port: number): Server | undefined {
  if (spawnSync("unbound", ["-V"]).status !== 0) {
    console.log("unbound is not here: left out");
    return undefined;
  }
  const lines = names.map(({ name, address }) => `  local-data: "${name}. 3600 IN A ${address}"`);
  const options = `do-daemonize: no\n  use-syslog: no\n  chroot: ""\n  username: ""\n  directory: "${bench.lab.home}"\n  pidfile: ""\n  num-threads: 1`;
  const text = `server:\n  interface: 127.0.0.1@${port}\n  ${options}\n  local-zone: "${zone}" static\n${lines.join("\n")}\n`;
  const conf = bench.lab.file(`unbound-${port}.conf`, text);
  return serverOf(bench, "unbound", port, spawn("unbound", ["-c", conf], { stdio: ["ignore", "ignore", "ignore"] }));
}

/** The same. */
export function startKnot(bench: Bench, port: number): Server | undefined {
  if (spawnSync("knotd", ["-V"]).status !== 0) {
    console.log("knot is not here: left out");
    return undefined;
  }
  const { lab, names } = bench;
  const records = names.map(({ name, address }) => `${name}. 5 IN A ${address}`).join("\n");
  const zone = lab.file("knot.zone", `cluster.local. 5 IN SOA ns.dns. hostmaster. 1 7200 1800 86400 5\n${records}\n`);
  const threads = "  udp-workers: 1\n  tcp-workers: 1\n  background-workers: 1";
  const server = `server:\n  rundir: "${lab.home}"\n  listen: 127.0.0.1@${port}\n${threads}\n`;
  const text = `${server}database:\n  storage: "${lab.home}"\nzone:\n  - domain: cluster.local\n    file: "${zone}"\n    zonefile-sync: -1\n    journal-content: none\n`;
  return serverOf(bench, "knot", port, spawn("knotd", ["-c", lab.file("knot.conf", text)], { stdio: "ignore" }));
}

function serverOf(bench: Bench, label: string, port: number, child: ChildProcess): Server {
  bench.started.push({ stop: () => void child.kill("SIGKILL") });
  return { label, port, pid: child.pid ?? 0 };
}

/** Resolves when the server answers this name. */
export async function answers({ port }: Server, name: string): Promise<void> {
  const client = createClient(port);
  while ((await client.ask(name, "A").catch(() => undefined))?.rcode !== 0);
  client.close();
}

/** What an asking program counted, and what it cost the server. */
export interface Asked {
  readonly perSecond: number;
  readonly completed: number;
  readonly lost: number;
  /** Microseconds of the server's processor. */
  readonly cost: number;
  /** Of the asking program's processor, where it says so. */
  readonly askingCost: number | undefined;
}

/** By dnsperf: eight clients of one thread, 100 questions under way. */
export function askByDnsperf(server: Server, questions: string, seconds: number): Asked {
  const before = cpuSeconds(server.pid);
  const { stdout, stderr } = spawnSync("dnsperf", [...dnsperfWords(server.port, questions, seconds), "-e"], {
    encoding: "utf8",
  });
  const used = cpuSeconds(server.pid) - before;
  const number = (pattern: RegExp): number => Number(pattern.exec(stdout)?.[1] ?? NaN);
  const completed = number(/Queries completed:\s+(\d+)/);
  if (!(completed > 0)) throw new Error(`dnsperf: ${stderr}${stdout}`);
  return {
    perSecond: number(/Queries per second:\s+([\d.]+)/),
    completed,
    lost: number(/Queries lost:\s+(\d+)/),
    cost: (used / completed) * 1e6,
    askingCost: undefined,
  };
}

/** By our own generator, as many clients and under way. */
export function askByGenerator(server: Server, questions: string, seconds: number): Asked {
  const file = fileURLToPath(new URL("./generator.ts", import.meta.url));
  const before = cpuSeconds(server.pid);
  const { stdout, stderr } = spawnSync(process.execPath, [file, String(server.port), questions, String(seconds)], {
    encoding: "utf8",
  });
  const used = cpuSeconds(server.pid) - before;
  if (stdout === "") throw new Error(`generator: ${stderr}`);
  const load = JSON.parse(stdout) as Load;
  const wrong = load.answered - (load.rcodes["0"] ?? 0) + load.strange;
  if (load.records < load.answered || wrong > 0) throw new Error(`${server.label}: ${wrong} wrong answers: ${stdout}`);
  return {
    perSecond: load.answered / load.seconds,
    completed: load.answered,
    lost: load.lost,
    cost: (used / load.answered) * 1e6,
    askingCost: load.cost,
  };
}

/** How long answers took, in milliseconds, in order, where so much is asked a second. */
export function waits(server: Server, questions: string, seconds: number, perSecond: number): Float64Array {
  const words = [...dnsperfWords(server.port, questions, seconds), "-Q", String(perSecond), "-v"];
  const { stdout } = spawnSync("dnsperf", words, { encoding: "utf8", maxBuffer: 1 << 30 });
  const times = [...stdout.matchAll(/^> \w+ \S+ \w+ ([\d.]+)$/gm)].map(([, time]) => Number(time) * 1000);
  return Float64Array.from(times).sort();
}

function dnsperfWords(port: number, questions: string, seconds: number): readonly string[] {
  const clients = ["-c", "8", "-T", "1"];
  return ["-s", "127.0.0.1", "-p", String(port), "-d", questions, "-l", String(seconds), ...clients];
}

/** What all threads of a process have run for: the first number of /proc/PID/task/TID/schedstat, in nanoseconds. */
function cpuSeconds(pid: number): number {
  const threads = readdirSync(`/proc/${pid}/task`);
  const each = threads.map((id) => Number(readFileSync(`/proc/${pid}/task/${id}/schedstat`, "utf8").split(" ")[0]));
  return each.reduce((sum, nanoseconds) => sum + nanoseconds, 0) / 1e9;
}

/** Memory of a process, MB. */
export function residentMb(pid: number): number {
  const resident = /^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
  return Math.round(Number(resident) / 1024);
}

export function loadNow(): string {
  return readFileSync("/proc/loadavg", "utf8").split(" ")[0] ?? "";
}

export function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? NaN;
}
