// Real packets out of a namespace, and what came back: for the checks after `up`, and for comparing a trace with what happens.
//
// Every probe ends with an outcome, never with an exception about the network: refused, timeout and unreachable are answers.
// Not here: servers to be probed (lab/pods), and reasons for an outcome (trace/).

import net from "node:net";

import { familyOf, type Address } from "../../ip/address.ts";
import type { NetworkNamespace } from "../../kernel/namespaces.ts";
import { tcpSocketFd } from "../../kernel/sockets.ts";
import { exchangeDatagram, type DatagramOutcome } from "./datagram.ts";
import { afterWaiting } from "./patience.ts";

/** How a probe ended. `refused`: the other side, or somebody on the way, said no (RST, port unreachable). */
export type Outcome = "answered" | "refused" | "timeout" | "unreachable";

export interface ProbeTarget {
  readonly address: Address;
  readonly port: number;
  /** Default 1000. Silence is known to be silence only by waiting. */
  readonly timeoutMs?: number;
  /** The address to send from, where the namespace has several. */
  readonly source?: Address;
}

export interface TcpResult {
  readonly outcome: Outcome;
  /** The connection's own end. */
  readonly localAddress?: Address;
  readonly localPort?: number;
  /** What the server said first, where `read` asked for it. */
  readonly said?: string;
  /** errno's name, where there was one. */
  readonly code?: string;
}

/** Connects by TCP and closes. With `send` or `read`, also waits for what the server says until it pauses or ends. */
export async function probeTcp(
  namespace: NetworkNamespace,
  target: ProbeTarget & { readonly send?: string; readonly read?: boolean },
): Promise<TcpResult> {
  const socket = new net.Socket({ fd: tcpSocketFd(namespace, familyOf(target.address)) });
  try {
    return await withTimeout(target.timeoutMs, converse(socket, target), () => ({ outcome: "timeout" }));
  } finally {
    socket.destroy();
  }
}

export interface UdpResult {
  readonly outcome: Outcome;
  readonly said?: string;
  readonly code?: string;
}

/** Sends one datagram and waits for one back from the very address that was asked. */
export async function probeUdp(
  namespace: NetworkNamespace,
  target: ProbeTarget & { readonly send?: string },
): Promise<UdpResult> {
  const result = await exchangeDatagram(namespace, {
    kind: "udp",
    address: target.address,
    port: target.port,
    ...(target.source === undefined ? {} : { source: target.source }),
    timeoutMs: target.timeoutMs ?? defaultTimeoutMs,
    bytes: new TextEncoder().encode(target.send ?? "fairlead"),
  });
  if (result.kind !== "answer") return failed(result);
  return { outcome: "answered", said: new TextDecoder().decode(result.bytes) };
}

export interface PingResult {
  readonly outcome: Outcome;
  readonly rttMs?: number;
  readonly code?: string;
}

/** One ICMP echo request (RFC 792, RFC 4443 4.1). `bytes` is the payload's length, default 56; it may not be fragmented on its way. */
export async function ping(
  namespace: NetworkNamespace,
  target: Omit<ProbeTarget, "port"> & { readonly bytes?: number },
): Promise<PingResult> {
  const started = performance.now();
  const result = await exchangeDatagram(namespace, {
    kind: "ping",
    address: target.address,
    port: 0,
    ...(target.source === undefined ? {} : { source: target.source }),
    timeoutMs: target.timeoutMs ?? defaultTimeoutMs,
    bytes: echoRequest(target.address, target.bytes ?? 56),
  });
  if (result.kind !== "answer") return failed(result);
  return { outcome: "answered", rttMs: performance.now() - started };
}

const defaultTimeoutMs = 1000;

function connect(socket: net.Socket, { address, port, source }: ProbeTarget): net.Socket {
  return socket.connect({ host: address, port, ...(source === undefined ? {} : { localAddress: source }) });
}

function converse(
  socket: net.Socket,
  target: ProbeTarget & { readonly send?: string; readonly read?: boolean },
): Promise<TcpResult> {
  return new Promise((resolve) => {
    let said = "";
    let local: { localAddress?: Address; localPort?: number } = {};
    const done = (): void => resolve({ outcome: "answered", ...local, ...(said === "" ? {} : { said }) });
    socket.setEncoding("utf8");
    socket.on("error", (error) => resolve(outcomeOf(error)));
    socket.on("data", (chunk: string) => {
      said += chunk;
      if (said.includes("\n")) done();
    });
    socket.on("end", done);
    socket.once("connect", () => {
      const { localAddress, localPort } = socket;
      local = {
        ...(localAddress === undefined ? {} : { localAddress }),
        ...(localPort === undefined ? {} : { localPort }),
      };
      if (target.send !== undefined) socket.write(target.send);
      else if (target.read !== true) done();
    });
    connect(socket, target);
  });
}

async function withTimeout<T>(timeoutMs: number | undefined, result: Promise<T>, late: () => T): Promise<T> {
  const { promise, resolve } = Promise.withResolvers<T>();
  const callOff = afterWaiting(timeoutMs ?? defaultTimeoutMs, () => resolve(late()));
  try {
    return await Promise.race([result, promise]);
  } finally {
    callOff();
  }
}

function failed(result: Exclude<DatagramOutcome, { kind: "answer" }>): { outcome: Outcome; code?: string } {
  return result.kind === "timeout" ? { outcome: "timeout" } : outcomeOf(result);
}

function outcomeOf(error: Error | { readonly code: string }): { outcome: Outcome; code?: string } {
  const code = "code" in error && typeof error.code === "string" ? error.code : "EIO";
  switch (code) {
    case "ECONNREFUSED":
    case "ECONNRESET":
      return { outcome: "refused", code };
    case "ETIMEDOUT":
      return { outcome: "timeout", code };
    default:
      return { outcome: "unreachable", code };
  }
}

let echoes = 0;

/** The kernel fills in checksum and identifier of a ping socket's request. */
function echoRequest(address: Address, payloadBytes: number): Uint8Array {
  const bytes = new Uint8Array(8 + payloadBytes);
  // RFC 792: type 8; RFC 4443: type 128.
  bytes[0] = familyOf(address) === 4 ? 8 : 128;
  new DataView(bytes.buffer).setUint16(6, ++echoes & 0xffff);
  return bytes;
}
