// What people read about the tree is true of the tree: folders, links, file names; and every file is as CONTRIBUTING.md wants it.

import assert from "node:assert/strict";
import { existsSync, globSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { test } from "node:test";

const linesMax = 750;

const read = (file: string): string => readFileSync(file, "utf8");
const sources = globSync("{src,test,scripts,bench}/**/*.ts").filter((file) => !file.endsWith(".d.ts"));
const pages = [...globSync("*.md"), ...globSync("docs/**/*.md")];
const folders = (path: string): string[] =>
  readdirSync(path, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => entry.name);

void test("ARCHITECTURE.md names every folder, and every folder and file it names is there", () => {
  const text = read("ARCHITECTURE.md");
  const rows = [...text.matchAll(/^\| `(src\/[a-z]+)` \|/gm)].map((match) => match[1]);
  assert.deepEqual(new Set(rows), new Set(folders("src").map((name) => `src/${name}`)));
  const lab = /^\| `src\/lab` \|.*$/m.exec(text)?.[0] ?? "";
  for (const name of folders("src/lab")) assert.ok(lab.includes(`\`${name}/\``), `ARCHITECTURE.md: src/lab/${name}`);
  for (const name of folders("test")) assert.ok(text.includes(`\`test/${name}\``), `ARCHITECTURE.md: test/${name}`);
  // What comes later has no place yet.
  const today = text.split("## Places left")[0] ?? "";
  for (const [, path = ""] of today.matchAll(/`((?:[a-z0-9-]+\/)+[a-z0-9.-]*)`/g)) {
    if (!/\/$|\.[a-z]+$|^(src|test|bench|docs|scripts|examples)\//.test(path)) continue;
    // A path may begin below a folder that the paragraph is about.
    const found = existsSync(path) || globSync(`src/**/${path}`).length > 0;
    assert.ok(found, `ARCHITECTURE.md: ${path} is not there`);
  }
});

void test("README.md links every page of docs", () => {
  const text = read("README.md");
  for (const page of globSync("docs/*.md")) assert.ok(text.includes(`](${page})`), `README.md has no link to ${page}`);
});

void test("every link of a page leads somewhere", () => {
  for (const page of pages) {
    for (const [, target = ""] of read(page).matchAll(/\]\(([^)#\s]+)[^)]*\)/g)) {
      if (/^[a-z]+:/.test(target)) continue;
      const path = normalize(join(dirname(page), target));
      assert.ok(existsSync(path), `${page} links ${target}, which is not there`);
    }
  }
});

void test("docs/specs.md names files that are there", () => {
  const named = [...read("docs/specs.md").matchAll(/`((?:src|test|scripts)\/[^`]+)`/g)].map((match) => match[1] ?? "");
  assert.ok(named.length > 50);
  assert.deepEqual(
    named.filter((path) => !existsSync(path)),
    [],
  );
});

void test("every source file opens with a paragraph on what it is", () => {
  const bare = sources.filter((file) => !file.endsWith(".test.ts") && !/^(#!.*\n)?(\/\/ |\/\*)/.test(read(file)));
  assert.deepEqual(bare, []);
});

void test(`no file is longer than ${linesMax} lines`, () => {
  const long = sources.filter((file) => read(file).split("\n").length > linesMax);
  assert.deepEqual(long, []);
});

void test("nothing is left for later in a comment", () => {
  const mark = /\b(T[O]DO|F[I]XME|X[X]X)\b/;
  const marked = [...sources, ...pages].filter((file) => mark.test(read(file)));
  assert.deepEqual(marked, []);
});

void test("a packet test that types others' commands says which it needs", () => {
  const used = /spawn(?:Sync)?\("(ip|nft|bridge|openssl)"/g;
  for (const file of sources.filter((each) => each.endsWith(".net.test.ts"))) {
    const text = read(file);
    const said = /^\/\/ Needs: (.+)$/m.exec(text)?.[1]?.split(", ") ?? [];
    for (const [, tool = ""] of text.matchAll(used))
      assert.ok(said.includes(tool) || text.includes("--version"), `${file} runs ${tool}: say \`// Needs: ${tool}\``);
  }
});
