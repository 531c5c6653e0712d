// Rules for changes of pods: a pod is what it was made as, but for a few fields. Wording: upstream's pkg/apis/core/validation.

import { familyOf } from "../../ip/address.ts";
import { sameJson } from "../equal.ts";
import { dnsSubdomain, ipAddress, qualifiedName } from "../formats.ts";
import type { Container, EphemeralContainer, NodeSelectorTerm, Pod, PodSpec } from "../pod.ts";
import { at, child, forbidden, invalid, type FieldProblem } from "../problem.ts";
import { formProblems } from "./rule.ts";

const updatable = [
  "`spec.containers[*].image`",
  "`spec.initContainers[*].image`",
  "`spec.activeDeadlineSeconds`",
  "`spec.tolerations` (only additions to existing tolerations)",
  "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)",
];

const int32Max = 2 ** 31 - 1;

/** What is wrong with a pod in the place of another. Containers' resources, and ephemeral containers, have doors of their own. */
export function* podUpdate(pod: Pod, previous: Pod): Iterable<FieldProblem> {
  const [spec, before] = [pod.spec, previous.spec];
  yield* annotationChanges(pod, previous);
  yield* ephemeralChanges(spec.ephemeralContainers ?? [], before.ephemeralContainers ?? []);
  for (const field of ["containers", "initContainers"] as const)
    if ((spec[field] ?? []).length !== (before[field] ?? []).length) {
      yield forbidden(`spec.${field}`, "pod updates may not add or remove containers");
      return;
    }
  const [deadline, deadlineBefore] = [spec.activeDeadlineSeconds, before.activeDeadlineSeconds];
  if (deadline !== undefined && (deadline < 0 || deadline > int32Max)) {
    yield invalid("spec.activeDeadlineSeconds", deadline, `must be between 0 and ${int32Max}, inclusive`);
    return;
  }
  if (deadlineBefore !== undefined && deadline === undefined)
    yield invalid("spec.activeDeadlineSeconds", deadline, "must not update from a positive integer to nil value");
  if (deadlineBefore !== undefined && deadline !== undefined && deadline > deadlineBefore) {
    yield invalid("spec.activeDeadlineSeconds", deadline, "must be less than or equal to previous value");
    return;
  }
  yield* tolerationChanges(spec, before);
  const gates = new Set((before.schedulingGates ?? []).map(({ name }) => name));
  for (const [index, { name }] of (spec.schedulingGates ?? []).entries())
    if (!gates.has(name))
      yield forbidden(
        `${at("spec.schedulingGates", index)}.name`,
        `only deletion is allowed, but found new scheduling gate '${name}'`,
      );
  const isGated = gates.size > 0;
  if (isGated) yield* gatedChanges(spec, before);
  if (!sameJson(fixedPart(spec, before, isGated), fixedPart(before, before, isGated)))
    yield forbidden("spec", `pod updates may not change fields other than ${updatable.join(",")}`);
}

const appArmorPrefix = "container.apparmor.security.beta.kubernetes.io/";
const mirror = "kubernetes.io/config.mirror";

function* annotationChanges({ metadata: now }: Pod, { metadata: then }: Pod): Iterable<FieldProblem> {
  const [annotations, before] = [now.annotations ?? {}, then.annotations ?? {}];
  for (const name of new Set([...Object.keys(before), ...Object.keys(annotations)])) {
    if (annotations[name] === before[name]) continue;
    const what = name.startsWith(appArmorPrefix)
      ? "AppArmor annotations"
      : name === mirror
        ? "mirror pod annotation"
        : undefined;
    const change = name in before ? "remove or update" : "add";
    if (what !== undefined) yield forbidden(at("metadata.annotations", name), `may not ${change} ${what}`);
  }
}

function* ephemeralChanges(
  containers: readonly EphemeralContainer[],
  before: readonly EphemeralContainer[],
): Iterable<FieldProblem> {
  for (const old of before) {
    const found = containers.find(({ name }) => name === old.name);
    if (sameJson(found, old)) continue;
    const change = found === undefined ? "removed" : "changed";
    yield forbidden(
      "spec.ephemeralContainers",
      `existing ephemeral containers ${JSON.stringify(old.name)} may not be ${change}\n`,
    );
  }
}

function* tolerationChanges(spec: PodSpec, before: PodSpec): Iterable<FieldProblem> {
  const isKept = (old: object): boolean =>
    (spec.tolerations ?? []).some((each) =>
      sameJson({ ...old, tolerationSeconds: undefined }, { ...each, tolerationSeconds: undefined }),
    );
  if (!(before.tolerations ?? []).every(isKept))
    yield forbidden("spec.tolerations", "existing toleration can not be modified except its tolerationSeconds");
}

/** While gates hold a pod it may be told more narrowly where to go. */
function* gatedChanges(spec: PodSpec, before: PodSpec): Iterable<FieldProblem> {
  const labels = spec.nodeSelector ?? {};
  if (Object.entries(before.nodeSelector ?? {}).some(([key, value]) => labels[key] !== value))
    yield invalid(
      "spec.nodeSelector",
      labels,
      "only additions to spec.nodeSelector are allowed (no mutations or deletions)",
    );
  const [now, then] = [nodeTerms(spec), nodeTerms(before)];
  const path = "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms";
  if (then.length === 0) return;
  if (then.length !== now.length) {
    yield invalid(path, now, "no additions/deletions to non-empty NodeSelectorTerms list are allowed");
    return;
  }
  for (const [index, old] of then.entries())
    if (!onlyAdds(now[index] ?? {}, old))
      yield invalid(at(path, index), now[index], "only additions are allowed (no mutations or deletions)");
}

function nodeTerms({ affinity }: PodSpec): readonly NodeSelectorTerm[] {
  return affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution?.nodeSelectorTerms ?? [];
}

function onlyAdds(term: NodeSelectorTerm, old: NodeSelectorTerm): boolean {
  const fields = ["matchExpressions", "matchFields"] as const;
  if (fields.every((field) => (old[field] ?? []).length === 0))
    return fields.every((field) => (term[field] ?? []).length === 0);
  return fields.every((field) => {
    const before = old[field] ?? [];
    return sameJson((term[field] ?? []).slice(0, before.length), before);
  });
}

/** The specification without what may change, and without what has been looked at. */
function fixedPart(spec: PodSpec, before: PodSpec, isGated: boolean): unknown {
  const withoutImages = (containers: readonly Container[] | undefined): unknown =>
    containers?.map((each) => ({ ...each, image: undefined, resources: undefined }));
  const grace = spec.terminationGracePeriodSeconds;
  const isMended = (before.terminationGracePeriodSeconds ?? 0) < 0 && grace === 1;
  const { nodeAffinity: _, ...affinity } = spec.affinity ?? {};
  return {
    ...spec,
    containers: withoutImages(spec.containers),
    initContainers: withoutImages(spec.initContainers),
    resources: undefined,
    ephemeralContainers: undefined,
    activeDeadlineSeconds: undefined,
    tolerations: undefined,
    terminationGracePeriodSeconds: isMended ? before.terminationGracePeriodSeconds : grace,
    // A node is given once, by whoever binds the pod.
    nodeName: (before.nodeName ?? "") === "" ? undefined : spec.nodeName,
    schedulingGates: undefined,
    ...(isGated ? { nodeSelector: undefined, affinity } : {}),
  };
}

const conditionsOfTheSystem = new Set(["PodScheduled", "Ready", "Initialized"]);

/** What is wrong with what is reported of a pod. */
export function* podStatus({ spec, status }: Pod, previous: Pod): Iterable<FieldProblem> {
  const { conditions = [], nominatedNodeName = "" } = status ?? {};
  for (const [index, { type }] of conditions.entries())
    if (!conditionsOfTheSystem.has(type))
      for (const problem of qualifiedName(type)) yield invalid(`${at("status.conditions", index)}.Type`, type, problem);
  if (nominatedNodeName !== (previous.status?.nominatedNodeName ?? "")) {
    yield* formProblems(nominatedNodeName, dnsSubdomain, "status.nominatedNodeName");
    if (nominatedNodeName !== "" && (spec.nodeName ?? "") !== "")
      yield forbidden("status.nominatedNodeName", "may not be set on pods that are already bound to a node");
  }
  if (status?.qosClass !== previous.status?.qosClass)
    yield invalid("status.qosClass", status?.qosClass, "field is immutable");
  const { hostIP, hostIPs = [] } = status ?? {};
  yield* addresses(status?.podIPs ?? [], "status.podIPs");
  if (hostIPs.length > 0 && hostIPs[0]?.ip !== hostIP)
    yield invalid("status.hostIPs[0].ip", hostIPs[0]?.ip, "must be equal to `hostIP`");
  yield* addresses(hostIPs, "status.hostIPs");
}

function* addresses(list: readonly { readonly ip: string }[], path: string): Iterable<FieldProblem> {
  let isMalformed = false;
  for (const [index, { ip }] of list.entries())
    for (const problem of ipAddress(ip)) {
      isMalformed = true;
      yield invalid(at(path, index), ip, problem);
    }
  if (isMalformed || list.length < 2) return;
  const families = new Set(list.map(({ ip }) => familyOf(ip)));
  if (families.size < 2 || list.length > 2)
    yield invalid(path, list, "may specify no more than one IP for each IP family");
}

/** What an ephemeral container may not have. */
export function* ephemeralOnly(
  each: EphemeralContainer,
  others: ReadonlySet<string>,
  path: string,
): Iterable<FieldProblem> {
  for (const field of ["ports", "resources", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle"] as const) {
    const value = each[field];
    const isEmpty = value === undefined || Object.keys(value).length === 0;
    if (!isEmpty) yield forbidden(child(path, field), "cannot be set for an Ephemeral Container");
  }
  const target = each.targetContainerName ?? "";
  if (target !== "" && !others.has(target))
    yield {
      field: child(path, "targetContainerName"),
      reason: "FieldValueNotFound",
      message: `Not found: ${JSON.stringify(target)}`,
    };
  for (const [index, { subPath = "", subPathExpr = "" }] of (each.volumeMounts ?? []).entries())
    for (const [field, text] of Object.entries({ subPath, subPathExpr }))
      if (text !== "")
        yield forbidden(
          `${at(child(path, "volumeMounts"), index)}.${field}`,
          "cannot be set for an Ephemeral Container",
        );
}
