import assert from "node:assert/strict";
import { test } from "node:test";

import { clusterConfig, ClusterConfigError, type ClusterOptions } from "./cluster.ts";

void test("defaults", () => {
  assert.deepEqual(clusterConfig(), {
    domain: "cluster.local",
    families: [4, 6],
    podCidrs: ["10.244.0.0/16", "fd00:10:244::/56"],
    serviceCidrs: ["10.96.0.0/16", "fd00:10:96::/112"],
    nodeCidrs: ["172.18.0.0/16", "fd00:172:18::/64"],
    dnsAddresses: ["10.96.0.10", "fd00:10:96::a"],
    overlay: "vxlan",
    underlayMtu: 1500,
    loadBalancerCidrs: ["172.18.255.0/24", "fd00:172:18::ff00/120"],
    nodePorts: { first: 30000, last: 32767 },
  });
});

void test("a range replaces the default of its own family, the families give the order", () => {
  const config = clusterConfig({ families: [6, 4], podCidrs: ["10.128.0.0/10"] });
  assert.deepEqual(config.podCidrs, ["fd00:10:244::/56", "10.128.0.0/10"]);
  assert.deepEqual(clusterConfig({ families: [4] }).serviceCidrs, ["10.96.0.0/16"]);
});

const refused: readonly (readonly [ClusterOptions, string])[] = [
  [
    { podCidrs: ["10.96.0.0/14"] },
    "ipam: pod range 10.96.0.0/14 overlaps service range 10.96.0.0/16: choose another --pod-cidr",
  ],
  [
    { serviceCidrs: ["172.18.3.0/24"] },
    "ipam: service range 172.18.3.0/24 overlaps node range 172.18.0.0/16: choose another --service-cidr",
  ],
  [
    { podCidrs: ["10.244.0.0/24"] },
    "ipam: pod range 10.244.0.0/24 is too small for one node's /23: give --pod-cidr a /23 or larger",
  ],
  [
    { serviceCidrs: ["10.96.0.0/29"] },
    "ipam: service range 10.96.0.0/29 is too small for 16 addresses (the tenth is DNS): give --service-cidr a /28 or larger",
  ],
  [
    { podCidrs: ["10.244.1.0/16"] },
    "ipam: pod range 10.244.1.0/16 has bits beyond its length: did you mean 10.244.0.0/16?",
  ],
  [{ podCidrs: ["ten"] }, 'ipam: pod range "ten" is no CIDR such as 10.244.0.0/16: mend --pod-cidr'],
  [
    { families: [4], podCidrs: ["fd00::/48"] },
    "ipam: pod range fd00::/48 is IPv6, but the cluster has only IPv4: leave it out or add ipv6 to --ip-families",
  ],
  [
    { podCidrs: ["10.1.0.0/16", "10.2.0.0/16"] },
    "ipam: two IPv4 pod ranges, 10.1.0.0/16 and 10.2.0.0/16: give --pod-cidr once per family",
  ],
  [
    { podCidrs: ["127.0.0.0/16"] },
    "ipam: pod range 127.0.0.0/16 overlaps 127.0.0.0/8, loopback: choose another --pod-cidr",
  ],
  [{ families: [] }, "ipam: no IP family: give --ip-families ipv4, ipv6 or ipv4,ipv6"],
  [{ families: [4, 4] }, "ipam: IP families 4,4 name one twice: give --ip-families ipv4, ipv6 or ipv4,ipv6"],
  [
    { domain: "-.local" },
    'dns: cluster domain "-.local" is no DNS name such as cluster.local: choose another --domain',
  ],
  [{ underlayMtu: 1300 }, "mtu: underlay MTU 1300 is not between 1350 and 65535 bytes: choose another --mtu"],
  [
    { nodePorts: { first: 32767, last: 30000 } },
    "node ports: node ports 32767-30000 are no range of ports from 1 to 65535: choose another --service-node-port-range",
  ],
];

for (const [options, message] of refused) {
  void test(message, () => {
    assert.throws(() => clusterConfig(options), new ClusterConfigError(message));
  });
}
