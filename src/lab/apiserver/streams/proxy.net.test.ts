// Proxies to a real server behind an address that is not this machine's loopback: methods, bodies, upgrades, TLS, what is stripped.
// Needs: ip

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server } from "node:http";
import { createServer as createSecureServer } from "node:https";
import type { AddressInfo } from "node:net";
import { networkInterfaces, tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { gzipSync } from "node:zlib";
import { WebSocket, WebSocketServer } from "ws";
import { openCertificates } from "../tls.ts";
import { runningPod, streamServer, type StreamServer } from "./streams.testing.ts";

const address = "10.99.0.1";
const prefix = "/api/v1/namespaces/default/pods/web/proxy";
const folder = mkdtempSync(join(tmpdir(), "fairlead-proxy-"));
let server: StreamServer;
let plain: Server;
let secure: ReturnType<typeof createSecureServer>;
let [plainPort, securePort] = [0, 0];

before(async () => {
  // It adds an address: never to a network that is not the test's own (scripts/test.ts makes one).
  const others = Object.keys(networkInterfaces()).filter((name) => name !== "lo");
  assert.deepEqual(others, [], "this is no network namespace of the test's own: run it by scripts/test.ts");
  for (const words of ["link set lo up", `addr add ${address}/32 dev lo`])
    assert.equal(spawnSync("ip", words.split(" ")).status, 0, words);
  plain = createServer((request, response) => {
    let body = "";
    request.setEncoding("utf8").on("data", (chunk: string) => (body += chunk));
    request.on("end", () => {
      const { url = "", method, headers } = request;
      if (url === "/page") response.setHeader("content-type", "text/html").end('<a href="/rewriteme">test</a>');
      else if (url === "/packed")
        response
          .setHeader("content-type", "text/html; charset=utf-8")
          .setHeader("content-encoding", "gzip")
          .end(gzipSync('<a href="/x">é</a>'));
      else if (url === "/moved") response.writeHead(302, { location: `http://${address}:${plainPort}/there` }).end();
      else if (url === "/none") response.writeHead(204).end();
      else if (url === "/broken") response.destroy();
      else response.setHeader("x-two", ["a", "b"]).end(JSON.stringify({ method, url, body, headers }));
    });
  });
  const sockets = new WebSocketServer({ server: plain });
  sockets.on("connection", (socket, { url }) => {
    socket.send(`hello ${url}`);
    socket.on("message", (data) => socket.send(data));
  });
  await new Promise<void>((resolve) => void plain.listen(0, address, resolve));
  plainPort = (plain.address() as AddressInfo).port;
  const certificates = openCertificates({ folder, names: [], addresses: [] });
  secure = createSecureServer({ cert: certificates.server.certificate, key: certificates.server.key }, (_, response) =>
    response.end("secret"),
  );
  await new Promise<void>((resolve) => void secure.listen(0, address, resolve));
  securePort = (secure.address() as AddressInfo).port;
  const ports = [{ containerPort: plainPort, name: "http" }];
  const base = runningPod([{ name: "main", image: "i", ports }]);
  server = await streamServer({
    objects: [
      { ...base, status: { ...(base["status"] as object), podIP: address, podIPs: [{ ip: address }] } },
      {
        apiVersion: "v1",
        kind: "Node",
        metadata: { name: "node-1" },
        status: { addresses: [{ type: "InternalIP", address }] },
      },
    ],
  });
});
after(() => {
  server.close();
  plain.closeAllConnections();
  plain.close();
  secure.close();
  rmSync(folder, { recursive: true, force: true });
});

const url = (path: string, pod = "web"): string =>
  `http://127.0.0.1:${server.port}/api/v1/namespaces/default/pods/${pod}/proxy${path}`;

test("every method, with its body, its query and its escapes", async () => {
  for (const method of ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]) {
    const hasBody = method !== "GET" && method !== "OPTIONS";
    const response = await fetch(url("/a%2fb/c%20d?x=1&y=%26"), { method, ...(hasBody && { body: "the body" }) });
    assert.equal(response.status, 200);
    assert.equal(response.headers.get("x-two"), "a, b");
    const seen = (await response.json()) as { method: string; url: string; body: string };
    assert.deepEqual([seen.method, seen.url, seen.body], [method, "/a%2fb/c%20d?x=1&y=%26", hasBody ? "the body" : ""]);
  }
  assert.equal((await fetch(url("/none"), { method: "HEAD" })).status, 204);
  assert.equal((await fetch(url("/none"))).status, 204);
});

test("credentials stay here, the way is told", async () => {
  const response = await fetch(url("/headers"), {
    headers: { authorization: "Bearer secret", "impersonate-user": "root", "x-mine": "kept" },
  });
  const { headers } = (await response.json()) as { headers: Record<string, string> };
  assert.equal(headers["authorization"], undefined);
  assert.equal(headers["impersonate-user"], undefined);
  assert.equal(headers["x-mine"], "kept");
  assert.equal(headers["x-forwarded-for"], "127.0.0.1");
});

test("a proxy without a path leads to its folder", async () => {
  const response = await fetch(url("?a=1"), { redirect: "manual" });
  assert.equal(response.status, 301);
  assert.equal(response.headers.get("location"), `${prefix}/?a=1`);
});

test("links and redirects are rewritten, also in packed pages", async () => {
  assert.equal(await (await fetch(url("/page"))).text(), `<a href="${prefix}/rewriteme">test</a>`);
  const packed = await fetch(url("/packed"), { headers: { "accept-encoding": "gzip" } });
  assert.equal(await packed.text(), `<a href="${prefix}/x">é</a>`);
  const moved = await fetch(url("/moved"), { redirect: "manual" });
  assert.equal(moved.headers.get("location"), `${prefix}/there`);
});

test("TLS by scheme, port by number or name", async () => {
  assert.equal(await (await fetch(url("/", `https:web:${securePort}`))).text(), "secret");
  assert.equal((await fetch(url("/x", `web:${plainPort}`))).status, 200);
  assert.equal((await fetch(url("/x", "http:web:http"))).status, 200);
});

test("a server that does not answer is 503 with the reason", async () => {
  const wrong = await fetch(url("/", `https:web:${plainPort}`));
  assert.equal(wrong.status, 503);
  assert.match(await wrong.text(), /server gave HTTP response to HTTPS client/);
  const closed = await fetch(url("/", "web:1"));
  assert.equal(closed.status, 503);
  assert.equal(
    await closed.text(),
    `error trying to reach service: dial tcp ${address}:1: connect: connection refused`,
  );
  assert.equal((await fetch(url("/broken"))).status, 503);
});

test("WebSockets pass through, refusals too", async () => {
  const socket = new WebSocket(url("/chat?a=1").replace("http", "ws"));
  const messages: string[] = [];
  const second = Promise.withResolvers<void>();
  socket.on("message", (data: Buffer) => {
    messages.push(data.toString());
    if (messages.length === 2) second.resolve();
  });
  await once(socket, "open");
  socket.send("echo");
  await second.promise;
  assert.deepEqual(messages, ["hello /chat?a=1", "echo"]);
  socket.close();
  await once(socket, "close");
  const refused = new WebSocket(url("/", `https:web:${securePort}`).replace("http:", "ws:"));
  const [, response] = (await once(refused, "unexpected-response")) as [unknown, { statusCode: number }];
  assert.equal(response.statusCode, 200);
});

test("a node's proxy: the kubelet's few paths, and other ports of the node", async () => {
  const node = (path: string, name = "node-1"): Promise<Response> =>
    fetch(`http://127.0.0.1:${server.port}/api/v1/nodes/${name}/proxy${path}`);
  assert.equal(await (await node("/healthz")).text(), "ok");
  assert.match(await (await node("/logs/")).text(), /<a href="kubelet\.log">/);
  assert.equal(await (await node("/logs/kubelet.log")).text(), "kubelet says hello\n");
  assert.match(await (await node("/metrics", "node-1:10250")).text(), /kubelet_running_pods 1/);
  assert.equal(((await (await node("/pods")).json()) as { items: readonly object[] }).items.length, 1);
  assert.equal((await node("/nothing")).status, 404);
  const other = (await (await node("/x", `node-1:${plainPort}`)).json()) as { url: string };
  assert.equal(other.url, "/x");
});
