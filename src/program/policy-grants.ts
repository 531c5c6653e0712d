// What the policies that select a pod let through, as elements of the sets that the policy chains ask (policy.ts): one piece per identity
// that lives on the node and direction. The mark is the pod's own number, the priority that of the other end; an element's data is the
// number of the policies that it serves, under which packets are counted and told.
//
// Not here: which pods are isolated (policy.ts), whom a peer means (policy-peers.ts).

import { addressValue, familyOf, type Address, type Family } from "../ip/address.ts";
import type { NetworkNode, NetworkPod, Policy, PolicyPeer, PolicyPort, PolicyRule } from "../model/network.ts";
import type { Origin } from "../kube/object.ts";
import type { NftElement } from "./nftables/ruleset.ts";
import { gatewayOf, tunnelAddressOf } from "./places.ts";
import {
  disjointBlocks,
  disjointPorts,
  portText,
  rangesWithout,
  rangeText,
  together,
  type Block,
  type PortRange,
} from "./policy-blocks.ts";
import { memoized } from "./memo.ts";
import { classId, markOf, type Identities, type Identity } from "./policy-identities.ts";
import { mixedHash } from "./policy-numbers.ts";
import { identitiesWithPort, peerIdentities, peerNumbers, peerNumbersOf } from "./policy-peers.ts";

export type Direction = "ingress" | "egress";

/** Elements by kind: the sets of one direction. `blocks` are of one family, the others of both. */
export interface Grants {
  /** pod . other end: every port of every protocol. */
  readonly all: readonly NftElement[];
  /** pod . other end . protocol . port */
  readonly ports: readonly NftElement[];
  /** The same with ranges of ports. */
  readonly ranges: readonly NftElement[];
  /** pod . addresses . protocol . ports */
  readonly blocks: Readonly<Record<Family, readonly NftElement[]>>;
  /** pod . addresses: every port of every protocol. */
  readonly allBlocks: Readonly<Record<Family, readonly NftElement[]>>;
  /** The policies together that any element serves. */
  readonly served: readonly (readonly Policy[])[];
}

/** What grants are made of besides the policies. */
export interface Surroundings {
  readonly identities: Identities;
  readonly nodes: readonly NetworkNode[];
}

/** A question to the surroundings that a grant was made by. What was answered is the same value until the answer is another. */
interface Cause {
  readonly ask: (surroundings: Surroundings) => unknown;
  readonly answer: unknown;
}

interface Made {
  readonly policies: readonly Policy[];
  /** When the answers were last the same. */
  when: Surroundings;
  readonly causes: readonly Cause[];
  readonly grants: Grants;
}

const memory = new WeakMap<Identity, Partial<Record<Direction, Made>>>();

/**
 * What a pod of this identity may get (ingress) or send (egress) by these policies, all of which select it. The same value until a cause
 * changes: a node with hundreds of pods asks for all of theirs at each change of any.
 */
export function grantsOf(
  identity: Identity,
  direction: Direction,
  policies: readonly Policy[],
  surroundings: Surroundings,
): Grants {
  const known = memory.get(identity);
  const before = known?.[direction];
  if (before !== undefined && isStillSo(before, policies, surroundings)) return before.grants;
  const causes: Cause[] = [];
  const terms = policies.flatMap((policy) =>
    (policy[direction] ?? []).flatMap((rule) => termsOf(rule, policy, { identity, direction, causes, surroundings })),
  );
  const grants = elementsOf(identity, direction, terms);
  memory.set(identity, { ...known, [direction]: { policies, when: surroundings, causes, grants } });
  return grants;
}

function isStillSo(made: Made, now: readonly Policy[], surroundings: Surroundings): boolean {
  const { policies, when, causes } = made;
  if (policies !== now && !(policies.length === now.length && policies.every((policy, at) => policy === now[at])))
    return false;
  if (when.identities === surroundings.identities && when.nodes === surroundings.nodes) return true;
  if (!causes.every(({ ask, answer }) => ask(surroundings) === answer)) return false;
  made.when = surroundings;
  return true;
}

/** The answer to a question, which is remembered with it. */
function asked<T>({ causes, surroundings }: Situation, ask: (surroundings: Surroundings) => T): T {
  const answer = ask(surroundings);
  causes.push({ ask, answer });
  return answer;
}

/** Numbers or addresses on the other end, and the ports that are open to them. */
type Term =
  | {
      readonly kind: "numbers";
      readonly numbers: readonly number[];
      readonly ports: "all" | readonly OpenPorts[];
      readonly origin: Origin;
      readonly by: readonly Policy[];
    }
  | {
      readonly kind: "block";
      readonly family: Family;
      readonly block: Omit<Block, "ports">;
      readonly ports: "all" | readonly OpenPorts[];
      readonly origin: Origin;
      readonly by: readonly Policy[];
    };

type OpenPorts = Omit<PortRange, "by" | "origin">;

interface Situation {
  readonly identity: Identity;
  readonly direction: Direction;
  /** Everything the result depends on besides identity and policies. */
  readonly causes: Cause[];
  readonly surroundings: Surroundings;
}

function termsOf(rule: PolicyRule, policy: Policy, situation: Situation): readonly Term[] {
  const { identity, direction } = situation;
  const by = only(policy);
  const named = rule.ports === "all" ? [] : rule.ports.filter((port) => port.kind === "named");
  const numbered = rule.ports === "all" ? [] : rule.ports.filter((port) => port.kind === "range");
  const own = direction === "ingress" ? named.flatMap((port) => portsNamed(port, identity)) : [];
  const fixed: "all" | readonly OpenPorts[] = rule.ports === "all" ? "all" : [...numbered, ...own];
  const elsewhere = direction === "egress" ? named : [];
  const peers = rule.peers === "anyone" ? [undefined] : rule.peers;
  return peers.flatMap((peer) => {
    const open = fixed === "all" || fixed.length > 0 ? openTerms(peer, fixed, rule, policy, situation) : [];
    const all = [...open, ...elsewhere.flatMap((port) => namedTerms(peer, port, rule, policy, situation))];
    return all.map((term) => ({ ...term, by }));
  });
}

type Unsigned<T> = T extends Term ? Omit<T, "by"> : never;

/** A policy by itself, the same list each time. */
const only = memoized((policy: Policy): readonly Policy[] => [policy]);

/** Ports that are the same whoever is on the other end. */
function openTerms(
  peer: PolicyPeer | undefined,
  ports: "all" | readonly OpenPorts[],
  rule: PolicyRule,
  policy: Policy,
  situation: Situation,
): readonly Unsigned<Term>[] {
  if (peer === undefined) return [{ kind: "numbers", numbers: [peerNumbers.anyone], ports, origin: rule.origin }];
  const { origin } = peer;
  switch (peer.kind) {
    case "pods": {
      const found = asked(situation, ({ identities }) => peerNumbersOf(peer, policy, identities));
      return [{ kind: "numbers", numbers: found.numbers, ports, origin }];
    }
    case "block": {
      const family = familyOf(peer.cidr);
      const ranges = rangesWithout(peer.cidr, peer.except);
      const nodes = situation.direction === "ingress" ? asked(situation, (one) => one.nodes) : [];
      const all = [...ranges, ...nodeAddresses(peer, nodes).map(single)];
      return all.map((range) => ({ kind: "block", family, block: { range }, ports, origin }));
    }
  }
}

/** A name that means another port in each destination. */
function namedTerms(
  peer: PolicyPeer | undefined,
  port: PolicyPort & { readonly kind: "named" },
  rule: PolicyRule,
  policy: Policy,
  situation: Situation,
): readonly Unsigned<Term>[] {
  const origin = peer?.origin ?? rule.origin;
  if (peer?.kind === "block") {
    const { identities } = situation.surroundings;
    const pods = asked(situation, (one) => one.identities.pods);
    return pods.flatMap((pod) => podBlocks(pod, peer, port, identities));
  }
  const found = asked(situation, ({ identities }) =>
    peer === undefined ? identitiesWithPort(port, identities) : peerIdentities(peer, policy, identities),
  );
  return found.identities.flatMap((identity): readonly Unsigned<Term>[] => {
    const ports = portsNamed(port, identity);
    return ports.length === 0 ? [] : [{ kind: "numbers", numbers: [identity.number], ports, origin }];
  });
}

function podBlocks(
  pod: NetworkPod,
  peer: PolicyPeer & { readonly kind: "block" },
  port: PolicyPort & { readonly kind: "named" },
  identities: Identities,
): readonly Unsigned<Term>[] {
  const identity = identities.of(pod);
  const ports = identity === undefined ? [] : portsNamed(port, identity);
  if (ports.length === 0) return [];
  const ranges = rangesWithout(peer.cidr, peer.except);
  const family = familyOf(peer.cidr);
  return pod.addresses
    .filter((address) => familyOf(address) === family && isInside(address, ranges))
    .map((address) => ({ kind: "block", family, block: { range: single(address) }, ports, origin: peer.origin }));
}

function portsNamed(port: PolicyPort & { readonly kind: "named" }, { ports }: Identity): readonly OpenPorts[] {
  return ports
    .filter(({ name, protocol }) => name === port.name && protocol === port.protocol)
    .map((found) => ({ protocol: port.protocol, first: found.port, last: found.port }));
}

/** A block that means a node means it under all addresses its packets to pods carry: those of its bridge and its tunnel. */
function nodeAddresses(
  { cidr, except }: PolicyPeer & { readonly kind: "block" },
  nodes: readonly NetworkNode[],
): readonly Address[] {
  const family = familyOf(cidr);
  const ranges = rangesWithout(cidr, except);
  return nodes.flatMap((node) => {
    const isMeant = node.addresses.some((address) => familyOf(address) === family && isInside(address, ranges));
    const podCidr = node.podCidrs.find((range) => familyOf(range) === family);
    return isMeant && podCidr !== undefined ? [gatewayOf(podCidr), tunnelAddressOf(podCidr)] : [];
  });
}

function isInside(address: Address, ranges: readonly { readonly first: bigint; readonly last: bigint }[]): boolean {
  const value = addressValue(address);
  return ranges.some(({ first, last }) => value >= first && value <= last);
}

function single(address: Address): { readonly first: bigint; readonly last: bigint } {
  const value = addressValue(address);
  return { first: value, last: value };
}

function elementsOf(identity: Identity, direction: Direction, terms: readonly Term[]): Grants {
  const mark = markOf(identity.number);
  const served = new Map<string, readonly Policy[]>();
  const dataOf = (by: readonly Policy[]): readonly [string] => {
    const data = groupMark("accept", direction, by);
    served.set(data, by);
    return [data];
  };
  const all = new Map<number, { readonly origin: Origin; readonly by: readonly Policy[] }>();
  for (const term of terms) {
    if (term.kind !== "numbers" || term.ports !== "all") continue;
    for (const number of term.numbers) {
      const known = all.get(number);
      all.set(number, known === undefined ? term : { origin: known.origin, by: together([known.by, term.by]) });
    }
  }
  const byNumber = new Map<number, PortRange[]>();
  for (const term of terms) {
    if (term.kind !== "numbers" || term.ports === "all") continue;
    for (const number of term.numbers) {
      if (all.has(number)) continue;
      const list = byNumber.get(number);
      const ports = signed(term.ports.flatMap(oneByOne), term);
      if (list === undefined) byNumber.set(number, [...ports]);
      else list.push(...ports);
    }
  }
  const ports: NftElement[] = [];
  const ranges: NftElement[] = [];
  for (const [number, open] of [...byNumber].sort(([a], [b]) => a - b)) {
    const id = classId(number);
    const isSingle = ({ first, last }: PortRange): boolean => first === last;
    const wide = disjointPorts(open.filter((range) => !isSingle(range)));
    for (const { protocol, first, origin, by } of uniquePorts(open.filter(isSingle))) {
      const around = wide.find((range) => range.protocol === protocol && range.first <= first && range.last >= first);
      const openers = around === undefined ? by : together([by, around.by]);
      ports.push({ key: [mark, id, protocol, String(first)], data: dataOf(openers), origin });
    }
    for (const range of wide)
      ranges.push({ key: [mark, id, range.protocol, portText(range)], data: dataOf(range.by), origin: range.origin });
  }
  const allElements = [...all]
    .sort(([a], [b]) => a - b)
    .map(([number, { origin, by }]) => ({ key: [mark, classId(number)], data: dataOf(by), origin }));
  return {
    all: allElements,
    ports,
    ranges,
    blocks: { 4: blockElements(mark, 4, terms, dataOf), 6: blockElements(mark, 6, terms, dataOf) },
    allBlocks: { 4: allBlockElements(mark, 4, terms, dataOf), 6: allBlockElements(mark, 6, terms, dataOf) },
    served: [...served.values()],
  };
}

/** A look-up of ranges costs several of one port (which is looked for first): a few ports are said one by one. */
function oneByOne(open: OpenPorts): readonly OpenPorts[] {
  const count = open.last - open.first + 1;
  if (count > fewPorts) return [open];
  return Array.from({ length: count }, (_, index) => ({
    ...open,
    first: open.first + index,
    last: open.first + index,
  }));
}

const fewPorts = 4;

/** A number for what some policies do together in a direction. Two that hash alike are counted as one: nothing else hangs on it. */
export function groupMark(
  verdict: "accept" | "drop",
  direction: Direction,
  policies: readonly { readonly namespace?: string; readonly name: string }[],
): string {
  return markOf((mixedHash(`${verdict} ${direction} ${groupText(policies)}`, 0) | 0x80000000) >>> 0);
}

/** `production/db, production/deny-all` */
export function groupText(policies: readonly { readonly namespace?: string; readonly name: string }[]): string {
  return policies.map(({ namespace, name }) => (namespace === undefined ? name : `${namespace}/${name}`)).join(", ");
}

function signed(
  ports: readonly OpenPorts[],
  { origin, by }: { readonly origin: Origin; readonly by: readonly Policy[] },
): readonly PortRange[] {
  return ports.map((range) => ({ ...range, origin, by }));
}

/** Single ports, each once. */
function uniquePorts(ports: readonly PortRange[]): readonly PortRange[] {
  const seen = new Map<string, PortRange>();
  for (const port of ports) {
    const key = `${port.protocol} ${port.first}`;
    const known = seen.get(key);
    seen.set(key, known === undefined ? port : { ...known, by: together([known.by, port.by]) });
  }
  return [...seen.values()].sort(
    (a, b) => (a.protocol < b.protocol ? -1 : a.protocol > b.protocol ? 1 : 0) || a.first - b.first,
  );
}

const noElements: readonly NftElement[] = [];

function blockElements(
  mark: string,
  family: Family,
  terms: readonly Term[],
  dataOf: (by: readonly Policy[]) => readonly string[],
): readonly NftElement[] {
  const blocks = terms.flatMap((term): readonly Block[] =>
    term.kind === "block" && term.family === family && term.ports !== "all"
      ? [{ range: term.block.range, ports: signed(term.ports, term) }]
      : [],
  );
  if (blocks.length === 0) return noElements;
  return disjointBlocks(blocks).flatMap(({ range, ports }) =>
    ports.map((open) => ({
      key: [mark, rangeText(family, range), open.protocol, portText(open)],
      data: dataOf(open.by),
      origin: open.origin,
    })),
  );
}

/** Every port of every protocol: as if it were one port of one protocol. */
function allBlockElements(
  mark: string,
  family: Family,
  terms: readonly Term[],
  dataOf: (by: readonly Policy[]) => readonly string[],
): readonly NftElement[] {
  const everything = [{ protocol: "tcp", first: 0, last: 0 } as const];
  const blocks = terms.flatMap((term): readonly Block[] =>
    term.kind === "block" && term.family === family && term.ports === "all"
      ? [{ range: term.block.range, ports: signed(everything, term) }]
      : [],
  );
  if (blocks.length === 0) return noElements;
  return disjointBlocks(blocks).map(({ range, ports }) => ({
    key: [mark, rangeText(family, range)],
    data: dataOf(ports[0]?.by ?? []),
    origin: ports[0]?.origin ?? { kind: "NetworkPolicy", name: "" },
  }));
}
