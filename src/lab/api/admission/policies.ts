// ValidatingAdmissionPolicies: what those that bind say about a write that is otherwise valid (KEP-3488; apiserver
// admission/plugin/policy/validating, in its words). Labs without a policy pay nothing: not even the language is loaded.

import { createRequire } from "node:module";
import type { LabelSelector } from "../../../kube/pod.ts";
import type { KubeObject } from "../../../kube/object.ts";
import { selects } from "../../../kube/selector.ts";
import type { AdmissionRequest, Validation } from "../api.ts";
import { forbidden } from "../errors.ts";
import type { Kind } from "../kinds.ts";
import { StatusError, type ResourceName } from "../store.ts";
import type { Ask, Prepared } from "./expressions.ts";
import { isExempt, matchedKind, type MatchResources } from "./matching.ts";

const load = createRequire(import.meta.url);
/** Loaded with the first policy. */
const expressions = (): typeof import("./expressions.ts") =>
  load("./expressions.ts") as typeof import("./expressions.ts");

const group = "admissionregistration.k8s.io";
const policyResource: ResourceName = { group, resource: "validatingadmissionpolicies" };
const bindingResource: ResourceName = { group, resource: "validatingadmissionpolicybindings" };

/** A condition or a variable; before it is checked, something may be missing. */
interface Named {
  readonly name?: string;
  readonly expression?: string;
}

/** admissionregistration/v1 ValidatingAdmissionPolicy, as far as it is read. */
export interface Policy extends KubeObject {
  readonly spec: {
    readonly paramKind?: { readonly apiVersion: string; readonly kind: string };
    readonly matchConstraints?: MatchResources;
    readonly validations?: readonly {
      readonly expression?: string;
      readonly message?: string;
      readonly messageExpression?: string;
      readonly reason?: string;
    }[];
    readonly failurePolicy?: string;
    readonly auditAnnotations?: readonly { readonly key?: string; readonly valueExpression?: string }[];
    readonly matchConditions?: readonly Named[];
    readonly variables?: readonly Named[];
  };
}

interface Binding extends KubeObject {
  readonly spec: {
    readonly policyName: string;
    readonly paramRef?: ParamRef;
    readonly matchResources?: MatchResources;
    readonly validationActions?: readonly string[];
  };
}

export interface ParamRef {
  readonly name?: string;
  readonly namespace?: string;
  readonly selector?: LabelSelector;
  readonly parameterNotFoundAction?: string;
}

/** The validation. `askAs`: may who makes the request (or a ServiceAccount) do something? */
export function policyValidation(askAs?: (request: AdmissionRequest) => Ask): Validation {
  return (request) => {
    const { store } = request;
    const bindings = store.list(bindingResource).items;
    if (bindings.length === 0 || isExempt(request)) return;
    const denials: Denial[] = [];
    for (const policy of store.list(policyResource).items as readonly Policy[]) {
      const own = (bindings as readonly Binding[]).filter(({ spec }) => spec.policyName === policy.metadata.name);
      const kind = own.length === 0 ? undefined : matchedKind(request, policy.spec.matchConstraints ?? {});
      if (kind === undefined) continue;
      for (const binding of own)
        denials.push(...decisionsOf({ request, policy, binding, kind, ask: askAs?.(request) }));
    }
    const [first] = denials;
    if (first !== undefined) throw refusal(request, first);
  };
}

interface Denial {
  readonly policy: string;
  readonly binding: string;
  readonly message: string;
  readonly reason: string | undefined;
}

interface Asked {
  readonly request: AdmissionRequest;
  readonly policy: Policy;
  readonly binding: Binding;
  readonly kind: Kind;
  readonly ask: Ask | undefined;
}

/** What denies; warnings are given on the way. */
function decisionsOf(asked: Asked): readonly Denial[] {
  const { request, policy, binding, kind } = asked;
  if (matchedKind(request, { ...binding.spec.matchResources }) === undefined) return [];
  const names = { policy: policy.metadata.name, binding: binding.metadata.name };
  const isFail = policy.spec.failurePolicy !== "Ignore";
  const params = paramsOf(request, policy.spec.paramKind, binding.spec.paramRef);
  if ("problem" in params)
    return isFail ? [{ ...names, message: `failed to configure binding: ${params.problem}`, reason: undefined }] : [];
  const { validationActions = [] } = binding.spec;
  return params.found.flatMap((param) =>
    verdictsOf(asked, param, kind).flatMap((verdict): readonly Denial[] => {
      if (verdict.kind === "error" && !isFail) return [];
      const { message } = verdict;
      if (validationActions.includes("Warn"))
        request.actor.warn?.(
          `Validation failed for ValidatingAdmissionPolicy '${names.policy}' with binding '${names.binding}': ${message}`,
        );
      return validationActions.includes("Deny") || verdict.kind === "annotation"
        ? [{ ...names, message, reason: verdict.kind === "denied" ? verdict.reason : undefined }]
        : [];
    }),
  );
}

type Verdict =
  | { readonly kind: "denied"; readonly message: string; readonly reason: string }
  | { readonly kind: "error"; readonly message: string }
  /** An audit annotation that could not be made: refuses whatever the binding's actions. */
  | { readonly kind: "annotation"; readonly message: string };

/** The variables of a policy, each knowing those before it. */
export function preparedVariables(
  variables: readonly Named[],
  scope: { readonly hasParams: boolean; readonly hasAuthorizer: boolean },
): ReadonlyMap<string, { readonly source: string; readonly expression: Prepared }> {
  const { prepare } = expressions();
  const types = new Map<string, import("../../../kube/cel/types.ts").Type>();
  const found = new Map<string, { source: string; expression: Prepared }>();
  for (const { name = "", expression: source = "" } of variables) {
    const expression = prepare(source, { ...scope, variables: new Map(types) }, []);
    found.set(name, { source, expression });
    types.set(name, "problem" in expression ? { kind: "dyn" } : expression.type);
  }
  return found;
}

function verdictsOf({ request, policy, ask }: Asked, params: KubeObject | undefined, kind: Kind): readonly Verdict[] {
  const { prepare, createEvaluator } = expressions();
  const { spec } = policy;
  const base = { hasParams: spec.paramKind !== undefined, hasAuthorizer: true };
  const variables = preparedVariables(spec.variables ?? [], base);
  const types = new Map([...variables].map(([name, { expression }]) => [name, typeOfPrepared(expression)]));
  const scope = { ...base, variables: types };
  const evaluator = createEvaluator({ request, kind, params, variables, ...(ask === undefined ? {} : { ask }) });
  const conditions = conditionsHold(spec.matchConditions ?? [], (source) =>
    evaluator.evaluate(prepare(source, base, ["bool", "dyn"]), source),
  );
  if (conditions === false) return [];
  if (conditions !== true) return [{ kind: "error", message: conditions.failure }];
  const verdicts: Verdict[] = [];
  for (const validation of spec.validations ?? []) {
    const { expression = "", messageExpression = "", message = "", reason = "Invalid" } = validation;
    const outcome = evaluator.evaluate(prepare(expression, scope, ["bool", "dyn"]), expression);
    if ("failure" in outcome) {
      verdicts.push({ kind: "error", message: outcome.failure });
      continue;
    }
    if (outcome.value === true) continue;
    const said =
      messageExpression === ""
        ? undefined
        : evaluator.evaluate(
            prepare(messageExpression, { ...scope, hasAuthorizer: false }, ["string", "dyn"]),
            messageExpression,
          );
    const own = said !== undefined && "value" in said && typeof said.value === "string" ? said.value.trim() : "";
    const text = own.includes("\n") || Buffer.byteLength(own) > 5 * 1024 ? "" : own;
    const given = text === "" ? message.trim() : text;
    verdicts.push({
      kind: "denied",
      message: given === "" ? `failed expression: ${expression.trim()}` : given,
      reason,
    });
  }
  for (const { valueExpression = "" } of spec.auditAnnotations ?? []) {
    const outcome = evaluator.evaluate(prepare(valueExpression, scope, ["string", "null", "dyn"]), valueExpression);
    if ("failure" in outcome && spec.failurePolicy !== "Ignore")
      verdicts.push({ kind: "annotation", message: outcome.failure });
  }
  return verdicts;
}

function typeOfPrepared(expression: Prepared): import("../../../kube/cel/types.ts").Type {
  return "problem" in expression ? { kind: "dyn" } : expression.type;
}

/** Do all conditions hold? The first that is false decides, even where another fails (webhook/matchconditions). */
export function conditionsHold(
  conditions: readonly Named[],
  evaluate: (source: string) => { readonly value: unknown } | { readonly failure: string },
): boolean | { readonly failure: string } {
  let failure: string | undefined;
  for (const { expression = "" } of conditions) {
    const outcome = evaluate(expression);
    if ("failure" in outcome) failure ??= outcome.failure;
    else if (outcome.value !== true) return false;
  }
  return failure === undefined ? true : { failure };
}

/** The parameters of a binding; one `undefined` where it has none. */
export function paramsOf(
  request: AdmissionRequest,
  paramKind: { readonly apiVersion: string; readonly kind: string } | undefined,
  ref: ParamRef | undefined,
): { readonly found: readonly (KubeObject | undefined)[] } | { readonly problem: string } {
  if (paramKind === undefined || ref === undefined) return { found: [undefined] };
  const { kinds, store } = request;
  const kind = kinds.of(paramKind.apiVersion, paramKind.kind);
  if (kind === undefined)
    return {
      problem: `failed to find resource referenced by paramKind: '${paramKind.apiVersion}, Kind=${paramKind.kind}'`,
    };
  const namespace = ref.namespace ?? request.object.metadata.namespace;
  if (!kind.namespaced && ref.namespace !== undefined)
    return { problem: "paramRef.namespace must not be provided for a cluster-scoped `paramKind`" };
  if (kind.namespaced && namespace === undefined)
    return { problem: "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources" };
  const place = kind.namespaced && namespace !== undefined ? { namespace } : {};
  const { group: storedGroup, resource } = kind.stored;
  const found =
    ref.name === undefined
      ? store
          .list({ group: storedGroup, resource }, place)
          .items.filter((each) => selects(ref.selector, each.metadata.labels))
      : [store.get({ group: storedGroup, resource, name: ref.name, ...place })].flatMap((each) => each ?? []);
  if (found.length > 0) return { found };
  return ref.parameterNotFoundAction === "Allow"
    ? { found: [] }
    : { problem: "no params found for policy binding with `Deny` parameterNotFoundAction" };
}

const codes: { readonly [reason: string]: number } = {
  Forbidden: 403,
  Unauthorized: 401,
  RequestEntityTooLarge: 413,
  Invalid: 422,
};

function refusal({ object, kind }: AdmissionRequest, denial: Denial): StatusError {
  const { policy, binding, message, reason = "Invalid" } = denial;
  const text = `ValidatingAdmissionPolicy '${policy}' with binding '${binding}' denied request: ${message}`;
  const base = forbidden({ group: kind.group, resource: kind.resource, name: object.metadata.name }, text);
  return new StatusError(codes[reason] ?? 422, reason, base.message, { ...base.details, causes: [{ message: text }] });
}
