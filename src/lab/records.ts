// A kubelet that starts nothing: pods become records with addresses, said to be ready, so that model, DNS answers and trace work
// where there are no namespaces (`--packets=off`) and for manifests alone (`trace -f`, scenarios).
// Every such pod says so in its status; nothing pretends that a packet was sent.

import { createIpam, type Ipam } from "../agent/ipam.ts";
import { openAttachments, type AttachmentStore } from "../agent/attachments.ts";
import { newAttachment } from "../agent/pod-network.ts";
import type { CniRequest } from "../serve/cni/cni.ts";
import { protocolOf } from "../model/pod.ts";
import type { Address } from "../ip/address.ts";
import type { Pod } from "../kube/kinds.ts";
import type { ObjectApi } from "./api/api.ts";
import { StatusError } from "./api/store.ts";
import { systemClock } from "../watch/clock.ts";
import { observed } from "./controllers/conditions.ts";
import { podCidrsOf } from "./node-object.ts";
import { keepNode, nodeCapacity } from "./pods/node-status.ts";

export interface RecordKubelet {
  readonly attachments: AttachmentStore;
  /** Looks at every pod of the node again: `isReady` may say something else now. */
  look(): void;
  stop(): void;
}

/** The reason and the words in every status such a kubelet writes. */
export const recordReason = "PacketsOff";
const recordMessage = "a record: packets are off, no container runs";

/**
 * Plays the kubelet of one node whose Node object has its podCIDRs. `isReady` says which pods are to be ready (scenarios change it).
 */
export function startRecordKubelet(options: {
  readonly node: string;
  readonly api: ObjectApi;
  readonly nodeAddresses: readonly Address[];
  readonly clock: () => number;
  /** Where the addresses are kept; in memory unless given. */
  readonly attachments?: AttachmentStore;
  readonly isReady?: (pod: Pod) => boolean;
  /** Registers the Node in this zone and keeps it alive, as a kubelet does; otherwise somebody else makes the Node. */
  readonly zone?: string;
}): RecordKubelet {
  const { node, api, nodeAddresses, clock, isReady = () => true, attachments = openAttachments() } = options;
  let ipam: Ipam | undefined;

  const addressesOf = (pod: Pod): readonly Address[] => {
    if (pod.spec.hostNetwork === true) return nodeAddresses;
    const uid = pod.metadata.uid ?? "";
    const known = attachments.get(uid);
    if (known !== undefined) return known.addresses;
    ipam ??= createIpam(podCidrsOf(api, node), attachments);
    const attachment = newAttachment(
      {
        containerId: uid,
        interfaceName: "eth0",
        podNamespace: pod.metadata.namespace ?? "",
        podName: pod.metadata.name,
        podUid: uid,
        portMappings: portMappings(pod),
      },
      ipam.allocate(),
    );
    attachments.put(attachment);
    return attachment.addresses;
  };

  const remove = (pod: Pod): void => {
    const attachment = attachments.get(pod.metadata.uid ?? "");
    if (attachment === undefined) return;
    attachments.remove(attachment.id);
    ipam?.release(attachment.addresses);
  };

  const look = (pod: Pod): void => {
    if (pod.spec.nodeName !== node) return;
    if (pod.metadata.deletionTimestamp !== undefined) {
      remove(pod);
      api.delete(
        { group: "", resource: "pods", namespace: pod.metadata.namespace ?? "", name: pod.metadata.name },
        { gracePeriodSeconds: 0 },
      );
      return;
    }
    if (pod.status?.phase === "Succeeded" || pod.status?.phase === "Failed") return;
    if (podCidrsOf(api, node).length === 0) return;
    const wanted = recordStatus(
      pod,
      addressesOf(pod),
      nodeAddresses,
      isReady(pod),
      new Date(clock()).toISOString().replace(/\.\d+Z$/, "Z"),
    );
    if (wanted !== undefined) api.updateStatus({ ...pod, status: wanted });
  };

  // An event tells of an object as it was: where somebody has written it meanwhile, the next event says so.
  const lookAgainLater = (pod: Pod): void => {
    try {
      look(pod);
    } catch (error) {
      if (!(error instanceof StatusError) || (error.reason !== "Conflict" && error.reason !== "NotFound")) throw error;
    }
  };

  const watch = api.watch({ group: "", resource: "pods" }, 0, (event) => {
    if (event.type === "BOOKMARK") return;
    if (event.type === "DELETED") remove(event.object as Pod);
    else lookAgainLater(event.object as Pod);
  });
  const lookAtAll = (): void => {
    for (const pod of api.list({ group: "", resource: "pods" }).items) lookAgainLater(pod as Pod);
  };
  const nodes = api.watch({ group: "", resource: "nodes" }, 0, (event) => {
    if (event.type !== "BOOKMARK" && event.object.metadata.name === node) lookAtAll();
  });
  const registration =
    options.zone === undefined
      ? undefined
      : keepNode({
          node,
          zone: options.zone,
          api,
          nodeAddresses,
          clock: systemClock,
          allocatable: nodeCapacity(),
          report: (line) => console.error(line),
        });
  return {
    attachments,
    look: lookAtAll,
    stop() {
      registration?.stop();
      watch.close();
      nodes.close();
    },
  };
}

function portMappings(pod: Pod): CniRequest["portMappings"] {
  return pod.spec.containers.flatMap((container) =>
    (container.ports ?? []).flatMap((port) =>
      port.hostPort === undefined
        ? []
        : [
            {
              hostPort: port.hostPort,
              containerPort: port.containerPort,
              protocol: protocolOf(port.protocol),
              ...(port.hostIP !== undefined && { hostIp: port.hostIP }),
            },
          ],
    ),
  );
}

/** The status such a pod shall have, or undefined when it has it. A Job's pod would run to its end: it is recorded as done. */
function recordStatus(
  pod: Pod,
  addresses: readonly Address[],
  hostAddresses: readonly Address[],
  ready: boolean,
  time: string,
): object | undefined {
  const done = pod.spec.restartPolicy !== undefined && pod.spec.restartPolicy !== "Always";
  const phase = done ? "Succeeded" : "Running";
  const readyNow = !done && ready;
  const known = pod.status?.conditions?.find((condition) => condition.type === "Ready");
  if (pod.status?.phase === phase && (known?.status === "True") === readyNow) return undefined;
  const condition = (type: string, met: boolean): object => ({
    type,
    status: met ? "True" : "False",
    reason: recordReason,
    message: recordMessage,
    lastTransitionTime: time,
    ...observed(pod),
  });
  const state = done
    ? { terminated: { exitCode: 0, reason: recordReason, message: recordMessage, startedAt: time, finishedAt: time } }
    : { running: { startedAt: time } };
  return {
    ...pod.status,
    phase,
    message: recordMessage,
    conditions: [
      ...(pod.status?.conditions ?? []).filter((each) => each.type === "PodScheduled"),
      condition("PodReadyToStartContainers", true),
      condition("Initialized", true),
      condition("ContainersReady", readyNow),
      condition("Ready", readyNow),
    ],
    podIP: addresses[0],
    podIPs: addresses.map((ip) => ({ ip })),
    hostIP: hostAddresses[0],
    hostIPs: hostAddresses.map((ip) => ({ ip })),
    startTime: pod.status?.startTime ?? time,
    containerStatuses: pod.spec.containers.map((container) => ({
      name: container.name,
      image: container.image ?? "",
      imageID: "",
      ready: readyNow,
      started: !done,
      restartCount: 0,
      state,
    })),
  };
}
