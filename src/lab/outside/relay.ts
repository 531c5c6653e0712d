// Which DNS servers a lab asks through the helper outside: the host's own resolvers, and all that no packet of the lab leads to.

import { contains, type Prefix } from "../../ip/prefix.ts";
import type { ClusterConfig } from "../../model/network.ts";
import type { Upstream } from "../../serve/dns/forwarder.ts";
import type { Relay } from "../../serve/dns/upstreams.ts";
import { internetCidrs } from "../network/topology.ts";
import type { Outside } from "./connect.ts";

/** What stands for `/etc/resolv.conf`, whose servers nobody in a lab reaches. */
export function hostUpstream(outside: Outside): Upstream {
  return { name: "the host's resolvers", resolve: (query) => outside.resolve(query) };
}

/** For cluster DNS of a lab: `forward . 8.8.8.8` is asked from the host's network, an address of the lab's own in the lab. */
export function relayOutside(cluster: ClusterConfig, outside: Outside): Relay {
  const inside: readonly Prefix[] = [
    ...cluster.podCidrs,
    ...cluster.serviceCidrs,
    ...cluster.nodeCidrs,
    ...internetCidrs,
    "127.0.0.0/8",
    "::1/128",
  ];
  return {
    serves: (address) => !address.includes("%") && !inside.some((range) => contains(range, address)),
    ask: (server, query) => outside.ask({ server, query }),
  };
}
