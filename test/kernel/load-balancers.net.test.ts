// Load balancers of a whole lab: addresses from the pool, who announces them, and what nodes answer to health checks.

import assert from "node:assert/strict";
import { once } from "node:events";
import net from "node:net";
import { test } from "node:test";

import type { Service } from "../../src/kube/kinds.ts";
import type { KubeObject } from "../../src/kube/object.ts";
import type { NetworkNamespace } from "../../src/kernel/namespaces.ts";
import { tcpSocketFd } from "../../src/kernel/sockets.ts";
import { applyObjects } from "../../src/lab/control-objects.ts";
import type { Lab } from "../../src/lab/lab.ts";
import { probeTcp } from "../../src/lab/network/probe.ts";
import { atRest, withLab } from "./lab.testing.ts";

const agnhost = "registry.k8s.io/e2e-test-images/agnhost:2.53";

function pod(name: string, nodeName: string): KubeObject {
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { namespace: "default", name, labels: { app: "web" } },
    spec: {
      nodeName,
      containers: [
        { name: "server", image: agnhost, args: ["netexec", "--http-port=8080"], ports: [{ containerPort: 8080 }] },
      ],
    },
  };
}

function balancer(name: string, spec: Record<string, unknown> = {}): KubeObject {
  return {
    apiVersion: "v1",
    kind: "Service",
    metadata: { namespace: "default", name },
    spec: { type: "LoadBalancer", selector: { app: "web" }, ports: [{ port: 80, targetPort: 8080 }], ...spec },
  };
}

function serviceNamed(lab: Lab, name: string): Service {
  const found = lab.api.get({ group: "", resource: "services", namespace: "default", name });
  assert.ok(found);
  return found as Service;
}

function addressesOf(lab: Lab, name: string): readonly string[] {
  return (serviceNamed(lab, name).status?.loadBalancer?.ingress ?? []).map(({ ip }) => ip ?? "");
}

/** Resolves when it holds; the test's own deadline ends a wait for ever. */
async function until(what: string, holds: () => boolean | Promise<boolean>, ms: number): Promise<void> {
  const deadline = performance.now() + ms;
  while (!(await holds())) {
    assert.ok(performance.now() < deadline, `${what}: not within ${ms} ms`);
    await new Promise((resolve) => void setTimeout(resolve, 20));
  }
}

async function get(
  namespace: NetworkNamespace,
  host: string,
  port: number,
  path: string,
): Promise<{ code: number; body: string; head: string }> {
  const socket = new net.Socket({ fd: tcpSocketFd(namespace, 4) });
  socket.connect({ host, port });
  socket.end(`GET ${path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n`);
  let text = "";
  socket.on("data", (chunk: Buffer) => (text += chunk.toString()));
  await once(socket, "close");
  const [head = "", ...rest] = text.split("\r\n\r\n");
  // A chunked body is its first chunk here: answers are written at once.
  const body = /transfer-encoding: chunked/i.test(head) ? (rest[0] ?? "").split("\r\n")[1] : rest.join("\r\n\r\n");
  return { code: Number(head.split(" ")[1]), body: body ?? "", head };
}

const far = balancer("far", { ipFamilyPolicy: "RequireDualStack" });
const elsewhere: KubeObject = {
  ...far,
  metadata: {
    ...far.metadata,
    labels: { from: "elsewhere" },
    annotations: { "fairlead.dev/load-balancer-pool": "elsewhere" },
  },
};

test("load balancers", async (t) => {
  await withLab(async (lab) => {
    applyObjects(lab, {
      objects: [
        pod("a", "node-1"),
        pod("b", "node-2"),
        balancer("wide", { ipFamilyPolicy: "RequireDualStack" }),
        balancer("kept", { externalTrafficPolicy: "Local" }),
        balancer("others", { loadBalancerClass: "example.com/other" }),
        {
          apiVersion: "fairlead.dev/v1alpha1",
          kind: "LoadBalancerPool",
          metadata: { name: "elsewhere" },
          spec: {
            addresses: ["192.0.2.16/29", "2001:db8:77::/124"],
            serviceSelector: { matchLabels: { from: "elsewhere" } },
          },
        },
        elsewhere,
      ],
    });
    await atRest(lab);
    const internet = lab.topology?.internet.namespace;
    assert.ok(internet);
    const isReached = async (address: string): Promise<boolean> =>
      (await probeTcp(internet, { address, port: 80, timeoutMs: 200 })).outcome === "answered";

    await t.test("an address of each family, and the internet reaches them", async () => {
      assert.deepEqual(
        addressesOf(lab, "wide").map((one) => one.includes(":")),
        [false, true],
      );
      assert.deepEqual(addressesOf(lab, "others"), [], "another class is somebody else's");
      for (const address of [...addressesOf(lab, "wide"), ...addressesOf(lab, "kept")])
        assert.ok(await isReached(address), address);
    });

    await t.test("addresses of a pool that is in no range of the nodes are reached as well", async () => {
      const addresses = addressesOf(lab, "far");
      assert.deepEqual(
        addresses.map((one) => one.replace(/\d+$/, "")),
        ["192.0.2.", "2001:db8:77::"],
      );
      for (const address of addresses) assert.ok(await isReached(address), address);
    });

    await t.test("policy Local is announced by a node with an endpoint", () => {
      const [address = ""] = addressesOf(lab, "kept");
      const holder = lab.announced?.get(address) ?? "nobody";
      assert.ok(["node-1", "node-2"].includes(holder), holder);
    });

    await t.test("nodes answer health checks", async () => {
      const port = serviceNamed(lab, "kept").spec.healthCheckNodePort ?? 0;
      const check = async (node: string): Promise<readonly [number, number]> => {
        const answer = await get(internet, lab.nodes().get(node)?.addresses[0] ?? "", port, "/");
        const { localEndpoints } = JSON.parse(answer.body) as { localEndpoints: number };
        assert.match(answer.head, new RegExp(`^X-Load-Balancing-Endpoint-Weight: ${localEndpoints}\r$`, "m"));
        return [answer.code, localEndpoints];
      };
      assert.deepEqual(await check("node-1"), [200, 1]);
      assert.deepEqual(await check("node-3"), [503, 0]);
      const node = lab.nodes().get("node-3");
      assert.ok(node?.machine);
      const address = node.addresses[0] ?? "";
      assert.equal((await get(internet, address, 10256, "/healthz")).code, 200);
      assert.match((await get(internet, address, 10256, "/healthz")).body, /"lastUpdated":".*"nodeEligible":true/);
      assert.equal((await get(node.machine.namespace, "127.0.0.1", 10249, "/proxyMode")).body, "nftables");
      const metrics = (await get(node.machine.namespace, "127.0.0.1", 10249, "/metrics")).body;
      assert.match(metrics, /^kubeproxy_sync_proxy_rules_no_local_endpoints_total\{traffic_policy="external"\} 1$/m);
      assert.match(metrics, /^kubeproxy_proxy_healthz_total\{code="200"\} 2$/m);
      applyObjects(lab, {
        objects: [
          {
            apiVersion: "v1",
            kind: "Node",
            metadata: { name: "node-3" },
            spec: { taints: [{ key: "ToBeDeletedByClusterAutoscaler", effect: "NoSchedule" }] },
          },
        ],
      });
      assert.equal((await get(internet, address, 10256, "/healthz")).code, 503);
      assert.equal((await get(internet, address, 10256, "/livez")).code, 200);
    });

    await t.test("another node takes the address when the link of the one that has it goes down", async () => {
      const [address = ""] = addressesOf(lab, "wide");
      const before = lab.announced?.get(address) ?? "";
      lab.topology?.setUplink(before, "down");
      await until("the address has moved", () => lab.announced?.get(address) !== before, 2000);
      // An endpoint on the node that went is still chosen now and then: one answer shows the way.
      await until("the internet is served again", () => isReached(address), 5000);
      lab.topology?.setUplink(before, "up");
      await until("it comes back", () => lab.announced?.get(address) === before, 2000);
    });

    await t.test("a pool that is the nodes' own range takes neither node nor router off the link", async () => {
      const pool = {
        apiVersion: "fairlead.dev/v1alpha1",
        kind: "LoadBalancerPool",
        metadata: { name: "whole" },
        spec: { addresses: ["172.18.0.0/16"] },
      };
      const metadata = {
        namespace: "default",
        name: "greedy",
        annotations: { "fairlead.dev/load-balancer-pool": "whole" },
      };
      applyObjects(lab, { objects: [pool, { ...balancer("greedy"), metadata }] });
      await lab.programmed();
      const [given = ""] = addressesOf(lab, "greedy");
      const own = [...lab.nodes().values()].flatMap(({ addresses }) => addresses);
      assert.ok(given.startsWith("172.18.") && ![...own, "172.18.0.1"].includes(given), given);
      assert.ok(await isReached(given));
      assert.equal((await probeTcp(internet, { address: given, port: 81, timeoutMs: 300 })).outcome, "refused");
      const [asks, answers] = ["node-1", "node-2"].map((name) => lab.nodes().get(name));
      const [address = ""] = answers?.addresses ?? [];
      assert.ok(asks?.machine);
      for (const namespace of [internet, asks.machine.namespace])
        assert.equal((await probeTcp(namespace, { address, port: 10_256, timeoutMs: 500 })).outcome, "answered");
      for (const [group, resource, name] of [
        ["", "services", "greedy"],
        ["fairlead.dev", "loadbalancerpools", "whole"],
      ] as const)
        lab.api.delete({ group, resource, name, ...(group === "" && { namespace: "default" }) });
      await lab.programmed();
    });

    await t.test("what is given back is given again", async () => {
      const [address] = addressesOf(lab, "kept");
      lab.api.delete({ group: "", resource: "services", namespace: "default", name: "kept" });
      applyObjects(lab, { objects: [balancer("next", { loadBalancerIP: address ?? "" })] });
      await lab.programmed();
      assert.deepEqual(addressesOf(lab, "next"), [address]);
      const { metadata, spec } = serviceNamed(lab, "next");
      const { selector, clusterIP, clusterIPs } = spec;
      const plain = { type: "ClusterIP", selector, clusterIP, clusterIPs, ports: [{ port: 80, targetPort: 8080 }] };
      lab.api.update({ apiVersion: "v1", kind: "Service", metadata, spec: plain });
      await lab.programmed();
      assert.deepEqual(addressesOf(lab, "next"), [], "no load balancer any more");
    });
  });
});
