// `fairlead agent --dns node-local`, the process: it answers the node's clients of the DNS Service as soon as it can, and hands back when it ends.

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, afterEach, before, describe, test } from "node:test";

import { createTopology, type Machine, type Topology } from "../../src/lab/network/topology.ts";
import { queryDns } from "../../src/serve/dns/client.ts";
import { rcodeName } from "../../src/wire/dns/message.ts";
import { formatRecordData } from "../../src/wire/dns/record.ts";
import { endAll, nodeObject, runFairlead, startApi, type TestApi } from "./agent.testing.ts";

describe("--dns node-local", () => {
  let topology: Topology;
  let api: TestApi;
  let machine: Machine;
  before(async () => {
    topology = createTopology({ families: [4], nodeCidrs: ["172.18.0.0/16"] });
    machine = topology.addNode("node-1", ["172.18.0.11"]);
    api = await startApi([machine.namespace]);
    api.api.create(nodeObject("node-1", machine.addresses, ["10.244.1.0/24"]));
    api.api.create({ apiVersion: "v1", kind: "Namespace", metadata: { name: "kube-system" } });
    api.api.create({
      apiVersion: "v1",
      kind: "Service",
      metadata: { name: "kube-dns", namespace: "kube-system" },
      spec: {
        type: "ClusterIP",
        clusterIP: "10.96.0.10",
        clusterIPs: ["10.96.0.10"],
        ports: [{ name: "dns", port: 53, protocol: "UDP" }],
      },
    });
  });
  afterEach(endAll);
  after(() => {
    api.close();
    topology.close();
  });

  test("answers from the cluster's objects by the given Corefile; a Service that nobody else answers is refused after it ends", async () => {
    const corefile = join(api.folder, "Corefile");
    writeFileSync(corefile, ".:53 {\n kubernetes cluster.local {\n  ttl 7\n }\n}\n");
    const agent = runFairlead(
      machine.namespace,
      "agent",
      `--kubeconfig=${api.kubeconfig}`,
      "--node=node-1",
      "--dns=node-local",
      `--dns-conf=${corefile}`,
      `--state-dir=${join(api.folder, "state")}`,
      `--cni-dir=${join(api.folder, "cni")}`,
      `--cni-bin-dir=${join(api.folder, "bin")}`,
      `--cni-conf-dir=${join(api.folder, "net.d")}`,
    );
    await agent.says(/DNS: this node's pods are answered here, at 10\.244\.1\./);
    const name = "kube-dns.kube-system.svc.cluster.local";
    const { rcode, answers } = await queryDns(machine.namespace, "10.96.0.10", name, "A", { timeoutMs: 20_000 });
    assert.equal(rcodeName(rcode), "NOERROR");
    assert.deepEqual(
      answers.map(({ ttl, data }) => `${ttl} ${formatRecordData(data)}`),
      ["7 10.96.0.10"],
    );
    const ended = agent.end("SIGTERM");
    await agent.says(/DNS: handed back to the Service's pods/);
    assert.equal(await ended, 0);
    await assert.rejects(queryDns(machine.namespace, "10.96.0.10", name, "A", { timeoutMs: 20_000 }), {
      code: "ECONNREFUSED",
    });
  });
});
