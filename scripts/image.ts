// Makes the container image without Docker: an OCI image layout in one tar file (OCI image specification 1.1), for `ctr images import`,
// `nerdctl load`, `skopeo` or a registry's push tool. deploy/Dockerfile makes the same image with Docker.
//
//   node scripts/image.ts [--output fairlead-image.tar] [--name docker.io/library/fairlead:VERSION]
//
// Three layers, from what changes seldom to what changes often: the C library as this machine has it, Node, Fairlead with its libraries.
// Equal inputs give equal bytes. The image is for this machine's architecture.
// Not here: what runs in it (deploy/), and anything of this machine beyond the few shared libraries that Node names.

import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import path from "node:path";
import process from "node:process";
import { parseArgs } from "node:util";
import { gzipSync } from "node:zlib";

const root = path.dirname(import.meta.dirname);
const home = "/opt/fairlead";

const { version, dependencies } = JSON.parse(readFileSync(path.join(root, "package.json"), "utf8")) as {
  readonly version: string;
  readonly dependencies: Readonly<Record<string, string>>;
};

const { values } = parseArgs({
  options: {
    output: { type: "string", default: "fairlead-image.tar" },
    name: { type: "string", default: `docker.io/library/fairlead:${version}` },
  },
});

const { bytes, digest } = makeImage(values.name);
writeFileSync(values.output, bytes);
console.log(`${values.output}: ${values.name}, ${(bytes.length / 1e6).toFixed(0)} MB, manifest ${digest}`);

interface Blob {
  readonly digest: string;
  readonly bytes: Uint8Array;
}

function makeImage(name: string): { readonly bytes: Uint8Array; readonly digest: string } {
  const work = mkdtempSync(path.join(tmpdir(), "fairlead-image-"));
  try {
    const layers = [libraries, runtime, product].map((fill, index) => {
      const folder = path.join(work, `layer-${index}`);
      mkdirSync(folder);
      fill(folder);
      const plain = tarOf(folder);
      return { diffId: digestOf(plain), blob: blobOf(gzipSync(plain, { level: 6 })) };
    });
    const architecture = { x64: "amd64", arm64: "arm64" }[process.arch as string] ?? process.arch;
    const config = blobOf({
      architecture,
      os: "linux",
      config: {
        Env: [`PATH=${home}/bin:/usr/sbin:/usr/bin:/sbin:/bin`, "HOME=/tmp"],
        Entrypoint: [
          `${home}/node_modules/.bin/node`,
          "--disable-warning=ExperimentalWarning",
          `${home}/src/cli/main.ts`,
        ],
        WorkingDir: "/",
        Labels: { "org.opencontainers.image.title": "fairlead", "org.opencontainers.image.version": version },
      },
      rootfs: { type: "layers", diff_ids: layers.map(({ diffId }) => diffId) },
      history: ["the C library", "Node", "Fairlead"].map((comment) => ({ comment })),
    });
    const manifest = blobOf({
      schemaVersion: 2,
      mediaType: "application/vnd.oci.image.manifest.v1+json",
      config: descriptor("application/vnd.oci.image.config.v1+json", config),
      layers: layers.map(({ blob }) => descriptor("application/vnd.oci.image.layer.v1.tar+gzip", blob)),
    });
    const layout = path.join(work, "layout");
    mkdirSync(path.join(layout, "blobs", "sha256"), { recursive: true });
    for (const blob of [config, manifest, ...layers.map((layer) => layer.blob)])
      writeFileSync(path.join(layout, "blobs", "sha256", blob.digest.slice("sha256:".length)), blob.bytes);
    writeFileSync(path.join(layout, "oci-layout"), JSON.stringify({ imageLayoutVersion: "1.0.0" }));
    writeFileSync(
      path.join(layout, "index.json"),
      JSON.stringify({
        schemaVersion: 2,
        mediaType: "application/vnd.oci.image.index.v1+json",
        manifests: [
          {
            ...descriptor("application/vnd.oci.image.manifest.v1+json", manifest),
            platform: { architecture, os: "linux" },
            // containerd takes the whole name from the first, others the tag from the second.
            annotations: {
              "io.containerd.image.name": name,
              "org.opencontainers.image.ref.name": name.slice(name.lastIndexOf(":") + 1),
            },
          },
        ],
      }),
    );
    return { bytes: tarOf(layout), digest: manifest.digest };
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** What Node and koffi's library are linked with, at the paths where the dynamic loader looks for them. */
function libraries(folder: string): void {
  createRequire(import.meta.url)("koffi");
  const { sharedObjects } = process.report.getReport() as unknown as { readonly sharedObjects: readonly string[] };
  for (const file of sharedObjects)
    if (file.startsWith("/") && !file.startsWith(`${root}/`)) put(folder, file, realpathSync(file));
  const text = (file: string, content: string): void => {
    mkdirSync(path.join(folder, path.dirname(file)), { recursive: true });
    writeFileSync(path.join(folder, file), content);
  };
  text("etc/passwd", "root:x:0:0:root:/:/sbin/nologin\nnobody:x:65534:65534:nobody:/:/sbin/nologin\n");
  text("etc/group", "root:x:0:\nnogroup:x:65534:\n");
  mkdirSync(path.join(folder, "tmp"), { mode: 0o1777 });
}

function runtime(folder: string): void {
  const name = `node-linux-${process.arch}`;
  const node = path.join(root, "node_modules", name, "bin", "node");
  put(folder, `${home}/node_modules/${name}/bin/node`, node);
  mkdirSync(path.join(folder, home, "node_modules", ".bin"), { recursive: true });
  execFileSync("ln", ["-s", `../${name}/bin/node`, path.join(folder, home, "node_modules", ".bin", "node")]);
}

function product(folder: string): void {
  const target = path.join(folder, home);
  const isNeeded = (file: string): boolean =>
    !/\.(?:test|testing)\.ts$|tsconfig\.json$|\.tsbuildinfo$/.test(file) &&
    !/\/koffi\/(?:src|vendor|doc)(?:\/|$)/.test(file);
  const names = [
    "package.json",
    "LICENSE",
    "bin",
    "src",
    ...Object.keys(dependencies).map((name) => `node_modules/${name}`),
    `node_modules/@koromix/koffi-linux-${process.arch}`,
  ];
  for (const name of names)
    cpSync(path.join(root, name), path.join(target, name), { recursive: true, filter: isNeeded, dereference: true });
}

function put(folder: string, at: string, source: string): void {
  const target = path.join(folder, at);
  mkdirSync(path.dirname(target), { recursive: true });
  cpSync(source, target, { dereference: true });
}

/** Sorted names, no times, root's: the same folder gives the same bytes. */
function tarOf(folder: string): Uint8Array {
  const archive = `${folder}.tar`;
  const same = ["--sort=name", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner", "--format=posix"];
  const times = "--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime";
  execFileSync("tar", [...same, times, "-C", folder, "-cf", archive, "."]);
  const { size } = statSync(archive);
  const bytes = readFileSync(archive);
  rmSync(archive);
  if (bytes.length !== size) throw new Error(`read ${archive}: ${bytes.length} of ${size} bytes`);
  return bytes;
}

function blobOf(content: Uint8Array | object): Blob {
  const bytes = content instanceof Uint8Array ? content : new TextEncoder().encode(JSON.stringify(content));
  return { digest: digestOf(bytes), bytes };
}

function digestOf(bytes: Uint8Array): string {
  return `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
}

function descriptor(mediaType: string, blob: Blob): object {
  return { mediaType, digest: blob.digest, size: blob.bytes.length };
}
