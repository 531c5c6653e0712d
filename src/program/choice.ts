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
}

/** `pick-2`, `affine-2-10800` */
export function choiceChainName({ count, affinitySeconds }: ChoiceShape): string {
  return affinitySeconds === undefined ? `pick-${count}` : `affine-${count}-${affinitySeconds}`;
}

/** What a chain's name says; undefined where it is none of these chains. */
export function parseChoiceChainName(name: string): ChoiceShape | undefined {
  const match = /^(?:pick-(\d+)|affine-(\d+)-(\d+))$/.exec(name);
  if (match === null) return undefined;
  const [, plain, count, seconds] = match;
  return plain === undefined ? { count: Number(count), affinitySeconds: Number(seconds) } : { count: Number(plain) };
}

/** The chain of that name. The same value for the same arguments. */
export function choiceChain(family: Family, name: string): NftChain {
  const known = made[family];
  let chain = known.get(name);
  if (chain === undefined) known.set(name, (chain = makeChain(family, name)));
  return chain;
}

const made = { 4: new Map<string, NftChain>(), 6: new Map<string, NftChain>() };

/** Names of the maps that session affinity needs, and of the one that the kernel fills. */
export const affinityMaps = { choices: "affine-choices", backends: "affine-backends", remembered: "affinity" } as const;

/** Clients remembered per family and node; beyond that choices are made without memory, as a full map must not refuse connections. */
const rememberedMax = 65536;

/** The map of clients and their choices: source . address . protocol . port -> the endpoint's number. */
export function rememberedSet(family: Family): NftSet {
  const address: KeyType = family === 4 ? "ipv4_addr" : "ipv6_addr";
  return {
    name: affinityMaps.remembered,
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
  const { count, affinitySeconds } = shape;
  return affinitySeconds === undefined ? pickChain(family, count) : affineChain(family, count, affinitySeconds);
}

function pickChain(family: Family, count: number): NftChain {
  const index: KeyPart = { kind: "random", below: count };
  return {
    name: choiceChainName({ count }),
    rules: [rule(`one of ${count}`, [{ kind: "dnat", key: [...key(targetFields(family)), index], map: "backends" }])],
  };
}

function affineChain(family: Family, count: number, affinitySeconds: number): NftChain {
  const target = targetFields(family);
  const client = key([family === 4 ? "ip saddr" : "ip6 saddr", ...target]);
  const index: KeyPart = { kind: "random", below: count };
  const remember = (operation: "add" | "update" | "delete"): Statement => ({
    kind: "update",
    operation,
    set: affinityMaps.remembered,
    key: client,
    data: "meta priority",
    ...(operation === "delete" ? {} : { timeoutSeconds: affinitySeconds }),
  });
  const recall: Statement = {
    kind: "set-mark-from",
    target: "meta priority",
    key: client,
    map: affinityMaps.remembered,
  };
  const choose: Statement = {
    kind: "set-mark-from",
    target: "meta priority",
    key: [...key(target), index],
    map: affinityMaps.choices,
  };
  const translate: Statement = {
    kind: "dnat",
    key: key([...target, "meta priority"]),
    map: affinityMaps.backends,
  };
  return {
    name: choiceChainName({ count, affinitySeconds }),
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
