// One node, put together: its pods' places from disk, its agent, and its pod network. What a lab starts per node, and a real node once.

import type { Prefix } from "../ip/prefix.ts";
import type { NetworkKernel } from "../kernel/kernel.ts";
import { openKernel } from "../kernel/linux.ts";
import { openNetworkNamespace } from "../kernel/namespaces.ts";
import type { NetworkSource } from "../model/source.ts";
import { compile } from "../program/compile.ts";
import { startAgent, type Agent, type AgentEvent } from "./agent.ts";
import { openAttachments, type AttachmentStore } from "./attachments.ts";
import { createIpam, type Ipam } from "./ipam.ts";
import { createPodNetwork, type NodePodNetwork } from "./pod-network.ts";

export interface NodeOptions {
  /** The Node object's name. */
  readonly node: string;
  /** Of the node's own namespace; it stays the caller's to close, after the agent has ended. */
  readonly kernel: NetworkKernel;
  readonly source: NetworkSource;
  /** Node.spec.podCIDRs: at most one per family. */
  readonly podCidrs: readonly Prefix[];
  /** The file with the pods' places; made where it is missing. Undefined: they are forgotten when the process ends. */
  readonly attachmentsFile?: string;
  readonly report?: (event: AgentEvent) => void;
}

export interface NodeNetwork {
  readonly agent: Agent;
  readonly podNetwork: NodePodNetwork;
  readonly attachments: AttachmentStore;
  readonly ipam: Ipam;
}

/** Starts the node's agent and gives its pod network. `agent.stop()` or `agent.cleanup()` ends it. */
export function startNode(options: NodeOptions): NodeNetwork {
  const { node, kernel, source, podCidrs, attachmentsFile, report } = options;
  const attachments = openAttachments(attachmentsFile);
  const ipam = createIpam(podCidrs, attachments);
  const agent = startAgent({ node, kernel, source, attachments, compile, ...(report === undefined ? {} : { report }) });
  const podNetwork = createPodNetwork({
    node,
    kernel,
    agent,
    attachments,
    ipam,
    openKernel: openKernelOf,
  });
  return { agent, podNetwork, attachments, ipam };
}

/** The kernel of a namespace that somebody else holds open, by its descriptor; the namespace stays theirs. Throws KernelError. */
export function openKernelOf(name: string, namespaceFd: number): NetworkKernel {
  const namespace = openNetworkNamespace(`/proc/self/fd/${namespaceFd}`);
  try {
    return openKernel(name, namespace, () => namespace.close());
  } catch (error) {
    namespace.close();
    throw error;
  }
}
