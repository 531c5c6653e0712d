// Our own tools, run inside a container by their full path (the machine may have others that come first), against built-in servers.

import { after, before, test } from "node:test";
import assert from "node:assert/strict";
import { closeSync } from "node:fs";
import { text } from "node:stream/consumers";
import { createSocket } from "node:dgram";
import type { Pod } from "../../../kube/kinds.ts";
import { bindUdpFd, listenTcpFd } from "../../../kernel/sockets.ts";
import { parseMessage, buildMessage, rcodes } from "../../../wire/dns/message.ts";
import { startTestNode, type TestNode } from "../kubelet.testing.ts";

let node: TestNode;
let server = "";
let closeDns = (): void => {};

const isReady = (pod: Pod | undefined): boolean =>
  pod?.status?.conditions?.some(({ type, status }) => type === "Ready" && status === "True") === true;

before(async () => {
  node = await startTestNode();
  node.run("server", {
    containers: [{ name: "c", image: "registry.k8s.io/e2e-test-images/agnhost:2.53", args: ["netexec"] }],
  });
  node.run("client", {
    containers: [{ name: "c", image: "busybox", command: ["sleep", "1000"] }],
    dnsPolicy: "None",
    dnsConfig: {
      nameservers: ["10.1.0.1"],
      searches: ["default.svc.cluster.local", "svc.cluster.local"],
      options: [{ name: "ndots", value: "5" }],
    },
  });
  server = (await node.until("server", isReady)).status?.podIP ?? "";
  await node.until("client", isReady);
  closeDns = serveNames({ "web.default.svc.cluster.local": server });
});
after(async () => {
  closeDns();
  await node.close();
});

/** A DNS server on the node that knows some names. */
function serveNames(names: Readonly<Record<string, string>>): () => void {
  const socket = createSocket("udp4");
  socket.bind({ fd: bindUdpFd(node.node, { address: "10.1.0.1", port: 53 }) });
  socket.on("message", (bytes, from) => {
    const query = parseMessage(bytes);
    const [question] = query.questions;
    const address = names[(question?.name ?? "").replace(/\.$/, "")];
    const answers =
      address !== undefined && question?.type === "A"
        ? [{ name: question.name, class: 1, ttl: 5, data: { kind: "A" as const, address } }]
        : [];
    const { edns: _, ...plain } = query;
    const rcode = address === undefined ? rcodes.NXDOMAIN : rcodes.NOERROR;
    socket.send(buildMessage({ ...plain, response: true, rcode, answers, additional: [] }), from.port, from.address);
  });
  return () => socket.close();
}

async function tool(name: string, ...words: readonly string[]): Promise<{ out: string; err: string; code: number }> {
  return sh([`/opt/fairlead/bin/${name}`, ...words]);
}

async function sh(argv: readonly string[], input?: string): Promise<{ out: string; err: string; code: number }> {
  const process = node.kubelet.exec(
    { namespace: "default", pod: "client" },
    { argv, tty: false, stdin: input !== undefined },
  );
  process.stdin?.end(input);
  const [out, err] = await Promise.all([text(process.stdout!), text(process.stderr!)]);
  return { out, err, code: (await process.ended).code };
}

test("curl: bodies, codes, headers, data, names", async () => {
  assert.deepEqual(await tool("curl", "-s", `${server}:8080/hostname`), { out: "server", err: "", code: 0 });
  assert.deepEqual(
    await tool("curl", "-so", "/dev/null", "-w", "%{http_code} %{remote_ip}\\n", `http://${server}:8080/echo?code=404`),
    { out: `404 ${server}\n`, err: "", code: 0 },
  );
  assert.equal((await tool("curl", "-sS", "http://web:8080/echo?msg=hello")).out, "hello");
  assert.match((await tool("curl", "-I", `${server}:8080/`)).out, /^HTTP\/1.1 200 OK\r\n[^]*\r\n\r\n$/);
  assert.equal((await tool("curl", "-s", "-H", "X-Me: abc", `${server}:8080/header?key=X-Me`)).out, "abc");
  assert.match((await tool("curl", "-v", "-s", `${server}:8080/`)).err, /> GET \/ HTTP\/1.1[^]*< HTTP\/1.1 200 OK/);
  assert.equal((await tool("curl", "-sL", `${server}:8080/redirect?location=/hostname`)).out, "server");
});

test("curl: failures have curl's exit statuses and words", async () => {
  const refused = await tool("curl", "-sS", `http://${server}:81/`);
  assert.equal(refused.code, 7);
  assert.match(refused.err, /^curl: \(7\) Failed to connect to [\d.]+ port 81 after \d+ ms: Connection refused\n$/);
  const unknown = await tool("curl", "nosuchname.");
  assert.deepEqual([unknown.code, unknown.err], [6, "curl: (6) Could not resolve host: nosuchname.\n"]);
  // A socket that is listening and never answers.
  const silent = listenTcpFd(node.node, { address: "10.1.0.1", port: 7000 });
  assert.equal((await tool("curl", "-s", "-m", "0.2", "10.1.0.1:7000")).code, 28);
  closeSync(silent);
  assert.equal((await tool("curl", "-sf", `${server}:8080/echo?code=404`)).code, 22);
});

test("wget: to standard output, spider, errors", async () => {
  assert.deepEqual(await tool("wget", "-qO-", `http://${server}:8080/hostname`), { out: "server", err: "", code: 0 });
  assert.equal((await tool("wget", "-q", "--spider", "-T", "2", `${server}:8080/`)).code, 0);
  const missing = await tool("wget", "-O-", `http://${server}:8080/echo?code=404`);
  assert.match(missing.err, /wget: server returned error: HTTP\/1.1 404 Not Found\n$/);
  assert.equal(missing.code, 1);
  assert.match(
    (await tool("wget", "-qO-", `http://${server}:81/`)).err,
    /can't connect to remote host \([\d.]+\): Connection refused/,
  );
});

test("nc: looks at ports, talks TCP and UDP, listens", async () => {
  const open = await tool("nc", "-zv", "-w", "1", server, "8080");
  assert.deepEqual([open.code, open.err], [0, `Connection to ${server} 8080 port [tcp/*] succeeded!\n`]);
  const shut = await tool("nc", "-z", "-v", server, "81");
  assert.deepEqual([shut.code, shut.err], [1, `nc: connect to ${server} port 81 (tcp) failed: Connection refused\n`]);
  assert.equal(
    (await sh(["/opt/fairlead/bin/nc", "-u", "-W", "1", "-w", "30", server, "8081"], "hostname")).out,
    "server",
  );
  const both = await sh([
    "sh",
    "-c",
    "/opt/fairlead/bin/nc -l -p 9000 < /dev/null & for i in 1 2 3 4 5 6 7 8 9; do echo hi | /opt/fairlead/bin/nc -N 127.0.0.1 9000 2>/dev/null && break; sleep 0.1; done; wait",
  ]);
  assert.equal(both.out, "hi\n");
  // A listener that has nothing to say ends its side at once; what the other says later still comes.
  const late = await sh([
    "sh",
    "-c",
    "/opt/fairlead/bin/nc -l -p 9001 < /dev/null & for i in 1 2 3 4 5 6 7 8 9; do { sleep 0.3; echo late; } | /opt/fairlead/bin/nc -N 127.0.0.1 9001 2>/dev/null && break; sleep 0.1; done; wait",
  ]);
  assert.equal(late.out, "late\n");
});

test("ping: answers, losses, statistics", async () => {
  const good = await tool("ping", "-c", "2", "-i", "0.01", server);
  assert.equal(good.code, 0, good.err);
  assert.match(good.out, /64 bytes from [\d.]+: icmp_seq=1 ttl=\d+ time=[\d.]+ ms/);
  assert.match(good.out, /2 packets transmitted, 2 received, 0% packet loss/);
  const bad = await tool("ping", "-c", "1", "-W", "0.1", "10.1.0.250");
  assert.equal(bad.code, 1);
  assert.match(bad.out, /1 packets transmitted, 0 received, 100% packet loss/);
});

test("nslookup, dig, host: answers by the search list, and none", async () => {
  assert.equal(
    (await tool("nslookup", "-type=A", "web")).out,
    `Server:\t\t10.1.0.1\nAddress:\t10.1.0.1#53\n\nName:\tweb.default.svc.cluster.local\nAddress: ${server}\n\n`,
  );
  const missing = await tool("nslookup", "nobody");
  assert.match(missing.out, /\*\* server can't find nobody: NXDOMAIN/);
  assert.equal(missing.code, 1);
  assert.equal((await tool("dig", "+short", "+search", "web")).out, `${server}\n`);
  assert.match(
    (await tool("dig", "@10.1.0.1", "web.default.svc.cluster.local", "A")).out,
    /status: NOERROR[^]*;; ANSWER SECTION:\nweb.default.svc.cluster.local.\t5\tIN\tA\t[\d.]+\n/,
  );
  assert.match((await tool("dig", "web")).out, /status: NXDOMAIN/);
  assert.equal((await tool("host", "-t", "A", "web")).out, `web.default.svc.cluster.local has address ${server}\n`);
});

test("getent, hostname, agnhost", async () => {
  assert.equal((await tool("getent", "hosts", "web")).out, `${server.padEnd(15)} web\n`);
  assert.equal((await tool("hostname")).out, "client\n");
  assert.match((await tool("hostname", "-I")).out, /^10\.1\.0\.\d+\n$/);
  assert.equal((await tool("agnhost", "connect", `${server}:8080`, "--timeout=2s")).code, 0);
  assert.equal((await tool("agnhost", "connect", `${server}:8081`, "--timeout=2s", "--protocol=udp")).code, 0);
  assert.deepEqual(await tool("agnhost", "connect", `${server}:81`, "--timeout=2s"), {
    out: "",
    err: "REFUSED\n",
    code: 1,
  });
  assert.equal((await tool("agnhost", "dns-suffix")).out, "default.svc.cluster.local,svc.cluster.local\n");
});

test("servers started from a shell, and their clients", async () => {
  const script = `cd /tmp; echo page > index.html
    (httpd -f -p 8001 -h /tmp & echo $! > p1; nginx & echo $! > p2; redis-server & echo $! > p3) > /dev/null
    for i in 1 2 3 4 5 6 7 8 9; do redis-cli ping > /dev/null 2>&1 && nc -z 127.0.0.1 80 && nc -z 127.0.0.1 8001 && break; sleep 0.1; done
    /opt/fairlead/bin/curl -s 127.0.0.1:8001; /opt/fairlead/bin/curl -s 127.0.0.1 | grep -o 'Welcome to nginx!</h1>'
    redis-cli set a b; redis-cli get a; pg_isready; kill $(cat p1 p2 p3)`;
  const { out } = await sh(["sh", "-c", `export PATH=/opt/fairlead/bin:$PATH; ${script}`]);
  assert.equal(out, "page\nWelcome to nginx!</h1>\nOK\nb\n127.0.0.1:5432 - no response\n");
});

test("iperf: TCP, with reports that other programs read", async () => {
  const script = `/opt/fairlead/bin/iperf -s -p 6789 > /tmp/said & server=$!
    until grep -q listening /tmp/said; do sleep 0.05; done
    /opt/fairlead/bin/iperf -e -p 6789 --reportstyle C -t 1 -i 0.5 -c 127.0.0.1; kill $server`;
  const { out, code } = await sh(["sh", "-c", script]);
  const [header = "", ...lines] = out.trimEnd().split("\n");
  assert.equal(code, 0);
  assert.match(header, /^time,srcaddress,/);
  assert.ok(lines.length >= 2, out);
  for (const line of lines)
    assert.match(line, /^\+0000:\d{14}\.\d{3},127\.0\.0\.1,\d+,127\.0\.0\.1,6789,1,[\d.]+,[\d.]+,\d+,\d+(,-?\d+){7}$/);
  assert.ok(Number(lines.at(-1)?.split(",")[8]) > 1_000_000, out);
  assert.deepEqual(await tool("iperf", "-u", "-c", "127.0.0.1"), {
    out: "",
    err: "iperf: -u: this iperf has TCP only\n",
    code: 1,
  });
});

test("the machine's own tools come before ours", async () => {
  const { out } = await sh(["sh", "-c", "command -v sh; command -v agnhost"]);
  assert.match(out, /^\/(usr\/)?bin\/sh\n\/opt\/fairlead\/bin\/agnhost\n$/);
});
