// NetworkPolicies as nftables sets: who may begin a connection with a pod of this node, and with whom such a pod may.
// The set of rules is constant; pods, policies, ports and blocks are elements (docs/policies.md says why each hook).
//
// A pod's own number travels in the packet's mark and the other end's in its priority, as nft has no constants in keys; both are given
// back as they were with nothing in them. Lookups go from the pod's identity to its namespace, to all pods, to anyone, to addresses.
//
// Choices that the specification leaves open: connections that began before a policy changed go on (ClusterConfig.establishedConnections
// says otherwise); ICMP and other protocols pass only where a rule opens all ports; hostNetwork pods are their node.
// Not here: who is who (policy-identities.ts), what is let through (policy-grants.ts).

import { familyOf, type Family } from "../ip/address.ts";
import { matches } from "../kube/selector.ts";
import type { Origin } from "../kube/object.ts";
import type { Attachment, ClusterConfig, Network, NetworkNode, Policy } from "../model/network.ts";
import { createAssembler, type Piece } from "./assemble.ts";
import { memoized } from "./memo.ts";
import type { Field, KeyType, NftChain, NftElement, NftRule, NftSet, Statement } from "./nftables/ruleset.ts";
import { linkLocalOf } from "./places.ts";
import { grantsOf, type Direction, type Grants } from "./policy-grants.ts";
import { classId, createIdentities, markOf, type Identities, type Identity } from "./policy-identities.ts";
import { peerNumbers } from "./policy-peers.ts";
import { accept, counter, drop, goTo, is, isIn, isNot, key, rule, verdict } from "./statements.ts";

/** The NFLOG group that dropped packets are told to. */
export const policyLogGroup = 0xf1;

/** What policies add to the table of one family. Nothing where there are no policies. */
export interface PolicyPart {
  readonly chains: readonly NftChain[];
  readonly sets: readonly NftSet[];
}

/** Names of the chains that decide, for those who read a packet's way. */
export const policyChains: Readonly<
  Record<
    Direction,
    { readonly base: readonly string[]; readonly judge: string; readonly allowed: string; readonly denied: string }
  >
> = {
  egress: {
    base: ["policy-egress", "policy-egress-node"],
    judge: "judge-egress",
    allowed: "allowed-egress",
    denied: "denied-egress",
  },
  ingress: { base: ["policy-ingress"], judge: "judge-ingress", allowed: "allowed-ingress", denied: "denied-ingress" },
};

/** Policies of one node and family. Pieces that did not change keep their identity. */
export function policyPart(
  network: Network,
  node: NetworkNode,
  attachments: readonly Attachment[],
  family: Family,
): PolicyPart {
  if (network.policies.length === 0) return nothing;
  return familyPart[family](verdictsOf(network, node, attachments), chainsOf(network.cluster)[family]);
}

const nothing: PolicyPart = { chains: [], sets: [] };
const identitiesOf = createIdentities();

/** A pod of this node that policies isolate in a direction. Without identity it is unknown, and nothing is let through. */
interface Isolated {
  readonly attachment: Attachment;
  readonly identity: Identity | undefined;
  readonly origin: Origin;
}

/** Everything that is decided at a node, before it is split by family. */
interface Verdicts {
  readonly identities: Pick<Identities, "addresses" | "namespaces">;
  readonly isolated: Readonly<Record<Direction, readonly Isolated[]>>;
  readonly granted: Readonly<Record<Direction, Readonly<Record<GrantPart, readonly NftElement[]>>>>;
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
  const causes = [network.pods, network.namespaces, network.policies, network.nodes, attachments];
  const known = lastVerdicts.get(node);
  if (known !== undefined && causes.every((cause, index) => cause === known.causes[index])) return known.verdicts;
  const identities = identitiesOf(network.pods, network.namespaces);
  const inNamespace = policiesByNamespace(network.policies);
  const surroundings = { identities, nodes: network.nodes };
  const locals = attachments.map((attachment) => {
    const pod = identities.pod(attachment.namespace, attachment.name);
    const isHere = pod !== undefined && pod.node === node.name;
    return { attachment, identity: isHere ? identities.of(pod) : undefined };
  });
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
      if (first === undefined) continue;
      isolated.push({ attachment, identity, origin: first.origin });
      if (identity !== undefined && !grants.has(identity.number))
        grants.set(identity.number, grantsOf(identity, which, isolating, surroundings));
    }
    const sources = [...grants].sort(([a], [b]) => a - b).map(([, grant]) => grant);
    return { isolated, granted: assemblers(node)[which](sources).elements };
  };
  const [ingress, egress] = [direction("ingress"), direction("egress")];
  const verdicts: Verdicts = {
    identities,
    isolated: { ingress: ingress.isolated, egress: egress.isolated },
    granted: { ingress: ingress.granted, egress: egress.granted },
  };
  lastVerdicts.set(node, { causes, verdicts });
  return verdicts;
}

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
  return ({ identities, isolated, granted }, chains) => {
    const sets = (["ingress", "egress"] as const).flatMap((direction): readonly NftSet[] => {
      const parts = granted[direction];
      return [
        { name: `${direction}-all`, key: ["mark", "classid"], flags: [], elements: parts.all },
        {
          name: `${direction}-ports`,
          key: ["mark", "classid", "inet_proto", "inet_service"],
          flags: [],
          elements: parts.ports,
        },
        {
          name: `${direction}-ranges`,
          key: ["mark", "classid", "inet_proto", "inet_service"],
          flags: ["interval"],
          elements: parts.ranges,
        },
        {
          name: `${direction}-blocks`,
          key: ["mark", address, "inet_proto", "inet_service"],
          flags: ["interval"],
          elements: parts[family === 4 ? "blocks4" : "blocks6"],
        },
        {
          name: `${direction}-all-blocks`,
          key: ["mark", address],
          flags: ["interval"],
          elements: parts[family === 4 ? "allBlocks4" : "allBlocks6"],
        },
      ];
    });
    // In this order each state on the way is between the old and the new: what is let through comes before those it is for.
    return {
      chains,
      sets: [
        ...sets,
        {
          name: "identity-namespaces",
          key: ["classid"],
          data: ["classid"],
          flags: [],
          elements: identities.namespaces,
        },
        identityElements(identities.addresses[family]),
        ...(["ingress", "egress"] as const).flatMap((direction) =>
          isolationSets(address, family, direction, isolated[direction]),
        ),
      ],
    };
  };
}

function isolationSets(
  address: KeyType,
  family: Family,
  direction: Direction,
  isolated: readonly Isolated[],
): readonly NftSet[] {
  const { judge, denied } = policyChains[direction];
  const all = isolated.flatMap(({ attachment, identity, origin }) =>
    addressesOf(attachment, family, direction).map((each) => ({ address: each, identity, origin })),
  );
  return [
    {
      name: `${direction}-pods`,
      key: [address],
      data: ["mark"],
      flags: [],
      elements: all.flatMap(({ address: each, identity, origin }) =>
        identity === undefined ? [] : [{ key: [each], data: [markOf(identity.number)], origin }],
      ),
    },
    {
      name: `${direction}-isolated`,
      key: [address],
      data: "verdict",
      flags: [],
      elements: all.map(({ address: each, identity, origin }) => ({
        key: [each],
        data: { kind: "goto", chain: identity === undefined ? denied : judge },
        origin,
      })),
    },
  ];
}

/** A pod may send to its node from its link-local address as well (guard.ts lets it). */
function addressesOf(attachment: Attachment, family: Family, direction: Direction): readonly string[] {
  const own = attachment.addresses.filter((address) => familyOf(address) === family);
  return family === 6 && direction === "egress" ? [...own, linkLocalOf(attachment.mac)] : own;
}

const chainsOf = memoized((cluster: ClusterConfig): Readonly<Record<Family, readonly NftChain[]>> => ({
  4: policyChainsOf(4, cluster.establishedConnections ?? "keep"),
  6: policyChainsOf(6, cluster.establishedConnections ?? "keep"),
}));

function policyChainsOf(family: Family, established: "keep" | "strict"): readonly NftChain[] {
  const source: Field = family === 4 ? "ip saddr" : "ip6 saddr";
  const destination: Field = family === 4 ? "ip daddr" : "ip6 daddr";
  const ended =
    established === "keep"
      ? [
          rule("connections go on, and answers, and ICMP errors of theirs", [
            is("ct state", "established", "related"),
            accept,
          ]),
        ]
      : [
          rule("ICMP errors of connections", [is("ct state", "related"), accept]),
          rule("answers", [is("ct direction", "reply"), accept]),
        ];
  const itself = rule("a pod to itself", [isIn("hairpin", source, destination), accept]);
  const judged = (direction: Direction): NftRule =>
    rule("pods that policies isolate", [
      {
        kind: "vmap",
        key: key([direction === "egress" ? source : destination]),
        map: `${direction}-isolated`,
      },
    ]);
  // RFC 4861 and RFC 3810: without these an IPv6 node is not there at all.
  const neighbours =
    family === 4
      ? []
      : [
          rule("neighbour discovery", [
            is(
              "icmpv6 type",
              "nd-router-solicit",
              "nd-neighbor-solicit",
              "nd-neighbor-advert",
              "mld-listener-report",
              "mld-listener-done",
              "mld2-listener-report",
            ),
            accept,
          ]),
        ];
  return [
    {
      name: "policy-egress",
      // After the guard; destinations are final. Accepting here ends this chain only: ingress is judged by the next.
      base: { type: "filter", hook: "forward", priority: 10, policy: "accept" },
      rules: [...ended, itself, judged("egress")],
      comment: "what pods of this node may send",
    },
    {
      name: "policy-ingress",
      base: { type: "filter", hook: "forward", priority: 20, policy: "accept" },
      rules: [...ended, itself, judged("ingress")],
      comment: "what pods of this node may get; the node itself sends by output and always may",
    },
    {
      name: "policy-egress-node",
      base: { type: "filter", hook: "input", priority: 10, policy: "accept" },
      rules: [...ended, ...neighbours, judged("egress")],
      comment: "what pods may send to their own node",
    },
    ...judgeChains("egress", source, destination),
    ...judgeChains("ingress", destination, source),
  ];
}

/** `own` is the field with the isolated pod's address, `other` that of the other end. */
function judgeChains(direction: Direction, own: Field, other: Field): readonly NftChain[] {
  const { judge, allowed, denied } = policyChains[direction];
  const forget: readonly Statement[] = [
    { kind: "set-mark", value: "0x0" },
    { kind: "set-mark", target: "meta priority", value: "none" },
  ];
  const let_ = [...forget, accept];
  const otherIs = (value: string): Statement => ({ kind: "set-mark", target: "meta priority", value });
  const look = verdict({ kind: "jump", chain: allowed });
  return [
    {
      name: judge,
      rules: [
        rule("who it is", [{ kind: "set-mark-from", key: key([own]), map: `${direction}-pods` }, otherIs("none")]),
        rule("this very pod, by its labels", [
          { kind: "set-mark-from", target: "meta priority", key: key([other]), map: "identities" },
          look,
        ]),
        rule("pods of this namespace", [
          { kind: "set-mark-from", target: "meta priority", key: key(["meta priority"]), map: "identity-namespaces" },
          look,
        ]),
        rule("any pod", [isNot("meta priority", "none"), otherIs(classId(peerNumbers.anyPod)), look]),
        rule("anyone", [otherIs(classId(peerNumbers.anyone)), look]),
        rule("addresses, some ports", [
          isIn(`${direction}-blocks`, "meta mark", other, "meta l4proto", "th dport"),
          ...let_,
        ]),
        rule("addresses, all ports", [isIn(`${direction}-all-blocks`, "meta mark", other), ...let_]),
        rule("nothing lets it through", [goTo(denied)]),
      ],
      comment: `a pod that is isolated for ${direction}`,
    },
    {
      name: allowed,
      rules: [
        rule("all ports", [isIn(`${direction}-all`, "meta mark", "meta priority"), ...let_]),
        rule("this port", [
          isIn(`${direction}-ports`, "meta mark", "meta priority", "meta l4proto", "th dport"),
          ...let_,
        ]),
        rule("a range of ports", [
          isIn(`${direction}-ranges`, "meta mark", "meta priority", "meta l4proto", "th dport"),
          ...let_,
        ]),
      ],
    },
    {
      name: denied,
      rules: [
        rule("told, but not too often", [
          { kind: "limit", perSecond: 10, burst: 20 },
          { kind: "log", group: policyLogGroup, prefix: `policy ${direction} `, bytesMax: 128 },
        ]),
        rule("no policy lets it through", [counter, drop]),
      ],
    },
  ];
}
