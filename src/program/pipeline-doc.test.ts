import assert from "node:assert/strict";
import fs from "node:fs";
import { test } from "node:test";

import { formatPart } from "./format.ts";
import { documented, documentedProgram } from "./pipeline-doc.testing.ts";
import { sysctlReasons } from "./sysctls.ts";

const page = fs.readFileSync(new URL("../../docs/pipeline.md", import.meta.url), "utf8");
const program = documentedProgram();

void test("every chain is on the page as it is compiled", () => {
  for (const { family, chains } of program.tables) {
    for (const { name } of chains) {
      if (name.startsWith("services-")) continue;
      const text = documented(family, [name]).map((line) => `    ${line}`.trimEnd());
      assert.ok(
        page.includes(text.join("\n")),
        `docs/pipeline.md shows chain ${name} of ${family} as:\n${text.join("\n")}`,
      );
    }
  }
});

void test("every hook is in the table with its priority", () => {
  for (const { name, base } of program.tables.flatMap(({ chains }) => chains)) {
    if (base === undefined) continue;
    const row = page.split("\n").find((line) => line.startsWith(`| \`${name}\` |`));
    assert.ok(
      row?.includes(`| ${base.hook} ${base.priority}${base.type === "nat" ? ", nat" : ""} |`),
      `${name}: ${row}`,
    );
  }
});

void test("every setting is there with its reason", () => {
  for (const [path, { value, why }] of Object.entries(sysctlReasons))
    assert.ok(page.includes(`| \`${path}\` | ${value} | ${why} |`), path);
});

void test("the routes are what a Program says", () => {
  for (const line of formatPart(program, "routes", { origins: "hidden" }).trimEnd().split("\n"))
    assert.ok(page.includes(`    ${line}\n`), line);
});
