// Who makes a request: a client certificate of the lab's authority, a ServiceAccount's token, nobody in particular; and who they say they act for.
// Upstream: apiserver authentication/request (x509, bearertoken, websocket, anonymous) and endpoints/filters/impersonation.go.
//
// Not here: what they may do (authz.ts), tokens' contents (tokens.ts).

import { createHash } from "node:crypto";
import type { IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import { TLSSocket } from "node:tls";
import { StatusError } from "../api/store.ts";
import { forbidden, resourceTarget } from "./authz-target.ts";
import type { Authenticate, Authorize, User } from "./hooks.ts";
import { accountGroups, TokenError, type Tokens } from "./tokens.ts";

/**
 * Says who makes a request. The server must ask clients for certificates without refusing those it cannot verify
 * (`requestCert: true, rejectUnauthorized: false, ca`). Throws StatusError 401 for credentials that are there and wrong,
 * 403 for impersonation that is not allowed.
 */
export function createAuthenticate(options: { readonly tokens: Tokens; readonly authorize: Authorize }): Authenticate {
  const { tokens, authorize } = options;
  return (request) => {
    const user = certificateUser(request.socket) ?? tokenUser(tokens, request) ?? anonymous;
    return impersonated(user, request, authorize);
  };
}

/** Who comes without credentials. */
export const anonymous: User = { username: "system:anonymous", groups: ["system:unauthenticated"] };

/** 401 in the API's words. */
export function unauthorized(): StatusError {
  return new StatusError(401, "Unauthorized", "Unauthorized");
}

const certificateUsers = new WeakMap<Socket, User | "none">();

/** The user of the connection's client certificate; read once a connection. */
function certificateUser(socket: Socket): User | undefined {
  let user = certificateUsers.get(socket);
  if (user === undefined) certificateUsers.set(socket, (user = readCertificate(socket) ?? "none"));
  return user === "none" ? undefined : user;
}

function readCertificate(socket: Socket): User | undefined {
  if (!(socket instanceof TLSSocket)) return undefined;
  const { subject, raw } = socket.getPeerCertificate();
  if (raw === undefined) return undefined;
  if (!socket.authorized) throw unauthorized();
  const { CN: name, O: organizations } = subject as { readonly CN?: string | string[]; readonly O?: string | string[] };
  const username = [name ?? []].flat().at(-1);
  if (username === undefined || username === "") throw unauthorized();
  return {
    username,
    groups: withAuthenticated([organizations ?? []].flat()),
    extra: {
      "authentication.kubernetes.io/credential-id": [`X509SHA256=${createHash("sha256").update(raw).digest("hex")}`],
    },
  };
}

function tokenUser(tokens: Tokens, request: IncomingMessage): User | undefined {
  const token = bearerToken(request);
  if (token === undefined) return undefined;
  try {
    const found = tokens.check(token, [tokens.audience]);
    if (found !== undefined) return found.user;
  } catch (error) {
    if (!(error instanceof TokenError)) throw error;
  }
  throw unauthorized();
}

// apiserver authentication/request/websocket: browsers cannot set headers, so the token may come as a subprotocol.
const protocolPrefix = "base64url.bearer.authorization.k8s.io.";

function bearerToken({ headers }: IncomingMessage): string | undefined {
  const header = /^bearer +(\S+)\s*$/i.exec(headers.authorization ?? "")?.[1];
  if (header !== undefined) return header;
  const protocols = (headers["sec-websocket-protocol"] ?? "").split(",").map((each) => each.trim());
  const encoded = protocols.find((each) => each.startsWith(protocolPrefix))?.slice(protocolPrefix.length);
  return encoded === undefined ? undefined : Buffer.from(encoded, "base64url").toString("utf8");
}

/** The user a request is to be treated as: who sent it, or whom they may impersonate. Throws StatusError. */
function impersonated(user: User, request: IncomingMessage, authorize: Authorize): User {
  const { headers } = request;
  const values = headersBelow(request, "impersonate-");
  const name = headers["impersonate-user"];
  if (values.size === 0) return user;
  if (typeof name !== "string" || name === "")
    throw new StatusError(400, "BadRequest", "requested impersonation without impersonating a user");
  const check = (
    group: string,
    resource: string,
    parts: { namespace?: string; name: string; subresource?: string },
  ): void => {
    const target = resourceTarget({ verb: "impersonate", group, resource, ...parts });
    const { allowed, reason } = authorize(user, target);
    if (!allowed) throw forbidden(user, target, reason);
  };
  const account = /^system:serviceaccount:([^:]+):([^:]+)$/.exec(name);
  if (account === null) check("", "users", { name });
  else check("", "serviceaccounts", { namespace: account[1] ?? "", name: account[2] ?? "" });
  const groups = values.get("group") ?? [];
  for (const group of groups) check("", "groups", { name: group });
  const [uid] = values.get("uid") ?? [];
  if (uid !== undefined) check("authentication.k8s.io", "uids", { name: uid });
  const extra: Record<string, readonly string[]> = {};
  for (const [header, given] of values) {
    if (!header.startsWith("extra-")) continue;
    const key = decodeHeaderKey(header.slice("extra-".length));
    for (const value of given) check("authentication.k8s.io", "userextras", { subresource: key, name: value });
    extra[key] = given;
  }
  const known = groups.length === 0 && account !== null ? accountGroups(account[1] ?? "") : groups;
  return {
    username: name,
    ...(uid !== undefined && { uid }),
    groups:
      name === anonymous.username
        ? [...known, ...(known.includes("system:unauthenticated") ? [] : anonymous.groups)]
        : withAuthenticated(known),
    ...(Object.keys(extra).length > 0 && { extra }),
  };
}

function withAuthenticated(groups: readonly string[]): readonly string[] {
  return groups.includes("system:authenticated") || groups.includes("system:unauthenticated")
    ? groups
    : [...groups, "system:authenticated"];
}

/** Headers by what follows the prefix, each with all its values: Node joins repeated ones by a comma, and names may hold commas. */
function headersBelow(request: IncomingMessage, prefix: string): ReadonlyMap<string, readonly string[]> {
  const found = new Map<string, string[]>();
  const { rawHeaders } = request;
  for (let i = 0; i + 1 < rawHeaders.length; i += 2) {
    const name = (rawHeaders[i] ?? "").toLowerCase();
    if (!name.startsWith(prefix)) continue;
    const key = name.slice(prefix.length);
    const values = found.get(key) ?? [];
    values.push(rawHeaders[i + 1] ?? "");
    found.set(key, values);
  }
  return found;
}

function decodeHeaderKey(key: string): string {
  try {
    return decodeURIComponent(key);
  } catch {
    return key;
  }
}
