// Policies as nftables sets: who may begin a connection with a pod of this node, and with whom such a pod may. ClusterNetworkPolicies of tier
// Admin are asked first, then NetworkPolicies where one isolates the pod, else ClusterNetworkPolicies of tier Baseline.
// The set of rules is constant; pods, policies, ports and blocks are elements (docs/policies.md says why each hook).
//
// Not here: the chains (policy-chains.ts), who is who (policy-identities.ts), what NetworkPolicies let through (policy-grants.ts), what
// ClusterNetworkPolicies come to (policy-ladders.ts, policy-tiers.ts).

import { familyOf, type Family } from "../ip/address.ts";
import { matches } from "../kube/selector.ts";
import type { Origin } from "../kube/object.ts";
import type { Attachment, Network, NetworkNode, Policy } from "../model/network.ts";
import { namespaceLabels } from "../model/policy-match.ts";
import { isSameValue } from "../model/table.ts";
import { createAssembler, type Piece } from "./assemble.ts";
import { memoized } from "./memo.ts";
import type { KeyType, NftChain, NftElement, NftRule, NftSet, NftVerdict } from "./nftables/ruleset.ts";
import { linkLocalOf } from "./places.ts";
import { policyChainNames, policyChainsOf, policyJumps } from "./policy-chains.ts";
import { decisionSets, type Decision } from "./policy-decisions.ts";
import { grantsOf, groupMark, type Direction, type Grants } from "./policy-grants.ts";
import { createIdentities, markOf, type Identities, type Identity } from "./policy-identities.ts";
import { mayDeny, nodeEnds } from "./policy-ladders.ts";
import { tierVerdicts, type Local, type TierVerdicts, type UnderLadder } from "./policy-tiers.ts";

/** What policies add to the table of one family. Nothing where there are no policies. */
export interface PolicyPart {
  readonly chains: readonly NftChain[];
  /** Rules that other chains end with. */
  readonly jumps: Readonly<Record<string, readonly NftRule[]>>;
  readonly sets: readonly NftSet[];
}

/** Policies of one node and family. Pieces that did not change keep their identity. */
export function policyPart(
  network: Network,
  node: NetworkNode,
  attachments: readonly Attachment[],
  family: Family,
): PolicyPart {
  if (network.policies.length + network.clusterPolicies.length === 0) return nothing;
  return familyPart[family](
    verdictsOf(network, node, attachments),
    policyChainsOf(family, network.cluster.establishedConnections ?? "keep"),
  );
}

/** What policies can decide at a node, by the number that a packet's mark has then (compile.ts: the attachments must be those of `policyPart`). */
export function policyDecisions(
  network: Network,
  node: NetworkNode,
  attachments: readonly Attachment[],
): ReadonlyMap<string, Decision> {
  if (network.policies.length + network.clusterPolicies.length === 0) return new Map();
  return new Map(verdictsOf(network, node, attachments).decisions.map((decision) => [decision.mark, decision]));
}

const nothing: PolicyPart = { chains: [], jumps: {}, sets: [] };
const identitiesOf = createIdentities();

/** A pod of this node that policies isolate in a direction. Without identity it is unknown, and nothing is let through. */
interface Isolated {
  readonly attachment: Attachment;
  readonly identity: Identity | undefined;
  /** The number of all that isolate it together. */
  readonly mark: string;
  readonly origin: Origin;
  /** What it adds to the maps of its direction. */
  readonly elements: Readonly<Record<Family, Readonly<Record<"isolating" | "pods" | "judged", readonly NftElement[]>>>>;
}

/** Everything that is decided at a node, before it is split by family. */
interface Verdicts {
  readonly identities: Pick<Identities, "addresses" | "namespaces">;
  readonly isolated: Readonly<Record<Direction, readonly Isolated[]>>;
  readonly granted: Readonly<Record<Direction, Readonly<Record<GrantPart, readonly NftElement[]>>>>;
  readonly tiers: TierVerdicts;
  readonly nodes: readonly NetworkNode[];
  /** In order of mark. */
  readonly decisions: readonly Decision[];
}

const grantParts = ["all", "ports", "ranges", "blocks4", "blocks6", "allBlocks4", "allBlocks6"] as const;
type GrantPart = (typeof grantParts)[number];

const pieceOf = memoized(({ all, ports, ranges, blocks, allBlocks }: Grants): Piece<GrantPart> => ({
  elements: {
    all,
    ports,
    ranges,
    blocks4: blocks[4],
    blocks6: blocks[6],
    allBlocks4: allBlocks[4],
    allBlocks6: allBlocks[6],
  },
  chains: [],
}));

const assemblers = memoized((_node: NetworkNode) => ({
  ingress: createAssembler(grantParts, pieceOf),
  egress: createAssembler(grantParts, pieceOf),
}));

const lastVerdicts = new WeakMap<NetworkNode, { readonly causes: readonly unknown[]; readonly verdicts: Verdicts }>();

function verdictsOf(network: Network, node: NetworkNode, attachments: readonly Attachment[]): Verdicts {
  const { pods, namespaces, policies, clusterPolicies, nodes, cluster } = network;
  const causes = [pods, namespaces, policies, clusterPolicies, nodes, cluster, attachments];
  const known = lastVerdicts.get(node);
  if (known !== undefined && causes.every((cause, index) => cause === known.causes[index])) return known.verdicts;
  const identities = identitiesOf(pods, namespaces);
  const inNamespace = policiesByNamespace(policies);
  const surroundings = { identities, nodes };
  const locals = attachments.map((attachment) => localOf(attachment, identities, node));
  const decisions = new Map<string, Decision>();
  const decide = (verdict: "accept" | "drop", direction: Direction, by: readonly Policy[]): void => {
    const mark = marksOf[verdict](by)[direction];
    if (decisions.has(mark)) return;
    const told = verdict === "accept" && by.some((policy) => isTold(network, policy)) ? "told" : "untold";
    decisions.set(mark, decisionsBy[verdict](by)[direction][told]);
  };
  const direction = (which: Direction): { isolated: readonly Isolated[]; granted: Verdicts["granted"]["ingress"] } => {
    const isolated: Isolated[] = [];
    const grants = new Map<number, Grants>();
    for (const local of locals) {
      const { attachment, identity } = local;
      const { isolating, pod } = judgedIn(which, local, inNamespace.get(attachment.namespace) ?? noPolicies);
      if (pod !== undefined) {
        decide("drop", which, isolating);
        isolated.push(pod);
      } else if (identity === undefined) {
        // Nobody knows yet whether it is one of those that are denied something.
        const denier = mayDeny(clusterPolicies, which, namespaceLabels(network, attachment.namespace));
        if (denier === undefined) continue;
        const mark = groupMark("drop", which, [denier]);
        const policies = [wholeObject(denier.origin)];
        decisions.set(mark, { mark, verdict: "drop", direction: which, policies, isTold: false });
        isolated.push(isolatedPod(which, { attachment, identity, mark, origin: denier.origin }));
      }
      if (pod !== undefined && identity !== undefined && !grants.has(identity.number))
        grants.set(identity.number, grantsOf(identity, which, isolating, surroundings));
    }
    const sources = [...grants].sort(([a], [b]) => a - b).map(([, grant]) => grant);
    for (const { served } of sources) for (const by of served) decide("accept", which, by);
    return { isolated, granted: assemblers(node)[which](sources).elements };
  };
  const [ingress, egress] = [direction("ingress"), direction("egress")];
  const tiers = tierVerdicts(network, node, identities, locals);
  for (const decision of tiers.decisions) {
    const same = decisions.get(decision.mark);
    decisions.set(decision.mark, same === undefined ? decision : joined(decision, same));
  }
  const verdicts: Verdicts = {
    identities,
    isolated: { ingress: ingress.isolated, egress: egress.isolated },
    granted: { ingress: ingress.granted, egress: egress.granted },
    tiers,
    nodes,
    decisions: sameOr(
      known?.verdicts.decisions,
      [...decisions.values()].sort((a, b) => (a.mark < b.mark ? -1 : 1)),
    ),
  };
  lastVerdicts.set(node, { causes, verdicts });
  return verdicts;
}

/** A pod of the node with what was found of it last: at a change of one pod nothing is looked up again for the others. */
interface KnownLocal extends Local {
  readonly node: NetworkNode;
  /** Those its identity is of. */
  identities: Identities;
  readonly judged: Partial<Record<Direction, Judged>>;
}

interface Judged {
  readonly candidates: NamespacePolicies;
  readonly isolating: readonly Policy[];
  /** Where any of them isolates it. */
  readonly pod: Isolated | undefined;
}

const knownLocals = new WeakMap<Attachment, KnownLocal>();

function localOf(attachment: Attachment, identities: Identities, node: NetworkNode): KnownLocal {
  const known = knownLocals.get(attachment);
  if (known?.identities === identities && known.node === node) return known;
  const pod = identities.pod(attachment.namespace, attachment.name);
  const identity = pod !== undefined && pod.node === node.name ? identities.of(pod) : undefined;
  if (known !== undefined && known.identity === identity && known.node === node) {
    known.identities = identities;
    return known;
  }
  const local: KnownLocal = { attachment, identity, node, identities, judged: {} };
  knownLocals.set(attachment, local);
  return local;
}

function judgedIn(direction: Direction, local: KnownLocal, candidates: NamespacePolicies): Judged {
  const known = local.judged[direction];
  if (known?.candidates === candidates) return known;
  const { attachment, identity } = local;
  const isolating =
    identity === undefined
      ? candidates.list.filter((policy) => policy[direction] !== undefined)
      : selecting[direction](candidates, identity);
  const [first] = isolating;
  const pod =
    first &&
    isolatedPod(direction, {
      attachment,
      identity,
      mark: marksOf.drop(isolating)[direction],
      origin: first.origin,
    });
  return (local.judged[direction] = { candidates, isolating, pod });
}

const decisionsBy = {
  accept: memoized((by: readonly Policy[]) => decisionsFor("accept", by)),
  drop: memoized((by: readonly Policy[]) => decisionsFor("drop", by)),
};

type Told = "told" | "untold";

function decisionsFor(
  verdict: "accept" | "drop",
  by: readonly Policy[],
): Readonly<Record<Direction, Readonly<Record<Told, Decision>>>> {
  const policies = by.map(({ origin }) => wholeObject(origin));
  const decision = (direction: Direction, isTold: boolean): Decision => ({
    mark: marksOf[verdict](by)[direction],
    verdict,
    direction,
    policies,
    isTold,
  });
  const both = (direction: Direction): Readonly<Record<Told, Decision>> => ({
    told: decision(direction, true),
    untold: decision(direction, false),
  });
  return { ingress: both("ingress"), egress: both("egress") };
}

const marksOf = {
  accept: memoized((by: readonly Policy[]) => marksFor("accept", by)),
  drop: memoized((by: readonly Policy[]) => marksFor("drop", by)),
};

function marksFor(verdict: "accept" | "drop", by: readonly Policy[]): Readonly<Record<Direction, string>> {
  return { ingress: groupMark(verdict, "ingress", by), egress: groupMark(verdict, "egress", by) };
}

/** The old value where the new one equals it. */
function sameOr<T>(old: T | undefined, next: T): T {
  return old !== undefined && isSameValue(old, next) ? old : next;
}

/** The object, and no field of it. */
function wholeObject({ kind, namespace, name, source }: Origin): Origin {
  return { kind, name, ...(namespace !== undefined && { namespace }), ...(source !== undefined && { source }) };
}

/** Two decisions of one number are told and counted as one. */
function joined(a: Decision, b: Decision): Decision {
  return { ...a, policies: [...a.policies, ...b.policies], isTold: a.isTold || b.isTold };
}

function isTold(network: Network, { namespace, logsAccepts }: Policy): boolean {
  return (
    network.cluster.policyLog === "accepts" ||
    logsAccepts === true ||
    loggedNamespaces(network.namespaces).has(namespace)
  );
}

const loggedNamespaces = memoized(
  (namespaces: Network["namespaces"]): ReadonlySet<string> =>
    new Set(namespaces.flatMap(({ name, logsAccepts }) => (logsAccepts === true ? [name] : []))),
);

interface NamespacePolicies {
  readonly list: readonly Policy[];
}
const noPolicies: NamespacePolicies = { list: [] };
let grouped: { readonly policies: readonly Policy[]; readonly groups: ReadonlyMap<string, NamespacePolicies> } = {
  policies: [],
  groups: new Map(),
};

/** The same group until one of its policies changes. */
function policiesByNamespace(policies: readonly Policy[]): ReadonlyMap<string, NamespacePolicies> {
  if (grouped.policies === policies) return grouped.groups;
  const lists = new Map<string, Policy[]>();
  for (const policy of policies) {
    const list = lists.get(policy.namespace);
    if (list === undefined) lists.set(policy.namespace, [policy]);
    else list.push(policy);
  }
  const groups = new Map(
    [...lists].map(([name, list]) => {
      const before = grouped.groups.get(name);
      const isSame =
        before?.list.length === list.length && list.every((policy, index) => policy === before.list[index]);
      return [name, isSame ? before : { list }] as const;
    }),
  );
  grouped = { policies, groups };
  return groups;
}

const selecting = { ingress: memoized(selectingIn("ingress")), egress: memoized(selectingIn("egress")) };

function selectingIn(direction: Direction): (policies: NamespacePolicies, identity: Identity) => readonly Policy[] {
  return ({ list }, { labels }) =>
    list.filter((policy) => policy[direction] !== undefined && matches(policy.pods, labels));
}

const familyPart = { 4: memoized(partOf(4)), 6: memoized(partOf(6)) };

function partOf(family: Family): (verdicts: Verdicts, chains: readonly NftChain[]) => PolicyPart {
  const address: KeyType = family === 4 ? "ipv4_addr" : "ipv6_addr";
  const identityElements = memoized((elements: readonly NftElement[]): NftSet => ({
    name: "identities",
    key: [address],
    data: ["classid"],
    flags: [],
    elements,
  }));
  const counting = memoized(decisionSets);
  const nodeElements = memoized((nodes: readonly NetworkNode[]): readonly NftElement[] => {
    const found = new Map<string, NftElement>();
    for (const node of nodes)
      for (const each of nodeEnds(node, family))
        found.set(each, { key: [each], origin: { ...node.origin, field: "spec.podCIDRs" } });
    return [...found.values()];
  });
  return ({ identities, isolated, granted, tiers, nodes, decisions }, chains) => {
    const sets = (["ingress", "egress"] as const).flatMap((direction): readonly NftSet[] => {
      const parts = granted[direction];
      return [
        { name: `${direction}-all`, key: ["mark", "classid"], data: ["mark"], flags: [], elements: parts.all },
        {
          name: `${direction}-ports`,
          key: ["mark", "classid", "inet_proto", "inet_service"],
          data: ["mark"],
          flags: [],
          elements: parts.ports,
        },
        {
          name: `${direction}-ranges`,
          key: ["mark", "classid", "inet_proto", "inet_service"],
          data: ["mark"],
          flags: ["interval"],
          elements: parts.ranges,
        },
        {
          name: `${direction}-blocks`,
          key: ["mark", address, "inet_proto", "inet_service"],
          data: ["mark"],
          flags: ["interval"],
          elements: parts[family === 4 ? "blocks4" : "blocks6"],
        },
        {
          name: `${direction}-all-blocks`,
          key: ["mark", address],
          data: ["mark"],
          flags: ["interval"],
          elements: parts[family === 4 ? "allBlocks4" : "allBlocks6"],
        },
      ];
    });
    // In this order each state on the way is between the old and the new: what is let through comes before those it is for.
    return {
      chains,
      jumps: policyJumps,
      sets: [
        ...counting(decisions),
        ...sets,
        ...tierSets(address, family, tiers),
        { name: "node-ends", key: [address], flags: [], elements: nodeElements(nodes) },
        {
          name: "identity-namespaces",
          key: ["classid"],
          data: ["classid"],
          flags: [],
          elements: identities.namespaces,
        },
        identityElements(identities.addresses[family]),
        ...(["ingress", "egress"] as const).flatMap((direction) =>
          isolatedPods(address, family, direction, isolated[direction], tiers),
        ),
        ...(["ingress", "egress"] as const).flatMap((direction) =>
          isolationSets(address, family, direction, isolated[direction], tiers),
        ),
      ],
    };
  };
}

/** What ClusterNetworkPolicies say, rules before what leads to them. */
function tierSets(address: KeyType, family: Family, { ends, lists, accepts, denies }: TierVerdicts): readonly NftSet[] {
  const own = ends[family];
  return [
    { name: "cluster-accepts", key: ["mark"], flags: [], elements: accepts },
    { name: "cluster-denies", key: ["mark"], flags: [], elements: denies },
    {
      name: "cluster-ports",
      key: ["mark", "inet_proto", "inet_service"],
      data: ["mark"],
      flags: ["interval"],
      elements: lists.ports,
    },
    { name: "cluster-rest", key: ["mark"], data: ["mark"], flags: [], elements: lists.rest },
    { name: "cluster-ends", key: ["mark", "classid"], data: ["mark"], flags: [], elements: own.numbers },
    { name: "cluster-addresses", key: ["mark", address], data: ["mark"], flags: [], elements: own.addresses },
    { name: "cluster-ranges", key: ["mark", address], data: ["mark"], flags: ["interval"], elements: own.ranges },
  ];
}

/** Who this node's pods are to the chains that judge them. */
function isolatedPods(
  address: KeyType,
  family: Family,
  direction: Direction,
  isolated: readonly Isolated[],
  { under }: TierVerdicts,
): readonly NftSet[] {
  const climbs = climbingElements[family][direction];
  const map = (name: string, elements: readonly NftElement[]): NftSet => ({
    name,
    key: [address],
    data: ["mark"],
    flags: [],
    elements,
  });
  const ladder = (tier: "admin" | "baseline"): NftSet =>
    map(
      `${direction}-${tier}`,
      under[direction][tier].flatMap((each) => climbs(each).ladder),
    );
  return [
    map(
      `${direction}-isolating`,
      isolated.flatMap(({ elements }) => elements[family].isolating),
    ),
    map(
      `${direction}-pods`,
      isolated.flatMap(({ elements }) => elements[family].pods),
    ),
    ladder("admin"),
    ladder("baseline"),
  ];
}

function isolationSets(
  address: KeyType,
  family: Family,
  direction: Direction,
  isolated: readonly Isolated[],
  { under }: TierVerdicts,
): readonly NftSet[] {
  const climbs = climbingElements[family][direction];
  const isolatedElements = isolated.flatMap(({ elements }) => elements[family].judged);
  const climbers = new Map<string, NftElement>();
  for (const each of [...under[direction].admin, ...under[direction].baseline])
    for (const element of climbs(each).judged) {
      const [end = ""] = element.key;
      if (!climbers.has(end)) climbers.set(end, element);
    }
  const map = (name: string, elements: readonly NftElement[]): NftSet => ({
    name,
    key: [address],
    data: "verdict",
    flags: [],
    elements,
  });
  // One look-up for most pods, which are in neither; tiers ask for isolation themselves.
  const judged = isolatedElements.map((element) => climbers.get(element.key[0] ?? "") ?? element);
  const inBoth = new Set(judged.map(({ key }) => key[0]));
  const rest = climbers.values().filter(({ key }) => !inBoth.has(key[0]));
  return [map(`${direction}-isolated`, isolatedElements), map(`${direction}-judged`, [...judged, ...rest])];
}

function isolatedPod(direction: Direction, pod: Omit<Isolated, "elements">): Isolated {
  const { judge, denied } = policyChainNames[direction];
  const { attachment, identity, mark, origin } = pod;
  const of = (family: Family): Isolated["elements"][Family] => {
    const ends = addressesOf(attachment, family, direction);
    const data: NftVerdict = { kind: "goto", chain: identity === undefined ? denied : judge };
    return {
      isolating: ends.map((each) => ({ key: [each], data: [mark], origin })),
      pods:
        identity === undefined ? [] : ends.map((each) => ({ key: [each], data: [markOf(identity.number)], origin })),
      judged: ends.map((each) => ({ key: [each], data, origin })),
    };
  };
  return { ...pod, elements: { 4: of(4), 6: of(6) } };
}

/** What a pod under a ladder adds to the maps of a family and direction. */
const climbingElements = {
  4: { ingress: climbing(4, "ingress"), egress: climbing(4, "egress") },
  6: { ingress: climbing(6, "ingress"), egress: climbing(6, "egress") },
};

function climbing(
  family: Family,
  direction: Direction,
): (pod: UnderLadder) => Readonly<Record<"ladder" | "judged", readonly NftElement[]>> {
  const data: NftVerdict = { kind: "goto", chain: policyChainNames[direction].tiers };
  return memoized(({ attachment, mark, origin }: UnderLadder) => {
    const ends = addressesOf(attachment, family, direction);
    return {
      ladder: ends.map((each) => ({ key: [each], data: [mark], origin })),
      judged: ends.map((each) => ({ key: [each], data, origin })),
    };
  });
}

/** A pod may send to its node from its link-local address as well (guard.ts lets it). */
function addressesOf(attachment: Attachment, family: Family, direction: Direction): readonly string[] {
  const own = attachment.addresses.filter((address) => familyOf(address) === family);
  return family === 6 && direction === "egress" ? [...own, linkLocalOf(attachment.mac)] : own;
}
