import assert from "node:assert/strict";
import { test } from "node:test";

import type { NetworkService } from "./network.ts";
import { service, slice } from "./objects.testing.ts";
import { networkService, podBehind } from "./service.ts";

void test("endpoints of all slices are joined, each address and port once, in order", () => {
  const result = networkService(service("web"), [
    slice("web", [{ addresses: ["10.244.2.9"] }, { addresses: ["10.244.1.10"] }], { name: "web-2" }),
    slice("web", [{ addresses: ["10.244.1.9"] }, { addresses: ["10.244.2.9"] }], { name: "web-1" }),
    slice("web", [{ addresses: ["fd00::2"] }], { name: "web-6", addressType: "IPv6" }),
  ]);
  assert.deepEqual(endpointsOf(result), ["10.244.1.9:8080", "10.244.1.10:8080", "10.244.2.9:8080", "fd00::2:8080"]);
});

void test("of an endpoint in two slices the ready one counts", () => {
  const leaving = slice("web", [{ addresses: ["10.244.2.9"], conditions: { ready: false } }], { name: "web-1" });
  const arriving = slice("web", [{ addresses: ["10.244.2.9"], conditions: { ready: true } }], { name: "web-2" });
  for (const slices of [
    [leaving, arriving],
    [arriving, leaving],
  ]) {
    const [endpoint, ...others] = networkService(service("web"), slices).ports[0]?.endpoints ?? [];
    assert.equal(endpoint?.ready, true);
    assert.equal(endpoint?.origin.name, "web-2");
    assert.deepEqual(others, []);
  }
});

void test("of a pod that ends and one that has its address by now the one that does not end counts", () => {
  const at = (name: string, conditions: object): ReturnType<typeof slice> =>
    slice("web", [{ addresses: ["10.244.2.9"], conditions }], { name });
  const old = at("web-1", { ready: false, serving: true, terminating: true });
  const young = at("web-2", { ready: false, serving: false, terminating: false });
  for (const slices of [
    [old, young],
    [young, old],
  ]) {
    const [endpoint, ...others] = networkService(service("web"), slices).ports[0]?.endpoints ?? [];
    assert.deepEqual([endpoint?.origin.name, endpoint?.terminating, others], ["web-2", false, []]);
  }
});

void test("absent conditions mean ready, serving and not terminating (KEP-1669)", () => {
  const [endpoint] =
    networkService(service("web"), [slice("web", [{ addresses: ["10.244.2.9"] }])]).ports[0]?.endpoints ?? [];
  assert.deepEqual([endpoint?.ready, endpoint?.serving, endpoint?.terminating], [true, true, false]);
});

void test("only the first address counts, FQDN slices and addresses of the wrong type do not", () => {
  const result = networkService(service("web"), [
    slice("web", [{ addresses: ["10.244.2.9", "10.244.2.10"] }, { addresses: ["fd00::1"] }, { addresses: ["10.1.1"] }]),
    slice("web", [{ addresses: ["example.org"] }], { name: "web-f", addressType: "FQDN" }),
  ]);
  assert.deepEqual(endpointsOf(result), ["10.244.2.9:8080"]);
});

void test("ports are matched by name and protocol, and each slice has its own number", () => {
  const ports = [
    { name: "a", port: 80 },
    { name: "b", port: 81, protocol: "UDP" as const },
  ];
  const result = networkService(service("web", { ports }), [
    slice("web", [{ addresses: ["10.244.1.1"] }], {
      name: "web-1",
      ports: [
        { name: "b", port: 1001, protocol: "UDP" },
        { name: "a", port: 1000 },
      ],
    }),
    slice("web", [{ addresses: ["10.244.1.2"] }], { name: "web-2", ports: [{ name: "a", port: 2000 }] }),
    slice("web", [{ addresses: ["10.244.1.3"] }], {
      name: "web-3",
      ports: [{ name: "b", port: 3001, protocol: "TCP" }],
    }),
    slice("web", [{ addresses: ["10.244.1.4"] }], { name: "web-4", ports: [{ name: "a" }] }),
  ]);
  assert.deepEqual(
    result.ports.map(({ endpoints }) => endpoints.map(({ address, port }) => `${address}:${port}`)),
    [["10.244.1.1:1000", "10.244.1.2:2000"], ["10.244.1.1:1001"]],
  );
});

void test("a headless Service without ports has its endpoints all the same, those of every port once", () => {
  const two = [
    { name: "a", port: 1 },
    { name: "b", port: 2 },
  ];
  const v4 = slice("web", [{ addresses: ["10.244.0.9"] }, { addresses: ["10.244.0.8"], hostname: "db-0" }], {
    ports: two,
  });
  const v6 = slice("web", [{ addresses: ["fd00::8"], conditions: { ready: false } }], {
    name: "web-6",
    addressType: "IPv6",
    ports: [],
  });
  const { ports, endpoints = [] } = networkService(service("web", { clusterIP: "None", ports: [] }), [v4, v6]);
  assert.deepEqual(ports, []);
  assert.deepEqual(
    endpoints.map(({ address, port, ready, hostname }) => [address, port, ready, hostname]),
    [
      ["10.244.0.8", 0, true, "db-0"],
      ["10.244.0.9", 0, true, undefined],
      ["fd00::8", 0, false, undefined],
    ],
  );
  assert.equal(networkService(service("web", { clusterIP: "10.96.0.9" }), [v4]).endpoints, undefined);
});

void test("addresses as API servers took them before 1.36 are good (KEP-4858); what nobody can read opens nothing", () => {
  const old = service("web", {
    type: "LoadBalancer",
    externalIPs: ["192.000.002.007", "::ffff:192.0.2.8"],
    loadBalancerSourceRanges: [" 010.0.0.5/8 ", "10.1.2.3/33"],
  });
  const result = networkService({ ...old, status: { loadBalancer: { ingress: [{ ip: "198.051.100.1" }] } } }, [
    slice("web", [{ addresses: ["010.244.002.009"] }, { addresses: ["::ffff:10.244.2.10"] }, { addresses: ["10.2"] }]),
  ]);
  assert.deepEqual(endpointsOf(result), ["10.244.2.9:8080", "10.244.2.10:8080"]);
  assert.deepEqual(
    result.ports[0]?.external?.map(({ address }) => address),
    ["198.51.100.1", "192.0.2.7", "192.0.2.8"],
  );
  assert.deepEqual(result.loadBalancerSources, ["10.0.0.0/8"]);
  const unread = { type: "LoadBalancer", loadBalancerSourceRanges: ["10.1.2.3/33"] } as const;
  assert.deepEqual(networkService(service("web", unread), []).loadBalancerSources, []);
  const none = { type: "LoadBalancer", loadBalancerSourceRanges: [""] } as const;
  assert.equal(networkService(service("web", none), []).loadBalancerSources, undefined);
});

void test("headless, ExternalName and affinity", () => {
  const headless = networkService(service("web", { clusterIP: "None" }), []);
  assert.deepEqual([headless.headless, headless.clusterIps], [true, []]);
  const external = networkService(service("web", { type: "ExternalName", externalName: "example.org" }), []);
  assert.deepEqual([external.headless, external.clusterIps, external.externalName], [false, [], "example.org"]);
  const affine = networkService(service("web", { sessionAffinity: "ClientIP" }), []);
  assert.equal(affine.sessionAffinitySeconds, 10800);
});

void test("origins lead to the slice and the place in it", () => {
  const [endpoint] =
    networkService(service("web"), [
      slice("web", [{ addresses: ["10.244.2.9"], targetRef: { kind: "Pod", name: "web-a" } }]),
    ]).ports[0]?.endpoints ?? [];
  assert.deepEqual(endpoint?.origin, {
    kind: "EndpointSlice",
    namespace: "default",
    name: "web-1",
    field: "endpoints[0]",
  });
  assert.equal(endpoint && podBehind(endpoint), "default/web-a");
  const [elsewhere] =
    networkService(service("web"), [
      slice("web", [{ addresses: ["10.244.2.9"], targetRef: { kind: "Pod", name: "web-a", namespace: "other" } }]),
    ]).ports[0]?.endpoints ?? [];
  assert.equal(elsewhere && podBehind(elsewhere), "other/web-a");
});

function endpointsOf(result: NetworkService): string[] {
  return result.ports.flatMap(({ endpoints }) => endpoints.map(({ address, port }) => `${address}:${port}`));
}

void test("what another proxy is responsible for, or none, is left alone: a labelled Service's addresses, a labelled slice's endpoints", () => {
  const [proxyName, headless] = ["service.kubernetes.io/service-proxy-name", "service.kubernetes.io/headless"] as const;
  const label = <T extends ReturnType<typeof slice> | ReturnType<typeof service>>(object: T, name: string): T => ({
    ...object,
    metadata: { ...object.metadata, labels: { ...object.metadata.labels, [name]: "" } },
  });
  const ours = slice("web", [{ addresses: ["10.244.1.1"] }], { name: "web-1" });
  const others = slice("web", [{ addresses: ["10.244.1.2"] }], { name: "web-2" });
  const result = networkService(service("web"), [ours, label(others, headless)]);
  assert.deepEqual(endpointsOf(result), ["10.244.1.1:8080"]);
  assert.equal(result.leftTo, undefined);
  assert.equal(networkService(label(service("web"), proxyName), [ours]).leftTo, proxyName);

  // Each label means something on one kind only.
  const copied = networkService(service("web"), [ours, label(others, proxyName)]);
  assert.deepEqual(endpointsOf(copied), ["10.244.1.1:8080", "10.244.1.2:8080"]);
  assert.equal(networkService(label(service("web"), headless), [ours]).leftTo, undefined);
});
