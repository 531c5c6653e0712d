import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";

interface LockedPackage {
  readonly version?: string;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}

// npm leaves out optional packages that its registry did not give when the lock was written, and then `npm ci` refuses that very lock:
// a fresh clone would not install.
test("the lock file has every optional package of every platform", () => {
  const lock = readFileSync(join(import.meta.dirname, "../package-lock.json"), "utf8");
  const { packages } = JSON.parse(lock) as { packages: Readonly<Record<string, LockedPackage>> };
  const wanted = Object.entries(packages).flatMap(([path, { optionalDependencies = {} }]) =>
    Object.keys(optionalDependencies).map((name) => ({ path, name })),
  );
  assert.ok(wanted.length > 50, `${wanted.length} optional packages`);
  const missing = wanted.filter(
    ({ path, name }) =>
      packages[`${path}/node_modules/${name}`] === undefined && packages[`node_modules/${name}`] === undefined,
  );
  assert.deepEqual(missing, []);
});
