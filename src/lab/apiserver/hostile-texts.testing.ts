// Texts that stand where a JSON value of another kind is wanted. Not here: where they are put (hostile.test.ts).

import * as fc from "fast-check";

/** Brackets so deep. */
export const nested = (depth: number): string => "[".repeat(depth) + "]".repeat(depth);

/** Texts of JSON values that stand where something else is wanted. */
export const hostile: fc.Arbitrary<string> = fc.constantFrom(
  "null",
  "true",
  "0",
  "-1",
  "1e400",
  "-0",
  "1.5",
  "99999999999999999999",
  "9007199254740993",
  '""',
  '"\\u0000"',
  '"\\ud800"',
  '"a"',
  '"../../etc/passwd"',
  '"2026-13-99T99:99:99Z"',
  '"1e999999999"',
  '"10.0.0.0/99"',
  "[]",
  "{}",
  "[null]",
  "[[]]",
  "[{}]",
  '{"":""}',
  '{"__proto__":{"x":1}}',
  '{"constructor":{"prototype":{"x":1}}}',
  '{"toString":1,"valueOf":1,"hasOwnProperty":1}',
  '{"length":-1}',
  '{"then":{}}',
  '{"toJSON":"x"}',
  nested(300),
  `"${"x".repeat(70_000)}"`,
  '{"$patch":"delete"}',
  '{"$patch":"replace"}',
  '{"$patch":5}',
  '[{"$patch":"replace"}]',
  '{"$retainKeys":[1]}',
  '{"$deleteFromPrimitiveList/x":["a"]}',
  '{"$setElementOrder/containers":[{"name":1}]}',
  '"self.x.y("',
);
