// `fairlead dns`: cluster DNS of a real cluster, in CoreDNS's place. Runs until it is told to end (SIGTERM, SIGINT).

import { globSync } from "node:fs";
import { availableParallelism } from "node:os";
import process from "node:process";

import { accessOf, startClusterDns } from "../agent/cluster-dns.ts";
import { readText } from "../agent/files.ts";
import { settleMemory } from "../agent/memory.ts";
import { currentNetworkNamespace } from "../kernel/namespaces.ts";
import { openCluster } from "../watch/cluster/client.ts";

export default async function dns(options: {
  readonly conf: string;
  readonly "dns.port": string;
  readonly workers: string;
  readonly kubeconfig?: string;
  readonly context?: string;
}): Promise<number> {
  const port = Number(options["dns.port"]);
  if (!Number.isInteger(port) || port < 1 || port > 65_535)
    throw new Error(`--dns.port ${options["dns.port"]}: must be a port from 1 to 65535`);
  const workers = options.workers === "auto" ? Math.min(availableParallelism(), workersMax) : Number(options.workers);
  if (!Number.isInteger(workers) || workers < 1 || workers > 64)
    throw new Error(`--workers ${options.workers}: must be auto, or a number from 1 to 64`);
  const { kubeconfig, context } = options;
  const output = gatherLines((text) => void process.stdout.write(text));
  const log = output.add;
  try {
    const server = await startClusterDns({
      async connect(named) {
        // The command line is nearer than the file.
        const access = await accessOf(kubeconfig === undefined ? named : undefined, {
          ...(kubeconfig !== undefined && { kubeconfig }),
          ...(context !== undefined && { context }),
        });
        log(`[INFO] API server: ${access.server}, by ${access.from}`);
        return openCluster(access);
      },
      namespace: currentNetworkNamespace(),
      corefile: options.conf,
      read: readText,
      list: (pattern) => globSync(pattern).toSorted(),
      env: process.env,
      log,
      ports: { dns: port },
      workers,
    });
    void server.synced.then(() => settleMemory());
    await new Promise<void>((resolve) => {
      for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, () => resolve());
    });
    await server.close();
    return 0;
  } finally {
    output.flush();
  }
}

/** Lines of one turn of the event loop leave in one write: the query log has one for each question, and a write costs more than an answer. */
function gatherLines(write: (text: string) => void): { add(line: string): void; flush(): void } {
  let text = "";
  const flush = (): void => {
    if (text !== "") write(text);
    text = "";
  };
  return {
    add(line) {
      if (text === "") setImmediate(flush);
      text += `${line}\n`;
      if (text.length > textMax) flush();
    },
    flush,
  };
}

const textMax = 1 << 16;

/** Of `auto`: one answers what ten thousand pods ask. */
const workersMax = 4;
