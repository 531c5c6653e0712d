import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { test } from "node:test";

test("http is taken from here: importing it by its name costs every start 20 ms", () => {
  const files = globSync("src/**/*.ts").filter((file) => !/\.test(ing)?\.ts$/.test(file));
  assert.ok(files.length > 100);
  const importers = files.filter((file) =>
    // Types alone are no import.
    /^import (?!type )[^;]*? from "node:http";/m.test(readFileSync(file, "utf8")),
  );
  assert.deepEqual(importers, []);
});
