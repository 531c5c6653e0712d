// Pod-to-pod TCP throughput across two nodes beside the same path made by hand: two namespaces as nodes, veth, bridge, VXLAN, by `ip`.
// Needs Debian's iperf3 and iproute2. The two take turns, so that a noisy machine hurts both alike.

import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";

const home = mkdtempSync(join(tmpdir(), "fairlead-bench-"));
process.env["FAIRLEAD_HOME"] = home;
const rounds = Number(process.env["ROUNDS"] ?? 5);
const seconds = 3;

// The same shape without Fairlead: a routed /32 per pod on an isolated bridge port, no nftables at all.
const byHand = `set -e
ip link set lo up
for n in 1 2; do
  ip netns add node$n; ip netns add pod$n
  ip link add up$n type veth peer name eth0 netns node$n
  ip netns exec node$n ip link set lo up; ip netns exec node$n ip link set eth0 up
  ip netns exec node$n ip addr add 172.18.0.$n/24 dev eth0
  ip netns exec node$n sysctl -qw net.ipv4.ip_forward=1
  ip netns exec node$n ip link add cbr0 type bridge; ip netns exec node$n ip link set cbr0 up mtu 1450
  ip netns exec node$n ip addr add 10.244.$n.1/32 dev cbr0
  ip netns exec node$n ip link add p0 mtu 1450 type veth peer name eth0 mtu 1450 netns pod$n
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
ip netns exec pod2 iperf3 -s -1 -D >/dev/null
sleep 0.3
ip netns exec pod1 iperf3 -c 10.244.2.5 -t ${seconds} -J
`;

try {
  const manifest = join(home, "iperf.yaml");
  writeFileSync(manifest, pods());
  must(fairlead("up", "-f", manifest, "--nodes", "2"));
  const address = must(fairlead("get", "pod", "server", "-o", "json"));
  const serverIp = (JSON.parse(address) as { status: { podIP: string } }).status.podIP;
  const ours: number[] = [];
  const theirs: number[] = [];
  for (let round = 0; round < rounds; round++) {
    ours.push(gigabits(must(fairlead("exec", "client", "--", "iperf3", "-c", serverIp, "-t", String(seconds), "-J"))));
    theirs.push(
      gigabits(
        must(
          spawnSync("unshare", ["-Urnm", "--map-root-user", "sh", "-c", `mount -t tmpfs t /run; ${byHand}`], {
            encoding: "utf8",
          }),
        ),
      ),
    );
  }
  const ratios = ours.map((value, i) => value / (theirs[i] ?? Number.NaN)).sort((a, b) => a - b);
  console.log(`pod to pod across nodes, TCP, one stream of ${seconds} s, ${rounds} rounds in turn`);
  console.log(`  fairlead  median ${median(ours).toFixed(2)} Gbit/s`);
  console.log(`  by hand   median ${median(theirs).toFixed(2)} Gbit/s`);
  console.log(`  ratio     median ${((ratios[Math.floor(ratios.length / 2)] ?? 0) * 100).toFixed(1)} %`);
} finally {
  fairlead("down", "--all");
  rmSync(home, { recursive: true, force: true });
}

function fairlead(...words: string[]): { status: number | null; stdout: string; stderr: string } {
  return spawnSync("bin/fairlead", words, { encoding: "utf8" });
}

function must(result: { status: number | null; stdout: string; stderr: string }): string {
  if (result.status !== 0) throw new Error(`${result.stdout}${result.stderr}`);
  return result.stdout;
}

function gigabits(json: string): number {
  const report = JSON.parse(json) as { end: { sum_received: { bits_per_second: number } } };
  return report.end.sum_received.bits_per_second / 1e9;
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
