// Whole zones: to whom, in how many messages, with which serial, and who is told that a zone is another.

import assert from "node:assert/strict";
import dgram from "node:dgram";
import { once } from "node:events";
import net from "node:net";
import process from "node:process";
import { test } from "node:test";

import { createNetworkNamespace } from "../../kernel/namespaces.ts";
import { bindUdpFd, tcpSocketFd } from "../../kernel/sockets.ts";
import { endpoint, kubeDns, network, port, service } from "../../program/zone.testing.ts";
import { compileZone } from "../../program/zone.ts";
import { buildMessage, emptyMessage, parseMessage, rcodeName } from "../../wire/dns/message.ts";
import { formatRecordData, recordTypeName, typeOfData } from "../../wire/dns/record.ts";
import { queryDns } from "./client.ts";
import { parseCorefile } from "./corefile.ts";
import { startTestServer, testZone, type TestServer } from "./server.testing.ts";
import { askForZone, type ZoneQuestion } from "./transfer.testing.ts";

const zoneText = (serial: number): string => `$TTL 60
@ SOA ns hm ${serial} 2 3 4 5
a A 192.0.2.1
@ NS ns
ns A 192.0.2.2
sub NS ns.sub
ns.sub A 192.0.2.3
`;

const corefile = (more: string): string => `.:53 {
  kubernetes cluster.local in-addr.arpa
  file /db example.org {
    reload 20ms
  }
  acl example.org {
    block type IXFR net 127.0.0.9
  }
  ${more}
}`;

async function zoneOf({ namespace }: TestServer, question: Omit<ZoneQuestion, "port">): Promise<string[]> {
  const messages = await askForZone(namespace, { port: 53, ...question });
  const [first] = messages;
  if (first?.rcode !== 0) return [rcodeName(first?.rcode ?? -1)];
  return messages.flatMap(({ answers }) =>
    answers.map(({ name, data }) => `${name} ${recordTypeName(typeOfData(data))} ${formatRecordData(data)}`),
  );
}

await test("AXFR and IXFR of a file's zone", async () => {
  const server = await startTestServer({
    corefile: parseCorefile(corefile("transfer {\n to *\n }")),
    read: () => zoneText(7),
  });
  const soa = "example.org SOA ns.example.org. hm.example.org. 7 2 3 4 5";
  const whole = [
    soa,
    "example.org NS ns.example.org.",
    "a.example.org A 192.0.2.1",
    "ns.example.org A 192.0.2.2",
    "sub.example.org NS ns.sub.example.org.",
    "ns.sub.example.org A 192.0.2.3",
    soa,
  ];
  try {
    for (const [question, expected] of [
      [{ name: "example.org" }, whole],
      [{ name: "example.org", edns: true }, whole],
      [{ name: "example.org", type: "IXFR", serial: 6 }, whole],
      [{ name: "example.org", type: "IXFR", serial: 7 }, [soa]],
      [{ name: "example.org", type: "IXFR", serial: 8 }, [soa]],
      // RFC 1982: it went round.
      [{ name: "example.org", type: "IXFR", serial: 4_294_967_290 }, whole],
      [{ name: "example.org", type: "IXFR" }, ["FORMERR"]],
      [{ name: "a.example.org" }, ["REFUSED"]],
      [{ name: "other.test" }, ["REFUSED"]],
      [{ name: "in-addr.arpa" }, ["REFUSED"]],
    ] as const)
      assert.deepEqual(await zoneOf(server, question), expected, JSON.stringify(question));
    const [message] = await askForZone(server.namespace, { port: 53, name: "Example.ORG", edns: true });
    assert.deepEqual(
      [message?.questions[0]?.name, message?.authoritative, message?.edns?.udpBytes],
      ["Example.ORG", true, 1232],
    );
    for (const type of ["AXFR", "IXFR"] as const)
      assert.equal(
        rcodeName((await queryDns(server.namespace, "127.0.0.1", "example.org", type, { transport: "udp" })).rcode),
        "REFUSED",
      );
    assert.ok(
      server.log.some((line) => /transfer: example\.org\. AXFR to 127\.0\.0\.1: 7 records, serial 7/.test(line)),
    );
  } finally {
    await server.close();
  }
});

await test("nobody but those whom `to` names has a zone, nor without the plugin, nor past acl", async () => {
  for (const [more, expected] of [
    ["", "REFUSED"],
    ["transfer {\n to 192.0.2.1\n }", "REFUSED"],
    ["transfer {\n to 192.0.2.1 127.0.0.1\n }", "example.org"],
    ["transfer other.test {\n to *\n }", "REFUSED"],
    ["transfer . {\n to *\n }\n transfer example.org {\n to 192.0.2.1\n }", "REFUSED"],
    ["acl {\n block type AXFR\n }\n transfer {\n to *\n }", "REFUSED"],
  ] as const) {
    const read = (): string => zoneText(1);
    const server = await startTestServer({ corefile: parseCorefile(corefile(more)), read });
    try {
      const [first = ""] = await zoneOf(server, { name: "example.org" });
      assert.equal(first.split(" ")[0], expected, more);
    } finally {
      await server.close();
    }
  }
});

await test("the cluster's zone: many messages, a serial that grows with each change", async () => {
  let zone: ReturnType<typeof testZone> | undefined;
  const server = await startTestServer({
    corefile: parseCorefile(corefile("transfer {\n to *\n }")),
    zone: () => zone,
    read: () => zoneText(1),
  });
  try {
    assert.deepEqual(await zoneOf(server, { name: "cluster.local" }), ["SERVFAIL"]);
    zone = testZone(5000);
    const messages = await askForZone(server.namespace, { port: 53, name: "cluster.local" });
    const records = messages.flatMap(({ answers }) => answers);
    assert.ok(messages.length > 10, `${messages.length} messages`);
    assert.equal(records.filter(({ name }) => name === "many.production.svc.cluster.local").length, 5000);
    assert.equal(
      new Set(records.map(({ name, data }) => `${name} ${formatRecordData(data)}`)).size,
      records.length - 1,
    );
    assert.deepEqual(records[0], records.at(-1));
    const serialOf = async (): Promise<number> => {
      const { answers } = await queryDns(server.namespace, "127.0.0.1", "cluster.local", "SOA");
      const [soa] = answers;
      return soa?.data.kind === "SOA" ? soa.data.serial : 0;
    };
    const first = await serialOf();
    assert.equal(records[0]?.data.kind === "SOA" && records[0].data.serial, first);
    assert.equal(await serialOf(), first);
    assert.equal((await zoneOf(server, { name: "cluster.local", type: "IXFR", serial: first })).length, 1);
    zone = compileZone(
      network({
        services: [kubeDns, service("production/api", { clusterIps: ["10.96.41.8"], ports: [port("http", 80)] })],
      }),
      { previous: zone },
    );
    assert.ok((await serialOf()) > first);
    const changed = await zoneOf(server, { name: "cluster.local", type: "IXFR", serial: first });
    assert.ok(changed.includes("api.production.svc.cluster.local A 10.96.41.8"), changed.join("\n"));
  } finally {
    await server.close();
  }
});

await test("the hosts that `to` names are told at the start and when a file's serial is another", async () => {
  const namespace = createNetworkNamespace();
  const told: string[] = [];
  const listener = dgram.createSocket("udp4");
  listener.bind({ fd: bindUdpFd(namespace, { address: "127.0.0.2", port: 5300 }) });
  listener.on("message", (bytes, from) => {
    const message = parseMessage(bytes);
    told.push(
      `${message.opcode} ${message.authoritative} ${message.questions[0]?.name} ${message.questions[0]?.type} ${from.address}`,
    );
    // The first is lost: it is told again.
    if (told.length > 1) listener.send(buildMessage({ ...message, response: true }), from.port, from.address);
  });
  let text = zoneText(1);
  const read = (): string => text;
  const server = await startTestServer({
    namespace,
    corefile: parseCorefile(corefile("transfer {\n to 127.0.0.2:5300\n source 127.0.0.3\n }")),
    read,
  });
  try {
    const one = "4 true example.org SOA 127.0.0.3";
    while (told.length < 2) await new Promise((resolve) => setTimeout(resolve, 5));
    assert.deepEqual(told, [one, one]);
    text = zoneText(2);
    while (told.length < 3) await new Promise((resolve) => setTimeout(resolve, 5));
    assert.deepEqual(told, [one, one, one]);
  } finally {
    listener.close();
    await server.close();
  }
});

await test("a name that no message can hold does not keep the others back", async () => {
  const long = "x".repeat(64);
  const named = [{ ...endpoint("10.244.0.1"), hostname: long }, endpoint("10.244.0.2")];
  const zone = compileZone(
    network({ services: [kubeDns, service("production/many", { headless: true, ports: [port("web", 80, named)] })] }),
  );
  const server = await startTestServer({
    corefile: parseCorefile(corefile("transfer {\n to *\n }")),
    zone: () => zone,
    read: () => zoneText(1),
  });
  try {
    const records = await zoneOf(server, { name: "cluster.local" });
    assert.ok(records.includes("10-244-0-2.many.production.svc.cluster.local A 10.244.0.2"));
    assert.ok(!records.some((record) => record.includes(long)));
    assert.ok(
      server.log.some((line) => /left out what cannot be sent: a label of .* has more than 63 bytes/.test(line)),
    );
  } finally {
    await server.close();
  }
});

await test("many questions for a zone on one connection, whose client reads late", async () => {
  const large = testZone(3000);
  const server = await startTestServer({
    corefile: parseCorefile(corefile("transfer {\n to *\n }")),
    zone: () => large,
    read: () => zoneText(1),
  });
  const warnings: string[] = [];
  const warn = ({ message }: Error): unknown => warnings.push(message);
  process.on("warning", warn);
  const socket = new net.Socket({ fd: tcpSocketFd(server.namespace, 4) });
  try {
    const query = buildMessage({ ...emptyMessage, questions: [{ name: "cluster.local", type: "AXFR", class: 1 }] });
    const framed = Buffer.concat([Uint8Array.of(0, query.length), query]);
    socket.pause();
    await new Promise<void>((resolve) => socket.connect({ host: "127.0.0.1", port: 53 }, resolve));
    socket.write(Buffer.concat(Array.from({ length: 30 }, () => framed)));
    await new Promise((resolve) => setTimeout(resolve, 300));
    let received = Buffer.alloc(0);
    let ends = 0;
    while (ends < 60) {
      const [data] = (await once(socket.resume(), "data")) as [Buffer];
      received = Buffer.concat([received, data]);
      while (received.length >= 2 && received.length >= 2 + received.readUInt16BE(0)) {
        const end = 2 + received.readUInt16BE(0);
        ends += parseMessage(received.subarray(2, end)).answers.filter(({ data: each }) => each.kind === "SOA").length;
        received = received.subarray(end);
      }
    }
    assert.equal(ends, 60);
    assert.deepEqual(warnings, []);
  } finally {
    process.off("warning", warn);
    socket.destroy();
    await server.close();
  }
});

await test("a large zone for several clients at once", async () => {
  const large = testZone(8000);
  const server = await startTestServer({
    corefile: parseCorefile(corefile("transfer {\n to *\n }")),
    zone: () => large,
    read: () => zoneText(1),
  });
  try {
    const all = await Promise.all(
      Array.from({ length: 4 }, () => askForZone(server.namespace, { port: 53, name: "cluster.local" })),
    );
    for (const messages of all)
      assert.equal(messages.flatMap(({ answers }) => answers).length, all[0]?.flatMap(({ answers }) => answers).length);
    assert.equal((await queryDns(server.namespace, "127.0.0.1", "api.production.svc.cluster.local", "A")).rcode, 0);
  } finally {
    await server.close();
  }
});
