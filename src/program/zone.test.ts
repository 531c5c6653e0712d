import assert from "node:assert/strict";
import { test } from "node:test";
import { isDeepStrictEqual } from "node:util";

import { parseSelector } from "../kube/selector.ts";
import { expandSearch } from "./zone-search.ts";
import { formatZone } from "./zone-text.ts";
import { lookup, zoneNodes } from "./zone-lookup.ts";
import { viewZone, type ZoneViewOptions } from "./zone-view.ts";
import { compileZone, type Zone } from "./zone.ts";
import { cluster, endpoint, kubeDns, network, pod, port, service } from "./zone.testing.ts";
import { finishedAnswer, keptAnswer } from "./zone-answer.ts";
import type { NetworkService } from "../model/network.ts";
import { formatRecordData, recordTypeName, typeOfData, type RecordType } from "../wire/dns/record.ts";

/** The answer as text: the rcode alone where there is none, else the records' data. */
function ask(zone: Zone, name: string, type: RecordType): string | string[] {
  const answer = lookup(zone, name, type);
  if (answer === undefined) return "not ours";
  if (answer.answers.length === 0) {
    // RFC 2308: "no" comes with the SOA of the zone it is about.
    assert.deepEqual(
      answer.authority.map(({ data }) => data.kind),
      ["SOA"],
    );
    return answer.rcode === "NOERROR" ? "NODATA" : answer.rcode;
  }
  return answer.answers.map(({ data }) => `${recordTypeName(typeOfData(data))} ${formatRecordData(data)}`);
}

const zoneOf = (...services: NetworkService[]): Zone => compileZone(network({ services: [kubeDns, ...services] }));

const api = service("production/api-server", {
  clusterIps: ["10.96.41.7", "fd00:10:96::1:7"],
  ports: [
    port("http", 80, [endpoint("10.244.1.5"), endpoint("fd00:10:244:1::5"), endpoint("10.244.2.9", { ready: false })]),
    port("metrics", 9090),
  ],
});
const apiName = "api-server.production.svc.cluster.local";

await test("ClusterIP: an address record for each family", () => {
  const zone = zoneOf(api);
  assert.deepEqual(ask(zone, apiName, "A"), ["A 10.96.41.7"]);
  assert.deepEqual(ask(zone, apiName, "AAAA"), ["AAAA fd00:10:96::1:7"]);
  assert.deepEqual(ask(zone, "API-Server.Production.SVC.Cluster.Local.", "A"), ["A 10.96.41.7"]);
});

await test("ClusterIP of one family: the other is NODATA, not NXDOMAIN", () => {
  const zone = zoneOf(service("production/v4", { clusterIps: ["10.96.0.4"], ports: [port("", 80)] }));
  assert.equal(ask(zone, "v4.production.svc.cluster.local", "AAAA"), "NODATA");
  assert.equal(ask(zone, "v4.production.svc.cluster.local", "TXT"), "NODATA");
});

await test("SRV: for named ports, with the target's addresses beside it", () => {
  const zone = zoneOf(api);
  assert.deepEqual(ask(zone, `_http._tcp.${apiName}`, "SRV"), [`SRV 0 100 80 ${apiName}.`]);
  assert.deepEqual(ask(zone, `_metrics._tcp.${apiName}`, "SRV"), [`SRV 0 100 9090 ${apiName}.`]);
  const additional = lookup(zone, `_http._tcp.${apiName}`, "SRV")?.additional.map(({ name, data }) => [
    name,
    formatRecordData(data),
  ]);
  assert.deepEqual(additional, [
    [apiName, "10.96.41.7"],
    [apiName, "fd00:10:96::1:7"],
  ]);
  assert.equal(ask(zone, `_http._udp.${apiName}`, "SRV"), "NXDOMAIN");
  assert.equal(ask(zone, `_https._tcp.${apiName}`, "SRV"), "NXDOMAIN");
});

await test("SRV of the Service itself: each port, as CoreDNS answers", () => {
  assert.deepEqual(ask(zoneOf(api), apiName, "SRV"), [`SRV 0 50 80 ${apiName}.`, `SRV 0 50 9090 ${apiName}.`]);
});

await test("SRV: one number for TCP and UDP is one record (RFC 2181 5: no duplicates)", () => {
  const name = "kube-dns.kube-system.svc.cluster.local";
  assert.deepEqual(ask(zoneOf(), name, "SRV"), [`SRV 0 50 53 ${name}.`, `SRV 0 50 9153 ${name}.`]);
  assert.deepEqual(ask(zoneOf(), `_dns._udp.${name}`, "SRV"), [`SRV 0 100 53 ${name}.`]);
  assert.deepEqual(ask(zoneOf(), `_dns-tcp._tcp.${name}`, "SRV"), [`SRV 0 100 53 ${name}.`]);
});

await test("a port without a name has no name", () => {
  const zone = zoneOf(service("production/v4", { clusterIps: ["10.96.0.4"], ports: [port("", 80)] }));
  assert.equal(ask(zone, "_._tcp.v4.production.svc.cluster.local", "SRV"), "NXDOMAIN");
  assert.equal(ask(zone, "_tcp.v4.production.svc.cluster.local", "SRV"), "NXDOMAIN");
});

await test("PTR: Service addresses have their Service's name, in both families", () => {
  const zone = zoneOf(api);
  assert.deepEqual(ask(zone, "7.41.96.10.in-addr.arpa", "PTR"), [`PTR ${apiName}.`]);
  const nibbles = "7.0.0.0.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.6.9.0.0.0.1.0.0.0.0.d.f.ip6.arpa";
  assert.deepEqual(ask(zone, nibbles, "PTR"), [`PTR ${apiName}.`]);
  assert.equal(ask(zone, "7.41.96.10.in-addr.arpa", "A"), "NODATA");
});

await test("reverse names: ours are answered, others' are others'", () => {
  const zone = zoneOf(api);
  assert.equal(ask(zone, "8.41.96.10.in-addr.arpa", "PTR"), "NXDOMAIN");
  assert.equal(ask(zone, "41.96.10.in-addr.arpa", "PTR"), "NODATA");
  assert.equal(ask(zone, "96.10.in-addr.arpa", "PTR"), "NODATA");
  assert.equal(ask(zone, "1.0.244.10.in-addr.arpa", "PTR"), "NXDOMAIN");
  // 10.96.0.0/12 ends with 10.111.255.255.
  assert.equal(ask(zone, "1.0.111.10.in-addr.arpa", "PTR"), "NXDOMAIN");
  assert.equal(ask(zone, "1.0.112.10.in-addr.arpa", "PTR"), "not ours");
  assert.equal(ask(zone, "10.in-addr.arpa", "PTR"), "not ours");
  assert.equal(ask(zone, "8.8.8.8.in-addr.arpa", "PTR"), "not ours");
  assert.equal(ask(zone, "x.41.96.10.in-addr.arpa", "PTR"), "not ours");
  assert.equal(ask(zone, "1.7.41.96.10.in-addr.arpa", "PTR"), "not ours");
  assert.equal(lookup(zone, "8.41.111.10.in-addr.arpa", "PTR")?.authority[0]?.name, "111.10.in-addr.arpa");
});

const headless = service("production/db", {
  headless: true,
  ports: [
    port("pg", 5432, [
      endpoint("10.244.1.10", { hostname: "db-0", port: 5432 }),
      endpoint("10.244.2.10", { hostname: "db-1", port: 5432 }),
      endpoint("10.244.3.10", { port: 5432 }),
      endpoint("10.244.4.10", { hostname: "db-4", port: 5432, ready: false }),
      endpoint("fd00:10:244:1::10", { hostname: "db-0", port: 5432 }),
    ]),
  ],
});
const dbName = "db.production.svc.cluster.local";

await test("headless: the ready endpoints, of each family, and each under its hostname", () => {
  const zone = zoneOf(headless);
  assert.deepEqual(ask(zone, dbName, "A"), ["A 10.244.1.10", "A 10.244.2.10", "A 10.244.3.10"]);
  assert.deepEqual(ask(zone, dbName, "AAAA"), ["AAAA fd00:10:244:1::10"]);
  assert.deepEqual(ask(zone, `db-0.${dbName}`, "A"), ["A 10.244.1.10"]);
  assert.deepEqual(ask(zone, `DB-0.${dbName}`, "AAAA"), ["AAAA fd00:10:244:1::10"]);
  assert.equal(ask(zone, `db-1.${dbName}`, "AAAA"), "NODATA");
  assert.equal(ask(zone, `db-4.${dbName}`, "A"), "NXDOMAIN");
});

await test("headless: an endpoint without hostname has its dashed address as name", () => {
  assert.deepEqual(ask(zoneOf(headless), `10-244-3-10.${dbName}`, "A"), ["A 10.244.3.10"]);
  assert.equal(ask(zoneOf(headless), `10-244-1-10.${dbName}`, "A"), "NXDOMAIN");
});

await test("headless: SRV names each endpoint once", () => {
  assert.deepEqual(ask(zoneOf(headless), `_pg._tcp.${dbName}`, "SRV"), [
    `SRV 0 33 5432 db-0.${dbName}.`,
    `SRV 0 33 5432 db-1.${dbName}.`,
    `SRV 0 33 5432 10-244-3-10.${dbName}.`,
  ]);
});

await test("headless: PTR for ready endpoints, also without a hostname", () => {
  const zone = zoneOf(headless);
  assert.deepEqual(ask(zone, "10.1.244.10.in-addr.arpa", "PTR"), [`PTR db-0.${dbName}.`]);
  assert.deepEqual(ask(zone, "10.3.244.10.in-addr.arpa", "PTR"), [`PTR 10-244-3-10.${dbName}.`]);
  assert.equal(ask(zone, "10.4.244.10.in-addr.arpa", "PTR"), "NXDOMAIN");
});

await test("an address that two headless Services name has both names", () => {
  const other = { ...headless, name: "db2" };
  assert.deepEqual(ask(zoneOf(headless, other), "10.1.244.10.in-addr.arpa", "PTR"), [
    `PTR db-0.${dbName}.`,
    "PTR db-0.db2.production.svc.cluster.local.",
  ]);
});

await test("one hostname, several addresses", () => {
  const ports = [port("a", 1, [endpoint("10.244.1.1", { hostname: "h" }), endpoint("10.244.1.2", { hostname: "h" })])];
  const zone = zoneOf(service("production/s", { headless: true, ports }));
  assert.deepEqual(ask(zone, "h.s.production.svc.cluster.local", "A"), ["A 10.244.1.1", "A 10.244.1.2"]);
});

await test("headless without ready endpoints does not exist", () => {
  const ports = [port("a", 1, [endpoint("10.244.1.1", { ready: false })])];
  const zone = zoneOf(service("production/s", { headless: true, ports }));
  assert.equal(ask(zone, "s.production.svc.cluster.local", "A"), "NXDOMAIN");
  assert.equal(ask(zone, "_a._tcp.s.production.svc.cluster.local", "SRV"), "NXDOMAIN");
});

await test("publishNotReadyAddresses names those that are not ready too", () => {
  const ports = [port("a", 1, [endpoint("10.244.1.1", { ready: false })])];
  const zone = zoneOf(service("production/s", { headless: true, publishNotReadyAddresses: true, ports }));
  assert.deepEqual(ask(zone, "s.production.svc.cluster.local", "A"), ["A 10.244.1.1"]);
});

await test("endpoints of a ClusterIP Service by dashed address, as CoreDNS answers", () => {
  const zone = zoneOf(api);
  assert.deepEqual(ask(zone, `10-244-1-5.${apiName}`, "A"), ["A 10.244.1.5"]);
  assert.deepEqual(ask(zone, `fd00-10-244-1--5.${apiName}`, "AAAA"), ["AAAA fd00:10:244:1::5"]);
  assert.equal(ask(zone, `10-244-2-9.${apiName}`, "A"), "NXDOMAIN");
});

await test("a Service that has no address yet exists", () => {
  assert.equal(
    ask(zoneOf(service("production/new", { ports: [port("", 80)] })), "new.production.svc.cluster.local", "A"),
    "NODATA",
  );
});

const external = (name: string, externalName: string): NetworkService =>
  service(`production/${name}`, { type: "ExternalName", externalName });

await test("ExternalName: a CNAME that leads out for others to follow", () => {
  const zone = zoneOf(external("pay", "Pay.Example.COM."));
  const answer = lookup(zone, "pay.production.svc.cluster.local", "A");
  assert.deepEqual(
    answer?.answers.map(({ data }) => data),
    [{ kind: "CNAME", target: "pay.example.com" }],
  );
  assert.equal(answer?.continueAt, "pay.example.com");
  assert.equal(lookup(zone, "pay.production.svc.cluster.local", "CNAME")?.continueAt, undefined);
});

await test("ExternalName to a name of the cluster: the chain is in the answer", () => {
  const zone = zoneOf(api, external("alias", apiName), external("alias2", "alias.production.svc.cluster.local"));
  assert.deepEqual(ask(zone, "alias2.production.svc.cluster.local", "A"), [
    "CNAME alias.production.svc.cluster.local.",
    `CNAME ${apiName}.`,
    "A 10.96.41.7",
  ]);
  const dangling = zoneOf(external("alias", "gone.production.svc.cluster.local"));
  const answer = lookup(dangling, "alias.production.svc.cluster.local", "A");
  assert.deepEqual([answer?.rcode, answer?.answers.length], ["NXDOMAIN", 1]);
});

await test("ExternalName that leads round in a circle ends", () => {
  const zone = zoneOf(external("a", "b.production.svc.cluster.local"), external("b", "a.production.svc.cluster.local"));
  assert.equal(lookup(zone, "a.production.svc.cluster.local", "A")?.answers.length, 8);
});

await test("ExternalName that is an address is no name", () => {
  assert.equal(ask(zoneOf(external("bad", "10.1.2.3")), "bad.production.svc.cluster.local", "A"), "NXDOMAIN");
});

await test("pods by dashed address, in their namespace only", () => {
  const pods = [pod("production/web", ["10.244.1.5", "fd00:10:244:1::5"])];
  const zone = compileZone(network({ pods }));
  assert.deepEqual(ask(zone, "10-244-1-5.production.pod.cluster.local", "A"), ["A 10.244.1.5"]);
  assert.equal(ask(zone, "10-244-1-5.production.pod.cluster.local", "AAAA"), "NODATA");
  assert.deepEqual(ask(zone, "fd00-10-244-1--5.production.pod.cluster.local", "AAAA"), ["AAAA fd00:10:244:1::5"]);
  assert.deepEqual(ask(zone, "fd00-10-244-1-0-0-0-5.production.pod.cluster.local", "AAAA"), ["AAAA fd00:10:244:1::5"]);
  assert.equal(ask(zone, "10-244-1-5.default.pod.cluster.local", "A"), "NXDOMAIN");
  assert.equal(ask(zone, "10-244-1-6.production.pod.cluster.local", "A"), "NXDOMAIN");
  assert.equal(ask(zone, "x.10-244-1-5.production.pod.cluster.local", "A"), "NXDOMAIN");
});

await test("the version of the schema", () => {
  assert.deepEqual(ask(zoneOf(), "dns-version.cluster.local", "TXT"), ['TXT "1.1.0"']);
});

await test("the apex: SOA and NS, the name server being the DNS Service", () => {
  const zone = zoneOf();
  assert.deepEqual(ask(zone, "cluster.local", "NS"), ["NS kube-dns.kube-system.svc.cluster.local."]);
  assert.deepEqual(ask(zone, "cluster.local", "SOA"), [
    "SOA ns.dns.cluster.local. hostmaster.cluster.local. 1 7200 1800 86400 5",
  ]);
  assert.deepEqual(ask(zone, "ns.dns.cluster.local", "A"), ["A 10.96.0.10"]);
  assert.deepEqual(ask(compileZone(network({})), "cluster.local", "NS"), ["NS ns.dns.cluster.local."]);
});

await test("names between names exist (RFC 8020), others do not", () => {
  const zone = zoneOf(api);
  for (const name of ["cluster.local", "svc.cluster.local", "pod.cluster.local", "dns.cluster.local"])
    assert.equal(ask(zone, name, "A"), "NODATA", name);
  for (const name of ["production.svc.cluster.local", "production.pod.cluster.local", `_tcp.${apiName}`])
    assert.equal(ask(zone, name, "A"), "NODATA", name);
  for (const name of ["x.cluster.local", "staging.svc.cluster.local", "x.production.svc.cluster.local", `x.${apiName}`])
    assert.equal(ask(zone, name, "A"), "NXDOMAIN", name);
  assert.equal(ask(zone, "a\\.b.production.svc.cluster.local", "A"), "NXDOMAIN");
  assert.equal(ask(zone, "constructor.production.svc.cluster.local", "A"), "NXDOMAIN");
});

await test("names outside are others'", () => {
  for (const name of ["example.com", "local", ".", "xcluster.local"])
    assert.equal(ask(zoneOf(), name, "A"), "not ours", name);
});

await test("ANY gets one set of records (RFC 8482)", () => {
  assert.deepEqual(ask(zoneOf(api), apiName, "ANY"), ["A 10.96.41.7"]);
});

await test("every record says what caused it", () => {
  const zone = zoneOf(api, headless);
  const originOf = (name: string, type: RecordType): unknown => lookup(zone, name, type)?.answers[0]?.origin;
  assert.deepEqual(originOf(apiName, "A"), { ...api.origin, field: "spec.clusterIP" });
  assert.deepEqual(originOf(apiName, "AAAA"), { ...api.origin, field: "spec.clusterIPs[1]" });
  assert.equal((originOf(dbName, "A") as { kind: string }).kind, "EndpointSlice");
  assert.equal(lookup(zone, apiName, "TXT")?.origin, api.origin);
});

await test("what did not change is the same value after a change elsewhere", () => {
  const before = zoneOf(api, headless);
  const web = service("default/web", { clusterIps: ["10.96.0.99"], ports: [port("", 80)] });
  const after = compileZone(network({ services: [web, kubeDns, api, headless] }), { previous: before });
  assert.equal(after.namespaces.get("production"), before.namespaces.get("production"));
  assert.notEqual(after.namespaces.get("default"), before.namespaces.get("default"));
  assert.deepEqual(ask(after, "web.default.svc.cluster.local", "A"), ["A 10.96.0.99"]);
  assert.equal(ask(before, "web.default.svc.cluster.local", "A"), "NXDOMAIN");
  assert.equal(formatZone(after), formatZone(compileZone(network({ services: [web, kubeDns, api, headless] }))));
  assert.equal(lookup(after, apiName, "A")?.answers[0], lookup(before, apiName, "A")?.answers[0]);
});

await test("a whole reverse zone: what has no name there has none, by a SOA of its own", () => {
  const zone = zoneOf(api);
  const cut = "0.113.203.in-addr.arpa";
  const none = lookup(zone, `7.${cut}`, "PTR", cut);
  assert.equal(none?.rcode, "NXDOMAIN");
  const [soa] = none?.authority ?? [];
  assert.deepEqual([soa?.name, soa?.data.kind === "SOA" && soa.data.primary], [cut, `ns.dns.${cut}`]);
  assert.equal(lookup(zone, cut, "SOA", cut)?.answers[0]?.name, cut);
  assert.equal(lookup(zone, `7.${cut}`, "PTR"), undefined);
});

await test("a removed Service is gone, also from the reverse names", () => {
  const after = compileZone(network({ services: [kubeDns] }), { previous: zoneOf(api) });
  assert.equal(ask(after, apiName, "A"), "NXDOMAIN");
  assert.equal(ask(after, "7.41.96.10.in-addr.arpa", "PTR"), "NXDOMAIN");
});

await test("text form: a line a record, with its origin", () => {
  const web = service("production/web", { clusterIps: ["10.96.41.7"], ports: [port("", 80)] });
  const pods = [pod("production/web-a", ["10.244.1.5"])];
  const zone = compileZone(network({ services: [web], pods, cluster: { ...cluster, dnsAddresses: ["10.96.0.10"] } }));
  assert.equal(
    formatZone(zone),
    `\
cluster.local.                            5 IN SOA  ns.dns.cluster.local. hostmaster.cluster.local. 1 7200 1800 86400 5  # Cluster cluster.local domain
cluster.local.                            5 IN NS   ns.dns.cluster.local.                                                # Cluster cluster.local domain
ns.dns.cluster.local.                     5 IN A    10.96.0.10                                                           # Cluster cluster.local domain
dns-version.cluster.local.                5 IN TXT  "1.1.0"                                                              # Cluster cluster.local domain
web.production.svc.cluster.local.         5 IN A    10.96.41.7                                                           # Service production/web spec.clusterIP (shop.yaml:7)
web.production.svc.cluster.local.         5 IN SRV  0 100 80 web.production.svc.cluster.local.                           # Service production/any spec.ports[0]
10-244-1-5.production.pod.cluster.local.  5 IN A    10.244.1.5                                                           # Pod production/web-a status.podIPs[0]
7.41.96.10.in-addr.arpa.                  5 IN PTR  web.production.svc.cluster.local.                                    # Service production/web spec.clusterIP (shop.yaml:7)
`,
  );
});

await test("no two names are the same, and each is found by its own name", () => {
  const zone = compileZone(
    network({ services: [kubeDns, api, headless], pods: [pod("production/web", ["10.244.1.5"])] }),
  );
  const nodes = zoneNodes(zone);
  assert.equal(new Set(nodes.map(({ name }) => name)).size, nodes.length);
  for (const node of nodes) {
    for (const record of node.records) {
      const found = lookup(zone, node.name, recordTypeName(typeOfData(record.data)));
      assert.deepEqual(
        found?.answers.filter((each) => isDeepStrictEqual(each, record)),
        [record],
        node.name,
      );
    }
  }
});

await test("finished answers are made once a zone, refusals not kept", () => {
  const zone = zoneOf(api);
  assert.equal(keptAnswer(zone, apiName, 1), keptAnswer(zone, apiName, 1));
  assert.deepEqual(keptAnswer(zone, apiName, 1), finishedAnswer(zone, apiName, 1));
  assert.notEqual(keptAnswer(zone, "x.cluster.local", 1), keptAnswer(zone, "x.cluster.local", 1));
  assert.equal(keptAnswer(zone, "example.com", 1), undefined);
});

await test("headless without ports: names and pointers need none", () => {
  const bare = service("production/bare", {
    headless: true,
    endpoints: [endpoint("10.244.1.8", { hostname: "db-0" }), endpoint("10.244.1.9", { ready: false })],
  });
  const zone = zoneOf(bare);
  assert.deepEqual(ask(zone, "bare.production.svc.cluster.local", "A"), ["A 10.244.1.8"]);
  assert.deepEqual(ask(zone, "db-0.bare.production.svc.cluster.local", "A"), ["A 10.244.1.8"]);
  assert.deepEqual(ask(zone, "bare.production.svc.cluster.local", "SRV"), "NODATA");
  assert.deepEqual(ask(zone, "8.1.244.10.in-addr.arpa", "PTR"), ["PTR db-0.bare.production.svc.cluster.local."]);
});

await test("a view: other domain, pods' names for endpoints, no endpoints, some namespaces", () => {
  const named = service("production/web", {
    headless: true,
    ports: [port("http", 80, [endpoint("10.244.1.5", { pod: "production/web-x7k2p" })])],
  });
  const view = (parts: Partial<ZoneViewOptions>): Zone =>
    viewZone(zoneOf(named, api), {
      domain: "other.example",
      ttl: 9,
      pods: "disabled",
      endpointPodNames: false,
      noEndpoints: false,
      ignoreEmptyService: false,
      namespaces: [],
      ...parts,
    });
  assert.deepEqual(ask(view({ endpointPodNames: true }), "web-x7k2p.web.production.svc.other.example", "A"), [
    "A 10.244.1.5",
  ]);
  const long = `production/${"web-".repeat(16)}0`;
  const tooLong = service("production/web", {
    headless: true,
    ports: [port("http", 80, [endpoint("10.244.1.5", { pod: long })])],
  });
  const target = lookup(
    viewZone(zoneOf(tooLong), { ...zoneOf(api).settings, endpointPodNames: true, namespaces: [] }),
    "_http._tcp.web.production.svc.cluster.local",
    "SRV",
  )?.answers[0]?.data;
  assert.equal(target?.kind === "SRV" && target.target, "10-244-1-5.web.production.svc.cluster.local");
  assert.equal(ask(view({ noEndpoints: true }), "web.production.svc.other.example", "A"), "NXDOMAIN");
  // The server's name has its addresses, also where its Service is not shown.
  assert.deepEqual(
    lookup(view({ namespaces: ["production"] }), "other.example", "NS")?.additional.map(({ name }) => name),
    lookup(view({}), "other.example", "NS")?.additional.map(({ name }) => name),
  );
  assert.equal(ask(view({ namespaces: ["default"] }), "web.production.svc.other.example", "A"), "NXDOMAIN");
  assert.equal(ask(view({}), "web.production.svc.cluster.local", "A"), "not ours");
  const labelled = compileZone(
    network({
      services: [api],
      namespaces: [{ name: "production", labels: { team: "a" }, origin: { kind: "Namespace", name: "production" } }],
    }),
  );
  const shown = (text: string): Zone =>
    viewZone(labelled, { ...labelled.settings, namespaces: [], namespaceLabels: parseSelector(text) });
  assert.notEqual(ask(shown("team in (a,b)"), apiName, "A"), "NXDOMAIN");
  assert.equal(ask(shown("team=b"), apiName, "A"), "NXDOMAIN");
  const shop = compileZone(
    network({
      services: [service("production/web", { clusterIps: ["10.96.3.1"], labels: { app: "web" } }), api],
      pods: [
        { ...pod("production/web-a", ["10.244.1.5"]), labels: { app: "web" } },
        pod("production/b", ["10.244.1.6"]),
      ],
    }),
  );
  const only = viewZone(shop, { ...shop.settings, namespaces: [], labels: parseSelector("app=web") });
  assert.deepEqual(ask(only, "web.production.svc.cluster.local", "A"), ["A 10.96.3.1"]);
  assert.equal(ask(only, apiName, "A"), "NXDOMAIN");
  assert.deepEqual(ask(only, "10-244-1-5.production.pod.cluster.local", "A"), ["A 10.244.1.5"]);
  assert.equal(ask(only, "10-244-1-6.production.pod.cluster.local", "A"), "NXDOMAIN");
  const empty = zoneOf(service("production/empty", { clusterIps: ["10.96.1.1"] }));
  const ignored = viewZone(empty, { ...empty.settings, ignoreEmptyService: true, namespaces: [] });
  assert.equal(ask(ignored, "empty.production.svc.cluster.local", "A"), "NXDOMAIN");
});

await test("the search list", () => {
  const search = ["production.svc.cluster.local", "svc.cluster.local.", "cluster.local"];
  assert.deepEqual(expandSearch("api-server", search, 5), [
    "api-server.production.svc.cluster.local",
    "api-server.svc.cluster.local",
    "api-server.cluster.local",
    "api-server",
  ]);
  assert.deepEqual(expandSearch("a.b.c.d.e.f", search, 5)[0], "a.b.c.d.e.f");
  assert.deepEqual(expandSearch("example.com", [], 5), ["example.com"]);
  assert.deepEqual(expandSearch("example.com.", search, 5), ["example.com"]);
  assert.deepEqual(expandSearch("example.com", search, 1)[0], "example.com");
});
