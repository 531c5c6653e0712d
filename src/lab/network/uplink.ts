// A node's own link after hands were at it: what the lab gave the node there, its addresses, neighbours and way out, is given again, as a
// machine's network manager would. The kernel takes IPv6 addresses, routes and neighbours away with a link that goes down.
// A link that somebody took down stays down: that is what a node without a network is like.
//
// Not here: what the lab gives a node (topology.ts), and what is Fairlead's own there (agent/, apply/).

import type { Drift } from "../../apply/report.ts";
import { describeRoute } from "../../apply/change-text.ts";
import type { Change, MonitorEvent, NetworkKernel } from "../../kernel/kernel.ts";
import type { Origin } from "../../kube/object.ts";
import { uplinkName } from "../node-object.ts";

export interface UplinkKeeper {
  /** Somebody else changed something in the node. */
  changed(event: MonitorEvent): void;
  close(): void;
}

/** What the lab gives a node's link. */
export type Given = Extract<Change, { kind: "set-address" | "set-neighbour" | "set-route" }>;

export function keepUplink(options: {
  readonly node: string;
  readonly kernel: NetworkKernel;
  /** All that the link is to have, in the order in which it can be given. */
  readonly given: () => readonly Given[];
  /** Makes the link again, where there is none any more. */
  readonly replug: () => void;
  readonly putBack: (drift: readonly Drift[]) => void;
}): UplinkKeeper {
  const { node, kernel, given, replug, putBack } = options;
  const origin: Origin = { kind: "Node", name: node };
  let isDue = false;
  let isClosed = false;

  const look = (): void => {
    isDue = false;
    if (isClosed) return;
    const drift: Drift[] = [];
    const link = kernel.links().find(({ name }) => name === uplinkName);
    if (link === undefined) {
      replug();
      drift.push({ part: "links", kind: "missing", text: `link ${uplinkName}`, origin });
    } else if (!link.up) return;
    const missing = missingOf(given(), kernel);
    const results = kernel.change(missing);
    for (const [index, change] of missing.entries())
      if (results[index]?.ok === true) drift.push({ ...told(change), kind: "missing", origin });
    // Neighbours are the least of it, and many: what is told first is what people know.
    const isLast = ({ part }: Drift): number => Number(part === "neighbours");
    if (drift.length > 0) putBack(drift.sort((a, b) => isLast(a) - isLast(b)));
  };
  return {
    changed({ kind, link }) {
      const isOurs = kind === "route" || (kind !== "nftables" && link?.names.includes(uplinkName) !== false);
      if (!isOurs || isDue || isClosed) return;
      isDue = true;
      setImmediate(look);
    },
    close() {
      isClosed = true;
    },
  };
}

// linux/rtnetlink.h
const RT_TABLE_MAIN = 254;

function missingOf(given: readonly Given[], kernel: NetworkKernel): readonly Given[] {
  const has = new Set([
    ...kernel.addresses().map(({ link, address, bits }) => `${link} ${address}/${bits}`),
    ...kernel
      .neighbours()
      .flatMap(({ link, address, mac, permanent }) => (permanent ? `${link} ${address} ${mac}` : [])),
    ...kernel
      .routes()
      .flatMap(({ table, link, to, via, metric }) => (table === RT_TABLE_MAIN ? `${link} ${to} ${via} ${metric}` : [])),
  ]);
  return given.filter((change) => {
    switch (change.kind) {
      case "set-address":
        return !has.has(`${change.link} ${change.address}/${change.bits}`);
      case "set-neighbour":
        return !has.has(`${change.link} ${change.address} ${change.mac}`);
      case "set-route":
        return !has.has(`${change.link} ${change.to} ${change.via} ${change.metric}`);
    }
  });
}

function told(change: Given): Pick<Drift, "part" | "text"> {
  switch (change.kind) {
    case "set-address":
      return { part: "addresses", text: `addr ${change.address}/${change.bits} dev ${change.link}` };
    case "set-neighbour":
      return { part: "neighbours", text: `neigh ${change.address} lladdr ${change.mac} dev ${change.link}` };
    case "set-route":
      return { part: "routes", text: `route ${describeRoute(change)}` };
  }
}
