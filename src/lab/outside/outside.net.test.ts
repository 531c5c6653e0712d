import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

import { check, libc } from "../../kernel/ffi.ts";
import { openKernel } from "../../kernel/linux.ts";
import { clusterConfig } from "../../model/cluster.ts";
import { createNetworkNamespace, type NetworkNamespace } from "../../kernel/namespaces.ts";
import { serveUdp } from "../../kernel/udp.ts";
import { startTestServer, testZone } from "../../serve/dns/server.testing.ts";
import { buildMessage, buildQuery, parseMessage, rcodeName, rcodes, type DnsMessage } from "../../wire/dns/message.ts";
import { connectOutside } from "./connect.ts";
import { runOutsideHelper } from "./helper.ts";
import { buildQuestion, parseQuestion } from "./protocol.ts";
import { relayOutside } from "./relay.ts";
import { createHostResolver, parseResolvConf, type HostResolver } from "./resolver.ts";

const apiName = "api.production.svc.cluster.local";
const query = (name: string = apiName): Uint8Array => buildQuery({ id: 4711, name, type: "A", udpBytes: 1232 });

const socketpair = libc("int socketpair(int domain, int type, int protocol, void *fds)");

/** Two ends of a connection: AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, as Node's own stdio pipes are. */
function makePair(): readonly [number, number] {
  const fds = new Uint8Array(new ArrayBuffer(8));
  check("make a socket pair", socketpair(1, 1 | 0x80000, 0, fds));
  const view = new DataView(fds.buffer);
  return [view.getInt32(0, true), view.getInt32(4, true)];
}

/** A resolv.conf of these lines, gone after the test. */
async function withResolvConf(lines: readonly string[], run: (file: string) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "fairlead-outside-"));
  const file = join(folder, "resolv.conf");
  writeFileSync(file, `${lines.join("\n")}\n`);
  try {
    await run(file);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** A namespace in which `answer` is a resolver at each of the addresses; gives how often each was asked. */
async function withResolvers(
  resolvers: Readonly<Record<string, (query: DnsMessage) => Partial<DnsMessage> | undefined>>,
  run: (namespace: NetworkNamespace, asked: Readonly<Record<string, number>>) => Promise<void>,
): Promise<void> {
  const namespace = createNetworkNamespace();
  const asked: Record<string, number> = {};
  const servers = Object.entries(resolvers).map(([address, answer]) =>
    serveUdp(namespace, { address, port: 53 }, (datagram) => {
      asked[address] = (asked[address] ?? 0) + 1;
      const message = parseMessage(datagram.bytes);
      const response = answer(message);
      if (response !== undefined) datagram.later()(buildMessage({ ...message, response: true, ...response }));
    }),
  );
  try {
    await run(namespace, asked);
  } finally {
    for (const server of servers) server.close();
    namespace.close();
  }
}

async function rcodeOf(resolver: HostResolver): Promise<string> {
  const response = parseMessage(await resolver.resolve(query()));
  assert.equal(response.id, 4711);
  return rcodeName(response.rcode);
}

await test("through both sides: a query goes out by UDP, again by TCP where it is cut, and its answer comes back", async () => {
  const zone = testZone(300);
  const server = await startTestServer({ zone: () => zone });
  const [inside, outside] = makePair();
  try {
    await withResolvConf(["nameserver 127.0.0.1"], async (resolvConf) => {
      const resolver = createHostResolver({ resolvConf, namespace: server.namespace });
      const helper = runOutsideHelper(outside, resolver);
      const daemon = connectOutside(inside);
      const names = [apiName, "many.production.svc.cluster.local", "nobody.cluster.local"];
      const responses = await Promise.all(names.map((name) => daemon.resolve(query(name))));
      const seen = responses
        .map((bytes) => parseMessage(bytes))
        .map(({ rcode, answers }) => `${rcodeName(rcode)} ${answers.length}`);
      assert.deepEqual(seen, ["NOERROR 1", "NOERROR 300", "NXDOMAIN 0"]);
      daemon.close();
      await helper;
      await assert.rejects(daemon.resolve(query()), /the lab is stopping/);
    });
  } finally {
    await server.close();
  }
});

await test("a server that is named is asked, and none that only this machine or its link can reach", async () => {
  const zone = testZone(300);
  const namespace = createNetworkNamespace();
  const kernel = openKernel("outside", namespace);
  const server = { address: "10.9.9.9", port: 5353 };
  kernel.change([{ kind: "set-address", link: "lo", address: server.address, bits: 32 }]);
  kernel.close();
  const dns = await startTestServer({ namespace, zone: () => zone, ports: { dns: server.port } });
  const [inside, outside] = makePair();
  try {
    const helper = runOutsideHelper(outside, createHostResolver({ resolvConf: "/nowhere/resolv.conf", namespace }));
    const daemon = connectOutside(inside);
    const names = [apiName, "many.production.svc.cluster.local", "nobody.cluster.local"];
    const responses = await Promise.all(names.map((name) => daemon.ask({ server, query: query(name) })));
    const seen = responses
      .map((bytes) => parseMessage(bytes))
      .map(({ rcode, answers }) => `${rcodeName(rcode)} ${answers.length}`);
    assert.deepEqual(seen, ["NOERROR 1", "NOERROR 300", "NXDOMAIN 0"]);
    for (const address of ["127.0.0.1", "169.254.169.254", "::1", "::ffff:127.0.0.1", "fe80::1", "ff02::fb"])
      await assert.rejects(
        daemon.ask({ server: { address, port: 53 }, query: query() }),
        /is for this machine or its link alone/,
      );
    daemon.close();
    await helper;
  } finally {
    await dns.close();
  }
});

await test("a question that is none ends nothing but itself", () => {
  const question = { server: { address: "2001:db8::53", port: 5353 }, query: query() };
  const payload = buildQuestion(question);
  assert.deepEqual(parseQuestion(payload).server, question.server);
  assert.deepEqual(Buffer.from(parseQuestion(payload).query), Buffer.from(question.query));
  for (const bad of [new Uint8Array(), payload.subarray(0, 2), payload.subarray(0, 9), Uint8Array.of(0, 53, 1, 65)])
    assert.throws(() => parseQuestion(bad), RangeError);
});

await test("a lab's own addresses are asked in the lab, all others outside", () => {
  const cluster = clusterConfig();
  const relay = relayOutside(cluster, { resolve: (bytes) => Promise.resolve(bytes), ask, close() {} });
  function ask({ server: { address } }: { server: { address: string } }): Promise<Uint8Array> {
    return Promise.resolve(Buffer.from(address));
  }
  const inside = [
    "10.96.0.10",
    "10.244.3.7",
    "172.18.0.11",
    "203.0.113.10",
    "fd00:10:96::a",
    "127.0.0.1",
    "fe80::1%eth0",
  ];
  assert.deepEqual(inside.filter(relay.serves), []);
  for (const address of ["8.8.8.8", "10.1.2.3", "192.168.1.1", "2606:4700::1111"]) assert.ok(relay.serves(address));
});

await test("the helper process ends when the daemon goes away, however it goes", async () => {
  const [inside, outside] = makePair();
  const file = fileURLToPath(new URL("main.ts", import.meta.url));
  const helper = spawn(process.execPath, [file, "3"], { stdio: ["ignore", "inherit", "inherit", outside] });
  const ended = once(helper, "exit");
  closeSync(outside);
  closeSync(inside);
  assert.deepEqual(await ended, [0, null]);
});

await test("what waits is rejected when the helper dies", async () => {
  const [inside, outside] = makePair();
  const daemon = connectOutside(inside);
  const waiting = daemon.resolve(query());
  closeSync(outside);
  await assert.rejects(waiting, /the helper process outside is gone/);
  await assert.rejects(daemon.resolve(query()), /the helper process outside is gone/);
});

await test("no resolver: the reason says where it looked", async () => {
  await withResolvConf(["search example.com"], async (resolvConf) => {
    await assert.rejects(
      createHostResolver({ resolvConf }).resolve(query()),
      /the host has no resolver: .*resolv.conf names none/,
    );
  });
  await assert.rejects(
    createHostResolver({ resolvConf: "/nowhere/resolv.conf" }).resolve(query()),
    /the host has no resolver: there is no \/nowhere\/resolv.conf/,
  );
});

await test("through both sides: the reason for no answer comes back as words", async () => {
  const [inside, outside] = makePair();
  const helper = runOutsideHelper(outside, createHostResolver({ resolvConf: "/nowhere/resolv.conf" }));
  const daemon = connectOutside(inside);
  await assert.rejects(daemon.resolve(query()), {
    message: "the host has no resolver: there is no /nowhere/resolv.conf",
  });
  daemon.close();
  await helper;
});

await test("a resolver that does not answer, is not there or fails is passed over, and the good one is asked first from then on", async () => {
  const silent = (): undefined => undefined;
  const failing = (): Partial<DnsMessage> => ({ rcode: rcodes.SERVFAIL });
  const good = (): Partial<DnsMessage> => ({ rcode: rcodes.NXDOMAIN });
  for (const [bad, timesAsked] of [
    [silent, 1],
    [failing, 1],
    [undefined, undefined],
  ] as const) {
    const resolvers = bad === undefined ? { "127.0.0.3": good } : { "127.0.0.2": bad, "127.0.0.3": good };
    await withResolvers(resolvers, async (namespace, asked) => {
      await withResolvConf(["nameserver 127.0.0.2", "nameserver 127.0.0.3"], async (resolvConf) => {
        const resolver = createHostResolver({ resolvConf, namespace, headStartMs: 20, timeoutMs: 200 });
        assert.equal(await rcodeOf(resolver), "NXDOMAIN");
        assert.equal(await rcodeOf(resolver), "NXDOMAIN");
        assert.deepEqual([asked["127.0.0.2"], asked["127.0.0.3"]], [timesAsked, 2]);
      });
    });
  }
});

await test("all fail: what a resolver said is passed on, or else why nobody answered", async () => {
  await withResolvConf(["nameserver 127.0.0.2", "nameserver 127.0.0.3"], async (resolvConf) => {
    await withResolvers({ "127.0.0.3": () => ({ rcode: rcodes.REFUSED }) }, async (namespace) => {
      const options = { resolvConf, namespace, headStartMs: 20, timeoutMs: 200 };
      assert.equal(await rcodeOf(createHostResolver(options)), "REFUSED");
    });
    await withResolvers({}, async (namespace) => {
      const options = { resolvConf, namespace, headStartMs: 20, timeoutMs: 200 };
      await assert.rejects(
        createHostResolver(options).resolve(query()),
        /none of the host's resolvers answered \(.*127.0.0.2.*ECONNREFUSED.*; .*127.0.0.3.*\)/,
      );
    });
  });
});

await test("forged answers are waited out: another id, another question", async () => {
  const namespace = createNetworkNamespace();
  const server = serveUdp(namespace, { address: "127.0.0.2", port: 53 }, (datagram) => {
    const message = parseMessage(datagram.bytes);
    const send = datagram.later();
    const answer = (change: Partial<DnsMessage>): void => send(buildMessage({ ...message, response: true, ...change }));
    answer({ id: message.id ^ 1 });
    answer({ questions: [{ name: "evil.example", type: "A", class: 1 }] });
    answer({ response: false });
    setImmediate(() => answer({ rcode: rcodes.NXDOMAIN }));
  });
  await withResolvConf(["nameserver 127.0.0.2"], async (resolvConf) => {
    assert.equal(await rcodeOf(createHostResolver({ resolvConf, namespace })), "NXDOMAIN");
  });
  server.close();
  namespace.close();
});

await test("a changed resolv.conf is used from the next question on", async () => {
  await withResolvConf(["nameserver 127.0.0.9"], async (resolvConf) => {
    await withResolvers({ "127.0.0.3": () => ({ rcode: rcodes.NXDOMAIN }) }, async (namespace) => {
      const resolver = createHostResolver({ resolvConf, namespace, timeoutMs: 200 });
      await assert.rejects(resolver.resolve(query()));
      writeFileSync(resolvConf, "# changed\nnameserver 127.0.0.3\n");
      assert.equal(await rcodeOf(resolver), "NXDOMAIN");
    });
  });
});

await test("resolv.conf: addresses as people write them, three at most", () => {
  const text =
    "# nameserver 1.1.1.1\nnameserver 10.0.0.1\n nameserver  FD00::0:1 \nnameserver fe80::1%eth0\nnameserver 10.0.0.4\nnameserver bad\n";
  assert.deepEqual(parseResolvConf(text), ["10.0.0.1", "fd00::1", "fe80::1%eth0"]);
});
