// What the API server asks of others: who is calling, may they, and what to do with streams. Each is a function that is passed in.
//
// Not here: how any of them is answered (authn*.ts, authz*.ts, streams/), nor the server itself (server.ts).

import type { IncomingMessage, ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import type { KubeObject } from "../../kube/object.ts";
import type { Target } from "./target.ts";

/** Who makes a request (authentication/v1 UserInfo). */
export interface User {
  readonly username: string;
  readonly uid?: string;
  readonly groups: readonly string[];
  readonly extra?: { readonly [name: string]: readonly string[] };
}

/**
 * Says who makes a request, by its client certificate or bearer token; anonymous users are users too (`system:anonymous`).
 * Throws StatusError 401 where credentials are there and wrong.
 */
export type Authenticate = (request: IncomingMessage) => User | Promise<User>;

/** May this user do this? `reason` is what a refusal says. */
export type Authorize = (user: User, target: Target) => { readonly allowed: boolean; readonly reason?: string };

/** A request for a subresource that is a stream of bytes: exec, attach, portforward, log, proxy. */
export interface StreamRequest {
  readonly user: User;
  /** `target.resource` is pods, services or nodes; `target.subresource` says which stream; `target.rest` is the path behind `/proxy`. */
  readonly target: Target;
  /** The pod, service or node. For a proxied name with scheme or port (`https:web:443`) `target.name` is as given, this is the object. */
  readonly object: KubeObject;
}

/** The streaming subresources. They answer by themselves; what they throw before they answer becomes a Status. */
export interface Streams {
  /** A plain request. Its body has not been read. */
  respond(stream: StreamRequest, request: IncomingMessage, response: ServerResponse): void | Promise<void>;
  /** A request that upgrades its connection: WebSocket (GET) or SPDY (POST). */
  upgrade(stream: StreamRequest, request: IncomingMessage, socket: Duplex, head: Buffer): void | Promise<void>;
}

/**
 * Answers a create of something that is not stored, keyed by its resource: `tokenreviews.authentication.k8s.io`,
 * `selfsubjectaccessreviews.authorization.k8s.io`, `serviceaccounts/token`. The object that is given has been decoded and checked;
 * the answer is the same object with its status.
 */
export type Answer = (request: {
  readonly user: User;
  readonly target: Target;
  readonly object: KubeObject;
  /** For subresources: what they belong to (the ServiceAccount of a token). */
  readonly parent?: KubeObject;
}) => KubeObject | Promise<KubeObject>;

/**
 * Looks at a write that is allowed as such, when it is known what would be stored: whether this user may store that. Called once before the
 * write, with `object` what is to be stored (undefined for a delete) and `previous` what is there. Throws StatusError 403.
 */
export type Guard = (write: {
  readonly user: User;
  readonly target: Target;
  readonly operation: "create" | "update" | "delete";
  readonly object?: KubeObject | undefined;
  readonly previous?: KubeObject | undefined;
}) => void;
