import assert from "node:assert/strict";
import { test } from "node:test";

import type { Endpoint, Node } from "../../kube/kinds.ts";
import { asksForHints, createHintsTelling, processorsByZone, withTopologyHints } from "./topology-hints.ts";

const node = (zone: string | undefined, cpu: string, ready = "True"): Node => ({
  apiVersion: "v1",
  kind: "Node",
  metadata: { name: "n", ...(zone === undefined ? {} : { labels: { "topology.kubernetes.io/zone": zone } }) },
  spec: {},
  status: { allocatable: { cpu }, conditions: [{ type: "Ready", status: ready }] },
});
const endpoints = (...zones: readonly string[]): readonly Endpoint[] =>
  zones.map((zone, index) => ({ addresses: [`10.0.0.${index}`], zone, conditions: { ready: zone !== "-" } }));
const hints = (of: readonly Endpoint[], zones: ReadonlyMap<string, number> | undefined): string =>
  withTopologyHints(of, zones)
    .endpoints.map(({ hints: given }) => given?.forZones?.map(({ name }) => name).join() ?? "none")
    .join(" ");
const thirds = processorsByZone([node("a", "2"), node("b", "2000m"), node("c", "2")]);

test("zones' parts of the processors: ready nodes only, and only where all say what they have", () => {
  assert.deepEqual(
    [...(thirds ?? [])].map(([zone, part]) => `${zone} ${part.toFixed(2)}`),
    ["a 0.33", "b 0.33", "c 0.33"],
  );
  assert.deepEqual(
    [...(processorsByZone([node("a", "3"), node("b", "1"), node("c", "8", "False")]) ?? [])],
    [
      ["a", 0.75],
      ["b", 0.25],
    ],
  );
  assert.equal(processorsByZone([node("a", "2"), node(undefined, "2")]), undefined);
  assert.equal(processorsByZone([node("a", "2"), node("b", "0")]), undefined);
});

test("each zone its own endpoints where they are spread evenly; given away where they are not", () => {
  assert.equal(hints(endpoints("a", "b", "c"), thirds), "a b c");
  assert.equal(hints(endpoints("a", "a", "a", "a", "b", "c"), thirds), "b c a a b c");
  assert.equal(hints(endpoints("a", "b", "c", "-"), thirds), "a b c none");
});

test("no hints where a zone would get nothing, or be overloaded, or is unknown", () => {
  const halves = processorsByZone([node("a", "2"), node("b", "2")]);
  assert.equal(hints(endpoints("a", "b"), thirds), "none none");
  assert.equal(hints(endpoints("a", "b", ""), halves), "none none none");
  assert.equal(hints(endpoints("a", "a"), processorsByZone([node("a", "2")])), "none none");
  assert.equal(hints(endpoints("a", "b"), undefined), "none none");
  // 3 endpoints for halves: 1.5 each, at least 2 with 20 % overload: four are needed.
  assert.equal(hints(endpoints("a", "a", "b"), halves), "none none none");
  assert.equal(hints(endpoints("a", "a", "b", "b"), halves), "a a b b");
});

test("the annotation in both spellings", () => {
  const service = (annotations: Record<string, string>) =>
    ({ apiVersion: "v1", kind: "Service", metadata: { name: "s", annotations }, spec: {} }) as const;
  assert.ok(asksForHints(service({ "service.kubernetes.io/topology-mode": "Auto" })));
  assert.ok(asksForHints(service({ "service.kubernetes.io/topology-aware-hints": "auto" })));
  assert.ok(!asksForHints(service({ "service.kubernetes.io/topology-mode": "Disabled" })));
  const both = {
    "service.kubernetes.io/topology-aware-hints": "disabled",
    "service.kubernetes.io/topology-mode": "Auto",
  };
  assert.ok(!asksForHints(service(both)), "the older one is asked first");
  assert.ok(!asksForHints(service({})));
});

test("what has come of it is told on the Service, when it changes", () => {
  const told: string[] = [];
  const service = {
    apiVersion: "v1",
    kind: "Service",
    metadata: { namespace: "default", name: "s" },
    spec: {},
  } as const;
  const telling = createHintsTelling({
    record: (_object, type, reason, message) => void told.push(`${type} ${reason} ${message}`),
  });
  const tell = (...zones: readonly string[]): readonly string[] => {
    telling.tell(service, "IPv4", zones.length === 0 ? undefined : withTopologyHints(endpoints(...zones), thirds));
    return told.splice(0);
  };
  assert.deepEqual(tell(), [], "it does not ask");
  assert.deepEqual(tell("a", "b", "c"), [
    "Normal TopologyAwareHintsEnabled Topology Aware Hints has been enabled, addressType: IPv4",
  ]);
  assert.deepEqual(tell("a", "b", "c", "-"), []);
  assert.deepEqual(tell("a", "b", "-"), [
    "Warning TopologyAwareHintsDisabled Insufficient number of endpoints (2 endpoints, 3 zones), addressType: IPv4",
  ]);
  assert.deepEqual(tell("a", "b"), []);
  assert.deepEqual(tell("a", "b", "c", "a", "b", ""), [
    "Warning TopologyAwareHintsDisabled One or more endpoints do not have a zone specified, addressType: IPv4",
  ]);
  assert.equal(tell("a", "b", "c").length, 1);
  assert.deepEqual(tell(), [
    "Warning TopologyAwareHintsDisabled Topology Aware Hints has been disabled, addressType: IPv4",
  ]);
  assert.deepEqual(tell(), []);
});
