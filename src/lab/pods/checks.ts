// One look at a container: HTTP, TCP, gRPC or a command, as probes and lifecycle hooks make it.
// The network ones come from the pod's node, as the kubelet's do, so they also prove that the node reaches the pod.

import http2 from "node:http2";
import net from "node:net";
import tls from "node:tls";
import { http } from "../../kernel/http.ts";
import { familyOf, type Address } from "../../ip/address.ts";
import type { NetworkNamespace } from "../../kernel/namespaces.ts";
import { tcpSocketFd } from "../../kernel/sockets.ts";
import type { Container, GRPCAction, HTTPGetAction, IntOrString, TCPSocketAction } from "../../kube/kinds.ts";
import type { CheckResult } from "./probes.ts";

/** From where, and to which pod. */
export interface CheckTarget {
  readonly from: NetworkNamespace;
  readonly podIp: Address;
  readonly container: Container;
}

const good: CheckResult = { ok: true };

/** 200 to 399 is success. */
export function checkHttp(target: CheckTarget, action: HTTPGetAction, signal: AbortSignal): Promise<CheckResult> {
  const host = action.host ?? target.podIp;
  const port = portNumber(target.container, action.port);
  const secure = action.scheme === "HTTPS";
  const path = action.path === undefined || action.path === "" ? "/" : action.path;
  const url = `${secure ? "https" : "http"}://${host.includes(":") ? `[${host}]` : host}:${port}${path}`;
  const headers: Record<string, string> = { "user-agent": "kube-probe/1.36", accept: "*/*", connection: "close" };
  for (const { name, value } of action.httpHeaders ?? []) headers[name.toLowerCase()] = value;
  return new Promise((resolve) => {
    const fail = (error: NodeJS.ErrnoException): void =>
      resolve({ ok: false, message: `Get "${url}": ${dialText(error, host, port)}` });
    const request = http.request({
      path,
      headers: { host: `${host}:${port}`, ...headers },
      createConnection: () => {
        const socket = dial(target.from, host, port);
        return secure ? tls.connect({ socket, rejectUnauthorized: false }) : socket;
      },
      signal,
    });
    request.on("error", fail);
    request.on("response", (response) => {
      response.resume();
      const status = response.statusCode ?? 0;
      resolve(
        status >= 200 && status < 400 ? good : { ok: false, message: `HTTP probe failed with statuscode: ${status}` },
      );
    });
    request.end();
  });
}

/** An accepted connection is success. */
export function checkTcp(target: CheckTarget, action: TCPSocketAction, signal: AbortSignal): Promise<CheckResult> {
  const host = action.host ?? target.podIp;
  const port = portNumber(target.container, action.port);
  return new Promise((resolve) => {
    const socket = dial(target.from, host, port);
    const end = (result: CheckResult): void => {
      socket.destroy();
      resolve(result);
    };
    signal.addEventListener("abort", () => end({ ok: false, message: "aborted" }), { once: true });
    socket.once("connect", () => end(good));
    socket.once("error", (error) => end({ ok: false, message: dialText(error, host, port) }));
  });
}

/** grpc.health.v1.Health/Check answers SERVING. */
export function checkGrpc(target: CheckTarget, action: GRPCAction, signal: AbortSignal): Promise<CheckResult> {
  const { podIp } = target;
  return new Promise((resolve) => {
    const session = http2.connect(`http://${podIp.includes(":") ? `[${podIp}]` : podIp}:${action.port}`, {
      createConnection: () => dial(target.from, podIp, action.port),
    });
    const end = (result: CheckResult): void => {
      session.destroy();
      resolve(result);
    };
    signal.addEventListener("abort", () => end({ ok: false, message: "aborted" }), { once: true });
    session.on("error", (error) => end({ ok: false, message: dialText(error, podIp, action.port) }));
    const stream = session.request({
      ":method": "POST",
      ":path": "/grpc.health.v1.Health/Check",
      "content-type": "application/grpc",
      te: "trailers",
    });
    const chunks: Buffer[] = [];
    stream.on("data", (chunk: Buffer) => chunks.push(chunk));
    stream.on("error", (error) => end({ ok: false, message: error.message }));
    stream.on("end", () => {
      // gRPC over HTTP/2: 1 byte flags, 4 bytes length, then HealthCheckResponse { status = 1 }; SERVING is 1.
      const message = Buffer.concat(chunks).subarray(5);
      const serving = message[0] === 8 && message[1] === 1;
      end(serving ? good : { ok: false, message: 'service unhealthy (responded with "NOT_SERVING")' });
    });
    const service = Buffer.from(action.service ?? "", "utf8");
    const request = service.length === 0 ? service : Buffer.concat([Buffer.from([10, service.length]), service]);
    stream.end(Buffer.concat([Buffer.from([0, 0, 0, 0, request.length]), request]));
  });
}

/** A TCP connection made inside a network namespace. */
export function dial(from: NetworkNamespace, host: Address, port: number): net.Socket {
  return new net.Socket({ fd: tcpSocketFd(from, familyOf(host)) }).connect({ host, port });
}

/** The number behind a port's name. */
function portNumber(container: Container, port: IntOrString): number {
  if (typeof port === "number") return port;
  const named = container.ports?.find(({ name }) => name === port)?.containerPort ?? Number(port);
  if (!Number.isInteger(named)) throw new Error(`couldn't find port: "${port}" in container ${container.name}`);
  return named;
}

function dialText(error: NodeJS.ErrnoException, host: string, port: number): string {
  const known: Readonly<Record<string, string>> = {
    ECONNREFUSED: "connect: connection refused",
    EHOSTUNREACH: "connect: no route to host",
    ENETUNREACH: "connect: network is unreachable",
    ETIMEDOUT: "i/o timeout",
    ECONNRESET: "read: connection reset by peer",
  };
  const text = known[error.code ?? ""];
  return text === undefined ? error.message : `dial tcp ${host.includes(":") ? `[${host}]` : host}:${port}: ${text}`;
}
