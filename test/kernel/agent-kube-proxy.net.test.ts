// The real kube-proxy on a node, and `fairlead agent --only services` taking its place and giving it back, with a connection that stays and
// others that come all the time. kube-proxy watches the lab's API server.
// Needs: nft

import assert from "node:assert/strict";
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { existsSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { afterEach, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";

import { ask, askAll, openConnection, ruleset, startBridgeNode, vip, type BridgeNode } from "./agent-node.testing.ts";
import { kubeProxyConfiguration } from "../kube-proxy.testing.ts";
import { endAll } from "./agent.testing.ts";

const binary = [
  process.env["KUBE_PROXY"] ?? "",
  join(process.env["PEERS"] ?? join(homedir(), ".cache/fairlead-peers"), "bin/kube-proxy"),
].find((path) => path !== "" && existsSync(path));
const iptables = ["/usr/sbin/iptables-nft", "/sbin/iptables-nft"].some((path) => existsSync(path));

afterEach(endAll);

for (const mode of ["nftables", "iptables"] as const) {
  const skip =
    (binary === undefined && "no kube-proxy: build k8s.io/kubernetes/cmd/kube-proxy, and name it in KUBE_PROXY") ||
    (mode === "iptables" && !iptables && "no iptables-nft (Debian package iptables)");
  void test(`from kube-proxy in ${mode} mode to Fairlead and back: no connection is lost`, { skip }, async () => {
    const place = await startBridgeNode();
    const proxies: ChildProcess[] = [];
    try {
      const first = startKubeProxy(place, mode);
      proxies.push(first.child);
      await first.synced;
      await askAll(place.pod("client").namespace, vip, 80, ["a", "b"]);
      const long = await openConnection(place);
      const traffic = startTraffic(place);

      // As a DaemonSet is deleted: kube-proxy leaves its rules behind.
      await end(first.child);
      traffic.during = "as the agent takes over";
      const agent = place.start();
      await agent.says(/took over from kube-proxy/);
      traffic.during = "with the agent";
      assert.doesNotMatch(ruleset(place.node.namespace), /table ip6? kube-proxy|KUBE-(SERVICES|SVC|SEP)/);
      await long.echoes();
      await askAll(place.pod("client").namespace, vip, 80, ["a", "b"]);

      traffic.during = "as the agent ends";
      await agent.end();
      traffic.during = "as kube-proxy starts";
      const second = startKubeProxy(place, mode);
      proxies.push(second.child);
      await second.synced;
      // In iptables mode it has been seen to say so and refuse a connection just then: its endpoints are waited for.
      const isThere = (): boolean => /KUBE-SEP-/.test(ruleset(place.node.namespace));
      for (let tries = 0; mode === "iptables" && tries < 100 && !isThere(); tries++) await delay(20);
      traffic.during = "as the agent's tables go";
      await place.cleanUp();
      traffic.during = "afterwards";
      assert.doesNotMatch(ruleset(place.node.namespace), /fairlead/);
      await long.echoes();
      await askAll(place.pod("client").namespace, vip, 80, ["a", "b"]);
      const { made, failed } = await traffic.end();
      assert.ok(made > 10, `${made} connections`);
      assert.deepEqual(failed, []);
      long.close();
    } finally {
      await Promise.all(proxies.map(end));
      place.close();
    }
  });
}

function startKubeProxy(
  { node, api }: BridgeNode,
  mode: "nftables" | "iptables",
): { readonly child: ChildProcess; readonly synced: Promise<void> } {
  const config = join(api.folder, `kube-proxy-${mode}.yaml`);
  const { kubeconfig } = api;
  writeFileSync(config, kubeProxyConfiguration({ mode, kubeconfig, node: "node-1", clusterCidr: "10.244.0.0/16" }));
  const child = node.namespace.run(() =>
    spawn(binary ?? "", ["--config", config, "--v", "2"], { stdio: ["ignore", "ignore", "pipe"] }),
  );
  let said = "";
  const synced = new Promise<void>((resolve, reject) => {
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      said += text;
      if (/"SyncProxyRules complete" ipFamily="IPv4"/.test(said)) resolve();
    });
    child.once("exit", (code) => reject(new Error(`kube-proxy ended with ${code}:\n${said.slice(-3000)}`)));
  });
  return { child, synced };
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill("SIGTERM");
  await once(child, "exit");
}

/** New connections through the Service, one after the other, until it ends. */
function startTraffic(place: BridgeNode): {
  /** Said of what fails from now on. */
  during: string;
  end(): Promise<{ readonly made: number; readonly failed: readonly string[] }>;
} {
  let isEnding = false;
  let made = 0;
  const failed: string[] = [];
  const work = async (): Promise<void> => {
    while (!isEnding) {
      const result = await ask(place.pod("client").namespace, vip);
      made++;
      if (result.outcome !== "answered") failed.push(`${JSON.stringify(result)}, ${traffic.during}`);
    }
  };
  const traffic = {
    during: "as kube-proxy ends",
    async end() {
      isEnding = true;
      await done;
      return { made, failed };
    },
  };
  const done = work();
  return traffic;
}
