// A zone made beside the one before is the zone made afresh, whatever changed, and what it says changed is all that answers otherwise.

import assert from "node:assert/strict";
import { test } from "node:test";

import fc from "fast-check";

import type { Network, NetworkNamespace, NetworkPod, NetworkService } from "../model/network.ts";
import { compareText } from "../model/table.ts";
import { finishedAnswer, ownerOf, serviceOwner } from "./zone-answer.ts";
import { zoneNodes } from "./zone-lookup.ts";
import { formatZone } from "./zone-text.ts";
import { endpoint, kubeDns, network, pod, port, service } from "./zone.testing.ts";
import { compileZone, zoneChange, type Zone } from "./zone.ts";

/** One object comes, changes or goes. */
const stepArbitrary = fc.record({
  namespace: fc.constantFrom("default", "kube-system", "shop", "a", "z"),
  name: fc.constantFrom("api", "db", "web", "api-2"),
  what: fc.constantFrom("service", "headless", "alias", "pod", "namespace", "kube-dns"),
  isThere: fc.boolean(),
  number: fc.integer({ min: 1, max: 3 }),
});
type Step = typeof stepArbitrary extends fc.Arbitrary<infer T> ? T : never;

interface Objects {
  readonly services: Map<string, NetworkService>;
  readonly pods: Map<string, NetworkPod>;
  readonly namespaces: Map<string, NetworkNamespace>;
}

function act({ services, pods, namespaces }: Objects, { namespace, name, what, isThere, number }: Step): void {
  const key = `${namespace}/${name}`;
  const endpoints = Array.from({ length: number }, (_, n) => endpoint(`10.244.${n}.${number}`));
  const set = <T>(map: Map<string, T>, at: string, value: T): void => {
    if (isThere) map.set(at, value);
    else map.delete(at);
  };
  switch (what) {
    case "service":
      return set(
        services,
        key,
        service(key, { clusterIps: [`10.96.1.${number}`], ports: [port("http", 80, endpoints)] }),
      );
    case "headless":
      return set(services, key, service(key, { headless: true, ports: [port("http", 80, endpoints)] }));
    case "alias":
      return set(
        services,
        key,
        service(key, {
          type: "ExternalName",
          externalName: `db.shop.svc.cluster.local${number === 1 ? ".example" : ""}`,
        }),
      );
    case "pod":
      return set(pods, key, pod(key, [`10.244.9.${number}`]));
    case "namespace":
      return set(namespaces, namespace, {
        name: namespace,
        labels: number === 3 ? { team: "x" } : {},
        origin: { kind: "Namespace", name: namespace },
      });
    case "kube-dns":
      return set(services, "kube-system/kube-dns", kubeDns);
  }
}

/** As the builder gives it: sorted, and lists that are as they were are the same value. */
function networkOf({ services, pods, namespaces }: Objects, before: Network | undefined): Network {
  const sorted = <T>(map: ReadonlyMap<string, T>, old: readonly T[] | undefined): readonly T[] => {
    const list = [...map]
      .toSorted(([a], [b]) => compareText(a.replace("/", "\0"), b.replace("/", "\0")))
      .map(([, value]) => value);
    return old?.length === list.length && old.every((value, at) => value === list[at]) ? old : list;
  };
  return network({
    services: sorted(services, before?.services),
    pods: sorted(pods, before?.pods),
    namespaces: sorted(namespaces, before?.namespaces),
  });
}

function questionsOf(...zones: readonly Zone[]): readonly (readonly [string, number])[] {
  const names = new Set(zones.flatMap((zone) => zoneNodes(zone).map(({ name }) => name)));
  for (const namespace of ["default", "shop", "z"])
    for (const name of ["api", "no", "x.api", `a.b.db`]) names.add(`${name}.${namespace}.svc.cluster.local`);
  return [...names].flatMap((name) => [1, 12, 33].map((type) => [name, type] as const));
}

await test("beside the zone before, step by step", () => {
  let kept = 0;
  let forgotten = 0;
  fc.assert(
    fc.property(fc.array(stepArbitrary, { minLength: 5, maxLength: 60 }), (steps) => {
      const objects: Objects = { services: new Map(), pods: new Map(), namespaces: new Map() };
      let made: Network | undefined;
      let zone: Zone | undefined;
      for (const step of steps) {
        act(objects, step);
        const before = zone;
        made = networkOf(objects, made);
        zone = compileZone(made, { previous: zone });
        const fresh = compileZone(made);
        assert.equal(formatZone(zone), formatZone(fresh));
        assert.deepEqual([...zone.namespaces.keys()], [...fresh.namespaces.keys()]);
        for (const [name, namespace] of zone.namespaces) {
          const { services } = namespace;
          assert.deepEqual([...services], [...(fresh.namespaces.get(name)?.services ?? [])]);
          assert.equal(services.size, [...services.values()].length);
          for (const key of services.keys()) assert.ok(services.has(key));
        }
        if (before === undefined) continue;
        const change = zoneChange(before, zone);
        const owners = new Set([0, ...(change?.services ?? []).map(serviceOwner)]);
        for (const [name, type] of questionsOf(before, zone)) {
          const was = finishedAnswer(before, name, type);
          const is = finishedAnswer(zone, name, type);
          assert.deepEqual(is, finishedAnswer(fresh, name, type));
          if (was === undefined || change === undefined) continue;
          const isMissing = was.flags % 16 === 3;
          if (owners.has(ownerOf(name, before, was)) || (isMissing && change.namespaces)) forgotten++;
          else {
            kept++;
            assert.deepEqual(is, was, `${name} ${type} would be answered as before`);
          }
        }
      }
    }),
    { numRuns: 30 },
  );
  // The rule must not hold by forgetting everything.
  assert.ok(kept > forgotten, `${kept} kept, ${forgotten} forgotten`);
});

await test("two hundred changes, one after another, in a namespace of a thousand", () => {
  const services = Array.from({ length: 1000 }, (_, index) =>
    service(`default/s-${String(index).padStart(4, "0")}`, { clusterIps: [`10.100.${index >> 8}.${index & 255}`] }),
  );
  const namespaces = network({}).namespaces;
  let zone = compileZone(network({ services: [...services], namespaces }));
  for (let index = 0; index < 200; index++) {
    const at = (index * 37) % services.length;
    if (index % 3 === 0) services.splice(at, 1);
    else services[at] = { ...(services[at] as NetworkService), clusterIps: [`10.101.0.${index}`] };
    const now = network({ services: [...services], namespaces });
    zone = compileZone(now, { previous: zone });
    // The index of addresses goes along from the first question on.
    const name = `${index}.0.101.10.in-addr.arpa`;
    assert.deepEqual(finishedAnswer(zone, name, 12), finishedAnswer(compileZone(now), name, 12));
  }
  assert.deepEqual([...(zone.namespaces.get("default")?.services.values() ?? [])], services);
});
