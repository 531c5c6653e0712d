// exec and attach: a container's process joined to a client's streams, and how it ended told as a Status.
// Upstream: pkg/kubelet/cri/streaming/remotecommand (exec.go, attach.go).

import type { IncomingMessage } from "node:http";
import type { Duplex, Readable, Writable } from "node:stream";
import { badRequest } from "../../api/errors.ts";
import { StatusError } from "../../api/store.ts";
import { isTrue } from "../target.ts";
import type { ContainerProcess } from "../../pods/container.ts";
import type { ContainerName, Kubelet } from "../../pods/kubelet.ts";
import type { LogReader } from "../../pods/logs.ts";
import { openRemoteStreams, type EndStatus, type RemoteStreams, type StreamChoice } from "./remote-streams.ts";

/** Runs a command in a container for a client. Throws StatusError before the upgrade is answered. */
export async function serveExec(
  kubelet: Pick<Kubelet, "exec">,
  where: ContainerName,
  query: URLSearchParams,
  connection: readonly [IncomingMessage, Duplex, Buffer],
): Promise<void> {
  const command = query.getAll("command");
  if (command.length === 0) throw badRequest("you must specify at least 1 command");
  const choice = choiceOf(query);
  const streams = await openRemoteStreams(...connection, choice);
  let process: ContainerProcess;
  try {
    process = kubelet.exec(where, { argv: command, tty: choice.tty, stdin: choice.stdin });
  } catch (error) {
    await streams.finish(notStarted((error as Error).message));
    return;
  }
  join(process, streams, choice.tty);
  const end = await Promise.race([process.ended, streams.closed]);
  // Whoever asked is gone: nobody would ever read what it says, or end it.
  if (end === undefined) process.kill("SIGKILL");
  const { code, failure } = end ?? (await process.ended);
  await delivered(streams);
  if (failure !== undefined) await streams.finish(notStarted(failure));
  else await streams.finish(code === 0 ? success : exitStatus(code, command));
}

/** Joins a client to a container's first process. Throws StatusError before the upgrade is answered. */
export async function serveAttach(
  kubelet: Pick<Kubelet, "attach" | "logs">,
  where: ContainerName,
  options: { readonly query: URLSearchParams; readonly tty: boolean; readonly stdinOnce: boolean },
  connection: readonly [IncomingMessage, Duplex, Buffer],
): Promise<void> {
  const choice = choiceOf(options.query);
  const process = attached(kubelet, where);
  if (process === undefined) return followLog(kubelet, where, choice, connection);
  const streams = await openRemoteStreams(...connection, choice);
  for (const { stream, chunk } of process.takeEarlyOutput?.() ?? []) streams[stream]?.write(chunk);
  const leave = [
    copyAttached(process.stdout, streams.stdout, streams),
    copyAttached(process.stderr, streams.stderr, streams),
  ];
  const { stdin } = process;
  const detached = Promise.withResolvers<void>();
  if (stdin !== undefined) {
    streams.stdin?.on("data", (chunk: Buffer) => {
      if (stdin.writable) stdin.write(chunk);
    });
    streams.stdin?.once("end", () => {
      if (options.stdinOnce && !options.tty) stdin.end();
      // An input that stays open for the next one: who has nothing more to say to it leaves, as with containerd.
      else detached.resolve();
    });
  } else streams.stdin?.resume();
  if (options.tty) streams.onResize((size) => process.resize(size));
  await Promise.race([process.ended, streams.closed, detached.promise]);
  for (const end of leave) end();
  await delivered(streams);
  await streams.finish(success);
}

/** Undefined for a server in the daemon: it has no process. Throws StatusError 404 where the container has ended, which its status may not say yet. */
function attached(kubelet: Pick<Kubelet, "attach">, where: ContainerName): ContainerProcess | undefined {
  try {
    return kubelet.attach(where);
  } catch {
    throw new StatusError(404, "NotFound", `container not found (${JSON.stringify(where.container)})`);
  }
}

/** What a server in the daemon says is its log; so attaching to it is following that. Throws StatusError 400 where there is none. */
async function followLog(
  kubelet: Pick<Kubelet, "logs">,
  where: ContainerName,
  choice: StreamChoice,
  connection: readonly [IncomingMessage, Duplex, Buffer],
): Promise<void> {
  let reader: LogReader;
  try {
    reader = kubelet.logs(where, { follow: true, tailLines: 0 });
  } catch (error) {
    throw badRequest((error as Error).message);
  }
  const streams = await openRemoteStreams(...connection, choice);
  streams.stdin?.resume();
  void streams.closed.then(() => reader.close());
  await reader.each((text) => {
    if (streams.stdout?.writable !== true) return;
    streams.stdout.write(text);
    if (streams.stdout.writableLength > lagBytesMax) reader.close();
  });
  await delivered(streams);
  await streams.finish(success);
}

/** Everything went well. */
export const success: EndStatus = { metadata: {}, status: "Success" };

/** The end of a command with another status than 0 (apimachinery remotecommand NonZeroExitCodeReason, ExitCodeCauseType). */
export function exitStatus(code: number, command: readonly string[]): EndStatus {
  return {
    metadata: {},
    status: "Failure",
    message: `command terminated with non-zero exit code: error executing command [${command.join(" ")}], exit code ${code}`,
    reason: "NonZeroExitCode",
    details: { causes: [{ reason: "ExitCode", message: String(code) }] },
  };
}

function notStarted(why: string): EndStatus {
  return internalError(`error executing command in container: failed to exec in container: ${why}`);
}

/** What went wrong on our side. */
export function internalError(message: string): EndStatus {
  return {
    metadata: {},
    status: "Failure",
    message: `Internal error occurred: ${message}`,
    reason: "InternalError",
    details: { causes: [{ message }] },
    code: 500,
  };
}

/** The streams a query asks for. Throws StatusError 400 where it asks for none. */
function choiceOf(query: URLSearchParams): StreamChoice {
  const has = (name: string): boolean => isTrue(query.get(name));
  const choice = { stdin: has("stdin"), stdout: has("stdout"), stderr: has("stderr"), tty: has("tty") };
  if (!choice.stdin && !choice.stdout && !choice.stderr)
    throw badRequest("you must specify at least 1 of stdin, stdout, stderr");
  return choice;
}

function join(process: ContainerProcess, streams: RemoteStreams, tty: boolean): void {
  copy(process.stdout, streams.stdout);
  copy(process.stderr, streams.stderr);
  const { stdin } = process;
  if (streams.stdin !== undefined && stdin !== undefined) {
    streams.stdin.pipe(stdin, { end: !tty });
    // A terminal has one stream for both directions; what ends input there is a character.
    if (tty) streams.stdin.once("end", () => stdin.writable && stdin.write(endOfTransmission));
    stdin.on("error", () => streams.stdin?.resume());
  }
  if (tty) streams.onResize((size) => process.resize(size));
}

// ASCII EOT, what Ctrl-D sends.
const endOfTransmission = "\u0004";

function copy(from: Readable | undefined, to: Writable | undefined): void {
  if (to === undefined) from?.resume();
  else from?.pipe(to, { end: false });
}

/** A client that lags behind by more than this is let go: the container must not wait for it. */
const lagBytesMax = 8 * 1024 * 1024;

/** Copies output that others read too; gives how to stop. */
function copyAttached(from: Readable | undefined, to: Writable | undefined, streams: RemoteStreams): () => void {
  if (from === undefined || to === undefined) return () => {};
  const listener = (chunk: Buffer): void => {
    if (!to.writable) return;
    to.write(chunk);
    if (to.writableLength <= lagBytesMax) return;
    from.off("data", listener);
    void streams.finish(internalError("the client reads more slowly than the container writes"));
  };
  from.on("data", listener);
  return () => void from.off("data", listener);
}

/** Resolves when all output has been handed to the connection, or the client is gone. */
async function delivered(streams: RemoteStreams): Promise<void> {
  const written = (stream: Writable | undefined): Promise<void> =>
    new Promise((resolve) => {
      if (stream === undefined || !stream.writable) resolve();
      else stream.write("", () => resolve());
    });
  await Promise.race([streams.closed, Promise.all([written(streams.stdout), written(streams.stderr)])]);
}
