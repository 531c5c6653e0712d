import assert from "node:assert/strict";
import { test } from "node:test";

import fc from "fast-check";

import { formatRecordData, recordTypeName, typeOfData, type DnsRecord } from "./record.ts";
import { parseZoneFile, ZoneFileError } from "./zone-file.ts";

const records = (text: string, files: Readonly<Record<string, string>> = {}): DnsRecord[] =>
  parseZoneFile(text, { file: "/zones/db.example", origin: "example.org", read: (path) => files[path] });
const lines = (text: string, files?: Readonly<Record<string, string>>): string[] =>
  records(text, files).map(
    ({ name, ttl, data }) => `${name} ${ttl} ${recordTypeName(typeOfData(data))} ${formatRecordData(data)}`,
  );
const soa = "@ 60 SOA ns hm 1 2 3 4 5\n";

await test("names: relative, absolute, @, left out, with odd bytes", () => {
  assert.deepEqual(
    lines(`$TTL 60
a A 192.0.2.1
  A 192.0.2.2
; only a comment
@ NS a
WWW.Example.ORG. CNAME B.example.net.
$ORIGIN sub
@ MX 1 x ; a comment
.  NS .
$ORIGIN .
b. PTR c
esc\\.aped.d TXT x
\\101\\.b.d TXT y
käse.d TXT ü
`),
    [
      "a.example.org 60 A 192.0.2.1",
      "a.example.org 60 A 192.0.2.2",
      "example.org 60 NS a.example.org.",
      "www.example.org 60 CNAME B.example.net.",
      "sub.example.org 60 MX 1 x.sub.example.org.",
      ". 60 NS .",
      "b 60 PTR c.",
      'esc\\.aped.d 60 TXT "x"',
      'e\\.b.d 60 TXT "y"',
      'k\\195\\164se.d 60 TXT "\\195\\188"',
    ],
  );
});

await test("TTLs: stated, by $TTL, the one before, the SOA's", () => {
  assert.deepEqual(
    lines(
      "@ SOA ns hm 1 2 3 4 1h\na A 192.0.2.1\nb IN 1h30m A 192.0.2.1\nc A 192.0.2.1\n$TTL 1w2d\nd A 192.0.2.1\ne 5 CLASS1 A 192.0.2.1\n",
    ).map((line) => line.split(" ").slice(0, 2).join(" ")),
    [
      "example.org 3600",
      "a.example.org 3600",
      "b.example.org 5400",
      "c.example.org 5400",
      "d.example.org 777600",
      "e.example.org 5",
    ],
  );
});

await test("parentheses, quotes and included files", () => {
  const files = { "/zones/inc/a": "@ A 192.0.2.1\n$INCLUDE b\n A 192.0.2.3\n", "/zones/inc/b": "b A 192.0.2.2\n" };
  assert.deepEqual(
    lines(
      `\uFEFF$TTL 60\r\n@ SOA ns hm ( 1 ; serial )\r\n 2 3\n 4 5 )\nt TXT "a ( b ; c" "two\nlines" d\n$INCLUDE inc/a sub\n A 192.0.2.4\nz A 192.0.2.5`,
      files,
    ).slice(1),
    [
      't.example.org 60 TXT "a ( b ; c" "two\\010lines" "d"',
      "sub.example.org 60 A 192.0.2.1",
      "b.sub.example.org 60 A 192.0.2.2",
      "sub.example.org 60 A 192.0.2.3",
      "t.example.org 60 A 192.0.2.4",
      "z.example.org 60 A 192.0.2.5",
    ],
  );
});

await test("what is no zone file says where and why", () => {
  for (const [text, why] of [
    ["a A 192.0.2.1", "1: no TTL: write $TTL before it, or a TTL behind the record's name"],
    [`${soa}\na A 192.0.2.300`, '3: A record: "192.0.2.300" is no IPv4 address'],
    [`${soa}a A`, "2: A record: its data ends too early"],
    [`${soa}a A 192.0.2.1 x`, '2: A record: what is "x"?'],
    [`${soa}a WHAT 1`, '2: "WHAT" is no TTL, class or record type'],
    [`${soa}a CH TXT x`, "2: class CH: only records of class IN are served"],
    [`${soa}a 99999999999 A 192.0.2.1`, '2: "99999999999" is no TTL, such as 3600 or 1h'],
    [`${soa}a TXT "x`, '2: a `"` without its end'],
    [`${soa}a SOA ( x\n\n`, "2: a `(` without its `)`"],
    [`${soa}a A 192.0.2.1 )`, "2: a `)` without its `(`"],
    [" A 192.0.2.1", "1: a record without a name, and none before it"],
    ["$GENERATE 1-3 a A 192.0.2.$", "1: unknown directive $GENERATE; known are $ORIGIN, $TTL, $INCLUDE"],
    ["$ORIGIN a..b", '1: empty label in name "a..b" (at byte 2)'],
    ["$ORIGIN \\", '1: bad escape in name "\\\\" (at byte 0)'],
    ["$INCLUDE nothing", "1: $INCLUDE: there is no file /zones/nothing"],
    ["$INCLUDE db.example", "1: $INCLUDE db.example: more than 7 files inside one another"],
    [`${soa}a..b A 192.0.2.1`, '2: empty label in name "a..b" (at byte 2)'],
    [`${soa}a MX x 1`, '2: MX record: "x" is no number from 0 to 65535'],
    [`${soa}a DS 1 8 2 xy`, '2: DS record: "xy" is not hexadecimal'],
    [`${soa}a TYPE1 \\# 3 010203`, "2: TYPE1 record: an A record has 3 bytes (at byte 0)"],
    [`${soa}a TYPE65280 \\# 2 010203`, "2: TYPE65280 record: \\# announces 2 bytes and has 3"],
    [`${soa}a AXFR \\# 0`, "2: AXFR is no type of data"],
  ] as const) {
    const files = { "/zones/db.example": text };
    assert.throws(
      () => records(text, files),
      (error) => error instanceof ZoneFileError && error.message === `/zones/db.example:${why}`,
      `${text}: ${messageOf(() => records(text, files))}`,
    );
  }
});

await test("any text is records or a ZoneFileError, and records come back from their own text", () => {
  const word = fc.oneof(
    fc.constantFrom("@", "a", "b.c.", "$TTL", "$ORIGIN", "$INCLUDE", "60", "IN", "A", "TXT", "SOA", "MX", "HTTPS"),
    fc.constantFrom("(", ")", '"', ";", "\n", "\n ", "\\", "\\#", "192.0.2.1", "NSEC", "1h", "x=", "port=1", "RRSIG"),
    fc.string({ maxLength: 4 }),
  );
  const text = fc.array(word, { maxLength: 40 }).map((words) => `${soa}${words.join(" ")}`);
  fc.assert(
    fc.property(text, (zone) => {
      let read: DnsRecord[];
      try {
        read = records(zone);
      } catch (error) {
        assert.ok(error instanceof ZoneFileError, String(error));
        return;
      }
      const again = read.map(({ name, ttl, data }) => {
        const type = recordTypeName(typeOfData(data));
        return `${name === "." ? "" : name}. ${ttl} IN ${type} ${formatRecordData(data)}`;
      });
      assert.deepEqual(records(again.join("\n")), read);
    }),
    { numRuns: 3000 },
  );
});

function messageOf(run: () => unknown): string {
  try {
    run();
    return "no error";
  } catch (error) {
    return String(error);
  }
}
