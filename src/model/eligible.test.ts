import assert from "node:assert/strict";
import { test } from "node:test";

import { eligibleEndpoints } from "./eligible.ts";
import type { Endpoint } from "./network.ts";
import { networkNode } from "./node.ts";
import { node } from "./objects.testing.ts";

const here = networkNode(node(1));

/** One row a case: what the endpoints are, and which of them a client at node-1 may get. */
const cases: readonly {
  readonly what: string;
  readonly endpoints: readonly Endpoint[];
  readonly cluster: string;
  readonly local: string;
}[] = [
  { what: "ready ones only", endpoints: [a({}), b({ ready: false })], cluster: "a", local: "a" },
  { what: "none is ready", endpoints: [a({ ready: false }), b({ ready: false })], cluster: "", local: "" },
  {
    what: "none is ready, one still serves while it terminates",
    endpoints: [
      a({ ready: false, serving: true, terminating: true }),
      b({ ready: false, serving: false, terminating: true }),
    ],
    cluster: "a",
    local: "a",
  },
  {
    what: "a terminating one waits while another is ready",
    endpoints: [a({ ready: false, terminating: true }), b({})],
    cluster: "b",
    local: "a",
  },
  { what: "other families", endpoints: [a({ address: "fd00::1" }), b({})], cluster: "b", local: "" },
  {
    what: "all hinted, our zone among them",
    endpoints: [a({ forZones: ["zone-1"] }), b({ forZones: ["zone-2"] })],
    cluster: "a",
    local: "a",
  },
  {
    what: "all hinted, none for our zone",
    endpoints: [a({ forZones: ["zone-3"] }), b({ forZones: ["zone-2"] })],
    cluster: "a b",
    local: "a",
  },
  { what: "one without a hint", endpoints: [a({ forZones: ["zone-1"] }), b({})], cluster: "a b", local: "a" },
  {
    what: "node hints before zone hints",
    endpoints: [a({ forZones: ["zone-1"], forNodes: ["node-9"] }), b({ forZones: ["zone-1"], forNodes: ["node-1"] })],
    cluster: "b",
    local: "a",
  },
];

for (const { what, endpoints, cluster, local } of cases) {
  void test(what, () => {
    const chosen = (scope: "cluster" | "local"): string =>
      eligibleEndpoints(endpoints, 4, { scope, node: here })
        .map(({ pod }) => pod)
        .join(" ");
    assert.equal(chosen("cluster"), cluster);
    assert.equal(chosen("local"), local);
  });
}

function a(fields: Partial<Endpoint>): Endpoint {
  return endpoint("a", "10.244.1.1", "node-1", fields);
}

function b(fields: Partial<Endpoint>): Endpoint {
  return endpoint("b", "10.244.2.1", "node-2", fields);
}

function endpoint(pod: string, address: string, node: string, fields: Partial<Endpoint>): Endpoint {
  const origin = { kind: "EndpointSlice", name: "web" };
  return { address, port: 80, ready: true, serving: true, terminating: false, node, pod, origin, ...fields };
}
