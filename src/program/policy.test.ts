import assert from "node:assert/strict";
import { test } from "node:test";

import type { NetworkPolicy, Pod } from "../kube/kinds.ts";
import { buildNetwork, createNetworkBuilder } from "../model/build.ts";
import { clusterConfig } from "../model/cluster.ts";
import type { Attachment, ClusterConfig } from "../model/network.ts";
import { attachment, namespace, node, objects, pod } from "../model/objects.testing.ts";
import { compile } from "./compile.ts";
import { formatElement } from "./nftables/format.ts";
import type { NftTable } from "./nftables/ruleset.ts";
import { createIdentities } from "./policy-identities.ts";
import { createNumbers } from "./policy-numbers.ts";

const cluster = clusterConfig();

function policy(spec: NetworkPolicy["spec"], name = "p"): NetworkPolicy {
  return {
    apiVersion: "networking.k8s.io/v1",
    kind: "NetworkPolicy",
    metadata: { name, namespace: "default" },
    spec,
  };
}

function table(
  networkPolicies: readonly NetworkPolicy[],
  options: {
    readonly pods?: readonly Pod[];
    readonly attachments?: readonly Attachment[];
    readonly config?: ClusterConfig;
  } = {},
): NftTable {
  const { pods = [], attachments = [], config = cluster } = options;
  const all = objects({ nodes: [node(1), node(2)], namespaces: [namespace("default")], pods, networkPolicies });
  const [first] = compile(buildNetwork(config, all), "node-1", attachments).tables;
  return first ?? assert.fail("no table");
}

function elements(from: NftTable, name: string): readonly string[] {
  const set = from.sets.find((each) => each.name === name) ?? assert.fail(`no set ${name}`);
  return set.elements.map((element) => formatElement(set, element));
}

const db = pod("db", { node: 1, host: 5 }, { labels: { app: "db" } });
const place = attachment("db", { node: 1, host: 5 });

void test("without policies there is nothing of them, and nothing where they are switched off", () => {
  const names = (from: NftTable): readonly string[] =>
    [...from.chains, ...from.sets].map(({ name }) => name).filter((name) => /policy|egress|ingress|identit/.test(name));
  assert.deepEqual(names(table([])), []);
  const deny = policy({ podSelector: {} });
  assert.deepEqual(names(table([deny], { config: { ...cluster, policy: "off" } })), []);
  assert.ok(names(table([deny])).includes("policy-ingress"));
});

void test("a pod that the Network does not have is isolated where a policy could select it, and gets nothing", () => {
  const only = policy({ podSelector: { matchLabels: { app: "db" } }, ingress: [{}] });
  const unknown = table([only], { attachments: [place] });
  assert.deepEqual(elements(unknown, "ingress-isolated"), ["10.244.1.5 : goto denied-ingress"]);
  assert.deepEqual(elements(unknown, "egress-isolated"), []);
  const known = table([only], { attachments: [place], pods: [db] });
  assert.deepEqual(elements(known, "ingress-isolated"), ["10.244.1.5 : goto judge-ingress"]);
  // It is said to be on another node: then this is not the pod we know.
  const elsewhere = table([only], { attachments: [place], pods: [pod("db", { node: 2, host: 9 })] });
  assert.deepEqual(elements(elsewhere, "ingress-isolated"), ["10.244.1.5 : goto denied-ingress"]);
});

void test("a pod is isolated as soon as it has a place, before its status says any address", () => {
  const starting = pod("db", { node: 1, host: 5 }, { labels: { app: "db" }, status: { phase: "Pending" } });
  const made = table([policy({ podSelector: {} })], { attachments: [place], pods: [starting] });
  assert.deepEqual(elements(made, "ingress-isolated"), ["10.244.1.5 : goto judge-ingress"]);
  assert.deepEqual(elements(made, "identities"), []);
});

void test("an address that two pods claim is nobody's", () => {
  const twin = pod("twin", { node: 1, host: 5 }, { labels: { app: "web" } });
  const made = table([policy({ podSelector: {} })], { pods: [db, twin] });
  assert.deepEqual(elements(made, "identities"), []);
});

void test("a completed pod's address means nobody", () => {
  const done = pod("job", { node: 1, host: 6 }, { status: { phase: "Succeeded", podIPs: [{ ip: "10.244.1.6" }] } });
  const made = table([policy({ podSelector: {} })], { pods: [db, done] });
  assert.equal(elements(made, "identities").length, 1);
});

void test("whole namespaces and all pods are one element, however many pods there are", () => {
  const rule = policy({
    podSelector: { matchLabels: { app: "db" } },
    ingress: [{ from: [{ namespaceSelector: {} }, { podSelector: {} }] }],
  });
  const others = Array.from({ length: 20 }, (_, index) =>
    pod(`o${index}`, { node: 2, host: 10 + index }, { labels: { nr: String(index) } }),
  );
  const made = table([rule], { attachments: [place], pods: [db, ...others] });
  assert.equal(elements(made, "ingress-all").length, 2);
});

void test("a few ports are said one by one, under all the policies that open them; more are a range", () => {
  const few = policy({ podSelector: {}, ingress: [{ ports: [{ port: 8080, endPort: 8083 }] }] }, "few");
  const one = policy({ podSelector: {}, ingress: [{ ports: [{ port: 8081 }] }] }, "one");
  const many = policy({ podSelector: {}, ingress: [{ ports: [{ port: 8082, endPort: 8086 }] }] }, "many");
  const made = table([few, one, many], { attachments: [place], pods: [db] });
  const parts = (set: string): readonly (readonly string[])[] =>
    elements(made, set).map((text) => text.split(/ [.:] /).slice(3));
  const [alone, both, wide, again, ...more] = parts("ingress-ports");
  assert.deepEqual(more, []);
  assert.deepEqual(
    [alone, both, wide, again].map((port) => port?.[0]),
    ["8080", "8081", "8082", "8083"],
  );
  const range = parts("ingress-ranges");
  assert.deepEqual(
    range.map(([ports]) => ports),
    ["8082-8086"],
  );
  // Each with the number of those that open it: few; few and one; few and many.
  assert.equal(wide?.[1], again?.[1]);
  assert.equal(new Set([alone?.[1], both?.[1], wide?.[1], range[0]?.[1]]).size, 4);
});

void test("what cannot be understood lets nothing through", () => {
  const broken = policy({
    podSelector: {},
    ingress: [
      { from: [{ ipBlock: { cidr: "10.0.0.0/33" } }] },
      { from: [{ ipBlock: { cidr: "10.0.0.0/8", except: ["nonsense"] } }] },
      { from: [{}] },
      { ports: [{ port: 90, endPort: 80 }] },
      { ports: [{ port: "http", endPort: 80 }] },
    ],
  });
  const made = table([broken], { attachments: [place], pods: [db] });
  for (const set of ["all", "ports", "ranges", "blocks", "all-blocks"])
    assert.deepEqual(elements(made, `ingress-${set}`), [], set);
});

void test("the rules are the same whatever policies there are", () => {
  const few = table([policy({ podSelector: {} })]);
  const many = table(
    Array.from({ length: 30 }, (_, index) =>
      policy({ podSelector: {}, egress: [{ ports: [{ port: 80 + index }] }], policyTypes: ["Egress"] }, `p${index}`),
    ),
    { attachments: [place], pods: [db] },
  );
  assert.deepEqual(few.chains, many.chains);
});

void test("one policy changed: what others gave stays the same array of elements", () => {
  const build = createNetworkBuilder(cluster);
  const web = pod("web", { node: 1, host: 6 }, { labels: { app: "web" } });
  const places = [place, attachment("web", { node: 1, host: 6 })];
  const make = (port: number): NftTable => {
    const all = objects({
      nodes: [node(1)],
      namespaces: [namespace("default")],
      pods: [db, web],
      networkPolicies: [
        policy({ podSelector: { matchLabels: { app: "db" } }, ingress: [{ ports: [{ port }] }] }, "a"),
        policy({ podSelector: {}, policyTypes: ["Egress"], egress: [{ ports: [{ port: 53, protocol: "UDP" }] }] }, "b"),
      ],
    });
    return compile(build(all), "node-1", places).tables[0] ?? assert.fail("no table");
  };
  const before = make(80);
  const after = make(81);
  const set = (from: NftTable, name: string): unknown => from.sets.find((each) => each.name === name)?.elements;
  assert.notDeepEqual(set(before, "ingress-ports"), set(after, "ingress-ports"));
  for (const name of ["egress-ports", "identities", "identity-namespaces"])
    assert.equal(set(before, name), set(after, name), name);
});

void test("names that hash alike: identities stay apart, and everybody follows when one has to move", () => {
  const identities = createIdentities(
    createNumbers((_text, salt) => (salt === 0 ? 1 : Math.imul(_text.length, 7919 + salt) >>> 0)),
  );
  const network = buildNetwork(cluster, objects({ nodes: [node(1)], pods: [db] }));
  const alone = identities(network.pods, network.namespaces);
  const first = alone.addresses[4][0]?.data;
  const two = buildNetwork(
    cluster,
    objects({ nodes: [node(1)], pods: [db, pod("webb", { node: 1, host: 6 }, { labels: { app: "webb" } })] }),
  );
  const both = identities(two.pods, two.namespaces);
  const data = both.addresses[4].map((element) => JSON.stringify(element.data));
  assert.equal(new Set(data).size, 2);
  assert.equal(both.namespaces.length, 2);
  const again = identities(network.pods, network.namespaces);
  assert.deepEqual(again.addresses[4][0]?.data, first);
});

void test("another pod on the node costs the policies' elements of that pod: those of others stay the same values", () => {
  const build = createNetworkBuilder(cluster);
  const names = ["a", "b", "c"] as const;
  const places = names.map((name, index) => attachment(name, { node: 1, host: 5 + index }));
  const pods = names.map((name, index) => pod(name, { node: 1, host: 5 + index }, { labels: { app: name } }));
  const networkPolicies = [
    policy({ podSelector: {}, ingress: [{ from: [{ podSelector: { matchLabels: { app: "a" } } }] }] }),
    policy(
      { podSelector: {}, policyTypes: ["Egress"], egress: [{ to: [{ ipBlock: { cidr: "192.0.2.0/24" } }] }] },
      "q",
    ),
  ];
  const given = objects({ nodes: [node(1)], namespaces: [namespace("default")], pods, networkPolicies });
  const [before] = compile(build(given), "node-1", places.slice(0, 2)).tables;
  // What is nobody's business but the new pod's: an object of it that is another value.
  const touched = { ...given, pods: pods.map((each) => (each.metadata.name === "c" ? { ...each } : each)) };
  const [after] = compile(build(touched), "node-1", places).tables;
  const judging = (from: NftTable | undefined) =>
    (from?.sets ?? []).filter(({ name }) => /^(?:ingress|egress|policy)-/.test(name));
  let kept = 0;
  for (const set of judging(before)) {
    const now = new Set(judging(after).find(({ name }) => name === set.name)?.elements);
    for (const element of set.elements) assert.ok(now.has(element), `${set.name}: ${element.key.join(" . ")}`);
    kept += set.elements.length;
  }
  assert.ok(kept > 20, String(kept));
  assert.deepEqual(
    judging(after).map(({ elements: all }) => all.length),
    judging(compileAnew(touched, places)).map(({ elements: all }) => all.length),
  );
});

function compileAnew(given: Parameters<typeof buildNetwork>[1], places: readonly Attachment[]): NftTable | undefined {
  const [first] = compile(
    buildNetwork(cluster, given),
    "node-1",
    places.map((each) => ({ ...each })),
  ).tables;
  return first;
}
