// Kept answers are what the responder would have written; what a change concerns is forgotten; odd questions are left to the responder.

import assert from "node:assert/strict";
import { test } from "node:test";

import fc from "fast-check";

import { kubeDns, network, pod, port, service } from "../../program/zone.testing.ts";
import { finishedAnswer, ownerOf } from "../../program/zone-answer.ts";
import { compileZone, type Zone } from "../../program/zone.ts";
import type { Network } from "../../model/network.ts";
import { finishAnswer, udpLimit, writeAnswer } from "../../wire/dns/answer.ts";
import { buildQuery, parseMessage } from "../../wire/dns/message.ts";
import { readQuery } from "../../wire/dns/query.ts";
import { classIn, type RecordType } from "../../wire/dns/record.ts";
import { type AnswerReader, createAnswerTable, createTableMemory, readAnswers } from "./answer-table.ts";
import { createAnswers } from "./answers.ts";

const room = 4096;

/** The response to a query's bytes, undefined where it is not here. */
function read(reader: AnswerReader, query: Uint8Array, limit = 0, now = 0): Uint8Array | undefined {
  const bytes = new Uint8Array(room * 2);
  // Not at the start, as in a socket's buffers.
  bytes.set(query, 8);
  const size = reader.read(bytes, 8, query.length, room, limit, now);
  return size === 0 ? undefined : bytes.slice(room, room + size);
}

function addresses(count: number): ReturnType<typeof finishAnswer> {
  return finishAnswer({
    name: "db.shop.svc.cluster.local",
    type: 1,
    rcode: 0,
    authoritative: true,
    answers: Array.from({ length: count }, (_, index) => ({
      name: "db.shop.svc.cluster.local",
      class: classIn,
      ttl: 5,
      data: { kind: "A" as const, address: `10.244.0.${index + 1}` },
    })),
  });
}

function questionEnd(query: Uint8Array): number {
  const read = readQuery(query);
  assert.ok(read.kind === "query");
  return read.questionEnd;
}

const as = { owner: 7, turns: false, isCluster: true, logFormat: 0 };

await test("an answer of others is told with what is left of its time, to those who asked as the first did, until it is over", () => {
  const memory = createTableMemory({ slots: 64, bytes: 1 << 16, shared: false, kind: "others" });
  const [table, reader] = [createAnswerTable(memory), readAnswers([memory], () => 0)];
  const name = "db.shop.svc.cluster.local";
  const queryWith = (flags: number, dnssecOk: boolean): Uint8Array => {
    const query = buildQuery({ id: 1, name, type: "A", udpBytes: 1232 });
    query[3] = (query[3] ?? 0) | flags;
    query[query.length - 4] = dnssecOk ? 0x80 : 0;
    return query;
  };
  const plain = queryWith(0, false);
  const ttls = (query: Uint8Array, now: number): number[] | undefined => {
    const response = read(reader, query, 0, now);
    return response && parseMessage(response).answers.map(({ ttl }) => ttl);
  };
  // The clock of a machine that has run for months.
  const storedMs = 2 ** 33 + 0.25;
  const others = { ...as, times: { storedMs, expiresMs: storedMs + 4000 } };
  table.keep(plain, questionEnd(plain), addresses(2), others);
  for (const [after, left] of [
    [0, 5],
    [999, 5],
    [1000, 4],
    [3999, 2],
  ] as const)
    assert.deepEqual(ttls(plain, storedMs + after), [left, left]);
  assert.equal(reader.isOthers, true);
  assert.equal(ttls(plain, storedMs + 4001), undefined);
  // Told anew it takes the old one's place.
  table.keep(plain, questionEnd(plain), addresses(1), {
    ...as,
    times: { storedMs: storedMs + 5000, expiresMs: storedMs + 9000 },
  });
  assert.deepEqual(ttls(plain, storedMs + 5000), [5]);
  // AD, CD, DO: others may get other answers.
  const variants = [queryWith(0x10, false), queryWith(0x20, false), queryWith(0, true)];
  for (const query of variants) assert.equal(ttls(query, storedMs + 5000), undefined);
  const [checked = plain] = variants;
  table.keep(checked, questionEnd(checked), addresses(3), {
    ...as,
    times: { storedMs: storedMs + 5000, expiresMs: storedMs + 9000 },
  });
  assert.deepEqual([ttls(checked, storedMs + 6000), ttls(plain, storedMs + 6000)], [[4, 4, 4], [4]]);
  // A second record behind the question may be an OPT that is not looked at.
  const odd = queryWith(0, true);
  odd[11] = 2;
  table.keep(odd, questionEnd(plain), addresses(1), others);
  assert.equal(ttls(queryWith(0, true), storedMs), undefined);
});

await test("a kept answer is written as it was the first time, whatever the case and EDNS of the question", () => {
  for (const shared of [false, true]) {
    const memory = createTableMemory({ slots: 64, bytes: 1 << 16, shared, kind: "ours" });
    const [table, reader] = [createAnswerTable(memory), readAnswers([memory], () => 0)];
    const answer = addresses(3);
    const first = buildQuery({ id: 1, name: "db.shop.svc.cluster.local", type: "A" });
    assert.equal(read(reader, first), undefined);
    table.keep(first, questionEnd(first), answer, as);
    for (const udpBytes of [0, 512, 1232, 4096]) {
      const query = buildQuery({
        id: 4711,
        name: "DB.shop.SVC.cluster.local",
        type: "A",
        ...(udpBytes > 0 && { udpBytes }),
      });
      const parsed = readQuery(query);
      assert.ok(parsed.kind === "query");
      const out = new Uint8Array(room);
      const size = writeAnswer(out, query, parsed, answer, { limit: udpLimit(parsed), turn: 0 });
      assert.deepEqual(read(reader, query), out.slice(0, size));
      assert.deepEqual([reader.type, reader.rcode, reader.isCluster], [1, 0, true]);
    }
    // Another type of the name, and the name without its end, are others.
    assert.equal(read(reader, buildQuery({ id: 1, name: "db.shop.svc.cluster.local", type: "AAAA" })), undefined);
    assert.equal(read(reader, buildQuery({ id: 1, name: "db.shop.svc.cluster", type: "A" })), undefined);
  }
});

await test("addresses take turns, each is there once", () => {
  const memory = createTableMemory({ slots: 64, bytes: 1 << 16, shared: false, kind: "ours" });
  const table = createAnswerTable(memory);
  const query = buildQuery({ id: 1, name: "db.shop.svc.cluster.local", type: "A", udpBytes: 1232 });
  table.keep(query, questionEnd(query), addresses(4), { ...as, turns: true });
  for (const [dice, first] of [
    [0, 1],
    [0.3, 2],
    [0.99, 4],
  ] as const) {
    const response = read(
      readAnswers([memory], () => dice),
      query,
    );
    assert.ok(response);
    const found = parseMessage(response).answers.map(({ data }) => data.kind === "A" && data.address);
    assert.deepEqual(
      found,
      [0, 1, 2, 3].map((n) => `10.244.0.${((first - 1 + n) % 4) + 1}`),
    );
  }
});

await test("what is larger than the client takes is for the responder, and kept once", () => {
  const memory = createTableMemory({ slots: 64, bytes: 4096, shared: false, kind: "ours" });
  const [table, reader] = [createAnswerTable(memory), readAnswers([memory], () => 0)];
  const small = buildQuery({ id: 1, name: "db.shop.svc.cluster.local", type: "A" });
  const large = buildQuery({ id: 1, name: "db.shop.svc.cluster.local", type: "A", udpBytes: 1232 });
  for (let times = 0; times < 100; times++) table.keep(small, questionEnd(small), addresses(40), as);
  assert.equal(read(reader, small), undefined);
  assert.equal(parseMessage(read(reader, large) as Uint8Array).answers.length, 40);
  assert.equal(parseMessage(read(reader, small, 65_535) as Uint8Array).answers.length, 40);
});

await test("any bytes are a whole response or none", () => {
  const memory = createTableMemory({ slots: 64, bytes: 1 << 16, shared: false, kind: "ours" });
  const [table, reader] = [createAnswerTable(memory), readAnswers([memory], () => 0)];
  const query = buildQuery({ id: 1, name: "db.shop.svc.cluster.local", type: "A", udpBytes: 1232 });
  table.keep(query, questionEnd(query), addresses(2), as);
  let found = 0;
  fc.assert(
    fc.property(
      fc.oneof(
        fc.uint8Array({ maxLength: 80 }),
        fc
          .array(fc.tuple(fc.nat(query.length - 1), fc.nat(255)), { maxLength: 2 })
          .map((edits) => edits.reduce((bytes, [at, value]) => bytes.with(at, value), query)),
        fc.nat(query.length).map((length) => query.slice(0, length)),
      ),
      (bytes) => {
        const response = read(reader, bytes);
        if (response === undefined) return;
        found++;
        // The responder would have answered it too, with the same flags back.
        const parsed = readQuery(bytes);
        assert.ok(parsed.kind === "query" && parsed.name === "db.shop.svc.cluster.local" && parsed.type === 1);
        const out = new Uint8Array(room);
        const size = writeAnswer(out, bytes, parsed, addresses(2), { limit: udpLimit(parsed), turn: 0 });
        assert.deepEqual(response, out.slice(0, size));
      },
    ),
    { numRuns: 5000 },
  );
  assert.ok(found > 0);
});

await test("a full table starts anew, and goes on answering", () => {
  const memory = createTableMemory({ slots: 64, bytes: 4096, shared: false, kind: "ours" });
  const [table, reader] = [createAnswerTable(memory), readAnswers([memory], () => 0)];
  for (let index = 0; index < 1000; index++) {
    const query = buildQuery({ id: 1, name: `db-${index}.shop.svc.cluster.local`, type: "A" });
    table.keep(query, questionEnd(query), addresses((index % 3) + 1), as);
    const response = read(reader, query);
    if (response !== undefined) assert.equal(parseMessage(response).answers.length, (index % 3) + 1);
    if (index % 10 === 0) table.forget(new Set([as.owner]));
  }
  const query = buildQuery({ id: 1, name: "last.shop.svc.cluster.local", type: "A" });
  table.clear();
  assert.equal(read(reader, query), undefined);
  table.keep(query, questionEnd(query), addresses(1), as);
  assert.ok(read(reader, query));
});

await test("what is forgotten is what had that owner, whatever else was kept and forgotten before", () => {
  const memory = createTableMemory({ slots: 1 << 12, bytes: 1 << 20, shared: false, kind: "ours" });
  const [table, reader] = [createAnswerTable(memory), readAnswers([memory], () => 0)];
  const queryOf = (index: number): Uint8Array =>
    buildQuery({ id: 1, name: `db-${index}.shop.svc.cluster.local`, type: "A" });
  const names = 100;
  const step = fc.oneof(
    // Owners that stand in one row: their last bits are the same.
    fc.record({ keep: fc.nat(names - 1), owner: fc.nat(4).map((high) => (high << 16) | 3) }),
    fc.record({ forget: fc.uniqueArray(fc.nat(4).map((high) => (high << 16) | 3)) }),
    fc.constant("clear" as const),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      table.clear();
      const kept = new Map<number, number>();
      for (const each of steps) {
        if (each === "clear") {
          table.clear();
          kept.clear();
        } else if ("keep" in each) {
          const query = queryOf(each.keep);
          table.keep(query, questionEnd(query), addresses(1), { ...as, owner: each.owner });
          // Who is there already stays.
          if (!kept.has(each.keep)) kept.set(each.keep, each.owner);
        } else {
          table.forget(new Set(each.forget));
          for (const [index, owner] of kept) if (each.forget.includes(owner)) kept.delete(index);
        }
      }
      for (let index = 0; index < names; index++)
        assert.equal(read(reader, queryOf(index)) !== undefined, kept.has(index), String(index));
    }),
    { numRuns: 200 },
  );
});

await test("a changed Service is forgotten, the others stay; what is of no one Service goes with every change", () => {
  const namespaces = network({}).namespaces;
  const of = (parts: Partial<Network>): Network => network({ namespaces, ...parts });
  const api = service("production/api", { clusterIps: ["10.96.41.7"], ports: [port("http", 80)] });
  const web = service("production/web", { clusterIps: ["10.96.41.8"] });
  const pods = [pod("production/p", ["10.244.1.5"])];
  let zone: Zone | undefined;
  const answers = createAnswers({ zone: () => zone, shared: false });
  const reader = readAnswers(answers.memories, () => 0);
  const names: readonly (readonly [string, RecordType])[] = [
    ["api.production.svc.cluster.local", "A"],
    ["_http._tcp.api.production.svc.cluster.local", "SRV"],
    ["web.production.svc.cluster.local", "A"],
    ["new.production.svc.cluster.local", "A"],
    ["example.com.production.svc.cluster.local", "A"],
    ["x.new.other.svc.cluster.local", "A"],
    ["10-244-1-5.production.pod.cluster.local", "A"],
    ["8.41.96.10.in-addr.arpa", "PTR"],
  ];
  /** Asks everything; gives which were kept. */
  const ask = (): readonly string[] => {
    answers.refresh();
    return names
      .filter(([name, type]) => {
        const query = buildQuery({ id: 1, name, type });
        const end = questionEnd(query);
        const parsed = readQuery(query);
        assert.ok(zone && parsed.kind === "query");
        const fresh = finishedAnswer(zone, name, parsed.type);
        assert.ok(fresh);
        const kept = read(reader, query);
        if (kept === undefined) {
          answers.keep(query, end, fresh, {
            owner: ownerOf(name, zone, fresh),
            turns: false,
            isCluster: true,
            logFormat: 0,
          });
          return false;
        }
        const out = new Uint8Array(room);
        const size = writeAnswer(out, query, parsed, fresh, { limit: 512, turn: 0 });
        assert.deepEqual(kept, out.slice(0, size), name);
        return true;
      })
      .map(([name]) => name.split(".").slice(0, 2).join("."));
  };
  const step = (parts: Partial<Network>): readonly string[] => {
    zone = compileZone(of({ pods, ...parts }), { previous: zone });
    return ask();
  };
  const all = names.map(([name]) => name.split(".").slice(0, 2).join("."));
  assert.deepEqual(step({ services: [kubeDns, api, web] }), []);
  assert.deepEqual(ask(), all);
  const others = ["web.production", "new.production", "example.com", "x.new"];
  const changed = { ...api, clusterIps: ["10.96.41.9"] };
  assert.deepEqual(step({ services: [kubeDns, changed, web] }), others);
  const added = service("production/new", { clusterIps: ["10.96.41.10"] });
  assert.deepEqual(step({ services: [kubeDns, changed, added, web] }), [
    "api.production",
    "_http._tcp",
    "web.production",
    "example.com",
    "x.new",
  ]);
  // A new namespace may have any name that did not exist.
  const more = [
    ...namespaces.slice(0, 2),
    { ...namespaces[0], name: "other" } as (typeof namespaces)[0],
    ...namespaces.slice(2),
  ];
  zone = compileZone(network({ namespaces: more, pods, services: [kubeDns, changed, added, web] }), { previous: zone });
  assert.deepEqual(ask(), ["api.production", "_http._tcp", "web.production", "new.production"]);
  answers.clear();
  assert.deepEqual(ask(), []);
});
