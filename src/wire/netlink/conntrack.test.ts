import assert from "node:assert/strict";
import { test } from "node:test";

import * as fc from "fast-check";

import { NetlinkFormatError, buildBody, parseAttributes } from "./attributes.ts";
import {
  connectionMessage,
  connectionStatus,
  decodeConnection,
  deleteConnection,
  getConnections,
} from "./conntrack.ts";
import { answer, assertSent, toHex } from "./golden.testing.ts";

void test("all connections are asked for as `conntrack` does", () => {
  // conntrack -L
  assertSent({ ...getConnections(), flags: 0x300 }, "140000000101010344a6016b0000000000000000");
});

void test("a filter names the parts that count", () => {
  const { body } = getConnections({
    protocol: 17,
    destination: "10.96.0.10",
    destinationPort: 53,
    replySource: "10.244.1.2",
  });
  const attributes = parseAttributes(body, 4);
  // CTA_FILTER: destination, protocol number and destination port of the original; source and protocol number of the reply.
  assert.equal(toHex(attributes.get(25) ?? new Uint8Array()), "080001002a0000000800020009000000");
  assert.equal(body[0], 2, "AF_INET");
});

void test("IPv6 addresses are no part of a filter, for the kernel compares them the wrong way round", () => {
  const { body } = getConnections({ protocol: 17, destination: "fd00::a", destinationPort: 53 });
  // CTA_FILTER: protocol number and destination port of the original; protocol number of the reply.
  assert.equal(toHex(parseAttributes(body, 4).get(25) ?? new Uint8Array()), "08000100280000000800020008000000");
  assert.equal(body[0], 10, "AF_INET6");
});

/** An IPv4 UDP connection of a client to a Service address, as the kernel describes it. */
const described = buildBody(Uint8Array.of(2, 0, 0, 0), (writer) => {
  const tuple = (type: number, source: number[], destination: number[], ports: [number, number]): void => {
    writer.nested(type, (parts) => {
      parts.nested(1, (ip) => ip.bytes(1, Uint8Array.from(source)).bytes(2, Uint8Array.from(destination)));
      parts.nested(2, (proto) => proto.u8(1, 17).be16(2, ports[0]).be16(3, ports[1]));
    });
  };
  tuple(1, [10, 244, 1, 5], [10, 96, 0, 10], [40000, 53]);
  tuple(2, [10, 244, 1, 2], [10, 244, 1, 5], [5353, 40000]);
  writer.be32(3, 0x18e).be32(7, 29).be32(8, 0x10).be32(12, 0xdeadbeef).be16(18, 4);
});

void test("a connection is read", () => {
  const { originalBytes: _, ...connection } =
    decodeConnection(answer(connectionMessage.new, described)) ?? assert.fail();
  assert.deepEqual(connection, {
    original: {
      protocol: 17,
      source: "10.244.1.5",
      destination: "10.96.0.10",
      sourcePort: 40000,
      destinationPort: 53,
    },
    reply: { protocol: 17, source: "10.244.1.2", destination: "10.244.1.5", sourcePort: 5353, destinationPort: 40000 },
    mark: 0x10,
    status: 0x18e,
    timeoutSeconds: 29,
    id: 0xdeadbeef,
    zone: 4,
  });
  assert.notEqual(connection.status & connectionStatus.assured, 0);
});

void test("a deletion names the connection as it was described, its id and its zone", () => {
  const connection = decodeConnection(answer(connectionMessage.new, described)) ?? assert.fail();
  const { type, body } = deleteConnection(connection);
  assert.equal(type, connectionMessage.delete);
  const [asked, told] = [parseAttributes(body, 4), parseAttributes(described, 4)];
  assert.deepEqual([...asked.keys()], [1, 12, 18]);
  for (const attribute of [1, 12, 18]) assert.deepEqual(asked.get(attribute), told.get(attribute));
});

void test("any bytes give a connection, nothing, or a NetlinkFormatError", () => {
  const change = fc.record({ at: fc.nat(described.length - 1), value: fc.integer({ min: 0, max: 255 }) });
  fc.assert(
    fc.property(fc.array(change), fc.nat(described.length), (changes, length) => {
      const bytes = described.slice(0, length);
      for (const { at, value } of changes) if (at < length) bytes[at] = value;
      try {
        decodeConnection(answer(connectionMessage.new, bytes));
      } catch (error) {
        assert.ok(error instanceof NetlinkFormatError, String(error));
      }
    }),
    { numRuns: 500 },
  );
});
