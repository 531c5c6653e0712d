// Network namespaces as values: make one, open one, run code inside one.
// The main thread steps into a namespace, does synchronous work there and steps home before anything else runs.
//
// Invariant: outside of `run` the main thread is always in its home namespace. A thread that cannot get home ends the process,
// because whatever ran next would act on somebody else's network.
// Not here: the other kinds of namespaces (mounts.ts, process.ts), and what is inside (linux.ts).

import fs from "node:fs";
import process from "node:process";

import { check, libc } from "./ffi.ts";

/** A network namespace held open by a file descriptor; it lives at least until `close`. */
export interface NetworkNamespace {
  /** Open on the namespace (nsfs), close-on-exec. Good for setns and IFLA_NET_NS_FD. */
  readonly fd: number;
  /** The kernel's name for it, `net:[4026531840]`: equal for two values that mean the same namespace. */
  readonly id: string;
  /**
   * Runs synchronous work inside. Sockets and files of /proc/sys/net opened there belong to the namespace for good.
   * Throws what `work` throws; TypeError for an asynchronous function, whose later steps would run outside.
   */
  run<T>(work: () => T): T;
  /** Lets go of it. The kernel frees it when the last descriptor, socket, process and mount is gone. */
  close(): void;
}

/** A new, empty namespace with its loopback link up. Throws KernelError: EPERM without rights, ENOSPC past `user.max_net_namespaces`. */
export function createNetworkNamespace(): NetworkNamespace {
  const origin = here();
  check("create a network namespace", unshare(CLONE_NEWNET), creationCure);
  try {
    const fd = openNamespaceFile("/proc/thread-self/ns/net");
    try {
      bringLoopbackUp();
      return namespaceOf(fd);
    } catch (error) {
      fs.closeSync(fd);
      throw error;
    }
  } finally {
    enterOrDie(origin);
  }
}

/** The namespace the process lives in when it is not inside `run`. Closing it does nothing. */
export function currentNetworkNamespace(): NetworkNamespace {
  if (home === undefined) {
    const namespace = namespaceOf(openNamespaceFile("/proc/thread-self/ns/net"));
    home = { fd: namespace.fd, id: namespace.id, run: (work) => namespace.run(work), close: () => {} };
  }
  return home;
}

/** Opens a namespace by path: `/proc/1234/ns/net`, `/run/netns/blue`. Throws the file system's error (ENOENT …). */
export function openNetworkNamespace(path: string): NetworkNamespace {
  return namespaceOf(openNamespaceFile(path));
}

/** The namespace behind a descriptor that somebody else opened and leaves to us. */
export function adoptNetworkNamespace(fd: number): NetworkNamespace {
  return namespaceOf(fd);
}

/** Whether a descriptor is open on a network namespace. */
export function isNetworkNamespace(fd: number): boolean {
  // linux/nsfs.h
  const NS_GET_NSTYPE = 0xb703;
  return ioctl(fd, NS_GET_NSTYPE, null) === CLONE_NEWNET;
}

// linux/sched.h
const CLONE_NEWNET = 0x40000000;

const unshare = libc("int unshare(int flags)");
const setns = libc("int setns(int fd, int nstype)");
const socket = libc("int socket(int domain, int type, int protocol)");
const ioctl = libc("int ioctl(int fd, unsigned long request, void *argument)");
const close = libc("int close(int fd)");

const creationCure =
  "it needs CAP_SYS_ADMIN in a user namespace, a seccomp filter that allows unshare, and room in user.max_net_namespaces";

let home: NetworkNamespace | undefined;
/** Where the main thread is while work runs; undefined at home. */
let inside: NetworkNamespace | undefined;

function here(): NetworkNamespace {
  // Home must be opened before the first step away from it.
  return inside ?? currentNetworkNamespace();
}

function openNamespaceFile(path: string): number {
  return fs.openSync(path, fs.constants.O_RDONLY);
}

function namespaceOf(fd: number): NetworkNamespace {
  const id = `net:[${fs.fstatSync(fd).ino}]`;
  let open = true;
  const namespace: NetworkNamespace = {
    fd,
    id,
    run(work) {
      if (!open) throw new Error(`enter network namespace ${id}: it was closed`);
      return runInside(namespace, work);
    },
    close() {
      if (open) fs.closeSync(fd);
      open = false;
    },
  };
  return namespace;
}

function runInside<T>(namespace: NetworkNamespace, work: () => T): T {
  // Known before anything happens: an async function runs at least up to its first await.
  if (work.constructor.name === "AsyncFunction") throw new TypeError(asynchronous);
  const origin = here();
  if (origin.id === namespace.id) return refusePromise(work());
  check(`enter network namespace ${namespace.id}`, setns(namespace.fd, CLONE_NEWNET));
  const outer = inside;
  inside = namespace;
  try {
    return refusePromise(work());
  } finally {
    inside = outer;
    enterOrDie(origin);
  }
}

const asynchronous =
  "work inside a network namespace must be synchronous: what follows an await would run outside of it";

function refusePromise<T>(result: T): T {
  const thenable = typeof result === "object" && result !== null && "then" in result;
  if (thenable && typeof result.then === "function") throw new TypeError(asynchronous);
  return result;
}

function enterOrDie(namespace: NetworkNamespace): void {
  const result = setns(namespace.fd, CLONE_NEWNET);
  if (result >= 0) return;
  fs.writeSync(
    2,
    `fairlead: cannot return to network namespace ${namespace.id} (errno ${-result}); ending the process\n`,
  );
  process.abort();
}

/** The new namespace's `lo`, by the oldest interface there is: one socket, one ioctl. */
function bringLoopbackUp(): void {
  // AF_INET, SOCK_DGRAM | SOCK_CLOEXEC
  const fd = check("open a socket in a new network namespace", socket(2, 2 | 0x80000, 0));
  // linux/if.h: struct ifreq, 16 bytes of name and a union; ifr_flags is a short. IFF_UP = 1.
  const request = new Uint8Array(40);
  request.set(new TextEncoder().encode("lo"));
  new DataView(request.buffer).setInt16(16, 1, true);
  const SIOCSIFFLAGS = 0x8914;
  const result = ioctl(fd, SIOCSIFFLAGS, request);
  close(fd);
  check("bring up loopback in a new network namespace", result);
}
