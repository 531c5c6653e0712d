// What a list of a resource shows, column by column: the words kubectl users know (kubernetes/pkg/printers/internalversion).
// Rows of a table: a resource without a row of its own shows name and age.
//
// Not here: how columns are laid out (cli/), nor the API's Table answers, which read this same table.

import type {
  DaemonSet,
  Deployment,
  EndpointSlice,
  Event,
  Ingress,
  Job,
  Namespace,
  NetworkPolicy,
  Node,
  Pod,
  ReplicaSet,
  Service,
  StatefulSet,
} from "./kinds.ts";
import { ageAt, ageColumn, type Column } from "./column.ts";
import { clusterTables } from "./columns-cluster.ts";
import { storageTables } from "./columns-storage.ts";
import { humanDuration } from "./duration.ts";
import type { KubeObject } from "./object.ts";
import { formatLabels, formatSelector, requirementsOf } from "./selector.ts";

/** The columns of a resource, in order. */
export function columnsOf(resource: { readonly group: string; readonly resource: string }): readonly Column[] {
  const text = resource.group === "" ? resource.resource : `${resource.resource}.${resource.group}`;
  const special = tables[text] ?? clusterTables[text] ?? storageTables[text] ?? [];
  const first = special.some((column) => column.name === "Name") ? [] : [nameColumn];
  // A row that says where its age is says the order of all.
  if (ageless.has(text) || special.some((column) => column.name === "Age" || column.name === "Last Seen"))
    return [...first, ...special];
  const narrow = special.filter((column) => column.wide !== true);
  const wide = special.filter((column) => column.wide === true);
  return [...first, ...narrow, createdAt.has(text) ? createdColumn : ageColumn, ...wide];
}

/** Kinds whose time column says when they were made, not how long ago. */
const createdAt: ReadonlySet<string> = new Set([
  "clusterroles.rbac.authorization.k8s.io",
  "csistoragecapacities.storage.k8s.io",
  "customresourcedefinitions.apiextensions.k8s.io",
  "limitranges",
  "roles.rbac.authorization.k8s.io",
]);

/** Kinds that show no time. */
const ageless: ReadonlySet<string> = new Set(["componentstatuses", "ipaddresses.networking.k8s.io", "podtemplates"]);

const nameColumn: Column = { name: "Name", format: "name", value: (object) => object.metadata.name };

const createdColumn: Column = {
  name: "Created At",
  type: "date",
  value: (object) => object.metadata.creationTimestamp ?? "<unknown>",
};

/** A column over an object of a known kind. */
function column<T extends KubeObject>(
  name: string,
  value: (object: T, now: number) => string | number | undefined,
): Column {
  return { name, value: (object, now) => value(object as T, now) ?? "<none>" };
}

function integer<T extends KubeObject>(name: string, value: (object: T) => number): Column {
  return { name, type: "integer", value: (object) => value(object as T) };
}

function wide<T extends KubeObject>(name: string, value: (object: T) => string | number | undefined): Column {
  return { ...column(name, value), wide: true };
}

/** Of what has a template of pods. */
const containers = wide<Deployment>("Containers", (object) =>
  object.spec.template.spec.containers.map((each) => each.name).join(","),
);
const images = wide<Deployment>("Images", (object) =>
  object.spec.template.spec.containers.map((each) => each.image).join(","),
);
const selector = wide<Deployment>("Selector", (object) => formatSelector(requirementsOf(object.spec.selector)));

const tables: Readonly<Record<string, readonly Column[]>> = {
  pods: [
    column<Pod>("Ready", podReady),
    column<Pod>("Status", podStatus),
    column<Pod>("Restarts", podRestarts),
    ageColumn,
    wide<Pod>("IP", (pod) => pod.status?.podIP),
    wide<Pod>("Node", (pod) => pod.spec.nodeName),
    wide<Pod>("Nominated Node", (pod) => pod.status?.nominatedNodeName),
    wide<Pod>("Readiness Gates", readinessGates),
  ],
  services: [
    column<Service>("Type", (service) => service.spec.type ?? "ClusterIP"),
    column<Service>("Cluster-IP", (service) => service.spec.clusterIP ?? (service.spec.clusterIPs ?? [])[0]),
    column<Service>("External-IP", externalIp),
    column<Service>("Port(s)", servicePorts),
    ageColumn,
    wide<Service>("Selector", (service) => formatLabels(service.spec.selector) || "<none>"),
  ],
  namespaces: [column<Namespace>("Status", (namespace) => namespace.status?.phase)],
  nodes: [
    column<Node>("Status", nodeStatus),
    column<Node>("Roles", nodeRoles),
    ageColumn,
    column<Node>("Version", (node) => nodeInfo(node)?.kubeletVersion),
    wide<Node>(
      "Internal-IP",
      (node) => node.status?.addresses?.find((address) => address.type === "InternalIP")?.address,
    ),
    wide<Node>(
      "External-IP",
      (node) => node.status?.addresses?.find((address) => address.type === "ExternalIP")?.address,
    ),
    wide<Node>("OS-Image", (node) => nodeInfo(node)?.osImage || "<unknown>"),
    wide<Node>("Kernel-Version", (node) => nodeInfo(node)?.kernelVersion || "<unknown>"),
    wide<Node>("Container-Runtime", (node) => nodeInfo(node)?.containerRuntimeVersion || "<unknown>"),
  ],
  configmaps: [{ name: "Data", value: dataCount }],
  secrets: [
    { name: "Type", value: ({ type }) => (typeof type === "string" ? type : "Opaque") },
    { name: "Data", value: dataCount },
  ],
  events: [
    column<Event>("Last Seen", lastSeen),
    column<Event>("Type", (event) => event.type ?? ""),
    column<Event>("Reason", (event) => event.reason ?? ""),
    column<Event>("Object", involved),
    wide<Event>("Subobject", (event) => event.involvedObject.fieldPath ?? ""),
    wide<Event>("Source", eventSource),
    column<Event>("Message", (event) => (event.message ?? "").trim()),
    { name: "First Seen", wide: true, value: (event, now) => firstSeen(event as Event, now) },
    wide<Event>("Count", (event) => event.series?.count ?? (event.count || 1)),
    { ...nameColumn, wide: true },
  ],
  "deployments.apps": [
    column<Deployment>("Ready", (object) => `${object.status?.readyReplicas ?? 0}/${object.spec.replicas ?? 1}`),
    column<Deployment>("Up-to-date", (object) => object.status?.updatedReplicas ?? 0),
    column<Deployment>("Available", (object) => object.status?.availableReplicas ?? 0),
    ageColumn,
    containers,
    images,
    selector,
  ],
  "replicasets.apps": [
    integer<ReplicaSet>("Desired", (object) => object.spec.replicas ?? 1),
    integer<ReplicaSet>("Current", (object) => object.status?.replicas ?? 0),
    integer<ReplicaSet>("Ready", (object) => object.status?.readyReplicas ?? 0),
    ageColumn,
    containers,
    images,
    selector,
  ],
  "statefulsets.apps": [
    column<StatefulSet>("Ready", (object) => `${object.status?.readyReplicas ?? 0}/${object.spec.replicas ?? 1}`),
    ageColumn,
    containers,
    images,
  ],
  "daemonsets.apps": [
    integer<DaemonSet>("Desired", (object) => object.status?.desiredNumberScheduled ?? 0),
    integer<DaemonSet>("Current", (object) => object.status?.currentNumberScheduled ?? 0),
    integer<DaemonSet>("Ready", (object) => object.status?.numberReady ?? 0),
    integer<DaemonSet>("Up-to-date", (object) => object.status?.updatedNumberScheduled ?? 0),
    integer<DaemonSet>("Available", (object) => object.status?.numberAvailable ?? 0),
    column<DaemonSet>("Node Selector", (object) => formatLabels(object.spec.template.spec.nodeSelector) || "<none>"),
    ageColumn,
    containers,
    images,
    selector,
  ],
  "jobs.batch": [
    column<Job>("Status", jobStatus),
    column<Job>("Completions", (job) => `${job.status?.succeeded ?? 0}/${job.spec.completions ?? 1}`),
    column<Job>("Duration", jobDuration),
    ageColumn,
    containers,
    images,
    selector,
  ],
  "endpointslices.discovery.k8s.io": [
    column<EndpointSlice>("AddressType", (slice) => slice.addressType),
    column<EndpointSlice>(
      "Ports",
      (slice) => short((slice.ports ?? []).map((port) => String(port.port ?? "*"))) || "<unset>",
    ),
    column<EndpointSlice>(
      "Endpoints",
      (slice) => short((slice.endpoints ?? []).flatMap((endpoint) => endpoint.addresses)) || "<unset>",
    ),
  ],
  "networkpolicies.networking.k8s.io": [
    column<NetworkPolicy>(
      "Pod-Selector",
      (policy) => formatSelector(requirementsOf(policy.spec?.podSelector ?? {})) || "<none>",
    ),
  ],
  "ingresses.networking.k8s.io": [
    column<Ingress>("Class", (ingress) => ingress.spec?.ingressClassName),
    column<Ingress>("Hosts", (ingress) => short((ingress.spec?.rules ?? []).map((rule) => rule.host ?? "*")) || "*"),
    column<Ingress>("Address", (ingress) =>
      (ingress.status?.loadBalancer?.ingress ?? []).map((each) => each.ip ?? each.hostname ?? "").join(","),
    ),
    column<Ingress>("Ports", (ingress) => ((ingress.spec?.tls ?? []).length > 0 ? "80, 443" : "80")),
  ],
};

function dataCount({ data, binaryData }: KubeObject): number {
  return Object.keys(data ?? {}).length + Object.keys(binaryData ?? {}).length;
}

function firstSeen({ firstTimestamp, eventTime }: Event, now: number): string {
  return ageAt(firstTimestamp ?? eventTime, now);
}

function lastSeen(event: Event, now: number): string {
  if (event.series !== undefined) return ageAt(event.series.lastObservedTime, now);
  return event.lastTimestamp === undefined ? firstSeen(event, now) : ageAt(event.lastTimestamp, now);
}

function involved({ involvedObject: { kind = "", name = "" } }: Event): string {
  return name === "" ? kind.toLowerCase() : `${kind.toLowerCase()}/${name}`;
}

function eventSource({ source, reportingComponent, reportingInstance }: Event): string {
  const component = source?.component || reportingComponent || "";
  const instance = source?.host || reportingInstance || "";
  return instance === "" ? component : `${component}, ${instance}`;
}

function podReady(pod: Pod): string {
  const statuses = pod.status?.containerStatuses ?? [];
  const sidecars = (pod.spec.initContainers ?? [])
    .filter((container) => container.restartPolicy === "Always")
    .map((container) => container.name);
  const inits = (pod.status?.initContainerStatuses ?? []).filter((status) => sidecars.includes(status.name));
  const ready = [...statuses, ...inits].filter((status) => status.ready).length;
  return `${ready}/${pod.spec.containers.length + sidecars.length}`;
}

function podStatus(pod: Pod): string {
  if (pod.metadata.deletionTimestamp !== undefined) return "Terminating";
  const inits = pod.status?.initContainerStatuses ?? [];
  const pendingInit = inits.findIndex((status) => {
    const sidecar =
      (pod.spec.initContainers ?? []).find((container) => container.name === status.name)?.restartPolicy === "Always";
    return sidecar ? status.started !== true : status.state?.terminated?.exitCode !== 0;
  });
  if (pendingInit >= 0 && pod.status?.phase === "Pending") {
    const state = inits[pendingInit]?.state;
    if (state?.terminated !== undefined)
      return `Init:${state.terminated.reason ?? `ExitCode:${state.terminated.exitCode}`}`;
    if (state?.waiting?.reason !== undefined && state.waiting.reason !== "PodInitializing")
      return `Init:${state.waiting.reason}`;
    return `Init:${pendingInit}/${inits.length}`;
  }
  let reason = pod.status?.reason ?? pod.status?.phase ?? "Pending";
  let running = false;
  for (const status of [...(pod.status?.containerStatuses ?? [])].reverse()) {
    const { waiting, terminated } = status.state ?? {};
    if (waiting?.reason) reason = waiting.reason;
    else if (terminated !== undefined)
      reason =
        terminated.reason ?? (terminated.signal ? `Signal:${terminated.signal}` : `ExitCode:${terminated.exitCode}`);
    else if (status.ready && status.state?.running !== undefined) running = true;
  }
  return reason === "Completed" && running ? "Running" : reason;
}

function podRestarts(pod: Pod, now: number): string {
  let restarts = 0;
  let last: string | undefined;
  for (const status of pod.status?.containerStatuses ?? []) {
    restarts += status.restartCount ?? 0;
    const finished = status.lastState?.terminated?.finishedAt;
    if (finished !== undefined && (last === undefined || finished > last)) last = finished;
  }
  return restarts > 0 && last !== undefined ? `${restarts} (${ageAt(last, now)} ago)` : String(restarts);
}

function readinessGates(pod: Pod): string | undefined {
  const gates = pod.spec.readinessGates ?? [];
  if (gates.length === 0) return undefined;
  const met = gates.filter((gate) =>
    pod.status?.conditions?.some((condition) => condition.type === gate.conditionType && condition.status === "True"),
  );
  return `${met.length}/${gates.length}`;
}

function externalIp(service: Service): string {
  const { type, externalIPs = [], externalName } = service.spec;
  const ingress = (service.status?.loadBalancer?.ingress ?? []).map((each) => each.ip ?? each.hostname ?? "");
  if (type === "ExternalName") return externalName ?? "";
  if (type === "LoadBalancer") return [...ingress, ...externalIPs].join(",") || "<pending>";
  return externalIPs.join(",") || "<none>";
}

function servicePorts(service: Service): string {
  const ports = (service.spec.ports ?? []).map(
    (port) => `${port.port}${port.nodePort ? `:${port.nodePort}` : ""}/${port.protocol ?? "TCP"}`,
  );
  return ports.join(",") || "<none>";
}

function nodeInfo(node: Node): Readonly<Record<string, string>> | undefined {
  return (node.status as { nodeInfo?: Readonly<Record<string, string>> } | undefined)?.nodeInfo;
}

function nodeStatus(node: Node): string {
  const ready = node.status?.conditions?.find((condition) => condition.type === "Ready");
  const words = [ready === undefined ? "Unknown" : ready.status === "True" ? "Ready" : "NotReady"];
  if (node.spec?.unschedulable === true) words.push("SchedulingDisabled");
  return words.join(",");
}

function nodeRoles(node: Node): string {
  const prefix = "node-role.kubernetes.io/";
  const roles = Object.keys(node.metadata.labels ?? {})
    .filter((label) => label.startsWith(prefix))
    .map((label) => label.slice(prefix.length));
  return roles.sort().join(",") || "<none>";
}

function jobStatus(job: Job): string {
  const conditions = job.status?.conditions ?? [];
  const met = (type: string): boolean =>
    conditions.some((condition) => condition.type === type && condition.status === "True");
  if (met("Complete")) return "Complete";
  if (met("Failed")) return "Failed";
  if (job.metadata.deletionTimestamp !== undefined) return "Terminating";
  if (met("Suspended")) return "Suspended";
  return "Running";
}

function jobDuration(job: Job, now: number): string {
  const start = job.status?.startTime;
  if (start === undefined) return "";
  const end = job.status?.completionTime === undefined ? now : Date.parse(job.status.completionTime);
  return humanDuration(end - Date.parse(start));
}

// kubectl shows three and says how many more there are.
function short(values: readonly string[]): string {
  return values.length <= 3 ? values.join(",") : `${values.slice(0, 3).join(",")} + ${values.length - 3} more...`;
}
