// Makes the container image without Docker: an OCI image layout in one tar file (OCI image specification 1.1), for `ctr images import`,
// `nerdctl load`, `skopeo` or a registry's push tool. deploy/Dockerfile makes the same image with Docker.
//
//   node scripts/image.ts [--output fairlead-image.tar] [--name docker.io/library/fairlead:VERSION]
//
// Four layers, from what changes seldom to what changes often: the C library as this machine has it, Node, Fairlead with its libraries, and what
// Node makes of it (deploy/compile-cache.mjs). Equal inputs give equal bytes; of the last layer on processors alike. The image is for this
// machine's architecture.
// Not here: what runs in it (deploy/), and anything of this machine beyond the few shared libraries that Node names.

import { spawnSync } from "node:child_process";
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import path from "node:path";
import process from "node:process";
import { parseArgs } from "node:util";

import { ociImage } from "./oci.ts";

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

const cache = `${home}/compile-cache`;
/** Portable: nobody's in particular, whoever the container runs as. */
const cacheSettings = { NODE_COMPILE_CACHE: cache, NODE_COMPILE_CACHE_PORTABLE: "1" } as const;

const { bytes, digest } = ociImage([values.name], {
  layers: [
    { comment: "the C library", fill: libraries },
    { comment: "Node", fill: runtime },
    { comment: "Fairlead", fill: product },
    { comment: "what Node makes of it", fill: compiled },
  ],
  config: {
    Env: [
      `PATH=${home}/bin:/usr/sbin:/usr/bin:/sbin:/bin`,
      "HOME=/tmp",
      ...Object.entries(cacheSettings).map((pair) => pair.join("=")),
    ],
    Entrypoint: [`${home}/node_modules/.bin/node`, "--disable-warning=ExperimentalWarning", `${home}/src/cli/main.ts`],
    WorkingDir: "/",
    Labels: { "org.opencontainers.image.title": "fairlead", "org.opencontainers.image.version": version },
  },
});
writeFileSync(values.output, bytes);
console.log(`${values.output}: ${values.name}, ${(bytes.length / 1e6).toFixed(0)} MB, manifest ${digest}`);

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
  // Runtimes name pods' namespaces below /var/run.
  for (const name of ["run", "var"]) mkdirSync(path.join(folder, name));
  symlinkSync("../run", path.join(folder, "var", "run"));
}

function runtime(folder: string): void {
  const name = `node-linux-${process.arch}`;
  for (const file of ["LICENSE", "bin/node"])
    put(folder, `${home}/node_modules/${name}/${file}`, path.join(root, "node_modules", name, file));
  mkdirSync(path.join(folder, home, "node_modules", ".bin"), { recursive: true });
  symlinkSync(`../${name}/bin/node`, path.join(folder, home, "node_modules", ".bin", "node"));
}

function product(folder: string): void {
  const target = path.join(folder, home);
  const isNeeded = (file: string): boolean =>
    !/\.(?:test|testing)\.ts$|tsconfig\.json$|\.tsbuildinfo$/.test(file) &&
    !/\/koffi\/(?:vendor|doc)(?:\/|$)/.test(file);
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

/** As the Dockerfile does it: by the image's own Node, at the image's own paths. Where nobody may change roots the layer is empty, and starts are slower. */
function compiled(folder: string): void {
  const whole = mkdtempSync(path.join(tmpdir(), "fairlead-image-"));
  try {
    for (const fill of [libraries, runtime, product]) fill(whole);
    const script = "tmp/compile-cache.mjs";
    put(whole, script, path.join(root, "deploy", "compile-cache.mjs"));
    const words = ["chroot", whole, `${home}/node_modules/.bin/node`, `/${script}`, cache];
    const [command = "", ...rest] = process.getuid?.() === 0 ? words : ["unshare", "--map-root-user", ...words];
    const { status, stderr, error } = spawnSync(command, rest, {
      encoding: "utf8",
      env: { PATH: process.env["PATH"], HOME: "/tmp" },
    });
    if (status === 0) cpSync(path.join(whole, cache), path.join(folder, cache), { recursive: true });
    else console.log(`without Node's compile cache, so starts are slower: ${(error?.message ?? stderr).trim()}`);
  } finally {
    rmSync(whole, { recursive: true, force: true });
  }
}

function put(folder: string, at: string, source: string): void {
  const target = path.join(folder, at);
  mkdirSync(path.dirname(target), { recursive: true });
  cpSync(source, target, { dereference: true });
}
