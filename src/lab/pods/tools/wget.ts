// wget, for machines that have none: fetches one file by HTTP or HTTPS, with busybox's messages and GNU's common options.

import fs from "node:fs";
import process from "node:process";
import { drain, fetchOnce, FetchError, opened, urlOfWord } from "./fetch.ts";
import { parseOptions, UsageError, type OptionTable, type ParsedOptions } from "./options.ts";

/** 0, or 1 where something failed. */
export async function wget(words: readonly string[]): Promise<number> {
  let options: ParsedOptions;
  try {
    options = parseOptions(words, table);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    return complain(`${error.message} (this is Fairlead's small wget; the machine has none)`);
  }
  const [word] = options.rest;
  if (word === undefined) return complain("missing URL");
  const tries = Math.max(1, Number(options.value("tries") ?? 1));
  for (let attempt = 1; ; attempt++) {
    try {
      return await get(word, options);
    } catch (error) {
      if (!(error instanceof FetchError)) return complain((error as Error).message);
      if (attempt >= tries || error.code === 6) return complain(messageOf(error, word));
    }
  }
}

const table: OptionTable = {
  flags: [
    "quiet",
    "spider",
    "server-response",
    "no-check-certificate",
    "no-verbose",
    "verbose",
    "continue",
    "4",
    "6",
    "inet4-only",
    "inet6-only",
    "no-cache",
    "no-proxy",
  ],
  values: [
    "output-document",
    "timeout",
    "tries",
    "header",
    "post-data",
    "post-file",
    "user-agent",
    "connect-timeout",
    "read-timeout",
    "dns-timeout",
    "output-file",
    "directory-prefix",
    "method",
    "body-data",
    "waitretry",
  ],
  letters: {
    q: "quiet",
    O: "output-document",
    T: "timeout",
    t: "tries",
    S: "server-response",
    U: "user-agent",
    v: "verbose",
    c: "continue",
    o: "output-file",
    P: "directory-prefix",
  },
};

async function get(word: string, options: ParsedOptions): Promise<number> {
  const startedAt = performance.now();
  const timeout = options.value("timeout") ?? options.value("read-timeout");
  const timeoutMs = timeout === undefined ? Number.POSITIVE_INFINITY : Number(timeout) * 1000;
  const connect = options.value("connect-timeout") ?? timeout;
  let url = urlOfWord(word);
  for (let hops = 0; ; hops++) {
    const request = {
      url,
      ...methodAndBody(options),
      headers: headersOf(url, options),
      ...(options.has("4") || options.has("inet4-only") ? { family: 4 as const } : {}),
      ...(options.has("6") || options.has("inet6-only") ? { family: 6 as const } : {}),
      insecure: options.has("no-check-certificate"),
      connectTimeoutMs: connect === undefined ? 300_000 : Number(connect) * 1000,
      timeoutMs,
      startedAt,
    };
    const fetched = await fetchOnce(request);
    const { response, socket } = fetched;
    const status = response.statusCode ?? 0;
    if (!options.has("quiet"))
      process.stderr.write(`Connecting to ${url.host} (${socket.remoteAddress}:${socket.remotePort})\n`);
    if (options.has("server-response"))
      process.stderr.write(`  HTTP/${response.httpVersion} ${status} ${response.statusMessage}\n`);
    const { location } = response.headers;
    if (status >= 300 && status < 400 && location !== undefined && hops < 20) {
      response.resume();
      url = new URL(location, url);
      continue;
    }
    if (status >= 400) {
      response.resume();
      return complain(`server returned error: HTTP/${response.httpVersion} ${status} ${response.statusMessage}`);
    }
    if (options.has("spider")) {
      response.destroy();
      if (!options.has("quiet")) process.stderr.write("remote file exists\n");
      return 0;
    }
    const path = options.value("output-document") ?? fileName(url, options.value("directory-prefix"));
    await drain(
      fetched,
      request,
      opened(
        path,
        (file) => fs.openSync(file, "w"),
        (fd, chunk) => void fs.writeSync(fd, chunk),
      ),
    );
    if (!options.has("quiet") && path !== "-") process.stderr.write(`'${path}' saved\n`);
    return 0;
  }
}

function methodAndBody(options: ParsedOptions): { readonly method: string; readonly body?: Buffer } {
  const file = options.value("post-file");
  const text = options.value("post-data") ?? options.value("body-data");
  const body = file !== undefined ? fs.readFileSync(file) : text === undefined ? undefined : Buffer.from(text);
  const method = options.value("method") ?? (options.has("spider") ? "HEAD" : body === undefined ? "GET" : "POST");
  return body === undefined ? { method } : { method, body };
}

function headersOf(url: URL, options: ParsedOptions): Readonly<Record<string, string>> {
  const own = options.all("header").map((line) => line.split(/:\s*(.*)/s) as [string, string]);
  const hasBody = options.has("post-data") || options.has("post-file");
  return {
    Host: url.host,
    "User-Agent": options.value("user-agent") ?? "Wget",
    Accept: "*/*",
    ...(hasBody ? { "Content-Type": "application/x-www-form-urlencoded" } : {}),
    ...Object.fromEntries(own),
  };
}

function fileName(url: URL, folder: string | undefined): string {
  const name = url.pathname.split("/").at(-1);
  return `${folder === undefined ? "" : `${folder}/`}${name === undefined || name === "" ? "index.html" : name}`;
}

function messageOf(error: FetchError, word: string): string {
  if (error.code === 6) return `bad address '${urlOfWord(word).host}'`;
  if (error.code === 28) return "download timed out";
  if (error.code === 7)
    return `can't connect to remote host (${error.address ?? ""}): ${error.message.split(": ").at(-1)}`;
  return error.message;
}

function complain(message: string): number {
  process.stderr.write(`wget: ${message}\n`);
  return 1;
}
