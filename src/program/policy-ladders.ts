// ClusterNetworkPolicies of one tier and direction that select a pod, as one ladder of rules in order of priority, name and place; and what
// a ladder comes to for every other end there is: a list of ports with the first rule that means each, resolved once, here. In the kernel
// nothing is compared and nothing is tried in order: an end leads to its list, and the list to a rule.
//
// An end is the most special of: a pod's address (where blocks cut through the pods), a pod's identity, its namespace, any pod; and for
// addresses that are no pod's, disjoint ranges. Each list is complete, so the first one found decides.
// Not here: numbers and elements (policy-tiers.ts).

import { addressValue, familyOf, type Address, type Family } from "../ip/address.ts";
import { addressBits, prefixRange } from "../ip/prefix.ts";
import type { Origin } from "../kube/object.ts";
import { matches } from "../kube/selector.ts";
import type {
  ClusterPeer,
  ClusterPolicy,
  ClusterRule,
  Network,
  NetworkNode,
  NetworkPod,
  PolicyTier,
  Protocol,
} from "../model/network.ts";
import { inOrder } from "../model/policy-match.ts";
import { memoized } from "./memo.ts";
import { gatewayOf, tunnelAddressOf } from "./places.ts";
import type { AddressRange } from "./policy-blocks.ts";
import type { Direction } from "./policy-grants.ts";
import type { Identities, Identity } from "./policy-identities.ts";
import { identitiesWithPort, peerIdentities, peerNumbers, peerNumbersOf, type PodPeer } from "./policy-peers.ts";

/** A rule as part of a ladder. `name` tells it from every other, whatever becomes of it. */
export interface Rung {
  readonly name: string;
  readonly direction: Direction;
  readonly action: ClusterRule["action"];
  readonly origin: Origin;
  readonly logsAccepts: boolean;
  readonly rule: ClusterRule;
}

/** Rules in order. Equal rules in equal order are one ladder: it has a name made of all they say. */
export interface Ladder {
  readonly name: string;
  readonly direction: Direction;
  readonly rungs: readonly Rung[];
  /** What names of ports mean where the isolated pod is the destination. */
  readonly ports: Identity["ports"];
}

/** Which rule decides for each port; `rest` for everything else, and for what has no ports. */
export interface PortList {
  readonly name: string;
  readonly segments: readonly Segment[];
  readonly rest: Rung | undefined;
}

export interface Segment {
  readonly protocol: Protocol;
  readonly first: number;
  readonly last: number;
  readonly rung: Rung;
}

/** What a ladder says to the other ends of one family. */
export interface LadderEnds {
  /** Of identities, namespaces and any pod. */
  readonly numbers: readonly { readonly number: number; readonly list: PortList }[];
  /** Of single pods. */
  readonly addresses: readonly { readonly address: Address; readonly list: PortList }[];
  /** Of addresses that are no pod's; they do not overlap. */
  readonly ranges: readonly { readonly range: AddressRange; readonly list: PortList }[];
}

/** What ends are found among. */
export interface LadderSurroundings {
  readonly network: Network;
  readonly identities: Identities;
}

/** The ladder that a pod of this identity is under; undefined where no rule concerns it. */
export function ladderOf(
  policies: readonly ClusterPolicy[],
  identity: Identity,
  tier: PolicyTier,
  direction: Direction,
): Ladder | undefined {
  const above = selecting(policies, identity)[tier][direction];
  return above.length === 0 ? undefined : ladderFrom(above, identity, tier, direction);
}

/** Might a pod of this namespace be denied something, whatever its labels are? */
export function mayDeny(
  policies: readonly ClusterPolicy[],
  direction: Direction,
  namespaceLabels: Readonly<Record<string, string>>,
): ClusterPolicy | undefined {
  return policies.find(
    (policy) =>
      policy[direction].some(({ action }) => action === "deny") && matches(policy.subject.namespaces, namespaceLabels),
  );
}

type ByTier = Readonly<Record<PolicyTier, Readonly<Record<Direction, readonly ClusterPolicy[]>>>>;

const ordered = memoized(inOrder);

const selecting = memoized((policies: readonly ClusterPolicy[], identity: Identity): ByTier => {
  const selected = ordered(policies).filter(
    ({ subject }) => matches(subject.namespaces, identity.namespaceLabels) && matches(subject.pods, identity.labels),
  );
  const part = (tier: PolicyTier, direction: Direction): readonly ClusterPolicy[] =>
    selected.filter((policy) => policy.tier === tier && policy[direction].length > 0);
  return {
    admin: { ingress: part("admin", "ingress"), egress: part("admin", "egress") },
    baseline: { ingress: part("baseline", "ingress"), egress: part("baseline", "egress") },
  };
});

function ladderFrom(
  policies: readonly ClusterPolicy[],
  identity: Identity,
  tier: PolicyTier,
  direction: Direction,
): Ladder {
  const parts = policies.map((policy) => rungsOf(policy)[direction]);
  const hasNames = direction === "ingress" && parts.some((part) => part.portNames.length > 0);
  const names = new Set(parts.flatMap((part) => part.portNames));
  const ports = hasNames ? identity.ports.filter(({ name }) => names.has(name)) : [];
  const portsText = ports
    .map(({ name, protocol, port }) => `${name}/${protocol}=${port}`)
    .sort()
    .join(",");
  return {
    name: `ladder ${tier} ${direction} ${parts.map(({ text }) => text).join(" ")} ${portsText}`,
    direction,
    rungs: parts.flatMap((part) => part.rungs),
    ports,
  };
}

interface PolicyRungs {
  readonly rungs: readonly Rung[];
  readonly portNames: readonly string[];
  /** All that the rules say: rules that say the same are the same. */
  readonly text: string;
}

const rungsOf = memoized((policy: ClusterPolicy): Readonly<Record<Direction, PolicyRungs>> => ({
  ingress: rungsIn(policy, "ingress"),
  egress: rungsIn(policy, "egress"),
}));

function rungsIn(policy: ClusterPolicy, direction: Direction): PolicyRungs {
  const { tier, name } = policy;
  const rules = policy[direction];
  return {
    rungs: rules.map((rule, index) => ({
      name: `${tier} ${name} ${direction} ${index} ${rule.action}`,
      direction,
      action: rule.action,
      origin: rule.origin,
      logsAccepts: policy.logsAccepts === true,
      rule,
    })),
    portNames: rules.flatMap(({ ports }) =>
      ports === "all" ? [] : ports.flatMap((port) => (port.kind === "named" ? [port.name] : [])),
    ),
    text: `${name} ${JSON.stringify(
      rules.map(({ action, peers, ports }) => [action, peers, ports]),
      (key, value: unknown) => (key === "origin" ? undefined : value),
    )}`,
  };
}

const memory = new WeakMap<
  Ladder,
  Partial<Record<Family, { readonly causes: readonly unknown[]; readonly ends: LadderEnds }>>
>();

/** What the ladder says to all other ends of a family. The same value until a cause changes; `intern` makes equal lists one. */
export function ladderEnds(
  ladder: Ladder,
  family: Family,
  surroundings: LadderSurroundings,
  intern: (list: PortList) => PortList,
): LadderEnds {
  const causes: unknown[] = [];
  const sight = lookAround(ladder, family, surroundings, causes);
  const known = memory.get(ladder)?.[family];
  if (known?.causes.length === causes.length && causes.every((cause, index) => cause === known.causes[index]))
    return known.ends;
  const ends = makeEnds(ladder, family, surroundings, { sight, intern });
  memory.set(ladder, { ...memory.get(ladder), [family]: { causes, ends } });
  return ends;
}

/** Whom the rungs mean, found anew each time by what remembers; `causes` get all that the ends depend on. */
interface Sight {
  /** By rung, for each of its peers of kind pods that asks for labels of pods: identities. */
  readonly identified: readonly (readonly Identity[])[];
  /** By rung: namespaces' numbers. */
  readonly namespaces: readonly ReadonlySet<number>[];
  /** By rung: identities that have one of its ports' names (egress). */
  readonly named: readonly (readonly Identity[])[];
  readonly shapes: readonly Shape[];
}

/** A rung's peers sorted by how they are found. */
interface Shape {
  readonly anyPod: boolean;
  readonly byNamespace: readonly PodPeer[];
  readonly byLabels: readonly PodPeer[];
  readonly nodes: readonly (ClusterPeer & { readonly kind: "nodes" })[];
  readonly blocks: readonly AddressRange[];
  /** The blocks hold every pod's address, as far as pods have addresses of the pods' ranges. */
  readonly allPods: boolean;
  readonly numbered: "all" | readonly Omit<Segment, "rung">[];
  /** Its ports have names that mean something else in every destination. */
  readonly hasNames: boolean;
}

const noPolicy = { namespace: "" };

function lookAround(
  ladder: Ladder,
  family: Family,
  { network, identities }: LadderSurroundings,
  causes: unknown[],
): Sight {
  const shapes = ladder.rungs.map((rung) => shapeOf(rung, ladder, family, network));
  const found = <T extends object>(value: T): T => {
    causes.push(value);
    return value;
  };
  const identified = shapes.map(({ byLabels }) =>
    byLabels.flatMap((peer) => found(peerIdentities(peer, noPolicy, identities)).identities),
  );
  const namespaces = shapes.map(
    ({ byNamespace }) =>
      new Set(byNamespace.flatMap((peer) => found(peerNumbersOf(peer, noPolicy, identities)).numbers)),
  );
  const named = shapes.map(({ hasNames }, index) => {
    const ports = ladder.rungs[index]?.rule.ports ?? "all";
    if (!hasNames || ports === "all") return [];
    return ports.flatMap((port) =>
      port.kind === "named" ? found(identitiesWithPort(port, identities)).identities : [],
    );
  });
  if (shapes.some(({ byNamespace, hasNames }) => byNamespace.length > 0 || hasNames)) found(identities.namespaceList);
  if (shapes.some(({ blocks }) => blocks.length > 0)) found(network.pods);
  // Where the pods' ranges and the nodes' addresses are matters to who is no pod.
  found(network.nodes);
  found(network.cluster);
  return { identified, namespaces, named, shapes };
}

const shapes = new WeakMap<Rung, Map<string, Shape>>();

function shapeOf(rung: Rung, ladder: Ladder, family: Family, network: Network): Shape {
  const ranges = network.cluster.podCidrs.filter((range) => familyOf(range) === family);
  const key = `${family} ${ladder.direction} ${ranges.join()} ${JSON.stringify(ladder.ports)}`;
  let known = shapes.get(rung);
  if (known === undefined) shapes.set(rung, (known = new Map()));
  let shape = known.get(key);
  if (shape === undefined) known.set(key, (shape = makeShape(rung, ladder, family, ranges)));
  return shape;
}

function makeShape({ rule }: Rung, ladder: Ladder, family: Family, ranges: readonly string[]): Shape {
  const peers: readonly ClusterPeer[] = rule.peers === "anyone" ? [] : rule.peers;
  const pods = peers.filter((peer): peer is PodPeer => peer.kind === "pods");
  const blocks = peers.flatMap((peer) => (peer.kind === "block" && familyOf(peer.cidr) === family ? [peer] : []));
  const whole: AddressRange = { first: 0n, last: (1n << BigInt(addressBits(family))) - 1n };
  const isAnyone = rule.peers === "anyone";
  return {
    anyPod: isAnyone || pods.some((peer) => peer.pods.length === 0 && isEverything(peer.namespaces)),
    byNamespace: pods.filter((peer) => peer.pods.length === 0 && !isEverything(peer.namespaces)),
    byLabels: pods.filter((peer) => peer.pods.length > 0),
    nodes: peers.filter((peer) => peer.kind === "nodes"),
    blocks: isAnyone ? [whole] : blocks.map(({ cidr }) => prefixRange(cidr)),
    allPods:
      isAnyone ||
      (ranges.length > 0 &&
        ranges.every((range) => blocks.some(({ cidr }) => holds(prefixRange(cidr), prefixRange(range))))),
    numbered: numberedPorts(rule, ladder),
    hasNames: ladder.direction === "egress" && rule.ports !== "all" && rule.ports.some(({ kind }) => kind === "named"),
  };
}

function isEverything(namespaces: PodPeer["namespaces"]): boolean {
  return namespaces !== "own" && namespaces.length === 0;
}

function holds(outer: AddressRange, inner: AddressRange): boolean {
  return outer.first <= inner.first && outer.last >= inner.last;
}

/** Ports that are the same whoever is on the other end. */
function numberedPorts({ ports }: ClusterRule, ladder: Ladder): Shape["numbered"] {
  if (ports === "all") return "all";
  return ports.flatMap((port) => {
    if (port.kind === "range") return [{ protocol: port.protocol, first: port.first, last: port.last }];
    return ladder.direction === "ingress" ? namedSegments(port, ladder.ports) : [];
  });
}

function namedSegments(
  { name, protocol }: { readonly name: string; readonly protocol: Protocol },
  ports: Identity["ports"],
): readonly Omit<Segment, "rung">[] {
  return ports
    .filter((port) => port.name === name && port.protocol === protocol)
    .map(({ port }) => ({ protocol, first: port, last: port }));
}

/** A rung that means an end, and its ports there. */
interface OpenRung {
  readonly rung: Rung;
  readonly ports: Shape["numbered"];
}

function makeEnds(
  ladder: Ladder,
  family: Family,
  { network, identities }: LadderSurroundings,
  { sight, intern }: { readonly sight: Sight; readonly intern: (list: PortList) => PortList },
): LadderEnds {
  const { rungs } = ladder;
  const { shapes: all } = sight;
  /** The list of an end that these rungs mean; undefined where none of them has anything to say to it. */
  const listOf = (isMeant: (index: number) => boolean, destination?: Identity): PortList | undefined => {
    const open = rungs.flatMap((rung, index): readonly OpenRung[] => {
      if (!isMeant(index)) return [];
      const { numbered, hasNames } = all[index] as Shape;
      const ports = hasNames && destination !== undefined ? withNames(rung, numbered, destination) : numbered;
      return ports !== "all" && ports.length === 0 ? [] : [{ rung, ports }];
    });
    return open.length === 0 ? undefined : intern(resolve(open));
  };
  const meansAnyPod = (index: number): boolean => all[index]?.anyPod === true || all[index]?.allPods === true;
  const identified = sight.identified.map((list) => new Set(list));
  const meansIdentity = (index: number, identity: Identity): boolean =>
    all[index]?.anyPod === true ||
    identified[index]?.has(identity) === true ||
    sight.namespaces[index]?.has(identity.namespaceNumber) === true;

  const numbers: { number: number; list: PortList }[] = [];
  const put = (number: number, list: PortList | undefined): void => {
    if (list !== undefined) numbers.push({ number, list });
  };
  put(peerNumbers.anyPod, listOf(meansAnyPod));
  const namespaces = new Set(sight.namespaces.flatMap((list) => [...list]));
  for (const number of [...namespaces].sort((a, b) => a - b))
    put(
      number,
      listOf((index) => meansAnyPod(index) || sight.namespaces[index]?.has(number) === true),
    );
  const special = new Set([...sight.identified.flat(), ...sight.named.flat()]);
  for (const identity of [...special].sort((a, b) => a.number - b.number))
    put(
      identity.number,
      listOf((index) => meansIdentity(index, identity) || all[index]?.allPods === true, identity),
    );

  const addresses = cutPods(all, family, network).flatMap(({ pod, address, value }) => {
    const identity = identities.of(pod);
    if (identity === undefined) return [];
    const list = listOf(
      (index) => meansIdentity(index, identity) || isInside(value, all[index]?.blocks ?? []),
      identity,
    );
    return [{ address, list: list ?? intern(resolve([])) }];
  });
  return { numbers, addresses, ranges: strangers(ladder, family, network, { shapes: all, listOf }) };
}

function withNames(rung: Rung, numbered: Shape["numbered"], { ports }: Identity): Shape["numbered"] {
  if (numbered === "all" || rung.rule.ports === "all") return numbered;
  const named = rung.rule.ports.flatMap((port) => (port.kind === "named" ? namedSegments(port, ports) : []));
  return [...numbered, ...named];
}

function isInside(value: bigint, ranges: readonly AddressRange[]): boolean {
  return ranges.some(({ first, last }) => value >= first && value <= last);
}

interface CutPod {
  readonly pod: NetworkPod;
  readonly address: Address;
  readonly value: bigint;
}

/** Pods for which a block says something else than for pods in general. */
function cutPods(all: readonly Shape[], family: Family, network: Network): readonly CutPod[] {
  if (all.every(({ blocks }) => blocks.length === 0)) return [];
  return podsByAddress[family](network.pods).filter(({ value }) =>
    all.some(({ blocks, allPods }) => blocks.length > 0 && isInside(value, blocks) !== allPods),
  );
}

const values = new WeakMap<NetworkPod, readonly CutPod[]>();

/** Pods' addresses that one pod alone claims. */
const podsByAddress = { 4: memoized(addressesIn(4)), 6: memoized(addressesIn(6)) };

function addressesIn(family: Family): (pods: readonly NetworkPod[]) => readonly CutPod[] {
  return (pods) => {
    const found = new Map<Address, CutPod | "contested">();
    for (const pod of pods) {
      if (pod.hostNetwork) continue;
      let own = values.get(pod);
      if (own === undefined)
        values.set(pod, (own = pod.addresses.map((address) => ({ pod, address, value: addressValue(address) }))));
      for (const each of own)
        if (familyOf(each.address) === family) found.set(each.address, found.has(each.address) ? "contested" : each);
    }
    return [...found.values()].filter((each) => each !== "contested");
  };
}

/** The ranges of addresses that are no pod's, each with its list. */
function strangers(
  ladder: Ladder,
  family: Family,
  network: Network,
  {
    shapes: all,
    listOf,
  }: {
    readonly shapes: readonly Shape[];
    readonly listOf: (isMeant: (index: number) => boolean) => PortList | undefined;
  },
): LadderEnds["ranges"] {
  // An address of the pods' that nobody is known to have may be a pod's that is not known yet: what is denied to any pod is denied to it.
  const deniesPods = all.map(
    ({ anyPod, byNamespace, byLabels }, index) =>
      ladder.rungs[index]?.action === "deny" && (anyPod || byNamespace.length + byLabels.length > 0),
  );
  const hasUnknown = deniesPods.includes(true);
  const hasNodes = all.some(({ nodes }) => nodes.length > 0);
  const marks: { readonly range: AddressRange; readonly what: number | "pods" | NetworkNode }[] = [];
  for (const [index, { blocks }] of all.entries()) for (const range of blocks) marks.push({ range, what: index });
  if (hasUnknown) for (const range of podRanges(network, family)) marks.push({ range, what: "pods" });
  if (hasUnknown || hasNodes)
    for (const node of network.nodes)
      for (const address of nodeAddresses(node, family)) {
        const value = addressValue(address);
        marks.push({ range: { first: value, last: value }, what: node });
      }
  const result: { range: AddressRange; list: PortList }[] = [];
  for (const { range, inside } of elementary(marks)) {
    const nodes = inside.filter((what): what is NetworkNode => typeof what === "object");
    const list = listOf(
      (index) =>
        inside.includes(index) ||
        nodes.some((node) => all[index]?.nodes.some((peer) => matches(peer.nodes, node.labels)) === true) ||
        (nodes.length === 0 && inside.includes("pods") && deniesPods[index] === true),
    );
    if (list === undefined) continue;
    const before = result.at(-1);
    if (before?.list === list && before.range.last + 1n === range.first)
      before.range = { first: before.range.first, last: range.last };
    else result.push({ range, list });
  }
  return result;
}

function podRanges({ cluster, nodes }: Network, family: Family): readonly AddressRange[] {
  const all = [...cluster.podCidrs, ...nodes.flatMap(({ podCidrs }) => podCidrs)];
  return all.filter((range) => familyOf(range) === family).map((range) => prefixRange(range));
}

/** Where a node is reached: what its status says, and its addresses among its pods. */
export function nodeAddresses(node: NetworkNode, family: Family): readonly Address[] {
  const podCidr = node.podCidrs.find((range) => familyOf(range) === family);
  return [
    ...[...node.addresses, ...(node.otherAddresses ?? [])].filter((address) => familyOf(address) === family),
    ...(podCidr === undefined ? [] : [gatewayOf(podCidr), tunnelAddressOf(podCidr)]),
  ];
}

/** Cuts ranges at every edge; each piece with all that hold it. */
function* elementary<T>(
  marks: readonly { readonly range: AddressRange; readonly what: T }[],
): Iterable<{ readonly range: AddressRange; readonly inside: readonly T[] }> {
  const starts = new Map<bigint, T[]>();
  const ends = new Map<bigint, T[]>();
  const put = (map: Map<bigint, T[]>, at: bigint, what: T): void => {
    const list = map.get(at);
    if (list === undefined) map.set(at, [what]);
    else list.push(what);
  };
  for (const { range, what } of marks) {
    put(starts, range.first, what);
    put(ends, range.last + 1n, what);
  }
  const edges = [...new Set([...starts.keys(), ...ends.keys()])].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
  const active = new Map<T, number>();
  for (const [index, edge] of edges.entries()) {
    for (const what of ends.get(edge) ?? []) {
      const count = (active.get(what) ?? 1) - 1;
      if (count === 0) active.delete(what);
      else active.set(what, count);
    }
    for (const what of starts.get(edge) ?? []) active.set(what, (active.get(what) ?? 0) + 1);
    const next = edges[index + 1];
    if (next !== undefined && active.size > 0)
      yield { range: { first: edge, last: next - 1n }, inside: [...active.keys()] };
  }
}

const protocols: readonly Protocol[] = ["tcp", "udp", "sctp"];

/** The first rung that means each port. */
export function resolve(open: readonly OpenRung[]): PortList {
  const segments: Segment[] = [];
  const free = new Map(protocols.map((protocol) => [protocol, [{ first: 0, last: 65535 }]]));
  let rest: Rung | undefined;
  for (const { rung, ports } of open) {
    if (ports === "all") {
      rest = rung;
      break;
    }
    for (const { protocol, first, last } of ports) {
      const left: { first: number; last: number }[] = [];
      for (const gap of free.get(protocol) ?? []) {
        const taken = { first: Math.max(gap.first, first), last: Math.min(gap.last, last) };
        if (taken.first > taken.last) {
          left.push(gap);
          continue;
        }
        segments.push({ protocol, ...taken, rung });
        if (gap.first < taken.first) left.push({ first: gap.first, last: taken.first - 1 });
        if (gap.last > taken.last) left.push({ first: taken.last + 1, last: gap.last });
      }
      free.set(protocol, left);
    }
  }
  const joined = joinSegments(segments);
  const texts = joined.map(({ protocol, first, last, rung }) => `${protocol}/${first}-${last}=${rung.name}`);
  return { name: `list ${texts.join(" ")} rest=${rest?.name ?? ""}`, segments: joined, rest };
}

function joinSegments(segments: readonly Segment[]): readonly Segment[] {
  const result: Segment[] = [];
  const sorted = segments.toSorted(
    (a, b) => protocols.indexOf(a.protocol) - protocols.indexOf(b.protocol) || a.first - b.first,
  );
  for (const segment of sorted) {
    const before = result.at(-1);
    if (before?.protocol === segment.protocol && before.rung === segment.rung && before.last + 1 === segment.first)
      result[result.length - 1] = { ...before, last: segment.last };
    else result.push(segment);
  }
  return result;
}
