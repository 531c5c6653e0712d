// The pods' places in one node, in memory and in one file: what a restarted agent must know beside the cluster's objects.
//
// The file is a line for each pod, and goes on with a line for each change, the last one about a pod being true; so a node's five hundredth pod costs
// the file what its first one did. A line without an end was being written when its process was killed, and nobody was told of it. What
// has become long by changes is replaced as a whole (write, rename), and so it is at a process's first change: whoever only reads writes nothing.
//
//   {"version":2}
//   {"cursors":{"10.244.1.0/24":5}}
//   {"put":{"id":…,"namespace":…,"name":…,"link":…,"mac":…,"addresses":[…],…}}
//   {"removed":"…"}
//
// It is not synced to the disk, which may take longer than all the rest of a pod's ADD: when the machine itself dies, so do all places of
// pods, and a file from before its start that cannot be read says as much as none.
//
// Not here: what an attachment is made of in the kernel (pod-network.ts), and what the Program makes of it (program/).

import { closeSync, constants, mkdirSync, openSync, readFileSync, renameSync, statSync, writeFileSync } from "node:fs";
import os from "node:os";
import { dirname } from "node:path";

import type { Prefix } from "../ip/prefix.ts";
import type { Attachment } from "../model/network.ts";
import { compareText } from "../model/table.ts";
import { lowerBound } from "../program/sorted.ts";

export interface AttachmentStore {
  /** Sorted by id; the same array until something changes. */
  list(): readonly Attachment[];
  get(id: string): Attachment | undefined;
  put(attachment: Attachment): void;
  remove(id: string): void;
  /** The offset of the address given last from a range; -1 where none was. */
  cursor(range: Prefix): number;
  setCursor(range: Prefix, offset: number): void;
  /** Calls back, from inside the writer's call, after each change of the list. */
  subscribe(changed: () => void): { close(): void };
  /** Resolves when everything so far is in the file. Many callers share one write. Rejects with the file system's error. */
  flushed(): Promise<void>;
}

/**
 * Opens the file, or starts empty where there is none; without a path nothing is kept.
 * Throws where the file is not ours or of a later version, naming it.
 */
export function openAttachments(path?: string): AttachmentStore {
  const stored = path === undefined ? empty : read(path);
  const attachments = new Map(stored.attachments.map((attachment) => [attachment.id, attachment]));
  const cursors = new Map(Object.entries(stored.cursors));
  const subscribers = new Set<() => void>();
  const sorted = stored.attachments.toSorted(byId);
  const journal = path === undefined ? undefined : openJournal(path);
  let listed: readonly Attachment[] | undefined;
  let revision = 0;
  let writtenRevision = 0;
  let writing: Promise<void> | undefined;

  const changed = (): void => {
    listed = undefined;
    revision++;
    for (const subscriber of subscribers) subscriber();
  };
  /** In the sorted list: the list of hundreds is not sorted anew for one. */
  const placeOf = (id: string): number => lowerBound(sorted, { id }, byId);
  const write = (to: Journal): void => {
    const written = revision;
    to.write(() => ({ cursors: Object.fromEntries(cursors), attachments: sorted }));
    writtenRevision = written;
  };

  return {
    list: () => (listed ??= [...sorted]),
    get: (id) => attachments.get(id),
    put(attachment) {
      const { id } = attachment;
      sorted.splice(placeOf(id), attachments.has(id) ? 1 : 0, attachment);
      attachments.set(id, Object.freeze(attachment));
      journal?.note(id, { put: attachment });
      changed();
    },
    remove(id) {
      if (!attachments.delete(id)) return;
      sorted.splice(placeOf(id), 1);
      journal?.note(id, { removed: id });
      changed();
    },
    cursor: (range) => cursors.get(range) ?? -1,
    setCursor(range, offset) {
      cursors.set(range, offset);
      journal?.note(" ", { cursors: Object.fromEntries(cursors) });
      revision++;
    },
    subscribe(subscriber) {
      subscribers.add(subscriber);
      return { close: () => void subscribers.delete(subscriber) };
    },
    async flushed() {
      if (journal === undefined) return;
      while (writtenRevision < revision) {
        // A turn's worth of changes goes into one write.
        writing ??= new Promise<void>((resolve) => void setImmediate(resolve))
          .then(() => write(journal))
          .finally(() => (writing = undefined));
        await writing;
      }
    },
  };
}

function byId(a: { readonly id: string }, b: { readonly id: string }): number {
  return compareText(a.id, b.id);
}

// ---------------------------------------------------------------- the file

interface Stored {
  readonly cursors: Readonly<Record<Prefix, number>>;
  readonly attachments: readonly Attachment[];
}

type Entry =
  | { readonly version: 2 }
  | { readonly cursors: Readonly<Record<Prefix, number>> }
  | { readonly put: Attachment }
  | { readonly removed: string };

const empty: Stored = { cursors: {}, attachments: [] };

interface Journal {
  /** A change that is to be written; of those about one thing the last one counts. */
  note(about: string, entry: Entry): void;
  /** Writes what was noted, or everything. Throws the file system's error, and writes everything the next time. */
  write(all: () => Stored): void;
}

/** More lines than this beside one for each pod, and twice as many lines as pods: the file is made anew. */
const oldLinesMax = 256;

function openJournal(path: string): Journal {
  const noted = new Map<string, Entry>();
  /** Lines of the file; undefined where it must be made anew. */
  let lines: number | undefined;
  return {
    note: (about, entry) => void noted.set(about, entry),
    write(all) {
      const before = lines;
      lines = undefined;
      if (before !== undefined && append(path, noted.values())) {
        lines = before + noted.size;
      } else {
        const { cursors, attachments } = all();
        replace(path, [{ version: 2 }, { cursors }, ...attachments.map((put) => ({ put }))]);
        lines = attachments.length;
      }
      noted.clear();
      if (lines > oldLinesMax && lines > oldLinesMax + 2 * all().attachments.length) lines = undefined;
    },
  };
}

/** False where the file is gone. */
function append(path: string, entries: Iterable<Entry>): boolean {
  let file: number;
  try {
    file = openSync(path, constants.O_WRONLY | constants.O_APPEND);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return false;
    throw error;
  }
  try {
    writeFileSync(file, textOf(entries));
  } finally {
    closeSync(file);
  }
  return true;
}

function replace(path: string, entries: Iterable<Entry>): void {
  const temporary = `${path}.new`;
  writeFileSync(temporary, textOf(entries), { mode: 0o600 });
  renameSync(temporary, path);
}

function textOf(entries: Iterable<Entry>): string {
  return Array.from(entries, (entry) => `${JSON.stringify(entry)}\n`).join("");
}

function read(path: string): Stored {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    mkdirSync(dirname(path), { recursive: true });
    return empty;
  }
  let stored: Stored | undefined;
  try {
    stored = text.startsWith('{"version":2}\n') ? fromLines(text) : fromFirstVersion(JSON.parse(text));
  } catch (cause) {
    if (statSync(path).mtimeMs < Date.now() - os.uptime() * 1000) return empty;
    const [, later] = /^\{"version":(\d+)\}\n/.exec(text) ?? [];
    if (later !== undefined)
      throw new Error(
        `read pods' attachments from ${path}: of version ${later}, which a later Fairlead writes; this one reads 1 and 2: start the later one again, or drain the node and delete the file`,
        { cause },
      );
    throw new Error(`read pods' attachments from ${path}: not JSON; delete the file if no pod runs on this node`, {
      cause,
    });
  }
  if (stored !== undefined) return stored;
  throw new Error(
    `read pods' attachments from ${path}: neither of version 1 nor 2; delete the file if no pod runs on this node`,
  );
}

/** Throws SyntaxError. */
function fromLines(text: string): Stored {
  const attachments = new Map<string, Attachment>();
  let cursors: Stored["cursors"] = {};
  for (const line of text.split("\n").slice(1, -1)) {
    const entry = JSON.parse(line) as Entry;
    if ("put" in entry) attachments.set(entry.put.id, entry.put);
    else if ("removed" in entry) attachments.delete(entry.removed);
    else if ("cursors" in entry) ({ cursors } = entry);
  }
  return { cursors, attachments: [...attachments.values()] };
}

/** The first version was one value, made anew at each change. */
function fromFirstVersion(value: unknown): Stored | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  const { version, cursors, attachments } = value as Partial<Stored> & { readonly version?: number };
  return version === 1 && typeof cursors === "object" && Array.isArray(attachments)
    ? { cursors, attachments }
    : undefined;
}
