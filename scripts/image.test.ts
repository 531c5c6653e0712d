// The image as a container runtime reads it: every descriptor names bytes that are there, and unpacked its entry point runs.

import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import process from "node:process";
import { test } from "node:test";

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
    readonly config: { readonly Entrypoint: readonly string[]; readonly Env: readonly string[] };
    readonly rootfs: { readonly diff_ids: readonly string[] };
  };
  assert.equal(rootfs.diff_ids.length, manifest.layers.length);

  // Docker's recipe is not run here: what it says must be the same.
  const recipe = readFileSync("deploy/Dockerfile", "utf8");
  const said = (word: string): string => new RegExp(`^${word} (.*)$`, "m").exec(recipe)?.[1] ?? "";
  assert.deepEqual(config.Entrypoint, JSON.parse(said("ENTRYPOINT")));
  assert.deepEqual(config.Env, said("ENV").split(" "));

  const root = path.join(folder, "root");
  mkdirSync(root);
  for (const layer of manifest.layers) execFileSync("tar", ["-xzf", blob(layer), "-C", root]);
  // A root of its own, as a container has it; without namespaces the loader is told where the libraries are.
  const [command = "", ...words] = config.Entrypoint;
  const isForbidden = spawnSync("unshare", ["-r", "true"]).status !== 0;
  const run = (...more: string[]): ReturnType<typeof spawnSync> =>
    isForbidden
      ? spawnSync(
          path.join(root, command),
          more.map((word) => word.replaceAll(/\/opt\//g, `${root}/opt/`)),
          { encoding: "utf8" },
        )
      : spawnSync("unshare", ["-r", "chroot", root, command, ...more], { encoding: "utf8" });
  const inside = run(...words, "--version");
  assert.equal(inside.status, 0, String(inside.stderr));
  assert.match(String(inside.stdout), /^\d+\.\d+\.\d+\n$/);
  const system = run("-e", "import('/opt/fairlead/src/kernel/ffi.ts').then(() => console.log('system calls'))");
  assert.equal(system.stdout, "system calls\n", String(system.stderr));
});
