// Services of three endpoints each, made through an API server: what the figures of cluster DNS are measured with.

import type { ClusterClient } from "../../src/watch/cluster/client.ts";

/** Makes `service-0` … in `default`, 32 at a time. */
export async function loadServices(client: ClusterClient, count: number): Promise<void> {
  let next = 0;
  const work = async (): Promise<void> => {
    for (let index = next++; index < count; index = next++)
      for (const { path, body } of serviceObjects(index)) await client.request({ method: "POST", path, body });
  };
  await Promise.all(Array.from({ length: 32 }, work));
}

/** A Service with an IPv4 address that the API server chooses, and its EndpointSlice. */
export function serviceObjects(index: number): readonly { readonly path: string; readonly body: object }[] {
  const name = `service-${index}`;
  const metadata = { name, namespace: "default" };
  const ports = [{ name: "http", port: 80, protocol: "TCP" }];
  const endpoints = [1, 2, 3].map((n) => ({ addresses: [`10.${128 + n}.${index >> 8}.${index & 255}`] }));
  const service = { apiVersion: "v1", kind: "Service", metadata };
  const slice = { apiVersion: "discovery.k8s.io/v1", kind: "EndpointSlice" };
  return [
    {
      path: "/api/v1/namespaces/default/services",
      body: { ...service, spec: { ipFamilyPolicy: "SingleStack", ipFamilies: ["IPv4"], ports } },
    },
    {
      path: "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices",
      body: {
        ...slice,
        metadata: { ...metadata, labels: { "kubernetes.io/service-name": name } },
        addressType: "IPv4",
        ports,
        endpoints,
      },
    },
  ];
}
