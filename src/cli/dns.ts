// `fairlead dns`: cluster DNS of a real cluster, in CoreDNS's place. Runs until it is told to end (SIGTERM, SIGINT).

import { globSync, writeSync } from "node:fs";
import { availableParallelism } from "node:os";
import process from "node:process";

import { accessOf, startClusterDns } from "../agent/cluster-dns.ts";
import { readText } from "../agent/files.ts";
import { collectNow } from "../agent/memory.ts";
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
  const log = (line: string): void => void process.stdout.write(`${line}\n`);
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
    logLines: writeLines,
    ports: { dns: port },
    workers,
    settle: collectNow,
  });
  await new Promise<void>((resolve) => {
    for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, () => resolve());
  });
  await server.close();
  return 0;
}

/** The query log leaves without a copy, unless its reader is slower than the questions come. */
function writeLines(lines: Uint8Array): void {
  let done = 0;
  try {
    // Behind what waits already.
    while (process.stdout.writableLength === 0 && done < lines.length) done += writeSync(1, lines, done);
  } catch {
    // EAGAIN: the rest waits; all else the stream will meet too, and tell.
  }
  if (done < lines.length) process.stdout.write(lines.slice(done));
}

/** Of `auto`: one answers what ten thousand pods ask. */
const workersMax = 4;
