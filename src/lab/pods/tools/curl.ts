// curl, for machines that have none: HTTP and HTTPS, with the options that network demos and debugging use.

import fs from "node:fs";
import process from "node:process";
import { drain, fetchOnce, FetchError, opened, urlOfWord, type Fetched, type FetchOptions } from "./fetch.ts";
import { parseOptions, UsageError, type OptionTable, type ParsedOptions } from "./options.ts";

/** The exit statuses are curl's own. */
export async function curl(words: readonly string[]): Promise<number> {
  let options: ParsedOptions;
  try {
    options = parseOptions(words, table);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    process.stderr.write(`curl: ${error.message} (this is Fairlead's small curl; the machine has none)\n`);
    return 2;
  }
  if (options.has("version")) {
    process.stdout.write("curl (Fairlead) HTTP HTTPS\n");
    return 0;
  }
  const urls = [...options.rest, ...options.all("url")];
  if (urls.length === 0) {
    process.stderr.write("curl: no URL specified\n");
    return 2;
  }
  let status = 0;
  for (const url of urls) status = await transferWithRetries(url, options);
  return status;
}

const table: OptionTable = {
  flags: [
    "silent",
    "show-error",
    "fail",
    "fail-with-body",
    "verbose",
    "head",
    "include",
    "insecure",
    "location",
    "get",
    "ipv4",
    "ipv6",
    "remote-name",
    "no-buffer",
    "compressed",
    "http1.1",
    "http1.0",
    "globoff",
    "no-keepalive",
    "version",
    "retry-connrefused",
    "retry-all-errors",
    "progress-bar",
    "no-progress-meter",
    "parallel",
    "path-as-is",
  ],
  values: [
    "output",
    "write-out",
    "max-time",
    "connect-timeout",
    "header",
    "request",
    "data",
    "data-raw",
    "data-binary",
    "data-urlencode",
    "user-agent",
    "user",
    "referer",
    "cookie",
    "retry",
    "retry-delay",
    "retry-max-time",
    "max-redirs",
    "resolve",
    "url",
    "cacert",
    "interface",
    "json",
    "noproxy",
    "proxy",
    "upload-file",
  ],
  letters: {
    s: "silent",
    S: "show-error",
    f: "fail",
    v: "verbose",
    I: "head",
    i: "include",
    k: "insecure",
    L: "location",
    G: "get",
    4: "ipv4",
    6: "ipv6",
    O: "remote-name",
    N: "no-buffer",
    g: "globoff",
    V: "version",
    "#": "progress-bar",
    Z: "parallel",
    0: "http1.0",
    o: "output",
    w: "write-out",
    m: "max-time",
    H: "header",
    X: "request",
    d: "data",
    A: "user-agent",
    u: "user",
    e: "referer",
    b: "cookie",
    T: "upload-file",
    x: "proxy",
  },
};

async function transferWithRetries(word: string, options: ParsedOptions): Promise<number> {
  const retries = Number(options.value("retry") ?? 0);
  for (let attempt = 0; ; attempt++) {
    const { code, message, http } = await transfer(word, options);
    const transient =
      code === 28 ||
      code === 6 ||
      [408, 429, 500, 502, 503, 504].includes(http) ||
      (code === 7 && (options.has("retry-connrefused") || options.has("retry-all-errors")));
    if (attempt >= retries || !transient) {
      const quiet = options.has("silent") && !options.has("show-error");
      if (code !== 0 && !quiet) process.stderr.write(`curl: (${code}) ${message}\n`);
      return code;
    }
    const seconds = Number(options.value("retry-delay") ?? Math.min(2 ** attempt, 600));
    await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
  }
}

interface Outcome {
  readonly code: number;
  readonly message: string;
  /** Status of the answer, 0 without one. */
  readonly http: number;
}

async function transfer(word: string, options: ParsedOptions): Promise<Outcome> {
  let url: URL;
  try {
    url = urlOfWord(word);
  } catch {
    return { code: 3, message: "URL rejected: Malformed input to a URL function", http: 0 };
  }
  if (url.protocol !== "http:" && url.protocol !== "https:")
    return { code: 1, message: `Protocol "${url.protocol.slice(0, -1)}" not supported`, http: 0 };
  const startedAt = performance.now();
  const report = { url, redirects: 0, size: 0, startedAt };
  try {
    return await follow(url, options, startedAt, report);
  } catch (error) {
    if (!(error instanceof FetchError)) throw error;
    writeOut(options, { ...report, remoteIp: error.address ?? "" }, undefined);
    return { code: error.code, message: error.message, http: 0 };
  }
}

async function follow(
  first: URL,
  options: ParsedOptions,
  startedAt: number,
  report: { url: URL; redirects: number; size: number; startedAt: number },
): Promise<Outcome> {
  const redirectsMax = options.has("location") ? Number(options.value("max-redirs") ?? 50) : 0;
  const say = options.has("verbose") ? (line: string): void => void process.stderr.write(`${line}\n`) : undefined;
  let url = withQuery(first, options);
  let { method, body } = methodAndBody(options);
  for (;;) {
    report.url = url;
    const request = requestOptions(url, method, body, options, startedAt, say);
    const fetched = await fetchOnce(request);
    const { response } = fetched;
    sayHeaders(say, request, response.statusCode ?? 0, response);
    const location = response.headers.location;
    const moved = [301, 302, 303, 307, 308].includes(response.statusCode ?? 0) && location !== undefined;
    if (moved && report.redirects < redirectsMax) {
      response.resume();
      report.redirects++;
      url = new URL(location, url);
      if (response.statusCode === 303 || (method === "POST" && [301, 302].includes(response.statusCode ?? 0)))
        [method, body] = ["GET", undefined];
      continue;
    }
    if (moved && options.has("location"))
      return { code: 47, message: `Maximum (${redirectsMax}) redirects followed`, http: response.statusCode ?? 0 };
    return await receive(fetched, request, options, report);
  }
}

async function receive(
  fetched: Fetched,
  request: FetchOptions,
  options: ParsedOptions,
  report: { url: URL; redirects: number; size: number; startedAt: number },
): Promise<Outcome> {
  const { response, socket } = fetched;
  const status = response.statusCode ?? 0;
  const path = options.has("remote-name") ? (request.url.pathname.split("/").at(-1) ?? "") : options.value("output");
  const remote = {
    remoteIp: socket.remoteAddress ?? "",
    remotePort: socket.remotePort,
    localIp: socket.localAddress ?? "",
    localPort: socket.localPort,
  };
  const refused = status >= 400 && (options.has("fail") || options.has("fail-with-body"));
  const write =
    refused && options.has("fail")
      ? (): void => {}
      : opened(
          path,
          (file) => fs.openSync(file, "w"),
          (fd, chunk) => void fs.writeSync(fd, chunk),
        );
  if (options.has("include") || options.has("head")) write(Buffer.from(`${headerText(response)}\r\n`, "latin1"));
  report.size = await drain(fetched, request, write);
  writeOut(options, { ...report, ...remote }, fetched);
  if (refused) return { code: 22, message: `The requested URL returned error: ${status}`, http: status };
  return { code: 0, message: "", http: status };
}

function requestOptions(
  url: URL,
  method: string,
  body: Buffer | undefined,
  options: ParsedOptions,
  startedAt: number,
  say: ((line: string) => void) | undefined,
): FetchOptions {
  const seconds = (name: string): number =>
    options.has(name) ? Number(options.value(name)) * 1000 : Number.POSITIVE_INFINITY;
  const pinned = new Map(
    options.all("resolve").map((entry) => {
      const [host = "", port = "", ...address] = entry.split(":");
      return [`${host}:${port}`, address.join(":").replaceAll(/[[\]]/g, "")] as const;
    }),
  );
  return {
    url,
    method,
    headers: headersOf(url, body, options),
    ...(body === undefined ? {} : { body }),
    ...(options.has("ipv4") ? { family: 4 as const } : options.has("ipv6") ? { family: 6 as const } : {}),
    insecure: options.has("insecure"),
    connectTimeoutMs: Math.min(seconds("connect-timeout"), 300_000),
    timeoutMs: seconds("max-time"),
    startedAt,
    pinned,
    ...(say === undefined ? {} : { say }),
  };
}

function methodAndBody(options: ParsedOptions): { method: string; body: Buffer | undefined } {
  const parts = [
    ...options.all("data").map((text) => fromFile(text, true)),
    ...options.all("data-raw").map((text) => Buffer.from(text)),
    ...options.all("data-binary").map((text) => fromFile(text, false)),
    ...options.all("data-urlencode").map(urlEncoded),
    ...options.all("json").map((text) => fromFile(text, false)),
  ];
  const upload = options.value("upload-file");
  const joined =
    parts.length === 0 || options.has("get")
      ? undefined
      : Buffer.concat(parts.flatMap((part, index) => (index === 0 ? [part] : [Buffer.from("&"), part])));
  const body = upload === undefined ? joined : fs.readFileSync(upload === "-" ? 0 : upload);
  const usual = options.has("head") ? "HEAD" : upload !== undefined ? "PUT" : body === undefined ? "GET" : "POST";
  return { method: options.value("request") ?? usual, body };
}

function fromFile(text: string, withoutNewlines: boolean): Buffer {
  if (!text.startsWith("@")) return Buffer.from(text);
  const data = fs.readFileSync(text === "@-" ? 0 : text.slice(1));
  return withoutNewlines ? Buffer.from(data.toString("latin1").replaceAll(/[\r\n]/g, ""), "latin1") : data;
}

function urlEncoded(text: string): Buffer {
  const [name = "", value] = text.split(/=(.*)/s);
  return Buffer.from(
    value === undefined ? encodeURIComponent(name) : `${name === "" ? "" : `${name}=`}${encodeURIComponent(value)}`,
  );
}

function withQuery(url: URL, options: ParsedOptions): URL {
  if (!options.has("get")) return url;
  const data = [
    ...options.all("data"),
    ...options.all("data-raw"),
    ...options.all("data-urlencode").map((text) => urlEncoded(text).toString()),
  ];
  const joined = new URL(url);
  joined.search = [url.search.slice(1), ...data].filter((part) => part !== "").join("&");
  return joined;
}

function headersOf(url: URL, body: Buffer | undefined, options: ParsedOptions): Record<string, string> {
  const headers: Record<string, string> = {
    Host: url.host,
    "User-Agent": options.value("user-agent") ?? "curl/8.0 (Fairlead)",
    Accept: "*/*",
  };
  if (body !== undefined) {
    headers["Content-Length"] = String(body.length);
    headers["Content-Type"] = options.has("json") ? "application/json" : "application/x-www-form-urlencoded";
  }
  const user =
    options.value("user") ??
    (url.username === "" ? undefined : `${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}`);
  if (user !== undefined) headers["Authorization"] = `Basic ${Buffer.from(user).toString("base64")}`;
  const referer = options.value("referer");
  const cookie = options.value("cookie");
  if (referer !== undefined) headers["Referer"] = referer;
  if (cookie !== undefined) headers["Cookie"] = cookie;
  for (const line of options.all("header")) {
    const [name = "", value = ""] = line.split(/:\s*(.*)/s);
    for (const known of Object.keys(headers)) if (known.toLowerCase() === name.toLowerCase()) delete headers[known];
    if (value !== "") headers[name] = value;
  }
  return headers;
}

function sayHeaders(
  say: ((line: string) => void) | undefined,
  request: FetchOptions,
  status: number,
  response: Fetched["response"],
): void {
  if (say === undefined) return;
  say(`> ${request.method} ${request.url.pathname}${request.url.search} HTTP/1.1`);
  for (const [name, value] of Object.entries(request.headers)) say(`> ${name}: ${value}`);
  say(">");
  for (const line of headerText(response).trimEnd().split("\r\n")) say(`< ${line}`);
  say(`<${status === 0 ? " ?" : ""}`);
}

function headerText(response: Fetched["response"]): string {
  const lines = [`HTTP/${response.httpVersion} ${response.statusCode} ${response.statusMessage}`];
  for (let index = 0; index < response.rawHeaders.length; index += 2)
    lines.push(`${response.rawHeaders[index]}: ${response.rawHeaders[index + 1]}`);
  return `${lines.join("\r\n")}\r\n`;
}

function writeOut(
  options: ParsedOptions,
  report: {
    readonly url: URL;
    readonly redirects: number;
    readonly size: number;
    readonly startedAt: number;
    readonly remoteIp?: string;
    readonly remotePort?: number | undefined;
    readonly localIp?: string;
    readonly localPort?: number | undefined;
  },
  fetched: Fetched | undefined,
): void {
  const format = options.value("write-out");
  if (format === undefined) return;
  const seconds = (ms: number | undefined): string => ((ms ?? 0) / 1000).toFixed(6);
  const status = String(fetched?.response.statusCode ?? 0).padStart(3, "0");
  const values: Readonly<Record<string, string>> = {
    http_code: status,
    response_code: status,
    http_version: fetched?.response.httpVersion ?? "0",
    content_type: fetched?.response.headers["content-type"] ?? "",
    method: options.value("request") ?? "GET",
    num_redirects: String(report.redirects),
    remote_ip: report.remoteIp ?? "",
    remote_port: String(report.remotePort ?? 0),
    local_ip: report.localIp ?? "",
    local_port: String(report.localPort ?? 0),
    scheme: report.url.protocol.slice(0, -1),
    size_download: String(report.size),
    speed_download: String(Math.round(report.size / Math.max(0.001, (performance.now() - report.startedAt) / 1000))),
    time_namelookup: seconds(fetched?.times.lookup),
    time_connect: seconds(fetched?.times.connect),
    time_appconnect: seconds(0),
    time_pretransfer: seconds(fetched?.times.connect),
    time_starttransfer: seconds(fetched?.times.firstByte),
    time_total: seconds(performance.now() - report.startedAt),
    url_effective: report.url.href,
    url: report.url.href,
    redirect_url: fetched?.response.headers.location ?? "",
    exitcode: fetched === undefined ? "1" : "0",
    errormsg: "",
  };
  const text = format
    .replaceAll(/%(%|\{([\w.]+)\})/g, (whole, escaped: string, name: string | undefined) =>
      escaped === "%" ? "%" : name === undefined ? whole : (values[name] ?? ""),
    )
    .replaceAll(/\\([nrt\\])/g, (_whole, letter: string) => ({ n: "\n", r: "\r", t: "\t" })[letter] ?? letter);
  process.stdout.write(text);
}
