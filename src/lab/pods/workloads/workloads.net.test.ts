// Every built-in server as a pod, asked over real packets from the node.

import { after, before, test } from "node:test";
import assert from "node:assert/strict";
import { text } from "node:stream/consumers";
import tls from "node:tls";
import type { Container, Pod } from "../../../kube/kinds.ts";
import { startTestNode, type TestNode } from "../kubelet.testing.ts";
import { askUdp, connectTo, requestFrom, type Origin } from "./dial.ts";

let node: TestNode;
let from: Origin;

const isReady = (pod: Pod | undefined): boolean =>
  pod?.status?.conditions?.some(({ type, status }) => type === "Ready" && status === "True") === true;

before(async () => {
  node = await startTestNode();
  from = { namespace: node.node, resolvConf: "" };
});
after(() => node.close());

let serial = 0;

/** Starts a pod; gives its address. */
async function start(container: Omit<Container, "name">, volumes: Pod["spec"]["volumes"] = []): Promise<string> {
  const name = `pod-${serial++}`;
  node.run(name, { containers: [{ name: "c", ...container }], volumes });
  return (await node.until(name, isReady)).status?.podIP ?? "";
}

async function get(host: string, port: number, path = "/", options: object = {}): Promise<string> {
  const response = await requestFrom(from, { host, port, path, timeoutMs: 3000, ...options });
  return `${response.statusCode} ${await text(response)}`.trim();
}

async function converse(host: string, port: number, message: string | Uint8Array): Promise<string> {
  const socket = await connectTo(from, host, port);
  socket.write(message);
  return new Promise((resolve) => {
    socket.once("data", (chunk: Buffer) => {
      socket.destroy();
      resolve(chunk.toString("latin1"));
    });
  });
}

test("agnhost netexec: HTTP, UDP, dialling on", async () => {
  const host = await start({
    image: "registry.k8s.io/e2e-test-images/agnhost:2.53",
    args: ["netexec", "--http-port=80", "--udp-port", "81"],
  });
  assert.equal(await get(host, 80, "/hostname"), "200 pod-0");
  assert.match(await get(host, 80, "/clientip"), /^200 10\.1\.0\.1:\d+$/);
  assert.equal(await get(host, 80, "/echo?msg=a%20b&code=201"), "201 a b");
  assert.match(await get(host, 80, "/"), /^200 NOW: \d{4}-/);
  assert.equal(await get(host, 80, "/healthz"), "200");
  assert.equal(
    await get(host, 80, "/shell?cmd=echo%20%24((6*7));exit%203"),
    '200 {"output":"42\\n","error":"exit status 3"}',
  );
  assert.match(await get(host, 80, "/nowhere"), /^200 NOW: /);
  assert.equal(await get(host, 80, "/serverport"), "200 80");
  assert.equal(await get(host, 80, "/readyz"), "200 ok");
  assert.equal(await get(host, 80, "/header", { headers: { "x-a": "b" } }), '200 {"X-A":["b"],"Connection":["close"]}');
  assert.equal(await get(host, 80, "/header?key=x-a", { headers: { "x-a": "b" } }), "200 b");
  assert.equal(await askUdp(from, host, 81, "hostname", 2000), "pod-0");
  assert.equal(await askUdp(from, host, 81, "echo x y", 2000), "x y");
  assert.equal(
    await get(host, 80, `/dial?host=${host}&port=80&request=hostname&tries=2`),
    '200 {"responses":["pod-0","pod-0"]}',
  );
  assert.equal(
    await get(host, 80, `/dial?host=${host}&port=81&protocol=udp&request=hostname`),
    '200 {"responses":["pod-0"]}',
  );
  assert.match(await get(host, 80, `/dial?host=${host}&port=82&request=hostname`), /^200 \{"errors":\[".*ECONNREFUSED/);
});

test("agnhost netexec --udp-listen-addresses: the same address twice is one server", async () => {
  const host = await start({
    image: "agnhost",
    args: ["netexec", "--udp-listen-addresses=$(IP),$(IP)"],
    env: [{ name: "IP", valueFrom: { fieldRef: { fieldPath: "status.podIP" } } }],
  });
  assert.equal(await askUdp(from, host, 8081, "serverport", 2000), "8081");
});

test("agnhost test-webserver serves the image's files; the update demo says its picture", async () => {
  const host = await start({ image: "agnhost", args: ["test-webserver"] });
  assert.match(await get(host, 80, "/localhost.crt"), /^200 -----BEGIN CERTIFICATE-----/);
  const demo = await start({ image: "registry.k8s.io/e2e-test-images/nautilus:1.8" });
  assert.equal(await get(demo, 80, "/data.json"), '200 {"image":"nautilus.jpg"}');
});

test("agnhost net: a connection half closed, until the time is over", async () => {
  const name = `pod-${serial}`;
  const options = (more: object): string => JSON.stringify({ PostFinTimeoutSeconds: 0.2, ...more });
  const host = await start({
    image: "agnhost",
    args: [
      "net",
      "--runner",
      "nat-closewait-server",
      "--options",
      options({ LocalAddr: ":11302", PostFinTimeoutSeconds: 60 }),
    ],
  });
  node.run("closing", {
    restartPolicy: "Never",
    containers: [
      {
        name: "c",
        image: "agnhost",
        args: ["net", "--runner", "nat-closewait-client", "--options", options({ RemoteAddr: `${host}:11302` })],
      },
    ],
  });
  await node.until("closing", (pod) => pod?.status?.phase === "Succeeded");
  assert.equal(node.get(name)?.status?.phase, "Running");
});

test("agnhost serve-hostname and porter", async () => {
  const name = `pod-${serial}`;
  assert.equal(await get(await start({ image: "agnhost", args: ["serve-hostname", "--port=80"] }), 80), `200 ${name}`);
  const tcp = await start({ image: "agnhost", args: ["serve-hostname", "--tcp", "--http=false"] });
  assert.equal(await converse(tcp, 9376, ""), `pod-${serial - 1}`);
  const porter = await start({
    image: "agnhost",
    args: ["porter"],
    env: [
      { name: "SERVE_PORT_8001", value: "one" },
      { name: "SERVE_TCP_PORT_8002", value: "two" },
      { name: "SERVE_TLS_PORT_8003", value: "three" },
      { name: "SERVE_UDP_PORT_8004", value: "four" },
    ],
  });
  assert.deepEqual([await get(porter, 8001), await get(porter, 8002)], ["200 one", "200 two"]);
  assert.equal(await askUdp(from, porter, 8004, "x", 2000), "four");
  const socket = await connectTo(from, porter, 8003);
  const secure = tls.connect({ socket, rejectUnauthorized: false });
  secure.write("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  assert.match(await text(secure), /^HTTP\/1\.1 200 OK\r\n[^]*three$/);
});

test("agnhost netexec --delay-shutdown: it serves on after SIGTERM, and says that it is about to end", async () => {
  const name = `pod-${serial}`;
  const host = await start({ image: "agnhost", args: ["netexec", "--delay-shutdown=600"] });
  assert.equal(await get(host, 8080, "/readyz"), "200 ok");
  node.api.delete({ group: "", resource: "pods", namespace: "default", name }, { gracePeriodSeconds: 300 });
  let answer = "";
  while (!answer.startsWith("503")) answer = await get(host, 8080, "/readyz");
  assert.equal(answer, "503 shutting down");
  assert.equal(await get(host, 8080, "/hostname"), `200 ${name}`);
  node.api.delete({ group: "", resource: "pods", namespace: "default", name }, { gracePeriodSeconds: 0 });
});

test("small web servers answer as their images do", async () => {
  assert.match(
    await get(await start({ image: "nginx" }), 80),
    /^200 <!DOCTYPE html>[^]*<h1>Welcome to nginx!<\/h1>[^]*default\/pod-\d+ on node-1/,
  );
  assert.match(await get(await start({ image: "httpd:2.4" }), 80), /<h1>It works!<\/h1>/);
  assert.equal(
    await get(await start({ image: "hashicorp/http-echo", args: ["-text=hello", "-listen=:5678"] }), 5678),
    "200 hello",
  );
  const whoami = await get(await start({ image: "traefik/whoami" }), 80, "/x", { headers: { host: "h", "x-me": "1" } });
  assert.match(
    whoami,
    /^200 Hostname: pod-\d+\nIP: 127\.0\.0\.1\n[^]*RemoteAddr: 10\.1\.0\.1:\d+\nGET \/x HTTP\/1\.1\nHost: h\n/,
  );
  assert.match(
    await get(await start({ image: "gcr.io/google-samples/hello-app:2.0" }), 8080),
    /^200 Hello, world!\nVersion: 2\.0\.0\nHostname: pod-\d+$/,
  );
  const httpbin = await start({ image: "mccutchen/go-httpbin" });
  assert.equal(await get(httpbin, 8080, "/status/418"), "418");
  assert.match(await get(httpbin, 8080, "/get?a=1"), /"args": \{\n\s+"a": "1"/);
  assert.match(await get(await start({ image: "nginxdemos/hello:plain-text" }), 80), /Server name: pod-\d+/);
  assert.match(await get(await start({ image: "registry.k8s.io/echoserver:1.4" }), 8080), /client_address=10\.1\.0\.1/);
});

test("nginx serves a volume's pages and passes on to other pods", async () => {
  const backend = await start({ image: "agnhost", args: ["netexec"] });
  node.create({
    apiVersion: "v1",
    kind: "ConfigMap",
    metadata: { name: "site", namespace: "default" },
    data: {
      "index.html": "my page",
      "default.conf": `server { listen 80; root /usr/share/nginx/html; location /api/ { proxy_pass http://${backend}:8080/; proxy_set_header X-Real-IP $remote_addr; } location /down/ { proxy_pass http://${backend}:1; } }`,
    },
  });
  const web = await start(
    {
      image: "nginx",
      volumeMounts: [
        { name: "site", mountPath: "/usr/share/nginx/html/index.html", subPath: "index.html" },
        { name: "site", mountPath: "/etc/nginx/conf.d/default.conf", subPath: "default.conf" },
      ],
    },
    [{ name: "site", configMap: { name: "site" } }],
  );
  assert.equal(await get(web, 80), "200 my page");
  assert.match(await get(web, 80, "/nothing"), /^404 /);
  assert.equal(await get(web, 80, "/api/hostname"), `200 pod-${serial - 2}`);
  assert.equal(await get(web, 80, "/api/header?key=X-Real-IP"), "200 10.1.0.1");
  assert.match(await get(web, 80, "/down/"), /^502 /);
});

test("redis keeps values and says what it is", async () => {
  const host = await start({ image: "redis:7" });
  assert.equal(await converse(host, 6379, "PING\r\n"), "+PONG\r\n");
  assert.equal(
    await converse(host, 6379, "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$2\r\nv1\r\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\n"),
    "+OK\r\n$2\r\nv1\r\n",
  );
  assert.equal(await converse(host, 6379, "INCR n\r\nINCR n\r\nDEL n k none\r\n"), ":1\r\n:2\r\n:2\r\n");
  assert.match(await converse(host, 6379, "INFO\r\n"), /fairlead:stand-in/);
  assert.match(
    await converse(host, 6379, "SUBSCRIBE x\r\n"),
    /^-ERR unknown command 'SUBSCRIBE': this is Fairlead's stand-in/,
  );
});

test("postgres answers, and says that it holds no data", async () => {
  const host = await start({ image: "postgres:16", env: [{ name: "POSTGRES_PASSWORD", value: "x" }] });
  const sslRequest = Buffer.from("0000000804d2162f", "hex");
  assert.equal(await converse(host, 5432, sslRequest), "N");
  const start3 = Buffer.from("\0\0\0\x13\0\x03\0\0user\0me\0\0", "latin1");
  start3.writeUInt32BE(start3.length, 0);
  assert.match(
    await converse(host, 5432, start3),
    /^E[^]*SFATAL\0VFATAL\0C0A000\0Mthis is Fairlead's stand-in for PostgreSQL on pod-\d+/,
  );
  node.run("nopassword", { restartPolicy: "Never", containers: [{ name: "c", image: "postgres" }] });
  const failed = await node.until("nopassword", (pod) => pod?.status?.phase === "Failed");
  assert.match(
    failed.status?.containerStatuses?.[0]?.state?.terminated?.message ?? "",
    /superuser password is not specified/,
  );
});
