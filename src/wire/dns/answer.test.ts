import assert from "node:assert/strict";
import { test } from "node:test";

import * as fc from "fast-check";

import { boundTtls, finishAnswer, finishResponse, udpLimit, writeAnswer, writeRcode, writeRefusal } from "./answer.ts";
import { DnsFormatError } from "./format-error.ts";
import { buildMessage, buildQuery, emptyMessage, parseMessage, rcodes, type DnsMessage } from "./message.ts";
import { readQuery, type Query } from "./query.ts";
import { classIn, type DnsRecord } from "./record.ts";

const name = "db.production.svc.cluster.local";

const address = (host: number, owner = name): DnsRecord => ({
  name: owner,
  class: classIn,
  ttl: 5,
  data: { kind: "A", address: `10.244.${host >> 8}.${host & 255}` },
});

const soa: DnsRecord = {
  name: "cluster.local",
  class: classIn,
  ttl: 60,
  data: {
    kind: "SOA",
    primary: "ns.dns.cluster.local",
    mailbox: "hostmaster.cluster.local",
    serial: 1,
    refresh: 7200,
    retry: 1800,
    expire: 86_400,
    minimum: 5,
  },
};

function query(bytes: Uint8Array): Query {
  const read = readQuery(bytes);
  assert.ok(read.kind === "query");
  return read;
}

function respond(
  asked: Uint8Array,
  records: readonly DnsRecord[],
  options: { turn?: number; limit?: number } = {},
): DnsMessage {
  const read = query(asked);
  const answer = finishAnswer({ name, type: 1, rcode: 0, authoritative: true, answers: records });
  const out = new Uint8Array(65_535);
  const length = writeAnswer(out, asked, read, answer, {
    limit: options.limit ?? udpLimit(read),
    turn: options.turn ?? 0,
  });
  return parseMessage(out.subarray(0, length));
}

const addressesOf = (message: DnsMessage): string[] =>
  message.answers.map(({ data }) => (data.kind === "A" ? data.address : data.kind));

await test("a response has the query's id, question as spelled, and RD; owner names follow the spelling", () => {
  const asked = buildQuery({ id: 77, name: "DB.production.SVC.cluster.local", type: "A", udpBytes: 1232 });
  const response = respond(asked, [address(1)]);
  assert.deepEqual(response, {
    ...emptyMessage,
    id: 77,
    response: true,
    authoritative: true,
    recursionDesired: true,
    recursionAvailable: true,
    questions: [{ name: "DB.production.SVC.cluster.local", type: "A", class: classIn }],
    answers: [address(1, "DB.production.SVC.cluster.local")],
    edns: { udpBytes: 1232, version: 0, dnssecOk: false, options: [] },
  });
});

await test("every address gets its turn at the front", () => {
  const asked = buildQuery({ id: 1, name, type: "A" });
  const three = [address(1), address(2), address(3)];
  const firsts = [0, 1, 2, 3].map((turn) => addressesOf(respond(asked, three, { turn })));
  assert.deepEqual(firsts, [
    ["10.244.0.1", "10.244.0.2", "10.244.0.3"],
    ["10.244.0.2", "10.244.0.3", "10.244.0.1"],
    ["10.244.0.3", "10.244.0.1", "10.244.0.2"],
    ["10.244.0.1", "10.244.0.2", "10.244.0.3"],
  ]);
});

await test("behind a CNAME the addresses still take turns, the CNAME stays first", () => {
  const alias: DnsRecord = { name, class: classIn, ttl: 5, data: { kind: "CNAME", target: "x.example" } };
  const asked = buildQuery({ id: 1, name, type: "A" });
  const response = respond(asked, [alias, address(1, "x.example"), address(2, "x.example")], { turn: 1 });
  assert.deepEqual(addressesOf(response), ["CNAME", "10.244.0.2", "10.244.0.1"]);
});

await test("what does not fit is left out whole, with TC, and all addresses take turns in what is sent", () => {
  const asked = buildQuery({ id: 1, name, type: "A" });
  const many = Array.from({ length: 100 }, (_, host) => address(host));
  const seen = new Set<string>();
  for (let turn = 0; turn < 100; turn++) {
    const response = respond(asked, many, { turn });
    assert.equal(response.truncated, true);
    assert.equal(response.answers.length, Math.floor((512 - 12 - 33 - 4) / 16));
    addressesOf(response).forEach((each) => seen.add(each));
  }
  assert.equal(seen.size, 100);
  assert.equal(respond(asked, many, { limit: 65_535 }).answers.length, 100);
});

await test("EDNS says how much fits: 512 at least, 1232 at most", () => {
  const limitOf = (udpBytes?: number): number =>
    udpLimit(query(buildQuery({ id: 1, name, type: "A", ...(udpBytes === undefined ? {} : { udpBytes }) })));
  assert.deepEqual([limitOf(), limitOf(100), limitOf(900), limitOf(4096)], [512, 512, 900, 1232]);
});

await test("additional records are left out without TC", () => {
  const asked = buildQuery({ id: 1, name, type: "A" });
  const answer = finishAnswer({
    name,
    type: 1,
    rcode: 0,
    authoritative: true,
    answers: [address(1)],
    additional: Array.from({ length: 60 }, (_, host) => address(host, `h${host}.example`)),
  });
  const out = new Uint8Array(512);
  const response = parseMessage(
    out.subarray(0, writeAnswer(out, asked, query(asked), answer, { limit: 512, turn: 0 })),
  );
  assert.equal(response.truncated, false);
  assert.equal(response.answers.length, 1);
  assert.ok(response.additional.length > 5);
});

await test("a cached answer's TTLs are lower by its age", () => {
  const asked = buildQuery({ id: 1, name, type: "A", udpBytes: 1232 });
  const answer = finishAnswer({
    name,
    type: 1,
    rcode: 3,
    authoritative: false,
    answers: [address(1)],
    authority: [soa],
  });
  const out = new Uint8Array(512);
  const length = writeAnswer(out, asked, query(asked), answer, { limit: 512, turn: 0, age: 7 });
  const response = parseMessage(out.subarray(0, length));
  assert.deepEqual([response.answers[0]?.ttl, response.authority[0]?.ttl], [0, 53]);
});

await test("an rcode without records; BADVERS needs its high bits in OPT", () => {
  const asked = buildQuery({ id: 5, name, type: "A", udpBytes: 1232 });
  const out = new Uint8Array(512);
  const response = parseMessage(out.subarray(0, writeRcode(out, asked, query(asked), rcodes.BADVERS)));
  assert.deepEqual([response.id, response.rcode, response.questions[0]?.name], [5, 16, name]);
});

await test("queries that are none: silence or twelve bytes", () => {
  const good = buildQuery({ id: 5, name, type: "A" });
  const changed = (at: number, byte: number): Uint8Array => good.map((old, index) => (index === at ? byte : old));
  const rcodeOf = (bytes: Uint8Array): number | string => {
    const read = readQuery(bytes);
    if (read.kind !== "refusal") return read.kind;
    const out = new Uint8Array(64).fill(255);
    return parseMessage(out.subarray(0, writeRefusal(out, read))).rcode;
  };
  assert.equal(rcodeOf(good), "query");
  assert.equal(rcodeOf(good.subarray(0, 11)), "silence");
  assert.equal(rcodeOf(changed(2, 0x81)), "silence");
  assert.equal(rcodeOf(changed(2, 0x29)), rcodes.NOTIMP);
  assert.equal(rcodeOf(changed(5, 2)), rcodes.FORMERR);
  assert.equal(rcodeOf(changed(7, 1)), rcodes.FORMERR);
  assert.equal(rcodeOf(changed(11, 1)), rcodes.FORMERR);
  assert.equal(rcodeOf(changed(12, 0xc0)), rcodes.FORMERR);
  assert.equal(rcodeOf(good.subarray(0, 20)), rcodes.FORMERR);
  assert.equal(rcodeOf(Uint8Array.of(...good, 1)), rcodes.FORMERR);
});

await test("fuzz: readQuery agrees with parseMessage on what a query is", () => {
  const asked = buildQuery({ id: 5, name: "aB.c", type: "AAAA", udpBytes: 900 });
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(asked.length - 1), fc.nat(255)), { maxLength: 5 }), (changes) => {
      const bytes = asked.slice();
      for (const [at, byte] of changes) bytes[at] = byte;
      const read = readQuery(bytes);
      if (read.kind !== "query") return;
      // Where we answer, the message is one (an OPT record's inside is not ours to judge).
      const parsed = tryParse(bytes);
      if (parsed === undefined) return;
      assert.equal(parsed.questions[0]?.name.toLowerCase(), read.name);
      assert.equal(parsed.edns?.udpBytes, read.edns?.udpBytes);
    }),
    { numRuns: 2000 },
  );
});

function tryParse(bytes: Uint8Array): DnsMessage | undefined {
  try {
    return parseMessage(bytes);
  } catch (error) {
    assert.ok(error instanceof DnsFormatError);
    return undefined;
  }
}

const upstream = (parts: Partial<DnsMessage>): Uint8Array =>
  buildMessage({
    ...emptyMessage,
    response: true,
    recursionAvailable: true,
    questions: [{ name, type: "A", class: classIn }],
    edns: { udpBytes: 4096, version: 0, dnssecOk: false, options: [] },
    ...parts,
  });

await test("an upstream's response becomes a finished answer, its OPT record left out", () => {
  const { answer, seconds } = finishResponse(upstream({ answers: [address(1), { ...address(2), ttl: 3 }] }));
  assert.equal(seconds, 3);
  const asked = buildQuery({ id: 9, name, type: "A" });
  const out = new Uint8Array(512);
  const response = parseMessage(
    out.subarray(0, writeAnswer(out, asked, query(asked), answer, { limit: 512, turn: 0 })),
  );
  assert.deepEqual(addressesOf(response), ["10.244.0.1", "10.244.0.2"]);
  assert.equal(response.authoritative, false);
  assert.equal(response.edns, undefined);
});

await test("TTLs within bounds, in every section", () => {
  const { answer } = finishResponse(
    upstream({
      answers: [
        { ...address(1), ttl: 3600 },
        { ...address(2), ttl: 20 },
      ],
      authority: [{ ...soa, ttl: 1 }],
    }),
  );
  const asked = buildQuery({ id: 9, name, type: "A" });
  const ttls = (of: typeof answer): number[] => {
    const out = new Uint8Array(512);
    const length = writeAnswer(out, asked, query(asked), of, { limit: 512, turn: 0 });
    const { answers, authority } = parseMessage(out.subarray(0, length));
    return [...answers, ...authority].map(({ ttl }) => ttl);
  };
  assert.deepEqual(ttls(boundTtls(answer, { min: 5, max: 30 })), [30, 20, 5]);
  assert.deepEqual(ttls(answer), [3600, 20, 1], "the first stays as it was");
});

await test("how long an upstream's response may be kept", () => {
  const secondsOf = (parts: Partial<DnsMessage>): number | undefined => finishResponse(upstream(parts)).seconds;
  // RFC 2308 5: the lower of the SOA's TTL and its minimum.
  assert.equal(secondsOf({ rcode: rcodes.NXDOMAIN, authority: [soa] }), 5);
  assert.equal(secondsOf({ authority: [soa] }), 5);
  assert.equal(secondsOf({ rcode: rcodes.NXDOMAIN }), undefined);
  assert.equal(secondsOf({ rcode: rcodes.SERVFAIL }), undefined);
  assert.equal(secondsOf({ truncated: true, answers: [address(1)] }), undefined);
});

await test("fuzz: any response gives an answer or a DnsFormatError", () => {
  const bytes = upstream({ answers: [address(1)], authority: [soa] });
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(bytes.length - 1), fc.nat(255)), { maxLength: 6 }),
      fc.nat(300),
      (changes, cut) => {
        const changed = bytes.slice(0, Math.max(cut, 12));
        for (const [at, byte] of changes) if (at >= 12 && at < changed.length) changed[at] = byte;
        try {
          const { answer } = finishResponse(changed);
          assert.ok(answer.bytes.length <= changed.length);
        } catch (error) {
          assert.ok(error instanceof DnsFormatError, String(error));
        }
      },
    ),
    { numRuns: 1000 },
  );
});
