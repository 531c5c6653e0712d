// agnhost netexec: HTTP or HTTPS and UDP, with the small endpoints that tests and demos call, answering as the original does.

import type { IncomingMessage, ServerResponse } from "node:http";
import { agnhostCertificate } from "./agnhost-certificate.ts";
import { askUdp, requestFrom } from "./dial.ts";
import { portOf } from "./flags.ts";
import {
  clientText,
  remoteText,
  send,
  sendSniffed,
  serveHttp,
  serveHttps,
  serveUdp,
  startAll,
  type Handler,
} from "./listen.ts";
import { urlOf } from "./web.ts";
import { WorkloadError, type RunningWorkload, type WorkloadContext } from "./workload.ts";

interface Server {
  readonly context: WorkloadContext;
  readonly httpPort: number;
  /** SIGTERM has come. */
  ending: boolean;
}

interface Call {
  readonly server: Server;
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly query: URLSearchParams;
}

/** The flags are --http-port, --udp-port (-1: none), --udp-listen-addresses, --http-override, --tls-cert-file, --tls-private-key-file, --delay-shutdown. */
export function netexec(context: WorkloadContext, flags: ReadonlyMap<string, string>): RunningWorkload {
  const { namespace } = context;
  const httpPort = portOf(flags.get("http-port"), 8080);
  const udpPort = Number(flags.get("udp-port") ?? 8081);
  const server: Server = { context, httpPort, ending: false };
  if ((flags.get("sctp-port") ?? "-1") !== "-1")
    throw new WorkloadError("this built-in server has no SCTP; map the real program with: fairlead image add");
  const handler = httpHandler(server, flags.get("http-override"));
  // A hostNetwork pod's own addresses are its node's: given twice, meant once.
  const given = (flags.get("udp-listen-addresses") ?? "").split(",").filter((address) => address !== "");
  const addresses = [...new Set(given)];
  const udpAt = udpPort <= 0 ? [] : addresses.length === 0 ? [undefined] : addresses;
  const where = { namespace, port: httpPort };
  const certificate = flags.get("tls-cert-file") ?? "";
  const running = startAll([
    () =>
      certificate === ""
        ? serveHttp(where, handler)
        : serveHttps(
            where,
            agnhostCertificate(context, { certificate, key: flags.get("tls-private-key-file") ?? "" }),
            handler,
          ),
    ...udpAt.map(
      (address) => () =>
        serveUdp({ namespace, port: udpPort, ...(address === undefined ? {} : { address }) }, (message, from) => {
          const text = message.toString("utf8").trim().toLowerCase();
          const client = clientText(from);
          context.log(`Received UDP command from ${client}: ${text}`);
          if (text === "hostname") return context.hostname;
          if (text.startsWith("echo ")) return text.slice("echo ".length);
          if (text === "clientip") return client;
          if (text === "serverport") return String(udpPort);
          return undefined;
        }),
    ),
  ]);
  context.log(`Started HTTP server on port ${httpPort}`);
  for (const address of udpAt) context.log(`Started UDP server on port ${address ?? ""} ${udpPort}`);
  let timer: NodeJS.Timeout | undefined;
  return {
    stop() {
      clearTimeout(timer);
      running.stop();
    },
    terminate() {
      server.ending = true;
      const seconds = Number(flags.get("delay-shutdown") ?? 0);
      if (!(seconds > 0)) return context.exit(0);
      context.log(`Sleeping ${seconds} seconds before terminating...`);
      timer = setTimeout(() => context.exit(0), Math.min(seconds * 1000, 2 ** 31 - 1));
    },
  };
}

function httpHandler(server: Server, override: string | undefined): Handler {
  return (request, response) => {
    const url = override === undefined ? urlOf(request) : new URL(override, "http://localhost");
    server.context.log(`${request.method} ${request.url} from ${remoteText(request)}`);
    // Go's mux gives what has no handler of its own to the one of "/".
    const answer = paths[url.pathname] ?? root;
    answer({ server, request, response, query: url.searchParams });
  };
}

const root = ({ response }: Call): void => send(response, 200, `NOW: ${goTime()}`);
const hostname = ({ server, response }: Call): void => send(response, 200, server.context.hostname);

const paths: Readonly<Record<string, (call: Call) => void>> = {
  "/clientip": ({ request, response }) => send(response, 200, remoteText(request)),
  "/dial": (call) => void dial(call),
  "/echo": ({ response, query }) => {
    const code = codeOf(query, 200);
    if (code === undefined) return send(response, 200, complaint(query));
    sendSniffed(response, code, query.get("msg") ?? "");
  },
  "/exit": ({ server, response, query }) => {
    const wait = durationMs(query.get("wait"));
    const timeout = durationMs(query.get("timeout"));
    const code = Number(query.get("code") ?? 0);
    if (wait === undefined || timeout === undefined || !Number.isInteger(code))
      return send(response, 200, "arguments 'wait' and 'timeout' must be durations, 'code' an integer [0-127]\n");
    // The answer comes when the wait is over, as the original holds the request that long.
    setTimeout(() => {
      send(response, 200, "");
      setTimeout(() => server.context.exit(code), timeout);
    }, wait);
  },
  "/header": ({ request, response, query }) => {
    const key = query.get("key") ?? "";
    if (key !== "") return send(response, 200, [request.headers[key.toLowerCase()] ?? ""].flat()[0] ?? "");
    send(response, 200, JSON.stringify(goHeaders(request)));
  },
  "/healthz": ({ response }) => send(response, 200, ""),
  "/hostName": hostname,
  "/hostname": hostname,
  "/readyz": ({ server, response }) =>
    server.ending ? send(response, 503, "shutting down") : send(response, 200, "ok"),
  "/redirect": ({ response, query }) => {
    const code = codeOf(query, 302);
    if (code === undefined) return send(response, 200, complaint(query));
    response.writeHead(code, { location: query.get("location") ?? "/" }).end();
  },
  "/serverport": ({ server, response }) => send(response, 200, String(server.httpPort)),
  "/shell": (call) => void shell(call),
  "/shutdown": ({ server }) => server.context.exit(0),
  "/upload": ({ request, response }) => {
    request.resume();
    send(response, 200, '{"error":"Unable to open file for write"}');
  },
};

async function shell({ server, response, query }: Call): Promise<void> {
  const command = query.get("shellCommand") ?? query.get("cmd") ?? "";
  let answer: { output?: string; error?: string };
  try {
    const { output, code } = await server.context.run(["/bin/sh", "-c", command]);
    answer = { ...(output === "" ? {} : { output }), ...(code === 0 ? {} : { error: `exit status ${code}` }) };
  } catch (error) {
    answer = { error: (error as Error).message };
  }
  send(response, 200, JSON.stringify(answer));
}

/** Asks another server, several times: { responses: […], errors: […] }. */
async function dial({ server: { context }, response, query }: Call): Promise<void> {
  const host = query.get("host") ?? "";
  const port = Number(query.get("port"));
  const request = query.get("request") ?? "";
  const protocol = (query.get("protocol") ?? "http").toLowerCase() || "http";
  const tries = Number(query.get("tries") ?? 1);
  if (!Number.isInteger(tries)) return send(response, 400, "tries parameter is invalid\n");
  if (request === "") return send(response, 400, "request parameter not specified\n");
  if (protocol !== "http" && protocol !== "udp") return send(response, 400, `unsupported protocol. ${protocol}\n`);
  if (host === "" || !Number.isInteger(port) || port < 1)
    return send(response, 400, "host and/or port param are invalid\n");
  const responses: string[] = [];
  const errors: string[] = [];
  for (let round = 0; round < Math.min(tries, triesMax); round++) {
    try {
      responses.push(
        protocol === "udp"
          ? await askUdp(context, host, port, request, 5000)
          : await get(context, host, port, `/${request}`),
      );
    } catch (error) {
      errors.push((error as Error).message);
    }
  }
  const value = { ...(responses.length > 0 ? { responses } : {}), ...(errors.length > 0 ? { errors } : {}) };
  send(response, 200, JSON.stringify(value));
}

const triesMax = 10_000;

async function get(context: WorkloadContext, host: string, port: number, path: string): Promise<string> {
  const answer = await requestFrom(context, { host, port, path, timeoutMs: 5000 });
  const chunks: Buffer[] = [];
  for await (const chunk of answer as AsyncIterable<Buffer>) chunks.push(chunk);
  return Buffer.concat(chunks).toString("utf8");
}

function codeOf(query: URLSearchParams, otherwise: number): number | undefined {
  const text = query.get("code") ?? "";
  const code = text === "" ? otherwise : Number(text);
  return Number.isInteger(code) && code >= 100 && code < 1000 ? code : undefined;
}

function complaint(query: URLSearchParams): string {
  return `argument 'code' must be an integer or empty, got "${query.get("code")}"\n`;
}

/** Milliseconds of a Go duration such as `5s`, `1m30s` or `100ms`; undefined where the text is none. */
function durationMs(text: string | null): number | undefined {
  if (text === null || text === "" || text === "0") return 0;
  if (!/^(?:\d+(?:\.\d+)?(?:ms|s|m|h))+$/.test(text)) return undefined;
  const units: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };
  return [...text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h)/g)].reduce(
    (sum, [, number, unit]) => sum + Number(number) * (units[unit ?? ""] ?? 0),
    0,
  );
}

/** Headers as Go has them: canonical names, a list of values each. */
function goHeaders({ headersDistinct }: IncomingMessage): Readonly<Record<string, readonly string[]>> {
  return Object.fromEntries(
    Object.entries(headersDistinct).flatMap(([name, values]) =>
      name === "host" || values === undefined
        ? []
        : [[name.replaceAll(/(?:^|-)[a-z]/g, (start) => start.toUpperCase()), values]],
    ),
  );
}

function goTime(): string {
  return `${new Date().toISOString().replace("T", " ").slice(0, -1)} +0000 UTC`;
}
