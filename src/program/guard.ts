// Nobody may pretend to be somebody else: what a pod's link may send, who may speak VXLAN to a node, what must never enter a node.
//
// Pods are checked in the bridge's prerouting hook: it is the first to see a frame, before the bridge, conntrack or any table of the IP
// stack, so what is dropped leaves no trace anywhere. Reverse path filtering cannot do this: every pod's address leads to the same bridge.
//
// Not here: NetworkPolicy, which decides between honest senders.

import { familyOf, type Family } from "../ip/address.ts";
import type { Attachment } from "../model/network.ts";
import { vxlan } from "./links.ts";
import type { NftChain, NftElement, NftRule, NftTable } from "./nftables/ruleset.ts";
import { linkLocalOf } from "./places.ts";
import { ofEach, podOrigin } from "./pods.ts";
import { names } from "./program.ts";
import { accept, counter, drop, is, isIn, isNot, isNotIn, rule } from "./statements.ts";

const podLinks = `${names.podLinkPrefix}*`;

/** The bridge's table: each pod's link sends from its own hardware address and its own IP addresses, or not at all. */
export function guardTable(attachments: readonly Attachment[]): NftTable {
  return {
    family: "bridge",
    name: names.table,
    chains: [
      {
        name: "guard",
        // linux/netfilter_bridge.h: NF_BR_PRI_NAT_DST_BRIDGED is -300, the first of the named ones.
        base: { type: "filter", hook: "prerouting", priority: -300, policy: "accept" },
        rules: guardRules,
        comment: "pods send from their own addresses only",
      },
    ],
    sets: [
      { name: "pod-ip4", key: ["ifname", "ether_addr", "ipv4_addr"], flags: [], elements: ip4(attachments) },
      { name: "pod-ip6", key: ["ifname", "ether_addr", "ipv6_addr"], flags: [], elements: ip6(attachments) },
      { name: "pod-nd", key: ["ifname", "ether_addr", "nd_target"], flags: [], elements: ip6(attachments) },
    ],
  };
}

const guardRules: readonly NftRule[] = [
  // First, as nearly every frame ends here: what a packet costs is the number of expressions it meets.
  rule("IPv4 from its own address", [
    is("ether type", "ip"),
    isIn("pod-ip4", "meta iifname", "ether saddr", "ip saddr"),
    accept,
  ]),
  rule("only pods are checked here", [isNot("meta iifname", podLinks), accept]),
  // Both the frame's sender and the one ARP speaks of: answers are taken from the latter.
  rule("ARP about itself", [
    is("ether type", "arp"),
    isIn("pod-ip4", "meta iifname", "ether saddr", "arp saddr ip"),
    isIn("pod-ip4", "meta iifname", "arp saddr ether", "arp saddr ip"),
    accept,
  ]),
  // RFC 4862 5.4.2 and RFC 3590: duplicate address detection and MLD before there is an address; nobody is missed by either.
  rule("no address yet: not counted", [is("ether type", "ip6"), is("ip6 saddr", "::"), drop]),
  rule("no pod is a router", [
    is("ether type", "ip6"),
    is("icmpv6 type", "nd-router-advert", "nd-redirect"),
    counter,
    drop,
  ]),
  // An advertisement is believed for the target it names, whatever its source address is (RFC 4861 7.2.5).
  rule("neighbour advertisements about itself", [
    is("ether type", "ip6"),
    is("icmpv6 type", "nd-neighbor-advert"),
    isNotIn("pod-nd", "meta iifname", "ether saddr", "icmpv6 target"),
    counter,
    drop,
  ]),
  rule("IPv6 from its own address or link-local address", [
    is("ether type", "ip6"),
    isIn("pod-ip6", "meta iifname", "ether saddr", "ip6 saddr"),
    accept,
  ]),
  rule("everything else pretends", [counter, drop]),
];

function senders(attachment: Attachment, family: Family): readonly NftElement[] {
  const own = attachment.addresses.filter((address) => familyOf(address) === family);
  const addresses = family === 6 ? [...own, linkLocalOf(attachment.mac)] : own;
  const origin = podOrigin(attachment);
  return addresses.map((address) => ({ key: [attachment.link, attachment.mac, address], origin }));
}

const ip4 = ofEach((attachment) => senders(attachment, 4));
const ip6 = ofEach((attachment) => senders(attachment, 6));

/** Before anything else looks at a packet, connection tracking included: an answer that it will lead back to loopback is not for it yet. */
export function preroutingGuard(rules: readonly NftRule[]): NftChain {
  return {
    name: "guard-prerouting",
    // NF_IP_PRI_RAW
    base: { type: "filter", hook: "prerouting", priority: -300, policy: "accept" },
    rules,
  };
}

/**
 * The kernel's own check of this is off where a node's connections to its loopback lead out of it (route_localnet): on the bridge for hostPorts, on all
 * links where node ports answer at 127.0.0.1 (sysctls.ts).
 */
export function loopbackGuard(family: Family): readonly NftRule[] {
  const loopback = family === 4 ? "127.0.0.0/8" : "::1";
  const fromOutside = isNot("meta iifname", "lo");
  return [
    rule("nothing from outside is for loopback", [
      is(family === 4 ? "ip daddr" : "ip6 daddr", loopback),
      fromOutside,
      counter,
      drop,
    ]),
    rule("nor from it", [is(family === 4 ? "ip saddr" : "ip6 saddr", loopback), fromOutside, counter, drop]),
  ];
}

/**
 * Chains of an IP table that keep the node and its tunnel from strangers; they look at sets `nodes`, `pod-ranges`, `service-ranges`. `direct`:
 * other nodes' pods' packets may come by the underlay as they are, from the ranges in set `direct-ranges`. `established`: policies' rules
 * follow, and judge connections that go on, too (`strict`).
 */
export function guardChains(
  family: Family,
  { direct, established }: { readonly direct: "taken" | "refused"; readonly established: "keep" | "strict" },
): readonly NftChain[] {
  const source = family === 4 ? "ip saddr" : "ip6 saddr";
  const destination = family === 4 ? "ip daddr" : "ip6 daddr";
  const isVxlan = [is("meta l4proto", "udp"), is("th dport", String(vxlan.port))];
  return [
    preroutingGuard([
      // Frames to 01:80:c2:00:00:0x never pass the bridge's prerouting hook and come up the stack on the port itself (IEEE 802.1Q 8.6.3).
      rule("around the bridge, around its guard", [is("meta iifname", podLinks), counter, drop]),
      ...loopbackGuard(family),
    ]),
    {
      name: "guard-input",
      base: { type: "filter", hook: "input", priority: 0, policy: "accept" },
      rules: [rule("only nodes speak VXLAN to a node", [...isVxlan, isNotIn("nodes", source), counter, drop])],
    },
    {
      name: "guard-forward",
      base: { type: "filter", hook: "forward", priority: 0, policy: "accept" },
      rules: [
        // A pod's packet to another node would else arrive there with this node's address where it is masqueraded.
        rule("no pod speaks VXLAN to a node", [...isVxlan, isIn("nodes", destination), counter, drop]),
        // Senders are known here: of the bridge by its own guard, of the tunnel by guard-input. What began is done with the rest of this chain;
        // a name beside a name is cheaper than a set of both.
        ...(established === "keep" ? [names.bridge, names.vxlan] : []).map((link) =>
          rule("connections go on", [is("meta iifname", link), is("ct state", "established"), accept]),
        ),
        // Conntrack calls some packets invalid and translates none of those; each would leave an entry in the machine-wide neighbour table.
        rule("Services' addresses are nobody's link", [isIn("service-ranges", destination), counter, drop]),
        rule("nor are load balancers'", [isIn("service-addresses", destination), counter, drop]),
        // What a node port of ours has translated may come from a pod of another node; nothing else of a pod comes by the underlay.
        rule("pods' packets come from pods or tunnel", [
          isNot("meta iifname", names.bridge, names.vxlan),
          isIn("pod-ranges", source),
          ...(direct === "taken" ? [isNotIn("direct-ranges", source)] : []),
          isNot("ct status", "dnat"),
          counter,
          drop,
        ]),
      ],
    },
  ];
}
