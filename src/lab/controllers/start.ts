// All controllers of the lab, started together. The order is the order within a round (runtime.ts): makers before those who place what
// they made, and those before the ones who report it.

import type { ClusterConfig } from "../../model/network.ts";
import type { ObjectApi } from "../api/api.ts";
import { systemClock, type Clock } from "../../watch/clock.ts";
import { certificateController, type RequestAuthority } from "./certificate-requests.ts";
import { cronJobController } from "./cron-jobs.ts";
import { daemonSetController } from "./daemon-sets.ts";
import { deploymentController } from "./deployments.ts";
import { disruptionController } from "./disruption.ts";
import { endpointSliceMirroringController } from "./endpoint-slice-mirroring.ts";
import { endpointSliceController } from "./endpoint-slices.ts";
import { endpointsController } from "./endpoints.ts";
import { eventRetentionController, type EventRetention } from "./event-retention.ts";
import { garbageCollector } from "./garbage-collector.ts";
import { ipAddressController, serviceCidrController } from "./ip-addresses.ts";
import { jobController } from "./jobs.ts";
import { loadBalancerController } from "./load-balancers.ts";
import { namespaceController } from "./namespaces.ts";
import { nodeGrace, nodeLifecycleController } from "./node-lifecycle.ts";
import { nodeRangeController } from "./node-ranges.ts";
import { notImplemented, notImplementedController, type NotImplemented } from "./not-implemented.ts";
import { podGarbageCollector } from "./pod-gc.ts";
import { replicaSetController, replicationController } from "./replica-sets.ts";
import { resourceQuotaController } from "./resource-quotas.ts";
import { startRuntime, type Cluster, type Controller, type Failure, type Runtime } from "./runtime.ts";
import { schedulerController } from "./scheduler/scheduler.ts";
import { serviceAccountController } from "./service-accounts.ts";
import { statefulSetController } from "./stateful-sets.ts";
import { taintEvictionController } from "./taint-eviction.ts";

export type { Failure, Runtime } from "./runtime.ts";

export interface ControllersOptions {
  readonly api: ObjectApi;
  readonly config: ClusterConfig;
  /** The certificate authority that ConfigMap kube-root-ca.crt publishes, in PEM. */
  readonly rootCa: string;
  /** Who answers CertificateSigningRequests; nobody unless given. */
  readonly requestAuthority?: RequestAuthority;
  readonly clock?: Clock;
  /** As Math.random. */
  readonly random?: () => number;
  /** How long a node may be silent before it counts as unreachable; upstream's 50 s unless given. */
  readonly nodeSilentMs?: number;
  /** How long and how many Events are kept: an hour and 10,000 unless given. */
  readonly eventRetention?: EventRetention;
  /** What is reported as not acted upon (not-implemented.ts) unless other rows are given. */
  readonly notImplemented?: readonly NotImplemented[];
  /** Which controllers run, by name; all unless given. */
  readonly enabled?: (name: string) => boolean;
  /** Told of every reconcile that failed and will be tried again. */
  readonly failed?: (failure: Failure) => void;
}

/** Starts the controllers over what the store holds now. They work in the background of the event loop until stopped. */
export function startControllers(options: ControllersOptions): Runtime {
  const { enabled = () => true } = options;
  return startRuntime({
    api: options.api,
    config: options.config,
    clock: options.clock ?? systemClock,
    random: options.random ?? Math.random,
    controllers: controllerTable(options)
      .filter(([name]) => enabled(name))
      .map(([, make]) => make),
    ...(options.failed === undefined ? {} : { failed: options.failed }),
  });
}

/** Controllers that are part of kube-apiserver or of this lab, and so run although others do kube-controller-manager's work. */
export const apiSideControllers: ReadonlySet<string> = new Set([
  "serviceip",
  "servicecidr",
  "eventretention",
  "notimplemented",
]);

/** Every controller under its name, in order. */
function controllerTable(
  options: ControllersOptions,
): readonly (readonly [name: string, make: (cluster: Cluster) => Controller])[] {
  return [
    ["namespace", namespaceController],
    ["serviceaccount", serviceAccountController(options.rootCa)],
    ...(options.requestAuthority === undefined
      ? []
      : [["certificates", certificateController(options.requestAuthority)] as const]),
    ["nodeipam", nodeRangeController],
    ["nodelifecycle", nodeLifecycleController({ silentMs: options.nodeSilentMs ?? nodeGrace.silentMs })],
    ["cronjob", cronJobController],
    ["job", jobController],
    ["deployment", deploymentController],
    ["replicaset", replicaSetController],
    ["replicationcontroller", replicationController],
    ["statefulset", statefulSetController],
    ["daemonset", daemonSetController],
    ["scheduler", schedulerController],
    ["tainteviction", taintEvictionController],
    ["podgc", podGarbageCollector],
    ["endpointslice", endpointSliceController],
    ["endpoints", endpointsController],
    ["endpointslicemirroring", endpointSliceMirroringController],
    ["disruption", disruptionController],
    ["resourcequota", resourceQuotaController],
    ["servicelb", loadBalancerController],
    ["serviceip", ipAddressController],
    ["servicecidr", serviceCidrController],
    ["garbagecollector", garbageCollector(options.api)],
    ["eventretention", eventRetentionController(options.eventRetention)],
    ["notimplemented", notImplementedController(options.notImplemented ?? notImplemented)],
  ];
}
