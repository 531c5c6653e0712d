import assert from "node:assert/strict";
import { test } from "node:test";

import agent, { type AgentOptions } from "./agent.ts";

const options: AgentOptions = {
  kubeconfig: "/nonexistent/kubeconfig",
  healthzBindAddress: "0.0.0.0:10256",
  metricsBindAddress: "127.0.0.1:10249",
  domain: "cluster.local",
  nodeCidrMaskSizeIpv4: "24",
  nodeCidrMaskSizeIpv6: "64",
  stateDir: "/nonexistent/state",
  cniDir: "/nonexistent/cni",
  cniBinDir: "/nonexistent/bin",
  cniConfDir: "/nonexistent/net.d",
};

void test("what is wrong on the command line is said with the option's name, before anything is done", async () => {
  const cases: readonly [Partial<AgentOptions>, RegExp][] = [
    [{}, /read kubeconfig \/nonexistent\/kubeconfig: ENOENT/],
    [{ clusterCidr: "10.0.0.0" }, /--cluster-cidr 10\.0\.0\.0 is no CIDR such as/],
    [{ serviceCidr: "10.96.0.0/16,10.97.0.0/16" }, /--service-cidr .* names two ranges of IPv4/],
    [{ healthzBindAddress: "nowhere:1" }, /--healthz-bind-address nowhere:1 is no address/],
    [{ metricsBindAddress: "127.0.0.1:99999" }, /--metrics-bind-address 127\.0\.0\.1:99999 is no address/],
    [{ only: "services", detectLocalMode: "Magic" }, /--detect-local-mode Magic is unknown/],
    [{ only: "services", detectLocalMode: "ClusterCIDR" }, /needs --cluster-cidr/],
    [{ only: "services", detectLocalMode: "BridgeInterface" }, /needs --pod-bridge-interface/],
    [{ only: "services", detectLocalMode: "InterfaceNamePrefix" }, /needs --pod-interface-name-prefix/],
    [{ nodeportAddresses: "primary,10.0.0.0/8" }, /"primary" stands alone/],
    [{ podCidr: "10.244.7.0/33" }, /--pod-cidr 10\.244\.7\.0\/33 is no CIDR/],
    [{ allocateNodeCidrs: true }, /--allocate-node-cidrs needs --cluster-cidr/],
    [
      { allocateNodeCidrs: true, clusterCidr: "10.244.0.0/16", podCidr: "10.244.7.0/24" },
      /--allocate-node-cidrs does not go with --pod-cidr/,
    ],
    [
      { allocateNodeCidrs: true, clusterCidr: "10.244.0.0/16", nodeCidrMaskSizeIpv4: "many" },
      /--node-cidr-mask-size-ipv4 NaN does not divide/,
    ],
    [{ nodeportAddresses: "127.0.0.0/8,::1/128" }, /--nodeport-addresses ::1\/128: the kernel lets no packet/],
    [{ serviceNodePortRange: "20000" }, /--service-node-port-range 20000: must be two ports such as 30000-32767/],
    [
      { serviceNodePortRange: "100-70000" },
      /node ports 100-70000 are no range of ports from 1 to 65535: choose another --service-node-port-range/,
    ],
    [{ nodeportAddresses: "eth0" }, /--nodeport-addresses eth0 is no CIDR/],
  ];
  for (const [given, message] of cases) await assert.rejects(agent("run", { ...options, ...given }), message);
  await assert.rejects(agent("dance", options), /unknown action "dance"/);
});
