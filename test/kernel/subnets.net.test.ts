// A whole lab whose nodes are in two subnets (`fairlead up --routing mixed`): pods, load balancers on either side, and what is said about a packet.

import assert from "node:assert/strict";
import { test } from "node:test";

import type { Pod, Service } from "../../src/kube/kinds.ts";
import type { KubeObject } from "../../src/kube/object.ts";
import { applyObjects } from "../../src/lab/control-objects.ts";
import { probeTcp } from "../../src/lab/network/probe.ts";
import { atRest, withLab } from "./lab.testing.ts";

const subnets = ["172.18.0.0/17", "172.18.128.0/17", "fd00:172:18::/65", "fd00:172:18:0:8000::/65"];

function pod(nodeName: string): KubeObject {
  const image = "registry.k8s.io/e2e-test-images/agnhost:2.53";
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { namespace: "default", name: `on-${nodeName}`, labels: { app: nodeName } },
    spec: { nodeName, containers: [{ name: "server", image, args: ["netexec", "--http-port=8080"] }] },
  };
}

/** Announced by the only node that has an endpoint. */
function balancer(app: string): KubeObject {
  return {
    apiVersion: "v1",
    kind: "Service",
    metadata: { namespace: "default", name: app },
    spec: {
      type: "LoadBalancer",
      selector: { app },
      externalTrafficPolicy: "Local",
      ports: [{ port: 80, targetPort: 8080 }],
    },
  };
}

test("nodes in two subnets", async (t) => {
  await withLab(
    async (lab) => {
      const names = ["node-1", "node-2", "node-3"];
      applyObjects(lab, { objects: names.flatMap((name) => [pod(name), balancer(name)]) });
      await atRest(lab);
      const get = (resource: string, name: string): KubeObject => {
        const found = lab.api.get({ group: "", resource, namespace: "default", name });
        assert.ok(found, name);
        return found;
      };

      await t.test("every pod reaches every other, with both families", async () => {
        for (const from of names) {
          const where = { namespace: "default", pod: `on-${from}`, container: "server" };
          const namespace = lab.nodes().get(from)?.kubelet?.sandboxOf(where);
          assert.ok(namespace, from);
          for (const to of names) {
            for (const { ip = "" } of (get("pods", `on-${to}`) as Pod).status?.podIPs ?? []) {
              const { outcome } = await probeTcp(namespace, { address: ip, port: 8080 });
              assert.equal(outcome, "answered", `${from} to ${ip}`);
            }
          }
        }
      });

      await t.test("the internet reaches load balancers on both sides of the router", async () => {
        const internet = lab.topology?.internet.namespace;
        assert.ok(internet);
        for (const name of names) {
          const [ingress] = (get("services", name) as Service).status?.loadBalancer?.ingress ?? [];
          const address = ingress?.ip ?? "";
          assert.equal(lab.announced?.get(address), name);
          assert.equal((await probeTcp(internet, { address, port: 80 })).outcome, "answered", `${name} at ${address}`);
        }
      });
    },
    { nodes: 3, routing: "mixed", subnets },
  );
});
