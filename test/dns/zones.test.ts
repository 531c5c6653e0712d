// Zones from files: the real CoreDNS and this server have the same Corefile and the same zone files, and answer the same, section by section,
// but for the differences that are told here one by one.
//
//   FAIRLEAD_LONG=1 npm test -- test/dns/zones        200 random zones

import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";

import { currentNetworkNamespace } from "../../src/kernel/namespaces.ts";
import { askForZone, type ZoneQuestion } from "../../src/serve/dns/transfer.testing.ts";
import { buildMessage, emptyMessage, rcodeName } from "../../src/wire/dns/message.ts";
import { formatRecordData, recordTypeName, typeOfData, type RecordType } from "../../src/wire/dns/record.ts";
import { withLabs } from "../lab/lab.testing.ts";
import {
  corednsMissing,
  createClient,
  essence,
  freePorts,
  startCoredns,
  startOwn,
  zoneOfLab,
} from "./coredns.testing.ts";
import { generator, randomCluster } from "./random-cluster.testing.ts";
import { hiddenFromWildcards, oddlyWritten, randomZone, zoneQuestions } from "./random-zone.testing.ts";

const rounds = process.env["FAIRLEAD_LONG"] === "1" ? 200 : 12;
const patienceMs = 2000;

const types: readonly RecordType[] = ["A", "AAAA", "TXT", "SOA", "NS", "MX", "CNAME", "DNAME", "DS", "SRV", "ANY"];

const exampleZone = `$TTL 1h
@ IN SOA ns1 Hostmaster ( 2026010101 ; serial
    2h 30m 2w 5m )
  NS ns1
  NS ns2.example.net.
  MX 10 mail
  MX 20 mail
  TXT "v=spf1 -all" plain "semi;colon" esc\\065ped
ns1 A 192.0.2.1
    AAAA 2001:db8::1
mail 60 IN A 192.0.2.2
mail IN 60 A 192.0.2.3
www CNAME web
web A 192.0.2.4
out CNAME api.other.test.
gone CNAME nothing
nowhere CNAME nothing.elsewhere.test.
loop1 CNAME loop2
loop2 CNAME loop1
self CNAME self
chain1 CNAME chain2
chain2 CNAME chain3
chain3 CNAME web
towild CNAME x.wild
toentry CNAME b.ent
tosub CNAME www.sub
todname CNAME x.old
*.wild TXT "wild"
*.wild MX 5 mail
deep.a.wild TXT "deep"
*.cwild CNAME web
*.selfwild CNAME x.selfwild
a.b.ent A 192.0.2.5
sub NS ns.sub
sub NS ns1
sub DS 1 8 2 00112233445566778899AABBCCDDEEFF00112233445566778899AABBCCDDEEFF
ns.sub A 192.0.2.6
ns.sub AAAA 2001:db8::6
old DNAME new
old TXT "beside it"
host.new A 192.0.2.7
away DNAME other.test.
same DNAME same
_http._tcp SRV 0 5 80 web
_http._tcp SRV 0 5 443 mail.example.org.
_http._tcp SRV 0 5 8080 far.example.net.
svc HTTPS 1 web alpn="h2,h3" port=8443 ipv4hint=192.0.2.1 key999="x y"
svcb SVCB 0 web
caa CAA 0 issue "letsencrypt.org; x=1"
naptr NAPTR 100 10 "u" "sip+E2U" "!^.*$!sip:info@example.org!" .
ssh SSHFP 1 1 123456789abcdef67890123456789abcdef67890
_443._tcp.web TLSA 3 1 1 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff
key DNSKEY 257 3 8 AwEAAcw=
rr RRSIG A 8 3 3600 20300101000000 20200101000000 1 example.org. aGVsbG8=
sec NSEC a.example.org. A MX TYPE300
hinfo HINFO "PC" Linux
rp RP someone.example.org. .
uri URI 10 1 "https://example.org/"
odd TYPE65280 \\# 3 01 0203
known TYPE1 \\# 4 C0000208
MiXeD A 192.0.2.9
esc\\.aped A 192.0.2.10
sp\\032ace A 192.0.2.11
long TXT "${"0123456789".repeat(30)}"
multi TXT ( "one"
  "two" ; between
  "three" )
$ORIGIN rel.example.org.
@ A 192.0.2.12
x A 192.0.2.13
$INCLUDE more.zone inc.example.org.
y A 192.0.2.14
`;
const moreZone = `@ A 192.0.2.15
z 5m A 192.0.2.16
`;
const otherZone = `@ 300 IN SOA ns hm 1 2 3 4 5
@ 300 IN NS ns.other.test.
api 300 IN A 198.51.100.1
host 300 IN A 198.51.100.2
`;
const reverseZone = `$TTL 60
@ SOA ns.example.org. hm.example.org. 7 2 3 4 5
  NS ns.example.org.
7 PTR web.example.org.
`;

const origins: Readonly<Record<string, string>> = {
  "example.zone": "example.org",
  "more.zone": "inc.example.org",
  "other.zone": "other.test",
  "reverse.zone": "2.0.192.in-addr.arpa",
};

const corefile = (port: number, folder: string): string => `.:${port} {
  bind 127.0.0.1
  root ${folder}
  file example.zone example.org {
    upstream
  }
  file ${folder}/other.zone other.test shared.test
  file reverse.zone 192.0.2.0/24
  hosts {
    192.0.2.100 hosted.example.org
    fallthrough
  }
}
`;

await test("the real CoreDNS answers the same from a zone file", { skip: corednsMissing }, async () => {
  await compare(
    { "example.zone": exampleZone, "more.zone": moreZone, "other.zone": otherZone, "reverse.zone": reverseZone },
    corefile,
    [
      ...zoneQuestions(exampleZone, "example.org"),
      ...zoneQuestions(moreZone, "inc.example.org"),
      ...zoneQuestions(otherZone, "other.test"),
      ...zoneQuestions(reverseZone, "2.0.192.in-addr.arpa"),
      ...["x.wild", "y.x.wild", "a.wild", "x.a.wild", "x.deep.a.wild", "*.wild", "x.cwild", "x.selfwild", "q.sub"]
        .concat(["ns.sub", "b.ent", "ent", "x.ent", "x.a.b.ent", "host.old", "x.host.old", "old", "host.away"])
        .concat([
          "api.away",
          "x.same",
          "hosted",
          "x.hosted",
          "MIXED",
          "esc\\.aped",
          "sp\\032ace",
          "x.rel",
          "y.rel",
          "rel",
        ])
        .flatMap((label) => types.map((type) => `${label}.example.org ${type}`)),
      "api.shared.test A",
      "shared.test SOA",
      "test A",
      ". NS",
      "elsewhere.test A",
    ],
    ["hosted.example.org"],
  );
});

const fallthroughFile = (port: number, folder: string): string => `.:${port} {
  bind 127.0.0.1
  file ${folder}/example.zone example.org {
    fallthrough fall.example.org rel.example.org
  }
  template IN A hosted.example.org {
    answer "{{ .Name }} 60 IN A 192.0.2.100"
  }
}
`;

await test(
  "and where names fall through, and a CNAME leads to the server's other zones",
  { skip: corednsMissing },
  async () => {
    await compare(
      { "example.zone": exampleZone, "more.zone": moreZone, "other.zone": otherZone },
      (port, folder) =>
        `${fallthroughFile(port, folder)}other.test:${port} {\n bind 127.0.0.1\n file ${folder}/other.zone {\n fallthrough\n }\n}\nelsewhere.test:${port} {\n bind 127.0.0.1\n template IN ANY elsewhere.test {\n rcode NXDOMAIN\n }\n}\n`,
      ["x.fall", "fall", "x.rel", "none.rel", "rel", "nowhere", "out", "gone"]
        .flatMap((label) => types.map((type) => `${label}.example.org ${type}`))
        .concat(["none.other.test A", "other.test NS", "api.other.test AAAA"]),
      ["hosted.example.org"],
    );
  },
);

await test("random zones, random questions", { skip: corednsMissing }, async () => {
  const random = generator(1904);
  const zones = Array.from({ length: rounds }, (_, index) => ({ origin: `z${index}.test`, text: randomZone(random) }));
  const files = Object.fromEntries(zones.map(({ origin, text }) => [origin, text]));
  await compare(
    files,
    (port, folder) =>
      `.:${port} {\n bind 127.0.0.1\n template IN A hosted.example.org {\n answer "{{ .Name }} 60 IN A 192.0.2.100"\n }\n${zones
        .map(({ origin }) => ` file ${folder}/${origin} ${origin}\n`)
        .join("")}}\n`,
    zones.flatMap(({ origin, text }) => zoneQuestions(text, origin)),
    ["hosted.example.org"],
  );
});

await test("zone files written oddly have the same records for both", { skip: corednsMissing }, async () => {
  const random = generator(1035);
  const folder = mkdtempSync(join(tmpdir(), "fairlead-odd-"));
  const file = (name: string, text: string): string => {
    writeFileSync(join(folder, name), text);
    return join(folder, name);
  };
  try {
    const zones = Array.from({ length: rounds * 3 }, (_, index) => {
      const text = oddlyWritten(random);
      return { origin: `odd${index}.test`, text, path: file(`odd${index}`, text) };
    });
    const [corePort = 0, ownPort = 0] = await freePorts(2);
    const text = (port: number): string =>
      `.:${port} {\n bind 127.0.0.1\n template IN A hosted.test {\n answer "{{ .Name }} 60 IN A 192.0.2.1"\n }\n transfer {\n to *\n }\n${zones
        .map(({ origin, path }) => ` file ${path} ${origin}\n`)
        .join("")}}\n`;
    const coredns = await startCoredns({ file }, text(corePort), corePort, ["hosted.test"]);
    const own = await startOwn(text(ownPort));
    try {
      for (const { origin, text: written } of zones) {
        const [theirs, ours] = await Promise.all([corePort, ownPort].map((port) => zoneSet({ port, name: origin })));
        assert.deepEqual(ours, theirs, written);
      }
    } finally {
      await own.close();
      await coredns.stop();
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
});

await test(
  "both send the same zone, of a file and of the cluster, to the same clients",
  { skip: corednsMissing },
  async () => {
    await withLabs(async (lab) => {
      const up = lab.fairlead("up", "--name", "xfr", "--nodes", "1");
      assert.equal(up.status, 0, up.stderr);
      const kubeconfig = join(lab.home, "xfr", "kubeconfig");
      const state = randomCluster(generator(3), 3);
      const list = JSON.stringify({ apiVersion: "v1", kind: "List", items: state.objects });
      const applied = lab.fairlead("apply", "--name", "xfr", "-f", lab.file("objects.json", list));
      assert.equal(applied.status, 0, applied.stderr);
      const zone = await zoneOfLab(kubeconfig);
      const path = lab.file("example.zone", exampleZone.replace(/^\$INCLUDE.*\n/m, ""));
      for (const options of [[], ["endpoint_pod_names"], ["namespaces default r3-a"], ["noendpoints"]]) {
        const [corePort = 0, ownPort = 0] = await freePorts(2);
        const text = (port: number, first: string): string =>
          `.:${port} {\n bind 127.0.0.1\n kubernetes cluster.local {\n ${[first, ...options].join("\n ")}\n }\n file ${path} example.org\n transfer {\n to *\n }\n transfer closed.test {\n to 192.0.2.1\n }\n}\n`;
        const own = await startOwn(text(ownPort, ""), () => zone);
        const coredns = await startCoredns(lab, text(corePort, `kubeconfig ${kubeconfig}`), corePort, [
          state.last,
          "kubernetes.default.svc.cluster.local",
        ]);
        try {
          for (const question of [
            { name: "example.org" },
            { name: "example.org", type: "IXFR", serial: 1 },
            { name: "example.org", type: "IXFR", serial: 2_026_010_101 },
            { name: "www.example.org" },
            { name: "closed.test" },
            { name: "cluster.local" },
          ] as const) {
            const [theirs, ours] = await Promise.all([corePort, ownPort].map((port) => zoneSet({ port, ...question })));
            assert.deepEqual(ours, theirs, `${options.join()} ${JSON.stringify(question)}`);
          }
        } finally {
          await own.close();
          await coredns.stop();
        }
      }
    });
  },
);

/** A zone's records as a set, but for what cannot be the same: the cluster's serial, its server's name, and TTLs of that. */
async function zoneSet(question: ZoneQuestion): Promise<readonly string[]> {
  const messages = await askForZone(currentNetworkNamespace(), question);
  const rcode = rcodeName(messages[0]?.rcode ?? -1);
  if (rcode !== "NOERROR") return [rcode === "SERVFAIL" ? "REFUSED" : rcode];
  const records = messages.flatMap(({ answers }) => answers);
  assert.equal(records[0]?.data.kind, "SOA");
  assert.equal(records.at(-1)?.data.kind, "SOA");
  const isCluster = question.name === "cluster.local";
  const lines = records.flatMap(({ name, ttl, data }) => {
    if (isCluster && (data.kind === "NS" || name.startsWith("ns.dns.") || name.startsWith("kube-dns."))) return [];
    // Each slice shares out 100 there; here all endpoints of a family do.
    const shown =
      isCluster && data.kind === "SOA"
        ? { ...data, serial: 0 }
        : isCluster && data.kind === "SRV"
          ? { ...data, weight: 0 }
          : data;
    return [
      `${name.toLowerCase()} ${ttl} ${recordTypeName(typeOfData(data))} ${formatRecordData(shown).toLowerCase()}`,
    ];
  });
  return [...new Set(lines)].toSorted();
}

async function compare(
  files: Readonly<Record<string, string>>,
  corefileOf: (port: number, folder: string) => string,
  questions: readonly string[],
  ready: readonly string[],
): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "fairlead-zones-"));
  const file = (name: string, text: string): string => {
    writeFileSync(join(folder, name), text);
    return join(folder, name);
  };
  try {
    for (const [name, text] of Object.entries(files)) file(name, text);
    const [corePort = 0, ownPort = 0] = await freePorts(2);
    const coredns = await startCoredns({ file }, corefileOf(corePort, folder), corePort, ready);
    const own = await startOwn(corefileOf(ownPort, folder));
    const clients = [createClient(corePort), createClient(ownPort)] as const;
    const hidden = new Set(
      Object.entries(files).flatMap(([name, text]) => hiddenFromWildcards(text, origins[name] ?? name)),
    );
    const seen: string[] = [];
    try {
      for (const question of new Set(questions)) {
        const bytes = queryOf(question);
        const [theirs = "", ours = ""] = await Promise.all(
          clients.map(async (client) => essence(await client.send(bytes, patienceMs))),
        );
        // The second time from kept bytes.
        assert.equal(essence(await clients[1].send(bytes, patienceMs)), ours, `${question}, the second time`);
        if (theirs !== ours && !isExplained(question, theirs, ours, hidden))
          seen.push(`${question}\n  CoreDNS: ${theirs}\n  here:    ${ours}`);
      }
    } finally {
      for (const client of clients) client.close();
      await own.close();
      await coredns.stop();
    }
    assert.deepEqual(seen, [], `of ${questions.length}:\n${seen.slice(0, 60).join("\n")}`);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function queryOf(question: string): Uint8Array {
  const [name = "", type = "A"] = question.split(" ");
  return buildMessage({
    ...emptyMessage,
    recursionDesired: true,
    questions: [{ name, type: type as RecordType, class: 1 }],
    edns: { udpBytes: 1232, version: 0, dnssecOk: false, options: [] },
  });
}

/** README.md, "How it differs": each of these is told there. */
function isExplained(question: string, theirs: string, ours: string, hidden: ReadonlySet<string>): boolean {
  const [name = "", type] = question.split(" ");
  const aliases = [...`${theirs} ${ours}`.matchAll(/CNAME (\S+?)\.[,\s]/g)].map(([, target = ""]) => target);
  // A name that exists because longer ones do is nothing for a wildcard (RFC 4592 2.2.2).
  if ([name, ...aliases].some((each) => hidden.has(each))) return true;
  // RFC 8482: one set of records instead of none.
  if (type === "ANY") return true;
  // A question nobody can be asked is no failure that goes away.
  if (ours.startsWith("REFUSED") && theirs === ours.replace("REFUSED", "SERVFAIL")) return true;
  return false;
}
