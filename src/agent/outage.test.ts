// An API server that goes away, for longer than anybody would wait: what the node's kernel holds meanwhile, and how it catches up. Time is
// passed in.

import assert from "node:assert/strict";
import { test } from "node:test";

import { createFakeKernel } from "../kernel/fake.ts";
import type { KubeObject } from "../kube/object.ts";
import { compile } from "../program/compile.ts";
import type { ClusterClient } from "../watch/cluster/client.ts";
import { fakeClock, fakeServer, type FakeServer } from "../watch/cluster/informer.testing.ts";
import { startAgent, type AgentEvent } from "./agent.ts";
import { openAttachments } from "./attachments.ts";
import { startClusterSource } from "./cluster-source.ts";

const hourMs = 3_600_000;

/** One API server of several resources, each by the last word of its path. */
function servers(): { readonly client: ClusterClient; of(resource: string): FakeServer; all(): readonly FakeServer[] } {
  const byName = new Map<string, FakeServer>();
  const of = (resource: string): FakeServer => {
    const server = byName.get(resource) ?? fakeServer();
    byName.set(resource, server);
    return server;
  };
  const at = (path: string): ClusterClient => of(path.split("?")[0]?.split("/").at(-1) ?? "").client;
  const client: ClusterClient = {
    access: undefined as never,
    request: (request) => at(request.path).request(request),
    lines: (path, stream) => at(path).lines(path, stream),
    close() {},
  };
  return { client, of, all: () => [...byName.values()] };
}

function node(index: number, host: number = 10 + index): KubeObject {
  return {
    apiVersion: "v1",
    kind: "Node",
    metadata: { name: `node-${index}` },
    spec: { podCIDRs: [`10.244.${index}.0/24`] },
    status: { addresses: [{ type: "InternalIP", address: `192.0.2.${host}` }] },
  };
}

function troubles(events: readonly AgentEvent[]): readonly unknown[] {
  return events.flatMap<unknown>((event) => (event.kind === "reconciled" ? event.report.failures : [event.error]));
}

void test("the API server is away for an hour: the kernel is not touched, words are few; back, all that happened is caught up with at once", async () => {
  const api = servers();
  api.of("servicecidrs").store({
    apiVersion: "networking.k8s.io/v1",
    kind: "ServiceCIDR",
    metadata: { name: "kubernetes" },
    spec: { cidrs: ["10.96.0.0/16"] },
  });
  for (const index of [1, 2, 3]) api.of("nodes").store(node(index));
  const clock = fakeClock();
  const log: string[] = [];
  const source = startClusterSource({
    client: api.client,
    node: "node-1",
    scope: { kind: "all" },
    clusterCidrs: ["10.244.0.0/16"],
    serviceCidrs: [],
    domain: "cluster.local",
    machine: { addresses: () => ["192.0.2.11"], mtuOf: () => 1500 },
    log: (line) => void log.push(line),
    clock,
  });
  const kernel = createFakeKernel("node-1");
  kernel.byHand.change(
    { kind: "create-bridge", name: "eth0", mac: "02:00:00:00:00:01", mtu: 1500 },
    { kind: "set-link", name: "eth0", up: true },
    { kind: "set-address", link: "eth0", address: "192.0.2.11", bits: 24 },
  );
  await clock.pass(0);
  await source.synced;
  const events: AgentEvent[] = [];
  const agent = startAgent({
    node: "node-1",
    kernel,
    source,
    attachments: openAttachments(),
    compile,
    clock: { ...clock, date: () => new Date(clock.now()).toISOString() },
    report: (event) => void events.push(event),
  });
  await clock.pass(1000);
  const remotes = (): readonly string[] =>
    kernel
      .forwarding()
      .flatMap(({ link, remote }) => (link === "fl.vx" && remote !== undefined ? [remote] : []))
      .toSorted();
  const ranges = (): readonly string[] =>
    kernel
      .routes()
      .flatMap(({ to, link }) => (link === "fl.vx" && to.endsWith("/24") ? [to] : []))
      .toSorted();
  assert.deepEqual(remotes(), ["192.0.2.12", "192.0.2.13"]);
  const before = source.current();
  kernel.forgetWrites();
  events.length = log.length = 0;

  for (const server of api.all()) {
    server.down = true;
    server.cut("break");
  }
  await clock.pass(hourMs);
  assert.equal(source.current(), before);
  const { changes, batches, sysctls } = kernel.writes;
  assert.deepEqual({ changes, batches, sysctls }, { changes: [], batches: [], sysctls: [] });
  assert.deepEqual(events, []);
  assert.equal(log.length, api.all().length, "a line for each resource");
  assert.ok([...source.status().values()].every(({ synced, connected }) => synced && !connected));

  // Others' hands are still put back, by what was known last.
  kernel.byHand.change({ kind: "delete-route", to: "10.244.3.0/24", metric: 1024, protocol: 241 });
  await clock.pass(1000);
  assert.deepEqual(ranges(), ["10.244.2.0/24", "10.244.3.0/24"]);
  events.length = 0;

  // Meanwhile one node moved, one went, one came, and the server has forgotten what happened when.
  api.of("nodes").store(node(2, 99));
  api.of("nodes").remove("node-3");
  api.of("nodes").store(node(4));
  for (const server of api.all()) {
    server.compact();
    server.down = false;
  }
  await clock.pass(120_000);
  assert.deepEqual(remotes(), ["192.0.2.14", "192.0.2.99"]);
  assert.deepEqual(ranges(), ["10.244.2.0/24", "10.244.4.0/24"]);
  assert.ok([...source.status().values()].every(({ connected }) => connected));
  assert.deepEqual(troubles(events), []);
  await agent.stop();
  source.close();
});
