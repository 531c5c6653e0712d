// One request of a runtime, from bytes to answer: read, done by the node's pod network, told in CNI's words. Never throws and always answers.
//
// Not here: the ways a request comes (slots.ts, socket.ts).

import { constants, openSync, closeSync, fstatSync, statSync } from "node:fs";

import { isNetworkNamespace } from "../../kernel/namespaces.ts";
import { CniError, attachmentId, cniCodes, type CniNetwork } from "./cni.ts";
import {
  answerVersion,
  decodeInvocation,
  readCall,
  type CniCall,
  type CniInvocation,
  type CniVersion,
} from "./request.ts";
import { errorResult, successResult, versionResult } from "./result.ts";

/** What fairlead-cni prints and ends with. */
export interface CniAnswer {
  readonly exitCode: 0 | 1;
  /** One line of JSON, or nothing. */
  readonly output: string;
  /** Takes back what was done, for an answer that nobody was there to hear. */
  readonly undo?: () => Promise<void>;
}

export interface CniHandling {
  readonly network: CniNetwork;
  /** A request that takes longer is answered with code 11, and taken back when it is done. */
  readonly answerWithinMs: number;
  readonly report: (event: CniEvent) => void;
  /** The id of an attachment that was just added. */
  readonly added: (id: string) => void;
}

/** What happened, for the agent's log. */
export type CniEvent =
  | { readonly kind: "failed"; readonly command: string; readonly who: string; readonly error: CniError }
  /** A capability was given that Fairlead does not act upon. */
  | { readonly kind: "ignored"; readonly who: string; readonly what: string }
  /** The caller was gone before it had its answer: what was done was taken back. */
  | { readonly kind: "unheard"; readonly who: string }
  /** A deletion that came while no agent ran was made up for. */
  | { readonly kind: "made up"; readonly who: string }
  /** Something in the folder was not what fairlead-cni writes. */
  | { readonly kind: "rubbish"; readonly what: string };

/** Answers one request. */
export async function answerRequest(bytes: Uint8Array, handling: CniHandling): Promise<CniAnswer> {
  let invocation: CniInvocation = { environment: new Map(), config: "" };
  try {
    invocation = decodeInvocation(bytes);
    const call = readCall(invocation);
    return await inTime(perform(call, invocation, handling), handling.answerWithinMs);
  } catch (error) {
    return failure(asCniError(error), invocation, handling);
  }
}

async function perform(call: CniCall, invocation: CniInvocation, handling: CniHandling): Promise<CniAnswer> {
  const { network } = handling;
  const version = answerVersion(invocation);
  switch (call.kind) {
    case "VERSION":
      return success(versionResult(askedVersion(invocation) ?? version));
    case "STATUS":
      await network.status();
      return nothing;
    case "GC":
      await network.collect(call.validIds, call.network);
      return nothing;
    case "ADD":
      return add(call, version, handling);
    case "DEL":
      // The namespace may be gone, and nothing of ours needs it.
      await network.delete(call.to.request);
      return nothing;
    case "CHECK":
      await within(call.to, "CHECK", (namespaceFd) => network.check({ ...call.to.request, namespaceFd }));
      return nothing;
  }
}

async function add(
  call: Extract<CniCall, { kind: "ADD" }>,
  version: CniVersion,
  { network, report, added }: CniHandling,
): Promise<CniAnswer> {
  const { request, netns, prevResult } = call.to;
  for (const what of call.ignored) report({ kind: "ignored", who: whoOf(request), what });
  const result = await within(call.to, "ADD", (namespaceFd) => network.add({ ...request, namespaceFd }));
  added(attachmentId(request.containerId, request.interfaceName));
  const undo = async (): Promise<void> => {
    await network.delete(request);
    report({ kind: "unheard", who: whoOf(request) });
  };
  try {
    const told = successResult(result, { version, netns: netns ?? "", before: prevResult, dns: call.dns });
    return { ...success(told), undo };
  } catch (error) {
    // A previous result that cannot be carried on: what was made must go.
    await network.delete(request);
    throw error;
  }
}

const nothing: CniAnswer = { exitCode: 0, output: "" };

function success(value: unknown): CniAnswer {
  return { exitCode: 0, output: JSON.stringify(value) };
}

function failure(error: CniError, invocation: CniInvocation, { report }: CniHandling): CniAnswer {
  const command = invocation.environment.get("CNI_COMMAND") ?? "";
  report({ kind: "failed", command, who: invocation.environment.get("CNI_CONTAINERID") ?? "", error });
  return { exitCode: 1, output: JSON.stringify(errorResult(error, answerVersion(invocation))) };
}

/** SPEC "VERSION": the value that was given, whatever it is. */
function askedVersion({ config }: CniInvocation): string | undefined {
  try {
    const { cniVersion } = JSON.parse(config) as { cniVersion?: unknown };
    return typeof cniVersion === "string" && cniVersion !== "" ? cniVersion : undefined;
  } catch {
    return undefined;
  }
}

function asCniError(error: unknown): CniError {
  if (error instanceof CniError) return error;
  return new CniError(cniCodes.failed, error instanceof Error ? error.message : String(error));
}

function whoOf({ podNamespace, podName }: { readonly podNamespace: string; readonly podName: string }): string {
  return podNamespace === "" ? podName : `${podNamespace}/${podName}`;
}

// ---------------------------------------------------------------- the pod's namespace

async function within<T>(
  { netns, ownNamespaceAllowed }: { readonly netns: string | undefined; readonly ownNamespaceAllowed: boolean },
  command: string,
  work: (namespaceFd: number) => Promise<T>,
): Promise<T> {
  const fd = openNamespace(netns ?? "", command);
  try {
    if (!ownNamespaceAllowed && fstatSync(fd).ino === statSync("/proc/self/ns/net").ino) {
      throw new CniError(
        cniCodes.invalidEnvironment,
        `${command}: environment variable CNI_NETNS: ${netns} is the node's own network namespace`,
        "a pod with the node's network needs no CNI plugin",
      );
    }
    return await work(fd);
  } finally {
    closeSync(fd);
  }
}

function openNamespace(path: string, command: string): number {
  let fd: number;
  try {
    // O_NONBLOCK: a named pipe in its place would hold the whole agent.
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  } catch (error) {
    const missing = ["ENOENT", "ENOTDIR"].includes((error as NodeJS.ErrnoException).code ?? "");
    throw new CniError(
      missing ? cniCodes.unknownContainer : cniCodes.invalidEnvironment,
      `${command}: environment variable CNI_NETNS: ${(error as Error).message}`,
      missing
        ? "the sandbox ended before it had a network, or the agent does not see the runtime's namespaces (its container needs /run/netns mounted with HostToContainer propagation, and hostPID for paths below /proc)"
        : undefined,
    );
  }
  if (isNetworkNamespace(fd)) return fd;
  closeSync(fd);
  throw new CniError(
    cniCodes.invalidEnvironment,
    `${command}: environment variable CNI_NETNS: ${JSON.stringify(path.slice(0, 200))} is no network namespace`,
  );
}

// ---------------------------------------------------------------- time

async function inTime(work: Promise<CniAnswer>, withinMs: number): Promise<CniAnswer> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<"late">((resolve) => {
    timer = setTimeout(() => resolve("late"), withinMs);
    timer.unref();
  });
  try {
    const first = await Promise.race([work, late]);
    if (first !== "late") return first;
  } finally {
    clearTimeout(timer);
  }
  // Who hears of a failure asks for DEL; who does not must find nothing either.
  work.then(
    (answer) => answer.undo?.(),
    () => {},
  );
  throw new CniError(
    cniCodes.tryAgainLater,
    `not done within ${withinMs / 1000} s`,
    "the node's kernel or its agent is overloaded: see the agent's log",
  );
}
