// What policies' owners are told on a real cluster, by one agent for all of them: Events and conditions, through a change of the teller.
// Needs: nft

import assert from "node:assert/strict";
import { join } from "node:path";
import { afterEach, test } from "node:test";

import type { Condition } from "../../src/kube/kinds.ts";
import type { KubeObject } from "../../src/kube/object.ts";
import type { ClusterNetworkPolicy } from "../../src/kube/policy-kinds.ts";
import { createTopology } from "../../src/lab/network/topology.ts";
import { endAll, nodeObject, runFairlead, startApi, type AgentProcess, type TestApi } from "./agent.testing.ts";

afterEach(endAll);

interface Event extends KubeObject {
  readonly involvedObject: { readonly kind: string; readonly name: string };
  readonly type: string;
  readonly reason: string;
  readonly message: string;
}

const clusterPolicies = { group: "policy.networking.k8s.io", resource: "clusternetworkpolicies" } as const;

void test("in force on all nodes, what is odd, and what is not enforced; told once, whoever tells", async () => {
  const topology = createTopology({ families: [4], nodeCidrs: ["172.18.0.0/16"] });
  const machines = [1, 2].map((index) => topology.addNode(`node-${index}`, [`172.18.0.1${index}`]));
  const api = await startApi(machines.map(({ namespace }) => namespace));
  try {
    for (const [index, { addresses }] of machines.entries())
      api.api.create(nodeObject(`node-${index + 1}`, addresses, [`10.244.${index + 1}.0/24`]));
    api.api.create({ apiVersion: "v1", kind: "Namespace", metadata: { name: "kube-system" } });
    api.api.create(networkPolicy());
    const created = api.api.create(clusterPolicy()) as ClusterNetworkPolicy;
    const other: Condition = {
      type: "Somebody",
      status: "True",
      reason: "Else",
      message: "",
      lastTransitionTime: "2026-01-01T00:00:00Z",
    };
    api.api.updateStatus({ ...created, status: { conditions: [other] } });
    const start = (index: number): AgentProcess => {
      const name = `node-${index}`;
      const machine = machines[index - 1];
      assert.ok(machine);
      const places = ["state", "cni", "bin", "net.d"].map((each) => join(api.folder, name, each));
      return runFairlead(
        machine.namespace,
        "agent",
        `--kubeconfig=${api.kubeconfig}`,
        `--node=${name}`,
        `--state-dir=${places[0]}`,
        `--cni-dir=${places[1]}`,
        `--cni-bin-dir=${places[2]}`,
        `--cni-conf-dir=${places[3]}`,
      );
    };

    const one = start(1);
    await one.says(/tells all policies' owners/);
    assert.match(
      await told(api, "web", /Enforced/),
      /^Warning Enforced isolates 0 pods for ingress; in force on 1 of 2 nodes$/,
    );
    const two = start(2);
    assert.match(
      await told(api, "web", /2 of 2/),
      /^Normal Enforced isolates 0 pods for ingress; in force on 2 of 2 nodes$/,
    );
    assert.match(
      await told(api, "web", /PolicyWarning/),
      /^Warning PolicyWarning spec.*the policy does nothing today$/,
    );
    assert.match(
      await told(api, "names", /NotEnforced/),
      /^Warning NotEnforced spec\.egress\[0\]: to\[0\] has domainNames, which are not enforced yet/,
    );
    assert.match(await told(api, "names", /PolicyWarning/), /means no pod today/);
    await until(api, () => conditionOf(api, "Enforced")?.status === "True");
    await told(api, "names", /2 of 2/);
    assert.equal(conditionOf(api, "Accepted")?.reason, "NotSupported");
    assert.equal(conditionOf(api, "Somebody")?.status, "True", "others' conditions stay");

    const before = events(api);
    await one.end();
    await two.says(/tells all policies' owners/);
    const { metadata, ...rest } = networkPolicy();
    api.api.create({ ...rest, metadata: { ...metadata, name: "later" } });
    await told(api, "later", /2 of 2/);
    const more = events(api).filter((each) => !before.includes(each));
    assert.deepEqual(
      more.filter((each) => !each.startsWith("later ")),
      [],
    );
    await two.end();
  } finally {
    api.close();
    topology.close();
  }
});

function networkPolicy(): KubeObject {
  return {
    apiVersion: "networking.k8s.io/v1",
    kind: "NetworkPolicy",
    metadata: { name: "web", namespace: "default" },
    spec: { podSelector: { matchLabels: { app: "web" } }, policyTypes: ["Ingress"] },
  };
}

function clusterPolicy(): KubeObject {
  const subject = { namespaces: {} };
  return {
    apiVersion: "policy.networking.k8s.io/v1alpha2",
    kind: "ClusterNetworkPolicy",
    metadata: { name: "names" },
    spec: {
      tier: "Admin",
      priority: 10,
      subject,
      egress: [{ action: "Accept", to: [{ domainNames: ["*.example.org"] }] }],
    },
  };
}

function events(api: TestApi): readonly string[] {
  const items = api.api.list({ group: "", resource: "events" }).items as readonly Event[];
  return items
    .filter(({ involvedObject }) => involvedObject.kind.endsWith("NetworkPolicy"))
    .map(({ involvedObject, type, reason, message }) => `${involvedObject.name} ${type} ${reason} ${message}`);
}

/** The first Event about the policy that matches, once it is there. */
async function told(api: TestApi, name: string, pattern: RegExp): Promise<string> {
  const find = (): string | undefined => events(api).find((line) => line.startsWith(`${name} `) && pattern.test(line));
  await until(api, () => find() !== undefined);
  return (find() ?? "").slice(name.length + 1);
}

function conditionOf(api: TestApi, type: string): Condition | undefined {
  const policy = api.api.get({ ...clusterPolicies, name: "names" }) as ClusterNetworkPolicy | undefined;
  return policy?.status?.conditions?.find((each) => each.type === type);
}

/** Resolves when it is so; looks after every write of an Event or policy. The test's own limit says when it is too late. */
async function until(api: TestApi, isSo: () => boolean): Promise<void> {
  if (isSo()) return;
  await new Promise<void>((resolve) => {
    const watches = [{ group: "", resource: "events" }, clusterPolicies].map((kind) =>
      api.api.watch(kind, api.api.revision, () => {
        if (!isSo()) return;
        for (const watch of watches) watch.close();
        resolve();
      }),
    );
  });
}
