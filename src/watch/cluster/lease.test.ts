import assert from "node:assert/strict";
import { test } from "node:test";

import { ApiError, ClusterUnreachable, type ApiRequest, type ClusterClient } from "./client.ts";
import { fakeClock, type FakeClock } from "./informer.testing.ts";
import { holdLease, type HeldLease } from "./lease.ts";

interface Stored {
  readonly metadata: { readonly resourceVersion?: string };
  readonly spec: { readonly holderIdentity: string; readonly leaseTransitions: number };
}

/** One Lease, with optimistic concurrency. */
function leaseServer() {
  let stored: Stored | undefined;
  let revision = 0;
  const server = {
    down: new Set<string>(),
    lease: () => stored,
    client: (who: string): ClusterClient => ({
      access: {} as ClusterClient["access"],
      async request<T>({ method = "GET", body }: ApiRequest): Promise<T> {
        await Promise.resolve();
        if (server.down.has(who)) throw new ClusterUnreachable("connect ECONNREFUSED");
        const given = body as Stored | undefined;
        const refuse = (status: number): never => {
          throw new ApiError(`refused with ${status}`, { status, reason: "" });
        };
        if (method === "GET" && stored === undefined) refuse(404);
        if (method === "POST" && stored !== undefined) refuse(409);
        if (method === "PUT" && stored?.metadata.resourceVersion !== given?.metadata.resourceVersion) refuse(409);
        if (given !== undefined)
          stored = { ...given, metadata: { ...given.metadata, resourceVersion: String(++revision) } };
        return stored as T;
      },
      lines: () => Promise.reject(new Error("not here")),
      close() {},
    }),
  };
  return server;
}

function candidate(
  server: ReturnType<typeof leaseServer>,
  clock: FakeClock,
  identity: string,
  told: string[],
): HeldLease {
  return holdLease({
    client: server.client(identity),
    namespace: "kube-system",
    name: "fairlead-policy-status",
    identity,
    seconds: 30,
    lookEveryMs: () => 15_000,
    acquired: () => void told.push(`${identity} has it`),
    lost: () => void told.push(`${identity} lost it`),
    log: (line) => void told.push(line),
    clock,
  });
}

/** `a` holds it, and `b` asks. */
async function holderAndNext() {
  const server = leaseServer();
  const clock = fakeClock();
  const told: string[] = [];
  const a = candidate(server, clock, "a", told);
  await clock.pass(1);
  return { server, clock, told, a, b: candidate(server, clock, "b", told) };
}

void test("one holds it for as long as it renews; given up, the next has it at its next look", async () => {
  const { server, clock, told, a, b } = await holderAndNext();
  await clock.pass(600_000);
  assert.deepEqual(told.splice(0), ["a has it"]);
  await a.close();
  assert.equal(server.lease()?.spec.holderIdentity, "");
  await clock.pass(15_000);
  assert.deepEqual(told.splice(0), ["b has it"]);
  await b.close();
});

void test("who asks at the same moment comes second, without a word", async () => {
  const server = leaseServer();
  const clock = fakeClock();
  const told: string[] = [];
  const all = ["a", "b", "c"].map((identity) => candidate(server, clock, identity, told));
  await clock.pass(60_000);
  assert.equal(told.length, 1);
  assert.equal(server.lease()?.spec.leaseTransitions, 0);
  await Promise.all(all.map((each) => each.close()));
});

void test("a holder that cannot reach the server stops before another may begin", async () => {
  const { server, clock, told, a, b } = await holderAndNext();
  assert.deepEqual(told.splice(0), ["a has it"]);
  server.down.add("a");
  await clock.pass(29_000);
  assert.deepEqual(told.splice(0), [
    "ask for lease kube-system/fairlead-policy-status: connect ECONNREFUSED; tried again",
    "a lost it",
  ]);
  await clock.pass(31_000);
  assert.deepEqual(told.splice(0), ["b has it"]);
  server.down.delete("a");
  await clock.pass(60_000);
  assert.deepEqual(told.splice(0), []);
  assert.equal(server.lease()?.spec.leaseTransitions, 1);
  await a.close();
  assert.equal(server.lease()?.spec.holderIdentity, "b");
  await b.close();
});
