// The Network: what the Kubernetes objects say about the cluster's network, free of API shapes and free of nodes' kernels.
// It is a value: `buildNetwork(objects)` is a pure function, and equal objects give an equal Network (docs: ARCHITECTURE.md).
//
// Not here: how any of it is done in a kernel (program/), which is why nothing below speaks of chains, links or maps.

import type { Address, Family } from "../ip/address.ts";
import type { Mac } from "../ip/mac.ts";
import type { Prefix } from "../ip/prefix.ts";
import type { Labels, Origin } from "../kube/object.ts";
import type { Requirement } from "../kube/selector.ts";

/** Everything the compilers need to know. Arrays are sorted by name, so that equal clusters are equal values. */
export interface Network {
  readonly cluster: ClusterConfig;
  readonly nodes: readonly NetworkNode[];
  readonly pods: readonly NetworkPod[];
  readonly services: readonly NetworkService[];
  /** Namespaces with their labels: policies and DNS need them. */
  readonly namespaces: readonly NetworkNamespace[];
  /** NetworkPolicies; empty where enforcement is off. */
  readonly policies: readonly Policy[];
  /** ClusterNetworkPolicies of both tiers; empty where enforcement is off. */
  readonly clusterPolicies: readonly ClusterPolicy[];
  /** What was asked for and is not (fully) done, or makes no sense; shown by `status`, `diagnose` and as Events. */
  readonly problems: readonly Problem[];
}

/** What holds for the whole cluster and comes from configuration rather than from objects. */
export interface ClusterConfig {
  /** `cluster.local` */
  readonly domain: string;
  readonly families: readonly Family[];
  /** One per family at most. */
  readonly podCidrs: readonly Prefix[];
  readonly serviceCidrs: readonly Prefix[];
  /** The ranges nodes take their addresses from. */
  readonly nodeCidrs: readonly Prefix[];
  /** The DNS Service's addresses: the tenth of each service range. */
  readonly dnsAddresses: readonly Address[];
  /** What packets between nodes are wrapped in where they are wrapped. Geneve and WireGuard have their place here. */
  readonly overlay: "vxlan";
  /** How nodes reach each other's pods, where their Node objects do not say (NetworkNode.routing); `vxlan` where absent. */
  readonly routing?: Routing;
  /** Packets of other nodes' pods are taken as they are before any node says that it sends so: before this one asks them to. */
  readonly direct?: "taken";
  /** The underlay's links where the configuration knows them: who shares one is reached without a router. Else nodes say it (NetworkNode.subnets). */
  readonly subnets?: readonly Prefix[];
  /** MTU of the underlay in bytes; pods get this minus the encapsulation. */
  readonly underlayMtu: number;
  readonly nodePorts: { readonly first: number; readonly last: number };
  /** Pools of addresses for Services of type LoadBalancer, inside the nodes' ranges; none where somebody else gives those. */
  readonly loadBalancerCidrs?: readonly Prefix[];
  /** Who connects the pods; our own pod network where absent. */
  readonly podNetwork?: PodNetwork;
  /** `off`: another engine enforces NetworkPolicies, or nobody does. On where absent. */
  readonly policy?: "on" | "off";
  /**
   * What becomes of connections that a changed policy would not let begin: `keep` lets them end by themselves (the default), `strict`
   * stops their packets.
   */
  readonly establishedConnections?: "keep" | "strict";
  /** `accepts`: connections that policies let through are told as well, not only drops. */
  readonly policyLog?: "drops" | "accepts";
}

/** How a node reaches other nodes' pods. Routes learned by BGP have their place here. */
export type Routing =
  /** Wrapped (ClusterConfig.overlay), whatever lies between the nodes. */
  | "vxlan"
  /** As they are, the other node's address being the next hop; wrapped only to nodes that are known to be on another link. */
  | "native"
  /** As they are to nodes that are known to be on the same link, wrapped to all others. */
  | "mixed";

/** Who connects the pods with each other and with their nodes. */
export type PodNetwork =
  /** We: links, addresses, routes, the guard, policies, and Services. */
  | { readonly kind: "own" }
  /** Another program, whose links and addresses are none of our business: Services only, as kube-proxy does them. */
  | { readonly kind: "others"; readonly local: LocalPods };

/** How to know a packet of one of the node's own pods where another program made them (kube-proxy's --detect-local-mode). */
export type LocalPods =
  /** By the cluster's ranges: each node's own pods are not told apart, which only means less masquerading. */
  | { readonly kind: "cluster-ranges" }
  /** By Node.spec.podCIDRs. */
  | { readonly kind: "node-ranges" }
  /** By the link they come from: `cni0`, or `cali*` for all of that beginning. */
  | { readonly kind: "link"; readonly name: string };

export interface NetworkNode {
  readonly name: string;
  readonly labels: Labels;
  /** Node.status.addresses of type InternalIP, primary first, one per family at most. */
  readonly addresses: readonly Address[];
  /** Further addresses of Node.status.addresses: a second InternalIP of a family, ExternalIPs. Absent where there are none. */
  readonly otherAddresses?: readonly Address[];
  /** Where node ports answer; `addresses` where absent. Only the node itself knows these. */
  readonly nodePortAddresses?: readonly Address[];
  /** Node.spec.podCIDRs, one per family at most. */
  readonly podCidrs: readonly Prefix[];
  /** Ready and not being deleted; an unready node keeps its routes, its pods' endpoints lose readiness by other means. */
  readonly ready: boolean;
  readonly zone?: string;
  /** What the node's agent does (annotation fairlead.dev/routing); the cluster's where absent. */
  readonly routing?: Routing;
  /** The ranges on the node's own link (annotation fairlead.dev/subnets): who has an address in them is reached without a router. */
  readonly subnets?: readonly Prefix[];
  readonly origin: Origin;
}

export interface NetworkNamespace {
  readonly name: string;
  readonly labels: Labels;
  /** What its policies let through is told, connection by connection. */
  readonly logsAccepts?: true;
  readonly origin: Origin;
}

/** A pod that has an address, or will get one: completed pods are gone (their addresses may already be another's). */
export interface NetworkPod {
  readonly namespace: string;
  readonly name: string;
  readonly labels: Labels;
  readonly node: string;
  /** status.podIPs, empty until its sandbox is made. For hostNetwork pods: the node's addresses. */
  readonly addresses: readonly Address[];
  readonly hostNetwork: boolean;
  readonly ready: boolean;
  readonly containerPorts: readonly ContainerPort[];
  /** spec.hostname/subdomain, for DNS. */
  readonly hostname?: string;
  readonly subdomain?: string;
  readonly origin: Origin;
}

export interface ContainerPort {
  readonly container: string;
  readonly name?: string;
  readonly port: number;
  readonly protocol: Protocol;
  readonly hostPort?: number;
  readonly hostIp?: Address;
  readonly origin: Origin;
}

export type Protocol = "tcp" | "udp" | "sctp";

export interface NetworkService {
  readonly namespace: string;
  readonly name: string;
  /** Absent: none. */
  readonly labels?: Labels;
  readonly type: "ClusterIP" | "NodePort" | "LoadBalancer" | "ExternalName";
  /** Empty for headless and ExternalName Services. */
  readonly clusterIps: readonly Address[];
  readonly headless: boolean;
  /** The label by which the Service is left to another proxy: names it still has, its addresses lead nowhere here. */
  readonly leftTo?: string;
  readonly externalName?: string;
  readonly publishNotReadyAddresses: boolean;
  readonly sessionAffinitySeconds?: number;
  readonly internalTrafficPolicy: "Cluster" | "Local";
  readonly externalTrafficPolicy: "Cluster" | "Local";
  /** spec.loadBalancerSourceRanges, of both families: who may connect to a load balancer's address. Absent: everybody. */
  readonly loadBalancerSources?: readonly Prefix[];
  /** Where each node says whether it has endpoints of the Service (externalTrafficPolicy Local). */
  readonly healthCheckNodePort?: number;
  readonly ports: readonly ServicePort[];
  /** Of headless Services: every slice's endpoints, whatever their ports (`port` is 0): names need none, and an address may have several. */
  readonly endpoints?: readonly Endpoint[];
  readonly origin: Origin;
}

export interface ServicePort {
  /** The empty string where the only port has no name. */
  readonly name: string;
  readonly protocol: Protocol;
  readonly port: number;
  readonly nodePort?: number;
  /** Addresses that are no cluster address and answer on `port` as well. */
  readonly external?: readonly ExternalAddress[];
  readonly appProtocol?: string;
  /** From all EndpointSlices of the Service, duplicates joined, both families, sorted by family, address, port. */
  readonly endpoints: readonly Endpoint[];
  readonly origin: Origin;
}

/** An address of a load balancer whose packets come to nodes as they are (ipMode VIP), or one of spec.externalIPs. */
export interface ExternalAddress {
  readonly kind: "load-balancer" | "external-ip";
  readonly address: Address;
  /** A load balancer's that another Service has as well, port by port: that one speaks for the address as a whole. */
  readonly isShared?: true;
  readonly origin: Origin;
}

export interface Endpoint {
  readonly address: Address;
  readonly port: number;
  /** EndpointSlice conditions with their defaults applied (KEP-1669). */
  readonly ready: boolean;
  readonly serving: boolean;
  readonly terminating: boolean;
  readonly node?: string;
  readonly zone?: string;
  readonly hostname?: string;
  /** The name of the pod behind it, or namespace/name where that is not the slice's namespace: podBehind (service.ts) gives both. */
  readonly pod?: string;
  readonly forZones?: readonly string[];
  readonly forNodes?: readonly string[];
  readonly origin: Origin;
}

/** A NetworkPolicy: it isolates the pods of its namespace that `pods` matches, in the directions that it has. */
export interface Policy {
  readonly namespace: string;
  readonly name: string;
  /** spec.podSelector; none: every pod of the namespace. */
  readonly pods: readonly Requirement[];
  /** Absent: it says nothing about this direction. Empty: it isolates and allows nothing. */
  readonly ingress?: readonly PolicyRule[];
  readonly egress?: readonly PolicyRule[];
  /** What it lets through is told, connection by connection. */
  readonly logsAccepts?: true;
  /** Of spec.podSelector. */
  readonly origin: Origin;
}

/** Lets through what one of the peers sends or gets on one of the ports. */
export interface PolicyRule {
  readonly peers: "anyone" | readonly PolicyPeer[];
  /** `all`: of every protocol, ICMP too. */
  readonly ports: "all" | readonly PolicyPort[];
  readonly origin: Origin;
}

export type PolicyPeer =
  /** Pods whose namespace and whose labels both match. No requirements: all of them. Never hostNetwork pods: those are their node. */
  | {
      readonly kind: "pods";
      /** `own`: the policy's. */
      readonly namespaces: "own" | readonly Requirement[];
      readonly pods: readonly Requirement[];
      readonly origin: Origin;
    }
  /** Addresses, pods' and nodes' as well. */
  | { readonly kind: "block"; readonly cidr: Prefix; readonly except: readonly Prefix[]; readonly origin: Origin };

export type PolicyPort =
  /** First and last are included. */
  | {
      readonly kind: "range";
      readonly protocol: Protocol;
      readonly first: number;
      readonly last: number;
      readonly origin: Origin;
    }
  /** What the destination pod's containers call so, which may be another number in each. */
  | { readonly kind: "named"; readonly protocol: Protocol; readonly name: string; readonly origin: Origin };

/**
 * A ClusterNetworkPolicy (policy.networking.k8s.io): ordered rules for the pods of its subject. A connection goes through the policies of
 * its tier by priority, then name, and their rules in order; the first that means it decides. Without rules in a direction it says nothing.
 */
export interface ClusterPolicy {
  readonly name: string;
  readonly tier: PolicyTier;
  /** 0 to 1000; lower goes first. */
  readonly priority: number;
  /** Pods whose namespace and whose labels both match. No requirements: all of them. Never hostNetwork pods. */
  readonly subject: { readonly namespaces: readonly Requirement[]; readonly pods: readonly Requirement[] };
  readonly ingress: readonly ClusterRule[];
  readonly egress: readonly ClusterRule[];
  /** What it accepts is told, connection by connection. */
  readonly logsAccepts?: true;
  /** Of spec.subject. */
  readonly origin: Origin;
}

/** `admin` is asked before NetworkPolicies, `baseline` only about pods that none of those isolates. */
export type PolicyTier = "admin" | "baseline";

/**
 * A rule of a ClusterNetworkPolicy. What it has that is not understood makes it fail closed: an `accept` means nobody then, any other
 * denies everything; `peers` and `ports` say so already, `closed` says why.
 */
export interface ClusterRule {
  readonly name?: string;
  /** `pass`: on to the next tier. */
  readonly action: "accept" | "deny" | "pass";
  readonly peers: "anyone" | readonly ClusterPeer[];
  /** `all`: of every protocol, ICMP too. */
  readonly ports: "all" | readonly PolicyPort[];
  readonly closed?: string;
  readonly origin: Origin;
}

export type ClusterPeer =
  | PolicyPeer
  /** Nodes by their labels, under all of their addresses; hostNetwork pods with them. */
  | { readonly kind: "nodes"; readonly nodes: readonly Requirement[]; readonly origin: Origin };

/** Something a person should know about an object. */
export interface Problem {
  readonly severity: "error" | "warning";
  readonly origin: Origin;
  readonly message: string;
}

/**
 * A pod's place in one node: what CNI ADD made. Node-local fact, persisted by the node, input of `compile` beside the Network
 * (so a restarted agent compiles the same Program).
 */
export interface Attachment {
  /** The sandbox's id (CNI_CONTAINERID), and which of its interfaces where that is not eth0: `id/net1`. */
  readonly id: string;
  /** The network configuration's name, where CNI gave one. */
  readonly network?: string;
  /** Where its network namespace can be found again (CNI_NETNS), and the inode that tells whether it is still the same. */
  readonly sandbox?: { readonly path: string; readonly inode: string };
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  /** The host's end of the veth pair. */
  readonly link: string;
  /** The pod's own address on eth0. */
  readonly mac: Mac;
  readonly addresses: readonly Address[];
  readonly hostPorts: readonly {
    readonly protocol: Protocol;
    readonly hostPort: number;
    readonly hostIp?: Address;
    readonly port: number;
  }[];
}
