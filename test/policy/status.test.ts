// What a policy's owner is told by Events: in force where, and what stays odd; not what is odd for a moment while pods start.

import assert from "node:assert/strict";
import { test } from "node:test";

import type { Agent } from "../../src/agent/agent.ts";
import type { ReconcileReport } from "../../src/apply/report.ts";
import type { Event } from "../../src/kube/kinds.ts";
import type { ClusterNetworkPolicy } from "../../src/kube/policy-kinds.ts";
import type { KubeObject } from "../../src/kube/object.ts";
import { createFakeClock } from "../../src/lab/controllers/clock.testing.ts";
import { imagine } from "../../src/lab/imagine.ts";
import { createNetworkSource } from "../../src/lab/network-source.ts";
import { startLabPolicyStatus } from "../../src/lab/policy-status.ts";
import { clusterConfig, type ClusterOptions } from "../../src/model/cluster.ts";
import { clusterPolicy, policy } from "./worlds.testing.ts";

function running(name: string): KubeObject {
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name, namespace: "default", labels: { app: name } },
    spec: { nodeName: "node-1", containers: [{ name: "main", image: "nginx" }] },
  };
}

const server = running("server");
const deny = policy("deny", "default", {
  podSelector: { matchLabels: { app: "server" } },
  ingress: [{ from: [{ podSelector: { matchLabels: { app: "client" } } }] }],
});

void test("in force on all nodes; a selector that goes on meaning nobody is said after a while, and once", async () => {
  const { events, advance, apply, close } = await watched({ failing: 0 });
  await apply([server, deny]);
  await advance(300);
  assert.deepEqual(events(), ["Normal Enforced isolates 1 pod for ingress; in force on 3 of 3 nodes"]);
  await advance(10_000);
  assert.deepEqual(events(), [
    "Normal Enforced isolates 1 pod for ingress; in force on 3 of 3 nodes",
    "Warning PolicyWarning spec.ingress[0].from[0].podSelector: app=client matches no pod in namespace default: nobody is meant today",
  ]);
  await advance(10_000);
  assert.equal(events().length, 2);
  close();
});

void test("a client that comes in time leaves nothing to say", async () => {
  const { events, advance, apply, close } = await watched({ failing: 0 });
  await apply([server, deny]);
  await advance(300);
  await apply([running("client")]);
  await advance(10_000);
  assert.equal(events().length, 1);
  close();
});

void test("pods that come after their policy: how many it isolates is told when they are there", async () => {
  const { events, advance, apply, close } = await watched({ failing: 0 });
  await apply([deny, running("client")]);
  await advance(300);
  await apply([server]);
  await advance(10_000);
  assert.deepEqual(events(), ["Normal Enforced isolates 1 pod for ingress; in force on 3 of 3 nodes"]);
  close();
  const later = await watched({ failing: 0 });
  await later.apply([deny, running("client")]);
  await later.advance(10_000);
  const isolates = (what: string): string => `Normal Enforced isolates ${what} for ingress; in force on 3 of 3 nodes`;
  assert.deepEqual(
    later.events().filter((text) => text.startsWith("Normal")),
    [isolates("0 pods")],
  );
  await later.apply([server]);
  for (let tries = 0; tries < 100 && !later.events().includes(isolates("1 pod")); tries++) await later.advance(300);
  assert.deepEqual(
    later.events().filter((text) => text.startsWith("Normal")),
    [isolates("0 pods"), isolates("1 pod")],
  );
  later.close();
});

void test("a node whose kernel refused is counted out", async () => {
  const { events, advance, apply, close } = await watched({ failing: 1 });
  await apply([server, deny]);
  await advance(300);
  assert.deepEqual(events(), ["Warning Enforced isolates 1 pod for ingress; in force on 2 of 3 nodes"]);
  close();
});

void test("a cluster policy's status: what is understood, and where it is in force", async () => {
  const { events, advance, apply, conditions, close } = await watched({ failing: 1 });
  const rules = clusterPolicy("names", {
    tier: "Admin",
    priority: 5,
    subject: { namespaces: {} },
    egress: [{ action: "Accept", to: [{ domainNames: ["example.com"] }] }],
  });
  await apply([server, rules]);
  await advance(300);
  const notYet =
    "spec.egress[0]: to[0] has domainNames, which are not enforced yet: the rule accepts nothing (fails closed)";
  assert.deepEqual(conditions("names"), [
    `Accepted False NotSupported ${notYet}`,
    "Enforced False NotOnAllNodes in force on 2 of 3 nodes",
  ]);
  assert.ok(events().includes(`Warning NotEnforced ${notYet}`), events().join("\n"));
  assert.ok(events().some((text) => /^Warning Enforced is for \d+ pods?; in force on 2 of 3 nodes$/.test(text)));
  await apply([{ ...rules, spec: { ...rules.spec, egress: [{ action: "Deny", to: [{ nodes: {} }] }] } }]);
  // On a busy machine the source's word of the change comes some turns later.
  for (let tries = 0; tries < 100 && (conditions("names")[0] ?? "").startsWith("Accepted False"); tries++)
    await advance(300);
  assert.deepEqual(conditions("names"), [
    "Accepted True Accepted everything it says is understood",
    "Enforced False NotOnAllNodes in force on 2 of 3 nodes",
  ]);
  close();
});

void test("kinds that ClusterNetworkPolicy has replaced are told that nobody enforces them", async () => {
  const { events, advance, apply, close } = await watched({ failing: 0 });
  const group = "policy.networking.k8s.io";
  const names = { kind: "AdminNetworkPolicy", plural: "adminnetworkpolicies", singular: "adminnetworkpolicy" };
  const schema = { openAPIV3Schema: { type: "object", "x-kubernetes-preserve-unknown-fields": true } };
  const definition = {
    apiVersion: "apiextensions.k8s.io/v1",
    kind: "CustomResourceDefinition",
    metadata: { name: `adminnetworkpolicies.${group}` },
    spec: { group, names, scope: "Cluster", versions: [{ name: "v1alpha1", served: true, storage: true, schema }] },
  };
  await apply([definition]);
  await advance(300);
  await apply([
    {
      apiVersion: `${group}/v1alpha1`,
      kind: "AdminNetworkPolicy",
      metadata: { name: "old" },
      spec: { priority: 1, subject: { namespaces: {} } },
    },
  ]);
  await advance(300);
  assert.match(
    events().join("\n"),
    /^Warning NotEnforced is NOT enforced: AdminNetworkPolicy was replaced; write a ClusterNetworkPolicy .* with tier: Admin/,
  );
  close();
});

void test("policies that are switched off are said so on each of them", async () => {
  const { events, advance, apply, close } = await watched({ failing: 0, policy: "off" });
  await apply([server, deny]);
  await advance(300);
  assert.deepEqual(events(), [
    "Warning NotEnforced spec: is not enforced: policies are switched off, every packet it would stop passes",
  ]);
  close();
});

async function watched(options: { readonly failing: number } & Pick<ClusterOptions, "policy">): Promise<{
  events(): readonly string[];
  conditions(name: string): readonly string[];
  advance(ms: number): Promise<void>;
  apply(objects: Parameters<Awaited<ReturnType<typeof imagine>>["apply"]>[0]): Promise<void>;
  close(): void;
}> {
  const lab = await imagine({ nodes: 3 });
  // Not long ago: the lab forgets old Events.
  const clock = createFakeClock(Date.now());
  const source = createNetworkSource(
    lab.api,
    clusterConfig(options.policy === undefined ? {} : { policy: options.policy }),
  );
  const agent = (fails: boolean): Pick<Agent, "synced"> => ({
    synced: () =>
      Promise.resolve({
        failures: fails ? [{ part: "table ip fairlead", key: "ip fairlead" }] : [],
      } as unknown as ReconcileReport),
  });
  const status = startLabPolicyStatus({
    api: lab.api,
    source,
    agents: () => [0, 1, 2].map((index) => agent(index < options.failing)),
    clock,
  });
  const turns = async (): Promise<void> => {
    for (let turn = 0; turn < 5; turn++) await new Promise<void>((resolve) => void setImmediate(resolve));
  };
  return {
    events: () =>
      (lab.api.list({ group: "", resource: "events" }).items as readonly Event[])
        .filter(({ involvedObject }) => (involvedObject.kind ?? "").endsWith("NetworkPolicy"))
        .map(({ type, reason, message }) => `${type} ${reason} ${message}`)
        .sort(),
    conditions(name) {
      const key = { group: "policy.networking.k8s.io", resource: "clusternetworkpolicies", name };
      const object = lab.api.get(key) as ClusterNetworkPolicy | undefined;
      return (object?.status?.conditions ?? []).map(
        ({ type, status: value, reason, message }) => `${type} ${value} ${reason} ${message}`,
      );
    },
    async advance(ms) {
      for (let passed = 0; passed < ms; passed += 100) {
        clock.advance(100);
        await turns();
      }
    },
    async apply(objects) {
      await lab.apply(objects);
      await turns();
    },
    close() {
      status.close();
      source.close();
      lab.close();
    },
  };
}
