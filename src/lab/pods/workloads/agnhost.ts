// agnhost, the Swiss army knife of Kubernetes' own tests: its servers, with the endpoints and answers of the original
// (kubernetes/test/images/agnhost/README.md describes them). Its clients (connect, dns-suffix …) are real processes (tools/agnhost.ts).

import type { IncomingMessage, ServerResponse } from "node:http";
import { requestFrom, askUdp } from "./dial.ts";
import { parseFlags, portOf } from "./flags.ts";
import {
  clientText,
  plainAddress,
  readBody,
  remoteText,
  send,
  serveHttp,
  serveTcp,
  serveUdp,
  startAll,
} from "./listen.ts";
import { urlOf } from "./web.ts";
import {
  programOf,
  WorkloadError,
  type BuiltinWorkload,
  type RunningWorkload,
  type WorkloadContext,
} from "./workload.ts";

type Start = (context: WorkloadContext, flags: ReadonlyMap<string, string>) => RunningWorkload;

export const agnhost: BuiltinWorkload = {
  name: "agnhost",
  serves: (argv) => programOf(argv) === "agnhost" && Object.hasOwn(servers, argv[1] ?? "pause"),
  start(context) {
    const [, name = "pause", ...words] = context.args;
    const start = servers[name];
    if (start === undefined) throw new WorkloadError(`Error: unknown command "${name}" for "app"`);
    return start(context, parseFlags(words, booleanFlags).flags);
  },
};

const booleanFlags = new Set(["tls"]);

const servers: Readonly<Record<string, Start>> = {
  pause: (context) => {
    context.log("Paused");
    return { stop() {} };
  },
  netexec,
  "serve-hostname": serveHostname,
  porter,
  "test-webserver": (context, flags) =>
    serveHttp({ namespace: context.namespace, port: portOf(flags.get("port"), 80) }, (request, response) => {
      const file = context.files.read(urlOf(request).pathname);
      if (file === undefined) send(response, 404, "404 page not found\n");
      else send(response, 200, file);
    }),
  liveness,
  "no-snat-test": (context, flags) =>
    serveHttp({ namespace: context.namespace, port: portOf(flags.get("port"), 8080) }, (request, response) =>
      send(response, 200, plainAddress(request.socket.remoteAddress)),
    ),
  echoserver: (context, flags) =>
    serveHttp({ namespace: context.namespace, port: portOf(flags.get("port"), 8080) }, (request, response) =>
      send(
        response,
        200,
        `Hostname: ${context.hostname}\nclient_address=${plainAddress(request.socket.remoteAddress)}\n`,
      ),
    ),
};

/** HTTP, UDP and (where asked for) more, with small endpoints that tests and demos call. */
function netexec(context: WorkloadContext, flags: ReadonlyMap<string, string>): RunningWorkload {
  const { namespace } = context;
  const httpPort = portOf(flags.get("http-port"), 8080);
  const udpPort = Number(flags.get("udp-port") ?? 8081);
  const override = flags.get("http-override");
  const state = { healthy: true };
  context.log(`Started HTTP server on port ${httpPort}`);
  if (udpPort > 0) context.log(`Started UDP server on port ${udpPort}`);
  const addresses = (flags.get("udp-listen-addresses") ?? "").split(",").filter((address) => address !== "");
  const udpAt = addresses.length === 0 ? [undefined] : addresses;
  return startAll([
    () =>
      serveHttp({ namespace, port: httpPort }, (request, response) => {
        const path = override ?? urlOf(request).pathname;
        context.log(`${request.method} ${request.url} from ${remoteText(request)}`);
        const answer = netexecPaths[path] ?? netexecPaths[path.toLowerCase()];
        if (answer === undefined) return send(response, 404, "404 page not found\n");
        answer({ context, request, response, query: urlOf(request).searchParams, state });
      }),
    ...(udpPort > 0
      ? udpAt.map(
          (address) => () =>
            serveUdp({ namespace, port: udpPort, ...(address === undefined ? {} : { address }) }, (message, from) => {
              const [command, ...rest] = message.toString("utf8").trim().split(" ");
              context.log(`Received UDP command: ${command} from ${clientText(from)}`);
              if (command === "echo") return rest.join(" ");
              if (command?.toLowerCase() === "hostname") return context.hostname;
              if (command === "clientip") return clientText(from);
              return undefined;
            }),
        )
      : []),
  ]);
}

interface Call {
  readonly context: WorkloadContext;
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly query: URLSearchParams;
  readonly state: { healthy: boolean };
}

const hostnamePath = ({ context, response }: Call): void => send(response, 200, context.hostname);

const netexecPaths: Readonly<Record<string, (call: Call) => void>> = {
  "/": ({ response }) => send(response, 200, `NOW: ${goTime()}`),
  "/clientip": ({ request, response }) => send(response, 200, remoteText(request)),
  "/dial": (call) => void dialPath(call),
  "/echo": ({ response, query }) => send(response, statusOf(query.get("code")), query.get("msg") ?? ""),
  "/exit": ({ context, response, query }) => {
    send(response, 200, "");
    const ms = durationMs(query.get("wait")) + durationMs(query.get("timeout"));
    setTimeout(() => context.exit(Number(query.get("code") ?? 0)), ms);
  },
  "/healthz": ({ response, state }) => send(response, state.healthy ? 200 : 412, ""),
  "/header": ({ request, response, query }) =>
    send(response, 200, String(request.headers[(query.get("key") ?? "").toLowerCase()] ?? "")),
  "/hostname": hostnamePath,
  "/redirect": ({ response, query }) => {
    const code = Number(query.get("code") ?? 302);
    response.writeHead(code, { location: query.get("location") ?? "/" }).end();
  },
  "/shell": ({ response }) =>
    send(
      response,
      501,
      '{"error":"this server lives in the lab\'s daemon and runs no commands; use: fairlead exec POD -- CMD"}\n',
      {
        "content-type": "application/json",
      },
    ),
  "/shutdown": ({ context }) => context.exit(0),
  "/upload": ({ request, response }) =>
    readBody(request, 1 << 24, () =>
      send(response, 501, '{"error":"this server keeps no files"}\n', { "content-type": "application/json" }),
    ),
};

/** Asks another server, several times: { responses: […], errors: […] }. */
async function dialPath({ context, response, query }: Call): Promise<void> {
  const host = query.get("host") ?? "";
  const port = Number(query.get("port"));
  const path = query.get("request") ?? "hostname";
  const protocol = query.get("protocol") ?? "http";
  const tries = Math.min(Number(query.get("tries") ?? 1) || 1, 1000);
  if (host === "" || !Number.isInteger(port) || port < 1) return send(response, 400, "host and port are needed\n");
  if (protocol !== "http" && protocol !== "udp") return send(response, 400, `unsupported protocol: ${protocol}\n`);
  const responses: string[] = [];
  const errors: string[] = [];
  for (let round = 0; round < tries; round++) {
    try {
      responses.push(
        protocol === "udp" ? await askUdp(context, host, port, path, 5000) : await get(context, host, port, `/${path}`),
      );
    } catch (error) {
      errors.push((error as Error).message);
    }
  }
  const value = { ...(responses.length > 0 ? { responses } : {}), ...(errors.length > 0 ? { errors } : {}) };
  send(response, 200, `${JSON.stringify(value)}\n`, { "content-type": "application/json" });
}

async function get(context: WorkloadContext, host: string, port: number, path: string): Promise<string> {
  const answer = await requestFrom(context, { host, port, path, timeoutMs: 5000 });
  const chunks: Buffer[] = [];
  for await (const chunk of answer as AsyncIterable<Buffer>) chunks.push(chunk);
  return Buffer.concat(chunks).toString("utf8").trim();
}

/** The pod's name over HTTP, TCP and UDP. */
function serveHostname(context: WorkloadContext, flags: ReadonlyMap<string, string>): RunningWorkload {
  const { namespace, hostname } = context;
  const port = portOf(flags.get("port"), 9376);
  const on = (name: string, otherwise: boolean): boolean => (flags.has(name) ? flags.get(name) === "true" : otherwise);
  const withTcp = on("tcp", false);
  const withHttp = on("http", !withTcp && !on("udp", false));
  return startAll([
    ...(withHttp
      ? [
          () =>
            serveHttp({ namespace, port }, (request, response) => {
              context.log(`HTTP request from ${remoteText(request)}`);
              send(response, 200, hostname);
            }),
        ]
      : []),
    ...(withTcp && !withHttp
      ? [() => serveTcp({ namespace, port }, (socket) => void socket.end(`${hostname}\n`))]
      : []),
    ...(on("udp", false) ? [() => serveUdp({ namespace, port }, () => hostname)] : []),
  ]);
}

/** A server on every port that a variable SERVE_PORT_<n> or SERVE_TLS_PORT_<n> names; the variable's value is the answer. */
function porter(context: WorkloadContext): RunningWorkload {
  const { namespace } = context;
  const plain = Object.entries(context.env).flatMap(([name, value]) => {
    const port = /^SERVE_(?:TLS_)?PORT_(\d+)$/.exec(name)?.[1];
    return port === undefined ? [] : [{ port: Number(port), value, tls: name.startsWith("SERVE_TLS") }];
  });
  if (plain.some(({ tls }) => tls))
    context.log("SERVE_TLS_PORT_…: served without TLS (this stand-in makes no certificates)");
  return startAll(
    plain.map(
      ({ port, value }) =>
        () =>
          serveHttp({ namespace, port }, (_request, response) => send(response, 200, value)),
    ),
  );
}

/** The example of the documentation on probes: healthy for ten seconds, then not. */
function liveness(context: WorkloadContext): RunningWorkload {
  const started = Date.now();
  return serveHttp({ namespace: context.namespace, port: 8080 }, (request, response) => {
    const seconds = (Date.now() - started) / 1000;
    if (urlOf(request).pathname === "/started") return send(response, 200, `${seconds.toFixed(1)}s`);
    if (seconds > 10) send(response, 500, `error: ${seconds.toFixed(9)}`);
    else send(response, 200, "ok");
  });
}

function statusOf(text: string | null): number {
  const status = Number(text ?? 200);
  return status >= 200 && status < 600 ? status : 200;
}

/** Milliseconds of a Go duration such as `5s` or `100ms`. */
function durationMs(text: string | null): number {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m)$/.exec(text ?? "");
  if (match === null) return 0;
  return Number(match[1]) * (match[2] === "ms" ? 1 : match[2] === "s" ? 1000 : 60_000);
}

function goTime(): string {
  return `${new Date().toISOString().replace("T", " ").slice(0, -1)} +0000 UTC`;
}
