// Beside another program's pod network a Program has Services and nothing else.

import assert from "node:assert/strict";
import { test } from "node:test";

import { buildNetwork } from "../model/build.ts";
import { clusterConfig } from "../model/cluster.ts";
import type { LocalPods } from "../model/network.ts";
import { node, objects, service, slice } from "../model/objects.testing.ts";
import { compile } from "./compile.ts";
import { formatElement, formatRule } from "./nftables/format.ts";
import type { Program } from "./program.ts";

function programWith(local: LocalPods, podCidrs: readonly string[] = ["10.244.0.0/16"]): Program {
  const cluster = {
    ...clusterConfig({ families: [4], policy: "off" }),
    podCidrs,
    loadBalancerCidrs: [],
    podNetwork: { kind: "others", local },
  } as const;
  const network = buildNetwork(
    cluster,
    objects({
      nodes: [node(1), node(2)],
      services: [service("web", { clusterIP: "10.96.0.5" }), service("more", { clusterIP: "10.96.0.6" })],
      endpointSlices: [slice("web", [endpoint(1, 5), endpoint(2, 9)]), slice("more", [endpoint(1, 5)])],
    }),
  );
  return compile(network, "node-1", []);
}

function endpoint(at: number, host: number): { addresses: string[]; nodeName: string } {
  return { addresses: [`10.244.${at}.${host}`], nodeName: `node-${at}` };
}

function chain(program: Program, name: string): readonly string[] {
  const [table] = program.tables;
  assert.ok(table !== undefined);
  const found = table.chains.find((each) => each.name === name);
  return (found?.rules ?? []).map((rule) => formatRule(table, rule).replace(/ comment .*/, ""));
}

function set(program: Program, name: string): readonly string[] {
  const [table] = program.tables;
  const found = table?.sets.find((each) => each.name === name);
  return found === undefined ? ["missing"] : found.elements.map((element) => formatElement(found, element));
}

void test("nothing but one table per family", () => {
  const program = programWith({ kind: "cluster-ranges" });
  const { node, tables, ...frame } = program;
  assert.equal(node, "node-1");
  assert.deepEqual(frame, { sysctls: [], links: [], addresses: [], routes: [], neighbours: [], forwarding: [] });
  assert.deepEqual(
    tables.map(({ family, name }) => `${family} ${name}`),
    ["ip fairlead"],
  );
  assert.equal(set(program, "services").length, 2);
  assert.deepEqual(chain(program, "guard-forward"), ["ct state invalid counter drop"]);
  assert.deepEqual(chain(program, "guard-input"), []);
});

void test("endpoints of the node come back to themselves through a Service, once each", () => {
  assert.deepEqual(set(programWith({ kind: "cluster-ranges" }), "hairpin"), ["10.244.1.5 . 10.244.1.5"]);
});

const foreign = (program: Program): readonly string[] =>
  chain(program, "source").filter((text) => text.includes("@service-ranges"));

void test("whose Service connections are masqueraded: by the cluster's ranges, the node's, a link, or nobody's", () => {
  const byCluster = programWith({ kind: "cluster-ranges" });
  assert.deepEqual(set(byCluster, "local-pods"), ["10.244.0.0/16"]);
  assert.deepEqual(foreign(byCluster), [
    "ct status dnat ct original ip daddr @service-ranges ip saddr != @local-pods masquerade fully-random",
  ]);
  assert.deepEqual(set(programWith({ kind: "node-ranges" }), "local-pods"), ["10.244.1.0/24"]);
  assert.deepEqual(foreign(programWith({ kind: "link", name: "cali*" })), [
    'ct status dnat ct original ip daddr @service-ranges iifname != "cali*" masquerade fully-random',
  ]);
  assert.deepEqual(foreign(programWith({ kind: "cluster-ranges" }, [])), []);
});

void test("what pods send to the outside is another program's business", () => {
  const texts = chain(programWith({ kind: "cluster-ranges" }), "source");
  assert.deepEqual(
    texts.filter((text) => !text.startsWith("ct status dnat")),
    [],
  );
});

void test("node ports answer where the node says", () => {
  const cluster = {
    ...clusterConfig({ families: [4], policy: "off" }),
    podNetwork: { kind: "others", local: { kind: "cluster-ranges" } },
  } as const;
  const network = buildNetwork(
    cluster,
    objects({
      nodes: [node(1)],
      services: [
        service("web", {
          type: "NodePort",
          clusterIP: "10.96.0.5",
          ports: [{ name: "http", port: 80, targetPort: "http", protocol: "TCP", nodePort: 30080 }],
        }),
      ],
      endpointSlices: [slice("web", [endpoint(1, 5)])],
    }),
  );
  const nodes = network.nodes.map((each) => ({ ...each, nodePortAddresses: ["192.0.2.7", "198.51.100.7", "fd00::7"] }));
  const doors = (program: Program): readonly string[] =>
    set(program, "services").flatMap((text) => (text.includes("30080") ? [text.split(" ")[0] ?? ""] : []));
  assert.deepEqual(doors(compile(network, "node-1", [])), ["172.18.0.2"]);
  assert.deepEqual(doors(compile({ ...network, nodes }, "node-1", [])), ["192.0.2.7", "198.51.100.7"]);
});
