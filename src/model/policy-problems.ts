// What is odd about policies in the cluster as it is today: selectors that mean nobody, names of ports that no pod has, addresses that no
// policy ever sees, and pods that may go out but not ask DNS, the classic pitfall. Warnings only: everything here is allowed.
//
// Not here: what is odd about one object by itself (problems.ts). This looks at every pod, so it is for status, not for every change.

import { overlaps } from "../ip/prefix.ts";
import { formatSelector, matches } from "../kube/selector.ts";
import type { Origin } from "../kube/object.ts";
import type { Network, NetworkPod, Policy, PolicyPeer, PolicyPort, PolicyRule, Problem } from "./network.ts";
import { clusterPolicyWarnings } from "./cluster-policy-problems.ts";
import { podBehind } from "./service.ts";
import {
  clusterRuleFor,
  isolates,
  letsThrough,
  meansPod,
  namespaceLabels,
  type PolicyDirection,
} from "./policy-match.ts";

/** Warnings about all policies, in order of policy; ClusterNetworkPolicies after the others. */
export function policyWarnings(network: Network): readonly Problem[] {
  const dns = dnsPods(network);
  const examples = unlikePods(network);
  const inNamespace = new Map<string, NetworkPod[]>();
  for (const pod of network.pods) {
    const list = inNamespace.get(pod.namespace);
    if (list === undefined) inNamespace.set(pod.namespace, [pod]);
    else list.push(pod);
  }
  const warnings = network.policies.flatMap((policy) => {
    const pods = (inNamespace.get(policy.namespace) ?? []).filter(
      (pod) => !pod.hostNetwork && matches(policy.pods, pod.labels),
    );
    return [
      ...(pods.length === 0 ? [selectsNobody(policy)] : []),
      ...ruleWarnings(network, policy, { pods, examples }, "ingress"),
      ...ruleWarnings(network, policy, { pods, examples }, "egress"),
      ...dnsWarning(network, policy, pods, dns),
    ];
  });
  const clusterWarnings = clusterPolicyWarnings(network, {
    examples,
    dns,
    peerWarnings: (peer, direction) => peerWarnings(network, { namespace: "" }, peer, { direction, examples }),
  });
  return [...warnings, ...clusterWarnings];
}

function selectsNobody(policy: Policy): Problem {
  const whom = policy.pods.length === 0 ? "there is no pod" : `${formatSelector(policy.pods)} selects no pod`;
  return warning(policy.origin, `${whom} in namespace ${policy.namespace}: the policy does nothing today`);
}

function ruleWarnings(
  network: Network,
  policy: Policy,
  { pods, examples }: { readonly pods: readonly NetworkPod[]; readonly examples: readonly NetworkPod[] },
  direction: PolicyDirection,
): readonly Problem[] {
  return (policy[direction] ?? []).flatMap((rule) => [
    ...(rule.peers === "anyone"
      ? []
      : rule.peers.flatMap((peer) => peerWarnings(network, policy, peer, { direction, examples }))),
    ...(direction === "ingress" ? namedPortWarnings(rule, pods) : []),
  ]);
}

function peerWarnings(
  network: Network,
  policy: Pick<Policy, "namespace">,
  peer: PolicyPeer,
  { direction, examples }: { readonly direction: PolicyDirection; readonly examples: readonly NetworkPod[] },
): readonly Problem[] {
  switch (peer.kind) {
    case "block": {
      if (direction === "ingress") return [];
      const services = network.cluster.serviceCidrs.find(
        (range) => overlaps(range, peer.cidr) && Number(peer.cidr.split("/")[1]) >= Number(range.split("/")[1]),
      );
      if (services === undefined) return [];
      return [
        warning(
          peer.origin,
          `${peer.cidr} lies in the Services' range ${services}: policies see the pod behind a Service, never its address; select the pods instead`,
        ),
      ];
    }
    case "pods": {
      if (examples.some((pod) => meansPod(network, policy, peer, pod))) return [];
      const { namespaces } = peer;
      if (
        namespaces !== "own" &&
        !network.namespaces.some(({ name }) => matches(namespaces, namespaceLabels(network, name)))
      )
        return [warning(peer.origin, `no namespace matches ${formatSelector(namespaces)}: nobody is meant today`)];
      const selector = peer.pods.length === 0 ? "every pod" : formatSelector(peer.pods);
      const where = namespaces === "own" ? ` in namespace ${policy.namespace}` : "";
      return [warning(peer.origin, `${selector} matches no pod${where}: nobody is meant today`)];
    }
  }
}

function namedPortWarnings(rule: PolicyRule, pods: readonly NetworkPod[]): readonly Problem[] {
  if (rule.ports === "all" || pods.length === 0) return [];
  return rule.ports
    .filter((port) => port.kind === "named")
    .filter((port) => !pods.some((pod) => hasPort(pod, port)))
    .map((port) => {
      const names = [...new Set(pods.flatMap((pod) => pod.containerPorts.flatMap(({ name }) => name ?? [])))].sort();
      return warning(
        port.origin,
        `"${port.name}" names no ${port.protocol} port of the pods it selects (they have: ${names.join(", ") || "no named ports"}): it opens nothing`,
      );
    });
}

function hasPort(pod: NetworkPod, port: PolicyPort & { readonly kind: "named" }): boolean {
  return pod.containerPorts.some(({ name, protocol }) => name === port.name && protocol === port.protocol);
}

/** One pod of each namespace and set of labels: selectors tell no more apart. */
function unlikePods({ pods }: Network): readonly NetworkPod[] {
  const seen = new Set<string>();
  return pods.filter(({ namespace, labels, hostNetwork }) => {
    if (hostNetwork) return false;
    const kind = `${namespace} ${JSON.stringify(labels)}`;
    if (seen.has(kind)) return false;
    seen.add(kind);
    return true;
  });
}

/** The pods behind the cluster's DNS Service. */
function dnsPods(network: Network): readonly NetworkPod[] {
  const service = network.services.find(({ clusterIps }) =>
    clusterIps.some((address) => network.cluster.dnsAddresses.includes(address)),
  );
  const names = new Set(
    service?.ports.flatMap(({ endpoints }) => endpoints.flatMap((endpoint) => podBehind(endpoint) ?? [])),
  );
  return network.pods.filter(({ namespace, name }) => names.has(`${namespace}/${name}`));
}

// Said at the first policy that isolates such pods for egress, and only where somebody meant them to reach something: a pod that may
// reach nothing at all was probably meant so.
function dnsWarning(
  network: Network,
  policy: Policy,
  pods: readonly NetworkPod[],
  dns: readonly NetworkPod[],
): readonly Problem[] {
  if (policy.egress === undefined || policy.egress.length === 0 || dns.length === 0) return [];
  const mute = pods.filter((pod) => {
    if (dns.some((server) => isAskedByAdmin(network, pod, server))) return false;
    const all = network.policies.filter((other) => isolates(other, "egress", pod));
    return !all.some((other) =>
      dns.some((server) =>
        letsThrough(network, other, "egress", {
          from: { address: pod.addresses[0] ?? "0.0.0.0", pod },
          to: { address: server.addresses[0] ?? "0.0.0.0", pod: server.hostNetwork ? undefined : server },
          protocol: "udp",
          port: 53,
        }),
      ),
    );
  });
  if (mute.length === 0) return [];
  const whom = `${mute.length} of the ${pods.length} pods it selects`;
  return [
    warning(
      { ...policy.origin, field: "spec.egress" },
      `${whom} cannot ask DNS, so names will not resolve for them; add to spec.egress: ${dnsRule}`,
    ),
  ];
}

/** Does a ClusterNetworkPolicy of tier Admin let the pod ask this server, whatever NetworkPolicies say? */
function isAskedByAdmin(network: Network, pod: NetworkPod, server: NetworkPod): boolean {
  const found = clusterRuleFor(network, "admin", "egress", {
    from: { address: pod.addresses[0] ?? "0.0.0.0", pod },
    to: { address: server.addresses[0] ?? "0.0.0.0", pod: server.hostNetwork ? undefined : server },
    protocol: "udp",
    port: 53,
  });
  return found?.rule.action === "accept";
}

const dnsRule =
  "{to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}, podSelector: {matchLabels: {k8s-app: kube-dns}}}], ports: [{port: 53, protocol: UDP}, {port: 53, protocol: TCP}]}";

function warning(origin: Origin, message: string): Problem {
  return { severity: "warning", origin, message };
}
