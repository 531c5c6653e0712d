// The answers that one socket has given and may give again, kept as bytes (answer-table.ts) for as long as they hold.
// Before each batch of questions the zone is looked at: what a changed Service has to do with is forgotten, and all else stays.
//
// "No such name" is kept apart and in less room: there is no end to names that do not exist. So is what others answered, until it is over:
// the zone has nothing to do with it.
// Not here: which answers may be kept (block.ts), reading them in another thread (worker.ts).

import { zoneChange, type Zone } from "../../program/zone.ts";
import { serviceOwner } from "../../program/zone-answer.ts";
import type { FinishedAnswer } from "../../wire/dns/answer.ts";
import { rcodes } from "../../wire/dns/message.ts";
import { createAnswerTable, createTableMemory, type KeepAs, type TableMemory } from "./answer-table.ts";

export interface Answers {
  /** For readers: names that exist, those that do not, others' names. */
  readonly memories: readonly TableMemory[];
  /** Forgets what does not hold any more. To be called before reading; cheap where nothing changed. */
  refresh(): void;
  keep(asked: Uint8Array, questionEnd: number, answer: FinishedAnswer, as: KeepAs): void;
  clear(): void;
}

export function createAnswers(options: { readonly zone: () => Zone | undefined; readonly shared: boolean }): Answers {
  const { zone, shared } = options;
  const memories = [
    createTableMemory({ ...foundSize, shared, kind: "ours" }),
    createTableMemory({ ...missingSize, shared, kind: "ours" }),
    createTableMemory({ ...othersSize, shared, kind: "others" }),
  ] as const;
  const found = createAnswerTable(memories[0]);
  const missing = createAnswerTable(memories[1]);
  const others = createAnswerTable(memories[2]);
  let seen: Zone | undefined;
  const clearOurs = (): void => {
    found.clear();
    missing.clear();
  };
  return {
    memories,
    refresh() {
      const now = zone();
      if (now === seen) return;
      const change = seen && now && zoneChange(seen, now);
      seen = now;
      if (change === undefined || change.services.length > forgetMax) return clearOurs();
      if (change.namespaces) missing.clear();
      const owners = new Set([0, ...change.services.map(serviceOwner)]);
      found.forget(owners);
      missing.forget(owners);
    },
    keep(asked, questionEnd, answer, as) {
      const ours = (answer.flags & 0xf) === rcodes.NOERROR ? found : missing;
      const table = as.times === undefined ? ours : others;
      table.keep(asked, questionEnd, answer, as);
    },
    clear() {
      clearOurs();
      others.clear();
    },
  };
}

/** Answers to all names of some ten thousand Services; only what is used is in memory. */
const foundSize = { slots: 1 << 16, bytes: 12 << 20 };
const missingSize = { slots: 1 << 12, bytes: 512 << 10 };
/** Some more than a cache keeps of each kind (forwarder.ts); each that is fetched anew takes room anew. */
const othersSize = { slots: 1 << 15, bytes: 6 << 20 };
/** Where more changed at once, all are made anew. */
const forgetMax = 256;
