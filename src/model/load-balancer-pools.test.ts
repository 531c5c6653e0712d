import assert from "node:assert/strict";
import { test } from "node:test";

import type { Service } from "../kube/kinds.ts";
import { poolAnnotation, type LoadBalancerPool } from "../kube/load-balancer-pool.ts";
import { addressesInUse, chooseAddresses, rangesOfPools } from "./load-balancer-pools.ts";

function pool(name: string, addresses: readonly string[], serviceSelector?: object): LoadBalancerPool {
  return {
    apiVersion: "fairlead.dev/v1alpha1",
    kind: "LoadBalancerPool",
    metadata: { name },
    spec: { addresses, ...(serviceSelector === undefined ? {} : { serviceSelector }) },
  };
}

function service(
  more: { readonly labels?: Record<string, string>; readonly pool?: string; readonly ip?: string } = {},
) {
  return {
    apiVersion: "v1",
    kind: "Service",
    metadata: {
      name: "web",
      ...(more.labels === undefined ? {} : { labels: more.labels }),
      ...(more.pool === undefined ? {} : { annotations: { [poolAnnotation]: more.pool } }),
    },
    spec: { type: "LoadBalancer", ...(more.ip === undefined ? {} : { loadBalancerIP: more.ip }) },
  } as unknown as Service;
}

const free = { held: [], isFree: () => true } as const;

void test("pools together: what is inside of another range is not told twice", () => {
  assert.deepEqual(rangesOfPools([pool("a", ["192.0.2.0/24"]), pool("b", ["192.0.2.64/26", "2001:db8::/120"])]), [
    "192.0.2.0/24",
    "2001:db8::/120",
  ]);
});

void test("one address per family, kept; a prefix's first one is not given", () => {
  const pools = [pool("a", ["192.0.2.0/24", "2001:db8::/120"])];
  assert.deepEqual(chooseAddresses(service(), { families: [6, 4], pools, ...free }), ["2001:db8::1", "192.0.2.1"]);
  const held = ["192.0.2.77", "198.51.100.1"];
  assert.deepEqual(chooseAddresses(service(), { families: [4], pools, ...free, held }), ["192.0.2.77"]);
  assert.deepEqual(chooseAddresses(service({ ip: "192.0.2.9" }), { families: [4], pools, ...free, held }), [
    "192.0.2.9",
  ]);
});

void test("what a node, a pod or a cluster address has already is not given, though a pool holds it", () => {
  const node = {
    spec: { podCIDRs: ["192.0.2.64/26"] },
    status: { addresses: [{ type: "InternalIP", address: "192.0.2.1" }] },
  } as const;
  const isInUse = addressesInUse([node], ["192.0.2.128/25"]);
  const given = (ip?: string): readonly string[] | string =>
    chooseAddresses(service(ip === undefined ? {} : { ip }), {
      families: [4],
      pools: [pool("a", ["192.0.2.0/24"])],
      held: ["192.0.2.1"],
      isFree: (address) => !isInUse(address),
    });
  assert.deepEqual(given(), ["192.0.2.2"], "and the Service that has one already gets another");
  for (const ip of ["192.0.2.1", "192.0.2.70", "192.0.2.200"])
    assert.match(String(given(ip)), /is in no pool, or another's: a Service's, a node's or a pod's/);
  assert.deepEqual(given("192.0.2.63"), ["192.0.2.63"]);
});

void test("who prefers two families takes the one that the pools have; who requires them waits", () => {
  const pools = [pool("a", ["192.0.2.1"])];
  const of = (ipFamilyPolicy: "PreferDualStack" | "RequireDualStack"): readonly string[] | string => {
    const { spec, ...rest } = service();
    return chooseAddresses({ ...rest, spec: { ...spec, ipFamilyPolicy } }, { families: [6, 4], pools, ...free });
  };
  assert.deepEqual(of("PreferDualStack"), ["192.0.2.1"]);
  assert.match(String(of("RequireDualStack")), /there is no IPv6 pool/);
});

void test("why there is none", () => {
  const pools = [pool("a", ["192.0.2.1"]), pool("gold", ["192.0.2.2"], { matchLabels: { tier: "gold" } })];
  const none = (given: Service, isFree: (address: string) => boolean = () => true): readonly string[] | string =>
    chooseAddresses(given, { families: [4], pools, held: [], isFree });
  assert.match(
    String(none(service(), (address) => address !== "192.0.2.1")),
    /pool of addresses \(192\.0\.2\.1\) has none left/,
  );
  assert.deepEqual(none(service({ labels: { tier: "gold" }, pool: "gold" })), ["192.0.2.2"]);
  assert.match(
    String(none(service({ pool: "gold" }))),
    /LoadBalancerPool gold \(annotation .*\) is not for this Service: its serviceSelector selects other labels/,
  );
  assert.match(String(none(service({ pool: "golden" }))), /there is no LoadBalancerPool golden/);
  assert.match(String(none(service({ ip: "203.0.113.1" }))), /203\.0\.113\.1 \(spec\.loadBalancerIP\) is in no pool/);
  assert.match(
    String(chooseAddresses(service(), { families: [6], pools, ...free })),
    /there is no IPv6 pool of addresses for load balancers/,
  );
});
