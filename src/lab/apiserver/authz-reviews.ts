// Questions about users and permissions, answered: TokenReview, SelfSubjectReview, the access reviews, and TokenRequest.
// Upstream: pkg/registry/{authentication,authorization}, pkg/registry/core/serviceaccount/storage/token.go.

import type { Pod, ServiceAccount } from "../../kube/kinds.ts";
import type { KubeObject } from "../../kube/object.ts";
import { invalid as invalidField, problemText, type FieldProblem } from "../../kube/problem.ts";
import type { ObjectApi } from "../api/api.ts";
import { badRequest, conflict, notFound } from "../api/errors.ts";
import { StatusError } from "../api/store.ts";
import type { ReviewName } from "./access.ts";
import { pathTarget, resourceTarget } from "./authz-target.ts";
import type { Answer, Authorize, User } from "./hooks.ts";
import type { Rbac } from "./rbac.ts";
import type { PolicyRule } from "./rbac-rules.ts";
import type { Target } from "./target.ts";
import { lifetimeOf, nodeReference, TokenError, type TokenBinding, type Tokens } from "./tokens.ts";

/**
 * The answers, by resource (ApiServerOptions.answers).
 * @public Loaded when it is needed (access.ts).
 */
export function createReviews(options: {
  readonly api: Pick<ObjectApi, "get">;
  readonly tokens: Tokens;
  readonly authorize: Authorize;
  readonly rbac: Rbac;
}): { readonly [Name in ReviewName]: Answer } {
  const { api, tokens, authorize, rbac } = options;
  const access = (object: KubeObject, user: User, target: Target): KubeObject => {
    const { allowed, reason } = authorize(user, target);
    return withStatus(object, { allowed, ...(reason !== undefined && { reason }) });
  };
  /** What is asked of another user is looked at as a whole, before it is answered. */
  const ofAnother = (object: KubeObject, namespace?: string): KubeObject => {
    const problems = [...askedProblems(object, namespace), ...userProblems(object), ...metadataProblems(object)];
    if (problems.length > 0) throw invalid(object, problems);
    const { user = "", uid, groups = [], extra } = (object["spec"] ?? {}) as AccessSpec;
    const asUser = { username: user, groups, ...(uid !== undefined && { uid }), ...(extra !== undefined && { extra }) };
    return access(object, asUser, askedTarget(object));
  };
  return {
    "tokenreviews.authentication.k8s.io": ({ object }) => reviewToken(tokens, object),
    "selfsubjectreviews.authentication.k8s.io": ({ object, user }) => withStatus(object, { userInfo: userInfo(user) }),
    "selfsubjectaccessreviews.authorization.k8s.io": ({ object, user }) => {
      const problems = [...askedProblems(object), ...metadataProblems(object)];
      if (problems.length > 0) throw invalid(object, problems);
      return access(object, user, askedTarget(object));
    },
    "subjectaccessreviews.authorization.k8s.io": ({ object }) => ofAnother(object),
    "localsubjectaccessreviews.authorization.k8s.io": ({ object, target: { namespace = "" } }) => {
      const answer = ofAnother(object, namespace);
      return { ...answer, metadata: { ...answer.metadata, namespace } };
    },
    "selfsubjectrulesreviews.authorization.k8s.io": ({ object, user }) => reviewRules(rbac, object, user),
    "serviceaccounts/token": ({ object, parent, target }) =>
      requestToken(api, tokens, parent as ServiceAccount, object, target),
  };
}

function withStatus(object: KubeObject, status: object): KubeObject {
  return { ...object, status };
}

function userInfo({ username, uid, groups, extra }: User): object {
  return { username, ...(uid !== undefined && { uid }), groups, ...(extra !== undefined && { extra }) };
}

function reviewToken(tokens: Tokens, object: KubeObject): KubeObject {
  const { token = "", audiences } = (object["spec"] ?? {}) as {
    readonly token?: string;
    readonly audiences?: readonly string[];
  };
  if (token === "") throw badRequest("token is required for TokenReview in authentication");
  const wanted = audiences === undefined || audiences.length === 0 ? [tokens.audience] : audiences;
  try {
    const found = tokens.check(token, wanted);
    if (found === undefined) return withStatus(object, { user: {}, error: "invalid bearer token" });
    return withStatus(object, { authenticated: true, user: userInfo(found.user), audiences: found.audiences });
  } catch (error) {
    if (!(error instanceof TokenError)) throw error;
    return withStatus(object, { user: {}, error: error.message });
  }
}

interface AccessSpec {
  readonly user?: string;
  readonly uid?: string;
  readonly groups?: readonly string[];
  readonly extra?: User["extra"];
  readonly resourceAttributes?: { readonly [field: string]: string | undefined };
  readonly nonResourceAttributes?: { readonly path?: string; readonly verb?: string };
}

/** What is wrong with what is asked about: it must be exactly one thing (pkg/apis/authorization/validation). */
function askedProblems(object: KubeObject, namespace?: string): readonly FieldProblem[] {
  const { resourceAttributes: resource, nonResourceAttributes: path } = (object["spec"] ?? {}) as AccessSpec;
  const found: FieldProblem[] = [];
  const exactlyOne = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
  if (resource !== undefined && path !== undefined)
    found.push(
      invalidField("spec.nonResourceAttributes", path, "cannot be specified in combination with resourceAttributes"),
    );
  if (resource === undefined && path === undefined)
    found.push(invalidField("spec.resourceAttributes", resource, exactlyOne));
  if (namespace === undefined) return found;
  if (resource !== undefined && (resource["namespace"] ?? "") !== namespace)
    found.push(
      invalidField("spec.resourceAttributes.namespace", resource["namespace"] ?? "", "must match metadata.namespace"),
    );
  if (path !== undefined)
    found.push(invalidField("spec.nonResourceAttributes", path, "disallowed on this kind of request"));
  return found;
}

function userProblems(object: KubeObject): readonly FieldProblem[] {
  const { user = "", groups = [] } = (object["spec"] ?? {}) as AccessSpec;
  if (user !== "" || groups.length > 0) return [];
  return [invalidField("spec.user", user, "at least one of user or group must be specified")];
}

/** A question has no name and no labels. */
function metadataProblems(object: KubeObject): readonly FieldProblem[] {
  const { namespace: _, managedFields: __, creationTimestamp: ___, ...metadata } = object.metadata ?? {};
  const isEmpty = Object.values(metadata).every((value) => value === undefined || value === "");
  return isEmpty ? [] : [invalidField("metadata", metadata, "must be empty")];
}

/** What an access review asks about, which is known to be one thing. */
function askedTarget(object: KubeObject): Target {
  const { resourceAttributes: resource = {}, nonResourceAttributes: path } = (object["spec"] ?? {}) as AccessSpec;
  if (path !== undefined) return pathTarget(path.verb ?? "", path.path ?? "");
  const {
    verb = "",
    group = "",
    version = "",
    resource: name = "",
    subresource,
    namespace,
    name: objectName,
  } = resource;
  return resourceTarget({
    verb,
    group,
    version,
    resource: name,
    ...(subresource !== undefined && { subresource }),
    ...(namespace !== undefined && { namespace }),
    ...(objectName !== undefined && { name: objectName }),
  });
}

function reviewRules(rbac: Rbac, object: KubeObject, user: User): KubeObject {
  const { namespace = "" } = (object["spec"] ?? {}) as { readonly namespace?: string };
  if (namespace === "") throw badRequest("no namespace on request");
  const { rules, problems } = rbac.rulesOf(user, namespace);
  const pick = ({ verbs, apiGroups, resources, resourceNames }: PolicyRule): object => ({
    verbs,
    apiGroups,
    resources,
    ...(resourceNames !== undefined && { resourceNames }),
  });
  // What was asked is not repeated.
  return withStatus(
    { ...object, spec: {} },
    {
      resourceRules: rules.filter(({ resources = [] }) => resources.length > 0).map(pick),
      nonResourceRules: rules
        .filter(({ nonResourceURLs = [] }) => nonResourceURLs.length > 0)
        .map(({ verbs, nonResourceURLs }) => ({ verbs, nonResourceURLs })),
      incomplete: false,
      ...(problems.length > 0 && { evaluationError: problems.join(", ") }),
    },
  );
}

const hourSeconds = 3600;
/** pkg/apis/authentication/validation: ten minutes at least, 2^32 seconds at most. */
const lifetimeSeconds = { least: 600, most: 2 ** 32 };

function requestToken(
  api: Pick<ObjectApi, "get">,
  tokens: Tokens,
  account: ServiceAccount,
  object: KubeObject,
  target: Target,
): KubeObject {
  const spec = (object["spec"] ?? {}) as {
    readonly audiences?: readonly string[];
    readonly expirationSeconds?: number | null;
    readonly boundObjectRef?: {
      readonly apiVersion?: string;
      readonly kind?: string;
      readonly name?: string;
      readonly uid?: string;
    };
  };
  const asked = spec.expirationSeconds ?? hourSeconds;
  const problems: FieldProblem[] = [];
  if (asked < lifetimeSeconds.least)
    problems.push(
      problem(
        "spec.expirationSeconds",
        "FieldValueInvalid",
        `Invalid value: ${asked}: may not specify a duration less than 10 minutes`,
      ),
    );
  if (asked > lifetimeSeconds.most)
    problems.push(
      problem(
        "spec.expirationSeconds",
        "FieldValueInvalid",
        `Invalid value: ${asked}: may not specify a duration larger than 2^32 seconds`,
      ),
    );
  if (problems.length > 0) throw invalid(object, problems);
  const { name, namespace = "" } = account.metadata;
  if (target.name !== undefined && target.name !== name)
    throw badRequest("the name in the URL is not the ServiceAccount's");
  const reference = spec.boundObjectRef;
  const bound = reference === undefined ? undefined : boundObject(api, account, reference);
  const pod =
    bound?.kind === "Pod"
      ? (api.get({ group: "", resource: "pods", namespace, name: bound.name }) as Pod | undefined)
      : undefined;
  const audiences = spec.audiences === undefined || spec.audiences.length === 0 ? [tokens.audience] : spec.audiences;
  const { token, expires } = tokens.issue({
    account,
    audiences,
    ...lifetimeOf(asked, audiences.length === 1 && audiences[0] === tokens.audience),
    ...(bound !== undefined && { bound }),
    ...(pod?.spec.nodeName !== undefined && { node: nodeReference(api, pod.spec.nodeName) }),
  });
  // With the long-lived token of an automatic volume, clients are told the short life.
  const told = Math.min(expires, Date.now() + asked * 1000);
  return {
    ...object,
    metadata: { ...object.metadata, name, namespace, creationTimestamp: timeText(Date.now()) },
    spec: { ...spec, audiences, expirationSeconds: asked },
    status: { token, expirationTimestamp: timeText(told) },
  };
}

function boundObject(
  api: Pick<ObjectApi, "get">,
  account: ServiceAccount,
  reference: { readonly apiVersion?: string; readonly kind?: string; readonly name?: string; readonly uid?: string },
): TokenBinding {
  const { kind = "", apiVersion, name = "", uid = "" } = reference;
  const { namespace = "" } = account.metadata;
  if ((apiVersion !== "v1" && apiVersion !== undefined) || (kind !== "Pod" && kind !== "Secret" && kind !== "Node"))
    throw badRequest(
      `cannot bind token for serviceaccount "${account.metadata.name}" to type ${apiVersion ?? ""}, Kind=${kind}`,
    );
  const resource = `${kind.toLowerCase()}s`;
  const key = { group: "", resource, name, ...(kind !== "Node" && { namespace }) };
  const object = api.get(key);
  if (object === undefined) throw notFound(key);
  if (uid !== "" && uid !== object.metadata.uid)
    throw conflict(
      key,
      `the UID in the bound object reference (${uid}) does not match the UID in record. The object might have been deleted and then recreated`,
    );
  if (kind === "Pod" && (object as Pod).spec.serviceAccountName !== account.metadata.name)
    throw badRequest(
      `cannot bind token for serviceaccount ${JSON.stringify(account.metadata.name)} to pod running with different serviceaccount name.`,
    );
  return { kind, name, uid: object.metadata.uid ?? "" };
}

function problem(field: string, reason: FieldProblem["reason"], message: string): FieldProblem {
  return { field, reason, message };
}

function invalid({ kind, apiVersion, metadata }: KubeObject, problems: readonly FieldProblem[]): StatusError {
  const group = apiVersion.slice(0, Math.max(0, apiVersion.indexOf("/")));
  // Access reviews call themselves nothing.
  const named = kind.endsWith("AccessReview") ? "" : kind;
  const texts = problems.map(problemText);
  const text = texts.length === 1 ? texts[0] : `[${texts.join(", ")}]`;
  return new StatusError(
    422,
    "Invalid",
    `${named}.${group} ${JSON.stringify(metadata?.name ?? "")} is invalid: ${text}`,
    { ...(named !== "" && { kind }), group, causes: problems },
  );
}

function timeText(timeMs: number): string {
  return `${new Date(timeMs).toISOString().slice(0, 19)}Z`;
}
