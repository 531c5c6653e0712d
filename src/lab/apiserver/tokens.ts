// ServiceAccount tokens: what is in them, when they are good, and the projected ones that pods carry.
// Upstream: pkg/serviceaccount claims.go and legacy.go, pkg/registry/core/serviceaccount/storage/token.go, KEP-1205.
//
// Not here: signatures (tokens-jwt.ts), who else may knock (authn.ts).

import { randomUUID, type KeyObject } from "node:crypto";
import type { Secret, ServiceAccount } from "../../kube/kinds.ts";
import type { KubeObject } from "../../kube/object.ts";
import type { ObjectApi } from "../api/api.ts";
import { ConfigError } from "../pods/errors.ts";
import type { TokenRequest } from "../pods/volumes.ts";
import type { User } from "./hooks.ts";
import { keyIdOf, publicOf, signJwt, unverifiedClaims, verifyJwt, type Claims } from "./tokens-jwt.ts";

/** What a token is tied to: it ends with this object. */
export interface TokenBinding {
  readonly kind: "Pod" | "Secret" | "Node";
  readonly name: string;
  readonly uid: string;
}

export interface Tokens {
  readonly issuer: string;
  /** The audience of the API server itself, meant where none is named. */
  readonly audience: string;
  readonly key: KeyObject;
  /** Makes a token. `warnAfterSeconds`: clients ought to have a new one by then. */
  issue(token: {
    readonly account: ServiceAccount;
    readonly audiences: readonly string[];
    readonly seconds: number;
    readonly warnAfterSeconds?: number;
    readonly bound?: TokenBinding;
    /** The node of a bound pod. */
    readonly node?: { readonly name: string; readonly uid?: string };
  }): { readonly token: string; readonly expires: number };
  /** Makes a token without end, for a Secret of type kubernetes.io/service-account-token. */
  issueLegacy(account: ServiceAccount, secret: { readonly name: string }): string;
  /**
   * The user of a token and those of `audiences` it is for. Throws TokenError where it is one of ours and not good (any more);
   * undefined where it is none of ours.
   */
  check(
    token: string,
    audiences: readonly string[],
  ): { readonly user: User; readonly audiences: readonly string[] } | undefined;
  /** The token a projected volume holds: the same until four fifths of its time are over, or a day. Throws ConfigError where there is no such account. */
  podToken(request: TokenRequest): string;
}

/** A token that is refused; the message says why. */
export class TokenError extends Error {
  override readonly name = "TokenError";
}

export function createTokens(options: {
  readonly key: KeyObject;
  readonly api: Pick<ObjectApi, "get">;
  /** `https://kubernetes.default.svc.cluster.local` */
  readonly issuer: string;
  readonly clock?: () => number;
}): Tokens {
  const { key, api, issuer, clock = Date.now } = options;
  const audience = issuer;
  const keyId = keyIdOf(key);
  const publicKey = publicOf(key);
  const seconds = (): number => Math.floor(clock() / 1000);

  const issue: Tokens["issue"] = ({ account, audiences, seconds: lifetime, warnAfterSeconds, bound, node }) => {
    const now = seconds();
    const { namespace = "", name, uid = "" } = account.metadata;
    const reference = bound && { name: bound.name, uid: bound.uid };
    const claims = {
      aud: audiences.length === 0 ? [audience] : audiences,
      exp: now + lifetime,
      iat: now,
      iss: issuer,
      jti: randomUUID(),
      "kubernetes.io": {
        namespace,
        ...(node !== undefined && bound?.kind === "Pod" && { node }),
        ...(bound && { [bound.kind.toLowerCase()]: reference }),
        serviceaccount: { name, uid },
        ...(warnAfterSeconds !== undefined && { warnafter: now + warnAfterSeconds }),
      },
      nbf: now,
      sub: accountUser(namespace, name),
    };
    return { token: signJwt(claims, key, keyId), expires: (now + lifetime) * 1000 };
  };

  /** Not with every token: a thousand pods may start at once. */
  let sweepAt = 0;
  const projected = new Map<string, { readonly token: string; readonly expires: number; readonly renew: number }>();

  return {
    issuer,
    audience,
    key,
    issue,
    issueLegacy: (account, secret) =>
      signJwt(
        {
          iss: legacyIssuer,
          [`${legacyPrefix}/namespace`]: account.metadata.namespace,
          [`${legacyPrefix}/secret.name`]: secret.name,
          [`${legacyPrefix}/service-account.name`]: account.metadata.name,
          [`${legacyPrefix}/service-account.uid`]: account.metadata.uid,
          sub: accountUser(account.metadata.namespace ?? "", account.metadata.name),
        },
        key,
        keyId,
      ),
    check(token, audiences) {
      const issued = unverifiedClaims(token)?.["iss"];
      if (issued !== issuer && issued !== legacyIssuer) return undefined;
      const claims = verifyJwt(token, publicKey, keyId);
      if (claims === undefined) throw new TokenError("invalid bearer token: the signature is not ours");
      return issued === issuer
        ? checkBound(api, claims, { now: seconds(), audiences })
        : checkLegacy(api, claims, { token, audiences, audience });
    },
    podToken(request) {
      const { namespace, serviceAccount, pod, expirationSeconds, audience: wanted } = request;
      const account = accountOf(api, namespace, serviceAccount);
      if (account === undefined)
        throw new ConfigError(`failed to fetch token: serviceaccounts "${serviceAccount}" not found`);
      const now = clock();
      const id = [pod.metadata.uid, account.metadata.uid, wanted, expirationSeconds].join(" ");
      const kept = projected.get(id);
      if (kept !== undefined && kept.renew > now) return kept.token;
      if (now >= sweepAt) {
        for (const [other, { expires }] of projected) if (expires <= now) projected.delete(other);
        sweepAt = now + sweepMs;
      }
      const node = pod.spec.nodeName;
      const made = issue({
        account,
        audiences: wanted === undefined ? [] : [wanted],
        ...lifetimeOf(expirationSeconds, wanted === undefined || wanted === audience),
        bound: { kind: "Pod", name: pod.metadata.name, uid: pod.metadata.uid ?? "" },
        ...(node !== undefined && { node: nodeReference(api, node) }),
      });
      // pkg/kubelet/token: renewed at 80 % of what was asked for, after a day at the latest.
      const renew = now + Math.min(expirationSeconds * 800, dayMs);
      projected.set(id, { token: made.token, expires: renew + dayMs, renew });
      return made.token;
    },
  };
}

/** The user name of a ServiceAccount. */
export function accountUser(namespace: string, name: string): string {
  return `system:serviceaccount:${namespace}:${name}`;
}

/** The groups of every ServiceAccount of a namespace, beside system:authenticated. */
export function accountGroups(namespace: string): readonly string[] {
  return ["system:serviceaccounts", `system:serviceaccounts:${namespace}`];
}

/** The name and uid of a node as tokens of its pods carry them. */
export function nodeReference(
  api: Pick<ObjectApi, "get">,
  name: string,
): { readonly name: string; readonly uid?: string } {
  const uid = api.get({ group: "", resource: "nodes", name })?.metadata.uid;
  return { name, ...(uid !== undefined && { uid }) };
}

/**
 * How long a token really is good. pkg/registry/core/serviceaccount/storage/token.go: the automatic volume asks for 3607 seconds, and gets
 * a year with a warning after those, for clients that never read the file again.
 */
export function lifetimeOf(
  asked: number,
  isForApiServer: boolean,
): { readonly seconds: number; readonly warnAfterSeconds?: number } {
  return asked === automaticSeconds && isForApiServer
    ? { seconds: yearSeconds, warnAfterSeconds: automaticSeconds }
    : { seconds: asked };
}

/** What the automatic token volume of pods asks for: an hour and seven seconds, so that it can be told from an hour. */
export const automaticSeconds = 3607;
const yearSeconds = 365 * 24 * 3600;
const sweepMs = 60_000;
const dayMs = 24 * 3600 * 1000;
const legacyIssuer = "kubernetes/serviceaccount";
const legacyPrefix = "kubernetes.io/serviceaccount";
/** pkg/serviceaccount: a deleted object's tokens stay good for this long. */
const leewayMs = 60_000;

interface PrivateClaims {
  readonly namespace?: string;
  readonly serviceaccount?: { readonly name?: string; readonly uid?: string };
  readonly pod?: { readonly name?: string; readonly uid?: string };
  readonly secret?: { readonly name?: string; readonly uid?: string };
  readonly node?: { readonly name?: string; readonly uid?: string };
}

function checkBound(
  api: Pick<ObjectApi, "get">,
  claims: Claims,
  { now, audiences }: { readonly now: number; readonly audiences: readonly string[] },
): { readonly user: User; readonly audiences: readonly string[] } {
  const matching = [claims["aud"]].flat().filter((one): one is string => audiences.includes(one as string));
  if (matching.length === 0)
    throw new TokenError(
      `token audiences ${JSON.stringify([claims["aud"]].flat())} is invalid for the target audiences ${JSON.stringify(audiences)}`,
    );
  if (!(Number(claims["exp"]) > now)) throw new TokenError("service account token has expired");
  if (!(Number(claims["nbf"] ?? 0) <= now)) throw new TokenError("service account token is not valid yet");
  const parts = (claims["kubernetes.io"] ?? {}) as PrivateClaims;
  const { namespace = "", serviceaccount, pod, secret, node } = parts;
  const account = liveAccount(api, namespace, serviceaccount?.name, serviceaccount?.uid);
  if (claims["sub"] !== accountUser(namespace, account.metadata.name))
    throw new TokenError("subject does not match the service account");
  const nowMs = now * 1000;
  if (secret !== undefined) mustLive(api, "Secret", { namespace, ...secret }, nowMs);
  if (pod !== undefined) mustLive(api, "Pod", { namespace, ...pod }, nowMs);
  // A pod's node is told, not asked for: the pod ends before it.
  if (node !== undefined && pod === undefined) mustLive(api, "Node", node, nowMs);
  return {
    audiences: matching,
    user: userOf(account, {
      ...(claims["jti"] !== undefined && {
        "authentication.kubernetes.io/credential-id": [`JTI=${claims["jti"] as string}`],
      }),
      ...(pod?.name !== undefined && { "authentication.kubernetes.io/pod-name": [pod.name] }),
      ...(pod?.uid !== undefined && { "authentication.kubernetes.io/pod-uid": [pod.uid] }),
      ...(node?.name !== undefined && { "authentication.kubernetes.io/node-name": [node.name] }),
      ...(node?.uid !== undefined && { "authentication.kubernetes.io/node-uid": [node.uid] }),
    }),
  };
}

function checkLegacy(
  api: Pick<ObjectApi, "get">,
  claims: Claims,
  options: { readonly token: string; readonly audiences: readonly string[]; readonly audience: string },
): { readonly user: User; readonly audiences: readonly string[] } {
  if (!options.audiences.includes(options.audience)) throw new TokenError("token is not for these audiences");
  const claim = (name: string): string => {
    const value = claims[`${legacyPrefix}/${name}`];
    return typeof value === "string" ? value : "";
  };
  const namespace = claim("namespace");
  const account = liveAccount(api, namespace, claim("service-account.name"), claim("service-account.uid"));
  const secret = api.get({ group: "", resource: "secrets", namespace, name: claim("secret.name") }) as
    | Secret
    | undefined;
  if (secret === undefined || secret.metadata.deletionTimestamp !== undefined)
    throw new TokenError("service account token has been invalidated");
  if (Buffer.from(secret.data?.["token"] ?? "", "base64").toString("utf8") !== options.token)
    throw new TokenError("service account token has been invalidated: the Secret holds another");
  return { user: userOf(account, undefined), audiences: [options.audience] };
}

function userOf(account: ServiceAccount, extra: User["extra"]): User {
  const { namespace = "", name, uid } = account.metadata;
  return {
    username: accountUser(namespace, name),
    ...(uid !== undefined && { uid }),
    groups: [...accountGroups(namespace), "system:authenticated"],
    ...(extra !== undefined && { extra }),
  };
}

function accountOf(api: Pick<ObjectApi, "get">, namespace: string, name: string): ServiceAccount | undefined {
  return api.get({ group: "", resource: "serviceaccounts", namespace, name }) as ServiceAccount | undefined;
}

function liveAccount(
  api: Pick<ObjectApi, "get">,
  namespace: string,
  name: string | undefined,
  uid: string | undefined,
): ServiceAccount {
  const account = accountOf(api, namespace, name ?? "");
  if (account === undefined) throw new TokenError(`serviceaccounts "${name ?? ""}" not found`);
  if (account.metadata.uid !== uid) throw new TokenError("service account UID does not match claim");
  return account;
}

function mustLive(
  api: Pick<ObjectApi, "get">,
  kind: TokenBinding["kind"],
  wanted: { readonly namespace?: string; readonly name?: string; readonly uid?: string },
  nowMs: number,
): void {
  const { namespace, name = "", uid } = wanted;
  const key = { group: "", resource: `${kind.toLowerCase()}s`, name };
  const object: KubeObject | undefined = api.get(namespace === undefined ? key : { ...key, namespace });
  if (object === undefined || object.metadata.uid !== uid)
    throw new TokenError(`service account token has been invalidated: ${kind} ${name} is gone`);
  const { deletionTimestamp } = object.metadata;
  if (deletionTimestamp !== undefined && Date.parse(deletionTimestamp) + leewayMs < nowMs)
    throw new TokenError(`service account token has been invalidated: ${kind} ${name} is being deleted`);
}
