// Rules for what is reported of objects: statuses that are written by themselves. Most may say anything.
// Wording: upstream's pkg/apis/*/validation, the functions Validate…StatusUpdate.

import { parseAddress } from "../../ip/address.ts";
import { dnsSubdomain, ipAddress, qualifiedName } from "../formats.ts";
import type { Condition, Ingress, Service } from "../kinds.ts";
import type { KubeObject } from "../object.ts";
import { at, child, forbidden, invalid, notSupported, required, type FieldProblem } from "../problem.ts";
import { requestStatus } from "./certificates.ts";
import { namespaceStatus, nodeStatus } from "./cluster.ts";
import { podStatus } from "./pod-update.ts";
import { quotaStatus } from "./quota.ts";
import { autoscalerStatus } from "./scaling.ts";
import { formProblems, negativeProblems } from "./rule.ts";

/** `subresource`: the door through which the status is written. */
type StatusRule = (object: never, previous: never, subresource: string) => Iterable<FieldProblem>;

/** What is wrong with an object's status, by the type of the object; the previous object has the same specification. */
export const statusRules: { readonly [type: string]: StatusRule } = {
  "apps.v1.DaemonSet": ({ status }: KubeObject) => replicas(status, daemonCounts, []),
  "apps.v1.Deployment": ({ status }: KubeObject) => replicas(status, deploymentCounts, deploymentOrder),
  "apps.v1.ReplicaSet": ({ status }: KubeObject) => replicas(status, replicaSetCounts, replicaSetOrder),
  "apps.v1.StatefulSet": ({ status }: KubeObject) => replicas(status, statefulSetCounts, statefulSetOrder),
  "autoscaling.v2.HorizontalPodAutoscaler": autoscalerStatus,
  "batch.v1.Job": ({ status }: KubeObject) => replicas(status, jobCounts, []),
  "certificates.v1.CertificateSigningRequest": requestStatus,
  "core.v1.Namespace": namespaceStatus,
  "core.v1.Node": nodeStatus,
  "core.v1.Pod": podStatus,
  "core.v1.ReplicationController": ({ status }: KubeObject) => replicas(status, replicaSetCounts, replicaSetOrder),
  "core.v1.ResourceQuota": quotaStatus,
  "policy.v1.PodDisruptionBudget": budgetStatus,
  "core.v1.Service": serviceStatus,
  "networking.v1.Ingress": function* ({ status }: Ingress) {
    yield* ingressPoints(status?.loadBalancer?.ingress ?? []);
  },
};

const jobCounts = ["active", "succeeded", "failed", "ready", "terminating"];
const daemonCounts =
  "currentNumberScheduled numberMisscheduled desiredNumberScheduled numberReady observedGeneration updatedNumberScheduled numberAvailable numberUnavailable collisionCount".split(
    " ",
  );
const common = ["replicas", "readyReplicas", "availableReplicas", "observedGeneration"];
const deploymentCounts = [...common, "updatedReplicas", "unavailableReplicas", "collisionCount"];
const replicaSetCounts = [...common, "fullyLabeledReplicas"];
const statefulSetCounts = [...common, "currentReplicas", "updatedReplicas", "collisionCount"];

/** What cannot be more than something else, which messages call by other names. */
type Order = readonly (readonly [less: string, more: string, name: string])[];

const deploymentOrder: Order = [
  ["updatedReplicas", "replicas", "status.replicas"],
  ["readyReplicas", "replicas", "status.replicas"],
  ["availableReplicas", "replicas", "status.replicas"],
  ["availableReplicas", "readyReplicas", "readyReplicas"],
];
const replicaSetOrder: Order = [
  ["fullyLabeledReplicas", "replicas", "status.replicas"],
  ["readyReplicas", "replicas", "status.replicas"],
  ["availableReplicas", "replicas", "status.replicas"],
  ["availableReplicas", "readyReplicas", "readyReplicas"],
];
const statefulSetOrder: Order = [
  ["readyReplicas", "replicas", "status.replicas"],
  ["currentReplicas", "replicas", "status.replicas"],
  ["updatedReplicas", "replicas", "status.replicas"],
  ["availableReplicas", "replicas", "status.replicas"],
  ["availableReplicas", "readyReplicas", "status.readyReplicas"],
];

/** Numbers that are not negative, and of which some are parts of others. */
function* replicas(status: unknown, names: readonly string[], order: Order): Iterable<FieldProblem> {
  const values = (status ?? {}) as { readonly [name: string]: number | undefined };
  for (const name of names) yield* negativeProblems(values[name], `status.${name}`);
  for (const [less, more, name] of order)
    if ((values[less] ?? 0) > (values[more] ?? 0))
      yield invalid(`status.${less}`, values[less] ?? 0, `cannot be greater than ${name}`);
}

const budgetCounts = ["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"];

function* budgetStatus({ status }: KubeObject): Iterable<FieldProblem> {
  yield* replicas(status, budgetCounts, []);
  const { conditions = [] } = (status ?? {}) as { readonly conditions?: readonly Condition[] };
  yield* conditionProblems(conditions, "status.conditions");
}

/** What conditions must say (apimachinery meta/v1 validation ValidateConditions). */
function* conditionProblems(conditions: readonly Partial<Condition>[], path: string): Iterable<FieldProblem> {
  for (const [index, { type = "", status = "", reason = "", lastTransitionTime }] of conditions.entries()) {
    const one = at(path, index);
    for (const problem of qualifiedName(type)) yield invalid(child(one, "type"), type, problem);
    if (!["True", "False", "Unknown"].includes(status))
      yield notSupported(child(one, "status"), status, ["False", "True", "Unknown"]);
    if (lastTransitionTime === undefined) yield required(child(one, "lastTransitionTime"));
    if (reason === "") yield required(child(one, "reason"));
  }
}

interface IngressPoint {
  readonly ip?: string;
  readonly ipMode?: string;
  readonly hostname?: string;
}

const place = "status.loadBalancer.ingress";
const ipModes: readonly string[] = ["Proxy", "VIP"];

function* serviceStatus({ spec, status }: Service): Iterable<FieldProblem> {
  const points: readonly IngressPoint[] = status?.loadBalancer?.ingress ?? [];
  if (spec.type !== "LoadBalancer" && points.length > 0) {
    yield forbidden(place, "may only be used when `spec.type` is 'LoadBalancer'");
    return;
  }
  yield* ingressPoints(points);
  for (const [index, { ip = "", ipMode }] of points.entries()) {
    const path = child(at(place, index), "ipMode");
    if (ipMode === undefined) {
      if (ip !== "") yield required(path, "must be specified when `ip` is set");
    } else if (ip === "") yield forbidden(path, "may not be specified when `ip` is not set");
    else if (!ipModes.includes(ipMode)) yield notSupported(path, ipMode, ipModes);
  }
}

function* ingressPoints(points: readonly IngressPoint[]): Iterable<FieldProblem> {
  for (const [index, { ip, hostname = "" }] of points.entries()) {
    yield* formProblems(ip, ipAddress, child(at(place, index), "ip"));
    yield* formProblems(hostname, dnsSubdomain, child(at(place, index), "hostname"));
    if (parseAddress(hostname) !== undefined)
      yield invalid(child(at(place, index), "hostname"), hostname, "must be a DNS name, not an IP address");
  }
}
