// NetworkPolicies: objects -> Network. What the object says, with its defaults filled in and every list that may be absent or empty made
// plain; whom its selectors mean is found where pods are known (program/policy-peers.ts), as that changes with every pod.
//
// What cannot be understood never widens a rule: a peer or port that makes no sense matches nothing, and problems name it.

import { parsePrefix } from "../ip/prefix.ts";
import type {
  LabelSelector,
  NetworkPolicy,
  NetworkPolicyIngressRule,
  NetworkPolicyPeer,
  NetworkPolicyPort,
} from "../kube/kinds.ts";
import { requirementsOf } from "../kube/selector.ts";
import type { Policy, PolicyPeer, PolicyPort, PolicyRule } from "./network.ts";
import { logsAccepts } from "./node.ts";
import { originOf } from "./origin.ts";
import { protocolOf } from "./pod.ts";

/** What a NetworkPolicy says (networking.k8s.io/v1). */
export function networkPolicy(policy: NetworkPolicy): Policy {
  const { metadata, spec } = policy;
  const types = policyTypes(policy);
  return {
    namespace: metadata.namespace ?? "default",
    name: metadata.name,
    pods: requirementsOf(spec.podSelector ?? {}),
    ...(types.includes("Ingress") && {
      ingress: (spec.ingress ?? []).map((rule, index) => ingressRule(policy, rule, index)),
    }),
    ...(types.includes("Egress") && {
      egress: (spec.egress ?? []).map(({ to, ports }, index) =>
        policyRule(policy, { peers: to, ports, field: `spec.egress[${index}]`, peerField: "to" }),
      ),
    }),
    ...(logsAccepts(policy) && { logsAccepts: true as const }),
    origin: originOf(policy, "spec.podSelector"),
  };
}

/** networking/v1 SetDefaults_NetworkPolicy: always ingress, and egress where there are egress rules. */
export function policyTypes({ spec }: NetworkPolicy): readonly ("Ingress" | "Egress")[] {
  if (spec.policyTypes !== undefined && spec.policyTypes.length > 0) return spec.policyTypes;
  return (spec.egress ?? []).length > 0 ? ["Ingress", "Egress"] : ["Ingress"];
}

function ingressRule(policy: NetworkPolicy, { from, ports }: NetworkPolicyIngressRule, index: number): PolicyRule {
  return policyRule(policy, { peers: from, ports, field: `spec.ingress[${index}]`, peerField: "from" });
}

function policyRule(
  policy: NetworkPolicy,
  rule: {
    readonly peers: readonly NetworkPolicyPeer[] | undefined;
    readonly ports: readonly NetworkPolicyPort[] | undefined;
    readonly field: string;
    readonly peerField: "from" | "to";
  },
): PolicyRule {
  const { peers = [], ports = [], field, peerField } = rule;
  return {
    // An empty list is as absent: no restriction.
    peers:
      peers.length === 0
        ? "anyone"
        : peers.flatMap((peer, index) => policyPeer(policy, peer, `${field}.${peerField}[${index}]`)),
    ports:
      ports.length === 0 ? "all" : ports.flatMap((port, index) => policyPort(policy, port, `${field}.ports[${index}]`)),
    origin: originOf(policy, field),
  };
}

function policyPeer(policy: NetworkPolicy, peer: NetworkPolicyPeer, field: string): readonly PolicyPeer[] {
  const { ipBlock, podSelector, namespaceSelector } = peer;
  if (ipBlock !== undefined) {
    if (podSelector !== undefined || namespaceSelector !== undefined) return [];
    const cidr = parsePrefix(ipBlock.cidr);
    const except = (ipBlock.except ?? []).map(parsePrefix);
    // Without an exception that was meant the block would let in more than it says.
    if (cidr === undefined || except.includes(undefined)) return [];
    return [
      {
        kind: "block",
        cidr,
        except: except.filter((hole) => hole !== undefined),
        origin: originOf(policy, `${field}.ipBlock`),
      },
    ];
  }
  if (podSelector === undefined && namespaceSelector === undefined) return [];
  const selected = podSelector === undefined ? "namespaceSelector" : "podSelector";
  return [
    {
      kind: "pods",
      namespaces: namespaceSelector === undefined ? "own" : requirementsOf(namespaceSelector),
      pods: requirementsOf(podSelector ?? everything),
      origin: originOf(policy, `${field}.${selected}`),
    },
  ];
}

const everything: LabelSelector = {};

function policyPort(policy: NetworkPolicy, spec: NetworkPolicyPort, field: string): readonly PolicyPort[] {
  const { port, endPort } = spec;
  const protocol = protocolOf(spec.protocol);
  const origin = originOf(policy, field);
  if (port === undefined)
    return endPort === undefined ? [{ kind: "range", protocol, first: 0, last: 65535, origin }] : [];
  if (typeof port === "string") return endPort === undefined ? [{ kind: "named", protocol, name: port, origin }] : [];
  const last = endPort ?? port;
  return isPort(port) && isPort(last) && last >= port ? [{ kind: "range", protocol, first: port, last, origin }] : [];
}

function isPort(port: number): boolean {
  return Number.isInteger(port) && port >= 1 && port <= 65535;
}
