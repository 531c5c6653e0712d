// Makes a fresh clone runnable: installs the locked dependencies (Node 26 among them) once, and again when the lock file changes.
// Runs on any Node from 18 on, because it runs before the project's own Node is there. Not here: anything that needs root.
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { spawnSync } from "node:child_process";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(fileURLToPath(import.meta.url));
const marker = join(root, "node_modules", ".fairlead-setup");
const wanted = createHash("sha256").update(readFileSync(join(root, "package-lock.json"))).digest("hex");

if (!existsSync(marker) || readFileSync(marker, "utf8") !== wanted) {
  const started = Date.now();
  process.stderr.write("fairlead: installing the locked dependencies (npm ci), once per clone …\n");
  const npm = spawnSync("npm", ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"], {
    cwd: root,
    stdio: ["ignore", "inherit", "inherit"],
  });
  if (npm.status !== 0) {
    process.stderr.write(
      `fairlead: npm ci in ${root} failed (${npm.error?.message ?? `exit status ${npm.status}`}): is the npm registry reachable? Try: npm ci --ignore-scripts\n`,
    );
    process.exit(1);
  }
  mkdirSync(dirname(marker), { recursive: true });
  writeFileSync(marker, wanted);
  process.stderr.write(`fairlead: dependencies installed in ${((Date.now() - started) / 1000).toFixed(1)} s\n`);
}
