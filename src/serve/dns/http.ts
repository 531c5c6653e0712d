// The pod's pages for probes and Prometheus: one path a port, as CoreDNS has them.

import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import { http } from "../../kernel/http.ts";

import type { NetworkNamespace } from "../../kernel/namespaces.ts";
import { listenTcpFd } from "../../kernel/sockets.ts";
import { listen } from "./tcp.ts";

/** Serves one page at one path of one port; everything else there is 404. Throws KernelError where the port is taken. */
export async function startHttp(
  namespace: NetworkNamespace,
  port: number,
  path: string,
  page: () => { readonly status: number; readonly body: string },
): Promise<{ readonly server: Server; readonly port: number }> {
  const server = http.createServer((request, response) => {
    const found = request.url?.split("?")[0] === path ? page() : { status: 404, body: "404 page not found\n" };
    response.writeHead(found.status, { "content-type": "text/plain; version=0.0.4; charset=utf-8" });
    response.end(found.body);
  });
  await listen(server, listenTcpFd(namespace, { port }));
  return { server, port: (server.address() as AddressInfo).port };
}
