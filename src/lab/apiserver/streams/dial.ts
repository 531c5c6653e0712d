// Connections made inside a network namespace: a pod's own for port forwarding, its node's for proxies.

import { Socket } from "node:net";
import { familyOf, type Address } from "../../../ip/address.ts";
import type { NetworkNamespace } from "../../../kernel/namespaces.ts";
import { tcpSocketFd } from "../../../kernel/sockets.ts";

/** A connected socket. Rejects with the system's error; `timeoutMs` bounds the wait. */
export function dial(
  from: NetworkNamespace,
  to: { readonly address: Address; readonly port: number; readonly timeoutMs: number },
): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = new Socket({ fd: tcpSocketFd(from, familyOf(to.address)), allowHalfOpen: true });
    const timer = setTimeout(() => socket.destroy(new Error("i/o timeout")), to.timeoutMs);
    socket.once("error", (error) => {
      clearTimeout(timer);
      reject(error);
    });
    socket.connect({ host: to.address, port: to.port }, () => {
      clearTimeout(timer);
      socket.removeAllListeners("error");
      resolve(socket);
    });
  });
}

/** What Go's net package calls the failure, as people know it from kubectl. */
export function dialProblem(error: unknown): string {
  const { code = "", message } = error as NodeJS.ErrnoException;
  if (code.startsWith("ERR_SSL_WRONG_VERSION")) return "http: server gave HTTP response to HTTPS client";
  return problemTexts[code] ?? message;
}

const problemTexts: { readonly [code: string]: string } = {
  ECONNREFUSED: "connect: connection refused",
  EHOSTUNREACH: "connect: no route to host",
  ENETUNREACH: "connect: network is unreachable",
  ETIMEDOUT: "i/o timeout",
};
