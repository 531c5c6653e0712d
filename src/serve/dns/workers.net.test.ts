import assert from "node:assert/strict";
import { test } from "node:test";

import { createNetworkNamespace, type NetworkNamespace } from "../../kernel/namespaces.ts";
import { serveUdp, type Datagram } from "../../kernel/udp.ts";
import { network, service } from "../../program/zone.testing.ts";
import { ownerOf, finishedAnswer } from "../../program/zone-answer.ts";
import { compileZone, type Zone } from "../../program/zone.ts";
import { writeAnswer } from "../../wire/dns/answer.ts";
import { rcodeName, type DnsMessage } from "../../wire/dns/message.ts";
import { readQuery } from "../../wire/dns/query.ts";
import { formatRecordData } from "../../wire/dns/record.ts";
import { createAnswers } from "./answers.ts";
import { queryDns } from "./client.ts";
import { parseCorefile } from "./corefile.ts";
import { defaultCorefileText } from "./default-corefile.ts";
import { createDnsLog } from "./log.ts";
import { createQueryLog } from "./query-log.ts";
import { answerOf, startTestServer, testUpstream } from "./server.testing.ts";
import { startWorkers } from "./workers.ts";

const local = "127.0.0.1";
const name = "api.production.svc.cluster.local";

function essence(message: DnsMessage): string {
  const answers = message.answers.map(({ data }) => `${data.kind} ${formatRecordData(data)}`);
  return [rcodeName(message.rcode), ...answers].join(" | ");
}

function zoneOf(address: string, previous?: Zone): Zone {
  return compileZone(network({ services: [service("production/api", { clusterIps: [address] })] }), { previous });
}

async function withNamespace(run: (namespace: NetworkNamespace) => Promise<void>): Promise<void> {
  const namespace = createNetworkNamespace();
  try {
    await run(namespace);
  } finally {
    namespace.close();
  }
}

await test("a thread answers what is kept, hands over the rest, and forgets with the server", async () => {
  await withNamespace(async (namespace) => {
    let zone = zoneOf("10.96.41.7");
    const asked: string[] = [];
    const log: string[] = [];
    const answers = createAnswers({ zone: () => zone, shared: true });
    answers.refresh();
    const handle = (datagram: Datagram): void => {
      const { bytes } = datagram;
      const query = readQuery(bytes);
      assert.ok(query.kind === "query");
      asked.push(`${query.name} from ${datagram.source().address}`);
      const answer = finishedAnswer(zone, query.name, query.type);
      if (answer === undefined) {
        // Asked of others, who take their time.
        const reply = datagram.later();
        return void setImmediate(() => {
          const response = bytes.slice();
          response[2] = 0x80;
          response[3] = 0x85;
          reply(response);
        });
      }
      answers.keep(bytes, query.questionEnd, answer, {
        owner: ownerOf(query.name, zone, answer),
        turns: false,
        isCluster: true,
        logFormat: 0,
      });
      datagram.send(writeAnswer(datagram.room, bytes, query, answer, { limit: 512, turn: 0 }));
    };
    const workers = startWorkers(2, {
      log: createDnsLog((line) => log.push(line), performance),
      queryLog: createQueryLog(() => {}),
      clock: performance,
    });
    // None of the sockets is this thread's.
    const sockets = workers.open({ namespace, address: { port: 53 }, memories: answers.memories, handle });
    try {
      for (let times = 0; times < 20; times++)
        assert.equal(essence(await queryDns(namespace, local, name, "A")), "NOERROR | A 10.96.41.7");
      assert.deepEqual(asked, [`${name} from 127.0.0.1`]);
      assert.equal(essence(await queryDns(namespace, "::1", "example.com", "A")), "REFUSED");
      assert.deepEqual(asked.slice(1), ["example.com from ::1"]);
      zone = zoneOf("10.96.41.8", zone);
      answers.refresh();
      for (let times = 0; times < 20; times++)
        assert.equal(essence(await queryDns(namespace, local, name, "A")), "NOERROR | A 10.96.41.8");
      assert.equal(asked.length, 3);
      assert.deepEqual([sockets.dropped(), sockets.unsent()], [0, 0]);
      // Both have answered: one of two that answers 40 clients alone has a chance of one in 2 ** 39.
      for (const tally of sockets.tallies) assert.ok(tally.some((count) => count > 0));
    } finally {
      await workers.close();
    }
    // The port is free again, also for one that does not share.
    serveUdp(namespace, { port: 53 }, () => {}).close();
    assert.deepEqual(log, []);
  });
});

await test("a server of three threads: every client is answered, counted once, and sees a change", async () => {
  let zone = zoneOf("10.96.41.7");
  const listeners = new Set<() => void>();
  const upstream = testUpstream(({ name: other }) => ({
    answers: [answerOf(other, { kind: "A", address: "192.0.2.1" })],
  }));
  const { namespace, server, log, close } = await startTestServer({
    zone: () => zone,
    upstream,
    corefile: parseCorefile(defaultCorefileText("cluster.local").replace("errors", "errors\n    log")),
    workers: 3,
    subscribe(listener) {
      listeners.add(listener);
      return { close: () => void listeners.delete(listener) };
    },
  });
  try {
    const ask = (asked: string): Promise<string> => queryDns(namespace, local, asked, "A").then(essence);
    const many = async (asked: string): Promise<ReadonlySet<string>> =>
      new Set(await Promise.all(Array.from({ length: 30 }, () => ask(asked))));
    assert.deepEqual(await many(name), new Set(["NOERROR | A 10.96.41.7"]));
    assert.deepEqual(await many("example.com"), new Set(["NOERROR | A 192.0.2.1"]));
    assert.deepEqual(await many("x.production.svc.cluster.local"), new Set(["NXDOMAIN"]));
    assert.equal(upstream.asked.length, 1);
    zone = zoneOf("10.96.41.9", zone);
    for (const listener of listeners) listener();
    assert.deepEqual(await many(name), new Set(["NOERROR | A 10.96.41.9"]));
    const { status, body } = await page(namespace, server.ports.metrics);
    assert.equal(status, 200);
    const count = (pattern: RegExp): number =>
      [...body.matchAll(pattern)].reduce((sum, [, value]) => sum + Number(value), 0);
    assert.equal(count(/^coredns_dns_requests_total\{.*\} (\d+)$/gm), 120);
    assert.equal(count(/^coredns_dns_responses_total\{.*rcode="NXDOMAIN"\} (\d+)$/gm), 30);
    assert.equal(count(/^coredns_dns_request_duration_seconds_count\{.*\} (\d+)$/gm), 120);
    assert.equal(count(/^coredns_dns_request_size_bytes_count\{.*proto="udp"\} (\d+)$/gm), 120);
    assert.equal(count(/^coredns_dns_response_size_bytes_count\{.*proto="udp"\} (\d+)$/gm), 120);
    assert.deepEqual(
      log.filter((line) => !line.startsWith("[INFO]")),
      [],
    );
    await server.close();
    const lines = log.filter((line) => line.includes(" IN "));
    assert.equal(lines.length, 120);
    assert.equal(lines.filter((line) => line.includes(`A IN ${name}. udp`)).length, 60);
  } finally {
    await close();
  }
  assert.equal(listeners.size, 0);
});

await test("a port that is taken is an error, with threads too", async () => {
  await withNamespace(async (namespace) => {
    const first = await startTestServer({ namespace, workers: 2, subscribe: () => ({ close() {} }) });
    try {
      await assert.rejects(
        startTestServer({ namespace, workers: 2, subscribe: () => ({ close() {} }) }),
        /tcp port 53.*EADDRINUSE/,
      );
      for (let times = 0; times < 10; times++)
        assert.equal(essence(await queryDns(namespace, local, name, "A")), "NOERROR | A 10.96.41.7");
    } finally {
      await first.server.close();
    }
  });
});

await test("a thread that dies leaves its clients to the others", async () => {
  await withNamespace(async (namespace) => {
    const log: string[] = [];
    const ended = Promise.withResolvers<void>();
    const workers = startWorkers(1, {
      log: createDnsLog((line) => {
        log.push(line);
        if (line.includes("has ended")) ended.resolve();
      }, performance),
      queryLog: createQueryLog(() => {}),
      clock: performance,
    });
    const own = serveUdp(namespace, { port: 53, sharing: true }, (datagram) => {
      const response = datagram.bytes.slice();
      response[2] = 0x80;
      datagram.room.set(response);
      datagram.send(response.length);
    });
    try {
      // It fails at this: there are no tables.
      const memories = undefined as unknown as Parameters<typeof workers.open>[0]["memories"];
      workers.open({ namespace, address: { port: 53 }, memories, handle() {} });
      // The thread alone does not keep a process alive, so somebody has to.
      const waiting = setInterval(() => {}, 1000);
      await ended.promise;
      clearInterval(waiting);
      assert.match(
        log.join("\n"),
        /\[ERROR\] worker 2: .*\n\[ERROR\] worker 2 has ended: the others answer its clients/,
      );
      for (let times = 0; times < 20; times++)
        assert.equal(essence(await queryDns(namespace, local, name, "A")), "NOERROR");
      // Later sockets are closed at once.
      workers.open({ namespace, address: { port: 54 }, memories: [], handle() {} });
      serveUdp(namespace, { port: 54 }, () => {}).close();
    } finally {
      own.close();
      await workers.close();
    }
  });
});

/** A page of the server's pages over HTTP. */
async function page(
  namespace: NetworkNamespace,
  port: number,
): Promise<{ readonly status: number; readonly body: string }> {
  const { default: net } = await import("node:net");
  const { tcpSocketFd } = await import("../../kernel/sockets.ts");
  const socket = new net.Socket({ fd: tcpSocketFd(namespace, 4) });
  let text = "";
  socket.on("data", (chunk) => (text += chunk.toString()));
  socket.connect({ host: local, port });
  socket.write("GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  await new Promise<void>((resolve) => socket.on("close", () => resolve()));
  return { status: Number(text.split(" ")[1]), body: text };
}
