// Who owns an address or port that several objects ask for: the older object, then the first by name. The others go without, and are told.
// The API server refuses most of it; objects from files, restores and races get here all the same, and one key must never mean two things.

import { familyOf } from "../ip/address.ts";
import { overlaps, prefixBits, prefixOf, prefixRange, type Prefix } from "../ip/prefix.ts";
import type { NetworkNode, NetworkService, Problem, ServicePort } from "./network.ts";
import { compareText } from "./table.ts";

/**
 * What a Service asks for alone: `10.96.0.7`, `tcp/30080`, and `172.18.255.1 tcp/80`: external addresses may be shared, port by port.
 * Of those who share a load balancer's one speaks for it: `172.18.255.1 as a whole`.
 */
export function serviceClaims(service: NetworkService): readonly string[] {
  const nodePorts = service.ports.filter(({ nodePort }) => nodePort !== undefined);
  return [
    ...service.clusterIps,
    ...nodePorts.map(({ protocol, nodePort }) => `${protocol}/${nodePort}`),
    ...service.ports.flatMap((port) => (port.external ?? []).map(({ address }) => externalClaim(address, port))),
    ...balancersOf(service).map(wholeClaim),
  ];
}

/** Every port of a Service has the same ones. */
function balancersOf({ ports: [port] }: NetworkService): readonly string[] {
  return (port?.external ?? []).filter(({ kind }) => kind === "load-balancer").map(({ address }) => address);
}

function wholeClaim(address: string): string {
  return `${address} as a whole`;
}

function externalClaim(address: string, { protocol, port }: ServicePort): string {
  return `${address} ${protocol}/${port}`;
}

/** The Service without what others own, and a problem for each. `ownerOf` gives the other owner's key, undefined where it is the Service itself. */
export function withoutOthersClaims(
  service: NetworkService,
  ownerOf: (claim: string) => string | undefined,
): { readonly service: NetworkService; readonly problems: readonly Problem[] } {
  const problems: Problem[] = [];
  const isOurs = (claim: string, field: string, what: string): boolean => {
    const owner = ownerOf(claim);
    if (owner === undefined) return true;
    const message = `${what} belongs to Service ${owner}; this Service does not answer there`;
    problems.push({ severity: "error", origin: { ...service.origin, field }, message });
    return false;
  };
  const clusterIps = service.clusterIps.filter((address, index) =>
    isOurs(address, `spec.clusterIPs[${index}]`, address),
  );
  const shared = new Set(balancersOf(service).filter((address) => ownerOf(wholeClaim(address)) !== undefined));
  const ports = service.ports.map((port) => {
    const external = port.external?.map((each) =>
      shared.has(each.address) ? ({ ...each, isShared: true } as const) : each,
    );
    const kept = external?.filter(({ address, origin }) =>
      isOurs(externalClaim(address, port), origin.field ?? "", `${address} port ${port.port}/${port.protocol}`),
    );
    if (kept === undefined) return port;
    return kept.length === external?.length && shared.size === 0 ? port : { ...port, external: kept };
  });
  const withNodePorts = ports.map((port, index) => {
    const { nodePort, ...rest } = port;
    if (nodePort === undefined) return port;
    const claim = `${port.protocol}/${nodePort}`;
    return isOurs(claim, `spec.ports[${index}].nodePort`, `node port ${nodePort}/${port.protocol}`) ? port : rest;
  });
  return problems.length === 0 && shared.size === 0
    ? { service, problems }
    : { service: { ...service, clusterIps, ports: withNodePorts }, problems };
}

/**
 * Nodes, in order of name, without the pod ranges and addresses that an earlier node has, and without pod ranges that hold addresses of Services
 * or of nodes: packets for those would go to no pod, or to the wrong one. A problem for each.
 */
export function withoutContestedRanges(
  nodes: readonly NetworkNode[],
  serviceCidrs: readonly Prefix[] = [],
): {
  readonly nodes: readonly NetworkNode[];
  readonly problems: readonly Problem[];
} {
  const problems: Problem[] = [];
  const misplaced = misplacedRanges(nodes, serviceCidrs);
  const contested = contestedRanges(nodes);
  const addressOwner = new Map<string, string>();
  const kept = nodes.map((node) => {
    const isFree = (owner: string | undefined, what: string, field: string): boolean => {
      if (owner === undefined) return true;
      problems.push({
        severity: "error",
        origin: { ...node.origin, field },
        message: `${what} belongs to Node ${owner}`,
      });
      return false;
    };
    const podCidrs = node.podCidrs.filter((range, index) => {
      const field = `spec.podCIDRs[${index}]`;
      const why = misplaced.get(range);
      if (why === undefined) return isFree(contested.get(`${node.name} ${range}`), range, field);
      problems.push({ severity: "error", origin: { ...node.origin, field }, message: `${range} ${why}` });
      return false;
    });
    const addresses = node.addresses.filter((address) =>
      isFree(addressOwner.get(address), address, "status.addresses"),
    );
    for (const address of addresses) addressOwner.set(address, node.name);
    const isWhole = podCidrs.length === node.podCidrs.length && addresses.length === node.addresses.length;
    return isWhole ? node : { ...node, podCidrs, addresses };
  });
  return { nodes: kept, problems };
}

/** Pod ranges that are Services' or nodes' as well, each with the reason in words. */
function misplacedRanges(nodes: readonly NetworkNode[], serviceCidrs: readonly Prefix[]): ReadonlyMap<Prefix, string> {
  const misplaced = new Map<Prefix, string>();
  const cure = "pods, Services and nodes need ranges of their own";
  const ranges = new Set(nodes.flatMap(({ podCidrs }) => podCidrs));
  const lengths = { 4: new Set<number>(), 6: new Set<number>() };
  for (const range of ranges) {
    lengths[familyOf(range)].add(prefixBits(range));
    const service = serviceCidrs.find((one) => overlaps(one, range));
    if (service !== undefined) misplaced.set(range, `overlaps the Services' range ${service}: ${cure}`);
  }
  for (const { name, addresses } of nodes) {
    for (const address of addresses) {
      for (const bits of lengths[familyOf(address)]) {
        const range = prefixOf(address, bits);
        if (ranges.has(range)) misplaced.set(range, `holds the address ${address} of Node ${name}: ${cure}`);
      }
    }
  }
  return misplaced;
}

/** `node range` -> the node that has an overlapping range and comes first by name. */
function contestedRanges(nodes: readonly NetworkNode[]): ReadonlyMap<string, string> {
  const ranges = nodes.flatMap(({ name, podCidrs }) =>
    podCidrs.map((range) => ({ name, range, ...prefixRange(range) })),
  );
  ranges.sort((a, b) => a.family - b.family || compareNumbers(a.first, b.first) || compareNumbers(b.last, a.last));
  const contested = new Map<string, string>();
  // CIDR ranges overlap only by one holding the other, so a run of overlapping ranges lies within its first.
  let run: typeof ranges = [];
  const settle = (): void => {
    const inOrder = [...run].sort((a, b) => compareText(a.name, b.name));
    const winners: typeof ranges = [];
    for (const range of inOrder) {
      const owner = winners.find((winner) => holdsOrIsHeld(winner, range));
      if (owner === undefined) winners.push(range);
      else contested.set(`${range.name} ${range.range}`, owner.name);
    }
  };
  for (const range of ranges) {
    const [first] = run;
    if (first !== undefined && first.family === range.family && range.first <= first.last) {
      run.push(range);
      continue;
    }
    if (run.length > 1) settle();
    run = [range];
  }
  if (run.length > 1) settle();
  return contested;
}

function holdsOrIsHeld(
  a: { readonly range: Prefix; readonly first: bigint; readonly last: bigint },
  b: { readonly range: Prefix; readonly first: bigint; readonly last: bigint },
): boolean {
  return familyOf(a.range) === familyOf(b.range) && a.first <= b.last && b.first <= a.last;
}

function compareNumbers(a: bigint, b: bigint): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
