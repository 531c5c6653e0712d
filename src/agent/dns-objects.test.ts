import assert from "node:assert/strict";
import { test } from "node:test";

import fc from "fast-check";

import type { KubeObject } from "../kube/object.ts";
import { createNetworkBuilder, type ClusterObjects } from "../model/build.ts";
import { clusterConfig } from "../model/cluster.ts";
import { compileZone, type Zone } from "../program/zone.ts";
import { formatZone } from "../program/zone-text.ts";
import { dnsObject } from "./dns-objects.ts";

const cluster = clusterConfig({ families: [4, 6] });

function zoneOf(objects: Partial<Record<keyof ClusterObjects, readonly KubeObject[]>>): Zone {
  const none = { nodes: [], namespaces: [], pods: [], services: [], endpointSlices: [], networkPolicies: [] };
  const all = { ...none, clusterNetworkPolicies: [], ...objects } as unknown as ClusterObjects;
  return compileZone(createNetworkBuilder(cluster)(all));
}

const metadata = (name: string, labels: Record<string, string> = {}) => ({
  name,
  namespace: "shop",
  uid: `uid-${name}`,
  resourceVersion: "7",
  labels: { app: "web", ...labels },
  annotations: { "kubectl.kubernetes.io/last-applied-configuration": "x" },
  managedFields: [{ manager: "kubectl" }],
});

const ports = fc.subarray(
  [
    { name: "http", port: 80, protocol: "TCP" },
    { name: "dns", port: 53, protocol: "UDP" },
  ],
  { minLength: 1 },
);
const address = fc.integer({ min: 1, max: 250 }).map((n) => `10.244.1.${n}`);
const maybe = <T>(value: fc.Arbitrary<T>) => fc.option(value, { nil: undefined });
const endpoints = fc.uniqueArray(
  fc.record(
    {
      addresses: fc.array(address, { minLength: 1, maxLength: 2 }),
      conditions: fc.record(
        { ready: fc.boolean(), serving: fc.boolean(), terminating: fc.boolean() },
        { requiredKeys: [] },
      ),
      hostname: fc.constantFrom("db-0", "db-1"),
      targetRef: fc.constantFrom({ kind: "Pod", name: "web-0", namespace: "shop" }, { kind: "Node", name: "n" }),
      nodeName: fc.constant("node-1"),
    },
    { requiredKeys: ["addresses"] },
  ),
  { maxLength: 4, selector: ({ addresses }) => addresses[0] },
);
const spec = fc.record(
  {
    type: fc.constantFrom("ClusterIP", "NodePort", "ExternalName"),
    ips: fc.constantFrom(["10.96.0.7"], ["None"], ["10.96.0.7", "fd00:10:96::7"]),
    externalName: fc.constant("example.com"),
    publishNotReadyAddresses: fc.boolean(),
  },
  { requiredKeys: ["type", "ips"] },
);

void test("the names are those of the whole objects", () => {
  fc.assert(
    fc.property(
      spec,
      ports,
      endpoints,
      maybe(fc.constantFrom("service.kubernetes.io/service-proxy-name", "service.kubernetes.io/headless")),
      ({ ips, ...rest }, ports, endpoints, left) => {
        const service = {
          apiVersion: "v1",
          kind: "Service",
          metadata: metadata("web"),
          spec: {
            ...rest,
            clusterIP: ips[0],
            clusterIPs: ips,
            ports,
            selector: { app: "web" },
            sessionAffinity: "None",
          },
          status: { loadBalancer: {} },
        };
        const labels = { "kubernetes.io/service-name": "web", ...(left !== undefined && { [left]: "other" }) };
        const slice = {
          apiVersion: "discovery.k8s.io/v1",
          kind: "EndpointSlice",
          metadata: metadata("web-x", labels),
          addressType: "IPv4",
          ports,
          endpoints,
        };
        const pod = {
          apiVersion: "v1",
          kind: "Pod",
          metadata: metadata("web-0"),
          spec: { nodeName: "node-1", containers: [{ name: "c", image: "i", ports: [{ containerPort: 80 }] }] },
          status: { phase: "Running", podIP: "10.244.1.9", podIPs: [{ ip: "10.244.1.9" }] },
        };
        const whole = { services: [service], endpointSlices: [slice], pods: [pod] } as unknown as Record<
          "services" | "endpointSlices" | "pods",
          KubeObject[]
        >;
        const kept = {
          services: whole.services.map(dnsObject),
          endpointSlices: whole.endpointSlices.map(dnsObject),
          pods: whole.pods.map(dnsObject),
        };
        assert.equal(formatZone(zoneOf(kept)), formatZone(zoneOf(whole)));
        assert.ok(JSON.stringify(kept.services).length < JSON.stringify(whole.services).length);
      },
    ),
  );
});
