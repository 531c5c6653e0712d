// What a proxied name means: `https:web:443` of a pod, a service or a node becomes an address to connect to.
// Upstream: apimachinery util/net SplitSchemeNamePort, pkg/registry/core/{pod,service,node} ResourceLocation.

import { familyOf, parseAddress, type Address } from "../../../ip/address.ts";
import { contains } from "../../../ip/prefix.ts";
import type { Endpoint, EndpointSlice, Node, Pod, Service } from "../../../kube/kinds.ts";
import type { ObjectApi } from "../../api/api.ts";
import { badRequest } from "../../api/errors.ts";
import { StatusError } from "../../api/store.ts";

/** Where a proxied request goes. */
export interface ProxyAddress {
  readonly secure: boolean;
  readonly address: Address;
  readonly port: number;
  /** The node from whose network it is reached, as a kubelet or a server on it would. */
  readonly node: string | undefined;
}

/** The kubelet's own port: its server is answered by us (node-proxy.ts). */
export const kubeletPort = 10250;

/** Splits `[SCHEME:]NAME[:PORT]`. Undefined where it has another form. */
export function splitName(
  text: string,
): { readonly scheme: "" | "http" | "https"; readonly name: string; readonly port: string } | undefined {
  const parts = text.split(":");
  const [first = "", second = "", third = ""] = parts;
  if (parts.length === 1) return { scheme: "", name: first, port: "" };
  if (parts.length === 2) return { scheme: "", name: first, port: second };
  if (parts.length !== 3 || (first !== "" && first !== "http" && first !== "https")) return undefined;
  return { scheme: first, name: second, port: third };
}

/** The address of a pod's port. Throws StatusError. */
export function podAddress(pod: Pod, given: string): ProxyAddress {
  const { scheme, port } = split("pod", given);
  const ports = pod.spec.containers.flatMap((container) => container.ports ?? []);
  // The first port any container names, when the request names none.
  const wanted =
    port === ""
      ? (ports[0]?.containerPort ?? (scheme === "https" ? 443 : 80))
      : (ports.find(({ name }) => name === port)?.containerPort ?? Number(port));
  if (!Number.isInteger(wanted) || wanted < 1 || wanted > 65535)
    throw badRequest(`invalid pod request ${JSON.stringify(given)}: there is no port ${JSON.stringify(port)}`);
  return { secure: scheme === "https", address: allowed(pod.status?.podIP), port: wanted, node: pod.spec.nodeName };
}

/** The address of one of a Service's endpoints, chosen by `random`. Throws StatusError 503 where there is none. */
export function serviceAddress(
  api: Pick<ObjectApi, "get" | "list">,
  service: Service,
  given: string,
  random: () => number,
): ProxyAddress {
  const { scheme, port } = split("service", given);
  const { name, namespace = "" } = service.metadata;
  let portName = port;
  if (/^\d+$/.test(port)) {
    const found = (service.spec.ports ?? []).find((each) => each.port === Number(port));
    if (found === undefined) throw unavailable(`no service port ${port} found for service ${JSON.stringify(name)}`);
    portName = found.name ?? "";
  }
  const slices = api.list(
    { group: "discovery.k8s.io", resource: "endpointslices" },
    { namespace, labels: (labels) => labels["kubernetes.io/service-name"] === name },
  ).items as readonly EndpointSlice[];
  const candidates = slices.flatMap((slice) => {
    const number = slice.ports?.find((each) => (each.name ?? "") === portName)?.port;
    if (number === undefined) return [];
    return (slice.endpoints ?? [])
      .filter((endpoint) => endpoint.conditions?.ready !== false && isPodsOwn(api, namespace, endpoint))
      .map(({ addresses, nodeName }) => ({ address: addresses[0], port: number, node: nodeName }));
  });
  const chosen = candidates[Math.floor(random() * candidates.length)];
  if (chosen === undefined) throw unavailable(`no endpoints available for service ${JSON.stringify(given)}`);
  return { secure: scheme === "https", address: allowed(chosen.address), port: chosen.port, node: chosen.node };
}

// pkg/registry/core/service/storage isValidAddress: whoever may write EndpointSlices must not be led to any address of their choice.
function isPodsOwn(api: Pick<ObjectApi, "get">, namespace: string, { addresses, targetRef }: Endpoint): boolean {
  if (targetRef?.kind !== "Pod" || (targetRef.namespace ?? namespace) !== namespace) return false;
  const pod = api.get({ group: "", resource: "pods", namespace, name: targetRef.name ?? "" }) as Pod | undefined;
  return pod?.status?.podIPs?.some(({ ip }) => ip === addresses[0]) === true;
}

/** The address of a node's port; the kubelet's where none is named. Throws StatusError. */
export function nodeAddress(node: Node, given: string): ProxyAddress {
  const { scheme, port } = split("node", given);
  const wanted = port === "" ? kubeletPort : Number(port);
  if (!Number.isInteger(wanted) || wanted < 1 || wanted > 65535)
    throw badRequest(`invalid node request ${JSON.stringify(given)}`);
  const address = node.status?.addresses?.find(({ type }) => type === "InternalIP")?.address;
  return { secure: scheme === "https", address: allowed(address), port: wanted, node: node.metadata.name };
}

function split(kind: string, given: string): { readonly scheme: string; readonly port: string } {
  const parts = splitName(given);
  if (parts === undefined) throw badRequest(`invalid ${kind} request ${JSON.stringify(given)}`);
  return parts;
}

// apimachinery pkg/proxy IsProxyableIP: a status that somebody wrote must not lead to what listens for this machine only.
function allowed(text: string | undefined): Address {
  const address = text === undefined ? undefined : parseAddress(text);
  if (address === undefined)
    throw new StatusError(503, "ServiceUnavailable", "address not found: it has no address yet");
  if (thisMachineOnly.some((range) => contains(range, address))) throw badRequest("address not allowed");
  return address;
}

// Loopback, "this network", link-local, multicast, and IPv4 in disguise (RFC 6890, RFC 4291 2.5.5.2).
const thisMachineOnly = [
  "127.0.0.0/8",
  "0.0.0.0/8",
  "169.254.0.0/16",
  "224.0.0.0/3",
  "::/127",
  "::ffff:0:0/96",
  "fe80::/10",
  "ff00::/8",
];

function unavailable(message: string): StatusError {
  return new StatusError(503, "ServiceUnavailable", message);
}

/** `host:port` as URLs have it. */
export function authority({ address, port }: Pick<ProxyAddress, "address" | "port">): string {
  return familyOf(address) === 6 ? `[${address}]:${port}` : `${address}:${port}`;
}
