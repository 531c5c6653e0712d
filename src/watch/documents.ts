// YAML text as values with lines: the documents of a text, each with the line of every field, and what is wrong with the text.
// Scalars are read as kubectl reads them (YAML 1.1 booleans such as `yes`, octal `0644`), but times of day stay text.

import {
  isAlias,
  isMap,
  isPair,
  isScalar,
  isSeq,
  LineCounter,
  parseAllDocuments,
  type Document as YamlDocument,
} from "yaml";

/** One document's value, and the line (from 1) of what a path of keys and indices leads to; of its nearest ancestor where it leads nowhere. */
export interface Document {
  readonly value: unknown;
  lineOf(path: readonly (string | number)[]): number;
}

export interface TextError {
  readonly line: number;
  readonly message: string;
}

/** Reads a text. Empty documents are left out; a document with errors gives no value. Nothing is thrown. */
export function readDocuments(text: string): { documents: Document[]; errors: TextError[] } {
  const lineCounter = new LineCounter();
  const documents: Document[] = [];
  const errors: TextError[] = [];
  const source = isJson(text) ? text.replace(/^\t+/gm, (tabs) => " ".repeat(tabs.length)) : text;
  const parsed = parseAllDocuments(source, {
    lineCounter,
    version: "1.1",
    merge: true,
    prettyErrors: false,
    logLevel: "error",
    customTags: (tags) => tags.filter((tag) => typeof tag === "string" || !isTime(tag)),
  });
  for (const document of parsed) {
    for (const error of document.errors)
      errors.push({ line: lineCounter.linePos(error.pos[0]).line, message: textOf(error, source) });
    if (document.errors.length > 0 || document.contents === null) continue;
    try {
      documents.push(documentOf(document, lineCounter));
    } catch (error) {
      // Aliases that grow without bound, and keys that are no text, are found while values are made.
      const line = lineCounter.linePos(document.range[0]).line;
      errors.push({ line, message: `YAML: ${error instanceof Error ? error.message : String(error)}` });
    }
  }
  return { documents: documents.filter(({ value }) => value !== null), errors };
}

function isJson(text: string): boolean {
  return /^\s*[{[]/.test(text);
}

/** YAML 1.1 reads `12:30:45` as a number and `2026-01-31` as a time; kubectl does neither. */
function isTime(tag: { readonly tag?: string; readonly format?: string }): boolean {
  return tag.format === "TIME" || tag.tag === "tag:yaml.org,2002:timestamp";
}

function textOf(
  error: { readonly code: string; readonly message: string; readonly pos: readonly [number, number] },
  source: string,
): string {
  const lineStart = source.lastIndexOf("\n", error.pos[0] - 1) + 1;
  const indent = /^[ \t]*/.exec(source.slice(lineStart))?.[0] ?? "";
  if (error.code === "TAB_AS_INDENT" || indent.includes("\t"))
    return "YAML: a tab where spaces are needed: indent with spaces only";
  if (error.code === "DUPLICATE_KEY") return "YAML: this key is there twice in the same mapping: remove one of them";
  return `YAML: ${error.message.replace(/ at line \d+, column \d+:?[\s\S]*$/, "")}`;
}

function documentOf(document: YamlDocument.Parsed, lineCounter: LineCounter): Document {
  const value: unknown = document.toJS({ maxAliasCount: 100 });
  return {
    value: plain(value),
    lineOf(path) {
      let node: unknown = document.contents;
      let offset = startOf(node) ?? 0;
      for (const step of path) {
        if (isAlias(node)) node = node.resolve(document);
        if (isMap(node)) {
          const pair = node.items.find((item) => isPair(item) && keyText(item.key) === String(step));
          if (pair === undefined) break;
          offset = startOf(pair.key) ?? offset;
          node = pair.value;
        } else if (isSeq(node)) {
          node = node.items[Number(step)];
          offset = startOf(node) ?? offset;
        } else break;
      }
      return lineCounter.linePos(offset).line;
    },
  };
}

function keyText(key: unknown): string {
  return isScalar(key) ? String(key.value) : String(key);
}

function startOf(node: unknown): number | undefined {
  return (node as { readonly range?: readonly [number, number, number] | null } | null | undefined)?.range?.[0];
}

/** JSON's values only: what YAML has beyond them becomes text, as kubectl does. */
function plain(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(plain);
  if (value instanceof Uint8Array) return Buffer.from(value).toString("base64");
  if (value instanceof Map) return plain(Object.fromEntries(value));
  if (value instanceof Set) return [...value].map(plain);
  if (typeof value === "bigint") return Number(value);
  if (typeof value === "object" && value !== null)
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, plain(inner)]));
  return typeof value === "number" && !Number.isFinite(value) ? String(value) : (value ?? null);
}
