// What runs in the pods of the test's cluster besides Fairlead's own image: agnhost, also as the pause of every pod.
// Under the names that the runtime and the manifests ask for; there is no registry.

import { cpSync, mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";

import { ociImage } from "../../scripts/oci.ts";
import { peer } from "./peers.testing.ts";

export const testImage = "example.org/tools:1";
export const pauseImage = "registry.k8s.io/pause:3.10.2";

/** The image as a tar file for `ctr images import`. */
export function makeTestImage(): Uint8Array {
  return ociImage([testImage, pauseImage], {
    layers: [{ comment: "agnhost", fill }],
    config: { Env: ["PATH=/bin"], Entrypoint: ["/bin/agnhost"], Cmd: ["pause"] },
  }).bytes;
}

function fill(folder: string): void {
  for (const name of ["bin", "etc", "proc", "sys", "dev"]) mkdirSync(path.join(folder, name));
  mkdirSync(path.join(folder, "tmp"), { mode: 0o1777 });
  writeFileSync(path.join(folder, "etc", "passwd"), "root:x:0:0:root:/:/bin/sh\n");
  cpSync(peer("agnhost"), path.join(folder, "bin", "agnhost"));
}
