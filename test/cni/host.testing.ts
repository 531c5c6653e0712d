// A node's agent with its CNI server as a process of its own, in whatever network namespace it is started: what runtimes, `cnitool` and hostile
// callers are let loose on. Its Network is one node's, and pods of Kubernetes are not known to it.
//
//   node test/cni/host.testing.ts '{"directory":"/run/fairlead/cni"}'     says "ready", and ends on SIGTERM

import process from "node:process";

import { startNode } from "../../src/agent/node.ts";
import type { Family } from "../../src/ip/address.ts";
import { openKernel } from "../../src/kernel/linux.ts";
import { currentNetworkNamespace } from "../../src/kernel/namespaces.ts";
import { clusterConfig, type ClusterOptions } from "../../src/model/cluster.ts";
import type { Network } from "../../src/model/network.ts";
import { formatCniEvent, startCniServer } from "../../src/serve/cni/server.ts";

export interface HostOptions {
  readonly directory: string;
  /** The node's own address; 192.0.2.1 and 2001:db8::1 where none is given. */
  readonly addresses?: readonly string[];
  readonly podCidrs?: readonly string[];
  readonly families?: readonly Family[];
  /** Where places of pods are kept. */
  readonly attachmentsFile?: string;
  readonly answerWithinMs?: number;
  readonly cluster?: ClusterOptions;
}

async function host(options: HostOptions): Promise<void> {
  const { directory, families = [4, 6], attachmentsFile, answerWithinMs } = options;
  const podCidrs = options.podCidrs ?? ["10.244.1.0/24", "fd00:10:244:1::/64"];
  const cluster = clusterConfig({ families, ...options.cluster });
  const name = "node-1";
  const network: Network = {
    cluster,
    nodes: [
      {
        name,
        labels: {},
        addresses: options.addresses ?? ["192.0.2.1", "2001:db8::1"],
        podCidrs,
        ready: true,
        origin: { kind: "Node", name },
      },
    ],
    pods: [],
    services: [],
    namespaces: [],
    policies: [],
    clusterPolicies: [],
    problems: [],
  };
  const log = (text: string): void => void process.stderr.write(`${text}\n`);
  const node = startNode({
    node: name,
    kernel: openKernel(name, currentNetworkNamespace()),
    source: { current: () => network, subscribe: () => ({ close() {} }) },
    podCidrs: () => podCidrs,
    ...(attachmentsFile !== undefined && { attachmentsFile }),
    report(event) {
      if (event.kind === "compile-failed") throw event.error;
      for (const failure of event.report.failures) log(`failure: ${failure.key}: ${failure.error.message}`);
      for (const one of event.report.drift) log(`put back: ${one.text}`);
    },
  });
  const server = await startCniServer({
    network: node.podNetwork,
    directory,
    ...(answerWithinMs !== undefined && { answerWithinMs }),
    report: (event) => log(formatCniEvent(event)),
  });
  process.once(
    "SIGTERM",
    () =>
      void server
        .close()
        .then(() => node.agent.stop())
        .then(() => process.exit(0)),
  );
  await node.agent.synced();
  process.stdout.write("ready\n");
}

if (process.argv[1] === import.meta.filename) await host(JSON.parse(process.argv[2] ?? "{}") as HostOptions);
