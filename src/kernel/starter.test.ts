import { test } from "node:test";
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { assembleStarter, readReport, reportBytes, type StarterCall } from "./starter.ts";

function run(calls: readonly StarterCall[], command: readonly string[], id = 7) {
  const folder = mkdtempSync(join(tmpdir(), "starter-"));
  try {
    const file = join(folder, "start");
    const report = join(folder, "report");
    writeFileSync(file, assembleStarter({ calls, id, reportFd: 3 }), { mode: 0o700 });
    const fd = openSync(report, "w");
    const result = spawnSync(file, command, {
      stdio: ["ignore", "pipe", "pipe", fd],
      env: { GREETING: "hi" },
      encoding: "utf8",
    });
    closeSync(fd);
    return { status: result.status, stdout: result.stdout, report: readFileSync(report) };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

test("it makes its calls and executes its arguments with the environment", () => {
  const { status, stdout, report } = run(
    [{ call: "chdir", values: ["/usr"] }],
    ["/bin/sh", "sh", "-c", 'pwd; echo "$GREETING $1"; exit 3', "x", "there"],
  );
  assert.equal(stdout, "/usr\nhi there\n");
  assert.equal(status, 3);
  assert.equal(report.length, 0);
});

test("a failed call is reported by its place, with the errno as exit status", () => {
  const calls: StarterCall[] = [
    { call: "chdir", values: ["/nowhere-1"], failure: "ignore" },
    { call: "chdir", values: ["/nowhere-2"] },
  ];
  const { status, report } = run(calls, ["/bin/true", "true"], 41);
  assert.equal(status, 2);
  assert.equal(report.length, reportBytes);
  assert.deepEqual(readReport(report), { id: 41, index: 1 });
});

test("a program that cannot be executed is reported with the index after the last call", () => {
  const { status, report } = run([{ call: "setsid", values: [], failure: "ignore" }], ["/no/such/program", "x"]);
  assert.equal(status, 2);
  assert.deepEqual(readReport(report), { id: 7, index: 1 });
});

test("other processors are refused by name", () => {
  assert.throws(() => assembleStarter({ calls: [], id: 1, reportFd: 3, architecture: "riscv64" }), /riscv64/);
});
