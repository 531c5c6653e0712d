// Channel protocols of WebSockets: messages both ways, sizes cut anywhere.

import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { chooseProtocol, createSizeReader, formatMessage, parseMessage } from "./channels.ts";

test("the newest protocol both know; without an offer the oldest", () => {
  const name = (...offered: string[]): string | undefined => chooseProtocol(offered)?.name;
  assert.equal(name("v4.channel.k8s.io", "v5.channel.k8s.io"), "v5.channel.k8s.io");
  assert.equal(name("channel.k8s.io", "v4.base64.channel.k8s.io"), "v4.base64.channel.k8s.io");
  assert.equal(name("v9.channel.k8s.io"), undefined);
  assert.equal(name(), "");
});

test("messages come back, as bytes or as base64", () => {
  const protocols = ["v5.channel.k8s.io", "v4.base64.channel.k8s.io"].map((name) => chooseProtocol([name]));
  fc.assert(
    fc.property(fc.constantFrom(...protocols), fc.nat(4), fc.uint8Array(), (protocol, channel, bytes) => {
      assert.ok(protocol);
      const message = parseMessage(protocol, Buffer.from(formatMessage(protocol, { channel, bytes }) as string));
      assert.equal(message?.channel, channel);
      assert.deepEqual(Buffer.from(message?.bytes ?? []), Buffer.from(bytes));
    }),
  );
  const [binary, base64] = protocols;
  assert.ok(binary && base64);
  assert.deepEqual(formatMessage(binary, { channel: 1, bytes: Buffer.from("a") }), Buffer.from("\x01a"));
  assert.equal(formatMessage(base64, { channel: 1, bytes: Buffer.from("a") }), "1YQ==");
  assert.equal(parseMessage(binary, new Uint8Array()), undefined);
});

test("sizes are read out of a stream, however it is cut", () => {
  const anySize = fc.record({ Width: fc.nat(500), Height: fc.nat(500) }, { noNullPrototype: true });
  fc.assert(
    fc.property(
      fc.array(anySize),
      fc.integer({ min: 1, max: 9 }),
      fc.constantFrom("", "\n", " "),
      (sizes, step, between) => {
        const text = Buffer.from(sizes.map((size) => JSON.stringify(size) + between).join(""));
        const seen: object[] = [];
        const read = createSizeReader(({ columns, rows }) => seen.push({ Width: columns, Height: rows }));
        for (let at = 0; at < text.length; at += step) read(text.subarray(at, at + step));
        assert.deepEqual(seen, sizes);
      },
    ),
  );
});

test("what is no size is passed over", () => {
  const seen: object[] = [];
  const read = createSizeReader((size) => seen.push(size));
  for (const text of [
    "}}{",
    '{"Width":70000,"Height":1}',
    '{"Width":-1,"Height":1}',
    "x".repeat(100_000),
    '{"width": 80, "height": 24}',
  ])
    read(Buffer.from(text));
  assert.deepEqual(seen, [{ columns: 80, rows: 24 }]);
});
