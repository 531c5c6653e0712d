// What a lab is made of, as `fairlead up` was told; kept in the lab's folder so that the next `up` of that name resumes it.

import type { Family } from "../ip/address.ts";
import type { Prefix } from "../ip/prefix.ts";
import type { Routing } from "../model/network.ts";
import type { Published } from "./publish.ts";

/** The settings of one lab. Plain JSON. */
export interface LabConfig {
  readonly name: string;
  /** How many nodes the first start makes: node-1 … node-N. Later the Node objects say which nodes there are. */
  readonly nodes: number;
  readonly families: readonly Family[];
  readonly podCidrs: readonly Prefix[];
  readonly serviceCidrs: readonly Prefix[];
  readonly nodeCidrs: readonly Prefix[];
  readonly domain: string;
  /** How nodes reach each other's pods. `vxlan` where absent. */
  readonly routing?: Routing;
  /** The underlay's links, joined by the router, where there are several. */
  readonly subnets?: readonly Prefix[];
  /** Ranges of nodes' addresses that node ports answer at; their InternalIPs where there are none. */
  readonly nodePortCidrs?: readonly Prefix[];
  /** Where node ports are; 30000 to 32767 where absent. */
  readonly nodePorts?: { readonly first: number; readonly last: number };
  /** Of the API server, on 127.0.0.1 of the host. */
  readonly apiPort: number;
  /** Ports of the host's loopback that lead to Services. */
  readonly publish?: readonly Published[];
  /** `off`: no namespaces, no packets; store, controllers, model, DNS answers and trace work all the same. */
  readonly packets: "on" | "off";
  /** Why packets are off, in words for people. */
  readonly packetsOffReason?: string;
  /** `none`: kube-scheduler and kube-controller-manager are brought by the user; what belongs to the API server itself still runs. */
  readonly controllers?: "own" | "none";
  /** `off`: NetworkPolicies are not enforced. On where absent. */
  readonly policy?: "on" | "off";
  /** Who answers DNS: the pods of Deployment coredns, or each node for its own pods. `pods` where absent. */
  readonly dns?: "pods" | "node-local";
  /** Whether a changed policy lets connections that began before go on. `keep` where absent. */
  readonly establishedConnections?: "keep" | "strict";
  /** Whether connections that policies let through are told as drops are. `drops` where absent. */
  readonly policyLog?: "drops" | "accepts";
}

/** One line of progress of a starting lab, as the daemon writes it to its launcher. */
export type Progress =
  /** The daemon runs, and waits for a line from its launcher before it begins. */
  | { readonly kind: "waiting" }
  | { readonly kind: "step"; readonly what: string; readonly detail: string; readonly seconds: number }
  | { readonly kind: "ready" }
  | { readonly kind: "failed"; readonly message: string };
