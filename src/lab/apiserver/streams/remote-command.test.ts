// exec and attach through every protocol: streams, sizes, ends, and what is refused before the upgrade.

import assert from "node:assert/strict";
import { once } from "node:events";
import { after, test } from "node:test";
import { WebSocket } from "ws";
import { withEarlyOutput } from "../../pods/early-output.ts";
import type { Kubelet } from "../../pods/kubelet.ts";
import { fakeProcess, runningPod, streamServer, type FakeProcess, type StreamServer } from "./streams.testing.ts";

const servers: StreamServer[] = [];
after(() => {
  for (const server of servers) server.close();
});

async function serverWith(kubelet: Partial<Kubelet>, containers?: readonly object[]): Promise<StreamServer> {
  const server = await streamServer({ kubelet, objects: [runningPod(containers)] });
  servers.push(server);
  return server;
}

/** A server whose exec gives this process, and the command it was asked for. */
async function execServer(process: FakeProcess): Promise<{ server: StreamServer; asked: object[] }> {
  const asked: object[] = [];
  const server = await serverWith({
    exec(where, command) {
      asked.push({ ...where, ...command });
      return process;
    },
  });
  return { server, asked };
}

const path = (query: string, what = "exec"): string => `/api/v1/namespaces/default/pods/web/${what}?${query}`;

interface Client {
  readonly socket: WebSocket;
  readonly received: Record<number, string>;
  readonly closed: Promise<number>;
  until(channel: number, text: string): Promise<void>;
}

async function webSocket(server: StreamServer, query: string, protocols: string[], what = "exec"): Promise<Client> {
  const socket = new WebSocket(`ws://127.0.0.1:${server.port}${path(query, what)}`, protocols);
  const received: Record<number, string> = {};
  const waiting = new Set<() => void>();
  const isBase64 = protocols[0]?.includes("base64") === true;
  socket.on("message", (data: Buffer) => {
    const channel = isBase64 ? (data[0] ?? 0) - 0x30 : (data[0] ?? 0);
    const rest = data.subarray(1);
    received[channel] =
      (received[channel] ?? "") + (isBase64 ? Buffer.from(rest.toString(), "base64") : rest).toString();
    for (const look of waiting) look();
  });
  const closed = new Promise<number>((resolve) => void socket.once("close", resolve));
  await once(socket, "open");
  return {
    socket,
    received,
    closed,
    until: (channel, text) =>
      new Promise((resolve) => {
        const look = (): void => {
          if (received[channel]?.includes(text) !== true) return;
          waiting.delete(look);
          resolve();
        };
        waiting.add(look);
        look();
      }),
  };
}

const message = (channel: number, text: string): Buffer => Buffer.concat([Uint8Array.of(channel), Buffer.from(text)]);
const all = "stdin=true&stdout=true&stderr=true&command=sh&command=-c&command=true";

test("WebSocket v5: all streams, half-closed input, exit status as a Status", async () => {
  const process = fakeProcess();
  const { server, asked } = await execServer(process);
  const client = await webSocket(server, all, ["v5.channel.k8s.io"]);
  assert.equal(client.socket.protocol, "v5.channel.k8s.io");
  await client.until(1, "");
  assert.deepEqual(asked, [
    { namespace: "default", pod: "web", container: "main", argv: ["sh", "-c", "true"], tty: false, stdin: true },
  ]);
  client.socket.send(message(0, "input"));
  client.socket.send(Uint8Array.of(255, 0));
  let input = "";
  for await (const chunk of process.input) input += String(chunk);
  assert.equal(input, "input");
  process.say("out");
  process.say("err", "stderr");
  process.end(3);
  assert.equal(await client.closed, 1000);
  assert.equal(client.received[1], "out");
  assert.equal(client.received[2], "err");
  assert.deepEqual(JSON.parse(client.received[3] ?? ""), {
    metadata: {},
    status: "Failure",
    message: "command terminated with non-zero exit code: error executing command [sh -c true], exit code 3",
    reason: "NonZeroExitCode",
    details: { causes: [{ reason: "ExitCode", message: "3" }] },
  });
  assert.deepEqual(process.killed, []);
});

test("older WebSocket protocols: base64, and text only where something failed", async () => {
  for (const [protocols, code, error] of [
    [["v4.channel.k8s.io"], 0, '{"metadata":{},"status":"Success"}'],
    [["v4.base64.channel.k8s.io"], 0, '{"metadata":{},"status":"Success"}'],
    [["channel.k8s.io"], 0, undefined],
    [
      ["base64.channel.k8s.io"],
      1,
      "command terminated with non-zero exit code: error executing command [ls], exit code 1",
    ],
    [[], 1, "command terminated with non-zero exit code: error executing command [ls], exit code 1"],
  ] as const) {
    const process = fakeProcess();
    const { server } = await execServer(process);
    const client = await webSocket(server, "stdout=1&command=ls", [...protocols]);
    process.say("out");
    process.end(code);
    await client.closed;
    assert.equal(client.received[1], "out", String(protocols));
    assert.equal(client.received[3], error, String(protocols));
  }
});

test("a terminal: sizes, one output, and an end of input that is a character", async () => {
  const process = fakeProcess({ tty: true });
  const { server, asked } = await execServer(process);
  const client = await webSocket(server, "stdin=true&stdout=true&stderr=true&tty=true&command=sh", [
    "v5.channel.k8s.io",
  ]);
  client.socket.send(message(4, '{"Width":80,"Height":24}'));
  client.socket.send(message(0, "x"));
  client.socket.send(Uint8Array.of(255, 0));
  let input = "";
  for await (const chunk of process.input) {
    input += String(chunk);
    if (input.endsWith("\u0004")) break;
  }
  assert.equal(input, "x\u0004");
  assert.deepEqual(process.sizes, [{ columns: 80, rows: 24 }]);
  assert.equal((asked[0] as { tty: boolean }).tty, true);
  process.end(0);
  await client.closed;
  assert.equal(JSON.parse(client.received[3] ?? "").status, "Success");
});

test("a command that cannot be started is told on the error channel", async () => {
  const server = await serverWith({
    exec() {
      throw new Error('unable to start container process: exec: "nope": executable file not found in $PATH');
    },
  });
  const client = await webSocket(server, "stdout=true&command=nope", ["v5.channel.k8s.io"]);
  await client.closed;
  const status = JSON.parse(client.received[3] ?? "");
  assert.equal(status.reason, "InternalError");
  assert.equal(
    status.message,
    'Internal error occurred: error executing command in container: failed to exec in container: unable to start container process: exec: "nope": executable file not found in $PATH',
  );
});

test("a client that goes takes its command along", async () => {
  const process = fakeProcess();
  const { server } = await execServer(process);
  const client = await webSocket(server, "stdout=true&command=sleep", ["v5.channel.k8s.io"]);
  const killed = new Promise<void>((resolve) => {
    process.kill = () => {
      resolve();
      return true;
    };
  });
  client.socket.terminate();
  await killed;
  process.end(137);
});

test("SPDY: streams by type, v4 and older", async () => {
  for (const [protocols, expected, error] of [
    [["v4.channel.k8s.io", "v3.channel.k8s.io"], "v4.channel.k8s.io", "NonZeroExitCode"],
    [["v2.channel.k8s.io", "channel.k8s.io"], "v2.channel.k8s.io", "command terminated with non-zero exit code"],
  ] as const) {
    const process = fakeProcess();
    const { server } = await execServer(process);
    const { client, protocol } = await server.spdy(path(all), protocols);
    assert.equal(protocol, expected);
    const errors = await client.open({ streamType: "error" });
    const stdin = await client.open({ streamType: "stdin" });
    const stdout = await client.open({ streamType: "stdout" });
    const stderr = await client.open({ streamType: "stderr" });
    stdin.write("question");
    stdin.end();
    let input = "";
    for await (const chunk of process.input) input += String(chunk);
    assert.equal(input, "question");
    process.say("answer");
    process.say("noise", "stderr");
    process.end(2);
    assert.equal(await stdout.text(), "answer");
    assert.equal(await stderr.text(), "noise");
    assert.ok((await errors.text()).includes(error));
    await client.closed;
  }
});

/** A command with a terminal, by SPDY: three streams, of which the last is of the given type. */
async function spdyTerminal(lastType: string) {
  const process = fakeProcess({ tty: true });
  const { server } = await execServer(process);
  const { client } = await server.spdy(path("stdout=true&stderr=true&tty=true&command=sh"), ["v4.channel.k8s.io"]);
  const errors = await client.open({ streamType: "error" });
  const stdout = await client.open({ streamType: "stdout" });
  const last = await client.open({ streamType: lastType });
  return {
    process,
    client,
    last,
    /** It says hi, is heard, and ends well. */
    async saysHi(): Promise<void> {
      process.say("hi");
      for await (const chunk of stdout.received) {
        assert.equal(String(chunk), "hi");
        break;
      }
      process.end(0);
      assert.equal(JSON.parse(await errors.text()).status, "Success");
    },
  };
}

test("SPDY with a terminal: sizes on their own stream, and an output for errors that stays empty", async () => {
  const { process, client, last, saysHi } = await spdyTerminal("resize");
  last.write('{"Width":100,"Height":40}\n');
  await saysHi();
  assert.deepEqual(process.sizes, [{ columns: 100, rows: 40 }]);
  await client.closed;
});

test("SPDY with a terminal and a stream for errors instead of one for sizes: what some clients open", async () => {
  const { client, saysHi } = await spdyTerminal("stderr");
  await saysHi();
  await client.closed;
});

test("what is refused is refused before the upgrade, in words", async () => {
  const pods = [
    { name: "a", image: "i" },
    { name: "b", image: "i" },
  ];
  const server = await serverWith({}, pods);
  const refused = async (query: string): Promise<string> => {
    try {
      await server.spdy(path(query), ["v4.channel.k8s.io"]);
      return "taken";
    } catch (error) {
      return (error as Error).message;
    }
  };
  assert.equal(
    await refused("stdout=true&command=ls"),
    "400 a container name must be specified for pod web, choose one of: [a b]",
  );
  assert.equal(await refused("stdout=true&command=ls&container=c"), "400 container c is not valid for pod web");
  assert.equal(await refused("container=a&command=ls"), "400 you must specify at least 1 of stdin, stdout, stderr");
  assert.equal(await refused("container=a&stdout=true"), "400 you must specify at least 1 command");
  await assert.rejects(
    server.spdy(path("container=a&stdout=true&command=ls"), ["v9.channel.k8s.io"]),
    /400 .*unable to negotiate protocol/,
  );
});

test("attach: what the process says from now on, to all who listen; input closes only where it may", async () => {
  const process = fakeProcess();
  const container = { name: "main", image: "i", stdin: true, stdinOnce: true };
  const server = await serverWith({ attach: () => process }, [container]);
  const query = "stdin=true&stdout=true&stderr=true";
  const one = await webSocket(server, query, ["v5.channel.k8s.io"], "attach");
  const two = await webSocket(server, "stdout=true", ["v4.channel.k8s.io"], "attach");
  await one.until(1, "");
  await two.until(1, "");
  process.say("to both");
  await one.until(1, "to both");
  await two.until(1, "to both");
  two.socket.close();
  await two.closed;
  assert.deepEqual(process.killed, [], "whoever detaches leaves the container alone");
  one.socket.send(message(0, "last"));
  one.socket.send(Uint8Array.of(255, 0));
  let input = "";
  for await (const chunk of process.input) input += String(chunk);
  assert.equal(input, "last");
  process.end(5);
  await one.closed;
  assert.equal(JSON.parse(one.received[3] ?? "").status, "Success");
});

test("attach of the one client that a container was made for: also what was said before", async () => {
  const process = fakeProcess();
  const container = { name: "main", image: "i", stdin: true, stdinOnce: true };
  const kept = withEarlyOutput(process);
  const server = await serverWith({ attach: () => kept }, [container]);
  process.say("before ");
  process.say("wrong ", "stderr");
  await new Promise(setImmediate);
  const one = await webSocket(server, "stdin=true&stdout=true&stderr=true", ["v5.channel.k8s.io"], "attach");
  await one.until(1, "before");
  process.say("after");
  await one.until(1, "after");
  assert.deepEqual([one.received[1], one.received[2]], ["before after", "wrong "]);
  const two = await webSocket(server, "stdout=true", ["v4.channel.k8s.io"], "attach");
  process.say(" to both");
  await two.until(1, "to both");
  assert.equal(two.received[1], " to both", "once only");
  process.end(0);
  await one.closed;
});

test("attach to an input that stays open: whoever has nothing more to say is let go", async () => {
  const process = fakeProcess();
  const server = await serverWith({ attach: () => process }, [{ name: "main", image: "i", stdin: true }]);
  const client = await webSocket(server, "stdin=true&stdout=true", ["v5.channel.k8s.io"], "attach");
  await client.until(1, "");
  client.socket.send(message(0, "last"));
  client.socket.send(Uint8Array.of(255, 0));
  await client.closed;
  assert.equal(JSON.parse(client.received[3] ?? "").status, "Success");
  assert.deepEqual([String(process.input.read()), process.input.readableEnded, process.killed], ["last", false, []]);
});

test("attach to a container that has just ended is refused: its log tells what it said", async () => {
  const server = await serverWith({
    attach() {
      throw new Error("not running");
    },
  });
  await assert.rejects(server.spdy(path("stdout=true", "attach"), ["v4.channel.k8s.io"]), /404 .*container not found/);
});

test("attach to a server without a process follows its log", async () => {
  let say: (text: string) => void = () => {};
  const closed = Promise.withResolvers<void>();
  const server = await serverWith({
    attach: () => undefined,
    logs: () => ({
      each(text) {
        say = text;
        return closed.promise;
      },
      close: closed.resolve,
    }),
  });
  const client = await webSocket(server, "stdout=true", ["v5.channel.k8s.io"], "attach");
  await client.until(1, "");
  say("a line\n");
  await client.until(1, "a line\n");
  client.socket.close();
  await closed.promise;
});
