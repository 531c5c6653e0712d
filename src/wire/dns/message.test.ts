import assert from "node:assert/strict";
import { test } from "node:test";

import * as fc from "fast-check";

import { dnsPacket, type DnsPacketRecord } from "./dns-packet.testing.ts";
import { DnsFormatError } from "./format-error.ts";
import { buildMessage, buildQuery, emptyMessage, parseMessage, rcodes, type DnsMessage } from "./message.ts";
import { classIn, recordTypeName, type DnsRecord, type RecordData } from "./record.ts";

const record = (name: string, data: RecordData, ttl = 5): DnsRecord => ({ name, class: classIn, ttl, data });

// One record of every type, and the same as dns-packet writes it.
const everyType: readonly (readonly [DnsRecord, DnsPacketRecord])[] = [
  [
    record("a.example", { kind: "A", address: "10.96.0.10" }),
    { name: "a.example", type: "A", ttl: 5, data: "10.96.0.10" },
  ],
  [
    record("a.example", { kind: "AAAA", address: "fd00:10:96::a" }),
    { name: "a.example", type: "AAAA", ttl: 5, data: "fd00:10:96::a" },
  ],
  [
    record("b.example", { kind: "CNAME", target: "a.example" }),
    { name: "b.example", type: "CNAME", ttl: 5, data: "a.example" },
  ],
  [
    record("example", { kind: "NS", target: "ns.example" }),
    { name: "example", type: "NS", ttl: 5, data: "ns.example" },
  ],
  [
    record("10.0.96.10.in-addr.arpa", { kind: "PTR", target: "a.example" }),
    { name: "10.0.96.10.in-addr.arpa", type: "PTR", ttl: 5, data: "a.example" },
  ],
  [
    record("_http._tcp.a.example", { kind: "SRV", priority: 0, weight: 50, port: 8080, target: "a.example" }),
    {
      name: "_http._tcp.a.example",
      type: "SRV",
      ttl: 5,
      data: { priority: 0, weight: 50, port: 8080, target: "a.example" },
    },
  ],
  [
    record("t.example", { kind: "TXT", strings: ["1.1.0", "x".repeat(255)] }),
    { name: "t.example", type: "TXT", ttl: 5, data: [Buffer.from("1.1.0"), Buffer.from("x".repeat(255))] },
  ],
  [
    record("example", { kind: "MX", preference: 10, target: "a.example" }),
    { name: "example", type: "MX", ttl: 5, data: { preference: 10, exchange: "a.example" } },
  ],
  [
    record("example", {
      kind: "SOA",
      primary: "ns.example",
      mailbox: "hostmaster.example",
      serial: 4_294_967_295,
      refresh: 7200,
      retry: 1800,
      expire: 86_400,
      minimum: 5,
    }),
    {
      name: "example",
      type: "SOA",
      ttl: 5,
      data: {
        mname: "ns.example",
        rname: "hostmaster.example",
        serial: 4_294_967_295,
        refresh: 7200,
        retry: 1800,
        expire: 86_400,
        minimum: 5,
      },
    },
  ],
];

await test("what dns-packet writes is what we read", () => {
  for (const [ours, theirs] of everyType) {
    const bytes = dnsPacket.encode({
      id: 4711,
      type: "response",
      flags: 0x0580,
      questions: [{ name: theirs.name, type: theirs.type }],
      answers: [theirs],
      additionals: [{ name: ".", type: "OPT", udpPayloadSize: 4096, flags: 0x8000 }],
    });
    const expected: DnsMessage = {
      ...emptyMessage,
      id: 4711,
      response: true,
      authoritative: true,
      recursionDesired: true,
      recursionAvailable: true,
      questions: [{ name: ours.name, type: ours.data.kind === "unknown" ? "ANY" : ours.data.kind, class: classIn }],
      answers: [ours],
      edns: { udpBytes: 4096, version: 0, dnssecOk: true, options: [] },
    };
    assert.deepEqual(parseMessage(bytes), expected);
  }
});

await test("what we write, compressed, is what dns-packet reads", () => {
  const bytes = buildMessage({
    ...emptyMessage,
    id: 99,
    response: true,
    rcode: rcodes.NXDOMAIN,
    questions: [{ name: "a.example", type: "ANY", class: classIn }],
    answers: everyType.map(([ours]) => ours),
    authority: [everyType[8]?.[0] ?? record("x", { kind: "A", address: "1.1.1.1" })],
    additional: [everyType[0]?.[0] ?? record("x", { kind: "A", address: "1.1.1.1" })],
  });
  const read = dnsPacket.decode(Buffer.from(bytes));
  assert.equal(read.id, 99);
  assert.equal(read.rcode, "NXDOMAIN");
  assert.deepEqual(read.questions, [{ name: "a.example", type: "ANY", class: "IN" }]);
  const essence = ({ name, type, ttl, data }: DnsPacketRecord): unknown => ({ name, type, ttl, data });
  assert.deepEqual(
    read.answers?.map(essence),
    everyType.map(([, theirs]) => essence(theirs)),
  );
  assert.deepEqual(read.authorities?.map(essence), [essence(everyType[8]?.[1] ?? { name: "", type: "" })]);
  assert.deepEqual(read.additionals?.map(essence), [essence(everyType[0]?.[1] ?? { name: "", type: "" })]);
  const uncompressed = dnsPacket.encode(read);
  assert.ok(bytes.length < uncompressed.length - 60, `${bytes.length} of ${uncompressed.length} bytes`);
});

// dig 9.18 +tries=1 @127.0.0.1 a.example AAAA (with its cookie, RFC 7873: option 10), as it arrived; and +nocookie.
await test("golden: dig's queries", () => {
  const golden = "aba1012000010000000000010161076578616d706c6500001c000100002904d000000000000c000a0008eedde6954cdb4649";
  const expected: DnsMessage = {
    ...emptyMessage,
    id: 0xaba1,
    recursionDesired: true,
    authenticData: true,
    questions: [{ name: "a.example", type: "AAAA", class: classIn }],
    edns: {
      udpBytes: 1232,
      version: 0,
      dnssecOk: false,
      options: [{ code: 10, bytes: Uint8Array.from(Buffer.from("eedde6954cdb4649", "hex")) }],
    },
  };
  assert.deepEqual(parseMessage(Uint8Array.from(Buffer.from(golden, "hex"))), expected);
  assert.equal(Buffer.from(buildMessage(expected)).toString("hex"), golden);
  const bare = { ...expected, id: 0x50cc, edns: { udpBytes: 1232, version: 0, dnssecOk: false, options: [] } };
  const goldenBare = "50cc012000010000000000010161076578616d706c6500001c000100002904d0000000000000";
  assert.equal(Buffer.from(buildMessage(bare)).toString("hex"), goldenBare);
});

await test("a query for a name", () => {
  const query = parseMessage(
    buildQuery({ id: 1, name: "Api.Production.svc.cluster.local.", type: "SRV", udpBytes: 1232 }),
  );
  assert.deepEqual(query.questions, [{ name: "Api.Production.svc.cluster.local", type: "SRV", class: classIn }]);
  assert.equal(query.recursionDesired, true);
  assert.deepEqual(query.edns, { udpBytes: 1232, version: 0, dnssecOk: false, options: [] });
});

const label = fc
  .uint8Array({ minLength: 1, maxLength: 20 })
  .map((bytes) => Array.from(bytes, (byte) => `\\${String(byte).padStart(3, "0")}`).join(""));
const plainLabel = fc.stringMatching(/^[a-zA-Z0-9_-]{1,12}$/);
const name = fc.oneof(
  fc.constant("."),
  fc.array(plainLabel, { minLength: 1, maxLength: 6 }).map((labels) => labels.join(".")),
);
const uint16 = fc.nat(0xffff);
const uint32 = fc.nat(0xffff_ffff);
const address4 = fc.ipV4();
const data: fc.Arbitrary<RecordData> = fc.oneof(
  address4.map((address): RecordData => ({ kind: "A", address })),
  fc.constantFrom("NS", "CNAME", "PTR").chain((kind) => name.map((target): RecordData => ({ kind, target }))),
  fc.record({ kind: fc.constant("MX" as const), preference: uint16, target: name }),
  fc.record({ kind: fc.constant("SRV" as const), priority: uint16, weight: uint16, port: uint16, target: name }),
  fc
    .array(fc.uint8Array({ maxLength: 255 }), { minLength: 1, maxLength: 3 })
    .map((strings): RecordData => ({ kind: "TXT", strings: strings.map((bytes) => String.fromCharCode(...bytes)) })),
  fc.record({
    kind: fc.constant("SOA" as const),
    primary: name,
    mailbox: name,
    serial: uint32,
    refresh: uint32,
    retry: uint32,
    expire: uint32,
    minimum: uint32,
  }),
  fc.uint8Array({ maxLength: 64 }).map((bytes): RecordData => ({ kind: "unknown", type: 65, bytes })),
);
const anyRecord = fc.record({ name, class: uint16, ttl: uint32, data });
const message: fc.Arbitrary<DnsMessage> = fc.record({
  id: uint16,
  response: fc.boolean(),
  opcode: fc.nat(15),
  authoritative: fc.boolean(),
  truncated: fc.boolean(),
  recursionDesired: fc.boolean(),
  recursionAvailable: fc.boolean(),
  authenticData: fc.boolean(),
  checkingDisabled: fc.boolean(),
  rcode: fc.nat(4095),
  questions: fc.array(fc.record({ name, type: uint16.map(recordTypeName), class: uint16 }), { maxLength: 2 }),
  answers: fc.array(anyRecord, { maxLength: 6 }),
  authority: fc.array(anyRecord, { maxLength: 3 }),
  additional: fc.array(anyRecord, { maxLength: 3 }),
  edns: fc.record({
    udpBytes: uint16,
    version: fc.nat(255),
    dnssecOk: fc.boolean(),
    options: fc.array(fc.record({ code: uint16, bytes: fc.uint8Array({ maxLength: 20 }) }), { maxLength: 3 }),
  }),
});

await test("property: parse(build(m)) is m", () => {
  fc.assert(
    fc.property(message, (m) => assert.deepEqual(parseMessage(buildMessage(m)), structuredClone(m))),
    { numRuns: 300 },
  );
});

await test("property: names of any bytes survive", () => {
  fc.assert(
    fc.property(fc.array(label, { minLength: 1, maxLength: 4 }), (labels) => {
      const sent = buildQuery({ id: 0, name: labels.join("."), type: "A" });
      const read = parseMessage(sent).questions[0]?.name ?? "";
      assert.deepEqual(buildQuery({ id: 0, name: read, type: "A" }), sent);
    }),
  );
});

await test("fuzz: any bytes give a message or a DnsFormatError", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 600 }), (bytes) => {
      onlyFormatErrors(bytes);
    }),
    { numRuns: 2000 },
  );
});

await test("fuzz: messages with bytes changed or cut", () => {
  fc.assert(
    fc.property(
      message,
      fc.array(fc.tuple(fc.nat(400), fc.nat(255)), { maxLength: 4 }),
      fc.nat(600),
      (m, changes, cut) => {
        const bytes = buildMessage(m);
        for (const [at, byte] of changes) if (at < bytes.length) bytes[at] = byte;
        onlyFormatErrors(bytes);
        onlyFormatErrors(bytes.subarray(0, cut));
      },
    ),
    { numRuns: 500 },
  );
});

function onlyFormatErrors(bytes: Uint8Array): void {
  try {
    parseMessage(bytes);
  } catch (error) {
    assert.ok(error instanceof DnsFormatError, String(error));
  }
}

await test("an rcode over 15 needs EDNS", () => {
  assert.throws(() => buildMessage({ ...emptyMessage, rcode: rcodes.BADVERS }), DnsFormatError);
});

await test("bytes behind the message are refused", () => {
  const bytes = buildQuery({ id: 1, name: "a.example", type: "A" });
  assert.throws(() => parseMessage(Uint8Array.of(...bytes, 0)), /bytes follow the message/);
});
