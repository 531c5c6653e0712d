// CNI's ADD as a runtime sees it: bin/fairlead-cni beside Debian's `bridge` with `host-local`, in turns, each in a namespace of the same kind.
// One at a time, a hundred at once, and 500 pods on one node (is the last as quick as the first?). Wants containernetworking-plugins.
//
//   node bench/cni/add.ts        ROUNDS=15 PODS=500

import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import process from "node:process";

import { createNetworkNamespace } from "../../src/kernel/namespaces.ts";
import { unshareFlags } from "../../src/kernel/refusal.ts";
import { shellPlugin, startHost } from "../../test/cni/plugin.testing.ts";

const rounds = Number(process.env["ROUNDS"] ?? 15);
const pods = Number(process.env["PODS"] ?? 500);
const peerFolder = ["/usr/lib/cni", "/opt/cni/bin"].find((folder) => existsSync(path.join(folder, "bridge")));

if (process.env["FAIRLEAD_BENCH_INSIDE"] !== "1") {
  if (peerFolder === undefined) throw new Error("apt install containernetworking-plugins: the peer is not here");
  const { status } = spawnSync("unshare", [...unshareFlags, process.execPath, import.meta.filename], {
    stdio: "inherit",
    env: { ...process.env, FAIRLEAD_BENCH_INSIDE: "1" },
  });
  process.exit(status ?? 1);
}

const scratch = mkdtempSync(path.join(os.tmpdir(), "fairlead-bench-"));
process.once("exit", () => rmSync(scratch, { recursive: true, force: true }));
for (const [command, ...words] of [
  ["mount", "-t", "tmpfs", "tmpfs", "/run"],
  ["ip", "link", "set", "lo", "up"],
] as const)
  spawnSync(command, words, { stdio: "inherit" });
mkdirSync("/run/netns");
const host = await startHost({
  directory: "/run/fairlead",
  podCidrs: ["10.244.0.0/21"],
  families: [4],
  attachmentsFile: path.join(scratch, "attachments.json"),
});

interface Contender {
  readonly name: string;
  readonly plugin: string;
  readonly config: unknown;
}
const ours: Contender = {
  name: "fairlead-cni",
  plugin: shellPlugin,
  config: { cniVersion: "1.0.0", name: "ours", type: "fairlead-cni" },
};
const ipam = { type: "host-local", dataDir: "/run/host-local", ranges: [[{ subnet: "10.88.0.0/21" }]] };
const peer: Contender = {
  name: "bridge + host-local",
  plugin: path.join(peerFolder ?? "", "bridge"),
  config: { cniVersion: "1.0.0", name: "peer", type: "bridge", bridge: "peer0", isGateway: true, ipam },
};

let made = 0;

/** A namespace of its own for each; made beforehand, as a runtime has it. */
function namespaces(count: number): readonly string[] {
  return Array.from({ length: count }, () => {
    const name = `p${++made}`;
    spawnSync("ip", ["netns", "add", name]);
    return name;
  });
}

/** Started by a shell, which costs a tenth of what starting a process costs Node: the plugin's time is to be seen, not ours. */
const launcher = `for name in $names; do
  run() { CNI_CONTAINERID=$name CNI_NETNS=/run/netns/$name "$plugin" <"$config" >"/run/out.$name" || echo "$name $(cat "/run/out.$name")"; }
  if [ "$at" = once ]; then run & else run; fi
done
wait`;

/** Milliseconds for all of them, one after another or at once. */
function timed(
  contender: Contender,
  command: string,
  names: readonly string[],
  at: "turns" | "once" = "turns",
): number {
  const config = `/run/${contender.name.replaceAll(" ", "")}.json`;
  writeFileSync(config, JSON.stringify(contender.config));
  const started = performance.now();
  const { stdout, status } = spawnSync("/bin/sh", ["-c", launcher], {
    encoding: "utf8",
    env: {
      PATH: process.env["PATH"],
      FAIRLEAD_CNI_DIR: "/run/fairlead",
      CNI_COMMAND: command,
      CNI_IFNAME: "eth0",
      CNI_PATH: peerFolder ?? "",
      names: names.join(" "),
      plugin: contender.plugin,
      config,
      at,
    },
  });
  const took = performance.now() - started;
  if (status !== 0 || stdout !== "") throw new Error(`${contender.name} ${command}: ${stdout}`);
  return took;
}

function addByHand(pod: string): void {
  const input = `link add ${pod} type veth peer name eth0 netns ${pod}\nlink set ${pod} master bare0\nlink set ${pod} up\n`;
  const { status, stderr } = spawnSync("ip", ["-b", "-"], { input, encoding: "utf8" });
  if (status !== 0) throw new Error(`ip, by hand: ${stderr}`);
}

const median = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1] ?? 0;
const ms = (value: number): string => `${value.toFixed(1)} ms`;

function remove(contender: Contender, names: readonly string[]): number {
  const took = timed(contender, "DEL", names);
  for (const name of names) spawnSync("ip", ["netns", "delete", name]);
  return took / names.length;
}

// Each one's first call pays for what all share.
for (const contender of [ours, peer]) {
  const names = namespaces(3);
  timed(contender, "ADD", names);
  remove(contender, names);
}

const figures = (): Map<string, number[]> => new Map([ours, peer].map(({ name }) => [name, []]));
const [single, removal, parallel, processor] = [figures(), figures(), figures(), figures()];
for (let round = 0; round < rounds; round++) {
  for (const contender of round % 2 === 0 ? [ours, peer] : [peer, ours]) {
    const names = namespaces(5);
    single.get(contender.name)?.push(timed(contender, "ADD", names) / names.length);
    removal.get(contender.name)?.push(remove(contender, names));
  }
}
report("one ADD", single);
report("one DEL", removal);

for (let round = 0; round < Math.ceil(rounds / 3); round++) {
  for (const contender of round % 2 === 0 ? [ours, peer] : [peer, ours]) {
    const names = namespaces(100);
    const before = cpuMs(process.pid, "children") + cpuMs(host.process.pid ?? 0, "own");
    parallel.get(contender.name)?.push(timed(contender, "ADD", names, "once"));
    const after = cpuMs(process.pid, "children") + cpuMs(host.process.pid ?? 0, "own");
    processor.get(contender.name)?.push((after - before) / names.length);
    remove(contender, names);
  }
}
report("100 ADDs at once, until the last", parallel);
report("  processor time of each of them, the agent's included", processor);

// Many pods on one node, beside those of the peer and beside bare veth pairs that are put on a bridge and switched on, each on a node of its own:
// what grows with the number of links and namespaces is then the kernel's.
const [peersNode, bareNode] = [createNetworkNamespace(), createNetworkNamespace()];
bareNode.run(() => spawnSync("ip", ["link", "add", "bare0", "type", "bridge"]));
const crowd: readonly { readonly name: string; readonly add: (pod: string) => void }[] = [
  { name: ours.name, add: (pod) => void timed(ours, "ADD", [pod]) },
  { name: peer.name, add: (pod) => void peersNode.run(() => timed(peer, "ADD", [pod])) },
  { name: "ip link, by hand", add: (pod) => bareNode.run(() => addByHand(pod)) },
];
const theirs = new Map(crowd.map(({ name }) => [name, namespaces(pods)]));
const took = new Map(crowd.map(({ name }): [string, number[]] => [name, []]));
const agentsMs: number[] = [];
for (let round = 0; round < pods; round++) {
  const turn = round % crowd.length;
  for (const { name, add } of [...crowd.slice(turn), ...crowd.slice(0, turn)]) {
    const pod = theirs.get(name)?.[round] ?? "";
    const [started, before] = [performance.now(), cpuMs(host.process.pid ?? 0, "own")];
    add(pod);
    took.get(name)?.push(performance.now() - started);
    if (name === ours.name) agentsMs.push(cpuMs(host.process.pid ?? 0, "own") - before);
  }
}
console.log(`${pods} pods on one node, the first 50 and the last 50 (medians)`);
for (const [name, times] of took) {
  const [first, last] = [median(times.slice(0, 50)), median(times.slice(-50))];
  console.log(`  ${name}: ${ms(first)} and ${ms(last)} each: ${(last / first).toFixed(2)}`);
}
const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
console.log(
  `  the agent's processor time of each: ${ms(mean(agentsMs.slice(0, 50)))} and ${ms(mean(agentsMs.slice(-50)))}`,
);
const status = spawnSync("grep", ["VmRSS", `/proc/${host.process.pid}/status`], { encoding: "utf8" }).stdout;
console.log(`the agent then: ${status.trim()}`);
await host.stop();

console.log(`load ${os.loadavg()[0]?.toFixed(1)}`);

/** proc_pid_stat(5): utime and stime, or those of children that have ended, in hundredths of a second. */
function cpuMs(pid: number, whose: "own" | "children"): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.split(" ") ?? [];
  const at = whose === "own" ? 11 : 13;
  return (Number(fields[at]) + Number(fields[at + 1])) * 10;
}

function report(what: string, figures: ReadonlyMap<string, readonly number[]>): void {
  const a = median(figures.get(ours.name) ?? []);
  const b = median(figures.get(peer.name) ?? []);
  console.log(`${what}: ${ours.name} ${ms(a)}, ${peer.name} ${ms(b)}: ${(a / b).toFixed(2)}`);
}
