// ClusterNetworkPolicy, by the types of sigs.k8s.io/network-policy-api (policy.networking.k8s.io/v1alpha2).
//
// Not here: Kubernetes' own kinds (kinds.ts), and what a policy means (model/cluster-policy.ts).

import type { KubeObject } from "./object.ts";
import type { Condition, LabelSelector } from "./pod.ts";

export interface ClusterNetworkPolicy extends KubeObject {
  readonly apiVersion: "policy.networking.k8s.io/v1alpha2";
  readonly kind: "ClusterNetworkPolicy";
  readonly spec: ClusterNetworkPolicySpec;
  readonly status?: { readonly conditions?: readonly Condition[] };
}

export interface ClusterNetworkPolicySpec {
  readonly tier: "Admin" | "Baseline";
  readonly priority: number;
  readonly subject: Pick<ClusterNetworkPolicyPeer, "namespaces" | "pods">;
  readonly ingress?: readonly ClusterNetworkPolicyIngressRule[];
  readonly egress?: readonly ClusterNetworkPolicyEgressRule[];
}

export interface ClusterNetworkPolicyIngressRule {
  readonly name?: string;
  readonly action: "Accept" | "Deny" | "Pass";
  readonly from: readonly Pick<ClusterNetworkPolicyPeer, "namespaces" | "pods">[];
  readonly protocols?: readonly ClusterNetworkPolicyProtocol[];
}

export interface ClusterNetworkPolicyEgressRule {
  readonly name?: string;
  readonly action: "Accept" | "Deny" | "Pass";
  readonly to: readonly ClusterNetworkPolicyPeer[];
  readonly protocols?: readonly ClusterNetworkPolicyProtocol[];
}

/** One of its fields. */
export interface ClusterNetworkPolicyPeer {
  readonly namespaces?: LabelSelector;
  readonly pods?: { readonly namespaceSelector?: LabelSelector; readonly podSelector?: LabelSelector };
  readonly nodes?: LabelSelector;
  readonly networks?: readonly string[];
  readonly domainNames?: readonly string[];
}

/** One of its fields. */
export interface ClusterNetworkPolicyProtocol {
  readonly tcp?: ClusterNetworkPolicyPorts;
  readonly udp?: ClusterNetworkPolicyPorts;
  readonly sctp?: ClusterNetworkPolicyPorts;
  readonly destinationNamedPort?: string;
}

export interface ClusterNetworkPolicyPorts {
  readonly destinationPort?: {
    readonly number?: number;
    readonly range?: { readonly start: number; readonly end: number };
  };
}
