// The lab's control socket: what `fairlead` asks of a running lab. HTTP over a unix socket, JSON in and out; each path is a row below.
// Only the lab's owner can open the socket (its folder is 0700). The Kubernetes API is another door to the same store.

import { chmodSync, rmSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import { http } from "../kernel/http.ts";
import { StatusError } from "./api/store.ts";
import { checkWithPackets } from "./check.ts";
import { applySettled, deleteSettled, getObjects, waitUntilReady, watchObjects } from "./control-objects.ts";
import { execInPod, imageRequest, logLines } from "./control-pods.ts";
import { explainInLab, matrixInLab } from "./control-policy.ts";
import { show } from "./control-show.ts";
import { status } from "./control-status.ts";
import { traceInLab } from "./control-trace.ts";
import type { Lab } from "./lab.ts";
import type { LabPaths } from "./paths.ts";
import type { Send } from "./send.ts";
import { restoreSystemObjects } from "./system.ts";

/** A body larger than this is refused: a thousand manifests have a few megabytes. */
const bodyBytesMax = 64 * 1024 * 1024;

type Answer = (lab: Lab, body: never) => unknown;
type Lines = (lab: Lab, body: never, send: Send, signal: AbortSignal) => Promise<void>;
type Stream = (lab: Lab, body: never, socket: Duplex) => Promise<void>;

const answers: Readonly<Record<string, Answer>> = {
  "/ping": () => ({ ok: true }),
  "/status": status,
  "/apply": applySettled,
  "/restore": ({ api, cluster }: Lab) => ({ restored: restoreSystemObjects(api, cluster) }),
  "/delete": deleteSettled,
  "/get": getObjects,
  "/check": checkWithPackets,
  "/show": show,
  "/trace": traceInLab,
  "/policy": explainInLab,
  "/matrix": matrixInLab,
  "/image": imageRequest,
  "/node": async (lab: Lab, body: { action: "stop" | "start" | "add" | "delete"; node?: string }) => {
    const message = await lab.nodeAction(body.action, body.node);
    // Its words open with the node, also where nobody named one.
    return { action: body.action, node: /^node (\S+)/.exec(message)?.[1] ?? body.node, message };
  },
};

const lines: Readonly<Record<string, Lines>> = {
  "/wait": waitUntilReady,
  "/watch": watchObjects,
  "/logs": logLines,
};

const streams: Readonly<Record<string, Stream>> = {
  "/exec": execInPod,
};

/** Listens on the lab's control socket. `stop` ends the daemon. */
export async function startControl(lab: Lab, paths: LabPaths, stop: () => Promise<void>): Promise<{ close(): void }> {
  const server = http.createServer((request, response) => {
    void respond(lab, request, response, stop);
  });
  server.on("upgrade", (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    void upgrade(lab, request, socket, head);
  });
  rmSync(paths.control, { force: true });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(paths.control, resolve);
  });
  chmodSync(paths.control, 0o600);
  return {
    close() {
      server.close();
      server.closeAllConnections();
      rmSync(paths.control, { force: true });
    },
  };
}

async function respond(
  lab: Lab,
  request: IncomingMessage,
  response: ServerResponse,
  stop: () => Promise<void>,
): Promise<void> {
  const path = request.url ?? "/";
  try {
    const body = (await readBody(request)) as never;
    if (path === "/stop") {
      response.end("{}");
      response.once("close", () => void stop());
      return;
    }
    const streaming = lines[path];
    if (streaming !== undefined) {
      await respondLines(lab, streaming, body, response);
      return;
    }
    const answer = answers[path];
    if (answer === undefined)
      throw new StatusError(404, "NotFound", `the lab has no ${path}: is the command newer than the lab that runs?`);
    const value = await answer(lab, body);
    await lab.api.flushed();
    sendJson(response, 200, value ?? {});
  } catch (error) {
    const { code, body } = errorBody(error, path);
    if (response.headersSent) response.end(`${JSON.stringify(body)}\n`);
    else sendJson(response, code, body);
  }
}

async function respondLines(lab: Lab, run: Lines, body: never, response: ServerResponse): Promise<void> {
  const abort = new AbortController();
  response.once("close", () => abort.abort());
  const send: Send = (value) => {
    if (!response.headersSent) response.writeHead(200, { "content-type": "application/json-seq" });
    response.write(`${JSON.stringify(value)}\n`);
  };
  await run(lab, body, send, abort.signal);
  if (!response.headersSent) response.writeHead(200, { "content-type": "application/json-seq" });
  response.end();
}

async function upgrade(lab: Lab, request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
  const path = request.url ?? "/";
  socket.on("error", () => socket.destroy());
  try {
    const stream = streams[path];
    if (stream === undefined) throw new StatusError(404, "NotFound", `the lab has no stream ${path}`);
    const body = await readBody(request);
    socket.write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: fairlead-stream\r\n\r\n");
    if (head.length > 0) socket.unshift(head);
    await stream(lab, body as never, socket);
  } catch (error) {
    const { code, body } = errorBody(error, path);
    const text = JSON.stringify(body);
    socket.end(
      `HTTP/1.1 ${code} Refused\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(text)}\r\nconnection: close\r\n\r\n${text}`,
    );
  }
}

async function readBody(request: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > bodyBytesMax)
      throw new StatusError(
        413,
        "RequestEntityTooLarge",
        `the request is larger than ${bodyBytesMax} bytes: send it in parts`,
      );
    chunks.push(chunk);
  }
  return parseJson(Buffer.concat(chunks));
}

function parseJson(bytes: Buffer): unknown {
  if (bytes.length === 0) return {};
  try {
    return JSON.parse(bytes.toString("utf8"));
  } catch (error) {
    throw new StatusError(400, "BadRequest", `the request's body is no JSON: ${(error as Error).message}`);
  }
}

function sendJson(response: ServerResponse, code: number, value: unknown): void {
  const text = JSON.stringify(value);
  response.writeHead(code, { "content-type": "application/json", "content-length": String(Buffer.byteLength(text)) });
  response.end(text);
}

function errorBody(error: unknown, path: string): { code: number; body: { error: object } } {
  if (error instanceof StatusError)
    return {
      code: error.code,
      body: { error: { status: error.code, reason: error.reason, message: error.message, details: error.details } },
    };
  console.error(`${new Date().toISOString()} ${path}:`, error);
  const message = error instanceof Error ? error.message : String(error);
  return { code: 500, body: { error: { status: 500, reason: "InternalError", message } } };
}
