// What containers write, kept on disk in the container runtime's format, so that it outlives the container and the lab:
//   2026-01-31T12:00:00.123456789Z stdout F the line
// (F: a full line, P: the beginning of one that goes on). One file per run of a container, the previous run's kept, sizes bounded.
//
// Lines are collected for a few milliseconds and appended in one write; a thousand idle containers keep no file open, and one that has
// said nothing has none.

import fs from "node:fs";
import { dirname, join } from "node:path";

/** The log of one run of a container. */
export interface ContainerLog {
  /** Bytes as the container wrote them; lines are cut here. */
  write(stream: "stdout" | "stderr", chunk: Uint8Array): void;
  /** One line of a server that lives in the daemon. */
  line(text: string): void;
  /** Ends a line without newline and writes everything to disk. */
  close(): void;
}

export interface LogStore {
  /** Opens the log of a container's nth run; of the earlier runs only the last is kept. */
  open(pod: LogPod, container: string, run: number): ContainerLog;
  /**
   * Gives the newest run's lines (or the previous run's); see LogOptions. Throws Error when there is none: no file, and it has not run
   * either (`ran`, by the container's status).
   */
  read(
    pod: LogPod,
    container: string,
    options: LogOptions,
    ran?: { readonly newest: boolean; readonly previous: boolean },
  ): LogReader;
  /** The last bytes of the newest run, for termination messages. */
  tail(pod: LogPod, container: string, limits: { readonly lines: number; readonly bytes: number }): string;
  remove(pod: LogPod): void;
}

export interface LogPod {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
}

/** As `kubectl logs` has them. */
export interface LogOptions {
  readonly previous?: boolean;
  readonly follow?: boolean;
  readonly tailLines?: number;
  readonly limitBytes?: number;
  readonly timestamps?: boolean;
  /** Milliseconds since 1970. */
  readonly since?: number;
}

export interface LogReader {
  /** Calls back with pieces of text; resolves at the end: with `follow`, when the container's run is over or the reader is closed. */
  each(text: (chunk: string) => void): Promise<void>;
  close(): void;
}

/** Logs below a folder. A file is rotated at `bytesMax`, and one rotated file is kept beside it. */
export function createLogStore(
  folder: string,
  options: { readonly now: () => number; readonly bytesMax?: number },
): LogStore {
  const bytesMax = options.bytesMax ?? 5 * 1024 * 1024;
  const open = new Map<string, OpenLog>();
  const podFolderOf = (pod: LogPod): string => join(folder, `${pod.namespace}_${pod.name}_${pod.uid}`);
  const folderOf = (pod: LogPod, container: string): string => join(podFolderOf(pod), container);
  /** Runs on disk, and the newest of this store's life, which may have nothing there. Sorted. */
  const runsOf = (directory: string): readonly number[] => {
    const onDisk = runsIn(directory);
    const now = newest.get(directory);
    return now === undefined || onDisk.includes(now) ? onDisk : [...onDisk, now].sort((a, b) => a - b);
  };
  const newest = new Map<string, number>();
  /** By pod, the folders that `newest` knows. */
  const containersOf = new Map<string, Set<string>>();

  return {
    open(pod, container, run) {
      const directory = folderOf(pod, container);
      if (run > 1) for (const old of runsIn(directory).filter((other) => other < run - 1)) removeRun(directory, old);
      const path = join(directory, `${run}.log`);
      const log = createOpenLog({ path, now: options.now, bytesMax, closed: () => open.delete(path), keep: run > 0 });
      open.set(path, log);
      newest.set(directory, run);
      const pods = podFolderOf(pod);
      containersOf.set(pods, (containersOf.get(pods) ?? new Set()).add(directory));
      return log;
    },
    read(pod, container, readOptions, ran = { newest: false, previous: false }) {
      const directory = folderOf(pod, container);
      const runs = runsOf(directory);
      const run = readOptions.previous === true ? runs.at(-2) : runs.at(-1);
      const isPrevious = readOptions.previous === true;
      if (run === undefined && (isPrevious ? ran.previous : ran.newest)) return silence;
      if (run === undefined) {
        const what = readOptions.previous === true ? "previous terminated container" : "container";
        throw new Error(`${what} "${container}" in pod "${pod.name}" not found`);
      }
      const path = join(directory, `${run}.log`);
      return createReader(path, open.get(path), readOptions);
    },
    tail(pod, container, limits) {
      const directory = folderOf(pod, container);
      const run = runsOf(directory).at(-1);
      if (run === undefined) return "";
      const path = join(directory, `${run}.log`);
      open.get(path)?.flush();
      const lines = readLines(path).map(({ text }) => text);
      return lines.slice(-limits.lines).join("\n").slice(-limits.bytes);
    },
    remove(pod) {
      const pods = podFolderOf(pod);
      for (const directory of containersOf.get(pods) ?? []) newest.delete(directory);
      containersOf.delete(pods);
      fs.rmSync(pods, { recursive: true, force: true });
    },
  };
}

interface OpenLog extends ContainerLog {
  flush(): void;
  /** Called after each flush with what was appended, and with undefined at the end. */
  readonly listeners: Set<(appended: string | undefined) => void>;
}

const flushDelayMs = 10;
// A line longer than this is cut into partial ones, as container runtimes do.
const lineBytesMax = 16 * 1024;

function createOpenLog(options: {
  readonly path: string;
  readonly now: () => number;
  readonly bytesMax: number;
  readonly closed: () => void;
  /** A file also for a run that says nothing: there is an earlier one, whose it would be taken for. */
  readonly keep: boolean;
}): OpenLog {
  const { path, now } = options;
  let pending = "";
  let timer: NodeJS.Timeout | undefined;
  /** Of the file; undefined before the first look at it. */
  let size: number | undefined;
  const partial = { stdout: "", stderr: "" };
  const decoders = { stdout: new TextDecoder(), stderr: new TextDecoder() };
  const listeners = new Set<(appended: string | undefined) => void>();

  /** The file is there from the first text on. */
  const begin = (): number => {
    fs.mkdirSync(dirname(path), { recursive: true });
    fs.appendFileSync(path, "");
    return fileSize(path);
  };
  const flush = (): void => {
    clearTimeout(timer);
    timer = undefined;
    if (pending === "") return;
    const text = pending;
    pending = "";
    size ??= begin();
    if (size + text.length > options.bytesMax && size > 0) {
      fs.renameSync(path, `${path}.1`);
      size = 0;
    }
    // The folder is gone when the pod is: its last words go nowhere.
    try {
      fs.appendFileSync(path, text);
      size += text.length;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    }
    for (const listener of listeners) listener(text);
  };
  const add = (stream: "stdout" | "stderr", tag: "F" | "P", text: string): void => {
    pending += `${new Date(now()).toISOString().slice(0, -1)}000000Z ${stream} ${tag} ${text}\n`;
    if (pending.length > 256 * 1024) flush();
    else timer ??= setTimeout(flush, flushDelayMs).unref();
  };
  const write = (stream: "stdout" | "stderr", chunk: Uint8Array): void => {
    const text = partial[stream] + decoders[stream].decode(chunk, { stream: true });
    const lines = text.split("\n");
    partial[stream] = lines.pop() ?? "";
    for (const line of lines) add(stream, "F", line);
    while (partial[stream].length > lineBytesMax) {
      add(stream, "P", partial[stream].slice(0, lineBytesMax));
      partial[stream] = partial[stream].slice(lineBytesMax);
    }
  };

  return {
    write,
    line: (text) => add("stdout", "F", text),
    flush,
    listeners,
    close() {
      for (const stream of ["stdout", "stderr"] as const) {
        if (partial[stream] !== "") add(stream, "F", partial[stream]);
        partial[stream] = "";
      }
      flush();
      if (options.keep) size ??= begin();
      options.closed();
      for (const listener of listeners) listener(undefined);
    },
  };
}

/** Of a container that has run and said nothing. */
const silence: LogReader = { each: () => Promise.resolve(), close: () => {} };

interface Line {
  readonly time: number;
  readonly stamp: string;
  readonly text: string;
}

function createReader(path: string, log: OpenLog | undefined, options: LogOptions): LogReader {
  let end: () => void = () => {};
  let closed = false;
  return {
    async each(text) {
      log?.flush();
      const since = options.since ?? 0;
      const lines = readLines(path).filter(({ time }) => time >= since);
      const wanted =
        options.tailLines === undefined ? lines : lines.slice(lines.length - Math.min(options.tailLines, lines.length));
      let room = options.limitBytes ?? Number.POSITIVE_INFINITY;
      const give = (some: readonly Line[]): void => {
        const all = some.map((line) => `${options.timestamps === true ? `${line.stamp} ` : ""}${line.text}\n`).join("");
        if (all === "" || room <= 0) return;
        const part = all.slice(0, room);
        room -= part.length;
        text(part);
      };
      give(wanted);
      if (options.follow !== true || log === undefined || closed || room <= 0) return;
      await new Promise<void>((resolve) => {
        const listener = (appended: string | undefined): void => {
          if (appended === undefined) return end();
          give(parseLines(appended));
          if (room <= 0) end();
        };
        end = () => {
          log.listeners.delete(listener);
          resolve();
        };
        log.listeners.add(listener);
      });
    },
    close() {
      closed = true;
      end();
    },
  };
}

function readLines(path: string): readonly Line[] {
  return parseLines(readText(`${path}.1`) + readText(path));
}

/** Lines of a log file; the parts of a cut line are joined. */
function parseLines(text: string): readonly Line[] {
  const lines: Line[] = [];
  let begun: Line | undefined;
  for (const row of text.split("\n")) {
    const match = /^(\S+) (?:stdout|stderr) ([FP]) (.*)$/s.exec(row);
    if (match === null) continue;
    const [, stamp = "", tag, rest = ""] = match;
    const line: Line =
      begun === undefined ? { stamp, time: Date.parse(stamp), text: rest } : { ...begun, text: begun.text + rest };
    begun = tag === "P" ? line : undefined;
    if (tag === "F") lines.push(line);
  }
  return lines;
}

function readText(path: string): string {
  try {
    return fs.readFileSync(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return "";
    throw error;
  }
}

function fileSize(path: string): number {
  return fs.statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}

function runsIn(directory: string): readonly number[] {
  try {
    return fs
      .readdirSync(directory)
      .flatMap((name) => (/^\d+\.log$/.test(name) ? [Number.parseInt(name, 10)] : []))
      .sort((a, b) => a - b);
  } catch {
    return [];
  }
}

function removeRun(directory: string, run: number): void {
  for (const name of [`${run}.log`, `${run}.log.1`]) fs.rmSync(join(directory, name), { force: true });
}
