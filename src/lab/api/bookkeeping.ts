// What the store itself keeps in metadata: names and uids of new objects, times, the marks of deletion.
// Pure: the clock and the dice are parameters.

import type { KubeObject, ObjectMeta } from "../../kube/object.ts";

/** The object as it is first stored, but for its resourceVersion. */
export function newObject(
  object: KubeObject,
  options: {
    readonly clock: () => number;
    readonly random: () => number;
    readonly taken: (name: string) => boolean;
  },
): KubeObject {
  const { deletionTimestamp: _, deletionGracePeriodSeconds: __, ...metadata } = object.metadata;
  return {
    ...object,
    metadata: {
      ...metadata,
      name: nameOf(metadata, options),
      uid: metadata.uid ?? uuid(options.random),
      creationTimestamp: metadata.creationTimestamp ?? timeText(options.clock()),
    },
  };
}

/** The object that takes the place of a previous one: what belongs to the store is carried over. */
export function replacement(object: KubeObject, { metadata: previous }: KubeObject): KubeObject {
  const kept: { -readonly [Field in keyof ObjectMeta]?: ObjectMeta[Field] } = {};
  for (const field of ownFields) {
    // Which field and which type is known only to the list: each is copied from the same field.
    if (previous[field] !== undefined) Object.assign(kept, { [field]: previous[field] });
  }
  const given = { ...object.metadata };
  for (const field of ownFields) delete (given as { [field: string]: unknown })[field];
  const generation = object.metadata.generation ?? previous.generation;
  return { ...object, metadata: { ...given, ...kept, ...(generation === undefined ? {} : { generation }) } };
}

const ownFields = [
  "uid",
  "resourceVersion",
  "creationTimestamp",
  "deletionTimestamp",
  "deletionGracePeriodSeconds",
] as const satisfies readonly (keyof ObjectMeta)[];

export function withRevision(object: KubeObject, revision: number): KubeObject {
  return { ...object, metadata: { ...object.metadata, resourceVersion: String(revision) } };
}

/**
 * The object marked as being deleted; the same object where it already is and nothing changes; undefined where nothing holds it, so
 * that it goes at once and unmarked. A grace period can only be shortened (apiserver registry/rest BeforeDelete).
 */
export function markedDeleting(
  object: KubeObject,
  gracePeriodSeconds: number | undefined,
  nowMs: number,
): KubeObject | undefined {
  const { metadata } = object;
  const { deletionTimestamp, deletionGracePeriodSeconds: grace = 0 } = metadata;
  if (deletionTimestamp !== undefined) {
    const shorter = Math.max(0, gracePeriodSeconds ?? grace);
    if (shorter >= grace) return object;
    const since = Date.parse(deletionTimestamp) - grace * 1000;
    return withDeletion(object, since + shorter * 1000, shorter);
  }
  if (gracePeriodSeconds === undefined && !isHeld(object)) return undefined;
  const wanted = Math.max(0, gracePeriodSeconds ?? 0);
  // What is asked of it changes once: with the beginning of its end.
  const { generation } = metadata;
  const counted = generation === undefined ? object : withMeta(object, { generation: generation + 1 });
  return withDeletion(counted, nowMs + wanted * 1000, wanted);
}

function withDeletion(object: KubeObject, timeMs: number, gracePeriodSeconds: number): KubeObject {
  // A namespace says only when (pkg/registry/core/namespace/storage).
  const grace = object.kind === "Namespace" ? {} : { deletionGracePeriodSeconds: gracePeriodSeconds };
  return withMeta(object, { deletionTimestamp: timeText(timeMs), ...grace });
}

function withMeta(object: KubeObject, fields: Partial<KubeObject["metadata"]>): KubeObject {
  return { ...object, metadata: { ...object.metadata, ...fields } };
}

/** Is it being deleted, with nothing left to wait for? */
export function isGone(object: KubeObject): boolean {
  const { deletionTimestamp, deletionGracePeriodSeconds = 0 } = object.metadata;
  return deletionTimestamp !== undefined && deletionGracePeriodSeconds === 0 && !isHeld(object);
}

/** Does a finalizer hold it? Namespaces have a second list of them in their specification (core/v1 NamespaceSpec). */
function isHeld({ kind, metadata, spec }: KubeObject): boolean {
  const namespaceFinalizers =
    kind === "Namespace" ? (spec as { finalizers?: readonly string[] } | undefined)?.finalizers : [];
  return (metadata.finalizers?.length ?? 0) > 0 || (namespaceFinalizers?.length ?? 0) > 0;
}

/** RFC 3339 in whole seconds, as meta/v1 Time is written. */
export function timeText(timeMs: number): string {
  const second = Math.floor(timeMs / 1000);
  // Many objects are written in one second.
  if (second !== last.second) last = { second, text: `${new Date(second * 1000).toISOString().slice(0, 19)}Z` };
  return last.text;
}

let last = { second: Number.NaN, text: "" };

/** The given name, else one made from the prefix; none where neither is given, which validation refuses. */
export function nameOf(
  { name, generateName }: ObjectMeta,
  options: { readonly random: () => number; readonly taken: (name: string) => boolean },
): string {
  if (typeof name === "string" && name !== "") return name;
  return typeof generateName === "string" && generateName !== "" ? generatedName(generateName, options) : "";
}

// apiserver storage/names: five characters that make no words, after at most 58 of the base.
const nameLetters = "bcdfghjklmnpqrstvwxz2456789";
const nameTriesMax = 8;

function generatedName(base: string, options: { random: () => number; taken: (name: string) => boolean }): string {
  let name = "";
  for (let tries = 0; tries < nameTriesMax; tries++) {
    const suffix = Array.from({ length: 5 }, () => nameLetters[Math.floor(options.random() * nameLetters.length)]);
    name = base.slice(0, 58) + suffix.join("");
    if (!options.taken(name)) break;
  }
  return name;
}

const hexOfByte: readonly string[] = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));

/** Eight digits. Every object has some: numbers as text by way of the language take six times as long. */
function hex32(number: number): string {
  const byte = (shift: number): string => hexOfByte[(number >>> shift) & 0xff] ?? "";
  return byte(24) + byte(16) + byte(8) + byte(0);
}

// RFC 9562 5.4: a UUID of version 4.
function uuid(random: () => number): string {
  const word = (): string => hex32(Math.floor(random() * 2 ** 32));
  const [a, b, c, d] = [word(), word(), word(), word()];
  const variant = "89ab"[Number.parseInt(c.slice(0, 1), 16) & 3];
  return `${a}-${b.slice(0, 4)}-4${b.slice(5)}-${variant}${c.slice(1, 4)}-${c.slice(4)}${d}`;
}
