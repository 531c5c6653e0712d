// Logs over HTTP: options, the container that is meant, and upstream's words for what cannot be read.

import assert from "node:assert/strict";
import { once } from "node:events";
import { after, test } from "node:test";

import { WebSocket } from "ws";
import { StatusError } from "../../api/store.ts";
import type { LogOptions } from "../../pods/logs.ts";
import { logOptions } from "./logs.ts";
import { runningPod, streamServer, type StreamServer } from "./streams.testing.ts";

const servers: StreamServer[] = [];
after(() => {
  for (const server of servers) server.close();
});

const now = Date.UTC(2026, 0, 31, 12);
const read = (query: string): LogOptions | string => {
  try {
    return logOptions(new URLSearchParams(query), now);
  } catch (error) {
    assert.ok(error instanceof StatusError, String(error));
    return `${error.code} ${error.message}`;
  }
};
const none = { follow: false, previous: false, timestamps: false };

test("what a query asks for", () => {
  assert.deepEqual(read(""), none);
  assert.deepEqual(read("follow=true&previous=1&timestamps=true&tailLines=0&limitBytes=5"), {
    follow: true,
    previous: true,
    timestamps: true,
    tailLines: 0,
    limitBytes: 5,
  });
  assert.deepEqual(read("sinceSeconds=60"), { ...none, since: now - 60_000 });
  assert.deepEqual(read("sinceTime=2026-01-31T11:00:00Z"), { ...none, since: now - 3_600_000 });
});

const refused = (query: string): string => {
  const answer = read(query);
  assert.ok(typeof answer === "string", query);
  return answer;
};

test("what makes no sense is refused", () => {
  assert.equal(
    read("tailLines=-1"),
    '422 PodLogOptions "" is invalid: tailLines: Invalid value: -1: must be greater than or equal to 0',
  );
  assert.equal(
    read("limitBytes=0"),
    '422 PodLogOptions "" is invalid: limitBytes: Invalid value: 0: must be greater than 0',
  );
  assert.match(
    refused("sinceSeconds=0&sinceTime=2026-01-31T11:00:00Z"),
    /^422 PodLogOptions "" is invalid: \[sinceSeconds: .*, Forbidden: at most one/,
  );
  assert.match(refused("tailLines=x"), /^400 /);
  assert.match(refused("sinceTime=yesterday"), /^400 /);
});

async function get(server: StreamServer, query = ""): Promise<string> {
  const response = await fetch(`http://127.0.0.1:${server.port}/api/v1/namespaces/default/pods/web/log${query}`);
  return `${response.status} ${await response.text()}`;
}

test("the log of the only container, or of the one that is named", async () => {
  const asked: unknown[] = [];
  const server = await streamServer({
    objects: [runningPod()],
    kubelet: {
      logs(where, options) {
        asked.push([where.container, options?.tailLines]);
        return { each: async (text) => (text("one\n"), text("two\n")), close() {} };
      },
    },
  });
  servers.push(server);
  assert.equal(await get(server, "?tailLines=2"), "200 one\ntwo\n");
  assert.equal(await get(server, "?container=main"), "200 one\ntwo\n");
  assert.equal(await get(server, "?container=else"), "400 container else is not valid for pod web");
  assert.deepEqual(asked, [
    ["main", 2],
    ["main", undefined],
  ]);
});

test("a log over a WebSocket, as bytes or as base64", async () => {
  const server = await streamServer({
    objects: [runningPod()],
    kubelet: { logs: () => ({ each: async (text) => (text("one\n"), text("zwö\n")), close() {} }) },
  });
  servers.push(server);
  const read = async (protocol: string): Promise<string> => {
    const path = "/api/v1/namespaces/default/pods/web/log";
    const socket = new WebSocket(`ws://127.0.0.1:${server.port}${path}`, protocol);
    let said = "";
    socket.on("message", (data: Buffer) => {
      said += protocol.startsWith("base64") ? Buffer.from(data.toString(), "base64").toString() : data.toString();
    });
    await once(socket, "close");
    return said;
  };
  assert.equal(await read("binary.k8s.io"), "one\nzwö\n");
  assert.equal(await read("base64.binary.k8s.io"), "one\nzwö\n");
  await assert.rejects(
    once(new WebSocket(`ws://127.0.0.1:${server.port}/api/v1/namespaces/default/pods/web/log`, "x"), "open"),
  );
});

test("a reader that goes is closed", async () => {
  const closed = Promise.withResolvers<void>();
  const server = await streamServer({
    objects: [runningPod()],
    kubelet: {
      logs: () => ({
        async each(text) {
          text("first\n");
          await closed.promise;
        },
        close: closed.resolve,
      }),
    },
  });
  servers.push(server);
  const gone = new AbortController();
  const response = await fetch(`http://127.0.0.1:${server.port}/api/v1/namespaces/default/pods/web/log?follow=true`, {
    signal: gone.signal,
  });
  for await (const chunk of response.body as AsyncIterable<Uint8Array>) {
    assert.equal(Buffer.from(chunk).toString(), "first\n");
    break;
  }
  gone.abort();
  await closed.promise;
});

test("containers without a log, in upstream's words", async () => {
  const states: readonly (readonly [object, string])[] = [
    [
      { waiting: { reason: "ContainerCreating" } },
      '400 container "main" in pod "web" is waiting to start: ContainerCreating',
    ],
    [
      { waiting: { reason: "ErrImagePull" } },
      `400 container "main" in pod "web" is waiting to start: image can't be pulled`,
    ],
    [
      { waiting: { reason: "ImagePullBackOff" } },
      '400 container "main" in pod "web" is waiting to start: trying and failing to pull image',
    ],
    [{}, '400 container "main" in pod "web" is waiting to start - no logs yet'],
  ];
  for (const [state, expected] of states) {
    const status = { phase: "Pending", containerStatuses: [{ name: "main", state, lastState: {} }] };
    const server = await streamServer({ objects: [{ ...runningPod(), status }] });
    servers.push(server);
    assert.equal(await get(server), expected);
  }
  const server = await streamServer({ objects: [runningPod()] });
  servers.push(server);
  assert.equal(await get(server, "?previous=true"), '400 previous terminated container "main" in pod "web" not found');
});

test("a pod on no node has an empty log; several containers must be told apart", async () => {
  const free = await streamServer({
    objects: [{ ...runningPod(), spec: { containers: [{ name: "main", image: "i" }] } }],
  });
  servers.push(free);
  assert.equal(await get(free), "200 ");
  const two = {
    nodeName: "node-1",
    containers: [
      { name: "a", image: "i" },
      { name: "b", image: "i" },
    ],
    initContainers: [{ name: "c", image: "i" }],
  };
  const many = await streamServer({ objects: [{ ...runningPod(), spec: two }] });
  servers.push(many);
  assert.equal(
    await get(many),
    "400 a container name must be specified for pod web, choose one of: [a b] or one of the init containers: [c]",
  );
});
