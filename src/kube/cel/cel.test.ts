import assert from "node:assert/strict";
import test from "node:test";
import { compileExpression, costLimits, kubernetesFunctions } from "./cel.ts";
import { EvaluationError, type Environment } from "./environment.ts";
import { CostError, createMeter } from "./evaluate.ts";
import { jsonOf, valueOf } from "./json.ts";
import { ExpressionError } from "./syntax.ts";
import { dyn, parseType, string, type Field, type Type } from "./types.ts";

const functions = kubernetesFunctions();

function object(fields: Readonly<Record<string, string | Type>>): Type {
  const entries = Object.entries(fields).map(([property, type]): [string, Field] => [
    property,
    { type: typeof type === "string" ? parseType(type) : type, property },
  ]);
  return { kind: "object", name: "object", fields: new Map(entries) };
}

const inner = object({ a: "string", n: "int" });
const self = object({
  name: "string",
  count: "int",
  ratio: "double",
  tags: "map<string, string>",
  port: "dyn",
  unset: "bytes",
  words: "list<string>",
  inner,
  same: inner,
  list: { kind: "list", of: inner },
  unordered: { kind: "list", of: string, merge: { kind: "set" } },
  reordered: { kind: "list", of: string, merge: { kind: "set" } },
});
const given = {
  name: "hello",
  count: 4,
  ratio: 1.5,
  tags: { a: "1", b: "2" },
  port: 8080,
  words: ["a", "b"],
  inner: { a: "x", n: 3 },
  same: { a: "x", n: 3 },
  list: [
    { a: "x", n: 3 },
    { a: "y", n: 5 },
  ],
  unordered: ["a", "b"],
  reordered: ["b", "a"],
};
const environment: Environment = {
  variables: new Map([
    ["self", self],
    ["object", dyn],
  ]),
  functions,
};

/** The value as JSON, or what went wrong. */
function outcome(source: string): unknown {
  try {
    const { program } = compileExpression(source, environment);
    const value = program(
      (name) => (name === "self" ? valueOf(given, self) : valueOf(given)),
      createMeter(costLimits.call),
    );
    return jsonOf(value);
  } catch (error) {
    if (error instanceof ExpressionError) return error.issues.map(({ at, message }) => `${at}: ${message}`).join("; ");
    if (error instanceof EvaluationError || error instanceof CostError) return error.message;
    throw error;
  }
}

const holds = [
  "self.count > 3 && self.count > 1.5 && self.ratio < 2",
  "self.tags.all(k, self.tags[k].size() == 1) && 'a' in self.tags",
  "has(self.inner.a) && !has(self.unset)",
  "type(self.port) == int ? self.port > 3 : false",
  "self.inner == self.same && self.inner != null",
  "self.unordered == self.reordered && self.words != ['b', 'a']",
  "self.list.existsOne(x, x.a == 'y') && self.list.exists(i, x, i == 1 && x.n == 5)",
  "self.list.map(x, x.a) == ['x', 'y'] && self.list.filter(x, x.n > 3).size() == 1",
  "self.?unset.orValue(b'z') == b'z' && self.?name.hasValue()",
  "optional.of(1).optMap(x, x + 1).value() == 2 && [?self.?name] == ['hello']",
  "{'a': 1, ?'b': optional.none()} == {'a': 1}",
  "self.count / 0 == 1 || true",
  "dyn(self.count) == 4u && dyn(1) == dyn(1.0)",
  "'%s is %d, %.2f'.format(['a', 3, 2.5]) == 'a is 3, 2.50'",
  "'A-b'.lowerAscii().replace('-', '_').split('_') == ['a', 'b'] && 'tacocat'.substring(0, 4) == 'taco'",
  "'é'.size() == 1 && 'aé'.charAt(1) == 'é' && r'\\d' == '\\\\d'",
  "duration('90m') > duration('1h') && duration('1h30m').getMinutes() == 90",
  "timestamp('2024-02-29T23:59:59.5Z') + duration('1s') == timestamp('2024-03-01T00:00:00.5Z')",
  "timestamp('2024-01-01T00:30:00Z').getHours('+01:00') == 1 && timestamp('2024-01-01T00:00:00Z').getDayOfWeek() == 1",
  "quantity('1.5Gi').isGreaterThan(quantity('1500M')) && quantity('100m').add(quantity('0.9')).asInteger() == 1",
  "cidr('10.0.0.0/8').containsIP('10.1.2.3') && !cidr('10.0.0.0/8').containsCIDR('10.0.0.0/7')",
  "isIP('::1') && !isIP('1.2.3') && ip('fe80::1').isLinkLocalUnicast() && ip.isCanonical('::1')",
  "url('https://a.b:80/c?x=1&x=2').getHostname() == 'a.b' && url('https://a.b/?x=1').getQuery()['x'] == ['1']",
  "semver('1.2.3-rc.1').isLessThan(semver('1.2.3')) && semver('v1.2', true).minor() == 2",
  "!format.dns1123Label().validate('abc').hasValue() && format.dns1123Label().validate('A').hasValue()",
  "'a1b22'.findAll('[0-9]+') == ['1', '22'] && 'x'.find('[0-9]+') == ''",
  "[1, 3, 2].max() == 3 && [1, 2].isSorted() && [0.5, 1.5].sum() == 2.0 && ['a', 'b'].indexOf('b') == 1",
  "sets.contains([1, 2], [1]) && [3, 1, 2].sort() == [1, 2, 3] && [1, 1].distinct() == [1]",
  "[1, 2].transformMap(i, v, v * 2) == {0: 2, 1: 4} && lists.range(3) == [0, 1, 2]",
  "object.list[1].n == 5 && object.inner.n + 1 == 4",
  "-9223372036854775808 < 0 && 0x1F == 31 && 1e3 == 1000.0",
];

test("what expressions say of values", () => {
  for (const source of holds) assert.equal(outcome(source), true, source);
});

// Compared with kube-apiserver 1.36: offsets and words are cel-go's.
const wrong: readonly (readonly [string, string])[] = [
  ["self.nope == 1", "4: undefined field 'nope'"],
  ["self.name + 1", "10: found no matching overload for '_+_' applied to '(string, int)'"],
  ["nope", "0: undeclared reference to 'nope' (in container '')"],
  ["foo(self.name)", "3: undeclared reference to 'foo' (in container '')"],
  ["self.name.startsWith(1)", "20: found no matching overload for 'startsWith' applied to 'string.(int)'"],
  ["[1, 'a']", "4: expected type 'int' but found 'string'"],
  ["true ? 1 : 'a'", "5: found no matching overload for '_?_:_' applied to '(bool, int, string)'"],
  ["self.count == 4.0", "11: found no matching overload for '_==_' applied to '(int, double)'"],
  ["self.name == null", "10: found no matching overload for '_==_' applied to '(string, null)'"],
  [
    "self.words.filter(x, x)",
    "17: found no matching overload for '_?_:_' applied to '(string, list(string), list(string))'",
  ],
  ["self.name.foo", "9: type 'string' does not support field selection"],
  ["has(self)", "4: invalid argument to has() macro"],
  ["'a'.matches('(')", "12: invalid matches argument"],
  ["duration('x') == duration('1s')", "9: invalid duration argument"],
  ["1 2", "2: Syntax error: extraneous input '2' expecting <EOF>"],
  ["self.list[9].a == ''", "index out of bounds: 9"],
  ["self.tags['zz'] == ''", "no such key: zz"],
  ["self.list.all(x, x.n / 0 == 1)", "division by zero"],
  ["9223372036854775807 + 1 == 0", "integer overflow"],
  ["object.name > 3", "no such overload"],
];

test("what is wrong with expressions, in cel-go's words", () => {
  for (const [source, says] of wrong) assert.equal(outcome(source), says, source);
});

test("an error shows the line and the place", () => {
  assert.throws(() => compileExpression("true &&\n  self.nope", environment), {
    message: "ERROR: <input>:2:7: undefined field 'nope'\n |   self.nope\n | ......^",
  });
});

test("no expression takes longer than it may", () => {
  const nested = "lists.range(1000).all(x, lists.range(1000).all(y, lists.range(1000).all(z, x + y + z > -1)))";
  assert.equal(outcome(nested), "operation cancelled: actual cost limit exceeded");
  // A backtracking matcher would need 2^60 steps here.
  assert.equal(outcome(`'${"a".repeat(60)}!'.matches('(a+)+$')`), false);
  assert.match(String(outcome("(".repeat(300))), /recursion limit/);
  assert.equal(outcome(`'${"x".repeat(1000)}'.matches('${"(x?){50}".repeat(20)}')`), true);
});

test("any text is an expression or an error that says where", () => {
  const pieces = [
    "self",
    ".",
    "name",
    "(",
    ")",
    "[",
    "]",
    "'a'",
    "1",
    "+",
    "&&",
    "?",
    ":",
    "{",
    "}",
    ",",
    "all",
    "has",
    "\n",
    "é",
    "`",
    "b'\\xff'",
    "in",
  ];
  let seed = 7;
  const next = (below: number): number => (seed = (seed * 48_271) % 2_147_483_647) % below;
  for (let round = 0; round < 3000; round++) {
    const source = Array.from({ length: next(12) }, () => pieces[next(pieces.length)] ?? "").join(
      next(2) === 0 ? "" : " ",
    );
    // Whatever it is, it is a value or one of the known errors.
    outcome(source);
  }
});
