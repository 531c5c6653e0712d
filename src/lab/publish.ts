// `fairlead up --publish 8080:production/frontend:http`: a port of the host's loopback that leads to a Service of the lab. The listener is
// inherited from the launcher, and so in the host's network; each connection is joined to one made inside a node, which reaches whatever
// a node reaches: cluster addresses through the node's Program, endpoints of headless Services directly.
//
// Not here: opening the listener (launch.ts). TCP only, as browsers need it.

import net from "node:net";

import { familyOf, type Address } from "../ip/address.ts";
import type { NetworkNamespace } from "../kernel/namespaces.ts";
import { tcpSocketFd } from "../kernel/sockets.ts";
import type { Network, NetworkService } from "../model/network.ts";

/** A published port. */
export interface Published {
  /** On 127.0.0.1 of the host. */
  readonly hostPort: number;
  readonly namespace: string;
  readonly service: string;
  /** The Service's port, by number or name; its first TCP port where absent. */
  readonly port?: string;
}

/** `8080:SERVICE`, `8080:NAMESPACE/SERVICE`, each with `:PORT` behind it where it has several. Throws Error where it is none of these. */
export function parsePublished(text: string): Published {
  const match = /^(\d+):(?:([a-z0-9-]+)\/)?([a-z0-9-]+)(?::([a-z0-9-]+))?$/.exec(text);
  const hostPort = Number(match?.[1]);
  if (match === null || hostPort < 1 || hostPort > 65_535)
    throw new Error(`--publish ${text}: must be such as 8080:production/frontend or 8080:production/frontend:http`);
  const [, , namespace = "default", service = "", port] = match;
  return { hostPort, namespace, service, ...(port === undefined ? {} : { port }) };
}

export interface PublishOptions {
  readonly ports: readonly (Published & { readonly fd: number })[];
  readonly network: () => Network;
  /** The namespaces of the nodes that run, by name. */
  readonly nodes: () => ReadonlyMap<string, NetworkNamespace>;
  readonly log: (line: string) => void;
}

/** Starts answering. Connections for which there is nobody are reset, and the log says why. */
export function startPublishing(options: PublishOptions): { close(): void } {
  const servers = options.ports.map((published) => {
    const server = net.createServer({ allowHalfOpen: true, noDelay: true }, (client) => {
      const target = findTarget(options, published);
      if (typeof target === "string") {
        options.log(`published port ${published.hostPort}: ${target}`);
        client.resetAndDestroy();
        return;
      }
      join(client, target);
    });
    server.on("error", (error) => options.log(`published port ${published.hostPort}: ${error.message}`));
    server.listen({ fd: published.fd });
    return server;
  });
  return {
    close() {
      for (const server of servers) server.close();
    },
  };
}

interface Target {
  readonly from: NetworkNamespace;
  readonly address: Address;
  readonly port: number;
}

/** Where a new connection goes, or why nowhere. */
function findTarget({ network, nodes }: PublishOptions, published: Published): Target | string {
  const name = `Service ${published.namespace}/${published.service}`;
  const service = network().services.find(
    (each) => each.namespace === published.namespace && each.name === published.service,
  );
  if (service === undefined) return `there is no ${name}`;
  const port = service.ports.find((each) =>
    published.port === undefined
      ? each.protocol === "tcp"
      : each.protocol === "tcp" && (each.name === published.port || String(each.port) === published.port),
  );
  if (port === undefined) return `${name} has no TCP port ${published.port ?? ""}`;
  const from = chooseNode(service, nodes());
  if (from === undefined) return "no node runs";
  const [address] = service.clusterIps;
  if (address !== undefined) return { from, address, port: port.port };
  const endpoint = port.endpoints.find(({ ready }) => ready);
  return endpoint === undefined ? `${name} has no ready endpoint` : { from, ...endpoint };
}

/** With internal policy Local a node without endpoints would only drop. */
function chooseNode(
  service: NetworkService,
  nodes: ReadonlyMap<string, NetworkNamespace>,
): NetworkNamespace | undefined {
  const [any] = nodes.values();
  if (service.internalTrafficPolicy === "Cluster") return any;
  const local = service.ports
    .flatMap(({ endpoints }) => endpoints)
    .find(({ ready, node }) => ready && nodes.has(node ?? ""));
  return nodes.get(local?.node ?? "") ?? any;
}

function join(client: net.Socket, { from, address, port }: Target): void {
  const server = new net.Socket({ fd: tcpSocketFd(from, familyOf(address)), allowHalfOpen: true });
  server.connect({ host: address, port });
  server.setNoDelay(true);
  // What one side's end was, the other side is told: an end as an end, a failure as a reset.
  client.on("error", () => server.resetAndDestroy());
  server.on("error", () => client.resetAndDestroy());
  client.pipe(server);
  server.pipe(client);
}
