// Rules for Pods and the templates of pods. Wording: upstream's pkg/apis/core/validation.

import { sameJson } from "../equal.ts";
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
import type { KubeObject } from "../object.ts";
import type {
  Container,
  ContainerPort,
  EnvFromSource,
  EnvVar,
  HTTPGetAction,
  KeyToPath,
  LabelSelectorRequirement,
  LabelSelector,
  NodeSelectorRequirement,
  Pod,
  PodSpec,
  PodTemplateSpec,
  Probe,
  ResourceRequirements,
  TCPSocketAction,
  Toleration,
  TopologySpreadConstraint,
  Volume,
} from "../pod.ts";
import { at, child, duplicate, forbidden, invalid, required, type FieldProblem } from "../problem.ts";
import { parseQuantity } from "../quantity.ts";
import { annotationProblems, labelProblems } from "./metadata.ts";
import { portOrName } from "./service.ts";
import { formProblems, negativeProblems, ports, rangeProblems, type Rules, type UpdateRule } from "./rule.ts";

export const podRules: Rules = {
  "core.v1.Pod": function* ({ spec }: Pod) {
    if (spec === undefined) yield required("spec.containers");
  },
  "core.v1.PodSpec": podSpec,
  "core.v1.PodTemplateSpec": podTemplate,
  "core.v1.Container": container,
  "core.v1.EphemeralContainer": container,
  "core.v1.ContainerPort": containerPort,
  "core.v1.EnvVar": envVariable,
  "core.v1.EnvFromSource": envFrom,
  "core.v1.Probe": probe,
  "core.v1.LifecycleHandler": (handler: object, path: string) => handlerProblems(handler, path),
  "core.v1.HTTPGetAction": httpGet,
  "core.v1.TCPSocketAction": ({ port }: TCPSocketAction, path: string) => portOrName(port, child(path, "port")),
  "core.v1.ResourceRequirements": resources,
  "core.v1.Volume": volume,
  "core.v1.KeyToPath": keyToPath,
  "core.v1.Toleration": toleration,
  "core.v1.TopologySpreadConstraint": spread,
  "core.v1.NodeSelectorRequirement": nodeRequirement,
  "core.v1.NodeSelector": function* (
    { nodeSelectorTerms = [] }: { nodeSelectorTerms?: readonly unknown[] },
    path: string,
  ) {
    if (nodeSelectorTerms.length === 0)
      yield required(child(path, "nodeSelectorTerms"), "must have at least one node selector term");
  },
  "core.v1.PreferredSchedulingTerm": weighted,
  "core.v1.WeightedPodAffinityTerm": weighted,
  "core.v1.PodAffinityTerm": function* ({ topologyKey }: { topologyKey: string }, path: string) {
    if (topologyKey === "") yield required(child(path, "topologyKey"), "can not be empty");
    yield* formProblems(topologyKey, qualifiedName, child(path, "topologyKey"));
  },
  "meta.v1.LabelSelector": labelSelector,
  "meta.v1.LabelSelectorRequirement": labelRequirement,
};

export const podUpdateRules: { readonly [type: string]: UpdateRule } = { "core.v1.Pod": podUpdate };

const int32Max = 2 ** 31 - 1;

function* podSpec(spec: PodSpec, path: string, whole: KubeObject): Iterable<FieldProblem> {
  yield* podContainers(spec, path, claimNames(whole));
  yield* podNames(spec, path);
  yield* podDns(spec, path);
  yield* rangeProblems(spec.activeDeadlineSeconds, { first: 1, last: int32Max }, child(path, "activeDeadlineSeconds"));
  yield* negativeProblems(spec.terminationGracePeriodSeconds, child(path, "terminationGracePeriodSeconds"));
  yield* labelProblems(spec.nodeSelector, child(path, "nodeSelector"));
  for (const [index, { ip, hostnames = [] }] of (spec.hostAliases ?? []).entries()) {
    const place = at(child(path, "hostAliases"), index);
    for (const problem of ipAddress(ip)) yield invalid(child(place, "ip"), ip, problem);
    for (const [each, name] of hostnames.entries())
      yield* formProblems(name, dnsSubdomain, at(child(place, "hostnames"), each));
  }
  for (const [index, { conditionType }] of (spec.readinessGates ?? []).entries())
    yield* formProblems(conditionType, qualifiedName, `${at(child(path, "readinessGates"), index)}.conditionType`);
}

/** A StatefulSet's claims become volumes of its pods. */
function claimNames({ kind, spec }: KubeObject): readonly string[] {
  if (kind !== "StatefulSet") return [];
  const claims = (
    spec as { readonly volumeClaimTemplates?: readonly { readonly metadata?: { readonly name?: string } }[] }
  ).volumeClaimTemplates;
  return (claims ?? []).map(({ metadata }) => metadata?.name ?? "");
}

function* podContainers(spec: Partial<PodSpec>, path: string, claims: readonly string[]): Iterable<FieldProblem> {
  const { containers = [], initContainers = [], ephemeralContainers = [], volumes = [] } = spec;
  if (containers.length === 0) yield required(child(path, "containers"));
  const names = new Set(containers.map(({ name }) => name));
  const volumeNames = new Set([...volumes.map(({ name }) => name), ...claims]);
  for (const [index, each] of containers.entries()) {
    const place = at(child(path, "containers"), index);
    yield* mounts(each, volumeNames, place);
    if (each.restartPolicy === "")
      yield forbidden(child(place, "restartPolicy"), "may not be set for non-init containers");
  }
  for (const [index, each] of initContainers.entries()) {
    const place = at(child(path, "initContainers"), index);
    if (names.has(each.name)) yield duplicate(child(place, "name"), each.name);
    yield* mounts(each, volumeNames, place);
    if (each.restartPolicy !== "Always") yield* initOnly(each, place);
  }
  for (const [index, each] of ephemeralContainers.entries()) {
    const place = at(child(path, "ephemeralContainers"), index);
    const isTaken = names.has(each.name) || initContainers.some(({ name }) => name === each.name);
    if (isTaken) yield duplicate(child(place, "name"), each.name);
    yield* mounts(each, volumeNames, place);
  }
  yield* hostPorts([...containers, ...initContainers.filter((each) => each.restartPolicy === "Always")], path);
}

function* initOnly(each: Container, path: string): Iterable<FieldProblem> {
  for (const field of ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] as const)
    if (each[field] !== undefined)
      yield forbidden(child(path, field), "may not be set for init containers without restartPolicy=Always");
}

function* mounts({ volumeMounts = [] }: Container, volumes: ReadonlySet<string>, path: string): Iterable<FieldProblem> {
  const paths = new Set<string>();
  for (const [index, { name, mountPath, subPath = "", subPathExpr = "" }] of volumeMounts.entries()) {
    const place = at(child(path, "volumeMounts"), index);
    if (name === "") yield required(child(place, "name"));
    else if (!volumes.has(name))
      yield {
        field: child(place, "name"),
        reason: "FieldValueNotFound",
        message: `Not found: ${JSON.stringify(name)}`,
      };
    if (mountPath === "") yield required(child(place, "mountPath"));
    if (paths.has(mountPath)) yield invalid(child(place, "mountPath"), mountPath, "must be unique");
    paths.add(mountPath);
    if (subPath !== "" && subPathExpr !== "")
      yield invalid(child(place, "subPathExpr"), subPathExpr, "subPathExpr and subPath are mutually exclusive");
    yield* insidePath(subPath, child(place, "subPath"));
    yield* insidePath(subPathExpr, child(place, "subPathExpr"));
  }
}

/** A path below another: relative, and without ways up. */
function* insidePath(text: string, path: string): Iterable<FieldProblem> {
  if (text.startsWith("/")) yield invalid(path, text, "must be a relative path");
  if (text.split("/").includes("..")) yield invalid(path, text, "must not contain '..'");
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
  yield* labelProblems(metadata?.labels, child(path, "metadata.labels"));
  yield* annotationProblems(metadata?.annotations, child(path, "metadata.annotations"));
  if (spec === undefined) yield required(child(path, "spec.containers"));
  else if ((spec.ephemeralContainers ?? []).length > 0)
    yield forbidden(child(path, "spec.ephemeralContainers"), "ephemeral containers not allowed in pod template");
}

function* container(each: Container, path: string): Iterable<FieldProblem> {
  if (each.name === "") yield required(child(path, "name"));
  yield* formProblems(each.name, dnsLabel, child(path, "name"));
  const image = each.image ?? "";
  if (image === "") yield required(child(path, "image"));
  else if (image.trim() !== image)
    yield invalid(child(path, "image"), image, "must not have leading or trailing whitespace");
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
  { name, containerPort: port, hostPort = 0, hostIP }: ContainerPort,
  path: string,
): Iterable<FieldProblem> {
  yield* formProblems(name, portName, child(path, "name"));
  yield* rangeProblems(port, ports, child(path, "containerPort"));
  if (hostPort !== 0) yield* rangeProblems(hostPort, ports, child(path, "hostPort"));
  yield* formProblems(hostIP, ipAddress, child(path, "hostIP"));
}

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
  for (const source of ["configMapKeyRef", "secretKeyRef"] as const) {
    const reference = valueFrom[source];
    if (reference === undefined) continue;
    if ((reference.name ?? "") === "") yield required(child(place, `${source}.name`));
    if (reference.key === "") yield required(child(place, `${source}.key`));
    else
      for (const problem of configKey(reference.key))
        yield invalid(child(place, `${source}.key`), reference.key, problem);
  }
}

function* envFrom({ prefix, configMapRef, secretRef }: EnvFromSource, path: string): Iterable<FieldProblem> {
  yield* formProblems(prefix, envName, child(path, "prefix"));
  if (configMapRef !== undefined && secretRef !== undefined)
    yield invalid(path, "", "may not have more than one field specified at a time");
  if (configMapRef === undefined && secretRef === undefined)
    yield invalid(path, "", "must specify one of: `configMapRef` or `secretRef`");
  if (configMapRef !== undefined && (configMapRef.name ?? "") === "") yield required(child(path, "configMapRef.name"));
  if (secretRef !== undefined && (secretRef.name ?? "") === "") yield required(child(path, "secretRef.name"));
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

const handlers = ["exec", "httpGet", "tcpSocket", "grpc", "sleep"] as const;

function* handlerProblems(handler: object, path: string): Iterable<FieldProblem> {
  const given = handlers.filter((kind) => (handler as { readonly [field: string]: unknown })[kind] !== undefined);
  if (given.length === 0) yield required(path, "must specify a handler type");
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

function* resources({ limits = {}, requests = {} }: ResourceRequirements, path: string): Iterable<FieldProblem> {
  for (const [field, quantities] of Object.entries({ limits, requests }))
    for (const [name, quantity] of Object.entries(quantities))
      if ((parseQuantity(quantity) ?? 0) < 0)
        yield invalid(at(child(path, field), name), String(quantity), "must be greater than or equal to 0");
  for (const [name, request] of Object.entries(requests)) {
    const limit = limits[name];
    if (limit !== undefined && (parseQuantity(request) ?? 0) > (parseQuantity(limit) ?? 0))
      yield invalid(
        child(path, "requests"),
        String(request),
        `must be less than or equal to ${name} limit of ${limit}`,
      );
  }
}

function* volume(each: Volume, path: string): Iterable<FieldProblem> {
  if (each.name === "") yield required(child(path, "name"));
  yield* formProblems(each.name, dnsLabel, child(path, "name"));
  const kinds = Object.keys(each).filter((field) => field !== "name" && each[field] !== undefined);
  for (const kind of kinds.slice(1)) yield forbidden(child(path, kind), "may not specify more than 1 volume type");
  if (each.configMap !== undefined && (each.configMap.name ?? "") === "") yield required(child(path, "configMap.name"));
  if (each.secret !== undefined && (each.secret.secretName ?? "") === "")
    yield required(child(path, "secret.secretName"));
  if (each.hostPath?.path === "") yield required(child(path, "hostPath.path"));
}

function* keyToPath({ key, path: file, mode }: KeyToPath, path: string): Iterable<FieldProblem> {
  if (key === "") yield required(child(path, "key"));
  if (file === "") yield required(child(path, "path"));
  yield* insidePath(file, child(path, "path"));
  if (mode !== undefined && (mode < 0 || mode > 0o777))
    yield invalid(child(path, "mode"), mode, "must be a number between 0 and 0777 (octal), both inclusive");
}

function* toleration(
  { key = "", operator, value = "", effect, tolerationSeconds }: Toleration,
  path: string,
): Iterable<FieldProblem> {
  yield* formProblems(key, qualifiedName, child(path, "key"));
  if (key === "" && operator !== "Exists")
    yield invalid(
      child(path, "operator"),
      operator ?? "",
      'operator must be Exists when `key` is empty, which means "match all values and all keys"',
    );
  if (operator === "Exists" && value !== "")
    yield invalid(child(path, "operator"), value, "value must be empty when `operator` is 'Exists'");
  if (operator !== "Exists") yield* formProblems(value, labelValue, child(path, "value"));
  if (tolerationSeconds !== undefined && effect !== "NoExecute")
    yield invalid(child(path, "effect"), effect ?? "", "effect must be 'NoExecute' when `tolerationSeconds` is set");
}

function* spread(
  { maxSkew, topologyKey, minDomains, whenUnsatisfiable }: TopologySpreadConstraint,
  path: string,
): Iterable<FieldProblem> {
  if (maxSkew <= 0) yield invalid(child(path, "maxSkew"), maxSkew, "must be greater than zero");
  if (topologyKey === "") yield required(child(path, "topologyKey"), "can not be empty");
  if (minDomains === undefined) return;
  if (minDomains <= 0) yield invalid(child(path, "minDomains"), minDomains, "must be greater than zero");
  if (whenUnsatisfiable !== "DoNotSchedule")
    yield invalid(
      child(path, "minDomains"),
      minDomains,
      `can only use minDomains if whenUnsatisfiable=DoNotSchedule, not ${whenUnsatisfiable}`,
    );
}

function* nodeRequirement(
  { key, operator, values = [] }: NodeSelectorRequirement,
  path: string,
): Iterable<FieldProblem> {
  const place = child(path, "values");
  if ((operator === "In" || operator === "NotIn") && values.length === 0)
    yield required(place, "must be specified when `operator` is 'In' or 'NotIn'");
  if ((operator === "Exists" || operator === "DoesNotExist") && values.length > 0)
    yield forbidden(place, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
  if ((operator === "Gt" || operator === "Lt") && values.length !== 1)
    yield required(place, "must be specified single value when `operator` is 'Lt' or 'Gt'");
  if (key !== "metadata.name") yield* formProblems(key, qualifiedName, child(path, "key"));
}

function* weighted({ weight }: { readonly weight: number }, path: string): Iterable<FieldProblem> {
  if (weight < 1 || weight > 100) yield invalid(child(path, "weight"), weight, "must be in the range 1-100");
}

function* labelSelector({ matchLabels }: LabelSelector, path: string): Iterable<FieldProblem> {
  yield* labelProblems(matchLabels, child(path, "matchLabels"));
}

function* labelRequirement(
  { key, operator, values = [] }: Partial<LabelSelectorRequirement>,
  path: string,
): Iterable<FieldProblem> {
  const place = child(path, "values");
  switch (operator) {
    case "In":
    case "NotIn":
      if (values.length === 0) yield required(place, "must be specified when `operator` is 'In' or 'NotIn'");
      break;
    case "Exists":
    case "DoesNotExist":
      if (values.length > 0)
        yield forbidden(place, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
      break;
    case undefined:
    default:
      yield invalid(child(path, "operator"), operator ?? "", "not a valid selector operator");
  }
  for (const problem of qualifiedName(key ?? "")) yield invalid(child(path, "key"), key ?? "", problem);
  for (const [index, value] of values.entries()) yield* formProblems(value, labelValue, at(place, index));
}

const updatable = [
  "`spec.containers[*].image`",
  "`spec.initContainers[*].image`",
  "`spec.activeDeadlineSeconds`",
  "`spec.tolerations` (only additions to existing tolerations)",
  "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)",
];

/** A pod is what it was made as, but for a few fields; a node is given to it once. */
function* podUpdate(pod: Pod, previous: Pod): Iterable<FieldProblem> {
  const [spec, before] = [pod.spec, previous.spec];
  const node = before.nodeName ?? "";
  if (node !== "" && spec.nodeName !== node)
    yield forbidden("spec.nodeName", "a pod stays on the node it was bound to");
  const gates = new Set((before.schedulingGates ?? []).map(({ name }) => name));
  for (const [index, { name }] of (spec.schedulingGates ?? []).entries())
    if (!gates.has(name))
      yield forbidden(at("spec.schedulingGates", index), "only deletion is allowed, but found new scheduling gate");
  const deadline = spec.activeDeadlineSeconds;
  if (before.activeDeadlineSeconds !== undefined && (deadline === undefined || deadline > before.activeDeadlineSeconds))
    yield invalid("spec.activeDeadlineSeconds", deadline, "must be less than or equal to previous value");
  if (!sameJson(fixedPart(spec), fixedPart(before)))
    yield forbidden("spec", `pod updates may not change fields other than ${updatable.join(",")}`);
}

/** The specification without what may change. */
function fixedPart(spec: PodSpec): unknown {
  const withoutImages = (containers: readonly Container[] | undefined): unknown =>
    containers?.map((each) => ({ ...each, image: undefined, resources: undefined }));
  return {
    ...spec,
    containers: withoutImages(spec.containers),
    initContainers: withoutImages(spec.initContainers),
    ephemeralContainers: undefined,
    activeDeadlineSeconds: undefined,
    tolerations: undefined,
    terminationGracePeriodSeconds: undefined,
    nodeName: undefined,
    schedulingGates: undefined,
    ...((spec.schedulingGates ?? []).length > 0 ? { nodeSelector: undefined, affinity: undefined } : {}),
  };
}
