// What is odd about ClusterNetworkPolicies in the cluster as it is today: subjects and peers that mean nobody, an order that is nobody's
// choice, and pods that may go out but not ask DNS. Warnings only: everything here is allowed.
//
// Not here: what is odd about one object by itself (cluster-policy.ts).

import { formatSelector, matches } from "../kube/selector.ts";
import type { Origin } from "../kube/object.ts";
import type { ClusterPeer, ClusterPolicy, Network, NetworkPod, Problem } from "./network.ts";
import { clusterRuleFor, isSubject, isolates } from "./policy-match.ts";

/** Warnings about all ClusterNetworkPolicies, in order of policy. `peerWarnings` says what is odd about a peer that is no node. */
export function clusterPolicyWarnings(
  network: Network,
  seen: {
    /** One pod of each kind: selectors tell no more apart. */
    readonly examples: readonly NetworkPod[];
    /** Behind the cluster's DNS Service. */
    readonly dns: readonly NetworkPod[];
    readonly peerWarnings: (
      peer: Exclude<ClusterPeer, { kind: "nodes" }>,
      direction: "ingress" | "egress",
    ) => readonly Problem[];
  },
): readonly Problem[] {
  return network.clusterPolicies.flatMap((policy) => {
    const pods = seen.examples.filter((pod) => isSubject(network, policy, pod));
    return [
      ...(pods.length === 0 ? [warning(policy.origin, "means no pod today: the policy does nothing")] : []),
      ...(["ingress", "egress"] as const).flatMap((direction) =>
        policy[direction].flatMap(({ peers }) =>
          peers === "anyone"
            ? []
            : peers.flatMap((peer) =>
                peer.kind === "nodes" ? nodeWarnings(network, peer) : seen.peerWarnings(peer, direction),
              ),
        ),
      ),
      ...orderWarnings(network, policy, pods),
      ...dnsWarnings(network, policy, pods, seen.dns),
    ];
  });
}

function nodeWarnings(
  network: Network,
  { nodes, origin }: ClusterPeer & { readonly kind: "nodes" },
): readonly Problem[] {
  if (network.nodes.some(({ labels }) => matches(nodes, labels))) return [];
  return [warning(origin, `${formatSelector(nodes)} matches no node: nobody is meant today`)];
}

// "there is no way for the user to reliably determine which one it will choose"
function orderWarnings(network: Network, policy: ClusterPolicy, pods: readonly NetworkPod[]): readonly Problem[] {
  const rivals = network.clusterPolicies.filter(
    (other) =>
      other !== policy &&
      other.name < policy.name &&
      other.tier === policy.tier &&
      other.priority === policy.priority &&
      (["ingress", "egress"] as const).some(
        (direction) => other[direction].length > 0 && policy[direction].length > 0,
      ) &&
      pods.some((pod) => isSubject(network, other, pod)),
  );
  if (rivals.length === 0) return [];
  const names = rivals.map(({ name }) => name).join(", ");
  return [
    warning(
      { ...policy.origin, field: "spec.priority" },
      `${policy.priority} is also that of ${names}, for the same pods: which goes first is not said; here it is by name, so ${policy.name} comes after`,
    ),
  ];
}

// Only where the policy means them to reach something: pods that may reach nothing at all are probably meant so.
function dnsWarnings(
  network: Network,
  policy: ClusterPolicy,
  pods: readonly NetworkPod[],
  dns: readonly NetworkPod[],
): readonly Problem[] {
  if (dns.length === 0 || !policy.egress.some(({ action, closed }) => action !== "deny" && closed === undefined))
    return [];
  const deniedBy = new Set<Origin>();
  const mute = pods.filter((pod) => {
    const rules = dns.map((server) => {
      const connection = {
        from: { address: pod.addresses[0] ?? "0.0.0.0", pod },
        to: { address: server.addresses[0] ?? "0.0.0.0", pod: server.hostNetwork ? undefined : server },
        protocol: "udp",
        port: 53,
      } as const;
      const admin = clusterRuleFor(network, "admin", "egress", connection);
      if (admin !== undefined && admin.rule.action !== "pass") return admin;
      if (network.policies.some((other) => isolates(other, "egress", pod))) return undefined;
      return clusterRuleFor(network, "baseline", "egress", connection);
    });
    const isMute = rules.every((found) => found?.policy === policy && found.rule.action === "deny");
    if (isMute) for (const found of rules) if (found !== undefined) deniedBy.add(found.rule.origin);
    return isMute;
  });
  const [origin] = deniedBy;
  if (mute.length === 0 || origin === undefined) return [];
  const [first] = mute;
  const whom = `${first?.namespace}/${first?.name}${mute.length === 1 ? "" : " and others"}`;
  return [warning(origin, `${whom} cannot ask DNS by this rule, so names will not resolve; add before it: ${dnsRule}`)];
}

const dnsRule =
  "{action: Accept, to: [{pods: {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}, podSelector: {matchLabels: {k8s-app: kube-dns}}}}], protocols: [{udp: {destinationPort: {number: 53}}}, {tcp: {destinationPort: {number: 53}}}]}";

function warning(origin: Origin, message: string): Problem {
  return { severity: "warning", origin, message };
}
