// Named pipes, which Node can open but not make.

import { check, libc } from "./ffi.ts";

/** Makes a named pipe that only its owner may use. Throws KernelError: EEXIST, ENOENT … */
export function makeFifo(path: string): void {
  check(`make named pipe ${path}`, mkfifo(path, 0o600));
}

const mkfifo = libc("int mkfifo(const char *path, unsigned int mode)");
