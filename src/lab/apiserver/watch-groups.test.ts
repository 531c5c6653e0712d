// Watchers that come at any moment of many writes, some alone and some with others: each sees what is its own, once and in order.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { get } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { openStore } from "../api/sqlite-store.ts";
import type { WatchEvent } from "../api/store.ts";
import type { KubeObject } from "../../kube/object.ts";
import { createObjectApi } from "../api/write.ts";
import { listenPlain, startApiServer } from "./server.ts";

type Change = Exclude<WatchEvent, { type: "BOOKMARK" }>;

const selections = [
  { path: "/api/v1/configmaps", selector: "", matches: () => true },
  { path: "/api/v1/namespaces/a/configmaps", selector: "", matches: inA },
  { path: "/api/v1/namespaces/a/configmaps", selector: "colour=red", matches: (o: KubeObject) => inA(o) && isRed(o) },
  { path: "/api/v1/configmaps", selector: "colour=red", matches: isRed },
];

function inA({ metadata }: KubeObject): boolean {
  return metadata.namespace === "a";
}

function isRed({ metadata }: KubeObject): boolean {
  return metadata.labels?.["colour"] === "red";
}

/** What a change is to whoever sees only what matches: its type and revision. */
function seenAs({ type, object, previous, resourceVersion }: Change, matches: (object: KubeObject) => boolean): string {
  const [before, now] = [previous !== undefined && matches(previous), type !== "DELETED" && matches(object)];
  const shown = now ? (before ? "MODIFIED" : "ADDED") : before ? "DELETED" : undefined;
  return shown === undefined ? "" : `${shown} ${resourceVersion}`;
}

interface Watcher {
  readonly since: number;
  readonly selection: (typeof selections)[number];
  readonly lines: string[];
  readonly stop: () => void;
}

test("watchers that come at any moment see what is theirs, once and in order", async () => {
  const folder = mkdtempSync(join(tmpdir(), "fairlead-watch-"));
  // A disk that takes some turns: writes come while a commit is on its way, and watchers between them.
  const syncFile = async (): Promise<void> => {
    for (let turn = 0; turn < 3; turn++) await new Promise((resolve) => setImmediate(resolve));
  };
  const store = openStore({ path: join(folder, "store.db"), freeze: "deep", syncFile });
  const api = createObjectApi({ store, admissions: [] });
  for (const name of ["a", "b"]) api.create({ apiVersion: "v1", kind: "Namespace", metadata: { name } });
  await api.flushed();
  const changes: Change[] = [];
  api.watch({ group: "", resource: "configmaps" }, api.revision, (event) => {
    if (event.type !== "BOOKMARK") changes.push(event);
  });
  const { server, port } = await listenPlain();
  const started = startApiServer({ api, servers: [server] });
  const watchers: Watcher[] = [];
  const watch = async (selection: (typeof selections)[number], since: number): Promise<void> => {
    const lines: string[] = [];
    let rest = "";
    const query = `watch=true&resourceVersion=${since}&labelSelector=${encodeURIComponent(selection.selector)}`;
    await new Promise<void>((resolve) => {
      const request = get({ port, path: `${selection.path}?${query}` }, (response) => {
        assert.equal(response.statusCode, 200);
        response.setEncoding("utf8").on("data", (text: string) => {
          const parts = (rest + text).split("\n");
          rest = parts.pop() ?? "";
          for (const part of parts) {
            const { type, object } = JSON.parse(part) as { type: string; object: KubeObject };
            lines.push(`${type} ${object.metadata.resourceVersion}`);
          }
        });
        response.on("error", () => undefined);
        watchers.push({ since, selection, lines, stop: () => request.destroy() });
        resolve();
      });
      request.on("error", () => undefined);
    });
  };
  const object = (step: number): KubeObject => ({
    apiVersion: "v1",
    kind: "ConfigMap",
    metadata: {
      name: `c${step % 7}`,
      namespace: step % 3 === 0 ? "b" : "a",
      labels: { colour: (step * step) % 5 < 2 ? "red" : "blue" },
    },
    data: { step: String(step) },
  });
  const write = (step: number): void => {
    const next = object(step);
    const { name, namespace = "" } = next.metadata;
    const key = { group: "", resource: "configmaps", namespace, name };
    if (api.get(key) === undefined) api.create(next);
    else if (step % 4 === 0) api.delete(key);
    else api.update(next);
  };
  const starting: Promise<void>[] = [];
  for (let step = 0; step < 400; step++) {
    write(step);
    // Some turns bring several writes; nobody waits for the watchers that come meanwhile.
    if (step % 3 !== 0) await new Promise((resolve) => setImmediate(resolve));
    for (const [index, selection] of selections.entries())
      if (step % 7 === index) starting.push(watch(selection, Math.max(3, api.revision - (step % 4 === 0 ? 20 : 0))));
    if (step % 60 === 59) watchers.splice(1, 1)[0]?.stop();
  }
  await Promise.all(starting);
  await api.flushed();
  const expected = ({ since, selection }: Watcher): string[] =>
    changes
      .filter(({ resourceVersion }) => resourceVersion > since)
      .map((change) => seenAs(change, selection.matches))
      .filter((text) => text !== "");
  const isDone = (): boolean => watchers.every((watcher) => watcher.lines.length >= expected(watcher).length);
  while (!isDone()) await new Promise((resolve) => setImmediate(resolve));
  // What is too much would come now.
  write(1);
  await api.flushed();
  while (!isDone()) await new Promise((resolve) => setImmediate(resolve));
  assert.ok(watchers.length > 40);
  for (const watcher of watchers) assert.deepEqual(watcher.lines, expected(watcher));
  for (const watcher of watchers) watcher.stop();
  started.close();
  server.close();
  server.closeAllConnections();
  store.close();
  rmSync(folder, { recursive: true });
});
