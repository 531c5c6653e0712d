// What a node says about its Services to load balancers and to people, at kube-proxy's own places:
//
//   :10256/healthz   200 while the kernel follows and the node is to stay (KEP-3836), 503 otherwise; /livez is without the second
//   :10249/…         on loopback: /proxyMode, /metrics, /healthz
//   healthCheckNodePort of each Service with externalTrafficPolicy Local: 200 where this node has a ready endpoint of it
//
// Not here: what is programmed (program/), and how it gets into the kernel (apply/).

import type { IncomingMessage, Server, ServerResponse } from "node:http";
import { http } from "../../kernel/http.ts";

import { listenTcpFd, type SocketAddress } from "../../kernel/sockets.ts";
import type { NetworkNamespace } from "../../kernel/namespaces.ts";
import type { Network, NetworkService } from "../../model/network.ts";
import { servicesOf } from "../../model/services-list.ts";
import { metricsText, type ProxyRecord } from "./metrics.ts";

export interface ProxyHealthOptions {
  /** The node's: where the sockets are. */
  readonly namespace: NetworkNamespace;
  readonly node: string;
  readonly network: () => Network;
  readonly record: ProxyRecord;
  /** Is the node to stay? Not while it is being deleted or about to be (taint ToBeDeletedByClusterAutoscaler). */
  readonly isEligible: () => boolean;
  /** kube-proxy's own where absent. */
  readonly addresses?: HealthAddresses;
  /** Further metrics, in Prometheus' text format. */
  readonly moreMetrics?: () => string;
  /** Milliseconds since 1970. */
  readonly now?: () => number;
  /** A port that cannot be had, in words. */
  readonly report?: (line: string) => void;
}

/** Where the two servers listen; undefined: not at all. Without an address: everywhere. */
export interface HealthAddresses {
  /** /healthz and /livez */
  readonly health: SocketAddress | undefined;
  /** /metrics, /proxyMode and /healthz */
  readonly metrics: SocketAddress | undefined;
}

export interface ProxyHealth {
  /** Opens and closes health check ports as the Network asks for. */
  update(): void;
  close(): void;
}

// cmd/kube-proxy: --healthz-bind-address and --metrics-bind-address.
const standardAddresses: HealthAddresses = {
  health: { port: 10_256 },
  metrics: { address: "127.0.0.1", port: 10_249 },
};
/** How long the kernel may stay behind before the node counts as unhealthy: twice kube-proxy's sync period of 30 s. */
const behindMsMax = 60_000;

/** Starts answering. A port somebody else has is reported and tried again with every update. */
export function startProxyHealth(options: ProxyHealthOptions): ProxyHealth {
  const { namespace, node, network, record, isEligible, now = Date.now, report = () => {} } = options;
  const { addresses = standardAddresses, moreMetrics = () => "" } = options;
  const checks = new Map<number, { readonly server: Server; service: NetworkService }>();
  const refused = new Set<number>();

  const isHealthy = (): boolean => record.behindSince === undefined || now() - record.behindSince < behindMsMax;
  const times = (): string => {
    const updated = new Date(record.lastUpdated ?? 0).toISOString();
    return `"lastUpdated": "${updated}","currentTime": "${new Date(now()).toISOString()}"`;
  };
  const healthz = (response: ServerResponse): void => {
    const eligible = isEligible();
    // Before the first time there is nothing that traffic could be sent to.
    const code = isHealthy() && record.lastUpdated !== undefined && eligible ? 200 : 503;
    record.answered("healthz", code);
    answer(response, code, `{${times()}, "nodeEligible": ${eligible}}`, "application/json");
  };
  const onHealthPort = (request: IncomingMessage, response: ServerResponse): void => {
    switch (pathOf(request)) {
      case "/healthz":
        return healthz(response);
      case "/livez": {
        const code = isHealthy() ? 200 : 503;
        record.answered("livez", code);
        return answer(response, code, `{${times()}}`, "application/json");
      }
      default:
        return answer(response, 404, "404 page not found\n");
    }
  };
  const onMetricsPort = (request: IncomingMessage, response: ServerResponse): void => {
    switch (pathOf(request)) {
      case "/proxyMode":
        return answer(response, 200, "nftables");
      case "/healthz":
        return healthz(response);
      case "/metrics":
        return answer(response, 200, metricsText(record, network(), node) + moreMetrics(), "text/plain; version=0.0.4");
      default:
        return answer(response, 404, "404 page not found\n");
    }
  };
  const onCheck = (service: NetworkService, response: ServerResponse): void => {
    const count = localEndpoints(service, node);
    const healthy = isHealthy();
    // pkg/proxy/healthcheck/service_health.go hcHandler.ServeHTTP
    const body = {
      service: { namespace: service.namespace, name: service.name },
      localEndpoints: count,
      serviceProxyHealthy: healthy,
    };
    response.setHeader("X-Load-Balancing-Endpoint-Weight", String(count));
    answer(response, healthy && count > 0 ? 200 : 503, JSON.stringify(body, undefined, "\t"), "application/json");
  };

  const open = (place: SocketAddress | undefined, handle: Handler): Server | undefined => {
    if (place === undefined) return undefined;
    const { port } = place;
    let fd: number;
    try {
      fd = listenTcpFd(namespace, place);
    } catch (error) {
      if (!refused.has(port)) report(`answer health checks: ${error instanceof Error ? error.message : String(error)}`);
      refused.add(port);
      return undefined;
    }
    refused.delete(port);
    const server = http.createServer(handle);
    server.listen({ fd });
    server.unref();
    return server;
  };
  let always: readonly (Server | undefined)[] = [];

  const update = (): void => {
    always = [always[0] ?? open(addresses.health, onHealthPort), always[1] ?? open(addresses.metrics, onMetricsPort)];
    const wanted = new Map<number, NetworkService>();
    servicesOf(network()).forEach((service) => {
      const { healthCheckNodePort: port } = service;
      if (port !== undefined && service.externalTrafficPolicy === "Local" && !wanted.has(port))
        wanted.set(port, service);
    });
    for (const [port, { server }] of checks) {
      if (wanted.has(port)) continue;
      stop(server);
      checks.delete(port);
    }
    for (const [port, service] of wanted) {
      const known = checks.get(port);
      if (known !== undefined) {
        known.service = service;
        continue;
      }
      const server = open({ port }, (_request, response) => {
        const check = checks.get(port);
        if (check !== undefined) onCheck(check.service, response);
      });
      if (server !== undefined) checks.set(port, { server, service });
    }
  };
  update();
  return {
    update,
    close() {
      for (const server of [...always, ...[...checks.values()].map((check) => check.server)]) {
        if (server !== undefined) stop(server);
      }
      always = [];
      checks.clear();
    },
  };
}

type Handler = (request: IncomingMessage, response: ServerResponse) => void;

/** Pods of the node that are ready and not about to go: terminating ones must not draw new connections here (KEP-1669). */
function localEndpoints({ ports }: NetworkService, node: string): number {
  const local = ports.flatMap(({ endpoints }) =>
    endpoints.filter((endpoint) => endpoint.node === node && endpoint.ready && !endpoint.terminating),
  );
  return new Set(local.map(({ pod, address }) => pod ?? address)).size;
}

function answer(
  response: ServerResponse,
  code: number,
  body: string,
  type: string = "text/plain; charset=utf-8",
): void {
  response.writeHead(code, { "Content-Type": type, "X-Content-Type-Options": "nosniff" });
  response.end(body);
}

function pathOf({ url = "/" }: IncomingMessage): string {
  return url.split("?")[0] ?? "/";
}

function stop(server: Server): void {
  server.close();
  server.closeAllConnections();
}
