// Real agents that are told to route natively, one after another: what each says on its Node object is what the others act on.

import assert from "node:assert/strict";
import { join } from "node:path";
import { describe, test } from "node:test";

import type { Node } from "../../src/kube/kinds.ts";
import { createTopology, type Machine } from "../../src/lab/network/topology.ts";
import { endAll, nodeObject, runFairlead, startApi, type AgentProcess } from "../kernel/agent.testing.ts";

/** The next hop or the link by which a node reaches a range. */
function wayTo({ kernel }: Machine, range: string): string | undefined {
  const route = kernel.routes().find(({ to }) => to === range);
  return route?.link === "fl.vx" ? "fl.vx" : route?.via;
}

/** Resolves when it is so; the kernel tells of every change. */
function comesToBe({ kernel }: Machine, isSo: () => boolean): Promise<void> {
  if (isSo()) return Promise.resolve();
  return new Promise((resolve) => {
    const monitor = kernel.monitor(() => {
      if (!isSo()) return;
      monitor.close();
      resolve();
    });
    // What changed before the monitor was there.
    if (isSo()) {
      monitor.close();
      resolve();
    }
  });
}

describe("fairlead agent --routing", () => {
  test("both nodes say native, with their subnets, and only then go by routes; one that says vxlan again takes both back", async (t) => {
    const topology = createTopology({ families: [4], nodeCidrs: ["172.18.0.0/16"] });
    const [one, two] = ["node-1", "node-2"].map((name, index) => topology.addNode(name, [`172.18.0.1${index + 1}`]));
    assert.ok(one && two);
    const api = await startApi([one.namespace, two.namespace]);
    t.after(async () => {
      await endAll();
      api.close();
      topology.close();
    });
    api.api.create(nodeObject("node-1", one.addresses, ["10.244.1.0/24"]));
    // A cluster whose controllers give no ranges: this one's agent brings its own.
    api.api.create(nodeObject("node-2", two.addresses, []));
    const own = ["--pod-cidr=10.244.2.0/24"];
    const start = ({ name, namespace }: Machine, routing: string, ...more: readonly string[]): AgentProcess =>
      runFairlead(
        namespace,
        "agent",
        `--kubeconfig=${api.kubeconfig}`,
        `--node=${name}`,
        `--routing=${routing}`,
        `--state-dir=${join(api.folder, name, "state")}`,
        `--cni-dir=${join(api.folder, name, "cni")}`,
        `--cni-bin-dir=${join(api.folder, name, "bin")}`,
        `--cni-conf-dir=${join(api.folder, name, "net.d")}`,
        ...more,
      );
    const annotations = (name: string): Readonly<Record<string, string>> =>
      (api.api.get({ group: "", resource: "nodes", name }) as Node).metadata.annotations ?? {};

    const first = start(one, "native");
    await first.says(/said on the Node: routing native/);
    assert.deepEqual(
      [annotations("node-1")["fairlead.dev/routing"], annotations("node-1")["fairlead.dev/subnets"]],
      ["native", "172.18.0.0/16"],
    );
    assert.equal(wayTo(one, "10.244.2.0/24"), undefined, "the other one has no pods yet");
    const second = start(two, "native", ...own);
    await second.says(/said on the Node: routing native, pod ranges 10\.244\.2\.0\/24/);
    await second.says(/NetworkUnavailable is False/);
    assert.equal(annotations("node-2")["fairlead.dev/pod-cidrs"], "10.244.2.0/24");
    await comesToBe(one, () => wayTo(one, "10.244.2.0/24") === "172.18.0.12");
    await comesToBe(two, () => wayTo(two, "10.244.1.0/24") === "172.18.0.11");
    await second.end();
    await start(two, "vxlan", ...own).says(/said on the Node: routing vxlan/);
    await comesToBe(one, () => wayTo(one, "10.244.2.0/24") === "fl.vx");
    await comesToBe(two, () => wayTo(two, "10.244.1.0/24") === "fl.vx");
  });
});
