import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";

import fc from "fast-check";

import type { Attachment } from "../model/network.ts";
import { openAttachments } from "./attachments.ts";
import { CniError } from "../serve/cni/cni.ts";
import { createIpam } from "./ipam.ts";
import { ipamText, ipamView } from "./ipam-text.ts";

function attachment(id: string, address: string): Attachment {
  return {
    id,
    namespace: "default",
    name: id,
    uid: id,
    link: `flp${id}`,
    mac: "0a:58:00:00:00:01",
    addresses: [address],
    hostPorts: [],
  };
}

describe("ipam", () => {
  test("gives an address per family, the first after network and gateway", () => {
    const ipam = createIpam(["10.244.1.0/24", "fd00:10:244:1::/64"], openAttachments());
    assert.deepEqual(ipam.allocate(), ["10.244.1.2", "fd00:10:244:1::2"]);
    assert.deepEqual(ipam.allocate(), ["10.244.1.3", "fd00:10:244:1::3"]);
  });

  test("an address rests until the range has come round", () => {
    const ipam = createIpam(["10.0.0.0/29"], openAttachments());
    const first = ipam.allocate();
    ipam.release(first);
    assert.deepEqual([ipam.allocate(), ipam.allocate(), ipam.allocate(), ipam.allocate()].flat(), [
      "10.0.0.3",
      "10.0.0.4",
      "10.0.0.5",
      "10.0.0.6",
    ]);
    assert.deepEqual(ipam.allocate(), first);
  });

  test("an address that was given back rests a minute, but is given rather than none", () => {
    let now = 0;
    const ipam = createIpam(["10.0.0.0/29"], openAttachments(), () => now);
    const [a = "", b = "", c = ""] = Array.from({ length: 5 }, () => ipam.allocate()[0]);
    ipam.release([a]);
    now = 30_000;
    ipam.release([b]);
    assert.deepEqual(
      ipam.resting().map(({ address, forMs }) => [address, forMs]),
      [
        [a, 30_000],
        [b, 0],
      ],
    );
    // Nothing else is free: the one that has rested longest.
    assert.deepEqual(ipam.allocate(), [a]);
    now = 60_000;
    ipam.release([c]);
    now = 95_000;
    // b has rested, c has not.
    assert.deepEqual(ipam.allocate(), [b]);
    assert.deepEqual(ipam.allocate(), [c]);
  });

  test("an address can be asked for; why it cannot be given is said, and nothing is taken", () => {
    const ipam = createIpam(["10.0.0.0/24", "fd00::/64"], openAttachments());
    assert.deepEqual(ipam.allocate(["10.0.0.77"]), ["10.0.0.77", "fd00::2"]);
    assert.deepEqual(ipam.allocate(["fd00::99", "10.0.0.5"]), ["10.0.0.5", "fd00::99"]);
    const before = ipam.usage();
    for (const [address, why] of [
      ["10.0.0.77", /another pod has it/],
      ["10.0.0.1", /gateway/],
      ["10.0.0.0", /tunnel/],
      ["10.0.0.255", /only the first 253/],
      ["10.0.1.5", /none of the node's pod ranges \(10\.0\.0\.0\/24, fd00::\/64\)/],
      ["fd00::1:0:0", /only the first/],
    ] as const) {
      assert.throws(
        () => ipam.allocate([address]),
        (error: unknown) => error instanceof CniError && error.code === 102 && why.test(error.message),
      );
    }
    assert.deepEqual(ipam.usage(), before);
  });

  test("show: every address that is not simply free, and why", () => {
    const store = openAttachments();
    let now = 0;
    const ipam = createIpam(["10.0.0.0/29"], store, () => now);
    const [gone = ""] = ipam.allocate();
    const [address = ""] = ipam.allocate();
    store.put({ ...attachment("0123456789abcdef", address), name: "web" });
    ipam.release([gone]);
    now = 10_000;
    assert.equal(
      ipamText(ipamView(ipam, store.list())),
      [
        "10.0.0.0/29  1 of 5 addresses in use, 1 resting; next is 10.0.0.4",
        "  10.0.0.0  the node's end of the tunnel",
        "  10.0.0.1  the node, its pods' gateway",
        "  10.0.0.2  was a pod's; rests for another 50 s before it is another's",
        "  10.0.0.3  pod default/web (sandbox 0123456789abc, link flp0123456789abcdef)",
        "",
      ].join("\n"),
    );
  });

  test("never gives network, gateway or broadcast, and says when it is full", () => {
    const ipam = createIpam(["10.0.0.0/29", "fd00::/64"], openAttachments());
    const given = Array.from({ length: 5 }, () => ipam.allocate()[0]);
    assert.deepEqual(given, ["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"]);
    const before = ipam.usage();
    assert.throws(
      () => ipam.allocate(),
      (error: unknown) =>
        error instanceof CniError &&
        error.code === 11 &&
        /no free address in 10\.0\.0\.0\/29: all 5/.test(error.message),
    );
    assert.deepEqual(ipam.usage(), before, "the other range lost nothing");
  });

  test("a range without room for a pod is refused", () => {
    assert.throws(() => createIpam(["10.0.0.0/31"], openAttachments()), /no address for a pod/);
  });

  test("no address is given twice, whatever is taken and released", () => {
    fc.assert(
      fc.property(fc.array(fc.nat({ max: 20 }), { maxLength: 200 }), (choices) => {
        const ipam = createIpam(["10.0.0.0/28"], openAttachments());
        const held: string[] = [];
        for (const choice of choices) {
          if (choice < held.length) ipam.release(held.splice(choice, 1));
          else if (held.length < 13) {
            const [address = ""] = ipam.allocate();
            assert.ok(!held.includes(address), `${address} was in use`);
            held.push(address);
          }
        }
        assert.equal(ipam.usage()[0]?.used, held.length);
      }),
    );
  });
});

describe("attachments", () => {
  test("a restart knows the pods, and goes on after the last address", async (t) => {
    const directory = mkdtempSync(join(tmpdir(), "fairlead-"));
    t.after(() => rmSync(directory, { recursive: true }));
    const path = join(directory, "node", "attachments.json");
    const store = openAttachments(path);
    const ipam = createIpam(["10.0.0.0/29"], store);
    for (const id of ["b", "a"]) store.put(attachment(id, ipam.allocate()[0] ?? ""));
    await Promise.all([store.flushed(), store.flushed()]);
    store.remove("a");
    ipam.release(["10.0.0.3"]);
    await store.flushed();

    const again = openAttachments(path);
    assert.deepEqual(again.list(), [attachment("b", "10.0.0.2")]);
    assert.deepEqual(createIpam(["10.0.0.0/29"], again).allocate(), ["10.0.0.4"]);
  });

  test("whatever was written when the process was killed, the file says what was flushed before", async (t) => {
    const directory = mkdtempSync(join(tmpdir(), "fairlead-"));
    t.after(() => rmSync(directory, { recursive: true }));
    const path = join(directory, "attachments.json");
    const store = openAttachments(path);
    const names = (): readonly string[] =>
      openAttachments(path)
        .list()
        .map(({ id }) => id);
    for (const id of ["a", "b"]) store.put(attachment(id, "10.0.0.2"));
    await store.flushed();
    store.put(attachment("c", "10.0.0.3"));
    store.remove("a");
    await store.flushed();
    const whole = readFileSync(path);
    const end = whole.lastIndexOf("\n", whole.length - 2) + 1;
    for (let length = end; length < whole.length; length++) {
      writeFileSync(path, whole.subarray(0, length));
      assert.deepEqual(names(), ["a", "b", "c"], `${length} bytes`);
    }
    // Who comes after goes on behind no half line.
    const next = openAttachments(path);
    next.put(attachment("d", "10.0.0.4"));
    await next.flushed();
    next.remove("b");
    await next.flushed();
    assert.deepEqual(names(), ["a", "c", "d"]);
    // And where somebody took the file away, with all there is.
    rmSync(path);
    next.put(attachment("e", "10.0.0.5"));
    await next.flushed();
    assert.deepEqual(names(), ["a", "c", "d", "e"]);
  });

  test("a file of the first version is read; one that has become long is made anew", async (t) => {
    const directory = mkdtempSync(join(tmpdir(), "fairlead-"));
    t.after(() => rmSync(directory, { recursive: true }));
    const path = join(directory, "attachments.json");
    const first = { version: 1, cursors: { "10.0.0.0/29": 3 }, attachments: [attachment("a", "10.0.0.5")] };
    writeFileSync(path, JSON.stringify(first));
    const store = openAttachments(path);
    assert.deepEqual(store.list(), first.attachments);
    let longest = 0;
    for (let round = 0; round < 400; round++) {
      store.put(attachment("b", `10.0.0.${round % 2}`));
      await store.flushed();
      longest = Math.max(longest, readFileSync(path, "utf8").split("\n").length);
    }
    assert.ok(longest > 100 && longest < 300, `${longest} lines`);
    const again = openAttachments(path);
    assert.deepEqual(again.list(), [...first.attachments, attachment("b", "10.0.0.1")]);
    assert.equal(again.cursor("10.0.0.0/29"), 3);
  });

  test("a file of a later version is refused and left as it is; after a start of the machine it says as much as none", (t) => {
    const directory = mkdtempSync(join(tmpdir(), "fairlead-"));
    t.after(() => rmSync(directory, { recursive: true }));
    const path = join(directory, "attachments.json");
    const later = '{"version":3}\n{"new":1}\n';
    writeFileSync(path, later);
    assert.throws(() => openAttachments(path), /version 3, which a later Fairlead writes; .* drain the node/);
    assert.equal(readFileSync(path, "utf8"), later);
    utimesSync(path, 1, 1);
    assert.deepEqual(openAttachments(path).list(), []);
  });

  test("the list is the same array until something changes", () => {
    const store = openAttachments();
    store.put(attachment("a", "10.0.0.2"));
    const list = store.list();
    assert.equal(store.list(), list);
    store.put(attachment("b", "10.0.0.3"));
    assert.notEqual(store.list(), list);
  });

  test("a broken file is named, not overwritten", (t) => {
    const directory = mkdtempSync(join(tmpdir(), "fairlead-"));
    t.after(() => rmSync(directory, { recursive: true }));
    const path = join(directory, "attachments.json");
    writeFileSync(path, '{"version": 1, "attach');
    assert.throws(() => openAttachments(path), new RegExp(path));
    assert.equal(readFileSync(path, "utf8"), '{"version": 1, "attach');
    // It is from before the machine was started: the pods it spoke of are gone, and what was not yet on the disk with them.
    utimesSync(path, 1, 1);
    assert.deepEqual(openAttachments(path).list(), []);
  });
});
