import assert from "node:assert/strict";
import { test } from "node:test";

import type { Service } from "../kube/kinds.ts";
import type { KubeObject } from "../kube/object.ts";
import { ApiError, type ApiRequest, type ClusterClient } from "../watch/cluster/client.ts";
import { startLoadBalancerStatus, type LoadBalancerStatus } from "./load-balancer-status.ts";

/** An API server that knows Services, takes patches of their status, and forgets Leases. */
interface FakeApi {
  readonly client: ClusterClient;
  readonly requests: string[];
  readonly events: string[];
  readonly log: string[];
  put(service: Service): void;
  remove(name: string): void;
  ingressOf(name: string): readonly string[];
  /** The next patch of a status meets somebody else's write. */
  conflicts: number;
  /** Not seen by watches: only who reads it knows. */
  finalizersOf: Map<string, readonly string[]>;
  status: LoadBalancerStatus;
  close(): Promise<void>;
}

function start(pools: readonly string[][]): FakeApi {
  const services = new Map<string, Service>();
  let version = 1;
  const poolObjects = pools.map((addresses, index) => ({
    apiVersion: "fairlead.dev/v1alpha1",
    kind: "LoadBalancerPool",
    metadata: { name: `pool-${index}` },
    spec: { addresses },
  }));
  const request = async (asked: ApiRequest): Promise<unknown> => {
    const { method = "GET", path, body } = asked;
    await Promise.resolve();
    if (path.includes("/leases")) {
      if (method === "GET") throw new ApiError("not found", { status: 404, reason: "NotFound" });
      return body;
    }
    api.requests.push(`${method} ${path}`);
    if (path.includes("/events")) {
      const { reason, message } = body as { reason: string; message: string };
      api.events.push(`${reason} ${message}`);
      return body;
    }
    const name = /services\/([^/]+)/.exec(path)?.[1] ?? "";
    const service = services.get(name);
    if (service === undefined) throw new ApiError("not found", { status: 404, reason: "NotFound" });
    const finalizers = api.finalizersOf.get(name) ?? [];
    if (method === "GET") return { ...service, metadata: { ...service.metadata, finalizers } };
    const { metadata, status } = body as { metadata: { resourceVersion: string }; status: Service["status"] };
    const isConflict = api.conflicts-- > 0 || metadata.resourceVersion !== service.metadata.resourceVersion;
    if (isConflict) throw new ApiError("conflict", { status: 409, reason: "Conflict" });
    const loadBalancer = status?.loadBalancer ?? {};
    put({ ...service, status: { loadBalancer } });
    return services.get(name);
  };
  const put = (service: Service): void => {
    const metadata = { ...service.metadata, resourceVersion: String(++version) };
    services.set(service.metadata.name, { ...service, metadata });
    api.status?.lookSoon();
  };
  const api = {
    client: { access: undefined as never, request, lines: () => Promise.resolve(), close() {} } as ClusterClient,
    requests: [],
    events: [],
    log: [],
    put,
    remove(name: string) {
      services.delete(name);
      api.status.lookSoon();
    },
    ingressOf: (name: string) => (services.get(name)?.status?.loadBalancer?.ingress ?? []).map(({ ip }) => ip ?? ""),
    conflicts: 0,
    finalizersOf: new Map(),
    close: () => api.status.close(),
  } as unknown as FakeApi;
  const objects = (kind: string): readonly KubeObject[] =>
    kind === "loadBalancerPools" ? poolObjects : kind === "services" ? [...services.values()] : [];
  api.status = startLoadBalancerStatus({
    client: api.client,
    node: "node-1",
    source: { objects },
    nodeCount: () => 1,
    log: (line) => api.log.push(line),
  });
  return api;
}

function service(name: string, spec: Partial<Service["spec"]> = {}, creationTimestamp = ""): Service {
  return {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name, namespace: "default", uid: `uid-${name}`, creationTimestamp },
    spec: { type: "LoadBalancer", clusterIPs: ["10.96.0.1"], ipFamilies: ["IPv4"], ports: [], ...spec },
  };
}

/** Looks again and again until it is so; the test's own limit says when it is too late. */
async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await new Promise((resolve) => setTimeout(resolve, 5));
}

void test("addresses are given, kept through conflicts, never twice, and free again when their Service goes", async () => {
  const api = start([["192.0.2.1-192.0.2.2"]]);
  api.conflicts = 2;
  for (const name of ["a", "b"]) api.put(service(name, {}, `2026-01-01T00:00:0${name === "a" ? 1 : 2}Z`));
  await until(() => api.ingressOf("a").length === 1 && api.ingressOf("b").length === 1);
  assert.deepEqual([...api.ingressOf("a"), ...api.ingressOf("b")], ["192.0.2.1", "192.0.2.2"]);
  api.put(service("c"));
  await until(() => api.events.length === 1);
  assert.match(api.events[0] ?? "", /^SyncLoadBalancerFailed no address .* has none left$/);
  api.remove("a");
  await until(() => api.ingressOf("c").length === 1);
  assert.deepEqual(api.ingressOf("c"), ["192.0.2.1"]);
  assert.deepEqual(api.ingressOf("b"), ["192.0.2.2"]);
  assert.equal(api.events.length, 1);
  await api.close();
});

void test("what is another's stays as it is: its class, a cloud's finalizer, addresses of no pool", async () => {
  const api = start([["192.0.2.0/24"]]);
  api.finalizersOf.set("cloud", ["service.kubernetes.io/load-balancer-cleanup"]);
  api.put(service("cloud"));
  api.put(service("class", { loadBalancerClass: "example.com/other" }));
  const status = { loadBalancer: { ingress: [{ ip: "203.0.113.9" }] } };
  api.put({ ...service("strange", { type: "ClusterIP" }), status });
  const before = { loadBalancer: { ingress: [{ ip: "192.0.2.77", ipMode: "VIP" as const }] } };
  api.put({ ...service("left", { type: "ClusterIP" }), status: before });
  api.put(service("own"));
  await until(() => api.ingressOf("own").length === 1 && api.ingressOf("left").length === 0);
  await until(() => api.log.some((line) => line.startsWith("Service default/cloud: left to the controller")));
  assert.deepEqual(api.ingressOf("cloud"), []);
  assert.deepEqual(api.ingressOf("class"), []);
  assert.deepEqual(api.ingressOf("strange"), ["203.0.113.9"]);
  assert.ok(!api.requests.some((line) => /strange|class/.test(line)), api.requests.join("\n"));
  await api.close();
});

void test("without a pool nothing is asked for and nothing written", async () => {
  const api = start([]);
  api.put(service("a"));
  await until(() => api.log.length > 0);
  api.status.lookSoon();
  await new Promise((resolve) => setImmediate(resolve));
  await api.close();
  assert.deepEqual(api.requests, []);
});
