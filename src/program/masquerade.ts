// Whose source address is rewritten, and why: only where the answer would else not find back, or would come from the wrong address.
//
// Pods talk to pods and to nodes with their own addresses, through Services as well (the Kubernetes network model; flannel, Calico and
// kube-proxy rewrite pods' packets to nodes or not, by configuration; we do not, so that a hostNetwork pod is reached as any other pod is).
// Decided in the nat postrouting hook: only there the destination is final and the way out known.

import type { Family } from "../ip/address.ts";
import { forgetNumber } from "./choice.ts";
import type { NftChain, NftRule } from "./nftables/ruleset.ts";
import { is, isIn, isNotIn, rule } from "./statements.ts";

/** The chain. It looks at sets `hairpin`, `masquerade-ports`, `inside-ports`, `service-ranges`, `local-pods`, `pod-ranges`, `nodes`. */
export function masqueradeChain(family: Family): NftChain {
  return made[family];
}

/**
 * The chain with rules of its own for what is neither hairpin, node port nor split address: they depend on whose the pods are. It looks at
 * sets `hairpin`, `masquerade-ports`, `inside-ports`, `pod-ranges` and `local-pods`.
 */
export function sourceChain(family: Family, others: readonly NftRule[]): NftChain {
  return {
    name: "source",
    // NF_IP_PRI_NAT_SRC
    base: { type: "nat", hook: "postrouting", priority: 100, policy: "accept" },
    // Packets carry a choice's or an endpoint's number (choice.ts), which ends here.
    rules: [clean, ...rules(family), ...others, ...insideRules(family)],
    comment: "whose source address becomes the node's",
  };
}

function rules(family: Family): readonly NftRule[] {
  const source = family === 4 ? "ip saddr" : "ip6 saddr";
  const destination = family === 4 ? "ip daddr" : "ip6 daddr";
  const asked = family === 4 ? "ct original ip daddr" : "ct original ip6 daddr";
  return [
    // The pod would answer itself directly, from an address it never asked.
    rule("a pod to itself through a Service", [translated, isIn("hairpin", source, destination), masquerade]),
    // The endpoint may be on another node, and would answer the client without passing here.
    rule("node ports", [
      translated,
      is("meta l4proto", "tcp", "udp", "sctp"),
      isIn("masquerade-ports", asked, "meta l4proto", "ct original proto-dst"),
      masquerade,
    ]),
  ];
}

/** Where the pods are ours. */
function ownRules(family: Family): readonly NftRule[] {
  const source = family === 4 ? "ip saddr" : "ip6 saddr";
  const destination = family === 4 ? "ip daddr" : "ip6 daddr";
  const asked = family === 4 ? "ct original ip daddr" : "ct original ip6 daddr";
  return [
    // The node itself, or somebody outside who has a route to Service addresses: as above.
    rule("Services, asked by other than our pods", [
      translated,
      isIn("service-ranges", asked),
      isNotIn("local-pods", source),
      masquerade,
    ]),
    ...loopbackRules(family),
    // Nobody outside of the cluster knows the way to a pod: neither who is asked directly, nor who stands behind a Service.
    rule("our pods to the outside", [
      isIn("local-pods", source),
      isNotIn("pod-ranges", destination),
      isNotIn("nodes", destination),
      masquerade,
    ]),
  ];
}

/** A hostPort or node port, asked at 127.0.0.1 by the node itself: nobody else may see a packet of loopback, nor could he answer one. */
export function loopbackRules(family: Family): readonly NftRule[] {
  return family === 4 ? [rule("from loopback", [translated, is("ip saddr", "127.0.0.0/8"), masquerade])] : [];
}

const masquerade = { kind: "masquerade", fullyRandom: true } as const;
const translated = is("ct status", "dnat");
const clean = rule("the number has served", [is("ct status", "dnat"), forgetNumber]);

/**
 * Who is inside got an endpoint anywhere at an address that leads others to this node's own (externalTrafficPolicy Local): the answer must
 * come back here. This node's pods get it here anyway.
 */
function insideRules(family: Family): readonly NftRule[] {
  const source = family === 4 ? "ip saddr" : "ip6 saddr";
  const asked = family === 4 ? "ct original ip daddr" : "ct original ip6 daddr";
  const atSplitAddress = [
    is("ct status", "dnat"),
    is("meta l4proto", "tcp", "udp", "sctp"),
    isIn("inside-ports", asked, "meta l4proto", "ct original proto-dst"),
  ];
  return [
    // With its own address the answer finds it anyway, and the endpoint sees who asks, which is what this policy is for.
    rule("the node itself, short of a load balancer", [
      ...atSplitAddress,
      is("fib saddr type", "local"),
      isNotIn("nodes", source),
      masquerade,
    ]),
  ];
}

const made = { 4: sourceChain(4, ownRules(4)), 6: sourceChain(6, ownRules(6)) };
