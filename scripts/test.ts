// Runs the tests: plain ones as they are, `*.net.test.ts` inside private user, network, mount and process namespaces.
// Where the machine forbids user namespaces the latter are skipped, and the reason is printed; under CI=true that is a failure.
//
//   npm test                      everything
//   npm test -- src/model trace   only files whose path contains one of the words

import { spawnSync } from "node:child_process";
import { globSync } from "node:fs";
import process from "node:process";

import { probeUserNamespaces, unshareFlags } from "../src/kernel/refusal.ts";

const words = process.argv.slice(2);
const files = globSync(["src/**/*.test.ts", "test/**/*.test.ts", "scripts/**/*.test.ts"])
  .filter((file) => words.length === 0 || words.some((word) => file.includes(word)))
  .sort();
const packetFiles = files.filter((file) => file.endsWith(".net.test.ts"));
const plainFiles = files.filter((file) => !file.endsWith(".net.test.ts"));

let failed = false;

if (plainFiles.length > 0) run(process.execPath, testArguments(plainFiles, 2));
if (packetFiles.length > 0) {
  const namespaces = probeUserNamespaces();
  if (namespaces.available) {
    // One after another: each makes whole networks, and packets under load tell little.
    run("unshare", [
      ...unshareFlags,
      "sh",
      "-c",
      '"$0" "$@"; exit $?',
      process.execPath,
      ...testArguments(packetFiles, 1),
    ]);
  } else {
    console.log(`\n${packetFiles.length} files with packet tests SKIPPED: ${namespaces.reason}`);
    for (const file of packetFiles) console.log(`  skipped ${file}`);
    if (process.env["CI"] === "true") failed = true;
  }
}
process.exit(failed ? 1 : 0);

function testArguments(tests: readonly string[], concurrency: number): string[] {
  return ["--test", "--test-reporter=spec", `--test-concurrency=${concurrency}`, "--test-timeout=240000", ...tests];
}

function run(command: string, commandArguments: readonly string[]): void {
  const result = spawnSync(command, commandArguments, { stdio: ["ignore", "inherit", "inherit"] });
  if (result.status !== 0) failed = true;
}
