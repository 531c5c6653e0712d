// What several objects together make suspicious: a Service whose port's name no pod has, a Service that selects nothing.
// Each object by itself is valid; nothing here is an error.

import type { Container, Service } from "./kinds.ts";
import type { KubeObject, Labels } from "./object.ts";
import type { PodSpec, PodTemplateSpec } from "./pod.ts";
import { selectsMap } from "./selector.ts";

export interface Suspicion {
  readonly object: KubeObject;
  readonly field: string;
  readonly message: string;
}

/** What is suspicious about these objects; they should be all there are. */
export function suspicions(objects: readonly KubeObject[]): Suspicion[] {
  const pods = objects.flatMap(podsOf);
  return objects.filter(isService).flatMap((service) => serviceSuspicions(service, pods));
}

/** A pod, or the pods that a workload will make. */
interface PodLike {
  readonly namespace: string | undefined;
  readonly labels: Labels;
  readonly spec: PodSpec;
}

function podsOf(object: KubeObject): PodLike[] {
  const { namespace } = object.metadata;
  if (object.kind === "Pod" && object["spec"] !== undefined)
    return [{ namespace, labels: object.metadata.labels ?? {}, spec: object["spec"] as PodSpec }];
  const template = (object["spec"] as { readonly template?: PodTemplateSpec } | undefined)?.template;
  if (template?.spec?.containers === undefined) return [];
  return [{ namespace, labels: template.metadata?.labels ?? {}, spec: template.spec }];
}

function isService(object: KubeObject): object is Service {
  return object.apiVersion === "v1" && object.kind === "Service" && object["spec"] !== undefined;
}

function serviceSuspicions(service: Service, pods: readonly PodLike[]): Suspicion[] {
  const { selector, type, ports = [] } = service.spec;
  if (selector === undefined || type === "ExternalName") return [];
  const selected = pods.filter(
    (pod) => pod.namespace === service.metadata.namespace && selectsMap(selector, pod.labels),
  );
  if (selected.length === 0) {
    const labels = Object.entries(selector).map(([key, value]) => `${key}=${value}`);
    return [
      {
        object: service,
        field: "spec.selector",
        message: `no pod and no workload has ${labels.join(",")}; traffic will be refused`,
      },
    ];
  }
  return ports.flatMap(({ targetPort, protocol = "TCP" }, index) => {
    if (typeof targetPort !== "string" || targetPort === "") return [];
    const names = selected.flatMap((pod) => portNames(pod.spec, protocol));
    if (names.includes(targetPort)) return [];
    const known = names.length === 0 ? "they name none" : `they have: ${[...new Set(names)].sort().join(", ")}`;
    return [
      {
        object: service,
        field: `spec.ports[${index}].targetPort`,
        message: `${JSON.stringify(targetPort)} names no ${protocol} port of the pods it selects (${known}); traffic will be refused`,
      },
    ];
  });
}

function portNames({ containers, initContainers = [] }: PodSpec, protocol: string): string[] {
  const sidecars = initContainers.filter((container) => container.restartPolicy === "Always");
  return [...containers, ...sidecars].flatMap((container: Container) =>
    (container.ports ?? []).flatMap((port) =>
      port.name !== undefined && (port.protocol ?? "TCP") === protocol ? [port.name] : [],
    ),
  );
}
