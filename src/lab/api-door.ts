// Opens the Kubernetes API of a lab: TLS on the host's loopback (a listener inherited from the launcher) and inside the lab on the
// underlay's router, where pods reach it through Service default/kubernetes; and writes the kubeconfig.
//
// Not here: what the server answers (apiserver/).

import { writeFileSync } from "node:fs";
import { createServer, type Server } from "node:https";
import { join } from "node:path";
import { familyOf, type Address } from "../ip/address.ts";
import type { NetworkNamespace } from "../kernel/namespaces.ts";
import { listenTcpFd } from "../kernel/sockets.ts";
import type { KubeObject } from "../kube/object.ts";
import type { ClusterConfig } from "../model/network.ts";
import type { ServedApi } from "./api/api.ts";
import { anonymous, createAuthenticate } from "./apiserver/authn.ts";
import type { Authorize } from "./apiserver/hooks.ts";
import { kubeconfigText } from "./apiserver/kubeconfig.ts";
import { startApiServer } from "./apiserver/server.ts";
import { createPodStreams, type StreamNode } from "./apiserver/streams/pod-streams.ts";
import { openCertificates, serviceNames, type Certificates } from "./apiserver/tls.ts";
import { createTokens, type Tokens } from "./apiserver/tokens.ts";
import type { LabPaths } from "./paths.ts";

/** Certificates and tokens of a lab; made before anything starts that needs them. */
export interface Identity {
  readonly certificates: Certificates;
  readonly tokens: Tokens;
}

export interface ApiDoorOptions {
  readonly api: ServedApi;
  readonly cluster: ClusterConfig;
  readonly identity: Identity;
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

/** The lab's certificates and tokens, kept in its folder. The first time takes some milliseconds. */
export function openIdentity(options: {
  readonly api: ServedApi;
  readonly cluster: ClusterConfig;
  readonly paths: LabPaths;
  readonly insideAddresses: readonly Address[];
}): Identity {
  const { api, cluster, paths, insideAddresses } = options;
  const { names, addresses } = serviceNames(cluster);
  const certificates = openCertificates({
    folder: join(paths.folder, "pki"),
    names,
    addresses: [...addresses, ...insideAddresses],
  });
  const issuer = `https://kubernetes.default.svc.${cluster.domain}`;
  return { certificates, tokens: createTokens({ key: certificates.tokenKey, api, issuer }) };
}

/** Starts answering. Resolves when both listeners are open. */
export async function openApiDoor(options: ApiDoorOptions): Promise<{ close(): void }> {
  const { api, identity, outside, inside } = options;
  const servers: Server[] = [];
  if (outside !== undefined) servers.push(await listen(identity, outside.fd));
  if (inside !== undefined) {
    servers.push(await listen(identity, listenTcpFd(inside.namespace, { port: insidePort })));
    for (const object of serviceEndpoints(inside.addresses)) api.apply(object);
  }
  const server = startApiServer({
    api,
    servers,
    authenticate: createAuthenticate({ tokens: identity.tokens, authorize: ownersOnly }),
    authorize: ownersOnly,
    streams: createPodStreams({ api, nodeOf: options.nodeOf }),
  });
  if (outside !== undefined) writeKubeconfig(options, outside.port);
  return {
    close() {
      server.close();
      for (const each of servers) {
        each.close();
        each.closeAllConnections();
      }
    },
  };
}

function listen({ certificates }: Identity, fd: number): Promise<Server> {
  const server = createServer({
    key: certificates.server.key,
    cert: certificates.server.certificate,
    ca: certificates.authority,
    // Certificates are asked for and judged by authn.ts, so that tokens work too.
    requestCert: true,
    rejectUnauthorized: false,
  });
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen({ fd }, () => resolve(server));
  });
}

const publicPaths = new Set(["/healthz", "/livez", "/readyz", "/version"]);

// The lab's owner may do everything, everybody may ask whether the server lives, nobody else may do anything.
const ownersOnly: Authorize = (user, target) => {
  if (user.groups.includes("system:masters")) return { allowed: true };
  if (!target.isResource && publicPaths.has(target.path) && target.verb === "get") return { allowed: true };
  return { allowed: false, reason: user.username === anonymous.username ? "" : "only the lab's owner may do this" };
};

function writeKubeconfig({ name, paths, identity }: ApiDoorOptions, port: number): void {
  const { authority, admin } = identity.certificates;
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
