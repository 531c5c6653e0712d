// Which objects a list, a watch or a deletion of many is about: by namespace, name, labels and fields.

import type { KubeObject } from "../../kube/object.ts";
import {
  matches,
  matchesFields,
  parseFieldSelector,
  parseSelector,
  SelectorError,
  type FieldRequirement,
} from "../../kube/selector.ts";
import { badRequest } from "../api/errors.ts";
import type { Kind } from "../api/kinds.ts";
import { fieldsOf } from "./json-path.ts";
import type { Target } from "./target.ts";

export interface Filter {
  readonly namespace: string | undefined;
  /** Does it leave anything out besides other namespaces? */
  readonly selects: boolean;
  /** Namespace included. */
  readonly matches: (object: KubeObject) => boolean;
}

/** The filter of a request's query. Throws StatusError 400 where a selector cannot be read or a field cannot be selected by. */
export function filterOf(kind: Kind, { namespace, name, query }: Target): Filter {
  const scope = kind.namespaced ? namespace : undefined;
  try {
    const labels = parseSelector(query.get("labelSelector") ?? "");
    const fields = parseFieldSelector(query.get("fieldSelector") ?? "").map((each) => storedField(kind, each));
    return {
      namespace: scope,
      selects: labels.length > 0 || fields.length > 0 || name !== undefined,
      matches: (object) =>
        (scope === undefined || object.metadata.namespace === scope) &&
        (name === undefined || object.metadata.name === name) &&
        (labels.length === 0 || matches(labels, object.metadata.labels)) &&
        fields.every((each) => matchesField(each, object)),
    };
  } catch (error) {
    if (error instanceof SelectorError) throw badRequest(error.message);
    throw error;
  }
}

/** Field selectors that a kind knows besides name and namespace (pkg/apis/…/conversion.go AddFieldLabelConversionFunc). */
const selectable: { readonly [resource: string]: readonly string[] } = {
  pods: [
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "spec.hostNetwork",
    "status.phase",
    "status.podIP",
    "status.podIPs",
    "status.nominatedNodeName",
  ],
  nodes: ["spec.unschedulable"],
  namespaces: ["status.phase"],
  secrets: ["type"],
  services: ["spec.clusterIP", "spec.type"],
  replicationcontrollers: ["status.replicas"],
  events: [
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "reportingComponent",
    "source",
    "type",
  ],
  "jobs.batch": ["status.successful"],
  "certificatesigningrequests.certificates.k8s.io": ["spec.signerName"],
  "podcertificaterequests.certificates.k8s.io": ["spec.signerName", "spec.podName", "spec.nodeName"],
  "resourceslices.resource.k8s.io": ["spec.nodeName", "spec.driver"],
};

/** Other names of fields. */
const renamed: { readonly [field: string]: string } = {
  "status.successful": "status.succeeded",
  "regarding.kind": "involvedObject.kind",
  "regarding.namespace": "involvedObject.namespace",
  "regarding.name": "involvedObject.name",
  "regarding.uid": "involvedObject.uid",
  "regarding.apiVersion": "involvedObject.apiVersion",
  "regarding.resourceVersion": "involvedObject.resourceVersion",
  "regarding.fieldPath": "involvedObject.fieldPath",
  reportingController: "reportingComponent",
};

function storedField(kind: Kind, requirement: FieldRequirement): FieldRequirement {
  const { group, resource } = kind.stored;
  const field = kind.group === "events.k8s.io" ? (renamed[requirement.field] ?? requirement.field) : requirement.field;
  const known = selectable[group === "" ? resource : `${resource}.${group}`] ?? customFields(kind);
  if (field !== "metadata.name" && !(field === "metadata.namespace" && kind.namespaced) && !known.includes(field))
    throw badRequest(
      kind.custom === undefined
        ? `field label not supported: ${requirement.field}: only "metadata.name", "metadata.namespace"${known.map((each) => `, "${each}"`).join("")}`
        : `field label not supported: ${requirement.field}`,
    );
  return { ...requirement, field: field === "status.successful" ? "status.succeeded" : field };
}

function customFields({ custom }: Kind): readonly string[] {
  return (custom?.selectableFields ?? []).flatMap(({ jsonPath }) => fieldsOf(jsonPath)?.join(".") ?? []);
}

/** Fields whose absence means something else than the empty text. */
const absent: { readonly [field: string]: string } = {
  "spec.unschedulable": "false",
  "spec.hostNetwork": "false",
  "status.replicas": "0",
  "status.succeeded": "0",
};

function matchesField(requirement: FieldRequirement, object: KubeObject): boolean {
  const { field, operator, value } = requirement;
  const isEqual = (wanted: string): boolean => matchesFields([{ field, operator: "=", value: wanted }], object);
  let found = isEqual(value);
  if (!found && value === absent[field]) found = isEqual("");
  if (field === "source") found = eventSource(object) === value;
  if (field === "status.podIPs") found = podIps(object).includes(value);
  return found === (operator === "=");
}

function eventSource(object: KubeObject): unknown {
  const source = object["source"] as { readonly component?: string } | undefined;
  return (source?.component ?? "") === "" ? (object["reportingComponent"] ?? "") : source?.component;
}

function podIps(object: KubeObject): readonly (string | undefined)[] {
  const status = object["status"] as { readonly podIPs?: readonly { readonly ip?: string }[] } | undefined;
  return (status?.podIPs ?? []).map(({ ip }) => ip);
}
