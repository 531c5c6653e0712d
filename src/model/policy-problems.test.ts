import assert from "node:assert/strict";
import { test } from "node:test";

import type { NetworkPolicy } from "../kube/kinds.ts";
import { buildNetwork } from "./build.ts";
import { clusterConfig } from "./cluster.ts";
import { objects, withDns } from "./objects.testing.ts";
import { policyWarnings } from "./policy-problems.ts";

const cluster = clusterConfig();

function warnings(spec: NetworkPolicy["spec"], others: readonly NetworkPolicy["spec"][] = []): readonly string[] {
  const policies = [spec, ...others].map((each, index): NetworkPolicy => ({
    apiVersion: "networking.k8s.io/v1",
    kind: "NetworkPolicy",
    metadata: { name: `p${index}`, namespace: "default" },
    spec: each,
  }));
  const network = buildNetwork(
    cluster,
    objects({
      ...withDns(),
      networkPolicies: policies,
    }),
  );
  return policyWarnings(network)
    .filter(({ origin }) => origin.name === "p0")
    .map(({ origin, message }) => `${origin.field}: ${message}`);
}

const web = { matchLabels: { app: "web" } };

void test("nothing odd, nothing said", () => {
  assert.deepEqual(
    warnings({ podSelector: web, ingress: [{ from: [{ podSelector: {} }], ports: [{ port: "http" }] }] }),
    [],
  );
  // To reach nothing at all may be meant.
  assert.deepEqual(warnings({ podSelector: web, policyTypes: ["Egress"] }), []);
});

void test("selectors that mean nobody", () => {
  assert.deepEqual(warnings({ podSelector: { matchLabels: { app: "wbe" } } }), [
    "spec.podSelector: app=wbe selects no pod in namespace default: the policy does nothing today",
  ]);
  const from = [
    { podSelector: { matchLabels: { app: "wbe" } } },
    { namespaceSelector: { matchLabels: { team: "a" } } },
    { namespaceSelector: {}, podSelector: { matchLabels: { app: "x" } } },
  ];
  assert.deepEqual(warnings({ podSelector: web, ingress: [{ from }] }), [
    "spec.ingress[0].from[0].podSelector: app=wbe matches no pod in namespace default: nobody is meant today",
    "spec.ingress[0].from[1].namespaceSelector: no namespace matches team=a: nobody is meant today",
    "spec.ingress[0].from[2].podSelector: app=x matches no pod: nobody is meant today",
  ]);
});

void test("a port's name that no selected pod has", () => {
  assert.deepEqual(warnings({ podSelector: web, ingress: [{ ports: [{ port: "metrics" }] }] }), [
    'spec.ingress[0].ports[0]: "metrics" names no tcp port of the pods it selects (they have: http): it opens nothing',
  ]);
});

void test("a Service's address is seen by no policy", () => {
  const [said = ""] = warnings({
    podSelector: web,
    policyTypes: ["Egress"],
    egress: [{ to: [{ ipBlock: { cidr: "10.96.0.10/32" } }, { podSelector: {} }] }],
  });
  assert.match(
    said,
    /^spec\.egress\[0\]\.to\[0\]\.ipBlock: 10\.96\.0\.10\/32 lies in the Services' range 10\.96\.0\.0\/16/,
  );
});

void test("who may go out but not ask DNS is told which rule is missing, unless another policy has it", () => {
  const out: NetworkPolicy["spec"] = {
    podSelector: web,
    policyTypes: ["Egress"],
    egress: [{ to: [{ podSelector: {} }], ports: [{ port: 443 }] }],
  };
  const [said = "", ...more] = warnings(out);
  assert.match(said, /^spec\.egress: 1 of the 1 pods it selects cannot ask DNS.*k8s-app: kube-dns/);
  assert.deepEqual(more, []);
  const dns = { to: [{ podSelector: {} }], ports: [{ port: 53, protocol: "UDP" as const }] };
  assert.deepEqual(warnings(out, [{ podSelector: {}, policyTypes: ["Egress"], egress: [dns] }]), []);
  assert.deepEqual(warnings({ ...out, egress: [...(out.egress ?? []), dns] }), []);
});
