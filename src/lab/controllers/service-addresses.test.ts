import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { contains } from "../../ip/prefix.ts";
import type { Service } from "../../kube/kinds.ts";
import { StatusError } from "../api/store.ts";
import { addressBand, pick, portBand } from "./bands.ts";
import { service, testCluster, type TestCluster } from "./cluster.testing.ts";
import { ipAddresses, serviceCidrs, services } from "./resources.ts";

type Spec = Partial<Service["spec"]>;
const port = { name: "http", port: 80 };

async function cluster(families: readonly (4 | 6)[] = [4, 6]): Promise<TestCluster> {
  return testCluster({
    config: { families, serviceCidrs: families.map((family) => (family === 4 ? "10.96.0.0/16" : "fd00:10:96::/112")) },
  });
}

/** The message with which a Service is refused. */
function refused(run: () => void): string {
  try {
    run();
  } catch (error) {
    assert.ok(error instanceof StatusError);
    assert.equal(error.code, 422);
    return error.message;
  }
  return "accepted";
}

const facts = ({ spec }: Service): unknown => ({
  policy: spec.ipFamilyPolicy,
  families: spec.ipFamilies,
  ips: spec.clusterIPs?.map((ip) =>
    ip === "None" ? ip : contains("10.96.0.0/16", ip) ? "v4" : contains("fd00:10:96::/112", ip) ? "v6" : ip,
  ),
});

void describe("cluster addresses", () => {
  const given: readonly { what: string; families?: readonly (4 | 6)[]; spec: Spec; expected: unknown }[] = [
    { what: "nothing asked", spec: {}, expected: { policy: "SingleStack", families: ["IPv4"], ips: ["v4"] } },
    {
      what: "nothing asked, IPv6 first",
      families: [6, 4],
      spec: {},
      expected: { policy: "SingleStack", families: ["IPv6"], ips: ["v6"] },
    },
    {
      what: "one family asked",
      spec: { ipFamilies: ["IPv6"] },
      expected: { policy: "SingleStack", families: ["IPv6"], ips: ["v6"] },
    },
    {
      what: "an address asked",
      spec: { clusterIP: "fd00:10:96::99" },
      expected: { policy: "SingleStack", families: ["IPv6"], ips: ["v6"] },
    },
    {
      what: "PreferDualStack",
      spec: { ipFamilyPolicy: "PreferDualStack" },
      expected: { policy: "PreferDualStack", families: ["IPv4", "IPv6"], ips: ["v4", "v6"] },
    },
    {
      what: "PreferDualStack in a cluster of one family",
      families: [4],
      spec: { ipFamilyPolicy: "PreferDualStack" },
      expected: { policy: "PreferDualStack", families: ["IPv4"], ips: ["v4"] },
    },
    {
      what: "RequireDualStack with IPv6 first",
      spec: { ipFamilyPolicy: "RequireDualStack", ipFamilies: ["IPv6", "IPv4"] },
      expected: { policy: "RequireDualStack", families: ["IPv6", "IPv4"], ips: ["v6", "v4"] },
    },
    {
      what: "headless",
      spec: { clusterIP: "None" },
      expected: { policy: "SingleStack", families: ["IPv4"], ips: ["None"] },
    },
    {
      what: "ExternalName",
      spec: { type: "ExternalName", externalName: "example.com" },
      expected: { policy: undefined, families: undefined, ips: undefined },
    },
  ];
  for (const { what, families, spec, expected } of given) {
    void test(what, async () => {
      const lab = await cluster(families);
      lab.create(service("web", spec));
      assert.deepEqual(facts(lab.must(services, "web")), expected);
      lab.close();
    });
  }

  void test("headless without selector: every family, since whoever writes the endpoints decides", async () => {
    const lab = await cluster([4]);
    lab.create({
      apiVersion: "v1",
      kind: "Service",
      metadata: { name: "web" },
      spec: { clusterIP: "None", ports: [port] },
    });
    assert.deepEqual(facts(lab.must(services, "web")), {
      policy: "RequireDualStack",
      families: ["IPv4", "IPv6"],
      ips: ["None"],
    });
    lab.close();
  });

  const wrong: readonly { what: string; families?: readonly (4 | 6)[]; spec: Spec; message: string }[] = [
    {
      what: "an address that is taken",
      spec: { clusterIP: "10.96.0.10" },
      message:
        'spec.clusterIPs: Invalid value: ["10.96.0.10"]: failed to allocate IP 10.96.0.10: provided IP is already allocated',
    },
    {
      what: "an address outside the range",
      spec: { clusterIP: "10.97.0.1" },
      message:
        'spec.clusterIPs: Invalid value: ["10.97.0.1"]: failed to allocate IP 10.97.0.1: the provided network does not contain the IP: the range of valid IPs is 10.96.0.0/16',
    },
    {
      what: "the network's own address",
      spec: { clusterIP: "10.96.0.0" },
      message:
        'spec.clusterIPs: Invalid value: ["10.96.0.0"]: failed to allocate IP 10.96.0.0: the provided network does not contain the IP: the range of valid IPs is 10.96.0.0/16',
    },
    {
      what: "two families with SingleStack",
      spec: { ipFamilies: ["IPv4", "IPv6"] },
      message:
        "spec.ipFamilyPolicy: Invalid value: \"SingleStack\": must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified",
    },
    {
      what: "RequireDualStack in a cluster of one family",
      families: [4],
      spec: { ipFamilyPolicy: "RequireDualStack" },
      message:
        'spec.ipFamilyPolicy: Invalid value: "RequireDualStack": this cluster is not configured for dual-stack services',
    },
    {
      what: "a family that the cluster does not have",
      families: [4],
      spec: { ipFamilies: ["IPv6"] },
      message: 'spec.ipFamilies[0]: Invalid value: "IPv6": not configured on this cluster',
    },
    {
      what: "an address of the other family",
      spec: { clusterIP: "10.96.0.99", ipFamilies: ["IPv6"] },
      message:
        'spec.clusterIPs[0]: Invalid value: "10.96.0.99": expected an IPv6 value as indicated by `ipFamilies[0]`',
    },
    {
      what: "two addresses that differ",
      spec: { clusterIP: "10.96.0.99", clusterIPs: ["10.96.0.98"] },
      message: 'spec.clusterIPs: Invalid value: ["10.96.0.98"]: first value must match `clusterIP`',
    },
    {
      what: "a node port that is taken",
      spec: { type: "NodePort", ports: [{ ...port, nodePort: 30_080 }] },
      message: "spec.ports[0].nodePort: Invalid value: 30080: provided port is already allocated",
    },
    {
      what: "a node port outside the range",
      spec: { type: "NodePort", ports: [{ ...port, nodePort: 80 }] },
      message:
        "spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid range. The range of valid ports is 30000-32767",
    },
  ];
  for (const { what, families, spec, message } of wrong) {
    void test(`${what} is refused`, async () => {
      const lab = await cluster(families);
      lab.create(service("dns", { clusterIP: "10.96.0.10", type: "NodePort", ports: [{ ...port, nodePort: 30_080 }] }));
      assert.equal(
        refused(() => lab.create(service("web", spec))),
        `Service "web" is invalid: ${message}`,
      );
      assert.equal(lab.get(services, "web"), undefined);
      lab.close();
    });
  }

  void test("what a refused or deleted Service asked for is free again", async () => {
    const lab = await cluster();
    const broken = service("web", { clusterIP: "10.96.0.99", ports: [{ name: "BAD NAME", port: 80 }] });
    assert.notEqual(
      refused(() => lab.create(broken)),
      "accepted",
    );
    lab.create(service("one", { clusterIP: "10.96.0.99" }));
    assert.notEqual(
      refused(() => lab.create(service("two", { clusterIP: "10.96.0.99" }))),
      "accepted",
    );
    lab.remove(services, "one");
    lab.create(service("two", { clusterIP: "10.96.0.99" }));
    lab.close();
  });

  void test("a restart knows what is taken", async () => {
    const lab = await cluster();
    lab.create(service("one", { clusterIP: "10.96.0.99", type: "NodePort", ports: [{ ...port, nodePort: 30_080 }] }));
    const again = lab.newAllocator();
    const { store } = lab;
    const asked = service("two", { clusterIP: "10.96.0.99" });
    const object = { ...asked, metadata: { ...asked.metadata, namespace: "default" } };
    assert.match(
      refused(() => void again({ operation: "create", object, store } as never)),
      /already allocated/,
    );
    lab.close();
  });
});

void describe("updates of a Service", () => {
  const update = (lab: TestCluster, change: (spec: Service["spec"]) => Spec & Record<string, unknown>): Service => {
    lab.edit(services, "web", (object) => {
      const spec = Object.fromEntries(
        Object.entries({ ...object.spec, ...change(object.spec) }).filter(([, value]) => value !== undefined),
      );
      return { ...object, spec };
    });
    return lab.must(services, "web");
  };

  void test("that leave addresses and node ports out keep them", async () => {
    const lab = await cluster();
    lab.create(service("web", { type: "NodePort", ipFamilyPolicy: "PreferDualStack" }));
    const before = lab.must(services, "web").spec;
    const after = update(
      lab,
      () => ({ clusterIP: undefined, clusterIPs: undefined, ports: [port, { name: "more", port: 81 }] }) as never,
    ).spec;
    assert.deepEqual(after.clusterIPs, before.clusterIPs);
    assert.equal(after.ports?.[0]?.nodePort, before.ports?.[0]?.nodePort);
    assert.notEqual(after.ports?.[1]?.nodePort, undefined);
    lab.close();
  });

  void test("to another type give back what it does not need, and take what it does", async () => {
    const lab = await cluster();
    lab.create(service("web", { type: "NodePort" }));
    const nodePort = lab.must(services, "web").spec.ports?.[0]?.nodePort ?? 0;
    // What a client does who changes the type alone: the policy for outside traffic goes along.
    const inside = update(lab, () => ({ type: "ClusterIP" })).spec;
    assert.deepEqual([inside.ports?.[0]?.nodePort, inside.externalTrafficPolicy], [undefined, undefined]);
    update(lab, () => ({ type: "LoadBalancer", loadBalancerClass: "example.com/x" }));
    const again = update(lab, () => ({ type: "ClusterIP" })).spec;
    assert.deepEqual([again.allocateLoadBalancerNodePorts, again.loadBalancerClass], [undefined, undefined]);
    assert.throws(
      () => update(lab, () => ({ type: "ClusterIP", externalTrafficPolicy: "Local" })),
      /externally-accessible/,
    );
    lab.create(service("other", { type: "NodePort", ports: [{ ...port, nodePort }] }));
    const external = update(lab, () => ({ type: "ExternalName", externalName: "example.com" })).spec;
    assert.deepEqual([external.clusterIP, external.clusterIPs, external.ipFamilies], [undefined, undefined, undefined]);
    assert.equal(
      update(lab, () => ({ type: "ClusterIP", externalName: undefined }) as never).spec.clusterIPs?.length,
      1,
    );
    lab.close();
  });

  void test("to a type without node ports may lose ports as well", async () => {
    const lab = await cluster();
    lab.create(service("web", { type: "NodePort", ports: [port, { name: "more", port: 81 }] }));
    const [first] = lab.must(services, "web").spec.ports ?? [];
    const inside = update(lab, () => ({ type: "ClusterIP", ports: first === undefined ? [] : [first] })).spec;
    assert.deepEqual(
      inside.ports?.map(({ name, nodePort }) => [name, nodePort]),
      [["http", undefined]],
    );
    lab.close();
  });

  void test("from one family to two and back", async () => {
    const lab = await cluster();
    lab.create(service("web"));
    const [first] = lab.must(services, "web").spec.clusterIPs ?? [];
    const dual = update(lab, () => ({ ipFamilyPolicy: "PreferDualStack" })).spec;
    assert.deepEqual([dual.clusterIPs?.length, dual.clusterIPs?.[0], dual.ipFamilies], [2, first, ["IPv4", "IPv6"]]);
    const single = update(lab, () => ({ ipFamilyPolicy: "SingleStack" })).spec;
    assert.deepEqual([single.clusterIPs, single.ipFamilies], [[first], ["IPv4"]]);
    lab.close();
  });

  void test("that take the second family or address away, but not the policy, are refused", async () => {
    const lab = await cluster();
    lab.create(service("web", { ipFamilyPolicy: "RequireDualStack" }));
    const { clusterIPs = [] } = lab.must(services, "web").spec;
    const policy =
      "spec.ipFamilyPolicy: Invalid value: \"RequireDualStack\": must be 'SingleStack' to release the secondary";
    assert.equal(
      refused(() => update(lab, () => ({ ipFamilies: ["IPv4"] }))),
      `Service "web" is invalid: ${policy} IP family`,
    );
    assert.equal(
      refused(() => update(lab, () => ({ ipFamilies: ["IPv4"], clusterIPs: clusterIPs.slice(0, 1) }))),
      `Service "web" is invalid: [${policy} cluster IP, ${policy} IP family]`,
    );
    assert.deepEqual(lab.must(services, "web").spec.clusterIPs, clusterIPs);
    lab.close();
  });

  void test("a load balancer that wants no node ports keeps those it has, until they are taken out", async () => {
    const lab = await cluster();
    lab.create(service("web", { type: "LoadBalancer" }));
    const before = lab.must(services, "web").spec.ports;
    assert.ok((before?.[0]?.nodePort ?? 0) > 0);
    const without = (ports?: Service["spec"]["ports"]): Partial<Service["spec"]> => ({
      allocateLoadBalancerNodePorts: false,
      ...(ports !== undefined && { ports }),
    });
    assert.deepEqual(update(lab, () => without()).spec.ports, before);
    assert.equal(update(lab, () => without([port])).spec.ports?.[0]?.nodePort, undefined);
    const asked = { ...port, nodePort: 30_444 };
    assert.deepEqual(
      update(lab, () => without([asked, { name: "more", port: 81 }])).spec.ports?.map(({ nodePort }) => nodePort),
      [30_444, undefined],
    );
    assert.match(
      refused(() => lab.create(service("other", { type: "NodePort", ports: [asked] }))),
      /spec.ports\[0\].nodePort: Invalid value: 30444: provided port is already allocated/,
    );
    lab.close();
  });

  void test("of the address are refused", async () => {
    const lab = await cluster();
    lab.create(service("web"));
    const message = refused(() => update(lab, () => ({ clusterIP: "10.96.0.99", clusterIPs: ["10.96.0.99"] })));
    assert.equal(
      message,
      'Service "web" is invalid: spec.clusterIPs[0]: Invalid value: ["10.96.0.99"]: may not change once set',
    );
    lab.close();
  });

  void test("healthCheckNodePort comes and goes with externalTrafficPolicy Local of load balancers", async () => {
    const lab = await cluster();
    lab.create(service("web", { type: "LoadBalancer", externalTrafficPolicy: "Local" }));
    const port = lab.must(services, "web").spec.healthCheckNodePort ?? 0;
    assert.ok(port >= 30_000 && port <= 32_767);
    assert.equal(update(lab, () => ({ healthCheckNodePort: undefined }) as never).spec.healthCheckNodePort, port);
    assert.equal(update(lab, () => ({ externalTrafficPolicy: "Cluster" })).spec.healthCheckNodePort, undefined);
    lab.close();
  });

  void test("TCP and UDP of one port share a node port", async () => {
    const lab = await cluster();
    lab.create(
      service("web", {
        type: "NodePort",
        ports: [
          { name: "a", port: 53, protocol: "TCP" },
          { name: "b", port: 53, protocol: "UDP" },
          { name: "c", port: 54, protocol: "TCP" },
        ],
      }),
    );
    const [a, b, c] = lab.must(services, "web").spec.ports ?? [];
    assert.equal(a?.nodePort, b?.nodePort);
    assert.notEqual(a?.nodePort, c?.nodePort);
    lab.close();
  });
});

void describe("bands", () => {
  // KEP-3070 and KEP-3668 give these examples.
  for (const [range, first, dynamic, last] of [
    ["10.96.0.0/24", "10.96.0.1", "10.96.0.17", "10.96.0.254"],
    ["10.96.0.0/20", "10.96.0.1", "10.96.1.0", "10.96.15.254"],
    ["10.96.0.0/16", "10.96.0.1", "10.96.1.1", "10.96.255.254"],
    ["10.96.0.0/28", "10.96.0.1", "10.96.0.1", "10.96.0.14"],
    ["fd00::/112", "fd00::1", "fd00::101", "fd00::ffff"],
    ["fd00::/48", "fd00::1", "fd00::101", "fd00::ffff:ffff:ffff:ffff"],
  ] as const) {
    void test(`addresses of ${range}`, () => {
      const band = addressBand(range);
      assert.deepEqual([band.first, band.dynamic, band.last].map(band.value), [first, dynamic, last]);
    });
  }

  void test("node ports 30000-32767 are given from 30086 on", () => {
    const band = portBand({ first: 30_000, last: 32_767 });
    assert.deepEqual([band.first, band.dynamic, band.last].map(band.value), [30_000, 30_086, 32_767]);
  });

  void test("everything is given once, the upper band first, then nothing", () => {
    const taken = new Set<string>();
    const order: string[] = [];
    for (;;) {
      const found = pick(addressBand("10.0.0.0/26"), Math.random, taken.size, (address) => !taken.has(address));
      if (found === undefined) break;
      assert.ok(!taken.has(found));
      taken.add(found);
      order.push(found);
    }
    assert.equal(taken.size, 62);
    assert.ok(order.slice(0, 46).every((address) => Number(address.split(".")[3]) >= 17));
  });
});

void describe("IPAddress and ServiceCIDR objects", () => {
  const names = (lab: TestCluster): readonly string[] => lab.list(ipAddresses).map(({ metadata }) => metadata.name);

  void test("there is one IPAddress for each address of a Service, as long as it has it", async () => {
    const lab = await cluster();
    lab.create(service("web", { ipFamilyPolicy: "PreferDualStack" }), service("none", { clusterIP: "None" }));
    await lab.idle();
    const ips = lab.must(services, "web").spec.clusterIPs ?? [];
    assert.deepEqual(
      names(lab),
      [...ips].sort((a, b) => (a < b ? -1 : 1)),
    );
    assert.deepEqual(lab.must(ipAddresses, ips[1] ?? "").spec.parentRef, {
      group: "",
      resource: "services",
      namespace: "default",
      name: "web",
    });
    lab.remove(ipAddresses, ips[0] ?? "");
    await lab.idle();
    assert.equal(names(lab).length, 2);
    lab.remove(services, "web");
    await lab.idle();
    assert.deepEqual(names(lab), []);
    lab.close();
  });

  void test("an address that something else holds is not given to a Service", async () => {
    const lab = await cluster();
    lab.create({
      apiVersion: "networking.k8s.io/v1",
      kind: "IPAddress",
      metadata: { name: "10.96.0.77" },
      spec: { parentRef: { group: "example.com", resource: "gateways", namespace: "default", name: "x" } },
    });
    await lab.idle();
    assert.match(
      refused(() => lab.create(service("web", { clusterIP: "10.96.0.77" }))),
      /already allocated/,
    );
    assert.deepEqual(names(lab), ["10.96.0.77"]);
    lab.close();
  });

  void test("a further ServiceCIDR gives addresses, and goes only when none of them is used", async () => {
    const lab = await cluster();
    assert.deepEqual(lab.must(serviceCidrs, "kubernetes").spec.cidrs, ["10.96.0.0/16", "fd00:10:96::/112"]);
    lab.create({
      apiVersion: "networking.k8s.io/v1",
      kind: "ServiceCIDR",
      metadata: { name: "more" },
      spec: { cidrs: ["10.200.0.0/24"] },
    });
    await lab.idle();
    lab.create(service("web", { clusterIP: "10.200.0.9" }));
    await lab.idle();
    lab.remove(serviceCidrs, "more");
    await lab.pass(60_000);
    assert.equal(lab.list(serviceCidrs).length, 2);
    assert.match(
      refused(() => lab.create(service("late", { clusterIP: "10.200.0.10" }))),
      /does not contain the IP/,
    );
    lab.remove(services, "web");
    await lab.pass(60_000);
    assert.deepEqual(
      lab.list(serviceCidrs).map(({ metadata }) => metadata.name),
      ["kubernetes"],
    );
    lab.close();
  });
});
