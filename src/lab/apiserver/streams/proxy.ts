// The proxy subresource of pods, services and nodes: any method, https, WebSockets and other upgrades passed through.
// Upstream: apimachinery/pkg/util/proxy/upgradeaware.go, pkg/registry/core/{pod,service,node}/rest.
//
// Not here: what a name like https:web:443 means (proxy-address.ts), rewriting of links (proxy-rewrite.ts).

import type { ClientRequest, IncomingMessage, OutgoingHttpHeaders, ServerResponse } from "node:http";
import { pipeline, type Duplex, type Transform } from "node:stream";
import { connect as connectTls } from "node:tls";
import { createGunzip, createGzip } from "node:zlib";
import { http } from "../../../kernel/http.ts";
import type { Node, Pod, Service } from "../../../kube/kinds.ts";
import { StatusError } from "../../api/store.ts";
import type { StreamRequest, Streams } from "../hooks.ts";
import { dial, dialProblem } from "./dial.ts";
import { answerAsKubelet } from "./node-proxy.ts";
import type { PodStreamsOptions } from "./pod-streams.ts";
import { authority, kubeletPort, nodeAddress, podAddress, serviceAddress, type ProxyAddress } from "./proxy-address.ts";
import { htmlRewriter, rewriteUrl, type RewriteContext } from "./proxy-rewrite.ts";

/** The proxies of a lab. */
export function createProxy(options: PodStreamsOptions): Streams {
  const { api, nodeOf } = options;

  const addressOf = ({ target, object }: StreamRequest): ProxyAddress => {
    const given = target.name ?? "";
    switch (target.resource) {
      case "pods":
        return podAddress(object as Pod, given);
      case "services":
        return serviceAddress(api, object as Service, given, Math.random);
      default:
        return nodeAddress(object as Node, given);
    }
  };

  const connection = async (to: ProxyAddress): Promise<Duplex> => {
    const from = nodeOf(to.node ?? "")?.machine ?? anyMachine(options);
    if (from === undefined)
      throw new StatusError(503, "ServiceUnavailable", "error trying to reach service: packets are off in this lab");
    try {
      const socket = await dial(from.namespace, { address: to.address, port: to.port, timeoutMs: 30_000 });
      if (!to.secure) return socket;
      // Upstream does not verify either: a pod has no name that a certificate could carry.
      const secured = connectTls({ socket, rejectUnauthorized: false });
      await new Promise<void>((resolve, reject) => void secured.once("secureConnect", resolve).once("error", reject));
      return secured;
    } catch (error) {
      throw new StatusError(
        503,
        "ServiceUnavailable",
        `error trying to reach service: dial tcp ${authority(to)}: ${dialProblem(error)}`,
      );
    }
  };

  const outgoing = async (
    stream: StreamRequest,
    request: IncomingMessage,
    to: ProxyAddress,
    headers: OutgoingHttpHeaders,
  ): Promise<ClientRequest> => {
    const socket = await connection(to);
    return http.request({
      method: request.method ?? "GET",
      path: behindProxy(request.url ?? "/", stream).path,
      headers,
      setDefaultHeaders: false,
      createConnection: () => socket,
    });
  };

  return {
    async respond(stream, request, response) {
      const { prefix, path, query, isBare } = behindProxy(request.url ?? "/", stream);
      if (isBare && (request.method === "GET" || request.method === "HEAD")) {
        // Links of the page behind it are relative to a folder.
        response.writeHead(301, { location: `${prefix}/${query}` }).end();
        return;
      }
      const to = addressOf(stream);
      if (stream.target.resource === "nodes" && to.port === kubeletPort)
        return answerAsKubelet(
          {
            api,
            node: stream.object.metadata.name,
            place: nodeOf(stream.object.metadata.name),
            path: path.split("?")[0] ?? "/",
            query: stream.target.query,
            method: request.method ?? "GET",
          },
          response,
        );
      const sent = await outgoing(stream, request, to, forwardedHeaders(request, { connection: "close" }));
      const context = { prefix, hosts: [authority(to), request.headers.host ?? ""] };
      await exchange(request, response, sent, context, to);
    },
    async upgrade(stream, request, socket, head) {
      const to = addressOf(stream);
      const headers = forwardedHeaders(request, { connection: "Upgrade", upgrade: request.headers.upgrade ?? "" });
      const sent = await outgoing(stream, request, to, headers);
      await passUpgrade(socket, head, sent, to);
    },
  };
}

function anyMachine({
  api,
  nodeOf,
}: PodStreamsOptions): { readonly namespace: import("../../../kernel/namespaces.ts").NetworkNamespace } | undefined {
  for (const { metadata } of api.list({ group: "", resource: "nodes" }).items) {
    const machine = nodeOf(metadata.name)?.machine;
    if (machine !== undefined) return machine;
  }
  return undefined;
}

/** What of a request's URL belongs to the proxied server. Its escapes stay as they were sent. */
function behindProxy(
  url: string,
  { target }: StreamRequest,
): { readonly prefix: string; readonly path: string; readonly query: string; readonly isBare: boolean } {
  const question = url.indexOf("?");
  const query = question < 0 ? "" : url.slice(question);
  const full = question < 0 ? url : url.slice(0, question);
  // /api/v1/namespaces/NAMESPACE/pods/NAME/proxy or /api/v1/nodes/NAME/proxy
  const segments = full.split("/");
  const count = target.resource === "nodes" ? 6 : 8;
  const prefix = segments.slice(0, count).join("/");
  const rest = full.slice(prefix.length);
  return { prefix, path: (rest === "" ? "/" : rest) + query, query, isBare: rest === "" };
}

// RFC 9110 7.6.1: fields of one hop.
const hopFields = new Set([
  "connection",
  "keep-alive",
  "proxy-authenticate",
  "proxy-authorization",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);

/** The request's own headers without those of this hop, and without what only the API server may know: a pod must not see credentials. */
function forwardedHeaders(request: IncomingMessage, own: OutgoingHttpHeaders): OutgoingHttpHeaders {
  const named = new Set((request.headers.connection ?? "").split(",").map((name) => name.trim().toLowerCase()));
  const headers: OutgoingHttpHeaders = {};
  for (const [name, values] of Object.entries(request.headersDistinct)) {
    if (values === undefined || hopFields.has(name) || named.has(name)) continue;
    if (name === "authorization" || name.startsWith("impersonate-")) continue;
    headers[name] = name === "host" ? (values[0] ?? "") : values.length === 1 ? values[0] : values;
  }
  if (request.headers["transfer-encoding"] !== undefined) headers["transfer-encoding"] = "chunked";
  const before = request.headers["x-forwarded-for"];
  const address = request.socket.remoteAddress ?? "";
  headers["x-forwarded-for"] = before === undefined ? address : `${[before].flat().join(", ")}, ${address}`;
  headers["x-forwarded-proto"] = "https";
  headers["x-forwarded-host"] = request.headers.host ?? "";
  return { ...headers, ...own };
}

/** Sends the request's body and gives the answer to the client. Rejects where there is none. */
function exchange(
  request: IncomingMessage,
  response: ServerResponse,
  sent: ClientRequest,
  context: RewriteContext,
  to: ProxyAddress,
): Promise<void> {
  return new Promise((resolve, reject) => {
    sent.once("error", (error) => {
      if (response.headersSent) response.destroy();
      else
        reject(
          new StatusError(
            503,
            "ServiceUnavailable",
            `error trying to reach service: read tcp ${authority(to)}: ${dialProblem(error)}`,
          ),
        );
    });
    sent.once("response", (answer) => {
      const rewriters = rewritersFor(answer, context);
      response.writeHead(
        answer.statusCode ?? 502,
        answer.statusMessage,
        answerHeaders(answer, context, rewriters.length > 0),
      );
      // Long answers that trickle (watches, event streams) begin at once.
      response.flushHeaders();
      pipeline([answer, ...rewriters, response], () => resolve());
    });
    response.once("close", () => {
      sent.destroy();
      resolve();
    });
    request.pipe(sent);
  });
}

function answerHeaders(answer: IncomingMessage, context: RewriteContext, isRewritten: boolean): OutgoingHttpHeaders {
  const headers: OutgoingHttpHeaders = {};
  for (const [name, values] of Object.entries(answer.headersDistinct)) {
    if (values === undefined || hopFields.has(name)) continue;
    if (name === "content-length" && isRewritten) continue;
    headers[name] = name === "location" ? rewriteUrl(values[0] ?? "", context) : values;
  }
  return headers;
}

/** The steps a page passes; none for what is no HTML, or is packed in a way we do not unpack. */
function rewritersFor({ headers, statusCode }: IncomingMessage, context: RewriteContext): readonly Transform[] {
  if (!/^text\/html\b/i.test(headers["content-type"] ?? "") || statusCode === 206) return [];
  switch (headers["content-encoding"] ?? "") {
    case "":
    case "identity":
      return [htmlRewriter(context)];
    case "gzip":
      return [createGunzip(), htmlRewriter(context), createGzip()];
    default:
      return [];
  }
}

/** Joins both connections when the server agrees to the upgrade; else its answer is given and the connection closed. */
function passUpgrade(socket: Duplex, head: Buffer, sent: ClientRequest, to: ProxyAddress): Promise<void> {
  return new Promise((resolve, reject) => {
    sent.once("error", (error) =>
      reject(
        new StatusError(
          503,
          "ServiceUnavailable",
          `error trying to reach service: read tcp ${authority(to)}: ${dialProblem(error)}`,
        ),
      ),
    );
    sent.once("upgrade", (answer, backend: Duplex, backendHead: Buffer) => {
      socket.write(headText(answer, answer.rawHeaders));
      socket.write(backendHead);
      backend.write(head);
      pipeline(socket, backend, socket, () => {
        socket.destroy();
        backend.destroy();
        resolve();
      });
    });
    sent.once("response", (answer) => {
      socket.write(headText(answer, [...rawWithout(answer.rawHeaders), "connection", "close"]));
      pipeline(answer, socket, () => resolve());
    });
    socket.once("close", () => {
      sent.destroy();
      resolve();
    });
    socket.on("error", () => {});
    sent.end();
  });
}

function headText({ statusCode = 502, statusMessage = "" }: IncomingMessage, raw: readonly string[]): string {
  let text = `HTTP/1.1 ${statusCode} ${statusMessage}\r\n`;
  for (let i = 0; i + 1 < raw.length; i += 2) text += `${raw[i]}: ${raw[i + 1]}\r\n`;
  return `${text}\r\n`;
}

function rawWithout(raw: readonly string[]): readonly string[] {
  const kept: string[] = [];
  for (let i = 0; i + 1 < raw.length; i += 2)
    if (!hopFields.has((raw[i] ?? "").toLowerCase())) kept.push(raw[i] ?? "", raw[i + 1] ?? "");
  return kept;
}
