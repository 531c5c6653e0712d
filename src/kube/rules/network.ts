// Rules for NetworkPolicies, Ingresses, IngressClasses, ServiceCIDRs, IPAddresses and LoadBalancerPools. Wording: upstream's pkg/apis/networking/validation.
// ClusterNetworkPolicies: the rules of their definition (network-policy-api, x-kubernetes-validations), in its words.

import { familyOf } from "../../ip/address.ts";
import { contains, parsePrefix, parseRanges, prefixAddress, prefixBits } from "../../ip/prefix.ts";
import { sameJson } from "../equal.ts";
import { cidr, dnsLabel, dnsSubdomain, ipAddress, portName, wildcardSubdomain } from "../formats.ts";
import type {
  HTTPIngressPath,
  IPAddress,
  IPBlock,
  Ingress,
  IngressBackend,
  IngressRule,
  NetworkPolicyPeer,
  NetworkPolicyPort,
  NetworkPolicySpec,
  ServiceCIDR,
} from "../kinds.ts";
import type { LoadBalancerPool } from "../load-balancer-pool.ts";
import type { ClusterNetworkPolicyEgressRule, ClusterNetworkPolicyPeer } from "../policy-kinds.ts";
import { at, child, forbidden, invalid, required, type FieldProblem } from "../problem.ts";
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
  "networking.v1.ServiceCIDR": serviceCidr,
  "networking.v1.IPAddress": ipAddressObject,
  "policy.v1alpha2.ClusterNetworkPolicy-spec-egress": clusterEgressRule,
  "policy.v1alpha2.ClusterNetworkPolicy-spec-egress-to": clusterEgressPeer,
  "policy.v1alpha2.ClusterNetworkPolicy-spec-egress-protocols-sctp-destinationPort-range": clusterPortRange,
  "fairlead.v1alpha1.LoadBalancerPool-spec": poolSpec,
};

export const networkUpdateRules: { readonly [type: string]: UpdateRule } = {
  "networking.v1.ServiceCIDR": function* (object: ServiceCIDR, previous: ServiceCIDR) {
    const [now, then] = [object.spec.cidrs ?? [], previous.spec.cidrs ?? []];
    for (const [index, prefix] of then.entries())
      if (now[index] !== prefix) yield invalid(at("spec.cidrs", index), now[index], "field is immutable");
  },
  "networking.v1.IPAddress": function* (object: IPAddress, previous: IPAddress) {
    if (!sameJson(object.spec, previous.spec))
      yield invalid("spec.parentRef", object.spec.parentRef, "field is immutable");
  },
};

function* policySpec({ policyTypes = [] }: NetworkPolicySpec, path: string): Iterable<FieldProblem> {
  if (policyTypes.length > 2)
    yield invalid(child(path, "policyTypes"), policyTypes, "may not specify more than two policyTypes");
}

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
    const malformed = cidr(hole).map((message) => invalid(place, hole, message));
    yield* malformed;
    if (malformed.length > 0 || problems.length > 0 || block === "") continue;
    const inside = contains(block, prefixAddress(hole)) && prefixBits(hole) > prefixBits(block);
    if (!inside) yield invalid(place, hole, "must be a strict subset of `cidr`");
  }
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

function* ingress({ spec }: Ingress): Iterable<FieldProblem> {
  const { rules = [], defaultBackend, tls = [], ingressClassName } = spec ?? {};
  if (rules.length === 0 && defaultBackend === undefined)
    yield invalid("spec", rules, "either `defaultBackend` or `rules` must be specified");
  yield* formProblems(ingressClassName, dnsSubdomain, "spec.ingressClassName");
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

const refusedSequences = ["//", "/./", "/../", "%2f", "%2F"];
const refusedEndings = ["/..", "/."];

function* ingressPath({ path = "", pathType }: HTTPIngressPath, place: string): Iterable<FieldProblem> {
  const field = child(place, "path");
  if (pathType === "ImplementationSpecific") {
    if (path !== "" && !path.startsWith("/")) yield invalid(field, path, "must be an absolute path");
    return;
  }
  if (!path.startsWith("/")) yield invalid(field, path, "must be an absolute path");
  for (const text of refusedSequences)
    if (path.includes(text)) yield invalid(field, path, `must not contain '${text}'`);
  for (const text of refusedEndings) if (path.endsWith(text)) yield invalid(field, path, `cannot end with '${text}'`);
}

function* ingressBackend({ service, resource }: IngressBackend, path: string): Iterable<FieldProblem> {
  if (service !== undefined && resource !== undefined) {
    yield invalid(path, "", "cannot set both resource and service backends");
    return;
  }
  if (resource !== undefined) return;
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

function* serviceCidr({ spec }: ServiceCIDR): Iterable<FieldProblem> {
  const cidrs = spec?.cidrs ?? [];
  if (cidrs.length === 0) yield required("spec.cidrs", "at least one CIDR required");
  if (cidrs.length > 2) yield invalid("spec.cidrs", cidrs, "may only hold up to 2 values");
  const problems = cidrs.flatMap((prefix, index) => [...formProblems(prefix, cidr, at("spec.cidrs", index))]);
  yield* problems;
  const [first = "", second = ""] = cidrs;
  if (problems.length === 0 && cidrs.length === 2 && familyOf(first) === familyOf(second))
    yield invalid(
      "spec.cidrs",
      cidrs,
      "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64",
    );
}

function* ipAddressObject({ metadata, spec }: IPAddress): Iterable<FieldProblem> {
  yield* formProblems(metadata.name, ipAddress, "metadata.name");
  if (spec?.parentRef === undefined) yield required("spec.parentRef");
}
