// Mounts of the current mount namespace: bind, tmpfs, read-only, and making a directory the root.
// Synchronous and on the calling thread, so they act where the thread is at that moment (process.ts steps into other namespaces).
//
// Not here: which directories a container sees (lab/pods/root.ts).

import fs from "node:fs";
import { check, libc } from "./ffi.ts";

// linux/mount.h
export const MS_RDONLY = 1;
export const MS_NOSUID = 2;
export const MS_NODEV = 4;
export const MS_NOEXEC = 8;
export const MS_REMOUNT = 32;
export const MS_BIND = 4096;
export const MS_REC = 16384;
export const MNT_DETACH = 2;

const mount = libc(
  "int mount(const char *source, const char *target, const char *type, unsigned long flags, const char *data)",
);
const umount2 = libc("int umount2(const char *target, int flags)");
const pivot_root = libc("int pivot_root(const char *newRoot, const char *putOld)");
// glibc before 2.36 has no mount_setattr: by number (442 on every processor), declared with the arguments this call takes.
const syscallMountSetattr = libc(
  "long syscall(long number, int dirfd, const char *path, unsigned int flags, void *attributes, size_t size)",
);

/** A file system of its own: `tmpfs`, `devpts`, `proc`, `sysfs`, `mqueue`, `overlay`. Throws KernelError. */
export function mountFilesystem(
  type: string,
  target: string,
  options: { readonly flags?: number; readonly data?: string } = {},
): void {
  check(`mount ${type} at ${target}`, mount(type, target, type, options.flags ?? 0, options.data ?? null));
}

/** Takes a mount away; whoever still uses it keeps it until then. Throws KernelError. */
export function unmount(target: string): void {
  check(`unmount ${target}`, umount2(target, MNT_DETACH));
}

/** Shows `source` (a file or a directory with everything mounted below it) at `target` too. Throws KernelError. */
export function bindMount(source: string, target: string, options: { readonly readOnly?: boolean } = {}): void {
  check(`bind ${source} at ${target}`, mount(source, target, null, MS_BIND | MS_REC, null));
  if (options.readOnly === true) makeReadOnly(target);
}

/** Makes the mounts at and below a path read-only and without set-uid programs. Throws KernelError. */
export function makeReadOnly(target: string): void {
  // linux/mount.h: struct mount_attr { attr_set, attr_clr, propagation, userns_fd }, each 64 bits.
  const attributes = new BigUint64Array([MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID, 0n, 0n, 0n]);
  check(
    `make ${target} read-only`,
    syscallMountSetattr(442, AT_FDCWD, target, AT_RECURSIVE, new Uint8Array(attributes.buffer), 32),
    "it needs Linux 5.12",
  );
}

/** Makes a mounted directory the root of this mount namespace, and the old root unreachable. Throws KernelError. */
export function changeRoot(directory: string): void {
  fs.accessSync(directory);
  check(`enter ${directory}`, chdir(directory));
  // pivot_root(2), NOTES: with both arguments "." the old root is stacked on the new one, and can be taken away at once.
  check(`make ${directory} the root`, pivot_root(".", "."));
  check("let go of the old root", umount2(".", MNT_DETACH));
  check("enter the new root", chdir("/"));
}

// Not process.chdir: that would have Node remember a directory of another mount namespace.
const chdir = libc("int chdir(const char *path)");

// linux/fcntl.h, linux/mount.h
const AT_FDCWD = -100;
const AT_RECURSIVE = 0x8000;
const MOUNT_ATTR_RDONLY = 1n;
const MOUNT_ATTR_NOSUID = 2n;
