// Who is who and who may do what, wired over one store: the parts that the API server, the write path and the kubelets need of it.
//
// Not here: any of the parts (authn*.ts, authz*.ts, rbac*.ts, tokens*.ts).

import { createRequire } from "node:module";
import type { Ask } from "../api/admission/expressions.ts";
import type { Admission, AdmissionRequest, ObjectApi } from "../api/api.ts";
import type { Store } from "../api/store.ts";
import type { TokenRequest } from "../pods/volumes.ts";
import { createAuthenticate } from "./authn.ts";
import { createAuthorize } from "./authz.ts";
import { pathTarget, resourceTarget } from "./authz-target.ts";
import type { Answer, Authenticate, Authorize, Guard, User } from "./hooks.ts";
import { startRoleAggregation } from "./rbac-aggregation.ts";
import { ensureDefaultPolicy } from "./rbac-policy.ts";
import { createRbac } from "./rbac.ts";
import type { Certificates } from "./tls.ts";
import { createTokens, type Tokens } from "./tokens.ts";

/** What only some requests need is loaded with the first of them. */
const load = createRequire(import.meta.url);
const accounts = (): typeof import("./authn-accounts.ts") =>
  load("./authn-accounts.ts") as typeof import("./authn-accounts.ts");
const discovery = (): typeof import("./authn-discovery.ts") =>
  load("./authn-discovery.ts") as typeof import("./authn-discovery.ts");
const guards = (): typeof import("./authz-guard.ts") => load("./authz-guard.ts") as typeof import("./authz-guard.ts");
const reviews = (): typeof import("./authz-reviews.ts") =>
  load("./authz-reviews.ts") as typeof import("./authz-reviews.ts");

/** The resources whose creation is a question (authz-reviews.ts). */
const reviewNames = [
  "tokenreviews.authentication.k8s.io",
  "selfsubjectreviews.authentication.k8s.io",
  "selfsubjectaccessreviews.authorization.k8s.io",
  "subjectaccessreviews.authorization.k8s.io",
  "localsubjectaccessreviews.authorization.k8s.io",
  "selfsubjectrulesreviews.authorization.k8s.io",
  "serviceaccounts/token",
] as const;
export type ReviewName = (typeof reviewNames)[number];

export interface Access {
  readonly tokens: Tokens;
  /** For createObjectApi: before validation, behind the defaults. */
  readonly admission: Admission;
  /** May a user do something? Nobody may before the start. */
  readonly authorize: Authorize;
  /** For expressions of policies: may who makes a request, or a ServiceAccount, do something? Nobody may before the start. */
  readonly askAs: (request: AdmissionRequest) => Ask;
  /** For kubelets (KubeletOptions.serviceAccountToken). */
  readonly podToken: (request: TokenRequest) => string;
  /** Needs the namespaces kube-system and kube-public; brings the default roles. */
  start(api: ObjectApi): RunningAccess;
}

/** What the API server is started with (ApiServerOptions). */
export interface RunningAccess {
  readonly authenticate: Authenticate;
  readonly authorize: Authorize;
  readonly guard: Guard;
  readonly answers: { readonly [resource: string]: Answer };
  /** Public documents outside of the resources: OpenID Connect discovery. */
  readonly document: (path: string) => { readonly contentType: string; readonly body: string } | undefined;
  stop(): void;
}

/** Prepares access over a store. `domain`: the cluster's, such as cluster.local. */
export function openAccess(options: {
  readonly store: Pick<Store, "get">;
  readonly certificates: Pick<Certificates, "authority" | "tokenKey">;
  readonly domain: string;
  readonly clock?: () => number;
}): Access {
  const { store, certificates, domain, clock = Date.now } = options;
  const tokens = createTokens({
    key: certificates.tokenKey,
    api: store,
    issuer: `https://kubernetes.default.svc.${domain}`,
    clock,
  });
  let authorizer: Authorize | undefined;
  let admission: Admission | undefined;
  const authorizeLate: Authorize = (user, target) => authorizer?.(user, target) ?? { allowed: false };
  return {
    tokens,
    authorize: authorizeLate,
    askAs:
      ({ actor }) =>
      ({ account, path, verb, ...asked }) => {
        const user = account === undefined ? actor : accountUser(account);
        const target =
          path === undefined
            ? resourceTarget({ verb, group: asked.group ?? "", resource: asked.resource ?? "", ...asked })
            : pathTarget(verb, path);
        return authorizeLate(user, target);
      },
    admission: (request) => {
      admission ??= accounts().serviceAccountAdmission({ tokens, rootCa: certificates.authority });
      return admission(request);
    },
    podToken: tokens.podToken,
    start(api) {
      ensureDefaultPolicy(api);
      const aggregation = startRoleAggregation(api);
      const rbac = createRbac(api);
      const authorize = createAuthorize(api, rbac);
      authorizer = authorize;
      return {
        authenticate: createAuthenticate({ tokens, authorize }),
        authorize,
        guard: lateGuard(() => guards().createGuard({ api, authorize, rbac })),
        answers: lateAnswers(() => reviews().createReviews({ api, tokens, authorize, rbac })),
        document: (path) => discovery().openIdDocument(tokens, path),
        stop() {
          aggregation.stop();
          rbac.close();
        },
      };
    },
  };
}

function lateGuard(create: () => Guard): Guard {
  let guard: Guard | undefined;
  return (write) => (guard ??= create())(write);
}

function lateAnswers(create: () => { readonly [Name in ReviewName]: Answer }): RunningAccess["answers"] {
  let answers: { readonly [Name in ReviewName]: Answer } | undefined;
  return Object.fromEntries(
    reviewNames.map((name): [string, Answer] => [name, (request) => (answers ??= create())[name](request)]),
  );
}

/** A ServiceAccount as a user: `system:serviceaccount:NAMESPACE:NAME`. */
function accountUser(username: string): User {
  const [, , namespace = ""] = username.split(":");
  return {
    username,
    groups: ["system:serviceaccounts", `system:serviceaccounts:${namespace}`, "system:authenticated"],
  };
}
