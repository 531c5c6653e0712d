// MutatingAdmissionPolicies: what those that bind change of an object before it is validated (KEP-3962; apiserver
// admission/plugin/policy/mutating). Labs without a policy pay nothing.

import { createRequire } from "node:module";
import { withDefaults } from "../../../kube/defaults.ts";
import { sameJson } from "../../../kube/equal.ts";
import { mergeManifest } from "../../../kube/merge.ts";
import type { KubeObject } from "../../../kube/object.ts";
import { fromStored, toStored } from "../../apiserver/conversions.ts";
import { applyJsonPatch, PatchError } from "../../apiserver/patch/json-patch.ts";
import type { Admission, AdmissionRequest } from "../api.ts";
import { forbidden } from "../errors.ts";
import type { Kind } from "../kinds.ts";
import { StatusError, type ResourceName } from "../store.ts";
import type { Ask } from "./expressions.ts";
import { isExempt, matchedKind, type MatchResources } from "./matching.ts";
import { conditionsHold, paramsOf, preparedVariables, type ParamRef, type Policy } from "./policies.ts";

const load = createRequire(import.meta.url);
const expressions = (): typeof import("./expressions.ts") =>
  load("./expressions.ts") as typeof import("./expressions.ts");
const messages = (): typeof import("./mutation-messages.ts") =>
  load("./mutation-messages.ts") as typeof import("./mutation-messages.ts");
const json = (): typeof import("../../../kube/cel/json.ts") =>
  load("../../../kube/cel/json.ts") as typeof import("../../../kube/cel/json.ts");

const group = "admissionregistration.k8s.io";
const policyResource: ResourceName = { group, resource: "mutatingadmissionpolicies" };
const bindingResource: ResourceName = { group, resource: "mutatingadmissionpolicybindings" };

interface Mutation {
  readonly patchType: string;
  readonly applyConfiguration?: { readonly expression: string };
  readonly jsonPatch?: { readonly expression: string };
}

interface MutatingPolicy extends Policy {
  readonly spec: Policy["spec"] & { readonly mutations?: readonly Mutation[]; readonly reinvocationPolicy?: string };
}

interface Binding extends KubeObject {
  readonly spec: {
    readonly policyName: string;
    readonly paramRef?: ParamRef;
    readonly matchResources?: MatchResources;
  };
}

/** The admission. `askAs`: may who makes the request (or a ServiceAccount) do something? */
export function policyMutation(askAs?: (request: AdmissionRequest) => Ask): Admission {
  return (request) => {
    const { store, operation, object } = request;
    const bindings = store.list(bindingResource).items as readonly Binding[];
    if (bindings.length === 0 || operation === "delete" || isExempt(request)) return object;
    const policies = store.list(policyResource).items as readonly MutatingPolicy[];
    const round = (start: KubeObject, some: readonly MutatingPolicy[]): KubeObject =>
      some.reduce(
        (before, policy) =>
          bindings
            .filter(({ spec }) => spec.policyName === policy.metadata.name)
            .reduce((each, binding) => mutated({ ...request, object: each }, policy, binding, askAs), before),
        start,
      );
    const first = round(object, policies);
    if (sameJson(first, object)) return object;
    // Those that want to see what others have made of it get it once more.
    return round(
      first,
      policies.filter(({ spec }) => spec.reinvocationPolicy === "IfNeeded"),
    );
  };
}

function mutated(
  request: AdmissionRequest,
  policy: MutatingPolicy,
  binding: Binding,
  askAs: ((request: AdmissionRequest) => Ask) | undefined,
): KubeObject {
  const { spec } = policy;
  const kind = matchedKind(request, spec.matchConstraints ?? {});
  if (kind === undefined || matchedKind(request, { ...binding.spec.matchResources }) === undefined)
    return request.object;
  const fail = (why: string): KubeObject => {
    if (spec.failurePolicy === "Ignore") return request.object;
    throw refusal(request, policy, binding, why);
  };
  const params = paramsOf(request, spec.paramKind, binding.spec.paramRef);
  if ("problem" in params) return fail(`failed to configure binding: ${params.problem}`);
  let object = request.object;
  for (const param of params.found) {
    const result = applied({ ...request, object }, policy, kind, param, askAs?.(request));
    if ("failure" in result) return fail(result.failure);
    object = result.object;
  }
  return object;
}

type Result = { readonly object: KubeObject } | { readonly failure: string };

function applied(
  request: AdmissionRequest,
  { spec }: MutatingPolicy,
  kind: Kind,
  params: KubeObject | undefined,
  ask: Ask | undefined,
): Result {
  const { prepare, createEvaluator } = expressions();
  const { mutationScope } = messages();
  const base = { hasParams: spec.paramKind !== undefined, hasAuthorizer: true };
  const variables = preparedVariables(spec.variables ?? [], base);
  const types = new Map(
    [...variables].map(([name, { expression }]) => [
      name,
      "problem" in expression ? ({ kind: "dyn" } as const) : expression.type,
    ]),
  );
  const scope = mutationScope({ ...base, variables: types });
  let object = request.object;
  const evaluatorOf = (now: KubeObject): ReturnType<typeof createEvaluator> =>
    createEvaluator({
      request: { ...request, object: now },
      kind,
      params,
      variables,
      ...(ask === undefined ? {} : { ask }),
    });
  const evaluator = evaluatorOf(object);
  const conditions = conditionsHold(spec.matchConditions ?? [], (source) =>
    evaluator.evaluate(prepare(source, base, ["bool", "dyn"]), source),
  );
  if (conditions === false) return { object };
  if (conditions !== true) return conditions;
  for (const { patchType, applyConfiguration, jsonPatch } of spec.mutations ?? []) {
    const source = (patchType === "JSONPatch" ? jsonPatch : applyConfiguration)?.expression ?? "";
    const wanted = patchType === "JSONPatch" ? (["list", "dyn"] as const) : (["object", "dyn"] as const);
    const outcome = evaluatorOf(object).evaluate(prepare(source, scope, wanted), source);
    if ("failure" in outcome) return outcome;
    const patch = json().jsonOf(outcome.value);
    const result = patchType === "JSONPatch" ? patched(object, patch, kind) : merged(object, patch, kind);
    if ("failure" in result) return result;
    object = result.object;
  }
  return { object };
}

function patched(object: KubeObject, patch: unknown, kind: Kind): Result {
  try {
    const result = applyJsonPatch(fromStored(object, kind), patch) as KubeObject;
    return { object: stored(result, object, kind) };
  } catch (error) {
    if (error instanceof PatchError) return { failure: `error applying patch: ${error.message}` };
    throw error;
  }
}

function merged(object: KubeObject, patch: unknown, kind: Kind): Result {
  const live = fromStored(object, kind);
  const manifest = { ...(patch as object), apiVersion: live.apiVersion, kind: live.kind };
  return { object: stored(mergeManifest({ applied: undefined, manifest, live }) as KubeObject, object, kind) };
}

/** As it is stored; its identity is not for policies to change. */
function stored(result: KubeObject, before: KubeObject, kind: Kind): KubeObject {
  const { name, namespace, uid } = before.metadata;
  const object = toStored(result, kind);
  const metadata = {
    ...object.metadata,
    name,
    ...(namespace === undefined ? {} : { namespace }),
    ...(uid === undefined ? {} : { uid }),
  };
  const kept = { ...object, metadata };
  return kind.custom === undefined ? withDefaults(kept) : kept;
}

function refusal({ object, kind }: AdmissionRequest, policy: Policy, binding: Binding, why: string): StatusError {
  const text = `policy '${policy.metadata.name}' with binding '${binding.metadata.name}' denied request: ${why}`;
  const base = forbidden({ group: kind.group, resource: kind.resource, name: object.metadata.name }, text);
  return new StatusError(422, "Invalid", base.message, { ...base.details, causes: [{ message: text }] });
}
