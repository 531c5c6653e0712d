import assert from "node:assert/strict";
import { test } from "node:test";

import * as fc from "fast-check";

import { buildNetwork, createNetworkBuilder } from "./build.ts";
import { clusterConfig } from "./cluster.ts";
import type { NetworkPolicy, Node, Service } from "../kube/kinds.ts";
import type { Network } from "./network.ts";
import { namespace, node, objects, pod, service, slice } from "./objects.testing.ts";
import { clusterArbitrary, shuffled } from "./random.testing.ts";

const cluster = clusterConfig();

void test("any order of the same objects gives an equal Network", () => {
  fc.assert(
    fc.property(clusterArbitrary, fc.integer(), (all, seed) => {
      assert.deepEqual(buildNetwork(cluster, shuffled(all, seed)), buildNetwork(cluster, all));
    }),
    { numRuns: 200 },
  );
});

void test("a builder that saw other clusters before gives what a fresh one gives", () => {
  fc.assert(
    fc.property(fc.array(clusterArbitrary, { minLength: 2, maxLength: 5 }), (history) => {
      const build = createNetworkBuilder(cluster);
      for (const all of history) assert.deepEqual(build(all), buildNetwork(cluster, all));
    }),
    { numRuns: 150 },
  );
});

void test("a builder that is told what changed gives what one gives that compares the lists", () => {
  const changesOf = <T>(before: readonly T[], after: readonly T[]): { removed: readonly T[]; added: readonly T[] } => ({
    removed: before.filter((one) => !after.includes(one)),
    added: after.filter((one) => !before.includes(one)),
  });
  fc.assert(
    fc.property(fc.array(clusterArbitrary, { minLength: 2, maxLength: 5 }), ([first, ...rest]) => {
      const build = createNetworkBuilder(cluster);
      let before = first ?? objects({});
      build(before);
      for (const each of rest) {
        const changes = {
          services: changesOf(before.services, each.services),
          endpointSlices: changesOf(before.endpointSlices, each.endpointSlices),
        };
        // The lists are nobody's business then.
        const network = build({ ...each, services: [], endpointSlices: [] }, changes);
        assert.deepEqual(network, buildNetwork(cluster, each));
        before = each;
      }
    }),
    { numRuns: 60 },
  );
});

void test("edits one by one end where a fresh build ends", () => {
  fc.assert(
    fc.property(clusterArbitrary, clusterArbitrary, fc.integer(), (from, to, seed) => {
      const build = createNetworkBuilder(cluster);
      let current = from;
      build(current);
      // One kind after another, in an order the seed says: every prefix is a cluster too.
      const kinds = Object.keys(from) as (keyof typeof from)[];
      const start = Math.abs(seed) % kinds.length;
      for (const kind of [...kinds.slice(start), ...kinds.slice(0, start)]) {
        current = { ...current, [kind]: to[kind] };
        assert.deepEqual(build(current), buildNetwork(cluster, current));
      }
    }),
    { numRuns: 150 },
  );
});

void test("the same objects in other arrays give the same Network", () => {
  const all = shop();
  const build = createNetworkBuilder(cluster);
  const first = build(all);
  assert.equal(build({ ...all, pods: [...all.pods], services: [...all.services].toReversed() }), first);
});

void test("one changed EndpointSlice makes one Service another value and leaves the rest", () => {
  const all = shop();
  const build = createNetworkBuilder(cluster);
  const before = build(all);
  const after = build({
    ...all,
    endpointSlices: [slice("web", [{ addresses: ["10.244.2.9"] }]), ...rest(all.endpointSlices)],
  });
  assert.notEqual(named(after, "web"), named(before, "web"));
  assert.equal(named(after, "db"), named(before, "db"));
  assert.equal(after.pods, before.pods);
  assert.equal(after.nodes, before.nodes);
});

void test("a heartbeat or another field that means nothing to the network changes nothing", () => {
  const all = shop();
  const build = createNetworkBuilder(cluster);
  const before = build(all);
  const beaten = all.nodes.map((each) => ({ ...each, metadata: { ...each.metadata, resourceVersion: "99" } }));
  assert.equal(build({ ...all, nodes: beaten }), before);
});

void test("pods: completed ones and those without a node are gone, hostNetwork ones have their node's addresses", () => {
  const network = buildNetwork(
    cluster,
    objects({
      nodes: [node(1)],
      pods: [
        pod("done", { node: 1, host: 2 }, { status: { phase: "Succeeded", podIPs: [{ ip: "10.244.1.2" }] } }),
        pod("waiting", { node: 1, host: 3 }, { spec: { nodeName: "" } }),
        pod("starting", { node: 1, host: 4 }, { status: { phase: "Pending" } }),
        pod("agent", { node: 1, host: 5 }, { spec: { hostNetwork: true }, status: { phase: "Running" } }),
      ],
    }),
  );
  assert.deepEqual(
    network.pods.map(({ name, addresses, ready }) => [name, addresses, ready]),
    [
      ["agent", ["172.18.0.2", "fd00:172:18::2"], false],
      ["starting", [], false],
    ],
  );
});

void test("a hostNetwork pod follows its node's addresses", () => {
  const build = createNetworkBuilder(cluster);
  const agent = pod("agent", { node: 1, host: 5 }, { spec: { hostNetwork: true }, status: { phase: "Running" } });
  build(objects({ nodes: [node(1)], pods: [agent] }));
  const moved = { ...node(1), status: { addresses: [{ type: "InternalIP", address: "172.18.7.7" }] } };
  assert.deepEqual(build(objects({ nodes: [moved], pods: [agent] })).pods[0]?.addresses, ["172.18.7.7"]);
});

void test("problems name the object, the field and the way out", () => {
  const bad = service("api", { clusterIPs: ["10.96.0.9"], ports: [{ port: 80, targetPort: "htpp" }] });
  const network = buildNetwork(
    cluster,
    objects({
      nodes: [node(1)],
      pods: [
        pod("a", { node: 1, host: 2 }, { labels: { app: "api" } }),
        pod("b", { node: 1, host: 3 }, { labels: { app: "api" } }),
      ],
      services: [
        {
          ...bad,
          metadata: {
            ...bad.metadata,
            annotations: {
              "fairlead.dev/source": JSON.stringify({
                file: "shop.yaml",
                line: 20,
                lines: { "spec.ports[0].targetPort": 31 },
              }),
            },
          },
        },
        service("lonely", { clusterIPs: ["10.96.0.10"] }),
        {
          ...service("other", {}),
          spec: {
            clusterIP: "10.96.0.11",
            clusterIPs: ["10.96.0.11"],
            selector: { app: "api" },
            ports: [{ port: 80, protocol: "UDP", targetPort: "http" }],
          },
        },
      ],
    }),
  );
  assert.deepEqual(said(network), [
    'api spec.ports[0].targetPort shop.yaml:31: "htpp" names no container port of the 2 pods it selects (they have: http); traffic will be refused',
    "lonely spec.selector : app=lonely selects no pod in namespace default; traffic will be refused",
    'other spec.ports[0].targetPort : "http" names no container port of the 2 pods it selects (they have: http of TCP, not UDP); traffic will be refused',
  ]);
});

void test("a problem goes when the pod that solves it comes, and comes back when it goes", () => {
  const build = createNetworkBuilder(cluster);
  const all = objects({ nodes: [node(1)], services: [service("web", { clusterIPs: ["10.96.0.9"] })] });
  const running = pod("a", { node: 1, host: 2 }, { labels: { app: "web" } });
  assert.equal(build(all).problems.length, 1);
  assert.equal(build({ ...all, pods: [running] }).problems.length, 0);
  assert.equal(
    build({ ...all, pods: [{ ...running, metadata: { ...running.metadata, labels: {} } }] }).problems.length,
    1,
  );
});

void test("an address or node port that two Services ask for belongs to the older one", () => {
  const spec = { clusterIPs: ["10.96.0.9"], type: "NodePort" as const, ports: [{ port: 80, nodePort: 30001 }] };
  const young = created(service("a", spec), "2026-02-01T00:00:00Z");
  const old = created(service("b", spec), "2026-01-01T00:00:00Z");
  const build = createNetworkBuilder(cluster);
  const both = build(objects({ services: [young, old] }));
  assert.deepEqual(named(both, "b")?.clusterIps, ["10.96.0.9"]);
  assert.deepEqual(named(both, "a")?.clusterIps, []);
  assert.equal(named(both, "a")?.ports[0]?.nodePort, undefined);
  assert.deepEqual(
    said(both).filter((text) => text.includes("belongs")),
    [
      "a spec.clusterIPs[0] : 10.96.0.9 belongs to Service default/b; this Service does not answer there",
      "a spec.ports[0].nodePort : node port 30001/tcp belongs to Service default/b; this Service does not answer there",
    ],
  );
  assert.deepEqual(named(build(objects({ services: [young] })), "a")?.clusterIps, ["10.96.0.9"]);
});

void test("nodes that claim one range: the first by name has it", () => {
  const network = buildNetwork(
    cluster,
    objects({ nodes: [node(1), node(2, { podCIDRs: ["10.244.0.0/20"] }), node(3, { podCIDRs: ["10.244.1.0/24"] })] }),
  );
  assert.deepEqual(
    network.nodes.map(({ podCidrs }) => podCidrs),
    [["10.244.1.0/24", "fd00:10:244:1::/64"], [], []],
  );
  assert.ok(said(network).some((text) => text === "node-2 spec.podCIDRs[0] : 10.244.0.0/20 belongs to Node node-1"));
});

void test("a node whose cluster gives it no range has the one its agent brought", () => {
  const annotations = { "fairlead.dev/pod-cidrs": "10.244.7.0/24, fd00:10:244:7::/64" };
  const bare = (index: number, podCIDRs: readonly string[]): Node => {
    const object = node(index, { podCIDRs });
    return { ...object, metadata: { ...object.metadata, annotations } };
  };
  const network = buildNetwork(cluster, objects({ nodes: [bare(1, []), bare(2, ["10.244.2.0/24"])] }));
  assert.deepEqual(
    network.nodes.map(({ podCidrs }) => podCidrs),
    [["10.244.7.0/24", "fd00:10:244:7::/64"], ["10.244.2.0/24"]],
  );
});

void test("a pod range that holds Services' or nodes' addresses is nobody's", () => {
  const network = buildNetwork(
    cluster,
    objects({
      nodes: [
        node(1, { podCIDRs: ["10.96.128.0/20"] }),
        node(2, { podCIDRs: ["172.18.0.0/24", "fd00:10:244:2::/64"] }),
        node(3),
      ],
    }),
  );
  assert.deepEqual(
    network.nodes.map(({ podCidrs }) => podCidrs),
    [[], ["fd00:10:244:2::/64"], ["10.244.3.0/24", "fd00:10:244:3::/64"]],
  );
  const told = said(network);
  assert.ok(
    told.some((text) => text.startsWith("node-1 spec.podCIDRs[0] : 10.96.128.0/20 overlaps the Services' range")),
    told.join("\n"),
  );
  assert.ok(
    told.some((text) => /^node-2 spec\.podCIDRs\[0\] : 172\.18\.0\.0\/24 holds the address .* of Node/.test(text)),
    told.join("\n"),
  );
});

void test("hostPorts that will not answer, or may not, are said", () => {
  const ports = [
    { containerPort: 80, hostPort: 30001 },
    { containerPort: 81, hostPort: 81, hostIP: "::1" },
    { containerPort: 82, hostPort: 82 },
  ];
  const containers = [{ name: "main", ports }];
  const all = objects({ nodes: [node(1)], pods: [pod("a", { node: 1, host: 2 }, { spec: { containers } })] });
  assert.deepEqual(said(buildNetwork(cluster, all)), [
    "a spec.containers[0].ports[0].hostPort : 30001 lies in the range of node ports 30000-32767: a Service with that node port takes it",
    "a spec.containers[0].ports[1].hostPort : answers at ::1 only who asks from another address of the node (curl --interface): the kernel never lets a packet from ::1 leave it",
  ]);
});

void test("policies that nobody enforces are said, loudly", () => {
  const deny: NetworkPolicy = {
    apiVersion: "networking.k8s.io/v1",
    kind: "NetworkPolicy",
    metadata: { name: "deny", namespace: "default" },
    spec: { podSelector: {} },
  };
  const all = objects({ networkPolicies: [deny] });
  assert.deepEqual(said(buildNetwork(cluster, all)), []);
  const off = buildNetwork({ ...cluster, policy: "off" }, all);
  assert.deepEqual(off.policies, []);
  assert.deepEqual(said(off), [
    "deny spec : is not enforced: policies are switched off, every packet it would stop passes",
  ]);
  assert.equal(off.problems[0]?.severity, "error");
});

void test("a load balancer's address that two Services share by port: one speaks for the rest of it, and the other when that one is gone", () => {
  const of = (name: string, address: string, port: number): Service => {
    const ports = [{ name: "http", port, targetPort: "http" as const, protocol: "TCP" as const }];
    const plain = service(name, { type: "LoadBalancer", clusterIPs: [address], ports });
    return { ...plain, status: { loadBalancer: { ingress: [{ ip: "192.0.2.9" }] } } };
  };
  const [a, b] = [of("a", "10.96.0.9", 80), of("b", "10.96.0.10", 81)];
  const build = createNetworkBuilder(cluster);
  const shared = (services: readonly Service[]): readonly string[] => {
    const network = build(objects({ services }));
    assert.ok(!said(network).some((line) => line.includes("belongs to")), said(network).join("\n"));
    return network.services.map(({ name, ports }) => `${name} ${String(ports[0]?.external?.[0]?.isShared === true)}`);
  };
  assert.deepEqual(shared([a, b]), ["a false", "b true"]);
  assert.deepEqual(shared([b]), ["b false"]);
  assert.deepEqual(shared([b, a]), ["a false", "b true"]);
});

void test("addresses besides the cluster's own, and who may not have them", () => {
  const ports = [{ name: "http", port: 80, targetPort: "http" as const, protocol: "TCP" as const }];
  const balanced = service("a", {
    type: "LoadBalancer",
    clusterIPs: ["10.96.0.9"],
    externalIPs: ["192.0.2.1", "10.96.0.77"],
    loadBalancerSourceRanges: ["203.0.113.0/24"],
    healthCheckNodePort: 31000,
    ports,
  });
  const network = buildNetwork(
    cluster,
    objects({
      services: [
        {
          ...balanced,
          status: { loadBalancer: { ingress: [{ ip: "192.0.2.9" }, { ip: "192.0.2.10", ipMode: "Proxy" }] } },
        },
        service("b", { clusterIPs: ["10.96.0.10"], externalIPs: ["192.0.2.1"], ports, selector: {} }),
      ],
    }),
  );
  const [a, b] = network.services;
  assert.deepEqual(
    a?.ports[0]?.external?.map(({ kind, address }) => `${kind} ${address}`),
    ["load-balancer 192.0.2.9", "external-ip 192.0.2.1", "external-ip 10.96.0.77"],
  );
  assert.deepEqual(a.loadBalancerSources, ["203.0.113.0/24"]);
  assert.equal(a.healthCheckNodePort, 31000);
  assert.deepEqual(b?.ports[0]?.external, [], "the address and port belong to the first by name");
  const text = said(network);
  assert.ok(
    text.some((line) => line.includes("192.0.2.1 port 80/tcp belongs to Service default/a")),
    text.join("\n"),
  );
  assert.ok(
    text.some((line) => line.includes("10.96.0.77 lies in the cluster's service range")),
    text.join("\n"),
  );
});

function shop(): Parameters<ReturnType<typeof createNetworkBuilder>>[0] {
  return objects({
    nodes: [node(1), node(2)],
    namespaces: [namespace("default")],
    pods: [pod("web-1", { node: 1, host: 5 }, { labels: { app: "web" } })],
    services: [service("db", { clusterIPs: ["10.96.0.8"] }), service("web", { clusterIPs: ["10.96.0.7"] })],
    endpointSlices: [slice("web", [{ addresses: ["10.244.1.5"] }]), slice("db", [{ addresses: ["10.244.1.6"] }])],
  });
}

function created<T extends { metadata: object }>(object: T, creationTimestamp: string): T {
  return { ...object, metadata: { ...object.metadata, creationTimestamp } };
}

function named(network: Network, name: string): Network["services"][number] | undefined {
  return network.services.find((each) => each.name === name);
}

function rest<T>(values: readonly T[]): readonly T[] {
  return values.slice(1);
}

function said(network: Network): string[] {
  return network.problems.map(
    ({ origin, message }) => `${origin.name} ${origin.field} ${origin.source ?? ""}: ${message}`,
  );
}
