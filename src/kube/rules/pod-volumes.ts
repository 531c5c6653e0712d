// Rules for the volumes of pods and where containers have them. Wording: upstream's pkg/apis/core/validation.

import { dnsLabel, dnsSubdomain } from "../formats.ts";
import type { Container, DownwardAPIVolumeFile, KeyToPath, ObjectFieldSelector, Volume, VolumeDevice } from "../pod.ts";
import { at, child, forbidden, invalid, notSupported, required, type FieldProblem } from "../problem.ts";
import { parseQuantity } from "../quantity.ts";
import { fieldReference, resourceReference } from "./pod-references.ts";
import { formProblems, type Rules } from "./rule.ts";

export const volumeRules: Rules = {
  "core.v1.Volume": volume,
  "core.v1.KeyToPath": keyToPath,
  "core.v1.HostPathVolumeSource": function* ({ path }: { path: string }, place: string) {
    if (path === "") yield required(child(place, "path"));
    else yield* noBacksteps(path, child(place, "path"));
  },
  "core.v1.ConfigMapVolumeSource": fileModes,
  "core.v1.SecretVolumeSource": fileModes,
  "core.v1.EmptyDirVolumeSource": function* ({ sizeLimit }: { sizeLimit?: string | number }, place: string) {
    if (sizeLimit !== undefined && (parseQuantity(sizeLimit) ?? 0) < 0)
      yield forbidden(child(place, "sizeLimit"), "SizeLimit field must be a valid resource quantity");
  },
  "core.v1.DownwardAPIVolumeSource": function* (
    source: { defaultMode?: number; items?: readonly DownwardAPIVolumeFile[] },
    place: string,
  ) {
    yield* fileModes(source, place);
    // Upstream does not say which of them.
    for (const file of source.items ?? []) yield* downwardFile(file, place);
  },
  "core.v1.PersistentVolumeClaimVolumeSource": function* ({ claimName }: { claimName: string }, place: string) {
    if (claimName === "") yield required(child(place, "claimName"));
  },
  "core.v1.EphemeralVolumeSource": ephemeral,
  "core.v1.NFSVolumeSource": function* ({ server, path }: { server: string; path: string }, place: string) {
    if (server === "") yield required(child(place, "server"));
    if (path === "") yield required(child(place, "path"));
    else if (!path.startsWith("/")) yield invalid(child(place, "path"), path, "must be an absolute path");
  },
  "core.v1.CSIVolumeSource": function* ({ driver }: { driver: string }, place: string) {
    if (driver === "") yield required(child(place, "driver"));
    else
      for (const problem of dnsSubdomain(driver.toLowerCase())) yield invalid(child(place, "driver"), driver, problem);
  },
  "core.v1.ProjectedVolumeSource": projected,
};

function* volume(each: Volume, path: string): Iterable<FieldProblem> {
  if (each.name === "") yield required(child(path, "name"));
  yield* formProblems(each.name, dnsLabel, child(path, "name"));
  const kinds = Object.keys(each).filter((field) => field !== "name" && each[field] !== undefined);
  for (const kind of kinds.slice(1)) yield forbidden(child(path, kind), "may not specify more than 1 volume type");
  if (each.configMap !== undefined && (each.configMap.name ?? "") === "") yield required(child(path, "configMap.name"));
  if (each.secret !== undefined && (each.secret.secretName ?? "") === "")
    yield required(child(path, "secret.secretName"));
}

const modeText = "must be a number between 0 and 0777 (octal), both inclusive";

function* fileMode(mode: number | undefined, path: string): Iterable<FieldProblem> {
  if (mode !== undefined && (mode < 0 || mode > 0o777)) yield invalid(path, mode, modeText);
}

function* fileModes({ defaultMode }: { defaultMode?: number }, path: string): Iterable<FieldProblem> {
  yield* fileMode(defaultMode, child(path, "defaultMode"));
}

function* keyToPath({ key, path: file, mode }: KeyToPath, path: string): Iterable<FieldProblem> {
  if (key === "") yield required(child(path, "key"));
  if (file === "") yield required(child(path, "path"));
  yield* reservedPath(file, child(path, "path"));
  yield* fileMode(mode, child(path, "mode"));
}

/** A path below another: relative, and without ways up. */
export function* insidePath(text: string, path: string): Iterable<FieldProblem> {
  if (text.startsWith("/")) yield invalid(path, text, "must be a relative path");
  yield* noBacksteps(text, path);
}

function* noBacksteps(text: string, path: string): Iterable<FieldProblem> {
  if (text.split("/").includes("..")) yield invalid(path, text, "must not contain '..'");
}

/** As insidePath, where what begins with two dots is the volume's own. */
function* reservedPath(text: string, path: string): Iterable<FieldProblem> {
  yield* insidePath(text, path);
  if (text.startsWith("..") && !text.startsWith("../")) yield invalid(path, text, "must not start with '..'");
}

const files: readonly string[] = [
  "metadata.annotations",
  "metadata.labels",
  "metadata.name",
  "metadata.namespace",
  "metadata.uid",
];

/** A fact about the pod as a file. */
function* downwardFile(file: DownwardAPIVolumeFile, place: string): Iterable<FieldProblem> {
  if (file.path === "") yield required(child(place, "path"));
  yield* reservedPath(file.path, child(place, "path"));
  const { fieldRef, resourceFieldRef, mode } = file;
  if (fieldRef !== undefined) {
    yield* fieldReference(fieldRef satisfies ObjectFieldSelector, files, child(place, "fieldRef"));
    if (resourceFieldRef !== undefined)
      yield invalid(place, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously");
  } else if (resourceFieldRef === undefined) yield required(place, "one of fieldRef and resourceFieldRef is required");
  else {
    if ((resourceFieldRef.containerName ?? "") === "") yield required(child(place, "resourceFieldRef.containerName"));
    else yield* resourceReference(resourceFieldRef, child(place, "resourceFieldRef"));
  }
  yield* fileMode(mode, child(place, "mode"));
}

interface ClaimTemplate {
  readonly metadata?: { readonly [field: string]: unknown };
  readonly spec?: {
    readonly accessModes?: readonly string[];
    readonly resources?: { readonly requests?: { readonly [name: string]: string | number } };
  };
}

function* ephemeral(
  { volumeClaimTemplate: template }: { volumeClaimTemplate?: ClaimTemplate },
  path: string,
): Iterable<FieldProblem> {
  const place = child(path, "volumeClaimTemplate");
  if (template === undefined) {
    yield required(place);
    return;
  }
  for (const [field, value] of Object.entries(template.metadata ?? {}))
    if (field !== "labels" && field !== "annotations" && value !== "")
      yield forbidden(child(place, `metadata.${field}`), "cannot be set");
  yield* claimSpec(template.spec ?? {}, child(place, "spec"));
}

/** What a claim must ask for. */
export function* claimSpec(
  { accessModes = [], resources = {} }: NonNullable<ClaimTemplate["spec"]>,
  path: string,
): Iterable<FieldProblem> {
  if (accessModes.length === 0) yield required(child(path, "accessModes"), "at least 1 access mode is required");
  if (accessModes.length > 1 && accessModes.includes("ReadWriteOncePod"))
    yield forbidden(child(path, "accessModes"), "may not use ReadWriteOncePod with other access modes");
  const storage = resources.requests?.["storage"];
  const place = at(child(path, "resources"), "storage");
  if (storage === undefined) yield required(place);
  else if ((parseQuantity(storage) ?? 0) <= 0) yield invalid(place, String(storage), "must be greater than zero");
}

interface Projection {
  readonly configMap?: Mapped;
  readonly secret?: Mapped;
  readonly downwardAPI?: { readonly items?: readonly DownwardAPIVolumeFile[] };
  readonly serviceAccountToken?: { readonly path: string; readonly expirationSeconds?: number };
}

interface Mapped {
  readonly name?: string;
  readonly items?: readonly KeyToPath[];
}

const tokenSecondsMin = 600;
const tokenSecondsMax = 2 ** 32;

function* projected(
  { sources = [], defaultMode }: { sources?: readonly Projection[]; defaultMode?: number },
  path: string,
): Iterable<FieldProblem> {
  yield* fileMode(defaultMode, child(path, "defaultMode"));
  const paths = new Set<string>();
  const conflicts = function* (file: string, what: string): Iterable<FieldProblem> {
    if (file !== "" && paths.has(file)) yield invalid(path, what, "conflicting duplicate paths");
    paths.add(file);
  };
  for (const [index, source] of sources.entries()) {
    const place = at(child(path, "sources"), index);
    for (const field of ["secret", "configMap"] as const) {
      const { name = "", items = [] } = source[field] ?? {};
      if (source[field] !== undefined && name === "") yield required(child(place, `${field}.name`));
      for (const item of items) yield* conflicts(item.path, name);
    }
    for (const file of source.downwardAPI?.items ?? []) {
      yield* downwardFile(file, child(place, "downwardAPI"));
      yield* conflicts(file.path, file.path);
    }
    const token = source.serviceAccountToken;
    if (token !== undefined) {
      const seconds = token.expirationSeconds ?? tokenSecondsMin;
      const field = child(place, "serviceAccountToken.expirationSeconds");
      if (seconds < tokenSecondsMin) yield invalid(field, seconds, "may not specify a duration less than 10 minutes");
      if (seconds > tokenSecondsMax)
        yield invalid(field, seconds, "may not specify a duration larger than 2^32 seconds");
      // Upstream's path is that of the volume.
      if (token.path === "") yield required(child(path, "path"));
      else yield* reservedPath(token.path, child(path, "path"));
    }
    if (Object.keys(source).length > 1) yield forbidden(place, "may not specify more than 1 volume type per source");
  }
}

const propagations: readonly string[] = ["Bidirectional", "HostToContainer", "None"];
const readOnlyModes: readonly string[] = ["Disabled", "Enabled", "IfPossible"];

/** Where a container has volumes. Some of upstream's paths name the list and not the mount. */
export function* mounts(
  { volumeMounts = [], volumeDevices = [], securityContext }: Container,
  volumes: ReadonlyMap<string, Volume | undefined>,
  path: string,
): Iterable<FieldProblem> {
  if (volumeMounts.length + volumeDevices.length === 0) return;
  const paths = new Set<string>();
  const list = child(path, "volumeMounts");
  for (const [index, mount] of volumeMounts.entries()) {
    const { name, mountPath, subPath = "", subPathExpr = "", mountPropagation } = mount;
    const place = at(list, index);
    if (name === "") yield required(child(place, "name"));
    if (!volumes.has(name)) yield notFound(child(place, "name"), name);
    if (mountPath === "") yield required(child(place, "mountPath"));
    if (paths.has(mountPath)) yield invalid(child(place, "mountPath"), mountPath, "must be unique");
    paths.add(mountPath);
    if (volumeDevices.some((device) => device.name === name))
      yield invalid(child(place, "name"), name, "must not already exist in volumeDevices");
    if (volumeDevices.some((device) => device.devicePath === mountPath))
      yield invalid(child(place, "mountPath"), mountPath, "must not already exist as a path in volumeDevices");
    yield* insidePath(subPath, child(list, "subPath"));
    if (subPath !== "" && subPathExpr !== "")
      yield invalid(child(place, "subPathExpr"), subPathExpr, "subPathExpr and subPath are mutually exclusive");
    yield* insidePath(subPathExpr, child(list, "subPathExpr"));
    if (mountPropagation !== undefined && !propagations.includes(mountPropagation))
      yield notSupported(child(list, "mountPropagation"), mountPropagation, propagations);
    if (mountPropagation === "Bidirectional" && securityContext?.privileged !== true)
      yield forbidden(
        child(list, "mountPropagation"),
        "Bidirectional mount propagation is available only to privileged containers",
      );
    yield* readOnly(mount, child(list, "recursiveReadOnly"));
  }
  yield* devices(volumeDevices, volumeMounts, volumes, child(path, "volumeDevices"));
}

type Mount = NonNullable<Container["volumeMounts"]>[number];

function* readOnly(
  { recursiveReadOnly: mode, readOnly: isReadOnly, mountPropagation }: Mount,
  path: string,
): Iterable<FieldProblem> {
  if (mode === undefined || mode === "Disabled") return;
  if (!readOnlyModes.includes(mode)) {
    yield notSupported(path, mode, readOnlyModes);
    return;
  }
  if (isReadOnly !== true) yield forbidden(path, "may only be specified when readOnly is true");
  if (mountPropagation !== undefined && mountPropagation !== "None")
    yield forbidden(path, "may only be specified when mountPropagation is None or not specified");
}

function* devices(
  list: readonly VolumeDevice[],
  volumeMounts: readonly Mount[],
  volumes: ReadonlyMap<string, Volume | undefined>,
  path: string,
): Iterable<FieldProblem> {
  for (const [index, { name, devicePath }] of list.entries()) {
    const place = at(path, index);
    const before = list.slice(0, index);
    const source = volumes.get(name);
    if (name === "") yield required(child(place, "name"));
    else if (before.some((device) => device.name === name)) yield invalid(child(place, "name"), name, "must be unique");
    if (!volumes.has(name)) yield notFound(child(place, "name"), name);
    else if (source !== undefined && !("persistentVolumeClaim" in source || "ephemeral" in source))
      yield invalid(
        child(place, "name"),
        name,
        "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode",
      );
    if (devicePath === "") yield required(child(place, "devicePath"));
    if (before.some((device) => device.devicePath === devicePath))
      yield invalid(child(place, "devicePath"), devicePath, "must be unique");
    if (devicePath.split("/").includes(".."))
      yield invalid(child(place, "devicePath"), devicePath, "can not contain backsteps ('..')");
    if (volumeMounts.some((mount) => mount.name === name))
      yield invalid(child(place, "name"), name, "must not already exist in volumeMounts");
    if (volumeMounts.some((mount) => mount.mountPath === devicePath))
      yield invalid(child(place, "devicePath"), devicePath, "must not already exist as a path in volumeMounts");
  }
}

function notFound(field: string, value: string): FieldProblem {
  return { field, reason: "FieldValueNotFound", message: `Not found: ${JSON.stringify(value)}` };
}
