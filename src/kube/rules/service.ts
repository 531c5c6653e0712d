// Rules for Services, EndpointSlices and Endpoints. Wording: upstream's pkg/apis/core/validation and pkg/apis/discovery/validation.

import { familyOf, parseAddress } from "../../ip/address.ts";
import { contains } from "../../ip/prefix.ts";
import {
  canonicalAddress,
  cidr,
  dnsLabel,
  dnsSubdomain,
  ipAddress,
  labelValue,
  portName,
  qualifiedName,
  rangeText,
} from "../formats.ts";
import type { Endpoint, EndpointHints, EndpointSlice, Endpoints, Service, ServicePort } from "../kinds.ts";
import {
  at,
  child,
  duplicate,
  forbidden,
  invalid,
  notSupported,
  required,
  tooMany,
  type FieldProblem,
} from "../problem.ts";
import type { Labels } from "../object.ts";
import { labelProblems } from "./metadata.ts";
import { formProblems, ports, rangeProblems, type Rules, type UpdateRule } from "./rule.ts";

export const serviceRules: Rules = {
  "core.v1.Service": service,
  "core.v1.ServicePort": servicePort,
  "core.v1.Endpoints": endpoints,
  "discovery.v1.EndpointSlice": endpointSlice,
  "discovery.v1.EndpointHints": endpointHints,
};

export const serviceUpdateRules: { readonly [type: string]: UpdateRule } = {
  "core.v1.Service": serviceUpdate,
  "discovery.v1.EndpointSlice": function* (slice: EndpointSlice, previous: EndpointSlice) {
    if (slice.addressType !== previous.addressType)
      yield invalid("addressType", slice.addressType, "field is immutable");
  },
};

type Spec = Service["spec"];

const distributions: readonly string[] = ["PreferClose", "PreferSameZone", "PreferSameNode"];
const rangesAnnotation = "service.beta.kubernetes.io/load-balancer-source-ranges";

/** The old way to say from where a load balancer may be reached. */
function* annotatedRanges(annotations: Labels, type: Spec["type"]): Iterable<FieldProblem> {
  const text = annotations[rangesAnnotation];
  if (text === undefined) return;
  const path = at("metadata.annotations", rangesAnnotation);
  if (type !== "LoadBalancer") yield forbidden(path, "may only be used when `type` is 'LoadBalancer'");
  if (text.trim() === "") return;
  for (const range of text.split(",")) yield* formProblems(range.trim(), cidr, path);
}

function* service({ metadata, spec }: Service): Iterable<FieldProblem> {
  if (spec === undefined) {
    yield required("spec.ports");
    return;
  }
  yield* serviceType(spec);
  yield* servicePorts(spec);
  yield* labelProblems(spec.selector, "spec.selector");
  yield* affinity(spec);
  if (spec.type !== "ExternalName") yield* clusterAddresses(spec);
  for (const [index, address] of (spec.externalIPs ?? []).entries())
    yield* endpointAddress(address, at("spec.externalIPs", index));
  yield* loadBalancer(spec);
  if ((spec.loadBalancerSourceRanges ?? []).length === 0) yield* annotatedRanges(metadata.annotations ?? {}, spec.type);
  yield* trafficPolicies(spec);
  const { trafficDistribution } = spec;
  if (trafficDistribution !== undefined && !distributions.includes(trafficDistribution))
    yield notSupported("spec.trafficDistribution", trafficDistribution, distributions);
}

function* serviceType(spec: Spec): Iterable<FieldProblem> {
  if ((spec.ports ?? []).length === 0 && !isHeadless(spec) && spec.type !== "ExternalName")
    yield required("spec.ports");
  if (isHeadless(spec) && (spec.type === "LoadBalancer" || spec.type === "NodePort"))
    yield invalid("spec.clusterIPs[0]", "None", `may not be set to 'None' for ${spec.type} services`);
  if (spec.type !== "ExternalName") return;
  for (const field of ["clusterIPs", "ipFamilies"] as const)
    if ((spec[field] ?? []).length > 0) yield forbidden(`spec.${field}`, "may not be set for ExternalName services");
  if (spec.ipFamilyPolicy !== undefined)
    yield forbidden("spec.ipFamilyPolicy", "may not be set for ExternalName services");
  const name = (spec.externalName ?? "").replace(/\.$/, "");
  if (name === "") yield required("spec.externalName");
  else yield* formProblems(name, dnsSubdomain, "spec.externalName");
}

function* servicePorts({ ports: list = [], type }: Spec): Iterable<FieldProblem> {
  const [names, nodePorts, numbers] = [new Set<string>(), new Set<string>(), new Set<string>()];
  for (const [index, { name = "", port, protocol, nodePort = 0 }] of list.entries()) {
    const path = at("spec.ports", index);
    if (name === "" && list.length > 1) yield required(child(path, "name"));
    if (name !== "" && repeats(names, name)) yield duplicate(child(path, "name"), name);
    if (repeats(numbers, `${protocol} ${port}`)) yield duplicate(path, { port, protocol });
    if (nodePort === 0) continue;
    if (type === "ClusterIP") yield forbidden(child(path, "nodePort"), "may not be used when `type` is 'ClusterIP'");
    // As allocation says it, which comes first.
    if (repeats(nodePorts, `${protocol} ${nodePort}`))
      yield invalid(child(path, "nodePort"), nodePort, "provided port is already allocated");
  }
}

function* servicePort(
  { name, port, targetPort, nodePort, appProtocol }: ServicePort,
  path: string,
): Iterable<FieldProblem> {
  yield* formProblems(name, dnsLabel, child(path, "name"));
  yield* rangeProblems(port, ports, child(path, "port"));
  yield* portOrName(targetPort, child(path, "targetPort"));
  if (nodePort !== undefined && nodePort !== 0) yield* rangeProblems(nodePort, ports, child(path, "nodePort"));
  yield* formProblems(appProtocol, qualifiedName, child(path, "appProtocol"));
}

/** A port's number, or the name of a container's port. */
export function* portOrName(port: number | string | undefined, path: string): Iterable<FieldProblem> {
  if (typeof port === "number") yield* rangeProblems(port, ports, path);
  else if (port !== undefined) for (const problem of portName(port)) yield invalid(path, port, problem);
}

function* affinity({ sessionAffinity, sessionAffinityConfig }: Spec): Iterable<FieldProblem> {
  const path = "spec.sessionAffinityConfig";
  if (sessionAffinity === "ClientIP") {
    const seconds = sessionAffinityConfig?.clientIP?.timeoutSeconds;
    if (seconds === undefined) yield required(path, "when session affinity type is ClientIP");
    else yield* rangeProblems(seconds, { first: 1, last: 86_400 }, `${path}.clientIP.timeoutSeconds`);
  } else if (sessionAffinityConfig !== undefined)
    yield forbidden(path, "must not be set when session affinity is None");
}

/**
 * What is wrong with the addresses and families that a Service asks for: what its allocation takes for granted (upstream's
 * ValidateServiceClusterIPsRelatedFields), which is looked at before anything is allocated.
 */
export function serviceAddressProblems({ spec }: Service): readonly FieldProblem[] {
  if (spec.type === "ExternalName") return [];
  const { ipFamilyPolicy, ipFamilies = [] } = spec;
  return [
    ...ipFamilies.flatMap((family, index) =>
      families.includes(family) ? [] : [notSupported(at("spec.ipFamilies", index), family, families)],
    ),
    ...(ipFamilyPolicy === undefined || familyPolicies.includes(ipFamilyPolicy)
      ? []
      : [notSupported("spec.ipFamilyPolicy", ipFamilyPolicy, familyPolicies)]),
    ...clusterAddresses(spec),
  ];
}

const families: readonly string[] = ["IPv4", "IPv6"];
const familyPolicies: readonly string[] = ["PreferDualStack", "RequireDualStack", "SingleStack"];

function* clusterAddresses(spec: Spec): Iterable<FieldProblem> {
  const { clusterIP = "", clusterIPs = [], ipFamilies = [] } = spec;
  const path = "spec.clusterIPs";
  // A client sets the old field alone; the allocator writes both.
  if (clusterIP === "" && clusterIPs.length > 0)
    yield invalid(path, clusterIPs, "must be empty when `clusterIP` is not specified");
  if (clusterIP !== "" && clusterIPs.length > 0 && clusterIPs[0] !== clusterIP)
    yield invalid(path, clusterIPs, "first value must match `clusterIP`");
  for (const [index, family] of ipFamilies.entries())
    if (ipFamilies.indexOf(family) < index) yield duplicate(at("spec.ipFamilies", index), family);
  const wanted = clusterIPs.length > 0 ? clusterIPs : clusterIP === "" ? [] : [clusterIP];
  const isMixed = wanted[0] === "None" && wanted.length > 1;
  if (isMixed) yield invalid(path, clusterIPs, "'None' must be the first and only value");
  const malformed = wanted.flatMap((address, index) =>
    index === 0 && address === "None"
      ? []
      : ipAddress(address).map((message) => invalid(at(path, index), address, message)),
  );
  yield* malformed;
  if (wanted.length > 2) yield invalid(path, clusterIPs, "may only hold up to 2 values");
  if (malformed.length > 0 || isMixed) return;
  const present = new Set(wanted.map((address) => (address === "None" ? 0 : familyOf(address))));
  if (wanted.length > 1 && present.size < 2)
    yield invalid(path, clusterIPs, "may specify no more than one IP for each IP family");
  for (const [index, address] of wanted.entries()) {
    const family = address === "None" ? undefined : ipFamilies[index];
    if (family !== undefined && family !== `IPv${familyOf(address)}`)
      yield invalid(at(path, index), address, `expected an ${family} value as indicated by \`ipFamilies[${index}]\``);
  }
}

function* loadBalancer(spec: Spec): Iterable<FieldProblem> {
  const { type, loadBalancerSourceRanges = [], allocateLoadBalancerNodePorts, loadBalancerClass } = spec;
  const onlyThere = "may only be used when `type` is 'LoadBalancer'";
  // Upstream writes this path with a capital letter.
  const path = "spec.LoadBalancerSourceRanges";
  if (loadBalancerSourceRanges.length > 0 && type !== "LoadBalancer") yield forbidden(path, onlyThere);
  for (const [index, range] of loadBalancerSourceRanges.entries())
    yield* formProblems(range.trim(), cidr, at(path, index));
  if (allocateLoadBalancerNodePorts !== undefined && type !== "LoadBalancer")
    yield forbidden("spec.allocateLoadBalancerNodePorts", onlyThere);
  if (loadBalancerClass === undefined) return;
  if (type !== "LoadBalancer") yield forbidden("spec.loadBalancerClass", onlyThere);
  else yield* formProblems(loadBalancerClass, qualifiedName, "spec.loadBalancerClass");
}

function* trafficPolicies(spec: Spec): Iterable<FieldProblem> {
  const { type, externalTrafficPolicy, externalIPs = [], healthCheckNodePort = 0 } = spec;
  const isExternal = type === "LoadBalancer" || type === "NodePort" || (type === "ClusterIP" && externalIPs.length > 0);
  if (!isExternal && externalTrafficPolicy !== undefined)
    yield invalid(
      "spec.externalTrafficPolicy",
      externalTrafficPolicy,
      "may only be set for externally-accessible services",
    );
  if (healthCheckNodePort === 0) return;
  if (type === "LoadBalancer" && externalTrafficPolicy === "Local")
    yield* rangeProblems(healthCheckNodePort, ports, "spec.healthCheckNodePort");
  else
    yield invalid(
      "spec.healthCheckNodePort",
      healthCheckNodePort,
      "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
    );
}

function isHeadless({ clusterIP, clusterIPs }: Spec): boolean {
  return clusterIP === "None" || clusterIPs?.[0] === "None";
}

function* serviceUpdate({ spec }: Service, { spec: before }: Service): Iterable<FieldProblem> {
  if (spec.type === "LoadBalancer" && before.type === "LoadBalancer") {
    if (spec.loadBalancerClass !== before.loadBalancerClass)
      yield invalid("spec.loadBalancerClass", spec.loadBalancerClass, "may not change once set");
    const isLocal = spec.externalTrafficPolicy === "Local" && before.externalTrafficPolicy === "Local";
    if (isLocal && spec.healthCheckNodePort !== before.healthCheckNodePort)
      yield forbidden("spec.healthCheckNodePort", "field is immutable");
  }
  if (spec.type === "ExternalName" || before.type === "ExternalName") return;
  const path = "spec.clusterIPs";
  const [now, then] = [addressesOf(spec), addressesOf(before)];
  if (then.length > 0 && now.length === 0) yield invalid(at(path, 0), now, "primary clusterIP can not be unset");
  for (const [index, address] of now.entries())
    if (then[index] !== undefined && then[index] !== address)
      yield invalid(at(path, index), now, "may not change once set");
  if (then.length > now.length && now.length === 1 && spec.ipFamilyPolicy !== "SingleStack")
    yield invalid(
      "spec.ipFamilyPolicy",
      spec.ipFamilyPolicy,
      "must be set to 'SingleStack' when releasing the secondary clusterIP",
    );
  for (const [index, family] of (spec.ipFamilies ?? []).entries()) {
    const was = before.ipFamilies?.[index];
    if (was !== undefined && was !== family)
      yield invalid(at("spec.ipFamilies", index), spec.ipFamilies, "may not change once set");
  }
}

function addressesOf({ clusterIP = "", clusterIPs = [] }: Spec): readonly string[] {
  return clusterIPs.length > 0 ? clusterIPs : clusterIP === "" ? [] : [clusterIP];
}

const refused: readonly (readonly [readonly string[], string])[] = [
  [["127.0.0.0/8", "::1/128"], "may not be in the loopback range (127.0.0.0/8, ::1/128)"],
  [["169.254.0.0/16", "fe80::/10"], "may not be in the link-local range (169.254.0.0/16, fe80::/10)"],
  [["224.0.0.0/24", "ff02::/16"], "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"],
];

/** An address that traffic can be sent to. */
function* endpointAddress(address: string, path: string): Iterable<FieldProblem> {
  const problems = ipAddress(address).map((message) => invalid(path, address, message));
  yield* problems;
  if (problems.length === 0) yield* unreachable(address, path);
}

/** An address, in whatever form, that no traffic can be sent to (upstream's ValidateEndpointIP). */
function* unreachable(text: string, path: string): Iterable<FieldProblem> {
  const address = parseAddress(text.replace(/(^|\.)0+(?=\d)/g, "$1"))?.replace(/^::ffff:(?=.*\.)/, "");
  if (address === undefined) {
    yield invalid(path, text, "must be a valid IP address");
    return;
  }
  if (address === "0.0.0.0" || address === "::") yield invalid(path, address, `may not be unspecified (${address})`);
  for (const [prefixes, text] of refused)
    if (prefixes.some((prefix) => contains(prefix, address))) yield invalid(path, address, text);
}

const endpointsMax = 1000;
const addressesMax = 100;
const slicePortsMax = 20_000;

function* endpointSlice(slice: EndpointSlice): Iterable<FieldProblem> {
  const { addressType, endpoints: list = [], ports: slicePorts = [] } = slice;
  if (list.length > endpointsMax) yield tooMany("endpoints", list.length, endpointsMax);
  for (const [index, endpoint] of list.entries()) yield* sliceEndpoint(endpoint, addressType, at("endpoints", index));
  if (slicePorts.length > slicePortsMax) yield tooMany("ports", slicePorts.length, slicePortsMax);
  const names = new Set<string>();
  // Numbers are not looked at.
  for (const [index, { name = "", appProtocol }] of slicePorts.entries()) {
    const path = at("ports", index);
    yield* formProblems(name, dnsLabel, child(path, "name"));
    if (repeats(names, name)) yield duplicate(child(path, "name"), name);
    yield* formProblems(appProtocol, qualifiedName, child(path, "appProtocol"));
  }
}

function* sliceEndpoint(endpoint: Endpoint, type: EndpointSlice["addressType"], path: string): Iterable<FieldProblem> {
  const addresses = endpoint.addresses ?? [];
  const addressPath = child(path, "addresses");
  if (addresses.length === 0) yield required(addressPath, "must contain at least 1 address");
  if (addresses.length > addressesMax) yield tooMany(addressPath, addresses.length, addressesMax);
  for (const [index, address] of addresses.entries()) {
    const place = at(addressPath, index);
    if (type === "FQDN") yield* domainName(address, place);
    else if (type === "IPv4" || type === "IPv6") {
      const malformed = type === "IPv6" ? canonicalAddress(address) : ipAddress(address);
      for (const problem of malformed) yield invalid(place, address, problem);
      if (malformed.length > 0) continue;
      // Upstream names the list.
      if (`IPv${familyOf(address)}` !== type) yield invalid(addressPath, address, `must be an ${type} address`);
      yield* unreachable(address, place);
    }
  }
  yield* formProblems(endpoint.nodeName, dnsSubdomain, child(path, "nodeName"));
  for (const problem of endpoint.hostname === undefined ? [] : dnsLabel(endpoint.hostname))
    yield invalid(child(path, "hostname"), endpoint.hostname, problem);
  yield* labelProblems(endpoint.deprecatedTopology, child(path, "deprecatedTopology"));
}

/** A name with a domain (util/validation IsFullyQualifiedDomainName). */
function* domainName(text: string, path: string): Iterable<FieldProblem> {
  if (text === "") {
    yield required(path);
    return;
  }
  const name = text.replace(/\.$/, "");
  const problems = dnsSubdomain(name);
  if (problems.length > 0) yield invalid(path, name, problems.join(","));
  else if (!name.includes("."))
    yield invalid(path, name, "should be a domain with at least two segments separated by dots");
  else
    for (const label of name.split("."))
      if (dnsLabel(label).length > 0) {
        yield invalid(path, label, dnsLabel(label).join(","));
        return;
      }
}

const hintsMax = 8;

function* endpointHints({ forZones = [], forNodes = [] }: EndpointHints, path: string): Iterable<FieldProblem> {
  for (const [field, hints] of [
    ["forZones", forZones],
    ["forNodes", forNodes],
  ] as const) {
    if (hints.length > hintsMax) {
      yield tooMany(child(path, field), hints.length, hintsMax);
      return;
    }
    for (const [index, { name }] of hints.entries()) {
      const place = `${at(child(path, field), index)}.name`;
      if (hints.findIndex((hint) => hint.name === name) < index) yield duplicate(place, name);
      for (const problem of field === "forZones" ? labelValue(name) : dnsSubdomain(name))
        yield invalid(place, name, problem);
    }
  }
}

function* endpoints({ subsets = [] }: Endpoints): Iterable<FieldProblem> {
  for (const [index, subset] of subsets.entries()) {
    const path = at("subsets", index);
    const { addresses = [], notReadyAddresses = [], ports: list = [] } = subset;
    if (addresses.length + notReadyAddresses.length === 0)
      yield required(path, "must specify `addresses` or `notReadyAddresses`");
    for (const [each, address] of addresses.entries())
      yield* subsetAddress(address, at(child(path, "addresses"), each));
    for (const [each, address] of notReadyAddresses.entries())
      yield* subsetAddress(address, at(child(path, "notReadyAddresses"), each));
    for (const [each, { port, name = "", appProtocol }] of list.entries()) {
      const portPath = at(child(path, "ports"), each);
      if (name === "" && list.length > 1) yield required(child(portPath, "name"));
      yield* formProblems(name, dnsLabel, child(portPath, "name"));
      yield* formProblems(appProtocol, qualifiedName, child(portPath, "appProtocol"));
      if (port < ports.first || port > ports.last)
        yield invalid(child(portPath, "port"), port, rangeText(ports.first, ports.last));
    }
  }
}

type SubsetAddress = NonNullable<NonNullable<Endpoints["subsets"]>[number]["addresses"]>[number];

/** Two checks look at an address, and both say what they do not like. */
function* subsetAddress({ ip, hostname, nodeName }: SubsetAddress, path: string): Iterable<FieldProblem> {
  const malformed = ipAddress(ip);
  for (const problem of malformed) yield invalid(child(path, "ip"), ip, problem);
  yield* formProblems(hostname, dnsLabel, child(path, "hostname"));
  if (nodeName !== undefined)
    for (const problem of dnsSubdomain(nodeName)) yield invalid(child(path, "nodeName"), nodeName, problem);
  yield* unreachable(ip, child(path, "ip"));
}

/** Was it there already? Remembers it. */
function repeats(seen: Set<string>, text: string): boolean {
  const before = seen.has(text);
  seen.add(text);
  return before;
}
