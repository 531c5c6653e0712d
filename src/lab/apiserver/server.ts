// The Kubernetes API over HTTP: one server over the lab's store for kubectl, client-go, helm and everything else that is written for
// Kubernetes. A request is read, its user known, its permission checked, and then it is answered by a table of paths or by its verb.
//
// Not here: TLS and tokens (tls*.ts, authn*.ts), permissions (authz*.ts), streams (streams/): they are passed in (hooks.ts).

import type { IncomingMessage, Server, ServerResponse } from "node:http";
import type { Server as SecureServer } from "node:https";
import type { Duplex } from "node:stream";
import { http } from "../../kernel/http.ts";
import { durationNanos } from "../../kube/duration.ts";
import type { KubeObject } from "../../kube/object.ts";
import type { ServedApi } from "../api/api.ts";
import { badRequest } from "../api/errors.ts";
import type { Kind } from "../api/kinds.ts";
import { StatusError } from "../api/store.ts";
import type { Answers, AnswersOptions } from "./answers.ts";
import { admitStream } from "./connect.ts";
import { startCustomCleanup } from "./custom-cleanup.ts";
import { send, sendJson, type Exchange } from "./exchange.ts";
import type { Answer, Authenticate, Authorize, Guard, Streams, User } from "./hooks.ts";
import { methodNotAllowed, noSuchResource, statusOf, type Failure } from "./status.ts";
import { parseTarget, type Target } from "./target.ts";
import { createMetrics, type Metrics } from "./metrics.ts";
import { versionInfo } from "./version.ts";

export interface ApiServerOptions {
  readonly api: ServedApi;
  /** Servers that listen or will, plain or TLS: this server answers their requests, whoever opened them closes them. */
  readonly servers: readonly (Server | SecureServer)[];
  /** Everybody is an administrator where this is left out. */
  readonly authenticate?: Authenticate;
  /** Everything is allowed where this is left out. */
  readonly authorize?: Authorize;
  /** exec, attach, port-forward, logs and proxy; refused where they are left out. */
  readonly streams?: Streams;
  /** Tokens and reviews, by resource (hooks.ts). */
  readonly answers?: { readonly [resource: string]: Answer };
  /** Looks at every write that is allowed before it is made: whether this user may store that. */
  readonly guard?: Guard;
  /** More documents outside of the resources, by path: OpenID Connect discovery. */
  readonly document?: (path: string) => { readonly contentType: string; readonly body: string } | undefined;
  /** Milliseconds since 1970. */
  readonly clock?: () => number;
  /** Hears of errors that are ours. */
  readonly log?: (message: string, error: unknown) => void;
}

export interface ApiServer {
  /** Ends watches and stops answering. The servers stay open. */
  close(): void;
}

/** After this time the start of whatever is around the server is over. */
const idleMs = 2000;

async function loadAnswers(options: AnswersOptions): Promise<Answers> {
  const { createAnswers } = await import("./answers.ts");
  return createAnswers(options);
}

/** What the first requests would have to load. */
async function loadRest({ loadAnswers }: Context): Promise<void> {
  await loadAnswers();
  await import("./authn-accounts.ts");
  await import("./authz-guard.ts");
  await import("../api/write-path.ts");
  await import("../api/admission/plugin-list.ts");
}

const admin: User = { username: "system:admin", groups: ["system:masters", "system:authenticated"] };

/** Puts the Kubernetes API in front of a store. */
export function startApiServer(options: ApiServerOptions): ApiServer {
  const { api, clock = Date.now, log = logError, answers = {} } = options;
  const metrics = createMetrics();
  const open = new Set<ServerResponse>();
  const context: Context = {
    api,
    authenticate: options.authenticate ?? (() => admin),
    authorize: options.authorize ?? (() => ({ allowed: true })),
    streams: options.streams,
    document: options.document,
    metrics,
    log,
    loadAnswers: () => (loading ??= loadAnswers({ api, clock, answers, guard: options.guard })),
  };
  let loading: Promise<Answers> | undefined;
  const loadsSoon = setTimeout(() => void loadRest(context), idleMs).unref();
  const cleanup = startCustomCleanup(api);
  const onRequest = (request: IncomingMessage, response: ServerResponse): void => {
    open.add(response);
    void serve(context, request, response, () => open.delete(response));
  };
  const onUpgrade = (request: IncomingMessage, socket: Duplex, head: Buffer): void => {
    void serveUpgrade(context, request, socket, head);
  };
  for (const server of options.servers) {
    server.requestTimeout = 60_000;
    server.headersTimeout = 30_000;
    server.keepAliveTimeout = 120_000;
    server.on("request", onRequest).on("upgrade", onUpgrade);
  }
  return {
    close() {
      clearTimeout(loadsSoon);
      cleanup.close();
      for (const server of options.servers) server.off("request", onRequest).off("upgrade", onUpgrade);
      for (const response of open) response.destroy();
    },
  };
}

/** How servers in front of the API read requests: what comes before the body may be as long as Go lets it, as exec has its command there. */
export const requestReading: { readonly maxHeaderSize: number } = { maxHeaderSize: 1024 * 1024 };

/** A plain server on a port of the host's loopback, for tests and for `--insecure`. Resolves when it listens. */
export async function listenPlain(port = 0): Promise<{ readonly server: Server; readonly port: number }> {
  const server = http.createServer(requestReading);
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, "127.0.0.1", resolve);
  });
  const address = server.address();
  return { server, port: typeof address === "object" && address !== null ? address.port : port };
}

function logError(message: string, error: unknown): void {
  console.error(message, error);
}

interface Context {
  readonly api: ServedApi;
  readonly authenticate: Authenticate;
  readonly authorize: Authorize;
  readonly streams: Streams | undefined;
  readonly document: ApiServerOptions["document"];
  readonly metrics: Metrics;
  readonly log: (message: string, error: unknown) => void;
  readonly loadAnswers: () => Promise<Answers>;
}

async function serve(
  context: Context,
  request: IncomingMessage,
  response: ServerResponse,
  closed: () => void,
): Promise<void> {
  const warnings = new Set<string>();
  const began = performance.now();
  const target = parseTarget(request.method ?? "GET", request.url ?? "/");
  response.on("close", () => {
    closed();
    context.metrics.answered(target, response.statusCode, performance.now() - began);
  });
  // A client that goes away in the middle of its body is no error of ours.
  request.on("error", () => undefined);
  response.on("error", () => undefined);
  try {
    if (target === undefined) throw badRequest("the path of the request cannot be read");
    checkTimeout(target);
    const user = await admitted(context, request, target);
    await route(context, { request, response, target, user, warnings });
  } catch (error) {
    refuse(context, { request, response, warnings }, error);
  }
}

function refuse(context: Context, exchange: Pick<Exchange, "request" | "response" | "warnings">, error: unknown): void {
  const { request, response } = exchange;
  if (request.destroyed && !request.complete) return;
  const status = failed(context, request, error);
  if (response.headersSent) {
    response.destroy();
    return;
  }
  sendJson(exchange, status.code, status, headersOf(status));
}

function failed(context: Context, request: IncomingMessage, error: unknown): Failure {
  return statusOf(error, (unexpected) => context.log(`API server: ${request.method} ${request.url}`, unexpected));
}

function headersOf({ code, details }: Failure): { readonly [name: string]: string } {
  const { retryAfterSeconds } = (details ?? {}) as { readonly retryAfterSeconds?: number };
  return {
    ...(code === 401 ? { "WWW-Authenticate": 'Bearer realm="kubernetes"' } : {}),
    ...(retryAfterSeconds === undefined ? {} : { "Retry-After": String(retryAfterSeconds) }),
  };
}

/** How long a client will wait has to be a duration; the longest answers here come in less. Throws StatusError 400. */
function checkTimeout({ query, verb, subresource = "" }: Target): void {
  // apiserver endpoints/filters WithRequestDeadline: what runs long has no deadline.
  const timeout = verb === "watch" || streamNames.has(subresource) ? null : query.get("timeout");
  if (timeout === null || timeout === "" || durationNanos(timeout) !== undefined) return;
  throw badRequest(`invalid timeout specified in the request URL - time: invalid duration ${JSON.stringify(timeout)}`);
}

/** The user, who may do this. Throws StatusError 401 or 403. */
async function admitted(context: Context, request: IncomingMessage, target: Target): Promise<User> {
  const user = await context.authenticate(request);
  const { allowed, reason } = context.authorize(user, target);
  if (allowed) return user;
  throw forbiddenTo(user, target, reason);
}

// apiserver endpoints/handlers/responsewriters/errors.go forbiddenMessage
function forbiddenTo({ username }: User, target: Target, reason = ""): StatusError {
  const behind = reason === "" ? "" : `: ${reason}`;
  const { verb, path, group, resource, subresource, name = "", namespace = "" } = target;
  if (!target.isResource)
    return new StatusError(
      403,
      "Forbidden",
      `forbidden: User ${JSON.stringify(username)} cannot ${verb} path ${JSON.stringify(path)}${behind}`,
    );
  const what = subresource === undefined ? resource : `${resource}/${subresource}`;
  const qualified = group === "" ? resource : `${resource}.${group}`;
  const where = namespace === "" ? "at the cluster scope" : `in the namespace ${JSON.stringify(namespace)}`;
  const named = name === "" ? qualified : `${qualified} ${JSON.stringify(name)}`;
  return new StatusError(
    403,
    "Forbidden",
    `${named} is forbidden: User ${JSON.stringify(username)} cannot ${verb} resource ${JSON.stringify(what)} in API group ${JSON.stringify(group)} ${where}${behind}`,
    { ...(name === "" ? {} : { name }), ...(group === "" ? {} : { group }), kind: resource },
  );
}

async function route(context: Context, exchange: Exchange): Promise<void> {
  const { target, request, response, user } = exchange;
  if (!target.isResource) return serveFixed(context, exchange);
  const kind = context.api.kinds.at(target.group, target.version, target.resource);
  if (kind === undefined) throw noSuchResource();
  const streamed = streamOf(context, kind, target);
  const answers = await context.loadAnswers();
  if (streamed === undefined) return answers.resource(exchange, kind);
  const stream = { user, target, object: streamObject(answers, kind, target) };
  await admitStream(context.api, kind, stream, (text) => exchange.warnings.add(text));
  await streamed.respond(stream, request, response);
}

const streamNames = new Set(["exec", "attach", "portforward", "log", "proxy"]);

function streamOf({ streams }: Context, kind: Kind, { subresource }: Target): Streams | undefined {
  if (subresource === undefined || !streamNames.has(subresource)) return undefined;
  if (!kind.subresources.some(({ name }) => name === subresource)) throw noSuchResource();
  if (streams !== undefined) return streams;
  throw new StatusError(501, "NotImplemented", `${kind.resource}/${subresource} is not served here`);
}

/** The pod, service or node of a stream. Proxied names may have a scheme before and a port behind them. */
function streamObject(answers: Answers, kind: Kind, target: Target): KubeObject {
  if (target.subresource !== "proxy") return answers.object(kind, target);
  const parts = (target.name ?? "").split(":");
  const name = parts.length === 3 ? parts[1] : parts[0];
  return answers.object(kind, { ...target, name });
}

async function serveUpgrade(context: Context, request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
  socket.on("error", () => socket.destroy());
  try {
    const target = parseTarget(request.method ?? "GET", request.url ?? "/");
    if (target === undefined) throw badRequest("the path of the request cannot be read");
    const user = await admitted(context, request, target);
    const kind = context.api.kinds.at(target.group, target.version, target.resource);
    if (kind === undefined) throw noSuchResource();
    const streams = streamOf(context, kind, target);
    if (streams === undefined) throw badRequest("unable to upgrade: this resource has no stream");
    const object = streamObject(await context.loadAnswers(), kind, target);
    const stream = { user, target, object };
    await admitStream(context.api, kind, stream, () => undefined);
    await streams.upgrade(stream, request, socket, head);
  } catch (error) {
    if (!socket.writable) return;
    const status = failed(context, request, error);
    const body = `${JSON.stringify(status)}\n`;
    const head = [`HTTP/1.1 ${status.code} ${status.reason ?? ""}`, "Content-Type: application/json"];
    socket.end(
      `${[...head, `Content-Length: ${Buffer.byteLength(body)}`, "Connection: close"].join("\r\n")}\r\n\r\n${body}`,
    );
  }
}

type Fixed = (context: Context, exchange: Exchange) => void | Promise<void>;

const plainText = { "Content-Type": "text/plain; charset=utf-8" };

const ok: Fixed = (_, exchange) => send(exchange, 200, "ok", plainText);

// apiserver server/healthz handleRootHealth. There is one check: whoever answers is there.
const healthy: Fixed = (_, exchange) => {
  const { path, query } = exchange.target;
  const text = query.has("verbose") ? `[+]ping ok\n${path.replaceAll("/", "")} check passed\n` : "ok";
  send(exchange, 200, text, plainText);
};

/** Paths outside of the resources. */
const fixed: { readonly [path: string]: Fixed } = {
  "/healthz": healthy,
  "/healthz/ping": ok,
  "/livez": healthy,
  "/livez/ping": ok,
  "/readyz": healthy,
  "/readyz/ping": ok,
  "/version": (_, exchange) => sendJson(exchange, 200, versionInfo),
  "/metrics": ({ metrics, api }, exchange) =>
    send(exchange, 200, metrics.text(api), { "Content-Type": "text/plain; version=0.0.4; charset=utf-8" }),
  "/": ({ api }, exchange) => sendJson(exchange, 200, { paths: allPaths(api) }),
};

function allPaths({ kinds }: ServedApi): readonly string[] {
  const versions = new Set(
    kinds.all().map(({ group, apiVersion }) => `/${group === "" ? "api" : "apis"}/${apiVersion}`),
  );
  const groups = new Set(kinds.all().flatMap(({ group }) => (group === "" ? [] : [`/apis/${group}`])));
  return ["/api", "/apis", ...versions, ...groups, ...Object.keys(fixed), "/openapi/v2", "/openapi/v3"]
    .filter((path) => path !== "/")
    .sort();
}

async function serveFixed(context: Context, exchange: Exchange): Promise<void> {
  const { target, request } = exchange;
  const path = target.path.length > 1 ? target.path.replace(/\/+$/, "") : target.path;
  if (request.method !== "GET" && request.method !== "HEAD") throw methodNotAllowed();
  const handler = Object.hasOwn(fixed, path) ? fixed[path] : undefined;
  if (handler !== undefined) return handler(context, exchange);
  const more = context.document?.(path);
  if (more !== undefined) return send(exchange, 200, more.body, { "Content-Type": more.contentType });
  const answers = await context.loadAnswers();
  const document = await answers.document(path, request.headers.accept);
  if (document === undefined) return send(exchange, 404, "404 page not found\n", plainText);
  const { etag, contentType, text } = document;
  const headers = { "Content-Type": contentType, Vary: "Accept", ...(etag === undefined ? {} : { Etag: etag }) };
  if (etag !== undefined && request.headers["if-none-match"] === etag) send(exchange, 304, "", headers);
  else send(exchange, 200, text, headers);
}
