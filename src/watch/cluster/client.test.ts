import assert from "node:assert/strict";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { test, type TestContext } from "node:test";

import { ApiError, ClusterUnreachable, openCluster, resourcePath, type ClusterClient } from "./client.ts";
import type { ClusterAccess } from "./kubeconfig.ts";

/** A client of a server that answers as the test says; both end with the test. */
async function serve(
  context: TestContext,
  answer: (request: IncomingMessage, response: ServerResponse) => void,
  access: Partial<ClusterAccess> = {},
): Promise<ClusterClient & { readonly port: number }> {
  const server = createServer(answer);
  await new Promise<void>((resolve) => void server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const client = openCluster({
    server: `http://127.0.0.1:${port}`,
    insecure: false,
    user: { kind: "nobody" },
    namespace: "default",
    from: "a test",
    ...access,
  });
  context.after(() => {
    client.close();
    server.close();
    server.closeAllConnections();
  });
  return { ...client, port };
}

void test("paths of resources", () => {
  const services = { group: "", version: "v1", resource: "services" };
  const slices = { group: "discovery.k8s.io", version: "v1", resource: "endpointslices" };
  assert.equal(resourcePath(services), "/api/v1/services");
  assert.equal(
    resourcePath(slices, { namespace: "a", name: "b" }),
    "/apis/discovery.k8s.io/v1/namespaces/a/endpointslices/b",
  );
  assert.equal(
    resourcePath({ ...services, resource: "nodes" }, { name: "n1", subresource: "status" }),
    "/api/v1/nodes/n1/status",
  );
});

void test("lines arrive whole, however the bytes come", async (context) => {
  const text = '{"a":"é"}\n{"a":2}\n\n{"a":"€€"}\n';
  const bytes = Buffer.from(text);
  for (const size of [1, 2, 3, 7, bytes.length]) {
    const client = await serve(context, (_request, response) => {
      const send = (at: number): void => {
        if (at >= bytes.length) return void response.end();
        response.write(bytes.subarray(at, at + size), () => setImmediate(send, at + size));
      };
      send(0);
    });
    const lines: unknown[] = [];
    await client.lines("/", { signal: new AbortController().signal, line: (line) => void lines.push(line) });
    assert.deepEqual(lines, [{ a: "é" }, { a: 2 }, { a: "€€" }], `${size} bytes at a time`);
  }
});

void test("a stream that breaks rejects, one that ends resolves, one that is aborted resolves", async (context) => {
  const client = await serve(context, (request, response) => {
    response.write('{"a":1}\n{"a":');
    if (request.url === "/break") setImmediate(() => request.socket.destroy());
  });
  const line = (): void => {};
  await assert.rejects(
    client.lines("/break", { signal: new AbortController().signal, line }),
    (error) => error instanceof ClusterUnreachable,
  );
  const abort = new AbortController();
  const stays = client.lines("/stay", { signal: abort.signal, line: () => abort.abort() });
  await stays;
});

void test("what the reader throws ends the stream", async (context) => {
  const client = await serve(context, (_request, response) => void response.write('{"a":1}\n'));
  const gone = new ApiError("gone", { status: 410, reason: "Expired" });
  await assert.rejects(
    client.lines("/", {
      signal: new AbortController().signal,
      line() {
        throw gone;
      },
    }),
    (error) => error === gone,
  );
});

void test("refusals carry the server's words, reason and when to come again", async (context) => {
  const client = await serve(context, (_request, response) => {
    response.writeHead(429, { "Retry-After": "7" });
    response.end(JSON.stringify({ kind: "Status", code: 429, reason: "TooManyRequests", message: "slow down" }));
  });
  await assert.rejects(client.request({ path: "/api/v1/pods" }), (error) => {
    assert.ok(error instanceof ApiError);
    assert.deepEqual([error.status, error.reason, error.retryAfterMs], [429, "TooManyRequests", 7000]);
    assert.match(error.message, /GET \/api\/v1\/pods: 429 slow down/);
    return true;
  });
});

void test("401: credentials are asked for anew, once", async (context) => {
  const seen: (string | undefined)[] = [];
  const answer = (request: IncomingMessage, response: ServerResponse): void => {
    seen.push(request.headers.authorization);
    response.statusCode = request.headers.authorization === "Bearer new" ? 200 : 401;
    response.end("{}");
  };
  const { port } = await serve(context, answer);
  const access: ClusterAccess = {
    server: `http://127.0.0.1:${port}`,
    insecure: false,
    user: { kind: "nobody" },
    namespace: "default",
    from: "a test",
  };
  const tokens = ["old", "new", "newer"];
  let at = 0;
  const client = openCluster(access, {
    async current(options) {
      if (options?.renew === true) at++;
      return { authorization: `Bearer ${tokens[at]}` };
    },
  });
  context.after(() => client.close());
  await client.request({ method: "POST", path: "/", body: { a: 1 } });
  await client.request({ path: "/" });
  assert.deepEqual(seen, ["Bearer old", "Bearer new", "Bearer new"]);
  tokens[1] = "revoked";
  await assert.rejects(client.request({ path: "/" }), (error) => error instanceof ApiError && error.status === 401);
});

void test("nobody there: the message says where, and the likely cure", async () => {
  const client = openCluster({
    server: "http://127.0.0.1:1",
    insecure: false,
    user: { kind: "nobody" },
    namespace: "default",
    from: "a test",
  });
  await assert.rejects(
    client.request({ path: "/version" }),
    /GET http:\/\/127\.0\.0\.1:1\/version: .*ECONNREFUSED.*; is the API server running there\?/,
  );
});
