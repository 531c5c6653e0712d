// What one policy does, in plain words, with the pods it means today. Pure: a lab and manifests alone answer the same.

import { matches } from "../kube/selector.ts";
import type {
  ClusterPolicy,
  ClusterRule,
  Network,
  NetworkPod,
  Policy,
  PolicyPeer,
  PolicyPort,
  PolicyRule,
} from "../model/network.ts";
import { inOrder, isSubject, meansPod } from "../model/policy-match.ts";
import { policyWarnings } from "../model/policy-problems.ts";
import {
  clusterPeerText,
  clusterRuleText,
  clusterSubjectText,
  peerText,
  portsText,
  subjectText,
  type Direction,
} from "./policy-words.ts";

/** Names listed one by one; more are counted. */
const namesMax = 6;

/**
 * A text of several lines. A ClusterNetworkPolicy where no NetworkPolicy of the namespace has the name, or where `cnp` stands for the
 * namespace. Undefined where there is no policy of that name.
 */
export function explainPolicy(network: Network, namespace: string, name: string): string | undefined {
  const policy = network.policies.find((each) => each.namespace === namespace && each.name === name);
  if (policy === undefined) {
    const cluster = network.clusterPolicies.find((each) => each.name === name);
    return cluster && explainClusterPolicy(network, cluster);
  }
  const selected = network.pods.filter(
    (pod) => pod.namespace === namespace && !pod.hostNetwork && matches(policy.pods, pod.labels),
  );
  const lines = [
    `NetworkPolicy ${namespace}/${name}${policy.origin.source === undefined ? "" : `  (${policy.origin.source})`}`,
    `  selects ${subjectText(policy)}: ${podNames(selected)}`,
    ...(["ingress", "egress"] as const).flatMap((direction) => directionLines(network, policy, direction, selected)),
    ...otherLines(network, policy, selected),
    ...clusterLines(network, selected),
    ...policyWarnings(network)
      .filter(({ origin }) => origin.kind === "NetworkPolicy" && origin.namespace === namespace && origin.name === name)
      .map(({ origin, message }) => `  warning: ${origin.field ?? "spec"}: ${message}`),
  ];
  return `${lines.join("\n")}\n`;
}

function explainClusterPolicy(network: Network, policy: ClusterPolicy): string {
  const { name, tier, priority, origin } = policy;
  const selected = network.pods.filter((pod) => isSubject(network, policy, pod));
  const order = inOrder(network.clusterPolicies).filter(
    (other) => other.tier === tier && selected.some((pod) => isSubject(network, other, pod)),
  );
  const before = order.slice(0, order.indexOf(policy)).map((other) => other.name);
  const when =
    tier === "admin"
      ? "before any NetworkPolicy; what it accepts or denies is final"
      : "only for pods that no NetworkPolicy isolates; what it does not decide is allowed";
  const lines = [
    `ClusterNetworkPolicy ${name}${origin.source === undefined ? "" : `  (${origin.source})`}`,
    `  tier ${tier === "admin" ? "Admin" : "Baseline"}, priority ${priority}: asked ${when}`,
    ...(before.length === 0 ? [] : [`  these are asked first: ${before.join(", ")}`]),
    `  is for ${clusterSubjectText(policy)}: ${podNames(selected, "")}`,
    ...(["ingress", "egress"] as const).flatMap((direction) => {
      const rules = policy[direction];
      if (rules.length === 0)
        return [`  ${direction}: it says nothing about what ${direction === "ingress" ? "comes in" : "goes out"}`];
      return [
        `  ${direction}: the first rule that means a connection decides; answers always pass`,
        ...rules.flatMap((rule, index) => clusterRuleLines(network, rule, direction, index)),
      ];
    }),
    ...policyWarnings(network)
      .filter((each) => each.origin.kind === "ClusterNetworkPolicy" && each.origin.name === name)
      .map((each) => `  warning: ${each.origin.field ?? "spec"}: ${each.message}`),
  ];
  return `${lines.join("\n")}\n`;
}

function clusterRuleLines(network: Network, rule: ClusterRule, direction: Direction, index: number): readonly string[] {
  const place = `   ${rule.origin.field ?? ""}${rule.origin.source === undefined ? "" : ` (${rule.origin.source})`}`;
  const meant =
    rule.peers === "anyone"
      ? []
      : rule.peers.flatMap((peer): readonly string[] => {
          if (peer.kind === "block") return [];
          const names =
            peer.kind === "nodes"
              ? network.nodes.filter(({ labels }) => matches(peer.nodes, labels)).map((node) => node.name)
              : undefined;
          const today =
            names === undefined
              ? podNames(
                  network.pods.filter((pod) => peer.kind === "pods" && meansPod(network, noPolicy, peer, pod)),
                  "",
                )
              : names.join(", ") || "no node today";
          return [`         ${clusterPeerText(peer)}: ${today}`];
        });
  return [`    ${index + 1}. ${clusterRuleText(rule, direction)}${place}`, ...meant];
}

const noPolicy = { namespace: "" };

function directionLines(
  network: Network,
  policy: Policy,
  direction: Direction,
  selected: readonly NetworkPod[],
): readonly string[] {
  const rules = policy[direction];
  if (rules === undefined)
    return [`  ${direction}: it says nothing about what ${direction === "ingress" ? "comes in" : "goes out"}`];
  const always =
    direction === "ingress"
      ? "answers, what the pod's own node sends, and the pod itself always pass"
      : "answers, and what the pod sends to itself always pass";
  const all = rules.some(({ peers, ports }) => peers === "anyone" && ports === "all");
  if (all) return [`  ${direction}: everything is let ${direction === "ingress" ? "in" : "out"}`];
  if (rules.length === 0)
    return [`  ${direction}: nothing is let ${direction === "ingress" ? "in" : "out"}; ${always}`];
  return [
    `  ${direction}: dropped, unless one of these or another policy lets it through; ${always}`,
    ...rules.flatMap((rule) => ruleLines(network, policy, rule, direction, selected)),
  ];
}

function ruleLines(
  network: Network,
  policy: Policy,
  rule: PolicyRule,
  direction: Direction,
  selected: readonly NetworkPod[],
): readonly string[] {
  const word = direction === "ingress" ? "from" : "to";
  const numbers = direction === "ingress" ? namedPortText(rule, selected) : "";
  const ports = `${portsText(rule.ports)}${numbers}`;
  const place = ({ origin }: { origin: PolicyRule["origin"] }): string =>
    `   ${origin.field ?? ""}${origin.source === undefined ? "" : ` (${origin.source})`}`;
  if (rule.peers === "anyone") return [`    ${ports} ${word} anyone${place(rule)}`];
  return rule.peers.map(
    (peer) => `    ${ports} ${word} ${peerText(peer, policy)}${meantText(network, policy, peer)}${place(peer)}`,
  );
}

/** ` (http is 8080)` */
function namedPortText({ ports }: PolicyRule, selected: readonly NetworkPod[]): string {
  if (ports === "all") return "";
  const texts = ports
    .filter((port) => port.kind === "named")
    .map((port) => `${port.name} is ${numbersOf(port, selected).join(" or ") || "no port of them"}`);
  return texts.length === 0 ? "" : ` (${texts.join(", ")})`;
}

function numbersOf(port: PolicyPort & { readonly kind: "named" }, pods: readonly NetworkPod[]): readonly number[] {
  const numbers = pods.flatMap(({ containerPorts }) =>
    containerPorts
      .filter(({ name, protocol }) => name === port.name && protocol === port.protocol)
      .map(({ port: number }) => number),
  );
  return [...new Set(numbers)].sort((a, b) => a - b);
}

function meantText(network: Network, policy: Policy, peer: PolicyPeer): string {
  if (peer.kind === "block") return "";
  return `: ${podNames(
    network.pods.filter((pod) => meansPod(network, policy, peer, pod)),
    policy.namespace,
  )}`;
}

function otherLines(network: Network, policy: Policy, selected: readonly NetworkPod[]): readonly string[] {
  const others = network.policies.filter(
    (other) =>
      other !== policy &&
      other.namespace === policy.namespace &&
      selected.some((pod) => matches(other.pods, pod.labels)),
  );
  if (others.length === 0) return [];
  return [`  other policies for these pods, which may let more through: ${others.map(({ name }) => name).join(", ")}`];
}

/** ClusterNetworkPolicies of tier Admin, which are asked first. */
function clusterLines(network: Network, selected: readonly NetworkPod[]): readonly string[] {
  const above = inOrder(network.clusterPolicies).filter(
    (policy) => policy.tier === "admin" && selected.some((pod) => isSubject(network, policy, pod)),
  );
  if (above.length === 0) return [];
  return [`  cluster policies that are asked before it: ${above.map(({ name }) => name).join(", ")}`];
}

function podNames(pods: readonly NetworkPod[], namespace?: string): string {
  if (pods.length === 0) return "no pod today";
  const names = pods.map((pod) =>
    pod.namespace === namespace || namespace === undefined ? pod.name : `${pod.namespace}/${pod.name}`,
  );
  const shown = names.slice(0, namesMax).join(", ");
  return names.length > namesMax ? `${shown} and ${names.length - namesMax} more` : shown;
}
