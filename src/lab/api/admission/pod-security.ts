// Pod Security admission: what the labels of a namespace allow its pods (pod-security-admission, KEP-2579). enforce refuses pods; warn
// warns, of templates of pods too; audit would be written to an audit log, which a lab has none of.

import type { Pod } from "../../../kube/kinds.ts";
import type { KubeObject, Labels } from "../../../kube/object.ts";
import { invalid, type FieldProblem } from "../../../kube/problem.ts";
import type { Admission, AdmissionRequest, Validation } from "../api.ts";
import { forbidden, invalidObject } from "../errors.ts";
import { checkedPod, violations, type CheckedPod, type Level } from "./pod-security-checks.ts";

const prefix = "pod-security.kubernetes.io/";

interface LevelVersion {
  readonly level: Level;
  readonly version: string;
}

const levels = ["privileged", "baseline", "restricted"] as const;

/** What is asked of pods in one way; undefined where nothing is. */
function policyOf(labels: Labels | undefined, mode: "enforce" | "warn"): LevelVersion | undefined {
  const level = labels?.[`${prefix}${mode}`];
  // Warnings follow what is enforced where nothing else is said of them.
  if (level === undefined) return mode === "warn" ? policyOf(labels, "enforce") : undefined;
  const version = labels?.[`${prefix}${mode}-version`];
  return {
    // What cannot be read is taken for the strictest where it refuses, and for nothing where it warns.
    level: levels.find((each) => each === level) ?? (mode === "enforce" ? "restricted" : "privileged"),
    version: version === undefined || !isVersion(version) ? "latest" : version,
  };
}

function isVersion(text: string): boolean {
  return text === "latest" || /^v1\.(0|[1-9]\d*)$/.test(text);
}

/** Refuses pods that do what their namespace does not allow. Throws StatusError 403. */
export const podSecurity: Validation = (request) => {
  const { operation, object, kind, store, actor } = request;
  if (operation === "delete") return;
  if (kind.group === "" && kind.resource === "namespaces") return namespaceWarnings(request);
  const isPod = kind.group === "" && kind.resource === "pods";
  if (isPod ? !isJudged(request) : actor.subresource !== undefined || !templates.has(kind.stored.resource)) return;
  const { namespace } = object.metadata;
  const labels =
    namespace === undefined
      ? undefined
      : store.get({ group: "", resource: "namespaces", name: namespace })?.metadata.labels;
  const [enforce, warn] = [policyOf(labels, "enforce"), policyOf(labels, "warn")];
  if (enforce === undefined && warn === undefined) return;
  const pod = isPod ? checkedPod(object as Pod) : templateOf(object);
  if (pod === undefined) return;
  const refusal = isPod && enforce !== undefined ? violationText(pod, enforce) : undefined;
  if (refusal !== undefined)
    throw forbidden({ group: "", resource: "pods", name: object.metadata.name }, `violates PodSecurity ${refusal}`);
  const warning = warn === undefined ? undefined : violationText(pod, warn);
  if (warning !== undefined) actor.warn?.(`would violate PodSecurity ${warning}`);
};

/** A pod that is made, or gets another container. */
function isJudged({ operation, actor }: AdmissionRequest): boolean {
  return operation === "create" ? actor.subresource === undefined : actor.subresource === "ephemeralcontainers";
}

/** Kinds that make pods. */
const templates = new Set([
  "cronjobs",
  "daemonsets",
  "deployments",
  "jobs",
  "podtemplates",
  "replicasets",
  "replicationcontrollers",
  "statefulsets",
]);

interface Template {
  readonly metadata?: { readonly annotations?: Labels };
  readonly spec?: Pod["spec"];
}

function templateOf(object: KubeObject): CheckedPod | undefined {
  const spec = (object["spec"] ?? {}) as {
    readonly template?: Template;
    readonly jobTemplate?: { readonly spec?: { readonly template?: Template } };
  };
  const template = spec.jobTemplate?.spec?.template ?? spec.template ?? (object["template"] as Template | undefined);
  return template?.spec === undefined
    ? undefined
    : checkedPod({ ...(template.metadata === undefined ? {} : { metadata: template.metadata }), spec: template.spec });
}

function violationText(pod: CheckedPod, { level, version }: LevelVersion): string | undefined {
  const found = violations(pod, level);
  if (found.length === 0) return undefined;
  const list = found.map(({ reason, detail }) => (detail === "" ? reason : `${reason} (${detail})`));
  return `"${level}:${version}": ${list.join(", ")}`;
}

/** Refuses labels that say nothing that is known. Throws StatusError 422. */
export const podSecurityLabels: Admission = ({ operation, object, previous, kind }) => {
  if (operation === "delete" || kind.group !== "" || kind.resource !== "namespaces") return object;
  const { labels = {} } = object.metadata;
  const problems: FieldProblem[] = [];
  for (const mode of ["enforce", "audit", "warn"]) {
    const [level, version] = [labels[`${prefix}${mode}`], labels[`${prefix}${mode}-version`]];
    if (level !== undefined && !levels.some((each) => each === level))
      problems.push(invalid(`metadata.labels[${prefix}${mode}]`, level, `must be one of ${levels.join(", ")}`));
    if (version !== undefined && !isVersion(version))
      problems.push(invalid(`metadata.labels[${prefix}${mode}-version]`, version, 'must be "latest" or "v1.x"'));
  }
  const before = previous?.metadata.labels ?? {};
  const isNew = problems.some(({ field }) => {
    const label = field.slice("metadata.labels[".length, -1);
    return previous === undefined || labels[label] !== before[label];
  });
  if (isNew) throw invalidObject(kind, object.metadata.name, problems);
  return object;
};

const podsCheckedMax = 3000;

/** Says which pods that are there already would be refused by what is newly enforced. */
function namespaceWarnings({ operation, object, previous, store, actor }: AdmissionRequest): void {
  const enforce = policyOf(object.metadata.labels, "enforce");
  if (operation !== "update" || enforce === undefined || enforce.level === "privileged") return;
  const before = policyOf(previous?.metadata.labels, "enforce");
  if (before?.level === enforce.level && before.version === enforce.version) return;
  const { name } = object.metadata;
  const found = new Map<string, string[]>();
  for (const pod of store.list({ group: "", resource: "pods" }, { namespace: name }).items.slice(0, podsCheckedMax)) {
    const reasons = violations(checkedPod(pod as Pod), enforce.level).map(({ reason }) => reason);
    if (reasons.length === 0) continue;
    const text = reasons.join(", ");
    found.set(text, [...(found.get(text) ?? []), pod.metadata.name]);
  }
  if (found.size === 0) return;
  actor.warn?.(
    `existing pods in namespace ${JSON.stringify(name)} violate the new PodSecurity enforce level "${enforce.level}:${enforce.version}"`,
  );
  const lines = [...found].map(([reasons, pods]) => {
    const others = pods.length - 1;
    const more = others === 0 ? "" : others === 1 ? " (and 1 other pod)" : ` (and ${others} other pods)`;
    return `${[...pods].sort()[0]}${more}: ${reasons}`;
  });
  for (const line of lines.sort()) actor.warn?.(line);
}
