import assert from "node:assert/strict";
import { test } from "node:test";

import { formatRecordData, recordTypeName, typeOfData } from "../wire/dns/record.ts";
import { zoneTransfer } from "./zone-transfer.ts";
import { viewZone } from "./zone-view.ts";
import { endpoint, kubeDns, network, port, service } from "./zone.testing.ts";
import { compileZone } from "./zone.ts";

await test("Services with addresses and ports, endpoints of headless ones, aliases; pods and other endpoints are left out", () => {
  const headless = [
    { ...endpoint("10.244.0.1"), hostname: "one" },
    endpoint("10.244.0.2"),
    endpoint("fd00:10:244::1"),
    { ...endpoint("10.244.0.3"), ready: false },
  ];
  const zone = compileZone(
    network({
      services: [
        kubeDns,
        service("production/api", {
          clusterIps: ["10.96.41.7", "fd00:10:96::7"],
          ports: [port("http", 80, [endpoint("10.244.0.9")]), port("https", 443)],
        }),
        service("production/bare", { clusterIps: ["10.96.41.8"], ports: [port("", 80)] }),
        service("production/many", { headless: true, ports: [port("web", 80, headless)] }),
        service("production/pay", { type: "ExternalName", externalName: "pay.example.com" }),
      ],
    }),
  );
  const view = viewZone(zone, { ...zone.settings, namespaces: ["production"] });
  const lines = [...zoneTransfer(view, 42)].map(
    ({ name, data }) =>
      `${name.replace(/\.?cluster\.local$/, "")} ${recordTypeName(typeOfData(data))} ${formatRecordData(data).replaceAll(".cluster.local.", "")}`,
  );
  const soa = " SOA ns.dns hostmaster 42 7200 1800 86400 5";
  assert.equal(lines[0], soa);
  assert.equal(lines.at(-1), soa);
  assert.deepEqual(lines.slice(1, -1).toSorted(), [
    " NS kube-dns.kube-system.svc",
    "10-244-0-2.many.production.svc A 10.244.0.2",
    "_http._tcp.api.production.svc SRV 0 100 80 api.production.svc",
    "_https._tcp.api.production.svc SRV 0 100 443 api.production.svc",
    "_web._tcp.many.production.svc SRV 0 100 8080 fd00-10-244--1.many.production.svc",
    "_web._tcp.many.production.svc SRV 0 50 8080 10-244-0-2.many.production.svc",
    "_web._tcp.many.production.svc SRV 0 50 8080 one.many.production.svc",
    "api.production.svc A 10.96.41.7",
    "api.production.svc AAAA fd00:10:96::7",
    "api.production.svc SRV 0 100 443 api.production.svc",
    "api.production.svc SRV 0 100 80 api.production.svc",
    "bare.production.svc A 10.96.41.8",
    "bare.production.svc SRV 0 100 80 bare.production.svc",
    "fd00-10-244--1.many.production.svc AAAA fd00:10:244::1",
    "kube-dns.kube-system.svc A 10.96.0.10",
    "kube-dns.kube-system.svc AAAA fd00:10:96::a",
    "many.production.svc A 10.244.0.1",
    "many.production.svc A 10.244.0.2",
    "many.production.svc AAAA fd00:10:244::1",
    "one.many.production.svc A 10.244.0.1",
    "pay.production.svc CNAME pay.example.com.",
  ]);
});
