// What policies of every tier did to a packet at a hook. The verdict is read from the rules that the packet met, as the kernel would meet them;
// the Network says which policies isolate the pod and what they would have let through.
//
// Not here: the rules themselves (program/policy.ts), words (policy-words.ts).

import type { Address } from "../ip/address.ts";
import type { Origin } from "../kube/object.ts";
import { matches } from "../kube/selector.ts";
import type { ClusterPolicy, ClusterRule, Network, NetworkNode, Policy } from "../model/network.ts";
import { letsThrough } from "../model/policy-match.ts";
import { policyChainNames, sharedPolicyChains } from "../program/policy-chains.ts";
import { linkLocalOf } from "../program/places.ts";
import type { HookResult } from "./machine.ts";
import { clusterRuleText, clusterSubjectText, ruleText, subjectText, type Direction } from "./policy-words.ts";
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

type RuleStep = Step & { readonly kind: "rule" };

function stepOf(
  world: World,
  direction: Direction,
  pod: { readonly name: string },
  result: HookResult,
  packet: Packet,
): PolicyStep {
  const { network } = world;
  const met = rulesOf(result, direction);
  const step = { kind: "policy", direction, pod: pod.name } as const;
  if (network.cluster.policy === "off")
    return { ...step, verdict: "not-isolated", detail: "policies are not enforced" };
  const passes = met.filter(({ chain, verdict }) => chain === sharedPolicyChains.decide && !verdict.includes(" "));
  const passed = passes.flatMap(({ origin }) => clusterCauses(network, origin, direction));
  const onward = passed.length === 0 ? {} : { passed };
  // The last list that was asked is that of the tier that decided: where it decided, there the packet went on.
  const decision = met.findLast(
    ({ chain, verdict }) => chain === sharedPolicyChains.decide && verdict.startsWith("goto "),
  );
  if (decision !== undefined) {
    const { origin } = decision;
    const tier = clusterRuleAt(network, origin)?.policy.tier;
    const isDenied = decision.verdict === `goto ${sharedPolicyChains.dropped}`;
    return {
      ...step,
      ...onward,
      ...(tier !== undefined && { tier }),
      verdict: isDenied ? "denied" : "allowed",
      origin,
      ...(isDenied && { causes: clusterCauses(network, origin, direction) }),
    };
  }
  return { ...networkPolicyStep(world, step, met, packet), ...onward };
}

/** The rules met in the first chain of a direction and behind it, in order; each with the entry that sent the packet on. */
function rulesOf({ steps }: HookResult, direction: Direction): readonly RuleStep[] {
  const entries = { own: policyChainNames[direction].entry, others: policyChainNames[opposite[direction]].entry };
  const found: RuleStep[] = [];
  let isOwn = false;
  let decided: Origin | undefined;
  for (const step of steps) {
    if (step.kind !== "rule") continue;
    if (entries.own.includes(step.chain)) isOwn = true;
    else if (entries.others.includes(step.chain)) isOwn = false;
    if (!isOwn) continue;
    // What a list says is the rule's; sets that only count and sort tell nothing of it.
    if (step.chain === sharedPolicyChains.list) decided = step.origin;
    found.push(step.chain === sharedPolicyChains.decide && decided !== undefined ? { ...step, origin: decided } : step);
  }
  return found;
}

const opposite = { ingress: "egress", egress: "ingress" } as const;

/** What NetworkPolicies did, where no ClusterNetworkPolicy decided. */
function networkPolicyStep(
  world: World,
  step: Pick<PolicyStep, "kind" | "direction" | "pod">,
  met: readonly RuleStep[],
  packet: Packet,
): PolicyStep {
  const { network } = world;
  const { direction, pod } = step;
  const { judge, allowed, denied } = policyChainNames[direction];
  const sent = met.find(({ verdict }) => verdict === `goto ${judge}` || verdict === `goto ${denied}`);
  if (sent === undefined) return { ...step, verdict: "not-isolated" };
  if (met.some(({ chain, verdict }) => [judge, denied].includes(chain) && verdict === "accept"))
    return { ...step, verdict: "not-isolated", detail: "a pod may always talk to itself" };
  const isolating = isolatingPolicies(network, direction, pod);
  if (met.some(({ chain, verdict }) => chain === sharedPolicyChains.dropped && verdict === "drop"))
    return {
      ...step,
      verdict: "denied",
      origin: sent.origin,
      causes: causesOf(isolating, direction, sent.origin, pod),
    };
  const accepted = met.find(
    ({ chain, verdict }) => [allowed, judge].includes(chain) && verdict === `goto ${sharedPolicyChains.accepted}`,
  );
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

/** The rule of a ClusterNetworkPolicy that an origin means: `spec.egress[2]`, or something inside of it. */
export function clusterRuleAt(
  network: Network,
  { kind, name, field = "" }: Origin,
): { readonly policy: ClusterPolicy; readonly rule: ClusterRule } | undefined {
  if (kind !== "ClusterNetworkPolicy") return undefined;
  const policy = network.clusterPolicies.find((each) => each.name === name);
  const [, direction, index] = /^spec\.(ingress|egress)\[(\d+)\]/.exec(field) ?? [];
  const rule = policy?.[direction === "ingress" ? "ingress" : "egress"][Number(index)];
  return policy === undefined || rule === undefined ? undefined : { policy, rule };
}

/** What a rule of a ClusterNetworkPolicy does, in words. */
function clusterCauses(network: Network, origin: Origin, direction: Direction): readonly PolicyCause[] {
  const found = clusterRuleAt(network, origin);
  if (found === undefined) return [{ text: `ClusterNetworkPolicy ${origin.name} says so`, origin }];
  const { policy, rule } = found;
  const tier = policy.tier === "admin" ? "Admin" : "Baseline";
  return [
    {
      text: `ClusterNetworkPolicy ${policy.name} (tier ${tier}, priority ${policy.priority}) is for ${clusterSubjectText(policy)}`,
      origin: policy.origin,
    },
    { text: `and ${clusterRuleText(rule, direction)}`, origin },
  ];
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
