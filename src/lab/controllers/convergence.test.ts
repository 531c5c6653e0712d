// What has to hold of all controllers together, whatever happens in whatever order.

import assert from "node:assert/strict";
import { describe, test } from "node:test";

import * as fc from "fast-check";

import type { KubeObject } from "../../kube/object.ts";
import { resources } from "../../kube/resources.ts";
import {
  app,
  daemonSet,
  deployment,
  job,
  seededRandom,
  service,
  statefulSet,
  testCluster,
  testNode,
  type TestCluster,
} from "./cluster.testing.ts";
import { groupsFor } from "./endpoint-slices.ts";
import { followObjects } from "./objects.ts";
import { deployments, endpointSlices, endpoints, nodes, pods, services, statefulSets } from "./resources.ts";
import { familiesOf, sliceLabels } from "./service-endpoints.ts";
import { portsKey } from "./slice-plan.ts";

const everything: readonly KubeObject[] = [
  deployment("web", 3),
  deployment("api", 2, { strategy: { type: "Recreate" } }),
  statefulSet("db", 2),
  daemonSet("agent"),
  job("once", { completions: 1 }),
  service("web"),
  service("api", { type: "NodePort" }),
  service("db", { clusterIP: "None" }),
  { apiVersion: "v1", kind: "Service", metadata: { name: "manual" }, spec: { ports: [{ port: 80 }] } },
  {
    apiVersion: "v1",
    kind: "Endpoints",
    metadata: { name: "manual" },
    subsets: [{ addresses: [{ ip: "192.0.2.1" }], ports: [{ port: 8080 }] }],
  },
];

/** The cluster's objects without what is random or depends on time and order: names' suffixes, addresses, uids, versions, nodes. */
function shapeOf(cluster: TestCluster): readonly string[] {
  const stable = (name: string): string => name.replace(/-[bcdfghjklmnpqrstvwxz2456789]{5}$/, "-*");
  return resources
    .filter(({ kind }) => kind !== "Event" && kind !== "IPAddress" && kind !== "Lease")
    .flatMap((row) => cluster.api.list(row).items)
    .map(({ kind, metadata, status }) => {
      const { replicas, readyReplicas, availableReplicas, succeeded, phase } = (status ?? {}) as Record<
        string,
        unknown
      >;
      const counts = { replicas, readyReplicas, availableReplicas, succeeded, phase };
      return `${kind} ${stable(metadata.name)} ${JSON.stringify(counts)}`;
    })
    .sort((a, b) => (a < b ? -1 : 1));
}

void describe("all controllers together", () => {
  void test("the order in which objects are created does not matter", async () => {
    const build = async (objects: readonly KubeObject[]): Promise<readonly string[]> => {
      const cluster = await testCluster();
      cluster.create(...objects);
      await cluster.settle();
      assert.deepEqual(cluster.failures, []);
      const shape = shapeOf(cluster);
      cluster.close();
      return shape;
    };
    const expected = await build(everything);
    await fc.assert(
      fc.asyncProperty(fc.shuffledSubarray([...everything], { minLength: everything.length }), async (order) => {
        assert.deepEqual(await build(order), expected);
      }),
      { numRuns: 8 },
    );
  });

  void test("objects that come one by one end where objects that come at once end", async () => {
    const cluster = await testCluster();
    for (const object of everything) {
      cluster.create(object);
      await cluster.kubelet();
    }
    await cluster.settle();
    const atOnce = await testCluster();
    atOnce.create(...everything);
    await atOnce.settle();
    assert.deepEqual(shapeOf(cluster), shapeOf(atOnce));
    cluster.close();
    atOnce.close();
  });

  void test("random edits come to rest, with the endpoints that a fresh look gives", async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer(), fc.array(fc.nat(11), { minLength: 5, maxLength: 30 }), async (seed, moves) => {
        const random = seededRandom(seed);
        const cluster = await testCluster({ seed });
        cluster.create(...everything);
        for (const move of moves) {
          edit(cluster, move, random);
          if (random() < 0.5) await cluster.kubelet(() => random() < 0.8);
        }
        cluster.edit(nodes, "node-1", (object) => ({ ...object, spec: { ...object.spec, unschedulable: false } }));
        await cluster.settle();
        assert.deepEqual(cluster.failures, []);
        checkEndpoints(cluster);
        for (const set of [...cluster.list(deployments), ...cluster.list(statefulSets)]) {
          assert.equal(set.status?.readyReplicas ?? 0, set.spec.replicas, `${set.kind} ${set.metadata.name}`);
        }
        cluster.close();
      }),
      { numRuns: 15 },
    );
  });

  void test("a second set of controllers over a settled cluster writes nothing", async () => {
    const cluster = await testCluster();
    cluster.create(...everything);
    await cluster.settle();
    const before = cluster.api.revision;
    await cluster.restart();
    assert.equal(cluster.api.revision, before);
    cluster.close();
  });
});

/** One thing a user or a node might do. */
function edit(cluster: TestCluster, move: number, random: () => number): void {
  const some = <T>(list: readonly T[]): T | undefined => list[Math.floor(random() * list.length)];
  switch (move) {
    case 0:
    case 1:
      cluster.edit(deployments, some(["web", "api"]) ?? "web", (object) => ({
        ...object,
        spec: { ...object.spec, replicas: Math.floor(random() * 7) },
      }));
      break;
    case 2:
    case 3:
      cluster.edit(deployments, some(["web", "api"]) ?? "web", (object) => ({
        ...object,
        spec: { ...object.spec, template: templateOf(object.metadata.name, Math.floor(random() * 3)) },
      }));
      break;
    case 4:
      cluster.edit(statefulSets, "db", (object) => ({
        ...object,
        spec: {
          ...object.spec,
          replicas: Math.floor(random() * 4),
          template: templateOf("db", Math.floor(random() * 2)),
        },
      }));
      break;
    case 5:
    case 6: {
      const pod = some(cluster.list(pods));
      if (pod !== undefined) cluster.remove(pods, pod.metadata.name);
      break;
    }
    case 7: {
      // An orphan: its controller makes another, and whoever selects it may adopt it back.
      const pod = some(cluster.list(pods).filter(({ metadata }) => metadata.labels?.["app"] === "web"));
      if (pod === undefined) break;
      cluster.edit(pods, pod.metadata.name, (object) => ({
        ...object,
        metadata: { ...object.metadata, labels: { ...object.metadata.labels, app: random() < 0.5 ? "web" : "stray" } },
      }));
      break;
    }
    case 8:
      cluster.edit(services, "web", (object) => ({
        ...object,
        spec: { ...object.spec, selector: { app: some(["web", "api", "stray"]) ?? "web" } },
      }));
      break;
    case 10: {
      const node = some(["node-2", "node-3"]) ?? "";
      if (cluster.get(nodes, node) === undefined) cluster.api.create(testNode(node));
      else cluster.remove(nodes, node);
      break;
    }
    case 11:
      cluster.edit(nodes, "node-1", (object) => ({
        ...object,
        spec: { ...object.spec, unschedulable: object.spec.unschedulable !== true },
      }));
      break;
    case 9: {
      const slice = some(cluster.list(endpointSlices));
      if (slice !== undefined) cluster.remove(endpointSlices, slice.metadata.name);
      break;
    }
  }
}

function templateOf(name: string, version: number): ReturnType<typeof app>["template"] {
  const { template } = app(name);
  return {
    ...template,
    metadata: { labels: template.metadata.labels, annotations: { version: String(version) } },
  } as typeof template;
}

/** Slices together hold exactly what a computation from nothing gives, at most 100 each, no empty ones but placeholders. */
function checkEndpoints(cluster: TestCluster): void {
  const objects = followObjects({
    api: cluster.api,
    resources: resources.map(({ group, resource }) => ({ group, resource })),
    resourceOf: () => undefined,
    changed: () => {},
  });
  objects.load();
  for (const service of cluster.list(services)) {
    if (service.spec.selector === undefined) continue;
    const slices = cluster
      .list(endpointSlices)
      .filter(({ metadata }) => metadata.labels?.[sliceLabels.serviceName] === service.metadata.name);
    const actual = slices.flatMap(({ addressType, ports, endpoints: list }) =>
      (list ?? []).map((endpoint) => `${addressType} ${portsKey(ports ?? [])} ${JSON.stringify(sorted(endpoint))}`),
    );
    const expected = familiesOf(service).flatMap((family) =>
      groupsFor({ objects }, service, family).flatMap((group) =>
        group.endpoints.map((endpoint) => `${family} ${portsKey(group.ports)} ${JSON.stringify(sorted(endpoint))}`),
      ),
    );
    assert.deepEqual([...actual].sort(byText), [...expected].sort(byText));
    assert.ok(slices.every((slice) => (slice.endpoints ?? []).length <= 100));
    const addresses =
      cluster.must(endpoints, service.metadata.name).subsets?.flatMap((subset) => subset.addresses ?? []) ?? [];
    const ready = slices
      .filter(({ addressType }) => addressType === familiesOf(service)[0])
      .flatMap((slice) => slice.endpoints ?? [])
      .filter(({ conditions }) => conditions?.ready === true);
    assert.deepEqual(
      addresses.map(({ ip }) => ip).sort(byText),
      ready.map((endpoint) => endpoint.addresses[0] ?? "").sort(byText),
    );
  }
  objects.close();
}

function byText(a: string, b: string): number {
  return a < b ? -1 : 1;
}

function sorted(value: object): unknown {
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => byText(a, b)));
}
