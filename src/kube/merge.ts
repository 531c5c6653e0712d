// Three-way merge of a manifest into an object: what the manifest says is set, what an earlier manifest said and this one does not is
// removed, everything else (defaults, what controllers set) stays.
//
// Not here: which memory of the earlier manifest is used (lab/api/apply.ts).

/** A JSON value. */
export type Json = unknown;
type Fields = { readonly [field: string]: Json };

/** `live` changed so that it says what `manifest` says; `applied` is the earlier manifest, undefined where there was none. */
export function mergeManifest(applied: Json, manifest: Json, live: Json): Json {
  if (!isFields(manifest) || !isFields(live)) return manifest;
  const before = isFields(applied) ? applied : {};
  const merged: { [field: string]: Json } = { ...live };
  for (const field of Object.keys(before)) if (isAbsent(manifest[field])) delete merged[field];
  for (const [field, value] of Object.entries(manifest)) {
    if (value === undefined) continue;
    if (value === null) delete merged[field];
    else merged[field] = mergeManifest(before[field], value, live[field]);
  }
  return merged;
}

function isFields(value: Json): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isAbsent(value: Json): boolean {
  return value === undefined || value === null;
}
