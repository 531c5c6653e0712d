// Fairlead as the only network of a real cluster, as deploy/ installs it: from nothing to pods, Services, names and policies, under traffic
// through restarts, an upgrade, a lost node and a lost API server, and away again.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import process from "node:process";
import { after, before, test } from "node:test";

import { renderChart } from "../../scripts/chart.ts";
import type { KubeObject } from "../../src/kube/object.ts";
import { parseManifests } from "../../src/watch/manifests.ts";
import { ranges, startRealCluster, underlay, until, type RealCluster, type RealNode } from "./cluster.testing.ts";
import { makeTestImage, testImage } from "./image.testing.ts";

const folder = mkdtempSync(path.join(tmpdir(), "fairlead-cluster-"));
let cluster: RealCluster;

before(async () => {
  const tools = path.join(folder, "tools.tar");
  writeFileSync(tools, makeTestImage());
  const own = path.join(folder, "fairlead.tar");
  execFileSync(process.execPath, ["scripts/image.ts", "--output", own], { stdio: "inherit" });
  cluster = await startRealCluster({ folder, nodes: 3, images: [tools, own] });
});

after(async () => {
  await cluster?.close();
  rmSync(folder, { recursive: true, force: true });
});

interface Pod extends KubeObject {
  readonly spec: { readonly nodeName?: string };
  readonly status?: {
    readonly podIPs?: readonly { readonly ip: string }[];
    readonly containerStatuses?: readonly { readonly ready: boolean; readonly restartCount: number }[];
  };
}

async function pods(namespace: string, selector: string): Promise<readonly Pod[]> {
  const query = `labelSelector=${encodeURIComponent(selector)}`;
  const { items } = await cluster.client.request<{ readonly items: readonly Pod[] }>({
    path: `/api/v1/namespaces/${namespace}/pods?${query}`,
  });
  return items;
}

function isPodReady(pod: Pod): boolean {
  const states = pod.status?.containerStatuses ?? [];
  return pod.metadata.deletionTimestamp === undefined && states.length > 0 && states.every(({ ready }) => ready);
}

async function allReady(namespace: string, selector: string, count: number): Promise<true | readonly string[]> {
  const found = await pods(namespace, selector);
  const waiting = found
    .filter((pod) => !isPodReady(pod))
    .map((pod) => `${pod.metadata.name} ${JSON.stringify(pod.status)}`);
  return found.length === count && waiting.length === 0 ? true : [`${found.length} of ${count}`, ...waiting];
}

function install(): Promise<void> {
  const text = renderChart({
    apiServer: { host: underlay.control[0], port: 6443 },
    agent: { flags: ["--cluster-cidr", ranges.pods.join(",")] },
    dns: { clusterIP: ranges.dns },
  });
  return cluster.apply(parseManifests(text, "deploy/chart").objects);
}

test("installed by the chart: nodes get ready, agents and DNS run", async () => {
  await install();
  try {
    await until("three nodes to be ready", 60, async () => {
      const { items } = await cluster.client.request<{
        readonly items: readonly {
          readonly metadata: { readonly name: string };
          readonly status: {
            readonly conditions: readonly {
              readonly type: string;
              readonly status: string;
              readonly message?: string;
            }[];
          };
        }[];
      }>({ path: "/api/v1/nodes" });
      const waiting = items.flatMap(({ metadata, status }) =>
        status.conditions
          .filter(({ type, status: is }) => type === "Ready" && is !== "True")
          .map(({ message }) => `${metadata.name}: ${message}`),
      );
      return items.length === 3 && waiting.length === 0 ? true : [items.length, ...waiting];
    });
    await until("the agents to be ready", 120, () => allReady("kube-system", "k8s-app=fairlead-agent", 3));
    await until("cluster DNS to be ready", 120, () => allReady("kube-system", "k8s-app=kube-dns", 2));
  } catch (error) {
    console.error(cluster.tails());
    throw error;
  }
});
