import assert from "node:assert/strict";
import { test } from "node:test";

import type { Prefix } from "../ip/prefix.ts";
import { ApiError, type ApiRequest, type ClusterClient } from "../watch/cluster/client.ts";
import { claimNodeRanges, nodePools } from "./node-ranges.ts";

interface Stored {
  readonly metadata: { readonly resourceVersion?: string };
  readonly data: Readonly<Record<string, string>>;
}

/** One ConfigMap with optimistic concurrency, and nodes. */
function mapServer(nodes: Set<string>) {
  let stored: Stored | undefined;
  let revision = 0;
  const server = {
    conflicts: 0,
    data: () => stored?.data ?? {},
    client: {
      access: {} as ClusterClient["access"],
      async request<T>({ method = "GET", path, body }: ApiRequest): Promise<T> {
        await new Promise((resolve) => void setImmediate(resolve));
        const refuse = (status: number): never => {
          if (status === 409) server.conflicts++;
          throw new ApiError(`refused with ${status}`, { status, reason: "" });
        };
        if (path.includes("/nodes/")) return nodes.has(path.split("/").at(-1) ?? "") ? ({} as T) : refuse(404);
        const given = body as Stored | undefined;
        if (method === "GET" && stored === undefined) refuse(404);
        if (method === "POST" && stored !== undefined) refuse(409);
        if (method === "PUT" && stored?.metadata.resourceVersion !== given?.metadata.resourceVersion) refuse(409);
        if (given !== undefined)
          stored = { ...given, metadata: { ...given.metadata, resourceVersion: String(++revision) } };
        return structuredClone(stored) as T;
      },
      lines: () => Promise.reject(new Error("not here")),
      close() {},
    } satisfies ClusterClient,
  };
  return server;
}

const pools = nodePools(["10.244.0.0/20", "fd00:10:244::/60"], { 4: 24, 6: 64 });

function claim(
  server: ReturnType<typeof mapServer>,
  node: string,
  othersRanges: readonly Prefix[] = [],
): Promise<readonly Prefix[]> {
  const wait = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));
  return claimNodeRanges({ client: server.client, node, pools, othersRanges: () => othersRanges, wait });
}

void test("many nodes at once: each has a range of each pool, no two the same one, and the same again when it asks again", async () => {
  const names = Array.from({ length: 16 }, (_, index) => `node-${index}`);
  const server = mapServer(new Set(names));
  const claimed = await Promise.all(names.map((name) => claim(server, name)));
  assert.ok(server.conflicts > 0, "they did come at the same moment");
  assert.equal(new Set(claimed.flat()).size, 32);
  assert.ok(claimed.flat().includes("10.244.0.0/24"));
  assert.deepEqual(await Promise.all(names.map((name) => claim(server, name))), claimed);
  assert.deepEqual(
    server.data(),
    Object.fromEntries(names.map((name, index) => [name, (claimed[index] ?? []).join(",")])),
  );
});

void test("ranges that nodes have from elsewhere are left out, of whatever size", async () => {
  const server = mapServer(new Set());
  const others = ["10.244.0.0/24", "10.244.2.0/23", "fd00:10:244:1::/64", "10.244.5.128/25"];
  assert.deepEqual(await claim(server, "a", others), ["10.244.4.0/24", "fd00:10:244:4::/64"]);
  assert.deepEqual(await claim(server, "b", others), ["10.244.6.0/24", "fd00:10:244:6::/64"]);
});

void test("who is gone keeps its range until no other is free; who comes back later has another", async () => {
  const names = Array.from({ length: 16 }, (_, index) => `node-${index}`);
  const nodes = new Set(names);
  const server = mapServer(nodes);
  for (const name of names.slice(0, 15)) await claim(server, name);
  const gone = await claim(server, "node-3");
  nodes.delete("node-3");
  assert.deepEqual(await claim(server, "node-15"), ["10.244.15.0/24", "fd00:10:244:f::/64"]);
  assert.deepEqual(await claim(server, "node-3"), gone);
  assert.deepEqual(await claim(server, "node-16"), gone);
  nodes.add("node-16");
  await assert.rejects(
    claim(server, "node-3"),
    /none is free in 10\.244\.0\.0\/20 .*16 nodes have one; give --cluster-cidr/,
  );
  assert.equal(Object.keys(server.data()).length, 16);
});

void test("a line of another pool or size is as none; rubbish hurts nobody", async () => {
  const server = mapServer(new Set(["a", "b"]));
  await claim(server, "a");
  await server.client.request({
    method: "PUT",
    path: "",
    body: {
      metadata: { resourceVersion: "1" },
      data: { a: "10.99.0.0/24,fd00::/64", b: "not a range", c: "10.244.0.0/25" },
    },
  });
  assert.deepEqual(await claim(server, "a"), ["10.244.1.0/24", "fd00:10:244:1::/64"]);
  assert.deepEqual(await claim(server, "b"), ["10.244.2.0/24", "fd00:10:244:2::/64"]);
});

void test("sizes that do not divide a range name their option", () => {
  assert.throws(() => nodePools(["10.244.0.0/16"], { 4: 12, 6: 64 }), /--node-cidr-mask-size-ipv4 12 does not divide/);
  assert.throws(() => nodePools(["fd00::/48"], { 4: 24, 6: 127 }), /--node-cidr-mask-size-ipv6 127 does not divide/);
});
