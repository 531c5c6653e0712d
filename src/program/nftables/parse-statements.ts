// Statements of rules, keys and values: the inner half of nft's syntax.

import { addressFromBytes, parseAddress } from "../../ip/address.ts";
import { fieldText, fields } from "./fields.ts";
import type { TokenReader } from "./parse-tokens.ts";
import type { ElementValue, Field, KeyPart, NftVerdict, Scratch, Statement } from "./ruleset.ts";
import { types, type ValueType } from "./values.ts";

export function readCounts(it: TokenReader): void {
  if (!it.take("packets")) return;
  it.number("packets");
  it.expect("bytes");
  it.number("bytes");
}

export function readValue(it: TokenReader, type: ValueType): ElementValue {
  const word = it.word(`a value of type ${type}`);
  if (type === "inet_proto" && word === "ipv6-icmp") return "icmpv6";
  if (type === "mark" || type === "classid") return canonicalMark(word);
  if (type !== "nd_target") return word;
  const digits = /^0x([0-9a-f]{1,32})$/.exec(word)?.[1];
  if (digits === undefined) throw it.error(`no 128-bit number: ${word}`);
  const hex = digits.padStart(32, "0");
  return addressFromBytes(Uint8Array.from({ length: 16 }, (_, i) => Number.parseInt(hex.slice(2 * i, 2 * i + 2), 16)));
}

export function readStatement(it: TokenReader): Statement {
  const word = it.peek() ?? "";
  switch (word) {
    case "accept":
    case "drop":
    case "return":
    case "jump":
    case "goto":
      it.expect(word);
      return { kind: "verdict", verdict: readVerdict(it, word) };
    case "counter":
      it.expect("counter");
      readCounts(it);
      return { kind: "counter" };
    case "notrack":
      it.expect("notrack");
      return { kind: "notrack" };
    case "masquerade":
      it.expect("masquerade");
      return { kind: "masquerade", fullyRandom: it.take("fully-random") };
    case "redirect":
      return readRedirect(it);
    case "dnat":
    case "snat":
      return readTranslation(it, word);
    case "limit":
      return readLimit(it);
    case "log":
      return readLog(it);
    case "reject":
      return readReject(it);
    case "add":
    case "update":
    case "delete":
      return readUpdate(it, word);
    default:
      return readAssignment(it) ?? readSelection(it);
  }
}

export function readVerdict(it: TokenReader, word: string): NftVerdict {
  switch (word) {
    case "accept":
    case "drop":
    case "return":
      return { kind: word };
    case "jump":
    case "goto":
      return { kind: word, chain: it.word("a chain's name") };
    default:
      throw it.error(`no verdict: ${word}`);
  }
}

function readRedirect(it: TokenReader): Statement {
  it.expect("redirect");
  it.expect("to");
  const word = it.word("a port");
  if (!word.startsWith(":")) throw it.error(`no port: ${word}`);
  return { kind: "redirect", port: it.natural(word.slice(1), "a port") };
}

function readTranslation(it: TokenReader, kind: "dnat" | "snat"): Statement {
  it.expect(kind);
  it.oneOf(["ip", "ip6"]);
  it.expect("to");
  const target = parseTarget(it.peek() ?? "");
  if (target === undefined) {
    if (kind === "snat") throw it.unexpected("an address");
    const key = readKey(it);
    return { kind: "dnat", key, map: readMapReference(it) };
  }
  it.skip(1);
  if (kind === "dnat") return { kind: "dnat-to", ...target };
  if (target.port !== undefined) throw it.error("snat to a port");
  return { kind: "snat-to", address: target.address };
}

function readLimit(it: TokenReader): Statement {
  it.expect("limit");
  it.expect("rate");
  const rate = /^(\d+)\/second$/.exec(it.word("a rate"))?.[1];
  if (rate === undefined) throw it.error("a rate other than per second");
  let burst = 5;
  if (it.take("burst")) {
    burst = it.number("a burst");
    it.expect("packets");
  }
  return { kind: "limit", perSecond: it.natural(rate, "a rate"), burst };
}

function readLog(it: TokenReader): Statement {
  it.expect("log");
  it.expect("prefix");
  const prefix = it.quoted();
  it.expect("group");
  const group = it.number("a group");
  if (!it.take("snaplen")) return { kind: "log", group, prefix };
  return { kind: "log", group, prefix, bytesMax: it.number("a length") };
}

function readReject(it: TokenReader): Statement {
  it.expect("reject");
  // nft's listing leaves out what is usual.
  if (!it.take("with")) return { kind: "reject", with: "port-unreachable" };
  if (it.take("tcp")) {
    it.expect("reset");
    return { kind: "reject", with: "tcp-reset" };
  }
  it.oneOf(["icmp", "icmpv6", "icmpx"]);
  return { kind: "reject", with: it.oneOf(["port-unreachable", "admin-prohibited"] as const) };
}

function readUpdate(it: TokenReader, operation: "add" | "update" | "delete"): Statement {
  it.expect(operation);
  const set = readReference(it);
  it.expect("{");
  const key = readKey(it);
  const timeoutSeconds = it.take("timeout") ? it.seconds() : undefined;
  const data = it.take(":") ? readField(it) : undefined;
  it.expect("}");
  return {
    kind: "update",
    ...(operation === "update" ? {} : { operation }),
    set,
    key,
    ...(data === undefined ? {} : { data }),
    ...(timeoutSeconds === undefined ? {} : { timeoutSeconds }),
  };
}

/** `meta mark set …`; undefined where the next words are none. */
function readAssignment(it: TokenReader): Statement | undefined {
  const [one, two, three] = [it.peek(0), it.peek(1), it.peek(2)];
  if (three !== "set") return undefined;
  if (one === "meta" && two === "nftrace") {
    it.skip(3);
    it.expect("1");
    return { kind: "nftrace" };
  }
  const scratch = `${one} ${two}`;
  if (scratch !== "meta mark" && scratch !== "meta priority" && scratch !== "ct mark") return undefined;
  it.skip(3);
  const target: { target?: Scratch } = scratch === "meta mark" ? {} : { target: scratch };
  return readAssigned(it, scratch, target);
}

function readAssigned(it: TokenReader, scratch: Scratch, target: { target?: Scratch }): Statement {
  const type = scratch === "meta priority" ? "classid" : "mark";
  if (isConstant(it)) return { kind: "set-mark", ...target, value: readValue(it, type) };
  const key = readKey(it);
  const [part] = key;
  if (it.peek() === "map") return { kind: "set-mark-from", ...target, key, map: readMapReference(it) };
  if (part === undefined || key.length > 1) throw it.unexpected("map");
  if (part.kind === "random") return { kind: "set-mark-random", ...target, below: part.below };
  if (part.field === scratch && it.take("&")) {
    const keep = readValue(it, type);
    it.expect("|");
    return { kind: "set-mark", ...target, value: readValue(it, type), keep };
  }
  if (part.field !== "meta mark" && part.field !== "ct mark") throw it.error(`${part.field} is no mark`);
  return { kind: "set-mark-copy", ...target, from: part.field };
}

function isConstant(it: TokenReader): boolean {
  return /^(0x[0-9a-f]+|\d+|none|root|[0-9a-f]*:[0-9a-f]*)$/.test(it.peek() ?? "");
}

/** What begins with a key: a lookup, a vmap or a match. */
function readSelection(it: TokenReader): Statement {
  const key = readKey(it);
  if (it.take("vmap")) return { kind: "vmap", key, map: readReference(it) };
  if (it.peek()?.startsWith("@") === true) return { kind: "lookup", key, op: "==", set: readReference(it) };
  if (it.peek() === "!=" && it.peek(1)?.startsWith("@") === true) {
    it.expect("!=");
    return { kind: "lookup", key, op: "!=", set: readReference(it) };
  }
  const [part] = key;
  if (part?.kind !== "field" || key.length > 1) throw it.unexpected("a set");
  return readMatch(it, part.field);
}

function readMatch(it: TokenReader, field: Field): Statement {
  const { type } = fields[field];
  if (types[type].bits) return readBitMatch(it, field, type);
  if (it.take("&")) {
    const mask = readValue(it, type);
    const op = it.oneOf(["==", "!="] as const);
    return { kind: "match", field, op, values: [readValue(it, type)], mask };
  }
  const op = readOperator(it);
  if (!it.take("{")) return { kind: "match", field, op, values: [readValue(it, type)] };
  const values = it.list(",", () => readValue(it, type));
  it.expect("}");
  return { kind: "match", field, op, values };
}

function readBitMatch(it: TokenReader, field: Field, type: ValueType): Statement {
  const none = it.take("!");
  const op = none ? "!=" : readOperator(it);
  const values = it.list(",", () => readValue(it, type));
  if (!it.take("/")) return { kind: "match", field, op, values };
  const mask = it.list(",", () => readValue(it, type)).join(",");
  return { kind: "match", field, op, values, mask };
}

function readOperator(it: TokenReader): "==" | "!=" {
  if (it.take("!=")) return "!=";
  it.take("==");
  return "==";
}

function readKey(it: TokenReader): KeyPart[] {
  return it.list(".", () => readKeyPart(it));
}

export function readKeyPart(it: TokenReader): KeyPart {
  if (!it.take("numgen")) return { kind: "field", field: readField(it) };
  it.expect("random");
  it.expect("mod");
  return { kind: "random", below: it.number("a modulus") };
}

function readField(it: TokenReader): Field {
  for (const { words, field } of fieldWords)
    if (words.every((word, index) => it.peek(index) === word)) {
      it.skip(words.length);
      return field;
    }
  throw it.unexpected("a field");
}

function readMapReference(it: TokenReader): string {
  it.expect("map");
  return readReference(it);
}

function readReference(it: TokenReader): string {
  const word = it.word("a set");
  if (!word.startsWith("@") || word.length === 1) throw it.error(`no set: ${word}`);
  return word.slice(1);
}

/** Longest first: `fib daddr . iif type` before anything shorter. nft also knows `meta iifname`. */
const fieldWords: readonly { readonly words: readonly string[]; readonly field: Field }[] = (
  Object.keys(fields) as Field[]
)
  .flatMap((field) => [fieldText(field), field].map((text) => ({ words: text.split(" "), field })))
  .sort((a, b) => b.words.length - a.words.length);

// nft pads marks with zeros.
function canonicalMark(word: string): string {
  const digits = /^0x0*([0-9a-f]{1,8})$/.exec(word)?.[1];
  return digits === undefined ? word : `0x${digits}`;
}

function parseTarget(word: string): { address: string; port?: number } | undefined {
  const whole = parseAddress(word);
  if (whole !== undefined) return { address: whole };
  const match = /^(?:\[([^\]]+)\]|([0-9.]+)):(\d{1,5})$/.exec(word);
  const address = match === null ? undefined : parseAddress(match[1] ?? match[2] ?? "");
  return address === undefined ? undefined : { address, port: Number(match![3]) };
}
