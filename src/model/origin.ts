// Where a fact of the Network comes from: the object, the field, and the line of the file the object was read from.
//
// Not here: reading files (they set the annotation), what an origin is (kube/object.ts).

import { annotations, type KubeObject, type Origin } from "../kube/object.ts";
import type { ClusterConfig } from "./network.ts";

/**
 * The origin of one field of an object. `field` is a path in Kubernetes' notation (`spec.ports[0].nodePort`, `endpoints[2]`).
 * Where the object was read from a file, `source` is the line of the field, or of the longest prefix of its path that has a known line.
 */
export function originOf(object: KubeObject, field?: string): Origin {
  const { name, namespace } = object.metadata;
  const { kind } = object;
  const source = sourceOf(object, field);
  // The most usual ones in one piece: what is added to an object later lies beside it, and there is an origin for each endpoint.
  if (namespace !== undefined && source === undefined)
    return field === undefined ? { kind, namespace, name } : { kind, namespace, name, field };
  const origin: { -readonly [Field in keyof Origin]: Origin[Field] } = { kind, name };
  if (namespace !== undefined) origin.namespace = namespace;
  if (field !== undefined) origin.field = field;
  if (source !== undefined) origin.source = source;
  return origin;
}

/** `endpoints[2]`: one text for all, as there are a hundred thousand of them. */
export function indexedField(list: IndexedList, index: number): string {
  return (indexed[list][index] ??= `${list}[${index}]`);
}

type IndexedList = "endpoints" | "spec.ports" | "spec.clusterIPs";

const indexed: Readonly<Record<IndexedList, string[]>> = { endpoints: [], "spec.ports": [], "spec.clusterIPs": [] };

/** The origin of something that holds for the whole cluster by configuration: `Cluster cluster.local podCidrs[0]`. */
export function clusterOrigin(cluster: ClusterConfig, field: string): Origin {
  return { kind: "Cluster", name: cluster.domain, field };
}

/** `Service production/api-server spec.ports[0] (shop.yaml:31)`. */
export function formatOrigin({ kind, namespace, name, field, source }: Origin): string {
  const words = [kind, namespace === undefined ? name : `${namespace}/${name}`];
  if (field !== undefined) words.push(field);
  if (source !== undefined) words.push(`(${source})`);
  return words.join(" ");
}

interface Source {
  readonly file: string;
  readonly line?: number;
  readonly lines: Readonly<Record<string, number>>;
}

const sources = new WeakMap<object, Source | undefined>();

function sourceOf(object: KubeObject, field: string | undefined): string | undefined {
  const text = object.metadata.annotations?.[annotations.source];
  if (text === undefined) return undefined;
  if (!sources.has(object)) sources.set(object, parseSource(text));
  const source = sources.get(object);
  if (source === undefined) return undefined;
  const line = lineOf(source, field ?? "");
  return line === undefined ? source.file : `${source.file}:${line}`;
}

function lineOf(source: Source, field: string): number | undefined {
  for (let path = field; path !== ""; path = parentOf(path)) {
    if (Object.hasOwn(source.lines, path)) return source.lines[path];
  }
  return source.line;
}

/** `spec.ports[0].nodePort`, `spec.ports[0]`, `spec.ports`, `spec`, and then nothing. */
function parentOf(path: string): string {
  return path.slice(0, Math.max(0, path.lastIndexOf("."), path.lastIndexOf("[")));
}

// The annotation is a user's to write as well: anything but the expected shape is no source, never an error.
function parseSource(text: string): Source | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof value !== "object" || value === null) return undefined;
  const { file, line, lines } = value as { file?: unknown; line?: unknown; lines?: unknown };
  if (typeof file !== "string") return undefined;
  const known = typeof lines === "object" && lines !== null ? Object.entries(lines) : [];
  return {
    file,
    ...(typeof line === "number" ? { line } : {}),
    lines: Object.fromEntries(known.filter((entry): entry is [string, number] => typeof entry[1] === "number")),
  };
}
