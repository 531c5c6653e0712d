// Executes a Program's nftables on one packet: which rules it meets at a hook, what they do to it, and which element decided.
// This is the reader that must agree with the kernel (docs/pipeline.md); random packets are sent to prove it (test/kernel).
//
// Not here: routing and the way between nodes (walk.ts).

import { addressFromValue, addressValue, familyOf, type Address, type Family } from "../ip/address.ts";
import { contains } from "../ip/prefix.ts";
import type { Mac } from "../ip/mac.ts";
import type { Origin } from "../kube/object.ts";
import { parseOutcomeNumber } from "../program/choice.ts";
import { formatRule } from "../program/nftables/format.ts";
import type {
  ElementValue,
  Field,
  KeyPart,
  NftChain,
  NftElement,
  NftRule,
  NftSet,
  NftTable,
  NftVerdict,
  Scratch,
  Statement,
} from "../program/nftables/ruleset.ts";
import { builtIn } from "../program/statements.ts";
import type { Packet, Step } from "./trace.ts";

/** A packet inside one node: its header, its way so far, what conntrack knows, and the scratch numbers rules write. */
export interface PacketState {
  packet: Packet;
  /** The packet before connection tracking has translated it back, as the chains see it that come first. */
  readonly untracked?: Packet;
  readonly etherSource?: Mac;
  readonly input: string | undefined;
  readonly output: string | undefined;
  mark: number;
  priority: number;
  connectionMark: number;
  readonly connection: {
    readonly state: "new" | "established";
    readonly direction: "original" | "reply";
    /** The packet's header when the connection's first packet came in. */
    readonly original: Packet;
    /** `dnat`, `snat` once translated. */
    readonly status: readonly string[];
  };
}

export type Hook = "prerouting" | "input" | "forward" | "output" | "postrouting";

/** What the hook's chains decided. `changes` are translations in force from here on. */
export interface HookResult {
  readonly verdict: "accept" | "drop" | "reject";
  readonly rejectWith?: string;
  /** Why, in words, where it was not accepted and a rule or number says so. */
  readonly reason?: string;
  readonly steps: readonly Step[];
  /** New destination, where a nat chain chose one. */
  readonly dnat?: {
    readonly address: Address;
    readonly port: number | undefined;
    readonly origin: Origin;
    readonly service: Origin | undefined;
  };
  /** New source: an address, or `masquerade` for the output link's own. */
  readonly snat?: { readonly address: Address | "masquerade"; readonly origin: Origin };
  /** The origin of the last entry that decided something: an element, else the rule. */
  readonly origin: Origin | undefined;
}

/** What rules may ask of the node besides the packet. */
export interface NodeFacts {
  /** `fib … type`: what the routing tables say of an address. */
  addressType(address: Address): "local" | "unicast" | "broadcast" | "multicast" | "unreachable";
  /** A number below `below`; the walk explores every one. */
  choose(below: number): number;
}

/** Runs every base chain of a hook in the order of priorities. Families: the packet's own and `inet`, or `bridge`. */
export function runHook(
  tables: readonly NftTable[],
  layer: "ip" | "bridge",
  hook: Hook,
  state: PacketState,
  facts: NodeFacts,
): HookResult {
  const family = familyOf(state.packet.source);
  const bases = tables
    .filter((table) =>
      layer === "bridge"
        ? table.family === "bridge"
        : table.family === "inet" || table.family === (family === 4 ? "ip" : "ip6"),
    )
    .flatMap((table) => table.chains.filter((chain) => chain.base?.hook === hook).map((chain) => ({ table, chain })))
    .sort((a, b) => (a.chain.base?.priority ?? 0) - (b.chain.base?.priority ?? 0));
  const steps: Step[] = [];
  let dnat: HookResult["dnat"];
  let snat: HookResult["snat"];
  let origin: Origin | undefined;
  for (const { table, chain } of bases) {
    // Only a connection's first packet sees nat chains; conntrack translates the rest by itself.
    if (chain.base?.type === "nat" && state.connection.state !== "new") continue;
    const seen =
      state.untracked !== undefined && (chain.base?.priority ?? 0) < trackingPriority
        ? { ...state, packet: state.untracked }
        : state;
    const run: ChainRun = {
      table,
      layer,
      state: seen,
      facts,
      steps,
      origin: undefined,
      reason: undefined,
      service: undefined,
      depth: 0,
    };
    const end = runChain(chain, run) ?? { kind: chain.base?.policy ?? "accept" };
    origin = run.origin ?? origin;
    switch (end.kind) {
      case "accept":
        break;
      case "drop":
        return { verdict: "drop", steps, origin, ...because(run) };
      case "reject":
        return { verdict: "reject", rejectWith: end.with, steps, origin, ...because(run) };
      case "dnat":
        dnat = { ...end, service: run.service };
        break;
      case "snat":
        snat = end;
        break;
    }
  }
  return { verdict: "accept", steps, origin, ...(dnat && { dnat }), ...(snat && { snat }) };
}

function because({ reason }: ChainRun): Pick<HookResult, "reason"> {
  return reason === undefined ? {} : { reason };
}

/** linux/netfilter_ipv4.h: NF_IP_PRI_CONNTRACK. */
const trackingPriority = -200;

interface ChainRun {
  readonly table: NftTable;
  readonly layer: "ip" | "bridge";
  readonly state: PacketState;
  readonly facts: NodeFacts;
  readonly steps: Step[];
  /** Of the last element or rule that decided. */
  origin: Origin | undefined;
  /** What the last rule that decided is for, or what the number it found means. */
  reason: string | undefined;
  /** Of the element that sent the packet into a Service's chain. */
  service: Origin | undefined;
  depth: number;
}

type ChainEnd =
  | { readonly kind: "accept" | "drop" }
  | { readonly kind: "reject"; readonly with: string }
  | { readonly kind: "dnat"; readonly address: Address; readonly port: number | undefined; readonly origin: Origin }
  | { readonly kind: "snat"; readonly address: Address | "masquerade"; readonly origin: Origin };

/** What one statement does to the run: go on, leave the rule, or end. */
type Effect =
  | { readonly kind: "next" }
  | { readonly kind: "break" }
  | { readonly kind: "verdict"; readonly verdict: NftVerdict; readonly origin: Origin; readonly reason?: string }
  | { readonly kind: "end"; readonly end: ChainEnd };

const next: Effect = { kind: "next" };
const leave: Effect = { kind: "break" };

/** Undefined where the chain ends without a decision (its policy, or the caller, goes on). */
function runChain(chain: NftChain, run: ChainRun): ChainEnd | undefined {
  // nf_tables refuses more than 16 levels of jumps (NFT_JUMP_STACK_SIZE).
  if (run.depth > 16) throw new Error(`chain ${chain.name} of table ${run.table.name}: more than 16 jumps deep`);
  for (const rule of chain.rules) {
    const effect = runRule(rule, chain, run);
    switch (effect.kind) {
      case "next":
      case "break":
        break;
      case "end":
        return effect.end;
      case "verdict": {
        const { verdict } = effect;
        run.origin = effect.origin;
        run.reason = effect.reason ?? rule.comment;
        switch (verdict.kind) {
          case "accept":
          case "drop":
            return verdict;
          case "return":
            return undefined;
          case "jump":
          case "goto": {
            run.depth++;
            const end = runChain(chainNamed(run.table, verdict.chain), run);
            run.depth--;
            if (end !== undefined || verdict.kind === "goto") return end;
            break;
          }
        }
      }
    }
  }
  return undefined;
}

function runRule(rule: NftRule, chain: NftChain, run: ChainRun): Effect {
  let effect = next;
  for (const statement of rule.statements) {
    effect = runStatement(statement, rule, run);
    if (effect.kind !== "next") break;
  }
  if (effect.kind !== "break") {
    run.steps.push({
      kind: "rule",
      table: `${run.table.family} ${run.table.name}`,
      chain: chain.name,
      text: formatRule(run.table, rule),
      verdict: verdictText(effect),
      origin: effect.kind === "verdict" ? effect.origin : rule.origin,
    });
  }
  return effect;
}

function verdictText(effect: Effect): string {
  switch (effect.kind) {
    case "next":
    case "break":
      return "continue";
    case "verdict":
      return "chain" in effect.verdict ? `${effect.verdict.kind} ${effect.verdict.chain}` : effect.verdict.kind;
    case "end":
      return effect.end.kind;
  }
}

/** Random numbers below more than this are not explored one by one. */
const waysMax = 4096;

function runStatement(statement: Statement, rule: NftRule, run: ChainRun): Effect {
  switch (statement.kind) {
    case "match":
      return matches(statement, run) ? next : leave;
    case "lookup": {
      const element = findElement(setNamed(run.table, statement.set), keyValues(statement.key, run));
      if ((element !== undefined) !== (statement.op === "==")) return leave;
      if (element !== undefined) run.origin = element.origin;
      return next;
    }
    case "vmap": {
      const element = findElement(setNamed(run.table, statement.map), keyValues(statement.key, run));
      if (element?.data === undefined || !isVerdict(element.data)) return next;
      // A number's meaning answers to nobody: who gave the number decided.
      const origin = element.origin === builtIn ? (run.origin ?? element.origin) : element.origin;
      run.service = origin;
      const reason = statement.map === "choices" ? reasonOf(element) : undefined;
      return { kind: "verdict", verdict: element.data, origin, ...(reason !== undefined && { reason }) };
    }
    case "dnat": {
      const element = findElement(setNamed(run.table, statement.map), keyValues(statement.key, run));
      if (element?.data === undefined || isVerdict(element.data)) return leave;
      const [address = "", port] = element.data;
      return {
        kind: "end",
        end: { kind: "dnat", address, port: port === undefined ? undefined : Number(port), origin: element.origin },
      };
    }
    case "dnat-to":
      return {
        kind: "end",
        end: { kind: "dnat", address: statement.address, port: statement.port, origin: rule.origin },
      };
    case "redirect":
      return {
        kind: "end",
        end: { kind: "dnat", address: loopback(run.state.packet.source), port: statement.port, origin: rule.origin },
      };
    case "snat-to":
      return { kind: "end", end: { kind: "snat", address: statement.address, origin: rule.origin } };
    case "masquerade":
      return { kind: "end", end: { kind: "snat", address: "masquerade", origin: rule.origin } };
    case "set-mark":
      writeScratch(
        run.state,
        statement.target,
        value(statement.value),
        statement.keep === undefined ? 0 : value(statement.keep),
      );
      return next;
    case "set-mark-from": {
      const element = findElement(setNamed(run.table, statement.map), keyValues(statement.key, run));
      if (element?.data === undefined || isVerdict(element.data)) return leave;
      run.origin = element.origin;
      writeScratch(run.state, statement.target, value(element.data[0] ?? "0"), 0);
      return next;
    }
    case "set-mark-random":
      // A number among so many is a name for something (a client), not a choice of ways.
      writeScratch(run.state, statement.target, statement.below > waysMax ? 1 : run.facts.choose(statement.below), 0);
      return next;
    case "set-mark-copy":
      writeScratch(run.state, statement.target, readScratch(run.state, statement.from), 0);
      return next;
    case "counter":
    case "limit":
    case "log":
    case "nftrace":
    case "notrack":
    case "update":
      // They count, tell, or remember for a later packet; a new packet's fate does not hang on them.
      return next;
    case "reject":
      return { kind: "end", end: { kind: "reject", with: statement.with } };
    case "verdict":
      return { kind: "verdict", verdict: statement.verdict, origin: run.origin ?? rule.origin };
  }
}

/** Why a Service's packet gets no endpoint. */
export const noEndpointReasons = {
  refuse: "no endpoint is ready",
  drop: "no endpoint on this node, and traffic policy Local",
} as const;

/** Of a number that stands for no endpoint. */
function reasonOf({ key: [number = ""] }: NftElement): string | undefined {
  const outcome = parseOutcomeNumber(number);
  if (outcome === "refuse") return noEndpointReasons.refuse;
  if (outcome === "drop") return noEndpointReasons.drop;
  return undefined;
}

function matches(statement: Statement & { kind: "match" }, run: ChainRun): boolean {
  const found = fieldValues(statement.field, run);
  const mask = statement.mask;
  const hit =
    mask !== undefined && statement.field !== "tcp flags"
      ? found.some((text) =>
          statement.values.some((wanted) => (value(text) & value(mask)) >>> 0 === value(wanted) >>> 0),
        )
      : found.some((text) => statement.values.some((wanted) => valueMatches(wanted, text)));
  return hit === (statement.op === "==");
}

/** The values a field has now: several for fields that are sets of bits (`ct status`), none where the packet has no such field. */
function fieldValues(field: Field, run: ChainRun): readonly ElementValue[] {
  const { packet, connection } = run.state;
  const family = familyOf(packet.source);
  const onlyFamily = (wanted: Family, text: string): readonly string[] => (family === wanted ? [text] : []);
  const ports = packet.protocol !== "icmp";
  switch (field) {
    case "ip saddr":
      return onlyFamily(4, packet.source);
    case "ip daddr":
      return onlyFamily(4, packet.destination);
    case "ip6 saddr":
      return onlyFamily(6, packet.source);
    case "ip6 daddr":
      return onlyFamily(6, packet.destination);
    case "ip protocol":
      return onlyFamily(4, protocolName(packet));
    case "ip6 nexthdr":
      return onlyFamily(6, protocolName(packet));
    case "meta nfproto":
      return [family === 4 ? "ipv4" : "ipv6"];
    case "meta l4proto":
      return [protocolName(packet)];
    case "meta protocol":
    case "ether type":
      return [family === 4 ? "ip" : "ip6"];
    case "meta mark":
      return [`0x${run.state.mark.toString(16)}`];
    case "meta priority":
      return [
        run.state.priority === 0
          ? "none"
          : `${(run.state.priority >>> 16).toString(16)}:${(run.state.priority & 0xffff).toString(16)}`,
      ];
    case "ct mark":
      return [`0x${run.state.connectionMark.toString(16)}`];
    case "meta iifname":
      return [run.state.input ?? ""];
    case "meta oifname":
      return [run.state.output ?? ""];
    case "meta pkttype":
      return ["host"];
    case "th sport":
      return ports ? [String(packet.sourcePort)] : [];
    case "th dport":
      return ports ? [String(packet.destinationPort)] : [];
    case "tcp flags":
      return packet.protocol === "tcp"
        ? [connection.direction === "original" && connection.state === "new" ? "syn" : "ack"]
        : [];
    case "icmp type":
      return packet.protocol === "icmp" && family === 4
        ? [connection.direction === "original" ? "echo-request" : "echo-reply"]
        : [];
    case "icmpv6 type":
      return packet.protocol === "icmp" && family === 6
        ? [connection.direction === "original" ? "echo-request" : "echo-reply"]
        : [];
    case "icmpv6 target":
    case "arp operation":
    case "arp saddr ip":
    case "arp daddr ip":
    case "arp saddr ether":
      return [];
    case "ether saddr":
      return run.state.etherSource === undefined ? [] : [run.state.etherSource];
    case "ether daddr":
      return [];
    case "ct state":
      return run.layer === "ip" ? [connection.state] : [];
    case "ct status":
      return connection.status;
    case "ct direction":
      return [connection.direction];
    case "ct original ip saddr":
      return onlyFamily(4, connection.original.source);
    case "ct original ip daddr":
      return onlyFamily(4, connection.original.destination);
    case "ct original ip6 saddr":
      return onlyFamily(6, connection.original.source);
    case "ct original ip6 daddr":
      return onlyFamily(6, connection.original.destination);
    case "ct original proto-dst":
      return [String(connection.original.destinationPort)];
    case "fib daddr type":
    case "fib daddr . iif type":
      return [run.facts.addressType(packet.destination)];
    case "fib saddr type":
      return [run.facts.addressType(packet.source)];
    case "fib saddr . iif oif":
      return ["exists"];
  }
}

function keyValues(key: readonly KeyPart[], run: ChainRun): readonly ElementValue[] | undefined {
  const values: ElementValue[] = [];
  for (const part of key) {
    const text = part.kind === "random" ? String(run.facts.choose(part.below)) : fieldValues(part.field, run)[0];
    if (text === undefined) return undefined;
    values.push(text);
  }
  return values;
}

// Exact sets are indexed once per array of elements; interval sets are searched in order, their elements being disjoint.
const indexes = new WeakMap<readonly NftElement[], ReadonlyMap<string, NftElement>>();

/** The element of a set or map that a key meets. */
export function findElement(set: NftSet, key: readonly ElementValue[] | undefined): NftElement | undefined {
  if (key === undefined) return undefined;
  if (set.flags.includes("interval"))
    return set.elements.find((element) => element.key.every((wanted, i) => valueMatches(wanted, key[i] ?? "")));
  let index = indexes.get(set.elements);
  if (index === undefined) {
    index = new Map(set.elements.map((element) => [element.key.join(" . "), element]));
    indexes.set(set.elements, index);
  }
  return index.get(key.join(" . "));
}

/** Does a value meet what is wanted: equal, inside a prefix or range, or by an interface name's wildcard? */
export function valueMatches(wanted: ElementValue, found: ElementValue): boolean {
  if (wanted === found) return true;
  if (wanted.endsWith("*")) return found.startsWith(wanted.slice(0, -1));
  if (wanted.includes("/")) return isAddress(found) && contains(wanted, found);
  const dash = wanted.indexOf("-");
  if (dash > 0) return inRange(wanted.slice(0, dash), wanted.slice(dash + 1), found);
  return false;
}

function inRange(first: string, last: string, found: string): boolean {
  if (/^\d+$/.test(first) && /^\d+$/.test(last) && /^\d+$/.test(found))
    return Number(found) >= Number(first) && Number(found) <= Number(last);
  if (!isAddress(first) || !isAddress(last) || !isAddress(found) || familyOf(first) !== familyOf(found)) return false;
  const number = addressValue(found);
  return number >= addressValue(first) && number <= addressValue(last);
}

function isAddress(text: string): boolean {
  return text.includes(":") ? !/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/.test(text) : /^\d+\.\d+\.\d+\.\d+$/.test(text);
}

function readScratch(state: PacketState, from: Scratch): number {
  switch (from) {
    case "meta mark":
      return state.mark;
    case "meta priority":
      return state.priority;
    case "ct mark":
      return state.connectionMark;
  }
}

function writeScratch(state: PacketState, target: Scratch = "meta mark", number: number, keep: number): void {
  switch (target) {
    case "meta mark":
      state.mark = ((state.mark & keep) | number) >>> 0;
      return;
    case "meta priority":
      state.priority = ((state.priority & keep) | number) >>> 0;
      return;
    case "ct mark":
      state.connectionMark = ((state.connectionMark & keep) | number) >>> 0;
      return;
  }
}

/** A mark (`0x4000`), a class id (`1:a`, `none`) or a decimal number. */
function value(text: string): number {
  if (text === "none") return 0;
  const classId = /^([0-9a-f]+):([0-9a-f]+)$/i.exec(text);
  if (classId) return ((Number.parseInt(classId[1] ?? "0", 16) << 16) | Number.parseInt(classId[2] ?? "0", 16)) >>> 0;
  return Number(text) >>> 0;
}

function protocolName(packet: Packet): string {
  if (packet.protocol !== "icmp") return packet.protocol;
  return familyOf(packet.source) === 4 ? "icmp" : "ipv6-icmp";
}

function loopback(like: Address): Address {
  return familyOf(like) === 4 ? "127.0.0.1" : addressFromValue(6, 1n);
}

function isVerdict(data: NftVerdict | readonly ElementValue[]): data is NftVerdict {
  return "kind" in data;
}

function chainNamed(table: NftTable, name: string): NftChain {
  const chain = table.chains.find((candidate) => candidate.name === name);
  if (chain === undefined) throw new Error(`table ${table.family} ${table.name} has no chain ${name}`);
  return chain;
}

function setNamed(table: NftTable, name: string): NftSet {
  const set = table.sets.find((candidate) => candidate.name === name);
  if (set === undefined) throw new Error(`table ${table.family} ${table.name} has no set ${name}`);
  return set;
}
