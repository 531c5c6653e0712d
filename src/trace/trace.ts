// A Trace is data: what happens to one packet (and its connection), hop by hop, each step with the object that decided.
// Made by executing the nodes' Programs; three renderings (render.ts): minimal for tests, summary for people, full.
//
// Grammar (asserted by check.ts): hops are in path order; the last step of the last hop carries the disposition.

import type { Address } from "../ip/address.ts";
import type { Origin } from "../kube/object.ts";
import type { PolicyTier, Protocol } from "../model/network.ts";

/** How it ends. `delivered` needs a listening socket where the lab can tell. */
export type Disposition =
  | "delivered"
  | "refused" // an RST or port unreachable came back: no listener, or a Service without endpoints
  | "dropped" // silently
  | "unreachable" // ICMP unreachable or no route
  | "unresolved"; // the name did not resolve, or the question met no name server

/** The packet at one point of its way. */
export interface Packet {
  readonly protocol: Protocol | "icmp";
  readonly source: Address;
  readonly destination: Address;
  readonly sourcePort: number;
  readonly destinationPort: number;
}

/** A place the packet passes: a pod, a node, or the outside. */
export interface Hop {
  readonly place: { readonly kind: "pod" | "node" | "outside"; readonly name: string; readonly node?: string };
  readonly steps: readonly Step[];
}

export type Step =
  | {
      readonly kind: "name";
      readonly question: string;
      readonly tried: readonly string[];
      /** The client asked for the first of them only, and cluster DNS walked the rest (autopath). */
      readonly askedOnce?: true;
      readonly answers: readonly Address[];
      readonly rcode: string;
      readonly origin?: Origin;
      /** No address: what the client may have meant. */
      readonly causes?: readonly PolicyCause[];
    }
  | {
      readonly kind: "service";
      readonly address: Address;
      readonly port: number;
      readonly choices: readonly EndpointChoice[];
      /** Endpoints that get nothing of it here, and why; absent where there is none. */
      readonly idle?: readonly PolicyCause[];
      readonly origin: Origin;
    }
  | { readonly kind: "dnat"; readonly from: string; readonly to: string; readonly origin: Origin }
  | { readonly kind: "snat"; readonly from: Address; readonly to: Address; readonly origin: Origin }
  | {
      readonly kind: "route";
      readonly to: string;
      readonly link: string;
      readonly via?: Address;
      readonly mtu: number;
      readonly origin: Origin;
    }
  | {
      readonly kind: "tunnel";
      readonly link: string;
      readonly remote: Address;
      readonly node: string;
      readonly origin: Origin;
    }
  | {
      readonly kind: "policy";
      readonly direction: "egress" | "ingress";
      readonly verdict: "allowed" | "denied" | "not-isolated";
      /** The pod whose policies were asked: `production/backend-db-0`. */
      readonly pod: string;
      /** Why, where it is no policy's doing. */
      readonly detail?: string;
      /** The rule's peer that let it through, or the selector of the first policy that isolates the pod. */
      readonly origin?: Origin;
      /** Names of other policies that let it through as well. */
      readonly also?: readonly string[];
      /** Denied: every policy that isolates the pod, and what each would let through; or the rule of a ClusterNetworkPolicy that says so. */
      readonly causes?: readonly PolicyCause[];
      /** The tier that decided, where it was a ClusterNetworkPolicy: `origin` has the policy and the rule's field. */
      readonly tier?: PolicyTier;
      /** Rules of ClusterNetworkPolicies that passed it on to the next tier, in order. */
      readonly passed?: readonly PolicyCause[];
    }
  | { readonly kind: "guard"; readonly verdict: "passed" | "denied"; readonly detail: string; readonly origin: Origin }
  /** A rule of a table passed; only in the full rendering. */
  | {
      readonly kind: "rule";
      readonly table: string;
      readonly chain: string;
      readonly text: string;
      readonly verdict: string;
      readonly origin: Origin;
    }
  | {
      readonly kind: "reject";
      readonly with: string;
      readonly reason?: string;
      /** Why a Service has no endpoint for it. */
      readonly causes?: readonly PolicyCause[];
      readonly origin: Origin;
    }
  | {
      readonly kind: "drop";
      readonly detail: string;
      readonly causes?: readonly PolicyCause[];
      readonly origin: Origin;
    }
  | { readonly kind: "no-route"; readonly to: Address; readonly origin?: Origin }
  | {
      readonly kind: "socket";
      readonly port: number;
      readonly listening: "yes" | "no" | "unknown";
      /** Nothing listens: what does there instead, `8080` at every address or `127.0.0.1:9000` at one. */
      readonly instead?: readonly string[];
      readonly container?: string;
      readonly pod?: string;
    }
  | { readonly kind: "reply"; readonly restored: string };

/** One line of an explanation, and the field that says so. */
export interface PolicyCause {
  readonly text: string;
  readonly origin: Origin;
}

export interface EndpointChoice {
  readonly address: Address;
  readonly port: number;
  readonly pod?: string;
  readonly node?: string;
  readonly origin: Origin;
}

/** One way through the forks (endpoint choices): a packet with several possible endpoints gives several paths. */
export interface TracePath {
  readonly disposition: Disposition;
  readonly hops: readonly Hop[];
}

export interface Trace {
  /** As asked: `production/frontend`, `api-server:80/tcp`. */
  readonly from: string;
  readonly to: string;
  readonly name?: Step & { readonly kind: "name" };
  /** The way of the client's question to each of its name servers, in order, where not every one of them arrives. */
  readonly questions?: readonly Trace[];
  /** What the first path's packet looks like when it leaves; undefined where the name gave no address. */
  readonly packet?: Packet;
  readonly paths: readonly TracePath[];
  /** The one all paths share, or `mixed`; `unresolved` where no question arrives: the paths are then those of a client that knew the address. */
  readonly disposition: Disposition | "mixed";
  /** Edits that would let a packet through that a policy drops, each tried; absent where there is none. */
  readonly cures?: readonly string[];
}

/** No question of the client arrives at a name server on any way: the name stays unknown, whatever it stands for. */
export function isUnasked({ questions = [] }: Pick<Trace, "questions">): boolean {
  const ways = questions.flatMap(({ paths }) => paths);
  return questions.length > 0 && !ways.some(({ disposition }) => disposition === "delivered");
}
