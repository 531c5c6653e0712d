// What hands change inside a node is put back within a second, and said in `show drift` and `status`.

import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { test, type TestContext } from "node:test";
import { probeUserNamespaces } from "../../src/kernel/refusal.ts";
import { withLabs, type TestLab } from "./lab.testing.ts";

const hands = `apiVersion: v1
kind: Pod
metadata: {name: hands}
spec:
  nodeName: node-1
  hostNetwork: true
  containers: [{name: c, image: nicolaka/netshoot, command: [sleep, infinity], securityContext: {privileged: true}}]
`;

/** What is done by hand, and what must hold again soon after. */
const damages: Readonly<Record<string, readonly [string, string]>> = {
  "a link": ["ip link del fl.vx", "ip link show fl.vx"],
  "the bridge": ["ip link del cbr0", "ip route | grep -q 'dev cbr0' && bridge link | grep -q cbr0"],
  "a route": ["ip route del 10.96.0.0/16", "ip route | grep -q '^10.96.0.0/16 '"],
  "an address": ["ip addr flush dev cbr0", "ip -4 addr show dev cbr0 | grep -q inet"],
  "the elements of a map": [
    "nft flush map ip fairlead backends",
    "nft list map ip fairlead backends | grep -q elements",
  ],
  "the rules of a chain": [
    "nft flush chain ip fairlead services",
    "nft list chain ip fairlead services | grep -q vmap",
  ],
  forwarding: ["sysctl -qw net.ipv4.ip_forward=0", "grep -q 1 /proc/sys/net/ipv4/ip_forward"],
  "IPv6 forwarding": ["sysctl -qw net.ipv6.conf.all.forwarding=0", "grep -q 1 /proc/sys/net/ipv6/conf/all/forwarding"],
  "a table": ["nft delete table ip6 fairlead", "nft list table ip6 fairlead | grep -q dnat"],
};

const uplinkWhole =
  "ip addr show dev eth0 | grep -q 172.18.0.11/16 && ip addr show dev eth0 | grep -q fd00:172:18::b/64 && " +
  "ip route | grep -q ^default && ip -6 route | grep -q ^default && ip neigh show 172.18.0.12 dev eth0 nud permanent | grep -q 172";

/** The same of what the lab gave the node, and a network manager gives a machine. */
const uplinkDamages: Readonly<Record<string, string>> = {
  "a link that was down": "ip link set eth0 down && ip link set eth0 up",
  "the node's address": "ip addr flush dev eth0",
  "the way out": "ip route del default",
  "the link itself": "ip link del eth0",
};

test("a node's own link gets back what it had, once it is up, and while somebody has it down that is said", async (context) => {
  if (cannot(context)) return;
  await withLabs((lab) => {
    assert.equal(lab.fairlead("up", "--nodes", "2", "-f", lab.file("hands.yaml", hands)).status, 0);
    const run = (...lines: readonly string[]): void => {
      const { status, stderr } = lab.fairlead("exec", "hands", "--", "sh", "-c", lines.join(" && "));
      assert.equal(status, 0, stderr);
    };
    const whole = `for i in $(seq 100); do { ${uplinkWhole}; } >/dev/null 2>&1 && exit 0; sleep 0.01; done; exit 1`;
    for (const [what, damage] of Object.entries(uplinkDamages)) {
      const known = putBack(lab);
      const result = lab.fairlead("exec", "hands", "--", "sh", "-c", `${damage} || exit 2; ${whole}`);
      assert.equal(result.status, 0, `${what}: ${result.stderr}`);
      assert.ok(putBack(lab) > known, `${what}: status says so`);
    }
    assert.match(
      lab.fairlead("show", "drift", "node-1").stdout,
      /put back \(missing\) +addr fd00:172:18::b\/64 dev eth0/,
    );
    assert.match(
      lab.fairlead("get", "events", "-o", "json").stdout,
      /"message": "missing: addr 172.18.0.11\/16 dev eth0/,
    );
    run("ping -c 1 -W 2 172.18.0.12", "ping -c 1 -W 2 fd00:172:18::c", "ping -c 1 -W 2 203.0.113.10");

    run("ip link set eth0 down");
    assert.match(lab.fairlead("status").stdout, /Node node-1: link eth0 is down/);
    const traced = lab.fairlead("trace", "node/node-1", "node/node-2:10256");
    assert.equal(traced.status, 1);
    assert.match(traced.stdout, /drop +link eth0 of node-1 is down/);
    run("ip link set eth0 up", whole);
    assert.doesNotMatch(lab.fairlead("status").stdout, /eth0 is down/);
  });
});

test("links, routes, addresses, elements and rules changed by hand are put back", async (context) => {
  if (cannot(context)) return;
  await withLabs((lab) => {
    assert.equal(lab.fairlead("up", "--nodes", "2", "-f", lab.file("hands.yaml", hands)).status, 0);
    for (const [what, [damage, whole]] of Object.entries(damages)) {
      const known = putBack(lab);
      // A second at most: a hundred looks, each after ten milliseconds.
      const wait = `for i in $(seq 100); do { ${whole}; } >/dev/null 2>&1 && exit 0; sleep 0.01; done; exit 1`;
      const result = lab.fairlead("exec", "hands", "--", "sh", "-c", `${damage} || exit 2; ${wait}`);
      assert.equal(result.status, 0, `${what}: ${result.stderr}`);
      assert.ok(putBack(lab) > known, `${what}: status says so`);
    }
    assert.match(lab.fairlead("show", "drift", "node-1").stdout, /put back \((missing|changed)\) +link fl\.vx/);
    assert.equal(lab.fairlead("show", "drift", "node-2").stdout, "nothing had to be put back\n");
    const events = lab.fairlead("get", "events", "-o", "json").stdout;
    assert.match(events, /"reason": "DriftPutBack"/);
    assert.match(events, /"message": "(missing|changed): link fl\.vx/);
  });
});

test("a firewall that drops what a node forwards is named, with its cure, by status and by a trace that met it", async (context) => {
  if (cannot(context)) return;
  await withLabs((lab) => {
    assert.equal(lab.fairlead("up", "--nodes", "1", "-f", lab.file("hands.yaml", hands)).status, 0);
    const run = (...lines: readonly string[]): void => {
      const { status, stderr } = lab.fairlead("exec", "hands", "--", "sh", "-c", lines.join(" && "));
      assert.equal(status, 0, stderr);
    };
    const trace = (): { readonly status: number | null; readonly stdout: string } =>
      lab.fairlead("trace", "kube-system/coredns", "default/kubernetes", "--live");
    const told = /node-1: table ip filter, chain FORWARD drops what it does not know, also pods' packets/;
    run(
      "nft add table ip filter",
      "nft add chain ip filter FORWARD '{ type filter hook forward priority 0; policy drop; }'",
    );
    assert.match(lab.fairlead("status").stdout, /warning: Node node-1: table ip filter, chain FORWARD drops/);
    const met = trace();
    assert.match(met.stdout, /THE TRACE AND THE KERNEL DISAGREE/);
    assert.match(met.stdout, told);
    const [, cure = ""] = /nft '(insert .*)'/.exec(met.stdout) ?? [];
    run(`nft '${cure}'`);
    assert.equal(trace().status, 0, "the cure that was told");
    assert.doesNotMatch(lab.fairlead("status").stdout, /FORWARD/);
  });
});

function putBack(lab: TestLab): number {
  const { nodes } = JSON.parse(lab.fairlead("status", "-o", "json").stdout) as { nodes: readonly { drift: number }[] };
  return nodes[0]?.drift ?? 0;
}

function cannot(context: TestContext): boolean {
  const namespaces = probeUserNamespaces();
  if (!namespaces.available) context.skip(namespaces.reason);
  else if (!["/sbin", "/usr/sbin", "/bin", "/usr/bin"].some((folder) => existsSync(`${folder}/nft`)))
    context.skip("there is no `nft` program here to do the damage with: install nftables and iproute2");
  else return false;
  return true;
}
