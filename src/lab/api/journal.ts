// Is SQLite's journal whole? After a crash SQLite takes what it can read of it and drops the rest without a word: right for the last commit,
// which may be half written, but where bytes in the middle have changed every later commit would be lost.
// The format is at https://www.sqlite.org/fileformat2.html#the_write_ahead_log.
//
// Not here: reading the commits, which SQLite does.

import { readFileSync } from "node:fs";

const headerBytes = 32;
const frameHeaderBytes = 24;

/**
 * What is wrong with the journal of a database that nobody has open; undefined where nothing is, or there is none. Every commit but the
 * last is on the disk before the next begins: so two whole commits behind a part that cannot be read tell that it was readable once.
 */
export function journalProblem(path: string): string | undefined {
  const bytes = bytesOf(path);
  if (bytes === undefined || bytes.length <= headerBytes) return undefined;
  const header = bytes.subarray(0, headerBytes);
  // The system may have made room before it wrote.
  if (header.every((byte) => byte === 0)) return undefined;
  const magic = header.readUInt32BE(0);
  const isBig = magic === 0x377f0683;
  if (!isBig && magic !== 0x377f0682) return "its first bytes are those of something else";
  const start = checksum(header.subarray(0, 24), [0, 0], isBig);
  if (!isStoredAt(header, 24, start)) return "its first bytes have changed";
  const frameBytes = frameHeaderBytes + header.readUInt32BE(8);
  let before = start;
  let broken: number | undefined;
  let commitsBehind = 0;
  for (let at = headerBytes; at + frameBytes <= bytes.length; at += frameBytes) {
    const frame = bytes.subarray(at, at + frameBytes);
    // Left from before SQLite began the journal anew, or room that nobody has used yet (journal-room.ts).
    const isOld = frame.compare(header, 16, 24, 8, 16) !== 0;
    const isSound = !isOld && isStoredAt(frame, 16, sumOf(frame, before, isBig));
    if (!isSound) broken ??= at;
    else if (broken !== undefined && frame.readUInt32BE(4) !== 0) commitsBehind++;
    // A frame is judged by what stands before it, so that sound ones are known behind a broken one.
    before = [frame.readUInt32BE(16), frame.readUInt32BE(20)];
  }
  return commitsBehind < 2
    ? undefined
    : `bytes have changed at ${broken ?? 0}, and ${commitsBehind} commits are behind them`;
}

function bytesOf(path: string): Buffer | undefined {
  try {
    return readFileSync(path);
  } catch (error) {
    if ((error as { readonly code?: string }).code === "ENOENT") return undefined;
    throw error;
  }
}

type Sum = readonly [number, number];

function isStoredAt(bytes: Buffer, at: number, [first, second]: Sum): boolean {
  return bytes.readUInt32BE(at) === first && bytes.readUInt32BE(at + 4) === second;
}

/** Of a frame, given that of the frame before it. */
function sumOf(frame: Buffer, before: Sum, isBig: boolean): Sum {
  return checksum(frame.subarray(frameHeaderBytes), checksum(frame.subarray(0, 8), before, isBig), isBig);
}

/** Over pairs of 32-bit words. */
function checksum(bytes: Buffer, [first, second]: Sum, isBig: boolean): Sum {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let [s0, s1] = [first, second];
  for (let at = 0; at < bytes.length; at += 8) {
    s0 = (s0 + view.getUint32(at, !isBig) + s1) >>> 0;
    s1 = (s1 + view.getUint32(at + 4, !isBig) + s0) >>> 0;
  }
  return [s0, s1];
}
