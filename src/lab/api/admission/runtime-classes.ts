// Pods by their RuntimeClass: what it costs beside its containers (KEP-688), and which nodes it runs on. Upstream: plugin/pkg/admission/runtimeclass.
//
// Not here: which program runs the containers; a lab has one.

import type { Pod, Quantity, Toleration } from "../../../kube/kinds.ts";
import { sameJson } from "../../../kube/equal.ts";
import type { KubeObject } from "../../../kube/object.ts";
import { rememberedChange } from "../../../kube/repeated.ts";
import type { Admission, AdmissionRequest, Validation } from "../api.ts";
import { forbidden } from "../errors.ts";
import { amountsOf } from "./amounts.ts";

type Quantities = Readonly<Record<string, Quantity>>;

/** node.k8s.io/v1 RuntimeClass. */
interface RuntimeClass extends KubeObject {
  readonly overhead?: { readonly podFixed?: Quantities };
  readonly scheduling?: {
    readonly nodeSelector?: Readonly<Record<string, string>>;
    readonly tolerations?: readonly Toleration[];
  };
}

/** Gives a new pod the overhead, the node selector and the tolerations of its class. Throws StatusError 403. */
export const podRuntimeClass: Admission = (request) => {
  const { object } = request;
  if (!isNewPod(request)) return object;
  const pod = object as Pod;
  const runtime = classOf(request);
  if (runtime === undefined || (runtime.overhead === undefined && runtime.scheduling === undefined)) return object;
  const { overhead, scheduling } = runtime;
  const given = pod.spec.overhead;
  if (overhead !== undefined && given !== undefined && !isSame(given, overhead.podFixed))
    refuse(object, "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead");
  for (const [key, value] of Object.entries(scheduling?.nodeSelector ?? {})) {
    const own = pod.spec.nodeSelector?.[key];
    if (own !== undefined && own !== value)
      refuse(
        object,
        `conflict: runtimeClass.scheduling.nodeSelector[${key}] = ${value}; pod.spec.nodeSelector[${key}] = ${own}`,
      );
  }
  const { name, resourceVersion = "" } = runtime.metadata;
  const spec = rememberedChange(pod.spec, `runtime class ${name} ${resourceVersion}`, () => ({
    ...pod.spec,
    ...(overhead === undefined ? {} : { overhead: overhead.podFixed ?? {} }),
    ...(scheduling?.nodeSelector === undefined
      ? {}
      : { nodeSelector: { ...pod.spec.nodeSelector, ...scheduling.nodeSelector } }),
    ...(scheduling?.tolerations === undefined
      ? {}
      : { tolerations: mergedTolerations([...(pod.spec.tolerations ?? []), ...scheduling.tolerations]) }),
  }));
  return { ...pod, spec };
};

/** Nobody gives a pod an overhead but its class. Throws StatusError 403. */
export const overheadValidation: Validation = (request) => {
  if (!isNewPod(request)) return;
  const { object } = request;
  const wanted = classOf(request)?.overhead;
  const { overhead } = (object as Pod).spec;
  if (wanted === undefined) {
    if (Object.keys(overhead ?? {}).length > 0)
      refuse(object, "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead");
  } else if (!isSame(overhead, wanted.podFixed))
    refuse(object, "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead");
};

function isNewPod({ operation, kind, actor }: AdmissionRequest): boolean {
  return operation === "create" && kind.group === "" && kind.resource === "pods" && actor.subresource === undefined;
}

function classOf({ object, store }: AdmissionRequest): RuntimeClass | undefined {
  const { runtimeClassName } = (object as Pod).spec;
  if (runtimeClassName === undefined) return undefined;
  const found = store.get({ group: "node.k8s.io", resource: "runtimeclasses", name: runtimeClassName });
  if (found === undefined) refuse(object, `pod rejected: RuntimeClass ${JSON.stringify(runtimeClassName)} not found`);
  return found;
}

function refuse({ metadata: { name, generateName } }: KubeObject, why: string): never {
  throw forbidden({ group: "", resource: "pods", name: name === "" ? (generateName ?? "") : name }, why);
}

/** Are they the same amounts, however they are written? */
function isSame(a: Quantities | undefined, b: Quantities | undefined): boolean {
  const [left, right] = [amountsOf(a), amountsOf(b)];
  return left.size === right.size && [...left].every(([name, { nanos }]) => right.get(name)?.nanos === nanos);
}

/** Without those that others say as well. Upstream: pkg/util/tolerations MergeTolerations. */
function mergedTolerations(all: readonly Toleration[]): readonly Toleration[] {
  const merged: Toleration[] = [];
  for (const [index, each] of all.entries()) {
    if (merged.some((other) => covers(other, each))) continue;
    // Of equal ones the first stays.
    if (all.slice(index + 1).some((other) => !sameJson(other, each) && covers(other, each))) continue;
    merged.push(each);
  }
  return merged;
}

function covers(wide: Toleration, narrow: Toleration): boolean {
  if (sameJson(wide, narrow)) return true;
  // No key, with Exists, is every key; no effect is every effect.
  if ((narrow.key ?? "") !== (wide.key ?? "") && ((wide.key ?? "") !== "" || wide.operator !== "Exists")) return false;
  if (narrow.effect !== wide.effect && wide.effect !== undefined) return false;
  if (wide.effect === "NoExecute" && wide.tolerationSeconds !== undefined)
    if (narrow.tolerationSeconds === undefined || narrow.tolerationSeconds > wide.tolerationSeconds) return false;
  if (wide.operator === "Exists") return true;
  return (narrow.operator ?? "Equal") === "Equal" && (narrow.value ?? "") === (wide.value ?? "");
}
