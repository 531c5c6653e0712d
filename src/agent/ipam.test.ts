import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";

import fc from "fast-check";

import type { Attachment } from "../model/network.ts";
import { openAttachments } from "./attachments.ts";
import { CniError } from "../serve/cni/cni.ts";
import { createIpam } from "./ipam.ts";

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
  const attachment = (id: string, address: string): Attachment => ({
    id,
    namespace: "default",
    name: id,
    uid: id,
    link: `flp${id}`,
    mac: "0a:58:00:00:00:01",
    addresses: [address],
    hostPorts: [],
  });

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
  });
});
