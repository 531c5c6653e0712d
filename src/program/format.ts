// A Program as text for people and for golden tests: in the syntax of `ip`, `bridge`, `sysctl` and `nft`, each entry with its origin behind
// it. `show routes|services|nft|program NODE` print these.
//
// Not here: one table's own syntax (nftables/format.ts), the difference of two Programs (diff.ts).

import { familyOf, type Address } from "../ip/address.ts";
import { formatOrigin } from "../model/origin.ts";
import type { Origin } from "../kube/object.ts";
import { mapNames, parseOutcomeNumber, type ChoiceScope } from "./choice.ts";
import { partLines, programParts, type ProgramPart } from "./lines.ts";
import { plainNamer, type Namer } from "./names.ts";
import { formatTable } from "./nftables/format.ts";
import type { NftElement, NftTable } from "./nftables/ruleset.ts";
import type { Program } from "./program.ts";

export { networkNamer, type Namer } from "./names.ts";

/** How a Program is printed. */
export interface ProgramFormat {
  /** Names instead of addresses: the same text on every run. Addresses unless given. */
  readonly namer?: Namer;
  /** Behind each entry `# Service production/api-server spec.ports[0]`. `shown` unless given. */
  readonly origins?: "shown" | "hidden";
}

/** The whole Program: every part with its heading, then the tables. */
export function formatProgram(program: Program, format: ProgramFormat = {}): string {
  return [...formatParts(program, programParts, format), formatTables(program, format)].join("\n");
}

/** One part, a line an entry. Ends with a line end unless it is empty. */
export function formatPart(program: Program, part: ProgramPart, format: ProgramFormat = {}): string {
  return annotated(inOrder(partLines(program, part, format.namer), format), format);
}

/**
 * One part by the name people give it: `links`, `addresses`, `routes`, `neighbours`, `forwarding`, `sysctls`, `services`, `nft`; `all` is
 * everything that depends on objects, without origins: the same text for equal clusters however they came to be.
 * Throws RangeError where there is no such part.
 */
export function formatProgramPart(program: Program, part: string, namer: Namer = plainNamer): string {
  switch (part) {
    case "all":
      return [
        ...programParts.map((each) => `${each}\n${indent(formatPart(program, each, { namer, origins: "hidden" }))}`),
        `services\n${indent(formatServices(program, { namer, origins: "hidden" }))}`,
      ].join("\n");
    case "services":
      return formatServices(program, { namer });
    case "nft":
      return formatTables(program, { namer });
    default: {
      const known = programParts.find((each) => each === part);
      if (known !== undefined) return formatPart(program, known, { namer });
      const names = ["all", ...programParts, "services", "nft"].join(", ");
      throw new RangeError(`a Program has no part ${JSON.stringify(part)}: choose one of ${names}`);
    }
  }
}

/** Where packets go: routes, the neighbours they lead to, and where frames for those go. */
export function formatRoutes(program: Program, format: ProgramFormat = {}): string {
  return formatParts(program, ["routes", "neighbours", "forwarding"], format).join("\n");
}

/** Each with its heading, but for those that have nothing. */
function formatParts(program: Program, parts: readonly ProgramPart[], format: ProgramFormat): readonly string[] {
  return parts.flatMap((part) => {
    const text = formatPart(program, part, format);
    return text === "" ? [] : [`${part}\n${indent(text)}`];
  });
}

/** The nftables of the Program, as `nft -f` reads them. */
export function formatTables(program: Program, format: ProgramFormat = {}): string {
  const { namer = plainNamer, origins = "shown" } = format;
  const annotate = origins === "shown" ? { annotate: formatOrigin } : {};
  return namer.text(program.tables.map((table) => formatTable(table, annotate)).join("\n"));
}

/**
 * Where connections to Services, node ports and host ports go: each frontend with its endpoints.
 *
 *     10.96.41.7:80/tcp  one of 2             # Service production/api-server spec.ports[0]
 *       10.244.1.5:8080                       # EndpointSlice production/api-server-x2v endpoints[0]
 *       10.244.2.9:8080                       # EndpointSlice production/api-server-x2v endpoints[1]
 */
export function formatServices(program: Program, format: ProgramFormat = {}): string {
  const { namer = plainNamer } = format;
  const tables = program.tables.filter(({ family }) => family === "ip" || family === "ip6");
  return annotated(
    tables.flatMap((table) => frontendLines(table, namer)),
    format,
  );
}

interface TextLine {
  readonly text: string;
  readonly origin: Origin;
}

function frontendLines(table: NftTable, namer: Namer): readonly TextLine[] {
  const elementsOf = (name: string): readonly NftElement[] =>
    table.sets.find((set) => set.name === name)?.elements ?? [];
  const byFrontend = (elements: readonly NftElement[]): ReadonlyMap<string, readonly NftElement[]> =>
    Map.groupBy(elements, ({ key }) => key.slice(0, 3).join(" "));
  const backendsOf = (scope: ChoiceScope): ReadonlyMap<string, readonly NftElement[]> => {
    const affine = byFrontend(elementsOf(mapNames[scope].affineBackends));
    // IPv6 frontends with affinity are in both.
    const plain = [mapNames[scope].backends, mapNames[scope].manyBackends].flatMap(elementsOf);
    return new Map([...byFrontend(plain), ...affine]);
  };
  const backends = { all: backendsOf("all"), inside: backendsOf("inside") };
  const inside = byFrontend(elementsOf(mapNames.inside.services));
  const allowed = byFrontend(elementsOf("allowed"));
  const restricted = new Set(elementsOf("restricted").map(({ key }) => key.join(" ")));
  const asNode = new Set(elementsOf("masquerade-ports").map(({ key }) => key.join(" ")));
  const endpointLines = (scope: ChoiceScope, key: string): readonly TextLine[] =>
    inOrder(
      (backends[scope].get(key) ?? []).map(({ data, origin }) => ({ text: `  ${backendText(data, namer)}`, origin })),
      { namer },
    );
  return elementsOf("services").flatMap((element): readonly TextLine[] => {
    const [address = "", protocol = "", port = ""] = element.key;
    const key = element.key.join(" ");
    const sources = (allowed.get(key) ?? []).map((each) => each.key[3] ?? "");
    const whom = restricted.has(key) ? `, for ${sources.join(" ") || "nobody"} only` : "";
    const outcome = `${outcomeOf(element)}${asNode.has(key) ? ", as the node" : ""}${whom}`;
    const text = `${place(address, port, namer)}/${protocol}  `;
    return [
      { text: `${text}${outcome}`, origin: element.origin },
      ...endpointLines("all", key),
      ...(inside.get(key) ?? []).flatMap((each) => [
        { text: `${text}from inside: ${outcomeOf(each)}${whom}`, origin: each.origin },
        ...endpointLines("inside", key),
      ]),
    ];
  });
}

function outcomeOf({ data }: NftElement): string {
  if (data === undefined || "kind" in data) return "";
  const outcome = parseOutcomeNumber(data[0] ?? "");
  if (outcome === undefined) return "";
  if (outcome === "drop") return "dropped, no endpoint on this node";
  if (outcome === "refuse") return "refused, no endpoint is ready";
  const { count, affinitySeconds } = outcome;
  return affinitySeconds === undefined ? `one of ${count}` : `one of ${count}, the same for ${affinitySeconds} s`;
}

function backendText(data: NftElement["data"], namer: Namer): string {
  if (data === undefined || "kind" in data) return "";
  const [address = "", port = ""] = data;
  return place(address, port, namer);
}

function place(address: Address, port: string, namer: Namer): string {
  const name = namer.address(address);
  return name === address && familyOf(address) === 6 ? `[${address}]:${port}` : `${name}:${port}`;
}

/** Entries are in order of address; by name, the order of names is the one that stays the same. */
function inOrder<T extends TextLine>(lines: readonly T[], { namer = plainNamer }: ProgramFormat): readonly T[] {
  if (namer === plainNamer) return lines;
  return [...lines].sort((a, b) => (a.text < b.text ? -1 : a.text > b.text ? 1 : 0));
}

// Origins stand in one column where lines are not too long for that.
const columnMax = 72;

function annotated(lines: readonly TextLine[], { origins = "shown" }: ProgramFormat): string {
  if (origins === "hidden") return lines.map(({ text }) => `${text}\n`).join("");
  const column = Math.min(columnMax, Math.max(0, ...lines.map(({ text }) => text.length)));
  return lines.map(({ text, origin }) => `${text.padEnd(column)}  # ${formatOrigin(origin)}\n`).join("");
}

function indent(text: string): string {
  return text.replace(/^(?=.)/gm, "  ");
}
