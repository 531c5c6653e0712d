import assert from "node:assert/strict";
import { describe, test } from "node:test";

import type { Endpoint, Pod, Service } from "../../kube/kinds.ts";
import { deployment, service, testCluster, testNode, type TestCluster } from "./cluster.testing.ts";
import { deployments, endpoints, endpointSlices, events, nodes, pods, services } from "./resources.ts";

function bare(
  name: string,
  more: { spec?: Partial<Pod["spec"]>; port?: number; labels?: Pod["metadata"]["labels"] } = {},
): Pod {
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name, labels: more.labels ?? { app: "web" } },
    spec: {
      containers: [{ name: "main", image: "nginx", ports: [{ name: "http", containerPort: more.port ?? 8080 }] }],
      ...more.spec,
    },
  };
}

/** Nobody makes endpoints for it. */
const manualService = {
  apiVersion: "v1",
  kind: "Service",
  metadata: { name: "manual" },
  spec: { ports: [{ port: 80 }] },
};

const slices = (cluster: TestCluster): readonly string[] =>
  cluster
    .list(endpointSlices)
    .map(({ addressType, ports, endpoints: list }) => {
      const numbers = (ports ?? []).map(({ name, port }) => `${name}:${port}`).join(",");
      return `${addressType} [${numbers}] ${(list ?? []).map((each) => text(each)).join(" ")}`.trim();
    })
    .sort((a, b) => (a < b ? -1 : 1));

const text = ({ targetRef, conditions, hostname, hints }: Endpoint): string =>
  [
    targetRef?.name,
    conditions?.ready === true ? "ready" : "",
    conditions?.serving === true ? "serving" : "",
    conditions?.terminating === true ? "terminating" : "",
    hostname === undefined ? "" : `as:${hostname}`,
    hints?.forNodes === undefined ? "" : `nodes:${hints.forNodes.map(({ name }) => name).join("+")}`,
    hints?.forZones === undefined ? "" : `zones:${hints.forZones.map(({ name }) => name).join("+")}`,
  ]
    .filter((part) => part !== "")
    .join("/");

async function started(options: {
  readonly service: Service;
  readonly pods: readonly Pod[];
  readonly run?: (pod: Pod) => boolean;
}): Promise<TestCluster> {
  const cluster = await testCluster({
    nodes: [testNode("node-1", { labels: { "topology.kubernetes.io/zone": "z1" } }), testNode("node-2")],
  });
  cluster.create(options.service, ...options.pods);
  await cluster.idle();
  await cluster.settle(options.run);
  return cluster;
}

void describe("EndpointSlices", () => {
  const cases: readonly {
    readonly what: string;
    readonly service: Partial<Service["spec"]>;
    readonly pods: readonly Pod[];
    readonly run?: (pod: Pod) => boolean;
    readonly expected: readonly string[];
  }[] = [
    { what: "nobody: a placeholder", service: {}, pods: [], expected: ["IPv4 []"] },
    {
      what: "ready and unready pods",
      service: {},
      pods: [bare("a"), bare("b"), bare("c", { labels: { app: "other" } })],
      run: ({ metadata }) => metadata.name !== "b",
      expected: ["IPv4 [http:8080] a/ready/serving b"],
    },
    {
      what: "publishNotReadyAddresses",
      service: { publishNotReadyAddresses: true },
      pods: [bare("a")],
      run: () => false,
      expected: ["IPv4 [http:8080] a/ready"],
    },
    {
      what: "a named port with different numbers",
      service: {},
      pods: [bare("a"), bare("b", { port: 9090 }), bare("c")],
      expected: ["IPv4 [http:8080] a/ready/serving c/ready/serving", "IPv4 [http:9090] b/ready/serving"],
    },
    {
      what: "a named port that a pod does not have",
      service: {
        ports: [
          { name: "web", port: 80, targetPort: "http" },
          { name: "metrics", port: 90, targetPort: "metrics" },
        ],
      },
      pods: [bare("a")],
      expected: ["IPv4 [web:8080] a/ready/serving"],
    },
    {
      what: "both families",
      service: { ipFamilyPolicy: "RequireDualStack" },
      pods: [bare("a")],
      expected: ["IPv4 [http:8080] a/ready/serving", "IPv6 [http:8080] a/ready/serving"],
    },
    {
      what: "headless without ports, with host names",
      service: { clusterIP: "None", ports: [] },
      pods: [
        bare("a", { spec: { hostname: "first", subdomain: "web" } }),
        bare("b", { spec: { hostname: "x", subdomain: "else" } }),
      ],
      expected: ["IPv4 [] a/ready/serving/as:first b/ready/serving"],
    },
    {
      what: "trafficDistribution PreferSameZone",
      service: { trafficDistribution: "PreferSameZone" },
      pods: [bare("a", { spec: { nodeName: "node-1" } }), bare("b", { spec: { nodeName: "node-2" } })],
      expected: ["IPv4 [http:8080] a/ready/serving/zones:z1 b/ready/serving"],
    },
    {
      what: "trafficDistribution PreferSameNode",
      service: { trafficDistribution: "PreferSameNode" },
      pods: [bare("a", { spec: { nodeName: "node-1" } })],
      expected: ["IPv4 [http:8080] a/ready/serving/nodes:node-1/zones:z1"],
    },
  ];
  for (const each of cases) {
    void test(each.what, async () => {
      const cluster = await started({ ...each, service: service("web", each.service) });
      assert.deepEqual(slices(cluster), each.expected);
      cluster.close();
    });
  }

  void test("a terminating pod is kept as such, an ended one is not", async () => {
    const cluster = await started({ service: service("web"), pods: [bare("a"), bare("b")] });
    cluster.remove(pods, "a");
    const b = cluster.must(pods, "b");
    cluster.api.updateStatus({ ...b, status: { ...b.status, phase: "Succeeded" } });
    await cluster.idle();
    assert.deepEqual(slices(cluster), ["IPv4 [http:8080] a/serving/terminating"]);
    cluster.close();
  });

  void test("slices carry node, zone, owner and labels; they go with the Service", async () => {
    const cluster = await started({
      service: { ...service("web"), metadata: { name: "web", labels: { team: "x" } } },
      pods: [bare("a", { spec: { nodeName: "node-1" } })],
    });
    const [slice] = cluster.list(endpointSlices);
    assert.deepEqual([slice?.endpoints?.[0]?.nodeName, slice?.endpoints?.[0]?.zone], ["node-1", "z1"]);
    assert.deepEqual(slice?.metadata.labels, {
      team: "x",
      "kubernetes.io/service-name": "web",
      "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
    });
    assert.equal(slice.metadata.ownerReferences?.[0]?.uid, cluster.must(services, "web").metadata.uid);
    cluster.edit(nodes, "node-1", (node) => ({
      ...node,
      metadata: { ...node.metadata, labels: { "topology.kubernetes.io/zone": "z9" } },
    }));
    await cluster.idle();
    assert.equal(cluster.list(endpointSlices)[0]?.endpoints?.[0]?.zone, "z9");
    cluster.remove(services, "web");
    await cluster.settle();
    assert.deepEqual([cluster.list(endpointSlices).length, cluster.list(endpoints).length], [0, 0]);
    cluster.close();
  });

  void test("a slice that somebody spoils is put right", async () => {
    const cluster = await started({ service: service("web"), pods: [bare("a")] });
    const [slice] = cluster.list(endpointSlices);
    cluster.edit(endpointSlices, slice?.metadata.name ?? "", (object) => ({ ...object, endpoints: [] }));
    await cluster.idle();
    assert.deepEqual(slices(cluster), ["IPv4 [http:8080] a/ready/serving"]);
    cluster.close();
  });

  void test("one pod of many that changes writes one slice", async () => {
    const cluster = await testCluster();
    cluster.create(deployment("web", 250), service("web"));
    await cluster.settle();
    const before = new Map(
      cluster.list(endpointSlices).map(({ metadata }) => [metadata.name, metadata.resourceVersion]),
    );
    assert.equal(before.size, 3);
    await cluster.kubelet((pod) => pod.metadata.name !== cluster.list(pods)[17]?.metadata.name);
    const changed = cluster
      .list(endpointSlices)
      .filter(({ metadata }) => before.get(metadata.name) !== metadata.resourceVersion);
    assert.equal(changed.length, 1);
    cluster.edit(deployments, "web", (object) => ({ ...object, spec: { ...object.spec, replicas: 0 } }));
    await cluster.settle();
    assert.deepEqual(slices(cluster), ["IPv4 []"]);
    cluster.close();
  });
});

void describe("Endpoints", () => {
  void test("of a Service with a selector list its pods, ready or not", async () => {
    const cluster = await started({
      service: service("web"),
      pods: [bare("a"), bare("b")],
      run: ({ metadata }) => metadata.name === "a",
    });
    const { subsets, metadata } = cluster.must(endpoints, "web");
    assert.deepEqual(
      subsets?.map(({ addresses, notReadyAddresses, ports }) => [
        addresses?.map(({ targetRef }) => targetRef?.name),
        notReadyAddresses?.map(({ targetRef }) => targetRef?.name),
        ports,
      ]),
      [[["a"], ["b"], [{ name: "http", port: 8080, protocol: "TCP" }]]],
    );
    assert.equal(metadata.labels?.["endpoints.kubernetes.io/managed-by"], "endpoint-controller");
    cluster.close();
  });

  void test("that somebody removes or changes are put right", async () => {
    const cluster = await started({ service: service("web"), pods: [bare("a")] });
    const count = (): number => cluster.must(endpoints, "web").subsets?.[0]?.addresses?.length ?? 0;
    cluster.remove(endpoints, "web");
    await cluster.idle();
    assert.equal(count(), 1);
    cluster.edit(endpoints, "web", (object) => ({ ...object, subsets: [] }));
    await cluster.idle();
    assert.equal(count(), 1);
    cluster.close();
  });

  void test("written by hand become slices of both families, and follow them", async () => {
    const cluster = await testCluster();
    const byHand = {
      apiVersion: "v1",
      kind: "Endpoints",
      metadata: { name: "manual" },
      subsets: [
        {
          addresses: [{ ip: "192.0.2.1" }, { ip: "2001:db8::1" }],
          notReadyAddresses: [{ ip: "192.0.2.2" }],
          ports: [{ port: 8080 }],
        },
      ],
    };
    // Before its Service there is nothing to mirror for.
    cluster.create(byHand);
    await cluster.idle();
    assert.deepEqual(slices(cluster), []);
    cluster.create(manualService);
    await cluster.idle();
    const mirrored = (): readonly unknown[] =>
      cluster
        .list(endpointSlices)
        .map(({ addressType, endpoints: list }) => [
          addressType,
          (list ?? []).map(({ addresses, conditions }) => [addresses[0], conditions?.ready]),
        ]);
    const ipv4 = [
      "IPv4",
      [
        ["192.0.2.1", true],
        ["192.0.2.2", false],
      ],
    ];
    assert.deepEqual(
      new Set(mirrored().map((each) => JSON.stringify(each))),
      new Set([ipv4, ["IPv6", [["2001:db8::1", true]]]].map((each) => JSON.stringify(each))),
    );
    cluster.edit(endpoints, "manual", (object) => ({
      ...object,
      subsets: [{ addresses: [{ ip: "192.0.2.9" }], ports: [{ port: 8080 }] }],
    }));
    await cluster.idle();
    assert.deepEqual(mirrored(), [["IPv4", [["192.0.2.9", true]]]]);
    const annotate = async (annotations: Readonly<Record<string, string>>): Promise<unknown> => {
      cluster.edit(endpoints, "manual", ({ metadata, ...rest }) => ({
        ...rest,
        metadata: { ...metadata, annotations },
      }));
      await cluster.idle();
      return cluster.list(endpointSlices).map(({ metadata }) => metadata.annotations ?? {});
    };
    const aboutItself = {
      "kubectl.kubernetes.io/last-applied-configuration": "{}",
      "endpoints.kubernetes.io/last-change-trigger-time": "2026-01-01T00:00:00Z",
    };
    assert.deepEqual(await annotate({ ...aboutItself, note: "one" }), [{ note: "one" }]);
    assert.deepEqual(await annotate({ note: "two" }), [{ note: "two" }]);
    assert.deepEqual(await annotate(aboutItself), [{}]);
    cluster.edit(services, "manual", (object) => ({ ...object, spec: { ...object.spec, selector: { app: "x" } } }));
    await cluster.settle();
    assert.deepEqual(slices(cluster), ["IPv4 []"]);
    cluster.close();
  });

  void test("written by hand are put in order first: a port has all of its addresses, and not ready wins", async () => {
    const c = await testCluster();
    c.create(manualService);
    const port = (name: string, number: number): object => ({ name, port: number, protocol: "TCP" });
    c.create({
      apiVersion: "v1",
      kind: "Endpoints",
      metadata: { name: "manual" },
      subsets: [
        { addresses: [{ ip: "192.0.2.2" }, { ip: "192.0.2.1" }], ports: [port("a", 80)] },
        { addresses: [{ ip: "192.0.2.1" }, { ip: "192.0.2.2" }], ports: [port("b", 81)] },
        { addresses: [{ ip: "192.0.2.3" }], notReadyAddresses: [{ ip: "192.0.2.4" }], ports: [port("c", 82)] },
        { notReadyAddresses: [{ ip: "192.0.2.3" }], ports: [port("c", 82)] },
        { addresses: [{ ip: "192.0.2.5" }] },
      ],
    });
    await c.idle();
    const said = c
      .list(endpointSlices)
      .map(({ ports = [], endpoints: list = [] }) => [
        ports.map(({ port: number }) => number),
        list.map(({ addresses, conditions }) => `${addresses[0]} ${conditions?.ready}`),
      ]);
    assert.deepEqual(
      said.sort(([a], [b]) => String(a).localeCompare(String(b))),
      [
        [[], ["192.0.2.5 true"]],
        [
          [80, 81],
          ["192.0.2.1 true", "192.0.2.2 true"],
        ],
        [[82], ["192.0.2.3 false", "192.0.2.4 false"]],
      ],
    );
    c.close();
  });

  void test("of more than a thousand addresses a thousand are mirrored, in one slice, and an Event says so", async () => {
    const c = await testCluster();
    c.create(manualService);
    const addresses = Array.from({ length: 1003 }, (_, n) => ({
      ip: `192.0.${2 + Math.floor(n / 250)}.${1 + (n % 250)}`,
    }));
    c.create({
      apiVersion: "v1",
      kind: "Endpoints",
      metadata: { name: "manual" },
      subsets: [{ addresses, ports: [{ port: 80 }] }],
    });
    await c.idle();
    assert.deepEqual(
      c.list(endpointSlices).map((slice) => (slice.endpoints ?? []).length),
      [1000],
    );
    const told = c.list(events).filter(({ reason }) => reason === "TooManyAddressesToMirror");
    assert.deepEqual(
      told.map(({ type, involvedObject, message }) => [type, involvedObject.kind, involvedObject.name, message]),
      [
        [
          "Warning",
          "Endpoints",
          "manual",
          "A max of 1000 addresses can be mirrored to EndpointSlices per Endpoints subset. 3 addresses were skipped",
        ],
      ],
    );
    c.close();
  });
});
