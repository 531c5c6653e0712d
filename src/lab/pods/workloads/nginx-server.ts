// Serving an nginx configuration: choosing server and location, answers, files of volumes, and proxying from inside the pod.

import type { IncomingMessage, ServerResponse } from "node:http";
import { extname, join, normalize } from "node:path";
import { requestFrom } from "./dial.ts";
import { clientText, plainAddress, send, serveHttp, startAll } from "./listen.ts";
import type { NginxConfiguration, NginxLocation, NginxServer } from "./nginx-config.ts";
import { accessLine, servedBy } from "./web.ts";
import type { RunningWorkload, WorkloadContext } from "./workload.ts";

/** Listens on every port of the configuration. Throws KernelError. */
export function serveNginx(context: WorkloadContext, configuration: NginxConfiguration): RunningWorkload {
  const sockets = new Map<string, { readonly port: number; readonly address?: string }>();
  for (const { listen } of configuration.servers)
    for (const { port, address } of listen)
      sockets.set(`${address ?? ""} ${port}`, { port, ...(address === undefined ? {} : { address }) });
  const turns = new Map<string, number>();
  return startAll(
    [...sockets.values()].map(
      (where) => () =>
        serveHttp({ namespace: context.namespace, ...where }, (request, response) => {
          const server = chooseServer(configuration.servers, where.port, request.headers.host);
          const location = server && chooseLocation(server, pathOf(request));
          if (location?.logged !== false)
            response.once("finish", () =>
              context.log(
                accessLine(request, response.statusCode, response.getHeader("content-length")?.toString() ?? "-"),
              ),
            );
          if (location === undefined) return notFound(response);
          handle({ context, configuration, turns, request, response, location, port: where.port });
        }),
    ),
  );
}

/** The server whose name fits the Host header, else the port's default: the one marked so, else the first. */
export function chooseServer(
  servers: readonly NginxServer[],
  port: number,
  host: string | undefined,
): NginxServer | undefined {
  const here = servers.filter(({ listen }) => listen.some((one) => one.port === port));
  const name = (host ?? "").replace(/:\d+$/, "").toLowerCase();
  const exact = here.find(({ names }) => names.includes(name));
  const wildcard = here.find(({ names }) => names.some((pattern) => matchesWildcard(pattern, name)));
  const marked = here.find(({ listen }) => listen.some((one) => one.port === port && one.isDefault));
  return exact ?? wildcard ?? marked ?? here[0];
}

/** nginx's order: exact, the longest prefix if it is marked ^~, expressions in order, the longest prefix. */
export function chooseLocation({ locations }: NginxServer, path: string): NginxLocation | undefined {
  let longest: NginxLocation | undefined;
  let length = -1;
  for (const location of locations) {
    const { match } = location;
    if (match.kind === "expression") continue;
    if (match.kind === "exact") {
      if (match.path === path) return location;
    } else if (path.startsWith(match.path) && match.path.length > length) {
      longest = location;
      length = match.path.length;
    }
  }
  if (longest?.match.kind === "prefix-first") return longest;
  const byExpression = locations.find(({ match }) => match.kind === "expression" && match.expression.test(path));
  return byExpression ?? longest;
}

interface Request {
  readonly context: WorkloadContext;
  readonly configuration: NginxConfiguration;
  readonly turns: Map<string, number>;
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly location: NginxLocation;
  readonly port: number;
}

function handle(call: Request): void {
  const { context, request, response, location } = call;
  const own = Object.fromEntries(
    location.headers.map(([name, value]) => [name.toLowerCase(), substitute(value, call)]),
  );
  const headers = { server: "nginx/1.27.0", ...servedBy(context), ...own };
  if (location.answer !== undefined) {
    const { status } = location.answer;
    const text = substitute(location.answer.text, call);
    if (status >= 300 && status < 400) return send(response, status, "", { ...headers, location: text });
    return send(response, status, text, { ...headers, "content-type": own["content-type"] ?? location.defaultType });
  }
  if (location.proxy !== undefined) return void proxy(call, headers);
  const found = findFile(call);
  if (typeof found === "number")
    return send(response, found, errorPage(found), { ...headers, "content-type": "text/html" });
  if (found !== undefined) {
    if (request.method !== "GET" && request.method !== "HEAD")
      return send(response, 405, errorPage(405), { ...headers, "content-type": "text/html" });
    return send(response, 200, found.data, { ...headers, "content-type": contentType(found.path) });
  }
  notFound(response, headers);
}

/** The file of a request; a status from try_files; undefined where there is nothing. */
function findFile(call: Request): { readonly path: string; readonly data: Uint8Array | string } | number | undefined {
  const { request, location } = call;
  const uri = pathOf(request);
  if (location.tryFiles.length === 0) return readAt(call, uri);
  const last = location.tryFiles.at(-1) ?? "";
  for (const candidate of location.tryFiles.slice(0, -1)) {
    const found = readAt(call, substitute(candidate, call));
    if (found !== undefined) return found;
  }
  const status = /^=(\d+)$/.exec(last)?.[1];
  return status === undefined ? readAt(call, substitute(last, call)) : Number(status);
}

function readAt(
  { context, location }: Request,
  uri: string,
): { readonly path: string; readonly data: Uint8Array | string } | undefined {
  const prefix = location.match.kind === "expression" ? "" : location.match.path;
  const path =
    location.alias === undefined
      ? join(location.root, normalize(uri))
      : join(location.alias, normalize(`/${uri.slice(prefix.length)}`));
  const kind = context.files.kindOf(path);
  const candidates = kind === "folder" || uri.endsWith("/") ? location.index.map((name) => join(path, name)) : [path];
  for (const candidate of candidates) {
    const data = context.files.read(candidate);
    if (data !== undefined) return { path: candidate, data };
  }
  // The image's own welcome page, where no volume covers it.
  const welcome = candidates.find((candidate) => candidate === "/usr/share/nginx/html/index.html");
  const covered = context.files.kindOf("/usr/share/nginx/html") !== undefined;
  return welcome === undefined || covered ? undefined : { path: welcome, data: welcomePage(context) };
}

async function proxy(call: Request, headers: Readonly<Record<string, string>>): Promise<void> {
  const { context, request, response, location } = call;
  const target = substitute(location.proxy?.target ?? "", call);
  const match = /^http:\/\/(\[[^\]]+\]|[^:/]+)(?::(\d+))?(\/.*)?$/.exec(target);
  if (match === null) return send(response, 500, errorPage(500), { ...headers, "content-type": "text/html" });
  const [, name = "", port, path] = match;
  const backend = pickBackend(call, name, Number(port ?? 80));
  const prefix = location.match.kind === "expression" ? "" : location.match.path;
  const url = request.url ?? "/";
  // With a path in proxy_pass the matched part of the request's path is replaced by it.
  const asked = path === undefined ? url : `${path}${url.slice(prefix.length)}`;
  const set = (location.proxy?.headers ?? []).map(
    ([header, value]) => [header.toLowerCase(), substitute(value, call)] as const,
  );
  const passed: Record<string, string | string[] | undefined> = {
    ...request.headers,
    host: target.slice(7).split("/")[0],
  };
  for (const hop of ["connection", "keep-alive", "upgrade", "transfer-encoding", "te"]) delete passed[hop];
  for (const [header, value] of set) passed[header] = value;
  try {
    const answer = await requestFrom(
      context,
      {
        ...backend,
        method: request.method ?? "GET",
        path: asked,
        headers: { ...passed, connection: "close" },
        timeoutMs: 60_000,
      },
      request,
    );
    const { connection: _, "keep-alive": __, ...own } = answer.headers;
    response.writeHead(answer.statusCode ?? 502, { ...own, ...headers });
    answer.pipe(response);
  } catch (error) {
    context.log(
      `[error] ${(error as Error).message} while connecting to upstream, client: ${plainAddress(request.socket.remoteAddress)}, upstream: "${target}"`,
    );
    const status = /timeout/.test((error as Error).message) ? 504 : 502;
    if (response.headersSent) response.destroy();
    else send(response, status, errorPage(status), { ...headers, "content-type": "text/html" });
  }
}

function pickBackend(
  { configuration, turns }: Request,
  name: string,
  port: number,
): { readonly host: string; readonly port: number } {
  const servers = configuration.upstreams.get(name) ?? [];
  if (servers.length === 0) return { host: name, port };
  const turn = turns.get(name) ?? 0;
  turns.set(name, turn + 1);
  const [, host = name, number] = /^(.*?)(?::(\d+))?$/.exec(servers[turn % servers.length] ?? "") ?? [];
  return { host, port: Number(number ?? 80) };
}

/** Variables of a text: $host, ${uri}, $http_name … Unknown ones are empty. */
function substitute(text: string, { context, request, port }: Request): string {
  return text.replaceAll(/\$\{?(\w+)\}?/g, (_whole, name: string) => {
    const header = /^http_(\w+)$/.exec(name)?.[1];
    if (header !== undefined) return String(request.headers[header.replaceAll("_", "-")] ?? "");
    const argument = /^arg_(\w+)$/.exec(name)?.[1];
    const url = URL.parse(request.url ?? "/", "http://x");
    if (argument !== undefined) return url?.searchParams.get(argument) ?? "";
    const { remoteAddress, remotePort, localAddress } = request.socket;
    const client = plainAddress(remoteAddress);
    const forwarded = request.headers["x-forwarded-for"];
    const values: Readonly<Record<string, string>> = {
      host: (request.headers.host ?? "").replace(/:\d+$/, ""),
      hostname: context.hostname,
      remote_addr: client,
      remote_port: String(remotePort ?? 0),
      binary_remote_addr: client,
      server_addr: plainAddress(localAddress),
      server_port: String(port),
      server_name: context.hostname,
      scheme: "http",
      uri: pathOf(request),
      document_uri: pathOf(request),
      request_uri: request.url ?? "/",
      request_method: request.method ?? "",
      args: url?.search.slice(1) ?? "",
      query_string: url?.search.slice(1) ?? "",
      is_args: (url?.search ?? "") === "" ? "" : "?",
      proxy_host: "",
      proxy_add_x_forwarded_for: forwarded === undefined ? client : `${String(forwarded)}, ${client}`,
      time_iso8601: new Date().toISOString(),
      nginx_version: "1.27.0",
      connection: clientText({}),
    };
    return values[name] ?? "";
  });
}

function matchesWildcard(pattern: string, name: string): boolean {
  if (pattern.startsWith("~")) return new RegExp(pattern.slice(1)).test(name);
  if (pattern.startsWith("*.")) return name.endsWith(pattern.slice(1));
  if (pattern.startsWith(".")) return name === pattern.slice(1) || name.endsWith(pattern);
  return pattern.endsWith(".*") && name.startsWith(pattern.slice(0, -1));
}

function pathOf(request: IncomingMessage): string {
  const path = (request.url ?? "/").split(/[?#]/)[0] ?? "/";
  try {
    return decodeURIComponent(path);
  } catch {
    return path;
  }
}

function notFound(response: ServerResponse, headers: Readonly<Record<string, string>> = {}): void {
  send(response, 404, errorPage(404), { ...headers, "content-type": "text/html" });
}

const reasons: Readonly<Record<number, string>> = {
  404: "Not Found",
  405: "Not Allowed",
  500: "Internal Server Error",
  502: "Bad Gateway",
  504: "Gateway Time-out",
};

function errorPage(status: number): string {
  const title = `${status} ${reasons[status] ?? ""}`.trim();
  return `<html>\n<head><title>${title}</title></head>\n<body>\n<center><h1>${title}</h1></center>\n<hr><center>nginx/1.27.0</center>\n</body>\n</html>\n`;
}

function welcomePage({ pod, nodeName, podIps }: WorkloadContext): string {
  return `<!DOCTYPE html>
<html>
<head><title>Welcome to nginx!</title></head>
<body>
<h1>Welcome to nginx!</h1>
<p>Fairlead's stand-in for nginx: pod ${pod.metadata.namespace ?? ""}/${pod.metadata.name} on ${nodeName}, ${podIps.join(" ")}</p>
</body>
</html>
`;
}

const types: Readonly<Record<string, string>> = {
  ".html": "text/html",
  ".htm": "text/html",
  ".css": "text/css",
  ".js": "application/javascript",
  ".json": "application/json",
  ".txt": "text/plain",
  ".xml": "text/xml",
  ".svg": "image/svg+xml",
  ".png": "image/png",
  ".jpg": "image/jpeg",
  ".ico": "image/x-icon",
};

function contentType(path: string): string {
  return types[extname(path)] ?? "application/octet-stream";
}
