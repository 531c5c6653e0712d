// `fairlead agent --only services` where a kube-proxy ran, and where a firewall drops what a node forwards.
// Needs: nft

import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";

import {
  ask,
  askAll,
  nft,
  nodePort,
  openConnection,
  ruleset,
  startBridgeNode,
  vip,
  type BridgeNode,
} from "./agent-node.testing.ts";
import { endAll } from "./agent.testing.ts";

describe("a node that others had before", () => {
  let place: BridgeNode;
  before(async () => {
    place = await startBridgeNode();
  });
  afterEach(endAll);
  after(() => place.close());

  for (const [mode, theirs] of [
    ["nftables", kubeProxyTable],
    ["iptables", kubeProxyChains],
  ] as const) {
    void test(`takes over from a kube-proxy in ${mode} mode without losing a connection; kubelet's and others' rules stay`, async () => {
      await place.cleanUp();
      nft(place.node.namespace, theirs(place.pod("a").address));
      const long = await openConnection(place, "a");
      const agent = place.start();
      await agent.says(/took over from kube-proxy/);
      await long.echoes();
      await askAll(place.pod("client").namespace, vip, 80, ["a", "b"]);
      const left = ruleset(place.node.namespace);
      assert.doesNotMatch(left, /kube-proxy|KUBE-(SERVICES|SVC|SEP|POSTROUTING|MARK-MASQ)/);
      if (mode === "iptables") assert.match(left, /KUBE-FIREWALL[^]*jump KUBE-FIREWALL/);
      if (mode === "iptables") assert.match(left, /tcp dport 2222 accept/);
      long.close();
      await agent.end();
      if (mode === "iptables") nft(place.node.namespace, "delete table ip nat; delete table ip filter");
      await place.cleanUp();
    });
  }

  void test("a firewall that drops in forward is told, with what to do; its cure lets packets pass", async () => {
    nft(
      place.node.namespace,
      "table ip filter { chain FORWARD { type filter hook forward priority 0; policy drop; } chain DOCKER-USER { } }",
    );
    const agent = place.start();
    await agent.says(/programmed/);
    assert.equal((await ask(place.topology.internet.namespace, "172.18.0.11", nodePort)).outcome, "timeout");
    const said = await agent.says(/forward/);
    assert.match(said, /table ip filter, chain FORWARD drops/);
    const cure = /nft '([^']+)'/.exec(said)?.[1];
    assert.ok(cure !== undefined, said);
    nft(place.node.namespace, cure);
    assert.equal((await ask(place.topology.internet.namespace, "172.18.0.11", nodePort)).outcome, "answered");
    await agent.end();
    nft(place.node.namespace, "delete table ip filter");
    await place.cleanUp();
  });
});

/** What kube-proxy 1.36 makes of one Service with one endpoint, in short (nft list table ip kube-proxy). */
function kubeProxyTable(endpoint: string): string {
  return `table ip kube-proxy {
  map service-ips { type ipv4_addr . inet_proto . inet_service : verdict; elements = { ${vip} . tcp . 80 : goto service-X }; }
  chain endpoint-X { meta l4proto tcp dnat to ${endpoint}:8080 }
  chain service-X { goto endpoint-X }
  chain services { ip daddr . meta l4proto . th dport vmap @service-ips }
  chain nat-prerouting { type nat hook prerouting priority dstnat; jump services; }
  chain nat-output { type nat hook output priority -100; jump services; }
  chain nat-postrouting { type nat hook postrouting priority srcnat; }
}
table ip6 kube-proxy { chain c { type nat hook prerouting priority dstnat; } }
`;
}

/** The same by iptables-nft, with kubelet's chain and a stranger's rule beside (iptables-save). */
function kubeProxyChains(endpoint: string): string {
  return `table ip nat {
  chain KUBE-MARK-MASQ { meta mark set mark or 0x4000 }
  chain KUBE-SEP-AAAAAAAAAAAAAAAA { meta l4proto tcp dnat to ${endpoint}:8080 }
  chain KUBE-SVC-AAAAAAAAAAAAAAAA { goto KUBE-SEP-AAAAAAAAAAAAAAAA }
  chain KUBE-SERVICES { ip daddr ${vip} tcp dport 80 counter jump KUBE-SVC-AAAAAAAAAAAAAAAA }
  chain KUBE-POSTROUTING { return; }
  chain PREROUTING { type nat hook prerouting priority dstnat; counter jump KUBE-SERVICES; }
  chain OUTPUT { type nat hook output priority -100; counter jump KUBE-SERVICES; }
  chain POSTROUTING { type nat hook postrouting priority srcnat; counter jump KUBE-POSTROUTING; }
}
table ip filter {
  chain KUBE-FIREWALL { ip saddr != 127.0.0.0/8 ip daddr 127.0.0.0/8 drop; }
  chain KUBE-FORWARD { ct state invalid drop; }
  chain INPUT { type filter hook input priority 0; jump KUBE-FIREWALL; tcp dport 2222 accept; }
  chain FORWARD { type filter hook forward priority 0; counter jump KUBE-FORWARD; }
}
`;
}
