// A typed table to what the kernel holds of it: the value a dump would give after the table was installed.
// Pieces are memoized by identity (tables are immutable), so that a change costs what changed.
//
// Not here: rules (encode-rule.ts), sets (encode-set.ts), the transaction that gets there (diff.ts).

import type {
  NftChainState,
  NftElementState,
  NftRuleState,
  NftSetState,
  NftTableState,
} from "../../wire/netlink/nftables.ts";
import { isListed } from "./element-list.ts";
import { encodeRule } from "./encode-rule.ts";
import { elementEncoder, encodeSet } from "./encode-set.ts";
import type { NftChain, NftElement, NftFamily, NftSet, NftTable } from "./ruleset.ts";
import { commentUserdata } from "./userdata.ts";

/** What the kernel holds of the table once it is installed. Throws RangeError naming the rule, set or element that nft could not say. */
export function encodeTable(table: NftTable): NftTableState {
  const known = tables.get(table);
  if (known !== undefined) return known;
  const state: NftTableState = {
    family: table.family,
    name: table.name,
    chains: table.chains.map((chain) => encodeChain(table.family, chain)),
    rules: new Map(table.chains.map((chain) => [chain.name, encodeRules(table, chain)])),
    sets: table.sets.map(encodeSetOnce),
    elements: new Map(table.sets.map((set) => [set.name, encodeElements(set, set.elements)])),
  };
  tables.set(table, state);
  return state;
}

/** The chain without its rules. */
export function encodeChain(family: NftFamily, chain: NftChain): NftChainState {
  const { base, comment } = chain;
  return {
    name: chain.name,
    ...(base === undefined
      ? {}
      : {
          base: {
            type: base.type,
            hook: hookNumber(family, base.hook),
            priority: base.priority,
            policy: base.policy === "accept" ? 1 : 0,
            ...(base.devices === undefined ? {} : { devices: base.devices.toSorted() }),
          },
        }),
    // libnftnl/udata.h: NFTNL_UDATA_CHAIN_COMMENT 0.
    ...(comment === undefined ? {} : { userdata: commentUserdata(0, comment) }),
  };
}

/** The rules of one chain, in order. */
export function encodeRules(table: NftTable, chain: NftChain): readonly NftRuleState[] {
  return chain.rules.map((rule) => encodeRule(table, chain.name, rule));
}

/** Some or all elements of a set. The whole `elements` array of a set is memoized by its identity, unless it is long: its bytes weigh more than it. */
export function encodeElements(set: NftSet, elements: readonly NftElement[]): readonly NftElementState[] {
  // Lists are long, and asking one for its array is what nobody wants who encodes a few elements.
  const whole = !isListed(set) && elements === set.elements;
  const known = whole ? elementLists.get(elements) : undefined;
  if (known !== undefined && known.shape === shapeOf(set)) return known.states;
  const states = elements.map(elementEncoder(set));
  if (whole && elements.length <= rememberedMax) elementLists.set(elements, { shape: shapeOf(set), states });
  return states;
}

/** The set without its elements. */
export function encodeSetOnce(set: NftSet): NftSetState {
  let state = sets.get(set);
  if (state === undefined) {
    state = encodeSet(set);
    sets.set(set, state);
  }
  return state;
}

const rememberedMax = 4096;
const tables = new WeakMap<NftTable, NftTableState>();
const sets = new WeakMap<NftSet, NftSetState>();
const elementLists = new WeakMap<
  readonly NftElement[],
  { readonly shape: string; readonly states: readonly NftElementState[] }
>();

/** What the encoding of elements depends on beside the elements. */
function shapeOf(set: NftSet): string {
  return [set.key, set.data ?? "", set.flags, set.timeoutSeconds ?? ""].join("/");
}

// linux/netfilter.h: NF_INET_PRE_ROUTING 0 …; linux/netfilter_bridge.h has the same order; NF_NETDEV_INGRESS 0, _EGRESS 1; NF_INET_INGRESS 5.
function hookNumber(family: NftFamily, hook: NonNullable<NftChain["base"]>["hook"]): number {
  const inet = { prerouting: 0, input: 1, forward: 2, output: 3, postrouting: 4, ingress: 5 } as const;
  const netdev = { ingress: 0, egress: 1 } as const;
  const numbers: Readonly<Record<string, number>> = family === "netdev" ? netdev : inet;
  const number = numbers[hook];
  if (number === undefined || (hook === "ingress" && family !== "netdev" && family !== "inet"))
    throw new RangeError(`nftables family ${family} has no hook ${hook}`);
  return number;
}
