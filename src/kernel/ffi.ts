// The C library by FFI: one way to declare a function, one way to call it and learn what went wrong.
// Each part of the program declares the calls it needs beside the code that makes them:
//
//   const setns = libc("int setns(int fd, int nstype)");
//   const result = setns(fd, CLONE_NEWNET);           // ≥ 0, or -errno
//   check("enter the namespace of pod-1", result);    // throws KernelError with the errno's name
//
// Invariant: calls are synchronous and run on the calling thread, which is what makes setns safe (namespaces.ts).
// Structures are written as bytes (a DataView) where they are used; buffers are passed as `void *` without a copy.

import os from "node:os";

import koffi from "koffi";

import { KernelError } from "./kernel.ts";

/** What a `void *` or `const void *` parameter takes. */
export type CPointer = Uint8Array | bigint | null;

/** A function of the C library. Its result is the C result, or `-errno` where C gives -1. */
export type CFunction = (...values: readonly (number | bigint | string | CPointer)[]) => number;

/** Declares a function of the C library by its C prototype. Only results that fit a double exactly (int, ssize_t, off_t in practice). */
export function libc(prototype: string): CFunction {
  const call = library().func(prototype);
  return (...values) => {
    const result = Number(call(...values));
    return result === -1 ? -koffi.errno() : result;
  };
}

/** Where bytes are, for structures that point at others. They must be held by a name until the call is over. */
export function addressOf(bytes: Uint8Array | Uint32Array): bigint {
  return koffi.address(bytes);
}

/** Gives a result of `libc` calls back, or throws KernelError: `doing` says what was tried to what, `cure` what may help. */
export function check(doing: string, result: number, cure?: string): number {
  if (result >= 0) return result;
  const code = errnoName(-result);
  throw new KernelError(`${doing}: ${code}: ${errnoText(-result)}${cure === undefined ? "" : `; ${cure}`}`, { code });
}

/** The name of an errno: `EEXIST`. Numbers without a name give `E<number>`. */
export function errnoName(errno: number): string {
  return errnoNames.get(errno) ?? `E${errno}`;
}

/** The C library's words for an errno: `File exists`. */
export function errnoText(errno: number): string {
  strerror ??= library().func("const char *strerror(int errnum)") as (errno: number) => string;
  return strerror(errno);
}

/** Numbers by name, of this platform: `errno.EEXIST`. */
export const errno: Readonly<Record<keyof typeof os.constants.errno, number>> = os.constants.errno;

// Linux knows more of them than Node names (asm-generic/errno.h); these are the ones netlink and namespaces give.
const errnoNames: ReadonlyMap<number, string> = new Map<number, string>([
  ...[
    [35, "EDEADLK"],
    [40, "ELOOP"],
    [44, "ECHRNG"],
    [49, "EUNATCH"],
    [85, "ERESTART"],
    [87, "EUSERS"],
    [93, "EPROTONOSUPPORT"],
    [94, "ESOCKTNOSUPPORT"],
    [96, "EPFNOSUPPORT"],
    [112, "EHOSTDOWN"],
    [121, "EREMOTEIO"],
  ].map(([number, name]): [number, string] => [number as number, name as string]),
  ...Object.entries(os.constants.errno).map(([name, number]): [number, string] => [number, name]),
  // The same numbers under two names: the ones Linux's own documentation uses.
  [11, "EAGAIN"],
  [95, "EOPNOTSUPP"],
]);

let loaded: ReturnType<typeof koffi.load> | undefined;
let strerror: ((errno: number) => string) | undefined;

/** The C library this process already runs on. */
function library(): ReturnType<typeof koffi.load> {
  if (loaded === undefined) {
    loaded = koffi.load(null);
    // Names that prototypes use and koffi does not know (LP64: x64 and arm64).
    koffi.alias("ssize_t", "int64_t");
    koffi.alias("off_t", "int64_t");
    koffi.alias("socklen_t", "uint32_t");
    koffi.alias("mode_t", "uint32_t");
    koffi.alias("pid_t", "int");
  }
  return loaded;
}
