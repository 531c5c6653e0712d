// Where proxied names lead, and where they must not.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { EndpointSlice, Node, Pod, Service } from "../../../kube/kinds.ts";
import type { KubeObject } from "../../../kube/object.ts";
import { nodeAddress, podAddress, serviceAddress, splitName } from "./proxy-address.ts";

const pod = (podIP: string, ports: readonly object[] = [{ containerPort: 8080, name: "http" }]): Pod =>
  ({
    metadata: { name: "web", namespace: "default" },
    spec: { nodeName: "node-1", containers: [{ name: "c", ports }] },
    status: { podIP, podIPs: [{ ip: podIP }] },
  }) as unknown as Pod;

test("names of proxied objects", () => {
  assert.deepEqual(splitName("web"), { scheme: "", name: "web", port: "" });
  assert.deepEqual(splitName("web:80"), { scheme: "", name: "web", port: "80" });
  assert.deepEqual(splitName("https:web:"), { scheme: "https", name: "web", port: "" });
  assert.deepEqual(splitName("http:web:http"), { scheme: "http", name: "web", port: "http" });
  assert.equal(splitName("ftp:web:1"), undefined);
  assert.equal(splitName("a:b:c:d"), undefined);
});

test("pods: their first port, a number or a name", () => {
  const at = (name: string, target = pod("10.244.1.5")): string => {
    const { secure, address, port, node } = podAddress(target, name);
    return `${secure ? "https" : "http"} ${address} ${port} ${node}`;
  };
  assert.equal(at("web"), "http 10.244.1.5 8080 node-1");
  assert.equal(at("web:9"), "http 10.244.1.5 9 node-1");
  assert.equal(at("https:web:http"), "https 10.244.1.5 8080 node-1");
  assert.equal(at("web", pod("fd00::5", [])), "http fd00::5 80 node-1");
  assert.equal(at("https:web:", pod("fd00::5", [])), "https fd00::5 443 node-1");
  assert.throws(() => at("web:none"), /there is no port "none"/);
  assert.throws(() => at("web:70000"), /there is no port/);
});

test("no status leads to this machine's own addresses", () => {
  for (const address of [
    "127.0.0.1",
    "::1",
    "0.0.0.0",
    "169.254.169.254",
    "224.0.0.1",
    "fe80::1",
    "ff02::1",
    "::ffff:127.0.0.1",
  ])
    assert.throws(() => podAddress(pod(address), "web"), /address not allowed/, address);
  assert.throws(() => podAddress(pod(""), "web"), /no address yet/);
});

test("services: an endpoint that is ready and really a pod's, by port name or number", () => {
  const service = {
    metadata: { name: "web", namespace: "default" },
    spec: {
      ports: [
        { name: "http", port: 80 },
        { name: "admin", port: 81 },
      ],
    },
  } as unknown as Service;
  const endpoint = (address: string, name: string, ready = true): object => ({
    addresses: [address],
    nodeName: "node-2",
    conditions: { ready },
    targetRef: { kind: "Pod", name, namespace: "default" },
  });
  const slice = (endpoints: readonly object[]): EndpointSlice =>
    ({
      metadata: { name: "web-1", namespace: "default", labels: { "kubernetes.io/service-name": "web" } },
      ports: [
        { name: "http", port: 8080 },
        { name: "admin", port: 9090 },
      ],
      endpoints,
    }) as unknown as EndpointSlice;
  const at = (name: string, endpoints: readonly object[], random = 0): string => {
    const pods: Record<string, KubeObject> = { a: pod("10.244.1.1"), b: pod("10.244.1.2") };
    const api = {
      get: ({ name: wanted }: { name: string }) => pods[wanted],
      list: () => ({ items: [slice(endpoints)], resourceVersion: 1 }),
    };
    const { address, port, node } = serviceAddress(api, service, name, () => random);
    return `${address} ${port} ${node}`;
  };
  const both = [endpoint("10.244.1.1", "a"), endpoint("10.244.1.2", "b")];
  assert.equal(at("web:http", both), "10.244.1.1 8080 node-2");
  assert.equal(at("web:http", both, 0.99), "10.244.1.2 8080 node-2");
  assert.equal(at("web:81", both), "10.244.1.1 9090 node-2");
  assert.throws(() => at("web", both), /no endpoints available for service "web"/, "a named port must be named");
  assert.throws(() => at("web:82", both), /no service port 82 found for service "web"/);
  assert.equal(
    at("web:http", [endpoint("10.244.1.1", "a", false), endpoint("10.244.1.2", "b")]),
    "10.244.1.2 8080 node-2",
  );
  assert.throws(
    () => at("web:http", [endpoint("172.18.0.1", "a")]),
    /no endpoints/,
    "an address that is not the pod's",
  );
  assert.throws(() => at("web:http", [{ addresses: ["10.244.1.1"] }]), /no endpoints/, "an address of no pod");
});

test("nodes: the kubelet's port unless another is named", () => {
  const node = {
    metadata: { name: "node-1" },
    status: { addresses: [{ type: "InternalIP", address: "172.18.0.11" }] },
  } as unknown as Node;
  assert.deepEqual(nodeAddress(node, "node-1"), { secure: false, address: "172.18.0.11", port: 10250, node: "node-1" });
  assert.equal(nodeAddress(node, "https:node-1:10256").secure, true);
  assert.equal(nodeAddress(node, "node-1:10256").port, 10256);
  assert.throws(() => nodeAddress(node, "node-1:http"), /invalid node request/);
});
