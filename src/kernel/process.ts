// Processes in namespaces of their own: start one as the first of a container, start another beside it, know how it ended.
// Everything up to the fork happens synchronously on the main thread, which steps into the namespaces and home again.
//
// Invariant: outside of these functions the main thread is in its home namespaces, and no thread is started while it is away
// (a thread can neither be made with another pid namespace nor brought home afterwards).
// Not here: what a container sees (lab/pods/root.ts), network namespaces (namespaces.ts), terminals (pty.ts).

import { spawn, type ChildProcess } from "node:child_process";
import fs from "node:fs";
import { constants } from "node:os";
import process from "node:process";
import { check, errnoName, errnoText, libc } from "./ffi.ts";
import type { NetworkNamespace } from "./namespaces.ts";
import { assembleStarter, readReport, reportBytes, type StarterCall } from "./starter.ts";

/** How a process ended: `code` as shells count (128 + signal). */
export interface ProcessEnd {
  readonly code: number;
  readonly signal?: number;
  /** Why it never ran: a call of the starter failed, or the program could not be executed. */
  readonly failure?: string;
}

export interface NamespacedProcess {
  /** In our own pid namespace. */
  readonly pid: number;
  readonly ended: Promise<ProcessEnd>;
  /** Sends a signal; false when it has ended. */
  kill(signal: NodeJS.Signals | number): boolean;
}

/** The namespaces a pod's containers share besides the network: host name and System V IPC. */
export interface SharedNamespaces {
  readonly utsFd: number;
  readonly ipcFd: number;
  close(): void;
}

export interface StartOptions {
  /** Absolute, inside the container's root. */
  readonly path: string;
  /** Including argv[0]. */
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** Descriptors the process gets as 0, 1, 2; "ignore" is /dev/null. */
  readonly stdio: readonly [number | "ignore", number | "ignore", number | "ignore"];
  readonly calls: readonly StarterCall[];
  /** Where /proc of our own pid namespace is seen at the time of the exec: the starter is executed from there. */
  readonly procPath: string;
  /** What the calls mean, for the message when one fails. */
  readonly describe?: (index: number) => string;
}

/**
 * Opens the home namespaces and takes the main thread's file system view from the other threads (setns to a mount namespace wants that).
 * Called by everything below; calling it early, when all of Node's threads are running, is the caller's care. Idempotent. Throws KernelError.
 */
export function openHome(): void {
  if (home !== undefined) return;
  const open = (name: string): number => fs.openSync(`/proc/thread-self/ns/${name}`, "r");
  const opened = { mnt: open("mnt"), uts: open("uts"), ipc: open("ipc"), pid: open("pid") };
  check("unshare the main thread's file system view", unshare(CLONE_FS), refusedCure);
  home = opened;
  oneGroup = forbidsGroups() ? [{ call: "prctl", values: groupsFilter(), failure: "ignore" }] : [];
}

/** To be called when a thread has just been started: it came with the main thread's file system view, which must be that thread's alone. */
export function keepFileSystemView(): void {
  if (home !== undefined) check("unshare the main thread's file system view", unshare(CLONE_FS), refusedCure);
}

/** Makes a host name and IPC namespace. Throws KernelError. */
export function createSharedNamespaces(hostname: string): SharedNamespaces {
  return away(() => {
    check("create uts and ipc namespaces", unshare(CLONE_NEWUTS | CLONE_NEWIPC), refusedCure);
    const name = Buffer.from(hostname, "utf8");
    check(`set the host name ${hostname}`, sethostname(name, name.length));
    const utsFd = fs.openSync("/proc/thread-self/ns/uts", "r");
    const ipcFd = fs.openSync("/proc/thread-self/ns/ipc", "r");
    return {
      utsFd,
      ipcFd,
      close() {
        fs.closeSync(utsFd);
        fs.closeSync(ipcFd);
      },
    };
  });
}

/**
 * Runs `work` in a new mount namespace and with a new pid namespace for children, then steps home.
 * `work` builds the root and starts the first process with `startProcess`. It must be synchronous. Throws KernelError, and what work throws.
 */
export function inNewContainer<T>(
  namespaces: { readonly network: NetworkNamespace; readonly shared: SharedNamespaces; readonly pidOf?: number },
  work: () => T,
): T {
  return namespaces.network.run(() =>
    away(() => {
      check("create a mount namespace", unshare(CLONE_NEWNS), refusedCure);
      enterShared(namespaces.shared);
      if (namespaces.pidOf === undefined) check("create a pid namespace", unshare(CLONE_NEWPID), refusedCure);
      else enterPidNamespaceOf(namespaces.pidOf);
      return work();
    }),
  );
}

/** Runs synchronous `work` in all namespaces of a live process (and in the network namespace given), then steps home. Throws KernelError. */
export function inContainerOf<T>(pid: number, network: NetworkNamespace, work: () => T): T {
  return network.run(() =>
    away(() => {
      const fds = (["uts", "ipc", "pid", "mnt"] as const).map((name) => ({
        name,
        fd: fs.openSync(`/proc/${pid}/ns/${name}`, "r"),
      }));
      try {
        for (const { name, fd } of fds) check(`enter the ${name} namespace of process ${pid}`, setns(fd, 0));
      } finally {
        for (const { fd } of fds) fs.closeSync(fd);
      }
      return work();
    }),
  );
}

/** Starts a process where the main thread is now; only inside the functions above. Throws KernelError when not even the starter runs. */
export function startProcess(options: StartOptions): NamespacedProcess {
  const reportFd = openReports();
  const id = nextId++ & 0x7fffffff;
  const image = assembleStarter({ calls: options.calls, id, reportFd: reports?.write ?? 0 });
  const imageFd = writeMemoryFile(image);
  try {
    const child = spawn(`${options.procPath}/self/fd/${imageFd}`, [options.path, ...options.argv], {
      argv0: "fairlead-start",
      env: options.env,
      stdio: [...options.stdio],
    });
    return follow(child, id, reportFd, options);
  } finally {
    fs.closeSync(imageFd);
  }
}

/** The calls that take everything from a process that an unprivileged container has no business with. */
export function restrictCalls(capabilities: ReadonlySet<string>): readonly StarterCall[] {
  const dropped = capabilityNames.flatMap((name, number) => (capabilities.has(name) ? [] : [number]));
  return [
    // prctl(2): the bounding set limits what the coming execve gives to uid 0. Unknown to older kernels: EINVAL.
    ...dropped.map((number): StarterCall => ({
      call: "prctl",
      values: [PR_CAPBSET_DROP, number, 0, 0, 0],
      failure: "ignore",
    })),
    { call: "prctl", values: [PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0] },
  ];
}

/**
 * Where user_namespaces(7) forbids setgroups, it succeeds and does nothing: there is one group, so nothing to give up. Programs that give up
 * root's groups before anything else would end there, tcpdump among them. Empty where the kernel lets them.
 */
export function oneGroupCalls(): readonly StarterCall[] {
  return oneGroup;
}

/** Found out at home: inside a container's new root there is no /proc yet. */
let oneGroup: readonly StarterCall[] = [];

function forbidsGroups(): boolean {
  try {
    return fs.readFileSync("/proc/self/setgroups", "utf8").trim() === "deny";
  } catch {
    return false;
  }
}

/** prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, struct sock_fprog *): all calls but one are let pass (linux/filter.h, linux/seccomp.h). */
function groupsFilter(): StarterCall["values"] {
  // AUDIT_ARCH_X86_64 and __NR_setgroups, the same of AARCH64.
  const { machine, setgroups } =
    process.arch === "arm64" ? { machine: 0xc00000b7, setgroups: 159 } : { machine: 0xc000003e, setgroups: 116 };
  const [load, jumpIfEqual, answer] = [0x20, 0x15, 0x06];
  const instructions: readonly (readonly [number, number, number, number])[] = [
    [load, 0, 0, 4], // seccomp_data.arch
    [jumpIfEqual, 0, 3, machine],
    [load, 0, 0, 0], // seccomp_data.nr
    [jumpIfEqual, 0, 1, setgroups],
    [answer, 0, 0, 0x00050000], // SECCOMP_RET_ERRNO, and no error
    [answer, 0, 0, 0x7fff0000], // SECCOMP_RET_ALLOW
  ];
  const filter = new Uint8Array(instructions.length * 8);
  const view = new DataView(filter.buffer);
  for (const [index, [code, then, otherwise, value]] of instructions.entries()) {
    view.setUint16(index * 8, code, true);
    view.setUint8(index * 8 + 2, then);
    view.setUint8(index * 8 + 3, otherwise);
    view.setUint32(index * 8 + 4, value, true);
  }
  const program = new Uint8Array(16);
  program[0] = instructions.length;
  return [PR_SET_SECCOMP, SECCOMP_MODE_FILTER, { bytes: program, pointers: [{ at: 8, to: filter }] }];
}

/** The calls of a process that only waits, reaps orphans and holds its namespaces: the first process of a container that has no other. */
export const holdCalls: readonly StarterCall[] = [
  // struct kernel_sigaction { handler = SIG_IGN, flags, … , mask }: with SIGCHLD ignored the kernel reaps children by itself.
  { call: "rt_sigaction", values: [constants.signals.SIGCHLD, sigIgnore(), 0, 8] },
  { call: "ppoll", values: [0, 0, 0, 0, 8], failure: "repeat" },
];

/** Capability names as Kubernetes writes them, by number (linux/capability.h). */
export const capabilityNames: readonly string[] = (
  "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE " +
  "NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN " +
  "SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE " +
  "MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE"
).split(" ");

/** A pipe, both ends close-on-exec. Throws KernelError. */
export function createPipe(): { readonly read: number; readonly write: number } {
  const fds = new Int32Array(2);
  check("create a pipe", pipe2(new Uint8Array(fds.buffer), O_CLOEXEC));
  return { read: fds[0] ?? -1, write: fds[1] ?? -1 };
}

// linux/sched.h
const CLONE_FS = 0x00000200;
const CLONE_NEWNS = 0x00020000;
const CLONE_NEWUTS = 0x04000000;
const CLONE_NEWIPC = 0x08000000;
const CLONE_NEWPID = 0x20000000;
// linux/prctl.h
const PR_CAPBSET_DROP = 24;
const PR_SET_NO_NEW_PRIVS = 38;
const PR_SET_SECCOMP = 22;
const SECCOMP_MODE_FILTER = 2;
const O_CLOEXEC = 0o2000000;
const MFD_CLOEXEC = 1;

const unshare = libc("int unshare(int flags)");
const setns = libc("int setns(int fd, int type)");
const sethostname = libc("int sethostname(const void *name, size_t length)");
const pipe2 = libc("int pipe2(void *fds, int flags)");
const memfdCreate = libc("int memfd_create(const char *name, unsigned int flags)");

const refusedCure = "the lab needs user namespaces; see docs/requirements.md";

let home: { readonly mnt: number; readonly uts: number; readonly ipc: number; readonly pid: number } | undefined;
let abroad = false;
let reports: { readonly read: number; readonly write: number } | undefined;
const reportsById = new Map<number, number>();
let nextId = 1;

/** Runs work that changes the main thread's namespaces, and steps home whatever happens. */
function away<T>(work: () => T): T {
  openHome();
  if (abroad) return work();
  const directory = process.cwd();
  abroad = true;
  try {
    return work();
  } finally {
    returnHome(directory);
    abroad = false;
  }
}

function returnHome(directory: string): void {
  if (home === undefined) return;
  const failed = [home.mnt, home.pid, home.uts, home.ipc].find((fd) => setns(fd, 0) < 0);
  if (failed !== undefined) {
    fs.writeSync(2, "fairlead: cannot return to the home namespaces; ending the process\n");
    process.abort();
  }
  try {
    process.chdir(directory);
  } catch {
    process.chdir("/");
  }
}

function enterShared(shared: SharedNamespaces): void {
  check("enter the pod's uts namespace", setns(shared.utsFd, CLONE_NEWUTS));
  check("enter the pod's ipc namespace", setns(shared.ipcFd, CLONE_NEWIPC));
}

function enterPidNamespaceOf(pid: number): void {
  const fd = fs.openSync(`/proc/${pid}/ns/pid`, "r");
  try {
    check(`enter the pid namespace of process ${pid}`, setns(fd, CLONE_NEWPID));
  } finally {
    fs.closeSync(fd);
  }
}

function writeMemoryFile(bytes: Uint8Array): number {
  const fd = check("create a memory file", memfdCreate("fairlead-start", MFD_CLOEXEC));
  fs.writeSync(fd, bytes);
  return fd;
}

function follow(child: ChildProcess, id: number, reportFd: number, options: StartOptions): NamespacedProcess {
  const ended = new Promise<ProcessEnd>((resolve) => {
    child.once("error", (error: NodeJS.ErrnoException) =>
      resolve({ code: 128, failure: `start ${options.path}: ${error.code ?? error.message}` }),
    );
    child.once("exit", (code, signal) => {
      drainReports(reportFd);
      const index = reportsById.get(id);
      reportsById.delete(id);
      if (index !== undefined) resolve({ code: 128, failure: failureText(options, index, code ?? 0) });
      else if (signal === null) resolve({ code: code ?? 0 });
      else resolve({ code: 128 + constants.signals[signal], signal: constants.signals[signal] });
    });
  });
  return { pid: child.pid ?? -1, ended, kill: (signal) => child.pid !== undefined && child.kill(signal) };
}

function failureText(options: StartOptions, index: number, number: number): string {
  const call = options.calls[index];
  const words = `${errnoText(number).toLowerCase()} (${errnoName(number)})`;
  if (call === undefined) return `exec ${options.path}: ${words}`;
  return `${options.describe?.(index) ?? `${call.call} ${call.values.filter((value) => typeof value === "string").join(" ")}`}: ${words}`;
}

/** All starters report into one pipe: reports are atomic, carry an id, and are read when a process has ended. */
function openReports(): number {
  if (reports === undefined) {
    const fds = new Int32Array(2);
    check("create a pipe", pipe2(new Uint8Array(fds.buffer), O_CLOEXEC | fs.constants.O_NONBLOCK));
    reports = { read: fds[0] ?? -1, write: fds[1] ?? -1 };
  }
  return reports.read;
}

function drainReports(fd: number): void {
  const bytes = Buffer.alloc(reportBytes);
  for (;;) {
    try {
      if (fs.readSync(fd, bytes) !== reportBytes) return;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "EAGAIN") return;
      throw error;
    }
    const { id, index } = readReport(bytes);
    reportsById.set(id, index);
  }
}

function sigIgnore(): Uint8Array {
  const action = new Uint8Array(32);
  action[0] = 1; // SIG_IGN
  return action;
}
