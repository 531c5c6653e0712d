import assert from "node:assert/strict";
import { test } from "node:test";

import { queryDns } from "../serve/dns/client.ts";
import { answerOf, testUpstream } from "../serve/dns/server.testing.ts";
import { rcodes } from "../wire/dns/message.ts";
import { createTopology } from "./network/topology.ts";
import { startRouterDns } from "./router-dns.ts";

await test("a node asks the router at either of its addresses; cluster names are none there, and what the host cannot say is a failure", async () => {
  const topology = createTopology({ families: [4, 6], nodeCidrs: ["172.18.0.0/16", "fd00:172:18::/64"] });
  const { namespace } = topology.addNode("node-1", ["172.18.0.11", "fd00:172:18::11"]);
  const host = testUpstream(({ name }) => {
    if (name === "gone.example") return undefined;
    if (name.endsWith("cluster.local")) return { rcode: rcodes.NXDOMAIN };
    return { answers: [answerOf(name, { kind: "A", address: "198.51.100.7" })] };
  });
  const lines: string[] = [];
  const router = startRouterDns({
    router: topology.underlay,
    outside: { resolve: (query) => host.resolve(query), ask: () => Promise.reject(new Error("nobody")), close() {} },
    log: (line) => void lines.push(line),
  });
  try {
    const ask = (server: string, name: string): ReturnType<typeof queryDns> => queryDns(namespace, server, name, "A");
    for (const server of topology.underlay.addresses) {
      const { rcode, answers } = await ask(server, "elsewhere.example");
      assert.deepEqual([rcode, answers.map(({ data }) => data.kind === "A" && data.address)], [0, ["198.51.100.7"]]);
      assert.equal((await ask(server, "kubernetes.default.svc.cluster.local")).rcode, rcodes.NXDOMAIN);
      assert.equal((await ask(server, "gone.example")).rcode, rcodes.SERVFAIL);
    }
    assert.equal(host.asked.filter((each) => each.startsWith("elsewhere.example")).length, 1, "kept");
  } finally {
    await router.close();
    topology.close();
  }
  assert.deepEqual(
    lines.filter((line) => line.includes("DNS for machines")),
    [],
  );
});
