// Rules for where pods go: tolerations, affinity, spreading, gates. Wording: upstream's pkg/apis/core/validation.

import { dnsLabel, dnsSubdomain, labelValue, qualifiedName } from "../formats.ts";
import type {
  LabelSelector,
  NodeSelectorRequirement,
  NodeSelectorTerm,
  PodAffinityTerm,
  PodSpec,
  Toleration,
  TopologySpreadConstraint,
} from "../pod.ts";
import { at, child, duplicate, forbidden, invalid, notSupported, required, type FieldProblem } from "../problem.ts";
import { operatorProblems, formProblems, type Rules } from "./rule.ts";

export const schedulingRules: Rules = {
  "core.v1.Toleration": toleration,
  "core.v1.TopologySpreadConstraint": spread,
  "core.v1.NodeSelectorTerm": nodeTerm,
  "core.v1.NodeSelector": function* (
    { nodeSelectorTerms = [] }: { nodeSelectorTerms?: readonly unknown[] },
    path: string,
  ) {
    if (nodeSelectorTerms.length === 0)
      yield required(child(path, "nodeSelectorTerms"), "must have at least one node selector term");
  },
  "core.v1.PreferredSchedulingTerm": weighted,
  "core.v1.WeightedPodAffinityTerm": weighted,
  "core.v1.PodAffinityTerm": affinityTerm,
};

const operators: readonly string[] = ["Equal", "Exists"];

function* toleration(
  { key = "", operator = "Equal", value = "", effect, tolerationSeconds }: Toleration,
  path: string,
): Iterable<FieldProblem> {
  yield* formProblems(key, qualifiedName, child(path, "key"));
  const place = child(path, "operator");
  if (key === "" && operator !== "Exists")
    yield invalid(
      place,
      operator,
      'operator must be Exists when `key` is empty, which means "match all values and all keys"',
    );
  if (tolerationSeconds !== undefined && effect !== "NoExecute")
    yield invalid(child(path, "effect"), effect ?? "", "effect must be 'NoExecute' when `tolerationSeconds` is set");
  const problems = labelValue(value);
  if (operator === "Exists") {
    if (value !== "") yield invalid(place, value, "value must be empty when `operator` is 'Exists'");
  } else if (!operators.includes(operator))
    yield notSupported(place, operator, ["Lt", "Gt"].includes(operator) ? [...operators, "Lt", "Gt"] : operators);
  // Upstream's path.
  else if (problems.length > 0) yield invalid(place, value, problems.join(";"));
}

function* spread(
  { maxSkew, topologyKey, minDomains, whenUnsatisfiable, matchLabelKeys, labelSelector }: TopologySpreadConstraint,
  path: string,
): Iterable<FieldProblem> {
  if (maxSkew <= 0) yield invalid(child(path, "maxSkew"), maxSkew, "must be greater than zero");
  if (topologyKey === "") yield required(child(path, "topologyKey"), "can not be empty");
  yield* labelKeys({ matchLabelKeys, labelSelector }, path);
  if (minDomains === undefined) return;
  if (minDomains <= 0) yield invalid(child(path, "minDomains"), minDomains, "must be greater than zero");
  if (whenUnsatisfiable !== "DoNotSchedule")
    yield invalid(
      child(path, "minDomains"),
      minDomains,
      `can only use minDomains if whenUnsatisfiable=DoNotSchedule, not ${whenUnsatisfiable}`,
    );
}

interface LabelKeys {
  readonly matchLabelKeys?: readonly string[] | undefined;
  readonly mismatchLabelKeys?: readonly string[] | undefined;
  readonly labelSelector?: LabelSelector | undefined;
}

/** Keys of the pod's own labels that a selector is completed with. */
function* labelKeys(keys: LabelKeys, path: string): Iterable<FieldProblem> {
  const { matchLabelKeys = [], mismatchLabelKeys = [], labelSelector } = keys;
  for (const [field, list] of Object.entries({ matchLabelKeys, mismatchLabelKeys })) {
    if (list.length > 0 && labelSelector === undefined)
      yield forbidden(child(path, field), "must not be specified when labelSelector is not set");
    else
      for (const [index, key] of list.entries())
        for (const problem of qualifiedName(key)) yield invalid(at(child(path, field), index), key, problem);
  }
  for (const [index, key] of matchLabelKeys.entries())
    if (mismatchLabelKeys.includes(key))
      yield invalid(
        at(child(path, "matchLabelKeys"), index),
        key,
        "exists in both matchLabelKeys and mismatchLabelKeys",
      );
}

/** What holds for a pod's constraints and gates together. */
export function* schedulingProblems(spec: PodSpec, path: string): Iterable<FieldProblem> {
  const spreads = spec.topologySpreadConstraints ?? [];
  for (const [index, one] of spreads.entries()) {
    const isAgain = spreads
      .slice(index + 1)
      .some((other) => other.topologyKey === one.topologyKey && other.whenUnsatisfiable === one.whenUnsatisfiable);
    if (isAgain)
      yield duplicate(
        child(at(child(path, "topologySpreadConstraints"), index), "{topologyKey, whenUnsatisfiable}"),
        `{${one.topologyKey}, ${one.whenUnsatisfiable}}`,
      );
  }
  const seen = new Set<string>();
  for (const [index, { name }] of (spec.schedulingGates ?? []).entries()) {
    const place = at(child(path, "schedulingGates"), index);
    for (const problem of qualifiedName(name)) yield invalid(place, name, problem);
    if (seen.has(name)) yield duplicate(place, name);
    seen.add(name);
  }
}

function* affinityTerm(term: PodAffinityTerm, path: string): Iterable<FieldProblem> {
  for (const name of term.namespaces ?? [])
    for (const problem of dnsLabel(name)) yield invalid(child(path, "namespace"), name, problem);
  yield* labelKeys(term, path);
  const { topologyKey } = term;
  if (topologyKey === "") yield required(child(path, "topologyKey"), "can not be empty");
  for (const problem of qualifiedName(topologyKey)) yield invalid(child(path, "topologyKey"), topologyKey, problem);
}

function* nodeTerm(
  { matchExpressions = [], matchFields = [] }: NodeSelectorTerm,
  path: string,
): Iterable<FieldProblem> {
  // What is only preferred may have any values: they match nothing.
  const isPreferred = path.endsWith(".preference");
  for (const [index, requirement] of matchExpressions.entries())
    yield* labelRequirement(requirement, isPreferred, at(child(path, "matchExpressions"), index));
  for (const [index, requirement] of matchFields.entries())
    yield* fieldRequirement(requirement, at(child(path, "matchFields"), index));
}

function* labelRequirement(
  { key, operator, values = [] }: NodeSelectorRequirement,
  isPreferred: boolean,
  path: string,
): Iterable<FieldProblem> {
  const place = child(path, "values");
  if (operator === "Gt" || operator === "Lt") {
    if (values.length !== 1) yield required(place, "must be specified single value when `operator` is 'Lt' or 'Gt'");
  } else yield* operatorProblems(operator, values, path);
  for (const problem of qualifiedName(key)) yield invalid(child(path, "key"), key, problem);
  if (isPreferred) return;
  for (const [index, value] of values.entries())
    for (const problem of labelValue(value)) yield invalid(at(place, index), value, problem);
}

/** Nodes can be told by their names, and by no other field. */
function* fieldRequirement(
  { key, operator, values = [] }: NodeSelectorRequirement,
  path: string,
): Iterable<FieldProblem> {
  if (operator !== "In" && operator !== "NotIn")
    yield invalid(child(path, "operator"), operator, "not a valid selector operator");
  else if (values.length !== 1)
    yield required(
      child(path, "values"),
      "must be only one value when `operator` is 'In' or 'NotIn' for node field selector",
    );
  if (key !== "metadata.name") {
    yield invalid(child(path, "key"), key, "not a valid field selector key");
    return;
  }
  for (const [index, value] of values.entries())
    for (const problem of dnsSubdomain(value)) yield invalid(at(child(path, "values"), index), value, problem);
}

function* weighted({ weight }: { readonly weight: number }, path: string): Iterable<FieldProblem> {
  if (weight < 1 || weight > 100) yield invalid(child(path, "weight"), weight, "must be in the range 1-100");
}
