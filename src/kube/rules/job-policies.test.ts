import assert from "node:assert/strict";
import { test } from "node:test";

import { objectProblems } from "../check.ts";
import { withDefaults } from "../defaults.ts";
import { problemText } from "../problem.ts";
import { validateUpdate } from "../validate.ts";
import type { KubeObject } from "../object.ts";

const template = { spec: { restartPolicy: "Never", containers: [{ name: "c", image: "busybox" }] } };
const indexed = { completionMode: "Indexed", completions: 4 };

function job(spec: object): KubeObject {
  return {
    apiVersion: "batch/v1",
    kind: "Job",
    metadata: { name: "a", namespace: "default" },
    spec: { template, ...spec },
  };
}
const failure = (...rules: object[]): object => ({ podFailurePolicy: { rules } });
const success = (...rules: object[]): object => ({ ...indexed, successPolicy: { rules } });
const codes = (values: readonly number[], more: object = {}): object => ({
  action: "Ignore",
  onExitCodes: { operator: "In", values, ...more },
});

const cases: readonly { readonly of: object; readonly says: readonly string[] }[] = [
  {
    of: failure(codes([1, 2], { containerName: "c" }), {
      action: "Count",
      onPodConditions: [{ type: "A", status: "True" }],
    }),
    says: [],
  },
  { of: success({ succeededIndexes: "0-2,3", succeededCount: 4 }, { succeededCount: 1 }), says: [] },
  {
    of: {
      ...indexed,
      backoffLimitPerIndex: 1,
      maxFailedIndexes: 4,
      ...failure({ ...codes([1]), action: "FailIndex" }),
    },
    says: [],
  },
  {
    of: failure({ ...codes([1]), action: "FailIndex" }),
    says: [
      'spec.podFailurePolicy.rules[0].action: Invalid value: "FailIndex": requires the backoffLimitPerIndex to be set',
    ],
  },
  {
    of: failure({ ...codes([1]), action: "Restart" }),
    says: [
      'spec.podFailurePolicy.rules[0].action: Unsupported value: "Restart": supported values: "Count", "FailIndex", "FailJob", "Ignore"',
    ],
  },
  {
    of: failure(codes([3, 0, 3], { containerName: "d" })),
    says: [
      "spec.podFailurePolicy.rules[0].onExitCodes.values[2]: Duplicate value: 3",
      'spec.podFailurePolicy.rules[0].onExitCodes.containerName: Invalid value: "d": must be one of the container or initContainer names in the pod template',
      "spec.podFailurePolicy.rules[0].onExitCodes.values[1]: Invalid value: 0: must not be 0 for the In operator",
      "spec.podFailurePolicy.rules[0].onExitCodes.values: Invalid value: [3,0,3]: must be ordered",
    ],
  },
  {
    of: failure({ action: "Count" }, { ...codes([1]), onPodConditions: [{ type: "A", status: "Maybe" }] }),
    says: [
      "spec.podFailurePolicy.rules[0]: Invalid value: specifying one of OnExitCodes and OnPodConditions is required",
      'spec.podFailurePolicy.rules[1].onPodConditions[0].status: Unsupported value: "Maybe": supported values: "False", "True", "Unknown"',
      "spec.podFailurePolicy.rules[1]: Invalid value: specifying both OnExitCodes and OnPodConditions is not supported",
    ],
  },
  {
    of: { ...failure(codes([1])), podReplacementPolicy: "TerminatingOrFailed" },
    says: ['spec.podReplacementPolicy: Unsupported value: "TerminatingOrFailed": supported values: "Failed"'],
  },
  {
    of: { ...failure(codes([1])), template: { spec: { ...template.spec, restartPolicy: "OnFailure" } } },
    says: [
      'spec.template.spec.restartPolicy: Invalid value: "OnFailure": only "Never" is supported when podFailurePolicy is specified',
    ],
  },
  {
    of: { ...indexed, maxFailedIndexes: 5 },
    says: [
      "spec.backoffLimitPerIndex: Required value: when maxFailedIndexes is specified",
      "spec.maxFailedIndexes: Invalid value: 5: must be less than or equal to completions",
    ],
  },
  {
    of: { successPolicy: { rules: [{ succeededCount: 1 }] } },
    says: ['spec.successPolicy: Invalid value: {"rules":[{"succeededCount":1}]}: requires indexed completion mode'],
  },
  {
    of: success(),
    says: [
      "spec.successPolicy.rules: Required value: at least one rules must be specified when the successPolicy is specified",
    ],
  },
  {
    of: success(
      {},
      { succeededIndexes: "0-1,1" },
      { succeededIndexes: "0,9" },
      { succeededIndexes: "x" },
      { succeededIndexes: "1-2-3" },
    ),
    says: [
      "spec.successPolicy.rules[0]: Required value: at least one of succeededCount or succeededIndexes must be specified",
      'spec.successPolicy.rules[1].succeededIndexes: Invalid value: "0-1,1": error parsing succeededIndexes: non-increasing order, previous: 1, current: 1',
      'spec.successPolicy.rules[2].succeededIndexes: Invalid value: "0,9": error parsing succeededIndexes: too large index: "9"',
      'spec.successPolicy.rules[3].succeededIndexes: Invalid value: "x": error parsing succeededIndexes: cannot convert string to integer for index: "x"',
      `spec.successPolicy.rules[4].succeededIndexes: Invalid value: "1-2-3": error parsing succeededIndexes: the fragment "1-2-3" violates the requirement that an index interval can have at most two parts separated by '-'`,
    ],
  },
  {
    of: success({ succeededIndexes: "0,2", succeededCount: 5 }),
    says: [
      "spec.successPolicy.rules[0].succeededCount: Invalid value: 5: must be less than or equal to 4 (the number of specified completions)",
      "spec.successPolicy.rules[0].succeededCount: Invalid value: 5: must be less than or equal to 2 (the number of indexes in the specified succeededIndexes field)",
    ],
  },
];

for (const { of, says } of cases)
  test(`a Job: ${says[0] ?? JSON.stringify(of)}`, () => {
    assert.deepEqual(objectProblems(withDefaults(job(of))).map(problemText), says);
  });

test("policies of a Job stay as they are; a condition without a status is meant to be true", () => {
  const before = withDefaults(job(failure({ action: "Ignore", onPodConditions: [{ type: "DisruptionTarget" }] })));
  const { podFailurePolicy } = before["spec"] as { podFailurePolicy: { rules: { onPodConditions: unknown }[] } };
  assert.deepEqual(podFailurePolicy.rules[0]?.onPodConditions, [{ type: "DisruptionTarget", status: "True" }]);
  const [problem] = validateUpdate(withDefaults(job(failure(codes([1])))), before);
  assert.match(problem === undefined ? "" : problemText(problem), /^spec\.podFailurePolicy: .*field is immutable$/);
});
