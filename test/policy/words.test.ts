// What people read about policies: traces, explanations, matrices, expectations.

import assert from "node:assert/strict";
import { test } from "node:test";

import { readExpectations } from "../../src/cli/test.ts";
import { namespace, node } from "../../src/model/objects.testing.ts";
import { expectationText, formatJunit, formatTap, meets, type Expectation } from "../../src/trace/expectation.ts";
import { reachability, renderMatrix } from "../../src/trace/matrix.ts";
import { explainPolicy } from "../../src/trace/policy-explain.ts";
import { trace } from "../../src/trace/query.ts";
import { renderMinimal, renderSummary } from "../../src/trace/render.ts";
import { clusterPolicy, compileWorld, pod, policy, type PolicyWorld } from "./worlds.testing.ts";

const shop: PolicyWorld = {
  nodes: [node(1), node(2)],
  namespaces: [namespace("red", { team: "a" }), namespace("blue")],
  pods: [
    pod("api", { namespace: "red", node: 1, host: 10 }, { labels: { app: "api" } }),
    pod("db", { namespace: "red", node: 2, host: 11 }, { labels: { app: "db" }, http: 8080 }),
    pod("other", { namespace: "blue", node: 1, host: 12 }, { labels: { app: "web" } }),
  ],
  clusterPolicies: [],
  policies: [
    policy("db-in", "red", {
      podSelector: { matchLabels: { app: "db" } },
      ingress: [{ from: [{ podSelector: { matchLabels: { app: "api" } } }], ports: [{ port: "http" }] }],
    }),
    policy("db-more", "red", {
      podSelector: { matchLabels: { app: "db" } },
      ingress: [
        {
          from: [{ ipBlock: { cidr: "10.244.1.8/29", except: ["10.244.1.12/32"] } }],
          ports: [{ port: 80, endPort: 9000 }],
        },
      ],
    }),
  ],
};

const { network, world } = compileWorld(shop);
const ask = (from: string, to: string): ReturnType<typeof trace> =>
  trace(world, { from, to, namespace: "red", protocol: "tcp" });

void test("a trace that policies stop names the way, the cause and the fields", () => {
  const value = ask("blue/other", "red/db:8080");
  assert.equal(renderMinimal(value), "other -> db:8080/tcp  tunnel  drop ingress db-in  dropped\n");
  assert.equal(
    renderSummary(value),
    `\
blue/other → db:8080/tcp      DROPPED on node-2, ingress of db

 1 egress   allowed, no policy isolates other for egress
 2 route    node-1 → node-2 by vxlan fl.vx, mtu 1450      Node node-2 spec.podCIDRs[0]
 3 ingress  denied, nothing lets it in                    NetworkPolicy red/db-in spec.podSelector

    cause NetworkPolicy red/db-in isolates app=db                                 spec.podSelector
          and lets in http/tcp only from app=api                                  spec.ingress[0].from[0].podSelector
          NetworkPolicy red/db-more isolates app=db                               spec.podSelector
          and lets in 80-9000/tcp only from 10.244.1.8/29 without 10.244.1.12/32  spec.ingress[0].from[0].ipBlock
    cure  one of these, each tried:
          · add to spec.ingress[0].from of NetworkPolicy red/db-in:  - {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: blue}}, podSelector: {matchLabels: {app: web}}}
          · add to spec.ingress[0].from of NetworkPolicy red/db-more:  - {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: blue}}, podSelector: {matchLabels: {app: web}}}
`,
  );
});

void test("a trace that policies let through names all of them", () => {
  const steps = ask("red/api", "red/db:8080").paths.flatMap((path) => path.hops.flatMap((hop) => hop.steps));
  const ingress = steps.find((step) => step.kind === "policy" && step.direction === "ingress");
  assert.ok(ingress?.kind === "policy");
  assert.equal(ingress.verdict, "allowed");
  assert.equal(ingress.origin?.field, "spec.ingress[0].from[0].podSelector");
  assert.deepEqual(ingress.also, ["db-more"]);
});

void test("cures: a label, a peer, a rule; only those that would help", () => {
  const cures = (world_: PolicyWorld, from: string, to: string, protocol: "tcp" | "udp" = "tcp"): readonly string[] => {
    const { world: changed } = compileWorld(world_);
    return trace(changed, { from, to, namespace: "red", protocol }).cures ?? [];
  };
  const [api, db, other] = shop.pods;
  assert.ok(api && db && other);
  const neighbour = pod("tool", { namespace: "red", node: 2, host: 13 }, { labels: { role: "tool" } });
  const [dbIn] = shop.policies;
  assert.ok(dbIn);
  const one = { ...shop, pods: [...shop.pods, neighbour], policies: [dbIn] };
  assert.deepEqual(cures(one, "red/tool", "red/db:8080"), [
    "kubectl label pod -n red tool app=api --overwrite",
    "add to spec.ingress[0].from of NetworkPolicy red/db-in:  - {podSelector: {matchLabels: {role: tool}}}",
  ]);
  assert.deepEqual(cures(one, "red/tool", "red/db:53", "udp"), [
    "add to spec.ingress of NetworkPolicy red/db-in:  - {from: [{podSelector: {matchLabels: {role: tool}}}], ports: [{port: 53, protocol: UDP}]}",
  ]);
  assert.deepEqual(cures(one, "node/node-1", "red/db:8080"), [
    'add to spec.ingress[0].from of NetworkPolicy red/db-in:  - {ipBlock: {cidr: "172.18.0.2/32"}}',
  ]);
  assert.deepEqual(cures(one, "red/api", "red/db:8080"), []);
  // The other end forbids it too: no single edit of one policy helps.
  const mute = policy("mute", "red", { podSelector: { matchLabels: { role: "tool" } }, policyTypes: ["Egress"] });
  assert.deepEqual(cures({ ...one, policies: [dbIn, mute] }, "red/tool", "red/db:8080"), []);
});

void test("an explanation in plain words", () => {
  assert.equal(
    explainPolicy(network, "red", "db-in"),
    `\
NetworkPolicy red/db-in
  selects app=db: db
  ingress: dropped, unless one of these or another policy lets it through; answers, what the pod's own node sends, and the pod itself always pass
    http/tcp (http is 8080) from app=api: api   spec.ingress[0].from[0].podSelector
  egress: it says nothing about what goes out
  other policies for these pods, which may let more through: db-more
`,
  );
  assert.equal(explainPolicy(network, "red", "nobody"), undefined);
});

void test("who may reach whom", () => {
  const matrix = reachability(world, { namespaces: ["red"] });
  assert.deepEqual(matrix.sources, ["red/api", "red/db"]);
  assert.deepEqual(matrix.targets, ["red/api:80", "red/api:53/udp", "red/db:8080", "red/db:53/udp"]);
  assert.deepEqual(
    matrix.cells.map((row) => row.map(({ verdict }) => verdict)),
    [
      ["allowed", "allowed", "allowed", "denied"],
      ["allowed", "allowed", "allowed", "allowed"],
    ],
  );
  assert.match(renderMatrix(matrix), /^red\/api {3}\+ {2}\+ {2}\+ {2}-$/m);
  assert.match(renderMatrix(matrix), /red\/db:53\/udp: denied by db-in, db-more/);
});

const guarded: PolicyWorld = {
  ...shop,
  clusterPolicies: [
    clusterPolicy("no-db", {
      tier: "Admin",
      priority: 10,
      subject: { namespaces: { matchLabels: { team: "a" } } },
      egress: [
        {
          name: "dns",
          action: "Pass",
          to: [{ namespaces: {} }],
          protocols: [{ udp: { destinationPort: { number: 53 } } }],
        },
        {
          name: "no-db",
          action: "Deny",
          to: [{ pods: { podSelector: { matchLabels: { app: "db" } } } }],
          protocols: [{ destinationNamedPort: "http" }],
        },
      ],
    }),
    clusterPolicy("quiet", {
      tier: "Baseline",
      priority: 10,
      subject: { pods: { namespaceSelector: {}, podSelector: { matchLabels: { app: "web" } } } },
      ingress: [{ action: "Deny", from: [{ namespaces: {} }] }],
    }),
  ],
};

void test("a trace names tier, policy and rule of a cluster policy, and a cure that was tried", () => {
  const { world: seen } = compileWorld(guarded);
  const denied = renderSummary(trace(seen, { from: "red/api", to: "red/db:8080", namespace: "red", protocol: "tcp" }));
  assert.match(denied, /egress +denied by ClusterNetworkPolicy no-db \(tier Admin\) +spec\.egress\[1\]/);
  assert.match(
    denied,
    /cause ClusterNetworkPolicy no-db \(tier Admin, priority 10\) is for any pod of namespaces team=a/,
  );
  assert.match(denied, /and rule "no-db" denies http to app=db of any namespace +.*spec\.egress\[1\]/);
  assert.match(
    denied,
    /cure {2}add before spec\.egress\[1\] of ClusterNetworkPolicy no-db: {2}- \{action: Accept, to: \[\{pods: \{namespaceSelector: \{matchLabels: \{kubernetes\.io\/metadata\.name: red\}\}, podSelector: \{matchLabels: \{app: db\}\}\}\}\], protocols: \[\{tcp: \{destinationPort: \{number: 8080\}\}\}\]\} {3}\(tried\)/,
  );
  const passed = renderSummary(
    trace(seen, { from: "red/api", to: "blue/other:53", namespace: "red", protocol: "udp" }),
  );
  assert.match(passed, /egress +allowed, no policy isolates api for egress, passed on by no-db/);
  assert.match(passed, /ingress +denied by ClusterNetworkPolicy quiet \(tier Baseline\) +spec\.ingress\[0\]/);
});

void test("an explanation of a cluster policy, and what others say of it", () => {
  const { network: seen, world: all } = compileWorld(guarded);
  assert.equal(
    explainPolicy(seen, "cnp", "no-db"),
    [
      "ClusterNetworkPolicy no-db",
      "  tier Admin, priority 10: asked before any NetworkPolicy; what it accepts or denies is final",
      "  is for any pod of namespaces team=a: red/api, red/db",
      "  ingress: it says nothing about what comes in",
      "  egress: the first rule that means a connection decides; answers always pass",
      '    1. rule "dns" leaves to the next tier 53/udp to any pod   spec.egress[0]',
      "         any pod: blue/other, red/api, red/db",
      '    2. rule "no-db" denies http to app=db of any namespace   spec.egress[1]',
      "         app=db of any namespace: red/db",
      "",
    ].join("\n"),
  );
  assert.match(explainPolicy(seen, "red", "db-in") ?? "", /cluster policies that are asked before it: no-db/);
  const matrix = renderMatrix(reachability(all));
  assert.match(matrix, /red\/db:8080: denied by db-in, db-more, no-db/);
  const ask = (to: string, by: string): boolean => {
    const expectation: Expectation = { from: "red/api", to, protocol: "tcp", expect: "deny", by };
    return meets(trace(all, { from: "red/api", to, namespace: "red", protocol: "tcp" }), expectation).ok;
  };
  assert.deepEqual(
    [ask("red/db:8080", "no-db"), ask("red/db:8080", "quiet"), ask("blue/other:80", "quiet")],
    [true, false, true],
  );
});

void test("expectations are met by verdict and by policy", () => {
  const expectation = (rest: Partial<Expectation>): Expectation => ({
    from: "red/api",
    to: "red/db:8080",
    protocol: "tcp",
    expect: "allow",
    ...rest,
  });
  const verdict = (rest: Partial<Expectation>): string => {
    const wanted = expectation(rest);
    const { ok, detail } = meets(ask(wanted.from, wanted.to), wanted);
    return ok ? "ok" : detail;
  };
  assert.equal(verdict({}), "ok");
  assert.equal(verdict({ by: "db-more" }), "ok");
  assert.equal(verdict({ by: "x" }), "red/api to db:8080/tcp is allowed, but by db-in, db-more, not by x");
  assert.equal(verdict({ expect: "deny" }), "red/api to db:8080/tcp is allowed by db-in, db-more");
  assert.equal(verdict({ from: "blue/other", expect: "deny", by: "db-more" }), "ok");
  assert.equal(verdict({ from: "blue/other" }), "blue/other to db:8080/tcp is denied by db-in, db-more");
  assert.equal(
    verdict({ to: "10.99.99.99:80", expect: "deny" }),
    "red/api to 10.99.99.99:80/tcp does not arrive, unreachable, but no policy denies it",
  );
});

void test("TAP and JUnit", () => {
  const wanted: Expectation = { from: "a", to: "b:80", protocol: "tcp", expect: "deny", by: "p" };
  const outcomes = [
    { name: expectationText(wanted), file: "x.yaml", verdict: { ok: true, detail: "" } },
    { name: "#2", file: "x.yaml", verdict: { ok: false, detail: 'is "allowed" & more' } },
  ];
  assert.equal(
    formatTap(outcomes),
    'TAP version 14\n1..2\nok 1 - a may not reach b:80/tcp, by p\nnot ok 2 - \\#2\n  ---\n  message: "is \\"allowed\\" & more"\n  ...\n',
  );
  assert.match(formatJunit(outcomes), /<testsuite name="x.yaml" tests="2" failures="1">/);
  assert.match(formatJunit(outcomes), /<failure message="is &quot;allowed&quot; &amp; more"\/>/);
});

void test("expectations that cannot be read are refused with file and line", () => {
  const read = (text: string) => () => readExpectations("t.yaml", text);
  assert.deepEqual(readExpectations("t.yaml", "tests:\n- {from: a/b, to: c/d:80, expect: allow}"), [
    { from: "a/b", to: "c/d:80", protocol: "tcp", expect: "allow" },
  ]);
  assert.throws(read("tests: 3"), /^Error: t\.yaml:1: there is no list "tests"/);
  assert.throws(
    read("tests:\n- {from: a/b, to: c, expect: maybe}"),
    /^Error: t\.yaml:2: tests\[0\]: expect: must be allow or deny/,
  );
  assert.throws(read("tests:\n- {to: c, expect: deny}"), /tests\[0\]: from: must be text/);
  assert.throws(read("tests: ["), /^Error: t\.yaml:1:/);
});
