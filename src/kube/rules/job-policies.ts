// Rules for what Jobs say of failure and success. Wording: upstream's pkg/apis/batch/validation.
//
// Not here: what the schema says by itself (which actions and operators there are, values that come twice).

import { qualifiedName } from "../formats.ts";
import type { JobSpec, PodFailurePolicyRule, SuccessPolicyRule } from "../kinds.ts";
import { at, child, invalid, notSupported, required, tooLong, tooMany, type FieldProblem } from "../problem.ts";
import { negativeProblems } from "./rule.ts";

const rulesMax = 20;
const valuesMax = 255;
const indexesBytesMax = 64 * 1024;
const failedIndexesMax = 100_000;

/** podFailurePolicy, successPolicy, podReplacementPolicy and maxFailedIndexes of a Job. */
export function* jobPolicyProblems(spec: JobSpec, path: string): Iterable<FieldProblem> {
  yield* failedIndexesProblems(spec, path);
  const { podFailurePolicy, podReplacementPolicy, successPolicy } = spec;
  if (podFailurePolicy !== undefined) {
    yield* failurePolicyProblems(spec, podFailurePolicy.rules ?? [], child(path, "podFailurePolicy.rules"));
    const { restartPolicy } = spec.template?.spec ?? {};
    if (restartPolicy === "OnFailure")
      yield invalid(
        child(path, "template.spec.restartPolicy"),
        restartPolicy,
        'only "Never" is supported when podFailurePolicy is specified',
      );
  }
  if (podFailurePolicy !== undefined && podReplacementPolicy === "TerminatingOrFailed")
    yield notSupported(child(path, "podReplacementPolicy"), podReplacementPolicy, ["Failed"]);
  if (successPolicy === undefined) return;
  const place = child(path, "successPolicy");
  if (spec.completionMode !== "Indexed") yield invalid(place, successPolicy, "requires indexed completion mode");
  else yield* successPolicyProblems(spec, successPolicy.rules ?? [], child(place, "rules"));
}

function* failedIndexesProblems(spec: JobSpec, path: string): Iterable<FieldProblem> {
  const { maxFailedIndexes, completions } = spec;
  if (maxFailedIndexes === undefined) return;
  const place = child(path, "maxFailedIndexes");
  yield* negativeProblems(maxFailedIndexes, place);
  if (spec.backoffLimitPerIndex === undefined)
    yield required(child(path, "backoffLimitPerIndex"), "when maxFailedIndexes is specified");
  if (spec.completionMode !== "Indexed") {
    yield invalid(place, maxFailedIndexes, "requires indexed completion mode");
    return;
  }
  if (completions !== undefined && maxFailedIndexes > completions)
    yield invalid(place, maxFailedIndexes, "must be less than or equal to completions");
  if (maxFailedIndexes > failedIndexesMax)
    yield invalid(place, maxFailedIndexes, `must be less than or equal to ${failedIndexesMax}`);
}

function* failurePolicyProblems(
  spec: JobSpec,
  rules: readonly Partial<PodFailurePolicyRule>[],
  path: string,
): Iterable<FieldProblem> {
  if (rules.length > rulesMax) yield tooMany(path, rules.length, rulesMax);
  for (const [index, rule] of rules.entries()) {
    const place = at(path, index);
    const { action, onExitCodes, onPodConditions = [] } = rule;
    if (action === "FailIndex" && spec.backoffLimitPerIndex === undefined)
      yield invalid(child(place, "action"), action, "requires the backoffLimitPerIndex to be set");
    if (onExitCodes !== undefined) yield* exitCodeProblems(spec, onExitCodes, child(place, "onExitCodes"));
    const conditions = child(place, "onPodConditions");
    if (onPodConditions.length > rulesMax) yield tooMany(conditions, onPodConditions.length, rulesMax);
    for (const [each, { type = "", status }] of onPodConditions.entries()) {
      for (const problem of qualifiedName(type)) yield invalid(child(at(conditions, each), "type"), type, problem);
      yield* choiceProblems(status, ["False", "True", "Unknown"], child(at(conditions, each), "status"));
    }
    const count = Number(onExitCodes !== undefined) + Number(onPodConditions.length > 0);
    if (count === 2) yield withoutValue(place, "specifying both OnExitCodes and OnPodConditions is not supported");
    if (count === 0) yield withoutValue(place, "specifying one of OnExitCodes and OnPodConditions is required");
  }
}

function withoutValue(field: string, detail: string): FieldProblem {
  return { field, reason: "FieldValueInvalid", message: `Invalid value: ${detail}` };
}

function* choiceProblems(value: string | undefined, values: readonly string[], path: string): Iterable<FieldProblem> {
  if (value === undefined || value === "")
    yield required(path, `valid values: [${values.map((each) => JSON.stringify(each)).join(" ")}]`);
  else if (!values.includes(value)) yield notSupported(path, value, values);
}

function* exitCodeProblems(
  { template }: JobSpec,
  { containerName, operator, values = [] }: Partial<NonNullable<PodFailurePolicyRule["onExitCodes"]>>,
  path: string,
): Iterable<FieldProblem> {
  const containers = [...(template?.spec?.containers ?? []), ...(template?.spec?.initContainers ?? [])];
  if (containerName !== undefined && !containers.some(({ name }) => name === containerName))
    yield invalid(
      child(path, "containerName"),
      containerName,
      "must be one of the container or initContainer names in the pod template",
    );
  const place = child(path, "values");
  if (values.length === 0) yield invalid(place, values, "at least one value is required");
  if (values.length > valuesMax) yield tooMany(place, values.length, valuesMax);
  for (const [index, value] of values.entries()) {
    if (operator === "In" && value === 0) yield invalid(at(place, index), value, "must not be 0 for the In operator");
  }
  if (values.some((value, index) => index > 0 && (values[index - 1] ?? 0) > value))
    yield invalid(place, values, "must be ordered");
}

function* successPolicyProblems(
  { completions = 0 }: JobSpec,
  rules: readonly SuccessPolicyRule[],
  path: string,
): Iterable<FieldProblem> {
  if (rules.length === 0)
    yield required(path, "at least one rules must be specified when the successPolicy is specified");
  if (rules.length > rulesMax) yield tooMany(path, rules.length, rulesMax);
  for (const [index, { succeededCount, succeededIndexes }] of rules.entries()) {
    const place = at(path, index);
    if (succeededCount === undefined && succeededIndexes === undefined)
      yield required(place, "at least one of succeededCount or succeededIndexes must be specified");
    const counted = succeededIndexes === undefined ? undefined : countOf(succeededIndexes, completions);
    if (succeededIndexes !== undefined) {
      const field = child(place, "succeededIndexes");
      if (succeededIndexes.length > indexesBytesMax) yield tooLong(field, indexesBytesMax);
      if (typeof counted === "string")
        yield invalid(field, succeededIndexes, `error parsing succeededIndexes: ${counted}`);
    }
    if (succeededCount === undefined) continue;
    const field = child(place, "succeededCount");
    yield* negativeProblems(succeededCount, field);
    const atMost = (count: number, what: string): string =>
      `must be less than or equal to ${count} (the number of ${what})`;
    if (succeededCount > completions)
      yield invalid(field, succeededCount, atMost(completions, "specified completions"));
    const total = typeof counted === "string" ? 0 : counted;
    if (total !== undefined && succeededCount > total)
      yield invalid(field, succeededCount, atMost(total, "indexes in the specified succeededIndexes field"));
  }
}

/** How many indexes a text as `0-2,5` names, or what is wrong with it. */
function countOf(text: string, completions: number): number | string {
  if (text === "") return 0;
  let [total, last] = [0, -1];
  for (const part of text.split(",")) {
    const limits = part.split("-");
    if (limits.length > 2)
      return `the fragment ${JSON.stringify(part)} violates the requirement that an index interval can have at most two parts separated by '-'`;
    for (const limit of limits) {
      if (!/^[+-]?\d+$/.test(limit)) return `cannot convert string to integer for index: ${JSON.stringify(limit)}`;
      if (Number(limit) >= completions) return `too large index: ${JSON.stringify(limit)}`;
    }
    const [first = 0, end = first] = limits.map(Number);
    if (limits.length === 2 && first >= end) return `non-increasing order, previous: ${first}, current: ${end}`;
    if (last >= first) return `non-increasing order, previous: ${last}, current: ${first}`;
    total += end - first + 1;
    last = end;
  }
  return total;
}
