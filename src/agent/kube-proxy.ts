// What a kube-proxy leaves in a node's kernel, recognised and removed once our own tables stand: its tables in nftables mode, its chains and
// the rules that jump to them in iptables mode (over nf_tables). Connections live on: conntrack knows where they go, and our nat chains
// are registered before its are taken away.
//
// Not here: kubelet's chains (KUBE-FIREWALL, KUBE-KUBELET-CANARY, KUBE-IPTABLES-HINT), which stay; what only another program could
// remove (iptables-legacy, IPVS), which is said instead.

import { readFileSync } from "node:fs";

import { KernelError, type NetworkKernel } from "../kernel/kernel.ts";
import type { NftBatchItem, NftExpression, NftKernelFamily } from "../wire/netlink/nftables.ts";

export interface KubeProxyRemains {
  /** What was removed, a line each. */
  readonly removed: readonly string[];
  /** What is there and has to be removed by hand, with how. */
  readonly left: readonly string[];
}

/** Takes away what a kube-proxy left. Throws nothing the kernel answers: what it refuses is in `left`. */
export function removeKubeProxy(kernel: NetworkKernel): KubeProxyRemains {
  const removed: string[] = [];
  const left: string[] = [];
  const attempt = (what: string, work: () => string | undefined): void => {
    try {
      const done = work();
      if (done !== undefined) removed.push(done);
    } catch (error) {
      if (!(error instanceof KernelError)) throw error;
      if (error.code !== "ENOENT") left.push(`${what}: ${error.message}`);
    }
  };
  // pkg/proxy/nftables: one table per family; the alpha of 1.29 had one for both.
  for (const family of ["ip", "ip6", "inet"] as const) {
    attempt(`table ${family} kube-proxy`, () => {
      kernel.nftCommit([{ kind: "delete-table", family, table: "kube-proxy" }]);
      return `table ${family} kube-proxy`;
    });
  }
  for (const family of ["ip", "ip6"] as const) {
    for (const table of ["nat", "filter", "mangle"]) {
      attempt(`chains KUBE-* of table ${family} ${table}`, () => removeChains(kernel, family, table));
    }
  }
  if (kernel.links().some(({ name }) => name === "kube-ipvs0"))
    left.push("kube-proxy ran in IPVS mode (link kube-ipvs0): run kube-proxy --cleanup once, and remove the link");
  if (hasLegacyTables())
    left.push(
      "iptables-legacy has a nat table: if kube-proxy used it, run kube-proxy --cleanup once (iptables-legacy -t nat -S | grep KUBE-)",
    );
  return { removed, left };
}

/** Is there anything of a kube-proxy in nf_tables? */
export function hasKubeProxy(kernel: NetworkKernel): boolean {
  if ((["ip", "ip6", "inet"] as const).some((family) => kernel.nftTable(family, "kube-proxy") !== undefined))
    return true;
  return (["ip", "ip6"] as const).some(
    (family) => kernel.nftTable(family, "nat")?.chains.some(({ name }) => name === "KUBE-SERVICES") === true,
  );
}

/**
 * kube-proxy's chains (pkg/proxy/iptables/proxier.go): fixed names, and a chain per Service and endpoint by a hash. KUBE-MARK-MASQ and
 * KUBE-POSTROUTING were kubelet's too, before 1.28; nothing of it needs them.
 */
const chainNames =
  /^KUBE-(SERVICES|NODEPORTS|EXTERNAL-SERVICES|POSTROUTING|MARK-MASQ|FORWARD|PROXY-FIREWALL|PROXY-CANARY|(SVC|SVL|EXT|FW|XLB|SEP)-[A-Z0-9]{16})$/;

const itemsMax = 20_000;

function removeChains(kernel: NetworkKernel, family: NftKernelFamily, table: string): string | undefined {
  const state = kernel.nftTable(family, table);
  if (state === undefined) return undefined;
  const theirs = new Set(state.chains.map(({ name }) => name).filter((name) => chainNames.test(name)));
  if (theirs.size === 0) return undefined;
  const jumps: NftBatchItem[] = [];
  for (const [chain, rules] of state.rules) {
    if (theirs.has(chain)) continue;
    for (const { handle, expressions } of rules) {
      if (handle !== undefined && expressions.some((expression) => leadsTo(expression, theirs)))
        jumps.push({ kind: "delete-rule", family, table, chain, handle });
    }
  }
  // From the outside in: after the first transaction nothing leads to them any more.
  const flushes = [...theirs].map((chain): NftBatchItem => ({ kind: "flush-chain", family, table, chain }));
  const deletions = [...theirs].map((chain): NftBatchItem => ({ kind: "delete-chain", family, table, chain }));
  const items = [...jumps, ...flushes, ...deletions];
  for (let at = 0; at < items.length; at += itemsMax) kernel.nftCommit(items.slice(at, at + itemsMax));
  return `${theirs.size} chains KUBE-* of table ${family} ${table}`;
}

function leadsTo(expression: NftExpression, chains: ReadonlySet<string>): boolean {
  return (
    expression.kind === "verdict" && expression.verdict.chain !== undefined && chains.has(expression.verdict.chain)
  );
}

/** x_tables' own list; the namespace is the process's. Missing where the modules are not loaded. */
function hasLegacyTables(): boolean {
  return ["/proc/net/ip_tables_names", "/proc/net/ip6_tables_names"].some((file) => {
    try {
      return readFileSync(file, "utf8").split("\n").includes("nat");
    } catch {
      return false;
    }
  });
}
