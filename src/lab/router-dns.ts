// DNS at the underlay's router, for whoever asks his machine's resolvers: pods with dnsPolicy Default, and in their nodes' networks. It knows
// nothing of the cluster and passes questions on to the host's resolvers, as a machine's router does.

import { parseCorefile } from "../serve/dns/corefile.ts";
import { startDnsServer } from "../serve/dns/server.ts";
import type { Machine } from "./network/topology.ts";
import type { Outside } from "./outside/connect.ts";
import { hostUpstream } from "./outside/relay.ts";

/** Serves soon, at the router's addresses; where it cannot, `log` says why. */
export function startRouterDns(parts: {
  readonly router: Machine;
  readonly outside: Outside;
  readonly log: (line: string) => void;
}): { close(): Promise<void> } {
  const { router, outside, log } = parts;
  const server = startDnsServer({
    namespace: router.namespace,
    zone: () => undefined,
    upstream: hostUpstream(outside),
    domain: "cluster.local",
    log,
    corefile: parseCorefile(
      `.:53 {\n  bind ${router.addresses.join(" ")}\n  forward . /etc/resolv.conf\n  cache 30\n}\n`,
    ),
  }).catch((error: unknown) => {
    log(`DNS for machines: ${String(error)}`);
    return undefined;
  });
  return {
    async close() {
      await (await server)?.close();
    },
  };
}
