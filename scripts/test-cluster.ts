// Tests on a real cluster: `npm run test:cluster`. Real etcd, kube-apiserver, kube-controller-manager, kube-scheduler, kubelets and
// containerd on this machine, with Fairlead as their only network; services-oracle has the real kube-proxy alone, beside Fairlead's agent.
// Needs root (containers), Debian's containerd and runc, and Go once.
//
//   npm run test:cluster              everything
//   npm run test:cluster -- install   only files whose path contains the word
//
// Every file runs inside network, mount and process namespaces of its own and ends with them. Not here: the cluster (test/cluster).

import { spawnSync } from "node:child_process";
import { globSync } from "node:fs";
import path from "node:path";
import process from "node:process";

import { buildPeers } from "../test/cluster/peers.testing.ts";

/** What must be on the machine, and the Debian package that brings it. */
const programs: Readonly<Record<string, string>> = {
  containerd: "containerd",
  ctr: "containerd",
  runc: "runc",
  ip: "iproute2",
  nsenter: "util-linux",
  // containerd brings lo up by it in every pod.
  "/usr/lib/cni/loopback": "containernetworking-plugins",
};

process.chdir(path.dirname(import.meta.dirname));
if (process.getuid?.() !== 0) {
  console.error("test:cluster: containers need root here: sudo npm run test:cluster");
  process.exit(1);
}
const missing = [
  ...new Set(
    Object.keys(programs)
      .filter((name) => !isThere(name))
      .map((name) => programs[name] ?? name),
  ),
];
if (missing.length > 0) {
  console.log(`installing ${missing.join(", ")} …`);
  const install = (): boolean =>
    spawnSync("apt-get", ["install", "-y", "-qq", "--no-install-recommends", ...missing]).status === 0;
  if (!install() && !(spawnSync("apt-get", ["update", "-qq"]).status === 0 && install())) {
    console.error(`test:cluster: type: apt-get install ${missing.join(" ")}`);
    process.exit(1);
  }
}
try {
  buildPeers((line) => console.log(line));
} catch (error) {
  console.error(`test:cluster: ${error instanceof Error ? error.message : String(error)}`);
  process.exit(1);
}
const words = process.argv.slice(2);
const files = globSync("test/cluster/*.cluster.ts")
  .filter((file) => words.length === 0 || words.some((word) => file.includes(word)))
  .sort();
// Each has a cluster of its own, and so namespaces of its own.
const failed = files.filter((file) => !passes(file));
if (failed.length > 0) console.error(`test:cluster: failed: ${failed.join(", ")}`);
process.exit(failed.length === 0 ? 0 : 1);

function passes(file: string): boolean {
  const namespaces = ["--mount", "--net", "--pid", "--fork", "--mount-proc", "--kill-child"];
  const ready = ["sh", "-c", 'mount -t tmpfs tmpfs /run && mkdir /run/netns && "$@"; exit $?', "sh"];
  const test = [process.execPath, "--test", "--test-timeout=1500000", "--disable-warning=ExperimentalWarning", file];
  return spawnSync("unshare", [...namespaces, "--", ...ready, ...test], { stdio: "inherit" }).status === 0;
}

function isThere(name: string): boolean {
  return spawnSync("sh", ["-c", `command -v ${name}`]).status === 0;
}
