// Expressions of policies and webhooks: what they may speak of, and how they are evaluated within what they may cost
// (apiserver admission/plugin/cel).
//
// Not here: the language (kube/cel), who is asked about what (policies.ts, webhooks).

import { compileExpression, costLimits, kubernetesFunctions, type Compiled } from "../../../kube/cel/cel.ts";
import { declare, EvaluationError, type Environment } from "../../../kube/cel/environment.ts";
import { CostError, createMeter, type Activation } from "../../../kube/cel/evaluate.ts";
import { valueOf } from "../../../kube/cel/json.ts";
import { ExpressionError } from "../../../kube/cel/syntax.ts";
import {
  bool,
  dyn,
  listOf,
  mapOf,
  parseType,
  string,
  typeText,
  type Field,
  type Type,
} from "../../../kube/cel/types.ts";
import { CelObject, Opaque, type Value } from "../../../kube/cel/values.ts";
import type { KubeObject } from "../../../kube/object.ts";
import { fromStored } from "../../apiserver/conversions.ts";
import type { AdmissionRequest } from "../api.ts";
import type { Kind } from "../kinds.ts";
import { namespaceOf, operationOf } from "./matching.ts";
import { patchOverloads } from "./mutation-messages.ts";

function record(name: string, fields: { readonly [field: string]: Type }): Type {
  return {
    kind: "object",
    name,
    fields: new Map(Object.entries(fields).map(([property, type]): [string, Field] => [property, { type, property }])),
  };
}

const groupVersionKind = record("kubernetes.GroupVersionKind", { group: string, version: string, kind: string });
const groupVersionResource = record("kubernetes.GroupVersionResource", {
  group: string,
  version: string,
  resource: string,
});

/** admission/v1 AdmissionRequest, without its objects. */
const requestType = record("kubernetes.AdmissionRequest", {
  kind: groupVersionKind,
  resource: groupVersionResource,
  subResource: string,
  requestKind: groupVersionKind,
  requestResource: groupVersionResource,
  requestSubResource: string,
  name: string,
  namespace: string,
  operation: string,
  userInfo: record("kubernetes.UserInfo", {
    username: string,
    uid: string,
    groups: listOf(string),
    extra: mapOf(string, listOf(string)),
  }),
  dryRun: bool,
  options: dyn,
});

/** What of a namespace is shown. */
const namespaceType = record("kubernetes.Namespace", {
  metadata: record("kubernetes.NamespaceMetadata", {
    name: string,
    generateName: string,
    namespace: string,
    labels: mapOf(string, string),
    annotations: mapOf(string, string),
    UID: string,
    creationTimestamp: parseType("timestamp"),
    deletionGracePeriodSeconds: parseType("int"),
    deletionTimestamp: parseType("timestamp"),
    generation: parseType("int"),
    resourceVersion: string,
    finalizers: listOf(string),
  }),
  spec: record("kubernetes.NamespaceSpec", { finalizers: listOf(string) }),
  status: record("kubernetes.NamespaceStatus", { phase: string }),
});

/** May somebody do something? `check` answers; the rest collects the question. */
type Question = Omit<Parameters<Ask>[0], "verb"> & { readonly ask: Ask };

/** Asks whether the user of a request, or a ServiceAccount, may do something. */
export type Ask = (question: {
  readonly verb: string;
  readonly group?: string;
  readonly resource?: string;
  readonly subresource?: string;
  readonly namespace?: string;
  readonly name?: string;
  readonly path?: string;
  /** `system:serviceaccount:…`; undefined: who makes the request. */
  readonly account?: string;
}) => { readonly allowed: boolean; readonly reason?: string };

const authorizer = "kubernetes.authorization.Authorizer";
const pathCheck = "kubernetes.authorization.PathCheck";
const groupCheck = "kubernetes.authorization.GroupCheck";
const resourceCheck = "kubernetes.authorization.ResourceCheck";
const decision = "kubernetes.authorization.Decision";

function question(type: string, value: Question): Value {
  return new Opaque(type, value, (other) => other === value);
}

type Collected = Opaque<Question>;

const authorizerOverloads = declare({
  [`${authorizer}.path(string): ${pathCheck}`]: ([{ value }, path]) => question(pathCheck, { ...value, path }),
  [`${authorizer}.group(string): ${groupCheck}`]: ([{ value }, group]) => question(groupCheck, { ...value, group }),
  [`${authorizer}.serviceAccount(string, string): ${authorizer}`]: ([{ value }, namespace, name]) =>
    question(authorizer, { ...value, account: `system:serviceaccount:${namespace}:${name}` }),
  [`${groupCheck}.resource(string): ${resourceCheck}`]: ([{ value }, resource]) =>
    question(resourceCheck, { ...value, resource }),
  [`${resourceCheck}.subresource(string): ${resourceCheck}`]: ([{ value }, subresource]) =>
    question(resourceCheck, { ...value, subresource }),
  [`${resourceCheck}.namespace(string): ${resourceCheck}`]: ([{ value }, namespace]) =>
    question(resourceCheck, { ...value, namespace }),
  [`${resourceCheck}.name(string): ${resourceCheck}`]: ([{ value }, name]) =>
    question(resourceCheck, { ...value, name }),
  [`${resourceCheck}.check(string): ${decision}`]: ([asked, verb]) => answered(asked, verb),
  [`${pathCheck}.check(string): ${decision}`]: ([asked, verb]) => answered(asked, verb),
  [`${decision}.allowed(): bool`]: ([{ value }]) => value.allowed,
  [`${decision}.reason(): string`]: ([{ value }]) => value.reason,
  [`${decision}.errored(): bool`]: () => false,
  [`${decision}.error(): string`]: () => "",
});

function answered({ value }: Collected, verb: string): Value {
  const { ask, ...asked } = value;
  const { allowed, reason = "" } = ask({ ...asked, verb });
  return new Opaque(decision, { allowed, reason }, (other) => other.allowed === allowed && other.reason === reason);
}

const functions = kubernetesFunctions([...authorizerOverloads, ...patchOverloads]);

/** What an expression may speak of besides the object. */
export interface Scope {
  readonly hasParams: boolean;
  readonly hasAuthorizer: boolean;
  /** What the object is known to be; dyn where nothing is known. */
  readonly object?: Type;
  readonly params?: Type;
  /** Variables of a policy and their types, as far as they are known. */
  readonly variables?: ReadonlyMap<string, Type>;
  /** The messages that an expression may make: their types, and their values. */
  readonly message?: NonNullable<Environment["message"]>;
  readonly construct?: (type: string, fields: ReadonlyMap<string, Value>) => Value;
}

/** The environment of an expression. */
export function environmentOf(scope: Scope): Environment {
  const variables = new Map<string, Type>([
    ["object", scope.object ?? dyn],
    ["oldObject", scope.object ?? dyn],
    ["request", requestType],
    ["namespaceObject", namespaceType],
  ]);
  if (scope.hasParams) variables.set("params", scope.params ?? dyn);
  if (scope.hasAuthorizer) {
    variables.set("authorizer", parseType(authorizer));
    variables.set("authorizer.requestResource", parseType(resourceCheck));
  }
  if (scope.variables !== undefined)
    variables.set("variables", record("kubernetes.variables", Object.fromEntries(scope.variables)));
  return { variables, functions, ...(scope.message === undefined ? {} : { message: scope.message }) };
}

/** An expression ready for use, or what is wrong with it: `compilation failed: ERROR: …`. */
export type Prepared = Compiled | { readonly problem: string };

const prepared = new Map<string, Prepared>();

/** Compiles an expression that must give one of these types. Kept by its text and what it may speak of. */
export function prepare(source: string, scope: Scope, wanted: readonly Type["kind"][]): Prepared {
  const variables = [...(scope.variables ?? [])].map(([name, type]) => `${name}:${typeText(type)}`).join();
  // Types of objects differ in ways that a text does not show: those are not kept.
  const isKept = scope.object === undefined && scope.params === undefined;
  const key = [
    scope.hasParams,
    scope.hasAuthorizer,
    scope.variables === undefined,
    variables,
    wanted,
    scope.message !== undefined,
    source,
  ].join("\n");
  const known = isKept ? prepared.get(key) : undefined;
  if (known !== undefined) return known;
  const result = compiled(source, scope, wanted);
  if (isKept) {
    if (prepared.size > 10_000) prepared.clear();
    prepared.set(key, result);
  }
  return result;
}

function compiled(source: string, scope: Scope, wanted: readonly Type["kind"][]): Prepared {
  try {
    const result = compileExpression(source, environmentOf(scope), scope.construct);
    const { type } = result;
    if (wanted.length === 0 || wanted.includes(type.kind)) return result;
    if (type.kind === "dyn" && wanted.includes("dyn")) return result;
    const names = wanted.filter((kind) => kind !== "dyn").map((kind) => (kind === "null" ? "null_type" : kind));
    const what = names.length === 1 ? names[0] : `one of [${names.join(" ")}]`;
    return { problem: `must evaluate to ${what} but got ${typeText(type)}` };
  } catch (error) {
    if (error instanceof ExpressionError) return { problem: `compilation failed: ${error.message}` };
    throw error;
  }
}

/** The outcome of an evaluation. */
export type Outcome = { readonly value: Value } | { readonly failure: string };

/** Evaluates expressions about one write, together within one budget. */
export interface Evaluator {
  evaluate(expression: Prepared, source: string): Outcome;
}

/**
 * What expressions about one write see. `variables`: of a policy, evaluated when they are asked for.
 * @public Loaded when it is needed (policies.ts, webhooks.ts).
 */
export function createEvaluator(options: {
  readonly request: AdmissionRequest;
  /** The version in which the object is shown. */
  readonly kind: Kind;
  readonly params?: KubeObject | undefined;
  readonly variables?: ReadonlyMap<string, { readonly source: string; readonly expression: Prepared }>;
  readonly ask?: Ask;
}): Evaluator {
  const { request, kind, params, variables, ask } = options;
  const shown = (object: KubeObject | undefined): Value =>
    object === undefined ? null : valueOf(shownObject(object, request, kind));
  let left: number = costLimits.object;
  const values = new Map<string, Value | undefined>();
  const makers: { readonly [name: string]: () => Value | undefined } = {
    object: () => shown(request.operation === "delete" ? undefined : request.object),
    oldObject: () => shown(request.previous),
    request: () => valueOf(reviewRequest(request, kind), requestType),
    namespaceObject: () => namespaceValue(request),
    params: () => (params === undefined ? null : valueOf(params)),
    authorizer: () => (ask === undefined ? undefined : question(authorizer, { ask })),
    "authorizer.requestResource": () =>
      ask === undefined ? undefined : question(resourceCheck, requested(request, ask)),
    variables: () =>
      new CelObject(
        "kubernetes.variables",
        new Map(
          [...(variables ?? [])].map(([name, { source, expression }]) => [
            name,
            () => variableValue(source, expression),
          ]),
        ),
      ),
  };
  const activation: Activation = (name) => {
    if (!values.has(name)) values.set(name, Object.hasOwn(makers, name) ? makers[name]?.() : undefined);
    return values.get(name);
  };
  const run = (expression: Compiled): Value => {
    const meter = createMeter(Math.min(costLimits.call, left));
    try {
      return expression.program(activation, meter);
    } finally {
      left -= meter.spent;
    }
  };
  function variableValue(source: string, expression: Prepared): Value {
    if ("problem" in expression)
      throw new EvaluationError(
        `composited variable ${JSON.stringify(source)} fails to compile: ${expression.problem}`,
      );
    return run(expression);
  }
  return {
    evaluate(expression, source) {
      if ("problem" in expression) return { failure: expression.problem };
      try {
        return { value: run(expression) };
      } catch (error) {
        if (error instanceof EvaluationError)
          return { failure: `expression '${source}' resulted in error: ${error.message}` };
        if (error instanceof CostError)
          return {
            failure: `validation failed due to running out of cost budget, no further validation rules will be run`,
          };
        throw error;
      }
    },
  };
}

/** An object as those who are asked about it see it. Options of a stream have no name. */
export function shownObject(object: KubeObject, { operation }: AdmissionRequest, kind: Kind): KubeObject {
  if (operation !== "connect") return fromStored(object, kind);
  const { metadata: _, ...options } = object;
  return options as KubeObject;
}

/** The question about the very thing that is written. */
function requested({ object, kind, actor }: AdmissionRequest, ask: Ask): Question {
  const { name, namespace } = object.metadata;
  const { subresource } = actor;
  return {
    ask,
    group: kind.group,
    resource: kind.resource,
    name,
    ...(namespace === undefined ? {} : { namespace }),
    ...(subresource === undefined ? {} : { subresource }),
  };
}

/** admission/v1 AdmissionRequest without its objects, as expressions and webhooks get it. */
export function reviewRequest(request: AdmissionRequest, kind: Kind): { readonly [field: string]: unknown } {
  const { object, actor } = request;
  const isStream = request.operation === "connect";
  const kindOf = ({ group, version, kind: name }: Kind): object => ({
    group,
    version,
    kind: isStream ? object.kind : name,
  });
  const resourceOf = ({ group, version, resource }: Kind): object => ({ group, version, resource });
  const { subresource = "" } = actor;
  const { username, groups, uid, extra } = actor;
  return {
    kind: kindOf(kind),
    resource: resourceOf(kind),
    ...(subresource === "" ? {} : { subResource: subresource }),
    requestKind: kindOf(request.kind),
    requestResource: resourceOf(request.kind),
    ...(subresource === "" ? {} : { requestSubResource: subresource }),
    name: object.metadata.name,
    ...(object.metadata.namespace === undefined
      ? kind.group === "" && kind.resource === "namespaces"
        ? { namespace: object.metadata.name }
        : {}
      : { namespace: object.metadata.namespace }),
    operation: operationOf(request),
    userInfo: { username, groups, ...(uid === undefined ? {} : { uid }), ...(extra === undefined ? {} : { extra }) },
    dryRun: actor.dryRun ?? false,
    options: optionsOf(request),
  };
}

function optionsOf({ operation, actor }: AdmissionRequest): object | null {
  if (operation === "connect") return null;
  return actor.options ?? { kind: optionKinds[operation], apiVersion: "meta.k8s.io/v1" };
}

const optionKinds = { create: "CreateOptions", update: "UpdateOptions", delete: "DeleteOptions" } as const;

function namespaceValue(request: AdmissionRequest): Value {
  if (request.kind.group === "" && request.kind.resource === "namespaces") return null;
  const namespace = namespaceOf(request);
  return namespace === undefined ? null : valueOf(namespace, namespaceType);
}
