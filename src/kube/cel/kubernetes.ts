// The functions that Kubernetes adds: lists, regular expressions, URLs, quantities, addresses, formats, versions
// (apiserver pkg/cel/library).
//
// Not here: the authorizer (admission/expressions.ts), which needs a server.

import { addressValue, familyOf, parseAddress } from "../../ip/address.ts";
import { dnsLabel, dnsSubdomain, labelValue, qualifiedName } from "../formats.ts";
import { decodeBase64 } from "../base64.ts";
import { exactQuantity, nano } from "../quantity.ts";
import { checkedDuration, checkedInt, checkedUint } from "./evaluate.ts";
import { declare, EvaluationError, type Meter, type Overload } from "./environment.ts";
import { chargePattern, opaque, patternOf } from "./standard.ts";
import { parseTimestamp } from "./times.ts";
import { CelMap, compare, Duration, equals, Opaque, Optional, Uint, type Value } from "./values.ts";

const sorts = ["int", "uint", "double", "bool", "duration", "timestamp", "string", "bytes"];
const sums = ["int", "uint", "double", "duration"];

type Table = Parameters<typeof declare>[0];

function forEach(types: readonly string[], rows: (type: string) => Table): Table {
  return Object.assign({}, ...types.map(rows)) as Table;
}

function extreme(name: string, list: readonly Value[], sign: number): Value {
  const [first, ...others] = list;
  if (first === undefined) throw new EvaluationError(`${name} called on empty list`);
  return others.reduce((best, each) => ((compare(each, best) ?? 0) * sign > 0 ? each : best), first);
}

function total(list: readonly Value[], type: string): Value {
  if (type === "double") return (list as readonly number[]).reduce((sum, each) => sum + each, 0);
  if (type === "uint") return checkedUint((list as readonly Uint[]).reduce((sum, each) => sum + each.value, 0n));
  if (type === "duration")
    return checkedDuration((list as readonly Duration[]).reduce((sum, each) => sum + each.nanos, 0n));
  return checkedInt((list as readonly bigint[]).reduce((sum, each) => sum + each, 0n));
}

const lists = declare({
  ...forEach(sorts, (type) => ({
    [`list<${type}>.isSorted(): bool`]: ([list], meter) => {
      meter.charge(list.length);
      return list.every(
        (each: Value, index: number) => index === 0 || (compare(list[index - 1] as Value, each) ?? 0) <= 0,
      );
    },
    [`list<${type}>.max(): ${type}`]: ([list], meter) => (meter.charge(list.length), extreme("max", list, 1)),
    [`list<${type}>.min(): ${type}`]: ([list], meter) => (meter.charge(list.length), extreme("min", list, -1)),
  })),
  ...forEach(sums, (type) => ({
    [`list<${type}>.sum(): ${type}`]: ([list], meter) => (meter.charge(list.length), total(list, type)),
  })),
  "list<A>.indexOf(A): int": ([list, wanted], meter) => {
    meter.charge(list.length);
    return BigInt(list.findIndex((each: Value) => equals(each, wanted)));
  },
  "list<A>.lastIndexOf(A): int": ([list, wanted], meter) => {
    meter.charge(list.length);
    return BigInt(list.findLastIndex((each: Value) => equals(each, wanted)));
  },
});

function findAll(text: string, pattern: string, limit: bigint, meter: Meter): readonly string[] {
  const regex = patternOf(pattern);
  const found: string[] = [];
  let from = 0;
  while (from <= text.length && (limit < 0n || BigInt(found.length) < limit)) {
    chargePattern(meter, text, pattern);
    const match = regex.find(text, from);
    if (match === undefined) break;
    found.push(text.slice(match.start, match.end));
    from = match.end > match.start ? match.end : match.end + 1;
  }
  return found;
}

const regexes = declare({
  "string.find(string): string": ([text, pattern], meter) => findAll(text, pattern, 1n, meter)[0] ?? "",
  "string.findAll(string): list<string>": ([text, pattern], meter) => findAll(text, pattern, -1n, meter),
  "string.findAll(string, int): list<string>": ([text, pattern, limit], meter) => findAll(text, pattern, limit, meter),
});

interface Url {
  readonly text: string;
  readonly scheme: string;
  readonly host: string;
  readonly path: string;
  readonly query: string;
}

/** An absolute URL or an absolute path, as Go's url.ParseRequestURI takes it (library/urls.go); undefined where it is none. */
function parseUrl(text: string): Url | undefined {
  const match =
    /^(?:([A-Za-z][A-Za-z0-9+.-]*):)?(?:\/\/((?:[^/?#\s@]*@)?(?:\[[^\]\s]*\]|[^/?#\s:[\]]*)(?::\d*)?))?(\/[^?#\s]*|)(?:\?([^#\s]*))?$/.exec(
      text,
    );
  if (match === null) return undefined;
  const [, scheme = "", host = "", path = "", query = ""] = match;
  if (scheme === "" ? !text.startsWith("/") || text.startsWith("//") : match[2] === undefined && !path.startsWith("/"))
    return undefined;
  if (/%(?![0-9A-Fa-f]{2})/.test(path)) return undefined;
  return { text, scheme: scheme.toLowerCase(), host: host.replace(/^.*@/, ""), path, query };
}

function queryOf(query: string): CelMap {
  const values = new Map<string, string[]>();
  for (const part of query.split("&")) {
    if (part === "") continue;
    const at = part.indexOf("=");
    const [name, value] = at < 0 ? [part, ""] : [part.slice(0, at), part.slice(at + 1)];
    const key = unescaped(name);
    values.set(key, [...(values.get(key) ?? []), unescaped(value)]);
  }
  return new CelMap(values.entries());
}

function unescaped(text: string): string {
  try {
    return decodeURIComponent(text.replaceAll("+", " "));
  } catch {
    return text;
  }
}

const urls = declare({
  "url(string): kubernetes.URL": ([text]) => {
    const url = parseUrl(text);
    if (url === undefined)
      throw new EvaluationError(
        `URL parse error during conversion from string: parse ${JSON.stringify(text)}: invalid URI for request`,
      );
    return opaque("kubernetes.URL", url, (each) => each.text);
  },
  "isURL(string): bool": ([text]) => parseUrl(text) !== undefined,
  "kubernetes.URL.getScheme(): string": ([{ value }]) => value.scheme,
  "kubernetes.URL.getHost(): string": ([{ value }]) => value.host,
  "kubernetes.URL.getHostname(): string": ([{ value }]) => value.host.replace(/:\d*$/, "").replace(/^\[(.*)\]$/, "$1"),
  "kubernetes.URL.getPort(): string": ([{ value }]) => /:(\d*)$/.exec(value.host)?.[1] ?? "",
  "kubernetes.URL.getEscapedPath(): string": ([{ value }]) => value.path,
  "kubernetes.URL.getQuery(): map<string, list<string>>": ([{ value }]) => queryOf(value.query),
});

/** A quantity in billionths; undefined where it is none. */
function quantityNanos(text: string): bigint | undefined {
  return exactQuantity(text, { exponentDigits: 4, tensMax: 400 })?.nanos;
}

function quantity(value: bigint): Opaque<bigint> {
  return new Opaque("kubernetes.Quantity", value, (other) => other === value);
}

function compared(a: bigint, b: bigint): bigint {
  return a < b ? -1n : a > b ? 1n : 0n;
}

const quantities = declare({
  "quantity(string): kubernetes.Quantity": ([text]) => {
    const value = quantityNanos(text);
    if (value === undefined)
      throw new EvaluationError(
        "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
      );
    return quantity(value);
  },
  "isQuantity(string): bool": ([text]) => quantityNanos(text) !== undefined,
  "sign(kubernetes.Quantity): int": ([{ value }]) => compared(value, 0n),
  "kubernetes.Quantity.sign(): int": ([{ value }]) => compared(value, 0n),
  "kubernetes.Quantity.isInteger(): bool": ([{ value }]) =>
    value % nano === 0n && value / nano < 2n ** 63n && value / nano >= -(2n ** 63n),
  "kubernetes.Quantity.asInteger(): int": ([{ value }]) => {
    if (value % nano !== 0n) throw new EvaluationError("cannot convert value to integer");
    return checkedInt(value / nano);
  },
  "kubernetes.Quantity.asApproximateFloat(): double": ([{ value }]) => Number(value) / 1e9,
  "kubernetes.Quantity.isGreaterThan(kubernetes.Quantity): bool": ([a, b]) => a.value > b.value,
  "kubernetes.Quantity.isLessThan(kubernetes.Quantity): bool": ([a, b]) => a.value < b.value,
  "kubernetes.Quantity.compareTo(kubernetes.Quantity): int": ([a, b]) => compared(a.value, b.value),
  "kubernetes.Quantity.add(kubernetes.Quantity): kubernetes.Quantity": ([a, b]) =>
    quantity((a.value as bigint) + (b.value as bigint)),
  "kubernetes.Quantity.add(int): kubernetes.Quantity": ([a, b]) => quantity(a.value + (b as bigint) * nano),
  "kubernetes.Quantity.sub(kubernetes.Quantity): kubernetes.Quantity": ([a, b]) =>
    quantity((a.value as bigint) - (b.value as bigint)),
  "kubernetes.Quantity.sub(int): kubernetes.Quantity": ([a, b]) => quantity(a.value - (b as bigint) * nano),
});

interface Ip {
  readonly family: 4 | 6;
  readonly value: bigint;
  /** As it is written canonically. */
  readonly text: string;
}

/** Throws EvaluationError, in netip's words. */
function parseIp(text: string): Ip {
  const address = parseAddress(text);
  if (address === undefined)
    throw new EvaluationError(
      `IP Address ${JSON.stringify(text)} parse error during conversion from string: ParseAddr(${JSON.stringify(text)}): unable to parse IP`,
    );
  if (/^::ffff:/i.test(text) && text.includes("."))
    throw new EvaluationError(`IPv4-mapped IPv6 address ${JSON.stringify(text)} is not allowed`);
  return { family: familyOf(address), value: addressValue(address), text: address };
}

function isParsed(parse: () => unknown): boolean {
  try {
    parse();
    return true;
  } catch {
    return false;
  }
}

function ip(value: Ip): Opaque<Ip> {
  return opaque("net.IP", value, ({ text }) => text);
}

/** The first bits of an address. */
function leading({ family, value }: Ip, bits: number): bigint {
  return value >> BigInt((family === 4 ? 32 : 128) - bits);
}

const addresses = declare(
  {
    "ip(string): net.IP": ([text]) => ip(parseIp(text)),
    "isIP(string): bool": ([text]) => isParsed(() => parseIp(text)),
    "ip.isCanonical(string): bool": ([text]) => parseIp(text).text === text,
    "string(net.IP): string": ([{ value }]) => value.text,
    "net.IP.family(): int": ([{ value }]) => BigInt(value.family),
    "net.IP.isUnspecified(): bool": ([{ value }]) => value.value === 0n,
    "net.IP.isLoopback(): bool": ([{ value }]) =>
      value.family === 4 ? leading(value, 8) === 127n : value.value === 1n,
    "net.IP.isLinkLocalMulticast(): bool": ([{ value }]) =>
      value.family === 4 ? leading(value, 24) === 0xe00000n : (leading(value, 16) & 0xff0fn) === 0xff02n,
    "net.IP.isLinkLocalUnicast(): bool": ([{ value }]) =>
      value.family === 4 ? leading(value, 16) === 0xa9fen : leading(value, 10) === 0x3fan,
    "net.IP.isGlobalUnicast(): bool": ([{ value }]) =>
      value.value !== 0n &&
      (value.family === 4
        ? value.value !== 0xffffffffn &&
          leading(value, 8) !== 127n &&
          leading(value, 4) !== 14n &&
          leading(value, 16) !== 0xa9fen
        : value.value !== 1n && leading(value, 8) !== 255n && leading(value, 10) !== 0x3fan),
  },
  ["ip"],
);

interface Cidr {
  readonly ip: Ip;
  readonly bits: number;
}

/** Throws EvaluationError, in netip's words. */
function parseCidr(text: string): Cidr {
  const match = /^(.*)\/(0|[1-9]\d{0,2})$/.exec(text);
  const fail = (why: string): EvaluationError =>
    new EvaluationError(
      `network address parse error during conversion from string: netip.ParsePrefix(${JSON.stringify(text)}): ${why}`,
    );
  if (match === null) throw fail("no '/'");
  const address = parseAddress(match[1] ?? "");
  if (address === undefined) throw fail("unable to parse IP");
  const value = { family: familyOf(address), value: addressValue(address), text: address };
  const bits = Number(match[2]);
  if (bits > (value.family === 4 ? 32 : 128)) throw fail("prefix length out of range");
  return { ip: value, bits };
}

function cidr(value: Cidr): Opaque<Cidr> {
  return opaque("net.CIDR", value, (each) => `${each.ip.text}/${each.bits}`);
}

function holdsIp({ ip: network, bits }: Cidr, address: Ip): boolean {
  return network.family === address.family && leading(network, bits) === leading(address, bits);
}

function holdsCidr(a: Cidr, b: Cidr): boolean {
  return a.bits <= b.bits && holdsIp(a, b.ip);
}

function masked({ ip: { family, value }, bits }: Cidr): Cidr {
  const shift = BigInt((family === 4 ? 32 : 128) - bits);
  const network = (value >> shift) << shift;
  const text = family === 4 ? [24n, 16n, 8n, 0n].map((by) => (network >> by) & 255n).join(".") : hextets(network);
  return { ip: { family, value: network, text: parseAddress(text) ?? text }, bits };
}

function hextets(value: bigint): string {
  return Array.from({ length: 8 }, (_, index) => ((value >> BigInt(112 - 16 * index)) & 0xffffn).toString(16)).join(
    ":",
  );
}

const cidrs = declare({
  "cidr(string): net.CIDR": ([text]) => cidr(parseCidr(text)),
  "isCIDR(string): bool": ([text]) => isParsed(() => parseCidr(text)),
  "string(net.CIDR): string": ([{ value }]) => `${value.ip.text}/${value.bits}`,
  "net.CIDR.ip(): net.IP": ([{ value }]) => ip(value.ip),
  "net.CIDR.prefixLength(): int": ([{ value }]) => BigInt(value.bits),
  "net.CIDR.masked(): net.CIDR": ([{ value }]) => cidr(masked(value)),
  "net.CIDR.containsIP(string): bool": ([{ value }, text]) => holdsIp(value, parseIp(text)),
  "net.CIDR.containsIP(net.IP): bool": ([{ value }, address]) => holdsIp(value, address.value),
  "net.CIDR.containsCIDR(string): bool": ([{ value }, text]) => holdsCidr(value, parseCidr(text)),
  "net.CIDR.containsCIDR(net.CIDR): bool": ([{ value }, other]) => holdsCidr(value, other.value),
});

interface Version {
  readonly numbers: readonly [bigint, bigint, bigint];
  readonly pre: readonly string[];
  readonly text: string;
}

/** Throws EvaluationError. */
function parseVersion(text: string, normalize: boolean): Version {
  let given = text;
  if (normalize) {
    const [, core = "", rest = ""] = /^v?([^-+]*)(.*)$/.exec(text) ?? [];
    const parts = core.split(".").map((part) => part.replace(/^0+(?=\d)/, ""));
    while (parts.length < 3) parts.push("0");
    given = `${parts.join(".")}${rest}`;
  }
  const match = /^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(?:-([0-9A-Za-z.-]+))?(?:\+([0-9A-Za-z.-]+))?$/.exec(given);
  const pre = match?.[4]?.split(".") ?? [];
  if (match === null || pre.some((part) => part === "" || /^0\d+$/.test(part)))
    throw new EvaluationError(
      given.split(".").length < 3
        ? "No Major.Minor.Patch elements found"
        : `Invalid character(s) found in version ${JSON.stringify(given)}`,
    );
  return { numbers: [BigInt(match[1] ?? 0), BigInt(match[2] ?? 0), BigInt(match[3] ?? 0)], pre, text: given };
}

/** semver.org section 11. */
function compareVersions(a: Version, b: Version): bigint {
  for (const [index, number] of a.numbers.entries()) {
    const order = compared(number, b.numbers[index] ?? 0n);
    if (order !== 0n) return order;
  }
  // A version without a pre-release is behind all of its pre-releases.
  if (a.pre.length === 0 || b.pre.length === 0)
    return a.pre.length === b.pre.length ? 0n : a.pre.length === 0 ? 1n : -1n;
  for (let i = 0; i < Math.max(a.pre.length, b.pre.length); i++) {
    const [x, y] = [a.pre[i], b.pre[i]];
    if (x === undefined || y === undefined) return x === undefined ? -1n : 1n;
    if (x === y) continue;
    const [m, n] = [/^\d+$/.test(x), /^\d+$/.test(y)];
    if (m && n) return compared(BigInt(x), BigInt(y));
    if (m !== n) return m ? -1n : 1n;
    return x < y ? -1n : 1n;
  }
  return 0n;
}

function version(value: Version): Opaque<Version> {
  return new Opaque("kubernetes.Semver", value, (other) => compareVersions(value, other) === 0n);
}

const versions = declare({
  "semver(string): kubernetes.Semver": ([text]) => version(parseVersion(text, false)),
  "semver(string, bool): kubernetes.Semver": ([text, normalize]) => version(parseVersion(text, normalize)),
  "isSemver(string): bool": ([text]) => isParsed(() => parseVersion(text, false)),
  "isSemver(string, bool): bool": ([text, normalize]) => isParsed(() => parseVersion(text, normalize)),
  "kubernetes.Semver.major(): int": ([{ value }]) => value.numbers[0],
  "kubernetes.Semver.minor(): int": ([{ value }]) => value.numbers[1],
  "kubernetes.Semver.patch(): int": ([{ value }]) => value.numbers[2],
  "kubernetes.Semver.isGreaterThan(kubernetes.Semver): bool": ([a, b]) => compareVersions(a.value, b.value) > 0n,
  "kubernetes.Semver.isLessThan(kubernetes.Semver): bool": ([a, b]) => compareVersions(a.value, b.value) < 0n,
  "kubernetes.Semver.compareTo(kubernetes.Semver): int": ([a, b]) => compareVersions(a.value, b.value),
});

type Check = (text: string) => readonly string[];

const label1035 = (text: string): readonly string[] => [
  ...(text.length > 63 ? ["must be no more than 63 characters"] : []),
  ...(/^[a-z]([-a-z0-9]*[a-z0-9])?$/.test(text)
    ? []
    : [
        "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')",
      ]),
];

/** Names that something is put behind: a dash may end them. */
const prefixed =
  (check: Check): Check =>
  (text) =>
    check(text.endsWith("-") ? `${text.slice(0, -1)}a` : text);

const testing =
  (test: (text: string) => boolean, problem: string): Check =>
  (text) =>
    test(text) ? [] : [problem];

const formats: { readonly [name: string]: Check | undefined } = {
  dns1123Label: dnsLabel,
  dns1123Subdomain: dnsSubdomain,
  dns1035Label: label1035,
  qualifiedName,
  dns1123LabelPrefix: prefixed(dnsLabel),
  dns1123SubdomainPrefix: prefixed(dnsSubdomain),
  dns1035LabelPrefix: prefixed(label1035),
  labelValue,
  uri: (text) => (parseUrl(text) === undefined ? [`parse ${JSON.stringify(text)}: invalid URI for request`] : []),
  uuid: testing(
    (text) => /^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$/i.test(text),
    "does not match the UUID format",
  ),
  byte: testing((text) => decodeBase64(text) !== undefined, "invalid base64"),
  date: testing((text) => parseTimestamp(`${text}T00:00:00Z`) !== undefined, "invalid date"),
  datetime: testing((text) => parseTimestamp(text) !== undefined, "invalid datetime"),
};

function format(name: string, check: Check): Opaque<{ readonly name: string; readonly check: Check }> {
  return opaque("kubernetes.NamedFormat", { name, check }, (each) => each.name);
}

const namedFormats = declare(
  {
    ...Object.fromEntries(
      Object.entries(formats).flatMap(([name, check]) =>
        check === undefined ? [] : [[`format.${name}(): kubernetes.NamedFormat`, () => format(name, check)]],
      ),
    ),
    "format.named(string): optional<kubernetes.NamedFormat>": ([name]) => {
      const check = Object.hasOwn(formats, name) ? formats[name] : undefined;
      return new Optional(check && format(name, check));
    },
    "kubernetes.NamedFormat.validate(string): optional<list<string>>": ([{ value }, text]) => {
      const problems = value.check(text);
      return new Optional(problems.length === 0 ? undefined : problems);
    },
  },
  ["format"],
);

/** All of them. */
export const kubernetesOverloads: readonly Overload[] = [
  ...lists,
  ...regexes,
  ...urls,
  ...quantities,
  ...addresses,
  ...cidrs,
  ...versions,
  ...namedFormats,
];
