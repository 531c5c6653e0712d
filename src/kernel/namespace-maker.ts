// Network namespaces for pods that come in crowds. The kernel needs a third of a millisecond for each: a thread of its own makes them, while
// the main thread does what else the pods need. It is started with the first crowd, so that small clusters do without.
//
// Not here: what is done with a namespace (namespaces.ts), and what the thread does (namespace-thread.ts).

import { Worker } from "node:worker_threads";

import { adoptNetworkNamespace, createNetworkNamespace, type NetworkNamespace } from "./namespaces.ts";
import { keepFileSystemView } from "./process.ts";

/** As createNetworkNamespace, in one of the next turns of the event loop. Rejects with its KernelError. */
export function makeNetworkNamespace(): Promise<NetworkNamespace> {
  const wanted = Promise.withResolvers<NetworkNamespace>();
  if (waiting.length === 0) setImmediate(makeAll);
  waiting.push(wanted);
  return wanted.promise;
}

type Wanted = PromiseWithResolvers<NetworkNamespace>;

/** From so many at once on a thread is worth its start: some 40 ms of a processor and 8 MiB. */
const crowd = 64;

let waiting: Wanted[] = [];
let thread: Worker | undefined;
/** What the thread has been asked for, in order. */
const asked: Wanted[][] = [];

function makeAll(): void {
  const all = waiting;
  waiting = [];
  if (thread === undefined && all.length < crowd) return makeHere(all);
  thread ??= startThread();
  // Asked for and answered in one message: pods that come together go on together.
  asked.push(all);
  thread.ref();
  thread.postMessage(all.length);
}

function makeHere(all: readonly Wanted[]): void {
  for (const { resolve, reject } of all) {
    try {
      resolve(createNetworkNamespace());
    } catch (error) {
      reject(error);
    }
  }
}

function startThread(): Worker {
  // The descriptors that it opens are ours, and outlive it.
  const started = new Worker(new URL("namespace-thread.ts", import.meta.url), { trackUnmanagedFds: false });
  keepFileSystemView();
  started.on("message", (descriptors: readonly number[]) => {
    const all = asked.shift() ?? [];
    if (asked.length === 0) started.unref();
    for (const [index, fd] of descriptors.entries()) all[index]?.resolve(adoptNetworkNamespace(fd));
    // Why it could not make the rest is found out here.
    makeHere(all.slice(descriptors.length));
  });
  started.on("error", () => {
    thread = undefined;
    makeHere(asked.splice(0).flat());
  });
  return started;
}
