import assert from "node:assert/strict";
import { test } from "node:test";

import * as fc from "fast-check";

import { arbitraryTable } from "./arbitrary.testing.ts";
import { formatElement, formatRule, formatTable } from "./format.ts";
import { parseRuleset, parseTable } from "./parse.ts";
import { NftSyntaxError } from "./parse-tokens.ts";
import { bridgeSample, inetSample, sampleOrigin, samples } from "./samples.testing.ts";

void test("what is written is read back", () => {
  for (const table of samples) assert.deepEqual(parseTable(formatTable(table), sampleOrigin), table);
  fc.assert(
    fc.property(arbitraryTable(), (table) => {
      assert.deepEqual(parseTable(formatTable(table), sampleOrigin), table);
    }),
    { numRuns: 100 },
  );
});

void test("several tables, with the objects behind their entries as comments", () => {
  const text = samples
    .map((table) => formatTable(table, { annotate: ({ kind, name }) => `${kind}\n${name}` }))
    .join("\n");
  assert.match(text, /\.1 \. tcp \. 443 : goto pick-1, {2}# Test sample\n/);
  assert.deepEqual(parseRuleset(text, sampleOrigin), samples);
});

void test("rules and elements as nft writes them", () => {
  const rules = inetSample.chains.flatMap((chain) => chain.rules.map((rule) => formatRule(inetSample, rule)));
  for (const expected of [
    'ip daddr . meta l4proto . th dport vmap @services4 comment "by address"',
    "dnat ip to ip daddr . meta l4proto . th dport . numgen random mod 3 map @backends4",
    "meta l4proto tcp dnat ip6 to [fd00::1]:80",
    "meta mark set ip saddr . ip daddr . meta l4proto . th dport map @affinity goto by-mark",
    "meta mark set numgen random mod 3 update @affinity { ip saddr . ip daddr . meta l4proto . th dport timeout 600s : meta mark }",
    "meta mark & 0x4000 == 0x4000 masquerade fully-random",
    "ct state established,related accept",
    "ct state ! new,untracked accept",
    'limit rate 3/second burst 20 packets log prefix "x" group 0 snaplen 128 drop comment "what fell through"',
    'iifname "flp*" oifname != "eth0" accept',
    "tcp flags syn / fin,syn,rst,ack accept",
    "icmpv6 type nd-neighbor-advert @th,64,128 0xfd000000000000000000000000000001 accept",
    "reject with icmpx admin-prohibited",
  ])
    assert.ok(rules.includes(expected), expected);
  const owners = bridgeSample.sets[0]!;
  assert.equal(
    formatElement(owners, owners.elements[0]!),
    '"flp0a1b" . 0a:58:0a:f4:01:05 . 10.244.1.5 comment "production/frontend"',
  );
});

void test("what nft lists in other words is the same table", () => {
  const listed = `table inet t {
	set s {
		type mark
		size 100
		flags dynamic,timeout
		timeout 1d2h3m4s
	}
	set c {
		type inet_proto . mark
		counter
		elements = { tcp . 0x00000001 counter packets 3 bytes 180 comment "x",
			     ipv6-icmp . 0xdeadbeef counter packets 0 bytes 0 }
	}
	chain c {
		type filter hook input priority filter + 5; policy drop;
		meta iifname "lo" counter packets 1 bytes 84 accept
		reject
	}
}
`;
  const table = parseTable(listed, sampleOrigin);
  assert.deepEqual(table.sets[0]?.timeoutSeconds, 86400 + 2 * 3600 + 3 * 60 + 4);
  assert.deepEqual(
    table.sets[1]?.elements.map(({ key }) => key),
    [
      ["tcp", "0x1"],
      ["icmpv6", "0xdeadbeef"],
    ],
  );
  assert.deepEqual(table.chains[0]?.base, { type: "filter", hook: "input", priority: 5, policy: "drop" });
  assert.deepEqual(
    table.chains[0]?.rules.map((rule) => formatRule(table, rule)),
    ['iifname "lo" counter accept', "reject with icmpx port-unreachable"],
  );
});

void test("errors name the line", () => {
  const refused: readonly (readonly [string, RegExp])[] = [
    ["table inet t {\n\tchain c {\n\t\tip saddr 1.2.3.4 frob\n\t}\n}\n", /line 3: frob where a field is expected/],
    ["table inet t {\n\tset s {\n\t\telements = { 1 }\n\t}\n}\n", /line 3: elements before the set's type/],
    ['table inet t {\n\tchain "c\n}', /line 2: a quotation mark without its other/],
    ["table inet t {\n", /line 1: the end where chain or set or map is expected/],
    ["chain c {}", /line 1: chain where table is expected/],
  ];
  for (const [text, message] of refused)
    assert.throws(() => parseTable(text, sampleOrigin), { name: "NftSyntaxError", message });
});

void test("a block without its end, or with text in quotation marks where an entry should be, is refused", () => {
  for (const block of [
    "chain c",
    "chain c {",
    "chain c { accept",
    "chain c { }",
    'chain c { "x" } }',
    "set s { type mark",
    "",
  ])
    assert.throws(() => parseTable(`table ip t { ${block}`, sampleOrigin), NftSyntaxError, block);
});

void test("any text gives a table or an NftSyntaxError", () => {
  const words = fc.constantFrom(
    ...'table inet t { } chain set map type flags elements = : . , ; ip saddr mark 0x1 set numgen random mod 3 @s vmap dnat to " \n # comment'.split(
      " ",
    ),
  );
  const cut = fc
    .tuple(fc.constantFrom(...samples.map((table) => formatTable(table))), fc.nat(), fc.nat(8), fc.string())
    .map(([text, at, length, put]) => {
      const start = at % text.length;
      return text.slice(0, start) + put + text.slice(start + length);
    });
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.array(words).map((list) => list.join(" ")),
        cut,
      ),
      (text) => {
        try {
          parseTable(text, sampleOrigin);
        } catch (error) {
          assert.ok(error instanceof NftSyntaxError, String(error));
        }
      },
    ),
    { numRuns: 500 },
  );
});
