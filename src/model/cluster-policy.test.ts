import assert from "node:assert/strict";
import { test } from "node:test";

import type { ClusterNetworkPolicy } from "../kube/policy-kinds.ts";
import { buildNetwork } from "./build.ts";
import { clusterPolicy, clusterPolicyProblems } from "./cluster-policy.ts";
import { clusterConfig } from "./cluster.ts";
import { objects, withDns } from "./objects.testing.ts";
import { policyWarnings } from "./policy-problems.ts";

const cluster = clusterConfig();

function made(name: string, spec: Partial<ClusterNetworkPolicy["spec"]>): ClusterNetworkPolicy {
  return {
    apiVersion: "policy.networking.k8s.io/v1alpha2",
    kind: "ClusterNetworkPolicy",
    metadata: { name },
    spec: { tier: "Admin", priority: 1, subject: { namespaces: {} }, ...spec },
  };
}

void test("what is not understood fails closed, rule by rule, and is an error", () => {
  const policy = made("p", {
    egress: [
      { action: "Accept", to: [{ namespaces: {} }, {}] },
      { action: "Pass", to: [{ domainNames: ["example.com"] }] },
      { action: "Deny", to: [{ namespaces: {} }], protocols: [{}] },
      { action: "Accept", to: [{ networks: ["10.0.0.0/33"] }] },
      { action: "Accept", to: [{ namespaces: {} }], protocols: [{ tcp: {} }] },
      { action: "Accept", to: [{ networks: ["10.0.0.0/8"] }] },
    ],
  });
  assert.deepEqual(
    clusterPolicy(policy).egress.map(({ action, peers, ports }) => [action, peers.length === 0 ? [] : peers, ports]),
    [
      ["accept", [], []],
      ["deny", "anyone", "all"],
      ["deny", "anyone", "all"],
      ["accept", [], []],
      ["accept", [], []],
      ["accept", clusterPolicy(policy).egress[5]?.peers, "all"],
    ],
  );
  assert.deepEqual(
    clusterPolicyProblems(policy, cluster).map(
      ({ severity, origin, message }) => `${severity} ${origin.field}: ${message}`,
    ),
    [
      "error spec.egress[0]: to[1] has no field that is known here: the rule accepts nothing (fails closed)",
      "error spec.egress[1]: to[0] has domainNames, which are not enforced yet: the rule denies everything (fails closed)",
      "error spec.egress[2]: protocols[0] has no field that is known here: the rule denies everything (fails closed)",
      'error spec.egress[3]: to[0] has "10.0.0.0/33", which is no CIDR: the rule accepts nothing (fails closed)',
      "error spec.egress[4]: protocols[0] has no field that is known here: the rule accepts nothing (fails closed)",
    ],
  );
});

void test("a policy without rules, or where policies are off, is said so", () => {
  const messages = (policy: "on" | "off"): readonly string[] =>
    clusterPolicyProblems(made("p", {}), { ...cluster, policy }).map(({ message }) => message);
  assert.deepEqual(messages("on"), ["has no rules: it changes nothing"]);
  assert.deepEqual(messages("off"), ["is not enforced: policies are switched off, every packet it would stop passes"]);
});

function warnings(...policies: readonly ClusterNetworkPolicy[]): readonly string[] {
  const network = buildNetwork(
    cluster,
    objects({
      ...withDns(),
      clusterNetworkPolicies: policies,
    }),
  );
  return policyWarnings(network).map(({ origin, message }) => `${origin.name} ${origin.field}: ${message}`);
}

const web = { pods: { podSelector: { matchLabels: { app: "web" } } } };

void test("subjects and peers that mean nobody", () => {
  assert.deepEqual(
    warnings(
      made("p", {
        subject: { pods: { podSelector: { matchLabels: { app: "none" } } } },
        egress: [
          { action: "Deny", to: [{ nodes: { matchLabels: { rack: "7" } } }] },
          { action: "Deny", to: [{ namespaces: { matchLabels: { team: "x" } } }] },
          { action: "Deny", to: [{ networks: ["10.96.0.0/24"] }] },
        ],
      }),
    ),
    [
      "p spec.subject: means no pod today: the policy does nothing",
      "p spec.egress[0].to[0]: rack=7 matches no node: nobody is meant today",
      "p spec.egress[1].to[0]: no namespace matches team=x: nobody is meant today",
      "p spec.egress[2].to[0]: 10.96.0.0/24 lies in the Services' range 10.96.0.0/16: policies see the pod behind a Service, never its address; select the pods instead",
    ],
  );
});

void test("an order that nobody chose", () => {
  const deny = { subject: web, egress: [{ action: "Deny" as const, to: [{ namespaces: {} }] }] };
  const same =
    "1 is also that of a, for the same pods: which goes first is not said; here it is by name, so b comes after";
  assert.deepEqual(warnings(made("a", deny), made("b", deny)), [`b spec.priority: ${same}`]);
  assert.deepEqual(warnings(made("a", deny), made("b", { ...deny, priority: 2 })), []);
  assert.deepEqual(warnings(made("a", deny), made("b", { ...deny, tier: "Baseline" })), []);
});

void test("DNS that a rule denies, where something else may be reached", () => {
  const some = { action: "Accept" as const, to: [{ networks: ["203.0.113.0/24"] }] };
  const rest = { action: "Deny" as const, to: [{ networks: ["0.0.0.0/0"] }] };
  const dns = {
    action: "Accept" as const,
    to: [{ pods: { podSelector: { matchLabels: { app: "dns" } } } }],
    protocols: [{ udp: { destinationPort: { number: 53 } } }],
  };
  const [message, ...more] = warnings(made("p", { subject: web, egress: [some, rest] }));
  assert.deepEqual(more, []);
  assert.match(
    message ?? "",
    /^p spec\.egress\[1\]: default\/web cannot ask DNS by this rule, so names will not resolve; add before it: \{action: Accept, to: /,
  );
  assert.deepEqual(warnings(made("p", { subject: web, egress: [some, dns, rest] })), []);
  assert.deepEqual(warnings(made("p", { subject: web, egress: [rest] })), [], "that was meant so");
});
