import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";

import { features, probe } from "./probe.ts";

void test("a kernel that passes the packet tests has every feature", () => {
  for (const feature of features) assert.deepEqual(probe(feature), { available: true }, feature);
});

void test("where nothing can be tried the answer is neither yes nor no, and names the feature", () => {
  const source = `
    const { probe, ProbeError } = await import(${JSON.stringify(import.meta.resolve("./probe.ts"))});
    try { probe("vxlan"); } catch (error) { console.log(error instanceof ProbeError, error.feature, error.message); }`;
  // No further network namespaces: as after \`sysctl -w user.max_net_namespaces=0\`, in a user namespace of its own.
  const script = 'echo 0 > /proc/sys/user/max_net_namespaces && exec "$0" --input-type=module -e "$1"';
  const child = spawnSync("unshare", ["-Ur", "sh", "-c", script, process.execPath, source], { encoding: "utf8" });
  assert.equal(child.status, 0, child.stderr);
  assert.match(
    child.stdout,
    /^true vxlan find out whether this kernel has vxlan: create a network namespace: E(NOSPC|PERM)/,
  );
});
