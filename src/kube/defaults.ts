// Defaults: what an object means by leaving a field out, written into it before it is stored.
// Some come with the schema table; the rest is the table below, keyed by the type's name, so that a rule for probes holds wherever a
// probe can be. The values are those of upstream's pkg/apis/*/v*/defaults.go.
//
// Not here: what needs the cluster to be known (addresses, IP families, service accounts): that is admission (lab/).

import { encodeBase64 } from "./base64.ts";
import type { Container, Job, Pod, ReplicationController, Secret, Service } from "./kinds.ts";
import { isFields, type KubeObject, type Labels } from "./object.ts";
import { rememberedChange } from "./repeated.ts";
import { schemaOf, typeNamed, type TypeSchema, type ValueType } from "./schema.ts";
import { withZeroValues } from "./zero.ts";

/**
 * The object with its defaults and zero values, and without fields that are null: they count as absent. The object's structure must be right
 * (structure.ts); kinds that the schema table does not know stay as they are.
 */
export function withDefaults(object: KubeObject): KubeObject {
  const schema = schemaOf(object.apiVersion, object.kind);
  if (schema === undefined) return object;
  return withZeroValues(fill(withSpec(withoutNulls(object, schema), schema), schema) as KubeObject);
}

/** The object without fields that are null, and nothing else. Its structure must be right. */
export function withoutNullFields(object: KubeObject): KubeObject {
  const schema = schemaOf(object.apiVersion, object.kind);
  return schema === undefined ? object : (withoutNulls(object, schema) as KubeObject);
}

/** Upstream's types hold specifications (and templates, below) by value: left out, they are empty ones. CRDs' do not. */
function withSpec(object: Fields, schema: TypeSchema): Fields {
  const type = schema.fields.get("spec")?.type;
  const isOwn = type?.kind === "object" && !type.type.includes("-");
  return isOwn && object["spec"] === undefined ? { ...object, spec: {} } : object;
}

type Fields = { [field: string]: unknown };
/** What is added where it is absent: values, or a function of the object that gives them (or undefined: nothing). */
type Rule = Readonly<Fields> | ((fields: never) => Readonly<Fields> | undefined);

function fill(value: Fields, type: TypeSchema): Fields {
  const rewritten = rewrites[type.name]?.(value as never) ?? value;
  const rule = rules[type.name];
  const missing = typeof rule === "function" ? rule(rewritten as never) : rule;
  const before = withAbsent(withAbsent(rewritten, schemaDefaults(type)), missing);
  let filled = before;
  for (const name of Object.keys(before)) {
    const field = before[name];
    const schema = type.fields.get(name);
    if (schema === undefined || typeof field !== "object") continue;
    const next =
      name === "spec"
        ? rememberedChange(field, `defaults ${type.name}`, () => fillValue(field, schema.type))
        : fillValue(field, schema.type);
    if (next === field) continue;
    if (filled === before) filled = { ...before };
    filled[name] = next;
  }
  return filled;
}

function fillValue(value: unknown, type: ValueType): unknown {
  switch (type.kind) {
    case "scalar":
      return value;
    case "object":
      return isFields(value) ? fill(value, typeNamed(type.type)) : value;
    case "list":
      return Array.isArray(value) && type.of.kind !== "scalar" ? fillList(value, type.of) : value;
    case "map":
      return isFields(value) && type.of.kind !== "scalar" ? fillMap(value, type.of) : value;
  }
}

function fillList(list: readonly unknown[], of: ValueType): readonly unknown[] {
  const filled = list.map((element) => fillValue(element, of));
  return filled.every((element, index) => element === list[index]) ? list : filled;
}

function fillMap(map: Fields, of: ValueType): Fields {
  return Object.fromEntries(Object.entries(map).map(([key, value]) => [key, fillValue(value, of)]));
}

/** Fields and map values that are null go; where a type is `any`, null is a value. */
function withoutNulls(value: Fields, type: TypeSchema): Fields {
  return mapFields(value, (name) => type.fields.get(name)?.type, type.name);
}

function mapFields(value: Fields, typeOf: (name: string) => ValueType | undefined, owner = ""): Fields {
  let cleaned = value;
  for (const name of Object.keys(value)) {
    const field = value[name];
    if (typeof field !== "object") continue;
    const type = typeOf(name);
    const next =
      field === null
        ? undefined
        : type === undefined
          ? field
          : name === "spec" && owner !== ""
            ? rememberedChange(field, `nulls ${owner}`, () => cleanValue(field, type))
            : cleanValue(field, type);
    if (next === field) continue;
    if (cleaned === value) cleaned = { ...value };
    if (next === undefined) delete cleaned[name];
    else cleaned[name] = next;
  }
  return cleaned;
}

function cleanValue(value: unknown, type: ValueType): unknown {
  switch (type.kind) {
    case "scalar":
      return value;
    case "object":
      return isFields(value) ? withoutNulls(value, typeNamed(type.type)) : value;
    case "list": {
      if (!Array.isArray(value) || type.of.kind === "scalar") return value;
      const cleaned = value.map((element) => cleanValue(element, type.of));
      return cleaned.every((element, index) => element === value[index]) ? value : cleaned;
    }
    case "map":
      return isFields(value) ? mapFields(value, () => type.of) : value;
  }
}

function withAbsent(value: Fields, defaults: Readonly<Fields> | undefined): Fields {
  if (defaults === undefined) return value;
  let filled = value;
  for (const [name, given] of Object.entries(defaults)) {
    if (given === undefined || !isAbsent(value[name])) continue;
    if (filled === value) filled = { ...value };
    filled[name] = given;
  }
  return filled;
}

/** Go writes no empty string, so one is as good as nothing. */
function isAbsent(value: unknown): boolean {
  return value === undefined || value === null || value === "";
}

const ofSchema = new Map<TypeSchema, Fields | undefined>();

function schemaDefaults(type: TypeSchema): Fields | undefined {
  if (ofSchema.has(type)) return ofSchema.get(type);
  const fields = [...type.fields.values()].filter((field) => field.default !== undefined);
  const defaults =
    fields.length === 0 ? undefined : Object.fromEntries(fields.map((field) => [field.name, field.default]));
  ofSchema.set(type, defaults);
  return defaults;
}

const fileMode = 0o644;

const cpuMetrics = [
  { type: "Resource", resource: { name: "cpu", target: { type: "Utilization", averageUtilization: 80 } } },
];

// pkg/apis/autoscaling/v2/defaults.go
const scalingUp = {
  stabilizationWindowSeconds: 0,
  selectPolicy: "Max",
  policies: [
    { type: "Pods", value: 4, periodSeconds: 15 },
    { type: "Percent", value: 100, periodSeconds: 15 },
  ],
};
const scalingDown = { selectPolicy: "Max", policies: [{ type: "Percent", value: 100, periodSeconds: 15 }] };

const container: Rule = ({ image }: Container) => ({
  terminationMessagePath: "/dev/termination-log",
  terminationMessagePolicy: "File",
  imagePullPolicy: pullPolicy(image),
});

const rules: { readonly [type: string]: Rule } = {
  // pkg/apis/admissionregistration/v1/defaults.go
  "admissionregistration.v1.ValidatingAdmissionPolicySpec": { failurePolicy: "Fail" },
  "admissionregistration.v1.MutatingAdmissionPolicySpec": { failurePolicy: "Fail" },
  "admissionregistration.v1.MatchResources": { matchPolicy: "Equivalent", namespaceSelector: {}, objectSelector: {} },
  "admissionregistration.v1.NamedRuleWithOperations": { scope: "*" },
  "admissionregistration.v1.RuleWithOperations": { scope: "*" },
  "admissionregistration.v1.ServiceReference": { port: 443 },
  "admissionregistration.v1.ValidatingWebhook": webhook,
  "admissionregistration.v1.MutatingWebhook": () => ({ ...webhook(), reinvocationPolicy: "Never" }),
  "core.v1.PodSpec": (spec: { serviceAccount?: string; serviceAccountName?: string }) => ({
    // None is an error, which is found later; until then there is a list.
    containers: [],
    dnsPolicy: "ClusterFirst",
    restartPolicy: "Always",
    terminationGracePeriodSeconds: 30,
    securityContext: {},
    schedulerName: "default-scheduler",
    // The old name of the field follows the new one, and the reverse.
    serviceAccountName: spec.serviceAccount,
    serviceAccount: spec.serviceAccountName,
  }),
  "core.v1.PodTemplateSpec": { spec: {} },
  "core.v1.Container": container,
  "core.v1.EphemeralContainer": container,
  "core.v1.ImageVolumeSource": ({ reference }: { reference?: string }) => ({ pullPolicy: pullPolicy(reference) }),
  "core.v1.Probe": { timeoutSeconds: 1, periodSeconds: 10, successThreshold: 1, failureThreshold: 3 },
  "core.v1.HTTPGetAction": { path: "/", scheme: "HTTP" },
  "core.v1.ObjectFieldSelector": { apiVersion: "v1" },
  "core.v1.ConfigMapVolumeSource": { defaultMode: fileMode },
  "core.v1.SecretVolumeSource": { defaultMode: fileMode },
  "core.v1.DownwardAPIVolumeSource": { defaultMode: fileMode },
  "core.v1.ProjectedVolumeSource": { defaultMode: fileMode },
  "core.v1.ServiceAccountTokenProjection": { expirationSeconds: 3600 },
  "core.v1.Volume": (volume: Fields) => (Object.keys(volume).length > 1 ? undefined : { emptyDir: {} }),
  "core.v1.ServiceSpec": serviceDefaults,
  "core.v1.ServicePort": ({ port }: { port?: unknown }) => ({ targetPort: port }),
  "core.v1.EndpointPort": { protocol: "TCP" },
  "core.v1.LoadBalancerIngress": ({ ip = "" }: { ip?: string }) => (ip === "" ? undefined : { ipMode: "VIP" }),
  "core.v1.Secret": { type: "Opaque" },
  "core.v1.NodeStatus": ({ capacity }: { capacity?: unknown }) => ({ allocatable: capacity }),
  "core.v1.PersistentVolumeClaimSpec": { volumeMode: "Filesystem" },
  "core.v1.PersistentVolumeSpec": { persistentVolumeReclaimPolicy: "Retain", volumeMode: "Filesystem" },
  "core.v1.ReplicationControllerSpec": { replicas: 1 },
  "apps.v1.DeploymentSpec": {
    template: {},
    replicas: 1,
    strategy: {},
    revisionHistoryLimit: 10,
    progressDeadlineSeconds: 600,
  },
  "apps.v1.DeploymentStrategy": ({ type }: { type?: string }) =>
    type === "Recreate" ? undefined : { type: "RollingUpdate", rollingUpdate: {} },
  "apps.v1.RollingUpdateDeployment": { maxUnavailable: "25%", maxSurge: "25%" },
  "apps.v1.ReplicaSetSpec": { template: {}, replicas: 1 },
  "apps.v1.StatefulSetSpec": {
    template: {},
    replicas: 1,
    podManagementPolicy: "OrderedReady",
    updateStrategy: {},
    revisionHistoryLimit: 10,
    persistentVolumeClaimRetentionPolicy: {},
  },
  "apps.v1.StatefulSetUpdateStrategy": ({ type }: { type?: string }) =>
    type === "OnDelete" ? undefined : { type: "RollingUpdate", rollingUpdate: {} },
  "apps.v1.RollingUpdateStatefulSetStrategy": { partition: 0 },
  "apps.v1.StatefulSetPersistentVolumeClaimRetentionPolicy": { whenDeleted: "Retain", whenScaled: "Retain" },
  "apps.v1.DaemonSetSpec": { template: {}, updateStrategy: {}, revisionHistoryLimit: 10 },
  "apps.v1.DaemonSetUpdateStrategy": ({ type }: { type?: string }) =>
    type === "OnDelete" ? undefined : { type: "RollingUpdate", rollingUpdate: {} },
  "apps.v1.RollingUpdateDaemonSet": { maxUnavailable: 1, maxSurge: 0 },
  // Those of a CronJob's template are left out: they come with each Job.
  "batch.v1.JobSpec": { template: {} },
  "batch.v1.JobTemplateSpec": { spec: {} },
  "batch.v1.PodFailurePolicyOnPodConditionsPattern": { status: "True" },
  "batch.v1.CronJobSpec": {
    jobTemplate: {},
    concurrencyPolicy: "Allow",
    suspend: false,
    successfulJobsHistoryLimit: 3,
    failedJobsHistoryLimit: 1,
  },
  "networking.v1.NetworkPolicySpec": ({ egress }: { egress?: readonly unknown[] }) => ({
    policyTypes: (egress ?? []).length > 0 ? ["Ingress", "Egress"] : ["Ingress"],
  }),
  "networking.v1.NetworkPolicyPort": { protocol: "TCP" },
  "networking.v1.IngressClassParametersReference": { scope: "Cluster" },
  // The name's default is the empty string, which is written.
  "discovery.v1.EndpointPort": ({ name }: { name?: string }) => ({
    protocol: "TCP",
    ...(name === "" ? {} : { name: "" }),
  }),
  "autoscaling.v1.HorizontalPodAutoscalerSpec": { minReplicas: 1 },
  "autoscaling.v2.HorizontalPodAutoscalerSpec": { minReplicas: 1, scaleTargetRef: {} },
  "rbac.v1.ClusterRoleBinding": { roleRef: {} },
  "rbac.v1.RoleBinding": { roleRef: {} },
  "rbac.v1.RoleRef": { apiGroup: "rbac.authorization.k8s.io" },
  "rbac.v1.Subject": ({ kind }: { kind?: string }) =>
    kind === "User" || kind === "Group" ? { apiGroup: "rbac.authorization.k8s.io" } : undefined,
  "storage.v1.StorageClass": { reclaimPolicy: "Delete", volumeBindingMode: "Immediate" },
  "scheduling.v1.PriorityClass": { preemptionPolicy: "PreemptLowerPriority" },
};

function pullPolicy(image: string | undefined): string {
  return image !== undefined && hasFixedVersion(image) ? "IfNotPresent" : "Always";
}

// pkg/util/parsers: an image without tag or digest, or with the tag `latest`, is pulled again each time.
function hasFixedVersion(image: string): boolean {
  if (image.includes("@")) return true;
  const tag = /:([^/:]+)$/.exec(image)?.[1];
  return tag !== undefined && tag !== "latest";
}

/** Changes deeper than a field that is absent; they come before the rules. */
function webhook(): Readonly<Fields> {
  return {
    failurePolicy: "Fail",
    matchPolicy: "Equivalent",
    namespaceSelector: {},
    objectSelector: {},
    timeoutSeconds: 10,
  };
}

const rewrites: { readonly [type: string]: (value: never) => Fields } = {
  "core.v1.Pod": (pod: Pod) =>
    isFields(pod.spec) ? { ...pod, spec: rememberedChange(pod.spec, "pod", () => podSpec(pod.spec)) } : pod,
  // pkg/apis/core/v1 SetDefaults_Namespace: so that policies can select namespaces by name.
  "core.v1.Namespace": (namespace: KubeObject) =>
    withLabels(namespace, { ...namespace.metadata.labels, "kubernetes.io/metadata.name": namespace.metadata.name }),
  // pkg/registry/core/secret/strategy.go: text given as it is becomes data.
  "core.v1.Secret": ({ stringData, ...secret }: Secret) =>
    stringData === undefined ? secret : { ...secret, data: { ...secret.data, ...encoded(stringData) } },
  "core.v1.ServiceSpec": affinityTimeout,
  "core.v1.LimitRangeItem": limitRangeItem,
  // Upstream's gate ClusterTrustBundleProjection is off: the field is dropped.
  "core.v1.VolumeProjection": (source: Fields) => without(source, ["clusterTrustBundle"]),
  // Go's types hold these numbers by value: programs write 0 where they mean nothing.
  "core.v1.ServicePort": (port: Fields) => withoutZero(port, ["targetPort", "nodePort"]),
  "core.v1.Probe": (probe: Fields) =>
    withoutZero(probe, ["timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"]),
  "batch.v1.Job": (job: Partial<Job> & KubeObject) => withJobDefaults(jobLabels(job)),
  // Upstream's gate CoordinatedLeaderElection is off: the fields are dropped.
  "coordination.v1.LeaseSpec": (spec: Fields) => without(spec, ["strategy", "preferredHolder"]),
  "autoscaling.v2.HorizontalPodAutoscalerSpec": (spec: Fields) =>
    ((spec["metrics"] ?? []) as readonly unknown[]).length > 0 ? spec : { ...spec, metrics: cpuMetrics },
  "autoscaling.v2.HorizontalPodAutoscalerBehavior": ({ scaleUp, scaleDown }: Fields) => ({
    scaleUp: { ...scalingUp, ...(scaleUp as object | undefined) },
    scaleDown: { ...scalingDown, ...(scaleDown as object | undefined) },
  }),
  "core.v1.NodeSpec": nodeRanges,
  "apps.v1.StatefulSetSpec": claimTemplates,
  "core.v1.PersistentVolumeClaimSpec": claimSource,
  // pkg/registry/discovery/endpointslice/strategy.go dropTopologyOnV1: of versions before this one.
  "discovery.v1.Endpoint": (endpoint: Fields) => without(endpoint, ["deprecatedTopology"]),
  "core.v1.ReplicationController": ownLabels,
};

function withoutZero(fields: Fields, names: readonly string[]): Fields {
  if (!names.some((name) => fields[name] === 0)) return fields;
  return Object.fromEntries(Object.entries(fields).filter(([name, value]) => value !== 0 || !names.includes(name)));
}

/** The same value where it has none of these fields: most have not, and are looked at by every write. */
function without(fields: Fields, names: readonly string[]): Fields {
  if (names.every((name) => fields[name] === undefined)) return fields;
  return Object.fromEntries(Object.entries(fields).filter(([name]) => !names.includes(name)));
}

/** What containers get that say nothing: a limit that is the largest, a request that is the limit, or else the least. */
function limitRangeItem(item: Fields): Fields {
  if (item["type"] !== "Container") return item;
  const [min, max, limit, request] = ["min", "max", "default", "defaultRequest"].map((name) => item[name] ?? {});
  const limits = { ...max, ...limit };
  const requests = { ...min, ...limits, ...request };
  return {
    ...item,
    ...(Object.keys(limits).length > 0 && { default: limits }),
    ...(Object.keys(requests).length > 0 && { defaultRequest: requests }),
  };
}

/** What holds for pods and not for templates of pods. */
function podSpec(spec: Pod["spec"]): Pod["spec"] {
  const containers = (list: readonly Container[] | undefined): readonly Container[] | undefined =>
    list?.map((each) => requestsFromLimits(spec.hostNetwork === true ? hostPorts(each) : each));
  return {
    ...spec,
    enableServiceLinks: spec.enableServiceLinks ?? true,
    // pkg/apis/core/v1 Convert_v1_Pod_To_core_Pod: nobody's time runs backwards.
    ...((spec.terminationGracePeriodSeconds ?? 0) < 0 ? { terminationGracePeriodSeconds: 1 } : {}),
    ...(spec.containers === undefined ? {} : { containers: containers(spec.containers) ?? [] }),
    ...(spec.initContainers === undefined ? {} : { initContainers: containers(spec.initContainers) ?? [] }),
  };
}

/** In the node's network a container's port is the node's port. */
function hostPorts(container: Container): Container {
  if (container.ports === undefined) return container;
  const ports = container.ports.map((port) => ({ ...port, hostPort: port.hostPort ?? port.containerPort }));
  return { ...container, ports };
}

/** What is limited and not requested is requested as much. */
function requestsFromLimits(container: Container): Container {
  const { limits, requests } = container.resources ?? {};
  if (limits === undefined) return container;
  return { ...container, resources: { ...container.resources, requests: { ...limits, ...requests } } };
}

function withLabels(object: KubeObject, labels: Labels): KubeObject {
  return { ...object, metadata: { ...object.metadata, labels } };
}

function encoded(texts: Labels): Labels {
  const encoder = new TextEncoder();
  return Object.fromEntries(Object.entries(texts).map(([key, text]) => [key, encodeBase64(encoder.encode(text))]));
}

const affinitySeconds = 10_800;

function affinityTimeout(spec: Service["spec"]): Fields {
  const { sessionAffinityConfig: config, ...rest } = spec;
  if (spec.sessionAffinity !== "ClientIP") return rest;
  const timeoutSeconds = config?.clientIP?.timeoutSeconds ?? affinitySeconds;
  return { ...rest, sessionAffinityConfig: { clientIP: { timeoutSeconds } } };
}

function serviceDefaults(spec: Service["spec"]): Fields {
  const type = spec.type ?? "ClusterIP";
  const hasCluster = type !== "ExternalName";
  const isExternal = type === "NodePort" || type === "LoadBalancer";
  return {
    type,
    sessionAffinity: "None",
    internalTrafficPolicy: hasCluster ? "Cluster" : undefined,
    externalTrafficPolicy: isExternal || (hasCluster && (spec.externalIPs ?? []).length > 0) ? "Cluster" : undefined,
    allocateLoadBalancerNodePorts: type === "LoadBalancer" ? true : undefined,
  };
}

/** pkg/apis/core/v1 SetDefaults_ReplicationController: without selector or labels of its own it has those of its pods. */
function ownLabels(controller: Partial<ReplicationController> & KubeObject): Fields {
  const { spec } = controller;
  const labels = spec?.template?.metadata?.labels;
  if (spec === undefined || labels === undefined) return controller;
  const hasSelector = Object.keys(spec.selector ?? {}).length > 0;
  const selected = { ...controller, spec: hasSelector ? spec : { ...spec, selector: labels } };
  return Object.keys(controller.metadata.labels ?? {}).length > 0 ? selected : withLabels(selected, labels);
}

/** A Job without labels gets those of its pods. */
function jobLabels(job: Partial<Job> & KubeObject): Fields {
  const labels = (job.spec as Partial<Job["spec"]> | undefined)?.template?.metadata?.labels;
  const hasOwn = Object.keys(job.metadata.labels ?? {}).length > 0;
  return labels === undefined || hasOwn ? job : withLabels(job, labels);
}

function withJobDefaults(job: Fields): Fields {
  const { spec } = job;
  return isFields(spec) ? { ...job, spec: withAbsent(spec, jobDefaults(spec as unknown as Job["spec"])) } : job;
}

/** A node's first range has a field of its own, which wins; how its kubelet is configured is no longer said. */
function nodeRanges(given: Fields): Fields {
  const { configSource: _, ...spec } = given;
  const { podCIDR = "", podCIDRs = [] } = spec as { podCIDR?: string; podCIDRs?: readonly string[] };
  const [first = ""] = podCIDRs;
  if (podCIDR === "" && first === "") return spec;
  if (podCIDR === "") return { ...spec, podCIDR: first };
  return podCIDR === first ? spec : { ...spec, podCIDRs: [podCIDR] };
}

/** Claims of a StatefulSet are whole claims. */
function claimTemplates(spec: Fields): Fields {
  const { volumeClaimTemplates: claims } = spec as { volumeClaimTemplates?: readonly Fields[] };
  if (!Array.isArray(claims) || claims.length === 0) return spec;
  return {
    ...spec,
    volumeClaimTemplates: (claims as readonly Fields[]).map((claim) => ({
      ...claim,
      apiVersion: "v1",
      kind: "PersistentVolumeClaim",
      status: { ...(claim["status"] as object | undefined), phase: "Pending" },
    })),
  };
}

/** Where the contents of a claim come from is said twice (pkg/api/persistentvolumeclaim NormalizeDataSources). */
function claimSource(spec: Fields): Fields {
  const { dataSource, dataSourceRef } = spec;
  if (dataSource !== undefined && dataSourceRef === undefined && hasName(dataSource))
    return { ...spec, dataSourceRef: dataSource };
  return spec;
}

function hasName(reference: unknown): boolean {
  const { kind, name } = reference as Fields;
  return kind !== "" && name !== "";
}

function jobDefaults(spec: Job["spec"]): Fields {
  const { parallelism, completions, backoffLimitPerIndex, podFailurePolicy } = spec;
  return {
    parallelism: 1,
    completions: parallelism === undefined && completions === undefined ? 1 : undefined,
    backoffLimit: backoffLimitPerIndex === undefined ? 6 : 2 ** 31 - 1,
    completionMode: "NonIndexed",
    suspend: false,
    podReplacementPolicy: podFailurePolicy !== undefined ? "Failed" : "TerminatingOrFailed",
  };
}
