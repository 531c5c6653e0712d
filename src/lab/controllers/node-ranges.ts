// Pod ranges of nodes: every node gets one of each of the cluster's, never shared and never changed.
// Upstream: pkg/controller/nodeipam/ipam/range_allocator.go; how long the ranges are says model/cluster.ts.

import { nodePodCidrBits } from "../../model/cluster.ts";
import { familyOf } from "../../ip/address.ts";
import { overlaps, prefixBits, subnet, type Prefix } from "../../ip/prefix.ts";
import type { Node } from "../../kube/kinds.ts";
import { nodes } from "./resources.ts";
import { on, type Cluster, type Controller } from "./runtime.ts";

export function nodeRangeController({ objects, config, ...cluster }: Cluster): Controller {
  const events = cluster.events("cidrAllocator");
  const hasRanges = (node: Node): boolean => (node.spec.podCIDRs ?? []).length > 0;
  return {
    name: "node-ipam-controller",
    watches: [
      on(nodes, ({ object }, enqueue) => {
        if (object !== undefined) {
          if (!hasRanges(object)) enqueue(object.metadata.name);
          return;
        }
        // A range came free: those that went without look again.
        for (const node of objects.all(nodes)) if (!hasRanges(node)) enqueue(node.metadata.name);
      }),
    ],
    reconcile(name) {
      const node = objects.get(nodes, undefined, name);
      if (node === undefined || hasRanges(node) || node.metadata.deletionTimestamp !== undefined) return;
      const taken = objects.all(nodes).flatMap(({ spec }) => spec.podCIDRs ?? []);
      const podCIDRs = freeNodeRanges(config.podCidrs, taken);
      if (podCIDRs === undefined) {
        events.record(node, "Warning", "CIDRNotAvailable", `Node ${name} status is now: CIDRNotAvailable`);
        return;
      }
      objects.update(nodes, { ...node, spec: { ...node.spec, podCIDR: podCIDRs[0] ?? "", podCIDRs } });
    },
  };
}

/** The lowest free subnet of each of the cluster's pod ranges: of the length that model/cluster.ts gives. Undefined where one of them is used up. */
export function freeNodeRanges(podCidrs: readonly Prefix[], taken: readonly Prefix[]): readonly Prefix[] | undefined {
  const found = podCidrs.map((range) => freeSubnet(range, taken));
  return found.every((range) => range !== undefined) ? found : undefined;
}

function freeSubnet(range: Prefix, taken: readonly Prefix[]): Prefix | undefined {
  const bits = Math.max(prefixBits(range), nodePodCidrBits(familyOf(range)));
  const count = 2 ** (bits - prefixBits(range));
  const exact = new Set(taken);
  const odd = taken.filter((prefix) => familyOf(prefix) === familyOf(range) && prefixBits(prefix) !== bits);
  for (let index = 0; index < count; index++) {
    const candidate = subnet(range, bits, index);
    if (!exact.has(candidate) && !odd.some((prefix) => overlaps(prefix, candidate))) return candidate;
  }
  return undefined;
}
