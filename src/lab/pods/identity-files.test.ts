import { test } from "node:test";
import assert from "node:assert/strict";
import type { Pod, PodSpec } from "../../kube/kinds.ts";
import { hostsFile, parseResolvConf, resolvConf, type DnsSettings } from "./identity-files.ts";

const dns: DnsSettings = {
  domain: "cluster.local",
  addresses: ["10.96.0.10", "fd00:10:96::a"],
  host: { nameservers: ["192.0.2.53"], searches: ["corp.example"], options: ["timeout:2"] },
};

function podWith(spec: Partial<PodSpec>): Pod {
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name: "web-0", namespace: "shop" },
    spec: { containers: [], ...spec },
  };
}

const cluster =
  "search shop.svc.cluster.local svc.cluster.local cluster.local corp.example\nnameserver 10.96.0.10\nnameserver fd00:10:96::a\noptions ndots:5\n";
const host = "search corp.example\nnameserver 192.0.2.53\noptions timeout:2\n";

test("resolv.conf by policy", () => {
  assert.equal(resolvConf(podWith({}), dns), cluster);
  assert.equal(resolvConf(podWith({ dnsPolicy: "Default" }), dns), host);
  assert.equal(resolvConf(podWith({ hostNetwork: true }), dns), host);
  assert.equal(resolvConf(podWith({ hostNetwork: true, dnsPolicy: "ClusterFirstWithHostNet" }), dns), cluster);
  assert.equal(
    resolvConf(podWith({ dnsPolicy: "None", dnsConfig: { nameservers: ["1.2.3.4"], searches: ["a.b"] } }), dns),
    "search a.b\nnameserver 1.2.3.4\n",
  );
});

test("dnsConfig adds servers and searches and replaces options", () => {
  const pod = podWith({
    dnsConfig: {
      nameservers: ["10.96.0.10", "1.2.3.4"],
      searches: ["x.y"],
      options: [{ name: "ndots", value: "2" }, { name: "edns0" }],
    },
  });
  assert.equal(
    resolvConf(pod, dns),
    "search shop.svc.cluster.local svc.cluster.local cluster.local corp.example x.y\n" +
      "nameserver 10.96.0.10\nnameserver fd00:10:96::a\nnameserver 1.2.3.4\noptions ndots:2 edns0\n",
  );
});

test("hosts: names at the pod's addresses, subdomain, aliases, hostNetwork", () => {
  const options = { podIps: ["10.244.1.5", "fd00::5"], domain: "cluster.local", nodeHosts: "127.0.0.1\tlocalhost\n" };
  const plain = hostsFile(podWith({}), options);
  assert.match(plain, /^# Kubernetes-managed hosts file\.\n127\.0\.0\.1\tlocalhost\n/);
  assert.match(plain, /\n10\.244\.1\.5\tweb-0\nfd00::5\tweb-0\n$/);
  const full = hostsFile(
    podWith({ subdomain: "web", hostAliases: [{ ip: "1.2.3.4", hostnames: ["a", "b.c"] }] }),
    options,
  );
  assert.match(full, /\n10\.244\.1\.5\tweb-0\.web\.shop\.svc\.cluster\.local\tweb-0\n/);
  assert.match(full, /\n# Entries added by HostAliases\.\n1\.2\.3\.4\ta\tb\.c\n$/);
  assert.equal(hostsFile(podWith({ hostNetwork: true }), options), "127.0.0.1\tlocalhost\n");
});

test("resolv.conf is read back", () => {
  assert.deepEqual(
    parseResolvConf(
      "# x\nnameserver 1.1.1.1 ; c\ndomain a.b\nsearch c.d e.f\noptions ndots:2 rotate\nnameserver ::1\n",
    ),
    {
      nameservers: ["1.1.1.1", "::1"],
      searches: ["c.d", "e.f"],
      options: ["ndots:2", "rotate"],
    },
  );
  assert.equal(resolvConf(podWith({ dnsPolicy: "Default" }), { ...dns, host: parseResolvConf(cluster) }), cluster);
});
