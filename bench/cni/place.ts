// What the other networks are made in: shells' commands in namespaces, and pods by Debian's `bridge` with `host-local`.

import { spawnSync } from "node:child_process";
import path from "node:path";
import process from "node:process";

import type { NetworkNamespace } from "../../src/kernel/namespaces.ts";

/** Adds `eth0` to a pod of a machine; gives its address. Throws what the plugin says. */
export function addByBridge(
  machine: NetworkNamespace,
  pod: NetworkNamespace,
  { folder, id, config }: { readonly folder: string; readonly id: string; readonly config: unknown },
): string {
  const result = machine.run(() =>
    spawnSync(path.join(folder, "bridge"), {
      encoding: "utf8",
      input: JSON.stringify(config),
      env: {
        PATH: process.env["PATH"],
        CNI_COMMAND: "ADD",
        CNI_CONTAINERID: id,
        CNI_IFNAME: "eth0",
        CNI_NETNS: pathOf(pod),
        CNI_PATH: folder,
      },
    }),
  );
  if (result.status !== 0) throw new Error(`bridge, ADD of ${id}: ${result.stdout}${result.stderr}`);
  const { ips } = JSON.parse(result.stdout) as { ips: readonly { address: string }[] };
  return ips[0]?.address.split("/")[0] ?? "";
}

/** Where other programs find a namespace of this process. */
export function pathOf({ fd }: NetworkNamespace): string {
  return `/proc/${process.pid}/fd/${fd}`;
}

/** Runs a shell's commands in a namespace. Throws what they say. */
export function sh(place: NetworkNamespace, script: string): void {
  const { status, stderr } = place.run(() => spawnSync("sh", ["-e", "-c", script], { encoding: "utf8" }));
  if (status !== 0) throw new Error(`${stderr}\nof\n${script}`);
}
