// What is allowed and yet is warned of, in the words of upstream's API server (pkg/api/*/warnings.go, WarningsOnCreate of
// pkg/registry/*/strategy.go), and advice of our own beside it, which `fairlead apply` gives.
//
// Not here: what is refused (validate.ts), specifications of pods (warnings-pod.ts).

import { familyOf, parseAddress } from "../ip/address.ts";
import { parseInterfaceAddress, parsePrefix } from "../ip/prefix.ts";
import { decodeBase64 } from "./base64.ts";
import { sameJson } from "./equal.ts";
import { dnsLabel } from "./formats.ts";
import type {
  EndpointSlice,
  Endpoints,
  Ingress,
  NetworkPolicy,
  Node,
  Pod,
  PodTemplateSpec,
  ResourceRequirements,
  Secret,
  Service,
  StatefulSet,
} from "./kinds.ts";
import type { KubeObject } from "./object.ts";
import type { ClusterNetworkPolicy } from "./policy-kinds.ts";
import { at } from "./problem.ts";
import { remembered } from "./repeated.ts";
import { about, annotationWarnings, byteWarnings, type Warning } from "./warning.ts";
import { podSpecWarnings } from "./warnings-pod.ts";

/** What a write of an object is warned of; of a workload that is changed, only where its template does. */
export function warningsOf(object: KubeObject, previous?: KubeObject): readonly Warning[] {
  const own = kinds[`${object.apiVersion}/${object.kind}`]?.(object as never) ?? [];
  const path = templates[`${object.apiVersion}/${object.kind}`];
  if (path === undefined) return own;
  const asked = object.kind === "DaemonSet" ? templateOf : specOf;
  if (previous !== undefined && sameJson(asked(object), asked(previous))) return own;
  return [...own, ...nameWarnings(object, previous), ...templateWarnings(object, path)];
}

function specOf({ spec }: KubeObject): unknown {
  return spec;
}

function templateOf({ spec }: KubeObject): unknown {
  return (spec as { readonly template?: unknown } | undefined)?.template;
}

/** Kinds that others have replaced, and what is said to whoever uses them. */
export const deprecatedKinds: { readonly [kind: string]: string } = {
  "v1/ComponentStatus": "v1 ComponentStatus is deprecated in v1.19+",
  "v1/Endpoints": "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice",
};

function secretWarnings({ type, data = {} }: Secret): readonly Warning[] {
  if (type !== "kubernetes.io/tls") return [];
  for (const [field, what] of [
    ["tls.crt", "certificate"],
    ["tls.key", "key"],
  ] as const) {
    const bytes = decodeBase64(data[field] ?? "");
    const text = bytes === undefined ? "" : new TextDecoder().decode(bytes);
    if (!text.includes("-----BEGIN "))
      return [{ field: at("data", field), text: `tls: failed to find any PEM data in ${what} input` }];
  }
  return [];
}

const kinds: { readonly [kind: string]: (object: never) => readonly Warning[] } = {
  "v1/Pod": podWarnings,
  "v1/Service": serviceWarnings,
  "v1/Endpoints": endpointsWarnings,
  "v1/Node": nodeWarnings,
  "v1/Secret": secretWarnings,
  "v1/PersistentVolumeClaim": claimWarnings,
  "v1/PersistentVolume": volumeWarnings,
  "v1/ServiceAccount": ({ metadata }: KubeObject) =>
    annotationWarnings(metadata.annotations, {
      "kubernetes.io/enforce-mountable-secrets":
        "deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets",
    }),
  "apps/v1/StatefulSet": statefulSetWarnings,
  "discovery.k8s.io/v1/EndpointSlice": sliceWarnings,
  "networking.k8s.io/v1/NetworkPolicy": policyWarnings,
  "networking.k8s.io/v1/Ingress": ingressWarnings,
  "policy.networking.k8s.io/v1alpha2/ClusterNetworkPolicy": domainNameWarnings,
};

/** Where a kind has the template of its pods. */
const templates: { readonly [kind: string]: string } = {
  "apps/v1/Deployment": "spec.template",
  "apps/v1/ReplicaSet": "spec.template",
  "apps/v1/StatefulSet": "spec.template",
  "apps/v1/DaemonSet": "spec.template",
  "v1/ReplicationController": "spec.template",
  "v1/PodTemplate": "template",
  "batch/v1/Job": "spec.template",
  "batch/v1/CronJob": "spec.jobTemplate.spec.template",
};

/** Kinds whose pods are called after them in a way that allows for dots. */
const namesPods = new Set(["Deployment", "ReplicaSet", "ReplicationController", "Job", "CronJob"]);

function nameWarnings({ kind, metadata: { name } }: KubeObject, previous: KubeObject | undefined): readonly Warning[] {
  const problems = previous === undefined && namesPods.has(kind) ? dnsLabel(name) : [];
  return problems.length === 0
    ? []
    : [about("metadata.name", `${inNames} a DNS label is recommended: ${listOf(problems)}`)];
}

const inNames = "this is used in Pod names and hostnames, which can result in surprising behavior;";

/** As Go prints a list of texts. */
function listOf(texts: readonly string[]): string {
  return `[${texts.join(" ")}]`;
}

function templateWarnings(object: KubeObject, path: string): readonly Warning[] {
  let value: unknown = object;
  for (const name of path.split(".")) value = (value as { readonly [field: string]: unknown } | undefined)?.[name];
  const template = value as PodTemplateSpec | undefined;
  return template?.spec === undefined ? [] : podSpecWarnings(template.spec, template.metadata ?? {}, `${path}.`);
}

function podWarnings({ metadata, spec }: Pod): readonly Warning[] {
  const problems = dnsLabel(metadata.name);
  const inHostname = "this is used in the Pod's hostname, which can result in surprising behavior;";
  return [
    ...(problems.length === 0
      ? []
      : [about("metadata.name", `${inHostname} a DNS label is recommended: ${listOf(problems)}`)]),
    ...(metadata.annotations === undefined
      ? remembered(spec, "warnings", () => podSpecWarnings(spec, {}, ""))
      : podSpecWarnings(spec, metadata, "")),
  ];
}

function serviceWarnings({ metadata, spec }: Service): readonly Warning[] {
  const { type, externalIPs = [], loadBalancerIP = "", loadBalancerSourceRanges = [], clusterIPs = [] } = spec;
  const isHeadless = type === "ClusterIP" && spec.clusterIP === "None";
  const isName = type === "ExternalName";
  const list: Warning[] = [];
  const say = (field: string, text: string): void => void list.push({ field, text: `${field} ${text}` });
  const hints = "service.kubernetes.io/topology-aware-hints";
  if (metadata.annotations?.[hints] !== undefined)
    list.push({
      field: at("metadata.annotations", hints),
      text: `annotation ${hints} is deprecated, please use service.kubernetes.io/topology-mode instead`,
    });
  if (!isHeadless) list.push(...clusterIPs.flatMap((ip, index) => addressWarnings(ip, at("spec.clusterIPs", index))));
  else {
    if (loadBalancerIP !== "") say("spec.loadBalancerIP", "is ignored for headless services");
    if (externalIPs.length > 0) say("spec.externalIPs", "is ignored for headless services");
    if (spec.sessionAffinity !== "None") say("spec.SessionAffinity", "is ignored for headless services");
  }
  list.push(...externalIPs.flatMap((ip, index) => addressWarnings(ip, at("spec.externalIPs", index))));
  if (externalIPs.length > 0 && !isHeadless && !isName)
    say("spec.externalIPs", "is deprecated and may no longer be implemented in some clusters");
  list.push(...addressWarnings(loadBalancerIP, "spec.loadBalancerIP"));
  for (const [index, range] of loadBalancerSourceRanges.entries())
    list.push(...rangeWarnings(range, at("spec.loadBalancerSourceRanges", index)));
  if (isName && externalIPs.length > 0) say("spec.externalIPs", 'is ignored when spec.type is "ExternalName"');
  if (!isName && (spec.externalName ?? "") !== "")
    say("spec.externalName", 'is ignored when spec.type is not "ExternalName"');
  if (spec.trafficDistribution === "PreferClose")
    list.push(about("spec.trafficDistribution", '"PreferClose" is deprecated; use "PreferSameZone"'));
  if (spec.selector === undefined && !isName)
    list.push({
      ...about("spec", "no selector: the Service has only the EndpointSlices that somebody writes for it"),
      isAdvice: true,
    });
  return list;
}

/** An address that is read and yet is not written as everybody writes it. */
function addressWarnings(text: string, field: string): readonly Warning[] {
  const address = parseAddress(text);
  if (address === undefined || address === text || familyOf(address) === 4) return [];
  return [
    about(
      field,
      `IPv6 address ${JSON.stringify(text)} should be in RFC 5952 canonical format (${JSON.stringify(address)})`,
    ),
  ];
}

function rangeWarnings(text: string, field: string): readonly Warning[] {
  const given = parseInterfaceAddress(text);
  const prefix = parsePrefix(text);
  if (given === undefined || prefix === undefined || prefix === text) return [];
  const bits = familyOf(given.address) === 4 ? 32 : 128;
  const quoted = JSON.stringify(text);
  if (`${given.address}/${given.bits}` === prefix)
    return [
      about(field, `IPv6 CIDR value ${quoted} should be in RFC 5952 canonical format (${JSON.stringify(prefix)})`),
    ];
  return [
    about(
      field,
      `CIDR value ${quoted} is ambiguous in this context (should be "${prefix}" or "${given.address}/${bits}"?)`,
    ),
  ];
}

function endpointsWarnings({ subsets = [] }: Endpoints): readonly Warning[] {
  return [
    { field: "kind", text: deprecatedKinds["v1/Endpoints"] ?? "" },
    ...subsets.flatMap(({ addresses = [], notReadyAddresses = [] }, index) =>
      Object.entries({ addresses, notReadyAddresses }).flatMap(([name, list]) =>
        list.flatMap(({ ip }, each) => addressWarnings(ip, `${at(`${at("subsets", index)}.${name}`, each)}.ip`)),
      ),
    ),
  ];
}

function sliceWarnings({ addressType, endpoints }: EndpointSlice): readonly Warning[] {
  if (addressType === "FQDN") return [about("spec.addressType", "FQDN endpoints are deprecated")];
  // Of other families there is one way to write an address.
  if (addressType !== "IPv6") return [];
  return (endpoints ?? []).flatMap(({ addresses }, index) =>
    addresses.flatMap((address, each) => addressWarnings(address, at(`${at("endpoints", index)}.addresses`, each))),
  );
}

function policyWarnings({ spec }: NetworkPolicy): readonly Warning[] {
  const sides = [
    ...(spec.ingress ?? []).map(({ from = [] }, index) => [`${at("spec.ingress", index)}.from`, from] as const),
    ...(spec.egress ?? []).map(({ to = [] }, index) => [`${at("spec.egress", index)}.to`, to] as const),
  ];
  return sides.flatMap(([path, peers]) =>
    peers.flatMap(({ ipBlock }, index) =>
      ipBlock === undefined
        ? []
        : [
            ...rangeWarnings(ipBlock.cidr, `${at(path, index)}.ipBlock.cidr`),
            ...(ipBlock.except ?? []).flatMap((hole, each) =>
              rangeWarnings(hole, at(`${at(path, index)}.ipBlock.except`, each)),
            ),
          ],
    ),
  );
}

function ingressWarnings({ metadata, spec }: Ingress): readonly Warning[] {
  const name = "kubernetes.io/ingress.class";
  if (metadata.resourceVersion !== undefined) return [];
  if (metadata.annotations?.[name] === undefined || spec?.ingressClassName !== undefined) return [];
  const text = `annotation "${name}" is deprecated, please use 'spec.ingressClassName' instead`;
  return [{ field: at("metadata.annotations", name), text }];
}

function nodeWarnings({ spec }: Node): readonly Warning[] {
  const { externalID } = (spec ?? {}) as { readonly externalID?: string };
  return [
    ...((externalID ?? "") === ""
      ? []
      : [about("spec.externalID", "this field is deprecated, and is unused by Kubernetes")]),
    ...(spec?.podCIDRs ?? []).flatMap((range, index) => rangeWarnings(range, at("spec.podCIDRs", index))),
  ];
}

const storageClassAnnotation = {
  "volume.beta.kubernetes.io/storage-class": 'deprecated since v1.8; use "storageClassName" attribute instead',
};

interface ClaimSpec {
  readonly resources?: ResourceRequirements;
}

function claimWarnings({ metadata, spec }: KubeObject): readonly Warning[] {
  return [
    ...annotationWarnings(metadata.annotations, storageClassAnnotation),
    ...claimSpecWarnings(spec ?? {}, "spec"),
  ];
}

function claimSpecWarnings({ resources = {} }: ClaimSpec, path: string): readonly Warning[] {
  return (["requests", "limits"] as const).flatMap((field) =>
    byteWarnings(resources[field]?.["storage"], at(`${path}.resources.${field}`, "storage")),
  );
}

function volumeWarnings({ metadata, spec }: KubeObject): readonly Warning[] {
  const { persistentVolumeReclaimPolicy: policy } = (spec ?? {}) as { readonly persistentVolumeReclaimPolicy?: string };
  return [
    ...annotationWarnings(metadata.annotations, {
      ...storageClassAnnotation,
      "volume.beta.kubernetes.io/mount-options": 'deprecated since v1.31; use "mountOptions" attribute instead',
    }),
    ...(policy === "Recycle"
      ? [
          about(
            "spec.persistentVolumeReclaimPolicy",
            "The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.",
          ),
        ]
      : []),
  ];
}

function statefulSetWarnings({ spec }: StatefulSet): readonly Warning[] {
  const { volumeClaimTemplates = [], revisionHistoryLimit } = spec as StatefulSet["spec"] & {
    readonly volumeClaimTemplates?: readonly { readonly spec?: ClaimSpec }[];
  };
  return [
    ...volumeClaimTemplates.flatMap((claim, index) =>
      claimSpecWarnings(claim.spec ?? {}, at("spec.volumeClaimTemplates", index)),
    ),
    ...(revisionHistoryLimit !== undefined && revisionHistoryLimit < 0
      ? [
          about(
            "spec.revisionHistoryLimit",
            "a negative value retains all historical revisions; a value >= 0 is recommended",
          ),
        ]
      : []),
  ];
}

function domainNameWarnings({ spec: { egress = [] } }: ClusterNetworkPolicy): readonly Warning[] {
  return egress.flatMap(({ to, action }, index) =>
    to.flatMap(({ domainNames }, each) =>
      domainNames === undefined
        ? []
        : [
            about(
              `spec.egress[${index}].to[${each}].domainNames`,
              `names are not enforced yet: the rule ${action === "Accept" ? "accepts nothing" : "denies everything"}`,
            ),
          ],
    ),
  );
}
