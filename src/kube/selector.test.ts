import assert from "node:assert/strict";
import { test } from "node:test";

import * as fc from "fast-check";

import {
  formatSelector,
  matches,
  matchesFields,
  parseFieldSelector,
  parseSelector,
  requirementsOf,
  SelectorError,
  selects,
  selectsMap,
  type Requirement,
} from "./selector.ts";

const isFree = (text: string): boolean => text !== "in" && text !== "notin";
const word = fc.stringMatching(/^[a-z][a-z0-9._-]{0,8}[a-z0-9]$/).filter(isFree);
const labelKey = fc.stringMatching(/^([a-z0-9]{1,3}\/)?[a-z][a-z0-9._-]{0,8}[a-z0-9]$/).filter(isFree);
const requirementOf = (
  operators: readonly Requirement["operator"][],
  values: fc.Arbitrary<string[]>,
): fc.Arbitrary<Requirement> =>
  fc
    .tuple(labelKey, fc.constantFrom(...operators), values)
    .map(([key, operator, list]) => ({ key, operator, values: list }));
const requirement: fc.Arbitrary<Requirement> = fc.oneof(
  requirementOf(["In", "NotIn"], fc.array(word, { minLength: 1, maxLength: 3 })),
  requirementOf(["Exists", "DoesNotExist"], fc.constant([])),
  requirementOf(
    ["Gt", "Lt"],
    fc.nat().map((number) => [String(number)]),
  ),
);

test("what is formatted is read back", () => {
  fc.assert(
    fc.property(fc.array(requirement, { maxLength: 5 }), (requirements) => {
      assert.deepEqual(parseSelector(formatSelector(requirements)), requirements);
    }),
  );
});

test("any text is a selector or a SelectorError", () => {
  const piece = fc.oneof(
    fc.constantFrom(",", "=", "==", "!=", "!", "(", ")", " in ", " notin ", ">", "<", " "),
    fc.string(),
  );
  fc.assert(
    fc.property(fc.array(piece), (pieces) => {
      try {
        parseSelector(pieces.join(""));
      } catch (error) {
        assert.ok(error instanceof SelectorError);
      }
    }),
  );
});

for (const [text, labels, expected] of [
  ["", {}, true],
  ["app=web", { app: "web" }, true],
  ["app==web,tier!=db", { app: "web" }, true],
  ["app!=web", { app: "web" }, false],
  ["app in (web, api)", { app: "api" }, true],
  ["app notin (web)", {}, true],
  ["app", { app: "" }, true],
  ["!app", { app: "" }, false],
  ["app=", { app: "" }, true],
  ["n>9", { n: "10" }, true],
  ["n<9", { n: "10" }, false],
  ["n>9", { n: "many" }, false],
  ["toString", {}, false],
] as const)
  test(`selector ${JSON.stringify(text)} on ${JSON.stringify(labels)}: ${expected}`, () => {
    assert.equal(matches(parseSelector(text), labels), expected);
  });

test("an absent selector matches nothing, an empty one everything", () => {
  assert.equal(selects(undefined, { a: "b" }), false);
  assert.equal(selects({}, undefined), true);
  assert.equal(selectsMap({}, { a: "b" }), false);
  assert.equal(selectsMap({ a: "b" }, { a: "b", c: "d" }), true);
});

test("matchLabels and matchExpressions must all hold", () => {
  const selector = {
    matchLabels: { app: "web" },
    matchExpressions: [{ key: "tier", operator: "NotIn" as const, values: ["db"] }],
  };
  assert.equal(formatSelector(requirementsOf(selector)), "app=web,tier!=db");
  assert.equal(selects(selector, { app: "web", tier: "db" }), false);
});

test("errors name what was found and what was expected", () => {
  assert.throws(() => parseSelector("a in b"), {
    message: 'unable to parse selector "a in b": found "b", expected "("',
  });
  assert.throws(() => parseSelector("a,"), { message: 'unable to parse selector "a,": found the end, expected a key' });
});

test("field selectors", () => {
  const pod = {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name: "a" },
    spec: { nodeName: "node-1", hostNetwork: true },
  };
  assert.equal(matchesFields(parseFieldSelector("metadata.name=a,spec.nodeName!=node-2"), pod), true);
  assert.equal(matchesFields(parseFieldSelector("spec.hostNetwork=true,status.phase="), pod), true);
  assert.equal(matchesFields(parseFieldSelector("spec.nodeName==node-2"), pod), false);
  assert.deepEqual(parseFieldSelector(String.raw`a=b\,c`), [{ field: "a", operator: "=", value: "b,c" }]);
  assert.throws(() => parseFieldSelector("metadata.name"), SelectorError);
});
