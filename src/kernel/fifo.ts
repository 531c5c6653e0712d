// Named pipes, which Node can open but not make.

import { check, libc } from "./ffi.ts";

/** Makes a named pipe that only its owner may use. Throws KernelError: EEXIST, ENOENT … */
export function makeFifo(path: string): void {
  check(`make named pipe ${path}`, mkfifo(path, 0o600));
}

/** Given the writing end of a pipe: does anybody hold the reading end? */
export function hasReader(fd: number): boolean {
  // poll(2): struct pollfd is the descriptor, what to look for (nothing: errors are told anyhow) and what was found.
  const pollfd = new Uint8Array(8);
  const view = new DataView(pollfd.buffer);
  view.setInt32(0, fd, true);
  const POLLERR = 0x8;
  return poll(pollfd, 1, 0) <= 0 || (view.getInt16(6, true) & POLLERR) === 0;
}

const mkfifo = libc("int mkfifo(const char *path, unsigned int mode)");
const poll = libc("int poll(void *fds, unsigned long count, int timeoutMs)");
