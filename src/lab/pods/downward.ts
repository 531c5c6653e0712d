// The downward API: fields of a pod and resources of its containers as text, for environment variables and volumes.
// Field paths and formats follow upstream's pkg/fieldpath and pkg/api/v1/resource.

import type { ObjectFieldSelector, Pod, Quantity, ResourceFieldSelector } from "../../kube/kinds.ts";
import { ConfigError } from "./errors.ts";

/** What only the node knows about a pod. */
export interface PodFacts {
  readonly pod: Pod;
  readonly podIps: readonly string[];
  readonly nodeName: string;
  readonly hostIps: readonly string[];
  /** What a container without limits may use, as the node's allocatable. */
  readonly allocatable: Readonly<Record<string, Quantity>>;
}

/** The text of a pod's field. Throws ConfigError for a path there is not. */
export function fieldText(facts: PodFacts, { fieldPath }: ObjectFieldSelector): string {
  const { pod } = facts;
  const keyed = /^metadata\.(labels|annotations)\['(.*)'\]$/.exec(fieldPath);
  if (keyed !== null) return pod.metadata[keyed[1] as "labels" | "annotations"]?.[keyed[2] ?? ""] ?? "";
  const field = fields[fieldPath];
  if (field === undefined) throw new ConfigError(`unsupported fieldPath: ${fieldPath}`);
  return field(facts);
}

/** The number a container's resource amounts to, in units of the divisor, rounded up. Throws ConfigError for an unknown container. */
export function resourceText(facts: PodFacts, selector: ResourceFieldSelector, ownName: string): string {
  const name = selector.containerName ?? ownName;
  const { containers, initContainers = [] } = facts.pod.spec;
  const container = [...containers, ...initContainers].find((candidate) => candidate.name === name);
  if (container === undefined) throw new ConfigError(`couldn't find container ${name} in pod`);
  const [kind, resource = ""] = selector.resource.split(/\.(.*)/s);
  if (kind !== "limits" && kind !== "requests")
    throw new ConfigError(`unsupported container resource: ${selector.resource}`);
  const own = container.resources?.[kind]?.[resource];
  const value = own ?? (kind === "limits" ? facts.allocatable[resource] : undefined) ?? 0;
  const divisor = quantityValue(selector.divisor ?? 0) || 1;
  return String(Math.ceil(quantityValue(value) / divisor));
}

/** The value of a quantity such as `250m`, `1.5Gi` or `2`; NaN for other text. */
export function quantityValue(quantity: Quantity): number {
  if (typeof quantity === "number") return quantity;
  const match = /^([+-]?(?:\d+\.?\d*|\.\d+))(?:[eE]([+-]?\d+)|([numkMGTPE]|[KMGTPE]i))?$/.exec(quantity.trim());
  if (match === null) return Number.NaN;
  const [, number, exponent, suffix] = match;
  if (exponent !== undefined) return Number(number) * 10 ** Number(exponent);
  return Number(number) * (suffix === undefined ? 1 : (suffixes[suffix] ?? 1));
}

const suffixes: Readonly<Record<string, number>> = {
  n: 1e-9,
  u: 1e-6,
  m: 1e-3,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  P: 1e15,
  E: 1e18,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
  Pi: 2 ** 50,
  Ei: 2 ** 60,
};

const fields: Readonly<Record<string, (facts: PodFacts) => string>> = {
  "metadata.name": ({ pod }) => pod.metadata.name,
  "metadata.namespace": ({ pod }) => pod.metadata.namespace ?? "",
  "metadata.uid": ({ pod }) => pod.metadata.uid ?? "",
  "metadata.labels": ({ pod }) => mapText(pod.metadata.labels ?? {}),
  "metadata.annotations": ({ pod }) => mapText(pod.metadata.annotations ?? {}),
  "spec.nodeName": ({ nodeName }) => nodeName,
  "spec.serviceAccountName": ({ pod }) => pod.spec.serviceAccountName ?? pod.spec.serviceAccount ?? "default",
  "status.podIP": ({ podIps }) => podIps[0] ?? "",
  "status.podIPs": ({ podIps }) => podIps.join(","),
  "status.hostIP": ({ hostIps }) => hostIps[0] ?? "",
  "status.hostIPs": ({ hostIps }) => hostIps.join(","),
};

/** `key="value"` a line, sorted, with Go's quoting of the value. */
function mapText(map: Readonly<Record<string, string>>): string {
  return Object.keys(map)
    .sort()
    .map((key) => `${key}=${JSON.stringify(map[key])}`)
    .join("\n");
}
