import assert from "node:assert/strict";
import { test } from "node:test";

import { parsePublished } from "./publish.ts";

void test("what may be published", () => {
  assert.deepEqual(parsePublished("8080:frontend"), { hostPort: 8080, namespace: "default", service: "frontend" });
  assert.deepEqual(parsePublished("8080:production/frontend:http"), {
    hostPort: 8080,
    namespace: "production",
    service: "frontend",
    port: "http",
  });
  for (const text of ["frontend", "0:frontend", "70000:frontend", "8080:", "8080:a/b/c", "8080:a:b:c", "8080:A"])
    assert.throws(() => parsePublished(text), /--publish .*: must be such as 8080:production\/frontend/, text);
});
