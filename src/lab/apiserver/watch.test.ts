import assert from "node:assert/strict";
import { Writable } from "node:stream";
import type { ServerResponse } from "node:http";
import { test } from "node:test";

import { openStore } from "../api/sqlite-store.ts";
import { createObjectApi } from "../api/write.ts";
import { listenPlain, startApiServer } from "./server.ts";
import { createWatchSender } from "./watch-sender.ts";

/** A response that nobody reads: what is written stays. */
function unread(): ServerResponse {
  const stream = new Writable({ highWaterMark: 1, write: () => undefined });
  return stream as unknown as ServerResponse;
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test("lines of one turn leave together; watchers of the same things share the bytes", async () => {
  const written: Buffer[][] = [[], []];
  const responses = written.map(
    (list) =>
      new Writable({
        write(chunk: Buffer, _, done) {
          list.push(chunk);
          done();
        },
      }) as unknown as ServerResponse,
  );
  // However busy the machine is, a turn is long enough for both.
  const sender = createWatchSender(() => 0);
  const outputs = responses.map((response) => sender.open(response, 1000));
  const [a, b] = [Buffer.from("a\n"), Buffer.from("b\n")];
  for (const output of outputs) {
    output.write(a);
    output.write(b);
  }
  await turn();
  await turn();
  assert.deepEqual(
    written.map((list) => list.map(String)),
    [["a\nb\n"], ["a\nb\n"]],
  );
  assert.equal(written[0]?.[0], written[1]?.[0]);
  outputs[0]?.write(a);
  outputs[0]?.end();
  assert.ok(responses[0]?.writableEnded);
});

test("a watcher that does not read is cut off", async () => {
  const response = unread();
  const output = createWatchSender().open(response, 10);
  for (let line = 0; line < 5 && !response.destroyed; line++) {
    output.write(Buffer.from("123456789\n"));
    await turn();
    await turn();
  }
  assert.ok(response.destroyed);
});

test("a watch from before what is remembered is told to list again", async () => {
  const store = openStore({ path: ":memory:", historyEventsMax: 4 });
  const api = createObjectApi({ store, admissions: [] });
  api.create({ apiVersion: "v1", kind: "Namespace", metadata: { name: "default" } });
  for (let index = 0; index < 50; index++) {
    api.create({ apiVersion: "v1", kind: "ConfigMap", metadata: { name: `c${index}`, namespace: "default" } });
    await api.flushed();
  }
  const { server, port } = await listenPlain();
  const started = startApiServer({ api, servers: [server] });
  const url = `http://127.0.0.1:${port}/api/v1/configmaps?watch=true&resourceVersion=2`;
  const refused = await fetch(url);
  assert.deepEqual([refused.status, ((await refused.json()) as { reason: string }).reason], [410, "Expired"]);
  // Whoever asks for the beginning gets it, however old the revision it names.
  const initial = "&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&timeoutSeconds=1";
  const lines = (await (await fetch(url + initial)).text()).trim().split("\n");
  assert.equal(lines.filter((line) => line.startsWith('{"type":"ADDED"')).length, 50);
  assert.match(lines[50] ?? "", /initial-events-end/);
  started.close();
  server.close();
  server.closeAllConnections();
  store.close();
});
