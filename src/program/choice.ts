// How one of several endpoints is chosen: the chains that maps lead to. A chain per number of endpoints (and per affinity timeout) in use,
// never one per Service: their number grows with how different Services are, not with how many there are.
//
// Plain: the index is a random number, and part of the key that finds the backend.
// With session affinity (ClientIP) the client's last choice is remembered, as a number that stands for the endpoint and not for its index,
// so that it means the same endpoint when others come and go. A choice that is no endpoint any more is forgotten and made anew.
// The number travels in the packet's priority: the kernel sets that anew when it forwards, and marks stay whatever others made of them.

import type { Address, Family } from "../ip/address.ts";
import type { Field, KeyPart, KeyType, NftChain, NftSet, Statement } from "./nftables/ruleset.ts";
import { counter, key, rule } from "./statements.ts";

/** A way to choose: among how many, and for how long a client stays with its choice. */
export interface ChoiceShape {
  readonly count: number;
  readonly affinitySeconds?: number;
  readonly scope: ChoiceScope;
}

/**
 * For whom: one address may have two lists of endpoints, those of the node for clients from outside (externalTrafficPolicy Local) and
 * all of them for pods and for the node itself.
 */
export type ChoiceScope = "all" | "inside";

/** The maps of each scope. */
export const mapNames = {
  all: {
    services: "services",
    backends: "backends",
    affineChoices: "affine-choices",
    affineBackends: "affine-backends",
  },
  inside: {
    services: "services-inside",
    backends: "backends-inside",
    affineChoices: "affine-choices-inside",
    affineBackends: "affine-backends-inside",
  },
} as const;

/** `pick-2`, `affine-2-10800`, `pick-2-inside` */
export function choiceChainName({ count, affinitySeconds, scope }: ChoiceShape): string {
  const name = affinitySeconds === undefined ? `pick-${count}` : `affine-${count}-${affinitySeconds}`;
  return scope === "all" ? name : `${name}-${scope}`;
}

/** What a chain's name says; undefined where it is none of these chains. */
export function parseChoiceChainName(name: string): ChoiceShape | undefined {
  const match = /^(?:pick-(\d+)|affine-(\d+)-(\d+))(-inside)?$/.exec(name);
  if (match === null) return undefined;
  const [, plain, count, seconds, inside] = match;
  const scope = inside === undefined ? "all" : "inside";
  return plain === undefined
    ? { count: Number(count), affinitySeconds: Number(seconds), scope }
    : { count: Number(plain), scope };
}

/** The chain of that name. The same value for the same arguments. */
export function choiceChain(family: Family, name: string): NftChain {
  const known = made[family];
  let chain = known.get(name);
  if (chain === undefined) known.set(name, (chain = makeChain(family, name)));
  return chain;
}

const made = { 4: new Map<string, NftChain>(), 6: new Map<string, NftChain>() };

/** The map of session affinity that the kernel fills. */
export const rememberedMap = "affinity";

/** Clients remembered per family and node; beyond that choices are made without memory, as a full map must not refuse connections. */
const rememberedMax = 65536;

/** The map of clients and their choices: source . address . protocol . port -> the endpoint's number. */
export function rememberedSet(family: Family): NftSet {
  const address: KeyType = family === 4 ? "ipv4_addr" : "ipv6_addr";
  return {
    name: rememberedMap,
    key: [address, address, "inet_proto", "inet_service"],
    data: ["classid"],
    flags: ["dynamic", "timeout"],
    size: rememberedMax,
    elements: [],
  };
}

/** The statement that gives the priority back its meaning, for the first packet of a connection on its way out. */
export const forgetNumber: Statement = { kind: "set-mark", target: "meta priority", value: "none" };

/**
 * Numbers that stand for endpoints of one frontend, as nft writes a priority: `1f:c0de`. A function of address and port alone, unless two
 * of them hash alike; then the later one in the list takes the next free number.
 */
export function endpointNumbers(
  endpoints: readonly { readonly address: Address; readonly port: number }[],
): readonly string[] {
  const taken = new Set<number>();
  return endpoints.map(({ address, port }) => {
    let number = hash(`${address} ${port}`);
    // 0 is no priority, 0xffffffff is TC_H_ROOT: nft writes both as words.
    while (number === 0 || number === 0xffffffff || taken.has(number)) number = (number + 1) >>> 0;
    taken.add(number);
    return `${(number >>> 16).toString(16)}:${(number & 0xffff).toString(16)}`;
  });
}

/** FNV-1a, 32 bits. */
function hash(text: string): number {
  let value = 0x811c9dc5;
  for (let index = 0; index < text.length; index++) value = Math.imul(value ^ text.charCodeAt(index), 0x01000193);
  return value >>> 0;
}

function makeChain(family: Family, name: string): NftChain {
  const shape = parseChoiceChainName(name);
  if (shape === undefined) throw new RangeError(`no chain chooses endpoints by the name ${JSON.stringify(name)}`);
  return shape.affinitySeconds === undefined
    ? pickChain(family, shape)
    : affineChain(family, { ...shape, affinitySeconds: shape.affinitySeconds });
}

function pickChain(family: Family, shape: ChoiceShape): NftChain {
  const { count, scope } = shape;
  const index: KeyPart = { kind: "random", below: count };
  const map = mapNames[scope].backends;
  return {
    name: choiceChainName(shape),
    rules: [rule(`one of ${count}`, [{ kind: "dnat", key: [...key(targetFields(family)), index], map }])],
  };
}

function affineChain(family: Family, shape: Required<ChoiceShape>): NftChain {
  const { count, affinitySeconds, scope } = shape;
  const maps = mapNames[scope];
  const target = targetFields(family);
  const client = key([family === 4 ? "ip saddr" : "ip6 saddr", ...target]);
  const index: KeyPart = { kind: "random", below: count };
  const remember = (operation: "add" | "update" | "delete"): Statement => ({
    kind: "update",
    operation,
    set: rememberedMap,
    key: client,
    data: "meta priority",
    ...(operation === "delete" ? {} : { timeoutSeconds: affinitySeconds }),
  });
  const recall: Statement = {
    kind: "set-mark-from",
    target: "meta priority",
    key: client,
    map: rememberedMap,
  };
  const choose: Statement = {
    kind: "set-mark-from",
    target: "meta priority",
    key: [...key(target), index],
    map: maps.affineChoices,
  };
  const translate: Statement = {
    kind: "dnat",
    key: key([...target, "meta priority"]),
    map: maps.affineBackends,
  };
  return {
    name: choiceChainName(shape),
    rules: [
      rule("the endpoint it had, if that is one still", [recall, remember("update"), translate]),
      rule("else forget it", [remember("delete")]),
      rule(`and choose one of ${count}`, [choose]),
      rule("for the next time, unless the map is full", [remember("add"), counter]),
      rule("and for now", [translate]),
    ],
  };
}

/** What a connection asks for: address, protocol, port. */
export function targetFields(family: Family): readonly [Field, Field, Field] {
  return [family === 4 ? "ip daddr" : "ip6 daddr", "meta l4proto", "th dport"];
}
