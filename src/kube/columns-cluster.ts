// Columns of the kinds that people look at less often: accounts, roles, volumes, budgets, gateways, definitions
// (kubernetes/pkg/printers/internalversion, and the printer columns of the Gateway API's, MCS API's and policy API's CRDs).
//
// Not here: workloads, Services, nodes and the like (columns.ts).

import type { Column } from "./column.ts";
import { humanDuration } from "./duration.ts";
import type { KubeObject } from "./object.ts";

/** Columns by resource, without name and age. */
export const clusterTables: Readonly<Record<string, readonly Column[]>> = {
  serviceaccounts: [text("Secrets", (object) => String(list(object, "secrets").length))],
  endpoints: [text("Endpoints", endpointsText)],
  replicationcontrollers: [
    at("Desired", "spec.replicas", "0"),
    at("Current", "status.replicas", "0"),
    at("Ready", "status.readyReplicas", "0"),
  ],
  persistentvolumes: [
    at("Capacity", "spec.capacity.storage", ""),
    text("Access Modes", (object) => accessModes(list(object, "spec.accessModes"))),
    at("Reclaim Policy", "spec.persistentVolumeReclaimPolicy", ""),
    at("Status", "status.phase", ""),
    text("Claim", ({ spec }) => {
      const { claimRef } = (spec ?? {}) as { claimRef?: { namespace?: string; name?: string } };
      return claimRef === undefined ? "" : `${claimRef.namespace}/${claimRef.name}`;
    }),
    at("StorageClass", "spec.storageClassName", ""),
  ],
  persistentvolumeclaims: [
    at("Status", "status.phase", ""),
    at("Volume", "spec.volumeName", ""),
    at("Capacity", "status.capacity.storage", ""),
    text("Access Modes", (object) => accessModes(list(object, "status.accessModes"))),
    at("StorageClass", "spec.storageClassName", ""),
  ],
  resourcequotas: [
    text("Request", (object) => quotaText(object, false)),
    text("Limit", (object) => quotaText(object, true)),
  ],
  "cronjobs.batch": [
    at("Schedule", "spec.schedule"),
    at("Timezone", "spec.timeZone"),
    text("Suspend", (object) => (valueAt(object, "spec.suspend") === true ? "True" : "False")),
    text("Active", (object) => String(list(object, "status.active").length)),
    ageOf("Last Schedule", "status.lastScheduleTime"),
  ],
  "horizontalpodautoscalers.autoscaling": [
    text(
      "Reference",
      (object) => `${textAt(object, "spec.scaleTargetRef.kind")}/${textAt(object, "spec.scaleTargetRef.name")}`,
    ),
    text("Targets", () => "<unknown>"),
    at("MinPods", "spec.minReplicas", "<unset>"),
    at("MaxPods", "spec.maxReplicas"),
    at("Replicas", "status.currentReplicas", "0"),
  ],
  "poddisruptionbudgets.policy": [
    at("Min Available", "spec.minAvailable", "N/A"),
    at("Max Unavailable", "spec.maxUnavailable", "N/A"),
    at("Allowed Disruptions", "status.disruptionsAllowed", "0"),
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
  "rolebindings.rbac.authorization.k8s.io": [text("Role", roleText)],
  "clusterrolebindings.rbac.authorization.k8s.io": [text("Role", roleText)],
  "storageclasses.storage.k8s.io": [
    at("Provisioner", "provisioner"),
    at("ReclaimPolicy", "reclaimPolicy", "Delete"),
    at("VolumeBindingMode", "volumeBindingMode", "Immediate"),
    text("AllowVolumeExpansion", (object) => String(object["allowVolumeExpansion"] === true)),
  ],
  "leases.coordination.k8s.io": [at("Holder", "spec.holderIdentity", "")],
  "priorityclasses.scheduling.k8s.io": [
    at("Value", "value", "0"),
    text("Global-Default", (object) => String(object["globalDefault"] === true)),
    at("PreemptionPolicy", "preemptionPolicy"),
  ],
  "runtimeclasses.node.k8s.io": [at("Handler", "handler")],
  "certificatesigningrequests.certificates.k8s.io": [
    at("SignerName", "spec.signerName"),
    at("Requestor", "spec.username"),
    text(
      "Condition",
      (object) =>
        (list(object, "status.conditions") as readonly { type?: string }[]).map(({ type }) => type).join(",") ||
        "Pending",
    ),
  ],
  "mutatingwebhookconfigurations.admissionregistration.k8s.io": [
    text("Webhooks", (object) => String(list(object, "webhooks").length)),
  ],
  "validatingwebhookconfigurations.admissionregistration.k8s.io": [
    text("Webhooks", (object) => String(list(object, "webhooks").length)),
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

/** Kinds whose time column says when they were made, not how long ago. */
export const createdAt: ReadonlySet<string> = new Set([
  "clusterroles.rbac.authorization.k8s.io",
  "roles.rbac.authorization.k8s.io",
  "customresourcedefinitions.apiextensions.k8s.io",
]);

function text(name: string, value: (object: KubeObject) => string): Column {
  return { name, value };
}

/** A column that shows what is at a path. */
function at(name: string, path: string, absent = "<none>"): Column {
  return { name, value: (object) => textAt(object, path) || absent };
}

function ageOf(name: string, path: string): Column {
  return {
    name,
    value: (object, now) => {
      const time = textAt(object, path);
      return time === "" ? "<none>" : humanDuration(now - Date.parse(time));
    },
  };
}

function condition(type: string): Column {
  return text(type, (object) => {
    const conditions = list(object, "status.conditions") as readonly { type?: string; status?: string }[];
    return conditions.find((each) => each.type === type)?.status ?? "";
  });
}

function valueAt(object: KubeObject, path: string): unknown {
  let value: unknown = object;
  for (const name of path.split(".")) {
    if (typeof value !== "object" || value === null) return undefined;
    value = (value as { readonly [field: string]: unknown })[name];
  }
  return value;
}

function textAt(object: KubeObject, path: string): string {
  const value = valueAt(object, path);
  return typeof value === "string" || typeof value === "number" ? String(value) : "";
}

function list(object: KubeObject, path: string): readonly unknown[] {
  const value = valueAt(object, path);
  return Array.isArray(value) ? (value as readonly unknown[]) : [];
}

const accessModeLetters: { readonly [mode: string]: string } = {
  ReadWriteOnce: "RWO",
  ReadOnlyMany: "ROX",
  ReadWriteMany: "RWX",
  ReadWriteOncePod: "RWOP",
};

function accessModes(modes: readonly unknown[]): string {
  return modes.map((mode) => accessModeLetters[String(mode)] ?? String(mode)).join(",");
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
