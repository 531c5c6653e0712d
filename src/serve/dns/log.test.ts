import assert from "node:assert/strict";
import { test } from "node:test";

import { buildQuery } from "../../wire/dns/message.ts";
import { createDnsLog } from "./log.ts";
import { createQueryLog, logFormatOf, type LoggedQuery } from "./query-log.ts";

await test("errors of one kind are written once a second, with how many there were", () => {
  const lines: string[] = [];
  let now = 0;
  const log = createDnsLog((line) => lines.push(line), { now: () => now });
  for (const name of ["a", "b", "c"]) log.failed(`${name}. A`, "timeout");
  log.failed("d. A", "refused connection");
  log.refused("e. A", "timeout");
  now = 1000;
  log.failed("f. A", "timeout");
  now = 2000;
  log.failed("g. A", "timeout");
  log.info("ready");
  assert.deepEqual(lines, [
    "[ERROR] a. A: SERVFAIL: timeout",
    "[ERROR] d. A: SERVFAIL: refused connection",
    "[ERROR] e. A: REFUSED: timeout",
    "[ERROR] f. A: SERVFAIL: timeout (and 2 more like it)",
    "[ERROR] g. A: SERVFAIL: timeout",
    "[INFO] ready",
  ]);
});

await test("ever new reasons do not fill the memory: after a hundred kinds the first may be said again", () => {
  const lines: string[] = [];
  const log = createDnsLog((line) => lines.push(line), { now: () => 0 });
  for (let i = 0; i <= 100; i++) log.failed("a. A", `reason ${i}`);
  log.failed("a. A", "reason 0");
  assert.equal(lines.length, 102);
});

await test("a query log's format: its fields, and braces that are none", () => {
  for (const [format, line] of [
    ["{name} {type}", "a.test. A"],
    ["{type} {", "A {"],
    ["} {type}", "} A"],
    ["{type}{", "A{"],
    ["{ {type} }", "{ A }"],
    ["{local}", "-"],
  ] as const)
    assert.equal(lineOf(format), `[INFO] ${line}`);
});

await test("each field of a query log's line", () => {
  assert.equal(
    lineOf("{remote}:{port} {class} {proto} {size} {rcode} {rsize} {>rflags} {>id} {>opcode} {>do} {>bufsize}"),
    "[INFO] 192.0.2.1:1053 IN udp 24 NXDOMAIN 24 qr,aa,rd 4711 0 false 512",
  );
  assert.equal(lineOf("{name}", { name: "A.\\255\\.B" }), "[INFO] a.\\255\\.b.");
  assert.equal(lineOf("{name}", { name: "." }), "[INFO] .");
  assert.equal(lineOf("{>do} {>bufsize}", { udpBytes: 4096, dnssecOk: true }), "[INFO] true 4096");
  assert.equal(lineOf("{>do} {>bufsize}", { udpBytes: 100 }), "[INFO] false 512");
  assert.equal(lineOf("{proto} {>bufsize}", { protocol: "tcp" }), "[INFO] tcp 65535");
  for (const [took, text] of [
    [0, "0s"],
    [-1, "0s"],
    [0.043, "0.000043s"],
    [0.000001, "0.000000001s"],
    [1500, "1.5s"],
    [61_000, "61s"],
    [1000.000001, "1.000000001s"],
  ] as const)
    assert.equal(lineOf("{duration}", { took }), `[INFO] ${text}`);
});

await test("a client's address is written from the bytes of its socket address", () => {
  const of = (...bytes: readonly number[]): string => lineOf("{remote}:{port}", { sender: Uint8Array.from(bytes) });
  const zeros = (count: number): number[] => Array.from({ length: count }, () => 0);
  assert.equal(of(2, 0, 0x04, 0x1d, 192, 0, 2, 10), "[INFO] 192.0.2.10:1053");
  assert.equal(of(2, 0, 0, 53, 255, 100, 9, 0), "[INFO] 255.100.9.0:53");
  const ipv6 = [10, 0, 0xff, 0xff, ...zeros(4), 0x20, 0x01, 0x0d, 0xb8, ...zeros(11), 1];
  for (let again = 0; again < 2; again++) assert.equal(of(...ipv6), "[INFO] [2001:db8::1]:65535");
  assert.equal(of(10, 0, 0, 1, ...zeros(14), 0xff, 0xff, 10, 244, 1, 5), "[INFO] 10.244.1.5:1");
});

await test("lines leave together, in order, and no line is lost where there is no more room", () => {
  const written: string[] = [];
  const log = createQueryLog((lines) => written.push(new TextDecoder().decode(lines)));
  const format = log.formatOf("{>id}");
  for (let id = 0; id < 20_000; id++) assert.ok(log.write(format, logged({ id })));
  log.flush();
  const all = written.join("");
  assert.equal(all, Array.from({ length: 20_000 }, (_, id) => `[INFO] ${id}\n`).join(""));
  assert.ok(written.length > 1 && written.length < 100, `${written.length} writes`);
  assert.equal(log.write(format + 1, logged({})), false);
});

await test("another log's formats have its numbers", () => {
  const written: string[] = [];
  const log = createQueryLog((lines) => written.push(new TextDecoder().decode(lines)));
  log.learn(["{>id}", "{type}"]);
  log.learn(["{>id}", "{type}", "{class}"]);
  for (const format of [3, 1, 2]) log.write(format, logged({ id: 7 }));
  log.flush();
  assert.deepEqual(written, ["[INFO] IN\n[INFO] 7\n[INFO] A\n"]);
});

await test("which questions are logged: the first rule whose names hold theirs, and its classes", () => {
  const log = createQueryLog(() => {});
  const rules = [
    { scope: "a.test", classes: ["denial"], format: "one" },
    { scope: "test", classes: ["success", "error"], format: "two" },
  ] as const;
  const of = (name: string, rcode: number, answers: number): number =>
    logFormatOf(log, rules, { name, rcode, answers });
  const [one, two] = [of("a.test", 3, 0), of("b.test", 0, 1)];
  assert.ok(one > 0 && two > 0 && one !== two);
  assert.equal(of("x.a.test", 0, 0), one);
  assert.equal(of("a.test", 0, 1), 0);
  assert.equal(of("b.test", 2, 0), two);
  assert.equal(of("b.test", 3, 0), 0);
  assert.equal(of("elsewhere", 0, 1), 0);
});

interface Told {
  readonly name?: string;
  readonly id?: number;
  readonly udpBytes?: number;
  readonly dnssecOk?: boolean;
  readonly protocol?: "udp" | "tcp";
  readonly took?: number;
  /** A `struct sockaddr`. */
  readonly sender?: Uint8Array;
}

function logged({ name = "a.test", id = 4711, sender, ...told }: Told): LoggedQuery {
  const query = buildQuery({ id, name, type: "A" });
  const bytes = new Uint8Array(query.length + (sender?.length ?? 0));
  bytes.set(query);
  bytes.set(sender ?? [], query.length);
  const response = query.slice();
  response[2] = 0x85;
  return {
    bytes,
    at: 0,
    length: query.length,
    response,
    from: 0,
    size: response.length,
    protocol: "udp",
    rcode: 3,
    udpBytes: -1,
    dnssecOk: false,
    took: 0,
    sourceAt: sender === undefined ? -1 : query.length,
    source: { address: "192.0.2.1", port: 1053 },
    ...told,
  };
}

function lineOf(format: string, told: Told = {}): string {
  let text = "";
  const log = createQueryLog((lines) => (text += new TextDecoder().decode(lines)));
  log.write(log.formatOf(format), logged(told));
  log.flush();
  assert.ok(text.endsWith("\n"));
  return text.slice(0, -1);
}
