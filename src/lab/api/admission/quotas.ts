// ResourceQuotas: what a namespace may hold, counted from what it holds (plugin/pkg/admission/resourcequota, pkg/quota/v1).
// The store is at hand, so usage is counted when it is asked for; a controller shows it in the status (controllers/resource-quotas.ts).

import type { Container, Pod } from "../../../kube/kinds.ts";
import type { KubeObject } from "../../../kube/object.ts";
import type { Validation } from "../api.ts";
import { forbidden } from "../errors.ts";
import type { ResourceName } from "../store.ts";
import { added, amountOf, amountsOf, amountText, countOf, type Amount, type Amounts } from "./amounts.ts";
import { podAmounts } from "./pod-resources.ts";

/** core/v1 ResourceQuota, as far as it is read. */
export interface ResourceQuota extends KubeObject {
  readonly spec?: {
    readonly hard?: Readonly<Record<string, string>>;
    readonly scopes?: readonly string[];
    readonly scopeSelector?: { readonly matchExpressions?: readonly ScopeRequirement[] };
  };
  readonly status?: {
    readonly hard?: Readonly<Record<string, string>>;
    readonly used?: Readonly<Record<string, string>>;
  };
}

interface ScopeRequirement {
  readonly scopeName: string;
  readonly operator: string;
  readonly values?: readonly string[];
}

/** The objects of a namespace. */
type ListObjects = (resource: ResourceName, namespace: string) => readonly KubeObject[];

const quotaResource: ResourceName = { group: "", resource: "resourcequotas" };

/** Refuses what a quota has no room for. Throws StatusError 403. */
export const quotaValidation: Validation = ({ operation, object, previous, kind, store, actor }) => {
  const { namespace } = object.metadata;
  if (namespace === undefined || operation === "delete") return;
  // A status asks for nothing; a resized pod may ask for more.
  if (actor.subresource !== undefined && actor.subresource !== "resize") return;
  if (operation === "update" && !chargedOnUpdate.has(kind.stored.resource)) return;
  const quotas = store.list(quotaResource, { namespace }).items as readonly ResourceQuota[];
  if (quotas.length === 0) return;
  const key = { group: kind.group, resource: kind.resource, name: object.metadata.name };
  for (const quota of quotas) {
    const hard = amountsOf(quota.spec?.hard);
    const names = [...hard.keys()].filter((name) => concerns(name, kind.stored));
    if (names.length === 0 || !inScope(quota, object, kind.stored)) continue;
    const missing = missingText(names, object, kind.stored);
    if (missing !== undefined && operation === "create")
      throw forbidden(key, `failed quota: ${quota.metadata.name}: ${missing}`);
    const asked = usageOf(object, kind.stored);
    const before =
      previous === undefined || !inScope(quota, previous, kind.stored) ? new Map() : usageOf(previous, kind.stored);
    const used = usedBy(quota, (resource, name) => store.list(resource, { namespace: name }).items);
    const over = names.filter((name) => {
      const more = (asked.get(name)?.nanos ?? 0n) - (before.get(name)?.nanos ?? 0n);
      return more > 0n && (used.get(name)?.nanos ?? 0n) + more > (hard.get(name)?.nanos ?? 0n);
    });
    if (over.length === 0) continue;
    const delta = new Map(
      over.map((name) => [
        name,
        {
          nanos: (asked.get(name)?.nanos ?? 0n) - (before.get(name)?.nanos ?? 0n),
          isBinary: asked.get(name)?.isBinary ?? false,
        },
      ]),
    );
    throw forbidden(
      key,
      `exceeded quota: ${quota.metadata.name}, requested: ${listText(over, delta)}, used: ${listText(over, used)}, limited: ${listText(over, hard)}`,
    );
  }
};

const chargedOnUpdate = new Set(["pods", "services", "persistentvolumeclaims"]);

function listText(names: readonly string[], amounts: Amounts): string {
  const zero: Amount = { nanos: 0n, isBinary: false };
  return [...names]
    .sort()
    .map((name) => `${name}=${amountText(amounts.get(name) ?? zero)}`)
    .join(",");
}

/** What a quota's namespace holds of what it limits, in the quota's order. */
function usedBy(quota: ResourceQuota, list: ListObjects): Amounts {
  const { namespace = "" } = quota.metadata;
  const used = new Map<string, Amount>();
  const resources = new Map<string, ResourceName>();
  for (const name of Object.keys(quota.spec?.hard ?? {})) {
    used.set(name, countOf(0));
    const resource = resourceBehind(name);
    if (resource !== undefined) resources.set(`${resource.resource}.${resource.group}`, resource);
  }
  for (const resource of resources.values())
    for (const object of list(resource, namespace)) {
      if (!inScope(quota, object, resource)) continue;
      for (const [name, amount] of usageOf(object, resource)) {
        const before = used.get(name);
        if (before !== undefined)
          used.set(name, { nanos: before.nanos + amount.nanos, isBinary: before.isBinary || amount.isBinary });
      }
    }
  return used;
}

/** A quota's status as it should be. */
export function quotaStatus(quota: ResourceQuota, list: ListObjects): NonNullable<ResourceQuota["status"]> {
  const hard = quota.spec?.hard ?? {};
  const used = usedBy(quota, list);
  return {
    hard: Object.fromEntries(Object.entries(hard).map(([name, text]) => [name, amountTextOf(text)])),
    used: Object.fromEntries([...used].map(([name, amount]) => [name, amountText(amount)])),
  };
}

function amountTextOf(text: string | number): string {
  const amount = amountOf(text);
  return amount === undefined ? String(text) : amountText(amount);
}

/** Core resources that are counted by their own names. */
const counted = new Set([
  "configmaps",
  "persistentvolumeclaims",
  "pods",
  "replicationcontrollers",
  "resourcequotas",
  "secrets",
  "services",
]);

/** `gold.deviceclass.resource.k8s.io/devices`: devices of a class that ResourceClaims ask for. */
const devicesOfClass = ".deviceclass.resource.k8s.io/devices";

/** Which resource's objects use what a quota's entry limits; undefined where none does. */
function resourceBehind(name: string): ResourceName | undefined {
  const count = /^count\/([^.]+)(?:\.(.+))?$/.exec(name);
  if (count !== null) return { group: count[2] ?? "", resource: count[1] ?? "" };
  if (counted.has(name)) return { group: "", resource: name };
  if (name === "services.loadbalancers" || name === "services.nodeports") return { group: "", resource: "services" };
  if (name === "requests.storage" || name.includes(".storageclass.storage.k8s.io/"))
    return { group: "", resource: "persistentvolumeclaims" };
  if (name.endsWith(devicesOfClass)) return { group: "resource.k8s.io", resource: "resourceclaims" };
  return { group: "", resource: "pods" };
}

function concerns(name: string, { group, resource }: ResourceName): boolean {
  const behind = resourceBehind(name);
  return behind !== undefined && behind.group === group && behind.resource === resource;
}

/** What an object uses. */
function usageOf(object: KubeObject, { group, resource }: ResourceName): Amounts {
  const one = countOf(1);
  const usage = new Map<string, Amount>([[group === "" ? `count/${resource}` : `count/${resource}.${group}`, one]]);
  if (group === "resource.k8s.io" && resource === "resourceclaims") return deviceUsage(object, usage);
  if (group !== "") return usage;
  if (counted.has(resource) && resource !== "pods") usage.set(resource, one);
  switch (resource) {
    case "pods":
      return podUsage(object as Pod, usage);
    case "services":
      return serviceUsage(object, usage);
    case "persistentvolumeclaims":
      return claimUsage(object, usage);
  }
  return usage;
}

/** A pod that has ended uses nothing but its place in the list. */
function hasEnded({ status }: Pod): boolean {
  return status?.phase === "Succeeded" || status?.phase === "Failed";
}

function podUsage(pod: Pod, usage: Map<string, Amount>): Amounts {
  if (hasEnded(pod)) return usage;
  usage.set("pods", countOf(1));
  for (const [name, amount] of podAmounts(pod, "requests")) {
    usage.set(`requests.${name}`, amount);
    if (["cpu", "memory", "ephemeral-storage"].includes(name)) usage.set(name, amount);
    if (name.startsWith("hugepages-")) usage.set(name, amount);
  }
  for (const [name, amount] of podAmounts(pod, "limits")) usage.set(`limits.${name}`, amount);
  return usage;
}

function serviceUsage(service: KubeObject, usage: Map<string, Amount>): Amounts {
  const {
    type,
    ports = [],
    allocateLoadBalancerNodePorts,
  } = (service["spec"] ?? {}) as {
    readonly type?: string;
    readonly ports?: readonly { readonly nodePort?: number }[];
    readonly allocateLoadBalancerNodePorts?: boolean;
  };
  if (type === "NodePort") usage.set("services.nodeports", countOf(ports.length));
  if (type === "LoadBalancer") {
    usage.set("services.loadbalancers", countOf(1));
    const own = allocateLoadBalancerNodePorts === false ? ports.filter(({ nodePort }) => (nodePort ?? 0) !== 0) : ports;
    usage.set("services.nodeports", countOf(own.length));
  }
  return usage;
}

function claimUsage(claim: KubeObject, usage: Map<string, Amount>): Amounts {
  const { resources, storageClassName } = (claim["spec"] ?? {}) as {
    readonly resources?: { readonly requests?: Readonly<Record<string, string>> };
    readonly storageClassName?: string;
  };
  const storage = amountsOf(resources?.requests).get("storage");
  if (storage !== undefined) usage.set("requests.storage", storage);
  if (storageClassName !== undefined) {
    const prefix = `${storageClassName}.storageclass.storage.k8s.io`;
    usage.set(`${prefix}/persistentvolumeclaims`, countOf(1));
    if (storage !== undefined) usage.set(`${prefix}/requests.storage`, storage);
  }
  return added(usage);
}

interface DeviceRequest {
  readonly deviceClassName: string;
  readonly allocationMode?: string;
  readonly count?: number;
}

/** resource/v1 AllocationResultsMaxSize: what "all devices" may come to. */
const devicesMax = 32;

function devicesOf({ allocationMode, count = 1 }: DeviceRequest): number {
  return allocationMode === "All" ? devicesMax : count;
}

/** Of several that a request would be content with, the most of each class. */
function deviceUsage(claim: KubeObject, usage: Map<string, Amount>): Amounts {
  const { devices } = (claim["spec"] ?? {}) as {
    readonly devices?: {
      readonly requests?: readonly {
        readonly exactly?: DeviceRequest;
        readonly firstAvailable?: readonly DeviceRequest[];
      }[];
    };
  };
  for (const { exactly, firstAvailable = [] } of devices?.requests ?? []) {
    const most = new Map<string, number>();
    for (const request of exactly === undefined ? firstAvailable : [exactly])
      most.set(request.deviceClassName, Math.max(most.get(request.deviceClassName) ?? 0, devicesOf(request)));
    for (const [name, count] of most) {
      const entry = `${name}${devicesOfClass}`;
      usage.set(entry, { nanos: (usage.get(entry)?.nanos ?? 0n) + countOf(count).nanos, isBinary: false });
    }
  }
  return usage;
}

/** Amounts of which each container must say what it wants where a quota limits them. */
const stated = ["cpu", "memory", "limits.cpu", "limits.memory", "requests.cpu", "requests.memory"];

function missingText(
  names: readonly string[],
  object: KubeObject,
  { group, resource }: ResourceName,
): string | undefined {
  if (group !== "" || resource !== "pods") return undefined;
  const { containers, initContainers = [] } = (object as Pod).spec;
  const missing = names
    .filter((name) => stated.includes(name))
    .sort()
    .flatMap((name) => {
      const without = [...containers, ...initContainers].filter((container) => !says(container, name));
      return without.length === 0
        ? []
        : [
            `${name} for: ${without
              .map((each) => each.name)
              .sort()
              .join(",")}`,
          ];
    });
  return missing.length === 0 ? undefined : `must specify ${missing.join("; ")}`;
}

function says({ resources }: Container, name: string): boolean {
  const [, which = "requests", what = ""] = /^(?:(requests|limits)\.)?(.+)$/.exec(name) ?? [];
  return Object.hasOwn((which === "limits" ? resources?.limits : resources?.requests) ?? {}, what);
}

/** Is an object of those that a quota counts? Scopes are about pods, but for the one of volumes' attributes. */
function inScope({ spec }: ResourceQuota, object: KubeObject, { group, resource }: ResourceName): boolean {
  const requirements: readonly ScopeRequirement[] = [
    ...(spec?.scopes ?? []).map((scopeName) => ({ scopeName, operator: "Exists" })),
    ...(spec?.scopeSelector?.matchExpressions ?? []),
  ];
  if (requirements.length === 0) return true;
  if (group !== "") return false;
  switch (resource) {
    case "pods":
      return requirements.every((requirement) => matchesScope(requirement, object as Pod));
    case "persistentvolumeclaims":
      return requirements.every((requirement) => matchesAttributesScope(requirement, object));
  }
  return false;
}

// pkg/quota/v1/evaluator/core pvcMatchesScopeFunc
function matchesAttributesScope({ scopeName, operator, values = [] }: ScopeRequirement, claim: KubeObject): boolean {
  if (scopeName !== "VolumeAttributesClass") return false;
  const { spec, status } = claim as {
    readonly spec?: { readonly volumeAttributesClassName?: string };
    readonly status?: {
      readonly currentVolumeAttributesClassName?: string;
      readonly modifyVolumeStatus?: { readonly targetVolumeAttributesClassName?: string };
    };
  };
  const given = [
    spec?.volumeAttributesClassName,
    status?.currentVolumeAttributesClassName,
    status?.modifyVolumeStatus?.targetVolumeAttributesClassName,
  ];
  const names = given.flatMap((name = "") => (name === "" ? [] : [name]));
  switch (operator) {
    case "Exists":
      return names.length > 0;
    case "In":
      return names.some((name) => values.includes(name));
    case "NotIn":
      return names.length === 0 || names.some((name) => !values.includes(name));
    default:
      return names.length === 0;
  }
}

function matchesScope({ scopeName, operator, values = [] }: ScopeRequirement, pod: Pod): boolean {
  const spec = pod.spec as Pod["spec"] & {
    readonly priorityClassName?: string;
    readonly activeDeadlineSeconds?: number;
  };
  const isBestEffort = (): boolean =>
    [...spec.containers, ...(spec.initContainers ?? [])].every(
      ({ resources }) => Object.keys({ ...resources?.requests, ...resources?.limits }).length === 0,
    );
  switch (scopeName) {
    case "Terminating":
      return spec.activeDeadlineSeconds !== undefined;
    case "NotTerminating":
      return spec.activeDeadlineSeconds === undefined;
    case "BestEffort":
      return isBestEffort();
    case "NotBestEffort":
      return !isBestEffort();
    case "PriorityClass": {
      const { priorityClassName = "" } = spec;
      if (operator === "In") return values.includes(priorityClassName);
      if (operator === "NotIn") return !values.includes(priorityClassName);
      return (priorityClassName !== "") === (operator !== "DoesNotExist");
    }
    case "CrossNamespacePodAffinity":
      return (
        JSON.stringify(spec["affinity" as keyof typeof spec] ?? {}).match(
          /"namespaces":\[[^\]]|"namespaceSelector"/,
        ) !== null
      );
    default:
      return false;
  }
}
