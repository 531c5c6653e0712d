// Which form an answer has: JSON or YAML, of the object itself, of a Table, or of its metadata alone (KEP-555; Accept header, RFC 9110 12.5.1).
// JSON is always there: every client that asks for protobuf or CBOR allows JSON as well.

import { StatusError } from "../api/store.ts";
import { notAcceptable } from "./status.ts";

export interface Form {
  readonly as: "object" | "table" | "metadata";
  readonly encoding: "json" | "yaml";
  /** meta.k8s.io's version, for tables and metadata. */
  readonly version: string;
}

export interface MediaRange {
  /** In small letters: `application/json`. */
  readonly type: string;
  readonly parameters: { readonly [name: string]: string };
}

const plain: Form = { as: "object", encoding: "json", version: "v1" };
const supported = ["application/json", "application/yaml"];

/**
 * The first form a client accepts that there is. Throws StatusError 406 where there is none. What is only answered and never stored (reviews)
 * has no table and no metadata to speak of. `isList`: is it a list that is asked for, or one object? Undefined where that is open.
 */
export function formOf(
  accept: string | undefined,
  { isStored, isList }: { readonly isStored: boolean; readonly isList?: boolean | undefined },
): Form {
  if (accept === undefined || accept.trim() === "") return plain;
  for (const { type, parameters } of mediaRanges(accept)) {
    const encoding = encodingOf(type);
    if (encoding === undefined) continue;
    const { as, v = "v1", g = "meta.k8s.io" } = parameters;
    if (as === undefined) return { ...plain, encoding };
    if (!isStored) continue;
    if (g !== "meta.k8s.io" || (v !== "v1" && v !== "v1beta1")) continue;
    if (as === "Table") return { as: "table", encoding, version: v };
    if (as === "PartialObjectMetadata" || as === "PartialObjectMetadataList") {
      const isOther = isList !== undefined && isList !== (as === "PartialObjectMetadataList");
      if (isOther) throw otherMetadata(as);
      return { as: "metadata", encoding, version: v };
    }
  }
  throw notAcceptable(supported);
}

function otherMetadata(as: string): StatusError {
  const other = as === "PartialObjectMetadata" ? "a list" : "not a list";
  return new StatusError(406, "NotAcceptable", `you requested ${as}, but the requested object is ${other}`);
}

function encodingOf(type: string): Form["encoding"] | undefined {
  switch (type) {
    case "application/json":
    case "*/*":
      return "json";
    case "application/yaml":
      return "yaml";
  }
  return undefined;
}

/** The media ranges of an Accept header, the preferred first. */
export function mediaRanges(accept: string): readonly MediaRange[] {
  return accept
    .split(",")
    .map(parseRange)
    .map((range, index) => ({ range, index, quality: Number(range.parameters["q"] ?? 1) }))
    .filter(({ quality }) => quality > 0)
    .sort((a, b) => b.quality - a.quality || a.index - b.index)
    .map(({ range }) => range);
}

/** `application/json;as=Table;v=v1`. */
export function parseRange(text: string): MediaRange {
  const [type = "", ...rest] = text.split(";").map((part) => part.trim());
  const parameters = Object.fromEntries(
    rest.map((part) => {
      const equals = part.indexOf("=");
      return equals < 0 ? [part, ""] : [part.slice(0, equals), part.slice(equals + 1).replace(/^"(.*)"$/, "$1")];
    }),
  );
  return { type: type.toLowerCase(), parameters };
}
