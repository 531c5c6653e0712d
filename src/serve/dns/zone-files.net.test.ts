// Zones from files beside the cluster's names: start, another serial, damage, and chains between both.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import type { RecordType } from "../../wire/dns/record.ts";
import { formatRecordData } from "../../wire/dns/record.ts";
import { rcodeName } from "../../wire/dns/message.ts";
import { queryDns } from "./client.ts";
import { parseCorefile } from "./corefile.ts";
import { startTestServer, type TestServer } from "./server.testing.ts";

const zoneText = (serial: number, more: string): string =>
  `$TTL 60\n@ SOA ns hm ${serial} 2 3 4 5\n@ NS ns\nns A 192.0.2.1\n${more}\n`;

interface Files {
  [path: string]: string | undefined;
}

const start = (corefile: string, files: Files): Promise<TestServer> =>
  startTestServer({ corefile: parseCorefile(corefile), read: (path) => files[path] });

async function ask({ namespace }: TestServer, question: string): Promise<string> {
  const [name = "", type = "A"] = question.split(" ");
  const { rcode, answers } = await queryDns(namespace, "127.0.0.1", name, type as RecordType);
  return [rcodeName(rcode), ...answers.map(({ data }) => formatRecordData(data))].join(" ");
}

async function until(what: () => Promise<boolean> | boolean): Promise<void> {
  while (!(await what())) await sleep(5);
}

await test("a zone is read again when its serial is another; a damaged file changes nothing", async () => {
  const files: Files = { "/zones/db": zoneText(1, "a A 192.0.2.2") };
  const server = await start(".:53 {\n root /zones\n file db example.org {\n reload 20ms\n }\n}", files);
  try {
    assert.ok(server.log.some((line) => line.includes("zone example.org. (serial 1) from /zones/db")));
    assert.equal(await ask(server, "a.example.org"), "NOERROR 192.0.2.2");
    files["/zones/db"] = zoneText(1, "a A 192.0.2.3");
    await sleep(100);
    assert.equal(await ask(server, "a.example.org"), "NOERROR 192.0.2.2", "the serial is the same");
    files["/zones/db"] = zoneText(2, "a A 192.0.2.4");
    await until(async () => (await ask(server, "a.example.org")) === "NOERROR 192.0.2.4");
    files["/zones/db"] = zoneText(3, "a A 192.0.2.500");
    await until(() => server.log.some((line) => line.includes("/zones/db:5: A record")));
    assert.equal(await ask(server, "a.example.org"), "NOERROR 192.0.2.4");
    await sleep(60);
    assert.equal(server.log.filter((line) => line.includes("/zones/db:5")).length, 1, "said once");
    files["/zones/db"] = undefined;
    await until(() => server.log.some((line) => line.includes("/zones/db is gone")));
    assert.equal(await ask(server, "a.example.org"), "NOERROR 192.0.2.4");
    files["/zones/db"] = zoneText(4, "a A 192.0.2.5");
    await until(async () => (await ask(server, "a.example.org")) === "NOERROR 192.0.2.5");
  } finally {
    await server.close();
  }
});

await test("a damaged zone file at the start names file and line; one that is not there is waited for", async () => {
  const corefile = ".:53 {\n file /db example.org\n}";
  await assert.rejects(
    start(corefile, { "/db": zoneText(1, "a A x") }),
    /^ZoneFileError: \/db:5: A record: "x" is no IPv4 address$/,
  );
  await assert.rejects(start(corefile, { "/db": "a 60 A 192.0.2.1" }), /\/db: it has no SOA record of example\.org\./);
  await assert.rejects(
    start(".:53 {\n file /db\n}", { "/db": zoneText(1, "").replaceAll("@", "example.org.") }),
    /\/db: its SOA record is of example\.org\., not of \.: name the zone in the Corefile/,
  );
  await assert.rejects(
    start(".:53 {\n file /db example.org {\n reload 0\n }\n}", {}),
    /Corefile:2: file: there is no zone file \/db/,
  );
  const files: Files = {};
  const server = await start(".:53 {\n file /db example.org {\n reload 20ms\n }\n}", files);
  try {
    assert.equal(await ask(server, "ns.example.org"), "SERVFAIL");
    files["/db"] = zoneText(1, "");
    await until(async () => (await ask(server, "ns.example.org")) === "NOERROR 192.0.2.1");
  } finally {
    await server.close();
  }
});

await test("names fall through from the cluster's zone, and aliases lead from zone to zone", async () => {
  const files: Files = {
    "/cluster": zoneText(1, "extra A 192.0.2.2\nextra.deep.svc A 192.0.2.3\nto CNAME api.production.svc"),
    "/pay": zoneText(1, "pay A 192.0.2.4\nback CNAME api.production.svc.cluster.local."),
    "/loops": "@ 60 SOA ns hm 1 2 3 4 5\n* 60 CNAME x.loops.test.",
  };
  const server = await start(
    ".:53 {\n kubernetes cluster.local {\n fallthrough\n }\n file /cluster cluster.local\n file /pay example.com\n}\n" +
      "loops.test:53 {\n file /loops\n}\nmore.test:53 {\n file /pay\n}",
    files,
  );
  try {
    for (const [question, answer] of [
      ["extra.cluster.local", "NOERROR 192.0.2.2"],
      ["extra.deep.svc.cluster.local", "NOERROR 192.0.2.3"],
      ["none.cluster.local", "NXDOMAIN"],
      ["api.production.svc.cluster.local", "NOERROR 10.96.41.7"],
      ["to.cluster.local", "NOERROR api.production.svc.cluster.local. 10.96.41.7"],
      ["pay.production.svc.cluster.local", "NOERROR pay.example.com. 192.0.2.4"],
      ["back.example.com", "NOERROR api.production.svc.cluster.local. 10.96.41.7"],
      ["back.more.test", "NOERROR api.production.svc.cluster.local. 10.96.41.7"],
      ["a.other.test", "REFUSED"],
    ] as const) {
      assert.equal(await ask(server, question), answer, question);
      assert.equal(await ask(server, question), answer, `${question} again`);
    }
    assert.match(await ask(server, "a.loops.test"), /^SERVFAIL x\.loops\.test\./);
  } finally {
    await server.close();
  }
});

await test("with autopath, 'no such name' from a file is not kept for clients that have a search list", async () => {
  const files: Files = { "/cluster": zoneText(1, ""), "/example": zoneText(1, "www A 192.0.2.9") };
  const server = await start(
    ".:53 {\n kubernetes cluster.local {\n pods verified\n fallthrough\n }\n autopath @kubernetes\n" +
      " file /cluster cluster.local\n file /example example.com\n}",
    files,
  );
  try {
    execFileSync("nsenter", ["--net=/proc/self/fd/3", "ip", "addr", "add", "10.244.1.5/32", "dev", "lo"], {
      stdio: ["ignore", "ignore", "inherit", server.namespace.fd],
    });
    const name = "www.example.com.production.svc.cluster.local";
    assert.equal(await ask(server, name), "NXDOMAIN");
    // A question to one's own address comes from it: this client is pod production/web.
    const { answers } = await queryDns(server.namespace, "10.244.1.5", name, "A");
    assert.deepEqual(
      answers.map(({ data }) => formatRecordData(data)),
      ["www.example.com.", "192.0.2.9"],
    );
  } finally {
    await server.close();
  }
});
