import assert from "node:assert/strict";
import { test } from "node:test";

import fc from "fast-check";

import { formatRecordData, recordTypeName, typeOfData } from "./record.ts";
import { parseRecord } from "./record-text.ts";

await test("records as zone files have them, and back", () => {
  for (const [text, name, ttl, type, data] of [
    ["a.test. 60 IN A 10.0.0.1", "a.test", 60, "A", "10.0.0.1"],
    ["a.test IN 60 AAAA 2001:db8::1", "a.test", 60, "AAAA", "2001:db8::1"],
    ["a.test. CNAME b.test.", "a.test", 3600, "CNAME", "b.test."],
    [". 5 IN NS a.root.", ".", 5, "NS", "a.root."],
    ["1.0.0.127.in-addr.arpa. PTR localhost.", "1.0.0.127.in-addr.arpa", 3600, "PTR", "localhost."],
    ["a.test. 1 MX 10 mail.test.", "a.test", 1, "MX", "10 mail.test."],
    ['a.test. 0 IN TXT "two words" one "a \\" quote"', "a.test", 0, "TXT", '"two words" "one" "a \\" quote"'],
    ["_x._tcp.a.test. SRV 0 50 443 a.test.", "_x._tcp.a.test", 3600, "SRV", "0 50 443 a.test."],
    ["a. 60 IN SOA ns.a. admin.a. (1 2 3 4 5)", "a", 60, "SOA", "ns.a. admin.a. 1 2 3 4 5"],
    // As CoreDNS: longer text goes on in another string.
    [`a. TXT ${"x".repeat(256)}`, "a", 3600, "TXT", `"${"x".repeat(255)}" "x"`],
    ["a. 60 IN TYPE65280 \\# 3 010203", "a", 60, "TYPE65280", "\\# 3 010203"],
  ] as const) {
    const record = parseRecord(text);
    assert.ok(record !== undefined, text);
    const read = [record.name, record.ttl, recordTypeName(typeOfData(record.data)), formatRecordData(record.data)];
    assert.deepEqual(read, [name, ttl, type, data]);
  }
});

await test("what is no record is none", () => {
  for (const text of [
    "",
    "a.test.",
    "a.test. 60 IN",
    "a.test. 60 IN A 10.0.0.256",
    "a.test. 60 IN A ::1",
    "a.test. 60 IN A 10.0.0.1 10.0.0.2",
    "a.test. 60 IN AAAA 10.0.0.1",
    "a..test. 60 IN A 10.0.0.1",
    "a.test. 9999999999 IN A 10.0.0.1",
    "a.test. MX ten mail.test.",
    "a.test. SRV 0 65536 1 b.",
    "a. SOA ns.a. admin.a. 1 2 3 4",
    "a. TXT",
    "a. TYPE65280 \\# 2 010203",
    "a. WHAT 1",
  ])
    assert.equal(parseRecord(text), undefined, text);
  fc.assert(fc.property(fc.string(), (text) => void parseRecord(text)));
});
