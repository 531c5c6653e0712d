// What one NetworkPolicy does, in plain words, with the pods it means today. Pure: a lab and manifests alone answer the same.

import { matches } from "../kube/selector.ts";
import type { Network, NetworkPod, Policy, PolicyPeer, PolicyPort, PolicyRule } from "../model/network.ts";
import { meansPod } from "../model/policy-match.ts";
import { policyWarnings } from "../model/policy-problems.ts";
import { peerText, portsText, subjectText, type Direction } from "./policy-words.ts";

/** Names listed one by one; more are counted. */
const namesMax = 6;

/** A text of several lines. Undefined where there is no policy of that name. */
export function explainPolicy(network: Network, namespace: string, name: string): string | undefined {
  const policy = network.policies.find((each) => each.namespace === namespace && each.name === name);
  if (policy === undefined) return undefined;
  const selected = network.pods.filter(
    (pod) => pod.namespace === namespace && !pod.hostNetwork && matches(policy.pods, pod.labels),
  );
  const lines = [
    `NetworkPolicy ${namespace}/${name}${policy.origin.source === undefined ? "" : `  (${policy.origin.source})`}`,
    `  selects ${subjectText(policy)}: ${podNames(selected)}`,
    ...(["ingress", "egress"] as const).flatMap((direction) => directionLines(network, policy, direction, selected)),
    ...otherLines(network, policy, selected),
    ...policyWarnings(network)
      .filter(({ origin }) => origin.namespace === namespace && origin.name === name)
      .map(({ origin, message }) => `  warning: ${origin.field ?? "spec"}: ${message}`),
  ];
  return `${lines.join("\n")}\n`;
}

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

function podNames(pods: readonly NetworkPod[], namespace?: string): string {
  if (pods.length === 0) return "no pod today";
  const names = pods.map((pod) =>
    pod.namespace === namespace || namespace === undefined ? pod.name : `${pod.namespace}/${pod.name}`,
  );
  const shown = names.slice(0, namesMax).join(", ");
  return names.length > namesMax ? `${shown} and ${names.length - namesMax} more` : shown;
}
