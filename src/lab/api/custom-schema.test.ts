import assert from "node:assert/strict";
import test from "node:test";
import { schemaProblems, type JsonSchema } from "./custom-schema.ts";

// Gateway API's addresses; compared with kube-apiserver 1.36.
test("of branches of which none fits, the one that says most is explained", () => {
  const schema: JsonSchema = {
    type: "object",
    properties: { type: { type: "string" }, value: { type: "string" } },
    oneOf: [
      {
        properties: { type: { enum: ["IPAddress"] }, value: { anyOf: [{ format: "ipv4" }, { format: "ipv6" }] } },
      },
      { properties: { type: { not: { enum: ["IPAddress"] } } } },
    ],
  };
  const problems = schemaProblems({ type: "IPAddress", value: "1.2.3" }, schema, "a", false);
  assert.deepEqual(
    problems.map(({ field, message }) => `${field}: ${message}`),
    [
      '<nil>: Invalid value: "": "a" must validate one and only one schema (oneOf). Found none valid',
      '<nil>: Invalid value: "": "a.value" must validate at least one schema (anyOf)',
      'a.value: Invalid value: "1.2.3": a.value in body must be of type ipv4: "1.2.3"',
    ],
  );
});
