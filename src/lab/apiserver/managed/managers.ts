// Who owns which fields of an object (metadata.managedFields; KEP-555): kept up to date by every write, and the rule by which one
// manager's apply conflicts with another's fields.
//
// Not here: sets and values (field-set.ts, values.ts).

import type { KubeObject } from "../../../kube/object.ts";
import { markRepeated } from "../../../kube/repeated.ts";
import { timeText } from "../../api/bookkeeping.ts";
import type { Kind } from "../../api/kinds.ts";
import { badRequest } from "../../api/errors.ts";
import { StatusError } from "../../api/store.ts";
import { checkedNesting } from "../nesting.ts";
import {
  difference,
  fieldSet,
  formatFields,
  intersection,
  isEmpty,
  noFields,
  parseFields,
  pathsOf,
  sameFields,
  thisField,
  union,
  without,
  type FieldSet,
} from "./field-set.ts";
import { shapeOf, type Shape } from "./shape.ts";
import { addedFields } from "./added.ts";
import { compare, fieldsOf, merged, released, sameEntries } from "./values.ts";

/** Who writes what through which door. */
export interface Manager {
  readonly name: string;
  readonly kind: Kind;
  /** The empty string for the object itself. */
  readonly subresource: string;
  readonly nowMs: number;
}

/** One entry of managedFields. */
interface Entry {
  readonly manager: string;
  readonly operation: "Apply" | "Update";
  readonly apiVersion: string;
  readonly time: string | undefined;
  readonly subresource: string;
  readonly fields: FieldSet;
}

type Raw = { readonly [field: string]: unknown };

/** The managed fields of an object that is created with its defaults. */
export function managedAfterCreate(object: KubeObject, manager: Manager): readonly unknown[] {
  if (isReset(object)) return [];
  const shape = shapeOf(manager.kind);
  const { apiVersion: _, kind: __, ...fields } = withoutStatus(tracked(object), manager.kind);
  const text = addedFields(fields, shape);
  if (text === "{}") return [];
  return createdList(manager, shared(text));
}

const createdLists = new WeakMap<object, { readonly by: string; readonly list: readonly unknown[] }>();

/** The only entry of an object that somebody has created: the same list for all that are alike and of one second. */
function createdList(manager: Manager, fieldsV1: object): readonly unknown[] {
  const entry = entryOf(manager, "Update", noFields);
  const by = `${entry.time} ${entry.apiVersion} ${entry.subresource} ${entry.manager}`;
  const known = createdLists.get(fieldsV1);
  if (known?.by === by) return known.list;
  const list = [{ ...encoded(entry), fieldsV1 }];
  markRepeated(list);
  createdLists.set(fieldsV1, { by, list });
  return list;
}

const sharedMax = 1000;
const sharedFields = new Map<string, object>();

/** Objects that are made alike (the pods of a Deployment) share one set of fields: it would be half of what they need. */
function shared(text: string): object {
  const known = sharedFields.get(text);
  if (known !== undefined) return known;
  if (sharedFields.size >= sharedMax) sharedFields.delete(sharedFields.keys().next().value ?? "");
  const fields = JSON.parse(text) as object;
  sharedFields.set(text, fields);
  return fields;
}

/** The managed fields of an object that takes a previous one's place. */
export function managedAfterUpdate(object: KubeObject, previous: KubeObject, manager: Manager): readonly unknown[] {
  if (isReset(object)) return [];
  const given = decode(object.metadata.managedFields);
  const entries = given.length > 0 ? given : decode(previous.metadata.managedFields);
  const shape = shapeOf(manager.kind);
  const [before, after] = [tracked(previous), aligned(tracked(object), tracked(previous), manager)];
  const { added, modified, removed } = compare(before, after, shape);
  const changed = withoutInherent(ownable(union(added, modified)), shape);
  if (isEmpty(changed) && isEmpty(removed)) return encode(entries);
  const mine = entries.find((entry) => isOf(entry, manager, "Update", manager.kind.apiVersion));
  const others = entries
    .filter((entry) => entry !== mine)
    .map((entry) => withFields(entry, difference(difference(entry.fields, changed), removed), entry.time));
  const fields = difference(union(mine?.fields ?? noFields, changed), removed);
  const isSame = mine !== undefined && sameFields(mine.fields, fields);
  return encode(capped([...others, isSame ? mine : entryOf(manager, "Update", fields)]));
}

/**
 * The managed fields of an object as a program of the lab writes it. Such a program owns most of what it writes alone: all that is there is
 * its own then, without a comparison, which would cost more than the write.
 */
export function managedInside(object: KubeObject, previous: KubeObject, manager: Manager): readonly unknown[] {
  const before = (previous.metadata.managedFields ?? []) as readonly RawEntry[];
  const sameDoor = before.filter(({ subresource = "" }) => subresource === manager.subresource);
  const [mine] = sameDoor;
  const isMine = mine === undefined || (mine.manager === manager.name && mine.operation === "Update");
  if (sameDoor.length > 1 || !isMine || (mine === undefined && manager.subresource === ""))
    return managedAfterUpdate(object, previous, manager);
  const shape = shapeOf(manager.kind);
  const { apiVersion: _, kind: __, ...all } = tracked(object);
  const fields = manager.subresource === "status" ? { status: all["status"] } : withoutStatus(all, manager.kind);
  const text = addedFields(fields, shape);
  const fieldsV1 = shared(text);
  if (mine?.fieldsV1 === fieldsV1 || (mine !== undefined && JSON.stringify(mine.fieldsV1) === text)) return before;
  const entry = { ...encoded(entryOf(manager, "Update", noFields)), fieldsV1 };
  return [...before.filter((each) => each !== mine), entry];
}

interface RawEntry {
  readonly manager?: string;
  readonly operation?: string;
  readonly subresource?: string;
  readonly fieldsV1?: object;
}

/** What an apply makes of an object. */
export interface Application {
  readonly object: KubeObject;
  readonly managedFields: readonly unknown[];
}

/**
 * Applies a configuration: what it says is set and owned, what the same manager applied before and now leaves out is given up.
 * Throws StatusError 409 where it changes what others own, unless it is forced.
 */
export function applyConfiguration(
  configuration: KubeObject,
  live: KubeObject | undefined,
  options: { readonly manager: Manager; readonly isForced: boolean },
): Application {
  const { manager, isForced } = options;
  const shape = shapeOf(manager.kind);
  const wanted = tracked(configuration);
  const twice = sameEntries(wanted, shape);
  if (twice !== undefined) throw badRequest(`failed to create typed patch object: ${twice}`);
  const fields = ownable(without(fieldsOf(wanted, shape), scopeOf(manager)));
  const mine = entryOf(manager, "Apply", fields);
  if (live === undefined) return { object: configuration, managedFields: encode([mine]) };
  const entries = entriesBeforeApply(live, manager, shape);
  const last = entries.find((entry) => isOf(entry, manager, "Apply"));
  const others = entries.filter((entry) => entry !== last);
  const owned = others.reduce((set, entry) => union(set, entry.fields), fields);
  const joined = merged(tracked(live), aligned(wanted, undefined, manager), shape);
  const next = last === undefined ? joined : released(joined, last.fields, owned, shape);
  const { added, modified, removed } = compare(tracked(live), next, shape);
  const changed = union(added, modified);
  const conflicts = others.flatMap((entry) => {
    const taken = intersection(entry.fields, changed);
    return isEmpty(taken) ? [] : [{ entry, taken }];
  });
  if (conflicts.length > 0 && !isForced && !isLastApplied(live, manager, conflicts, shape))
    throw conflictError(conflicts);
  const remaining = others.map((entry) =>
    withFields(entry, difference(difference(entry.fields, changed), removed), entry.time),
  );
  const isSame = last !== undefined && sameFields(last.fields, fields) && last.apiVersion === mine.apiVersion;
  const object = next as KubeObject;
  const kept = Object.fromEntries(Object.entries(live.metadata).filter(([name]) => bookkeeping.has(name)));
  return {
    object: { ...object, metadata: { ...kept, ...object.metadata } },
    managedFields: encode([...remaining, isSame ? last : mine]),
  };
}

/**
 * An object that nobody's fields were noted of belongs to "before-first-apply"; where it was applied client-side (`fairlead apply`),
 * what was applied belongs to kubectl's client-side apply, and what the lab has added since to nobody.
 */
function entriesBeforeApply(live: KubeObject, manager: Manager, shape: Shape): readonly Entry[] {
  const entries = decode(live.metadata.managedFields);
  if (entries.length > 0) return entries;
  const manifest = lastManifest(live);
  if (manifest !== undefined) {
    const annotation = fieldSet(false, [[`f:${lastApplied}`, thisField]]);
    const metadata = fieldSet(false, [["f:annotations", annotation]]);
    const said = union(fieldsOf(tracked(manifest), shape), fieldSet(false, [["f:metadata", metadata]]));
    const fields = ownable(intersection(said, fieldsOf(tracked(live), shape)));
    return [entryOf({ ...manager, name: "kubectl-client-side-apply", subresource: "" }, "Update", fields)];
  }
  // As if it had written all of it at once.
  const fields = withoutInherent(ownable(compare({}, tracked(live), shape).added), shape);
  const first = { ...manager, name: "before-first-apply", subresource: "" };
  return [entryOf(first, "Update", fields)];
}

const lastApplied = "kubectl.kubernetes.io/last-applied-configuration";

interface Conflict {
  readonly entry: Entry;
  readonly taken: FieldSet;
}

// fieldmanager/lastappliedmanager.go: kubectl may take over what kubectl itself applied on the client's side.
function isLastApplied(live: KubeObject, { name }: Manager, conflicts: readonly Conflict[], shape: Shape): boolean {
  const manifest = name === "kubectl" ? lastManifest(live) : undefined;
  if (manifest === undefined) return false;
  const applied = fieldsOf(manifest, shape);
  return conflicts.every(({ taken }) => isEmpty(difference(taken, applied)));
}

/** What was applied client-side; undefined where nothing was, or where the memory of it cannot be read. */
function lastManifest({ metadata }: KubeObject): KubeObject | undefined {
  const text = metadata.annotations?.[lastApplied];
  if (text === undefined) return undefined;
  try {
    const manifest = checkedNesting(JSON.parse(text) as Partial<KubeObject> | null);
    return typeof manifest?.metadata === "object" && manifest.metadata !== null ? (manifest as KubeObject) : undefined;
  } catch {
    return undefined;
  }
}

// structured-merge-diff merge/conflict.go, apimachinery managedfields/internal/conflict.go
function conflictError(conflicts: readonly Conflict[]): StatusError {
  const causes = conflicts.flatMap(({ entry, taken }) =>
    pathsOf(taken).map((field) => ({
      reason: "FieldManagerConflict",
      message: `conflict with ${managerText(entry)}`,
      field,
    })),
  );
  const [first] = causes;
  const byManager = Map.groupBy(causes, ({ message }) => message.slice("conflict with ".length));
  const lists = [...byManager]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([manager, list]) => [`conflicts with ${manager}:`, ...list.map(({ field }) => `- ${field}`)].join("\n"));
  const message =
    causes.length === 1
      ? `Apply failed with 1 conflict: ${first?.message}: ${first?.field}`
      : `Apply failed with ${causes.length} conflicts: ${lists.join("\n")}`;
  return new StatusError(409, "Conflict", message, { causes });
}

function managerText({ manager, subresource, operation, apiVersion }: Entry): string {
  const name = JSON.stringify(manager) + (subresource === "" ? "" : ` with subresource ${JSON.stringify(subresource)}`);
  return operation === "Update" ? `${name} using ${apiVersion}` : name;
}

function isOf(entry: Entry, manager: Manager, operation: Entry["operation"], apiVersion?: string): boolean {
  return (
    entry.manager === manager.name &&
    entry.operation === operation &&
    entry.subresource === manager.subresource &&
    (apiVersion === undefined || entry.apiVersion === apiVersion)
  );
}

function entryOf(manager: Manager, operation: Entry["operation"], fields: FieldSet): Entry {
  return {
    manager: manager.name,
    operation,
    apiVersion: manager.kind.apiVersion,
    time: timeText(manager.nowMs),
    subresource: manager.subresource,
    fields,
  };
}

function withFields(entry: Entry, fields: FieldSet, time: string | undefined): Entry {
  return sameFields(entry.fields, fields) ? entry : { ...entry, fields, time };
}

/** Metadata that nobody owns: the server keeps it (fieldmanager/stripmeta.go). */
const bookkeeping = new Set([
  "name",
  "namespace",
  "uid",
  "resourceVersion",
  "generation",
  "creationTimestamp",
  "deletionTimestamp",
  "deletionGracePeriodSeconds",
  "selfLink",
  "managedFields",
]);

/** The object without what the server keeps. */
function tracked(object: KubeObject): Raw {
  const metadata: { [name: string]: unknown } = {};
  const given = object.metadata as unknown as Raw;
  for (const name of Object.keys(given)) if (!bookkeeping.has(name)) metadata[name] = given[name];
  return { ...object, metadata };
}

function withoutStatus(object: Raw, { subresources }: Kind): Raw {
  if (!subresources.some(({ name }) => name === "status")) return object;
  const { status: _, ...rest } = object;
  return rest;
}

/** What a door does not let through is as it was: the status through the main one, all else through the status's. */
function aligned(object: Raw, previous: Raw | undefined, { kind, subresource }: Manager): Raw {
  if (subresource !== "status") {
    const rest = withoutStatus(object, kind);
    if (rest === object) return object;
    return previous?.["status"] === undefined ? rest : { ...rest, status: previous["status"] };
  }
  const { apiVersion, kind: name, metadata, status } = object;
  const shown = kind.custom === undefined ? metadata : (previous?.["metadata"] ?? {});
  return { ...previous, apiVersion, kind: name, metadata: shown, ...(status === undefined ? {} : { status }) };
}

/** The fields that an apply through this door does not own although it may say them. */
function scopeOf({ kind, subresource }: Manager): FieldSet {
  const field = (name: string): readonly [string, FieldSet] => [`f:${name}`, thisField];
  if (subresource === "status") return fieldSet(false, [field("spec")]);
  return kind.subresources.some(({ name }) => name === "status") ? fieldSet(false, [field("status")]) : noFields;
}

const identity = fieldSet(false, [
  ["f:apiVersion", thisField],
  ["f:kind", thisField],
]);

// fieldmanager/stripmeta.go: nobody owns metadata itself, as an apply of no more than a name would.
function ownable(set: FieldSet): FieldSet {
  const owned = without({ ...set, member: false }, identity);
  const metadata = owned.children.get("f:metadata");
  if (metadata?.member !== true) return owned;
  const children = new Map(owned.children);
  if (metadata.children.size === 0) children.delete("f:metadata");
  else children.set("f:metadata", { ...metadata, member: false });
  return { ...owned, children };
}

/** Without the structs that every object of the kind has: nobody adds them, only what is in them. */
function withoutInherent({ member, children }: FieldSet, shape: Shape): FieldSet {
  if (shape.kind !== "fields") return { member, children };
  return {
    member,
    children: new Map(
      [...children].map(([step, child]) => {
        const name = step.slice(2);
        if (shape.zero(name) === undefined || child.children.size === 0) return [step, child];
        return [step, withoutInherent({ ...child, member: false }, shape.field(name))];
      }),
    ),
  };
}

// fieldmanager/capmanagers.go: ten entries of updates; older ones become one.
const updatesMax = 10;
const ancient = "ancient-changes";

function capped(entries: readonly Entry[]): readonly Entry[] {
  const updates = entries.filter((entry) => entry.operation === "Update" && entry.subresource === "");
  const excess = updates.length - updatesMax;
  if (excess <= 0) return entries;
  const byAge = [...updates].sort((a, b) => ((a.time ?? "") < (b.time ?? "") ? -1 : 1));
  const oldest = byAge.slice(0, excess + 1);
  const fields = oldest.reduce((set, entry) => union(set, entry.fields), noFields);
  const newest = oldest.at(-1);
  const rest = entries.filter((entry) => !oldest.includes(entry));
  return newest === undefined ? entries : [...rest, { ...newest, manager: ancient, fields }];
}

/** One empty entry asks for all of them to be forgotten. */
function isReset({ metadata: { managedFields } }: KubeObject): boolean {
  const [only] = managedFields ?? [];
  return managedFields?.length === 1 && typeof only === "object" && only !== null && Object.keys(only).length === 0;
}

const decoded = new WeakMap<object, readonly Entry[]>();

function decode(list: readonly unknown[] | undefined): readonly Entry[] {
  if (list === undefined || !Array.isArray(list)) return [];
  let entries = decoded.get(list);
  if (entries === undefined) decoded.set(list, (entries = list.flatMap(decodeEntry)));
  return entries;
}

function decodeEntry(value: unknown): readonly Entry[] {
  if (typeof value !== "object" || value === null) return [];
  const { manager, operation, apiVersion, time, subresource, fieldsV1 } = value as Raw;
  const fields = parseFields(fieldsV1);
  if (fields === undefined || typeof apiVersion !== "string") return [];
  if (operation !== "Apply" && operation !== "Update") return [];
  return [
    {
      manager: typeof manager === "string" ? manager : "unknown",
      operation,
      apiVersion,
      time: typeof time === "string" ? time : undefined,
      subresource: typeof subresource === "string" ? subresource : "",
      fields,
    },
  ];
}

function encode(entries: readonly Entry[]): readonly unknown[] {
  return entries
    .filter((entry) => !isEmpty(entry.fields))
    .sort((a, b) => compareKeys(sortKey(a), sortKey(b)))
    .map((entry) => ({ ...encoded(entry), fieldsV1: shared(JSON.stringify(formatFields(entry.fields))) }));
}

function encoded({ manager, operation, apiVersion, time, subresource }: Entry): object {
  return {
    manager,
    operation,
    apiVersion,
    ...(time === undefined ? {} : { time }),
    fieldsType: "FieldsV1",
    fieldsV1: {},
    ...(subresource === "" ? {} : { subresource }),
  };
}

function sortKey({ operation, time, manager, apiVersion, subresource }: Entry): readonly string[] {
  return [operation, time ?? "", manager, apiVersion, subresource];
}

function compareKeys(a: readonly string[], b: readonly string[]): number {
  for (const [index, key] of a.entries()) {
    const other = b[index] ?? "";
    if (key !== other) return key < other ? -1 : 1;
  }
  return 0;
}
