// What the real kernel does beyond the rules it shares with the fake one (conformance.testing.ts).
// Needs: ip, nft

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { afterEach, beforeEach, test } from "node:test";

import type { Change, NetworkKernel } from "./kernel.ts";
import { openKernel } from "./linux.ts";
import { createNetworkNamespace, type NetworkNamespace } from "./namespaces.ts";

let namespace: NetworkNamespace;
let kernel: NetworkKernel;

beforeEach(() => {
  namespace = createNetworkNamespace();
  kernel = openKernel("node-1", namespace);
});
afterEach(() => {
  kernel.close();
  namespace.close();
});

const bridge: Extract<Change, { kind: "create-bridge" }> = {
  kind: "create-bridge",
  name: "cbr0",
  mac: "02:00:00:00:00:01",
  mtu: 1450,
  alias: "ours",
};
const vxlan: Change = {
  kind: "create-vxlan",
  name: "fl.vx",
  mac: "02:00:00:00:00:02",
  mtu: 1450,
  vni: 4096,
  port: 8472,
  local: "172.20.0.2",
};
const protocol = 0xf1;

function make(...changes: Change[]): void {
  for (const result of kernel.change(changes)) if (!result.ok) throw result.error;
}

function refusal(change: Change): string {
  const [result] = kernel.change([change]);
  assert.ok(result);
  assert.equal(result.ok, false);
  return result.ok ? "" : result.error.message;
}

function ip(...words: string[]): string {
  const result = namespace.run(() => spawnSync("ip", words, { encoding: "utf8" }));
  assert.equal(result.status, 0, result.stderr);
  return result.stdout;
}

function link(name: string) {
  return kernel.links().find((one) => one.name === name);
}

void test("errors say what was being done, to what, why, and the likely cure", () => {
  make(bridge, vxlan, { kind: "set-link", name: "cbr0", up: true });
  assert.equal(
    refusal({ ...vxlan, name: "fl.vy" }),
    "create vxlan link fl.vy in node-1: EEXIST: A VXLAN device with the specified VNI already exists; another program has a link of this name, or this network identifier (VNI) on this port: delete it or choose another",
  );
  assert.match(refusal(bridge), /^create bridge link cbr0 in node-1: EEXIST: .*; another program owns it/);
  assert.match(
    refusal({ kind: "set-address", link: "nothing", address: "10.0.0.1", bits: 32 }),
    /^set address 10\.0\.0\.1\/32 on nothing in node-1: find link nothing: ENODEV: .*; there is no link nothing/,
  );
  assert.match(
    refusal({ kind: "set-route", to: "10.9.0.0/16", action: "forward", via: "10.8.0.1", metric: 0, protocol }),
    /^set route to 10\.9\.0\.0\/16 via 10\.8\.0\.1 in node-1: ENETUNREACH: Nexthop has invalid gateway; /,
  );
  const [, second] = kernel.change([{ kind: "delete-link", name: "nothing" }, bridge]);
  assert.ok(second !== undefined && !second.ok);
  assert.equal(second.error.index, 1);
});

void test("a link that another program made is left alone", () => {
  ip("link", "add", "cbr0", "mtu", "1300", "type", "bridge");
  refusal(bridge);
  assert.equal(link("cbr0")?.alias, undefined);
  assert.equal(link("cbr0")?.mtu, 1300);
});

void test("a bridge keeps its MTU while ports come and go", () => {
  for (const mtu of [1400, 1500]) {
    make(
      { ...bridge, name: "br", mtu },
      {
        kind: "create-veth",
        name: "port",
        mtu: 1300,
        peer: { name: "far" },
      },
    );
    make({ kind: "set-link", name: "port", master: "br" });
    assert.equal(link("br")?.mtu, mtu);
    make({ kind: "delete-link", name: "port" });
    assert.equal(link("br")?.mtu, mtu);
    make({ kind: "delete-link", name: "br" });
  }
});

void test("a link that is to form no addresses has none when it comes up", () => {
  make(vxlan, { kind: "set-link", name: "fl.vx", up: true, addressGeneration: "none" });
  assert.deepEqual(
    kernel.addresses().filter((one) => one.link === "fl.vx"),
    [],
  );
  assert.equal(link("fl.vx")?.up, true);
});

void test("a batch follows a link through its creation, renaming and move", () => {
  const other = createNetworkNamespace();
  const there = openKernel("pod", other);
  make(
    { kind: "create-veth", name: "near", mtu: 1450, peer: { name: "far" } },
    { kind: "set-link", name: "far", rename: "eth0", up: true, addressGeneration: "none" },
    { kind: "set-address", link: "eth0", address: "10.0.0.5", bits: 32 },
    { kind: "set-link", name: "eth0", namespaceFd: other.fd },
    { kind: "create-veth", name: "near2", mtu: 1450, peer: { name: "eth0" } },
    { kind: "set-address", link: "eth0", address: "10.0.0.6", bits: 32 },
  );
  assert.deepEqual(
    kernel
      .addresses()
      .filter((one) => one.link === "eth0")
      .map((one) => one.address),
    ["10.0.0.6"],
  );
  assert.equal(there.links().filter((one) => one.name === "eth0").length, 1);
  assert.equal(link("near")?.kind, "veth");
  assert.notEqual(link("near")?.linkNetnsId, undefined);
  there.close();
  other.close();
});

void test("two thousand routes, every one with its own result", () => {
  make(bridge, { kind: "set-link", name: "cbr0", up: true });
  const changes = Array.from({ length: 2000 }, (_, index): Change => ({
    kind: "set-route",
    to: `10.${100 + (index >> 8)}.${index & 255}.0/24`,
    action: "forward",
    link: index % 100 === 7 ? "nothing" : "cbr0",
    metric: 10,
    protocol,
  }));
  const failed = kernel.change(changes).flatMap((result, index) => (result.ok ? [] : [index]));
  assert.deepEqual(
    failed,
    Array.from({ length: 20 }, (_, index) => index * 100 + 7),
  );
  assert.equal(kernel.routes().filter((one) => one.protocol === protocol).length, 1980);
});

void test("routes of every shape read back", () => {
  make(bridge, vxlan, { kind: "set-link", name: "cbr0", up: true }, { kind: "set-link", name: "fl.vx", up: true });
  make({ kind: "set-address", link: "cbr0", address: "10.0.0.1", bits: 24 });
  make({ kind: "set-address", link: "cbr0", address: "fd00::1", bits: 64 });
  const wanted: Change[] = [
    {
      kind: "set-route",
      to: "10.2.0.0/16",
      action: "forward",
      link: "fl.vx",
      via: "10.2.0.0",
      onlink: true,
      mtu: 1400,
      source: "10.0.0.1",
      metric: 5,
      protocol,
    },
    { kind: "set-route", to: "10.3.0.0/16", action: "forward", link: "cbr0", via: "fd00::9", metric: 5, protocol },
    { kind: "set-route", to: "0.0.0.0/0", action: "forward", via: "10.0.0.9", metric: 5, protocol },
    { kind: "set-route", to: "10.4.0.4/32", action: "forward", link: "cbr0", metric: 5, protocol },
    { kind: "set-route", to: "10.5.0.0/16", action: "unreachable", metric: 5, protocol },
    {
      kind: "set-route",
      to: "fd02::/64",
      action: "forward",
      link: "fl.vx",
      via: "fd02::",
      onlink: true,
      metric: 5,
      protocol,
    },
    { kind: "set-route", to: "::/0", action: "forward", via: "fd00::9", metric: 5, protocol },
    { kind: "set-route", to: "fd05::/64", action: "unreachable", metric: 5, protocol },
  ];
  make(...wanted, ...wanted);
  const seen = kernel.routes().filter((one) => one.protocol === protocol);
  const text = seen.map(({ to, action, link, via, onlink, mtu, source, scope, metric, table }) =>
    [to, action, link, via, onlink && "onlink", mtu, source, scope, metric, table]
      .filter((part) => part !== undefined && part !== false)
      .join(" "),
  );
  assert.deepEqual(text.sort(), [
    "0.0.0.0/0 forward cbr0 10.0.0.9 0 5 254",
    "10.2.0.0/16 forward fl.vx 10.2.0.0 onlink 1400 10.0.0.1 0 5 254",
    "10.3.0.0/16 forward cbr0 fd00::9 0 5 254",
    "10.4.0.4/32 forward cbr0 253 5 254",
    "10.5.0.0/16 unreachable 0 5 254",
    "::/0 forward cbr0 fd00::9 0 5 254",
    "fd02::/64 forward fl.vx fd02:: onlink 0 5 254",
    "fd05::/64 unreachable 0 5 254",
  ]);
});

void test("an IPv6 route without a metric gets the kernel's 1024", () => {
  make(bridge, { kind: "set-link", name: "cbr0", up: true });
  const route: Change = { kind: "set-route", to: "fd09::/64", action: "forward", link: "cbr0", metric: 0, protocol };
  make(route, route);
  assert.deepEqual(
    kernel
      .routes()
      .filter((one) => one.to === "fd09::/64")
      .map((one) => one.metric),
    [1024],
  );
});

void test("unknown frames may go to several nodes, a known one to the last that was said", () => {
  make(vxlan);
  for (const remote of ["172.20.0.3", "172.20.0.4", "172.20.0.4"])
    for (const mac of ["00:00:00:00:00:00", "02:00:00:00:00:09"])
      make({ kind: "set-forwarding", link: "fl.vx", mac, remote });
  const entries = kernel.forwarding().map((one) => `${one.mac} ${one.remote} ${one.static} ${one.own}`);
  assert.deepEqual(entries.sort(), [
    "00:00:00:00:00:00 172.20.0.3 true false",
    "00:00:00:00:00:00 172.20.0.4 true false",
    "02:00:00:00:00:09 172.20.0.4 true false",
  ]);
});

void test("a dump after somebody else's change has today's names", () => {
  make(bridge);
  kernel.addresses();
  ip("link", "add", "late", "type", "bridge");
  ip("address", "add", "10.0.0.7/32", "dev", "late");
  assert.ok(kernel.addresses().some((one) => one.link === "late" && one.address === "10.0.0.7"));
});

void test("sysctls outside of net/ are nobody's business here", () => {
  for (const path of ["fs/file-max", "net/../fs/file-max", "/net/ipv4/ip_forward", "net//ipv4"])
    assert.throws(() => kernel.writeSysctl(path, "1"), /only those below net\//);
  assert.throws(() => kernel.writeSysctl("net/ipv4/ip_forward", "perhaps"), /of node-1 to "perhaps": EINVAL/);
  kernel.writeSysctl("net/ipv4/ip_forward", "1");
  const other = createNetworkNamespace();
  const there = openKernel("pod", other);
  assert.equal(there.readSysctl("net/ipv4/ip_forward"), "0", "each namespace has its own");
  there.close();
  other.close();
});
