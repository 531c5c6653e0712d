// Asks a running lab through its control socket: HTTP with JSON bodies over a unix socket in the lab's folder.

import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import { http } from "../kernel/http.ts";
import type { LabPaths } from "./paths.ts";

/** What the lab answered when it refused. */
export class LabError extends Error {
  override readonly name = "LabError";
  readonly status: number;
  readonly reason: string;
  readonly details: unknown;

  constructor(status: number, reason: string, message: string, details: unknown) {
    super(message);
    this.status = status;
    this.reason = reason;
    this.details = details;
  }
}

export interface LabClient {
  /** One question, one answer. Throws LabError. */
  call<T>(path: string, body?: unknown): Promise<T>;
  /** One question, a line of JSON at a time. Throws LabError. */
  lines<T>(path: string, body: unknown, line: (value: T) => void): Promise<void>;
  /** A two-way stream (exec). Throws LabError. */
  stream(path: string, body: unknown): Promise<Duplex>;
  /** Does a daemon answer at all? */
  alive(): Promise<boolean>;
}

/** A client of the lab with these paths; connects at each call. */
export function labClient(paths: LabPaths): LabClient {
  const send = (path: string, body: unknown, headers: Record<string, string> = {}): Promise<IncomingMessage | Duplex> =>
    new Promise((resolve, reject) => {
      const text = body === undefined ? undefined : JSON.stringify(body);
      const outgoing = http.request({
        socketPath: paths.control,
        path,
        method: "POST",
        headers: {
          ...headers,
          "content-type": "application/json",
          "content-length": String(Buffer.byteLength(text ?? "")),
        },
      });
      outgoing.on("error", (error: NodeJS.ErrnoException) => reject(notRunning(paths, error)));
      outgoing.on("response", resolve);
      outgoing.on("upgrade", (_response, socket, head) => {
        if (head.length > 0) socket.unshift(head);
        resolve(socket);
      });
      outgoing.end(text);
    });

  return {
    async call<T>(path: string, body?: unknown): Promise<T> {
      const response = (await send(path, body)) as IncomingMessage;
      const answer = await readJson(response);
      if (response.statusCode !== 200) throw asError(response.statusCode ?? 500, answer);
      return answer as T;
    },
    async lines<T>(path: string, body: unknown, line: (value: T) => void): Promise<void> {
      const response = (await send(path, body)) as IncomingMessage;
      if (response.statusCode !== 200) throw asError(response.statusCode ?? 500, await readJson(response));
      response.setEncoding("utf8");
      let text = "";
      for await (const chunk of response as AsyncIterable<string>) {
        text += chunk;
        for (let end = text.indexOf("\n"); end >= 0; end = text.indexOf("\n")) {
          const value = JSON.parse(text.slice(0, end)) as T | { error: { status: number } };
          text = text.slice(end + 1);
          if (typeof value === "object" && value !== null && "error" in value) throw asError(value.error.status, value);
          line(value);
        }
      }
    },
    async stream(path, body): Promise<Duplex> {
      const answer = await send(path, body, { connection: "Upgrade", upgrade: "fairlead-stream" });
      if (answer instanceof http.IncomingMessage) throw asError(answer.statusCode ?? 500, await readJson(answer));
      return answer;
    },
    async alive(): Promise<boolean> {
      try {
        await this.call("/ping");
        return true;
      } catch {
        return false;
      }
    },
  };
}

async function readJson(response: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = [];
  for await (const chunk of response as AsyncIterable<Buffer>) chunks.push(chunk);
  const text = Buffer.concat(chunks).toString("utf8");
  return text === "" ? undefined : JSON.parse(text);
}

function asError(status: number, answer: unknown): LabError {
  const error = (answer as { error?: { reason?: string; message?: string; details?: unknown } } | undefined)?.error;
  return new LabError(
    status,
    error?.reason ?? "InternalError",
    error?.message ?? `the lab answered ${status}`,
    error?.details,
  );
}

function notRunning(paths: LabPaths, error: NodeJS.ErrnoException): Error {
  if (error.code !== "ENOENT" && error.code !== "ECONNREFUSED")
    return new Error(`ask the lab at ${paths.control}: ${error.message}`, { cause: error });
  const name = paths.folder.slice(paths.folder.lastIndexOf("/") + 1);
  return new LabError(
    503,
    "NotRunning",
    `lab "${name}" is not running; start it with: fairlead up${name === "default" ? "" : ` --name ${name}`}`,
    undefined,
  );
}
