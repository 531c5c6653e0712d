// The chains that judge packets by policies: the same rules whatever policies there are. What nft has no words for travels in scratch: a pod's
// own number, a ladder's, a list's and at last the decision's in the packet's mark, the other end's in its priority; both are given back
// as they were with nothing in them.
//
// Choices that the specifications leave open: connections that began before a policy changed go on (ClusterConfig.establishedConnections
// says otherwise); ICMP and other protocols pass only where a rule opens all ports; hostNetwork pods are their node.
// Not here: the elements (policy.ts).

import type { Family } from "../ip/address.ts";
import type { Field, NftChain, NftRule, Scratch, Statement } from "./nftables/ruleset.ts";
import { countingSets } from "./policy-decisions.ts";
import type { Direction } from "./policy-grants.ts";
import { classId } from "./policy-identities.ts";
import { peerNumbers } from "./policy-peers.ts";
import { names } from "./program.ts";
import { accept, counter, drop, goTo, is, isIn, isNot, isNotIn, key, rule, verdict } from "./statements.ts";

/** The NFLOG group that packets are told to. */
export const policyLogGroup = 0xf1;

/** What NFLOG says before a packet; its mark is the decision's number. */
export const policyLogPrefixes = { drop: "policy drop ", accept: "policy accept " } as const;

/** Names of the chains that decide, for those who read a packet's way; `entry` are those where it begins. */
export const policyChainNames: Readonly<
  Record<
    Direction,
    {
      readonly entry: readonly string[];
      readonly tiers: string;
      readonly ends: string;
      readonly judge: string;
      readonly allowed: string;
      readonly denied: string;
    }
  >
> = {
  egress: namesOf("egress", ["policy-egress", "policy-egress-node"]),
  ingress: namesOf("ingress", ["policy-ingress"]),
};

/** Of both directions. `list` finds a port's rule, `decide` acts by it. */
export const sharedPolicyChains = {
  list: "cluster-list",
  decide: "cluster-decide",
  accepted: "policy-accepted",
  dropped: "policy-dropped",
} as const;

function namesOf(direction: Direction, entry: readonly string[]): (typeof policyChainNames)[Direction] {
  return {
    entry,
    tiers: `tiers-${direction}`,
    ends: `ends-${direction}`,
    judge: `judge-${direction}`,
    allowed: `allowed-${direction}`,
    denied: `denied-${direction}`,
  };
}

/**
 * The last rules of the guards (guard.ts), by chain: egress is judged there, so that a packet of a connection that goes on pays for no
 * hook of its own. Accepting ends the guard, and ingress is judged by the next chain of the hook.
 */
export const policyJumps: Readonly<Record<string, readonly NftRule[]>> = {
  "guard-forward": [rule("what pods of this node send", [verdict({ kind: "jump", chain: "policy-egress" })])],
  // Only pods are judged here, and they come by the bridge.
  "guard-input": [
    rule("what pods send to their own node", [
      is("meta iifname", names.bridge),
      verdict({ kind: "jump", chain: "policy-egress-node" }),
    ]),
  ],
};

/** The chains of one family. The same value each time. */
export function policyChainsOf(family: Family, established: "keep" | "strict"): readonly NftChain[] {
  const name = `${family} ${established}`;
  let chains = made.get(name);
  if (chains === undefined) made.set(name, (chains = makeChains(family, established)));
  return chains;
}

const made = new Map<string, readonly NftChain[]>();

function makeChains(family: Family, established: "keep" | "strict"): readonly NftChain[] {
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
  const judged = (direction: Direction): NftRule =>
    rule("pods that policies mean", [
      { kind: "vmap", key: key([direction === "egress" ? source : destination]), map: `${direction}-judged` },
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
  // Asked last: it is rare, and what a policy lets through anyway is the policy's.
  const itself = rule("a pod to itself", [isIn("hairpin", source, destination), ...forget, accept]);
  return [
    {
      name: "policy-egress",
      rules: [...ended, judged("egress")],
      comment: "what pods of this node may send",
    },
    {
      name: "policy-ingress",
      // After the guard and egress; destinations are final.
      base: { type: "filter", hook: "forward", priority: 20, policy: "accept" },
      rules: [...ended, judged("ingress")],
      comment: "what pods of this node may get; the node itself sends by output and always may",
    },
    {
      name: "policy-egress-node",
      rules: [...ended, ...neighbours, judged("egress")],
      comment: "what pods may send to their own node",
    },
    ...tierChains("egress", source, destination),
    ...tierChains("ingress", destination, source),
    ...judgeChains("egress", { own: source, other: destination, itself }),
    ...judgeChains("ingress", { own: destination, other: source, itself }),
    ...decisionChains,
  ];
}

function from(map: string, fields: readonly Field[], target?: Scratch): Statement {
  return { kind: "set-mark-from", ...(target !== undefined && { target }), key: key(fields), map };
}

function otherIs(value: string): Statement {
  return { kind: "set-mark", target: "meta priority", value };
}

const forget: readonly Statement[] = [{ kind: "set-mark", value: "0x0" }, otherIs("none")];

/** ClusterNetworkPolicies: `own` is the field with their pod's address, `other` that of the other end. */
function tierChains(direction: Direction, own: Field, other: Field): readonly NftChain[] {
  const { tiers, ends } = policyChainNames[direction];
  const { list } = sharedPolicyChains;
  const climb = verdict({ kind: "jump", chain: ends });
  const listOfEnd: readonly Statement[] = [from("cluster-ends", ["meta mark", "meta priority"]), goTo(list)];
  return [
    {
      name: tiers,
      rules: [
        rule("tier Admin", [from(`${direction}-admin`, [own]), climb]),
        rule("NetworkPolicies, finally where one isolates the pod", [
          { kind: "vmap", key: key([own]), map: `${direction}-isolated` },
        ]),
        rule("tier Baseline", [from(`${direction}-baseline`, [own]), climb]),
        rule("nobody minds", [...forget, accept]),
      ],
      comment: `a pod of cluster policies, ${direction}`,
    },
    {
      name: ends,
      rules: [
        rule("this very pod, by its address", [from("cluster-addresses", ["meta mark", other]), goTo(list)]),
        rule("who it is", [otherIs("none")]),
        rule("this very pod, by its labels", [from("identities", [other], "meta priority"), ...listOfEnd]),
        rule("pods of this namespace", [from("identity-namespaces", ["meta priority"], "meta priority"), ...listOfEnd]),
        rule("any pod", [isNot("meta priority", "none"), otherIs(classId(peerNumbers.anyPod)), ...listOfEnd]),
        rule("a pod that nobody knows yet", [
          is("meta priority", "none"),
          isIn("pod-ranges", other),
          isNotIn("node-ends", other),
          otherIs(classId(peerNumbers.unknownPod)),
          ...listOfEnd,
        ]),
        rule("no pod", [
          isNot("meta priority", classId(peerNumbers.anyPod)),
          from("cluster-ranges", ["meta mark", other]),
          goTo(list),
        ]),
      ],
      comment: "the list of the other end; none: on to the next tier",
    },
  ];
}

/** NetworkPolicies: `own` is the field with the isolated pod's address, `other` that of the other end. */
function judgeChains(
  direction: Direction,
  { own, other, itself }: { readonly own: Field; readonly other: Field; readonly itself: NftRule },
): readonly NftChain[] {
  const { judge, allowed, denied } = policyChainNames[direction];
  const { accepted, dropped } = sharedPolicyChains;
  const look = verdict({ kind: "jump", chain: allowed });
  return [
    {
      name: judge,
      rules: [
        rule("who it is", [from(`${direction}-pods`, [own]), otherIs("none")]),
        rule("this very pod, by its labels", [from("identities", [other], "meta priority"), look]),
        rule("pods of this namespace", [from("identity-namespaces", ["meta priority"], "meta priority"), look]),
        rule("any pod", [isNot("meta priority", "none"), otherIs(classId(peerNumbers.anyPod)), look]),
        rule("anyone", [otherIs(classId(peerNumbers.anyone)), look]),
        rule("addresses, some ports", [
          from(`${direction}-blocks`, ["meta mark", other, "meta l4proto", "th dport"]),
          goTo(accepted),
        ]),
        rule("addresses, all ports", [from(`${direction}-all-blocks`, ["meta mark", other]), goTo(accepted)]),
        rule("nothing lets it through", [goTo(denied)]),
      ],
      comment: `a pod that is isolated for ${direction}`,
    },
    {
      name: allowed,
      rules: [
        rule("all ports", [from(`${direction}-all`, ["meta mark", "meta priority"]), goTo(accepted)]),
        rule("this port", [
          from(`${direction}-ports`, ["meta mark", "meta priority", "meta l4proto", "th dport"]),
          goTo(accepted),
        ]),
        rule("a range of ports", [
          from(`${direction}-ranges`, ["meta mark", "meta priority", "meta l4proto", "th dport"]),
          goTo(accepted),
        ]),
      ],
    },
    {
      name: denied,
      rules: [
        itself,
        rule("who isolates it", [from(`${direction}-isolating`, [own])]),
        rule("no policy lets it through", [goTo(dropped)]),
      ],
    },
  ];
}

const told: Statement = { kind: "limit", perSecond: 10, burst: 20 };

function tell(prefix: string): readonly Statement[] {
  return [told, isIn(countingSets.lines, "meta mark"), { kind: "log", group: policyLogGroup, prefix, bytesMax: 128 }];
}

/** The mark is a decision's number, of any tier and direction. */
const decisionChains: readonly NftChain[] = [
  {
    name: sharedPolicyChains.list,
    rules: [
      rule("this port", [
        from("cluster-ports", ["meta mark", "meta l4proto", "th dport"]),
        goTo(sharedPolicyChains.decide),
      ]),
      rule("everything else", [from("cluster-rest", ["meta mark"]), goTo(sharedPolicyChains.decide)]),
    ],
    comment: "the rule of a cluster policy that comes first",
  },
  {
    name: sharedPolicyChains.decide,
    rules: [
      rule("Accept", [isIn("cluster-accepts", "meta mark"), goTo(sharedPolicyChains.accepted)]),
      rule("Deny", [isIn("cluster-denies", "meta mark"), goTo(sharedPolicyChains.dropped)]),
      rule("Pass: on to the next tier", [isIn(countingSets.packets, "meta mark")]),
    ],
  },
  {
    name: sharedPolicyChains.accepted,
    rules: [
      rule("counted", [isIn(countingSets.packets, "meta mark")]),
      // One rule, as this is the way of every new connection.
      rule("a connection, told where that is asked for, but not too often", [
        isNot("ct status", "confirmed"),
        isIn(countingSets.connections, "meta mark"),
        isIn(countingSets.told, "meta mark"),
        ...tell(policyLogPrefixes.accept),
      ]),
      rule("it may pass", [...forget, accept]),
    ],
  },
  {
    name: sharedPolicyChains.dropped,
    rules: [
      rule("counted", [isIn(countingSets.packets, "meta mark")]),
      rule("told, but not too often", tell(policyLogPrefixes.drop)),
      rule("dropped", [counter, drop]),
    ],
  },
];
