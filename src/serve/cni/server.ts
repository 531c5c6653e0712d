// The CNI server of a node: a folder that fairlead-cni finds, and behind it the node's pod network.
//
//   const server = await startCniServer({ network, report: (event) => log(formatCniEvent(event)) });
//   …
//   await server.close();
//
// Not here: how a pod gets its network (agent/pod-network.ts), and how the plugin and its configuration come to the runtime (docs/cni.md).

import { Buffer } from "node:buffer";
import { chmodSync, lstatSync, mkdirSync, rmSync } from "node:fs";
import { connect, type Server } from "node:net";
import { join } from "node:path";
import process from "node:process";

import { attachmentId, type CniNetwork } from "./cni.ts";
import { answerRequest, type CniAnswer, type CniEvent, type CniHandling } from "./handle.ts";
import { decodeInvocation } from "./request.ts";
import { openSlots, type Slots } from "./slots.ts";
import { createCniSocket } from "./socket.ts";

export interface CniServerOptions {
  readonly network: CniNetwork;
  /** Where fairlead-cni looks unless FAIRLEAD_CNI_DIR tells it otherwise: /run/fairlead/cni. Made where it is missing; mode 0700. */
  readonly directory?: string;
  /** A request that takes longer is answered with code 11 (try again later). 60 s; the runtime's own limit should be longer. */
  readonly answerWithinMs?: number;
  readonly report?: (event: CniEvent) => void;
}

export interface CniServer {
  /** Nobody is answered any more; fairlead-cni says so at once (ADD: code 11). Pods keep what they have. */
  close(): Promise<void>;
}

const missedIntervalMs = 10_000;
/** A note is found much sooner than this. */
const rememberedMs = 600_000;

/**
 * Starts answering. Deletions that came while no agent ran are made up for before anybody is answered.
 * Throws where another agent answers in that folder already, where the folder belongs to somebody else, and the file system's errors.
 */
export async function startCniServer(options: CniServerOptions): Promise<CniServer> {
  const { network, directory = "/run/fairlead/cni", answerWithinMs = 60_000, report = () => {} } = options;
  const socketPath = join(directory, "agent.sock");
  prepareDirectory(directory);
  await refuseSecondAgent(socketPath);
  rmSync(socketPath, { force: true });

  /** When each attachment was made, so that an old deletion does not hit a new pod of the same name. */
  const addedAtMs = new Map<string, number>();
  const handling: CniHandling = {
    network,
    answerWithinMs,
    report,
    added: (id) => void addedAtMs.set(id, Date.now()),
  };
  const answer = async (
    request: Uint8Array,
  ): Promise<{ readonly text: string; readonly heard: (heard: boolean) => void }> => {
    const answered = await answerRequest(request, handling);
    return {
      text: `${answered.exitCode}\n${answered.output}\n`,
      heard: (heard) => void (heard || undone(answered, report)),
    };
  };

  const slots = openSlots({ directory, answer, rubbish: (what) => report({ kind: "rubbish", what }) });
  let server: Server;
  try {
    await makeUpFor(slots, handling, addedAtMs);
    server = createCniSocket(answer);
    await listen(server, socketPath);
  } catch (error) {
    slots.close();
    throw error;
  }
  // A caller may have looked for us just before we came, and left its note just after.
  const timer = setInterval(() => void makeUpFor(slots, handling, addedAtMs), missedIntervalMs);
  timer.unref();

  return {
    async close() {
      clearInterval(timer);
      slots.close();
      await new Promise<void>((resolve) => void server.close(() => resolve()));
      rmSync(socketPath, { force: true });
    },
  };
}

/** An event in words, one line. */
export function formatCniEvent(event: CniEvent): string {
  switch (event.kind) {
    case "failed":
      return `cni ${event.command} ${event.who}: code ${event.error.code}: ${event.error.message}`;
    case "ignored":
      return `cni ADD ${event.who}: ignored: ${event.what}`;
    case "unheard":
      return `cni ADD ${event.who}: the runtime was gone before it had the result: taken back`;
    case "made up":
      return `cni DEL ${event.who}: done now; no agent ran when it was asked for`;
    case "rubbish":
      return `cni: ${event.what}`;
  }
}

async function undone(answered: CniAnswer, report: (event: CniEvent) => void): Promise<void> {
  try {
    await answered.undo?.();
  } catch (error) {
    // Its DEL or the next GC finds it.
    report({ kind: "rubbish", what: `take back an ADD nobody heard of: ${String(error)}` });
  }
}

async function makeUpFor(slots: Slots, handling: CniHandling, addedAtMs: Map<string, number>): Promise<void> {
  for (const [id, atMs] of addedAtMs) if (Date.now() - atMs > rememberedMs) addedAtMs.delete(id);
  for (const { request, atMs, done } of slots.missed()) {
    const deletion = deletionOf(request);
    if (
      deletion !== undefined &&
      (addedAtMs.get(attachmentId(deletion.containerId, deletion.interfaceName)) ?? 0) < atMs
    ) {
      const { exitCode } = await answerRequest(request, handling);
      if (exitCode === 0) handling.report({ kind: "made up", who: deletion.containerId });
    }
    done();
  }
}

/** Only deletions are left as notes; anything else is nobody's. */
function deletionOf(request: Uint8Array): { containerId: string; interfaceName: string } | undefined {
  try {
    const { environment } = decodeInvocation(request);
    const containerId = environment.get("CNI_CONTAINERID");
    const interfaceName = environment.get("CNI_IFNAME");
    if (environment.get("CNI_COMMAND") !== "DEL" || containerId === undefined || interfaceName === undefined)
      return undefined;
    return { containerId, interfaceName };
  } catch {
    return undefined;
  }
}

/** Whoever can write here can ask for a network as root. */
function prepareDirectory(directory: string): void {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const stat = lstatSync(directory);
  if (!stat.isDirectory() || stat.uid !== process.geteuid?.())
    throw new Error(`serve CNI in ${directory}: it is no folder of ours: remove it or choose another one`);
  chmodSync(directory, 0o700);
}

async function refuseSecondAgent(path: string): Promise<void> {
  const alive = await new Promise<boolean>((resolve) => {
    const socket = connect(path, () => {
      socket.destroy();
      resolve(true);
    });
    socket.on("error", () => resolve(false));
  });
  if (alive)
    throw new Error(`serve CNI at ${path}: another agent answers there: one agent a node; stop the other one first`);
}

async function listen(server: Server, path: string): Promise<void> {
  // sun_path: 108 bytes with the NUL at its end; Node would cut it.
  if (Buffer.byteLength(path) > 107)
    throw new Error(`serve CNI at ${path}: too long for a unix socket: choose a shorter folder`);
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(path, resolve);
  });
  chmodSync(path, 0o600);
}
