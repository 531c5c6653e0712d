// Every scenario in test/scenarios, as written and in the ways that must end the same. UPDATE=1 rewrites the expected outputs.

import assert from "node:assert/strict";
import { globSync, readFileSync, writeFileSync } from "node:fs";
import process from "node:process";
import { test } from "node:test";
import { runScenario, type Variant } from "./scenario.ts";
import { formatArchive, parseArchive } from "./txtar.ts";

for (const file of globSync("test/scenarios/*.txtar").sort()) {
  test(file, async (t) => {
    const archive = parseArchive(readFileSync(file, "utf8"));
    const written = await runScenario(archive, "as written");
    if (process.env["UPDATE"] === "1") {
      const files = new Map([...archive.files, ...written.outputs]);
      writeFileSync(file, formatArchive({ comment: archive.comment, files }));
      return;
    }
    assert.ok(written.outputs.size > 0, "the scenario compares nothing");
    for (const [name, output] of written.outputs)
      assert.equal(output, archive.files.get(name), `stdout is not ${name}`);
    for (const variant of ["reversed", "duplicated", "one by one"] satisfies Variant[]) {
      await t.test(`${variant}, it ends the same`, async () => {
        const other = await runScenario(archive, variant);
        assert.equal(other.end, written.end);
        assert.deepEqual(other.outputs, written.outputs);
      });
    }
  });
}
