// What is wrong with ValidatingAdmissionPolicies, MutatingAdmissionPolicies, their bindings and configurations of webhooks
// (pkg/apis/admissionregistration/validation, in its words), and what their types make of their expressions (status.typeChecking).

import { dnsLabel1035, dnsSubdomain, qualifiedName } from "../../../kube/formats.ts";
import type { KubeObject } from "../../../kube/object.ts";
import {
  at,
  child,
  duplicate,
  forbidden,
  invalid,
  notSupported,
  required,
  tooMany,
  type FieldProblem,
} from "../../../kube/problem.ts";
import { schemaOf } from "../../../kube/schema.ts";
import type { AdmissionRequest } from "../api.ts";
import type { Kinds } from "../kinds.ts";
import { prepare, type Prepared, type Scope } from "./expressions.ts";
import type { MatchResources, Rule } from "./matching.ts";
import { mutationScope } from "./mutation-messages.ts";
import { preparedVariables, type ParamRef, type Policy } from "./policies.ts";
import { typeOfKind } from "./types.ts";
import type { ClientConfig } from "./webhook-client.ts";
import type { Webhook } from "./webhooks.ts";

type Fields = { readonly [field: string]: unknown };

/**
 * The problems of an object of this group; none of other kinds.
 * @public Loaded when it is needed (plugin-list.ts).
 */
export function admissionProblems({ object }: Pick<AdmissionRequest, "object">): readonly FieldProblem[] {
  switch (object.kind) {
    case "ValidatingAdmissionPolicy":
      return policyProblems(object as Policy);
    case "MutatingAdmissionPolicy":
      return mutatingProblems(object as MutatingPolicy);
    case "ValidatingAdmissionPolicyBinding":
    case "MutatingAdmissionPolicyBinding":
      return bindingProblems(object);
    case "ValidatingWebhookConfiguration":
    case "MutatingWebhookConfiguration":
      return webhookProblems(object);
    default:
      return [];
  }
}

interface MutatingPolicy extends Policy {
  readonly spec: Policy["spec"] & {
    readonly mutations?: readonly {
      readonly patchType?: string;
      readonly applyConfiguration?: { readonly expression?: string };
      readonly jsonPatch?: { readonly expression?: string };
    }[];
    readonly reinvocationPolicy?: string;
  };
}

const failurePolicies = ["Fail", "Ignore"];

function commonProblems({ spec }: Policy, operations: readonly string[]): readonly FieldProblem[] {
  const problems: FieldProblem[] = [];
  if (spec.failurePolicy !== undefined && !failurePolicies.includes(spec.failurePolicy))
    problems.push(notSupported("spec.failurePolicy", spec.failurePolicy, failurePolicies));
  if (spec.paramKind !== undefined) problems.push(...paramKindProblems(spec.paramKind));
  if (spec.matchConstraints === undefined) problems.push(required("spec.matchConstraints"));
  else {
    problems.push(...matchProblems(spec.matchConstraints, "spec.matchConstraints", operations));
    if ((spec.matchConstraints.resourceRules ?? []).length === 0)
      problems.push(required("spec.matchConstraints.resourceRules"));
  }
  return problems;
}

function paramKindProblems({
  apiVersion,
  kind,
}: {
  readonly apiVersion: string;
  readonly kind: string;
}): readonly FieldProblem[] {
  const path = "spec.paramKind";
  return [
    ...((apiVersion ?? "") === "" ? [required(`${path}.apiVersion`)] : []),
    ...((apiVersion ?? "").split("/").length > 2
      ? [invalid(`${path}.apiVersion`, apiVersion, `unexpected GroupVersion string: ${apiVersion}`)]
      : []),
    ...((kind ?? "") === "" ? [required(`${path}.kind`)] : []),
  ];
}

const everyOperation = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];

function matchProblems(match: MatchResources, path: string, operations: readonly string[]): readonly FieldProblem[] {
  const policies = ["Equivalent", "Exact"];
  return [
    ...(match.matchPolicy !== undefined && !policies.includes(match.matchPolicy)
      ? [notSupported(`${path}.matchPolicy`, match.matchPolicy, policies)]
      : []),
    ...(match.resourceRules ?? []).flatMap((rule, index) =>
      ruleProblems(rule, at(`${path}.resourceRules`, index), operations),
    ),
    ...(match.excludeResourceRules ?? []).flatMap((rule, index) =>
      ruleProblems(rule, at(`${path}.excludeResourceRules`, index), operations),
    ),
  ];
}

/** What is wrong with a rule of a policy or a webhook. */
export function ruleProblems(
  rule: Rule,
  path: string,
  operations: readonly string[] = everyOperation,
): readonly FieldProblem[] {
  const { resources = [], apiGroups = [], apiVersions = [], resourceNames = [], scope } = rule;
  const problems: FieldProblem[] = [];
  for (const [index, name] of resourceNames.entries())
    if (resourceNames.indexOf(name) < index) problems.push(duplicate(at(`${path}.resourceNames`, index), name));
  const given = rule.operations ?? [];
  if (given.length === 0) problems.push(required(`${path}.operations`));
  if (given.length > 1 && given.includes("*"))
    problems.push(invalid(`${path}.operations`, given, "if '*' is present, must not specify other operations"));
  for (const [index, operation] of given.entries())
    if (!operations.includes(operation))
      problems.push(notSupported(at(`${path}.operations`, index), operation, operations));
  if (apiGroups.length === 0) problems.push(required(`${path}.apiGroups`));
  if (apiGroups.length > 1 && apiGroups.includes("*"))
    problems.push(invalid(`${path}.apiGroups`, apiGroups, "if '*' is present, must not specify other API groups"));
  if (apiVersions.length === 0) problems.push(required(`${path}.apiVersions`));
  if (apiVersions.length > 1 && apiVersions.includes("*"))
    problems.push(
      invalid(`${path}.apiVersions`, apiVersions, "if '*' is present, must not specify other API versions"),
    );
  for (const [index, version] of apiVersions.entries())
    if (version === "") problems.push(required(at(`${path}.apiVersions`, index)));
  if (resources.length === 0) problems.push(required(`${path}.resources`));
  for (const [index, resource] of resources.entries())
    if (resource === "") problems.push(required(at(`${path}.resources`, index)));
  if (resources.length > 1 && resources.includes("*/*"))
    problems.push(invalid(`${path}.resources`, resources, "if '*/*' is present, must not specify other resources"));
  // Upstream looks at the last one without a subresource.
  const lastPlain = resources.findLast((resource) => resource !== "" && !resource.includes("/"));
  if (resources.includes("*") && lastPlain !== "*")
    problems.push(
      invalid(
        `${path}.resources`,
        resources,
        "if '*' is present, must not specify other resources without subresources",
      ),
    );
  const scopes = ["*", "Cluster", "Namespaced"];
  if (scope !== undefined && !scopes.includes(scope)) problems.push(notSupported(`${path}.scope`, scope, scopes));
  return problems;
}

function expressionProblem(path: string, source: string, prepared: Prepared): readonly FieldProblem[] {
  return "problem" in prepared ? [invalid(path, source, prepared.problem)] : [];
}

/** What is wrong with the conditions of a policy or a webhook. */
export function conditionProblems(
  conditions: readonly { readonly name?: string; readonly expression?: string }[],
  path: string,
  scope: Scope,
): readonly FieldProblem[] {
  const problems: FieldProblem[] = conditions.length > 64 ? [tooMany(path, conditions.length, 64)] : [];
  for (const [index, { name = "", expression = "" }] of conditions.entries()) {
    const place = at(path, index);
    if (expression.trim() === "") problems.push(required(child(place, "expression")));
    else
      problems.push(
        ...expressionProblem(child(place, "expression"), expression, prepare(expression, scope, ["bool", "dyn"])),
      );
    if (name === "") problems.push(required(child(place, "name")));
    else for (const problem of qualifiedName(name)) problems.push(invalid(child(place, "name"), name, problem));
    if (name !== "" && conditions.findIndex((each) => each.name === name) < index)
      problems.push(duplicate(child(place, "name"), name));
  }
  return problems;
}

function variableProblems({ spec }: Policy, scope: Scope): readonly FieldProblem[] {
  const prepared = preparedVariables(spec.variables ?? [], scope);
  return (spec.variables ?? []).flatMap(({ name = "", expression = "" }, index) => {
    const place = at("spec.variables", index);
    const problems: FieldProblem[] = [];
    if (name === "") problems.push(required(child(place, "name"), "name is not specified"));
    else if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name))
      problems.push(invalid(child(place, "name"), name, "must be a valid CEL identifier"));
    if (expression.trim() === "") problems.push(required(child(place, "expression"), "expression is not specified"));
    else {
      const found = prepared.get(name);
      if (found !== undefined)
        problems.push(...expressionProblem(child(place, "expression"), expression, found.expression));
    }
    return problems;
  });
}

/** What a policy's expressions may speak of, its variables included. */
function scopeOf(policy: Policy, more: Partial<Scope> = {}): { readonly base: Scope; readonly full: Scope } {
  const base = { hasParams: policy.spec.paramKind !== undefined, hasAuthorizer: true, ...more };
  const variables = new Map(
    [...preparedVariables(policy.spec.variables ?? [], base)].map(([name, { expression }]) => [
      name,
      "problem" in expression ? ({ kind: "dyn" } as const) : expression.type,
    ]),
  );
  return { base, full: { ...base, variables } };
}

const reasons = ["Forbidden", "Invalid", "RequestEntityTooLarge", "Unauthorized"];

function policyProblems(policy: Policy): readonly FieldProblem[] {
  const { spec } = policy;
  if (spec === undefined) return [required("spec")];
  const { base, full } = scopeOf(policy);
  const { validations = [], auditAnnotations = [] } = spec;
  const problems = [
    ...commonProblems(policy, everyOperation),
    ...conditionProblems(spec.matchConditions ?? [], "spec.matchConditions", base),
    ...variableProblems(policy, base),
  ];
  if (validations.length === 0 && auditAnnotations.length === 0) {
    const detail = "validations or auditAnnotations must contain at least one item";
    problems.push(required("spec.validations", detail), required("spec.auditAnnotations", detail));
  }
  for (const [index, validation] of validations.entries()) {
    const place = at("spec.validations", index);
    const { expression = "", message, messageExpression, reason } = validation;
    if (expression.trim() === "") problems.push(required(child(place, "expression"), "expression is not specified"));
    else
      problems.push(
        ...expressionProblem(child(place, "expression"), expression, prepare(expression, full, ["bool", "dyn"])),
      );
    if (messageExpression !== undefined && messageExpression !== "") {
      const path = child(place, "messageExpression");
      if (messageExpression.trim() === "")
        problems.push(invalid(path, messageExpression, "must be non-empty if specified"));
      else
        problems.push(
          ...expressionProblem(
            path,
            messageExpression,
            prepare(messageExpression, { ...full, hasAuthorizer: false }, ["string", "dyn"]),
          ),
        );
    }
    const isSaid = message !== undefined && message !== "";
    if (isSaid && message.trim() === "")
      problems.push(invalid(child(place, "message"), message, "must be non-empty if specified"));
    else if (isSaid && /[\r\n]/.test(message.trim()))
      problems.push(invalid(child(place, "message"), message, "must not contain line breaks"));
    else if (/[\r\n]/.test(expression.trim()) && !isSaid)
      problems.push(required(child(place, "message"), "message must be specified if expression contains line breaks"));
    if (reason !== undefined && !reasons.includes(reason))
      problems.push(notSupported(child(place, "reason"), reason, reasons.slice(0, 3)));
  }
  return [...problems, ...annotationProblems(policy, full)];
}

function annotationProblems({ spec }: Policy, scope: Scope): readonly FieldProblem[] {
  const annotations = spec.auditAnnotations ?? [];
  return annotations.flatMap(({ key = "", valueExpression = "" }, index) => {
    const place = at("spec.auditAnnotations", index);
    const problems: FieldProblem[] = [];
    if (valueExpression.trim() === "")
      problems.push(required(child(place, "valueExpression"), "valueExpression is not specified"));
    else
      problems.push(
        ...expressionProblem(
          child(place, "valueExpression"),
          valueExpression,
          prepare(valueExpression, scope, ["string", "null", "dyn"]),
        ),
      );
    if (annotations.findIndex((each) => each.key === key) < index) problems.push(duplicate(child(place, "key"), key));
    else for (const problem of qualifiedName(key)) problems.push(invalid(child(place, "key"), key, problem));
    return problems;
  });
}

const mutatingOperations = ["*", "CREATE", "UPDATE"];
const patchTypes = ["ApplyConfiguration", "JSONPatch"];
const reinvocations = ["IfNeeded", "Never"];

function mutatingProblems(policy: MutatingPolicy): readonly FieldProblem[] {
  const { spec } = policy;
  if (spec === undefined) return [required("spec")];
  const { base, full } = scopeOf(policy, {});
  const scope = mutationScope(full);
  const { mutations = [], reinvocationPolicy = "" } = spec;
  const problems = [
    ...commonProblems(policy, mutatingOperations),
    ...conditionProblems(spec.matchConditions ?? [], "spec.matchConditions", base),
    ...variableProblems(policy, base),
  ];
  if (mutations.length === 0) problems.push(required("spec.mutations", "mutations must contain at least one item"));
  for (const [index, { patchType = "", applyConfiguration, jsonPatch }] of mutations.entries()) {
    const place = at("spec.mutations", index);
    const check = (
      name: "applyConfiguration" | "jsonPatch",
      given: { readonly expression?: string } | undefined,
    ): void => {
      const { expression = "" } = given ?? {};
      const path = child(child(place, name), "expression");
      if (given === undefined)
        problems.push(required(child(place, name), `must be specified when patchType is ${patchType}`));
      else if (expression.trim() === "") problems.push(required(path));
      else
        problems.push(
          ...expressionProblem(
            path,
            expression,
            prepare(expression, scope, name === "jsonPatch" ? ["list", "dyn"] : ["object", "dyn"]),
          ),
        );
    };
    if (patchType === "") problems.push(required(child(place, "patchType")));
    else if (patchType === "JSONPatch") {
      check("jsonPatch", jsonPatch);
      if (applyConfiguration !== undefined)
        problems.push(
          invalid(
            child(place, "applyConfiguration"),
            "{applyConfiguration}",
            "must not be specified when patchType is JSONPatch",
          ),
        );
    } else if (patchType === "ApplyConfiguration") {
      check("applyConfiguration", applyConfiguration);
      if (jsonPatch !== undefined)
        problems.push(
          invalid(
            child(place, "jsonPatch"),
            "{jsonPatch}",
            "must not be specified when patchType is ApplyConfiguration",
          ),
        );
    } else problems.push(notSupported(child(place, "patchType"), patchType, patchTypes));
  }
  if (reinvocationPolicy === "") problems.push(required("spec.reinvocationPolicy"));
  else if (!reinvocations.includes(reinvocationPolicy))
    problems.push(notSupported("spec.reinvocationPolicy", reinvocationPolicy, reinvocations));
  return problems;
}

const actions = ["Audit", "Deny", "Warn"];

function bindingProblems(object: KubeObject): readonly FieldProblem[] {
  const spec = (object["spec"] ?? {}) as {
    readonly policyName?: string;
    readonly paramRef?: ParamRef;
    readonly matchResources?: MatchResources;
    readonly validationActions?: readonly string[];
  };
  const { policyName = "", paramRef, matchResources, validationActions = [] } = spec;
  const isMutating = object.kind === "MutatingAdmissionPolicyBinding";
  const problems: FieldProblem[] =
    policyName === ""
      ? [required("spec.policyName")]
      : dnsSubdomain(policyName).map((problem) => invalid("spec.policyName", policyName, problem));
  if (paramRef !== undefined) problems.push(...paramRefProblems(paramRef as Fields));
  if (matchResources !== undefined)
    problems.push(
      ...matchProblems(matchResources, "spec.matchResources", isMutating ? mutatingOperations : everyOperation),
    );
  if (isMutating) return problems;
  for (const [index, action] of validationActions.entries()) {
    const place = at("spec.validationActions", index);
    if (!actions.includes(action)) problems.push(notSupported(place, action, actions));
    if (validationActions.indexOf(action) < index) problems.push(duplicate(place, action));
  }
  if (validationActions.includes("Deny") && validationActions.includes("Warn"))
    problems.push(
      invalid(
        "spec.validationActions",
        validationActions,
        "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)",
      ),
    );
  if (validationActions.length === 0)
    problems.push(required("spec.validationActions", "at least one validation action is required"));
  return problems;
}

function paramRefProblems({ name, selector, parameterNotFoundAction }: Fields): readonly FieldProblem[] {
  const path = "spec.paramRef";
  const problems: FieldProblem[] = [];
  const hasName = typeof name === "string" && name !== "";
  if (hasName && selector !== undefined)
    problems.push(
      forbidden(`${path}.name`, "name and selector are mutually exclusive"),
      forbidden(`${path}.selector`, "name and selector are mutually exclusive"),
    );
  if (!hasName && selector === undefined) problems.push(required(path, "one of name or selector must be specified"));
  if (parameterNotFoundAction === undefined) problems.push(required(`${path}.parameterNotFoundAction`));
  else if (parameterNotFoundAction !== "Deny" && parameterNotFoundAction !== "Allow")
    problems.push(notSupported(`${path}.parameterNotFoundAction`, parameterNotFoundAction, ["Deny", "Allow"]));
  return problems;
}

/**
 * A policy with what its expressions' types say of them, as kube-controller-manager reports it.
 * @public Loaded when it is needed (plugin-list.ts).
 */
export function typeChecked(policy: Policy, kinds: Kinds): KubeObject {
  const { generation = 1 } = policy.metadata;
  const { validations = [] } = policy.spec;
  const expressionWarnings = validations.flatMap(({ expression = "", messageExpression = "" }, index) =>
    [["expression", expression] as const, ["messageExpression", messageExpression] as const].flatMap(
      ([field, source]) => {
        const warning = source === "" ? "" : typeWarning(policy, source, kinds);
        return warning === "" ? [] : [{ fieldRef: `${at("spec.validations", index)}.${field}`, warning }];
      },
    ),
  );
  return {
    ...policy,
    status: {
      observedGeneration: generation,
      typeChecking: expressionWarnings.length === 0 ? {} : { expressionWarnings },
    },
  };
}

/** At most so many kinds are looked at (validating/typechecking.go). */
const checkedKindsMax = 10;

function typeWarning(policy: Policy, source: string, kinds: Kinds): string {
  const rules = policy.spec.matchConstraints?.resourceRules ?? [];
  const matched = rules.flatMap(({ apiGroups = [], apiVersions = [], resources = [] }) =>
    apiGroups.flatMap((group) =>
      apiVersions.flatMap((version) =>
        resources.map((resource) =>
          [group, version, resource].includes("*") ? undefined : kinds.at(group, version, resource),
        ),
      ),
    ),
  );
  const { paramKind } = policy.spec;
  const paramSchema = paramKind === undefined ? undefined : schemaOf(paramKind.apiVersion, paramKind.kind);
  return matched
    .flatMap((kind) => kind ?? [])
    .slice(0, checkedKindsMax)
    .map((kind) => {
      const object = typeOfKind(kind);
      if (object === undefined) return "";
      const params = paramSchema === undefined ? undefined : typeOfKind({ ...kind, ...paramKind });
      const { full } = scopeOf(policy, { object, ...(params === undefined ? {} : { params }) });
      const prepared = prepare(source, full, []);
      if (!("problem" in prepared)) return "";
      const gvk = kind.group === "" ? kind.version : kind.apiVersion;
      return `${gvk}, Kind=${kind.kind}: ${prepared.problem.replace("compilation failed: ", "")}\n`;
    })
    .join("");
}

const sideEffects = ["None", "NoneOnDryRun"];

/** What is wrong with the webhooks of a configuration. */
function webhookProblems(object: KubeObject): readonly FieldProblem[] {
  const hooks = (object["webhooks"] ?? []) as readonly Partial<Webhook>[];
  const isMutating = object.kind === "MutatingWebhookConfiguration";
  return hooks.flatMap((hook, index) => {
    const path = at("webhooks", index);
    const { name = "", rules = [], clientConfig, admissionReviewVersions = [], timeoutSeconds = 10 } = hook;
    const problems: FieldProblem[] = [];
    if (hooks.findIndex((each) => each.name === name) < index) problems.push(duplicate(child(path, "name"), name));
    if (name === "") problems.push(required(child(path, "name")));
    else {
      const labels = name.split(".");
      if (labels.length < 3)
        problems.push(
          invalid(child(path, "name"), name, "should be a domain with at least three segments separated by dots"),
        );
      for (const problem of dnsSubdomain(name)) problems.push(invalid(child(path, "name"), name, problem));
    }
    for (const [at_, rule] of rules.entries()) problems.push(...ruleProblems(rule, at(child(path, "rules"), at_)));
    const choices = [
      ["failurePolicy", failurePolicies],
      ["matchPolicy", ["Equivalent", "Exact"]],
      ["reinvocationPolicy", isMutating ? reinvocations : []],
    ] as const;
    for (const [field, allowed] of choices) {
      const given = hook[field];
      if (given !== undefined && allowed.length > 0 && !allowed.some((each) => each === given))
        problems.push(notSupported(child(path, field), given, allowed));
    }
    if (hook.sideEffects === undefined)
      problems.push(required(child(path, "sideEffects"), `must specify one of ${sideEffects.join(", ")}`));
    else if (!sideEffects.includes(hook.sideEffects))
      problems.push(notSupported(child(path, "sideEffects"), hook.sideEffects, sideEffects));
    if (timeoutSeconds < 1 || timeoutSeconds > 30)
      problems.push(
        invalid(child(path, "timeoutSeconds"), timeoutSeconds, "the timeout value must be between 1 and 30 seconds"),
      );
    problems.push(...clientProblems(clientConfig, child(path, "clientConfig")));
    const scope = { hasParams: false, hasAuthorizer: true };
    problems.push(...conditionProblems(hook.matchConditions ?? [], child(path, "matchConditions"), scope));
    if (admissionReviewVersions.length === 0)
      problems.push(required(child(path, "admissionReviewVersions"), "must specify one of v1, v1beta1"));
    for (const [at_, version] of admissionReviewVersions.entries()) {
      const place = at(child(path, "admissionReviewVersions"), at_);
      if (admissionReviewVersions.indexOf(version) < at_) problems.push(invalid(place, version, "duplicate version"));
      else for (const problem of dnsLabel1035(version)) problems.push(invalid(place, version, problem));
    }
    if (
      admissionReviewVersions.length > 0 &&
      !admissionReviewVersions.some((each) => each === "v1" || each === "v1beta1")
    )
      problems.push(
        invalid(
          child(path, "admissionReviewVersions"),
          admissionReviewVersions,
          "must include at least one of v1, v1beta1",
        ),
      );
    return problems;
  });
}

interface ServiceReference {
  readonly name?: string;
  readonly namespace?: string;
  readonly path?: string;
  readonly port?: number;
}

/** A webhook's Service (apiserver util/webhook ValidateWebhookService). */
function serviceProblems(service: ServiceReference, path: string): readonly FieldProblem[] {
  const { name = "", namespace = "", port = 443, path: urlPath = "" } = service;
  const field = child(path, "path");
  const steps = urlPath === "" || urlPath === "/" ? [] : urlPath.slice(1).replace(/\/$/, "").split("/");
  return [
    ...(name === "" ? [required(child(path, "name"))] : []),
    ...(namespace === "" ? [required(child(path, "namespace"))] : []),
    ...(port < 1 || port > 65_535
      ? [invalid(child(path, "port"), port, "port is not valid: must be between 1 and 65535, inclusive")]
      : []),
    ...(urlPath !== "" && !urlPath.startsWith("/") ? [invalid(field, urlPath, "must start with a '/'")] : []),
    ...steps.flatMap((step, index) =>
      step === ""
        ? [invalid(field, urlPath, `segment[${index}] may not be empty`)]
        : dnsSubdomain(step).map((problem) => invalid(field, urlPath, `segment[${index}]: ${problem}`)),
    ),
  ];
}

function clientProblems(config: ClientConfig | undefined, path: string): readonly FieldProblem[] {
  const { url, service } = config ?? {};
  if ((url === undefined) === (service === undefined))
    return [required(path, "exactly one of url or service is required")];
  if (url === undefined) return serviceProblems(service ?? {}, child(path, "service"));
  const form = "desired format: https://host[/path]";
  const field = child(path, "url");
  if (!URL.canParse(url))
    return [
      required(
        field,
        `url must be a valid URL: parse ${JSON.stringify(url)}: invalid; desired format: https://host[/path]`,
      ),
    ];
  const { protocol, host, username, search, hash } = new URL(url);
  return [
    ...(protocol === "https:"
      ? []
      : [
          invalid(
            field,
            protocol.slice(0, -1),
            `'https' is the only allowed URL scheme; desired format: https://host[/path]`,
          ),
        ]),
    ...(host === "" ? [invalid(field, host, `host must be specified; ${form}`)] : []),
    ...(username === "" ? [] : [invalid(field, username, "user information is not permitted in the URL")]),
    ...(search === "" ? [] : [invalid(field, search.slice(1), "query parameters are not permitted in the URL")]),
    ...(hash === "" ? [] : [invalid(field, hash.slice(1), "fragments are not permitted in the URL")]),
  ];
}
