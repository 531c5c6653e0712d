// Container images without Docker: an OCI image layout in one tar file (OCI image specification 1.1), as `ctr images import` reads it.
// Equal folders give equal bytes.
//
// Not here: what is in an image (image.ts, test/cluster).

import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import process from "node:process";
import { gzipSync } from "node:zlib";

export interface ImageContent {
  /** Fills a folder each; the first is the lowest. */
  readonly layers: readonly { readonly comment: string; readonly fill: (folder: string) => void }[];
  /** Entrypoint, Env … as the specification's image configuration has them. */
  readonly config: Readonly<Record<string, unknown>>;
}

/** The image under these names, for this machine's architecture. */
export function ociImage(
  names: readonly string[],
  content: ImageContent,
): { readonly bytes: Uint8Array; readonly digest: string } {
  const work = mkdtempSync(path.join(tmpdir(), "fairlead-image-"));
  try {
    const layers = content.layers.map(({ fill }, index) => {
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
      config: content.config,
      rootfs: { type: "layers", diff_ids: layers.map(({ diffId }) => diffId) },
      history: content.layers.map(({ comment }) => ({ comment })),
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
        manifests: names.map((name) => ({
          ...descriptor("application/vnd.oci.image.manifest.v1+json", manifest),
          platform: { architecture, os: "linux" },
          // containerd takes the whole name from the first, others the tag from the second.
          annotations: {
            "io.containerd.image.name": name,
            "org.opencontainers.image.ref.name": name.slice(name.lastIndexOf(":") + 1),
          },
        })),
      }),
    );
    return { bytes: tarOf(layout), digest: manifest.digest };
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

interface Blob {
  readonly digest: string;
  readonly bytes: Uint8Array;
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
