// The lab's daemon: one process that holds store, controllers, agents, kubelets and every built-in server of one lab.
// Started by launch.ts inside its namespaces; its argument is the lab's folder. Descriptor 3 takes progress, 4 leads to the helper outside, 5 listens for the API server,
// 6 and further ones for published Services.

import { closeSync, readFileSync, readSync, statSync, writeSync } from "node:fs";
import { stat } from "node:fs/promises";
import { flushCompileCache } from "node:module";
import { basename } from "node:path";
import process from "node:process";
import { startControl } from "./control.ts";
import type { LabConfig, Progress } from "./config.ts";
import { startLab } from "./lab.ts";
import { collectEarly } from "./memory.ts";
import { connectOutside } from "./outside/connect.ts";
import { labPaths } from "./paths.ts";
import { startPublishing } from "./publish.ts";

const folder = process.argv[2];
if (folder === undefined) throw new Error("daemon.ts FOLDER: which lab?");
const paths = labPaths(basename(folder));
const config = JSON.parse(readFileSync(paths.config, "utf8")) as LabConfig;

// Threads that Node starts later inherit the namespace the main thread is in at that moment: have them all started now.
await Promise.all([stat("/"), stat("/proc"), stat("/dev"), stat("/tmp")]);

// Begins only when the launcher says that the outer process is alive, at whose death the kernel ends this one (launch.ts).
say({ kind: "waiting" });
if (!mayBegin()) process.exit(1);

const started = performance.now();
let last = started;

try {
  const outside = connectOutside(4);
  const lab = await startLab({
    config,
    paths,
    outside,
    apiListenerFd: 5,
    step(what, detail) {
      const now = performance.now();
      say({ kind: "step", what, detail, seconds: (now - last) / 1000 });
      last = now;
    },
  });
  const publishing = startPublishing({
    ports: (config.publish ?? []).map((published, index) => ({ ...published, fd: 6 + index })),
    network: () => lab.network(),
    nodes: () =>
      new Map(
        [...lab.nodes().values()].flatMap(({ name, machine, stopped }) =>
          machine === undefined || stopped ? [] : [[name, machine.namespace] as const],
        ),
      ),
    log: (line) => console.error(`${new Date().toISOString()} ${line}`),
  });
  const control = await startControl(lab, paths, stop);
  say({ kind: "ready" });
  closeSync(3);
  // A daemon ends by being killed: what Node compiled is kept now, for the next start.
  setTimeout(() => {
    flushCompileCache();
    collectEarly();
  }, 2000).unref();

  // Whoever removes the folder by hand has no other way left to end the lab, and would not look for it.
  const { ino } = statSync(folder);
  setInterval(() => {
    if (statSync(folder, { throwIfNoEntry: false })?.ino !== ino) process.exit(0);
  }, 2000).unref();

  let stopping = false;
  async function stop(): Promise<void> {
    if (stopping) return;
    stopping = true;
    control.close();
    publishing.close();
    await lab.stop();
    outside.close();
    process.exit(0);
  }
  process.on("SIGTERM", () => void stop());
  process.on("SIGINT", () => void stop());
} catch (error) {
  console.error(error);
  say({ kind: "failed", message: error instanceof Error ? error.message : String(error) });
  process.exit(1);
}

// An error nobody expected must not take the whole cluster down silently: it is logged with its stack, and the lab goes on.
process.on("uncaughtException", (error) => console.error(`${new Date().toISOString()} unexpected:`, error));
process.on("unhandledRejection", (error) => console.error(`${new Date().toISOString()} unexpected:`, error));

/** False where the launcher has gone. */
function mayBegin(): boolean {
  try {
    return readSync(3, Buffer.alloc(16)) > 0;
  } catch {
    return false;
  }
}

function say(line: Progress): void {
  try {
    statSync("/proc/self/fd/3");
    writeSync(3, `${JSON.stringify(line)}\n`);
  } catch {
    // The launcher has gone; nobody wants to know.
  }
}
