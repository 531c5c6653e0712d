// Random zone files with much of what makes lookups hard: few labels, so that names are above, below and beside one another, wildcards,
// aliases that lead everywhere, delegations, DNAMEs, names without records.

import { parseZoneFile } from "../../src/wire/dns/zone-file.ts";
import type { Random } from "./random-cluster.testing.ts";

const labels = ["a", "b", "c", "*", "_x"];

/** The text of a zone without an origin of its own. */
export function randomZone(random: Random): string {
  const name = (): string => Array.from({ length: 1 + random(3) }, () => labels[random(labels.length)]).join(".");
  const target = (): string => (random(6) === 0 ? "elsewhere.example." : random(8) === 0 ? "@" : name());
  const lines = ["@ 60 SOA ns hm 1 2 3 4 5", "@ 60 NS a", "@ 60 NS ns.example.", "@ 60 TXT apex"];
  const taken = new Set<string>();
  for (let count = 4 + random(16); count > 0; count--) {
    const owner = name();
    const kind = random(10);
    const [type, data] =
      kind < 3
        ? ["A", `192.0.2.${count}`]
        : kind < 4
          ? ["TXT", `"t${count}"`]
          : kind < 5
            ? ["MX", `1 ${target()}`]
            : kind < 6
              ? ["SRV", `0 0 80 ${target()}`]
              : kind < 8
                ? ["CNAME", target()]
                : kind < 9
                  ? ["NS", target()]
                  : ["DNAME", target()];
    // An alias is alone at its name.
    const isAlone = type === "CNAME" || type === "DNAME";
    if (taken.has(`${owner} alone`) || (isAlone && taken.has(owner))) continue;
    taken.add(owner);
    if (isAlone) taken.add(`${owner} alone`);
    lines.push(`${owner} 60 ${type} ${data}`);
  }
  return `${lines.join("\n")}\n`;
}

/**
 * Names that have no records but names below them, where there is a wildcard beside them: it is not for them (RFC 4592 2.2.2), but CoreDNS
 * answers from it.
 */
export function hiddenFromWildcards(text: string, origin: string): string[] {
  const names = new Set(recordsOf(text, origin).map(({ name }) => name));
  const hidden = new Set<string>();
  for (const name of names)
    for (let each = parent(name); each.endsWith(`.${origin}`); each = parent(each))
      if (!names.has(each) && [...names].some((other) => other.endsWith(`*.${parent(each)}`))) hidden.add(each);
  return [...hidden];
}

function recordsOf(text: string, origin: string): ReturnType<typeof parseZoneFile> {
  return parseZoneFile(`$TTL 1\n${text}`, { file: "zone", origin, read: () => "" });
}

function parent(name: string): string {
  return name.replace(/^(?:\\.|[^.\\])*\./, "");
}

/** Each name of a zone, and names above, below and beside it, with each type. */
export function zoneQuestions(text: string, origin: string): string[] {
  const names = new Set<string>([origin]);
  for (const { name } of recordsOf(text, origin)) {
    if (name !== origin && !name.endsWith(`.${origin}`)) continue;
    for (let each = name; each !== origin; each = parent(each)) names.add(each);
    names.add(`q.${name}`);
    names.add(`b.q.${name}`);
    names.add(name.replace(/^(?:\\.|[^.\\])*/, "q"));
  }
  const types = new Set(["A", "TXT", "NS", "SOA", "MX", "CNAME", "DNAME", "SRV", "DS", "HTTPS"]);
  return [...names].flatMap((name) => [...types].map((type) => `${name} ${type}`));
}

const datas: readonly (readonly [type: string, data: string])[] = [
  ["A", "192.0.2.1"],
  ["AAAA", "2001:db8:0:0::1"],
  ["TXT", '"a;b (c)" d\\;e "q\\"uote" \\100\\092 ""'],
  ["TXT", '"ü" x'],
  ["MX", "10 mail"],
  ["SRV", "1 2 3 @"],
  ["PTR", "a.b.example."],
  ["NAPTR", '1 2 "u" "E2U+sip" "!^.*$!sip:x@y!" .'],
  ["CAA", '128 issuewild ";"'],
  ["SSHFP", "1 1 1234 5678 90ab cdef"],
  ["TLSA", "3 1 1 ABCD ef01"],
  ["DS", "60485 5 1 2BB183AF5F22588179A53B0A 98631FAD1A292118"],
  ["DNSKEY", "256 3 5 AQPSKmyn fzW4kyBv015MUG2DeIQ3 Cbl+"],
  ["RRSIG", "A 5 3 86400 20300322173103 20300220173103 2642 example.com. oJB1W6WNGv+l dvQ3WDG0MQkg"],
  ["NSEC", "host.example.com. ( A MX RRSIG NSEC TYPE1234 )"],
  ["HINFO", '"Intel 386" UNIX'],
  ["HTTPS", '1 @ alpn=h2,h3 ipv6hint=2001:db8::1 port="53"'],
  ["SVCB", "16 foo.example.org. mandatory=alpn,ipv4hint alpn=h2 ipv4hint=192.0.2.1,192.0.2.2"],
  ["RP", "admin ."],
  ["URI", '10 1 "ftp://x.example/y"'],
  ["TYPE4711", "\\# 5 01 02 030405"],
  ["TYPE1", "\\# 4 0a000001"],
  ["SMIMEA", "0 0 0 00"],
  ["CDS", "1 8 2 00"],
  ["OPENPGPKEY", "AQID BAUG"],
  ["AFSDB", "1 afs"],
  ["SPF", '"v=spf1 -all"'],
];

/** Records of many types, each line written in a way of its own: everything that RFC 1035 5 allows and people do. */
export function oddlyWritten(random: Random): string {
  const one = <T>(values: readonly T[]): T => values[random(values.length)] as T;
  const lines = ["; odd", "$TTL 1h30m", "@ IN SOA ns hm ( 1 ; serial", "\t2 3m", " 4w", " 5 ) ; end", "  NS ns"];
  let isSame = false;
  // Each once: what stands twice is one record here.
  const left = [...datas];
  for (let count = 10 + random(17); count > 0; count--) {
    if (random(8) === 0) {
      lines.push(
        one(["$ORIGIN sub", "$origin deep.sub ; comment", "$TTL 2d", "", "   ", "\t; nothing", "$ORIGIN a\\.b"]),
      );
      isSame = false;
    }
    const [[type, data] = ["A", "192.0.2.9"]] = left.splice(random(left.length), 1);
    const owner =
      isSame && random(3) === 0 ? "" : one(["@", "a", "B.c", `n${count}`, "x\\046y", "\\097z", "*", "a-b_c", "t\\ab"]);
    const head = one(["", "IN", "60", "60 IN", "IN 60", "in 1m", "1h1s CLASS1"]);
    const gap = one([" ", "\t", "   ", " \t "]);
    const words = data.split(" ");
    // Quoted words with blanks stay whole.
    const isPlain = !data.includes('"') && !data.includes("(");
    const body = isPlain && random(2) === 0 ? `( ${words.join(one([" ", "\n ", " ; why\n\t"]))}\n )` : data;
    const name = random(2) === 0 && !type.startsWith("TYPE") ? type.toLowerCase() : type;
    lines.push(
      [owner, head, name, body].filter((part, at) => at === 0 || part !== "").join(gap) +
        one(["", " ", " ; comment", "\r", ";c"]),
    );
    isSame = true;
  }
  return `${lines.join("\n")}${one(["\n", "\n\n", ""])}`;
}
