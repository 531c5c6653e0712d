// One node, put together: its pods' places from disk, its agent, its pod network, and what it says about itself over HTTP. What a lab
// starts for each of its nodes, and a real node once (process.ts).
//
// Not here: where the Network comes from, and who asks for pods (a lab's kubelet, or a runtime by CNI).

import type { Prefix } from "../ip/prefix.ts";
import type { Node } from "../kube/kinds.ts";
import type { ConnectionMatch, NetworkKernel } from "../kernel/kernel.ts";
import { openKernel } from "../kernel/linux.ts";
import { openNetworkNamespace, type NetworkNamespace } from "../kernel/namespaces.ts";
import type { NetworkSource } from "../model/source.ts";
import { compile, policyDecisionsAt } from "../program/compile.ts";
import { CniError, cniCodes, type CniNetwork } from "../serve/cni/cni.ts";
import { startProxyHealth, type HealthAddresses, type ProxyHealth } from "../serve/proxy/health.ts";
import { createProxyRecord, type ProxyRecord } from "../serve/proxy/metrics.ts";
import { createProgrammingRecord, policyMetricsText } from "../serve/proxy/policy-metrics.ts";
import { startAgent, type Agent, type AgentEvent } from "./agent.ts";
import { openAttachments, type AttachmentStore } from "./attachments.ts";
import { conntrackUseText, watchConntrackUse } from "./conntrack-use.ts";
import { createIpam, type Ipam } from "./ipam.ts";
import { createPodNetwork, type NodePodNetwork } from "./pod-network.ts";
import { readPolicyCounts, untoldLines, type PolicyCount } from "./policy-counts.ts";
import { startPolicyFlows, type PolicyFlow } from "./policy-flows.ts";

export interface NodeOptions {
  /** The Node object's name. */
  readonly node: string;
  /** Of the node's own namespace; it stays the caller's to close, after the agent has ended. */
  readonly kernel: NetworkKernel;
  readonly source: NetworkSource;
  /** Today's Node.spec.podCIDRs, at most one per family; none until the node controller has given them. The first ones stay. */
  readonly podCidrs: () => readonly Prefix[];
  /** The file with the pods' places; made where it is missing. Undefined: they are forgotten when the process ends. */
  readonly attachmentsFile?: string;
  /** The node's answers to load balancers and people; none where absent. */
  readonly health?: {
    /** Where the sockets are. */
    readonly namespace: NetworkNamespace;
    /** See ProxyHealthOptions. */
    readonly isEligible: () => boolean;
    readonly addresses?: HealthAddresses;
    /** Further metrics, in Prometheus' text format. */
    readonly moreMetrics?: () => string;
    readonly report?: (line: string) => void;
    /** The table of connections is nearly full. `report` where absent. */
    readonly warn?: (message: string) => void;
  };
  /** The flow log of policies, a line each; nobody listens where absent. `report` as above. */
  readonly policyFlows?: {
    readonly namespace: NetworkNamespace;
    readonly told: (flow: PolicyFlow) => void;
    readonly report?: (line: string) => void;
  };
  /** See AgentOptions. */
  readonly answers?: (match: ConnectionMatch) => boolean;
  readonly report?: (event: AgentEvent) => void;
}

export interface NodeNetwork {
  readonly agent: Agent;
  /** Refuses with code 11 (try again later) until the node has its ranges. */
  readonly podNetwork: CniNetwork;
  readonly attachments: AttachmentStore;
  /** Undefined until the node has its ranges. */
  ipam(): Ipam | undefined;
  /** What was done so far, for metrics. */
  readonly record: ProxyRecord;
  /** What policies decided here so far. */
  policyCounts(): readonly PolicyCount[];
  /** No answers over HTTP and no flow log any more; `agent.stop()` or `agent.cleanup()` ends the rest. */
  closeHealth(): void;
}

/** Starts the node's agent and gives its pod network. */
export function startNode(options: NodeOptions): NodeNetwork {
  const { node, kernel, source, podCidrs, attachmentsFile, health, policyFlows, report } = options;
  const attachments = openAttachments(attachmentsFile);
  const record = createProxyRecord();
  const programming = createProgrammingRecord();
  const agent = startAgent({
    node,
    kernel,
    source,
    attachments,
    compile,
    ...(options.answers !== undefined && { answers: options.answers }),
    report(event) {
      if (event.kind === "reconciled") {
        record.synced(event.tookMs, event.report.failures.length, Date.now());
        programming.programmed(event.latencyMs);
      }
      report?.(event);
    },
  });
  // Also where the kernel held everything already, and there was nothing to report.
  agent.synced().then(
    () => void (record.lastUpdated ??= Date.now()),
    () => {},
  );
  let ipam: Ipam | undefined;
  const pools = (): Ipam | undefined => {
    if (ipam !== undefined) return ipam;
    const ranges = podCidrs();
    if (ranges.length > 0) ipam = createIpam(ranges, attachments);
    return ipam;
  };
  const podNetwork = whenRangesAreKnown(node, pools, (ipam) =>
    createPodNetwork({ node, kernel, agent, attachments, ipam, openKernel: openKernelOf }),
  );
  const flows =
    policyFlows && startPolicyFlows({ ...policyFlows, node, network: source.current, attachments: attachments.list });
  const policyCounts = (): readonly PolicyCount[] => {
    const network = source.current();
    const decisions = [...policyDecisionsAt(network, node, attachments.list()).values()];
    return readPolicyCounts(kernel, network.cluster.families, decisions);
  };
  const moreMetrics = (): string => {
    const counts = policyCounts();
    const limited = counts.reduce((sum, count) => sum + untoldLines(count), 0);
    const policies = policyMetricsText({ node, counts, lost: { limited, unread: flows?.lost ?? 0 }, programming });
    return policies + conntrackUseText(kernel) + (health?.moreMetrics?.() ?? "");
  };
  let answers: ProxyHealth | undefined;
  let changes: { close(): void } | undefined;
  let connections: { close(): void } | undefined;
  if (health !== undefined) {
    const warn = health.warn ?? health.report ?? (() => {});
    connections = watchConntrackUse({ kernel, node, warn });
    answers = startProxyHealth({ ...health, node, network: source.current, record, moreMetrics });
    changes = source.subscribe(() => answers?.update());
  }
  return {
    agent,
    podNetwork,
    attachments,
    ipam: pools,
    record,
    policyCounts,
    closeHealth() {
      flows?.close();
      changes?.close();
      connections?.close();
      answers?.close();
    },
  };
}

/** The pod network, made when its ranges are known. */
function whenRangesAreKnown(
  node: string,
  ipam: () => Ipam | undefined,
  make: (ipam: Ipam) => NodePodNetwork,
): CniNetwork {
  let network: NodePodNetwork | undefined;
  const ready = (): NodePodNetwork | undefined => {
    const pools = ipam();
    return (network ??= pools && make(pools));
  };
  const must = (code: number = cniCodes.tryAgainLater): NodePodNetwork => {
    const made = ready();
    if (made !== undefined) return made;
    throw new CniError(
      code,
      `node ${node} has no pod ranges yet (Node spec.podCIDRs): the node controller gives them; try again`,
    );
  };
  return {
    add: async (request) => must().add(request),
    delete: async (request) => ready()?.delete(request),
    check: async (request) => must().check(request),
    collect: async (validIds, network) => ready()?.collect(validIds, network) ?? [],
    status: async () => must(cniCodes.unavailable).status(),
  };
}

/** pkg/proxy/healthcheck: a node that is going, or that the cluster autoscaler is about to take away, gets no new connections. */
export function isToStay(node: Node | undefined): boolean {
  return (
    node !== undefined &&
    node.metadata.deletionTimestamp === undefined &&
    !(node.spec?.taints ?? []).some(({ key }) => key === "ToBeDeletedByClusterAutoscaler")
  );
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
