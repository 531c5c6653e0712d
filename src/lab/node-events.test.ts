import assert from "node:assert/strict";
import { setImmediate } from "node:timers/promises";
import { test } from "node:test";

import { conntrackEvent } from "../agent/conntrack-use.ts";
import type { KubeObject } from "../kube/object.ts";
import type { ObjectApi } from "./api/api.ts";
import { createNodeTelling } from "./node-events.ts";

void test("a table of connections that is nearly full is told on the Node, and nothing of a node that is no object", async () => {
  const written: KubeObject[] = [];
  const node: KubeObject = { apiVersion: "v1", kind: "Node", metadata: { name: "node-1", uid: "n1" } };
  const api = {
    get: ({ name }: { readonly name?: string }) => (name === "node-1" ? node : undefined),
    create: (object: KubeObject) => (written.push(object), object),
  } as unknown as ObjectApi;
  const telling = createNodeTelling({ api });
  telling.tell("node-1", conntrackEvent("900 of 1000"));
  telling.tell("node-2", conntrackEvent("900 of 1000"));
  await setImmediate();
  telling.close();
  assert.deepEqual(
    written.map(({ kind, ...event }) => [
      kind,
      (event as { reason?: string }).reason,
      (event as { message?: string }).message,
      (event as { involvedObject?: { name?: string } }).involvedObject?.name,
    ]),
    [["Event", "ConntrackNearlyFull", "900 of 1000", "node-1"]],
  );
});
