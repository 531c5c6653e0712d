// The pods' places in one node, in memory and in one file: what a restarted agent must know beside the cluster's objects.
// The file is replaced as a whole (write, rename), so a process that is killed at any moment leaves the old or the new one. It is not synced to
// the disk, which may take longer than all the rest of a pod's ADD: when the machine itself dies, so do all places of pods, and a file
// from before its start that cannot be read says as much as none.
//
// Not here: what an attachment is made of in the kernel (pod-network.ts), and what the Program makes of it (program/).

import { mkdirSync, readFileSync, renameSync, statSync, writeFileSync } from "node:fs";
import os from "node:os";
import { dirname } from "node:path";

import type { Prefix } from "../ip/prefix.ts";
import type { Attachment } from "../model/network.ts";

export interface AttachmentStore {
  /** Sorted by id; the same frozen array until something changes. */
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
  let sorted: readonly Attachment[] | undefined;
  let revision = 0;
  let writtenRevision = 0;
  let writing: Promise<void> | undefined;

  const changed = (): void => {
    sorted = undefined;
    revision++;
    for (const subscriber of subscribers) subscriber();
  };
  const list = (): readonly Attachment[] =>
    (sorted ??= Object.freeze([...attachments.values()].sort((a, b) => (a.id < b.id ? -1 : 1))));
  const writeCurrent = (file: string): void => {
    write(file, { version: 1, cursors: Object.fromEntries(cursors), attachments: list() });
    writtenRevision = revision;
  };

  return {
    list,
    get: (id) => attachments.get(id),
    put(attachment) {
      attachments.set(attachment.id, Object.freeze(attachment));
      changed();
    },
    remove(id) {
      if (attachments.delete(id)) changed();
    },
    cursor: (range) => cursors.get(range) ?? -1,
    setCursor(range, offset) {
      cursors.set(range, offset);
      revision++;
    },
    subscribe(subscriber) {
      subscribers.add(subscriber);
      return { close: () => void subscribers.delete(subscriber) };
    },
    async flushed() {
      if (path === undefined) return;
      while (writtenRevision < revision) {
        // A turn's worth of changes goes into one write.
        writing ??= new Promise<void>((resolve) => void setImmediate(resolve))
          .then(() => writeCurrent(path))
          .finally(() => (writing = undefined));
        await writing;
      }
    },
  };
}

interface StoredFile {
  readonly version: 1;
  readonly cursors: Readonly<Record<Prefix, number>>;
  readonly attachments: readonly Attachment[];
}

const empty: StoredFile = { version: 1, cursors: {}, attachments: [] };

function read(path: string): StoredFile {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    mkdirSync(dirname(path), { recursive: true });
    return empty;
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    if (statSync(path).mtimeMs < Date.now() - os.uptime() * 1000) return empty;
    throw new Error(`read pods' attachments from ${path}: not JSON; delete the file if no pod runs on this node`, {
      cause,
    });
  }
  if (!isStoredFile(value)) {
    throw new Error(
      `read pods' attachments from ${path}: not of version 1; delete the file if no pod runs on this node`,
    );
  }
  return value;
}

function isStoredFile(value: unknown): value is StoredFile {
  if (typeof value !== "object" || value === null) return false;
  const { version, cursors, attachments } = value as Partial<StoredFile>;
  return version === 1 && typeof cursors === "object" && Array.isArray(attachments);
}

/** JSON, a pod a line. Each pod's line is made once: hundreds that start are written many times. */
function textOf({ version, cursors, attachments }: StoredFile): string {
  const lines = attachments.map((attachment) => {
    let line = lineOf.get(attachment);
    if (line === undefined) lineOf.set(attachment, (line = JSON.stringify(attachment)));
    return line;
  });
  return `{"version":${version},"cursors":${JSON.stringify(cursors)},"attachments":[\n${lines.join(",\n")}\n]}\n`;
}

const lineOf = new WeakMap<Attachment, string>();

function write(path: string, file: StoredFile): void {
  const temporary = `${path}.new`;
  writeFileSync(temporary, textOf(file), { mode: 0o600 });
  renameSync(temporary, path);
}
