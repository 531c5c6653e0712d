// Which container of a pod a request means. Upstream: pkg/registry/core/pod/strategy.go validateContainer.

import type { Container, ContainerStatus, Pod } from "../../../kube/kinds.ts";
import { badRequest } from "../../api/errors.ts";

/** The container that is named, or the pod's only one. Throws StatusError 400 where neither is there. */
export function whereOf(
  pod: Pod,
  container: string | undefined,
): { readonly namespace: string; readonly pod: string; readonly container: string } {
  const { name, namespace = "" } = pod.metadata;
  return { namespace, pod: name, container: containerOf(pod, container) };
}

function containerOf(pod: Pod, name: string | undefined): string {
  const { containers } = pod.spec;
  if (name !== undefined && name !== "") {
    if (allContainers(pod).some((container) => container.name === name)) return name;
    throw badRequest(`container ${name} is not valid for pod ${pod.metadata.name}`);
  }
  const [only, ...others] = containers;
  if (only !== undefined && others.length === 0) return only.name;
  const names = (of: readonly Container[]): string => `[${of.map((container) => container.name).join(" ")}]`;
  const initial = pod.spec.initContainers ?? [];
  throw badRequest(
    `a container name must be specified for pod ${pod.metadata.name}, choose one of: ${names(containers)}` +
      (initial.length === 0 ? "" : ` or one of the init containers: ${names(initial)}`),
  );
}

/** All containers of a pod, of whatever sort. */
export function allContainers({ spec }: Pod): readonly Container[] {
  return [
    ...(spec.initContainers ?? []),
    ...spec.containers,
    ...((spec.ephemeralContainers ?? []) as readonly Container[]),
  ];
}

/** The container's status, of whatever sort it is. */
export function statusOf({ status }: Pod, container: string): ContainerStatus | undefined {
  return [
    ...(status?.containerStatuses ?? []),
    ...(status?.initContainerStatuses ?? []),
    ...(status?.ephemeralContainerStatuses ?? []),
  ].find(({ name }) => name === container);
}
