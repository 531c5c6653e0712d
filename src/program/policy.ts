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
import type { KeyType, NftChain, NftElement, NftRule, NftSet } from "./nftables/ruleset.ts";
import { linkLocalOf } from "./places.ts";
import { policyChainNames, policyChainsOf, policyJumps } from "./policy-chains.ts";
import { decisionSets, type Decision } from "./policy-decisions.ts";
import { grantsOf, groupMark, type Direction, type Grants } from "./policy-grants.ts";
import { createIdentities, markOf, type Identities, type Identity } from "./policy-identities.ts";
import { mayDeny, nodeEnds } from "./policy-ladders.ts";
import { tierVerdicts, type Local, type TierVerdicts } from "./policy-tiers.ts";

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
  const locals = attachments.map((attachment): Local => {
    const pod = identities.pod(attachment.namespace, attachment.name);
    const isHere = pod !== undefined && pod.node === node.name;
    return { attachment, identity: isHere ? identities.of(pod) : undefined };
  });
  const decisions = new Map<string, Decision>();
  const decide = (verdict: "accept" | "drop", direction: Direction, by: readonly Policy[]): string => {
    const mark = marksOf[verdict](by)[direction];
    if (!decisions.has(mark))
      decisions.set(mark, {
        mark,
        verdict,
        direction,
        policies: by.map(({ origin }) => wholeObject(origin)),
        isTold: verdict === "accept" && by.some((policy) => isTold(network, policy)),
      });
    return mark;
  };
  const direction = (which: Direction): { isolated: readonly Isolated[]; granted: Verdicts["granted"]["ingress"] } => {
    const isolated: Isolated[] = [];
    const grants = new Map<number, Grants>();
    for (const { attachment, identity } of locals) {
      const candidates = inNamespace.get(attachment.namespace) ?? noPolicies;
      const isolating =
        identity === undefined
          ? candidates.list.filter((policy) => policy[which] !== undefined)
          : selecting[which](candidates, identity);
      const [first] = isolating;
      if (first !== undefined) {
        isolated.push({ attachment, identity, mark: decide("drop", which, isolating), origin: first.origin });
      } else if (identity === undefined) {
        // Nobody knows yet whether it is one of those that are denied something.
        const denier = mayDeny(clusterPolicies, which, namespaceLabels(network, attachment.namespace));
        if (denier === undefined) continue;
        const mark = groupMark("drop", which, [denier]);
        const policies = [wholeObject(denier.origin)];
        decisions.set(mark, { mark, verdict: "drop", direction: which, policies, isTold: false });
        isolated.push({ attachment, identity, mark, origin: denier.origin });
      }
      if (first !== undefined && identity !== undefined && !grants.has(identity.number))
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
  const all = isolated.flatMap(({ attachment, ...rest }) =>
    addressesOf(attachment, family, direction).map((each) => ({ address: each, ...rest })),
  );
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
      under[direction][tier].flatMap(({ attachment, mark, origin }) =>
        addressesOf(attachment, family, direction).map((each) => ({ key: [each], data: [mark], origin })),
      ),
    );
  return [
    map(
      `${direction}-isolating`,
      all.map(({ address: each, mark, origin }) => ({ key: [each], data: [mark], origin })),
    ),
    map(
      `${direction}-pods`,
      all.flatMap(({ address: each, identity, origin }) =>
        identity === undefined ? [] : [{ key: [each], data: [markOf(identity.number)], origin }],
      ),
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
  const { judge, denied, tiers } = policyChainNames[direction];
  const isolatedElements = isolated.flatMap(({ attachment, identity, origin }) =>
    addressesOf(attachment, family, direction).map((each): NftElement => ({
      key: [each],
      data: { kind: "goto", chain: identity === undefined ? denied : judge },
      origin,
    })),
  );
  const climbing = new Map<string, NftElement>();
  for (const { attachment, origin } of [...under[direction].admin, ...under[direction].baseline])
    for (const each of addressesOf(attachment, family, direction))
      if (!climbing.has(each)) climbing.set(each, { key: [each], data: { kind: "goto", chain: tiers }, origin });
  const map = (name: string, elements: readonly NftElement[]): NftSet => ({
    name,
    key: [address],
    data: "verdict",
    flags: [],
    elements,
  });
  // One look-up for most pods, which are in neither; tiers ask for isolation themselves.
  const judged = isolatedElements.map((element) => climbing.get(element.key[0] ?? "") ?? element);
  const inBoth = new Set(judged.map(({ key }) => key[0]));
  const rest = climbing.values().filter(({ key }) => !inBoth.has(key[0]));
  return [map(`${direction}-isolated`, isolatedElements), map(`${direction}-judged`, [...judged, ...rest])];
}

/** A pod may send to its node from its link-local address as well (guard.ts lets it). */
function addressesOf(attachment: Attachment, family: Family, direction: Direction): readonly string[] {
  const own = attachment.addresses.filter((address) => familyOf(address) === family);
  return family === 6 && direction === "egress" ? [...own, linkLocalOf(attachment.mac)] : own;
}
