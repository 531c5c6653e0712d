// A further ServiceCIDR of a lab: its addresses are Services' like all others, for packets, routes and people, as long as it is there.

import assert from "node:assert/strict";
import { test } from "node:test";

import type { KubeObject } from "../../src/kube/object.ts";
import { applyObjects } from "../../src/lab/control-objects.ts";
import { probeTcp } from "../../src/lab/network/probe.ts";
import { atRest, withLab } from "./lab.testing.ts";

const agnhost = "registry.k8s.io/e2e-test-images/agnhost:2.53";

const web: KubeObject = {
  apiVersion: "v1",
  kind: "Pod",
  metadata: { namespace: "default", name: "web", labels: { app: "web" } },
  spec: {
    nodeName: "node-2",
    containers: [
      { name: "server", image: agnhost, args: ["netexec", "--http-port=8080"], ports: [{ containerPort: 8080 }] },
    ],
  },
};
const range: KubeObject = {
  apiVersion: "networking.k8s.io/v1",
  kind: "ServiceCIDR",
  metadata: { name: "more" },
  spec: { cidrs: ["10.98.0.0/24", "fd00:10:98::/120"] },
};
const addresses = ["10.98.0.7", "fd00:10:98::7"];
const service: KubeObject = {
  apiVersion: "v1",
  kind: "Service",
  metadata: { namespace: "default", name: "further" },
  spec: {
    clusterIP: addresses[0],
    clusterIPs: addresses,
    ipFamilyPolicy: "RequireDualStack",
    selector: { app: "web" },
    ports: [{ port: 80, targetPort: 8080 }],
  },
};

test("a further ServiceCIDR", async () => {
  await withLab(
    async (lab) => {
      applyObjects(lab, { objects: [web, range] });
      applyObjects(lab, { objects: [service] });
      await atRest(lab);
      const node = lab.nodes().get("node-1");
      assert.ok(node?.machine);
      const { namespace, kernel } = node.machine;
      const routes = kernel.routes().map(({ to }) => to);
      for (const to of ["10.98.0.0/24", "fd00:10:98::/120"]) assert.ok(routes.includes(to), to);
      for (const address of addresses) {
        const request = "GET /clientip HTTP/1.0\r\n\r\n";
        const { said = "" } = await probeTcp(namespace, { address, port: 80, send: request, read: true });
        // As at an address of the first range: not the node's address on the underlay, whose answers would take another way.
        const sources = address.includes(":") ? /\r\n\r\n\[fd00:10:244:/ : /\r\n\r\n10\.244\./;
        assert.match(said, sources);
        const nobodys = address.replace(/7$/, "9");
        const { outcome } = await probeTcp(namespace, { address: nobodys, port: 80, timeoutMs: 300 });
        assert.equal(outcome, "timeout", "an address that no Service has is silence");
      }
      assert.deepEqual(lab.network().problems, []);
    },
    { nodes: 2 },
  );
});
