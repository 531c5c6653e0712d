// Starts a lab's daemon in namespaces of its own, and finds, stops and sweeps one that runs.
// This is the host's side: nothing here touches the host's network; the daemon gets private user, network, mount, uts, ipc and pid namespaces.
//
// Not here: what the daemon does (daemon.ts), what it is asked (control.ts).

import { spawn } from "node:child_process";
import { closeSync, existsSync, openSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { createServer, type Server, type Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import process from "node:process";
import { unshareFlags } from "../kernel/refusal.ts";
import type { Progress } from "./config.ts";
import type { LabPaths } from "./paths.ts";

const daemonFile = fileURLToPath(new URL("daemon.ts", import.meta.url));
const outsideFile = fileURLToPath(new URL("outside/main.ts", import.meta.url));

/**
 * Starts the daemon and resolves when it is ready to be asked. `packets: "off"` starts it as a plain process without namespaces.
 * Throws Error with the daemon's own words where it does not come up.
 */
export async function launchDaemon(
  paths: LabPaths,
  options: {
    readonly packets: "on" | "off";
    /** Of the API server (`openApiListener`); the daemon gets it, here it is closed. */
    readonly listener: Server;
    /** Ports of the host's loopback whose listeners the daemon gets, from descriptor 6 on. */
    readonly publish?: readonly number[];
    readonly progress: (line: Progress) => void;
  },
): Promise<void> {
  const { listener } = options;
  const published = await openPublished(options.publish ?? []).catch((error: unknown) => {
    listener.close();
    throw error;
  });
  const log = openSync(paths.log, "a", 0o600);
  const node = process.execPath;
  const flags = ["--disable-warning=ExperimentalWarning"];
  // The helper outside the namespaces comes first: its pipe (a socket pair) is inherited by the daemon as descriptor 4.
  const helper = spawn(node, [...flags, outsideFile, "3"], {
    detached: true,
    stdio: ["ignore", "ignore", log, "pipe"],
    cwd: "/",
  });
  const toHelper = helper.stdio[3] as Socket;
  const daemon = [node, ...flags, daemonFile, paths.folder];
  const [command, commandArguments] =
    options.packets === "on"
      ? // sh stays as process 1 and reaps orphans.
        ["unshare", [...unshareFlags, "sh", "-c", '"$0" "$@"; exit $?', ...daemon]]
      : [node, daemon.slice(1)];
  const child = spawn(command, commandArguments, {
    detached: true,
    // Inherited listeners stay what they are: one opened here listens on the host's loopback for a daemon that has no host network.
    stdio: ["ignore", log, log, "pipe", toHelper, descriptorOf(listener), ...published.map(descriptorOf)],
    cwd: "/",
  });
  toHelper.destroy();
  listener.close();
  for (const each of published) each.close();
  helper.unref();
  closeSync(log);
  if (child.pid !== undefined) {
    // There whole or not at all: who is killed here must not leave a lab that nobody finds.
    const draft = `${paths.pid}.new`;
    writeFileSync(draft, JSON.stringify({ ...processOf(child.pid), helper: processOf(helper.pid) }), { mode: 0o600 });
    renameSync(draft, paths.pid);
  }
  try {
    await readUntilReady(child, paths, options.progress);
  } catch (error) {
    kill(readProcesses(paths));
    throw error;
  }
  child.unref();
}

/**
 * Listens on the port a lab's API server gets: the wished one, or the next free one. Its kubeconfig names it, so it is kept with the lab.
 * The listener goes to `launchDaemon`: who closed it and opened it anew might find that another lab was quicker.
 */
export async function openApiListener(wished: number): Promise<{ readonly listener: Server; readonly port: number }> {
  for (let port = wished; port < wished + 100; port++) {
    try {
      return { listener: await openListener(port, "listen for the API server"), port };
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EADDRINUSE") throw error;
    }
  }
  throw new Error(`find a port for the API server: 127.0.0.1 ports ${wished} to ${wished + 99} are all taken`);
}

// Node has no public name for a listener's descriptor; a child takes only numbers and streams.
function descriptorOf(server: Server): number {
  const { fd } = (server as unknown as { _handle: { fd: number } })._handle;
  return fd;
}

async function openPublished(ports: readonly number[]): Promise<readonly Server[]> {
  const open: Server[] = [];
  try {
    for (const port of ports) open.push(await openListener(port, "publish a Service"));
    return open;
  } catch (error) {
    for (const each of open) each.close();
    throw error;
  }
}

function openListener(port: number, doing: string): Promise<Server> {
  // Who comes before the daemon has the listener is to come again.
  const server = createServer((early) => early.destroy());
  return new Promise((resolve, reject) => {
    server.once("error", (error: NodeJS.ErrnoException) => {
      const cure =
        error.code === "EADDRINUSE"
          ? ": another program has it; choose another host port"
          : error.code === "EACCES"
            ? ": ports below 1024 are the administrator's; choose one above"
            : "";
      reject(
        Object.assign(new Error(`${doing} on 127.0.0.1:${port}: ${error.code}${cure}`, { cause: error }), {
          code: error.code,
        }),
      );
    });
    // It holds nobody up who meets an error before it is handed on.
    server.listen({ host: "127.0.0.1", port }, () => resolve(server.unref()));
  });
}

/** A process; its start time guards against a reused pid. */
interface LabProcess {
  readonly pid: number;
  readonly startTime: string;
}

/** Is the lab's outermost process alive? */
export function isRunning(paths: LabPaths): boolean {
  return isAlive(readProcesses(paths));
}

/** Kills the lab's outermost process and with it, by --kill-child, everything inside, and its helper outside; resolves when both are gone. */
export async function killDaemon(paths: LabPaths): Promise<void> {
  const known = readProcesses(paths);
  kill(known);
  // Alone, it would end by itself, a little later: nothing it has is worth the wait.
  kill(known?.helper);
  for (let tries = 0; tries < 500 && (isAlive(known) || isAlive(known?.helper)); tries++) await delay(10);
}

/** Removes every file of the lab. */
export function removeLab(paths: LabPaths): void {
  rmSync(paths.control, { force: true });
  rmSync(paths.folder, { recursive: true, force: true });
}

function readUntilReady(
  child: ReturnType<typeof spawn>,
  paths: LabPaths,
  progress: (line: Progress) => void,
): Promise<void> {
  const pipe = child.stdio[3];
  return new Promise((resolve, reject) => {
    let text = "";
    const fail = (why: string): void => {
      reject(new Error(`start the lab's daemon: ${why} (its log: ${paths.log})`));
    };
    child.once("error", (error) => fail(error.message));
    child.once("exit", (code, signal) => fail(lastLines(paths.log) ?? `it ended with ${signal ?? `status ${code}`}`));
    if (!pipe || !("on" in pipe)) return fail("no progress pipe");
    pipe.on("data", (chunk: Buffer) => {
      text += chunk.toString("utf8");
      for (let end = text.indexOf("\n"); end >= 0; end = text.indexOf("\n")) {
        const line = JSON.parse(text.slice(0, end)) as Progress;
        text = text.slice(end + 1);
        if (line.kind === "waiting") {
          // `unshare --kill-child` asks the kernel to kill its child only after it has made it: killed between the two, it would leave a
          // daemon behind that nobody finds. From here on that moment is over.
          if (isRunning(paths) && "write" in pipe) pipe.write("go\n");
          else pipe.destroy();
          continue;
        }
        progress(line);
        if (line.kind === "failed") fail(line.message);
        if (line.kind === "ready") {
          child.removeAllListeners();
          pipe.removeAllListeners();
          if ("destroy" in pipe) pipe.destroy();
          resolve();
        }
      }
    });
  });
}

/** The outer `unshare` ignores TERM and INT: only KILL ends it. */
function kill(one: LabProcess | undefined): void {
  if (one === undefined || !isAlive(one)) return;
  try {
    process.kill(one.pid, "SIGKILL");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

/** What the lab's file of pids says: its outermost process, and its helper outside the namespaces. */
function readProcesses(paths: LabPaths): (LabProcess & { readonly helper?: LabProcess }) | undefined {
  if (!existsSync(paths.pid)) return undefined;
  try {
    return JSON.parse(readFileSync(paths.pid, "utf8")) as LabProcess & { readonly helper?: LabProcess };
  } catch {
    return undefined;
  }
}

function processOf(pid: number | undefined): LabProcess | undefined {
  const startTime = pid === undefined ? undefined : startTimeOf(pid);
  return pid === undefined || startTime === undefined ? undefined : { pid, startTime };
}

function isAlive(one: LabProcess | undefined): boolean {
  return one !== undefined && startTimeOf(one.pid) === one.startTime;
}

// proc(5): field 22 of /proc/PID/stat, counted after the command's closing parenthesis; a zombie (Z) is not running.
function startTimeOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return fields[0] === "Z" ? undefined : fields[19];
  } catch {
    return undefined;
  }
}

function lastLines(file: string): string | undefined {
  const text = readFileSync(file, "utf8").trimEnd();
  return text === "" ? undefined : text.split("\n").slice(-3).join(" | ");
}
