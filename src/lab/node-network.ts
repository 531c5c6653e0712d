// A node's part of the pod network before it knows its pod ranges: the node controller gives those shortly after the node has appeared.

import type { AttachmentStore } from "../agent/attachments.ts";
import type { CniRequest, PodNetwork } from "../serve/cni/cni.ts";
import { CniError } from "../serve/cni/cni.ts";
import { createIpam, type Ipam } from "../agent/ipam.ts";
import type { ObjectApi } from "./api/api.ts";
import { podCidrsOf } from "./node-object.ts";

/** The node's address management, made when its ranges are known; undefined until then. */
export function lazyIpam(api: ObjectApi, node: string, attachments: AttachmentStore): () => Ipam | undefined {
  let ipam: Ipam | undefined;
  return () => {
    if (ipam !== undefined) return ipam;
    const ranges = podCidrsOf(api, node);
    if (ranges.length > 0) ipam = createIpam(ranges, attachments);
    return ipam;
  };
}

/** Functions of CNI's shape that refuse with code 11 (try again later) until the node has its ranges. */
export function lazyPodNetwork<N extends PodNetwork>(
  node: string,
  ipam: () => Ipam | undefined,
  make: (ipam: Ipam) => N,
): PodNetwork & { made(): N | undefined } {
  let network: N | undefined;
  const ready = (): N | undefined => {
    const pools = ipam();
    return (network ??= pools && make(pools));
  };
  const must = (): N => {
    const made = ready();
    if (made === undefined)
      throw new CniError(
        11,
        `node ${node} has no pod ranges yet (Node spec.podCIDRs): the node controller gives them; try again`,
      );
    return made;
  };
  return {
    add: async (request: CniRequest) => must().add(request),
    delete: async (request: CniRequest) => ready()?.delete(request),
    check: async (request: CniRequest) => must().check(request),
    made: ready,
  };
}
