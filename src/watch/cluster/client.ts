// A Kubernetes API server over HTTP/1.1: one request for one JSON value, and streams of JSON lines for watches. Over node:https, with
// connections kept alive; the field's client library takes 730 ms and 127 MB to load, and an agent starts on every node.
//
// Use:
//   const client = openCluster(await findAccess({ kubeconfig }));
//   const pod = await client.request<Pod>({ path: resourcePath(resource, { namespace, name }) });
//   const informer = startInformer({ client, resource: { group: "", version: "v1", resource: "services" }, … });   // informer.ts
//   client.close();
//
// Not here: who we are (credentials.ts), following a resource without gaps (informer.ts), what objects mean (model/).

import { Buffer } from "node:buffer";
import type { Agent as HttpAgent, ClientRequest, IncomingMessage } from "node:http";
import { Agent as HttpsAgent, request as httpsRequest } from "node:https";
import { http } from "../../kernel/http.ts";

import { createCredentials, type CredentialSource, type Credentials } from "./credentials.ts";
import type { ClusterAccess } from "./kubeconfig.ts";

export interface ApiRequest {
  /** `get` where absent. */
  readonly method?: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  /** With its query: `/api/v1/nodes/n1`. */
  readonly path: string;
  /** Sent as JSON. */
  readonly body?: unknown;
  /** Of the body; patches have types of their own. */
  readonly contentType?:
    | "application/json"
    | "application/merge-patch+json"
    | "application/strategic-merge-patch+json"
    | "application/apply-patch+yaml";
  /** How long the whole exchange may take; 30 s where absent. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

export interface ClusterClient {
  readonly access: ClusterAccess;
  /** The answer's JSON. Rejects with ApiError where the server refuses, and with ClusterUnreachable where nothing comes back. */
  request<T>(request: ApiRequest): Promise<T>;
  /**
   * Reads lines until the server ends the stream (resolves), something fails (rejects as `request` does) or `signal` aborts (resolves).
   * `opened` is called once the server has said 200. `line` gets each line's JSON; what it throws ends the stream.
   */
  lines(path: string, stream: LineStream): Promise<void>;
  close(): void;
}

export interface LineStream {
  readonly signal: AbortSignal;
  readonly opened?: () => void;
  readonly line: (value: unknown) => void;
}

/** The server's refusal: its Status (apimachinery meta/v1). */
export class ApiError extends Error {
  override readonly name = "ApiError";
  /** HTTP's: 403, 404, 409, 410 … */
  readonly status: number;
  /** `Forbidden`, `NotFound`, `Expired` …; the empty string where the server gave none. */
  readonly reason: string;
  /** When the server wants to be asked again, where it says so. */
  readonly retryAfterMs: number | undefined;

  constructor(message: string, options: { status: number; reason: string; retryAfterMs?: number | undefined }) {
    super(message);
    this.status = options.status;
    this.reason = options.reason;
    this.retryAfterMs = options.retryAfterMs;
  }
}

/** No answer, or none that is HTTP: the server is away, or the way to it. */
export class ClusterUnreachable extends Error {
  override readonly name = "ClusterUnreachable";
}

/** A resource in one version; the empty group is the core's. */
export interface ResourceVersioned {
  readonly group: string;
  readonly version: string;
  readonly resource: string;
}

/** The path of a collection, an object, or what is below it. */
export function resourcePath(
  { group, version, resource }: ResourceVersioned,
  place: { readonly namespace?: string; readonly name?: string; readonly subresource?: string } = {},
): string {
  const base = group === "" ? `/api/${version}` : `/apis/${group}/${version}`;
  const parts = [
    ...(place.namespace === undefined ? [] : ["namespaces", place.namespace]),
    resource,
    ...(place.name === undefined ? [] : [place.name]),
    ...(place.subresource === undefined ? [] : [place.subresource]),
  ];
  return `${base}/${parts.map(encodeURIComponent).join("/")}`;
}

const requestTimeoutMs = 30_000;
/** A connection whose other end is gone is noticed after this long and ten probes, a second apart (libuv uv_tcp_keepalive). */
const keepAliveProbeMs = 15_000;
/** A server that answers less than its headers in this time is away. */
const headersTimeoutMs = 15_000;
/** One object of etcd has at most 1.5 MiB (its request limit); as JSON it may be some times longer. */
const lineBytesMax = 64 * 1024 * 1024;

/** Opens nothing yet: the first request connects. */
export function openCluster(
  access: ClusterAccess,
  credentials: CredentialSource = createCredentials(access),
): ClusterClient {
  const server = new URL(access.server);
  const isHttps = server.protocol === "https:";
  let agent: HttpAgent | HttpsAgent | undefined;
  let agentFor: Credentials | undefined;

  /** Connections are made with one set of certificates; another one is another pool, and the old one ends with its last answer. */
  const agentOf = (current: Credentials): HttpAgent | HttpsAgent => {
    const same =
      agentFor !== undefined &&
      agentFor.ca === current.ca &&
      agentFor.certificate === current.certificate &&
      agentFor.key === current.key;
    if (agent !== undefined && same) return agent;
    const options = { keepAlive: true, keepAliveMsecs: keepAliveProbeMs, scheduling: "lifo" } as const;
    agent = isHttps
      ? new HttpsAgent({
          ...options,
          rejectUnauthorized: !access.insecure,
          ...(current.ca === undefined ? {} : { ca: current.ca }),
          ...(current.certificate === undefined ? {} : { cert: current.certificate }),
          ...(current.key === undefined ? {} : { key: current.key }),
          ...(access.serverName === undefined ? {} : { servername: access.serverName }),
        })
      : new http.Agent(options);
    agentFor = current;
    return agent;
  };

  const send = async (request: ApiRequest, signal: AbortSignal, renew: boolean): Promise<IncomingMessage> => {
    const current = await credentials.current(renew ? { renew: true } : undefined);
    const body = request.body === undefined ? undefined : JSON.stringify(request.body);
    const options = {
      agent: agentOf(current),
      method: request.method ?? "GET",
      host: server.hostname.replace(/^\[(.*)\]$/, "$1"),
      port: server.port === "" ? (isHttps ? 443 : 80) : Number(server.port),
      path: (server.pathname === "/" ? "" : server.pathname) + request.path,
      signal,
      headers: {
        Accept: "application/json",
        "User-Agent": userAgent,
        ...(current.authorization === undefined ? {} : { Authorization: current.authorization }),
        ...(body === undefined
          ? {}
          : { "Content-Type": request.contentType ?? "application/json", "Content-Length": Buffer.byteLength(body) }),
      },
    };
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      const outgoing: ClientRequest = isHttps ? httpsRequest(options) : http.request(options);
      const timer = setTimeout(
        () => outgoing.destroy(new Error(`no answer within ${headersTimeoutMs / 1000} s`)),
        headersTimeoutMs,
      );
      outgoing.once("socket", (socket) => {
        socket.setNoDelay(true);
        socket.setKeepAlive(true, keepAliveProbeMs);
      });
      outgoing.once("response", (incoming) => {
        clearTimeout(timer);
        resolve(incoming);
      });
      outgoing.on("error", (error) => {
        clearTimeout(timer);
        reject(error);
      });
      outgoing.end(body);
    });
    if (response.statusCode !== 401 || renew) return response;
    await drain(response);
    return send(request, signal, true);
  };

  const unreachable = (request: ApiRequest, error: unknown): Error => {
    if (error instanceof ApiError || (error instanceof Error && error.name === "KubeconfigError")) return error;
    const reason = error instanceof Error ? error.message || error.name : String(error);
    return new ClusterUnreachable(`${doing(request, access.server)}: ${reason}${cureOf(error, access)}`, {
      cause: error,
    });
  };

  return {
    access,
    async request<T>(request: ApiRequest): Promise<T> {
      try {
        const timeout = AbortSignal.timeout(request.timeoutMs ?? requestTimeoutMs);
        const signal = request.signal === undefined ? timeout : AbortSignal.any([timeout, request.signal]);
        const response = await send(request, signal, false);
        const text = await textOf(response);
        if ((response.statusCode ?? 0) >= 300) throw refusal(request, response, text);
        return JSON.parse(text) as T;
      } catch (error) {
        throw unreachable(request, error);
      }
    },
    async lines(path, stream) {
      const request: ApiRequest = { path };
      try {
        const response = await send(request, stream.signal, false);
        if (response.statusCode !== 200) throw refusal(request, response, await textOf(response));
        stream.opened?.();
        await readLines(response, stream.line);
      } catch (error) {
        if (!stream.signal.aborted) throw unreachable(request, error);
      }
    },
    close() {
      agent?.destroy();
      agent = undefined;
    },
  };
}

const userAgent = "fairlead/0.1";

async function textOf(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of response as AsyncIterable<Buffer>) chunks.push(chunk);
  return Buffer.concat(chunks).toString("utf8");
}

async function drain(response: IncomingMessage): Promise<void> {
  response.resume();
  if (!response.complete) await new Promise<void>((resolve) => void response.once("close", resolve));
}

/** Calls back for every whole line's JSON, inside the event of its last byte: nothing is queued. */
function readLines(response: IncomingMessage, line: (value: unknown) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    let pending: Buffer[] = [];
    let pendingBytes = 0;
    const fail = (error: unknown): void => {
      response.destroy();
      reject(error instanceof Error ? error : new Error(String(error)));
    };
    const parse = (last: Buffer): void => {
      const whole = pending.length === 0 ? last : Buffer.concat([...pending, last]);
      pending = [];
      pendingBytes = 0;
      const text = whole.toString("utf8");
      if (text.trim() !== "") line(JSON.parse(text) as unknown);
    };
    response.on("data", (chunk: Buffer) => {
      try {
        let from = 0;
        for (let at = chunk.indexOf(10); at >= 0; at = chunk.indexOf(10, from)) {
          parse(chunk.subarray(from, at));
          from = at + 1;
        }
        if (from === chunk.length) return;
        pending.push(chunk.subarray(from));
        pendingBytes += chunk.length - from;
        if (pendingBytes > lineBytesMax) throw new Error(`a line of a watch is longer than ${lineBytesMax} bytes`);
      } catch (error) {
        fail(error);
      }
    });
    response.once("end", () => resolve());
    response.once("error", fail);
    response.once("close", () => {
      if (!response.complete) fail(new Error("the connection ended in the middle of the stream"));
    });
  });
}

/** `GET /api/v1/pods`: what was asked, without how. */
function doing({ method = "GET", path }: ApiRequest, server = ""): string {
  return `${method} ${server}${path.split("?")[0] ?? path}`;
}

function refusal(request: ApiRequest, response: IncomingMessage, text: string): ApiError {
  const status = statusOf(text);
  const code = response.statusCode ?? 0;
  const seconds = Number(response.headers["retry-after"]);
  const message = status?.message ?? (text.trim().slice(0, 300) || (response.statusMessage ?? ""));
  return new ApiError(`${doing(request)}: ${code} ${message}`, {
    status: code,
    reason: status?.reason ?? "",
    retryAfterMs: Number.isFinite(seconds) ? seconds * 1000 : undefined,
  });
}

/** The parts of a Status that are read; undefined where it is none. */
export function statusOf(
  value: unknown,
): { readonly code: number; readonly reason: string; readonly message: string } | undefined {
  let status: { kind?: unknown; code?: unknown; reason?: unknown; message?: unknown } | null;
  try {
    status = (typeof value === "string" ? JSON.parse(value) : value) as typeof status;
  } catch {
    return undefined;
  }
  if (typeof status !== "object" || status === null || status.kind !== "Status") return undefined;
  return {
    code: Number(status.code ?? 0),
    reason: typeof status.reason === "string" ? status.reason : "",
    message: typeof status.message === "string" ? status.message : "",
  };
}

/** The likely cure of a failure to reach the server. */
function cureOf(error: unknown, access: ClusterAccess): string {
  const { code = "" } = error as { code?: string };
  if (code === "ECONNREFUSED") return "; is the API server running there?";
  if (code === "ENOTFOUND" || code === "EAI_AGAIN")
    return "; the server's name does not resolve here: give an address that needs no cluster DNS";
  if (code === "ERR_TLS_CERT_ALTNAME_INVALID")
    return "; set tls-server-name in the kubeconfig to a name of the certificate";
  return untrusted.has(code) ? `; the certificate is not of the authority in ${access.from}` : "";
}

/** OpenSSL's verdicts, as Node names them. */
const untrusted: ReadonlySet<string> = new Set([
  "DEPTH_ZERO_SELF_SIGNED_CERT",
  "SELF_SIGNED_CERT_IN_CHAIN",
  "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
  "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
]);
