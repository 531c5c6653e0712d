// agnhost connect HOST:PORT: one connection or datagram, and one word for what came of it. Tests of policies run it by the thousand, so in
// built-in containers it is done from the daemon, on sockets of the pod's network namespace (agnhost.ts); elsewhere as a process (tools/).

import { createSocket } from "node:dgram";
import { familyOf, type Address } from "../../../ip/address.ts";
import type { NetworkNamespace } from "../../../kernel/namespaces.ts";
import { bindUdpFd } from "../../../kernel/sockets.ts";
import { dial } from "../checks.ts";
import { parseFlags } from "./flags.ts";

export interface ConnectOrigin {
  readonly namespace: NetworkNamespace;
  /** The address of a name. Rejects where it has none. */
  resolve(name: string): Promise<Address>;
}

/** Flags --timeout=3s (none: as long as it takes), --protocol=tcp|udp, --udp-data. TIMEOUT, REFUSED, DNS, UNKNOWN or OTHER in `errors`. */
export async function agnhostConnect(
  words: readonly string[],
  from: ConnectOrigin,
  signal: AbortSignal,
): Promise<{ readonly code: number; readonly errors: string }> {
  const fail = (text: string): { code: number; errors: string } => ({ code: 1, errors: `${text}\n` });
  const { flags, rest } = parseFlags(words);
  if (rest.length !== 1) return fail(`Error: accepts 1 arg(s), received ${rest.length}`);
  const [where = ""] = rest;
  const [, host = "", port = ""] = /^(?:\[(?=.*\]:))?(.*?)\]?:(\d+)$/.exec(where) ?? [];
  if (port === "" || Number(port) > 65_535) return fail(`UNKNOWN: address ${where}: missing port in address`);
  const protocol = flags.get("protocol") ?? "tcp";
  if (protocol === "sctp") return fail("OTHER: protocol not supported: this built-in program has tcp and udp");
  if (protocol !== "tcp" && protocol !== "udp") return fail(`Unsupported protocol\n${protocol}`);
  let address: Address;
  try {
    address = await from.resolve(host);
  } catch (error) {
    return fail(`DNS: ${(error as Error).message}`);
  }
  const timeout = durationMs(flags.get("timeout") ?? "0");
  const limit = timeout === 0 ? signal : AbortSignal.any([signal, AbortSignal.timeout(timeout)]);
  const to = { address, port: Number(port) };
  try {
    await (protocol === "udp"
      ? tryUdp(from.namespace, to, `${flags.get("udp-data") ?? "hostname"}\n`, limit)
      : tryTcp(from.namespace, to, limit));
    return { code: 0, errors: "" };
  } catch (error) {
    const { code, name, message } = error as NodeJS.ErrnoException;
    if (name === "TimeoutError" || code === "ETIMEDOUT") return fail("TIMEOUT");
    return fail(code === "ECONNREFUSED" ? "REFUSED" : `OTHER: ${message}`);
  }
}

interface Target {
  readonly address: Address;
  readonly port: number;
}

function tryTcp(namespace: NetworkNamespace, { address, port }: Target, limit: AbortSignal): Promise<void> {
  const socket = dial(namespace, address, port);
  return unlessStopped<void>(limit, (resolve, reject) => {
    socket.once("connect", resolve);
    socket.once("error", reject);
  }).finally(() => {
    // Once more: an error after the verdict is nobody's business.
    socket.on("error", () => {});
    socket.destroy();
  });
}

/** Any answer will do, as for the original. */
function tryUdp(
  namespace: NetworkNamespace,
  { address, port }: Target,
  data: string,
  limit: AbortSignal,
): Promise<void> {
  const isFour = familyOf(address) === 4;
  const fd = bindUdpFd(namespace, { address: isFour ? "0.0.0.0" : "::", port: 0 });
  const socket = createSocket(isFour ? "udp4" : "udp6");
  return unlessStopped<void>(limit, (resolve, reject) => {
    socket.once("message", () => resolve());
    socket.on("error", reject);
    // Connected, so that a refusal comes back as an error.
    socket.bind({ fd }, () => socket.connect(port, address, () => socket.send(data)));
  }).finally(() => socket.close());
}

function unlessStopped<T>(
  limit: AbortSignal,
  work: (resolve: (value: T) => void, reject: (error: Error) => void) => void,
): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const stop = (): void => reject(limit.reason as Error);
    if (limit.aborted) return stop();
    limit.addEventListener("abort", stop, { once: true });
    work(resolve, reject);
  });
}

function durationMs(text: string): number {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m)?$/.exec(text);
  const unit = { ms: 1, s: 1000, m: 60_000 }[match?.[2] ?? "s"] ?? 1000;
  return Number(match?.[1] ?? 0) * unit;
}
