// How a pod gets and loses its network, as functions of CNI's shape (CNI SPEC 1.1.0): what the CNI server (server.ts) calls, what the agent
// provides (agent/pod-network.ts), and what the lab's kubelets call directly.
//
// Not here: the protocol around it: environment, JSON, versions (request.ts, result.ts).

import type { Address } from "../../ip/address.ts";
import type { Mac } from "../../ip/mac.ts";

/** What a runtime gives: CNI_CONTAINERID, CNI_NETNS, CNI_IFNAME, K8S_POD_* arguments and capabilities. */
export interface CniRequest {
  readonly containerId: string;
  /** The pod's network namespace, open. DEL works without. */
  readonly namespaceFd?: number;
  /** Where the namespace can be found again: its link is made again when somebody deletes it. */
  readonly namespacePath?: string;
  readonly interfaceName: string;
  /** The empty string where no Kubernetes pod is behind the sandbox. */
  readonly podNamespace: string;
  readonly podName: string;
  readonly podUid: string;
  readonly portMappings: readonly {
    readonly hostPort: number;
    readonly containerPort: number;
    readonly protocol: "tcp" | "udp" | "sctp";
    readonly hostIp?: Address;
  }[];
  /** Addresses asked for by name (capability `ips`), at most one per family; the rest is ours to choose. */
  readonly addresses?: readonly Address[];
  /** The pod's hardware address (capability `mac`); ours to choose where absent. */
  readonly mac?: Mac;
  /** The name of the network configuration: GC speaks of one network's attachments. */
  readonly network?: string;
}

export interface CniResult {
  readonly interfaces: readonly {
    readonly name: string;
    readonly mac: Mac;
    readonly mtu: number;
    /** The sandbox's id, on the pod's own end. */
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

/** CNI's whole set: what the server needs beside a pod's three. */
export interface CniNetwork extends PodNetwork {
  /** GC: takes away every attachment of the network whose id (attachmentId) is not among these; theirs. Throws CniError after all was tried. */
  collect(validIds: ReadonlySet<string>, network?: string): Promise<readonly string[]>;
  /** STATUS: throws CniError 50 or 51 where no pod could be added now. */
  status(): Promise<void>;
}

/** One name for a place in the network, CNI's pair of container and interface: the container's id, and the interface where it is not eth0. */
export function attachmentId(containerId: string, interfaceName: string): string {
  return interfaceName === "eth0" ? containerId : `${containerId}/${interfaceName}`;
}

/** The interface an id speaks of. */
export function interfaceOf(id: string): string {
  return id.split("/")[1] ?? "eth0";
}

/** The container an id speaks of. */
export function containerOf(id: string): string {
  return id.split("/")[0] ?? id;
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

/** The specification's numbers. */
export const cniCodes = {
  incompatibleVersion: 1,
  unsupportedField: 2,
  unknownContainer: 3,
  invalidEnvironment: 4,
  io: 5,
  decoding: 6,
  invalidConfig: 7,
  tryAgainLater: 11,
  unavailable: 50,
  limitedConnectivity: 51,
  /** Ours: anything else. */
  failed: 100,
  /** Ours: CHECK found something missing or changed. */
  notAsMade: 101,
  /** Ours: an address that was asked for by name cannot be given. */
  addressRefused: 102,
} as const;
