// ClusterNetworkPolicies as elements of sets and maps: which ladder a pod of this node is under, which list each other end has there, and
// which rule each port of a list. The mark carries first the ladder's number, then the list's, then the rule's.
//
// Not here: what the ladders come to (policy-ladders.ts), the chains (policy-chains.ts).

import type { Family } from "../ip/address.ts";
import type { Attachment, Network, NetworkNode, PolicyTier } from "../model/network.ts";
import type { Origin } from "../kube/object.ts";
import { createAssembler, type Assembly, type Piece } from "./assemble.ts";
import { memoized } from "./memo.ts";
import type { NftElement } from "./nftables/ruleset.ts";
import { portText, rangeText } from "./policy-blocks.ts";
import type { Decision } from "./policy-decisions.ts";
import type { Direction } from "./policy-grants.ts";
import { classId, markOf, type Identities, type Identity } from "./policy-identities.ts";
import { ladderEnds, ladderOf, type Ladder, type LadderEnds, type PortList, type Rung } from "./policy-ladders.ts";
import { createNumbers, type Numbers } from "./policy-numbers.ts";

/** What ClusterNetworkPolicies say at a node. Elements of equal content are the same array. */
export interface TierVerdicts {
  /** Pods and the ladders they are under. */
  readonly under: Readonly<Record<Direction, Readonly<Record<PolicyTier, readonly UnderLadder[]>>>>;
  readonly ends: Readonly<Record<Family, Readonly<Record<EndPart, readonly NftElement[]>>>>;
  readonly lists: Readonly<Record<ListPart, readonly NftElement[]>>;
  readonly accepts: readonly NftElement[];
  readonly denies: readonly NftElement[];
  readonly decisions: readonly Decision[];
}

export interface UnderLadder {
  readonly attachment: Attachment;
  readonly mark: string;
  readonly origin: Origin;
}

const endParts = ["numbers", "addresses", "ranges"] as const;
type EndPart = (typeof endParts)[number];
const listParts = ["ports", "rest"] as const;
type ListPart = (typeof listParts)[number];

/** A pod of the node, as far as it is known who it is. */
export interface Local {
  readonly attachment: Attachment;
  readonly identity: Identity | undefined;
}

/** Pure in meaning; a node's last answer is remembered, so that a change costs what changed. */
export function tierVerdicts(
  network: Network,
  node: NetworkNode,
  identities: Identities,
  locals: readonly Local[],
): TierVerdicts {
  const state = states(node);
  const climbing = climbers(network, locals, state);
  const ladders = [...new Map(climbing.map(({ ladder }) => [ladder.name, ladder])).values()].sort(byName);
  const lists = new Map<string, PortList>();
  const ends = { 4: [] as NamedEnds[], 6: [] as NamedEnds[] };
  for (const ladder of ladders)
    for (const family of network.cluster.families) {
      const found = ladderEnds(ladder, family, { network, identities });
      ends[family].push(named(ladder, found));
      for (const { list } of [...found.numbers, ...found.addresses, ...found.ranges]) lists.set(list.name, list);
    }
  const rungs = new Map<string, Rung>();
  for (const { segments, rest } of lists.values()) {
    for (const { rung } of segments) rungs.set(rung.name, rung);
    if (rest !== undefined) rungs.set(rest.name, rest);
  }
  // Those of the ladders are today's.
  for (const { rungs: own } of ladders) for (const rung of own) if (rungs.has(rung.name)) rungs.set(rung.name, rung);
  for (const name of state.ladders.keys())
    if (!ladders.some((ladder) => ladder.name === name)) state.ladders.delete(name);
  number(state, [...ladders.map(({ name }) => name), ...lists.keys(), ...rungs.keys()]);

  const isTold = network.cluster.policyLog === "accepts";
  const decisions = [...rungs.values()]
    .map((rung) => decisionOf(rung, markIn(state, rung.name), isTold || rung.logsAccepts))
    .sort(byMark);
  const under = (direction: Direction, tier: PolicyTier): readonly UnderLadder[] =>
    climbing
      .filter((each) => each.tier === tier && each.ladder.direction === direction)
      .map(({ attachment, ladder }) => underLadder(attachment, ladder, markIn(state, ladder.name)));
  return {
    under: {
      ingress: { admin: under("ingress", "admin"), baseline: under("ingress", "baseline") },
      egress: { admin: under("egress", "admin"), baseline: under("egress", "baseline") },
    },
    ends: { 4: state.made.ends[4](ends[4]).elements, 6: state.made.ends[6](ends[6]).elements },
    lists: state.made.lists([...lists.values()].sort(byName)).elements,
    accepts: decisionElements(decisions, "accept"),
    denies: decisionElements(decisions, "drop"),
    decisions,
  };
}

interface Climber {
  readonly attachment: Attachment;
  readonly tier: PolicyTier;
  readonly ladder: Ladder;
}

function climbers(
  { clusterPolicies }: Network,
  locals: readonly Local[],
  { ladders, climbed }: State,
): readonly Climber[] {
  if (clusterPolicies.length === 0) return [];
  return locals.flatMap((local) => {
    const { attachment, identity } = local;
    if (identity === undefined) return [];
    const known = climbed.get(local);
    if (known?.policies === clusterPolicies) return known.found;
    const found = (["admin", "baseline"] as const).flatMap((tier) =>
      (["ingress", "egress"] as const).flatMap((direction): readonly Climber[] => {
        const found = ladderOf(clusterPolicies, identity, tier, direction);
        if (found === undefined) return [];
        const known = ladders.get(found.name);
        const ladder =
          known !== undefined && found.rungs.every((rung, index) => rung === known.rungs[index]) ? known : found;
        ladders.set(ladder.name, ladder);
        return [{ attachment, tier, ladder }];
      }),
    );
    climbed.set(local, { policies: clusterPolicies, found });
    return found;
  });
}

const lastUnder = memoized((_attachment: Attachment, _ladder: Ladder): { under?: UnderLadder } => ({}));

/** The same value for the same pod as long as its ladder and that ladder's number are the same. */
function underLadder(attachment: Attachment, ladder: Ladder, mark: string): UnderLadder {
  const last = lastUnder(attachment, ladder);
  if (last.under?.mark !== mark) {
    const origin = ladder.rungs[0]?.origin ?? { kind: "ClusterNetworkPolicy", name: "" };
    last.under = { attachment, mark, origin };
  }
  return last.under;
}

/** What a node's verdicts were made with last time. */
interface State {
  readonly numbers: Numbers;
  readonly known: Set<string>;
  readonly ladders: Map<string, Ladder>;
  /** What each pod is under, by these policies. */
  readonly climbed: WeakMap<
    Local,
    { readonly policies: Network["clusterPolicies"]; readonly found: readonly Climber[] }
  >;
  made: Makers;
}

interface Makers {
  readonly ends: Readonly<Record<Family, (sources: readonly NamedEnds[]) => Assembly<EndPart>>>;
  readonly lists: (sources: readonly PortList[]) => Assembly<ListPart>;
}

const states = memoized((_node: NetworkNode): State => {
  const state = {
    numbers: createNumbers(),
    known: new Set<string>(),
    ladders: new Map(),
    climbed: new WeakMap(),
  } satisfies Omit<State, "made">;
  return { ...state, made: makers(state.numbers) };
});

/** Elements that carry numbers: made anew where a number is another's now. */
function makers(numbers: Numbers): Makers {
  const mark = (name: string): string => markOf(numbers.of(name) ?? 0);
  return {
    ends: {
      4: createAssembler(endParts, (ends: NamedEnds) => endsPiece(ends, 4, mark)),
      6: createAssembler(endParts, (ends: NamedEnds) => endsPiece(ends, 6, mark)),
    },
    lists: createAssembler(listParts, (list: PortList) => listPiece(list, mark)),
  };
}

/** Exactly these names have numbers from now on. */
function number(state: State, names: readonly string[]): void {
  const wanted = new Set(names);
  let moved = false;
  for (const name of state.known) if (!wanted.has(name)) moved = state.numbers.remove(name) || moved;
  for (const name of wanted) if (!state.known.has(name)) moved = state.numbers.add(name) || moved;
  for (const name of state.known) if (!wanted.has(name)) state.known.delete(name);
  for (const name of wanted) state.known.add(name);
  if (moved) state.made = makers(state.numbers);
}

function markIn({ numbers }: State, name: string): string {
  return markOf(numbers.of(name) ?? 0);
}

interface NamedEnds {
  readonly name: string;
  readonly ends: LadderEnds;
}

const named = memoized((ladder: Ladder, ends: LadderEnds): NamedEnds => ({ name: ladder.name, ends }));

function endsPiece({ name, ends }: NamedEnds, family: Family, mark: (name: string) => string): Piece<EndPart> {
  const ladder = mark(name);
  return {
    elements: {
      numbers: ends.numbers.map(({ number: end, list }) => ({
        key: [ladder, classId(end)],
        data: [mark(list.name)],
        origin: originOfList(list),
      })),
      addresses: ends.addresses.map(({ address, list }) => ({
        key: [ladder, address],
        data: [mark(list.name)],
        origin: originOfList(list),
      })),
      ranges: ends.ranges.map(({ range, list }) => ({
        key: [ladder, rangeText(family, range)],
        data: [mark(list.name)],
        origin: originOfList(list),
      })),
    },
    chains: [],
  };
}

function listPiece(list: PortList, mark: (name: string) => string): Piece<ListPart> {
  const id = mark(list.name);
  const { segments, rest } = list;
  return {
    elements: {
      ports: segments.map((segment) => ({
        key: [id, segment.protocol, portText(segment)],
        data: [mark(segment.rung.name)],
        origin: segment.rung.origin,
      })),
      rest: rest === undefined ? [] : [{ key: [id], data: [mark(rest.name)], origin: rest.origin }],
    },
    chains: [],
  };
}

function originOfList({ segments, rest }: PortList): Origin {
  return segments[0]?.rung.origin ?? rest?.origin ?? { kind: "ClusterNetworkPolicy", name: "" };
}

function decisionOf({ action, direction, origin }: Rung, mark: string, isTold: boolean): Decision {
  return {
    mark,
    verdict: action === "deny" ? "drop" : action,
    direction,
    policies: [origin],
    isTold: isTold && action === "accept",
  };
}

function decisionElements(decisions: readonly Decision[], verdict: Decision["verdict"]): readonly NftElement[] {
  return decisions.flatMap((decision) =>
    decision.verdict === verdict ? [{ key: [decision.mark], origin: decision.policies[0] as Origin }] : [],
  );
}

function byName(a: { readonly name: string }, b: { readonly name: string }): number {
  return a.name < b.name ? -1 : a.name > b.name ? 1 : 0;
}

function byMark(a: Decision, b: Decision): number {
  return a.mark < b.mark ? -1 : a.mark > b.mark ? 1 : 0;
}
