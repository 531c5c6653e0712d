// The syntax of nft back to typed tables: the part of it that format.ts writes, and what `nft list ruleset` makes of that
// where the words are the same (times left, counts and names of priorities are read over).
//
// Not here: nft's whole language.

import { addressFromBytes, parseAddress } from "../../ip/address.ts";
import type { Origin } from "../../kube/object.ts";
import { fieldText, fields } from "./fields.ts";
import type {
  ElementValue,
  Field,
  KeyPart,
  KeyType,
  NftChain,
  NftElement,
  NftFamily,
  NftRule,
  NftSet,
  NftTable,
  NftVerdict,
  Scratch,
  Statement,
} from "./ruleset.ts";
import { types, type ValueType } from "./values.ts";

/** Text that is no table, or none that format.ts could have written. */
export class NftSyntaxError extends Error {
  override readonly name = "NftSyntaxError";
  /** Counted from 1. */
  readonly line: number;
  constructor(message: string, line: number) {
    super(`nftables text, line ${line}: ${message}`);
    this.line = line;
  }
}

/** Reads one table. Every entry gets `origin`: the syntax has no place for it. Throws NftSyntaxError. */
export function parseTable(text: string, origin: Origin): NftTable {
  const reader = new Reader(text, origin);
  const table = reader.table();
  reader.end();
  return table;
}

/** Reads all tables of a ruleset. Throws NftSyntaxError. */
export function parseRuleset(text: string, origin: Origin): NftTable[] {
  const reader = new Reader(text, origin);
  const tables: NftTable[] = [];
  while (!reader.atEnd()) tables.push(reader.table());
  return tables;
}

interface Token {
  readonly text: string;
  readonly line: number;
  readonly quoted: boolean;
}

const lineEnd = "\n";

// A comma ends a word, but for the raw payload's; a colon does not (addresses, ports).
const tokenPattern = /"([^"\n]*)"|#[^\n]*|@th,\d+,\d+|[{},;]|\n|[^\s{},;"#]+|"/g;

function tokenize(text: string): Token[] {
  const tokens: Token[] = [];
  let line = 1;
  for (const match of text.matchAll(tokenPattern)) {
    const word = match[0];
    if (word === '"') throw new NftSyntaxError("a quotation mark without its other", line);
    if (!word.startsWith("#")) tokens.push({ text: match[1] ?? word, line, quoted: match[1] !== undefined });
    if (word === lineEnd) line++;
  }
  return tokens;
}

class Reader {
  readonly #tokens: readonly Token[];
  readonly #origin: Origin;
  #at = 0;

  constructor(text: string, origin: Origin) {
    this.#tokens = tokenize(text);
    this.#origin = origin;
  }

  atEnd(): boolean {
    this.#skipLineEnds();
    return this.#at >= this.#tokens.length;
  }

  end(): void {
    if (!this.atEnd()) throw this.#unexpected("the end");
  }

  table(): NftTable {
    this.#skipLineEnds();
    this.#expect("table");
    const family = this.#oneOf<NftFamily>(["ip", "ip6", "inet", "bridge", "netdev"]);
    const name = this.#word("a table's name");
    const chains: NftChain[] = [];
    const sets: NftSet[] = [];
    this.#block(() => {
      const kind = this.#oneOf(["chain", "set", "map"]);
      if (kind === "chain") chains.push(this.#chain());
      else sets.push(this.#set());
    });
    return { family, name, chains, sets };
  }

  // ------------------------------------------------------------ sets

  #set(): NftSet {
    const name = this.#word("a set's name");
    let key: readonly KeyType[] | undefined;
    let data: NftSet["data"];
    let flags: NftSet["flags"] = [];
    let elements: readonly NftElement[] = [];
    const rest: { timeoutSeconds?: number; size?: number; counter?: boolean } = {};
    this.#block(() => {
      const word = this.#word("a property of the set");
      switch (word) {
        case "type":
        case "typeof":
          ({ key, data } = word === "type" ? this.#types() : this.#typesOf());
          return;
        case "flags":
          flags = this.#flags();
          return;
        case "timeout":
          rest.timeoutSeconds = this.#seconds();
          return;
        case "size":
          rest.size = this.#number("a size");
          return;
        case "counter":
          rest.counter = true;
          return;
        case "elements":
          this.#expect("=");
          if (key === undefined) throw this.#error("elements before the set's type");
          elements = this.#elements({ key, ...(data === undefined ? {} : { data }) });
          return;
        default:
          throw this.#error(`no property of a set: ${word}`);
      }
    });
    if (key === undefined) throw this.#error(`set ${name} has no type`);
    return { name, key, ...(data === undefined ? {} : { data }), flags, ...rest, elements };
  }

  #types(): { key: readonly KeyType[]; data: NftSet["data"] } {
    const list = (): KeyType[] => this.#list(".", () => this.#keyType());
    const key = list();
    if (!this.#take(":")) return { key, data: undefined };
    return { key, data: this.#take("verdict") ? "verdict" : list() };
  }

  #keyType(): KeyType {
    const word = this.#word("a type");
    const nameable = Object.keys(types).filter((type): type is KeyType => keyTypes.has(type));
    const found = nameable.find((type) => type === word);
    if (found === undefined) throw this.#error(`no type of a set: ${word}`);
    return found;
  }

  #typesOf(): { key: readonly KeyType[]; data: NftSet["data"] } {
    const list = (): KeyType[] =>
      this.#list(".", () => {
        const part = this.#keyPart();
        const type = part.kind === "random" ? "index" : fields[part.field].type;
        if (!keyTypes.has(type)) throw this.#error(`no set has keys of type ${type}`);
        return type as KeyType;
      });
    const key = list();
    if (!this.#take(":")) return { key, data: undefined };
    return { key, data: this.#take("verdict") ? "verdict" : list() };
  }

  #flags(): NftSet["flags"] {
    return this.#list(",", () => this.#oneOf(["interval", "dynamic", "timeout"] as const));
  }

  #elements(set: Pick<NftSet, "key" | "data">): NftElement[] {
    this.#expect("{");
    const elements: NftElement[] = [];
    for (;;) {
      this.#skipLineEnds();
      if (this.#take("}")) return elements;
      elements.push(this.#element(set));
      this.#skipLineEnds();
      if (!this.#take(",") && this.#peek() !== "}") throw this.#unexpected("a comma or }");
    }
  }

  #element(set: Pick<NftSet, "key" | "data">): NftElement {
    const key = this.#values(set.key);
    const rest: { timeoutSeconds?: number; comment?: string } = {};
    for (;;) {
      if (this.#take("timeout")) rest.timeoutSeconds = this.#seconds();
      else if (this.#take("expires")) this.#word("a time");
      else if (this.#take("counter")) this.#counts();
      else if (this.#take("comment")) rest.comment = this.#quoted();
      else break;
    }
    if (set.data === undefined) return { key, ...rest, origin: this.#origin };
    this.#skipLineEnds();
    this.#expect(":");
    const data = set.data === "verdict" ? this.#verdict(this.#word("a verdict")) : this.#values(set.data);
    return { key, data, ...rest, origin: this.#origin };
  }

  #counts(): void {
    if (!this.#take("packets")) return;
    this.#number("packets");
    this.#expect("bytes");
    this.#number("bytes");
  }

  #values(key: readonly KeyType[]): ElementValue[] {
    return key.map((type, index) => {
      if (index > 0) this.#expect(".");
      return this.#value(type);
    });
  }

  #value(type: ValueType): ElementValue {
    const word = this.#word(`a value of type ${type}`);
    if (type === "inet_proto" && word === "ipv6-icmp") return "icmpv6";
    if (type === "mark" || type === "classid") return canonicalMark(word);
    if (type !== "nd_target") return word;
    const digits = /^0x([0-9a-f]{1,32})$/.exec(word)?.[1];
    if (digits === undefined) throw this.#error(`no 128-bit number: ${word}`);
    const hex = digits.padStart(32, "0");
    return addressFromBytes(
      Uint8Array.from({ length: 16 }, (_, i) => Number.parseInt(hex.slice(2 * i, 2 * i + 2), 16)),
    );
  }

  // ------------------------------------------------------------ chains

  #chain(): NftChain {
    const name = this.#word("a chain's name");
    const rules: NftRule[] = [];
    const rest: { base?: NonNullable<NftChain["base"]>; comment?: string } = {};
    this.#block(() => {
      if (this.#peek() === "type") rest.base = this.#base();
      else if (this.#peek() === "comment" && rules.length === 0) {
        this.#expect("comment");
        rest.comment = this.#quoted();
      } else rules.push(this.#rule());
    });
    return { name, ...rest, rules };
  }

  #base(): NonNullable<NftChain["base"]> {
    this.#expect("type");
    const type = this.#oneOf(["filter", "nat", "route"] as const);
    this.#expect("hook");
    const hook = this.#oneOf(["prerouting", "input", "forward", "output", "postrouting", "ingress", "egress"] as const);
    const devices = this.#devices();
    this.#expect("priority");
    const priority = this.#priority();
    this.#expect(";");
    let policy: "accept" | "drop" = "accept";
    if (this.#take("policy")) {
      policy = this.#oneOf(["accept", "drop"] as const);
      this.#expect(";");
    }
    return { type, hook, priority, policy, ...(devices === undefined ? {} : { devices }) };
  }

  #devices(): string[] | undefined {
    if (this.#take("device")) return [this.#word("a device")];
    if (!this.#take("devices")) return undefined;
    this.#expect("=");
    this.#expect("{");
    const devices = this.#list(",", () => this.#word("a device"));
    this.#expect("}");
    return devices;
  }

  // linux/netfilter_ipv4.h: NF_IP_PRI_*, under the names nft gives them.
  #priority(): number {
    const word = this.#word("a priority");
    const named = priorities[word];
    if (named === undefined) return this.#integer(word, "a priority");
    if (this.#take("+")) return named + this.#number("a priority");
    if (this.#take("-")) return named - this.#number("a priority");
    return named;
  }

  #rule(): NftRule {
    const statements: Statement[] = [];
    while (!this.#atRuleEnd()) {
      if (this.#take("comment")) {
        const comment = this.#quoted();
        if (!this.#atRuleEnd()) throw this.#unexpected("the end of the rule");
        return { statements, comment, origin: this.#origin };
      }
      statements.push(this.#statement());
    }
    return { statements, origin: this.#origin };
  }

  #atRuleEnd(): boolean {
    const next = this.#peek();
    return next === lineEnd || next === ";" || next === "}" || next === undefined;
  }

  // ------------------------------------------------------------ statements

  #statement(): Statement {
    const word = this.#peek() ?? "";
    switch (word) {
      case "accept":
      case "drop":
      case "return":
      case "jump":
      case "goto":
        this.#expect(word);
        return { kind: "verdict", verdict: this.#verdict(word) };
      case "counter":
        this.#expect("counter");
        this.#counts();
        return { kind: "counter" };
      case "notrack":
        this.#expect("notrack");
        return { kind: "notrack" };
      case "masquerade":
        this.#expect("masquerade");
        return { kind: "masquerade", fullyRandom: this.#take("fully-random") };
      case "redirect":
        return this.#redirect();
      case "dnat":
      case "snat":
        return this.#translation(word);
      case "limit":
        return this.#limit();
      case "log":
        return this.#log();
      case "reject":
        return this.#reject();
      case "add":
      case "update":
      case "delete":
        return this.#update(word);
      default:
        return this.#assignment() ?? this.#selection();
    }
  }

  #verdict(word: string): NftVerdict {
    switch (word) {
      case "accept":
      case "drop":
      case "return":
        return { kind: word };
      case "jump":
      case "goto":
        return { kind: word, chain: this.#word("a chain's name") };
      default:
        throw this.#error(`no verdict: ${word}`);
    }
  }

  #redirect(): Statement {
    this.#expect("redirect");
    this.#expect("to");
    const word = this.#word("a port");
    if (!word.startsWith(":")) throw this.#error(`no port: ${word}`);
    return { kind: "redirect", port: this.#natural(word.slice(1), "a port") };
  }

  #translation(kind: "dnat" | "snat"): Statement {
    this.#expect(kind);
    this.#oneOf(["ip", "ip6"]);
    this.#expect("to");
    const target = parseTarget(this.#peek() ?? "");
    if (target === undefined) {
      if (kind === "snat") throw this.#unexpected("an address");
      const key = this.#key();
      return { kind: "dnat", key, map: this.#mapReference() };
    }
    this.#at++;
    if (kind === "dnat") return { kind: "dnat-to", ...target };
    if (target.port !== undefined) throw this.#error("snat to a port");
    return { kind: "snat-to", address: target.address };
  }

  #limit(): Statement {
    this.#expect("limit");
    this.#expect("rate");
    const rate = /^(\d+)\/second$/.exec(this.#word("a rate"))?.[1];
    if (rate === undefined) throw this.#error("a rate other than per second");
    let burst = 5;
    if (this.#take("burst")) {
      burst = this.#number("a burst");
      this.#expect("packets");
    }
    return { kind: "limit", perSecond: this.#natural(rate, "a rate"), burst };
  }

  #log(): Statement {
    this.#expect("log");
    this.#expect("prefix");
    const prefix = this.#quoted();
    this.#expect("group");
    const group = this.#number("a group");
    if (!this.#take("snaplen")) return { kind: "log", group, prefix };
    return { kind: "log", group, prefix, bytesMax: this.#number("a length") };
  }

  #reject(): Statement {
    this.#expect("reject");
    // nft's listing leaves out what is usual.
    if (!this.#take("with")) return { kind: "reject", with: "port-unreachable" };
    if (this.#take("tcp")) {
      this.#expect("reset");
      return { kind: "reject", with: "tcp-reset" };
    }
    this.#oneOf(["icmp", "icmpv6", "icmpx"]);
    return { kind: "reject", with: this.#oneOf(["port-unreachable", "admin-prohibited"] as const) };
  }

  #update(operation: "add" | "update" | "delete"): Statement {
    this.#expect(operation);
    const set = this.#reference();
    this.#expect("{");
    const key = this.#key();
    const timeoutSeconds = this.#take("timeout") ? this.#seconds() : undefined;
    const data = this.#take(":") ? this.#field() : undefined;
    this.#expect("}");
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
  #assignment(): Statement | undefined {
    const [one, two, three] = [this.#peek(0), this.#peek(1), this.#peek(2)];
    if (three !== "set") return undefined;
    if (one === "meta" && two === "nftrace") {
      this.#at += 3;
      this.#expect("1");
      return { kind: "nftrace" };
    }
    const scratch = `${one} ${two}`;
    if (scratch !== "meta mark" && scratch !== "meta priority" && scratch !== "ct mark") return undefined;
    this.#at += 3;
    const target: { target?: Scratch } = scratch === "meta mark" ? {} : { target: scratch };
    return this.#assigned(scratch, target);
  }

  #assigned(scratch: Scratch, target: { target?: Scratch }): Statement {
    const type = scratch === "meta priority" ? "classid" : "mark";
    if (this.#atConstant()) return { kind: "set-mark", ...target, value: this.#value(type) };
    const key = this.#key();
    const [part] = key;
    if (this.#peek() === "map") return { kind: "set-mark-from", ...target, key, map: this.#mapReference() };
    if (part === undefined || key.length > 1) throw this.#unexpected("map");
    if (part.kind === "random") return { kind: "set-mark-random", ...target, below: part.below };
    if (part.field === scratch && this.#take("&")) {
      const keep = this.#value(type);
      this.#expect("|");
      return { kind: "set-mark", ...target, value: this.#value(type), keep };
    }
    if (part.field !== "meta mark" && part.field !== "ct mark") throw this.#error(`${part.field} is no mark`);
    return { kind: "set-mark-copy", ...target, from: part.field };
  }

  #atConstant(): boolean {
    return /^(0x[0-9a-f]+|\d+|none|root|[0-9a-f]*:[0-9a-f]*)$/.test(this.#peek() ?? "");
  }

  /** What begins with a key: a lookup, a vmap or a match. */
  #selection(): Statement {
    const key = this.#key();
    if (this.#take("vmap")) return { kind: "vmap", key, map: this.#reference() };
    if (this.#peek()?.startsWith("@") === true) return { kind: "lookup", key, op: "==", set: this.#reference() };
    if (this.#peek() === "!=" && this.#peek(1)?.startsWith("@") === true) {
      this.#expect("!=");
      return { kind: "lookup", key, op: "!=", set: this.#reference() };
    }
    const [part] = key;
    if (part?.kind !== "field" || key.length > 1) throw this.#unexpected("a set");
    return this.#match(part.field);
  }

  #match(field: Field): Statement {
    const { type } = fields[field];
    if (types[type].bits) return this.#bitMatch(field, type);
    if (this.#take("&")) {
      const mask = this.#value(type);
      const op = this.#oneOf(["==", "!="] as const);
      return { kind: "match", field, op, values: [this.#value(type)], mask };
    }
    const op = this.#operator();
    if (!this.#take("{")) return { kind: "match", field, op, values: [this.#value(type)] };
    const values = this.#list(",", () => this.#value(type));
    this.#expect("}");
    return { kind: "match", field, op, values };
  }

  #bitMatch(field: Field, type: ValueType): Statement {
    const none = this.#take("!");
    const op = none ? "!=" : this.#operator();
    const values = this.#list(",", () => this.#value(type));
    if (!this.#take("/")) return { kind: "match", field, op, values };
    const mask = this.#list(",", () => this.#value(type)).join(",");
    return { kind: "match", field, op, values, mask };
  }

  #operator(): "==" | "!=" {
    if (this.#take("!=")) return "!=";
    this.#take("==");
    return "==";
  }

  // ------------------------------------------------------------ keys

  #key(): KeyPart[] {
    return this.#list(".", () => this.#keyPart());
  }

  #keyPart(): KeyPart {
    if (!this.#take("numgen")) return { kind: "field", field: this.#field() };
    this.#expect("random");
    this.#expect("mod");
    return { kind: "random", below: this.#number("a modulus") };
  }

  #field(): Field {
    for (const { words, field } of fieldWords)
      if (words.every((word, index) => this.#peek(index) === word)) {
        this.#at += words.length;
        return field;
      }
    throw this.#unexpected("a field");
  }

  #mapReference(): string {
    this.#expect("map");
    return this.#reference();
  }

  #reference(): string {
    const word = this.#word("a set");
    if (!word.startsWith("@") || word.length === 1) throw this.#error(`no set: ${word}`);
    return word.slice(1);
  }

  // ------------------------------------------------------------ tokens

  #peek(ahead: number = 0): string | undefined {
    const token = this.#tokens[this.#at + ahead];
    return token === undefined || token.quoted ? undefined : token.text;
  }

  #take(text: string): boolean {
    if (this.#peek() !== text) return false;
    this.#at++;
    return true;
  }

  #expect(text: string): void {
    if (!this.#take(text)) throw this.#unexpected(text);
  }

  #oneOf<const T extends string>(choices: readonly T[]): T {
    const found = choices.find((choice) => this.#peek() === choice);
    if (found === undefined) throw this.#unexpected(choices.join(" or "));
    this.#at++;
    return found;
  }

  #word(what: string): string {
    const token = this.#tokens[this.#at];
    if (token === undefined || (!token.quoted && /^[\n{},;]$/.test(token.text))) throw this.#unexpected(what);
    this.#at++;
    return token.text;
  }

  #quoted(): string {
    const token = this.#tokens[this.#at];
    if (token?.quoted !== true) throw this.#unexpected("text in quotation marks");
    this.#at++;
    return token.text;
  }

  #number(what: string): number {
    return this.#natural(this.#word(what), what);
  }

  #natural(word: string, what: string): number {
    if (!/^\d{1,15}$/.test(word)) throw this.#error(`${word} where ${what} is expected`);
    return Number(word);
  }

  #integer(word: string, what: string): number {
    if (!/^-?\d{1,10}$/.test(word)) throw this.#error(`${word} where ${what} is expected`);
    return Number(word);
  }

  /** `10800s`, `3h`, `1d2h3m4s`. */
  #seconds(): number {
    const word = this.#word("a time");
    const match = /^(?:(\d{1,6})d)?(?:(\d{1,9})h)?(?:(\d{1,9})m)?(?:(\d{1,12})s)?$/.exec(word);
    if (match === null || word === "") throw this.#error(`no time in whole seconds: ${word}`);
    const [days, hours, minutes, seconds] = match.slice(1).map((part) => Number(part ?? 0));
    return days! * 86400 + hours! * 3600 + minutes! * 60 + seconds!;
  }

  #list<T>(separator: string, read: () => T): T[] {
    const list = [read()];
    while (this.#take(separator)) {
      this.#skipLineEndsIn(separator);
      list.push(read());
    }
    return list;
  }

  #skipLineEndsIn(separator: string): void {
    if (separator === ",") this.#skipLineEnds();
  }

  /** `{`, entries each on lines of their own, `}`. */
  #block(entry: () => void): void {
    this.#expect("{");
    for (;;) {
      while (this.#take(lineEnd) || this.#take(";"));
      if (this.#take("}")) return;
      entry();
    }
  }

  #skipLineEnds(): void {
    while (this.#take(lineEnd));
  }

  #unexpected(wanted: string): NftSyntaxError {
    const token = this.#tokens[this.#at];
    const found = token === undefined ? "the end" : token.text === lineEnd ? "the end of the line" : token.text;
    return this.#error(`${found} where ${wanted} is expected`);
  }

  #error(message: string): NftSyntaxError {
    const token = this.#tokens[this.#at] ?? this.#tokens.at(-1);
    return new NftSyntaxError(message, token?.line ?? 1);
  }
}

const keyTypes: ReadonlySet<string> = new Set<KeyType>([
  "ipv4_addr",
  "ipv6_addr",
  "ether_addr",
  "ether_type",
  "inet_proto",
  "inet_service",
  "mark",
  "classid",
  "ifname",
  "icmp_type",
  "icmpv6_type",
  "index",
  "nd_target",
]);

const priorities: Readonly<Record<string, number>> = {
  raw: -300,
  mangle: -150,
  dstnat: -100,
  filter: 0,
  security: 50,
  srcnat: 100,
};

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
