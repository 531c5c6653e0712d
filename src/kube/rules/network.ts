// Rules for NetworkPolicies, Ingresses, IngressClasses, ServiceCIDRs, IPAddresses and LoadBalancerPools. Wording: upstream's pkg/apis/networking/validation.
// ClusterNetworkPolicies: the rules of their definition (network-policy-api, x-kubernetes-validations), in its words.

import { familyOf } from "../../ip/address.ts";
import {
  contains,
  parseInterfaceAddress,
  parsePrefix,
  parseRanges,
  prefixAddress,
  prefixBits,
  prefixOf,
  type Prefix,
} from "../../ip/prefix.ts";
import { sameJson } from "../equal.ts";
import {
  canonicalAddress,
  canonicalCidr,
  cidr,
  dnsLabel,
  dnsSubdomain,
  domainPath,
  ipAddress,
  pathSegment,
  portName,
  wildcardSubdomain,
} from "../formats.ts";
import type {
  HTTPIngressPath,
  IPAddress,
  IPBlock,
  Ingress,
  IngressClass,
  IngressBackend,
  IngressRule,
  NetworkPolicyPeer,
  NetworkPolicyPort,
  NetworkPolicySpec,
  ServiceCIDR,
} from "../kinds.ts";
import type { LoadBalancerPool } from "../load-balancer-pool.ts";
import type { ClusterNetworkPolicyEgressRule, ClusterNetworkPolicyPeer } from "../policy-kinds.ts";
import { at, child, forbidden, invalid, notSupported, required, tooLong, type FieldProblem } from "../problem.ts";
import { portOrName } from "./service.ts";
import { formProblems, ports, rangeProblems, type Rules, type UpdateRule } from "./rule.ts";

export const networkRules: Rules = {
  "networking.v1.NetworkPolicySpec": policySpec,
  "networking.v1.NetworkPolicyPort": policyPort,
  "networking.v1.NetworkPolicyPeer": policyPeer,
  "networking.v1.IPBlock": ipBlock,
  "networking.v1.Ingress": ingress,
  "networking.v1.IngressRule": ingressRule,
  "networking.v1.HTTPIngressPath": ingressPath,
  "networking.v1.IngressBackend": ingressBackend,
  "networking.v1.IngressClass": ingressClass,
  "networking.v1.ServiceCIDR": serviceCidr,
  "networking.v1.IPAddress": ipAddressObject,
  "policy.v1alpha2.ClusterNetworkPolicy-spec-egress": clusterEgressRule,
  "policy.v1alpha2.ClusterNetworkPolicy-spec-egress-to": clusterEgressPeer,
  "policy.v1alpha2.ClusterNetworkPolicy-spec-egress-protocols-sctp-destinationPort-range": clusterPortRange,
  "fairlead.v1alpha1.LoadBalancerPool-spec": poolSpec,
};

export const networkUpdateRules: { readonly [type: string]: UpdateRule } = {
  "networking.v1.ServiceCIDR": serviceCidrUpdate,
  "networking.v1.IngressClass": function* (object: IngressClass, previous: IngressClass) {
    if (object.spec?.controller !== previous.spec?.controller)
      yield invalid("spec.controller", object.spec?.controller, "field is immutable");
  },
  "networking.v1.IPAddress": function* (object: IPAddress, previous: IPAddress) {
    if (!sameJson(object.spec, previous.spec))
      yield invalid("spec.parentRef", object.spec?.parentRef, "field is immutable");
  },
};

function* policySpec({ policyTypes = [] }: NetworkPolicySpec, path: string): Iterable<FieldProblem> {
  const place = child(path, "policyTypes");
  if (policyTypes.length > 2) yield invalid(place, policyTypes, "may not specify more than two policyTypes");
  else
    for (const [index, type] of policyTypes.entries())
      if (!directions.includes(type)) yield notSupported(at(place, index), type, directions);
}

const directions: readonly string[] = ["Egress", "Ingress"];

function* policyPort({ port, endPort }: NetworkPolicyPort, path: string): Iterable<FieldProblem> {
  yield* portOrName(port, child(path, "port"));
  if (endPort === undefined) return;
  const place = child(path, "endPort");
  if (port === undefined) yield invalid(place, endPort, "may not be specified when `port` is not specified");
  else if (typeof port === "string") yield invalid(place, endPort, "may not be specified when `port` is non-numeric");
  else {
    if (endPort < port) yield invalid(place, port, "must be greater than or equal to `port`");
    yield* rangeProblems(endPort, ports, place);
  }
}

function* policyPeer(
  { ipBlock: block, podSelector, namespaceSelector }: NetworkPolicyPeer,
  path: string,
): Iterable<FieldProblem> {
  const selects = podSelector !== undefined || namespaceSelector !== undefined;
  if (block === undefined && !selects) yield required(path, "must specify a peer");
  if (block !== undefined && selects) yield forbidden(path, "may not specify both ipBlock and another peer");
}

function* ipBlock({ cidr: block, except = [] }: IPBlock, path: string): Iterable<FieldProblem> {
  if (block === "") yield required(child(path, "cidr"));
  const problems = [...formProblems(block, cidr, child(path, "cidr"))];
  yield* problems;
  for (const [index, hole] of except.entries()) {
    const place = at(child(path, "except"), index);
    // An empty one is no range either.
    for (const message of cidr(hole)) yield invalid(place, hole, message);
    const [outer, inner] = [rangeOf(block), rangeOf(hole)];
    if (outer === undefined || inner === undefined) continue;
    const inside = contains(outer, prefixAddress(inner)) && prefixBits(inner) > prefixBits(outer);
    if (!inside) yield invalid(place, hole, "must be a strict subset of `cidr`");
  }
}

/** The range that a text means, host bits or not. */
function rangeOf(text: string): Prefix | undefined {
  const given = parseInterfaceAddress(text);
  return given === undefined ? undefined : prefixOf(given.address, given.bits);
}

function* clusterEgressRule(
  { to, protocols = [] }: ClusterNetworkPolicyEgressRule,
  path: string,
): Iterable<FieldProblem> {
  const isNameless = to.some((peer) => "networks" in peer || "nodes" in peer || "domainNames" in peer);
  if (isNameless && protocols.some(({ destinationNamedPort }) => destinationNamedPort !== undefined))
    yield invalid(
      path,
      "object",
      "networks/nodes/domainNames peer cannot be set with namedPorts since there are no namedPorts for networks/nodes/domainNames",
    );
}

function* clusterEgressPeer({ networks = [] }: ClusterNetworkPolicyPeer, path: string): Iterable<FieldProblem> {
  for (const [index, network] of networks.entries())
    if (parsePrefix(network) === undefined)
      yield invalid(at(child(path, "networks"), index), network, "Invalid CIDR format provided");
}

function* clusterPortRange(
  { start, end }: { readonly start: number; readonly end: number },
  path: string,
): Iterable<FieldProblem> {
  if (start >= end) yield invalid(path, "object", "Start port must be less than End port");
}

function* poolSpec({ addresses }: LoadBalancerPool["spec"], path: string): Iterable<FieldProblem> {
  for (const [index, range] of addresses.entries())
    if (parseRanges(range) === undefined)
      yield invalid(
        at(child(path, "addresses"), index),
        range,
        "must be a prefix such as 192.0.2.0/24, a range such as 192.0.2.10-192.0.2.20, or an address",
      );
}

function* ingress({ metadata, spec }: Ingress): Iterable<FieldProblem> {
  const { rules = [], defaultBackend, tls = [], ingressClassName } = spec ?? {};
  if (rules.length === 0 && defaultBackend === undefined)
    yield invalid("spec", rules, "either `defaultBackend` or `rules` must be specified");
  yield* formProblems(ingressClassName, dnsSubdomain, "spec.ingressClassName");
  const annotated = metadata.annotations?.[classAnnotation];
  // Of a new one only; upstream's path.
  const isNew = metadata.resourceVersion === undefined;
  if (isNew && annotated !== undefined && ingressClassName !== undefined && annotated !== ingressClassName)
    yield invalid(
      child("annotations", classAnnotation),
      annotated,
      "must match `ingressClassName` when both are specified",
    );
  for (const [index, { hosts = [], secretName }] of tls.entries()) {
    const path = at("spec.tls", index);
    for (const [each, host] of hosts.entries()) yield* hostProblems(host, at(child(path, "hosts"), each));
    yield* formProblems(secretName, dnsSubdomain, child(path, "secretName"));
  }
}

function* ingressRule({ host, http }: IngressRule, path: string): Iterable<FieldProblem> {
  if (host !== undefined && ipAddress(host).length === 0)
    yield invalid(child(path, "host"), host, "must be a DNS name, not an IP address");
  else yield* hostProblems(host, child(path, "host"));
  if (http !== undefined && (http.paths ?? []).length === 0) yield required(child(path, "http.paths"));
}

function* hostProblems(host: string | undefined, path: string): Iterable<FieldProblem> {
  yield* formProblems(host, host?.includes("*") === true ? wildcardSubdomain : dnsSubdomain, path);
}

const classAnnotation = "kubernetes.io/ingress.class";

const refusedSequences = ["//", "/./", "/../", "%2f", "%2F"];
const refusedEndings = ["/..", "/."];

function* ingressPath({ path = "", pathType }: HTTPIngressPath, place: string): Iterable<FieldProblem> {
  const field = child(place, "path");
  if (pathType === undefined) {
    yield required(child(place, "pathType"), "pathType must be specified");
    return;
  }
  if (!pathTypes.includes(pathType)) {
    yield notSupported(child(place, "pathType"), pathType, pathTypes);
    return;
  }
  if (pathType === "ImplementationSpecific") {
    if (path !== "" && !path.startsWith("/")) yield invalid(field, path, "must be an absolute path");
    return;
  }
  if (!path.startsWith("/")) yield invalid(field, path, "must be an absolute path");
  for (const text of refusedSequences)
    if (path.includes(text)) yield invalid(field, path, `must not contain '${text}'`);
  for (const text of refusedEndings) if (path.endsWith(text)) yield invalid(field, path, `cannot end with '${text}'`);
}

const pathTypes: readonly string[] = ["Exact", "ImplementationSpecific", "Prefix"];

function* ingressBackend({ service, resource }: IngressBackend, path: string): Iterable<FieldProblem> {
  if (service !== undefined && resource !== undefined) {
    yield invalid(path, "", "cannot set both resource and service backends");
    return;
  }
  if (resource !== undefined) {
    yield* typedReference(resource, child(path, "resource"));
    return;
  }
  if (service === undefined) {
    yield invalid(path, "", "resource or service backend is required");
    return;
  }
  const place = child(path, "service");
  if (service.name === "") yield required(child(place, "name"));
  yield* formProblems(service.name, dnsLabel, child(place, "name"));
  const { name = "", number = 0 } = service.port ?? {};
  if (name !== "" && number !== 0) yield invalid(path, "", "cannot set both port name & port number");
  else if (name !== "") yield* formProblems(name, portName, child(place, "port.name"));
  else if (number !== 0) yield* rangeProblems(number, ports, child(place, "port.number"));
  else yield required(path, "port name or number is required");
}

interface Reference {
  readonly apiGroup?: string;
  readonly kind?: string;
  readonly name?: string;
}

function* typedReference({ apiGroup, kind = "", name = "" }: Reference, path: string): Iterable<FieldProblem> {
  for (const problem of apiGroup === undefined ? [] : dnsSubdomain(apiGroup))
    yield invalid(child(path, "apiGroup"), apiGroup, problem);
  yield* segment(kind, child(path, "kind"));
  yield* segment(name, child(path, "name"));
}

/** A name that must be there and can be part of a URL. */
function* segment(text: string, path: string): Iterable<FieldProblem> {
  if (text === "") yield required(path);
  else yield* formProblems(text, pathSegment, path);
}

const controllerBytesMax = 250;

function* ingressClass({ spec }: IngressClass): Iterable<FieldProblem> {
  const { controller = "", parameters } = spec ?? {};
  if (controller.length > controllerBytesMax) yield tooLong("spec.controller", controllerBytesMax);
  if (controller === "") yield required("spec.controller");
  else for (const [part, problem] of domainPath(controller)) yield invalid("spec.controller", part, problem);
  if (parameters === undefined) return;
  const path = "spec.parameters";
  const { scope, namespace } = parameters;
  yield* typedReference(parameters, path);
  switch (scope ?? "") {
    case "Namespace":
      if (namespace === undefined) yield required(`${path}.namespace`, "`parameters.scope` is set to 'Namespace'");
      else for (const problem of dnsLabel(namespace)) yield invalid(`${path}.namespace`, namespace, problem);
      return;
    case "Cluster":
      if (namespace !== undefined) yield forbidden(`${path}.namespace`, "`parameters.scope` is set to 'Cluster'");
      return;
    default:
      yield notSupported(`${path}.scope`, scope, ["Cluster", "Namespace"]);
  }
}

function* serviceCidr({ spec }: ServiceCIDR): Iterable<FieldProblem> {
  const cidrs = spec?.cidrs ?? [];
  if (cidrs.length === 0) yield required("spec.cidrs", "at least one CIDR required");
  if (cidrs.length > 2) {
    yield invalid("spec.cidrs", cidrs, "may only hold up to 2 values");
    return;
  }
  for (const [index, prefix] of cidrs.entries())
    for (const problem of canonicalCidr(prefix)) yield invalid(at("spec.cidrs", index), prefix, problem);
  const [first, second] = cidrs.map(rangeOf);
  if (first !== undefined && second !== undefined && familyOf(first) === familyOf(second))
    yield invalid(
      "spec.cidrs",
      cidrs,
      "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64",
    );
}

/** A second family may come; what is there stays. */
function* serviceCidrUpdate(object: ServiceCIDR, previous: ServiceCIDR): Iterable<FieldProblem> {
  const [now, then] = [object.spec?.cidrs ?? [], previous.spec?.cidrs ?? []];
  if (now.length !== then.length && !(then.length === 1 && now.length === 2)) {
    yield invalid("spec.cidrs", now, "field is immutable");
    return;
  }
  for (const [index, prefix] of then.entries())
    if (now[index] !== prefix) yield invalid(at("spec.cidrs", index), now[index], "field is immutable");
  if (now.length !== then.length) yield* serviceCidr(object);
}

function* ipAddressObject({ metadata, spec }: IPAddress): Iterable<FieldProblem> {
  for (const problem of canonicalAddress(metadata.name)) yield invalid("metadata.name", metadata.name, problem);
  const { parentRef } = spec ?? {};
  if (parentRef === undefined) {
    yield required("spec.parentRef");
    return;
  }
  const { group, resource = "", name = "", namespace } = parentRef as Partial<typeof parentRef>;
  yield* formProblems(group, dnsSubdomain, "spec.parentRef.group");
  yield* segment(resource, "spec.parentRef.resource");
  yield* segment(name, "spec.parentRef.name");
  yield* formProblems(namespace, pathSegment, "spec.parentRef.namespace");
}
