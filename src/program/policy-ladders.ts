// ClusterNetworkPolicies of one tier and direction that select a pod, as one ladder of rules in order of priority, name and place; and what
// a ladder comes to for every other end there is: a list of ports with the first rule that means each, resolved once, here. In the kernel
// nothing is compared and nothing is tried in order: an end leads to its list, and the list to a rule.
//
// An end is the most special of: an address (a node's, or a pod's where blocks cut through the pods), a pod's identity, its namespace, any pod,
// a pod that is not known yet; and for all other addresses, disjoint ranges. Each list is complete, so the first one found decides.
// What a ladder says to an identity or an address depends on nothing else: it is found once and kept.
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
import { difference } from "../model/table.ts";
import { memoized } from "./memo.ts";
import { gatewayOf, tunnelAddressOf } from "./places.ts";
import type { AddressRange } from "./policy-blocks.ts";
import type { Direction } from "./policy-grants.ts";
import type { Identities, Identity } from "./policy-identities.ts";
import { followed, peerNumbers, peerNumbersOf, type PodPeer } from "./policy-peers.ts";

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
  /** Of identities, namespaces, any pod and pods that are not known yet. */
  readonly numbers: readonly { readonly number: number; readonly list: PortList }[];
  /** Of nodes, and of single pods. */
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

/** What the ladder says to all other ends of a family. The same value until something in it changes. */
export function ladderEnds(ladder: Ladder, family: Family, surroundings: LadderSurroundings): LadderEnds {
  const view = viewOf(ladder, family, surroundings.network);
  const numbers = numbersOf(view, surroundings);
  const addresses = kept(view, "addresses", [...nodesOf(view, surroundings), ...cutPods(view, surroundings)]);
  const { ends } = view;
  if (ends?.numbers === numbers && ends.addresses === addresses) return ends;
  return (view.ends = { numbers, addresses, ranges: view.ranges });
}

/** A ladder in one family, and what was found for it so far. */
interface View {
  readonly ladder: Ladder;
  readonly family: Family;
  readonly rungs: readonly Rung[];
  readonly shapes: readonly Shape[];
  /** By what the rungs say there. */
  readonly lists: Map<string, PortList>;
  readonly byIdentity: WeakMap<Identity, PortList | typeof nothing>;
  readonly byPod: WeakMap<NetworkPod, { readonly identity: Identity; readonly found: LadderEnds["addresses"] }>;
  /** Blocks that do not hold all pods, and whether others do: pods outside of the pods' ranges are outside of those. */
  readonly cutting: {
    readonly blocks: readonly AddressRange[];
    readonly isAround: boolean;
    readonly podRanges: readonly AddressRange[];
  };
  /** Pods that a block cuts off from the others, and the pods that were looked at. */
  readonly cut: Set<NetworkPod>;
  pods: readonly NetworkPod[];
  readonly ranges: LadderEnds["ranges"];
  readonly memory: Map<string, { readonly causes: readonly unknown[]; readonly value: unknown }>;
  ends: LadderEnds | undefined;
}

const nothing = "nothing";

const views = new WeakMap<Ladder, Map<string, View>>();

function viewOf(ladder: Ladder, family: Family, { cluster }: Network): View {
  const podRanges = cluster.podCidrs.filter((range) => familyOf(range) === family).map((range) => prefixRange(range));
  const key = `${family} ${podRanges.map(({ first, last }) => `${first}-${last}`).join()}`;
  let known = views.get(ladder);
  if (known === undefined) views.set(ladder, (known = new Map()));
  let view = known.get(key);
  if (view !== undefined) return view;
  const shapes = ladder.rungs.map((rung) => makeShape(rung, ladder, family, podRanges));
  const fresh: Omit<View, "ranges"> = {
    ladder,
    family,
    rungs: ladder.rungs,
    shapes,
    lists: new Map(),
    byIdentity: new WeakMap(),
    byPod: new WeakMap(),
    cutting: {
      blocks: shapes.flatMap(({ blocks, allPods }) => (allPods ? [] : blocks)),
      isAround: shapes.some(({ allPods }) => allPods),
      podRanges,
    },
    cut: new Set(),
    pods: [],
    memory: new Map(),
    ends: undefined,
  };
  view = { ...fresh, ranges: strangers(fresh) };
  known.set(key, view);
  return view;
}

/** The same value while the causes are the same. */
function remembered<T>(view: View, name: string, causes: readonly unknown[], make: () => T): T {
  const known = view.memory.get(name);
  if (known?.causes.length === causes.length && causes.every((cause, index) => cause === known.causes[index]))
    return known.value as T;
  const value = make();
  view.memory.set(name, { causes, value });
  return value;
}

/** The old list where the new one holds the same values. */
function kept<T>(view: View, name: string, list: readonly T[]): readonly T[] {
  const known = view.memory.get(name)?.value as readonly T[] | undefined;
  if (known?.length === list.length && list.every((value, index) => value === known[index])) return known;
  view.memory.set(name, { causes: [], value: list });
  return list;
}

/** A rung's peers sorted by how they are found. */
interface Shape {
  readonly anyPod: boolean;
  readonly byNamespace: readonly PodPeer[];
  readonly byLabels: readonly PodPeer[];
  readonly nodes: readonly (ClusterPeer & { readonly kind: "nodes" })[];
  readonly blocks: readonly AddressRange[];
  /** Of either family. */
  readonly hasBlocks: boolean;
  /** The blocks hold every pod's address, as far as pods have addresses of the pods' ranges. */
  readonly allPods: boolean;
  /** It denies something to pods, or to some address of theirs: so it does to one that is not known yet. */
  readonly deniesUnknown: boolean;
  readonly numbered: "all" | readonly Omit<Segment, "rung">[];
  /** Its ports have names that mean something else in every destination. */
  readonly hasNames: boolean;
}

const noPolicy = { namespace: "" };

function makeShape({ rule }: Rung, ladder: Ladder, family: Family, podRanges: readonly AddressRange[]): Shape {
  const peers: readonly ClusterPeer[] = rule.peers === "anyone" ? [] : rule.peers;
  const pods = peers.filter((peer): peer is PodPeer => peer.kind === "pods");
  const whole: AddressRange = { first: 0n, last: (1n << BigInt(addressBits(family))) - 1n };
  const isAnyone = rule.peers === "anyone";
  const blocks = isAnyone
    ? [whole]
    : peers.flatMap((peer) =>
        peer.kind === "block" && familyOf(peer.cidr) === family ? [prefixRange(peer.cidr)] : [],
      );
  return {
    anyPod: isAnyone || pods.some((peer) => peer.pods.length === 0 && isEverything(peer.namespaces)),
    byNamespace: pods.filter((peer) => peer.pods.length === 0 && !isEverything(peer.namespaces)),
    byLabels: pods.filter((peer) => peer.pods.length > 0),
    nodes: peers.filter((peer) => peer.kind === "nodes"),
    blocks,
    hasBlocks: isAnyone || peers.some(({ kind }) => kind === "block"),
    allPods: podRanges.length > 0 && podRanges.every((range) => blocks.some((block) => holds(block, range))),
    deniesUnknown:
      rule.action === "deny" &&
      (pods.length > 0 || blocks.some((block) => podRanges.some((range) => meets(block, range)))),
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

function meets(a: AddressRange, b: AddressRange): boolean {
  return a.first <= b.last && b.first <= a.last;
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

/** The list of an end that these rungs mean; undefined where none of them has anything to say to it. Equal lists are one. */
function listOf(
  { rungs, shapes, lists }: Pick<View, "rungs" | "shapes" | "lists">,
  isMeant: (shape: Shape, index: number) => boolean,
  destination?: Identity,
): PortList | undefined {
  let signature = "";
  const open: OpenRung[] = [];
  for (const [index, shape] of shapes.entries()) {
    if (!isMeant(shape, index)) continue;
    const rung = rungs[index] as Rung;
    const named = shape.hasNames && destination !== undefined ? namesAt(rung, destination) : [];
    const ports = shape.numbered === "all" || named.length === 0 ? shape.numbered : [...shape.numbered, ...named];
    if (ports !== "all" && ports.length === 0) continue;
    open.push({ rung, ports });
    signature += `${index}${named.map(({ protocol, first }) => ` ${protocol} ${first}`).join("")},`;
  }
  if (open.length === 0) return undefined;
  let list = lists.get(signature);
  if (list === undefined) lists.set(signature, (list = resolve(open)));
  return list;
}

function namesAt({ rule }: Rung, { ports }: Identity): readonly Omit<Segment, "rung">[] {
  if (rule.ports === "all") return [];
  return rule.ports.flatMap((port) => (port.kind === "named" ? namedSegments(port, ports) : []));
}

/** Any pod, namespaces, identities and pods that are not known yet. */
function numbersOf(view: View, { identities }: LadderSurroundings): LadderEnds["numbers"] {
  const { shapes } = view;
  const means = new Map(
    shapes.flatMap(({ byNamespace }) => byNamespace.map((peer) => [peer, peerNumbersOf(peer, noPolicy, identities)])),
  );
  const common = remembered(view, "common", [identities.namespaceList, ...means.values()], () => {
    const inNamespace = shapes.map(
      ({ byNamespace }) => new Set(byNamespace.flatMap((peer) => means.get(peer)?.numbers ?? [])),
    );
    const ends: { number: number; list: PortList }[] = [];
    const put = (number: number, list: PortList | undefined): void => {
      if (list !== undefined) ends.push({ number, list });
    };
    put(
      peerNumbers.anyPod,
      listOf(view, ({ anyPod, allPods }) => anyPod || allPods),
    );
    put(
      peerNumbers.unknownPod,
      shapes.some(({ deniesUnknown }) => deniesUnknown)
        ? listOf(view, ({ deniesUnknown, allPods }) => deniesUnknown || allPods)
        : undefined,
    );
    for (const number of [...new Set(inNamespace.flatMap((set) => [...set]))].sort((a, b) => a - b))
      put(
        number,
        listOf(view, ({ anyPod, allPods }, index) => anyPod || allPods || inNamespace[index]?.has(number) === true),
      );
    return ends;
  });
  // The same in both families, and found once for both.
  const special = followed(view.ladder, identities, (identity) => isSpecial(view, identity));
  return remembered(view, "numbers", [common, special], () => [
    ...common,
    ...special.identities.flatMap((identity) => {
      const list = listForIdentity(view, identity);
      return list === undefined ? [] : [{ number: identity.number, list }];
    }),
  ]);
}

/** Has the identity a list of its own: by labels of pods, or by what its ports are called? */
function isSpecial({ shapes, rungs }: View, identity: Identity): boolean {
  return shapes.some(
    (shape, index) =>
      shape.byLabels.some((peer) => meansByLabels(peer, identity)) ||
      (shape.hasNames &&
        (shape.hasBlocks || meansIdentity(shape, identity)) &&
        namesAt(rungs[index] as Rung, identity).length > 0),
  );
}

function meansByLabels({ namespaces, pods }: PodPeer, { namespaceLabels, labels }: Identity): boolean {
  return (
    namespaces !== "own" &&
    (namespaces.length === 0 || matches(namespaces, namespaceLabels)) &&
    (pods.length === 0 || matches(pods, labels))
  );
}

function meansIdentity({ anyPod, byNamespace, byLabels }: Shape, identity: Identity): boolean {
  return anyPod || [...byNamespace, ...byLabels].some((peer) => meansByLabels(peer, identity));
}

function listForIdentity(view: View, identity: Identity): PortList | undefined {
  let list = view.byIdentity.get(identity);
  if (list === undefined) {
    list = listOf(view, (shape) => shape.allPods || meansIdentity(shape, identity), identity) ?? nothing;
    view.byIdentity.set(identity, list);
  }
  return list === nothing ? undefined : list;
}

function isInside(value: bigint, ranges: readonly AddressRange[]): boolean {
  for (const { first, last } of ranges) if (value >= first && value <= last) return true;
  return false;
}

/** Pods for which a block says something else than for pods in general. */
function cutPods(view: View, { network, identities }: LadderSurroundings): LadderEnds["addresses"] {
  const { shapes, cut, byPod } = view;
  if (shapes.every(({ blocks }) => blocks.length === 0)) return [];
  if (view.pods !== network.pods) {
    const { removed, added } = changesOfPods(view.pods, network.pods);
    for (const pod of removed) cut.delete(pod);
    for (const pod of added) if (isCut(view, pod)) cut.add(pod);
    view.pods = network.pods;
  }
  const all = [...cut].flatMap((pod) => {
    const identity = identities.of(pod);
    if (identity === undefined) return [];
    const known = byPod.get(pod);
    if (known?.identity === identity) return known.found;
    const found = addressEnds(view, pod, identity);
    byPod.set(pod, { identity, found });
    return found;
  });
  const { contested } = identities;
  return all
    .filter(({ address }) => !contested.has(address))
    .sort((a, b) => (a.address < b.address ? -1 : a.address > b.address ? 1 : 0));
}

/** All ladders of a node ask about the same change. */
let lastChange: {
  readonly before: readonly NetworkPod[];
  readonly after: readonly NetworkPod[];
  readonly change: ReturnType<typeof difference<NetworkPod>>;
} = { before: [], after: [], change: { removed: [], added: [] } };

function changesOfPods(
  before: readonly NetworkPod[],
  after: readonly NetworkPod[],
): ReturnType<typeof difference<NetworkPod>> {
  if (lastChange.before !== before || lastChange.after !== after)
    lastChange = { before, after, change: difference(before, after) };
  return lastChange.change;
}

function isCut({ family, cutting }: View, pod: NetworkPod): boolean {
  if (pod.hostNetwork) return false;
  for (const each of valuesOf(pod)) {
    if (each.family !== family) continue;
    if (isInside(each.value, cutting.blocks)) return true;
    if (cutting.isAround && !isInside(each.value, cutting.podRanges)) return true;
  }
  return false;
}

interface AddressOfPod {
  readonly address: Address;
  readonly family: Family;
  readonly value: bigint;
}

const values = new WeakMap<NetworkPod, readonly AddressOfPod[]>();

/** Read once: every ladder asks. */
function valuesOf(pod: NetworkPod): readonly AddressOfPod[] {
  let known = values.get(pod);
  if (known === undefined) {
    known = pod.addresses.map((address) => ({ address, family: familyOf(address), value: addressValue(address) }));
    values.set(pod, known);
  }
  return known;
}

function addressEnds(view: View, pod: NetworkPod, identity: Identity): LadderEnds["addresses"] {
  return valuesOf(pod)
    .filter(({ family }) => family === view.family)
    .map(({ address, value }) => {
      const list = listOf(view, (shape) => meansIdentity(shape, identity) || isInside(value, shape.blocks), identity);
      return { address, list: list ?? emptyList };
    });
}

const emptyList: PortList = { name: "list", segments: [], rest: undefined };

/** Nodes that a peer means, under all of their addresses. */
function nodesOf(view: View, { network }: LadderSurroundings): LadderEnds["addresses"] {
  if (view.shapes.every(({ nodes }) => nodes.length === 0)) return [];
  return remembered(view, "nodes", [network.nodes], () =>
    network.nodes.flatMap((node) => {
      const meant = view.shapes.map(({ nodes }) => nodes.some((peer) => matches(peer.nodes, node.labels)));
      if (!meant.includes(true)) return [];
      return nodeAddresses(node, view.family).flatMap((address) => {
        const value = addressValue(address);
        const list = listOf(view, ({ blocks }, index) => meant[index] === true || isInside(value, blocks));
        return list === undefined ? [] : [{ address, list }];
      });
    }),
  );
}

/** Where a node is reached: what its status says, and its addresses among its pods. */
function nodeAddresses(node: NetworkNode, family: Family): readonly Address[] {
  return [
    ...[...node.addresses, ...(node.otherAddresses ?? [])].filter((address) => familyOf(address) === family),
    ...nodeEnds(node, family),
  ];
}

/** A node's own addresses in the pods' range: no pod's, though nobody is known to have them. */
export function nodeEnds(node: NetworkNode, family: Family): readonly Address[] {
  const podCidr = node.podCidrs.find((range) => familyOf(range) === family);
  return podCidr === undefined ? [] : [gatewayOf(podCidr), tunnelAddressOf(podCidr)];
}

/** The ranges of addresses that blocks mean, each with its list. */
function strangers(view: Omit<View, "ranges">): LadderEnds["ranges"] {
  const marks = view.shapes.flatMap(({ blocks }, index) => blocks.map((range) => ({ range, what: index })));
  const result: { range: AddressRange; list: PortList }[] = [];
  for (const { range, inside } of elementary(marks)) {
    const list = listOf(view, (_, index) => inside.includes(index));
    if (list === undefined) continue;
    const before = result.at(-1);
    if (before?.list === list && before.range.last + 1n === range.first)
      before.range = { first: before.range.first, last: range.last };
    else result.push({ range, list });
  }
  return result;
}

/** Cuts ranges at every edge; each piece with all that hold it. */
function* elementary(
  marks: readonly { readonly range: AddressRange; readonly what: number }[],
): Iterable<{ readonly range: AddressRange; readonly inside: readonly number[] }> {
  const edges = [...new Set(marks.flatMap(({ range }) => [range.first, range.last + 1n]))].sort((a, b) =>
    a < b ? -1 : a > b ? 1 : 0,
  );
  for (const [index, first] of edges.entries()) {
    const next = edges[index + 1];
    if (next === undefined) return;
    const inside = marks.filter(({ range }) => range.first <= first && range.last >= first).map(({ what }) => what);
    if (inside.length > 0) yield { range: { first, last: next - 1n }, inside };
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
