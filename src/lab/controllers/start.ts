// All controllers of the lab, started together. The order is the order within a round (runtime.ts): makers before those who place what
// they made, and those before the ones who report it.

import type { ClusterConfig } from "../../model/network.ts";
import type { ObjectApi } from "../api/api.ts";
import { systemClock, type Clock } from "./clock.ts";
import { deploymentController } from "./deployments.ts";
import { endpointSliceController } from "./endpoint-slices.ts";
import { namespaceController } from "./namespaces.ts";
import { replicaSetController } from "./replica-sets.ts";
import { startRuntime, type Cluster, type Controller, type Failure, type Runtime } from "./runtime.ts";
import { schedulerController } from "./scheduler/scheduler.ts";
import { serviceAccountController } from "./service-accounts.ts";

export type { Failure, Runtime } from "./runtime.ts";

export interface ControllersOptions {
  readonly api: ObjectApi;
  readonly config: ClusterConfig;
  /** The certificate authority that ConfigMap kube-root-ca.crt publishes, in PEM. */
  readonly rootCa: string;
  readonly clock?: Clock;
  /** As Math.random. */
  readonly random?: () => number;
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

/** Every controller under its name, in order. */
function controllerTable({
  rootCa,
}: ControllersOptions): readonly (readonly [name: string, make: (cluster: Cluster) => Controller])[] {
  return [
    ["namespace", namespaceController],
    ["serviceaccount", serviceAccountController(rootCa)],
    ["deployment", deploymentController],
    ["replicaset", replicaSetController],
    ["scheduler", schedulerController],
    ["endpointslice", endpointSliceController],
  ];
}
