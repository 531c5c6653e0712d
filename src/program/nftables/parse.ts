// The syntax of nft back to typed tables: the part of it that format.ts writes, and what `nft list ruleset` makes of that
// where the words are the same (times left, counts and names of priorities are read over).
//
// Not here: nft's whole language.

import type { Origin } from "../../kube/object.ts";
import { fields } from "./fields.ts";
import { readCounts, readKeyPart, readStatement, readValue, readVerdict } from "./parse-statements.ts";
import { TokenReader, lineEnd } from "./parse-tokens.ts";
import type {
  ElementValue,
  KeyType,
  NftChain,
  NftElement,
  NftFamily,
  NftRule,
  NftSet,
  NftTable,
  Statement,
} from "./ruleset.ts";

/** Reads one table. Every entry gets `origin`: the syntax has no place for it. Throws NftSyntaxError. */
export function parseTable(text: string, origin: Origin): NftTable {
  const reader = new TokenReader(text, origin);
  const table = readTable(reader);
  if (!reader.atEnd()) throw reader.unexpected("the end");
  return table;
}

/** Reads all tables of a ruleset. Throws NftSyntaxError. */
export function parseRuleset(text: string, origin: Origin): NftTable[] {
  const reader = new TokenReader(text, origin);
  const tables: NftTable[] = [];
  while (!reader.atEnd()) tables.push(readTable(reader));
  return tables;
}

function readTable(it: TokenReader): NftTable {
  it.skipLineEnds();
  it.expect("table");
  const family = it.oneOf<NftFamily>(["ip", "ip6", "inet", "bridge", "netdev"]);
  const name = it.word("a table's name");
  const chains: NftChain[] = [];
  const sets: NftSet[] = [];
  it.block(() => {
    const kind = it.oneOf(["chain", "set", "map"]);
    if (kind === "chain") chains.push(readChain(it));
    else sets.push(readSet(it));
  });
  return { family, name, chains, sets };
}

function readSet(it: TokenReader): NftSet {
  const name = it.word("a set's name");
  let key: readonly KeyType[] | undefined;
  let data: NftSet["data"];
  let flags: NftSet["flags"] = [];
  let elements: readonly NftElement[] = [];
  const rest: { timeoutSeconds?: number; size?: number; counter?: boolean } = {};
  it.block(() => {
    const word = it.word("a property of the set");
    switch (word) {
      case "type":
      case "typeof":
        ({ key, data } = word === "type" ? readTypes(it) : readTypesOf(it));
        return;
      case "flags":
        flags = readFlags(it);
        return;
      case "timeout":
        rest.timeoutSeconds = it.seconds();
        return;
      case "size":
        rest.size = it.number("a size");
        return;
      case "counter":
        rest.counter = true;
        return;
      case "elements":
        it.expect("=");
        if (key === undefined) throw it.error("elements before the set's type");
        elements = readElements(it, { key, ...(data === undefined ? {} : { data }) });
        return;
      default:
        throw it.error(`no property of a set: ${word}`);
    }
  });
  if (key === undefined) throw it.error(`set ${name} has no type`);
  return { name, key, ...(data === undefined ? {} : { data }), flags, ...rest, elements };
}

function readTypes(it: TokenReader): { key: readonly KeyType[]; data: NftSet["data"] } {
  const list = (): KeyType[] => it.list(".", () => readKeyType(it));
  const key = list();
  if (!it.take(":")) return { key, data: undefined };
  return { key, data: it.take("verdict") ? "verdict" : list() };
}

function readKeyType(it: TokenReader): KeyType {
  const word = it.word("a type");
  if (!keyTypes.has(word)) throw it.error(`no type of a set: ${word}`);
  return word as KeyType;
}

function readTypesOf(it: TokenReader): { key: readonly KeyType[]; data: NftSet["data"] } {
  const list = (): KeyType[] =>
    it.list(".", () => {
      const part = readKeyPart(it);
      const type = part.kind === "random" ? "index" : fields[part.field].type;
      if (!keyTypes.has(type)) throw it.error(`no set has keys of type ${type}`);
      return type as KeyType;
    });
  const key = list();
  if (!it.take(":")) return { key, data: undefined };
  return { key, data: it.take("verdict") ? "verdict" : list() };
}

function readFlags(it: TokenReader): NftSet["flags"] {
  return it.list(",", () => it.oneOf(["interval", "dynamic", "timeout"] as const));
}

function readElements(it: TokenReader, set: Pick<NftSet, "key" | "data">): NftElement[] {
  it.expect("{");
  const elements: NftElement[] = [];
  for (;;) {
    it.skipLineEnds();
    if (it.take("}")) return elements;
    elements.push(readElement(it, set));
    it.skipLineEnds();
    if (!it.take(",") && it.peek() !== "}") throw it.unexpected("a comma or }");
  }
}

function readElement(it: TokenReader, set: Pick<NftSet, "key" | "data">): NftElement {
  const key = readValues(it, set.key);
  const rest: { timeoutSeconds?: number; comment?: string } = {};
  for (;;) {
    if (it.take("timeout")) rest.timeoutSeconds = it.seconds();
    else if (it.take("expires")) it.word("a time");
    else if (it.take("counter")) readCounts(it);
    else if (it.take("comment")) rest.comment = it.quoted();
    else break;
  }
  if (set.data === undefined) return { key, ...rest, origin: it.origin };
  it.skipLineEnds();
  it.expect(":");
  const data = set.data === "verdict" ? readVerdict(it, it.word("a verdict")) : readValues(it, set.data);
  return { key, data, ...rest, origin: it.origin };
}

function readValues(it: TokenReader, key: readonly KeyType[]): ElementValue[] {
  return key.map((type, index) => {
    if (index > 0) it.expect(".");
    return readValue(it, type);
  });
}

function readChain(it: TokenReader): NftChain {
  const name = it.word("a chain's name");
  const rules: NftRule[] = [];
  const rest: { base?: NonNullable<NftChain["base"]>; comment?: string } = {};
  it.block(() => {
    if (it.peek() === "type") rest.base = readBase(it);
    else if (it.peek() === "comment" && rules.length === 0) {
      it.expect("comment");
      rest.comment = it.quoted();
    } else rules.push(readRule(it));
  });
  return { name, ...rest, rules };
}

function readBase(it: TokenReader): NonNullable<NftChain["base"]> {
  it.expect("type");
  const type = it.oneOf(["filter", "nat", "route"] as const);
  it.expect("hook");
  const hook = it.oneOf(["prerouting", "input", "forward", "output", "postrouting", "ingress", "egress"] as const);
  const devices = readDevices(it);
  it.expect("priority");
  const priority = readPriority(it);
  it.expect(";");
  let policy: "accept" | "drop" = "accept";
  if (it.take("policy")) {
    policy = it.oneOf(["accept", "drop"] as const);
    it.expect(";");
  }
  return { type, hook, priority, policy, ...(devices === undefined ? {} : { devices }) };
}

function readDevices(it: TokenReader): string[] | undefined {
  if (it.take("device")) return [it.word("a device")];
  if (!it.take("devices")) return undefined;
  it.expect("=");
  it.expect("{");
  const devices = it.list(",", () => it.word("a device"));
  it.expect("}");
  return devices;
}

// linux/netfilter_ipv4.h: NF_IP_PRI_*, under the names nft gives them.
function readPriority(it: TokenReader): number {
  const word = it.word("a priority");
  const named = Object.hasOwn(priorities, word) ? priorities[word] : undefined;
  if (named === undefined) return it.integer(word, "a priority");
  if (it.take("+")) return named + it.number("a priority");
  if (it.take("-")) return named - it.number("a priority");
  return named;
}

function readRule(it: TokenReader): NftRule {
  const statements: Statement[] = [];
  while (!isRuleEnd(it)) {
    if (it.take("comment")) {
      const comment = it.quoted();
      if (!isRuleEnd(it)) throw it.unexpected("the end of the rule");
      return { statements, comment, origin: it.origin };
    }
    statements.push(readStatement(it));
  }
  return { statements, origin: it.origin };
}

function isRuleEnd(it: TokenReader): boolean {
  const next = it.peek();
  return next === lineEnd || next === ";" || next === "}" || next === undefined;
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
