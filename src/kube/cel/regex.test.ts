import assert from "node:assert/strict";
import test from "node:test";
import { isRegex, regexOf } from "./regex.ts";

// Go's regexp and JavaScript's agree on these.
const same = [
  "^a.c$",
  "a|b|",
  "(a|ab)(c|bcd)(d*)",
  "a{2,3}",
  "a{2,}b?",
  "[^a-c]+",
  "[\\w.-]+@\\d+",
  "^([-a-z0-9]{0,5}[a-z0-9])?(\\.[a-z]+)*$",
  "x*",
  "\\bab\\b",
  "a+?b",
  "(?:ab)+c",
  "^(?:(a)|b)*$",
  "\\x41|\\.",
];
const texts = [
  "",
  "abc",
  "aaa",
  "ab",
  "abcd",
  "b",
  "aab",
  "x.y-z@12",
  "a-b.c",
  "A.",
  "xxabxx ab",
  "abababc",
  "é",
  "ba\nab",
  "aXc",
];

test("patterns find what JavaScript's find, where both mean the same", () => {
  for (const pattern of same)
    for (const text of texts) {
      const expected = new RegExp(pattern, "u").exec(text);
      const found = regexOf(pattern).find(text);
      const shown = found === undefined ? undefined : text.slice(found.start, found.end);
      assert.equal(shown, expected?.[0], `${pattern} in ${JSON.stringify(text)}`);
      assert.equal(found?.start, expected?.index, `${pattern} in ${JSON.stringify(text)}`);
      assert.equal(regexOf(pattern).test(text), expected !== null);
    }
});

test("what only Go's patterns know", () => {
  assert.equal(regexOf("(?i)aBc").test("AbC"), true);
  assert.equal(regexOf("^[[:alpha:]]+$").test("abC"), true);
  assert.equal(regexOf("\\Aab\\z").test("ab\n"), false);
  assert.equal(regexOf("(?s)a.b").test("a\nb"), true);
  assert.equal(regexOf("a.b").test("a\nb"), false);
  assert.equal(regexOf("(?m)^b$").test("a\nb"), true);
  assert.equal(regexOf("^\\p{Lu}\\PL$").test("Á1"), true);
  assert.equal(regexOf("\\Qa.b\\E+").test("a.bbb"), true);
  assert.equal(regexOf("(?P<x>a)").test("a"), true);
});

test("what is no pattern is said", () => {
  for (const pattern of ["(", "a)", "[a", "*a", "a**", "\\", "a{2,1}", "a{1001}", "(?<=a)b", "\\1", "[z-a]", "\\pX"])
    assert.equal(isRegex(pattern), false, pattern);
});

test("time grows with text and pattern, not with their powers", () => {
  const text = "a".repeat(20_000);
  assert.equal(regexOf("(a*)*b").test(text), false);
  assert.equal(regexOf("(a|aa)+$").test(`${text}!`), false);
});
