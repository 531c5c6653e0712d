// The small HTTP servers of demos: httpd, http-echo, whoami, hello-app, nginxdemos/hello, echoserver.
// Each answers as the image it stands for does, so that what a tutorial shows is what is seen.

import type { IncomingMessage } from "node:http";
import { listenAddress, parseFlags, portOf } from "./flags.ts";
import { plainAddress, readBody, remoteText, send, serveHttp, type Handler } from "./listen.ts";
import { programOf, WorkloadError, type BuiltinWorkload, type WorkloadContext } from "./workload.ts";

/** Apache httpd: "It works!", and the files of /usr/local/apache2/htdocs where a volume brings some. */
export const httpd: BuiltinWorkload = web("httpd", ["httpd-foreground", "httpd", "apache2"], (context) => {
  const folder = "/usr/local/apache2/htdocs";
  const handler: Handler = (request, response) => {
    const { pathname } = urlOf(request);
    const path = `${folder}${pathname}${pathname.endsWith("/") ? "index.html" : ""}`;
    const file = context.files.read(path);
    const headers = { server: "Apache/2.4 (Fairlead)", "content-type": "text/html", ...servedBy(context) };
    const own = pathname === "/" ? "<html><body><h1>It works!</h1></body></html>\n" : undefined;
    const status = file === undefined && own === undefined ? 404 : 200;
    context.log(accessLine(request, status));
    send(response, status, file ?? own ?? "<h1>Not Found</h1>\n", headers);
  };
  return { port: 80, handler };
});

/** hashicorp/http-echo -text=… -listen=:5678 */
export const httpEcho: BuiltinWorkload = web("http-echo", ["http-echo"], (context) => {
  const { flags } = parseFlags(context.args.slice(1), new Set(["version"]));
  const text = flags.get("text") ?? context.env["ECHO_TEXT"];
  if (text === undefined) throw new WorkloadError("Missing -text option or ECHO_TEXT env var!", 127);
  const status = Number(flags.get("status-code") ?? 200);
  const listen = listenAddress(flags.get("listen") ?? ":5678", 5678);
  context.log(`[INFO] server is listening on ${flags.get("listen") ?? ":5678"}`);
  const handler: Handler = (request, response) => {
    const path = urlOf(request).pathname;
    if (path === "/health") return send(response, 200, '{"status":"ok"}\n', { "content-type": "application/json" });
    const body = `${text}\n`;
    context.log(
      `${request.headers.host ?? ""} ${remoteText(request)} "${request.method} ${request.url} HTTP/1.1" ${status} ${body.length} "${request.headers["user-agent"] ?? ""}"`,
    );
    send(response, status, body, { "x-app-name": "http-echo", "x-app-version": "1.0.0", ...servedBy(context) });
  };
  return { ...listen, handler };
});

/** The two images of kubectl's update demo, which say in data.json which picture they show. */
export function updateDemo(image: string): BuiltinWorkload {
  return web("update-demo", ["test-webserver"], (context) => ({
    port: 80,
    handler(request, response) {
      const { pathname } = urlOf(request);
      context.log(accessLine(request, pathname === "/data.json" || pathname === "/" ? 200 : 404));
      if (pathname === "/data.json")
        return send(response, 200, `${JSON.stringify({ image })}\n`, { "content-type": "application/json" });
      if (pathname === "/") return send(response, 200, `<h1>${image}</h1>\n`, { "content-type": "text/html" });
      send(response, 404, "404 page not found\n");
    },
  }));
}

/** traefik/whoami: who answers, on which addresses, to whom, and the request as it arrived. */
export const whoami: BuiltinWorkload = web("whoami", ["whoami"], (context) => {
  const { flags } = parseFlags(context.args.slice(1), new Set(["verbose"]));
  const port = portOf(flags.get("port") ?? context.env["WHOAMI_PORT_NUMBER"], 80);
  const name = flags.get("name") ?? context.env["WHOAMI_NAME"];
  context.log(`Starting up on port ${port}`);
  const handler: Handler = (request, response) => {
    const { pathname, searchParams } = urlOf(request);
    const ips = ["127.0.0.1", "::1", ...context.podIps];
    if (pathname === "/health") return send(response, 200, "");
    if (pathname === "/data")
      return send(response, 200, "|".repeat(Math.min(Number(searchParams.get("size") ?? 1), 1 << 24)));
    if (pathname === "/api") {
      const value = {
        hostname: context.hostname,
        ip: ips,
        headers: rawHeaders(request),
        url: request.url,
        host: request.headers.host,
        method: request.method,
        name,
        remoteAddr: remoteText(request),
      };
      return send(response, 200, `${JSON.stringify(value)}\n`, { "content-type": "application/json" });
    }
    const lines = [
      ...(name === undefined ? [] : [`Name: ${name}`]),
      `Hostname: ${context.hostname}`,
      ...ips.map((ip) => `IP: ${ip}`),
      `RemoteAddr: ${remoteText(request)}`,
      `${request.method} ${request.url} HTTP/${request.httpVersion}`,
      `Host: ${request.headers.host ?? ""}`,
      ...headerLines(request),
    ];
    send(response, 200, `${lines.join("\n")}\n\n`, servedBy(context));
  };
  return { port, handler };
});

/** gcr.io/google-samples/hello-app */
export const helloApp: BuiltinWorkload = web("hello-app", ["hello-app"], (context) => {
  const port = portOf(context.env["PORT"], 8080);
  const version = context.args.includes("2.0") ? "2.0.0" : "1.0.0";
  context.log(`Server listening on port ${port}`);
  const handler: Handler = (request, response) => {
    context.log(`Serving request: ${urlOf(request).pathname}`);
    send(response, 200, `Hello, world!\nVersion: ${version}\nHostname: ${context.hostname}\n`, servedBy(context));
  };
  return { port, handler };
});

/** nginxdemos/hello:plain-text, and its page for browsers. */
export const nginxHello: BuiltinWorkload = web("nginx-hello", ["nginx-hello"], (context) => ({
  port: 80,
  handler(request, response) {
    const { localAddress, localPort } = request.socket;
    const lines = [
      `Server address: ${plainAddress(localAddress)}:${localPort}`,
      `Server name: ${context.hostname}`,
      `Date: ${new Date().toUTCString()}`,
      `URI: ${request.url}`,
      `Remote address: ${remoteText(request)}`,
    ];
    send(response, 200, `${lines.join("\n")}\n`, servedBy(context));
  },
}));

/** registry.k8s.io/echoserver and its kin: everything about the request, in words. */
export const echoServer: BuiltinWorkload = web("echoserver", ["echoserver"], (context) => ({
  port: portOf(context.env["PORT"], 8080),
  handler(request, response) {
    readBody(request, 1 << 20, (body) => {
      const lines = [
        "",
        `Hostname: ${context.hostname}`,
        "",
        "Pod Information:",
        `\tnode name:\t${context.nodeName}`,
        `\tpod name:\t${context.pod.metadata.name}`,
        `\tpod namespace:\t${context.pod.metadata.namespace ?? ""}`,
        `\tpod IP:\t${context.podIps[0] ?? ""}`,
        "",
        "Request Information:",
        `\tclient_address=${plainAddress(request.socket.remoteAddress)}`,
        `\tmethod=${request.method}`,
        `\treal path=${request.url}`,
        `\trequest_version=${request.httpVersion}`,
        "",
        "Request Headers:",
        ...Object.entries(request.headers).map(([name, value]) => `\t${name}=${String(value)}`),
        "",
        "Request Body:",
        body.length === 0 ? "\t-no body in request-" : body.toString("utf8"),
        "",
      ];
      send(response, 200, `${lines.join("\n")}\n`, servedBy(context));
    });
  },
}));

/** kennethreitz/httpbin (port 80) and mccutchen/go-httpbin (port 8080): the endpoints that show a request or shape an answer. */
export const httpbin: BuiltinWorkload = web("httpbin", ["httpbin", "go-httpbin", "gunicorn"], (context) => {
  const { flags } = parseFlags(context.args.slice(1));
  const fallback = programOf(context.args) === "go-httpbin" ? 8080 : 80;
  const handler: Handler = (request, response) =>
    readBody(request, 1 << 22, (body) => answerBin(context, request, response, body));
  return { port: portOf(flags.get("port") ?? context.env["PORT"], fallback), handler };
});

const answerBin = (
  context: WorkloadContext,
  request: IncomingMessage,
  response: Parameters<Handler>[1],
  body: Buffer,
): void => {
  const url = urlOf(request);
  const [, first = "", second = ""] = url.pathname.split("/");
  const json = (value: unknown, status = 200): void =>
    send(response, status, `${JSON.stringify(value, null, 2)}\n`, {
      "content-type": "application/json",
      ...servedBy(context),
    });
  const shown = {
    args: Object.fromEntries(url.searchParams),
    headers: rawHeaders(request),
    origin: plainAddress(request.socket.remoteAddress),
    url: url.href,
  };
  const text = body.toString("utf8");
  switch (first) {
    case "":
      return send(
        response,
        200,
        "httpbin: /get /post /anything /headers /ip /user-agent /uuid /status/N /delay/N /bytes/N\n",
      );
    case "get":
      return json(shown);
    case "post":
    case "put":
    case "patch":
    case "delete":
    case "anything":
      return json({ ...shown, method: request.method, data: text, json: parseJson(text) });
    case "headers":
      return json({ headers: shown.headers });
    case "ip":
      return json({ origin: shown.origin });
    case "user-agent":
      return json({ "user-agent": request.headers["user-agent"] ?? "" });
    case "uuid":
      return json({ uuid: crypto.randomUUID() });
    case "hostname":
      return json({ hostname: context.hostname });
    case "status": {
      const status = Number(second);
      return send(response, status >= 200 && status < 600 ? status : 400, "");
    }
    case "delay":
      setTimeout(() => json(shown), Math.min(Number(second) || 0, 10) * 1000).unref();
      return;
    case "bytes":
      return send(response, 200, Buffer.alloc(Math.min(Number(second) || 0, 1 << 20)), {
        "content-type": "application/octet-stream",
      });
    default:
      return json({ error: "Not Found", message: `Fairlead's stand-in for httpbin has no ${url.pathname}` }, 404);
  }
};

/** A server by the names its program goes by; `plan` reads the command line and gives port and handler. */
function web(
  name: string,
  programs: readonly string[],
  plan: (context: WorkloadContext) => { readonly port: number; readonly address?: string; readonly handler: Handler },
): BuiltinWorkload {
  return {
    name,
    serves: (argv) => programs.includes(programOf(argv)),
    start(context) {
      const { handler, ...where } = plan(context);
      return serveHttp({ namespace: context.namespace, ...where }, handler);
    },
  };
}

/** Who answered, whatever the body says. */
export function servedBy(context: WorkloadContext): Readonly<Record<string, string>> {
  return {
    "x-served-by": `${context.pod.metadata.namespace ?? ""}/${context.pod.metadata.name} on ${context.nodeName}`,
  };
}

/** The request's URL; a path that is none gives "/". */
export function urlOf(request: IncomingMessage): URL {
  const base = `http://${request.headers.host ?? "localhost"}`;
  return (
    URL.parse(request.url ?? "/", base) ??
    URL.parse(request.url ?? "/", "http://localhost") ??
    new URL("http://localhost/")
  );
}

/** A line of the access log in the combined format. */
export function accessLine(request: IncomingMessage, status: number, bytes: number | string = "-"): string {
  const time = new Date().toUTCString().replace(/^\w+, (\d+) (\w+) (\d+) ([\d:]+) GMT$/, "$1/$2/$3:$4 +0000");
  const { referer = "-", "user-agent": agent = "-", "x-forwarded-for": forwarded = "-" } = request.headers;
  return `${plainAddress(request.socket.remoteAddress)} - - [${time}] "${request.method} ${request.url} HTTP/${request.httpVersion}" ${status} ${bytes} "${referer}" "${agent}" "${String(forwarded)}"`;
}

/** Headers as they came, names with their capitals, Host apart. */
function headerLines(request: IncomingMessage): readonly string[] {
  return Object.entries(rawHeaders(request))
    .filter(([name]) => name.toLowerCase() !== "host")
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, value]) => `${name}: ${value}`);
}

function rawHeaders(request: IncomingMessage): Readonly<Record<string, string>> {
  const result: Record<string, string> = {};
  for (let index = 0; index < request.rawHeaders.length; index += 2)
    result[request.rawHeaders[index] ?? ""] = request.rawHeaders[index + 1] ?? "";
  return result;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
