// One request and its answer: the body read within limits, the answer sent once with its headers.
//
// Not here: what is answered (routes in server.ts), watches, which stream (watch.ts).

import type { IncomingMessage, ServerResponse } from "node:http";
import { StatusError } from "../api/store.ts";
import { jsonText } from "../api/written-text.ts";
import type { User } from "./hooks.ts";
import type { Target } from "./target.ts";

/** A request as its handlers see it. */
export interface Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly target: Target;
  readonly user: User;
  /** Said to the client beside the answer (RFC 7234 5.5, code 299), each once. */
  readonly warnings: Set<string>;
}

/** Bodies are at most as large as upstream's (apiserver MaxRequestBodyBytes). */
export const bodyBytesMax: number = 3 * 1024 * 1024;

/** Reads the whole body. Throws StatusError 413. */
export function readBody(request: IncomingMessage): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    if (Number(request.headers["content-length"] ?? 0) > bodyBytesMax) {
      reject(tooLarge());
      return;
    }
    const chunks: Buffer[] = [];
    let bytes = 0;
    request.on("data", (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes <= bodyBytesMax) chunks.push(chunk);
      else {
        request.pause();
        reject(tooLarge());
      }
    });
    request.on("end", () => {
      resolve(chunks.length === 1 && chunks[0] !== undefined ? chunks[0] : Buffer.concat(chunks, bytes));
    });
    request.on("error", reject);
    request.on("close", () => {
      if (!request.complete) reject(new Error("the client went away before the end of its body"));
    });
  });
}

function tooLarge(): StatusError {
  return new StatusError(413, "RequestEntityTooLarge", `Request entity too large: limit is ${bodyBytesMax}`);
}

// apiserver server/filters/priority-and-fairness.go. The server queues by itself: kubectl and client-go look for these headers and then
// leave their own rate limits (5 requests a second) aside.
export const commonHeaders: { readonly [name: string]: string } = {
  "X-Kubernetes-PF-FlowSchema-UID": "6fb2a3a5-5f3c-4d44-9a6e-6f0a3a1a2c01",
  "X-Kubernetes-PF-PriorityLevel-UID": "6fb2a3a5-5f3c-4d44-9a6e-6f0a3a1a2c02",
  "Cache-Control": "no-cache, private",
};

/** Sends a whole answer. */
export function send(
  { request, response, warnings }: Pick<Exchange, "request" | "response" | "warnings">,
  code: number,
  body: string | Buffer,
  headers: { readonly [name: string]: string } = {},
): void {
  if (response.headersSent || response.destroyed) return;
  response.writeHead(code, {
    ...commonHeaders,
    "Content-Type": "application/json",
    ...(warnings.size === 0 ? {} : { Warning: warningsText(warnings) }),
    ...headers,
    "Content-Length": Buffer.byteLength(body),
    // What is left of a body that was refused would be taken for the next request.
    ...(request.complete ? {} : { Connection: "close" }),
  });
  // Text leaves together with the head, in one piece.
  response.end(request.method === "HEAD" ? undefined : body);
}

/** Sends an answer in pieces: whole where there is one, else as fast as the client reads. */
export async function sendChunks(
  exchange: Pick<Exchange, "request" | "response" | "warnings">,
  code: number,
  chunks: Iterable<string>,
  headers: { readonly [name: string]: string } = {},
): Promise<void> {
  const { request, response, warnings } = exchange;
  const iterator = chunks[Symbol.iterator]();
  const first = iterator.next();
  let next = iterator.next();
  if (next.done === true) return send(exchange, code, first.done === true ? "" : first.value, headers);
  response.writeHead(code, {
    ...commonHeaders,
    "Content-Type": "application/json",
    ...(warnings.size === 0 ? {} : { Warning: warningsText(warnings) }),
    ...headers,
  });
  if (request.method !== "HEAD") {
    response.write(first.value);
    for (; next.done !== true && !response.destroyed; next = iterator.next())
      if (!response.write(next.value)) await drained(response);
  }
  response.end();
}

/** Resolves when there is room again, or nobody who reads. */
function drained(response: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      response.off("drain", done).off("close", done);
      resolve();
    };
    response.on("drain", done).on("close", done);
  });
}

// apiserver endpoints/filters/warning.go truncateAtTotalRunes, truncateItemRunes
const warningsLengthMax = 4096;
const warningLengthMax = 256;

/**
 * All warnings as one header (RFC 7234 5.5: `299 - "text"`, commas between them): many clients take no more than a hundred headers. Where
 * they are long together each is cut, and the last ones are left out.
 */
function warningsText(warnings: ReadonlySet<string>): string {
  const all = [...warnings];
  const isLong = all.reduce((sum, { length }) => sum + length, 0) > warningsLengthMax;
  const texts: string[] = [];
  let length = 0;
  for (const text of all) {
    const told = isLong ? text.slice(0, warningLengthMax) : text;
    length += told.length;
    if (length > warningsLengthMax) break;
    texts.push(`299 - "${told.replace(/[^\x20-\x7e]/g, "?").replace(/(["\\])/g, "\\$1")}"`);
  }
  return texts.join(", ");
}

/** Sends a value as JSON, with the newline that Go's encoder writes. */
export function sendJson(
  exchange: Pick<Exchange, "request" | "response" | "warnings">,
  code: number,
  value: unknown,
  headers: { readonly [name: string]: string } = {},
): void {
  send(exchange, code, `${jsonText(value)}\n`, headers);
}
