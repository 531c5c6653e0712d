// Announces load balancers' addresses on the lab's underlay: the router's neighbour entry of each leads to the node that holds it, as
// gratuitous ARP and unsolicited advertisements would have it. Links are looked at twice a second, so that an address moves well within
// two seconds of its node's link going down, whoever pulled the wire.
//
// Not here: which node that is (model/layer2.ts), and what the node does with the packets: its Program translates them, and the address
// is on none of its links.

import type { Address } from "../ip/address.ts";
import { holders } from "../model/layer2.ts";
import type { NetworkSource } from "../model/source.ts";
import type { Topology } from "./network/topology.ts";

export interface Announcer {
  /** The node that holds an address now. */
  readonly held: ReadonlyMap<Address, string>;
  close(): void;
}

/** How often links are looked at. */
const lookMs = 500;

/** Starts announcing. `log` is told of every move. */
export function startAnnouncer(options: {
  readonly source: NetworkSource;
  readonly topology: Topology;
  readonly log?: (node: string, line: string) => void;
}): Announcer {
  const { source, topology, log = () => {} } = options;
  const held = new Map<Address, string>();

  const look = (): void => {
    const network = source.current();
    const isAsked = held.size > 0 || network.services.some(({ type }) => type === "LoadBalancer");
    if (!isAsked) return;
    const carrying = topology.carrying();
    const wanted = holders(network, (node) => carrying.has(node));
    for (const [address, node] of held) {
      if (wanted.has(address)) continue;
      topology.announce(address, undefined);
      held.delete(address);
      log(node, `${address}: not announced any more`);
    }
    for (const [address, node] of wanted) {
      const before = held.get(address);
      if (before === node) continue;
      topology.announce(address, node);
      held.set(address, node);
      log(node, `${address}: announced by ${node}${before === undefined ? "" : `, by ${before} until now`}`);
    }
  };
  const subscription = source.subscribe(look);
  const timer = setInterval(look, lookMs);
  timer.unref();
  look();
  return {
    held,
    close() {
      clearInterval(timer);
      subscription.close();
    },
  };
}
