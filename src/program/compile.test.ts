import assert from "node:assert/strict";
import { test } from "node:test";

import * as fc from "fast-check";

import { buildNetwork, createNetworkBuilder, type ClusterObjects } from "../model/build.ts";
import { clusterConfig } from "../model/cluster.ts";
import type { Attachment, Network } from "../model/network.ts";
import { attachment, node, objects, pod, service, slice } from "../model/objects.testing.ts";
import { attachmentsArbitrary, clusterArbitrary, shuffled } from "../model/random.testing.ts";
import { backendsMap, choiceChainName, parseChoiceChainName, parseOutcomeNumber } from "./choice.ts";
import { compile } from "./compile.ts";
import { diffProgram, formatDifferences } from "./diff.ts";
import { formatPart, formatRoutes, formatServices, formatTables, networkNamer } from "./format.ts";
import { formatElement, formatRule } from "./nftables/format.ts";
import type { NftElement, NftTable, NftVerdict, Statement } from "./nftables/ruleset.ts";
import type { Program } from "./program.ts";

const cluster = clusterConfig();

void test("ways of packets, as text", () => {
  const { program } = shop();
  assert.equal(formatPart(program, "links", { origins: "hidden" }), links);
  assert.equal(formatRoutes(program), ways);
});

const links = `\
cbr0 type bridge address e6:2d:85:c7:1e:7f mtu 1450
fl.vx type vxlan id 1 dstport 4789 local 172.18.0.2 nolearning address 56:94:b5:ba:5a:5e mtu 1450
flpweb-a master cbr0 isolated on mtu 1450
`;
const ways = `\
routes
  unreachable 10.244.0.0/16 metric 1024                                     # Cluster cluster.local podCidrs[0]
  unreachable 10.244.1.0/24 metric 1024                                     # Node node-1 spec.podCIDRs[0]
  10.244.1.5/32 dev cbr0 src 10.244.1.1 metric 1024                         # Pod default/web-a status.podIPs
  10.244.2.0/24 via 10.244.2.0 dev fl.vx src 10.244.1.0 metric 1024 onlink  # Node node-2 spec.podCIDRs[0]
  10.96.0.0/16 dev cbr0 src 10.244.1.1 metric 1024                          # Cluster cluster.local serviceCidrs[0]

neighbours
  10.244.1.5 dev cbr0 lladdr 0a:58:0a:f4:01:05 PERMANENT   # Pod default/web-a status.podIPs
  10.244.2.0 dev fl.vx lladdr 52:3d:21:08:d2:db PERMANENT  # Node node-2 spec.podCIDRs[0]

forwarding
  52:3d:21:08:d2:db dev fl.vx dst 172.18.0.3 self permanent  # Node node-2 status.addresses
  0a:58:0a:f4:01:05 dev flpweb-a master static               # Pod default/web-a status.podIPs
`;

void test("Services, as text and by name", () => {
  const { program, network, attachments } = shop();
  assert.equal(
    formatServices(program, { namer: networkNamer(network, attachments) }),
    `\
idle:80/tcp  refused, no endpoint is ready  # Service default/idle spec.ports[0]
sticky:80/tcp  one of 2, the same for 60 s  # Service default/sticky spec.ports[0]
  web-a:8080                                # EndpointSlice default/sticky-1 endpoints[0]
  web-b:8080                                # EndpointSlice default/sticky-1 endpoints[1]
web:80/tcp  one of 2                        # Service default/web spec.ports[0]
  web-a:8080                                # EndpointSlice default/web-1 endpoints[0]
  web-b:8080                                # EndpointSlice default/web-1 endpoints[1]
node-1:30080/tcp  one of 2, as the node     # Service default/web spec.ports[0].nodePort
  web-a:8080                                # EndpointSlice default/web-1 endpoints[0]
  web-b:8080                                # EndpointSlice default/web-1 endpoints[1]
node-1:8088/tcp  one of 1                   # Pod default/web-a spec.containers[0].ports[0].hostPort
  web-a:8080                                # Pod default/web-a spec.containers[0].ports[0].hostPort
127.0.0.1:8088/tcp  one of 1                # Pod default/web-a spec.containers[0].ports[0].hostPort
  web-a:8080                                # Pod default/web-a spec.containers[0].ports[0].hostPort
`,
  );
});

void test("the chains, as nft reads them", () => {
  const { program } = shop();
  const table = program.tables.find(({ family }) => family === "ip") as NftTable;
  const chain = (name: string): string[] =>
    (table.chains.find((each) => each.name === name)?.rules ?? []).map((rule) =>
      formatRule(table, rule).replace(/ comment ".*"$/, ""),
    );
  assert.deepEqual(chain("services"), [
    "ip daddr . meta l4proto . th dport @restricted ip daddr . meta l4proto . th dport . ip saddr != @allowed counter drop",
    "ip saddr @local-pods meta priority set ip daddr . meta l4proto . th dport map @services-inside meta priority vmap @choices",
    "meta priority set ip daddr . meta l4proto . th dport map @services meta priority vmap @choices",
    "ip daddr @service-addresses goto refuse",
    "ip daddr @service-ranges counter drop",
  ]);
  assert.deepEqual(chain("pick-2"), [
    "dnat ip to ip daddr . meta l4proto . th dport . numgen random mod 2 map @backends",
  ]);
  assert.deepEqual(chain("source"), [
    "ct status dnat meta priority set none",
    "ct status dnat ip saddr . ip daddr @hairpin masquerade fully-random",
    "ct status dnat meta l4proto { tcp, udp, sctp } ct original ip daddr . meta l4proto . ct original proto-dst @masquerade-ports masquerade fully-random",
    "ct status dnat ct original ip daddr @service-ranges ip saddr != @local-pods masquerade fully-random",
    "ct status dnat ip saddr 127.0.0.0/8 masquerade fully-random",
    "ip saddr @local-pods ip daddr != @pod-ranges ip daddr != @nodes masquerade fully-random",
    "ct status dnat meta l4proto { tcp, udp, sctp } ct original ip daddr . meta l4proto . ct original proto-dst @inside-ports fib saddr type local ip saddr != @nodes masquerade fully-random",
  ]);
  assert.deepEqual(chain("refuse"), [
    "meta l4proto tcp counter reject with tcp reset",
    "counter reject with icmp port-unreachable",
  ]);
});

void test("endpoints of a Service that has many are in a map of their own, which is there while there is one", () => {
  const table = (count: number): NftTable => {
    const endpoints = Array.from({ length: count }, (_, n) => ({ addresses: [`10.244.1.${n + 5}`] }));
    const all = objects({
      nodes: [node(1)],
      services: [service("web", { clusterIPs: ["10.96.0.7"] }), service("few", { clusterIPs: ["10.96.0.8"] })],
      endpointSlices: [slice("web", endpoints), slice("few", endpoints.slice(0, 2))],
    });
    const { tables } = compile(buildNetwork(cluster, all), "node-1", []);
    return tables.find(({ family }) => family === "ip") as NftTable;
  };
  const counts = ({ sets }: NftTable): readonly string[] =>
    sets.flatMap(({ name, elements }) => (name.startsWith("backends") ? [`${name} ${elements.length}`] : []));
  const rules = ({ chains }: NftTable): readonly string[] =>
    chains.flatMap(({ name, rules }) =>
      name.startsWith("pick-")
        ? rules.flatMap(({ statements }) => statements.flatMap(setsOf).map((map) => `${name} ${map}`))
        : [],
    );
  assert.deepEqual(counts(table(16)), ["backends 18", "backends-inside 0"]);
  assert.deepEqual(rules(table(16)), ["pick-16 backends", "pick-2 backends"]);
  assert.deepEqual(counts(table(17)), ["backends 2", "backends-inside 0", "backends-many 17"]);
  assert.deepEqual(rules(table(17)), ["pick-17 backends-many", "pick-2 backends"]);
  const text = formatServices({ ...shop().program, tables: [table(17)] }, { origins: "hidden" });
  assert.match(text, /10\.96\.0\.7:80\/tcp {2}one of 17\n {2}10\.244\.1\.5:8080\n/);
});

void test("each pod's link may send from that pod's addresses, and no other", () => {
  const table = shop().program.tables.find(({ family }) => family === "bridge") as NftTable;
  const elements = table.sets.flatMap((set) =>
    set.elements.map((element) => `${set.name} ${formatElement(set, element)}`),
  );
  assert.deepEqual(elements, [
    'pod-ip4 "flpweb-a" . 0a:58:0a:f4:01:05 . 10.244.1.5',
    'pod-ip6 "flpweb-a" . 0a:58:0a:f4:01:05 . fe80::858:aff:fef4:105',
    'pod-nd "flpweb-a" . 0a:58:0a:f4:01:05 . 0xfe8000000000000008580afffef40105',
  ]);
});

void test("traffic policy Local: endpoints of the node, silence where others have some, refusal where nobody has", () => {
  const local = { internalTrafficPolicy: "Local", externalTrafficPolicy: "Local", type: "NodePort" } as const;
  const ports = [{ name: "http", port: 80, nodePort: 30080 }];
  const all = objects({
    nodes: [node(1), node(2)],
    services: [service("web", { ...local, clusterIPs: ["10.96.0.7"], ports })],
    endpointSlices: [slice("web", [{ addresses: ["10.244.1.5"], nodeName: "node-1" }])],
  });
  const text = (objects: ClusterObjects, node: string): string =>
    formatServices(compile(buildNetwork(cluster, objects), node, []), { origins: "hidden" });
  assert.equal(
    text(all, "node-1"),
    "10.96.0.7:80/tcp  one of 1\n  10.244.1.5:8080\n172.18.0.2:30080/tcp  one of 1\n  10.244.1.5:8080\n",
  );
  assert.equal(
    text(all, "node-2"),
    "10.96.0.7:80/tcp  dropped, no endpoint on this node\n172.18.0.3:30080/tcp  dropped, no endpoint on this node\n172.18.0.3:30080/tcp  from inside: one of 1\n  10.244.1.5:8080\n",
  );
  assert.equal(
    text({ ...all, endpointSlices: [] }, "node-2"),
    "10.96.0.7:80/tcp  refused, no endpoint is ready\n172.18.0.3:30080/tcp  refused, no endpoint is ready\n",
  );
});

void test("SCTP is a protocol as any other: same maps, same masquerade", () => {
  const ports = [{ name: "s", port: 3868, nodePort: 30868, protocol: "SCTP" as const }];
  const all = objects({
    nodes: [node(1)],
    services: [service("diameter", { clusterIPs: ["10.96.0.7"], type: "NodePort", ports })],
    endpointSlices: [
      slice("diameter", [{ addresses: ["10.244.1.5"] }], { ports: [{ name: "s", port: 3868, protocol: "SCTP" }] }),
    ],
  });
  const program = compile(buildNetwork(cluster, all), "node-1", []);
  const table = program.tables.find(({ family }) => family === "ip") as NftTable;
  const keys = (name: string): readonly string[] =>
    table.sets.filter((set) => set.name === name).flatMap((set) => set.elements.map(({ key }) => key.join(" ")));
  assert.deepEqual(keys("services"), ["10.96.0.7 sctp 3868", "172.18.0.2 sctp 30868"]);
  assert.deepEqual(keys("backends"), ["10.96.0.7 sctp 3868 0", "172.18.0.2 sctp 30868 0"]);
  assert.deepEqual(keys("masquerade-ports"), ["172.18.0.2 sctp 30868"]);
});

void test("pods may call different ports by one name, and a Service may change its type in place", () => {
  const all = objects({
    nodes: [node(1)],
    services: [service("web", { clusterIPs: ["10.96.0.7"] })],
    endpointSlices: [
      slice("web", [{ addresses: ["10.244.1.5"] }]),
      slice("web", [{ addresses: ["10.244.1.6"] }], {
        name: "web-2",
        ports: [{ name: "http", port: 9090, protocol: "TCP" }],
      }),
    ],
  });
  const text = (objects: ClusterObjects): string =>
    formatServices(compile(buildNetwork(cluster, objects), "node-1", []), { origins: "hidden" });
  assert.equal(text(all), "10.96.0.7:80/tcp  one of 2\n  10.244.1.5:8080\n  10.244.1.6:9090\n");
  assert.equal(
    text({ ...all, services: [service("web", { type: "ExternalName", externalName: "example.com" })] }),
    "",
    "a name leads nowhere by itself",
  );
  assert.equal(text({ ...all, services: [service("web", { clusterIP: "None", clusterIPs: ["None"] })] }), "");
});

void test("a node port keeps its place before a hostPort", () => {
  const all = objects({
    nodes: [node(1)],
    services: [
      service("web", {
        clusterIPs: ["10.96.0.7"],
        type: "NodePort",
        ports: [{ name: "http", port: 80, nodePort: 30080 }],
      }),
    ],
    endpointSlices: [slice("web", [{ addresses: ["10.244.1.5"] }])],
  });
  const taker = attachment("a", { node: 1, host: 6 }, [{ protocol: "tcp", hostPort: 30080, port: 1 }]);
  const elements = elementsOf(compile(buildNetwork(cluster, all), "node-1", [taker]), "ip", "backends");
  assert.deepEqual(
    elements.filter(({ key }) => key[2] === "30080").map(({ data }) => data),
    [["10.244.1.5", "8080"]],
  );
});

void test("a node nobody knows has nothing", () => {
  const program = compile(buildNetwork(cluster, objects({ nodes: [node(1)] })), "node-9", []);
  assert.deepEqual({ ...program, node: "" }, { ...emptyProgram, node: "" });
});

const emptyProgram: Program = {
  node: "",
  sysctls: [],
  links: [],
  addresses: [],
  routes: [],
  neighbours: [],
  forwarding: [],
  tables: [],
};

void test("one changed endpoint: what differs is what changed, and untouched elements stay the same array", () => {
  const all = shopObjects();
  const build = createNetworkBuilder(cluster);
  const none: readonly Attachment[] = [];
  const before = compile(build(all), "node-1", none);
  const moved = slice("web", [{ addresses: ["10.244.1.5"] }, { addresses: ["10.244.2.8"] }]);
  const after = compile(build({ ...all, endpointSlices: [moved, ...all.endpointSlices.slice(1)] }), "node-1", none);
  assert.equal(
    formatDifferences(diffProgram(before, after)),
    `\
- element ip fairlead backends { 10.96.0.20 . tcp . 80 . 1 : 10.244.2.9 . 8080 }
+ element ip fairlead backends { 10.96.0.20 . tcp . 80 . 1 : 10.244.2.8 . 8080 }
- element ip fairlead backends { 172.18.0.2 . tcp . 30080 . 1 : 10.244.2.9 . 8080 }
+ element ip fairlead backends { 172.18.0.2 . tcp . 30080 . 1 : 10.244.2.8 . 8080 }
`,
  );
  assert.equal(elementsOf(after, "ip", "services"), elementsOf(before, "ip", "services"));
  assert.equal(after.routes, before.routes);
  assert.equal(after.tables[1], before.tables[1]);
  assert.deepEqual(diffProgram(before, before), []);
});

void test("any order of the same objects and pods gives an equal Program", () => {
  fc.assert(
    fc.property(clusterArbitrary, attachmentsArbitrary, fc.integer(), (all, attachments, seed) => {
      const program = compile(buildNetwork(cluster, all), "node-1", attachments);
      const other = compile(buildNetwork(cluster, shuffled(all, seed)), "node-1", attachments.toReversed());
      assert.deepEqual(other, program);
      assert.deepEqual(diffProgram(program, other), []);
    }),
    { numRuns: 150 },
  );
});

void test("a Program made after others is the one made alone", () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(clusterArbitrary, attachmentsArbitrary), { minLength: 2, maxLength: 5 }),
      (history) => {
        const build = createNetworkBuilder(cluster);
        for (const [all, attachments] of history) {
          // A copy shares no identity with anything seen before, so nothing is remembered for it.
          const alone = compile(structuredClone(buildNetwork(cluster, all)), "node-1", structuredClone(attachments));
          assert.deepEqual(compile(build(all), "node-1", attachments), alone);
        }
      },
    ),
    { numRuns: 100 },
  );
});

void test("every Program is sound", () => {
  fc.assert(
    fc.property(
      clusterArbitrary,
      attachmentsArbitrary,
      fc.constantFrom("node-1", "node-2", "node-3"),
      (all, pods, name) => {
        const network = buildNetwork(cluster, all);
        assertSound(compile(network, name, name === "node-1" ? pods : []));
      },
    ),
    { numRuns: 200 },
  );
});

void test("the rules are the same whatever Services there are, but for chains that choose", () => {
  const rulesOf = (all: ClusterObjects): string[] =>
    compile(
      buildNetwork(cluster, { ...all, nodes: [node(1)], networkPolicies: [], clusterNetworkPolicies: [] }),
      "node-1",
      [],
    ).tables.flatMap((table) =>
      table.chains
        .filter(({ name }) => parseChoiceChainName(name) === undefined)
        .flatMap((chain) => chain.rules.map((rule) => `${table.family} ${chain.name} ${formatRule(table, rule)}`))
        .filter((text) => !text.includes("meta priority")),
    );
  const expected = rulesOf(objects({}));
  assert.ok(expected.length > 0);
  fc.assert(
    fc.property(clusterArbitrary, (all) => assert.deepEqual(rulesOf(all), expected)),
    { numRuns: 60 },
  );
});

void test("names in texts of tables", () => {
  const { program, network, attachments } = shop();
  const text = formatTables(program, { namer: networkNamer(network, attachments), origins: "hidden" });
  assert.ok(text.includes("web . tcp . 80 . 0 : web-a . 8080"));
  assert.ok(text.includes('"link(web-a)" . mac(web-a) . web-a'));
  assert.doesNotMatch(text, /10\.96\.0\.2\d|10\.244\.1\.5/);
});

function shopObjects(): ClusterObjects {
  const endpoints = [
    { addresses: ["10.244.1.5"], nodeName: "node-1" },
    { addresses: ["10.244.2.9"], nodeName: "node-2" },
  ];
  return objects({
    nodes: [node(1, { podCIDRs: ["10.244.1.0/24"] }), node(2, { podCIDRs: ["10.244.2.0/24"] })],
    pods: [
      pod(
        "web-a",
        { node: 1, host: 5 },
        {
          labels: { app: "web" },
          spec: { containers: [{ name: "main", ports: [{ containerPort: 8080, hostPort: 8088 }] }] },
        },
      ),
      pod("web-b", { node: 2, host: 9 }, { labels: { app: "web" } }),
    ],
    services: [
      service("idle", { clusterIPs: ["10.96.0.21"] }),
      service("sticky", {
        clusterIPs: ["10.96.0.22"],
        sessionAffinity: "ClientIP",
        sessionAffinityConfig: { clientIP: { timeoutSeconds: 60 } },
      }),
      service("web", {
        clusterIPs: ["10.96.0.20"],
        type: "NodePort",
        ports: [{ name: "http", port: 80, nodePort: 30080 }],
      }),
    ],
    endpointSlices: [slice("web", endpoints), slice("sticky", endpoints)],
  });
}

function shop(): { readonly program: Program; readonly network: Network; readonly attachments: readonly Attachment[] } {
  const ipv4 = clusterConfig({ families: [4] });
  const network = buildNetwork(ipv4, shopObjects());
  const made = attachment("web-a", { node: 1, host: 5 }, [{ protocol: "tcp", hostPort: 8088, port: 8080 }]);
  const attachments = [{ ...made, addresses: ["10.244.1.5"] }];
  return { program: compile(network, "node-1", attachments), network, attachments };
}

function elementsOf(program: Program, family: string, set: string): readonly NftElement[] {
  const table = program.tables.find((each) => each.family === family);
  return table?.sets.find(({ name }) => name === set)?.elements ?? [];
}

/** What must hold of any Program. */
function assertSound(program: Program): void {
  assertUnique(program.routes.map(({ to, metric }) => `${to} ${metric}`));
  assertUnique(program.links.map(({ name }) => name));
  assertUnique(program.addresses.map(({ link, address }) => `${link} ${address}`));
  assertUnique(program.neighbours.map(({ link, address }) => `${link} ${address}`));
  assertUnique(program.forwarding.map(({ link, mac, remote }) => `${link} ${mac} ${remote}`));
  const neighbours = new Map(program.neighbours.map((entry) => [`${entry.link} ${entry.address}`, entry.mac]));
  for (const { link, via } of program.routes) {
    if (via === undefined) continue;
    const mac = neighbours.get(`${link} ${via}`);
    assert.ok(
      program.forwarding.some((entry) => entry.link === link && entry.mac === mac),
      `the way to ${via} on ${link} ends at its neighbour`,
    );
  }
  for (const table of program.tables) assertSoundTable(table);
}

function assertSoundTable(table: NftTable): void {
  const sets = new Set(table.sets.map(({ name }) => name));
  const chains = new Set(table.chains.map(({ name }) => name));
  assertUnique(table.sets.map(({ name }) => name));
  assertUnique(table.chains.map(({ name }) => name));
  const assertVerdict = (verdict: NftVerdict): void => {
    if ("chain" in verdict) assert.ok(chains.has(verdict.chain), `chain ${verdict.chain} exists`);
  };
  for (const chain of table.chains) {
    for (const statement of chain.rules.flatMap(({ statements }) => statements)) {
      for (const name of setsOf(statement)) assert.ok(sets.has(name), `set ${name} exists`);
      if (statement.kind === "verdict") assertVerdict(statement.verdict);
    }
  }
  for (const set of table.sets) {
    assertUnique(set.elements.map(({ key }) => key.join(" . ")));
    for (const { key, data } of set.elements) {
      assert.equal(key.length, set.key.length);
      if (data !== undefined && "kind" in data) assertVerdict(data);
    }
  }
  assertChoices(table);
}

/** A frontend that goes to a chain for n endpoints has exactly the indices 0 to n - 1, and numbers that all lead somewhere. */
function assertChoices(table: NftTable): void {
  const elements = (name: string): readonly NftElement[] => table.sets.find((set) => set.name === name)?.elements ?? [];
  const under = (name: string, frontend: readonly string[]): readonly NftElement[] =>
    elements(name).filter(({ key }) => frontend.every((part, index) => key[index] === part));
  for (const { key, data } of elements("services")) {
    const number = (data as readonly string[])[0] ?? "";
    const outcome = parseOutcomeNumber(number);
    assert.ok(outcome !== undefined, `${number} means something`);
    const [choice] = under("choices", [number]);
    if (typeof outcome === "string") {
      assert.deepEqual(choice?.data, outcome === "drop" ? { kind: "drop" } : { kind: "goto", chain: "refuse" });
      continue;
    }
    assert.deepEqual(choice?.data, { kind: "goto", chain: choiceChainName(outcome) });
    const chain = outcome;
    const indexed = under(
      chain.affinitySeconds === undefined ? backendsMap(chain.count, chain.scope) : "affine-choices",
      key,
    );
    assert.deepEqual(
      indexed.map((element) => element.key[3]),
      Array.from({ length: chain.count }, (_, index) => String(index)),
    );
    if (chain.affinitySeconds === undefined) continue;
    const numbers = indexed.map((element) => (element.data as readonly string[])[0]);
    assert.deepEqual(
      under("affine-backends", key).map((element) => element.key[3]),
      numbers,
    );
  }
}

function setsOf(statement: Statement): readonly string[] {
  if ("set" in statement) return [statement.set];
  return "map" in statement ? [statement.map] : [];
}

function assertUnique(keys: readonly string[]): void {
  assert.deepEqual(keys.length - new Set(keys).size, 0, `keys are unique: ${keys.join(", ")}`);
}

void test("a Service that is left to another proxy has no element anywhere", () => {
  const { network } = shop();
  const left = { ...network, services: network.services.map((service) => ({ ...service, leftTo: "label" })) };
  const text = formatServices(compile(left, "node-1", []), { namer: networkNamer(left, []) });
  assert.equal(text, "");
});
