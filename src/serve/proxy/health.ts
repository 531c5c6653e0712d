// What a node says about its Services to load balancers and to people, at kube-proxy's own places:
//
//   :10256/healthz   200 while the kernel follows and the node is to stay (KEP-3836), 503 otherwise; /livez is without the second
//   :10249/…         on loopback: /proxyMode, /metrics, /healthz (whether the process answers, no more)
//   healthCheckNodePort of each Service with externalTrafficPolicy Local, at the addresses of node ports: 200 where this node has a ready
//                    endpoint of it in the family that is asked: each family's packets are led by themselves
//
// Not here: what is programmed (program/), and how it gets into the kernel (apply/).

import type { IncomingMessage, Server, ServerResponse } from "node:http";
import { http } from "../../kernel/http.ts";

import { familyOf, type Address, type Family } from "../../ip/address.ts";
import { listenTcpFd, type SocketAddress } from "../../kernel/sockets.ts";
import type { NetworkNamespace } from "../../kernel/namespaces.ts";
import type { Network, NetworkService } from "../../model/network.ts";
import { nodePortAddresses } from "../../model/node-ports.ts";
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
  /** After how long such a port is tried again: an address may come later than the Service, as IPv6's do on a link that is just up. */
  readonly retryMs?: number;
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

/** Starts answering. A port somebody else has is reported and tried again with every update, and after a while without one. */
export function startProxyHealth(options: ProxyHealthOptions): ProxyHealth {
  const { namespace, node, network, record, isEligible, now = Date.now, report = () => {} } = options;
  const { addresses = standardAddresses, moreMetrics = () => "", retryMs = 5000 } = options;
  const checks = new Map<string, { readonly server: Server; service: NetworkService }>();
  const refused = new Set<string>();
  let retry: NodeJS.Timeout | undefined;

  const isHealthy = (): boolean => record.behindSince === undefined || now() - record.behindSince < behindMsMax;
  // pkg/proxy/healthcheck/proxy_health.go ProxyHealth: both families are one reconciliation here.
  const state = (eligible?: boolean): string => {
    const lastUpdated = new Date(record.lastUpdated ?? 0).toISOString();
    const healthy = isHealthy();
    const families = network().cluster.families.map((family) => [`IPv${family}`, { lastUpdated, healthy }] as const);
    return JSON.stringify({
      lastUpdated,
      currentTime: new Date(now()).toISOString(),
      ...(eligible === undefined ? {} : { nodeEligible: eligible }),
      healthy,
      ...(record.lastUpdated === undefined ? {} : { status: Object.fromEntries(families) }),
    });
  };
  const healthz = (response: ServerResponse): void => {
    const eligible = isEligible();
    // Before the first time there is nothing that traffic could be sent to.
    const code = isHealthy() && record.lastUpdated !== undefined && eligible ? 200 : 503;
    record.answered("healthz", code);
    answer(response, code, state(eligible), "application/json");
  };
  const onHealthPort = (request: IncomingMessage, response: ServerResponse): void => {
    switch (pathOf(request)) {
      case "/healthz":
        return healthz(response);
      case "/livez": {
        const code = isHealthy() ? 200 : 503;
        record.answered("livez", code);
        return answer(response, code, state(), "application/json");
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
        return answer(response, 200, "ok");
      case "/metrics":
        return answer(response, 200, metricsText(record, network(), node) + moreMetrics(), "text/plain; version=0.0.4");
      default:
        return answer(response, 404, "404 page not found\n");
    }
  };
  const onCheck = (service: NetworkService, family: Family, response: ServerResponse): void => {
    const count = localEndpoints(service, node, family);
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
    const key = keyOf(place);
    let fd: number;
    try {
      fd = listenTcpFd(namespace, place);
    } catch (error) {
      if (!refused.has(key)) report(`answer health checks: ${error instanceof Error ? error.message : String(error)}`);
      refused.add(key);
      return undefined;
    }
    refused.delete(key);
    const server = http.createServer(handle);
    server.listen({ fd });
    server.unref();
    return server;
  };
  let always: readonly (Server | undefined)[] = [];

  const update = (): void => {
    always = [always[0] ?? open(addresses.health, onHealthPort), always[1] ?? open(addresses.metrics, onMetricsPort)];
    const wanted = wantedChecks(network(), node);
    for (const [key, { server }] of checks) {
      if (wanted.has(key)) continue;
      stop(server);
      checks.delete(key);
    }
    for (const [key, { service, address, port }] of wanted) {
      const known = checks.get(key);
      if (known !== undefined) {
        known.service = service;
        continue;
      }
      const server = open({ address, port }, (_request, response) => {
        const check = checks.get(key);
        if (check !== undefined) onCheck(check.service, familyOf(address), response);
      });
      if (server !== undefined) checks.set(key, { server, service });
    }
    const isWanted = (key: string): boolean =>
      wanted.has(key) || [addresses.health, addresses.metrics].some((place) => place && keyOf(place) === key);
    for (const key of refused) if (!isWanted(key)) refused.delete(key);
    clearTimeout(retry);
    if (refused.size > 0) retry = setTimeout(update, retryMs).unref();
  };
  update();
  return {
    update,
    close() {
      clearTimeout(retry);
      for (const server of [...always, ...[...checks.values()].map((check) => check.server)]) {
        if (server !== undefined) stop(server);
      }
      always = [];
      checks.clear();
    },
  };
}

type Handler = (request: IncomingMessage, response: ServerResponse) => void;

interface WantedCheck {
  readonly service: NetworkService;
  readonly address: Address;
  readonly port: number;
}

/** Where health checks of Services are to be answered; of two Services with one port the first has it. */
function wantedChecks(network: Network, node: string): ReadonlyMap<string, WantedCheck> {
  const self = network.nodes.find(({ name }) => name === node);
  const addresses = self === undefined ? [] : ([4, 6] as const).flatMap((family) => nodePortAddresses(self, family));
  const wanted = new Map<string, WantedCheck>();
  servicesOf(network).forEach((service) => {
    const { healthCheckNodePort: port, externalTrafficPolicy, clusterIps, leftTo } = service;
    if (port === undefined || externalTrafficPolicy !== "Local" || leftTo !== undefined) return;
    for (const address of addresses) {
      // A Service's families are those of its addresses.
      if (!clusterIps.some((one) => familyOf(one) === familyOf(address))) continue;
      const key = keyOf({ address, port });
      if (!wanted.has(key)) wanted.set(key, { service, address, port });
    }
  });
  return wanted;
}

/** `[fd00::1]:31000`, `*:10256` */
function keyOf({ address, port }: SocketAddress): string {
  return `${address === undefined ? "*" : familyOf(address) === 4 ? address : `[${address}]`}:${port}`;
}

/** The node's endpoints of a family that are ready: those that only serve while they terminate must draw no new connections here (KEP-1669). */
function localEndpoints({ ports }: NetworkService, node: string, family: Family): number {
  const local = ports.flatMap(({ endpoints }) =>
    endpoints.filter(({ node: place, ready, address }) => place === node && ready && familyOf(address) === family),
  );
  return new Set(local.map(({ address }) => address)).size;
}

function answer(
  response: ServerResponse,
  code: number,
  body: string,
  type: string = "text/plain; charset=utf-8",
): void {
  response.writeHead(code, {
    "Content-Type": type,
    "Content-Length": Buffer.byteLength(body),
    "X-Content-Type-Options": "nosniff",
  });
  response.end(body);
}

function pathOf({ url = "/" }: IncomingMessage): string {
  return url.split("?")[0] ?? "/";
}

function stop(server: Server): void {
  server.close();
  server.closeAllConnections();
}
