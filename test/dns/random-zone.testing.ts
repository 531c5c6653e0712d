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
