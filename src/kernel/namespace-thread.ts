// The thread that makes network namespaces (namespace-maker.ts): it is asked for a number of them and answers with their descriptors,
// fewer where the kernel refuses.

import { parentPort } from "node:worker_threads";

import { createNetworkNamespace } from "./namespaces.ts";

parentPort?.on("message", (count: number) => {
  const descriptors: number[] = [];
  try {
    while (descriptors.length < count) descriptors.push(createNetworkNamespace().fd);
  } catch {
    // Who asked tries by himself and learns why.
  }
  parentPort?.postMessage(descriptors);
});
