import assert from "node:assert/strict";
import test from "node:test";
import { rulesProblems } from "./custom-rule-problems.ts";
import type { JsonSchema } from "./custom-schema.ts";

const text: JsonSchema = { type: "string", maxLength: 50 };

function listOf(items: JsonSchema, maxItems?: number): JsonSchema {
  return { type: "array", items, ...(maxItems === undefined ? {} : { maxItems }) };
}

/** In a map of so many of them. */
function problemsOf(rule: string, maxProperties: number | "plain" | "unbounded"): readonly string[] {
  const schema: JsonSchema = {
    type: "object",
    required: ["a", "l"],
    "x-kubernetes-validations": [{ rule }],
    properties: {
      a: text,
      b: { type: "string", maxLength: 20 },
      n: { type: "integer" },
      l: listOf(text, 30),
      u: listOf({ type: "string" }),
      m: { type: "object", maxProperties: 10, additionalProperties: text },
      o: listOf(
        { type: "object", required: ["s"], properties: { s: text, n: { type: "integer" }, inner: listOf(text, 7) } },
        40,
      ),
      i: { "x-kubernetes-int-or-string": true },
      ints: listOf({ type: "integer" }, 9),
      p: { type: "object", properties: { q: text } },
      e: { type: "string", enum: ["aa", "bbb"] },
      d: { type: "string", format: "duration" },
      t: { type: "string", format: "date-time" },
      lu: listOf(listOf({ type: "string", maxLength: 3 }), 3),
      by: { type: "string", format: "byte", maxLength: 10 },
    },
  };
  const within: JsonSchema = {
    type: "object",
    additionalProperties: schema,
    ...(typeof maxProperties === "number" ? { maxProperties } : {}),
  };
  const spec = maxProperties === "plain" ? schema : within;
  return rulesProblems({ type: "object", properties: { spec } }, "s").map(
    ({ field, message }) => `${field}: ${message}`,
  );
}

// By how much they are too costly: as kube-apiserver 1.36 says.
const costly: readonly (readonly [rule: string, maxProperties: number | "plain" | "unbounded", factor: string])[] = [
  ["self.a.contains(self.b)", 1000000, "16.4"],
  ["self.a.matches('^[a-z]+$')", 1000000, "4.4"],
  ["self.a.matches(self.b)", 30000, "1.272000"],
  ["self.l.all(x, self.l.exists_one(y, x == y))", 30000, "65.4"],
  ["self.l.map(x, x + 'a').all(y, y.contains('b'))", 30000, "3.5"],
  ["self.l.filter(x, x.startsWith('a')).size() < 3", 30000, "1.395000"],
  ["self.u.all(x, x != 'a')", 30, "15.7"],
  ["self.m.all(k, k.startsWith('a') && self.m[k] == 'b')", 1000000, "10.3"],
  ["self.o.all(x, self.o.exists(y, y.s == x.s && y.n != x.n))", 1000, "5.1"],
  ["self.i == '5' || self.i == 5", 30000000, "18.0"],
  ["self.a + self.b == 'xx'", 30000000, "99.0"],
  ["self.a.replace('a','bb').size() < 4", 1000000, "4.4"],
  ["self.a.split(',').all(x, x.size() < 4)", 30000, "3.7"],
  ["self.l.join(',').contains('x')", 30000, "3.6"],
  ["ip(self.a).family() == 4 && cidr('10.0.0.0/8').containsIP(self.a)", 1000000, "5.1"],
  ["isQuantity(self.a) && quantity(self.a).isGreaterThan(quantity('1'))", 1000000, "4.6"],
  ["self.l.isSorted() && self.l.indexOf('a') < 4", 30000, "3.8"],
  ["sets.contains(self.l, ['a','b'])", 1000000, "7.3"],
  ["self.l.distinct().size() == self.l.size()", 30000, "5.5"],
  ["self.l.sort() == self.l", 30000, "5.7"],
  ["self.l.slice(0, 3).all(x, x == 'a')", 30000000, "87.0"],
  ["self.?p.optMap(v, v.q.contains('x')).orValue(true)", 30000000, "60.0"],
  ["self.e == 'aa' || self.e.contains('b')", 30000000, "18.0"],
  ["self.d > duration('1h') && self.t < timestamp('2020-01-01T00:00:00Z')", 30000000, "24.0"],
  ["self.m.transformMap(k, v, v + 'a').all(k, k != 'x')", 1000000, "32.4"],
  ["self.l == oldSelf.l", 30000000, "21.0"],
  ["'%s-%d'.format([self.a, self.n]) == 'x'", 30000000, "48.0"],
  ["self.a.find('[a-z]+') == 'x' && self.a.findAll('[0-9]').size() > 3", 1000000, "9.1"],
  ["self.o.filter(x, x.n > 3).map(x, x.s).exists(y, y.contains('z'))", 30000, "4.3"],
  ["self.o.all(x, x.inner.all(y, y.contains(self.a)))", 1000, "11.4"],
  ["format.dns1123Label().validate(self.a).hasValue()", 1000000, "64.4"],
  ["self.lu.all(x, x.all(y, y == 'z'))", 30, "47.2"],
  ["{'a': self.a, 'b': self.b}.all(k, k.contains('a'))", 1000000, "4.3"],
  ["self.l.sortBy(x, x.size())[0] == 'a'", 30000, "6.8"],
  ["self.l.reverse()[0] == 'a' && [self.l, self.l].flatten().size() > 3", 1000000, "7.3"],
  ["semver('1.0.0').major() == self.n && isSemver(self.a)", 30000000, "78.0"],
];

test("rules that may cost too much are refused", () => {
  for (const [rule, maxProperties, factor] of costly) {
    const [first = ""] = problemsOf(rule, maxProperties);
    assert.match(first, /rule: Forbidden: estimated rule cost exceeds budget by factor of /, rule);
    assert.equal(/factor of ([\d.]+)x/.exec(first)?.[1], factor, rule);
  }
});

test("what all rules may cost together is said with the worst of them", () => {
  const [, ...others] = problemsOf("self.a.contains(self.b)", 30_000_000);
  assert.deepEqual(
    others.map((each) => each.replace(/ \(try .*/, "")),
    [
      "s.properties[spec].additionalProperties.x-kubernetes-validations[0].rule: Forbidden: contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema",
      "s: Forbidden: x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema exceeds budget by factor of 49.2x",
    ],
  );
});

test("small rules may be in as many values as there can be", () => {
  assert.deepEqual(problemsOf("self.a == 'x'", "unbounded"), []);
  assert.deepEqual(problemsOf("self.l.all(x, x.startsWith('ab'))", "plain"), []);
});

test("a message that does not compile costs nothing", () => {
  const rules = [{ rule: "true", messageExpression: "nope" }];
  const [problem] = rulesProblems({ type: "object", "x-kubernetes-validations": rules }, "s");
  assert.equal(problem?.field, "s.x-kubernetes-validations[0].messageExpression");
});
