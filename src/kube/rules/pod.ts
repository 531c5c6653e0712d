// Rules for Pods and the templates of pods. Wording: upstream's pkg/apis/core/validation.

import {
  configKey,
  dnsLabel,
  dnsSubdomain,
  envName,
  httpHeaderName,
  ipAddress,
  labelValue,
  portName,
  qualifiedName,
} from "../formats.ts";
import type { KubeObject, Labels } from "../object.ts";
import type {
  Container,
  ContainerPort,
  EnvFromSource,
  EnvVar,
  HTTPGetAction,
  LabelSelectorRequirement,
  LabelSelector,
  Pod,
  PodSpec,
  PodTemplateSpec,
  Probe,
  TCPSocketAction,
  Volume,
} from "../pod.ts";
import { at, child, duplicate, forbidden, invalid, required, type FieldProblem } from "../problem.ts";
import { parseQuantity } from "../quantity.ts";
import { annotationProblems, labelProblems } from "./metadata.ts";
import { fieldReference, resourceReference } from "./pod-references.ts";
import { claimProblems, resourceRules, restarts } from "./pod-resources.ts";
import { schedulingProblems, schedulingRules } from "./pod-scheduling.ts";
import { hostProblems, securityRules } from "./pod-security.ts";
import { ephemeralOnly, podUpdate } from "./pod-update.ts";
import { mounts, volumeRules } from "./pod-volumes.ts";
import { portOrName } from "./service.ts";
import {
  operatorProblems,
  formProblems,
  negativeProblems,
  ports,
  rangeProblems,
  type Rules,
  type UpdateRule,
} from "./rule.ts";

export const podRules: Rules = {
  ...volumeRules,
  ...resourceRules,
  ...schedulingRules,
  ...securityRules,
  "core.v1.Pod": pod,
  "core.v1.PodSpec": podSpec,
  "core.v1.PodTemplateSpec": podTemplate,
  "core.v1.Container": container,
  "core.v1.EphemeralContainer": container,
  "core.v1.ContainerPort": containerPort,
  "core.v1.EnvVar": envVariable,
  "core.v1.Probe": probe,
  "core.v1.LifecycleHandler": (handler: object, path: string) => handlerProblems(handler, path),
  "core.v1.HTTPGetAction": httpGet,
  "core.v1.TCPSocketAction": ({ port }: TCPSocketAction, path: string) => portOrName(port, child(path, "port")),
  "meta.v1.LabelSelector": labelSelector,
  "meta.v1.LabelSelectorRequirement": labelRequirement,
};

export const podUpdateRules: { readonly [type: string]: UpdateRule } = { "core.v1.Pod": podUpdate };

const int32Max = 2 ** 31 - 1;

function* pod({ metadata, spec }: Pod, _path: string, whole: KubeObject): Iterable<FieldProblem> {
  if (spec === undefined) {
    yield required("spec.containers");
    return;
  }
  const isNew = metadata.resourceVersion === undefined;
  if (isNew && (spec.ephemeralContainers ?? []).length > 0)
    yield forbidden("spec.ephemeralContainers", "cannot be set on create");
  if (isNew && (spec.nodeName ?? "") !== "" && (spec.schedulingGates ?? []).length > 0)
    yield forbidden("spec.nodeName", "cannot be set until all schedulingGates have been cleared");
  for (const field of ["containers", "initContainers", "ephemeralContainers"] as const)
    for (const [index, { image = "" }] of (spec[field] ?? []).entries())
      if (image.trim() !== image)
        yield invalid(`${at(`spec.${field}`, index)}.image`, image, "must not have leading or trailing whitespace");
  yield* podAnnotations(whole.metadata.annotations ?? {}, spec, "metadata.annotations");
}

const appArmorPrefix = "container.apparmor.security.beta.kubernetes.io/";
const seccompPod = "seccomp.security.alpha.kubernetes.io/pod";
const seccompPrefix = "container.seccomp.security.alpha.kubernetes.io/";
const deletionCost = "controller.kubernetes.io/pod-deletion-cost";
const mirror = "kubernetes.io/config.mirror";

/** Annotations that mean something for a pod. */
function* podAnnotations(annotations: Labels, spec: PodSpec, path: string): Iterable<FieldProblem> {
  for (const [name, value] of Object.entries(annotations)) {
    const place = at(path, name);
    if (name === mirror && (spec.nodeName ?? "") === "")
      yield invalid(place, value, "must set spec.nodeName if mirror pod annotation is set");
    if (name === deletionCost && !isCost(value)) yield invalid(place, value, "must be a 32bit integer");
    const isSeccomp = name === seccompPod || name.startsWith(seccompPrefix);
    // Upstream's path.
    if (isSeccomp && !/^(runtime\/default|docker\/default|unconfined|localhost\/.*)$/.test(value))
      yield invalid(child(path, name), value, "must be a valid seccomp profile");
    if (!name.startsWith(appArmorPrefix)) continue;
    const container_ = name.slice(appArmorPrefix.length);
    const all = [...spec.containers, ...(spec.initContainers ?? []), ...(spec.ephemeralContainers ?? [])];
    if (all.every((each) => each.name !== container_)) yield invalid(place, container_, "container not found");
    if (!/^(runtime\/default|unconfined|localhost\/.+|)$/.test(value))
      yield invalid(place, value, `invalid AppArmor profile name: ${JSON.stringify(value)}`);
  }
}

function isCost(text: string): boolean {
  return /^(0|-?[1-9][0-9]*)$/.test(text) && Math.abs(Number(text)) <= int32Max;
}

function* podSpec(spec: PodSpec, path: string, whole: KubeObject): Iterable<FieldProblem> {
  yield* podContainers(spec, path, claimNames(whole));
  yield* podNames(spec, path);
  yield* podDns(spec, path);
  yield* claimProblems(spec, path);
  // Most pods have none of these, and every new pod is looked at.
  if (spec.topologySpreadConstraints !== undefined || spec.schedulingGates !== undefined)
    yield* schedulingProblems(spec, path);
  yield* hostProblems(spec, path);
  yield* hostPortsOfNode(spec, whole.kind === "Pod", path);
  yield* podAmounts(spec, path);
  yield* rangeProblems(spec.activeDeadlineSeconds, { first: 1, last: int32Max }, child(path, "activeDeadlineSeconds"));
  yield* labelProblems(spec.nodeSelector, child(path, "nodeSelector"));
  for (const [index, { ip, hostnames = [] }] of (spec.hostAliases ?? []).entries()) {
    const place = at(child(path, "hostAliases"), index);
    for (const problem of ipAddress(ip)) yield invalid(child(place, "ip"), ip, problem);
    for (const [each, name] of hostnames.entries())
      yield* formProblems(name, dnsSubdomain, at(child(place, "hostnames"), each));
  }
  for (const [index, { conditionType }] of (spec.readinessGates ?? []).entries())
    for (const problem of qualifiedName(conditionType))
      yield invalid(`${at(child(path, "readinessGates"), index)}.conditionType`, conditionType, problem);
}

/** A StatefulSet's claims become volumes of its pods. */
function claimNames({ kind, spec }: KubeObject): readonly string[] {
  if (kind !== "StatefulSet") return [];
  const claims = (
    spec as { readonly volumeClaimTemplates?: readonly { readonly metadata?: { readonly name?: string } }[] }
  ).volumeClaimTemplates;
  return (claims ?? []).map(({ metadata }) => metadata?.name ?? "");
}

function* podContainers(spec: PodSpec, path: string, claims: readonly string[]): Iterable<FieldProblem> {
  const { containers = [], initContainers = [], ephemeralContainers = [], volumes = [] } = spec as Partial<PodSpec>;
  if (containers.length === 0) yield required(child(path, "containers"));
  const names = new Set(containers.map(({ name }) => name));
  const byName = new Map<string, Volume | undefined>(claims.map((name) => [name, undefined]));
  for (const volume of volumes) byName.set(volume.name, volume);
  for (const [index, each] of containers.entries()) {
    const place = at(child(path, "containers"), index);
    yield* mounts(each, byName, place);
    yield* restarts(each, spec.restartPolicy, place);
    yield* hooks(each, spec, place);
    if (each.readinessProbe?.terminationGracePeriodSeconds !== undefined)
      yield invalid(
        child(place, "readinessProbe.terminationGracePeriodSeconds"),
        each.readinessProbe.terminationGracePeriodSeconds,
        "must not be set for readinessProbes",
      );
  }
  for (const [index, each] of initContainers.entries()) {
    const place = at(child(path, "initContainers"), index);
    if (names.has(each.name)) yield duplicate(child(place, "name"), each.name);
    yield* mounts(each, byName, place);
    yield* restarts(each, spec.restartPolicy, place);
    if (each.restartPolicy === "Always") yield* hooks(each, spec, place);
    else yield* initOnly(each, place);
  }
  const others = new Set([...names, ...initContainers.map(({ name }) => name)]);
  for (const [index, each] of ephemeralContainers.entries()) {
    const place = at(child(path, "ephemeralContainers"), index);
    if (others.has(each.name)) yield duplicate(child(place, "name"), each.name);
    yield* mounts(each, byName, place);
    yield* ephemeralOnly(each, others, place);
  }
  yield* hostPorts([...containers, ...initContainers.filter((each) => each.restartPolicy === "Always")], path);
}

function* initOnly(each: Container, path: string): Iterable<FieldProblem> {
  for (const field of ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] as const)
    if (each[field] !== undefined)
      yield forbidden(child(path, field), "may not be set for init containers without restartPolicy=Always");
}

/** Hooks that only sleep must end while the pod is given time to. */
function* hooks({ lifecycle = {} }: Container, spec: PodSpec, path: string): Iterable<FieldProblem> {
  const grace = spec.terminationGracePeriodSeconds ?? 30;
  for (const field of ["postStart", "preStop"] as const) {
    const seconds = lifecycle[field]?.sleep?.seconds;
    if (seconds !== undefined && (seconds < 0 || seconds > grace))
      yield invalid(
        child(path, `lifecycle.${field}.sleep`),
        seconds,
        `must be non-negative and less than terminationGracePeriodSeconds (${grace})`,
      );
  }
}

/** In the node's network a port is the node's. */
function* hostPortsOfNode(spec: PodSpec, isPod: boolean, path: string): Iterable<FieldProblem> {
  if (spec.hostNetwork !== true) return;
  for (const [index, { ports: list = [] }] of spec.containers.entries())
    for (const [each, { containerPort: port, hostPort = 0 }] of list.entries())
      if (hostPort !== port && (isPod || hostPort !== 0))
        yield invalid(
          `${at(child(path, "containers"), index)}.ports[${each}].hostPort`,
          hostPort,
          "must match `containerPort` when `hostNetwork` is true",
        );
}

/** What a pod asks for as a whole holds all that its containers ask for. */
function* podAmounts({ resources, containers }: PodSpec, path: string): Iterable<FieldProblem> {
  for (const [name, limit] of Object.entries(resources?.limits ?? {})) {
    if (resources?.requests?.[name] !== undefined) continue;
    const sum = containers.reduce(
      (total, { resources: own }) => total + (parseQuantity(own?.requests?.[name] ?? 0) ?? 0),
      0,
    );
    if (sum > (parseQuantity(limit) ?? 0))
      yield invalid(
        child(path, "resources.requests"),
        String(sum),
        `must be less than or equal to ${name} limit of ${limit}`,
      );
  }
}

/** Two containers of a pod cannot have one port of the node. */
function* hostPorts(containers: readonly Container[], path: string): Iterable<FieldProblem> {
  const seen = new Set<string>();
  for (const [index, each] of containers.entries())
    for (const [at_, { hostPort = 0, hostIP = "", protocol }] of (each.ports ?? []).entries()) {
      if (hostPort === 0) continue;
      const text = `${protocol}/${hostIP}/${hostPort}`;
      if (seen.has(text)) yield duplicate(`${at(child(path, "containers"), index)}.ports[${at_}].hostPort`, text);
      seen.add(text);
    }
}

function* podNames(spec: PodSpec, path: string): Iterable<FieldProblem> {
  yield* formProblems(spec.hostname, dnsLabel, child(path, "hostname"));
  yield* formProblems(spec.subdomain, dnsLabel, child(path, "subdomain"));
  yield* formProblems(spec.nodeName, dnsSubdomain, child(path, "nodeName"));
  yield* formProblems(spec.serviceAccountName, dnsSubdomain, child(path, "serviceAccountName"));
  yield* formProblems(spec.priorityClassName, dnsSubdomain, child(path, "priorityClassName"));
  yield* formProblems(spec.runtimeClassName, dnsSubdomain, child(path, "runtimeClassName"));
  if (spec.hostnameOverride === undefined) return;
  const place = child(path, "hostnameOverride");
  if (spec.setHostnameAsFQDN === true) yield forbidden(place, "may not be specified when setHostnameAsFQDN is true");
  if (spec.hostNetwork === true) yield forbidden(place, "may not be specified when hostNetwork is true");
  for (const problem of dnsSubdomain(spec.hostnameOverride)) yield invalid(place, spec.hostnameOverride, problem);
}

const nameserversMax = 3;
const searchesMax = 32;
const searchCharactersMax = 2048;

function* podDns({ dnsPolicy, dnsConfig }: PodSpec, path: string): Iterable<FieldProblem> {
  const place = child(path, "dnsConfig");
  const { nameservers = [], searches = [], options = [] } = dnsConfig ?? {};
  if (dnsPolicy === "None" && dnsConfig === undefined) {
    yield required(place, "must provide `dnsConfig` when `dnsPolicy` is None");
    return;
  }
  if (dnsPolicy === "None" && nameservers.length === 0)
    yield required(child(place, "nameservers"), "must provide at least one DNS nameserver when `dnsPolicy` is None");
  if (nameservers.length > nameserversMax)
    yield invalid(child(place, "nameservers"), nameservers, `must not have more than ${nameserversMax} nameservers`);
  for (const [index, address] of nameservers.entries())
    yield* formProblems(address, ipAddress, at(child(place, "nameservers"), index));
  if (searches.length > searchesMax)
    yield invalid(child(place, "searches"), searches, `must not have more than ${searchesMax} search paths`);
  if (searches.join(" ").length > searchCharactersMax)
    yield invalid(
      child(place, "searches"),
      searches,
      `must not have more than ${searchCharactersMax} characters (including spaces) in the search list`,
    );
  for (const [index, search] of searches.entries()) {
    // A search path may end with a dot, and may have underscores (KEP-4427).
    const name = search.replace(/\.$/, "").replaceAll("_", "a");
    for (const problem of name === "" ? [] : dnsSubdomain(name))
      yield invalid(at(child(place, "searches"), index), search, problem);
  }
  for (const [index, { name = "" }] of options.entries())
    if (name === "") yield required(at(child(place, "options"), index), "must not be empty");
}

function* podTemplate({ metadata, spec }: PodTemplateSpec, path: string): Iterable<FieldProblem> {
  yield* labelProblems(metadata?.labels, child(path, "labels"));
  // Upstream's paths.
  yield* annotationProblems(metadata?.annotations, child(path, "annotations"));
  if (spec === undefined) yield required(child(path, "spec.containers"));
  else if ((spec.ephemeralContainers ?? []).length > 0)
    yield forbidden(child(path, "spec.ephemeralContainers"), "ephemeral containers not allowed in pod template");
}

function* container(each: Container, path: string): Iterable<FieldProblem> {
  if (each.name === "") yield required(child(path, "name"));
  yield* formProblems(each.name, dnsLabel, child(path, "name"));
  if ((each.image ?? "") === "") yield required(child(path, "image"));
  yield* envFrom(each.envFrom ?? [], child(path, "envFrom"));
  const names = new Set<string>();
  for (const [index, { name = "" }] of (each.ports ?? []).entries()) {
    if (name !== "" && names.has(name)) yield duplicate(child(at(child(path, "ports"), index), "name"), name);
    names.add(name);
  }
  for (const field of ["livenessProbe", "startupProbe"] as const) {
    const threshold = each[field]?.successThreshold ?? 1;
    if (threshold !== 1) yield invalid(child(path, `${field}.successThreshold`), threshold, "must be 1");
  }
}

function* containerPort(
  { name, containerPort: port, hostPort = 0 }: ContainerPort,
  path: string,
): Iterable<FieldProblem> {
  yield* formProblems(name, portName, child(path, "name"));
  if (port === 0) yield required(child(path, "containerPort"));
  else yield* rangeProblems(port, ports, child(path, "containerPort"));
  if (hostPort !== 0) yield* rangeProblems(hostPort, ports, child(path, "hostPort"));
}

/** Fields of a pod that a variable can have. */
const variables: readonly string[] = [
  "metadata.name",
  "metadata.namespace",
  "metadata.uid",
  "spec.nodeName",
  "spec.serviceAccountName",
  "status.hostIP",
  "status.hostIPs",
  "status.podIP",
  "status.podIPs",
];

const sources = ["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"] as const;

function* envVariable({ name, value = "", valueFrom }: EnvVar, path: string): Iterable<FieldProblem> {
  if (name === "") yield required(child(path, "name"));
  yield* formProblems(name, envName, child(path, "name"));
  if (valueFrom === undefined) return;
  const place = child(path, "valueFrom");
  const given = sources.filter((source) => (valueFrom as { readonly [field: string]: unknown })[source] !== undefined);
  if (value !== "") yield invalid(place, "", "may not be specified when `value` is not empty");
  if (given.length === 0)
    yield invalid(
      place,
      "",
      "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`",
    );
  if (given.length > 1) yield invalid(place, "", "may not have more than one field specified at a time");
  const { fieldRef, resourceFieldRef } = valueFrom;
  if (fieldRef !== undefined) yield* fieldReference(fieldRef, variables, child(place, "fieldRef"));
  if (resourceFieldRef !== undefined) yield* resourceReference(resourceFieldRef, child(place, "resourceFieldRef"));
  for (const source of ["configMapKeyRef", "secretKeyRef"] as const) {
    const reference = valueFrom[source];
    if (reference === undefined) continue;
    for (const problem of dnsSubdomain(reference.name ?? ""))
      yield invalid(child(place, `${source}.name`), reference.name ?? "", problem);
    if (reference.key === "") yield required(child(place, `${source}.key`));
    else
      for (const problem of configKey(reference.key))
        yield invalid(child(place, `${source}.key`), reference.key, problem);
  }
}

/** Some of upstream's paths name the list. */
function* envFrom(list: readonly EnvFromSource[], path: string): Iterable<FieldProblem> {
  for (const [index, { prefix, configMapRef, secretRef }] of list.entries()) {
    const place = at(path, index);
    yield* formProblems(prefix, envName, child(place, "prefix"));
    for (const [field, reference] of Object.entries({ configMapRef, secretRef })) {
      const name = reference?.name ?? "";
      if (reference === undefined) continue;
      if (name === "") yield required(child(place, `${field}.name`));
      else yield* formProblems(name, dnsSubdomain, child(place, `${field}.name`));
    }
    if (configMapRef !== undefined && secretRef !== undefined)
      yield invalid(path, "", "may not have more than one field specified at a time");
    if (configMapRef === undefined && secretRef === undefined)
      yield invalid(path, "", "must specify one of: `configMapRef` or `secretRef`");
  }
}

function* probe(each: Probe, path: string): Iterable<FieldProblem> {
  yield* handlerProblems(each, path);
  for (const field of [
    "initialDelaySeconds",
    "timeoutSeconds",
    "periodSeconds",
    "successThreshold",
    "failureThreshold",
  ] as const)
    yield* negativeProblems(each[field], child(path, field));
  const grace = each.terminationGracePeriodSeconds;
  if (grace !== undefined && grace <= 0)
    yield invalid(child(path, "terminationGracePeriodSeconds"), grace, "must be greater than 0");
}

/** Probes that a container may not have are not looked at further: that it has them is said. */
const unseen = /\.initContainers\[\d+\]\.(liveness|readiness|startup)Probe$/;

const handlers = ["exec", "httpGet", "tcpSocket", "grpc", "sleep"] as const;

function* handlerProblems(handler: object, path: string): Iterable<FieldProblem> {
  const given = handlers.filter((kind) => (handler as { readonly [field: string]: unknown })[kind] !== undefined);
  if (given.length === 0 && !unseen.test(path)) yield required(path, "must specify a handler type");
  for (const kind of given.slice(1)) yield forbidden(child(path, kind), "may not specify more than 1 handler type");
  const { exec, grpc } = handler as Probe;
  if (exec !== undefined && (exec.command ?? []).length === 0) yield required(child(path, "exec.command"));
  if (grpc !== undefined) yield* rangeProblems(grpc.port, ports, child(path, "grpc.port"));
}

function* httpGet({ path: urlPath = "", port, httpHeaders = [] }: HTTPGetAction, path: string): Iterable<FieldProblem> {
  if (urlPath === "") yield required(child(path, "path"));
  yield* portOrName(port, child(path, "port"));
  for (const { name } of httpHeaders)
    for (const problem of httpHeaderName(name)) yield invalid(child(path, "httpHeaders"), name, problem);
}

function* labelSelector({ matchLabels }: LabelSelector, path: string): Iterable<FieldProblem> {
  yield* labelProblems(matchLabels, child(path, "matchLabels"));
}

function* labelRequirement(
  { key, operator, values = [] }: Partial<LabelSelectorRequirement>,
  path: string,
): Iterable<FieldProblem> {
  const place = child(path, "values");
  yield* operatorProblems(operator, values, path);
  for (const problem of qualifiedName(key ?? "")) yield invalid(child(path, "key"), key ?? "", problem);
  for (const [index, value] of values.entries()) yield* formProblems(value, labelValue, at(place, index));
}
