// Tables that together hold every kind of statement, field, type and set: for tests of text, bytes and kernel.

import type { Origin } from "../../kube/object.ts";
import type { Field, KeyPart, NftElement, NftRule, NftSet, NftTable, Statement } from "./ruleset.ts";

export const sampleOrigin: Origin = { kind: "Test", name: "sample" };

/** A rule without a comment. */
export function sampleRule(...statements: readonly Statement[]): NftRule {
  return { statements, origin: sampleOrigin };
}

export function sampleElement(key: readonly string[], rest: Omit<NftElement, "key" | "origin"> = {}): NftElement {
  return { key, ...rest, origin: sampleOrigin };
}

function key(...parts: readonly (Field | number)[]): KeyPart[] {
  return parts.map((part) =>
    typeof part === "number" ? { kind: "random", below: part } : { kind: "field", field: part },
  );
}

function is(field: Field, ...values: readonly string[]): Statement {
  return { kind: "match", field, op: "==", values };
}

function not(field: Field, ...values: readonly string[]): Statement {
  return { kind: "match", field, op: "!=", values };
}

const accept: Statement = { kind: "verdict", verdict: { kind: "accept" } };
const drop: Statement = { kind: "verdict", verdict: { kind: "drop" } };

const services4: NftSet = {
  name: "services4",
  key: ["ipv4_addr", "inet_proto", "inet_service"],
  data: "verdict",
  flags: [],
  elements: [
    sampleElement(["10.96.0.1", "tcp", "443"], { data: { kind: "goto", chain: "pick-1" } }),
    sampleElement(["10.96.0.10", "udp", "53"], {
      data: { kind: "goto", chain: "pick-3" },
      comment: "kube-system/kube-dns",
    }),
    sampleElement(["10.96.0.11", "sctp", "5060"], { data: { kind: "jump", chain: "no-endpoints" } }),
    sampleElement(["10.96.0.12", "tcp", "80"], { data: { kind: "drop" } }),
    sampleElement(["10.96.0.13", "tcp", "80"], { data: { kind: "accept" } }),
    sampleElement(["10.96.0.14", "tcp", "80"], { data: { kind: "return" } }),
  ],
};

const backends4: NftSet = {
  name: "backends4",
  key: ["ipv4_addr", "inet_proto", "inet_service", "index"],
  data: ["ipv4_addr", "inet_service"],
  flags: [],
  elements: [
    sampleElement(["10.96.0.1", "tcp", "443", "0"], { data: ["172.18.0.2", "6443"] }),
    sampleElement(["10.96.0.10", "udp", "53", "2"], { data: ["10.244.1.3", "53"] }),
  ],
};

const backends6: NftSet = {
  name: "backends6",
  key: ["ipv6_addr", "inet_proto", "inet_service", "mark"],
  data: ["ipv6_addr", "inet_service"],
  flags: [],
  elements: [sampleElement(["fd00:96::1", "tcp", "443", "0x1"], { data: ["fd00:244::2", "6443"] })],
};

const hosts4: NftSet = {
  name: "hosts4",
  key: ["ipv4_addr", "classid"],
  data: ["ipv4_addr"],
  flags: [],
  elements: [
    sampleElement(["10.96.0.1", "0:1"], { data: ["172.18.0.2"] }),
    sampleElement(["10.96.0.1", "none"], { data: ["172.18.0.3"] }),
  ],
};

const affinity: NftSet = {
  name: "affinity",
  key: ["ipv4_addr", "ipv4_addr", "inet_proto", "inet_service"],
  data: ["mark"],
  flags: ["dynamic", "timeout"],
  timeoutSeconds: 10800,
  size: 65536,
  elements: [],
};

const affinity6: NftSet = { ...affinity, name: "affinity6", key: ["ipv6_addr"] };

const clients6: NftSet = {
  name: "clients6",
  key: ["ipv6_addr", "ipv6_addr", "inet_proto", "inet_service", "mark"],
  flags: ["dynamic", "timeout"],
  timeoutSeconds: 10800,
  size: 65536,
  elements: [],
};

const seen: NftSet = {
  name: "seen",
  key: ["ipv4_addr"],
  flags: ["dynamic", "timeout"],
  timeoutSeconds: 60,
  size: 100,
  elements: [],
};

const identities: NftSet = {
  name: "identities",
  key: ["ipv4_addr"],
  data: ["mark"],
  flags: [],
  elements: [
    sampleElement(["10.244.1.2"], { data: ["0x1"] }),
    sampleElement(["10.244.1.3"], { data: ["0xdeadbeef"], comment: "production/frontend" }),
  ],
};

const allow: NftSet = {
  name: "allow",
  key: ["mark", "mark", "inet_proto", "inet_service"],
  flags: [],
  counter: true,
  elements: [
    sampleElement(["0x1", "0x2", "tcp", "80"]),
    sampleElement(["0x1", "0x3", "icmpv6", "0"], { comment: "any" }),
    sampleElement(["0x1", "0x3", "47", "0"]),
  ],
};

const allowRanges: NftSet = {
  name: "allow-ranges",
  key: ["mark", "ipv4_addr", "inet_proto", "inet_service"],
  flags: ["interval"],
  elements: [
    sampleElement(["0x1", "0.0.0.0/0", "tcp", "1-65535"]),
    sampleElement(["0x2", "10.0.0.0/8", "udp", "53"], { comment: "dns" }),
    sampleElement(["0x10", "10.1.2.3", "tcp", "8000-8080"]),
    sampleElement(["0x3", "10.0.0.1-10.0.0.9", "tcp", "80"]),
  ],
};

const allowRanges6: NftSet = {
  name: "allow-ranges6",
  key: ["mark", "ipv6_addr", "inet_proto", "inet_service"],
  flags: ["interval"],
  counter: true,
  elements: [sampleElement(["0x1", "2001:db8::/32", "tcp", "1-65535"])],
};

const ranges: NftSet = {
  name: "ranges",
  key: ["ipv4_addr"],
  flags: ["interval"],
  elements: [
    sampleElement(["0.0.0.0/8"]),
    sampleElement(["10.0.0.0/8"], { comment: "private" }),
    sampleElement(["11.0.0.0/8"]),
    sampleElement(["172.16.0.1"]),
    sampleElement(["172.16.0.3-172.16.0.9"]),
    sampleElement(["224.0.0.0/3"]),
  ],
};

const ranges6: NftSet = {
  name: "ranges6",
  key: ["ipv6_addr"],
  flags: ["interval"],
  elements: [sampleElement(["::/8"]), sampleElement(["fd00::/8"]), sampleElement(["fe80::1"])],
};

const portMarks: NftSet = {
  name: "port-marks",
  key: ["inet_service"],
  data: ["mark"],
  flags: ["interval"],
  elements: [
    sampleElement(["0-1023"], { data: ["0x1"] }),
    sampleElement(["30000-32767"], { data: ["0x2"] }),
    sampleElement(["40000-65535"], { data: ["0x3"], comment: "rest" }),
  ],
};

const markRanges: NftSet = {
  name: "mark-ranges",
  key: ["mark"],
  flags: ["interval"],
  elements: [sampleElement(["0x0-0xff"]), sampleElement(["0x1000"])],
};

const expiring: NftSet = {
  name: "expiring",
  key: ["ether_addr"],
  flags: ["timeout"],
  elements: [sampleElement(["0a:58:0a:f4:01:02"]), sampleElement(["0a:58:0a:f4:01:03"], { timeoutSeconds: 3600 })],
};

const marks: NftSet = {
  name: "marks",
  key: ["mark"],
  flags: [],
  elements: [sampleElement(["0x1"]), sampleElement(["0x2"])],
};
const indices: NftSet = {
  name: "indices",
  key: ["index"],
  data: ["mark"],
  flags: [],
  elements: [sampleElement(["0"], { data: ["0x7"] })],
};
const links: NftSet = {
  name: "links",
  key: ["ifname"],
  data: "verdict",
  flags: [],
  elements: [sampleElement(["lo"], { data: { kind: "accept" } }), sampleElement(["eth0"], { data: { kind: "drop" } })],
};
const pings: NftSet = {
  name: "pings",
  key: ["icmp_type", "inet_proto"],
  flags: [],
  elements: [sampleElement(["echo-request", "icmp"]), sampleElement(["42", "1"])],
};
const pings6: NftSet = {
  name: "pings6",
  key: ["icmpv6_type"],
  flags: [],
  elements: [sampleElement(["echo-request"]), sampleElement(["nd-neighbor-advert"])],
};

const target4 = key("ip daddr", "meta l4proto", "th dport");
const target6 = key("ip6 daddr", "meta l4proto", "th dport");

/** Services, affinity, policy, as family inet has them. */
export const inetSample: NftTable = {
  family: "inet",
  name: "sample",
  sets: [
    services4,
    backends4,
    backends6,
    hosts4,
    affinity,
    affinity6,
    clients6,
    seen,
    identities,
    allow,
    allowRanges,
    allowRanges6,
    ranges,
    ranges6,
    portMarks,
    markRanges,
    expiring,
    marks,
    indices,
    links,
    pings,
    pings6,
  ],
  chains: [
    {
      name: "prerouting",
      base: { type: "nat", hook: "prerouting", priority: -100, policy: "accept" },
      comment: "Services: who gets a new connection",
      rules: [
        { statements: [{ kind: "vmap", key: target4, map: "services4" }], comment: "by address", origin: sampleOrigin },
        sampleRule(is("fib daddr type", "local"), { kind: "vmap", key: key("meta iifname"), map: "links" }),
        sampleRule(is("meta l4proto", "tcp"), { kind: "redirect", port: 8080 }),
        sampleRule(is("meta l4proto", "udp"), { kind: "dnat-to", address: "10.0.0.1", port: 53 }),
        sampleRule({ kind: "dnat-to", address: "10.0.0.2" }),
        sampleRule(is("meta l4proto", "tcp"), { kind: "dnat-to", address: "fd00::1", port: 80 }),
        sampleRule({ kind: "dnat-to", address: "fd00::2" }),
      ],
    },
    {
      name: "pick-1",
      rules: [sampleRule({ kind: "dnat", key: [...target4, { kind: "random", below: 1 }], map: "backends4" })],
    },
    {
      name: "pick-3",
      rules: [sampleRule({ kind: "dnat", key: [...target4, { kind: "random", below: 3 }], map: "backends4" })],
    },
    {
      name: "affine-3",
      rules: [
        sampleRule(
          { kind: "set-mark-from", key: key("ip saddr", "ip daddr", "meta l4proto", "th dport"), map: "affinity" },
          { kind: "verdict", verdict: { kind: "goto", chain: "by-mark" } },
        ),
        sampleRule(
          { kind: "set-mark-random", below: 3 },
          {
            kind: "update",
            set: "affinity",
            key: key("ip saddr", "ip daddr", "meta l4proto", "th dport"),
            data: "meta mark",
            timeoutSeconds: 600,
          },
        ),
        sampleRule({
          kind: "update",
          set: "affinity6",
          key: key("ip6 saddr"),
          data: "ct mark",
        }),
        sampleRule({
          kind: "update",
          set: "clients6",
          key: key("ip6 saddr", "ip6 daddr", "meta l4proto", "th dport", "meta mark"),
        }),
        sampleRule({ kind: "verdict", verdict: { kind: "goto", chain: "by-mark" } }),
      ],
    },
    {
      name: "by-mark",
      rules: [
        sampleRule({ kind: "dnat", key: [...target6, ...key("meta mark")], map: "backends6" }),
        sampleRule({ kind: "dnat", key: key("ip daddr", "meta priority"), map: "hosts4" }),
      ],
    },
    {
      name: "no-endpoints",
      rules: [
        sampleRule(is("meta l4proto", "tcp"), { kind: "reject", with: "tcp-reset" }),
        sampleRule({ kind: "reject", with: "tcp-reset" }),
        sampleRule({ kind: "reject", with: "port-unreachable" }),
        sampleRule({ kind: "reject", with: "admin-prohibited" }),
      ],
    },
    {
      name: "postrouting",
      base: { type: "nat", hook: "postrouting", priority: 100, policy: "accept" },
      rules: [
        sampleRule(
          { kind: "match", field: "meta mark", op: "==", values: ["0x4000"], mask: "0x4000" },
          { kind: "masquerade", fullyRandom: true },
        ),
        sampleRule(
          { kind: "match", field: "ct mark", op: "!=", values: ["0x100"], mask: "0xff00" },
          { kind: "masquerade", fullyRandom: false },
        ),
        sampleRule(is("ct status", "dnat"), is("ct original ip daddr", "10.96.0.1"), {
          kind: "masquerade",
          fullyRandom: false,
        }),
        sampleRule({ kind: "snat-to", address: "172.18.0.5" }),
        sampleRule({ kind: "snat-to", address: "fd00::5" }),
      ],
    },
    {
      name: "forward",
      base: { type: "filter", hook: "forward", priority: 5, policy: "drop" },
      rules: [
        sampleRule(is("ct state", "established", "related"), accept),
        sampleRule(is("ct state", "invalid"), { kind: "counter" }, drop),
        sampleRule(not("ct state", "new", "untracked"), accept),
        sampleRule(not("ct status", "dnat"), accept),
        sampleRule(is("ct direction", "reply"), accept),
        sampleRule(is("ct original ip saddr", "10.0.0.0/8"), is("ct original ip6 saddr", "fd00::/12"), accept),
        sampleRule(is("ct original ip6 daddr", "fd00::1"), accept),
        sampleRule(is("meta l4proto", "tcp"), is("ct original proto-dst", "80"), accept),
        sampleRule(is("ct mark", "0x1"), accept),
        sampleRule({ kind: "set-mark-from", key: key("ip saddr"), map: "identities" }),
        sampleRule({ kind: "set-mark-from", target: "ct mark", key: key("th dport"), map: "port-marks" }),
        sampleRule({ kind: "set-mark-from", key: key(2), map: "indices" }),
        sampleRule(
          { kind: "lookup", key: key("meta mark", "ct mark", "meta l4proto", "th dport"), op: "==", set: "allow" },
          accept,
        ),
        sampleRule(
          {
            kind: "lookup",
            key: key("meta mark", "ip daddr", "meta l4proto", "th dport"),
            op: "==",
            set: "allow-ranges",
          },
          accept,
        ),
        sampleRule(
          {
            kind: "lookup",
            key: key("ct mark", "ip6 daddr", "meta l4proto", "th sport"),
            op: "!=",
            set: "allow-ranges6",
          },
          drop,
        ),
        sampleRule({ kind: "lookup", key: key("ip saddr"), op: "!=", set: "ranges" }, drop),
        sampleRule({ kind: "lookup", key: key("ip6 saddr"), op: "==", set: "ranges6" }, drop),
        sampleRule({ kind: "lookup", key: key("meta mark"), op: "==", set: "mark-ranges" }, drop),
        sampleRule({ kind: "lookup", key: key("ether saddr"), op: "==", set: "expiring" }, drop),
        sampleRule({ kind: "lookup", key: key("icmp type", "meta l4proto"), op: "==", set: "pings" }, drop),
        sampleRule({ kind: "lookup", key: key("icmpv6 type"), op: "==", set: "pings6" }, drop),
        sampleRule({ kind: "limit", perSecond: 10, burst: 5 }, { kind: "log", group: 7, prefix: "deny " }),
        {
          statements: [
            { kind: "limit", perSecond: 3, burst: 20 },
            { kind: "log", group: 0, prefix: "x", bytesMax: 128 },
            drop,
          ],
          comment: "what fell through",
          origin: sampleOrigin,
        },
      ],
    },
    {
      name: "fields",
      rules: [
        sampleRule(is("ip saddr", "10.0.0.0/8"), not("ip daddr", "10.96.0.0/12"), accept),
        sampleRule(is("ip saddr", "10.0.0.1-10.0.0.9"), accept),
        sampleRule(not("ip saddr", "10.0.0.1-10.0.0.9"), accept),
        sampleRule(is("ip daddr", "10.0.0.1", "10.0.0.2"), accept),
        sampleRule(is("ip daddr", "10.0.0.1", "10.1.0.0/16"), accept),
        sampleRule(not("ip6 daddr", "fe80::/10"), accept),
        sampleRule(is("ip6 saddr", "fe80::/16"), is("ip6 nexthdr", "udp"), accept),
        sampleRule(is("ip protocol", "sctp"), accept),
        sampleRule(is("meta nfproto", "ipv6"), accept),
        sampleRule(is("meta l4proto", "tcp", "udp", "icmpv6"), accept),
        sampleRule(not("meta l4proto", "icmpv6"), accept),
        sampleRule(is("meta protocol", "ip"), accept),
        sampleRule(is("meta pkttype", "multicast"), accept),
        sampleRule(is("meta mark", "0x1"), accept),
        sampleRule(is("meta mark", "0x1", "0x2"), accept),
        sampleRule(is("meta priority", "0:5"), accept),
        sampleRule(is("meta iifname", "flp*"), not("meta oifname", "eth0"), accept),
        sampleRule(not("meta iifname", "eth0", "lo"), accept),
        sampleRule(is("th sport", "53"), is("th dport", "1024-65535"), accept),
        sampleRule(is("th dport", "80", "443", "8000-8080"), accept),
        sampleRule(is("tcp flags", "syn", "ack"), accept),
        sampleRule(not("tcp flags", "syn"), accept),
        sampleRule({ kind: "match", field: "tcp flags", op: "==", values: ["syn"], mask: "fin,syn,rst,ack" }, accept),
        sampleRule({ kind: "match", field: "tcp flags", op: "!=", values: ["syn"], mask: "fin,syn,rst,ack" }, accept),
        sampleRule(is("icmp type", "echo-request"), accept),
        sampleRule(is("icmpv6 type", "nd-neighbor-solicit", "nd-neighbor-advert"), accept),
        sampleRule(is("icmpv6 type", "nd-neighbor-advert"), is("icmpv6 target", "fd00::1"), accept),
        sampleRule(is("fib daddr type", "local", "multicast"), accept),
        sampleRule(not("fib saddr type", "local"), accept),
        sampleRule(is("fib daddr . iif type", "local"), accept),
        sampleRule(is("fib saddr . iif oif", "missing"), drop),
        sampleRule(is("fib saddr . iif oif", "exists"), accept),
        sampleRule({ kind: "set-mark", value: "0x4000" }),
        sampleRule({ kind: "set-mark", value: "0x1", keep: "0xffff0000" }),
        sampleRule({ kind: "set-mark", value: "0x4000", target: "ct mark", keep: "0xffffbfff" }),
        sampleRule({ kind: "set-mark", value: "0:1", target: "meta priority" }),
        sampleRule({ kind: "set-mark-random", below: 7, target: "meta priority" }),
        sampleRule({ kind: "set-mark-copy", target: "ct mark", from: "meta mark" }),
        sampleRule({ kind: "set-mark-copy", from: "ct mark" }),
        sampleRule(
          { kind: "lookup", key: key("meta mark"), op: "==", set: "marks" },
          { kind: "verdict", verdict: { kind: "return" } },
        ),
        sampleRule({ kind: "update", operation: "add", set: "seen", key: key("ip saddr"), timeoutSeconds: 5 }),
        sampleRule({ kind: "update", operation: "delete", set: "seen", key: key("ip saddr") }),
        sampleRule({ kind: "nftrace" }),
      ],
    },
    {
      name: "raw",
      base: { type: "filter", hook: "output", priority: -300, policy: "accept" },
      rules: [sampleRule({ kind: "notrack" })],
    },
    {
      name: "reroute",
      base: { type: "route", hook: "output", priority: -150, policy: "accept" },
      rules: [
        sampleRule(is("meta oifname", "eth0"), { kind: "verdict", verdict: { kind: "jump", chain: "by-nothing" } }),
      ],
    },
    { name: "by-nothing", rules: [] },
  ],
};

/** Spoofing guard, as family bridge has it. */
export const bridgeSample: NftTable = {
  family: "bridge",
  name: "sample",
  sets: [
    {
      name: "owners4",
      key: ["ifname", "ether_addr", "ipv4_addr"],
      flags: [],
      elements: [sampleElement(["flp0a1b", "0a:58:0a:f4:01:05", "10.244.1.5"], { comment: "production/frontend" })],
    },
    {
      name: "owners6",
      key: ["ifname", "ether_addr", "ipv6_addr"],
      flags: [],
      elements: [sampleElement(["flp0a1b", "0a:58:0a:f4:01:05", "fd00::5"])],
    },
    {
      name: "macs",
      key: ["ifname", "ether_addr"],
      flags: [],
      elements: [sampleElement(["flp0a1b", "0a:58:0a:f4:01:05"])],
    },
    { name: "targets", key: ["ifname", "nd_target"], flags: [], elements: [sampleElement(["flp0a1b", "fd00::5"])] },
    { name: "target", key: ["nd_target"], flags: [], elements: [sampleElement(["fd00::5"])] },
    {
      name: "kinds",
      key: ["ether_type"],
      flags: [],
      elements: [sampleElement(["ip"]), sampleElement(["arp"]), sampleElement(["35020"])],
    },
  ],
  chains: [
    {
      name: "prerouting",
      base: { type: "filter", hook: "prerouting", priority: -300, policy: "accept" },
      rules: [
        sampleRule(not("meta iifname", "flp*"), accept),
        sampleRule({ kind: "lookup", key: key("meta iifname", "ether saddr"), op: "!=", set: "macs" }, drop),
        sampleRule({ kind: "lookup", key: key("ether type"), op: "!=", set: "kinds" }, drop),
        sampleRule(
          { kind: "lookup", key: key("meta iifname", "ether saddr", "ip saddr"), op: "==", set: "owners4" },
          accept,
        ),
        sampleRule(
          { kind: "lookup", key: key("meta iifname", "ether saddr", "ip6 saddr"), op: "==", set: "owners6" },
          accept,
        ),
        sampleRule(
          { kind: "lookup", key: key("meta iifname", "arp saddr ether", "arp saddr ip"), op: "==", set: "owners4" },
          accept,
        ),
        sampleRule(is("arp operation", "request"), is("arp daddr ip", "10.244.1.1"), accept),
        sampleRule(is("ether daddr", "01:00:5e:00:00:01"), drop),
        sampleRule(
          is("icmpv6 type", "nd-neighbor-advert"),
          { kind: "lookup", key: key("meta iifname", "icmpv6 target"), op: "!=", set: "targets" },
          drop,
        ),
        sampleRule(
          is("icmpv6 type", "nd-neighbor-solicit"),
          { kind: "lookup", key: key("icmpv6 target"), op: "==", set: "target" },
          accept,
        ),
        sampleRule(is("icmp type", "redirect"), drop),
        sampleRule(is("ether type", "vlan"), drop),
      ],
    },
  ],
};

/** What differs in tables of one protocol. */
export const ipSample: NftTable = {
  family: "ip",
  name: "sample",
  sets: [backends4, affinity].map((set) => ({ ...set, elements: [] })),
  chains: [
    {
      name: "input",
      base: { type: "filter", hook: "input", priority: 0, policy: "accept" },
      rules: [
        sampleRule(is("ip saddr", "10.0.0.0/9"), is("tcp flags", "syn"), { kind: "reject", with: "tcp-reset" }),
        sampleRule(is("icmp type", "echo-request"), { kind: "reject", with: "admin-prohibited" }),
        sampleRule({ kind: "reject", with: "port-unreachable" }),
      ],
    },
    {
      name: "pick",
      rules: [sampleRule({ kind: "dnat", key: [...target4, { kind: "random", below: 2 }], map: "backends4" })],
    },
  ],
};

export const ip6Sample: NftTable = {
  family: "ip6",
  name: "sample",
  sets: [],
  chains: [
    {
      name: "input",
      base: { type: "filter", hook: "input", priority: 0, policy: "accept" },
      rules: [
        sampleRule(is("ip6 saddr", "fe80::/10"), is("icmpv6 type", "echo-request"), accept),
        sampleRule({ kind: "reject", with: "admin-prohibited" }),
        sampleRule({ kind: "reject", with: "port-unreachable" }),
      ],
    },
  ],
};

/** Chains of links. `lo` is there in every namespace. */
export const netdevSample: NftTable = {
  family: "netdev",
  name: "sample",
  sets: [],
  chains: [
    {
      name: "ingress",
      base: { type: "filter", hook: "ingress", priority: -500, policy: "accept", devices: ["lo"] },
      rules: [
        sampleRule(is("ip saddr", "10.0.0.1"), accept),
        sampleRule(is("ip6 saddr", "fd00::1"), accept),
        sampleRule(is("arp saddr ip", "10.0.0.1"), accept),
        sampleRule(is("icmp type", "echo-request"), accept),
      ],
    },
  ],
};

export const samples: readonly NftTable[] = [inetSample, bridgeSample, ipSample, ip6Sample, netdevSample];
