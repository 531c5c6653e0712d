// Opens the Kubernetes API of a lab: TLS on the host's loopback (a listener inherited from the launcher) and inside the lab on the
// underlay's router, where pods reach it through Service default/kubernetes; and writes the kubeconfig.
//
// Not here: what the server answers (apiserver/).

import { writeFileSync } from "node:fs";
import { createServer, type Server } from "node:https";
import { familyOf, type Address } from "../ip/address.ts";
import type { NetworkNamespace } from "../kernel/namespaces.ts";
import { listenTcpFd } from "../kernel/sockets.ts";
import type { KubeObject } from "../kube/object.ts";
import type { ClusterConfig } from "../model/network.ts";
import type { ServedApi } from "./api/api.ts";
import type { Access } from "./apiserver/access.ts";
import { kubeconfigText } from "./apiserver/kubeconfig.ts";
import { requestReading, startApiServer } from "./apiserver/server.ts";
import { createPodStreams, type StreamNode } from "./apiserver/streams/pod-streams.ts";
import { openCertificates, serviceNames, tlsOptions, type Certificates } from "./apiserver/tls.ts";
import type { LabPaths } from "./paths.ts";

export interface ApiDoorOptions {
  readonly api: ServedApi;
  readonly cluster: ClusterConfig;
  readonly certificates: Certificates;
  readonly access: Access;
  readonly name: string;
  readonly paths: LabPaths;
  /** The descriptor of the listener on the host's loopback, and its port. */
  readonly outside: { readonly fd: number; readonly port: number } | undefined;
  /** Where pods reach the server: the underlay's router. Undefined where packets are off. */
  readonly inside: { readonly namespace: NetworkNamespace; readonly addresses: readonly Address[] } | undefined;
  readonly nodeOf: (name: string) => StreamNode | undefined;
}

/** Of the API server inside the lab. */
const insidePort = 6443;

/** The lab's certificates, kept in its folder. The first time takes some milliseconds. `insideAddresses`: where pods reach the server. */
export function openLabCertificates(options: {
  readonly cluster: ClusterConfig;
  readonly paths: LabPaths;
  readonly insideAddresses: readonly Address[];
}): Certificates {
  const { names, addresses } = serviceNames(options.cluster);
  return openCertificates({
    folder: options.paths.pki,
    names,
    addresses: [...addresses, ...options.insideAddresses],
  });
}

/** Starts answering. Resolves when both listeners are open. */
export async function openApiDoor(options: ApiDoorOptions): Promise<{ close(): void }> {
  const { api, certificates, outside, inside } = options;
  const servers: Server[] = [];
  if (outside !== undefined) servers.push(await listen(certificates, outside.fd));
  if (inside !== undefined) {
    servers.push(await listen(certificates, listenTcpFd(inside.namespace, { port: insidePort })));
    for (const object of serviceEndpoints(inside.addresses)) api.apply(object);
  }
  const access = options.access.start(api);
  const server = startApiServer({
    api,
    servers,
    authenticate: access.authenticate,
    authorize: access.authorize,
    answers: access.answers,
    guard: access.guard,
    document: access.document,
    streams: createPodStreams({ api, nodeOf: options.nodeOf }),
  });
  if (outside !== undefined) writeKubeconfig(options, outside.port);
  return {
    close() {
      server.close();
      access.stop();
      for (const each of servers) {
        each.close();
        each.closeAllConnections();
      }
    },
  };
}

/**
 * Only HTTP/1.1 is offered. Over HTTP/2 a bare request costs Node 0.8 to 0.9 of the processor time, but the lines of a watch would have to
 * be framed for each stream, where now a thousand watchers share the bytes, and exec, attach and port-forward want HTTP/1.1 anyway. What
 * it would save is connections: Go's clients open one a watch instead.
 */
function listen(certificates: Certificates, fd: number): Promise<Server> {
  const server = createServer({ ...requestReading, ...tlsOptions(certificates) });
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen({ fd }, () => resolve(server));
  });
}

function writeKubeconfig({ name, paths, certificates }: ApiDoorOptions, port: number): void {
  const { authority, admin } = certificates;
  const text = kubeconfigText({
    name,
    server: `https://127.0.0.1:${port}`,
    authority,
    client: admin,
    namespace: "default",
  });
  writeFileSync(paths.kubeconfig, text, { mode: 0o600 });
}

/** Service default/kubernetes has no selector: its endpoints are written by hand, as kube-apiserver does for itself. */
function serviceEndpoints(addresses: readonly Address[]): readonly KubeObject[] {
  const metadata = { namespace: "default", name: "kubernetes" };
  const [first] = addresses;
  if (first === undefined) return [];
  // The Service has one family: that of the first service range.
  const sameFamily = addresses.filter((address) => familyOf(address) === familyOf(first));
  return [
    {
      apiVersion: "v1",
      kind: "Endpoints",
      metadata: { ...metadata, labels: { "endpointslice.kubernetes.io/skip-mirror": "true" } },
      subsets: [
        { addresses: sameFamily.map((ip) => ({ ip })), ports: [{ name: "https", port: insidePort, protocol: "TCP" }] },
      ],
    },
    {
      apiVersion: "discovery.k8s.io/v1",
      kind: "EndpointSlice",
      metadata: { ...metadata, labels: { "kubernetes.io/service-name": "kubernetes" } },
      addressType: `IPv${familyOf(first)}`,
      endpoints: [{ addresses: sameFamily, conditions: { ready: true } }],
      ports: [{ name: "https", port: insidePort, protocol: "TCP" }],
    },
  ];
}
