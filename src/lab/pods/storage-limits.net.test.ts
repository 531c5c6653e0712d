// Local storage: what a pod writes beyond its limits ends it.

import { test } from "node:test";
import assert from "node:assert/strict";
import type { Pod } from "../../kube/kinds.ts";
import { systemClock } from "../../watch/clock.ts";
import { startTestNode } from "./kubelet.testing.ts";

test("a container beyond its limit of ephemeral-storage, or an emptyDir beyond its size, evicts the pod", async () => {
  // The kubelet looks every ten seconds; here a hundred times as often.
  const node = await startTestNode({
    clock: { ...systemClock, after: (ms, call) => systemClock.after(ms / 100, call) },
  });
  const limits = { "ephemeral-storage": "1Mi" };
  const write = (path: string): readonly string[] => [
    "sh",
    "-c",
    `dd if=/dev/zero of=${path} bs=1M count=2 2> /dev/null; sleep 1000`,
  ];
  const evicted = (pod: Pod | undefined): boolean => pod?.status?.reason === "Evicted";
  node.run("root", { containers: [{ name: "c", image: "busybox", command: write("/file"), resources: { limits } }] });
  node.run("volume", {
    volumes: [{ name: "v", emptyDir: { sizeLimit: "1Mi" } }],
    containers: [
      {
        name: "c",
        image: "busybox",
        command: write("/v/file"),
        volumeMounts: [{ name: "v", mountPath: "/v" }],
      },
    ],
  });
  node.run("modest", {
    containers: [{ name: "c", image: "busybox", command: ["sleep", "1000"], resources: { limits } }],
  });
  const root = await node.until("root", (pod) => evicted(pod) && pod?.status?.phase === "Failed");
  assert.match(root.status?.message ?? "", /^Container c exceeded its local ephemeral storage limit "1Mi"\. $/);
  const volume = await node.until("volume", evicted);
  assert.match(volume.status?.message ?? "", /^Usage of EmptyDir volume "v" exceeds the limit "1Mi"\. $/);
  assert.ok(node.events("root").some((line) => line.startsWith("Evicted: ")));
  assert.equal(node.get("modest")?.status?.phase, "Running");
  await node.close();
});
