// Columns of the kinds that people look at less often: accounts, roles, volumes, budgets, gateways, definitions
// (kubernetes/pkg/printers/internalversion, and the printer columns of the Gateway API's, MCS API's and policy API's CRDs).
//
// Not here: workloads, Services, nodes and the like (columns.ts).

import {
  ageAt,
  ageColumn,
  booleanColumn as boolean,
  cellAt,
  cellColumn as text,
  integerColumn as integer,
  listAt as list,
  pathColumn as at,
  textAt,
  valueAt,
  wideColumn as wide,
  type Column,
} from "./column.ts";
import { humanDuration } from "./duration.ts";
import type { KubeObject } from "./object.ts";
import { formatLabels } from "./selector.ts";

/** Columns by resource, without name and, at its usual place, age. */
export const clusterTables: Readonly<Record<string, readonly Column[]>> = {
  endpoints: [text("Endpoints", endpointsText)],
  replicationcontrollers: [
    integer("Desired", (object) => cellAt(object, "spec.replicas") ?? 0),
    integer("Current", (object) => cellAt(object, "status.replicas") ?? 0),
    integer("Ready", (object) => cellAt(object, "status.readyReplicas") ?? 0),
    wide("Containers", (object) => containersText(object, "spec.template", "name")),
    wide("Images", (object) => containersText(object, "spec.template", "image")),
    wide("Selector", (object) => formatLabels(valueAt(object, "spec.selector")) || "<none>"),
  ],
  podtemplates: [
    text("Containers", (object) => containersText(object, "template", "name")),
    text("Images", (object) => containersText(object, "template", "image")),
    text("Pod Labels", (object) => formatLabels(valueAt(object, "template.metadata.labels")) || "<none>"),
  ],
  resourcequotas: [
    text("Request", (object) => quotaText(object, false)),
    text("Limit", (object) => quotaText(object, true)),
  ],
  "cronjobs.batch": [
    at("Schedule", "spec.schedule"),
    at("Timezone", "spec.timeZone"),
    boolean("Suspend", (object) => (valueAt(object, "spec.suspend") === true ? "True" : "False")),
    integer("Active", (object) => list(object, "status.active").length),
    text("Last Schedule", (object, now) => agoAt(object, "status.lastScheduleTime", now)),
    wide("Containers", (object) => containersText(object, "spec.jobTemplate.spec.template", "name")),
    wide("Images", (object) => containersText(object, "spec.jobTemplate.spec.template", "image")),
    wide("Selector", () => "<none>"),
  ],
  "horizontalpodautoscalers.autoscaling": [
    text(
      "Reference",
      (object) => `${textAt(object, "spec.scaleTargetRef.kind")}/${textAt(object, "spec.scaleTargetRef.name")}`,
    ),
    text("Targets", targetsText),
    text("MinPods", (object) => String(cellAt(object, "spec.minReplicas") ?? "<unset>")),
    at("MaxPods", "spec.maxReplicas"),
    at("Replicas", "status.currentReplicas", 0),
  ],
  "poddisruptionbudgets.policy": [
    text("Min Available", (object) => String(cellAt(object, "spec.minAvailable") ?? "N/A")),
    text("Max Unavailable", (object) => String(cellAt(object, "spec.maxUnavailable") ?? "N/A")),
    integer("Allowed Disruptions", (object) => cellAt(object, "status.disruptionsAllowed") ?? 0),
  ],
  "controllerrevisions.apps": [
    text("Controller", (object) => {
      const owner = object.metadata.ownerReferences?.find((each) => each.controller === true);
      return owner === undefined
        ? "<none>"
        : `${owner.kind.toLowerCase()}.${owner.apiVersion.split("/")[0]}/${owner.name}`;
    }),
    at("Revision", "revision"),
  ],
  "ingressclasses.networking.k8s.io": [
    at("Controller", "spec.controller"),
    text("Parameters", (object) => {
      const kind = textAt(object, "spec.parameters.kind");
      return kind === "" ? "<none>" : `${kind}/${textAt(object, "spec.parameters.name")}`;
    }),
  ],
  "ipaddresses.networking.k8s.io": [
    text("ParentRef", (object) =>
      ["resource", "namespace", "name"]
        .map((name) => textAt(object, `spec.parentRef.${name}`))
        .filter((each) => each !== "")
        .join("/"),
    ),
  ],
  "servicecidrs.networking.k8s.io": [text("CIDRs", (object) => list(object, "spec.cidrs").join(","))],
  "rolebindings.rbac.authorization.k8s.io": bindingColumns(),
  "clusterrolebindings.rbac.authorization.k8s.io": bindingColumns(),
  "leases.coordination.k8s.io": [at("Holder", "spec.holderIdentity", "")],
  "priorityclasses.scheduling.k8s.io": [
    integer("Value", (object) => cellAt(object, "value") ?? 0),
    boolean("Global-Default", (object) => object["globalDefault"] === true),
    ageColumn,
    at("PreemptionPolicy", "preemptionPolicy"),
  ],
  "runtimeclasses.node.k8s.io": [at("Handler", "handler")],
  "certificatesigningrequests.certificates.k8s.io": [
    ageColumn,
    at("SignerName", "spec.signerName"),
    at("Requestor", "spec.username", ""),
    text("RequestedDuration", (object) => {
      const seconds = cellAt(object, "spec.expirationSeconds");
      return seconds === undefined ? "<none>" : humanDuration(Number(seconds) * 1000);
    }),
    text("Condition", requestState),
  ],
  "mutatingwebhookconfigurations.admissionregistration.k8s.io": [
    integer("Webhooks", (object) => list(object, "webhooks").length),
  ],
  "validatingwebhookconfigurations.admissionregistration.k8s.io": [
    integer("Webhooks", (object) => list(object, "webhooks").length),
  ],
  "mutatingadmissionpolicies.admissionregistration.k8s.io": [
    integer("Mutations", (object) => list(object, "spec.mutations").length),
    text("ParamKind", paramKind),
  ],
  "validatingadmissionpolicies.admissionregistration.k8s.io": [
    integer("Validations", (object) => list(object, "spec.validations").length),
    text("ParamKind", paramKind),
  ],
  "mutatingadmissionpolicybindings.admissionregistration.k8s.io": [
    at("PolicyName", "spec.policyName", ""),
    text("ParamRef", paramName),
  ],
  "validatingadmissionpolicybindings.admissionregistration.k8s.io": [
    at("PolicyName", "spec.policyName", ""),
    text("ParamRef", paramName),
  ],
  "apiservices.apiregistration.k8s.io": [
    text("Service", (object) => {
      const name = textAt(object, "spec.service.name");
      return name === "" ? "Local" : `${textAt(object, "spec.service.namespace")}/${name}`;
    }),
    text("Available", (object) => (conditionStatus(object, "Available") === "True" ? "True" : "False")),
  ],
  "flowschemas.flowcontrol.apiserver.k8s.io": [
    at("PriorityLevel", "spec.priorityLevelConfiguration.name", ""),
    at("MatchingPrecedence", "spec.matchingPrecedence", 0),
    at("DistinguisherMethod", "spec.distinguisherMethod.type"),
    ageColumn,
    text("MissingPL", (object) => conditionStatus(object, "Dangling") ?? "?"),
  ],
  "prioritylevelconfigurations.flowcontrol.apiserver.k8s.io": [
    at("Type", "spec.type", ""),
    at("NominalConcurrencyShares", "spec.limited.nominalConcurrencyShares"),
    at("Queues", "spec.limited.limitResponse.queuing.queues"),
    at("HandSize", "spec.limited.limitResponse.queuing.handSize"),
    at("QueueLengthLimit", "spec.limited.limitResponse.queuing.queueLengthLimit"),
  ],
  "gatewayclasses.gateway.networking.k8s.io": [at("Controller", "spec.controllerName", ""), condition("Accepted")],
  "gateways.gateway.networking.k8s.io": [
    at("Class", "spec.gatewayClassName", ""),
    text("Address", (object) =>
      (list(object, "status.addresses") as readonly { value?: string }[]).map(({ value }) => value).join(","),
    ),
    condition("Programmed"),
  ],
  "httproutes.gateway.networking.k8s.io": [text("Hostnames", hostnames)],
  "grpcroutes.gateway.networking.k8s.io": [text("Hostnames", hostnames)],
  "clusternetworkpolicies.policy.networking.k8s.io": [
    at("Tier", "spec.tier", ""),
    at("Priority", "spec.priority", "0"),
  ],
  "loadbalancerpools.fairlead.dev": [text("Addresses", (object) => list(object, "spec.addresses").join(","))],
  "serviceimports.multicluster.x-k8s.io": [
    at("Type", "spec.type", ""),
    text("IP", (object) => list(object, "spec.ips").join(",")),
  ],
};

function agoAt(object: KubeObject, path: string, now: number): string {
  const time = textAt(object, path);
  return time === "" ? "<none>" : ageAt(time, now);
}

function condition(type: string): Column {
  return text(type, (object) => conditionStatus(object, type) ?? "");
}

function conditionStatus(object: KubeObject, type: string): string | undefined {
  const conditions = list(object, "status.conditions") as readonly { type?: string; status?: string }[];
  return conditions.find((each) => each.type === type)?.status;
}

/** The containers of a template of pods. */
function containersText(object: KubeObject, template: string, field: "name" | "image"): string {
  const containers = list(object, `${template}.spec.containers`) as readonly { name?: string; image?: string }[];
  return containers.map((each) => each[field] ?? "").join(",");
}

function bindingColumns(): readonly Column[] {
  return [
    text("Role", roleText),
    wide("Users", (object) => subjects(object, "User")),
    wide("Groups", (object) => subjects(object, "Group")),
    wide("ServiceAccounts", (object) => subjects(object, "ServiceAccount")),
  ];
}

function subjects(object: KubeObject, kind: string): string {
  const all = list(object, "subjects") as readonly { kind?: string; name?: string; namespace?: string }[];
  return all
    .filter((each) => each.kind === kind)
    .map(({ namespace, name }) => (kind === "ServiceAccount" ? `${namespace}/${name}` : (name ?? "")))
    .join(", ");
}

// printers.go extractCSRStatus
function requestState(object: KubeObject): string {
  const met = new Set((list(object, "status.conditions") as readonly { type?: string }[]).map(({ type }) => type));
  const decision = met.has("Denied") ? "Denied" : met.has("Approved") ? "Approved" : "Pending";
  const isIssued = textAt(object, "status.certificate") !== "";
  return `${decision}${met.has("Failed") ? ",Failed" : ""}${isIssued ? ",Issued" : ""}`;
}

function paramKind(object: KubeObject): string {
  const kind = textAt(object, "spec.paramKind.kind");
  return kind === "" ? "<unset>" : `${textAt(object, "spec.paramKind.apiVersion")}/${kind}`;
}

function paramName(object: KubeObject): string {
  const name = textAt(object, "spec.paramRef.name");
  return name === "" ? "<unset>" : `${textAt(object, "spec.paramRef.namespace") || "*"}/${name}`;
}

interface MetricTarget {
  readonly averageUtilization?: number;
  readonly averageValue?: string;
  readonly value?: string;
}

type Metric = { readonly type: string } & {
  readonly [source: string]: { readonly name?: string; readonly target?: MetricTarget } | string;
};

// printers.go formatHPAMetrics: two of them; what they are now is nobody's business here, as nobody measures.
function targetsText(object: KubeObject): string {
  const metrics = list(object, "spec.metrics") as readonly Metric[];
  if (metrics.length === 0) return "<none>";
  const texts = metrics.slice(0, 2).map(targetText);
  return texts.join(", ") + (metrics.length > 2 ? ` + ${metrics.length - 2} more...` : "");
}

function targetText(metric: Metric): string {
  const source = metric[metric.type.slice(0, 1).toLowerCase() + metric.type.slice(1)];
  if (typeof source !== "object") return "<unknown type>";
  const { name, target = {} } = source;
  const { averageUtilization, averageValue, value } = target;
  if (metric.type === "Resource" || metric.type === "ContainerResource")
    return `${name}: <unknown>/${averageUtilization === undefined ? (averageValue ?? "<auto>") : `${averageUtilization}%`}`;
  if (metric.type === "Pods") return `<unknown>/${averageValue}`;
  return averageValue === undefined ? `<unknown>/${value}` : `<unknown>/${averageValue} (avg)`;
}

function endpointsText(object: KubeObject): string {
  const subsets = list(object, "subsets") as readonly {
    addresses?: readonly { ip: string }[];
    ports?: readonly { port: number }[];
  }[];
  const all = subsets.flatMap(({ addresses = [], ports = [] }) =>
    addresses.flatMap(({ ip }) => {
      const host = ip.includes(":") ? `[${ip}]` : ip;
      return ports.length === 0 ? [ip] : ports.map(({ port }) => `${host}:${port}`);
    }),
  );
  if (all.length === 0) return "<none>";
  return all.length <= 3 ? all.join(",") : `${all.slice(0, 3).join(",")} + ${all.length - 3} more...`;
}

function quotaText(object: KubeObject, limits: boolean): string {
  const hard = (valueAt(object, "status.hard") ?? {}) as { readonly [name: string]: string };
  const used = (valueAt(object, "status.used") ?? {}) as { readonly [name: string]: string };
  return Object.keys(hard)
    .filter((name) => name.startsWith("limits.") === limits)
    .map((name) => `${name}: ${used[name] ?? "0"}/${hard[name]}`)
    .join(", ");
}

function roleText(object: KubeObject): string {
  return `${textAt(object, "roleRef.kind")}/${textAt(object, "roleRef.name")}`;
}

function hostnames(object: KubeObject): string {
  const names = list(object, "spec.hostnames");
  return names.length === 0 ? "" : JSON.stringify(names);
}
