// The pods of Jobs: names, labels, the index and the finalizer that keeps each until it is counted.

import type { EnvVar, Job, Pod } from "../../kube/kinds.ts";
import { indexLabel } from "./job-indexes.ts";
import { generateName } from "./names.ts";
import { podFromTemplate } from "./pod-state.ts";
import { jobs } from "./resources.ts";

/** batch/v1 JobTrackingFinalizer. */
export const trackingFinalizer = "batch.kubernetes.io/job-tracking";

/** A pod of the Job; of an Indexed one for this index, with annotations of its own. */
export function jobPod(
  job: Job,
  random: () => number,
  index: number | undefined,
  annotations: { readonly [name: string]: string },
): Pod {
  const finalizers = [trackingFinalizer];
  const common = { template: job.spec.template, owner: job, resource: jobs, finalizers };
  if (index === undefined) return podFromTemplate({ ...common, name: { random } });
  const mark = { [indexLabel]: String(index) };
  const pod = podFromTemplate({
    ...common,
    name: { exact: generateName(`${job.metadata.name}-${index}-`, random) },
    labels: mark,
    annotations: { ...mark, ...annotations },
  });
  const withIndex = <C extends { readonly env?: readonly EnvVar[] }>(container: C): C =>
    container.env?.some(({ name }) => name === indexVariable.name) === true
      ? container
      : { ...container, env: [...(container.env ?? []), indexVariable] };
  return {
    ...pod,
    spec: {
      ...pod.spec,
      hostname: `${job.metadata.name}-${index}`,
      containers: pod.spec.containers.map(withIndex),
      ...(pod.spec.initContainers === undefined ? {} : { initContainers: pod.spec.initContainers.map(withIndex) }),
    },
  };
}

const indexVariable: EnvVar = {
  name: "JOB_COMPLETION_INDEX",
  valueFrom: { fieldRef: { fieldPath: `metadata.annotations['${indexLabel}']` } },
};
