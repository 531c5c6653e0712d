// One HTTP exchange with times and addresses, as curl and wget need it. TLS without checking where it is asked for.

import { lookup } from "node:dns/promises";
import type { IncomingMessage } from "node:http";
import https from "node:https";
import { isIP, type Socket } from "node:net";
import process from "node:process";
import { http } from "../../../kernel/http.ts";

export interface FetchOptions {
  readonly url: URL;
  readonly method: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: Buffer;
  readonly family?: 4 | 6;
  readonly insecure: boolean;
  readonly connectTimeoutMs: number;
  /** For the whole exchange, from `startedAt`. */
  readonly timeoutMs: number;
  readonly startedAt: number;
  /** host:port → address, as curl's --resolve. */
  readonly pinned?: ReadonlyMap<string, string>;
  /** Tells what happens, for -v. */
  readonly say?: (line: string) => void;
}

export interface Fetched {
  readonly response: IncomingMessage;
  readonly socket: Socket;
  readonly times: { readonly lookup: number; readonly connect: number; readonly firstByte: number };
}

/** Why there is no answer. `code` is curl's exit status. */
export class FetchError extends Error {
  override readonly name = "FetchError";
  readonly code: 6 | 7 | 28 | 35 | 52 | 56;
  readonly address: string | undefined;

  constructor(code: FetchError["code"], message: string, address?: string) {
    super(message);
    this.code = code;
    this.address = address;
  }
}

/** Sends a request; resolves when the header has come. Rejects with FetchError. */
export async function fetchOnce(options: FetchOptions): Promise<Fetched> {
  const { url, startedAt } = options;
  const secure = url.protocol === "https:";
  const host = url.hostname.replace(/^\[(.*)\]$/, "$1");
  const port = Number(url.port || (secure ? 443 : 80));
  const addresses = await addressesOf(options, host, port);
  const resolved = performance.now() - startedAt;
  let failure: unknown;
  for (const address of addresses) {
    try {
      return await exchange(options, { host, port, address, secure, resolved });
    } catch (error) {
      failure = error;
      if (!(error instanceof FetchError) || error.code !== 7) throw error;
    }
  }
  throw failure;
}

async function addressesOf(options: FetchOptions, host: string, port: number): Promise<readonly string[]> {
  const pinned = options.pinned?.get(`${host}:${port}`);
  if (pinned !== undefined) return [pinned];
  if (isIP(host) !== 0) return [host];
  try {
    const found = await late(lookup(host, { all: true, family: options.family ?? 0 }), options);
    return found.map(({ address }) => address);
  } catch (error) {
    if (error instanceof FetchError) throw error;
    throw new FetchError(6, `Could not resolve host: ${host}`);
  }
}

function late<T>(work: Promise<T>, { timeoutMs, startedAt, connectTimeoutMs }: FetchOptions): Promise<T> {
  const ms = Math.min(timeoutMs, connectTimeoutMs) - (performance.now() - startedAt);
  if (!Number.isFinite(ms)) return work;
  return Promise.race([
    work,
    new Promise<never>((_resolve, reject) => {
      setTimeout(
        () => reject(new FetchError(28, `Resolving timed out after ${Math.round(ms)} milliseconds`)),
        ms,
      ).unref();
    }),
  ]);
}

function exchange(
  options: FetchOptions,
  to: {
    readonly host: string;
    readonly port: number;
    readonly address: string;
    readonly secure: boolean;
    readonly resolved: number;
  },
): Promise<Fetched> {
  const { url, startedAt, say } = options;
  const since = (): number => performance.now() - startedAt;
  say?.(`*   Trying ${to.address.includes(":") ? `[${to.address}]` : to.address}:${to.port}...`);
  return new Promise((resolve, reject) => {
    let connected = 0;
    const request = (to.secure ? https : http).request({
      host: to.address,
      port: to.port,
      path: `${url.pathname}${url.search}`,
      method: options.method,
      headers: options.headers,
      agent: false,
      ...(to.secure ? { servername: isIP(to.host) === 0 ? to.host : "", rejectUnauthorized: !options.insecure } : {}),
    });
    const fail = (error: FetchError): void => {
      clearTimeout(connectTimer);
      request.destroy();
      reject(error);
    };
    const where = `${to.host} port ${to.port}`;
    const timeOut = (): void =>
      fail(
        connected === 0
          ? new FetchError(
              28,
              `Failed to connect to ${where} after ${Math.round(since())} ms: Timeout was reached`,
              to.address,
            )
          : new FetchError(
              28,
              `Operation timed out after ${Math.round(since())} milliseconds with 0 bytes received`,
              to.address,
            ),
      );
    const connectTimer = Number.isFinite(options.connectTimeoutMs)
      ? setTimeout(timeOut, options.connectTimeoutMs - since())
      : undefined;
    if (Number.isFinite(options.timeoutMs)) setTimeout(timeOut, Math.max(0, options.timeoutMs - since())).unref();
    request.on("socket", (socket) =>
      socket.once("connect", () => {
        connected = since();
        clearTimeout(connectTimer);
        say?.(`* Connected to ${to.host} (${to.address}) port ${to.port}`);
      }),
    );
    request.on("error", (error: NodeJS.ErrnoException) =>
      fail(errorOf(error, where, to.address, connected > 0, since())),
    );
    request.on("response", (response) =>
      resolve({
        response,
        socket: response.socket,
        times: { lookup: to.resolved, connect: connected, firstByte: since() },
      }),
    );
    request.end(options.body);
  });
}

function errorOf(
  error: NodeJS.ErrnoException,
  where: string,
  address: string,
  connected: boolean,
  ms: number,
): FetchError {
  const { code = "" } = error;
  if (code.startsWith("ERR_TLS") || code.startsWith("ERR_SSL") || /CERT|SELF_SIGNED|EPROTO/.test(code))
    return new FetchError(35, `SSL: ${error.message}`, address);
  if (!connected) {
    const why = connectErrors[code] ?? "Could not connect to server";
    return new FetchError(7, `Failed to connect to ${where} after ${Math.round(ms)} ms: ${why}`, address);
  }
  if (error.message === "socket hang up") return new FetchError(52, "Empty reply from server", address);
  return new FetchError(
    56,
    `Recv failure: ${code === "ECONNRESET" ? "Connection reset by peer" : error.message}`,
    address,
  );
}

const connectErrors: Readonly<Record<string, string>> = {
  ECONNREFUSED: "Connection refused",
  EHOSTUNREACH: "No route to host",
  ENETUNREACH: "Network is unreachable",
  ETIMEDOUT: "Connection timed out",
  EACCES: "Permission denied",
};

/** Reads a response to its end, each piece to `write`; the number of bytes. Rejects with FetchError after the time is over. */
export async function drain(
  { response }: Fetched,
  options: Pick<FetchOptions, "timeoutMs" | "startedAt">,
  write: (chunk: Buffer) => void,
): Promise<number> {
  let size = 0;
  const over = Number.isFinite(options.timeoutMs)
    ? setTimeout(
        () => response.destroy(new Error("late")),
        Math.max(0, options.timeoutMs - (performance.now() - options.startedAt)),
      )
    : undefined;
  try {
    for await (const chunk of response as AsyncIterable<Buffer>) {
      size += chunk.length;
      write(chunk);
    }
  } catch (error) {
    if ((error as Error).message === "late") {
      const ms = Math.round(performance.now() - options.startedAt);
      throw new FetchError(28, `Operation timed out after ${ms} milliseconds with ${size} bytes received`);
    }
    throw new FetchError(56, `Recv failure: ${(error as Error).message}`);
  } finally {
    clearTimeout(over);
  }
  return size;
}

/** The URL of a word, http where no scheme is named. Throws TypeError. */
export function urlOfWord(word: string): URL {
  return new URL(/^[a-z][a-z0-9+.-]*:\/\//i.test(word) ? word : `http://${word}`);
}

/** Writes to a file, or to standard output for `-`. */
export function opened(
  path: string | undefined,
  open: (path: string) => number,
  write: (fd: number, chunk: Buffer) => void,
): (chunk: Buffer) => void {
  if (path === undefined || path === "-") return (chunk) => void process.stdout.write(chunk);
  const fd = open(path);
  return (chunk) => write(fd, chunk);
}
