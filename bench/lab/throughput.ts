// Pod-to-pod TCP throughput across two nodes beside the same path made by hand: two namespaces as nodes, veth, bridge, VXLAN, by `ip`.
// The path by hand comes twice: bare, with no netfilter at all, and with the least that a network with policies and Services must do with
// every packet: look up its sender at the bridge, believe VXLAN of nodes only, keep track of connections and their translations.
// Needs Debian's iperf3, iproute2 and nft. The three take turns in short rounds, so that a noisy machine hurts all alike; beside the
// throughput stands the processor time a gigabit took in both ends, which a busy machine changes less.
//
//   ROUNDS=15 node bench/lab/throughput.ts

import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";

const home = mkdtempSync(join(tmpdir(), "fairlead-bench-"));
process.env["FAIRLEAD_HOME"] = home;
const rounds = Number(process.env["ROUNDS"] ?? 15);
const seconds = Number(process.env["SECONDS_A_ROUND"] ?? 1);

interface Round {
  readonly gigabits: number;
  /** Percent of one processor, both ends together, for each Gbit/s: hundredths of a second for a gigabit. */
  readonly processor: number;
}

const bare = await pathByHand("");
const guarded = await pathByHand(leastGuards());
try {
  const manifest = join(home, "iperf.yaml");
  writeFileSync(manifest, pods());
  must(fairlead("up", "-f", manifest, "--nodes", "2"));
  const server = must(fairlead("get", "pod", "server", "-o", "json"));
  const serverIp = (JSON.parse(server) as { status: { podIP: string } }).status.podIP;
  const paths = {
    fairlead: () => fairlead("exec", "client", "--", ...iperf(serverIp)),
    "by hand, bare": () => inside(bare, iperf("10.244.2.5")),
    "by hand, with the least that policies and Services need": () => inside(guarded, iperf("10.244.2.5")),
  };
  const measured = Object.entries(paths).map(([name, run]) => ({ name, run, rounds: [] as Round[] }));
  for (let round = 0; round < rounds; round++) for (const path of measured) path.rounds.push(roundOf(must(path.run())));

  console.log(`pod to pod across nodes, TCP, one stream of ${seconds} s, ${rounds} rounds in turn; medians`);
  const [ours, ...theirs] = measured;
  for (const { name, rounds: each } of measured) {
    const speed = median(each.map(({ gigabits }) => gigabits)).toFixed(2);
    const cost = (median(each.map(({ processor }) => processor)) * 10).toFixed(1);
    console.log(`  ${speed} Gbit/s  ${cost} ms of processor a Gbit  ${name}`);
  }
  for (const { name, rounds: each } of theirs) {
    const speed = median((ours?.rounds ?? []).map(({ gigabits }, at) => gigabits / (each[at]?.gigabits ?? Number.NaN)));
    const cost = median(
      (ours?.rounds ?? []).map(({ processor }, at) => (each[at]?.processor ?? Number.NaN) / processor),
    );
    console.log(
      `  fairlead has ${(speed * 100).toFixed(1)} % of the throughput, and by processor time ${(cost * 100).toFixed(1)} %, of: ${name}`,
    );
  }
} finally {
  for (const path of [bare, guarded]) path.stdin?.end();
  fairlead("down", "--all");
  rmSync(home, { recursive: true, force: true });
}

/** The same shape without Fairlead: a routed /32 per pod on an isolated bridge port. It is there until its input ends. */
async function pathByHand(guards: string): Promise<ChildProcess> {
  const script = `set -e
mount -t tmpfs t /run
ip link set lo up
for n in 1 2; do
  ip netns add node$n; ip netns add pod$n
  ip link add up$n type veth peer name eth0 netns node$n
  ip netns exec node$n ip link set lo up; ip netns exec node$n ip link set eth0 up
  ip netns exec node$n ip addr add 172.18.0.$n/24 dev eth0
  ip netns exec node$n sysctl -qw net.ipv4.ip_forward=1
  ip netns exec node$n ip link add cbr0 type bridge; ip netns exec node$n ip link set cbr0 up mtu 1450
  ip netns exec node$n ip addr add 10.244.$n.1/32 dev cbr0
  ip netns exec node$n ip link add p0 mtu 1450 type veth peer name eth0 mtu 1450 address 0a:58:0a:f4:0$n:05 netns pod$n
  ip netns exec node$n ip link set p0 master cbr0 up; ip netns exec node$n bridge link set dev p0 isolated on
  ip netns exec pod$n ip link set lo up; ip netns exec pod$n ip link set eth0 up
  ip netns exec pod$n ip addr add 10.244.$n.5/32 dev eth0
  ip netns exec pod$n ip route add 10.244.$n.1 dev eth0; ip netns exec pod$n ip route add default via 10.244.$n.1
  ip netns exec node$n ip route add 10.244.$n.5 dev cbr0
done
ip link add sw type bridge; ip link set sw up; for n in 1 2; do ip link set up$n master sw up; done
for n in 1 2; do o=$((3-n))
  ip netns exec node$n ip link add vx type vxlan id 1 dstport 4789 local 172.18.0.$n nolearning
  ip netns exec node$n ip link set vx address 02:00:00:00:00:0$n mtu 1450 up
  ip netns exec node$n ip addr add 10.244.$n.0/32 dev vx
  ip netns exec node$n ip neigh add 10.244.$o.0 lladdr 02:00:00:00:00:0$o dev vx nud permanent
  ip netns exec node$n bridge fdb add 02:00:00:00:00:0$o dev vx dst 172.18.0.$o
  ip netns exec node$n ip route add 10.244.$o.0/24 via 10.244.$o.0 dev vx onlink
done
for f in /proc/sys/net/bridge/bridge-nf-call-iptables; do [ -e $f ] && for n in 1 2; do ip netns exec node$n sysctl -qw net.bridge.bridge-nf-call-iptables=0 net.bridge.bridge-nf-call-ip6tables=0 || true; done; done
${guards}
ip netns exec pod2 iperf3 -s -D >/dev/null
until ip netns exec pod1 iperf3 -c 10.244.2.5 -n 1K >/dev/null 2>&1; do :; done
echo ready
exec cat`;
  const path = spawn(
    "unshare",
    ["-Urnmpf", "--map-root-user", "--mount-proc", "--kill-child", "--", "sh", "-c", script],
    {
      stdio: ["pipe", "pipe", "inherit"],
    },
  );
  await Promise.race([
    once(path.stdout, "data"),
    once(path, "exit").then(() => {
      throw new Error("the path by hand could not be made: see above");
    }),
  ]);
  return path;
}

/** What no network with policies and Services can leave out, each in its cheapest form. */
function leastGuards(): string {
  return `for n in 1 2; do ip netns exec node$n nft -f - <<RULES
table bridge t {
  set pods { typeof iifname . ether saddr . ip saddr; elements = { p0 . 0a:58:0a:f4:0$n:05 . 10.244.$n.5 }; }
  chain c { type filter hook prerouting priority -300; iifname . ether saddr . ip saddr @pods accept; ether type ip drop; }
}
table ip t {
  set nodes { type ipv4_addr; elements = { 172.18.0.1, 172.18.0.2 }; }
  set pods { type ipv4_addr; flags interval; elements = { 10.244.0.0/16 }; }
  chain i { type filter hook input priority 0; udp dport 4789 ip saddr != @nodes drop; }
  chain f { type filter hook forward priority 0; iifname cbr0 ct state established accept; iifname vx ct state established accept; ip saddr != @pods drop; }
  chain d { type nat hook prerouting priority -100; ip daddr 10.96.0.0/16 dnat to 10.244.2.5; }
  chain o { type nat hook output priority -100; ip daddr 10.96.0.0/16 dnat to 10.244.2.5; }
  chain s { type nat hook postrouting priority 100; ip saddr @pods ip daddr != @pods masquerade; }
}
RULES
done`;
}

function iperf(address: string): readonly string[] {
  return ["iperf3", "-c", address, "-t", String(seconds), "-J"];
}

function inside(path: ChildProcess, command: readonly string[]): Result {
  const init = spawnSync("pgrep", ["-P", String(path.pid)], { encoding: "utf8" }).stdout.trim();
  const enter = ["-t", init, "-U", "-m", "-n", "-p", "--preserve-credentials", "ip", "netns", "exec", "pod1"];
  return spawnSync("nsenter", [...enter, ...command], { encoding: "utf8" });
}

interface Result {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function fairlead(...words: string[]): Result {
  return spawnSync("bin/fairlead", words, { encoding: "utf8" });
}

function must(result: Result): string {
  if (result.status !== 0) throw new Error(`${result.stdout}${result.stderr}`);
  return result.stdout;
}

function roundOf(json: string): Round {
  const { end } = JSON.parse(json) as {
    end: {
      sum_received: { bits_per_second: number };
      cpu_utilization_percent: { host_total: number; remote_total: number };
    };
  };
  const gigabits = end.sum_received.bits_per_second / 1e9;
  const { host_total: here, remote_total: there } = end.cpu_utilization_percent;
  return { gigabits, processor: (here + there) / gigabits };
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}

function pods(): string {
  const pod = (name: string, node: string, command: string): string => `apiVersion: v1
kind: Pod
metadata: {name: ${name}, namespace: default}
spec:
  nodeName: ${node}
  containers: [{name: c, image: busybox, command: ["sh", "-c", "${command}"]}]
`;
  return `${pod("server", "node-2", "while iperf3 -s -1; do :; done")}---\n${pod("client", "node-1", "sleep infinity")}`;
}
