// A host's own firewall that drops what a node has to forward: Docker sets `policy drop` for the forward hook, firewalld refuses what is in
// no zone, Debian's example does the like. A drop in anybody's chain is final, whatever ours accept, and others' tables are none of our
// business: so it is said, with the command that lets our packets pass.

import type { NetworkKernel } from "../kernel/kernel.ts";
import { names } from "../program/program.ts";
import type { NftChainState, NftKernelFamily } from "../wire/netlink/nftables.ts";
import type { AgentScope } from "./cluster-source.ts";

/** Tables that firewalls are known to use: iptables-nft (Docker, ufw), nftables.conf examples, firewalld. */
const known: readonly { readonly family: NftKernelFamily; readonly table: string }[] = [
  { family: "ip", table: "filter" },
  { family: "ip6", table: "filter" },
  { family: "inet", table: "filter" },
  { family: "inet", table: "firewalld" },
  { family: "ip", table: "firewalld" },
  { family: "ip6", table: "firewalld" },
];

/** A line for each chain that drops forwarded packets, with its cure. Empty where nothing is in the way. */
export function forwardDrops(kernel: NetworkKernel, scope: AgentScope["kind"]): readonly string[] {
  return known.flatMap(({ family, table }) => {
    const state = kernel.nftTable(family, table);
    return (state?.chains ?? []).filter(dropsForwarded).flatMap((chain) => {
      // Whoever put our packets first has had enough of this.
      const rules = state?.rules.get(chain.name) ?? [];
      return rules.length > 0 && isCured(rules[0]) ? [] : [lineOf(family, table, chain, scope)];
    });
  });
}

// linux/netfilter.h: NF_INET_FORWARD 2, NF_DROP 0.
function dropsForwarded({ base, name }: NftChainState): boolean {
  return base?.type === "filter" && base.hook === 2 && (base.policy === 0 || name === "filter_FORWARD");
}

/** Does the first rule accept? Then it is the cure, or the like of it. */
function isCured(rule: { readonly expressions: readonly { readonly kind: string }[] } | undefined): boolean {
  const [last] = (rule?.expressions ?? []).slice(-1) as { kind: string; verdict?: { code: number } }[];
  return last?.kind === "verdict" && last.verdict?.code === 1;
}

function lineOf(family: NftKernelFamily, table: string, { name }: NftChainState, scope: AgentScope["kind"]): string {
  const where = `table ${family} ${table}, chain ${name}`;
  if (table === "firewalld")
    return `${where} may refuse what this node forwards (forward): put the pods' ranges into a zone that forwards: firewall-cmd --permanent --zone=trusted --add-source=RANGE && firewall-cmd --reload`;
  const insert = `insert rule ${family} ${table} ${name}`;
  switch (scope) {
    case "services":
      return `${where} drops what it does not know, also connections to Services (forward): iptables -I ${name} -m conntrack --ctstate DNAT -j ACCEPT, or nft '${insert} ct status dnat accept'`;
    case "all": {
      const own = `{ "${names.bridge}", "${names.vxlan}" }`;
      return `${where} drops what it does not know, also pods' packets (forward): nft '${insert} oifname ${own} accept; ${insert} iifname ${own} accept'`;
    }
  }
}
