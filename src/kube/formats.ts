// The forms of names, keys and addresses in the API, each a function from text to what is wrong with it: no sentences, all is well.
// Wording and limits are those of apimachinery util/validation.

import { parseAddress } from "../ip/address.ts";
import { parseInterfaceAddress, parsePrefix } from "../ip/prefix.ts";

/** What is wrong with a text; empty where nothing is. */
export type Format = (text: string) => readonly string[];

const label = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const subdomain = `${label}(\\.${label})*`;
const qualified = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";

/** RFC 1123 label: `my-name`. */
export const dnsLabel: Format = (text) => {
  if (matches(label, text)) return tooLong(text, 63);
  const dots = matches(subdomain, text)
    ? "must not contain dots"
    : form(
        "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character",
        label,
        ["my-name", "123-abc"],
      );
  return [...tooLong(text, 63), dots];
};

/** RFC 1035 label: as that of RFC 1123, but it begins with a letter. */
export const dnsLabel1035: Format = (text) => {
  const pattern = "[a-z]([-a-z0-9]*[a-z0-9])?";
  const words =
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character";
  return [...tooLong(text, 63), ...(matches(pattern, text) ? [] : [form(words, pattern, ["my-name", "abc-123"])])];
};

/** RFC 1123 subdomain: `example.com`. */
export const dnsSubdomain: Format = (text) => [
  ...tooLong(text, 253),
  ...(matches(subdomain, text)
    ? []
    : [
        form(
          "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character",
          subdomain,
          ["example.com"],
        ),
      ]),
];

/** `*.example.com` */
export const wildcardSubdomain: Format = (text) => {
  const pattern = `\\*\\.${subdomain}`;
  const words =
    "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character";
  return [...tooLong(text, 253), ...(matches(pattern, text) ? [] : [form(words, pattern, ["*.example.com"])])];
};

/** A name that is part of a URL's path (RBAC, and anything without a rule of its own). */
export const pathSegment: Format = (text) => {
  if (text === "." || text === "..") return [`may not be '${text}'`];
  return ["/", "%"].flatMap((character) => (text.includes(character) ? [`may not contain '${character}'`] : []));
};

/** The key of a label, an annotation, a finalizer: `app`, `example.com/app`. */
export const qualifiedName: Format = (text) => {
  const words =
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";
  const examples = ["MyName", "my.name", "123-abc"];
  const parts = text.split("/");
  if (parts.length > 2)
    return [
      `a valid label key ${form(words, qualified, examples)} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')`,
    ];
  const name = parts.at(-1) ?? "";
  const prefix = parts.length === 2 ? prefixProblems(parts[0] ?? "") : [];
  const length =
    name === "" ? ["name part must be non-empty"] : tooLong(name, 63).map((problem) => `name part ${problem}`);
  return [...prefix, ...length, ...(matches(qualified, name) ? [] : [`name part ${form(words, qualified, examples)}`])];
};

function prefixProblems(prefix: string): readonly string[] {
  if (prefix === "") return ["prefix part must be non-empty"];
  return dnsSubdomain(prefix).map((problem) => `prefix part ${problem}`);
}

/** The value of a label. */
export const labelValue: Format = (text) => {
  const pattern = `(${qualified})?`;
  const words =
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";
  return [
    ...tooLong(text, 63),
    ...(matches(pattern, text) ? [] : [form(words, pattern, ["MyValue", "my_value", "12345"])]),
  ];
};

/** A key of a ConfigMap or Secret, which may become a file's name. */
export const configKey: Format = (text) => {
  const pattern = "[-._a-zA-Z0-9]+";
  const words = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'";
  return [
    ...tooLong(text, 253),
    ...(matches(pattern, text) ? [] : [form(words, pattern, ["key.name", "KEY_NAME", "key-name"])]),
    ...directoryProblems(text),
  ];
};

function directoryProblems(text: string): readonly string[] {
  if (text === ".") return ["must not be '.'"];
  if (text === "..") return ["must not be '..'"];
  return text.startsWith("..") ? ["must not start with '..'"] : [];
}

/** The name of an environment variable, in the relaxed form. */
export const envName: Format = (text) => {
  if (text === "") return ["environment variable name must be non-empty"];
  return /^[\x20-\x7e]*$/.test(text) && !text.includes("=")
    ? []
    : ["a valid environment variable name must consist only of printable ASCII characters other than '='"];
};

/** The name of a port: `http`, at most 15 characters (RFC 6335 5.1). */
export const portName: Format = (text) => [
  ...tooLong(text, 15),
  ...(/^[-a-z0-9]+$/.test(text) ? [] : ["must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)"]),
  ...(/[a-z]/.test(text) ? [] : ["must contain at least one letter (a-z)"]),
  ...(text.includes("--") ? ["must not contain consecutive hyphens"] : []),
  ...(/^-|-$/.test(text) ? ["must not begin or end with a hyphen"] : []),
];

export const httpHeaderName: Format = (text) =>
  matches("[-A-Za-z0-9]+", text)
    ? []
    : [form("a valid HTTP header must consist of alphanumeric characters or '-'", "[-A-Za-z0-9]+", ["X-Header-Name"])];

/** An address; leading zeros and IPv4-mapped IPv6 are refused (KEP-4858). */
export const ipAddress: Format = (text) => {
  const address = parseAddress(text);
  if (address === undefined) {
    const withoutZeros = parseAddress(text.replace(/(^|\.)0+(?=\d)/g, "$1"));
    return withoutZeros === undefined
      ? ["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"]
      : ["must not have leading 0s"];
  }
  return address.startsWith("::ffff:") && address.includes(".") ? ["must not be an IPv4-mapped IPv6 address"] : [];
};

/** An address as everybody writes it (RFC 5952 4). */
export const canonicalAddress: Format = (text) => {
  const problems = ipAddress(text);
  const address = parseAddress(text);
  return problems.length > 0 || address === undefined || address === text
    ? problems
    : [`must be in canonical form (${JSON.stringify(address)})`];
};

/** A prefix as everybody writes it. */
export const canonicalCidr: Format = (text) => {
  const problems = cidr(text);
  const prefix = parsePrefix(text);
  return problems.length > 0 || prefix === undefined || prefix === text
    ? problems
    : [`must be in canonical form (${JSON.stringify(prefix)})`];
};

/** A path below a domain: `acme.io/foo`. What is wrong is said of a part of it, which comes first. */
export function domainPath(text: string): readonly (readonly [part: string, problem: string])[] {
  const [host = "", ...rest] = text.split("/");
  const path = rest.join("/");
  if (host === "" || path === "") return [[text, 'must be a domain-prefixed path (such as "acme.io/foo")']];
  const words = "[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+";
  return [
    ...dnsSubdomain(host).map((problem) => [host, problem] as const),
    ...(matches(words, path) ? [] : [[path, `Invalid path (regex used for validation is '${words}')`] as const]),
  ];
}

/** A prefix without host bits. */
export const cidr: Format = (text) => {
  const given = parseInterfaceAddress(text);
  if (given === undefined) return ["must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"];
  if (given.address.startsWith("::ffff:") && given.address.includes("."))
    return ["must not have an IPv4-mapped IPv6 address"];
  return parsePrefix(text) === `${given.address}/${given.bits}`
    ? []
    : ["must not have bits set beyond the prefix length"];
};

/** `must be between 1 and 65535, inclusive` */
export function rangeText(first: number, last: number): string {
  return `must be between ${first} and ${last}, inclusive`;
}

function matches(pattern: string, text: string): boolean {
  let expression = expressions.get(pattern);
  if (expression === undefined) expressions.set(pattern, (expression = new RegExp(`^(?:${pattern})$`)));
  return expression.test(text);
}

const expressions = new Map<string, RegExp>();

function tooLong(text: string, lengthMax: number): readonly string[] {
  return text.length > lengthMax ? [`must be no more than ${lengthMax} characters`] : [];
}

/** As Go's validation.RegexError writes it, two spaces included. */
function form(words: string, pattern: string, examples: readonly string[]): string {
  const list = examples.map((example) => `'${example}', `).join(" or ");
  return `${words} (e.g. ${list}regex used for validation is '${pattern}')`;
}
