// agnhost, the Swiss army knife of Kubernetes' own tests: its servers, with the endpoints and answers of the original
// (kubernetes/test/images/agnhost/README.md describes them). Its clients (connect, dns-suffix …) are real processes (tools/agnhost.ts).

import { parseAddress } from "../../../ip/address.ts";
import { agnhostCertificate } from "./agnhost-certificate.ts";
import { agnhostConnect } from "./agnhost-connect.ts";
import { netRunner } from "./agnhost-net.ts";
import { netexec } from "./agnhost-netexec.ts";
import { parseFlags, portOf } from "./flags.ts";
import {
  plainAddress,
  remoteText,
  send,
  sendSniffed,
  serveHttp,
  serveHttps,
  serveTcp,
  serveUdp,
  startAll,
  type Handler,
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
  // Names are looked up in the container's own /etc/hosts and DNS: by a process. Addresses need none.
  command([program = "", name, ...words]) {
    const address = words.map((word) => parseAddress(/^\[?(.*?)\]?:\d+$/.exec(word)?.[1] ?? "")).find(Boolean);
    if (programOf([program]) !== "agnhost" || name !== "connect" || address === undefined) return undefined;
    return ({ namespace }, signal) =>
      agnhostConnect(words, { namespace, resolve: () => Promise.resolve(address) }, signal);
  },
};

const booleanFlags = new Set(["tls", "tcp", "udp", "http", "close", "json-response"]);

const servers: Readonly<Record<string, Start>> = {
  pause: (context) => {
    context.log("Paused");
    return { stop() {} };
  },
  net: netRunner,
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

/** The pod's name over HTTP, or over TCP and UDP. Unlike the original it ends at once when told to, not a minute later. */
function serveHostname(context: WorkloadContext, flags: ReadonlyMap<string, string>): RunningWorkload {
  const { namespace, hostname } = context;
  const port = portOf(flags.get("port"), 9376);
  const on = (name: string, otherwise: boolean): boolean => (flags.has(name) ? flags.get(name) === "true" : otherwise);
  const withTcp = on("tcp", false);
  const withUdp = on("udp", false);
  const withHttp = on("http", true);
  if (withHttp && (withTcp || withUdp))
    throw new WorkloadError("Can't server TCP/UDP mode and HTTP mode at the same time");
  const closing = on("close", false);
  const servers = startAll([
    ...(withHttp
      ? [
          () =>
            serveHttp({ namespace, port }, (request, response) => {
              context.log(`HTTP request from ${remoteText(request)}`);
              if (closing) response.shouldKeepAlive = false;
              send(response, 200, hostname);
            }),
        ]
      : []),
    ...(withTcp ? [() => serveTcp({ namespace, port }, (socket) => void socket.end(hostname))] : []),
    ...(withUdp ? [() => serveUdp({ namespace, port }, () => hostname)] : []),
  ]);
  context.log(`Serving on port ${port}.`);
  return servers;
}

/** A server on every port that a variable SERVE_PORT_<n>, SERVE_TCP_PORT_<n>, SERVE_TLS_PORT_<n> or SERVE_UDP_PORT_<n> names; its value is the answer. */
function porter(context: WorkloadContext, flags: ReadonlyMap<string, string>): RunningWorkload {
  const { namespace } = context;
  const asJson = flags.get("json-response") === "true";
  const servers = Object.entries(context.env).flatMap(([name, value]): (() => RunningWorkload)[] => {
    const [, kind = "", digits = ""] = /^SERVE_(|TCP_|TLS_|UDP_|SCTP_)PORT_(\d+)$/.exec(name) ?? [];
    if (digits === "") return [];
    const where = { namespace, port: Number(digits) };
    const answer: Handler = (request, response) =>
      asJson
        ? send(response, 200, JSON.stringify({ Method: request.method, Body: value }), jsonType)
        : sendSniffed(response, 200, value);
    if (kind === "UDP_") return [() => serveUdp(where, () => value)];
    if (kind === "TLS_") return [() => serveHttps(where, agnhostCertificate(context), answer)];
    if (kind !== "SCTP_") return [() => serveHttp(where, answer)];
    context.log(`${name}: this built-in server has no SCTP; map the real program with: fairlead image add`);
    return [];
  });
  return startAll(servers);
}

const jsonType = { "content-type": "application/json" };

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
