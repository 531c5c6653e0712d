// How a pod gets and loses its network: functions with the shape of CNI's ADD, DEL and CHECK (CNI SPEC 1.1.0),
// so that the CNI executable is a thin caller of the same code.

import type { Address } from "../ip/address.ts";
import type { Mac } from "../ip/mac.ts";

/** What a runtime gives: CNI_CONTAINERID, CNI_NETNS, CNI_IFNAME, K8S_POD_* arguments and the `portMappings` capability. */
export interface CniRequest {
  readonly containerId: string;
  /** The pod's network namespace, open. DEL works without. */
  readonly namespaceFd?: number;
  readonly interfaceName: string;
  readonly podNamespace: string;
  readonly podName: string;
  readonly podUid: string;
  readonly portMappings: readonly {
    readonly hostPort: number;
    readonly containerPort: number;
    readonly protocol: "tcp" | "udp" | "sctp";
    readonly hostIp?: Address;
  }[];
}

export interface CniResult {
  readonly interfaces: readonly {
    readonly name: string;
    readonly mac: Mac;
    readonly mtu: number;
    readonly sandbox?: string;
  }[];
  readonly ips: readonly {
    readonly address: Address;
    readonly bits: number;
    readonly gateway: Address;
    readonly interface: number;
  }[];
  readonly routes: readonly { readonly dst: string; readonly gw?: Address }[];
}

export interface PodNetwork {
  /** Gives the pod its link, addresses and routes, and returns only when the node's Program that includes it is in the kernel. Throws CniError. */
  add(request: CniRequest): Promise<CniResult>;
  /** Takes all of it away; missing pieces are no error. */
  delete(request: CniRequest): Promise<void>;
  /** Throws CniError where something of it is missing or changed. */
  check(request: CniRequest): Promise<void>;
}

/** CNI SPEC "Error": codes 1 to 99 are the specification's, 100 and up ours. */
export class CniError extends Error {
  override readonly name = "CniError";
  readonly code: number;
  readonly details: string | undefined;

  constructor(code: number, message: string, details?: string) {
    super(message);
    this.code = code;
    this.details = details;
  }
}
