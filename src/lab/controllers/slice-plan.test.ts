import assert from "node:assert/strict";
import { describe, test } from "node:test";

import * as fc from "fast-check";

import type { Endpoint, EndpointSlice } from "../../kube/kinds.ts";
import { endpointsPerSlice, planSlices, portsKey, type EndpointGroup } from "./slice-plan.ts";

const endpoint = (number: number, ready = true): Endpoint => ({
  addresses: [`10.0.${number >> 8}.${number & 255}`],
  conditions: { ready },
  targetRef: { kind: "Pod", name: `pod-${number}`, uid: `uid-${number}` },
});
const range = (first: number, last: number): readonly Endpoint[] =>
  Array.from({ length: last - first + 1 }, (_, i) => endpoint(first + i));
const group = (endpoints: readonly Endpoint[], port = 80): EndpointGroup => ({
  ports: [{ name: "", port, protocol: "TCP" }],
  endpoints,
});
const labels = { "kubernetes.io/service-name": "web" };

let serial = 0;
/** What the slices are after a plan was carried out. */
function carryOut(existing: readonly EndpointSlice[], plan: ReturnType<typeof planSlices>): readonly EndpointSlice[] {
  const gone = new Set(plan.delete.map(({ metadata }) => metadata.name));
  const changed = new Map(plan.update.map((slice) => [slice.metadata.name, slice]));
  return [
    ...existing
      .filter(({ metadata }) => !gone.has(metadata.name))
      .map((slice) => changed.get(slice.metadata.name) ?? slice),
    ...plan.create.map(({ ports, endpoints }): EndpointSlice => ({
      apiVersion: "discovery.k8s.io/v1",
      kind: "EndpointSlice",
      metadata: { name: `web-${serial++}`, labels },
      addressType: "IPv4",
      endpoints,
      ports,
    })),
  ];
}

function apply(
  existing: readonly EndpointSlice[],
  wanted: readonly EndpointGroup[],
  placeholder = true,
): readonly EndpointSlice[] {
  return carryOut(existing, planSlices({ wanted, existing, labels, placeholder }));
}

const sizes = (slices: readonly EndpointSlice[]): readonly number[] =>
  slices.map(({ endpoints }) => endpoints?.length ?? 0);

void describe("slice plan", () => {
  void test("endpoints are laid out a hundred to a slice", () => {
    assert.deepEqual(sizes(apply([], [group(range(1, 250))])), [100, 100, 50]);
  });

  void test("a new endpoint goes where there is room, and nothing else is touched", () => {
    const before = apply([], [group(range(1, 250))]);
    const plan = planSlices({ wanted: [group(range(1, 251))], existing: before, labels, placeholder: true });
    assert.deepEqual([plan.create.length, plan.update.length, plan.delete.length], [0, 1, 0]);
    assert.deepEqual(sizes(carryOut(before, plan)), [100, 100, 51]);
  });

  void test("an endpoint that changes or goes touches its own slice only; its place is used for a new one", () => {
    const before = apply([], [group(range(1, 250))]);
    const wanted = [
      endpoint(500),
      ...range(1, 250).filter(({ addresses }) => addresses[0] !== "10.0.0.7"),
      endpoint(501),
    ];
    const plan = planSlices({ wanted: [group(wanted)], existing: before, labels, placeholder: true });
    assert.deepEqual([plan.create.length, plan.update.length, plan.delete.length], [0, 2, 0]);
    assert.deepEqual(sizes(carryOut(before, plan)), [100, 100, 51]);
    const unready = range(1, 250).map((each, i) => (i === 120 ? endpoint(121, false) : each));
    const second = planSlices({ wanted: [group(unready)], existing: before, labels, placeholder: true });
    assert.deepEqual(
      second.update.map(({ metadata }) => metadata.name),
      [before[1]?.metadata.name],
    );
  });

  void test("nobody leaves an empty placeholder, where one is wanted", () => {
    const before = apply([], [group(range(1, 3))]);
    const empty = apply(before, []);
    assert.deepEqual([sizes(empty), empty[0]?.ports, empty[0]?.metadata.name], [[0], [], before[0]?.metadata.name]);
    assert.deepEqual(apply(empty, []), empty);
    assert.deepEqual(sizes(apply(empty, [group(range(1, 2))])), [2]);
    assert.deepEqual(apply(before, [], false), []);
  });

  void test("other labels are written to every slice", () => {
    const existing = apply([], [group(range(1, 150))]).map((slice) => ({
      ...slice,
      metadata: { ...slice.metadata, labels: {} },
    }));
    const plan = planSlices({ wanted: [group(range(1, 150))], existing, labels, placeholder: true });
    assert.deepEqual(plan.update.length, 2);
    assert.ok(plan.update.every(({ metadata }) => metadata.labels === labels));
  });

  void test("whatever happened before, slices hold exactly what is wanted, and a second plan changes nothing", () => {
    const wantedGroups = fc
      .uniqueArray(fc.record({ number: fc.nat(400), ready: fc.boolean(), port: fc.constantFrom(80, 81) }), {
        selector: ({ number }) => number,
        maxLength: 260,
      })
      .map((list) =>
        [80, 81].flatMap((port) => {
          const own = list.filter((each) => each.port === port);
          return own.length === 0
            ? []
            : [
                group(
                  own.map(({ number, ready }) => endpoint(number, ready)),
                  port,
                ),
              ];
        }),
      );
    const textOf = (ports: EndpointGroup["ports"], endpoints: readonly Endpoint[]): readonly string[] =>
      endpoints.map((each) => `${portsKey(ports)} ${JSON.stringify(each)}`);
    fc.assert(
      fc.property(fc.array(wantedGroups, { minLength: 1, maxLength: 6 }), (history) => {
        let slices: readonly EndpointSlice[] = [];
        for (const wanted of history) {
          slices = apply(slices, wanted);
          const actual = slices.flatMap(({ ports, endpoints }) => textOf(ports ?? [], endpoints ?? []));
          const expected = wanted.flatMap(({ ports, endpoints }) => textOf(ports, endpoints));
          assert.deepEqual([...actual].sort(byText), [...expected].sort(byText));
          assert.ok(sizes(slices).every((size) => size <= endpointsPerSlice));
          assert.equal(sizes(slices).filter((size) => size === 0).length, expected.length === 0 ? 1 : 0);
          const again = planSlices({ wanted, existing: slices, labels, placeholder: true });
          assert.deepEqual(again, { create: [], update: [], delete: [] });
        }
      }),
      { numRuns: 40 },
    );
  });
});

function byText(a: string, b: string): number {
  return a < b ? -1 : 1;
}
