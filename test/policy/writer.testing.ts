// The agents of two nodes in a process of their own, to be killed in the middle of their work: what a change is written by.
// The node's namespaces are open descriptors from the parent, so kernels outlive it. Messages: `WriterOrder` in, `WriterAnswer` out.

import process from "node:process";

import { createObjectsSource } from "../../src/agent/network-source.ts";
import { openKernelOf, startNode } from "../../src/agent/node.ts";
import type { NetworkKernel } from "../../src/kernel/kernel.ts";
import type { ClusterObjects } from "../../src/model/build.ts";
import { cluster } from "./worlds.testing.ts";

/** Where a node's namespace is, and where its agent keeps its pods' places. */
export interface WriterNode {
  readonly name: string;
  readonly fd: number;
  readonly podCidrs: readonly string[];
  readonly attachmentsFile: string;
}

export type WriterOrder =
  /** The first one. Transactions are as small as this, so that there are many. */
  | {
      readonly kind: "start";
      readonly nodes: readonly WriterNode[];
      readonly batchBytesMax: number;
      readonly objects: ClusterObjects;
    }
  | {
      readonly kind: "add";
      readonly node: string;
      readonly fd: number;
      readonly namespace: string;
      readonly name: string;
      readonly addresses: readonly string[];
    }
  /** The process kills itself after this many further writes, or does not where it has fewer to do. */
  | { readonly kind: "change"; readonly objects: ClusterObjects; readonly dieAfter: number | undefined }
  | { readonly kind: "settle" };

/** `writes`: how many changes and transactions the kernels got since the last order. */
export type WriterAnswer =
  | { readonly ok: true; readonly writes: number }
  | { readonly ok: false; readonly error: string };

if (process.send !== undefined) serve();

function serve(): void {
  let objects: ClusterObjects | undefined;
  let source: ReturnType<typeof createObjectsSource> | undefined;
  const nodes = new Map<string, ReturnType<typeof startNode>>();
  let writes = 0;
  let dieAt: number | undefined;
  const wrote = (): void => {
    if (++writes === dieAt) process.kill(process.pid, "SIGKILL");
  };

  const settled = async (): Promise<void> => {
    // The source tells of changes a turn later.
    await new Promise((resolve) => void setImmediate(resolve));
    for (const { agent } of nodes.values()) {
      const { failures } = await agent.synced();
      if (failures.length > 0) throw new Error(failures.map(({ key, error }) => `${key}: ${error.message}`).join("; "));
    }
  };

  const obey = async (order: WriterOrder): Promise<void> => {
    switch (order.kind) {
      case "start":
        objects = order.objects;
        source = createObjectsSource({ cluster: () => cluster, objects: () => objects ?? order.objects });
        for (const { name, fd, podCidrs, attachmentsFile } of order.nodes) {
          const kernel = counted(openKernelOf(name, fd), order.batchBytesMax, wrote);
          nodes.set(name, startNode({ node: name, kernel, source, podCidrs: () => podCidrs, attachmentsFile }));
        }
        return settled();
      case "add":
        await nodes.get(order.node)?.podNetwork.add({
          containerId: `${order.namespace}-${order.name}`,
          namespaceFd: order.fd,
          interfaceName: "eth0",
          podNamespace: order.namespace,
          podName: order.name,
          podUid: `${order.namespace}-${order.name}`,
          portMappings: [],
          addresses: order.addresses,
        });
        return;
      case "change":
        objects = order.objects;
        dieAt = order.dieAfter === undefined ? undefined : writes + order.dieAfter;
        source?.changed();
        return settled();
      case "settle":
        return settled();
    }
  };
  process.on("message", (order: WriterOrder) => {
    const before = writes;
    obey(order).then(
      () => process.send?.({ ok: true, writes: writes - before } satisfies WriterAnswer),
      (error: unknown) => process.send?.({ ok: false, error: String(error) } satisfies WriterAnswer),
    );
  });
  process.on("disconnect", () => process.exit(0));
}

/** A kernel that takes small transactions, and one change at a time, and tells of each. */
function counted(kernel: NetworkKernel, batchBytesMax: number, wrote: () => void): NetworkKernel {
  return {
    ...kernel,
    name: kernel.name,
    nftBatchBytesMax: batchBytesMax,
    nftCommit(batch) {
      kernel.nftCommit(batch);
      wrote();
    },
    change: (changes) =>
      changes.flatMap((change) => {
        const result = kernel.change([change]);
        wrote();
        return result;
      }),
  };
}
