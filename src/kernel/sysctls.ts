// Sysctls of one network namespace: files below /proc/sys, read and written while inside it.
// Only namespaced ones have a place here (net/…): fs and vm belong to the whole machine and are refused.

import fs from "node:fs";

import { KernelError } from "./kernel.ts";
import type { NetworkNamespace } from "./namespaces.ts";
import { asOurOwn, protocol } from "./netlink-socket.ts";

/** The value, trimmed; undefined where the kernel has no such file. Throws KernelError. */
export function readSysctl(namespace: NetworkNamespace, kernelName: string, path: string): string | undefined {
  try {
    return namespace.run(() => fs.readFileSync(fileOf(path), "utf8")).trim();
  } catch (error) {
    if (codeOf(error) === "ENOENT") return undefined;
    throw sysctlError(`read sysctl ${path} of ${kernelName}`, error);
  }
}

/** Writes a value. Throws KernelError: ENOENT where there is no such file, EROFS, EACCES, EINVAL. */
export function writeSysctl(namespace: NetworkNamespace, kernelName: string, path: string, value: string): void {
  try {
    // Some of them take addresses and routes away (disable_ipv6).
    asOurOwn(namespace.id, protocol.route, () => namespace.run(() => writeFile(fileOf(path), value)));
  } catch (error) {
    throw sysctlError(`write sysctl ${path} of ${kernelName} to ${JSON.stringify(value)}`, error);
  }
}

/** One write to a file that exists, as procfs wants it. */
function writeFile(file: string, value: string): void {
  const fd = fs.openSync(file, fs.constants.O_WRONLY);
  try {
    fs.writeSync(fd, value);
  } finally {
    fs.closeSync(fd);
  }
}

/** A path is made of plain names below `net`; a link's name may contain dots, but is never one. */
function fileOf(path: string): string {
  const parts = path.split("/");
  if (parts[0] !== "net" || parts.some((part) => part === "" || part === "." || part === ".."))
    throw new KernelError(`sysctl ${path}: EINVAL: only those below net/ belong to a network namespace`, {
      code: "EINVAL",
    });
  return `/proc/sys/${path}`;
}

function codeOf(error: unknown): string | undefined {
  return (error as NodeJS.ErrnoException).code;
}

function sysctlError(doing: string, error: unknown): KernelError {
  if (error instanceof KernelError) return error;
  const code = codeOf(error) ?? "EIO";
  const cure = cures[code];
  return new KernelError(`${doing}: ${code}${cure === undefined ? "" : `: ${cure}`}`, { code, cause: error });
}

const cures: Readonly<Record<string, string | undefined>> = {
  ENOENT: "this kernel has no such setting, or its module is not loaded",
  EROFS: "/proc/sys is mounted read-only: run where it is writable (containers: --privileged or an unmasked /proc)",
  EACCES: "this setting belongs to the whole machine, not to a namespace",
  EPERM: "it needs CAP_NET_ADMIN in the user namespace that owns the network",
  EINVAL: "the kernel does not take this value",
};
