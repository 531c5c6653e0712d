// The way of bin/fairlead-cni, which has a shell's built-ins only: requests as files, answers through named pipes made beforehand.
//
//   slots/N   a free slot's pipe: we hold its writing end, so a reader waits while we live and hears the end when we die
//   asks/N    a request: who creates it (O_EXCL) has the slot; removed before it is begun, so where it is still there nothing was done
//   asked     "N\n": the request is complete
//   dead      a caller found nobody at the other end: who finds no slot free does not wait for one
//   missed/   deletions that were asked for while no agent ran
//
// A slot is used once. Numbers only grow, from agent to agent too, so whoever wakes up late with an old one reads an ended pipe.
// Invariant: nothing here waits for a caller. What is written to a pipe waits there; a caller who never comes costs a slot until the next sweep.
// Not here: what a request means (handle.ts).

import {
  closeSync,
  constants,
  fstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  unlinkSync,
  writeSync,
} from "node:fs";
import { Socket } from "node:net";
import { join } from "node:path";

import { hasReader, makeFifo } from "../../kernel/fifo.ts";
import { requestBytesMax } from "./request.ts";

export interface SlotsOptions {
  /** Ours alone (mode 0700). */
  readonly directory: string;
  /** Gives the text of the answer: the exit code and the output, a line each. `heard` is called when the caller has it, or cannot get it any more. */
  readonly answer: (
    request: Uint8Array,
  ) => Promise<{ readonly text: string; readonly heard: (heard: boolean) => void }>;
  /** Something lay here that fairlead-cni does not write. */
  readonly rubbish: (what: string) => void;
}

export interface Slots {
  /** The requests that nobody was there to do, oldest first, with the time of each in milliseconds since 1970; `done` removes one. */
  missed(): readonly { readonly request: Uint8Array; readonly atMs: number; readonly done: () => void }[];
  /** Callers that wait for an answer hear the end. */
  close(): void;
}

/** How many callers can come at one instant. */
const spareSlots = 128;
/** Taken slots are replaced when those who came at once have been served, if as many are left. */
const spareSlotsMin = 96;
const replaceAfterMs = 50;
const sweepIntervalMs = 10_000;
/** From the creation of a request to its announcement a shell needs microseconds. */
const unannouncedMsMax = 10_000;
const fullPipeRetryMs = 5;
const fullPipeMsMax = 10_000;

/** Opens for business: what earlier agents left is removed first. Throws the file system's error, KernelError. */
export function openSlots({ directory, answer, rubbish }: SlotsOptions): Slots {
  const slotsDirectory = join(directory, "slots");
  const asks = join(directory, "asks");
  const missedDirectory = join(directory, "missed");
  const askedPath = join(directory, "asked");
  const deadPath = join(directory, "dead");
  /** Number -> our end of the pipe. */
  const free = new Map<number, number>();
  // A hundred a millisecond: later agents begin higher.
  let lastNumber = Date.now() * 100;

  // Not `asks`: who asked an agent that is gone sees there whether it had begun.
  for (const path of [slotsDirectory, askedPath, deadPath]) rmSync(path, { recursive: true, force: true });
  for (const path of [slotsDirectory, asks, missedDirectory]) mkdirSync(path, { recursive: true, mode: 0o700 });
  makeFifo(askedPath);
  // Both ways: the pipe never ends when a caller goes.
  const asked = new Socket({ fd: openSync(askedPath, constants.O_RDWR | constants.O_NONBLOCK), writable: false });
  let replacing: NodeJS.Timeout | undefined;
  const replaceSlots = (): void => {
    replacing = undefined;
    try {
      while (free.size < spareSlots) addSlot();
    } catch (error) {
      // Somebody took the folder away: callers find nobody, and the agent has more to do than this.
      rubbish(`${slotsDirectory}: ${error instanceof Error ? error.message : String(error)}`);
    }
  };
  while (free.size < spareSlots) addSlot();

  function addSlot(): void {
    const number = ++lastNumber;
    // Nobody may find it before we hold it: he would read an ended pipe, and take us for dead.
    const unseen = join(directory, "slot");
    rmSync(unseen, { force: true });
    makeFifo(unseen);
    // The writing end can be opened while there is a reader, and the reader is not needed after that.
    const reader = openSync(unseen, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      free.set(number, openSync(unseen, constants.O_WRONLY | constants.O_NONBLOCK));
    } finally {
      closeSync(reader);
    }
    renameSync(unseen, join(slotsDirectory, String(number)));
  }
  const takeSlot = (number: number): number | undefined => {
    const fd = free.get(number);
    if (fd === undefined) return undefined;
    free.delete(number);
    rmSync(join(slotsDirectory, String(number)), { force: true });
    if (free.size < spareSlotsMin) addSlot();
    replacing ??= setTimeout(replaceSlots, replaceAfterMs).unref();
    return fd;
  };

  const serve = async (number: number): Promise<void> => {
    const fd = takeSlot(number);
    if (fd === undefined) return rubbish(`slot ${number}: announced, and not free`);
    try {
      // One that is too long is read a byte too far, and refused by name.
      const request = takeFile(join(asks, String(number)));
      // In this order: bin/fairlead-cni takes a slot whose pipe is there after it has made the request.
      if (request === undefined) return rubbish(`asks/${number}: announced, and not a request`);
      // A caller who is gone already is not served.
      if (!hasReader(fd)) return rubbish(`asks/${number}: its caller was gone`);
      // The first fairlead-cni, which an upgrade may find under way, looks for this and not for its request.
      if (isOfFirstVersion(request)) await put(fd, "taken\n");
      const { text, heard } = await answer(request);
      heard(await put(fd, text));
    } finally {
      closeSync(fd);
    }
  };

  let pending = "";
  asked.on("data", (chunk: Buffer) => {
    const lines = (pending + chunk.toString("latin1")).split("\n");
    pending = (lines.pop() ?? "").slice(0, 20);
    for (const line of lines) {
      if (/^[1-9][0-9]{0,14}$/.test(line)) void serve(Number(line));
      else rubbish(`asked: ${JSON.stringify(line.slice(0, 40))}`);
    }
  });
  asked.on("error", (error) => rubbish(`asked: ${error.message}`));

  /** Requests that were never announced (their caller was killed): the slot is replaced, and a caller who comes back hears the end. */
  const sweep = (): void => {
    rmSync(deadPath, { recursive: true, force: true });
    for (const name of readdirSync(asks)) {
      const path = join(asks, name);
      const number = Number(name);
      const age = Date.now() - (statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? Number.POSITIVE_INFINITY);
      if (age < unannouncedMsMax) continue;
      rmSync(path, { recursive: true, force: true });
      const fd = takeSlot(number);
      if (fd !== undefined) closeSync(fd);
    }
  };
  const timer = setInterval(sweep, sweepIntervalMs);
  timer.unref();

  return {
    missed() {
      return readdirSync(missedDirectory)
        .map((name) => join(missedDirectory, name))
        .flatMap((path) => {
          const atMs = statSync(path, { throwIfNoEntry: false })?.mtimeMs;
          const request = atMs === undefined ? undefined : readFile(path);
          const done = (): void => rmSync(path, { recursive: true, force: true });
          if (request !== undefined && atMs !== undefined) return [{ request, atMs, done }];
          done();
          return [];
        })
        .sort((a, b) => a.atMs - b.atMs);
    },
    close() {
      clearInterval(timer);
      clearTimeout(replacing);
      asked.destroy();
      for (const fd of free.values()) closeSync(fd);
      free.clear();
      // A slot without its pipe is no slot: callers see at once that nobody is here.
      for (const path of [slotsDirectory, askedPath]) rmSync(path, { recursive: true, force: true });
    },
  };
}

function isOfFirstVersion(request: Uint8Array): boolean {
  return Buffer.from(request.subarray(0, 15)).toString("latin1") === "fairlead-cni 1\0";
}

/** Writes all of a text to a pipe, waiting while it is full; false when its reader is gone or does not read. */
async function put(fd: number, text: string): Promise<boolean> {
  let rest = Buffer.from(text);
  const deadline = Date.now() + fullPipeMsMax;
  while (rest.length > 0) {
    try {
      rest = rest.subarray(writeSync(fd, rest));
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code !== "EAGAIN" || Date.now() > deadline) return false;
      await new Promise((resolve) => void setTimeout(resolve, fullPipeRetryMs));
    }
  }
  return true;
}

/** Reads a file and removes it. */
function takeFile(path: string): Uint8Array | undefined {
  const bytes = readFile(path);
  try {
    unlinkSync(path);
  } catch {
    // Somebody was quicker, or it is a folder: the sweep's business.
  }
  return bytes;
}

/** The first `requestBytesMax` bytes of a plain file, and one more where there are; else undefined. Never waits: a named pipe in its place is not opened for long. */
function readFile(path: string): Uint8Array | undefined {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW | constants.O_NOCTTY);
  } catch {
    return undefined;
  }
  try {
    const stat = fstatSync(fd);
    if (!stat.isFile()) return undefined;
    if (stat.size <= requestBytesMax) return readFileSync(fd);
    const beginning = new Uint8Array(requestBytesMax + 1);
    return beginning.subarray(0, readSync(fd, beginning));
  } finally {
    closeSync(fd);
  }
}
