// What a built-in server is: it runs in the daemon, on sockets made inside the pod's network namespace, so that a pod costs no process.

import type { Pod } from "../../../kube/kinds.ts";
import type { NetworkNamespace } from "../../../kernel/namespaces.ts";
import type { ContainerFiles } from "../files.ts";

/** What a server knows of the container it stands for. */
export interface WorkloadContext {
  readonly namespace: NetworkNamespace;
  readonly pod: Pod;
  readonly podIps: readonly string[];
  readonly nodeName: string;
  readonly hostname: string;
  /** Name of the container. */
  readonly container: string;
  /** The whole command line; args[0] is the program. */
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly files: ContainerFiles;
  /** What /etc/resolv.conf of the container says. */
  readonly resolvConf: string;
  /** A line of the container's log. */
  log(line: string): void;
  /** The server ends by itself, as a process would. */
  exit(code: number): void;
  /** Runs a command inside the container; resolves with what it wrote and its exit status. Throws StartError. */
  run(argv: readonly string[]): Promise<{ readonly output: string; readonly code: number }>;
}

export interface RunningWorkload {
  /** Closes every socket. Idempotent. */
  stop(): void;
  /** SIGTERM: the server goes on until it calls exit, or SIGKILL comes. A server without this ends at once. */
  terminate?(): void;
}

/** A server of an image. */
export interface BuiltinWorkload {
  /** For messages and `status`: `nginx`. */
  readonly name: string;
  /** Is this command line the server's own? If not, it is run as a real process. */
  serves(argv: readonly string[]): boolean;
  /** Starts it. Throws WorkloadError where the real program would write its complaint and exit; KernelError where a socket cannot be made. */
  start(context: WorkloadContext): RunningWorkload;
  /** A short command of the image that needs no process of its own; undefined where it is run as one. */
  command?(argv: readonly string[]): WorkloadCommand | undefined;
}

/** Runs from the daemon what somebody executes in a container. Resolves with what it wrote to standard error, and its exit status. */
export type WorkloadCommand = (
  context: Pick<WorkloadContext, "namespace">,
  signal: AbortSignal,
) => Promise<{ readonly code: number; readonly errors: string }>;

/** The server does not start: its message goes to the log, and the container ends with this status. */
export class WorkloadError extends Error {
  override readonly name = "WorkloadError";
  readonly exitCode: number;

  constructor(message: string, exitCode = 1) {
    super(message);
    this.exitCode = exitCode;
  }
}

/** The program's own name in a command line: `nginx` of `/usr/sbin/nginx`. */
export function programOf(argv: readonly string[]): string {
  const [program = ""] = argv;
  return program.slice(program.lastIndexOf("/") + 1);
}
