// Eviction: a deletion that asks the pod's disruption budgets first (policy/v1; pkg/registry/core/pod/storage/eviction.go).

import type { KubeObject } from "../../kube/object.ts";
import type { Pod, PodDisruptionBudget } from "../../kube/kinds.ts";
import { selects } from "../../kube/selector.ts";
import type { ServedApi } from "../api/api.ts";
import { badRequest } from "../api/errors.ts";
import { StatusError } from "../api/store.ts";
import { timeText } from "../../watch/clock.ts";
import { disruptionsAllowed } from "./disruptions.ts";
import { readObjectBody, type Fields } from "./body.ts";
import { sendJson, type Exchange } from "./exchange.ts";
import { readObject } from "./read.ts";
import type { View } from "./represent.ts";
import { writingOf, type ResourceOptions } from "./resource-answer.ts";
import { deleteObject, deleteOptionsOf, written } from "./write.ts";

/** Answers POST of an eviction. Throws StatusError 429 where a budget does not allow it. */
export async function evictPod(exchange: Exchange, view: View, options: ResourceOptions): Promise<void> {
  const { api, clock } = options;
  const { target } = exchange;
  const body = (await readObjectBody(exchange, { apiVersion: "policy/v1", kind: "Eviction" })) ?? {};
  const { name = "" } = (body["metadata"] ?? {}) as { readonly name?: string };
  if (name !== "" && name !== target.name) throw badRequest("name in URL does not match name in Eviction object");
  const wanted = deleteOptionsOf(target.query, (body["deleteOptions"] ?? {}) as Fields);
  const pod = readObject(api, view.kind, target) as Pod;
  if (needsBudget(pod)) checkBudgets(api, pod, clock());
  const writing = writingOf(exchange, view.kind, options);
  await written(writing, wanted.isDryRun, () => {
    const there = readObject(api, view.kind, target) as Pod;
    const { uid = there.metadata.uid, resourceVersion = there.metadata.resourceVersion } = wanted;
    const isMeant = uid === there.metadata.uid && resourceVersion === there.metadata.resourceVersion;
    // What was asked about its version is asked of the one before.
    const { resourceVersion: _seen, ...rest } = wanted;
    if (isMeant) noteTarget(api, there, clock());
    return deleteObject(writing, isMeant ? rest : wanted);
  });
  await api.flushed();
  sendJson(exchange, 201, { kind: "Status", apiVersion: "v1", metadata: {}, status: "Success", code: 201 });
}

/** Says on the pod why it goes (KEP-3329): a Job may not count that as a failure. */
function noteTarget(api: ServedApi, pod: Pod, nowMs: number): void {
  if (pod.metadata.deletionTimestamp !== undefined) return;
  const others = (pod.status?.conditions ?? []).filter(({ type }) => type !== "DisruptionTarget");
  const condition = {
    type: "DisruptionTarget",
    status: "True",
    reason: "EvictionByEvictionAPI",
    message: "Eviction API: evicting",
    lastTransitionTime: timeText(nowMs),
  } as const;
  api.updateStatus({ ...pod, status: { ...pod.status, conditions: [...others, condition] } });
}

/** Pods that do nothing, or are going anyway, may always go. */
function needsBudget({ metadata, status }: Pod): boolean {
  const phase = status?.phase;
  return metadata.deletionTimestamp === undefined && phase !== "Succeeded" && phase !== "Failed" && phase !== "Pending";
}

function checkBudgets(api: ServedApi, pod: Pod, nowMs: number): void {
  const { namespace = "", labels, name } = pod.metadata;
  const resource = { group: "policy", resource: "poddisruptionbudgets" };
  const budgets = api
    .list(resource, { namespace })
    .items.filter((budget) => selects((budget as PodDisruptionBudget).spec?.selector, labels));
  if (budgets.length > 1)
    throw new StatusError(
      500,
      "InternalError",
      `This pod has more than one PodDisruptionBudget, which the eviction subresource does not support: ${name}`,
    );
  const [budget] = budgets;
  if (budget !== undefined) checkBudget(api, budget, pod, nowMs);
}

function checkBudget(api: ServedApi, budget: KubeObject, pod: Pod, nowMs: number): void {
  const state = disruptionsAllowed(api, budget as PodDisruptionBudget);
  const isReady = pod.status?.conditions?.some(({ type, status }) => type === "Ready" && status === "True") ?? false;
  const always = (budget as PodDisruptionBudget).spec?.unhealthyPodEvictionPolicy === "AlwaysAllow";
  // What does not work costs nothing, as long as enough others do.
  if (!isReady && (always || state.healthy >= state.desired)) return;
  if (state.allowed > 0) {
    noteDisruption(api, budget, pod, nowMs);
    return;
  }
  // Nobody knows when there will be room: Go's clients, which come back by themselves where they are told when, are not told.
  const cause = `The disruption budget ${budget.metadata.name} needs ${state.desired} healthy pods and has ${state.healthy} currently`;
  throw new StatusError(429, "TooManyRequests", "Cannot evict pod as it would violate the pod's disruption budget.", {
    causes: [{ reason: "DisruptionBudget", message: cause }],
    ...(state.isProvisional ? { retryAfterSeconds: 10 } : {}),
  });
}

/** A disruption controller counts by the status: one disruption less is allowed until it has counted again. */
function noteDisruption(api: ServedApi, budget: KubeObject, pod: Pod, nowMs: number): void {
  const { status } = budget as PodDisruptionBudget;
  const allowed = status?.disruptionsAllowed ?? 0;
  // Nobody has counted yet.
  if (allowed === 0) return;
  api.updateStatus({
    ...budget,
    status: {
      ...status,
      disruptionsAllowed: allowed - 1,
      disruptedPods: { ...status?.disruptedPods, [pod.metadata.name]: new Date(nowMs).toISOString() },
    },
  });
}
