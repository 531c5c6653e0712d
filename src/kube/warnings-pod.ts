// What is warned of in the specification of a pod, or of a template of pods (upstream's pkg/api/pod/warnings.go).

import type {
  Affinity,
  Container,
  ContainerPort,
  EnvVar,
  NodeSelectorTerm,
  PodAffinity,
  PodSpec,
  Volume,
} from "./pod.ts";
import type { Labels, ObjectMeta } from "./object.ts";
import { labelValue } from "./formats.ts";
import { at, child } from "./problem.ts";
import { about, annotationWarnings, byteWarnings, type Warning } from "./warning.ts";

/** Of a specification with its metadata, where `path` is "" for a pod and `spec.template.` for the template of a Deployment. */
export function podSpecWarnings(spec: PodSpec, metadata: Partial<ObjectMeta>, path: string): readonly Warning[] {
  const within = (name: string): string => `${path}spec.${name}`;
  const containers = placed(spec, `${path}spec`);
  return [
    ...Object.keys(spec.nodeSelector ?? {}).flatMap((key) =>
      oldNodeLabels[key] === undefined ? [] : [about(at(within("nodeSelector"), key), oldNodeLabels[key])],
    ),
    ...affinityWarnings(spec.affinity ?? {}, within("affinity")),
    ...spreadWarnings(spec, within("topologySpreadConstraints")),
    ...annotationWarnings(metadata.annotations, oldAnnotations, `${path}metadata.annotations`),
    ...(spec.securityContext?.seccompProfile === undefined
      ? annotationWarnings(metadata.annotations, { [seccompPod]: seccompText }, `${path}metadata.annotations`)
      : []),
    ...(spec.volumes ?? []).flatMap((volume, index) => volumeWarnings(volume, at(within("volumes"), index))),
    ...repeated(spec.hostAliases ?? [], ({ ip }) => ip).map(([index, ip]) =>
      about(`${at(within("hostAliases"), index)}.ip`, `duplicate ip ${JSON.stringify(ip)}`),
    ),
    ...repeated(spec.imagePullSecrets ?? [], ({ name = "" }) => name).map(([index, name]) =>
      about(`${at(within("imagePullSecrets"), index)}.name`, `duplicate name ${JSON.stringify(name)}`),
    ),
    ...(spec.imagePullSecrets ?? []).flatMap(({ name = "" }, index) =>
      name === "" ? [about(`${at(within("imagePullSecrets"), index)}.name`, 'invalid empty name ""')] : [],
    ),
    ...containers.flatMap(([container, place]) => containerWarnings(container, place)),
    ...appArmorWarnings(spec, containers, metadata.annotations, `${path}metadata.annotations`),
    ...portWarnings(containers),
    ...((spec.terminationGracePeriodSeconds ?? 0) < 0
      ? [
          about(
            within("terminationGracePeriodSeconds"),
            "must be >= 0; negative values are invalid and will be treated as 1",
          ),
        ]
      : []),
  ];
}

/** Labels of nodes that have other names today. */
const oldNodeLabels: { readonly [label: string]: string } = {
  "beta.kubernetes.io/arch": 'deprecated since v1.14; use "kubernetes.io/arch" instead',
  "beta.kubernetes.io/os": 'deprecated since v1.14; use "kubernetes.io/os" instead',
  "failure-domain.beta.kubernetes.io/region": 'deprecated since v1.17; use "topology.kubernetes.io/region" instead',
  "failure-domain.beta.kubernetes.io/zone": 'deprecated since v1.17; use "topology.kubernetes.io/zone" instead',
  "beta.kubernetes.io/instance-type": 'deprecated since v1.17; use "node.kubernetes.io/instance-type" instead',
  "app.kubernetes.io/created-by": "deprecated since v1.9",
  "scheduler.alpha.kubernetes.io/preferAvoidPods": "deprecated since v1.22; use Taints and Tolerations instead",
  "node-role.kubernetes.io/master": 'use "node-role.kubernetes.io/control-plane" instead',
};

const oldAnnotations = {
  "scheduler.alpha.kubernetes.io/critical-pod": 'non-functional in v1.16+; use the "priorityClassName" field instead',
  "security.alpha.kubernetes.io/sysctls": 'non-functional in v1.11+; use the "sysctls" field instead',
  "security.alpha.kubernetes.io/unsafe-sysctls": 'non-functional in v1.11+; use the "sysctls" field instead',
};

const seccompPod = "seccomp.security.alpha.kubernetes.io/pod";
const seccompText = 'non-functional in v1.27+; use the "seccompProfile" field instead';

/** Volumes of plugins that are gone. */
const oldVolumes: { readonly [source: string]: string } = {
  photonPersistentDisk: "deprecated in v1.11, non-functional in v1.16+",
  gitRepo: "deprecated in v1.11, and disabled by default in v1.33+",
  scaleIO: "deprecated in v1.16, non-functional in v1.22+",
  flocker: "deprecated in v1.22, non-functional in v1.25+",
  storageos: "deprecated in v1.22, non-functional in v1.25+",
  quobyte: "deprecated in v1.22, non-functional in v1.25+",
  glusterfs: "deprecated in v1.25, non-functional in v1.26+",
  cephfs: "deprecated in v1.28, non-functional in v1.31+",
  rbd: "deprecated in v1.28, non-functional in v1.31+",
};

function volumeWarnings(volume: Volume, path: string): readonly Warning[] {
  const { name, projected } = volume;
  const { sources = [] } = projected ?? {};
  if (sources.length > 0 && sources.every((source) => Object.keys(source).length === 0))
    return [{ field: path, text: `volume ${JSON.stringify(name)} (Projected) has no sources provided` }];
  return Object.keys(volume).flatMap((source) => {
    const message = oldVolumes[source];
    // The path is that of upstream's own type.
    return message === undefined ? [] : [about(child(path, source === "storageos" ? "storageOS" : source), message)];
  });
}

function appArmorWarnings(
  spec: PodSpec,
  containers: Placed,
  annotations: Labels | undefined,
  path: string,
): readonly Warning[] {
  if (annotations === undefined) return [];
  const has = (context: object | undefined): boolean =>
    (context as Fields | undefined)?.["appArmorProfile"] !== undefined;
  if (has(spec.securityContext)) return [];
  return containers.flatMap(([{ name, securityContext }]) => {
    const key = `container.apparmor.security.beta.kubernetes.io/${name}`;
    if (annotations[key] === undefined || has(securityContext)) return [];
    return [about(at(path, key), 'deprecated since v1.30; use the "appArmorProfile" field instead')];
  });
}

type Fields = { readonly [field: string]: unknown };

type Placed = readonly (readonly [container: Container, place: string])[];

/** All containers with their places, in the order that upstream goes through them. */
function placed(spec: PodSpec, path: string): Placed {
  return (["initContainers", "containers", "ephemeralContainers"] as const).flatMap((field) =>
    (spec[field] ?? []).map((each, index) => [each, at(child(path, field), index)] as const),
  );
}

function containerWarnings({ resources = {}, env = [] }: Container, path: string): readonly Warning[] {
  return [
    ...(["limits", "requests"] as const).flatMap((field) =>
      byteWarnings(resources[field]?.["memory"], at(`${path}.resources.${field}`, "memory")),
    ),
    ...(["limits", "requests"] as const).flatMap((field) =>
      byteWarnings(resources[field]?.["ephemeral-storage"], at(`${path}.resources.${field}`, "ephemeral-storage")),
    ),
    ...repeated(env, ({ name }) => name).flatMap(([index, name]) =>
      extends_(env[index]) ? [] : [about(at(child(path, "env"), index), hides(name))],
    ),
  ];
}

function hides(name: string): string {
  return `hides previous definition of ${JSON.stringify(name)}, which may be dropped when using apply`;
}

/** Does a variable add to the one of the same name before it? */
function extends_(variable: EnvVar | undefined): boolean {
  const { name = "", value = "", valueFrom } = variable ?? {};
  return valueFrom === undefined && value !== `$(${name})` && value.includes(`$(${name})`);
}

function portWarnings(containers: Placed): readonly Warning[] {
  const list: Warning[] = [];
  const numbers = new Map<string, (readonly [port: ContainerPort, place: string])[]>();
  const names = new Map<string, string>();
  const all = containers.flatMap(([{ ports = [] }, path]) =>
    ports.map((port, index) => [port, at(child(path, "ports"), index)] as const),
  );
  for (const [port, place] of all) {
    const key = `${port.containerPort}/${port.protocol ?? "TCP"}`;
    const others = numbers.get(key) ?? [];
    for (const [other, otherPlace] of others) {
      const words = likeness(port, other);
      if (words !== undefined) list.push(about(place, `${words} port definition with ${otherPlace}`));
    }
    numbers.set(key, [...others, [port, place]]);
  }
  for (const [{ name = "" }, place] of all) {
    const other = names.get(name);
    if (name === "") continue;
    if (other === undefined) names.set(name, place);
    else
      list.push(
        about(
          place,
          `duplicate port name ${JSON.stringify(name)} with ${other}, services and probes that select ports by name will use ${other}`,
        ),
      );
  }
  return list;
}

function likeness(a: ContainerPort, b: ContainerPort): string | undefined {
  const [hostA, hostB] = [a.hostPort ?? 0, b.hostPort ?? 0];
  const [ipA, ipB] = [a.hostIP ?? "", b.hostIP ?? ""];
  if (ipA === ipB && hostA === hostB) return "duplicate";
  if (hostA === 0 || hostB === 0) return "overlapping";
  return hostA === hostB && (ipA === "") !== (ipB === "") ? "dangerously ambiguous" : undefined;
}

const nullSelector = "a null labelSelector results in matching no pod";

function spreadWarnings({ topologySpreadConstraints = [] }: PodSpec, path: string): readonly Warning[] {
  return topologySpreadConstraints.flatMap(({ topologyKey, labelSelector }, index) => {
    const old = oldNodeLabels[topologyKey];
    return [
      ...(old === undefined ? [] : [about(`${at(path, index)}.topologyKey`, `${topologyKey} is ${old}`)]),
      ...(labelSelector === undefined ? [about(`${at(path, index)}.labelSelector`, nullSelector)] : []),
    ];
  });
}

const required = "requiredDuringSchedulingIgnoredDuringExecution";
const preferred = "preferredDuringSchedulingIgnoredDuringExecution";

function affinityWarnings(affinity: Affinity, path: string): readonly Warning[] {
  const { nodeAffinity = {}, podAffinity = {}, podAntiAffinity = {} } = affinity;
  const nodePath = child(path, "nodeAffinity");
  return [
    ...(nodeAffinity[required]?.nodeSelectorTerms ?? []).flatMap((term, index) =>
      termWarnings(term, at(`${nodePath}.${required}.nodeSelectorTerms`, index)),
    ),
    ...(nodeAffinity[preferred] ?? []).flatMap(({ preference }, index) => {
      const place = `${at(`${nodePath}.${preferred}`, index)}.preference`;
      return [...termWarnings(preference, place), ...valueWarnings(preference, place)];
    }),
    ...nullSelectors(podAffinity, child(path, "podAffinity")),
    ...nullSelectors(podAntiAffinity, child(path, "podAntiAffinity")),
  ];
}

function termWarnings({ matchExpressions = [] }: NodeSelectorTerm, path: string): readonly Warning[] {
  return matchExpressions.flatMap(({ key }, index) =>
    oldNodeLabels[key] === undefined
      ? []
      : [about(`${at(`${path}.matchExpressions`, index)}.key`, `${key} is ${oldNodeLabels[key]}`)],
  );
}

function valueWarnings({ matchExpressions = [] }: NodeSelectorTerm, path: string): readonly Warning[] {
  return matchExpressions.flatMap(({ values = [] }, index) =>
    values.flatMap((value, each) =>
      labelValue(value).map((problem) =>
        about(at(`${at(`${path}.matchExpressions`, index)}.values`, each), `${value} is invalid, ${problem}`),
      ),
    ),
  );
}

function nullSelectors(affinity: PodAffinity, path: string): readonly Warning[] {
  return [
    ...(affinity[required] ?? []).flatMap(({ labelSelector }, index) =>
      labelSelector === undefined ? [about(`${at(child(path, required), index)}.labelSelector`, nullSelector)] : [],
    ),
    ...(affinity[preferred] ?? []).flatMap(({ podAffinityTerm }, index) =>
      podAffinityTerm.labelSelector === undefined
        ? [about(`${at(child(path, preferred), index)}.podAffinityTerm.labelSelector`, nullSelector)]
        : [],
    ),
  ];
}

/** The elements whose key was there before, with their indices. */
function repeated<T>(list: readonly T[], keyOf: (element: T) => string): readonly (readonly [number, string])[] {
  if (list.length < 2) return [];
  const seen = new Set<string>();
  return list.flatMap((element, index) => {
    const key = keyOf(element);
    if (seen.has(key)) return [[index, key] as const];
    seen.add(key);
    return [];
  });
}
