// A server of generated Services and EndpointSlices for the benchmarks of proxies: what kube-apiserver answers to lists and watches, over
// plain HTTP, with objects that carry all that real ones do (managedFields, labels, annotations). Its events are sent by whoever measures.
// A kube-apiserver takes about 45 Services a second: 44,000 would need a quarter of an hour to be there.

import { once } from "node:events";
import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export interface GeneratedObject {
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly [field: string]: unknown };
  readonly [field: string]: unknown;
}

export interface GeneratedServer {
  /** What a kubeconfig for it says. */
  readonly kubeconfig: object;
  /** Changes an object for all who watch. */
  send(type: "ADDED" | "MODIFIED", object: GeneratedObject): void;
  close(): void;
}

const kinds: Readonly<Record<string, string>> = {
  services: "Service",
  endpointslices: "EndpointSlice",
  nodes: "Node",
  servicecidrs: "ServiceCIDR",
};
let revision = 1_000_000;

/** Serves `count` Services of `endpoints` endpoints each, and what `more` gives. Node `n1` has the address 192.0.2.1. */
export async function startGeneratedServer(
  count: number,
  endpoints: number,
  more: readonly GeneratedObject[] = [],
): Promise<GeneratedServer> {
  const watches = new Map<string, Set<ServerResponse>>();
  function* all(resource: string): Generator<GeneratedObject> {
    if (resource === "nodes") yield nodeObject();
    if (resource === "servicecidrs") yield serviceCidr();
    if (resource === "services") for (let n = 0; n < count; n++) yield serviceObject(n, `service-${n}`);
    if (resource === "endpointslices") for (let n = 0; n < count; n++) yield sliceObject(n, endpoints, `service-${n}`);
    for (const object of more) if (object.kind === kinds[resource]) yield object;
  }
  const list = async (resource: string, response: ServerResponse): Promise<void> => {
    const kind = `${kinds[resource] ?? "Unknown"}List`;
    const apiVersion = resource === "endpointslices" ? "discovery.k8s.io/v1" : "v1";
    response.write(`{"kind":"${kind}","apiVersion":"${apiVersion}","metadata":{"resourceVersion":"1000"},"items":[`);
    let isFirst = true;
    for (const object of all(resource)) {
      if (!response.write(`${isFirst ? "" : ","}${JSON.stringify(object)}`)) await once(response, "drain");
      isFirst = false;
    }
    response.end("]}");
  };
  const watch = async (resource: string, from: "initial" | "now", response: ServerResponse): Promise<void> => {
    response.flushHeaders();
    if (from === "initial") {
      let lines = "";
      for (const object of all(resource)) {
        lines += lineOf("ADDED", object);
        if (lines.length < 100_000) continue;
        if (!response.write(lines)) await once(response, "drain");
        lines = "";
      }
      const annotations = { "k8s.io/initial-events-end": "true" };
      const apiVersion = resource === "endpointslices" ? "discovery.k8s.io/v1" : "v1";
      const kind = kinds[resource] ?? "Unknown";
      const metadata = { name: "", resourceVersion: "1000", annotations };
      response.write(lines + lineOf("BOOKMARK", { kind, apiVersion, metadata }));
    }
    let open = watches.get(resource);
    if (open === undefined) watches.set(resource, (open = new Set()));
    open.add(response);
    response.once("close", () => open.delete(response));
  };
  const server = createServer((request, response) => {
    const { pathname, searchParams } = new URL(request.url ?? "/", "http://localhost");
    request.resume();
    response.setHeader("content-type", "application/json");
    const resource = pathname.split("/").at(-1) ?? "";
    if (request.method !== "GET") return void response.end(JSON.stringify({ kind: "Status", status: "Success" }));
    if (resource === "n1") return void response.end(JSON.stringify(nodeObject()));
    if (kinds[resource] === undefined) {
      response.statusCode = 404;
      return void response.end(JSON.stringify({ kind: "Status", apiVersion: "v1", status: "Failure", code: 404 }));
    }
    if (searchParams.get("watch") === null) return void list(resource, response);
    void watch(resource, searchParams.get("sendInitialEvents") === "true" ? "initial" : "now", response);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    kubeconfig: configOf(`http://127.0.0.1:${(server.address() as AddressInfo).port}`),
    send(type, object) {
      const resource = object.kind === "Service" ? "services" : "endpointslices";
      const line = lineOf(type, object);
      for (const response of watches.get(resource) ?? []) response.write(line);
    },
    close() {
      server.closeAllConnections();
      server.close();
    },
  };
}

function lineOf(type: string, object: GeneratedObject): string {
  return `${JSON.stringify({ type, object })}\n`;
}

function configOf(url: string): object {
  return {
    "current-context": "bench",
    contexts: [{ name: "bench", context: { cluster: "bench", user: "bench" } }],
    clusters: [{ name: "bench", cluster: { server: url } }],
    users: [{ name: "bench", user: {} }],
  };
}

// ---------------------------------------------------------------- the objects, as kube-apiserver gives them

function metadata(name: string, index: number, more: object = {}): GeneratedObject["metadata"] {
  return {
    name,
    namespace: `team-${index % 50}`,
    uid: `6c7f0c2e-7d0e-4d0a-9a1f-${index.toString(16).padStart(12, "0")}`,
    resourceVersion: String(revision++),
    generation: 1,
    creationTimestamp: "2026-11-21T08:00:00Z",
    ...more,
  };
}

/** `service-7` is at the seventh cluster address. */
export function serviceObject(index: number, name: string): GeneratedObject {
  return {
    kind: "Service",
    apiVersion: "v1",
    metadata: metadata(name, index, {
      labels: { app: name, "app.kubernetes.io/part-of": "shop" },
      annotations: { "kubectl.kubernetes.io/last-applied-configuration": "x".repeat(300) },
      managedFields: [
        {
          manager: "kubectl-client-side-apply",
          operation: "Update",
          apiVersion: "v1",
          time: "2026-11-21T08:00:00Z",
          fieldsType: "FieldsV1",
          fieldsV1: { "f:spec": { "f:internalTrafficPolicy": {}, "f:ports": {}, "f:selector": {}, "f:type": {} } },
        },
      ],
    }),
    spec: {
      ports: [{ name: "http", protocol: "TCP", port: 80, targetPort: 8080 }],
      selector: { app: name },
      clusterIP: clusterIp(index),
      clusterIPs: [clusterIp(index)],
      type: "ClusterIP",
      sessionAffinity: "None",
      ipFamilies: ["IPv4"],
      ipFamilyPolicy: "SingleStack",
      internalTrafficPolicy: "Cluster",
    },
    status: { loadBalancer: {} },
  };
}

function clusterIp(index: number): string {
  return `10.${96 + (index >> 16)}.${(index >> 8) & 255}.${index & 255}`;
}

/** A slice of a Service; with `part`, one of several. `endpoints` are made up unless they are given. */
export function sliceObject(
  index: number,
  count: number,
  service: string,
  part: number = 0,
  given?: readonly object[],
): GeneratedObject {
  const owner = index - part;
  return {
    kind: "EndpointSlice",
    apiVersion: "discovery.k8s.io/v1",
    metadata: metadata(`${service}-x7k2${part}`, owner, {
      generateName: `${service}-`,
      labels: {
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
        "kubernetes.io/service-name": service,
      },
      annotations: { "endpoints.kubernetes.io/last-change-trigger-time": "2026-11-21T08:00:00Z" },
      ownerReferences: [{ apiVersion: "v1", kind: "Service", name: service, uid: `${owner}`, controller: true }],
      managedFields: [
        {
          manager: "kube-controller-manager",
          operation: "Update",
          apiVersion: "discovery.k8s.io/v1",
          time: "2026-11-21T08:00:00Z",
          fieldsType: "FieldsV1",
          fieldsV1: { "f:addressType": {}, "f:endpoints": {}, "f:metadata": { "f:annotations": {} }, "f:ports": {} },
        },
      ],
    }),
    addressType: "IPv4",
    endpoints:
      given ??
      Array.from({ length: count }, (_, n) => ({
        addresses: [`10.${128 + (n % 100)}.${((index >> 8) + 20 * part) & 255}.${index & 255}`],
        conditions: { ready: true, serving: true, terminating: false },
        nodeName: `node-${(n % 3) + 1}`,
        targetRef: {
          kind: "Pod",
          namespace: `team-${owner % 50}`,
          name: `${service}-7d4b9c6f5d-x${part}${n}`,
          uid: `0b6dfb66-52e2-4c5a-9f8f-${(index * 4 + n).toString(16).padStart(12, "0")}`,
        },
      })),
    ports: [{ name: "http", protocol: "TCP", port: 8080 }],
  };
}

function nodeObject(): GeneratedObject {
  return {
    kind: "Node",
    apiVersion: "v1",
    metadata: { name: "n1", uid: "n1", resourceVersion: "7" },
    spec: { podCIDR: "10.244.1.0/24", podCIDRs: ["10.244.1.0/24"] },
    status: { addresses: [{ type: "InternalIP", address: "192.0.2.1" }] },
  };
}

function serviceCidr(): GeneratedObject {
  return {
    kind: "ServiceCIDR",
    apiVersion: "networking.k8s.io/v1",
    metadata: { name: "kubernetes", uid: "c", resourceVersion: "5" },
    spec: { cidrs: ["10.96.0.0/12"] },
  };
}
