import assert from "node:assert/strict";
import { once } from "node:events";
import dgram from "node:dgram";
import net from "node:net";
import { test } from "node:test";

import { addressAt } from "../../ip/prefix.ts";
import { createNetworkNamespace, type NetworkNamespace } from "../../kernel/namespaces.ts";
import { bindUdpFd, tcpSocketFd } from "../../kernel/sockets.ts";
import { serveUdp } from "../../kernel/udp.ts";
import { buildQuery, parseMessage, rcodeName, type DnsMessage } from "../../wire/dns/message.ts";
import { formatRecordData } from "../../wire/dns/record.ts";
import { parseCorefile } from "./corefile.ts";
import { defaultCorefileText } from "./default-corefile.ts";
import { DnsQueryError, exchangeDns, queryDns } from "./client.ts";
import { answerOf, startTestServer, testUpstream, testZone, type TestServer } from "./server.testing.ts";

const local = "127.0.0.1";
const apiName = "api.production.svc.cluster.local";

/** Starts a server, runs the test, and leaves nothing behind. */
async function withServer(
  options: Parameters<typeof startTestServer>[0],
  run: (server: TestServer) => Promise<void>,
): Promise<void> {
  const server = await startTestServer(options);
  try {
    await run(server);
  } finally {
    await server.close();
  }
}

/** rcode and answers as text. */
function essence(message: DnsMessage): string {
  const answers = message.answers.map(({ data }) => `${data.kind} ${formatRecordData(data)}`);
  return [rcodeName(message.rcode), ...answers].join(" | ");
}

await test("the cluster's names by UDP and TCP, IPv4 and IPv6, the case kept", async () => {
  await withServer({}, async ({ namespace }) => {
    for (const address of [local, "::1"]) {
      for (const transport of ["udp", "tcp"] as const) {
        const answer = await queryDns(namespace, address, "API.production.svc.Cluster.Local", "A", { transport });
        assert.equal(essence(answer), "NOERROR | A 10.96.41.7");
        assert.equal(answer.authoritative, true);
        assert.equal(answer.answers[0]?.name, "API.production.svc.Cluster.Local");
      }
    }
    assert.equal(essence(await queryDns(namespace, local, apiName, "AAAA")), "NOERROR");
    assert.equal(essence(await queryDns(namespace, local, "x.production.svc.cluster.local", "A")), "NXDOMAIN");
    assert.equal(essence(await queryDns(namespace, local, apiName, "A", { udpBytes: 0 })), "NOERROR | A 10.96.41.7");
  });
});

await test("before the first sync the cluster's names are SERVFAIL, and /ready says so", async () => {
  let zone: ReturnType<typeof testZone> | undefined;
  const upstream = testUpstream(({ name }) => ({ answers: [answerOf(name, { kind: "A", address: "192.0.2.1" })] }));
  await withServer({ zone: () => zone, upstream }, async ({ namespace, log }) => {
    assert.equal(essence(await queryDns(namespace, local, apiName, "A")), "SERVFAIL");
    assert.equal(essence(await queryDns(namespace, local, "nobody.cluster.local", "A")), "SERVFAIL");
    assert.equal(essence(await queryDns(namespace, local, "7.41.96.10.in-addr.arpa", "PTR")), "SERVFAIL");
    assert.equal(essence(await queryDns(namespace, local, "example.com", "A")), "NOERROR | A 192.0.2.1");
    assert.deepEqual(await get(namespace, 8181, "/ready"), { status: 503, body: "kubernetes" });
    assert.deepEqual(await get(namespace, 8080, "/health"), { status: 200, body: "OK" });
    assert.ok(log.some((line) => line.includes("waiting for the cluster's objects")));
    zone = testZone();
    assert.equal(essence(await queryDns(namespace, local, apiName, "A")), "NOERROR | A 10.96.41.7");
    assert.deepEqual(await get(namespace, 8181, "/ready"), { status: 200, body: "OK" });
    assert.equal((await get(namespace, 8181, "/else")).status, 404);
  });
});

await test("an answer that is too large for UDP is cut and whole by TCP; EDNS gives more room", async () => {
  const zone = testZone(300);
  await withServer({ zone: () => zone }, async ({ namespace }) => {
    const name = "many.production.svc.cluster.local";
    const small = await queryDns(namespace, local, name, "A", { transport: "udp", udpBytes: 0 });
    assert.equal(small.truncated, true);
    assert.ok(small.answers.length > 20 && small.answers.length < 30, String(small.answers.length));
    const larger = await queryDns(namespace, local, name, "A", { transport: "udp", udpBytes: 4096 });
    assert.ok(larger.truncated && larger.answers.length > 60, String(larger.answers.length));
    const whole = await queryDns(namespace, local, name, "A");
    assert.equal(whole.truncated, false);
    assert.equal(whole.answers.length, 300);
  });
});

await test("several addresses come in turns", async () => {
  let dice = 0;
  await withServer({ dice: () => dice }, async ({ namespace }) => {
    const first = async (): Promise<string> => {
      const { answers } = await queryDns(namespace, local, "many.production.svc.cluster.local", "A");
      return answers[0] === undefined ? "none" : formatRecordData(answers[0].data);
    };
    assert.equal(await first(), "10.244.0.0");
    dice = 0.5;
    assert.equal(await first(), "10.244.0.1");
    dice = 0.999;
    assert.equal(await first(), "10.244.0.2");
  });
});

await test("others' names: from the upstream, then from the cache until their time is over", async () => {
  let now = 0;
  const upstream = testUpstream(({ name }) => ({ answers: [answerOf(name, { kind: "A", address: "192.0.2.1" }, 20)] }));
  await withServer({ upstream, clock: { now: () => now } }, async ({ namespace }) => {
    const ttl = async (): Promise<number | undefined> =>
      (await queryDns(namespace, local, "Example.com", "A")).answers[0]?.ttl;
    assert.equal(await ttl(), 20);
    now = 7500;
    assert.equal(await ttl(), 13);
    assert.deepEqual(upstream.asked, ["example.com A"]);
    now = 20_000;
    assert.equal(await ttl(), 20);
    assert.equal(upstream.asked.length, 2);
  });
});

await test("an upstream's 'no' is kept as long as its SOA says", async () => {
  let now = 0;
  const soa = {
    kind: "SOA",
    primary: "ns",
    mailbox: "m",
    serial: 1,
    refresh: 1,
    retry: 1,
    expire: 1,
    minimum: 4,
  } as const;
  const upstream = testUpstream(() => ({ rcode: 3, authority: [answerOf("com", soa)] }));
  await withServer({ upstream, clock: { now: () => now } }, async ({ namespace }) => {
    for (now of [0, 3900, 4100])
      assert.equal(essence(await queryDns(namespace, local, "no.example.com", "A")), "NXDOMAIN");
    assert.equal(upstream.asked.length, 2);
  });
});

await test("an upstream that fails: SERVFAIL, and the log says why, once", async () => {
  const upstream = testUpstream(() => undefined);
  await withServer({ upstream, clock: { now: () => 0 } }, async ({ namespace, log }) => {
    for (const name of ["a.example", "b.example", "a.example"])
      assert.equal(essence(await queryDns(namespace, local, name, "A")), "SERVFAIL");
    assert.deepEqual(upstream.asked, ["a.example A", "b.example A"]);
    assert.deepEqual(
      log.filter((line) => line.startsWith("[ERROR]")),
      ["[ERROR] a.example. A: SERVFAIL: nobody there"],
    );
  });
});

await test("an upstream that answers another question is not believed", async () => {
  const upstream = testUpstream(() => ({
    questions: [{ name: "evil.example", type: "A", class: 1 }],
    answers: [answerOf("evil.example", { kind: "A", address: "192.0.2.66" })],
  }));
  await withServer({ upstream }, async ({ namespace, log }) => {
    assert.equal(essence(await queryDns(namespace, local, "good.example", "A")), "SERVFAIL");
    assert.ok(log.some((line) => line.includes("answered another question")));
  });
});

await test("without an upstream others' names are refused, and the log says why", async () => {
  await withServer({}, async ({ namespace, log }) => {
    assert.equal(essence(await queryDns(namespace, local, "example.com", "A")), "REFUSED");
    assert.ok(
      log.includes("[ERROR] example.com. A: REFUSED: it is no name of the cluster, and there is no upstream to ask"),
    );
  });
});

await test("ExternalName: our CNAME with the upstream's records behind it", async () => {
  const upstream = testUpstream(({ name, type }) =>
    type === "A" ? { answers: [answerOf(name, { kind: "A", address: "192.0.2.9" })] } : {},
  );
  const name = "pay.production.svc.cluster.local";
  await withServer({ upstream }, async ({ namespace }) => {
    assert.equal(
      essence(await queryDns(namespace, local, name, "A")),
      "NOERROR | CNAME pay.example.com. | A 192.0.2.9",
    );
    assert.equal(essence(await queryDns(namespace, local, name, "AAAA")), "NOERROR | CNAME pay.example.com.");
    assert.equal(essence(await queryDns(namespace, local, name, "CNAME")), "NOERROR | CNAME pay.example.com.");
  });
  await withServer({}, async ({ namespace }) => {
    assert.equal(essence(await queryDns(namespace, local, name, "A")), "NOERROR | CNAME pay.example.com.");
  });
});

await test("what is no question of ours: other classes, transfers, newer EDNS", async () => {
  await withServer({}, async ({ namespace }) => {
    assert.equal(essence(await queryDns(namespace, local, "cluster.local", "AXFR", { transport: "tcp" })), "REFUSED");
    const chaos = buildQuery({ id: 1, name: "version.bind", type: "TXT" });
    chaos[chaos.length - 1] = 3;
    assert.equal(essence(parseMessage(await ask(namespace, chaos))), "REFUSED");
    const edns1 = buildQuery({ id: 1, name: apiName, type: "A", udpBytes: 1232 });
    edns1[edns1.length - 5] = 1;
    assert.equal(essence(parseMessage(await ask(namespace, edns1))), "BADVERS");
  });
});

function ask(namespace: NetworkNamespace, query: Uint8Array): Promise<Uint8Array> {
  return exchangeDns({ namespace, server: local, port: 53, timeoutMs: 2000, query, transport: "udp" });
}

await test("garbage by UDP gets FORMERR or silence, never more bytes than it had, and the server goes on", async () => {
  await withServer({}, async ({ namespace }) => {
    const client = createFlooder(namespace);
    let seed = 1;
    const random = (): number => (seed = (seed * 48_271) % 2_147_483_647);
    const lengths = new Map<number, number>();
    for (let i = 0; i < 2000; i++) {
      const bytes = Uint8Array.from({ length: random() % 80 }, () => random() & 255);
      if (bytes.length >= 2) bytes.set([i >> 8, i & 255]);
      lengths.set(i, bytes.length);
      client.send(bytes);
      if (i % 200 === 0) await queryDns(namespace, local, apiName, "A");
    }
    assert.equal(essence(await queryDns(namespace, local, apiName, "A")), "NOERROR | A 10.96.41.7");
    const answers = await client.close();
    for (const answer of answers) {
      const id = ((answer[0] ?? 0) << 8) | (answer[1] ?? 0);
      assert.ok(answer.length <= (lengths.get(id) ?? 0), "amplified");
      assert.notEqual(parseMessage(answer).rcode, 0);
    }
    assert.ok(answers.length > 100, String(answers.length));
  });
});

/** A UDP socket that sends what it is told and keeps what comes back. */
function createFlooder(namespace: NetworkNamespace): {
  send(bytes: Uint8Array): void;
  close(): Promise<Uint8Array[]>;
} {
  const socket = dgram.createSocket("udp4");
  socket.bind({ fd: bindUdpFd(namespace, { address: local, port: 0 }) });
  const answers: Uint8Array[] = [];
  return {
    send: (bytes) => socket.send(bytes, 53, local),
    async close() {
      const done = new Promise<void>((resolve) => {
        socket.on("message", (bytes) => (bytes[0] === 0xff && bytes[1] === 0xff ? resolve() : answers.push(bytes)));
      });
      // Its answer means that all before it were handled.
      socket.send(Uint8Array.of(0xff, 0xff, 0x28, 0, 0, 0, 0, 0, 0, 0, 0, 0), 53, local);
      await done;
      socket.close();
      return answers;
    },
  };
}

await test("TCP: many questions at once on one connection, also cut into single bytes", async () => {
  await withServer({}, async ({ namespace }) => {
    const socket = await connectTcp(namespace);
    const queries = Array.from({ length: 250 }, (_, id) => framed(buildQuery({ id, name: apiName, type: "A" })));
    const answers = readFramed(socket, queries.length);
    socket.write(Buffer.concat(queries));
    const ids = (await answers).map((bytes) => parseMessage(bytes).id);
    assert.deepEqual(
      ids.toSorted((a, b) => a - b),
      queries.map((_, id) => id),
    );
    const single = readFramed(socket, 1);
    for (const byte of framed(buildQuery({ id: 7, name: apiName, type: "A" }))) socket.write(Uint8Array.of(byte));
    assert.equal(essence(parseMessage((await single)[0] ?? new Uint8Array())), "NOERROR | A 10.96.41.7");
    socket.destroy();
  });
});

await test("TCP: what is no query is FORMERR, what is no question ends the connection", async () => {
  await withServer({}, async ({ namespace }) => {
    const socket = await connectTcp(namespace);
    const broken = buildQuery({ id: 7, name: apiName, type: "A" }).subarray(0, 20);
    const answer = readFramed(socket, 1);
    socket.write(framed(broken));
    assert.equal(rcodeName(parseMessage((await answer)[0] ?? new Uint8Array()).rcode), "FORMERR");
    const closed = once(socket, "close");
    socket.write(framed(Uint8Array.of(1, 2, 3)));
    await closed;
    assert.equal(
      essence(await queryDns(namespace, local, apiName, "A", { transport: "tcp" })),
      "NOERROR | A 10.96.41.7",
    );
  });
});

await test("an answer comes from the address that was asked, whatever else the pod has", async () => {
  const namespace = createNetworkNamespace();
  const server = await startTestServer({ namespace });
  try {
    // All of 127.0.0.0/8 is local; without IP_PKTINFO the reply would come from 127.0.0.1, and a connected client would not hear it.
    for (const host of [1, 2, 300]) {
      const answer = await queryDns(namespace, addressAt("127.0.0.0/8", host), apiName, "A", {
        transport: "udp",
        tries: 1,
      });
      assert.equal(essence(answer), "NOERROR | A 10.96.41.7");
    }
    const slow = testUpstream(({ name }) => ({ answers: [answerOf(name, { kind: "A", address: "192.0.2.1" })] }));
    const second = await startTestServer({
      namespace,
      upstream: slow,
      ports: { dns: 5353, health: 0, ready: 0, metrics: 0 },
    });
    const late = await queryDns(namespace, "127.0.0.2", "example.com", "A", { transport: "udp", tries: 1, port: 5353 });
    assert.equal(essence(late), "NOERROR | A 192.0.2.1");
    await second.server.close();
  } finally {
    await server.server.close();
    namespace.close();
  }
});

await test("the metrics count what happened", async () => {
  const upstream = testUpstream(({ name }) => ({ answers: [answerOf(name, { kind: "A", address: "192.0.2.1" })] }));
  await withServer({ upstream }, async ({ namespace }) => {
    for (let i = 0; i < 3; i++) await queryDns(namespace, local, apiName, "A", { transport: "udp" });
    await queryDns(namespace, "::1", apiName, "AAAA", { transport: "udp" });
    await queryDns(namespace, local, "x.cluster.local", "SRV", { transport: "tcp" });
    for (let i = 0; i < 4; i++) await queryDns(namespace, local, "example.com", "A");
    const { body } = await get(namespace, 9153, "/metrics");
    const value = (series: string): number => {
      const line = body.split("\n").find((each) => each.startsWith(`${series} `));
      return line === undefined ? 0 : Number(line.slice(series.length + 1));
    };
    const requests = (labels: string): number => value(`coredns_dns_requests_total{server="dns://:53",${labels}}`);
    assert.equal(requests('zone="cluster.local.",view="",proto="udp",family="1",type="A"'), 3);
    assert.equal(requests('zone="cluster.local.",view="",proto="udp",family="2",type="AAAA"'), 1);
    assert.equal(requests('zone="cluster.local.",view="",proto="tcp",family="1",type="SRV"'), 1);
    assert.equal(requests('zone=".",view="",proto="udp",family="1",type="A"'), 4);
    const responses = (rcode: string): number => {
      const found = body.matchAll(new RegExp(`coredns_dns_responses_total{.*rcode="${rcode}".*} (\\d+)`, "g"));
      return [...found].reduce((sum, match) => sum + Number(match[1]), 0);
    };
    assert.deepEqual([responses("NOERROR"), responses("NXDOMAIN")], [8, 1]);
    assert.equal(value('coredns_cache_hits_total{server="dns://:53",type="success",zones=".",view=""}'), 3);
    assert.equal(value('coredns_cache_misses_total{server="dns://:53",zones=".",view=""}'), 1);
    assert.equal(value('coredns_cache_entries{server="dns://:53",type="success",zones=".",view=""}'), 1);
    const durations = [...body.matchAll(/coredns_dns_request_duration_seconds_count{.*} (\d+)/g)];
    assert.equal(
      durations.reduce((sum, match) => sum + Number(match[1]), 0),
      9,
    );
  });
});

await test("others' names: kept, their addresses in turns, behind an alias too; without loadbalance as they came", async () => {
  const upstream = testUpstream(({ name }) => ({
    answers: [
      answerOf(name, { kind: "CNAME", target: "far.example.com" }),
      ...[1, 2, 3].map((n) => answerOf("far.example.com", { kind: "A", address: `192.0.2.${n}` })),
    ],
  }));
  const inOrder = "NOERROR | CNAME far.example.com. | A 192.0.2.1 | A 192.0.2.2 | A 192.0.2.3";
  await withServer({ upstream }, async ({ namespace, server }) => {
    const ask = async (): Promise<string> => essence(await queryDns(namespace, local, "example.com", "A"));
    const seen = new Set<string>();
    while (seen.size < 3) seen.add(await ask());
    const turns = ["1 2 3", "2 3 1", "3 1 2"].map((turn) =>
      turn
        .split(" ")
        .map((n) => ` | A 192.0.2.${n}`)
        .join(""),
    );
    assert.deepEqual(
      [...seen].toSorted(),
      turns.map((turn) => `NOERROR | CNAME far.example.com.${turn}`),
    );
    assert.equal(upstream.asked.length, 1);
    await server.reload(parseCorefile(defaultCorefileText("cluster.local").replace("loadbalance", "")));
    for (let times = 0; times < 20; times++) assert.equal(await ask(), inOrder);
  });
});

await test("a port that is taken is an error with its name, and nothing stays open", async () => {
  const namespace = createNetworkNamespace();
  const taken = serveUdp(namespace, { port: 53 }, () => {});
  await assert.rejects(startTestServer({ namespace }), { name: "KernelError", code: "EADDRINUSE" });
  taken.close();
  const server = await startTestServer({ namespace });
  await server.server.close();
  await assert.rejects(queryDns(namespace, local, apiName, "A"), (error) => {
    assert.ok(error instanceof DnsQueryError);
    return error.code === "ECONNREFUSED";
  });
  namespace.close();
});

async function connectTcp(namespace: NetworkNamespace): Promise<net.Socket> {
  const socket = new net.Socket({ fd: tcpSocketFd(namespace, 4) });
  socket.connect({ host: local, port: 53 });
  await once(socket, "connect");
  return socket;
}

function framed(bytes: Uint8Array): Uint8Array {
  return Uint8Array.of(bytes.length >> 8, bytes.length & 255, ...bytes);
}

async function readFramed(socket: net.Socket, count: number): Promise<Uint8Array[]> {
  const messages: Uint8Array[] = [];
  let unread = Buffer.alloc(0);
  while (messages.length < count) {
    const [chunk] = (await once(socket, "data")) as [Buffer];
    unread = Buffer.concat([unread, chunk]);
    while (unread.length >= 2 && unread.length >= 2 + unread.readUInt16BE(0)) {
      const end = 2 + unread.readUInt16BE(0);
      messages.push(unread.subarray(2, end));
      unread = unread.subarray(end);
    }
  }
  return messages;
}

async function get(namespace: NetworkNamespace, port: number, path: string): Promise<{ status: number; body: string }> {
  const socket = new net.Socket({ fd: tcpSocketFd(namespace, 4) });
  socket.connect({ host: local, port });
  socket.end(`GET ${path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n`);
  let text = "";
  socket.on("data", (chunk: Buffer) => (text += chunk.toString()));
  await once(socket, "close");
  const [head = "", ...rest] = text.split("\r\n\r\n");
  const body = rest.join("\r\n\r\n");
  const status = Number(head.split(" ")[1]);
  return { status, body: /transfer-encoding: chunked/i.test(head) ? unchunk(body) : body };
}

function unchunk(body: string): string {
  const [size = "0", ...rest] = body.split("\r\n");
  const length = Number.parseInt(size, 16);
  const text = rest.join("\r\n");
  return length === 0 ? "" : text.slice(0, length) + unchunk(text.slice(length + 2));
}
