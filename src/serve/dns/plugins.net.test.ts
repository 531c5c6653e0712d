// Needs: openssl

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import tls from "node:tls";

import { createNetworkNamespace, type NetworkNamespace } from "../../kernel/namespaces.ts";
import { listenTcpFd } from "../../kernel/sockets.ts";
import { buildMessage, parseMessage, rcodeName, type DnsMessage } from "../../wire/dns/message.ts";
import { network, service } from "../../program/zone.testing.ts";
import { compileZone } from "../../program/zone.ts";
import { formatRecordData } from "../../wire/dns/record.ts";
import { queryDns } from "./client.ts";
import { parseCorefile } from "./corefile.ts";
import { answerOf, startTestServer, testUpstream, testZone, type TestServer } from "./server.testing.ts";
import type { Relay } from "./upstreams.ts";

const local = "127.0.0.1";

function essence(message: DnsMessage): string {
  const answers = message.answers.map(({ name, ttl, data }) => `${name} ${ttl} ${data.kind} ${formatRecordData(data)}`);
  return [rcodeName(message.rcode), ...answers].join(" | ");
}

/** A server by a Corefile; `ask` gives rcode and answers as text. */
async function withCorefile(
  text: string,
  options: Parameters<typeof startTestServer>[0],
  run: (
    ask: (name: string, type?: "A" | "AAAA" | "PTR" | "SRV") => Promise<string>,
    server: TestServer,
  ) => Promise<void>,
): Promise<void> {
  const server = await startTestServer({ corefile: parseCorefile(text), ...options });
  try {
    await run(async (name, type = "A") => essence(await queryDns(server.namespace, local, name, type)), server);
  } finally {
    await server.close();
  }
}

/** Another server in the same namespace, which answers every A question with this address. */
async function otherServer(
  namespace: NetworkNamespace,
  port: number,
  address: string,
): Promise<TestServer & { readonly asked: string[] }> {
  const upstream = testUpstream(({ name }) => ({ answers: [answerOf(name, { kind: "A", address }, 60)] }));
  const server = await startTestServer({
    namespace,
    upstream,
    corefile: parseCorefile(`.:${port} {\n forward . /etc/resolv.conf\n}`),
  });
  return { ...server, asked: upstream.asked, close: async () => await server.server.close() };
}

const large = testZone(50);
const kubernetes = "kubernetes cluster.local in-addr.arpa ip6.arpa";

await test("forward to a server that the pod's network does not lead to: whoever can asks it, by UDP and TCP alone", async () => {
  const upstream = testUpstream(({ name }) => ({ answers: [answerOf(name, { kind: "A", address: "192.0.2.1" }, 60)] }));
  const servers: string[] = [];
  const relay: Relay = {
    serves: (address) => address === "192.0.2.53",
    ask({ address, port }, query) {
      servers.push(`${address} ${port}`);
      return upstream.resolve(query);
    },
  };
  const corefile = ".:53 {\n errors\n loop\n forward tls.example tls://192.0.2.53\n forward . 192.0.2.53:5353\n}";
  await withCorefile(corefile, { relay }, async (ask, { log }) => {
    assert.equal(await ask("elsewhere.example"), "NOERROR | elsewhere.example 60 A 192.0.2.1");
    assert.equal(await ask("a.tls.example"), "SERVFAIL");
    assert.deepEqual(servers, ["192.0.2.53 5353"]);
    assert.match(log.join("\n"), /write its address without tls:\/\//);
  });
});

await test("kubernetes: ttl, pods in each mode, fallthrough or not", async () => {
  const pods = async (mode: string): Promise<string[]> => {
    const answers: string[] = [];
    await withCorefile(`.:53 {\n ${kubernetes} {\n  pods ${mode}\n  ttl 77\n }\n}`, {}, async (ask) => {
      for (const address of ["10-244-1-5", "10-9-9-9"])
        answers.push(await ask(`${address}.production.pod.cluster.local`));
      assert.equal(
        await ask("api.production.svc.cluster.local"),
        "NOERROR | api.production.svc.cluster.local 77 A 10.96.41.7",
      );
      assert.equal(await ask("1.2.0.192.in-addr.arpa", "PTR"), "NXDOMAIN");
    });
    return answers.map((answer) => answer.replace(/[^ ]*\.pod\.cluster\.local 77 /, ""));
  };
  assert.deepEqual(await pods("insecure"), ["NOERROR | A 10.244.1.5", "NOERROR | A 10.9.9.9"]);
  assert.deepEqual(await pods("verified"), ["NOERROR | A 10.244.1.5", "NXDOMAIN"]);
  assert.deepEqual(await pods("disabled"), ["NXDOMAIN", "NXDOMAIN"]);
});

await test("hosts: addresses and names, NODATA, fallthrough to the cluster's names", async () => {
  const files: Record<string, string> = {
    "/hosts": "10.1.1.1 one.internal two.internal # twice\nfd00::1 one.internal\n",
  };
  const corefile = `.:53 {\n hosts /hosts {\n  10.1.1.2 two.internal\n  ttl 60\n  fallthrough\n }\n ${kubernetes}\n}`;
  await withCorefile(corefile, { read: (path) => files[path] }, async (ask) => {
    assert.equal(await ask("one.internal"), "NOERROR | one.internal 60 A 10.1.1.1");
    assert.equal(await ask("two.internal"), "NOERROR | two.internal 60 A 10.1.1.1 | two.internal 60 A 10.1.1.2");
    assert.equal(await ask("two.internal", "AAAA"), "NOERROR");
    assert.equal(await ask("1.1.1.10.in-addr.arpa", "PTR").then((answer) => answer.split(" | ").length), 3);
    assert.equal(await ask("one.internal", "SRV"), "NOERROR", "nobody else is asked about a name that is here");
    assert.match(await ask("api.production.svc.cluster.local"), /A 10\.96\.41\.7$/);
  });
  // As CoreDNS: other names of its zones are SERVFAIL, addresses are the next one's, and have their names whatever the zones are.
  const alone = `.:53 {\n hosts /none internal {\n  10.1.1.3 three.internal\n }\n ${kubernetes}\n}`;
  await withCorefile(alone, {}, async (ask) => {
    assert.equal(await ask("four.internal"), "SERVFAIL");
    assert.equal(await ask("four.internal", "SRV"), "SERVFAIL");
    assert.equal(await ask("3.1.1.10.in-addr.arpa", "PTR"), "NOERROR | 3.1.1.10.in-addr.arpa 3600 PTR three.internal.");
    assert.match(await ask("7.41.96.10.in-addr.arpa", "PTR"), /PTR api\.production\.svc\.cluster\.local\.$/);
    assert.match(await ask("api.production.svc.cluster.local"), /A 10\.96\.41\.7$/);
  });
});

await test("rewrite: another name is asked, the answer comes back under the first", async () => {
  const corefile = `.:53 {
    rewrite name exact old.internal api.production.svc.cluster.local
    rewrite name suffix .shop.example .production.svc.cluster.local answer auto
    rewrite stop {
      name regex (.*)-x\\.example\\.$ {1}.production.svc.cluster.local
      answer name (.*)\\.production\\.svc\\.cluster\\.local {1}-x.example
    }
    ${kubernetes}
  }`;
  await withCorefile(corefile, {}, async (ask) => {
    assert.equal(await ask("old.internal"), "NOERROR | old.internal 5 A 10.96.41.7");
    assert.equal(await ask("api.shop.example"), "NOERROR | api.shop.example 5 A 10.96.41.7");
    assert.equal(await ask("api-x.example"), "NOERROR | api-x.example 5 A 10.96.41.7");
    assert.equal(await ask("api.shop.example", "SRV"), "NOERROR | api.shop.example 5 SRV 0 100 80 api.shop.example.");
  });
});

await test("several blocks: stub domains by upstream, other ports, the longest zone", async () => {
  const namespace = createNetworkNamespace();
  const corp = await otherServer(namespace, 5301, "192.0.2.1");
  const rest = await otherServer(namespace, 5302, "192.0.2.2");
  try {
    const corefile = `corp.example:53 {\n forward . 127.0.0.1:5301\n}\n.:53 {\n forward . 127.0.0.1:5302 {\n  except secret.example\n  force_tcp\n }\n cache\n}\n.:5300 {\n hosts {\n  10.1.1.1 a.b\n }\n}`;
    const server = await startTestServer({ namespace, corefile: parseCorefile(corefile) });
    try {
      const ask = async (name: string, port = 53): Promise<string> =>
        essence(await queryDns(namespace, local, name, "A", { port }));
      assert.equal(await ask("x.corp.example"), "NOERROR | x.corp.example 60 A 192.0.2.1");
      assert.equal(await ask("notcorp.example"), "NOERROR | notcorp.example 60 A 192.0.2.2");
      assert.equal(await ask("a.secret.example"), "REFUSED");
      assert.equal(await ask("a.b", 5300), "NOERROR | a.b 3600 A 10.1.1.1");
      // One is cached, the stub domain's block has no cache.
      await ask("x.corp.example");
      await ask("notcorp.example");
      assert.deepEqual([corp.asked.length, rest.asked.length], [2, 1]);
    } finally {
      await server.server.close();
    }
  } finally {
    await corp.close();
    await rest.close();
    namespace.close();
  }
});

await test("upstreams that are down are left out; what they say with failover is asked of the next", async () => {
  const namespace = createNetworkNamespace();
  const good = await otherServer(namespace, 5301, "192.0.2.1");
  try {
    const corefile =
      ".:53 {\n forward . 127.0.0.1:5399 127.0.0.1:5301 {\n  policy sequential\n  health_check 60s\n  max_fails 1\n }\n}";
    const server = await startTestServer({ namespace, corefile: parseCorefile(corefile) });
    try {
      for (const name of ["a.example", "b.example", "c.example"])
        assert.match(essence(await queryDns(namespace, local, name, "A")), /A 192\.0\.2\.1$/);
      assert.ok(
        server.log.some((line) => /upstream 127\.0\.0\.1:5399 is down.*ECONNREFUSED/.test(line)),
        server.log.join("\n"),
      );
    } finally {
      await server.server.close();
    }
  } finally {
    await good.close();
    namespace.close();
  }
});

await test("DNS over TLS: the certificate must be the server's, one connection for many questions", async () => {
  const folder = fs.mkdtempSync(join(tmpdir(), "dns-tls-"));
  const namespace = createNetworkNamespace();
  const [key, cert] = [join(folder, "key.pem"), join(folder, "cert.pem")];
  const config = ["-subj", "/CN=dns.example", "-addext", "subjectAltName=DNS:dns.example", "-days", "1"];
  execFileSync(
    "openssl",
    [
      "req",
      "-x509",
      "-newkey",
      "ec",
      "-pkeyopt",
      "ec_paramgen_curve:P-256",
      "-nodes",
      "-keyout",
      key,
      "-out",
      cert,
      ...config,
    ],
    { stdio: "ignore" },
  );
  let connections = 0;
  const upstream = tls.createServer({ key: fs.readFileSync(key), cert: fs.readFileSync(cert) }, (socket) => {
    connections++;
    let unread: Buffer = Buffer.alloc(0);
    socket.on("error", () => {});
    socket.on("data", (data: Buffer) => {
      for (unread = Buffer.concat([unread, data]); unread.length >= 2 && unread.length >= 2 + unread.readUInt16BE(0);) {
        const query = parseMessage(unread.subarray(2, 2 + unread.readUInt16BE(0)));
        unread = unread.subarray(2 + unread.readUInt16BE(0));
        const name = query.questions[0]?.name ?? "";
        const bytes = buildMessage({
          ...query,
          response: true,
          answers: [answerOf(name, { kind: "A", address: "192.0.2.7" })],
        });
        socket.write(Buffer.concat([Buffer.from([bytes.length >> 8, bytes.length & 255]), bytes]));
      }
    });
  });
  await new Promise<void>((resolve) => upstream.listen({ fd: listenTcpFd(namespace, { port: 853 }) }, resolve));
  const read = (path: string): string | undefined => (path === "/ca.pem" ? fs.readFileSync(cert, "utf8") : undefined);
  try {
    const corefile = (name: string): ReturnType<typeof parseCorefile> =>
      parseCorefile(
        `.:53 {\n forward . tls://127.0.0.1 {\n  tls /ca.pem\n  tls_servername ${name}\n  max_fails 0\n }\n}`,
      );
    const server = await startTestServer({ namespace, read, corefile: corefile("dns.example") });
    try {
      const answers = await Promise.all(
        ["a", "b", "c"].map(async (name) => essence(await queryDns(namespace, local, `${name}.example`, "A"))),
      );
      assert.ok(
        answers.every((answer) => answer.endsWith("A 192.0.2.7")),
        answers.join("\n"),
      );
      assert.equal(connections, 1);
      await server.server.reload(corefile("other.example"));
      assert.equal(essence(await queryDns(namespace, local, "d.example", "A")), "SERVFAIL");
      assert.ok(
        server.log.some((line) => line.includes("other.example")),
        server.log.join("\n"),
      );
    } finally {
      await server.server.close();
    }
  } finally {
    upstream.close();
    namespace.close();
    fs.rmSync(folder, { recursive: true });
  }
});

await test("autopath: the search list in one question, by the client's pod", async () => {
  const upstream = testUpstream(({ name }) =>
    name === "example.com" ? { answers: [answerOf(name, { kind: "A", address: "192.0.2.1" }, 60)] } : { rcode: 3 },
  );
  const corefile = `.:53 {\n ${kubernetes} {\n  pods verified\n }\n autopath @kubernetes\n forward . /etc/resolv.conf\n loadbalance\n}`;
  await withCorefile(corefile, { upstream }, async (_, { namespace, server, log }) => {
    execFileSync("nsenter", [`--net=/proc/self/fd/3`, "ip", "addr", "add", "10.244.1.5/32", "dev", "lo"], {
      stdio: ["ignore", "ignore", "inherit", namespace.fd],
    });
    const ask = async (name: string, at: string): Promise<string> => essence(await queryDns(namespace, at, name, "A"));
    const first = "example.com.production.svc.cluster.local";
    // A question to one's own address comes from it: this client is pod production/web.
    assert.equal(
      await ask(first, "10.244.1.5"),
      `NOERROR | ${first} 60 CNAME example.com. | example.com 60 A 192.0.2.1`,
    );
    assert.equal(
      await ask("api.production.production.svc.cluster.local", "10.244.1.5").then((answer) => answer.split(" | ")[1]),
      "api.production.production.svc.cluster.local 5 CNAME api.production.svc.cluster.local.",
    );
    assert.equal(await ask("nosuch.example.org.production.svc.cluster.local", "10.244.1.5"), "NXDOMAIN");
    // Nobody's typing errors are told to others.
    assert.equal(await ask("tpyo.production.svc.cluster.local", "10.244.1.5"), "NXDOMAIN");
    // Another namespace's list, and a client that is no pod.
    assert.equal(await ask("example.com.default.svc.cluster.local", "10.244.1.5"), "NXDOMAIN");
    assert.equal(await ask(first, local), "NXDOMAIN");
    assert.deepEqual(upstream.asked, ["example.com A", "nosuch.example.org A"]);
    assert.ok(server.ports.dns === 53 && log.length > 0);
  });
});

await test("a loop is found and told, and the cluster's names are still answered", async () => {
  const corefile = `.:53 {\n ${kubernetes}\n forward . 127.0.0.1\n loop\n}`;
  await withCorefile(corefile, {}, async (ask, { log }) => {
    while (!log.some((line) => line.includes("plugin/loop"))) await new Promise((resolve) => setImmediate(resolve));
    assert.equal(await ask("example.com"), "SERVFAIL");
    assert.match(await ask("api.production.svc.cluster.local"), /A 10\.96\.41\.7$/);
    assert.match(log.join("\n"), /forwarded to 127\.0\.0\.1:53 come back here.*--resolv-conf/);
  });
});

await test("log: CoreDNS's line, for the classes that are asked for, the second time as the first, by UDP and TCP", async () => {
  await withCorefile(`.:53 {\n ${kubernetes}\n log . {\n  class success\n }\n}`, {}, async (ask, test) => {
    for (let times = 0; times < 3; times++) {
      await ask("x.production.svc.cluster.local");
      await ask("api.production.svc.cluster.local");
    }
    await queryDns(test.namespace, local, "API.production.svc.cluster.local", "A", { transport: "tcp" });
    await queryDns(test.namespace, "::1", "api.production.svc.cluster.local", "A");
    await test.server.close();
    const lines = test.log.filter((line) => line.includes(" IN "));
    const line = (from: string, protocol: string, room: number): RegExp =>
      new RegExp(
        `^\\[INFO\\] ${from}:\\d+ - \\d+ "A IN api\\.production\\.svc\\.cluster\\.local\\. ${protocol} 61 false ${room}" NOERROR qr,aa,rd,ra 77 0\\.\\d{1,9}s$`,
      );
    assert.equal(lines.length, 5, lines.join("\n"));
    for (const each of lines.slice(0, 3)) assert.match(each, line("127\\.0\\.0\\.1", "udp", 1232));
    assert.match(lines[3] ?? "", line("127\\.0\\.0\\.1", "tcp", 65_535));
    assert.match(lines[4] ?? "", line("\\[::1\\]", "udp", 1232));
  });
});

await test("fallthrough: an ExternalName Service is not asked of others because its target does not exist", async () => {
  const external = { type: "ExternalName", externalName: "none.production.svc.cluster.local" } as const;
  const zone = compileZone(network({ services: [service("production/gone", external)] }));
  const upstream = testUpstream(({ name }) => ({ answers: [answerOf(name, { kind: "A", address: "192.0.2.1" })] }));
  const text = ".:53 {\n kubernetes cluster.local {\n  fallthrough\n }\n forward . /etc/resolv.conf\n}";
  await withCorefile(text, { zone: () => zone, upstream }, async (ask) => {
    const name = "gone.production.svc.cluster.local";
    const alias = `NXDOMAIN | ${name} 5 CNAME none.production.svc.cluster.local.`;
    for (let times = 0; times < 2; times++) assert.equal(await ask(name), alias);
    assert.equal(
      await ask("none.production.svc.cluster.local"),
      "NOERROR | none.production.svc.cluster.local 300 A 192.0.2.1",
    );
  });
});

await test("acl: who is refused gets nothing that was kept for others, and who is allowed nothing else; by TCP too", async () => {
  const text = `.:53 {\n ${kubernetes}\n acl production.svc.cluster.local {\n  drop type SRV\n  block net ::1\n  filter type AAAA net 127.0.0.1\n }\n}`;
  await withCorefile(text, {}, async (ask, { namespace }) => {
    const name = "api.production.svc.cluster.local";
    const from = async (
      client: "127.0.0.1" | "::1",
      transport: "udp" | "tcp",
      type: "A" | "AAAA" | "SRV" = "A",
    ): Promise<string> =>
      essence(
        await queryDns(namespace, client, name, type, { transport, tries: 1, timeoutMs: type === "SRV" ? 100 : 5000 }),
      );
    const answer = `NOERROR | ${name} 5 A 10.96.41.7`;
    for (let times = 0; times < 3; times++) {
      assert.equal(await ask(name), answer);
      assert.equal(await from("127.0.0.1", "tcp"), answer);
      for (const transport of ["udp", "tcp"] as const) {
        assert.equal(await from("::1", transport), "REFUSED");
        assert.equal(await from("127.0.0.1", transport, "AAAA"), "NOERROR");
      }
      await assert.rejects(from("127.0.0.1", "udp", "SRV"), /ETIMEOUT|no answer/);
    }
    // Others' names are not theirs to refuse.
    assert.equal(essence(await queryDns(namespace, "::1", "none.other.svc.cluster.local", "A")), "NXDOMAIN");
  });
});

await test("bufsize: no response by UDP is larger, kept or not; TCP has it whole", async () => {
  const text = `.:53 {\n ${kubernetes}\n bufsize 600\n}`;
  await withCorefile(text, { zone: () => large }, async (_, { namespace }) => {
    for (let times = 0; times < 3; times++) {
      for (const [udpBytes, count] of [
        [1232, 33],
        [512, 28],
        [600, 33],
      ] as const) {
        const options = { transport: "udp", udpBytes } as const;
        const cut = await queryDns(namespace, local, "many.production.svc.cluster.local", "A", options);
        assert.deepEqual([cut.truncated, cut.answers.length], [true, count]);
      }
      const whole = await queryDns(namespace, local, "many.production.svc.cluster.local", "A");
      assert.deepEqual([whole.truncated, whole.answers.length], [false, 50]);
    }
  });
});

await test("log and rewrite: what was answered before is told under its own name again, and forgotten with its Service", async () => {
  let zone = testZone(2);
  const text = `.:53 {\n ${kubernetes}\n rewrite name suffix .prod. .production.svc.cluster.local. answer auto\n log . "{name} {rcode} {rsize}"\n loadbalance\n}`;
  await withCorefile(text, { zone: () => zone }, async (ask, test) => {
    const first = await ask("many.prod");
    assert.match(first, /^NOERROR \| many\.prod 5 A 10\.244\.0\.[01] \| many\.prod 5 A 10\.244\.0\.[01]$/);
    // In turns, from the kept bytes too.
    const again = new Set<string>();
    while (again.size < 2) again.add(await ask("many.prod"));
    assert.ok(again.has(first));
    assert.equal(await ask("none.prod"), "NXDOMAIN");
    assert.equal(await ask("none.prod"), "NXDOMAIN");
    zone = testZone(3);
    assert.equal((await ask("many.prod")).split(" | ").length, 4);
    await test.server.close();
    const lines = test.log.filter((line) => line.includes("prod. NO") || line.includes("NXDOMAIN"));
    assert.ok(lines.length >= 6, lines.join("\n"));
    assert.deepEqual(
      [...new Set(lines)].map((line) => line.replace(/ \d+$/, "")),
      ["[INFO] many.prod. NOERROR", "[INFO] none.prod. NXDOMAIN", "[INFO] many.prod. NOERROR"],
    );
  });
});

await test("a reload under load loses no question; ports come and go; a port that is taken keeps the old Corefile", async () => {
  const block = (ttl: number, extra = ""): string =>
    `.:53 {\n kubernetes cluster.local {\n  ttl ${ttl}\n }\n prometheus\n}\n${extra}`;
  await withCorefile(block(1), {}, async (ask, { server, namespace, log }) => {
    let running = true;
    let asked = 0;
    const load = (async () => {
      while (running) {
        assert.match(
          await ask("api.production.svc.cluster.local"),
          /^NOERROR \| api\.production\.svc\.cluster\.local \d+ A 10\.96\.41\.7$/,
        );
        asked++;
      }
    })();
    for (let ttl = 2; ttl < 30; ttl++) {
      await server.reload(parseCorefile(block(ttl, ttl % 2 === 0 ? ".:5399 {\n hosts {\n  10.1.1.1 a.b\n }\n}" : "")));
      assert.match(await ask("api.production.svc.cluster.local"), new RegExp(` ${ttl} A`));
    }
    running = false;
    await load;
    assert.ok(asked > 0);
    const taken = await otherServer(namespace, 5400, "192.0.2.1");
    try {
      await assert.rejects(server.reload(parseCorefile(block(99, ".:5400 {\n}\n.:5401 {\n}"))), /EADDRINUSE/);
    } finally {
      await taken.close();
    }
    assert.match(await ask("api.production.svc.cluster.local"), / 29 A/);
    assert.ok(log.some((line) => line.includes("the old one stays in force")));
    await assert.rejects(queryDns(namespace, local, "a.b", "A", { port: 5401, tries: 1 }), /ECONNREFUSED/);
  });
});

await test("a reload while an upstream thinks: its answer still comes", async () => {
  const namespace = createNetworkNamespace();
  let answerNow = (): void => {};
  let arrived = (): void => {};
  const asked = new Promise<void>((resolve) => (arrived = resolve));
  const slow = {
    name: "slow",
    async resolve(bytes: Uint8Array): Promise<Uint8Array> {
      const query = parseMessage(bytes);
      arrived();
      await new Promise<void>((resolve) => (answerNow = resolve));
      const name = query.questions[0]?.name ?? "";
      return buildMessage({ ...query, response: true, answers: [answerOf(name, { kind: "A", address: "192.0.2.1" })] });
    },
  };
  const upstream = await startTestServer({
    namespace,
    upstream: slow,
    corefile: parseCorefile(".:5301 {\n forward . /etc/resolv.conf\n}"),
  });
  const corefile = ".:53 {\n forward . 127.0.0.1:5301 {\n  force_tcp\n }\n}";
  const server = await startTestServer({ namespace, corefile: parseCorefile(corefile) });
  try {
    const answer = queryDns(namespace, local, "a.example", "A", { tries: 1, timeoutMs: 5000 });
    await asked;
    await server.server.reload(parseCorefile(".:53 {\n kubernetes cluster.local\n}"));
    answerNow();
    assert.match(essence(await answer), /A 192\.0\.2\.1$/);
  } finally {
    await server.server.close();
    await upstream.close();
  }
});

await test("bind: by address and by interface", async () => {
  await withCorefile(
    `.:53 {\n bind lo\n kubernetes cluster.local\n}`,
    { zone: () => testZone() },
    async (ask, { log }) => {
      assert.match(await ask("api.production.svc.cluster.local"), /A 10\.96\.41\.7$/);
      assert.ok(log.some((line) => line.includes("on 127.0.0.1")));
    },
  );
});
