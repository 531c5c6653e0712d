// One node, put together: its pods' places from disk, its agent, and its pod network. What a lab starts per node, and a real node once.

import type { Prefix } from "../ip/prefix.ts";
import { linksRunning } from "../kernel/carrier.ts";
import type { NetworkKernel } from "../kernel/kernel.ts";
import { openKernel } from "../kernel/linux.ts";
import { openNetworkNamespace, type NetworkNamespace } from "../kernel/namespaces.ts";
import type { NetworkSource } from "../model/source.ts";
import { compile } from "../program/compile.ts";
import { startAgent, type Agent, type AgentEvent } from "./agent.ts";
import { openAttachments, type AttachmentStore } from "./attachments.ts";
import { createIpam, type Ipam } from "./ipam.ts";
import { createPodNetwork, type NodePodNetwork } from "./pod-network.ts";

export interface NodeOptions {
  /** The Node object's name. */
  readonly node: string;
  /** The node's own namespace and its kernel; they stay the caller's to close, after `stop`. */
  readonly namespace: NetworkNamespace;
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
  const { node, namespace, kernel, source, podCidrs, attachmentsFile, report } = options;
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
    settle: (pod, nodeLinks) => settle(namespace, pod, nodeLinks),
  });
  return { agent, podNetwork, attachments, ipam };
}

/** The kernel of a namespace somebody else holds open. */
function openKernelOf(name: string, namespaceFd: number): NetworkKernel {
  const namespace = reopen(namespaceFd);
  try {
    const kernel = openKernel(name, namespace);
    return {
      ...kernel,
      close() {
        kernel.close();
        namespace.close();
      },
    };
  } catch (error) {
    namespace.close();
    throw error;
  }
}

/** The pod's end first: a carrier is known on both ends when the second one is up, but acted on end by end. */
async function settle(
  node: NetworkNamespace,
  pod: { readonly namespaceFd: number; readonly links: readonly string[] },
  nodeLinks: readonly string[],
): Promise<readonly string[]> {
  const inside = reopen(pod.namespaceFd);
  try {
    return [...(await linksRunning(inside, pod.links)), ...(await linksRunning(node, nodeLinks))];
  } finally {
    inside.close();
  }
}

function reopen(namespaceFd: number): NetworkNamespace {
  return openNetworkNamespace(`/proc/self/fd/${namespaceFd}`);
}
