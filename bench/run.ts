// Runs a benchmark by name: `npm run bench -- lab`. Without a name it lists them. Results are printed; docs/benchmarks.md keeps the ones that count.

import { spawnSync } from "node:child_process";
import { globSync } from "node:fs";
import process from "node:process";

const files = globSync("bench/*/*.ts").sort();
const word = process.argv[2];
const chosen = word === undefined ? [] : files.filter((file) => file.includes(word));
if (chosen.length === 0) {
  console.log(`Which? npm run bench -- WORD, of:\n${files.map((file) => `  ${file}`).join("\n")}`);
  process.exit(word === undefined ? 0 : 1);
}
for (const file of chosen) {
  console.log(`\n${file}`);
  const result = spawnSync(process.execPath, [file, ...process.argv.slice(3)], { stdio: "inherit" });
  if (result.status !== 0) process.exit(result.status ?? 1);
}
