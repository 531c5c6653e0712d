// Fairlead's Services against the real kube-proxy's (nftables mode), by packets: two worlds that are alike, one node programmed by each, both
// watching the same API objects. Random Services are made and edited; after each step everybody asks everything, and every answer, refusal
// and silence, and the address that servers see, must be the same in both.
//
//   FAIRLEAD_ORACLE_SEED=7 FAIRLEAD_ORACLE_SECONDS=600 npm run test:cluster -- services-oracle

import assert from "node:assert/strict";
import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { after, before, test } from "node:test";

import { currentNetworkNamespace } from "../../src/kernel/namespaces.ts";
import { kubeProxyConfiguration } from "../kube-proxy.testing.ts";
import { endAll, nodeObject, runFairlead, startApi, type AgentProcess, type TestApi } from "../kernel/agent.testing.ts";
import { compareWorlds, probesOf } from "./oracle/compare.testing.ts";
import { openFlows } from "./oracle/flows.testing.ts";
import { compareHealth } from "./oracle/health.testing.ts";
import { diceOf, edited, isServed, randomService, servicesMax, type OneService } from "./oracle/random.testing.ts";
import { openSentinel, writeNode, writeService, type Sentinel } from "./oracle/objects.testing.ts";
import { nodeAddresses, otherAddresses, podCidrs, startWorld, type World } from "./oracle/world.testing.ts";
import { peer } from "./peers.testing.ts";

const seconds = Number(process.env["FAIRLEAD_ORACLE_SECONDS"] ?? 60);
const firstSeed = Number(process.env["FAIRLEAD_ORACLE_SEED"] ?? Date.now() % 1_000_000);
const isVerbose = process.env["FAIRLEAD_ORACLE_VERBOSE"] === "1";
const stepsPerSeed = 6;

let worlds: readonly [World, World];
let api: TestApi;
let proxy: ChildProcess;
let sentinel: Sentinel;
let agent: AgentProcess;
let proxySaid = "";

before(async () => {
  // The API server's own door, in the namespace that this file runs in.
  execFileSync("ip", ["link", "set", "lo", "up"]);
  worlds = [startWorld(), startWorld()];
  api = await startApi([currentNetworkNamespace(), ...worlds.map(({ node }) => node)]);
  for (const [name, addresses, n] of [
    ["node-1", nodeAddresses, 1],
    ["node-2", otherAddresses, 2],
  ] as const) {
    const node = nodeObject(name, addresses, [`10.244.${n}.0/24`, `fd00:10:244:${n}::/64`]);
    const labels = { "topology.kubernetes.io/zone": n === 1 ? "a" : "b" };
    api.api.create({ ...node, metadata: { ...node.metadata, labels } });
  }
  sentinel = await openSentinel(worlds);
  proxy = startKubeProxy(worlds[0]);
  const { kubeconfig, folder } = api;
  const flags = {
    node: "node-1",
    kubeconfig,
    "cluster-cidr": podCidrs,
    "cni-dir": join(folder, "cni"),
    only: "services",
  };
  const words = Object.entries(flags).flatMap(([name, value]) => [`--${name}`, value]);
  agent = runFairlead(worlds[1].node, "agent", ...words);
  await sentinel.seen().catch((error: unknown) => {
    console.log(`kube-proxy:\n${proxySaid}\nagent:\n${agent.lines.join("\n")}`);
    throw error;
  });
});

after(async () => {
  if (proxy?.exitCode === null && proxy.kill("SIGTERM")) await once(proxy, "exit");
  await endAll();
  for (const world of worlds ?? []) world.close();
  api?.close();
});

test(
  "random Services: what kube-proxy's node does with a packet, Fairlead's does, too",
  { timeout: (seconds + 240) * 1000 },
  async (t) => {
    const end = Date.now() + seconds * 1000;
    const isLate = (): boolean => Date.now() > end;
    const total = { seeds: 0, steps: 0, objects: 0, refused: 0, probes: 0, connections: 0, flows: 0, health: 0 };
    let found = 0;
    for (let seed = firstSeed; !isLate(); seed++) {
      total.seeds++;
      const dice = diceOf(seed);
      const services = new Map<number, OneService>();
      await writeNode("a", false);
      for (let step = 0; step < stepsPerSeed && !isLate(); step++) {
        total.steps++;
        const before = [...services.values()];
        const flows = await openFlows(worlds, probesOf(before, []), dice);
        if (dice.chance(0.15)) await writeNode(dice.one(["a", "a", "b", undefined]), dice.chance(0.3));
        const indices = Array.from({ length: servicesMax }, (_, index) => index);
        const chosen = step === 0 ? indices : indices.filter(() => dice.chance(0.3));
        const others = new Set<number>();
        for (const index of chosen) {
          const have = services.get(index);
          const isNew = have === undefined;
          const next = isNew ? randomService(dice, index) : dice.chance(0.1) ? undefined : edited(dice, index, have);
          const written = await writeService(index, next, have);
          if (written.service === undefined) services.delete(index);
          else services.set(index, written.service);
          if (written.isAnother && !isNew) others.add(index);
          total.objects += written.objects;
          total.refused += written.refused.length;
          if (isVerbose) for (const line of written.refused) console.log(line);
        }
        await sentinel.seen();
        const now = [...services.values()];
        const kept = [...services].flatMap(([index, one]) => (others.has(index) ? [] : [one]));
        const fates = await flows.differences((...asked) => isServed(kept, ...asked));
        const health = await compareHealth(worlds, now, before);
        const compared = await compareWorlds(worlds, probesOf(now, before));
        total.probes += compared.probes;
        total.connections += compared.connections;
        total.flows += fates.compared;
        total.health += health.asked;
        const differences = [...fates.differences, ...health.differences, ...compared.differences];
        if (isVerbose) console.log(`seed ${seed}, step ${step}: ${compared.probes} probes`);
        if (differences.length === 0) continue;
        found++;
        const objects = now.map((one) => JSON.stringify(one));
        console.log([`seed ${seed}, step ${step}:`, ...differences, ...objects].join("\n"));
      }
      for (const [index, have] of services) await writeService(index, undefined, have);
    }
    t.diagnostic(JSON.stringify(total));
    assert.equal(found, 0, `differences after ${found} steps; the first seed was ${firstSeed}`);
  },
);

function startKubeProxy(world: World): ChildProcess {
  const config = join(api.folder, "kube-proxy.yaml");
  const { kubeconfig } = api;
  const settings = JSON.parse(
    kubeProxyConfiguration({ mode: "nftables", kubeconfig, node: "node-1", clusterCidr: podCidrs, json: true }),
  ) as object;
  writeFileSync(config, JSON.stringify({ ...settings, nftables: { minSyncPeriod: "10ms", syncPeriod: "30s" } }));
  const child = world.node.run(() =>
    spawn(peer("kube-proxy"), ["--config", config, "--v", "2"], { stdio: ["ignore", "ignore", "pipe"] }),
  );
  child.stderr?.setEncoding("utf8").on("data", (text: string) => (proxySaid = (proxySaid + text).slice(-20_000)));
  child.once("exit", (code, signal) => {
    if (signal !== "SIGTERM") console.log(`kube-proxy ended with ${code ?? signal}:\n${proxySaid}`);
  });
  return child;
}
