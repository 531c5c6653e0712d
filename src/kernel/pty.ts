// Pseudo terminals without a native addon: the pair is made in a container's own devpts, our end becomes a stream.

import fs from "node:fs";
import tty from "node:tty";
import { check, libc } from "./ffi.ts";
import type { StarterCall } from "./starter.ts";

export interface Terminal {
  /** Our end: what the process writes is read here, what is written here the process reads. */
  readonly stream: tty.ReadStream;
  /** The process's end; to be closed here once the process has been started. */
  readonly processFd: number;
  resize(size: { readonly columns: number; readonly rows: number }): void;
}

/** Opens a pair by `ptmx`, a path valid in the mount namespace the main thread is in (`/dev/ptmx`). Throws KernelError or the file system's error. */
export function openTerminal(ptmx: string): Terminal {
  const fd = fs.openSync(ptmx, fs.constants.O_RDWR | fs.constants.O_NOCTTY);
  try {
    check(`unlock a terminal of ${ptmx}`, ioctlPointer(fd, TIOCSPTLCK, new Uint8Array(4)));
    const flags = fs.constants.O_RDWR | fs.constants.O_NOCTTY | O_CLOEXEC;
    const processFd = check(`open a terminal of ${ptmx}`, ioctlNumber(fd, TIOCGPTPEER, flags), "it needs Linux 4.13");
    return { stream: new tty.ReadStream(fd), processFd, resize: (size) => resize(fd, size) };
  } catch (error) {
    fs.closeSync(fd);
    throw error;
  }
}

/** The calls by which a starting process takes descriptor 0 as its controlling terminal. */
export const takeTerminalCalls: readonly StarterCall[] = [
  { call: "setsid", values: [], failure: "ignore" },
  { call: "ioctl", values: [0, 0x540e, 0] }, // TIOCSCTTY
];

// asm-generic/ioctls.h
const TIOCSWINSZ = 0x5414;
const TIOCSPTLCK = 0x40045431;
const TIOCGPTPEER = 0x5441;
const O_CLOEXEC = 0o2000000;

const ioctlPointer = libc("int ioctl(int fd, unsigned long request, void *argument)");
const ioctlNumber = libc("int ioctl(int fd, unsigned long request, long argument)");

function resize(fd: number, { columns, rows }: { readonly columns: number; readonly rows: number }): void {
  // struct winsize { rows, columns, xpixel, ypixel }, 16 bits each.
  const size = new Uint16Array([rows, columns, 0, 0]);
  check(`resize a terminal to ${columns}x${rows}`, ioctlPointer(fd, TIOCSWINSZ, new Uint8Array(size.buffer)));
}
