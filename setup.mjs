// Makes a fresh clone runnable: installs the locked dependencies (Node 26 among them) once, and again when the lock file changes.
// Runs on any Node from 18 on, because it runs before the project's own Node is there. Not here: anything that needs root.
import { createHash } from "node:crypto";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from "node:fs";
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
  makeNodeStart();
  mkdirSync(dirname(marker), { recursive: true });
  writeFileSync(marker, wanted);
  process.stderr.write(`fairlead: dependencies installed in ${((Date.now() - started) / 1000).toFixed(1)} s\n`);
}

/** Node 26 needs libatomic, which a small Debian lacks: root installs it, an ordinary user gets a copy beside Node. */
function makeNodeStart() {
  const node = join(root, "node_modules", ".bin", "node");
  const start = () => spawnSync(node, ["--version"], { encoding: "utf8" });
  const first = start();
  if (first.status === 0) return;
  const reason = (first.stderr || String(first.error?.message)).trim();
  if (/libatomic\.so\.1/.test(reason)) {
    process.stderr.write("fairlead: getting libatomic1, which Node needs …\n");
    if (process.getuid() === 0) {
      const install = () => spawnSync("apt-get", ["install", "-y", "-qq", "--no-install-recommends", "libatomic1"]);
      if (install().status !== 0 && spawnSync("apt-get", ["update", "-qq"]).status === 0) install();
    } else copyBesideNode("libatomic1", node);
    if (start().status === 0) return;
  }
  process.stderr.write(
    `fairlead: ${node} does not start: ${reason}\n` +
      (/libatomic/.test(reason) ? "type as root: apt-get update && apt-get install -y libatomic1\n" : ""),
  );
  process.exit(1);
}

/** Unpacks a Debian package below node_modules and lets Node find its libraries there. */
function copyBesideNode(name, node) {
  const library = join(root, "node_modules", ".fairlead-libraries");
  const folder = mkdtempSync(join(root, "node_modules", ".fairlead-package-"));
  try {
    if (spawnSync("apt-get", ["download", "-qq", name], { cwd: folder }).status !== 0) return;
    const [file] = readdirSync(folder);
    if (file === undefined || spawnSync("dpkg-deb", ["-x", join(folder, file), library]).status !== 0) return;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  const folders = readdirSync(library, { recursive: true })
    .filter((path) => /\.so\.\d+$/.test(path))
    .map((path) => join(library, dirname(path)));
  const binary = realpathSync(node);
  const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  rmSync(node);
  writeFileSync(
    node,
    `#!/bin/sh\nexport LD_LIBRARY_PATH=${quoted([...new Set(folders)].join(":"))}"\${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"\nexec ${quoted(binary)} "$@"\n`,
  );
  chmodSync(node, 0o755);
}
