// A process that writes as fast as it can and says which writes it was promised, until somebody kills it (store-crash.test.ts).
//   node storm.testing.ts STORE ROUND
// Each line is a promise: `NAME RESOURCEVERSION` of an object whose newest write is on disk; `NAME -` of one that is gone.

import { writeSync } from "node:fs";
import process from "node:process";

import { openStore } from "./sqlite-store.ts";
import type { ResourceName } from "./store.ts";

const [path = "", round = ""] = process.argv.slice(2);
// Killed before, while and after room is made in its journal.
const store = openStore({ path, historyEventsMax: 200, roomAfterMs: (Number(round) % 4) * 20 });
const configMaps: ResourceName = { group: "", resource: "configmaps" };

for (let turn = 0; ; turn++) {
  const promises: string[] = [];
  for (let write = 0; write < 5; write++) {
    const name = `r${round}-${turn}-${write}`;
    const metadata = { name, namespace: "default" };
    const created = store.create(configMaps, {
      apiVersion: "v1",
      kind: "ConfigMap",
      metadata,
      data: { turn: String(turn) },
    });
    if (write === 1) store.delete({ ...configMaps, ...metadata });
    const newest = write === 0 ? store.update(configMaps, { ...created, data: { turn: "updated" } }) : created;
    promises.push(`${name} ${write === 1 ? "-" : newest.metadata.resourceVersion}`);
  }
  await store.flushed();
  writeSync(1, `${promises.join("\n")}\n`);
}
