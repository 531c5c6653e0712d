// LoadBalancerPool, Fairlead's own kind: addresses for Services of type LoadBalancer, announced on the nodes' network (layer 2).
// Its definition for API servers is deploy/chart/crds, from which the schema table has it.
//
// Not here: how addresses are chosen (model/load-balancer-pools.ts), and which node answers for one (model/layer2.ts).

import type { KubeObject } from "./object.ts";
import type { LabelSelector } from "./pod.ts";

export interface LoadBalancerPool extends KubeObject {
  readonly apiVersion: "fairlead.dev/v1alpha1";
  readonly kind: "LoadBalancerPool";
  readonly spec: {
    /** Ranges: `192.0.2.0/24`, `2001:db8::10-2001:db8::1f`, or one address. */
    readonly addresses: readonly string[];
    /** The Services that may have one of them; absent: all. */
    readonly serviceSelector?: LabelSelector;
  };
}

/** The Service's wish for a pool, by name. */
export const poolAnnotation = "fairlead.dev/load-balancer-pool";
