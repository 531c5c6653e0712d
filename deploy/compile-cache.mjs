// Run once when an image is made, inside of it: fills a folder with what Node compiles of the commands that a cluster runs, so that
// they start in half the time and without the compiler's memory. Node takes an entry only where its own version, the processor's features and the
// engine's flags are the same and the file has not changed; elsewhere it compiles, and nothing is lost.
//
//   node compile-cache.mjs FOLDER      where NODE_COMPILE_CACHE and NODE_COMPILE_CACHE_PORTABLE will point at it

import { spawnSync } from "node:child_process";
import { chmodSync, readdirSync } from "node:fs";
import path from "node:path";
import process from "node:process";

const source = "/opt/fairlead/src";

/** Of DNS, where a Corefile names them. */
const plugins = ["serve/dns/zone-files.ts", "serve/dns/transfer.ts", "serve/dns/template.ts"];
/** What runs with which flags of the engine (the chart's, bin/fairlead's): entries are kept by flags. Sizes of the heap make no difference. */
const runs = [
  { flags: [], modules: ["cli/agent.ts", "cli/show.ts", "cli/uninstall.ts"] },
  { flags: ["--optimize-for-size"], modules: ["cli/agent.ts", "agent/node-dns.ts", "program/zone.ts", ...plugins] },
  { flags: ["--heap-growing-percent=20"], modules: ["cli/dns.ts", "serve/dns/worker.ts", ...plugins] },
];

if (process.env.NODE_COMPILE_CACHE !== undefined) {
  for (const module of process.argv.slice(2))
    await import(path.join(source, module)).catch((error) => {
      // A thread's module has nobody to talk to where it is not started as one, and is compiled by then.
      if (!module.endsWith("/worker.ts")) throw error;
    });
  await import("/opt/fairlead/node_modules/yaml/dist/index.js");
  process.argv.splice(2, Infinity, "--version");
  await import(path.join(source, "cli/main.ts"));
} else {
  const folder = process.argv[2];
  const env = { ...process.env, NODE_COMPILE_CACHE: folder, NODE_COMPILE_CACHE_PORTABLE: "1" };
  for (const { flags, modules } of runs) {
    // Predictable: the same files give the same entries.
    const words = [
      "--predictable",
      ...flags,
      "--disable-warning=ExperimentalWarning",
      import.meta.filename,
      ...modules,
    ];
    // By pipes: an image without Docker has no /dev/null while it is made.
    const { status, stderr, error } = spawnSync(process.execPath, words, { encoding: "utf8", env });
    if (status !== 0)
      throw (
        error ?? new Error(`fill the compile cache for ${modules.join(", ")}: node ended with ${status}: ${stderr}`)
      );
  }
  // Whoever the container runs as.
  chmodSync(folder, 0o755);
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true }))
    chmodSync(path.join(entry.parentPath, entry.name), entry.isDirectory() ? 0o755 : 0o644);
}
