// The image as a container runtime reads it: every descriptor names bytes that are there, and unpacked its entry point runs, and finds itself compiled.

import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import process from "node:process";
import { test } from "node:test";
import { parseManifests } from "../src/watch/manifests.ts";
import { renderChart } from "./chart.ts";

interface Descriptor {
  readonly digest: string;
  readonly size: number;
  readonly mediaType: string;
  readonly annotations?: Readonly<Record<string, string>>;
}

test("the image is an OCI layout whose entry point runs on nothing but its own files", (context) => {
  const folder = mkdtempSync(path.join(tmpdir(), "fairlead-image-test-"));
  context.after(() => rmSync(folder, { recursive: true, force: true }));
  const file = path.join(folder, "image.tar");
  execFileSync(process.execPath, ["scripts/image.ts", "--output", file, "--name", "example.org/fairlead:test"]);
  const layout = path.join(folder, "layout");
  mkdirSync(layout);
  execFileSync("tar", ["-xf", file, "-C", layout]);

  const read = (name: string): unknown => JSON.parse(readFileSync(path.join(layout, name), "utf8")) as unknown;
  const blob = ({ digest, size }: Descriptor): string => {
    const at = path.join(layout, "blobs", "sha256", digest.slice("sha256:".length));
    const bytes = readFileSync(at);
    assert.equal(bytes.length, size);
    assert.equal(`sha256:${createHash("sha256").update(bytes).digest("hex")}`, digest);
    return at;
  };
  const json = (of: Descriptor): unknown => JSON.parse(readFileSync(blob(of), "utf8")) as unknown;

  assert.deepEqual(read("oci-layout"), { imageLayoutVersion: "1.0.0" });
  const [entry] = (read("index.json") as { readonly manifests: readonly Descriptor[] }).manifests;
  assert.ok(entry);
  assert.equal(entry.annotations?.["io.containerd.image.name"], "example.org/fairlead:test");
  const manifest = json(entry) as { readonly config: Descriptor; readonly layers: readonly Descriptor[] };
  const { config, rootfs } = json(manifest.config) as {
    readonly config: {
      readonly Entrypoint: readonly string[];
      readonly Env: readonly string[];
      readonly Labels: Readonly<Record<string, string>>;
    };
    readonly rootfs: { readonly diff_ids: readonly string[] };
  };
  assert.equal(rootfs.diff_ids.length, manifest.layers.length);

  // Docker's recipe is not run here: what it says must be the same.
  const recipe = readFileSync("deploy/Dockerfile", "utf8");
  const said = (word: string): string => new RegExp(`^${word} (.*)$`, "m").exec(recipe)?.[1] ?? "";
  assert.deepEqual(config.Entrypoint, JSON.parse(said("ENTRYPOINT")));
  assert.deepEqual(config.Env, said("ENV").split(" "));
  assert.deepEqual(
    config.Labels,
    Object.fromEntries(
      said("LABEL")
        .split(" ")
        .map((pair) => pair.split("=")),
    ),
  );

  const root = path.join(folder, "root");
  mkdirSync(root);
  for (const layer of manifest.layers) execFileSync("tar", ["-xzf", blob(layer), "-C", root]);
  // A root of its own, as a container has it; without namespaces the loader is told where the libraries are.
  const [command = "", ...words] = config.Entrypoint;
  const isRoot = process.getuid?.() === 0;
  const isForbidden = !isRoot && spawnSync("unshare", ["-r", "true"]).status !== 0;
  const env = Object.fromEntries(config.Env.map((pair) => pair.split("=")));
  const run = (...more: string[]): ReturnType<typeof spawnSync> =>
    isForbidden
      ? spawnSync(
          path.join(root, command),
          more.map((word) => word.replaceAll(/\/opt\//g, `${root}/opt/`)),
          { encoding: "utf8" },
        )
      : spawnSync(isRoot ? "chroot" : "unshare", [...(isRoot ? [] : ["-r", "chroot"]), root, command, ...more], {
          encoding: "utf8",
          env: { ...env, PATH: `${env["PATH"]}:${process.env["PATH"]}` },
        });
  const inside = run(...words, "--version");
  assert.equal(inside.status, 0, String(inside.stderr));
  assert.match(String(inside.stdout), /^\d+\.\d+\.\d+\n$/);
  const system = run("-e", "import('/opt/fairlead/src/kernel/ffi.ts').then(() => console.log('system calls'))");
  assert.equal(system.stdout, "system calls\n", String(system.stderr));

  if (isForbidden) return context.diagnostic("who may not change roots gets an image without compile cache");
  // What a cluster runs, with the chart's flags, finds itself compiled: nothing is added to the cache, and nothing in it is made anew.
  const cache = path.join(root, env["NODE_COMPILE_CACHE"] ?? "");
  const entries = (): readonly string[] =>
    readdirSync(cache, { recursive: true, encoding: "utf8" })
      .toSorted()
      .map((name) => `${name} ${statSync(path.join(cache, name)).mtimeMs}`);
  const before = entries();
  for (const [name, flags] of memoryFlags()) {
    const nowhere = name === "dns" ? "-conf" : "--kubeconfig";
    const refused = run(...flags, ...words, name, nowhere, "/nowhere/configuration");
    // It has no API server, no file and no /proc, and says so: by then everything is loaded.
    assert.match(String(refused.stderr), new RegExp(`^fairlead ${name}: `));
  }
  run(...words, "--version");
  const known = new Set(before);
  assert.deepEqual(
    entries().filter((entry) => !known.has(entry)),
    [],
  );
  assert.ok(before.length > 300, String(before.length));
});

test("what an agent loads by and by is compiled in the image as well", () => {
  const listed = readFileSync("deploy/compile-cache.mjs", "utf8");
  const loaded = ["agent", "serve", "watch"].flatMap((folder) =>
    readdirSync(`src/${folder}`, { recursive: true, encoding: "utf8" })
      .filter((name) => name.endsWith(".ts") && !/\.test(?:ing)?\.ts$/.test(name))
      .flatMap((name) => {
        const file = path.join(folder, name);
        const text = readFileSync(path.join("src", file), "utf8");
        return [...text.matchAll(/\bimport\("(\.[^"]+\.ts)"\)/g)].map(([, to = ""]) =>
          path.join(path.dirname(file), to),
        );
      }),
  );
  assert.deepEqual(
    loaded.filter((file) => !listed.includes(`"${file}"`)),
    [],
  );
});

/** What the chart's containers run, and the flags of the engine it gives each. */
function memoryFlags(): readonly (readonly [string, readonly string[]])[] {
  const { objects } = parseManifests(renderChart(), "fairlead.yaml");
  return objects.flatMap(({ spec }) =>
    ((spec as Workload | undefined)?.template?.spec?.containers ?? []).map(
      ({ command, args }) => [args[0] ?? "", command.filter((word) => /^--(?!disable-warning)/.test(word))] as const,
    ),
  );
}

interface Workload {
  readonly template?: {
    readonly spec?: {
      readonly containers?: readonly { readonly command: readonly string[]; readonly args: readonly string[] }[];
    };
  };
}
