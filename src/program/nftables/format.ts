// Tables, rules and elements in the syntax of nft 1.0.6: what `nft -f` reads, close to what `nft list ruleset` prints.
// parse.ts reads it back: parseTable(formatTable(x), …) equals x but for origins, which have no place in the syntax.
//
// Invariant: encodeTable(x) and `nft -f` of formatTable(x) leave the same in the kernel.

import { addressBytes, familyOf } from "../../ip/address.ts";
import type { Origin } from "../../kube/object.ts";
import { isNameless } from "./encode-set.ts";
import { fieldText, fields } from "./fields.ts";
import type {
  ElementValue,
  KeyPart,
  KeyType,
  NftChain,
  NftElement,
  NftRule,
  NftSet,
  NftTable,
  NftVerdict,
  Statement,
} from "./ruleset.ts";
import { typeofText } from "./typeof.ts";
import { types, type ValueType } from "./values.ts";

export interface FormatOptions {
  /** Adds, as a comment behind each rule and element, the object that caused it. */
  readonly annotate?: (origin: Origin) => string;
}

/** The whole table, chains and sets in the order they have. Ends with a line end. */
export function formatTable(table: NftTable, options: FormatOptions = {}): string {
  const parts = [
    ...table.sets.map((set) => formatSet(set, options)),
    ...table.chains.map((chain) => formatChain(table, chain, options)),
  ];
  return `table ${table.family} ${table.name} {\n${parts.join("\n")}}\n`;
}

/** One rule on one line. The table says which family a map translates to. */
export function formatRule(table: NftTable, rule: NftRule): string {
  const comment = rule.comment === undefined ? [] : [`comment ${quote(rule.comment)}`];
  return [...rule.statements.map((statement) => formatStatement(table, statement)), ...comment].join(" ");
}

/** `10.96.0.1 . tcp . 80 : goto pick-2` */
export function formatElement(set: NftSet, element: NftElement): string {
  const words = [formatKey(set.key, element.key)];
  if (element.timeoutSeconds !== undefined) words.push(`timeout ${element.timeoutSeconds}s`);
  if (element.comment !== undefined) words.push(`comment ${quote(element.comment)}`);
  if (element.data !== undefined) words.push(`: ${formatData(set, element.data)}`);
  return words.join(" ");
}

/** `goto pick-2` */
export function formatVerdict(verdict: NftVerdict): string {
  return "chain" in verdict ? `${verdict.kind} ${verdict.chain}` : verdict.kind;
}

function formatSet(set: NftSet, options: FormatOptions): string {
  const lines = [typeLine(set)];
  if (set.size !== undefined) lines.push(`size ${set.size}`);
  if (set.flags.length > 0) lines.push(`flags ${set.flags.join(",")}`);
  if (set.timeoutSeconds !== undefined) lines.push(`timeout ${set.timeoutSeconds}s`);
  if (set.counter === true) lines.push("counter");
  if (set.elements.length > 0) lines.push(elementLines(set, options));
  return `\t${set.data === undefined ? "set" : "map"} ${set.name} {\n${lines.map((line) => `\t\t${line}\n`).join("")}\t}\n`;
}

function typeLine(set: NftSet): string {
  const nameless = isNameless(set);
  const words = (key: readonly KeyType[]): string =>
    key.map((type) => (nameless ? typeofText(type) : type)).join(" . ");
  const data = set.data === undefined ? "" : ` : ${set.data === "verdict" ? "verdict" : words(set.data)}`;
  return `${nameless ? "typeof" : "type"} ${words(set.key)}${data}`;
}

function elementLines(set: NftSet, options: FormatOptions): string {
  const last = set.elements.length - 1;
  const lines = set.elements.map((element, index) => {
    const note = options.annotate === undefined ? "" : `  # ${oneLine(options.annotate(element.origin))}`;
    return `${formatElement(set, element)}${index === last ? "" : ","}${note}`;
  });
  return `elements = {\n\t\t\t${lines.join("\n\t\t\t")}\n\t\t}`;
}

function formatChain(table: NftTable, chain: NftChain, options: FormatOptions): string {
  const lines: string[] = [];
  if (chain.comment !== undefined) lines.push(`comment ${quote(chain.comment)}`);
  const { base } = chain;
  if (base !== undefined) {
    const names = base.devices?.map(quote) ?? [];
    const devices =
      names.length === 0 ? "" : names.length === 1 ? ` device ${names[0]}` : ` devices = { ${names.join(", ")} }`;
    lines.push(`type ${base.type} hook ${base.hook}${devices} priority ${base.priority}; policy ${base.policy};`);
  }
  for (const rule of chain.rules) {
    const note = options.annotate === undefined ? "" : `  # ${oneLine(options.annotate(rule.origin))}`;
    lines.push(`${formatRule(table, rule)}${note}`);
  }
  return `\tchain ${chain.name} {\n${lines.map((line) => `\t\t${line}\n`).join("")}\t}\n`;
}

function formatStatement(table: NftTable, it: Statement): string {
  switch (it.kind) {
    case "match":
      return formatMatch(it);
    case "lookup":
      return `${formatParts(it.key)} ${it.op === "==" ? "" : "!= "}@${it.set}`;
    case "vmap":
      return `${formatParts(it.key)} vmap @${it.map}`;
    case "dnat":
      return `dnat ${translatedFamily(table, it.map)} to ${formatParts(it.key)} map @${it.map}`;
    case "dnat-to":
      return `dnat ${formatTarget(it.address, it.port)}`;
    case "snat-to":
      return `snat ${formatTarget(it.address, undefined)}`;
    case "redirect":
      return `redirect to :${it.port}`;
    case "masquerade":
      return it.fullyRandom ? "masquerade fully-random" : "masquerade";
    case "set-mark": {
      const target = it.target ?? "meta mark";
      const kept = it.keep === undefined ? "" : `${target} & ${it.keep} | `;
      return `${target} set ${kept}${it.value}`;
    }
    case "set-mark-from":
      return `${it.target ?? "meta mark"} set ${formatParts(it.key)} map @${it.map}`;
    case "set-mark-random":
      return `${it.target ?? "meta mark"} set numgen random mod ${it.below}`;
    case "set-mark-copy":
      return `${it.target ?? "meta mark"} set ${it.from}`;
    case "update": {
      const timeout = it.timeoutSeconds === undefined ? "" : ` timeout ${it.timeoutSeconds}s`;
      const data = it.data === undefined ? "" : ` : ${fieldText(it.data)}`;
      return `${it.operation ?? "update"} @${it.set} { ${formatParts(it.key)}${timeout}${data} }`;
    }
    case "counter":
      return "counter";
    case "limit":
      return `limit rate ${it.perSecond}/second burst ${it.burst} packets`;
    case "log":
      return `log prefix ${quote(it.prefix)} group ${it.group}${it.bytesMax === undefined ? "" : ` snaplen ${it.bytesMax}`}`;
    case "reject":
      return formatReject(table, it.with);
    case "notrack":
      return "notrack";
    case "nftrace":
      return "meta nftrace set 1";
    case "verdict":
      return formatVerdict(it.verdict);
  }
}

function formatMatch(it: Statement & { kind: "match" }): string {
  const { type } = fields[it.field];
  const field = fieldText(it.field);
  const values = it.values.map((value) => formatValue(type, value));
  const not = it.op === "==" ? "" : "!= ";
  if (types[type].bits) {
    if (it.mask !== undefined) return `${field} ${not}${values.join(",")} / ${it.mask}`;
    return `${field} ${it.op === "==" ? "" : "! "}${values.join(",")}`;
  }
  if (it.mask !== undefined) return `${field} & ${it.mask} ${it.op} ${values[0]}`;
  return `${field} ${not}${values.length === 1 ? values[0] : `{ ${values.join(", ")} }`}`;
}

function formatReject(table: NftTable, reason: "tcp-reset" | "port-unreachable" | "admin-prohibited"): string {
  if (reason === "tcp-reset") return "reject with tcp reset";
  const protocol = table.family === "ip" ? "icmp" : table.family === "ip6" ? "icmpv6" : "icmpx";
  return `reject with ${protocol} ${reason}`;
}

function formatTarget(address: string, port: number | undefined): string {
  if (familyOf(address) === 4) return `ip to ${address}${port === undefined ? "" : `:${port}`}`;
  return `ip6 to ${port === undefined ? address : `[${address}]:${port}`}`;
}

function translatedFamily(table: NftTable, map: string): "ip" | "ip6" {
  const data = table.sets.find((set) => set.name === map)?.data;
  return data !== undefined && data !== "verdict" && data[0] === "ipv6_addr" ? "ip6" : "ip";
}

function formatParts(key: readonly KeyPart[]): string {
  return key
    .map((part) => (part.kind === "random" ? `numgen random mod ${part.below}` : fieldText(part.field)))
    .join(" . ");
}

function formatKey(key: readonly KeyType[], values: readonly ElementValue[]): string {
  return values.map((value, index) => formatValue(key[index] ?? "index", value)).join(" . ");
}

function formatData(set: NftSet, data: NonNullable<NftElement["data"]>): string {
  if ("kind" in data) return formatVerdict(data);
  return set.data === undefined || set.data === "verdict" ? data.join(" . ") : formatKey(set.data, data);
}

function formatValue(type: ValueType, value: ElementValue): string {
  if (type === "ifname") return quote(value);
  // The name that /etc/protocols has for it.
  if (type === "inet_proto" && value === "icmpv6") return "ipv6-icmp";
  if (type !== "nd_target") return value;
  const hex = Array.from(addressBytes(value), (byte) => byte.toString(16).padStart(2, "0")).join("");
  return `0x${hex}`;
}

function quote(text: string): string {
  return `"${text}"`;
}

function oneLine(text: string): string {
  return text.replaceAll("\n", " ");
}
