// This server, the real CoreDNS, unbound and knot with the same names in the same run: queries a second by dnsperf, CPU a query of the server,
// and how long the slowest hundredth waits where half as much is asked as it can.
//
//   node bench/dns/peers.ts [SERVICES] [SECONDS]
//
// `fairlead dns` and CoreDNS watch the same lab's API server; unbound and knot have the same records as local data, and one thread.
// Every server is one process on 127.0.0.1, asked for random names that exist (A) by dnsperf with 8 clients on one thread, in turns.
// Needs dnsperf, and unbound, knot and CoreDNS where they are to be measured (COREDNS names the binary).
// WORKERS=2 gives `fairlead dns` so many workers.

import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";

import { corednsPath, createClient, startCoredns, zoneOfLab } from "../../test/dns/coredns.testing.ts";
import { withLabs } from "../../test/lab/lab.testing.ts";
import { serviceObjects } from "./services.ts";

const ports = { own: 10_153, coredns: 10_053, unbound: 10_253, knot: 10_353 };
/** Questions a second for the latency: about half of what CoreDNS can on two cores. */
const halfLoad = 20_000;
const kubernetes = "in-addr.arpa ip6.arpa {\n  pods verified\n  ttl 5\n";

const workers = process.env["WORKERS"] === undefined ? [] : ["--workers", process.env["WORKERS"]];

await measure(Number(process.argv[2] ?? 10_000), Number(process.argv[3] ?? 5));

async function measure(services: number, seconds: number): Promise<void> {
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
    const questions = lab.file(
      "questions",
      names
        .map(({ name }) => `${name} A\n`)
        .toSorted(() => Math.random() - 0.5)
        .join(""),
    );
    // One Corefile for both, but for the ports.
    const corefile = (port: number): string =>
      `.:${port} {\n bind 127.0.0.1\n errors\n kubernetes cluster.local ${kubernetes}  kubeconfig ${kubeconfig}\n }\n prometheus 127.0.0.1:${port + 1}\n cache 30\n loadbalance\n}\n`;
    const started: { stop(): Promise<void> | void }[] = [];
    try {
      const servers: { readonly label: string; readonly port: number; readonly pid: number }[] = [];
      const conf = lab.file("Corefile-fairlead", corefile(ports.own));
      const own = spawn("bin/fairlead", ["dns", "--conf", conf, ...workers], { stdio: "ignore" });
      started.push({ stop: () => void own.kill("SIGKILL") });
      servers.push({ label: "Fairlead DNS", port: ports.own, pid: own.pid ?? 0 });
      if (corednsPath !== undefined) {
        const coredns = await startCoredns(lab, corefile(ports.coredns), ports.coredns);
        started.push(coredns);
        servers.push({ label: "CoreDNS", port: ports.coredns, pid: coredns.pid });
      } else console.log("CoreDNS is not here: left out");
      const unbound = startUnbound(lab, names);
      if (unbound !== undefined) {
        started.push({ stop: () => void unbound.kill("SIGKILL") });
        servers.push({ label: "unbound", port: ports.unbound, pid: unbound.pid ?? 0 });
      } else console.log("unbound is not here: left out");
      const knot = startKnot(lab, names);
      if (knot !== undefined) {
        started.push({ stop: () => void knot.kill("SIGKILL") });
        servers.push({ label: "knot", port: ports.knot, pid: knot.pid ?? 0 });
      } else console.log("knot is not here: left out");
      const last = names.at(-1)?.name ?? "";
      for (const { port } of servers) {
        const client = createClient(port);
        while ((await client.ask(last, "A").catch(() => undefined))?.rcode !== 0);
        client.close();
      }
      console.log(`${names.length} Services, A of random ones, ${seconds} s each, in turns`);
      for (let round = 0; round < 4; round++) for (const server of servers) run(server, questions, seconds, round);
      console.log(`${halfLoad} questions a second, ${seconds} s each, in turns`);
      for (let round = 0; round < 3; round++) for (const server of servers) wait(server, questions, seconds);
    } finally {
      for (const each of started) await each.stop();
    }
  });
}

function startUnbound(
  lab: { file(name: string, text: string): string; readonly home: string },
  names: readonly { readonly name: string; readonly address: string }[],
): ChildProcess | undefined {
  if (spawnSync("unbound", ["-V"]).status !== 0) return undefined;
  const lines = names.map(({ name, address }) => `  local-data: "${name}. 5 IN A ${address}"`);
  const options = `do-daemonize: no\n  use-syslog: no\n  chroot: ""\n  username: ""\n  directory: "${lab.home}"\n  pidfile: ""\n  num-threads: 1`;
  const text = `server:\n  interface: 127.0.0.1@${ports.unbound}\n  ${options}\n  local-zone: "cluster.local." static\n${lines.join("\n")}\n`;
  return spawn("unbound", ["-c", lab.file("unbound.conf", text)], { stdio: ["ignore", "ignore", "ignore"] });
}

function startKnot(
  lab: { file(name: string, text: string): string; readonly home: string },
  names: readonly { readonly name: string; readonly address: string }[],
): ChildProcess | undefined {
  if (spawnSync("knotd", ["-V"]).status !== 0) return undefined;
  const records = names.map(({ name, address }) => `${name}. 5 IN A ${address}`).join("\n");
  const zone = lab.file("knot.zone", `cluster.local. 5 IN SOA ns.dns. hostmaster. 1 7200 1800 86400 5\n${records}\n`);
  const threads = "  udp-workers: 1\n  tcp-workers: 1\n  background-workers: 1";
  const server = `server:\n  rundir: "${lab.home}"\n  listen: 127.0.0.1@${ports.knot}\n${threads}\n`;
  const text = `${server}database:\n  storage: "${lab.home}"\nzone:\n  - domain: cluster.local\n    file: "${zone}"\n    zonefile-sync: -1\n    journal-content: none\n`;
  return spawn("knotd", ["-c", lab.file("knot.conf", text)], { stdio: "ignore" });
}

/** Eight clients of one thread. */
function dnsperfWords(port: number, questions: string, seconds: number): readonly string[] {
  const clients = ["-c", "8", "-T", "1"];
  return ["-s", "127.0.0.1", "-p", String(port), "-d", questions, "-l", String(seconds), ...clients];
}

/** The slowest hundredth. */
function wait(server: { readonly label: string; readonly port: number }, questions: string, seconds: number): void {
  const words = dnsperfWords(server.port, questions, seconds);
  const { stdout } = spawnSync("dnsperf", [...words, "-Q", String(halfLoad), "-v"], {
    encoding: "utf8",
    maxBuffer: 1 << 30,
  });
  const times = [...stdout.matchAll(/^> \w+ \S+ \w+ ([\d.]+)$/gm)].map(([, time]) => Number(time) * 1000);
  const sorted = Float64Array.from(times).sort();
  const at = (share: number): string => (sorted[Math.floor(sorted.length * share)] ?? NaN).toFixed(2);
  console.log(`${server.label.padEnd(14)} median ${at(0.5)} ms, p99 ${at(0.99)} ms, ${times.length} answers`);
}

/** dnsperf keeps 100 questions under way. The first round warms up and is not told. */
function run(
  server: { readonly label: string; readonly port: number; readonly pid: number },
  questions: string,
  seconds: number,
  round: number,
): void {
  const before = cpuSeconds(server.pid);
  const words = [...dnsperfWords(server.port, questions, round === 0 ? 2 : seconds), "-e"];
  const { stdout, stderr } = spawnSync("dnsperf", words, { encoding: "utf8" });
  const used = cpuSeconds(server.pid) - before;
  const number = (pattern: RegExp): number => Number(pattern.exec(stdout)?.[1] ?? NaN);
  const completed = number(/Queries completed:\s+(\d+)/);
  if (!(completed > 0)) throw new Error(`dnsperf: ${stderr}${stdout}`);
  if (round === 0) return;
  const lost = number(/Queries lost:\s+(\d+)/);
  const memory = /^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${server.pid}/status`, "utf8"))?.[1];
  console.log(
    `${server.label.padEnd(14)} ${Math.round(number(/Queries per second:\s+([\d.]+)/))} q/s, ${((used / completed) * 1e6).toFixed(1)} µs CPU a query, ` +
      `latency ${(number(/Average Latency \(s\):\s+([\d.]+)/) * 1e3).toFixed(2)} ms, ${lost} lost, ${Math.round(Number(memory) / 1024)} MB`,
  );
}

// proc_pid_stat(5): utime and stime are fields 14 and 15, in clock ticks of 10 ms.
function cpuSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) / 100;
}
