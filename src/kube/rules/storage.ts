// Rules for volumes and claims, and for classes of storage, priority and runtime.
// Wording: upstream's pkg/apis/{core,storage,scheduling,node}/validation.

import { sameJson } from "../equal.ts";
import { dnsLabel, dnsSubdomain, qualifiedName } from "../formats.ts";
import type { KubeObject, Labels } from "../object.ts";
import { at, child, forbidden, invalid, notSupported, required, type FieldProblem } from "../problem.ts";
import { parseQuantity } from "../quantity.ts";
import { labelProblems } from "./metadata.ts";
import { claimSpec } from "./pod-volumes.ts";
import { formProblems, type Rules, type UpdateRule } from "./rule.ts";

export const storageRules: Rules = {
  "core.v1.PersistentVolumeClaimSpec": claim,
  "core.v1.PersistentVolumeSpec": volume,
  "storage.v1.StorageClass": storageClass,
  "scheduling.v1.PriorityClass": priorityClass,
  "node.v1.RuntimeClass": runtimeClass,
};

export const storageUpdateRules: { readonly [type: string]: UpdateRule } = {
  "core.v1.PersistentVolumeClaim": claimUpdate,
  "core.v1.PersistentVolume": volumeUpdate,
  "storage.v1.StorageClass": sameFields(["provisioner", "reclaimPolicy", "volumeBindingMode"], ["parameters"]),
  "scheduling.v1.PriorityClass": function* (object: KubeObject, previous: KubeObject) {
    if (object["value"] !== previous["value"]) yield forbidden("value", "may not be changed in an update.");
    yield* sameFields(["preemptionPolicy"], [])(object as never, previous as never);
  },
  "node.v1.RuntimeClass": sameFields(["handler"], []),
};

/** A rule: fields keep their values. */
function sameFields(fields: readonly string[], maps: readonly string[]): UpdateRule {
  return function* (object: KubeObject, previous: KubeObject) {
    for (const field of fields)
      if (object[field] !== previous[field]) yield invalid(field, object[field], "field is immutable");
    for (const field of maps)
      if (!sameJson(object[field] ?? {}, previous[field] ?? {}))
        yield invalid(field, object[field], "field is immutable");
  };
}

const accessModes: readonly string[] = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];

interface ClaimSpec {
  readonly accessModes?: readonly string[];
  readonly resources?: { readonly requests?: { readonly [name: string]: string | number } };
  readonly storageClassName?: string;
  readonly volumeAttributesClassName?: string;
}

/** Of a pod's own claims its volume says more (pod-volumes.ts). */
function* claim(spec: ClaimSpec, path: string): Iterable<FieldProblem> {
  if (!path.includes("volumeClaimTemplate.")) yield* claimSpec(spec, path);
  for (const mode of spec.accessModes ?? [])
    if (!accessModes.includes(mode)) yield notSupported(child(path, "accessModes"), mode, accessModes);
  yield* formProblems(spec.storageClassName, dnsSubdomain, child(path, "storageClassName"));
  yield* formProblems(spec.volumeAttributesClassName, dnsSubdomain, child(path, "volumeAttributesClassName"));
}

interface Claim extends KubeObject {
  readonly spec?: ClaimSpec;
  readonly status?: {
    readonly phase?: string;
    readonly capacity?: { readonly [name: string]: string | number };
  };
}

const isFixed =
  "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";

function* claimUpdate({ spec = {}, status }: Claim, previous: Claim): Iterable<FieldProblem> {
  const before = previous.spec ?? {};
  const isBound = previous.status?.phase === "Bound";
  const fixed = (of: ClaimSpec): object => ({
    ...of,
    // A volume is given once, and a class may be told where there was none.
    volumeName: undefined,
    ...(isBound ? { resources: { ...of.resources, requests: undefined } } : {}),
    volumeAttributesClassName: undefined,
    storageClassName: before.storageClassName === undefined ? undefined : of.storageClassName,
  });
  const volumeOf = (of: ClaimSpec): unknown => (of as { readonly volumeName?: string }).volumeName ?? "";
  const isMoved = volumeOf(before) !== "" && volumeOf(before) !== volumeOf(spec);
  if (!sameJson(fixed(spec), fixed(before)) || isMoved) yield forbidden("spec", isFixed);
  const [now, then] = [spec.resources?.requests?.["storage"], before.resources?.requests?.["storage"]];
  const capacity = status?.capacity?.["storage"];
  const amount = (quantity: string | number | undefined): number => parseQuantity(quantity ?? 0) ?? 0;
  if (isBound && amount(now) < amount(then) && (capacity === undefined || amount(now) <= amount(capacity)))
    yield forbidden("spec.resources.requests.storage", "field can not be less than status.capacity");
}

interface VolumeSpec {
  readonly accessModes?: readonly string[];
  readonly capacity?: { readonly [name: string]: string | number };
  readonly storageClassName?: string;
  readonly nodeAffinity?: unknown;
  readonly [source: string]: unknown;
}

/** What a volume's specification has besides its source. */
const plain = new Set(
  "accessModes capacity claimRef mountOptions nodeAffinity persistentVolumeReclaimPolicy storageClassName volumeAttributesClassName volumeMode".split(
    " ",
  ),
);

function* volume(spec: VolumeSpec, path: string): Iterable<FieldProblem> {
  const { accessModes: modes = [], capacity = {} } = spec;
  if (modes.length === 0) yield required(child(path, "accessModes"));
  for (const mode of modes)
    if (!accessModes.includes(mode)) yield notSupported(child(path, "accessModes"), mode, accessModes);
  const place = child(path, "capacity");
  const names = Object.keys(capacity);
  if (names.length === 0) yield required(place);
  if (names.length !== 1 || names[0] !== "storage") yield notSupported(place, capacity, ["storage"]);
  for (const [name, quantity] of Object.entries(capacity))
    if ((parseQuantity(quantity) ?? 0) <= 0)
      yield invalid(at(place, name), String(quantity), "must be greater than zero");
  const sources = Object.keys(spec).filter((field) => !plain.has(field));
  if (sources.length === 0) yield required(path, "must specify a volume type");
  for (const source of sources.slice(1))
    yield forbidden(child(path, source), "may not specify more than 1 volume type");
  if (sources.includes("local") && spec.nodeAffinity === undefined)
    yield required(child(path, "nodeAffinity"), "Local volume requires node affinity");
  yield* formProblems(spec.storageClassName, dnsSubdomain, child(path, "storageClassName"));
}

function* volumeUpdate(object: KubeObject, previous: KubeObject): Iterable<FieldProblem> {
  const sourceOf = ({ spec }: KubeObject): object =>
    Object.fromEntries(Object.entries((spec ?? {}) as VolumeSpec).filter(([field]) => !plain.has(field)));
  if (!sameJson(sourceOf(object), sourceOf(previous)))
    yield forbidden("spec.persistentvolumesource", "spec.persistentvolumesource is immutable after creation");
  const modeOf = ({ spec }: KubeObject): unknown => ((spec ?? {}) as VolumeSpec)["volumeMode"];
  if (modeOf(object) !== modeOf(previous)) yield invalid("spec.volumeMode", modeOf(object), "field is immutable");
}

interface StorageClass {
  readonly provisioner?: string;
  readonly parameters?: { readonly [name: string]: string };
}

const parametersMax = 512;

function* storageClass({ provisioner = "", parameters = {} }: StorageClass): Iterable<FieldProblem> {
  if (provisioner === "") yield required("provisioner");
  else
    for (const problem of qualifiedName(provisioner.toLowerCase())) yield invalid("provisioner", provisioner, problem);
  const names = Object.keys(parameters);
  if (names.length > parametersMax)
    yield {
      field: "Provisioner Parameters Length",
      reason: "FieldValueTooLong",
      message: `Too long: may not be more than ${parametersMax} bytes`,
    };
  for (const name of names) if (name === "") yield invalid("parameters", name, "field can not be empty.");
}

const userPriorityMax = 1_000_000_000;
const systemClasses = new Set(["system-cluster-critical", "system-node-critical"]);

function* priorityClass({ metadata, ...fields }: KubeObject): Iterable<FieldProblem> {
  const value = (fields["value"] ?? 0) as number;
  if (systemClasses.has(metadata.name)) return;
  if (metadata.name.startsWith("system-"))
    yield forbidden(
      "metadata.name",
      `priority class names with 'system-' prefix are reserved for system use only. error: ${metadata.name} is not a known system priority class`,
    );
  else if (value > userPriorityMax)
    yield forbidden("value", `maximum allowed value of a user defined priority is ${userPriorityMax}`);
}

interface RuntimeClass {
  readonly handler?: string;
  readonly overhead?: { readonly podFixed?: { readonly [name: string]: string | number } };
  readonly scheduling?: { readonly nodeSelector?: Labels };
}

function* runtimeClass({ handler = "", overhead, scheduling }: RuntimeClass): Iterable<FieldProblem> {
  if (handler === "") yield required("handler");
  for (const problem of handler === "" ? [] : dnsLabel(handler)) yield invalid("handler", handler, problem);
  for (const [name, quantity] of Object.entries(overhead?.podFixed ?? {}))
    if ((parseQuantity(quantity) ?? 0) < 0)
      // Upstream's path.
      yield invalid(at("overhead.limits", name), String(quantity), "must be greater than or equal to 0");
  yield* labelProblems(scheduling?.nodeSelector, "scheduling.nodeSelector");
}
