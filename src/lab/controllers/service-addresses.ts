// Service addresses and node ports: a step of every write of a Service that fills in what was not asked for and refuses what cannot be had.
// There is no list of what is taken besides the Services themselves: an address or port belongs to the Service that holds it in the store.
// Upstream: pkg/registry/core/service/storage/alloc.go; bands: KEP-3070 and KEP-3668; families: KEP-563.
//
// Not here: IPAddress and ServiceCIDR objects (ip-addresses.ts), which follow the Services.

import { familyOf, parseAddress, type Address, type Family } from "../../ip/address.ts";
import { contains, type Prefix } from "../../ip/prefix.ts";
import { sameJson } from "../../kube/equal.ts";
import type { IpFamily, Service, ServiceCIDR, ServicePort, ServiceSpec } from "../../kube/kinds.ts";
import { keyOf } from "../../kube/object.ts";
import { serviceAddressProblems } from "../../kube/rules/service.ts";
import type { Admission } from "../api/api.ts";
import { invalidObject } from "../api/errors.ts";
import { StatusError, type Store } from "../api/store.ts";
import { addressBand, isUsable, pick, portBand } from "./bands.ts";
import { conditionOf } from "./conditions.ts";
import { serviceCidrs as serviceCidrsResource, services } from "./resources.ts";
import { familyName } from "./service-endpoints.ts";

export interface ServiceAllocatorOptions {
  /** One per family at most. Ranges of further ServiceCIDR objects are used as well. */
  readonly serviceCidrs: readonly Prefix[];
  readonly nodePorts: { readonly first: number; readonly last: number };
  /** The first is the default of Services that do not say. */
  readonly families: readonly Family[];
  /** As Math.random: where in the range a free address is looked for. */
  readonly random?: () => number;
}

/** The admission of Services. Throws StatusError 422 in upstream's words, or 500 where a range is full. */
export function createServiceAllocator(options: ServiceAllocatorOptions): Admission {
  const taken = createHoldings();
  return ({ operation, object, previous, store }) => {
    if (object.kind !== "Service" || object.apiVersion !== "v1" || operation === "delete") return object;
    const before = previous as Service | undefined;
    const service = withKept(normalized(object as Service, before), before);
    const problems = serviceAddressProblems(service);
    if (problems.length > 0) throw invalidObject({ group: "", kind: "Service" }, service.metadata.name, problems);
    const context = { options, store, taken, service, random: options.random ?? Math.random };
    const families = withFamilies(service, before, options);
    checkImmutable(families, before);
    const addressed = { ...context, service: families };
    const allocated = withNodePorts({ ...addressed, service: withClusterIps(addressed) });
    taken.note(allocated);
    return allocated;
  };
}

interface Context {
  readonly options: ServiceAllocatorOptions;
  readonly store: Store;
  readonly taken: Holdings;
  readonly service: Service;
  readonly random: () => number;
}

function typeOf(service: Service): NonNullable<ServiceSpec["type"]> {
  return service.spec.type ?? "ClusterIP";
}

function hasClusterIps(service: Service): boolean {
  return typeOf(service) !== "ExternalName";
}

function isHeadless(service: Service): boolean {
  return service.spec.clusterIP === "None" || service.spec.clusterIPs?.[0] === "None";
}

/** May it have node ports (needsNodePort)? */
function hasNodePorts(service: Service): boolean {
  const type = typeOf(service);
  return type === "NodePort" || type === "LoadBalancer";
}

/** Is it given those that it does not name (shouldAllocateNodePorts)? KEP-1864: a load balancer without keeps what it has, until told otherwise. */
function isGivenNodePorts(service: Service): boolean {
  const isWithout = typeOf(service) === "LoadBalancer" && service.spec.allocateLoadBalancerNodePorts === false;
  return hasNodePorts(service) && !isWithout;
}

function hasHealthCheckPort(service: Service): boolean {
  return typeOf(service) === "LoadBalancer" && service.spec.externalTrafficPolicy === "Local";
}

function withSpec(
  service: Service,
  change: { readonly [Field in keyof ServiceSpec]?: ServiceSpec[Field] | undefined },
): Service {
  const spec = Object.fromEntries(
    Object.entries({ ...service.spec, ...change }).filter(([, value]) => value !== undefined),
  );
  return { ...service, spec };
}

/** clusterIP and clusterIPs say the same; an update of one of them means both (NormalizeClusterIPs). Addresses are made canonical. */
function normalized(service: Service, before: Service | undefined): Service {
  const canonical = (text: string): string => parseAddress(text) ?? text;
  const { clusterIP: rawIp, clusterIPs: rawIps } = service.spec;
  const clusterIP = rawIp === undefined || rawIp === "" ? undefined : canonical(rawIp);
  const clusterIPs = rawIps === undefined || rawIps.length === 0 ? undefined : rawIps.map(canonical);
  if (before === undefined || before.spec.clusterIP === undefined) {
    return withSpec(service, {
      clusterIP,
      clusterIPs: clusterIPs ?? (clusterIP === undefined ? undefined : [clusterIP]),
    });
  }
  const isOld = sameJson(clusterIPs, before.spec.clusterIPs);
  if (clusterIP === undefined && isOld) return withSpec(service, { clusterIP, clusterIPs: undefined });
  if (clusterIP !== undefined && clusterIP !== before.spec.clusterIP && (isOld || clusterIPs === undefined)) {
    return withSpec(service, { clusterIP, clusterIPs: [clusterIP] });
  }
  return withSpec(service, { clusterIP, clusterIPs });
}

/** What was allocated stays where the update does not mention it (patchAllocatedValues), and goes where the type needs it no more (dropTypeDependentFields). */
function withKept(service: Service, before: Service | undefined): Service {
  if (before === undefined) return service;
  return withoutExternal(withKeptHealthPort(withKeptNodePorts(withKeptIps(service, before), before), before), before);
}

/** What only load balancers, or only Services reached from outside, may have: it goes with the type where the update leaves it as it was. */
function withoutExternal(service: Service, before: Service): Service {
  const ended = (needs: (service: Service) => boolean): boolean => needs(before) && !needs(service);
  const dropped = (field: keyof ServiceSpec): object =>
    sameJson(service.spec[field], before.spec[field]) ? { [field]: undefined } : {};
  const isBalanced = (each: Service): boolean => typeOf(each) === "LoadBalancer";
  return withSpec(service, {
    ...(ended(isBalanced) ? { ...dropped("allocateLoadBalancerNodePorts"), ...dropped("loadBalancerClass") } : {}),
    ...(ended(isReachedFromOutside) ? dropped("externalTrafficPolicy") : {}),
  });
}

/** pkg/api/service ExternallyAccessible */
function isReachedFromOutside(service: Service): boolean {
  const type = typeOf(service);
  const { externalIPs = [] } = service.spec;
  return type === "LoadBalancer" || type === "NodePort" || (type === "ClusterIP" && externalIPs.length > 0);
}

function withKeptIps(service: Service, before: Service): Service {
  if (!hasClusterIps(before)) return service;
  if (hasClusterIps(service)) {
    const clusterIP = service.spec.clusterIP ?? before.spec.clusterIP;
    const isSame = service.spec.clusterIPs === undefined && clusterIP === before.spec.clusterIP;
    return withSpec(service, {
      clusterIP,
      clusterIPs: isSame ? before.spec.clusterIPs : service.spec.clusterIPs,
      ipFamilyPolicy: service.spec.ipFamilyPolicy ?? before.spec.ipFamilyPolicy,
    });
  }
  const sameIps =
    sameJson(service.spec.clusterIPs, before.spec.clusterIPs) && service.spec.clusterIP === before.spec.clusterIP;
  return withSpec(service, {
    ...(sameIps ? { clusterIP: undefined, clusterIPs: undefined } : {}),
    ...(sameJson(service.spec.ipFamilies, before.spec.ipFamilies) ? { ipFamilies: undefined } : {}),
    ...(service.spec.ipFamilyPolicy === before.spec.ipFamilyPolicy ? { ipFamilyPolicy: undefined } : {}),
  });
}

function withKeptNodePorts(service: Service, before: Service): Service {
  const [ports, old] = [service.spec.ports ?? [], before.spec.ports ?? []];
  const numbers = (list: readonly ServicePort[]): readonly number[] =>
    list.map(({ nodePort = 0 }) => nodePort).filter((n) => n > 0);
  if (!hasNodePorts(before)) return service;
  if (!hasNodePorts(service)) {
    // Ports may go with the type, as long as no new number is asked for (sameNodePorts).
    const isNoneNew = new Set(numbers(ports)).isSubsetOf(new Set(numbers(old)));
    return isNoneNew ? withSpec(service, { ports: ports.map(withoutNodePort) }) : service;
  }
  if (!isGivenNodePorts(service)) return service;
  const used = new Set(numbers(ports));
  const kept = ports.map((port) => {
    if ((port.nodePort ?? 0) > 0) return port;
    const nodePort = old.find(({ name = "" }) => name === (port.name ?? ""))?.nodePort ?? 0;
    if (nodePort === 0 || used.has(nodePort)) return port;
    used.add(nodePort);
    return { ...port, nodePort };
  });
  return withSpec(service, { ports: kept });
}

function withoutNodePort({ nodePort: _nodePort, ...port }: ServicePort): ServicePort {
  return port;
}

function withKeptHealthPort(service: Service, before: Service): Service {
  const [port, old] = [service.spec.healthCheckNodePort ?? 0, before.spec.healthCheckNodePort ?? 0];
  if (!hasHealthCheckPort(before)) return service;
  if (hasHealthCheckPort(service))
    return port === 0 && old > 0 ? withSpec(service, { healthCheckNodePort: old }) : service;
  return port === old ? withSpec(service, { healthCheckNodePort: undefined }) : service;
}

/** The Service with ipFamilies and ipFamilyPolicy (initIPFamilyFields). */
function withFamilies(service: Service, before: Service | undefined, { families }: ServiceAllocatorOptions): Service {
  if (!hasClusterIps(service)) return service;
  const cluster = families.map(familyName);
  if (before !== undefined) checkReduced(service, before);
  const trimmed = before === undefined ? service : trimmedToSingle(service, before);
  const { spec } = trimmed;
  const fromIps = (spec.clusterIPs ?? []).flatMap((ip) =>
    parseAddress(ip) === undefined ? [] : [familyName(familyOf(ip))],
  );
  const asked = spec.ipFamilies !== undefined && spec.ipFamilies.length > 0 ? spec.ipFamilies : fromIps;
  checkFamilies(trimmed, asked, cluster);
  if (isHeadless(trimmed) && spec.selector === undefined) {
    // Headless without selector: whoever writes the endpoints decides, so every family may come.
    const policy = spec.ipFamilyPolicy ?? "RequireDualStack";
    const both =
      policy === "SingleStack"
        ? asked.length > 0
          ? asked
          : [cluster[0] ?? "IPv4"]
        : bothFamilies(asked[0] ?? cluster[0] ?? "IPv4");
    return withSpec(trimmed, { ipFamilyPolicy: policy, ipFamilies: both });
  }
  const policy = spec.ipFamilyPolicy ?? "SingleStack";
  const first = asked[0] ?? cluster[0] ?? "IPv4";
  const isDual = policy !== "SingleStack" && cluster.length > 1;
  return withSpec(trimmed, {
    ipFamilyPolicy: policy,
    ipFamilies: isDual ? (asked.length > 1 ? asked : bothFamilies(first)) : asked.length > 0 ? asked : [first],
  });
}

function bothFamilies(first: IpFamily): readonly IpFamily[] {
  return first === "IPv4" ? ["IPv4", "IPv6"] : ["IPv6", "IPv4"];
}

/** Two families become one where only the policy was changed to SingleStack. */
function trimmedToSingle(service: Service, before: Service): Service {
  const { ipFamilyPolicy, ipFamilies, clusterIPs } = service.spec;
  if (ipFamilyPolicy !== "SingleStack" || before.spec.ipFamilyPolicy === "SingleStack") return service;
  const one = <T>(list: readonly T[] | undefined, old: readonly T[] | undefined): readonly T[] | undefined =>
    sameJson(list, old) ? list?.slice(0, 1) : list;
  return withSpec(service, {
    ipFamilies: one(ipFamilies, before.spec.ipFamilies),
    clusterIPs: one(clusterIPs, before.spec.clusterIPs),
  });
}

/** Whoever takes the second address or family away says SingleStack, too: another one would be given at once. */
function checkReduced(service: Service, { spec: before }: Service): void {
  const { ipFamilyPolicy: policy = "SingleStack", ipFamilies, clusterIPs } = service.spec;
  if (policy === "SingleStack") return;
  const field = "spec.ipFamilyPolicy";
  const isReduced = (now: readonly unknown[] = [], then: readonly unknown[] = []): boolean =>
    now.length > 0 && now.length < then.length;
  throwIfAny(service, [
    ...(isReduced(clusterIPs, before.clusterIPs)
      ? [{ field, value: policy, message: "must be 'SingleStack' to release the secondary cluster IP" }]
      : []),
    ...(isReduced(ipFamilies, before.ipFamilies)
      ? [{ field, value: policy, message: "must be 'SingleStack' to release the secondary IP family" }]
      : []),
  ]);
}

/** In two steps, the first of which hides the second (initIPFamilyFields). */
function checkFamilies(service: Service, asked: readonly IpFamily[], cluster: readonly IpFamily[]): void {
  const { ipFamilyPolicy: policy, ipFamilies = [], clusterIPs = [] } = service.spec;
  const isSelectorless = isHeadless(service) && service.spec.selector === undefined;
  const problems: Problem[] = [];
  const field = "spec.ipFamilyPolicy";
  if ((policy ?? (isSelectorless ? "RequireDualStack" : "SingleStack")) === "SingleStack") {
    const needs = "must be 'RequireDualStack' or 'PreferDualStack' when multiple";
    if (clusterIPs.length === 2)
      problems.push({ field, value: "SingleStack", message: `${needs} cluster IPs are specified` });
    if (ipFamilies.length === 2)
      problems.push({ field, value: "SingleStack", message: `${needs} IP families are specified` });
  }
  for (const [i, ip] of clusterIPs.entries()) {
    if (ip === "None") break;
    const family = familyName(familyOf(ip));
    if (i >= ipFamilies.length && !cluster.includes(family))
      problems.push({
        field: `spec.clusterIPs[${i}]`,
        value: clusterIPs,
        message: `${family} is not configured on this cluster`,
      });
  }
  throwIfAny(service, problems);
  if (isSelectorless) return;
  if (policy === "RequireDualStack" && cluster.length < 2)
    problems.push({ field, value: policy, message: "this cluster is not configured for dual-stack services" });
  for (const [i, family] of asked.entries())
    if (!cluster.includes(family))
      problems.push({ field: `spec.ipFamilies[${i}]`, value: family, message: "not configured on this cluster" });
  throwIfAny(service, problems);
}

/** The first address and family of a Service stay for its life; the second may come and go (ValidateServiceClusterIPsRelatedFields). */
function checkImmutable(service: Service, before: Service | undefined): void {
  if (before === undefined || !hasClusterIps(before) || !hasClusterIps(service)) return;
  const problems: Problem[] = [];
  const message = "may not change once set";
  const [old, next] = [before.spec, service.spec];
  if (old.clusterIPs?.[0] !== undefined && old.clusterIPs[0] !== next.clusterIPs?.[0]) {
    problems.push({ field: "spec.clusterIPs[0]", value: next.clusterIPs ?? [], message });
  }
  if (old.ipFamilies?.[0] !== undefined && old.ipFamilies[0] !== next.ipFamilies?.[0]) {
    problems.push({ field: "spec.ipFamilies[0]", value: next.ipFamilies ?? [], message });
  }
  const isDual = (next.clusterIPs?.length ?? 0) > 1 && (old.clusterIPs?.length ?? 0) > 1;
  if (isDual && old.clusterIPs?.[1] !== next.clusterIPs?.[1]) {
    problems.push({ field: "spec.clusterIPs[1]", value: next.clusterIPs ?? [], message });
  }
  throwIfAny(service, problems);
}

function withClusterIps(context: Context): Service {
  const { service } = context;
  if (!hasClusterIps(service)) return service;
  if (isHeadless(service)) return withSpec(service, { clusterIP: "None", clusterIPs: ["None"] });
  const asked = service.spec.clusterIPs ?? [];
  const clusterIPs = (service.spec.ipFamilies ?? []).map((family, i) => {
    const ip = asked[i];
    return ip === undefined || ip === "" ? freeAddress(context, family) : checkedAddress(context, ip);
  });
  return withSpec(service, { clusterIP: clusterIPs[0], clusterIPs });
}

/** The ranges addresses of a family come from: the configured one, then those of ServiceCIDR objects that are ready and stay. */
function rangesOf({ options, store }: Context, family: IpFamily): readonly Prefix[] {
  const objects = store.list(serviceCidrsResource).items as readonly ServiceCIDR[];
  const usable = objects.filter(
    ({ metadata, status }) =>
      metadata.deletionTimestamp === undefined && conditionOf(status?.conditions, "Ready")?.status !== "False",
  );
  const all = new Set([...options.serviceCidrs, ...usable.flatMap(({ spec }) => spec.cidrs ?? [])]);
  return [...all].filter((prefix) => familyName(familyOf(prefix)) === family);
}

function checkedAddress(context: Context, ip: string): Address {
  const { service, store, taken } = context;
  const refuse = (why: string): never =>
    throwInvalid(service, [
      {
        field: "spec.clusterIPs",
        value: service.spec.clusterIPs ?? [],
        message: `failed to allocate IP ${ip}: ${why}`,
      },
    ]);
  const address = parseAddress(ip);
  if (address === undefined) {
    return throwInvalid(service, [
      {
        field: "spec.clusterIPs[0]",
        value: ip,
        message: "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
      },
    ]);
  }
  if (taken.isOwn(store, service, address)) return address;
  const ranges = rangesOf(context, familyName(familyOf(address)));
  const range = ranges.find((prefix) => contains(prefix, address));
  if (range === undefined || !isUsable(range, address)) {
    return refuse(`the provided network does not contain the IP: the range of valid IPs is ${ranges.join(", ")}`);
  }
  if (taken.hasAddress(store, service, address)) return refuse("provided IP is already allocated");
  return address;
}

function freeAddress({ taken, store, service, random, ...context }: Context, family: IpFamily): Address {
  for (const range of rangesOf({ taken, store, service, random, ...context }, family)) {
    const found = pick(addressBand(range), random, taken.size, (address) => !taken.hasAddress(store, service, address));
    if (found !== undefined) return found;
  }
  throw new StatusError(500, "InternalError", "Internal error occurred: failed to allocate a serviceIP: range is full");
}

function withNodePorts(context: Context): Service {
  const { service } = context;
  const own = new Set<number>();
  let ports = service.spec.ports;
  if (hasNodePorts(service) && ports !== undefined) {
    for (const [i, { nodePort = 0 }] of ports.entries())
      if (nodePort > 0) own.add(checkedPort(context, `spec.ports[${i}].nodePort`, nodePort));
    // TCP and UDP of the same port share a node port (allocNodePorts).
    const byPort = new Map<string, number>();
    for (const { port, nodePort = 0, protocol = "TCP" } of ports)
      if (nodePort > 0) byPort.set(`${port}/${protocol}`, nodePort);
    const isGiven = isGivenNodePorts(service);
    ports = ports.map((port) => {
      if (!isGiven || (port.nodePort ?? 0) > 0) return port;
      const nodePort = sharedPort(byPort, port) ?? freePort(context, own);
      own.add(nodePort);
      byPort.set(`${port.port}/${port.protocol ?? "TCP"}`, nodePort);
      return { ...port, nodePort };
    });
  }
  if (!hasHealthCheckPort(service)) return ports === service.spec.ports ? service : withSpec(service, { ports });
  const asked = service.spec.healthCheckNodePort ?? 0;
  const healthCheckNodePort =
    asked > 0 ? checkedPort(context, "spec.healthCheckNodePort", asked) : freePort(context, own);
  return withSpec(service, { ports, healthCheckNodePort });
}

/** The node port of the same port number in another protocol, unless this protocol has one there already. */
function sharedPort(byPort: ReadonlyMap<string, number>, { port, protocol = "TCP" }: ServicePort): number | undefined {
  if (byPort.has(`${port}/${protocol}`)) return undefined;
  for (const other of ["TCP", "UDP", "SCTP"]) {
    const found = byPort.get(`${port}/${other}`);
    if (found !== undefined) return found;
  }
  return undefined;
}

function checkedPort({ options, taken, store, service }: Context, field: string, port: number): number {
  // Also from a range that was another one once.
  if (taken.isOwn(store, service, port)) return port;
  const { first, last } = options.nodePorts;
  if (port < first || port > last) {
    const message = `provided port is not in the valid range. The range of valid ports is ${first}-${last}`;
    return throwInvalid(service, [{ field, value: port, message }]);
  }
  if (taken.hasPort(store, service, port)) {
    return throwInvalid(service, [{ field, value: port, message: "provided port is already allocated" }]);
  }
  return port;
}

function freePort({ options, taken, store, service, random }: Context, own: ReadonlySet<number>): number {
  const isFree = (port: number): boolean => !own.has(port) && !taken.hasPort(store, service, port);
  const found = pick(portBand(options.nodePorts), random, taken.size + own.size, isFree);
  if (found !== undefined) return found;
  throw new StatusError(500, "InternalError", "Internal error occurred: failed to allocate a nodePort: range is full");
}

/** Who holds what: hints by address and port, each believed only when the Service in the store agrees. */
interface Holdings {
  /** Is the address in the hands of another Service, or of an IPAddress object that belongs to something else? */
  hasAddress(store: Store, service: Service, address: Address): boolean;
  hasPort(store: Store, service: Service, port: number): boolean;
  /** Does this very Service hold the address or port in the store? */
  isOwn(store: Store, service: Service, what: Address | number): boolean;
  /** Remembers what a Service is about to hold. If its write fails the store will not agree, and the hint is void. */
  note(service: Service): void;
  readonly size: number;
}

function createHoldings(): Holdings {
  const hints = new Map<string | number, string>();
  let isRead = false;
  const held = ({ spec }: Service): readonly (string | number)[] => [
    ...(spec.clusterIPs ?? []),
    ...(spec.ports ?? []).map(({ nodePort = 0 }) => nodePort).filter((port) => port > 0),
    ...((spec.healthCheckNodePort ?? 0) > 0 ? [spec.healthCheckNodePort ?? 0] : []),
  ];
  const note = (service: Service): void => {
    for (const what of held(service)) hints.set(what, keyOf(service));
  };
  const holder = (store: Store, what: string | number): string | undefined => {
    if (!isRead) {
      isRead = true;
      for (const service of store.list(services).items as readonly Service[]) note(service);
    }
    const key = hints.get(what);
    if (key === undefined) return undefined;
    if (holds(store, key, what)) return key;
    hints.delete(what);
    return undefined;
  };
  const holds = (store: Store, key: string, what: string | number): boolean => {
    const [namespace = "", name = ""] = key.split("/");
    const service = store.get({ ...services, namespace, name }) as Service | undefined;
    return service !== undefined && held(service).includes(what);
  };
  const isElsewhere = (key: string | undefined, service: Service): boolean =>
    key !== undefined && key !== keyOf(service);
  return {
    hasAddress: (store, service, address) => isElsewhere(holder(store, address), service) || isReserved(store, address),
    hasPort: (store, service, port) => isElsewhere(holder(store, port), service),
    isOwn: (store, service, what) => holder(store, what) === keyOf(service),
    note,
    get size() {
      return hints.size;
    },
  };
}

/** An IPAddress object that somebody else than a Service made reserves its address (KEP-1880). */
function isReserved(store: Store, address: Address): boolean {
  const object = store.get({ group: "networking.k8s.io", resource: "ipaddresses", name: address });
  const parent = (object?.["spec"] as { parentRef?: { group?: string; resource?: string } } | undefined)?.parentRef;
  return parent !== undefined && !((parent.group ?? "") === "" && parent.resource === "services");
}

interface Problem {
  readonly field: string;
  readonly value: unknown;
  readonly message: string;
}

function throwIfAny(service: Service, problems: readonly Problem[]): void {
  if (problems.length > 0) throwInvalid(service, problems);
}

/** 422 in the words of apimachinery's errors.NewInvalid and field.Invalid. */
function throwInvalid(service: Service, problems: readonly Problem[]): never {
  const causes = problems.map(({ field, value, message }) => ({
    reason: "FieldValueInvalid",
    message: `Invalid value: ${JSON.stringify(value)}: ${message}`,
    field,
  }));
  const each = causes.map(({ field, message }) => `${field}: ${message}`);
  const text = each.length === 1 ? (each[0] ?? "") : `[${each.join(", ")}]`;
  const { name } = service.metadata;
  throw new StatusError(422, "Invalid", `Service "${name}" is invalid: ${text}`, { name, kind: "Service", causes });
}
