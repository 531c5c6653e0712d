// Rules as tables: what each allows, and what covers what.

import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { target } from "./access.testing.ts";
import { allows, coversAll, ruleText, uncovered, type PolicyRule } from "./rbac-rules.ts";

const rule = (verbs: string, groups: string, resources: string, names?: string): PolicyRule => ({
  verbs: verbs.split(","),
  apiGroups: groups.split(","),
  resources: resources.split(","),
  ...(names !== undefined && { resourceNames: names.split(",") }),
});
const paths = (verbs: string, urls: string): PolicyRule => ({
  verbs: verbs.split(","),
  nonResourceURLs: urls.split(","),
});

test("what a rule allows", () => {
  const table: readonly (readonly [PolicyRule, string, boolean])[] = [
    [rule("get", "", "pods"), "get /pods a in default", true],
    [rule("get", "", "pods"), "list /pods in default", false],
    [rule("get", "", "pods"), "get apps/pods a in default", false],
    [rule("get", "", "pods"), "get /pods/log a in default", false],
    [rule("get", "", "pods/log"), "get /pods/log a in default", true],
    [rule("get", "", "pods/log"), "get /pods a in default", false],
    [rule("*", "*", "*"), "escalate rbac.authorization.k8s.io/roles a in default", true],
    [rule("*", "*", "*"), "get path /version", false],
    [rule("get", "", "*"), "get /pods/exec a in default", true],
    [rule("update", "*", "*/scale"), "update apps/deployments/scale a in default", true],
    [rule("update", "*", "*/scale"), "update apps/deployments a in default", false],
    [rule("get", "", "configmaps", "one,two"), "get /configmaps two in default", true],
    [rule("get", "", "configmaps", "one,two"), "get /configmaps three in default", false],
    [rule("list", "", "configmaps", "one"), "list /configmaps in default", false],
    [paths("get", "/healthz"), "get path /healthz", true],
    [paths("get", "/healthz"), "get path /healthz/ping", false],
    [paths("get", "/healthz*"), "get path /healthz/ping", true],
    [paths("get", "/api/*"), "get path /api/v1", true],
    [paths("get", "*"), "get path /anything", true],
    [paths("get", "*"), "post path /anything", false],
    [paths("get", "*"), "get /pods a in default", false],
  ];
  for (const [given, text, expected] of table)
    assert.equal(allows(given, target(text)), expected, `${ruleText(given)}: ${text}`);
});

test("what covers what", () => {
  const table: readonly (readonly [PolicyRule, PolicyRule, boolean])[] = [
    [rule("*", "*", "*"), rule("get,list", "apps", "deployments,deployments/scale", "x"), true],
    [rule("get,list", "", "pods"), rule("get", "", "pods"), true],
    [rule("get", "", "pods"), rule("get,list", "", "pods"), false],
    [rule("get", "", "pods"), rule("get", "", "pods", "a"), true],
    [rule("get", "", "pods", "a"), rule("get", "", "pods"), false],
    [rule("get", "", "pods", "a,b"), rule("get", "", "pods", "b"), true],
    [rule("get", "", "pods"), rule("get", "", "*"), false],
    [rule("get", "", "*/status"), rule("get", "", "pods/status"), true],
    [rule("get", "", "pods"), rule("*", "", "pods"), false],
    [paths("get", "/api/*"), paths("get", "/api/v1"), true],
    [paths("get", "/api"), paths("get", "/api/v1"), false],
    [paths("get", "*"), paths("get", "/api/*"), true],
    [rule("*", "*", "*"), paths("get", "/api"), false],
  ];
  for (const [held, wanted, expected] of table)
    assert.equal(coversAll([held], [wanted]), expected, `${ruleText(held)} covers ${ruleText(wanted)}`);
});

test("permissions of several rules cover together; what is missing is said one by one", () => {
  const held = [rule("get", "", "pods"), rule("list", "", "pods"), rule("get", "", "secrets", "one")];
  assert.deepEqual(uncovered(held, [rule("get,list", "", "pods")]), []);
  assert.deepEqual(uncovered(held, [rule("get", "", "pods,secrets")]).map(ruleText), [
    '{APIGroups:[""], Resources:["secrets"], Verbs:["get"]}',
  ]);
});

const words = (...list: string[]): fc.Arbitrary<string[]> => fc.uniqueArray(fc.constantFrom(...list), { minLength: 1 });
const anyRule = fc.record({
  verbs: words("get", "list", "*"),
  apiGroups: words("", "apps", "*"),
  resources: words("pods", "pods/log", "*/log", "*"),
});
const anyTarget = fc
  .tuple(
    fc.constantFrom("get", "list", "watch"),
    fc.constantFrom("", "apps", "batch"),
    fc.constantFrom("pods", "pods/log", "jobs", "jobs/log"),
  )
  .map(([verb, group, resource]) => target(`${verb} ${group}/${resource} a in default`));

test("whoever holds rules that cover others is allowed all that the others allow", () => {
  fc.assert(
    fc.property(
      fc.array(anyRule, { maxLength: 3 }),
      fc.array(anyRule, { maxLength: 2 }),
      anyTarget,
      (held, wanted, asked) => {
        fc.pre(coversAll(held, wanted));
        if (wanted.some((each) => allows(each, asked))) assert.ok(held.some((each) => allows(each, asked)));
      },
    ),
  );
});
