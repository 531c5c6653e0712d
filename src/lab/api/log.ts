// The store's file: an append-only log of writes in one SQLite table. This module knows SQL and nothing of objects.
//
//   log(revision, type, resource, value, checksum)   a row per write; the newest row of an object is its state, older ones are history
//   facts(name, value)   `floor`: history before this revision has been forgotten
//
// SQLite would take changed bytes in a value for a value: the checksum (CRC-32 of revision, type, resource and value) tells them apart.
//
// To look at it while no lab uses it: `sqlite3 store.db "select revision, type, resource, json_extract(value, '$.metadata.name') from log"`.

import { closeSync, fdatasync, openSync } from "node:fs";
import { DatabaseSync } from "node:sqlite";
import { promisify } from "node:util";
import { crc32 } from "node:zlib";

import { openJournalRoom } from "./journal-room.ts";
import { journalProblem } from "./journal.ts";

/** The kind of a row: what watchers were told. */
const rowTypes = ["ADDED", "MODIFIED", "DELETED"] as const;
export type RowType = (typeof rowTypes)[number];

export interface Row {
  readonly revision: number;
  readonly type: RowType;
  readonly resource: string;
  readonly value: string;
}

export interface Log {
  /** Rows up to this revision that are superseded have been forgotten. */
  readonly floor: number;
  /** All rows, oldest first. */
  rows(): Iterable<Row>;
  /**
   * Adds rows, forgets others and moves the floor, all at once: all of it or, when it throws, nothing. A killed process loses nothing of
   * it from here on; the machine may, until `sync` has succeeded.
   */
  append(change: { readonly rows: readonly Row[]; readonly forget: readonly number[]; readonly floor: number }): void;
  /** Resolves when all that has been appended is on the disk. Other work goes on meanwhile. Undefined where there is no disk. */
  readonly sync: (() => Promise<void>) | undefined;
  /**
   * Waits until all that has been appended is on the disk, by another way than `sync`: after that has failed, the system may call data
   * written that is not. Throws where the disk refuses.
   */
  settle(): void;
  close(): void;
}

/** Resolves when the data of a file is on the disk, as fdatasync(2). */
export type SyncFile = (descriptor: number) => Promise<void>;

/** The store cannot be opened: in use, damaged, unreadable, or made by a newer version. The message says which, and the cure. */
export class StoreError extends Error {
  override readonly name = "StoreError";
}

/** 2: rows have checksums; those that format 1 has left have none. */
const formatVersion = 2;

export interface LogOptions {
  readonly path: string;
  /** fdatasync(2) unless given. */
  readonly syncFile?: SyncFile | undefined;
  /** Milliseconds until room is made in the journal (journal-room.ts). */
  readonly roomAfterMs?: number | undefined;
}

/** Opens or creates the log and keeps every other process out of it. Throws StoreError. */
export function openLog(options: LogOptions): Log {
  const { path } = options;
  let database: DatabaseSync | undefined;
  try {
    // Secrets are in it. SQLite gives its journal the mode of the file.
    if (path !== ":memory:") closeSync(openSync(path, "a", 0o600));
    const problem = path === ":memory:" ? undefined : journalProblem(`${path}-wal`);
    if (problem !== undefined)
      throw new StoreError(
        `open store ${path}: its journal ${path}-wal: ${problem}: restore both files, or move both away and start afresh (moving the journal alone away loses what is in it)`,
      );
    database = new DatabaseSync(path);
    prepareDatabase(database, path);
    return logOver(database, options);
  } catch (error) {
    database?.close();
    throw error instanceof StoreError ? error : openError(path, error);
  }
}

function prepareDatabase(database: DatabaseSync, path: string): void {
  // Exclusive locking before WAL: no shared-memory file, and a second opener is refused instead of mixing its revisions with ours.
  database.exec("PRAGMA locking_mode = EXCLUSIVE; PRAGMA busy_timeout = 0;");
  database.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;");
  database.exec("BEGIN IMMEDIATE");
  const version = Number(database.prepare("PRAGMA user_version").get()?.["user_version"] ?? 0);
  if (version > formatVersion)
    throw new StoreError(
      `open store ${path}: it has format ${version}, this version of fairlead knows ${formatVersion}: use the newer fairlead, or delete the file`,
    );
  // Nothing is written to a file that has all this: it may turn out to be damaged.
  database.exec(`${formatSteps[version] ?? ""};
    COMMIT;
    -- From here on the log waits for the disk itself, so that the process need not stand still meanwhile. SQLite still does before it
    -- writes to the database what is in the journal, which keeps the file sound at any moment (https://www.sqlite.org/pragma.html#pragma_synchronous).
    PRAGMA synchronous = NORMAL;
    PRAGMA wal_autocheckpoint = ${journalPages};`);
}

/** What makes a file of the format before into one of this format; by that format, 0 for a new file. */
const formatSteps: { readonly [version: number]: string } = {
  0: `
    CREATE TABLE IF NOT EXISTS log (revision INTEGER PRIMARY KEY, type INTEGER NOT NULL, resource TEXT NOT NULL, value TEXT NOT NULL, checksum INTEGER);
    CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
    PRAGMA user_version = ${formatVersion}`,
  1: `ALTER TABLE log ADD COLUMN checksum INTEGER; PRAGMA user_version = ${formatVersion}`,
};

function checksumOf(revision: number, type: number, resource: string, value: string): number {
  return crc32(value, crc32(`${revision} ${type} ${resource} `));
}

/** Pages of 4 KiB in the journal until they are moved to the database, which takes as long as some dozens of waits for the disk. */
const journalPages = 4000;
/** The same with frames' headers and the commit that is one too many. */
const journalBytes = (journalPages + 64) * (4096 + 24);

function logOver(database: DatabaseSync, options: LogOptions): Log {
  const { path, syncFile = promisify(fdatasync), roomAfterMs = 2000 } = options;
  const select = database.prepare("SELECT revision, type, resource, value, checksum FROM log ORDER BY revision");
  const insert = database.prepare("INSERT INTO log (revision, type, resource, value, checksum) VALUES (?, ?, ?, ?, ?)");
  const forget = database.prepare("DELETE FROM log WHERE revision = ?");
  const setFloor = database.prepare("INSERT OR REPLACE INTO facts (name, value) VALUES ('floor', ?)");
  const begin = database.prepare("BEGIN IMMEDIATE");
  const commit = database.prepare("COMMIT");
  const checkpoint = database.prepare("PRAGMA wal_checkpoint(TRUNCATE)");
  const journal = path === ":memory:" ? undefined : openSync(`${path}-wal`, "r");
  const room =
    journal === undefined
      ? undefined
      : openJournalRoom({ path: `${path}-wal`, bytes: journalBytes, afterMs: roomAfterMs });
  /** A descriptor in use must not become another file's. */
  let [syncing, isClosed] = [0, false];
  const sync = async (descriptor: number): Promise<void> => {
    syncing++;
    try {
      await syncFile(descriptor);
    } finally {
      syncing--;
      if (isClosed && syncing === 0) closeSync(descriptor);
    }
  };
  let floor = Number(database.prepare("SELECT value FROM facts WHERE name = 'floor'").get()?.["value"] ?? 0);
  return {
    get floor() {
      return floor;
    },
    *rows() {
      try {
        for (const row of select.iterate()) {
          const [revision, code] = [Number(row["revision"]), Number(row["type"])];
          const [resource, value] = [String(row["resource"]), String(row["value"])];
          const type = rowTypes[code];
          if (type === undefined) throw new Error(`row ${revision} has type ${code}`);
          const { checksum } = row;
          if (checksum !== null && checksum !== checksumOf(revision, code, resource, value))
            throw damagedRow(path, revision, resource);
          yield { revision, type, resource, value };
        }
      } catch (error) {
        throw error instanceof StoreError ? error : openError(path, error);
      }
    },
    append(change) {
      begin.run();
      try {
        for (const { revision, type, resource, value } of change.rows) {
          const code = rowTypes.indexOf(type);
          insert.run(revision, code, resource, value, checksumOf(revision, code, resource, value));
        }
        for (const revision of change.forget) forget.run(revision);
        if (change.floor !== floor) setFloor.run(change.floor);
        commit.run();
      } catch (error) {
        // SQLite may have rolled back by itself (a full disk does that).
        if (database.isTransaction) database.exec("ROLLBACK");
        throw error;
      }
      floor = change.floor;
      room?.written();
    },
    sync: journal === undefined ? undefined : () => sync(journal),
    settle() {
      const { busy } = checkpoint.get() ?? {};
      if (busy === 1) throw new Error("the journal is in use");
      room?.cut();
    },
    close() {
      isClosed = true;
      room?.close();
      database.close();
      if (journal !== undefined && syncing === 0) closeSync(journal);
    },
  };
}

const damaged =
  "the file is damaged; restore it, or move it away and start afresh (`sqlite3 FILE .recover` reads what is left)";
const notAllowed = "check that the folder exists and that this user may write there";

// https://www.sqlite.org/rescode.html, primary codes
const cures: ReadonlyMap<number, string> = new Map([
  [5 /* SQLITE_BUSY */, "another process uses it; stop that lab first (`fairlead down`)"],
  [8 /* SQLITE_READONLY */, notAllowed],
  [11 /* SQLITE_CORRUPT */, damaged],
  [13 /* SQLITE_FULL */, "the disk is full; make room"],
  [14 /* SQLITE_CANTOPEN */, notAllowed],
  [26 /* SQLITE_NOTADB */, damaged],
]);

/** A row that is not what was written. */
export function damagedRow(path: string, revision: number, resource: string): StoreError {
  return new StoreError(`open store ${path}: row ${revision} of ${resource} is not what was written: ${damaged}`);
}

function openError(path: string, cause: unknown): StoreError {
  const message = cause instanceof Error ? cause.message : String(cause);
  return new StoreError(`open store ${path}: ${message}: ${cureOf(cause)}`, { cause });
}

function cureOf(cause: unknown): string {
  const code = (cause as { errcode?: number } | undefined)?.errcode;
  const cure = code === undefined ? undefined : cures.get(code & 0xff);
  if (cause instanceof Error && "syscall" in cause) return notAllowed;
  return cure ?? "if the file is damaged, move it away and start afresh";
}
