// Room in the journal for what will be written to it: zeros behind its end, so that commits write over blocks that the file has already.
// fdatasync(2) of a file that has grown waits for the file system's own journal, and with that for what all other programs have written
// (ext4(5), data=ordered); of one that has not, for its own blocks only.
//
// SQLite takes zeros for the end of the journal, as it takes what it has left there itself when it began the journal anew: a frame counts
// only with the salt of the header (https://www.sqlite.org/fileformat2.html#the_write_ahead_log).
//
// Not here: what is in the journal (journal.ts), when it begins anew (log.ts).

import { closeSync, fdatasync, fstatSync, openSync, statfsSync, writeSync } from "node:fs";
import { promisify } from "node:util";

export interface JournalRoom {
  /** The journal may have grown. To be called when nobody is writing to it. */
  written(): void;
  /** The journal has been cut off. */
  cut(): void;
  /** Makes no more room. */
  close(): void;
}

export interface JournalRoomOptions {
  readonly path: string;
  /** How large the journal gets. */
  readonly bytes: number;
  /** Milliseconds until room is made: whoever opens the store has more to do at first. */
  readonly afterMs: number;
}

/** A smaller journal is left alone: nobody writes to such a store. */
const bytesMin = 64 * 1024;

/** So much at once: a commit in between waits for it. */
const pieceBytes = 1024 * 1024;

/** So many times the room must be free, or others need it more. */
const freeTimes = 16;

const sync = promisify(fdatasync);

/**
 * Makes room in pieces, one when the last one is on the disk. Each is written behind the end of the file in the same turn in which that is
 * asked for, and SQLite writes in turns of the same thread: so the two never meet. Where there is no room on the disk, commits go on without.
 */
export function openJournalRoom({ path, bytes, afterMs }: JournalRoomOptions): JournalRoom {
  // Of its own: the system tells each descriptor once of what could not be written, and the commits' must hear of it.
  const descriptor = openSync(path, "r+");
  let [isDue, isGrowing, isEnough, isClosed] = [false, false, false, false];
  const grow = async (): Promise<void> => {
    isGrowing = true;
    try {
      while (!isClosed && !isEnough) {
        const { size } = fstatSync(descriptor);
        if (size < bytesMin) break;
        isEnough = size >= bytes || freeBytes(path) < freeTimes * bytes;
        if (isEnough) break;
        writeSync(descriptor, zeros(Math.min(pieceBytes, bytes - size)), 0, undefined, size);
        await sync(descriptor);
      }
    } catch {
      isEnough = true;
    } finally {
      isGrowing = false;
      if (isClosed) closeSync(descriptor);
    }
  };
  const written = (): void => {
    if (isDue && !isGrowing && !isEnough && !isClosed) void grow();
  };
  const due = setTimeout(() => {
    isDue = true;
    written();
  }, afterMs).unref();
  return {
    written,
    cut() {
      isEnough = false;
    },
    close() {
      if (isClosed) return;
      isClosed = true;
      clearTimeout(due);
      if (!isGrowing) closeSync(descriptor);
    },
  };
}

function freeBytes(path: string): number {
  const { bavail, bsize } = statfsSync(path);
  return bavail * bsize;
}

let piece: Buffer | undefined;

function zeros(bytes: number): Buffer {
  return (piece ??= Buffer.alloc(pieceBytes)).subarray(0, bytes);
}
