// `fairlead dns`: cluster DNS of a real cluster, in CoreDNS's place. Runs until it is told to end (SIGTERM, SIGINT).

import { globSync } from "node:fs";
import process from "node:process";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

import { accessOf, startClusterDns } from "../agent/cluster-dns.ts";
import { readText } from "../agent/files.ts";
import { currentNetworkNamespace } from "../kernel/namespaces.ts";
import { openCluster } from "../watch/cluster/client.ts";

export default async function dns(options: {
  readonly conf: string;
  readonly "dns.port": string;
  readonly kubeconfig?: string;
  readonly context?: string;
}): Promise<number> {
  const port = Number(options["dns.port"]);
  if (!Number.isInteger(port) || port < 1 || port > 65_535)
    throw new Error(`--dns.port ${options["dns.port"]}: must be a port from 1 to 65535`);
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
    ports: { dns: port },
  });
  // Reading everything leaves as much behind as is kept; afterwards little is made, and it would stay for hours.
  void server.synced.then(() => void setTimeout(collectGarbage, settledMs).unref());
  await new Promise<void>((resolve) => {
    for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, () => resolve());
  });
  await server.close();
  return 0;
}

const settledMs = 500;

function collectGarbage(): void {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as (options: { readonly type: string; readonly flavor: string }) => void;
  collect({ type: "major", flavor: "last-resort" });
}
