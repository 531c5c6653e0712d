// Everything that is checked without running the product: types and layers, lint, format, dead exports. `npm run check`.

import { spawnSync } from "node:child_process";
import process from "node:process";

const steps: readonly (readonly string[])[] = [
  ["tsc", "-b", "tsconfig.json"],
  ["oxlint", "--type-aware", "--deny-warnings", "src", "test", "scripts", "bench"],
  ["oxfmt", "--check", "src", "test", "scripts", "bench"],
  ["knip"],
];

let failed = false;
for (const step of steps) {
  const started = performance.now();
  const [command = "", ...rest] = step;
  const result = spawnSync(command, rest, { stdio: "inherit" });
  const verdict = result.status === 0 ? "ok" : "FAILED";
  console.log(`${verdict.padEnd(7)} ${step.join(" ")}  ${((performance.now() - started) / 1000).toFixed(1)} s`);
  if (result.status !== 0) failed = true;
}
process.exit(failed ? 1 : 0);
