// How one of several endpoints is chosen: the chains that maps lead to. A chain per number of endpoints (and per affinity timeout) in use,
// never one per Service: their number grows with how different Services are, not with how many there are.
//
// A frontend's element gives a number, and a small map leads from the number to the chain: the kernel walks every verdict map at every
// change of one (nf_tables looks for loops), which at ten thousands of Services would be most of what a change costs.
//
// Plain: the index is a random number, and part of the key that finds the backend.
// With session affinity (ClientIP) the client's last choice is remembered, as a number that stands for the endpoint and not for its index,
// so that it means the same endpoint when others come and go. A choice that is no endpoint any more is forgotten and made anew.
// Both numbers travel in the packet's priority, which is 0 again when the packet leaves (masquerade.ts); marks stay whatever others made of
// them.
// With IPv6 the marks of packet and connection are scratch for the length of a chain; a packet that has one gets an endpoint without memory.

import type { Address, Family } from "../ip/address.ts";
import { memoized } from "./memo.ts";
import type { Field, KeyPart, NftChain, NftElement, NftSet, Statement } from "./nftables/ruleset.ts";
import { builtIn, counter, is, isNot, key, rule } from "./statements.ts";

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
    manyBackends: "backends-many",
    affineChoices: "affine-choices",
    affineBackends: "affine-backends",
  },
  inside: {
    services: "services-inside",
    backends: "backends-inside",
    manyBackends: "backends-inside-many",
    affineChoices: "affine-choices-inside",
    affineBackends: "affine-backends-inside",
  },
} as const;

/** More endpoints than these are many. */
const fewBackendsMax = 16;

/**
 * The map with the backends of a frontend that has so many. Those of many are in a map of their own: a number of endpoints that nobody had
 * before is a new rule, and the kernel walks all of a map when a rule begins to look into it (net/netfilter/nf_tables_api.c,
 * nf_tables_bind_set). Small numbers are there already; a Service of hundreds gets a new one with each change, and its map is small.
 */
export function backendsMap(
  count: number,
  scope: ChoiceScope,
): "backends" | "backends-many" | "backends-inside" | "backends-inside-many" {
  return count > fewBackendsMax ? mapNames[scope].manyBackends : mapNames[scope].backends;
}

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

/** What is done with a connection: an endpoint is chosen in one of those ways, or there is none. */
export type Outcome = ChoiceShape | "refuse" | "drop";

/**
 * The number that stands for an outcome in the maps of frontends, as nft writes a priority: `0:3` is a choice among three. The two highest
 * bits are affinity and scope, the others the count, or with affinity count and seconds.
 */
export function outcomeNumber(outcome: Outcome): string {
  if (outcome === "refuse" || outcome === "drop") return withoutChoice[outcome];
  const { count, affinitySeconds, scope } = outcome;
  const rest = affinitySeconds === undefined ? count : count * secondsBase + affinitySeconds;
  const high = (scope === "inside" ? 0x4000_0000 : 0) + (affinitySeconds === undefined ? 0 : 0x8000_0000);
  return classid(high + rest);
}

/** What a number stands for; undefined where it is none of these. */
export function parseOutcomeNumber(text: string): Outcome | undefined {
  if (text === withoutChoice.refuse) return "refuse";
  if (text === withoutChoice.drop) return "drop";
  const [major, minor] = text.split(":").map((part) => Number.parseInt(part, 16));
  if (major === undefined || minor === undefined) return undefined;
  const number = major * 0x1_0000 + minor;
  const rest = number % 0x4000_0000;
  const scope = (number & 0x4000_0000) === 0 ? "all" : "inside";
  if (number < 0x8000_0000) return { count: rest, scope };
  return { count: Math.floor(rest / secondsBase), affinitySeconds: rest % secondsBase, scope };
}

const withoutChoice = { refuse: "ffff:0", drop: "ffff:1" } as const;
/** More than core/v1 MaxClientIPServiceAffinitySeconds. */
const secondsBase = 86_401;
/** With affinity, new clients are spread over so many endpoints at most: what the number has room for, short of 0xffff0000. */
const affineCountMax = 12_000;
const countMax = 0x3fff_ffff;

/** How one of `count` endpoints is chosen: among all of them, as long as the number has room for it. */
export function choiceShape(count: number, scope: ChoiceScope, affinitySeconds: number | undefined): ChoiceShape {
  if (affinitySeconds === undefined) return { count: Math.min(count, countMax), scope };
  return { count: Math.min(count, affineCountMax), scope, affinitySeconds };
}

/** `1f:c0de` */
function classid(number: number): string {
  return `${Math.floor(number / 0x1_0000).toString(16)}:${(number % 0x1_0000).toString(16)}`;
}

/** The elements of map `choices`: number -> chain, for the outcomes without a choice and for these chains. The same value for the same arguments. */
export const choiceElements: (chains: readonly string[]) => readonly NftElement[] = memoized((chains) => [
  ...withoutChoiceElements,
  ...chains.map(choiceElement),
]);

const withoutChoiceElements: readonly NftElement[] = [
  { key: [withoutChoice.refuse], data: { kind: "goto", chain: "refuse" }, origin: builtIn },
  { key: [withoutChoice.drop], data: { kind: "drop" }, origin: builtIn },
];

function choiceElement(chain: string): NftElement {
  let element = elementsMade.get(chain);
  if (element === undefined) {
    const key = [outcomeNumber(shapeNamed(chain))];
    elementsMade.set(chain, (element = { key, data: { kind: "goto", chain }, origin: builtIn }));
  }
  return element;
}

const elementsMade = new Map<string, NftElement>();

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

/**
 * The maps of clients and their choices. IPv4: source . address . protocol . port -> the endpoint's number. IPv6 addresses are too long
 * for that (nft 1.0.6 reads updates of maps with keys of at most 16 bytes), so clients get numbers of their own first:
 * source -> number, and number . frontend's number -> the endpoint's number.
 */
export function rememberedSets(family: Family): readonly NftSet[] {
  const dynamic = { flags: ["dynamic", "timeout"], size: rememberedMax, elements: [] } as const;
  if (family === 4)
    return [
      {
        name: rememberedMap,
        key: ["ipv4_addr", "ipv4_addr", "inet_proto", "inet_service"],
        data: ["classid"],
        ...dynamic,
      },
    ];
  return [
    { name: clientMap, key: ["ipv6_addr"], data: ["mark"], ...dynamic },
    { name: rememberedMap, key: ["mark", "mark"], data: ["classid"], ...dynamic },
  ];
}

/** The map that gives IPv6 clients numbers. */
const clientMap = "clients";
/** Clients are remembered longer than any of their choices: core/v1 MaxClientIPServiceAffinitySeconds. */
const clientSeconds = 86_400;

/** A number that stands for a frontend in keys, as a mark. Where two are alike, their clients' choices are only forgotten more often. */
export function frontendNumber(target: readonly string[]): string {
  return `0x${(hash(target.join(" ")) || 1).toString(16)}`;
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
    return classid(number);
  });
}

/** FNV-1a, 32 bits. */
function hash(text: string): number {
  let value = 0x811c9dc5;
  for (let index = 0; index < text.length; index++) value = Math.imul(value ^ text.charCodeAt(index), 0x01000193);
  return value >>> 0;
}

function makeChain(family: Family, name: string): NftChain {
  const shape = shapeNamed(name);
  return shape.affinitySeconds === undefined
    ? pickChain(family, shape)
    : affineChain(family, { ...shape, affinitySeconds: shape.affinitySeconds });
}

function shapeNamed(name: string): ChoiceShape {
  const shape = parseChoiceChainName(name);
  if (shape === undefined) throw new RangeError(`no chain chooses endpoints by the name ${JSON.stringify(name)}`);
  return shape;
}

function pickChain(family: Family, shape: ChoiceShape): NftChain {
  const { count, scope } = shape;
  const index: KeyPart = { kind: "random", below: count };
  const map = backendsMap(count, scope);
  return {
    name: choiceChainName(shape),
    rules: [rule(`one of ${count}`, [{ kind: "dnat", key: [...key(targetFields(family)), index], map }])],
  };
}

function affineChain(family: Family, shape: Required<ChoiceShape>): NftChain {
  return family === 4 ? affineChain4(shape) : affineChain6(shape);
}

/** See rememberedSets. The client's number is in the packet's mark, the frontend's in the connection's; both are 0 again in the end. */
function affineChain6(shape: Required<ChoiceShape>): NftChain {
  const { count, affinitySeconds, scope } = shape;
  const maps = mapNames[scope];
  const target = targetFields(6);
  const index: KeyPart = { kind: "random", below: count };
  const client = key(["ip6 saddr"]);
  const pair = key(["meta mark", "ct mark"]);
  const withoutMemory: Statement = { kind: "dnat", key: [...key(target), index], map: backendsMap(count, scope) };
  const isNumbered: Statement = { kind: "set-mark-from", key: client, map: clientMap };
  const frontend: Statement = {
    kind: "set-mark-from",
    target: "ct mark",
    key: key(target),
    map: "affine-frontends",
  };
  const keepClient = (operation: "add" | "update"): Statement => ({
    kind: "update",
    operation,
    set: clientMap,
    key: client,
    data: "meta mark",
    timeoutSeconds: clientSeconds,
  });
  const remember = (operation: "add" | "update" | "delete"): Statement => ({
    kind: "update",
    operation,
    set: rememberedMap,
    key: pair,
    data: "meta priority",
    ...(operation === "delete" ? {} : { timeoutSeconds: affinitySeconds }),
  });
  const recall: Statement = { kind: "set-mark-from", target: "meta priority", key: pair, map: rememberedMap };
  const choose: Statement = {
    kind: "set-mark-from",
    target: "meta priority",
    key: [...key(target), index],
    map: maps.affineChoices,
  };
  const tidy: readonly Statement[] = [
    { kind: "set-mark", value: "0x0" },
    { kind: "set-mark", target: "ct mark", value: "0x0" },
  ];
  const translate: Statement = { kind: "dnat", key: key([...target, "meta priority"]), map: maps.affineBackends };
  return {
    name: choiceChainName(shape),
    rules: [
      rule("the packet's mark is somebody else's", [isNot("meta mark", "0x0"), withoutMemory]),
      rule("the connection's mark is somebody else's", [isNot("ct mark", "0x0"), withoutMemory]),
      rule("the client's number", [isNumbered, keepClient("update")]),
      rule("or a new one", [
        is("meta mark", "0x0"),
        { kind: "set-mark-random", below: clientNumbers },
        keepClient("add"),
      ]),
      rule("the frontend's", [frontend]),
      rule("the endpoint it had, if that is one still", [recall, remember("update"), ...tidy, translate]),
      rule("else the numbers again", [{ kind: "set-mark", value: "0x0" }, isNumbered]),
      rule("no number: too many clients", [
        is("meta mark", "0x0"),
        { kind: "set-mark", target: "ct mark", value: "0x0" },
        withoutMemory,
      ]),
      rule("the frontend's", [frontend]),
      rule("forget what it had", [remember("delete")]),
      rule(`and choose one of ${count}`, [choose]),
      rule("for the next time, unless the map is full", [remember("add"), counter]),
      rule("and for now", [...tidy, translate]),
    ],
  };
}

// All but the largest number: `numgen random mod` takes 32 bits, and 0 is no number.
const clientNumbers = 0x7fffffff;

function affineChain4(shape: Required<ChoiceShape>): NftChain {
  const family = 4;
  const { count, affinitySeconds, scope } = shape;
  const maps = mapNames[scope];
  const target = targetFields(family);
  const client = key(["ip saddr", ...target]);
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
