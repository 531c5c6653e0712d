// A whole lab in one process, with packets, in a folder of its own: what `fairlead up` starts, without its daemon.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { startLab, type Lab } from "../../src/lab/lab.ts";
import { labPaths, makeLabFolder } from "../../src/lab/paths.ts";
import { readiness } from "../../src/lab/wait.ts";
import { clusterConfig, type ClusterOptions } from "../../src/model/cluster.ts";

/** Starts a lab (three nodes unless said otherwise), does the work, and takes everything away again. */
export async function withLab(
  work: (lab: Lab) => Promise<void>,
  settings: Pick<ClusterOptions, "policy" | "establishedConnections" | "routing" | "subnets"> & {
    readonly nodes?: number;
    /** As `fairlead up --nodeport-addresses`. */
    readonly nodePortCidrs?: readonly string[];
  } = {},
): Promise<void> {
  const { nodes = 3, nodePortCidrs = [], ...options } = settings;
  const home = mkdtempSync(join(tmpdir(), "fairlead-test-"));
  process.env["FAIRLEAD_HOME"] = home;
  const paths = labPaths("test");
  makeLabFolder(paths);
  const lab = await startLab({
    config: { ...clusterConfig(options), name: "test", nodes, nodePortCidrs, packets: "on", apiPort: 0 },
    paths,
    outside: {
      resolve: () => Promise.reject(new Error("no resolver in tests")),
      ask: () => Promise.reject(new Error("no server in tests")),
      close() {},
    },
    step: () => undefined,
  });
  try {
    await work(lab);
  } finally {
    await lab.stop();
    rmSync(home, { recursive: true, force: true });
  }
}

/** No pod is still on its way, and every kernel holds what is known: what never becomes ready is at rest too. */
export async function atRest(lab: Lab): Promise<void> {
  const deadline = performance.now() + 30_000;
  let before = "";
  for (;;) {
    await lab.programmed();
    const pods = lab.api.list({ group: "", resource: "pods" }).items as readonly { status?: { phase?: string } }[];
    const now = `${readiness(lab.api).podsReady} ${pods.map((pod) => pod.status?.phase).join(" ")}`;
    if (now === before && pods.every((pod) => pod.status?.phase !== "Pending")) return;
    assert.ok(performance.now() < deadline, `not at rest: ${readiness(lab.api).missing.join("; ")}`);
    before = now;
    await new Promise((resolve) => void setTimeout(resolve, 200));
  }
}
