// What NetworkPolicies did to a packet at a hook. The verdict is read from the rules that the packet met, as the kernel would meet them;
// the Network says which policies isolate the pod and what they would have let through.
//
// Not here: the rules themselves (program/policy.ts), words (policy-words.ts).

import type { Address } from "../ip/address.ts";
import { matches } from "../kube/selector.ts";
import type { Network, NetworkNode, Policy } from "../model/network.ts";
import { letsThrough } from "../model/policy-match.ts";
import { policyChains } from "../program/policy.ts";
import { linkLocalOf } from "../program/places.ts";
import type { HookResult } from "./machine.ts";
import { ruleText, subjectText, type Direction } from "./policy-words.ts";
import type { Packet, PolicyCause, Step } from "./trace.ts";
import { podAt, type World } from "./world.ts";

type PolicyStep = Step & { readonly kind: "policy" };

/** The steps of both directions that concern pods of this node, in the order they were judged; none for answers. */
export function policySteps(
  world: World,
  node: NetworkNode,
  hook: "forward" | "input",
  result: HookResult,
  packet: Packet,
): readonly PolicyStep[] {
  const steps: PolicyStep[] = [];
  for (const direction of hook === "forward" ? (["egress", "ingress"] as const) : (["egress"] as const)) {
    const own = direction === "egress" ? packet.source : packet.destination;
    const pod = localPod(world, node, own);
    if (pod === undefined) continue;
    const step = stepOf(world, direction, pod, result, packet);
    steps.push(step);
    if (step.verdict === "denied") break;
  }
  return steps;
}

/** The pod of the node that has this address: by its place on the node, whether or not its status says so yet. */
function localPod(world: World, node: NetworkNode, address: Address): { readonly name: string } | undefined {
  const attachment = world.attachments
    .get(node.name)
    ?.find((each) => each.addresses.includes(address) || linkLocalOf(each.mac) === address);
  return attachment && { name: `${attachment.namespace}/${attachment.name}` };
}

function stepOf(
  world: World,
  direction: Direction,
  pod: { readonly name: string },
  result: HookResult,
  packet: Packet,
): PolicyStep {
  const { base, judge, allowed, denied } = policyChains[direction];
  const met = result.steps.filter((step) => step.kind === "rule");
  const step = { kind: "policy", direction, pod: pod.name } as const;
  const { network } = world;
  if (network.cluster.policy === "off")
    return { ...step, verdict: "not-isolated", detail: "policies are not enforced" };
  const sent = met.find(({ chain, verdict }) => base.includes(chain) && verdict.startsWith("goto "));
  if (sent === undefined) {
    const itself = packet.source === packet.destination;
    return { ...step, verdict: "not-isolated", ...(itself && { detail: "a pod may always talk to itself" }) };
  }
  const isolating = isolatingPolicies(network, direction, pod.name);
  if (met.some(({ chain, verdict }) => chain === denied && verdict === "drop"))
    return {
      ...step,
      verdict: "denied",
      origin: sent.origin,
      causes: causesOf(isolating, direction, sent.origin, pod.name),
    };
  const accepted = met.find(({ chain, verdict }) => [allowed, judge].includes(chain) && verdict === "accept");
  const origin = accepted?.origin ?? sent.origin;
  const connection = {
    from: { address: packet.source, pod: podAt(world, packet.source) },
    to: { address: packet.destination, pod: podAt(world, packet.destination) },
    protocol: packet.protocol,
    port: packet.destinationPort,
  };
  const others = isolating
    .filter((policy) => !(policy.namespace === origin.namespace && policy.name === origin.name))
    .filter((policy) => letsThrough(network, policy, direction, connection));
  return { ...step, verdict: "allowed", origin, ...(others.length > 0 && { also: others.map(({ name }) => name) }) };
}

/** The policies that select a pod and have the direction, in order of name. A pod that nobody knows is selected by all of its namespace. */
export function isolatingPolicies(network: Network, direction: Direction, pod: string): readonly Policy[] {
  const [namespace, name] = pod.split("/");
  const known = network.pods.find((each) => each.namespace === namespace && each.name === name);
  return network.policies.filter(
    (policy) =>
      policy.namespace === namespace &&
      policy[direction] !== undefined &&
      (known === undefined || matches(policy.pods, known.labels)),
  );
}

/** Rules told of all policies together. */
const rulesToldMax = 8;

/** Every policy that isolates the pod, and what each would let through. */
function causesOf(
  isolating: readonly Policy[],
  direction: Direction,
  origin: PolicyCause["origin"],
  pod: string,
): readonly PolicyCause[] {
  if (isolating.length === 0) return [{ text: `${pod} is isolated`, origin }];
  let told = 0;
  return isolating.flatMap((policy): readonly PolicyCause[] => {
    const rules = policy[direction] ?? [];
    const shown = rules.slice(0, Math.max(0, rulesToldMax - told));
    told += shown.length;
    const left = rules.length - shown.length;
    const nothing = rules.length === 0 ? [`and lets nothing ${direction === "ingress" ? "in" : "out"}`] : [];
    const more = left > 0 ? [`and has ${left} more rule${left === 1 ? "" : "s"}`] : [];
    return [
      {
        text: `NetworkPolicy ${policy.namespace}/${policy.name} isolates ${subjectText(policy)}`,
        origin: policy.origin,
      },
      ...shown.map((rule) => ({
        text: `and ${ruleText(rule, direction, policy)}`,
        origin: rule.peers === "anyone" ? rule.origin : (rule.peers[0]?.origin ?? rule.origin),
      })),
      ...[...nothing, ...more].map((text) => ({ text, origin: policy.origin })),
    ];
  });
}
