// Plugins that need no cluster, and messages that are odd: this server and the real CoreDNS give the same, but for the differences that are
// told here one by one, each with its reason.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { buildMessage, emptyMessage, type DnsMessage } from "../../src/wire/dns/message.ts";
import type { RecordType } from "../../src/wire/dns/record.ts";
import { corednsMissing, createClient, essence, freePorts, startCoredns, startOwn } from "./coredns.testing.ts";

interface Case {
  readonly label: string;
  readonly corefile: string;
  /** `NAME TYPE`, or a message. */
  readonly questions: readonly (string | Odd)[];
  /** Questions that are answered otherwise here: CoreDNS's answer, ours, why. */
  readonly differences?: Readonly<Record<string, readonly [theirs: string, ours: string, why: string]>>;
}

/** Silence is told from slowness by so much. */
const patienceMs = 1500;

interface Odd {
  readonly label: string;
  readonly bytes: Uint8Array;
}

const message = (change: Partial<DnsMessage>): Uint8Array =>
  buildMessage({
    ...emptyMessage,
    recursionDesired: true,
    questions: [{ name: "api.example.org", type: "A", class: 1 }],
    ...change,
  });
const odd = (label: string, change: Partial<DnsMessage>, patch?: (bytes: Uint8Array) => void): Odd => {
  const bytes = message(change);
  patch?.(bytes);
  return { label, bytes };
};
const edns = (udpBytes: number, more: Partial<NonNullable<DnsMessage["edns"]>> = {}): Partial<DnsMessage> => ({
  edns: { udpBytes, version: 0, dnssecOk: false, options: [], ...more },
});

const types: readonly RecordType[] = ["A", "AAAA", "TXT", "SOA", "NS", "PTR", "SRV", "MX", "CNAME", "ANY", "HTTPS"];
const each = (...names: readonly string[]): string[] => names.flatMap((name) => types.map((type) => `${name} ${type}`));

const hosts =
  "hosts {\n 192.0.2.1 api.example.org\n 2001:db8::1 api.example.org\n 192.0.2.2 db.example.org\n fallthrough\n }";

const cases: readonly Case[] = [
  {
    label: "local",
    corefile: `local\n ${hosts}`,
    questions: each(
      "localhost",
      "LocalHost",
      "a.localhost",
      "localhost.example.org",
      "api.example.org",
      "127.in-addr.arpa",
      "1.0.0.127.in-addr.arpa",
      "2.0.0.127.in-addr.arpa",
      "0.in-addr.arpa",
      "255.in-addr.arpa",
      "x.255.in-addr.arpa",
    ),
  },
  {
    label: "local without its prefix",
    corefile: `local {\n localhost_prefix off\n }\n ${hosts}`,
    questions: ["localhost A", "localhost.example.org A", "a.localhost AAAA"],
  },
  { label: "any", corefile: `any\n ${hosts}`, questions: each("api.example.org") },
  {
    label: "chaos",
    corefile: `chaos v1 Somebody\n ${hosts}`,
    questions: [
      ...[
        "version.bind",
        "version.server",
        "authors.bind",
        "hostname.bind",
        "id.server",
        "VERSION.bind",
        "other.bind",
      ].map((name) => odd(`CH TXT ${name}`, { questions: [{ name, type: "TXT", class: 3 }] })),
      odd("CH A version.bind", { questions: [{ name: "version.bind", type: "A", class: 3 }] }),
      "version.bind TXT",
      "api.example.org A",
    ],
  },
  {
    label: "acl",
    corefile: `acl secret.example.org {\n allow type AAAA net 127.0.0.1\n block net 127.0.0.0/8\n }\n acl a.example.org {\n filter type A\n block type TXT MX\n }\n acl dropped.example.org {\n allow net 192.0.2.0/24\n drop type A net *\n }\n acl {\n allow net 127.0.0.1\n block\n }\n ${hosts}`,
    questions: [
      ...each("secret.example.org", "x.secret.example.org", "a.example.org", "api.example.org"),
      "dropped.example.org A",
      "dropped.example.org AAAA",
    ],
  },
  {
    label: "template",
    corefile: `template IN A ip.example.org {
    match "^ip0a(?P<b>[a-f0-9]{2})(?P<c>[a-f0-9]{2})(?P<d>[a-f0-9]{2})[.]ip[.]example[.]org[.]$"
    answer "{{ .Name }} 60 IN A 10.{{ parseInt .Group.b 16 8 }}.{{ parseInt .Group.c 16 8 }}.{{parseInt .Group.d 16 8}}"
    fallthrough
  }
  template IN A example.org {
    match (^|[.])ip-(?P<a>[0-9]*)-(?P<b>[0-9]*)-(?P<c>[0-9]*)-(?P<d>[0-9]*)[.]example[.]org[.]$
    answer "{{ .Name }} 60 IN A {{ .Group.a }}.{{ .Group.b }}.{{ .Group.c }}.{{ .Group.d }}"
    fallthrough
  }
  template IN PTR 2.0.192.in-addr.arpa {
    match ^(?P<d>[0-9]*)[.]2[.]0[.]192[.]in-addr[.]arpa[.]$
    answer "{{ .Name }} 60 IN PTR ip-192-0-2-{{ .Group.d }}.example.org."
  }
  template ANY ANY invalid {
    rcode NXDOMAIN
    authority "invalid. 60 {{ .Class }} SOA ns.invalid. hostmaster.invalid. (1 60 60 60 60)"
  }
  template IN ANY refused.example.org {
    rcode REFUSED
  }
  template IN AAAA example.org {
    match nothing[.]example
  }
  template IN ANY index.example.org {
    match "(.*)\\.(index\\.example\\.org\\.)$"
    answer "{{ .Name }} 60 IN CNAME {{ index .Match 1 }}.example.org."
    additional "{{ index .Match 2 }} 60 IN TXT \\"{{ .Type }} of {{ .Remote }}\\""
  }
  ${hosts}`,
    questions: [
      "ip0a0b0c0d.ip.example.org A",
      "IP0a0b0c0d.ip.example.org A",
      "ipx.ip.example.org A",
      "ip-10-1-2-3.example.org A",
      "x.ip-10-1-2-3.example.org A",
      "ip-10-1-2-3.example.org AAAA",
      "ip-10-1-2-300.example.org A",
      "7.2.0.192.in-addr.arpa PTR",
      "x.2.0.192.in-addr.arpa PTR",
      ...each("a.invalid", "invalid", "refused.example.org", "x.index.example.org", "api.index.example.org"),
      "api.example.org A",
      "api.example.org AAAA",
    ],
  },
  {
    label: "rewrite, and hosts in each way",
    corefile: `rewrite name exact old.example.org api.example.org
  rewrite name suffix .prod.test. .example.org. answer auto
  rewrite name regex (.*)-old\\.example\\.org {1}.example.org
  ${hosts}`,
    questions: each(
      "old.example.org",
      "api.prod.test",
      "db.prod.test",
      "db-old.example.org",
      "none.prod.test",
      "db.example.org",
    ),
  },
  {
    label: "messages that are odd",
    corefile: hosts,
    questions: [
      odd("no EDNS", {}),
      odd("no recursion desired", { recursionDesired: false }),
      odd("CD", { checkingDisabled: true }),
      odd("AD", { authenticData: true }),
      odd("EDNS of 0 bytes", edns(0)),
      odd("EDNS of 512 bytes", edns(512)),
      odd("EDNS of 65535 bytes", edns(65_535)),
      odd("DO", edns(1232, { dnssecOk: true })),
      odd("EDNS version 1", edns(1232, { version: 1 })),
      odd("an unknown EDNS option", edns(1232, { options: [{ code: 65_001, bytes: Uint8Array.of(1, 2, 3) }] })),
      odd("a client cookie", edns(1232, { options: [{ code: 10, bytes: new Uint8Array(8) }] })),
      odd("an NSID question", edns(1232, { options: [{ code: 3, bytes: new Uint8Array() }] })),
      odd("a client subnet", edns(1232, { options: [{ code: 8, bytes: Uint8Array.of(0, 1, 24, 0, 192, 0, 2) }] })),
      odd("padding", edns(1232, { options: [{ code: 12, bytes: new Uint8Array(64) }] })),
      odd("a response", { response: true }),
      ...[1, 2, 4, 5, 6, 15].map((opcode) => odd(`opcode ${opcode}`, { opcode })),
      odd("no question", { questions: [] }),
      odd("two questions", {
        questions: [
          { name: "api.example.org", type: "A", class: 1 },
          { name: "db.example.org", type: "A", class: 1 },
        ],
      }),
      odd("an answer in a query", {
        answers: [{ name: "x.example.org", class: 1, ttl: 1, data: { kind: "A", address: "192.0.2.9" } }],
      }),
      odd("class CHAOS", { questions: [{ name: "version.bind", type: "TXT", class: 3 }] }),
      odd("class HESIOD", { questions: [{ name: "api.example.org", type: "A", class: 4 }] }),
      odd("class NONE", { questions: [{ name: "api.example.org", type: "A", class: 254 }] }),
      odd("class ANY", { questions: [{ name: "api.example.org", type: "A", class: 255 }] }),
      odd("AXFR", { questions: [{ name: "example.org", type: "AXFR", class: 1 }] }),
      odd("IXFR", { questions: [{ name: "example.org", type: "IXFR", class: 1 }] }),
      odd("type 0", { questions: [{ name: "api.example.org", type: "TYPE0", class: 1 }] }),
      odd("type OPT", { questions: [{ name: "api.example.org", type: "OPT", class: 1 }] }),
      odd("a type nobody knows", { questions: [{ name: "api.example.org", type: "TYPE65280", class: 1 }] }),
      odd("the root", { questions: [{ name: ".", type: "NS", class: 1 }] }),
    ],
    differences: {
      "an answer in a query": [
        "NOERROR | aa rd | answer: api.example.org 3600 1 A 192.0.2.1",
        "FORMERR, a header alone",
        "a query has none (RFC 1035 4.1)",
      ],
      "class ANY": [
        "REFUSED | rd",
        "NOERROR | aa rd | answer: api.example.org 3600 1 A 192.0.2.1",
        "RFC 1035 3.2.5: any class, and IN is one",
      ],
      "opcode 4": [
        "NOERROR | aa | answer: api.example.org 3600 1 A 192.0.2.1",
        "NOTIMP, a header alone",
        "NOTIFY is no query",
      ],
      "type 0": ["NOERROR | aa rd", "REFUSED | rd", "RFC 6895 3.1: no type of data"],
      "type OPT": ["NOERROR | aa rd", "REFUSED | rd", "the same"],
    },
  },
];

await test("the real CoreDNS does the same with the same Corefile", { skip: corednsMissing }, async (context) => {
  const folder = mkdtempSync(join(tmpdir(), "fairlead-plugins-"));
  const lab = {
    file(name: string, text: string): string {
      writeFileSync(join(folder, name), text);
      return join(folder, name);
    },
  };
  try {
    for (const each of cases) await context.test(each.label, async () => await compare(lab, each));
  } finally {
    rmSync(folder, { recursive: true });
  }
});

async function compare(
  lab: Parameters<typeof startCoredns>[0],
  { corefile, questions, differences = {} }: Case,
): Promise<void> {
  const [corePort = 0, ownPort = 0] = await freePorts(2);
  const text = (port: number): string => `.:${port} {\n bind 127.0.0.1\n ${corefile}\n}\n`;
  const coredns = await startCoredns(lab, text(corePort), corePort, ["db.example.org"]);
  const own = await startOwn(text(ownPort));
  const clients = [createClient(corePort), createClient(ownPort)] as const;
  const seen = new Map<string, readonly [string, string]>();
  try {
    for (const question of questions) {
      const label = typeof question === "string" ? question : question.label;
      const [name = "", type = "A"] = label.split(" ");
      const bytes =
        typeof question === "string"
          ? message({ questions: [{ name, type: type as RecordType, class: 1 }], ...edns(1232) })
          : question.bytes;
      const [theirs, ours] = await Promise.all(
        clients.map(async (client) => essence(await client.send(bytes, patienceMs))),
      );
      // The second time from kept bytes.
      assert.equal(essence(await clients[1].send(bytes, patienceMs)), ours, `${label}, the second time`);
      if (theirs !== ours && !isExplained(theirs ?? "", ours ?? "")) seen.set(label, [theirs ?? "", ours ?? ""]);
    }
  } finally {
    for (const client of clients) client.close();
    await own.close();
    await coredns.stop();
  }
  const expected = Object.entries(differences).map(([label, [theirs, ours]]) => [label, [theirs, ours]] as const);
  assert.deepEqual(Object.fromEntries(seen), Object.fromEntries(expected));
}

/** The differences that are everywhere. */
function isExplained(theirs: string, ours: string): boolean {
  // A question nobody can be asked is no failure that goes away.
  if (ours.startsWith("REFUSED") && theirs === ours.replace("REFUSED", "SERVFAIL")) return true;
  // CoreDNS's acl sets DO where the client did not: nothing here is signed.
  return theirs === `${ours} DO`;
}
