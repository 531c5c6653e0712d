// Containers as real processes: one call makes the namespaces, the root and the first process; another starts a process beside it.
//
// Not here: what the container is made of (root.ts, volumes.ts, env.ts), when it is started again (runner.ts).

import fs from "node:fs";
import { Socket } from "node:net";
import { isAbsolute, join, normalize } from "node:path";
import type { Readable, Writable } from "node:stream";
import {
  capabilityNames,
  createPipe,
  holdCalls,
  inContainerOf,
  inNewContainer,
  oneGroupCalls,
  restrictCalls,
  startProcess,
  type NamespacedProcess,
  type ProcessEnd,
} from "../../kernel/process.ts";
import { openTerminal, takeTerminalCalls, type Terminal } from "../../kernel/pty.ts";
import type { StarterCall } from "../../kernel/starter.ts";
import { buildRoot, outerProc, procCalls, type RootPlan } from "./root.ts";
import type { Sandbox } from "./sandbox.ts";

/** What runs in a container. */
export interface Command {
  /** The program, found along the PATH of `env` inside the container, and its arguments. */
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** Made where it is missing. */
  readonly workingDirectory: string;
  /** A terminal for all three streams. */
  readonly terminal: boolean;
  /** Open standard input; else it is /dev/null. */
  readonly stdin: boolean;
}

/** What a container may do; see `rightsOf`. */
export interface Rights {
  readonly privileged: boolean;
  readonly capabilities: ReadonlySet<string>;
}

/** A running process with its streams. */
export interface ContainerProcess {
  /** In our own pid namespace; 0 for what runs in the daemon. */
  readonly pid: number;
  readonly stdin?: Writable;
  readonly stdout?: Readable;
  /** Absent with a terminal, which has one stream for both. */
  readonly stderr?: Readable;
  /** Resolves when the process has ended and its output has been read. */
  readonly ended: Promise<ProcessEnd>;
  kill(signal: NodeJS.Signals | number): boolean;
  resize(size: { readonly columns: number; readonly rows: number }): void;
  /** What it said before the first client attached, to that client only; for containers made for one client (stdinOnce). */
  takeEarlyOutput?(): readonly EarlyOutput[];
}

/** In the order in which it was said. */
export interface EarlyOutput {
  readonly stream: "stdout" | "stderr";
  readonly chunk: Buffer;
}

/** The container could not be started; the message says why, in the words people know from container runtimes. */
export class StartError extends Error {
  override readonly name = "StartError";
}

/** Starts the first process of a new container. Throws StartError. */
export function startContainer(options: {
  readonly sandbox: Sandbox;
  readonly root: RootPlan;
  readonly rights: Rights;
  readonly command: Command;
}): ContainerProcess {
  const { sandbox, root, rights, command } = options;
  return starting(() =>
    inNewContainer(sandbox.namespaces(), () => {
      buildRoot(root);
      return launch(command, { procPath: outerProc, calls: procCalls(rights), rights });
    }),
  );
}

/**
 * Makes a container without a program of its own: its first process only holds its namespaces, for the containers whose server
 * lives in the daemon and in which somebody wants to run something. Throws StartError.
 */
export function holdContainer(options: {
  readonly sandbox: Sandbox;
  readonly root: RootPlan;
  readonly rights: Rights;
}): NamespacedProcess {
  const { sandbox, root, rights } = options;
  return starting(() =>
    inNewContainer(sandbox.namespaces(), () => {
      buildRoot(root);
      return startProcess({
        path: "hold",
        argv: ["hold"],
        env: {},
        stdio: ["ignore", "ignore", "ignore"],
        calls: [
          ...procCalls(rights),
          { call: "setsid", values: [], failure: "ignore" },
          ...restrict(rights),
          ...holdCalls,
        ],
        procPath: outerProc,
      });
    }),
  );
}

/** Starts a process in the container whose first process is `pid`. Throws StartError. */
export function startInContainer(options: {
  readonly pid: number;
  readonly sandbox: Sandbox;
  readonly rights: Rights;
  readonly command: Command;
}): ContainerProcess {
  const { pid, sandbox, rights, command } = options;
  return starting(() =>
    inContainerOf(pid, sandbox.network, () => {
      untilProcIsMounted();
      return launch(command, { procPath: "/proc", calls: [], rights });
    }),
  );
}

/**
 * The first process of a container mounts its /proc and lets go of ours; whoever joins it in its first moments waits for that, about a
 * millisecond. Without it there would be nothing to start from, or more to see than is the container's business.
 */
function untilProcIsMounted(): void {
  const deadline = performance.now() + procMountMsMax;
  const word = new Int32Array(new SharedArrayBuffer(4));
  while (!fs.existsSync("/proc/version") || fs.existsSync(`${outerProc}/version`)) {
    if (performance.now() > deadline)
      throw new StartError("unable to start container process: the container's /proc is not mounted");
    Atomics.wait(word, 0, 0, 1);
  }
}

const procMountMsMax = 2000;

/** The rights a security context gives: containerd's default capabilities, plus and minus what it says. */
export function rightsOf(context: {
  readonly privileged?: boolean;
  readonly add?: readonly string[];
  readonly drop?: readonly string[];
}): Rights {
  const known = new Set(capabilityNames);
  if (context.privileged === true) return { privileged: true, capabilities: known };
  const plain = (names: readonly string[] | undefined): string[] =>
    (names ?? []).map((name) => name.toUpperCase().replace(/^CAP_/, ""));
  const add = plain(context.add);
  const drop = new Set(plain(context.drop));
  const base = drop.has("ALL") ? [] : defaultCapabilities;
  const all = add.includes("ALL") ? [...known] : [...base, ...add];
  return {
    privileged: false,
    capabilities: new Set(all.filter((name) => known.has(name) && !(drop.has(name) && !add.includes(name)))),
  };
}

// containerd's oci.defaultUnixCaps.
const defaultCapabilities: readonly string[] =
  "CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE SYS_CHROOT KILL AUDIT_WRITE".split(
    " ",
  );

function starting<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (error instanceof StartError) throw error;
    throw new StartError(`unable to start container process: ${(error as Error).message}`, { cause: error });
  }
}

function restrict(rights: Rights): readonly StarterCall[] {
  return rights.privileged ? [] : restrictCalls(rights.capabilities);
}

/** Runs inside the container's namespaces, at its root. */
function launch(
  command: Command,
  how: { readonly procPath: string; readonly calls: readonly StarterCall[]; readonly rights: Rights },
): ContainerProcess {
  const [name = ""] = command.argv;
  fs.mkdirSync(command.workingDirectory, { recursive: true });
  const path = findProgram(name, command.env["PATH"] ?? "", command.workingDirectory);
  const streams = command.terminal ? terminalStreams() : pipeStreams(command.stdin);
  try {
    const child = startProcess({
      path,
      argv: command.argv,
      env: command.env,
      stdio: streams.stdio,
      calls: [
        ...how.calls,
        ...(command.terminal ? takeTerminalCalls : [{ call: "setsid", values: [], failure: "ignore" } as const]),
        { call: "chdir", values: [command.workingDirectory] },
        ...restrict(how.rights),
        ...oneGroupCalls(),
      ],
      procPath: how.procPath,
    });
    return {
      ...streams.ours,
      pid: child.pid,
      ended: streams.drained(child.ended),
      kill: (signal) => child.kill(signal),
    };
  } catch (error) {
    streams.abandon();
    throw error;
  } finally {
    for (const fd of new Set(streams.stdio)) if (typeof fd === "number") fs.closeSync(fd);
  }
}

function findProgram(name: string, searchPath: string, directory: string): string {
  if (name === "") throw new StartError("unable to start container process: no command specified");
  const candidates = name.includes("/")
    ? [isAbsolute(name) ? name : join(directory, name)]
    : searchPath.split(":").map((folder) => join(folder === "" ? directory : folder, name));
  let refused: string | undefined;
  for (const candidate of candidates) {
    try {
      if (!fs.statSync(candidate).isFile()) {
        refused ??= name.includes("/") ? "is a directory" : undefined;
        continue;
      }
      fs.accessSync(candidate, fs.constants.X_OK);
      return normalize(candidate);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "EACCES") refused ??= "permission denied";
    }
  }
  const why = refused ?? (name.includes("/") ? "no such file or directory" : "executable file not found in $PATH");
  throw new StartError(`unable to start container process: exec: "${name}": ${why}`);
}

interface Streams {
  readonly stdio: readonly [number | "ignore", number | "ignore", number | "ignore"];
  readonly ours: Pick<ContainerProcess, "stdin" | "stdout" | "stderr" | "resize">;
  drained(ended: Promise<ProcessEnd>): Promise<ProcessEnd>;
  abandon(): void;
}

function pipeStreams(withStdin: boolean): Streams {
  // Real pipes, not the socket pairs Node makes: programs open /dev/stdout and /dev/stderr by name, which sockets refuse.
  const input = withStdin ? createPipe() : undefined;
  const output = createPipe();
  const errors = createPipe();
  const stdin = input === undefined ? undefined : new Socket({ fd: input.write, readable: false, writable: true });
  const stdout = new Socket({ fd: output.read, readable: true, writable: false });
  const stderr = new Socket({ fd: errors.read, readable: true, writable: false });
  // A program that ends without reading its input is no error of ours.
  stdin?.on("error", () => stdin.destroy());
  return {
    stdio: [input?.read ?? "ignore", output.write, errors.write],
    ours: { ...(stdin === undefined ? {} : { stdin }), stdout, stderr, resize: () => {} },
    async drained(ended) {
      const end = await ended;
      await Promise.all([finished(stdout), finished(stderr)]);
      stdin?.destroy();
      return end;
    },
    abandon() {
      for (const stream of [stdin, stdout, stderr]) stream?.destroy();
    },
  };
}

function terminalStreams(): Streams {
  const terminal: Terminal = openTerminal("/dev/ptmx");
  const { stream } = terminal;
  // Reading our end after the last process has closed the other gives EIO: that is how a terminal ends.
  stream.on("error", () => stream.destroy());
  return {
    stdio: [terminal.processFd, terminal.processFd, terminal.processFd],
    ours: { stdin: stream, stdout: stream, resize: (size) => terminal.resize(size) },
    async drained(ended) {
      const end = await ended;
      await finished(stream);
      return end;
    },
    abandon: () => stream.destroy(),
  };
}

/** Resolves when the stream has been read to its end; a descendant that keeps it open does not hold us up for more than half a second. */
function finished(stream: Readable): Promise<void> {
  if (stream.readableEnded || stream.destroyed) return Promise.resolve();
  return new Promise((resolve) => {
    const timer = setTimeout(() => stream.destroy(), 500);
    stream.once("close", () => {
      clearTimeout(timer);
      resolve();
    });
  });
}
