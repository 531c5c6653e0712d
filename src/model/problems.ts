// What is odd about an object, in words for its owner: references that lead nowhere, and fields that are not (fully) done yet.
//
// Not here: what is invalid (kube/validate.ts refuses it), and objects that contend for one address (claims.ts).

import { familyOf, parseAddress } from "../ip/address.ts";
import { contains } from "../ip/prefix.ts";
import type { EndpointSlice, NetworkPolicy, Pod, Service, ServicePort } from "../kube/kinds.ts";
import type { KubeObject } from "../kube/object.ts";
import type { ClusterConfig, ContainerPort, NetworkNode, Problem } from "./network.ts";
import { originOf } from "./origin.ts";
import { containerPorts, isCompleted, protocolOf } from "./pod.ts";
import { policyTypes } from "./policy.ts";
import { clusterIpTexts, isLeft, proxyNameLabel } from "./service.ts";

/** A Service's problems. `pods` are those it selects that have not completed; undefined where it has no selector. */
export function serviceProblems(
  service: Service,
  context: {
    readonly cluster: ClusterConfig;
    readonly pods: readonly Pod[] | undefined;
    readonly slices: readonly EndpointSlice[];
  },
): readonly Problem[] {
  return [
    ...(!isLeft(service) || clusterIpTexts(service).includes("None")
      ? []
      : [
          problem(
            "warning",
            service,
            `metadata.labels[${proxyNameLabel}]`,
            `leaves the Service to ${service.metadata.labels?.[proxyNameLabel] || "nobody"}: its addresses lead nowhere here`,
          ),
        ]),
    ...addressProblems(service, context.cluster),
    ...(context.pods === undefined ? [] : selectionProblems(service, context.pods)),
    ...unfinished(service, context.slices, context.cluster),
  ];
}

/** A Pod's problems: hostPorts that will not, or may not, answer. */
export function podProblems(pod: Pod, { nodePorts }: ClusterConfig): readonly Problem[] {
  if (pod.spec.hostNetwork === true || isCompleted(pod)) return [];
  return containerPorts(pod).flatMap(({ hostPort, hostIp, origin }): Problem[] => {
    if (hostPort === undefined) return [];
    const field = `${origin.field ?? "spec.containers"}.hostPort`;
    if (hostIp === "::1")
      return [
        problem(
          "warning",
          pod,
          field,
          "answers at ::1 only who asks from another address of the node (curl --interface): the kernel never lets a packet from ::1 leave it",
        ),
      ];
    if (hostPort < nodePorts.first || hostPort > nodePorts.last) return [];
    const message = `${hostPort} lies in the range of node ports ${nodePorts.first}-${nodePorts.last}: a Service with that node port takes it`;
    return [problem("warning", pod, field, message)];
  });
}

/** What is odd about one NetworkPolicy by itself; whom it means is looked at in policy-problems.ts. */
export function policyProblems(policy: NetworkPolicy, cluster: ClusterConfig): readonly Problem[] {
  const idle = (["Ingress", "Egress"] as const).flatMap((type): Problem[] => {
    const field = type === "Ingress" ? "ingress" : "egress";
    if ((policy.spec[field] ?? []).length === 0 || policyTypes(policy).includes(type)) return [];
    return [problem("warning", policy, `spec.${field}`, `means nothing: spec.policyTypes does not name ${type}`)];
  });
  if (cluster.policy !== "off") return idle;
  return [
    problem("error", policy, "spec", "is not enforced: policies are switched off, every packet it would stop passes"),
    ...idle,
  ];
}

/** What keeps a node's pods from being reached. */
export function nodeProblems(node: NetworkNode, cluster: ClusterConfig): readonly Problem[] {
  // Whose pods others connect, those need no ranges.
  if (cluster.podNetwork?.kind === "others") return [];
  const missing = cluster.families.flatMap((family): Problem[] => {
    const range = node.podCidrs.find((cidr) => familyOf(cidr) === family);
    const clusterRange = cluster.podCidrs.find((cidr) => familyOf(cidr) === family);
    if (range === undefined)
      return [nodeProblem(node, "spec.podCIDRs", `has no IPv${family} range: its pods get no IPv${family} address`)];
    if (clusterRange === undefined && cluster.podCidrs.length === 0) return [];
    if (clusterRange !== undefined && contains(clusterRange, range.slice(0, range.lastIndexOf("/")))) return [];
    const message = `${range} lies outside of the cluster's pod range ${clusterRange ?? ""}: other nodes will not route it`;
    return [nodeProblem(node, `spec.podCIDRs[${node.podCidrs.indexOf(range)}]`, message)];
  });
  if (node.addresses.length > 0) return missing;
  return [...missing, nodeProblem(node, "status.addresses", "has no InternalIP: other nodes cannot reach its pods")];
}

function nodeProblem(node: NetworkNode, field: string, message: string): Problem {
  return { severity: "error", origin: { ...node.origin, field }, message };
}

function addressProblems(service: Service, { families, serviceCidrs }: ClusterConfig): readonly Problem[] {
  if (service.spec.type === "ExternalName") return [];
  return clusterIpTexts(service).flatMap((text, index): Problem[] => {
    const address = parseAddress(text);
    if (address === undefined || serviceCidrs.length === 0) return [];
    if (serviceCidrs.some((range) => contains(range, address))) return [];
    const message = families.includes(familyOf(address))
      ? `${text} lies outside of the cluster's service range: only pods may reach it`
      : `${text} is IPv${familyOf(address)}, but the cluster has only IPv${families.join(", IPv")}: nothing answers there`;
    return [problem("error", service, `spec.clusterIPs[${index}]`, message)];
  });
}

function selectionProblems(service: Service, pods: readonly Pod[]): readonly Problem[] {
  const { spec, metadata } = service;
  if (spec.type === "ExternalName") return [];
  const outcome = spec.clusterIP === "None" ? "its name will not resolve" : "traffic will be refused";
  if (pods.length === 0) {
    const selector = Object.entries(spec.selector ?? {}).map(([key, value]) => `${key}=${value}`);
    const message = `${selector.join(",")} selects no pod in namespace ${metadata.namespace ?? "default"}; ${outcome}`;
    return [problem("warning", service, "spec.selector", message)];
  }
  return (spec.ports ?? []).flatMap((port, index) => targetPortProblems(service, port, index, pods));
}

function targetPortProblems(
  service: Service,
  port: ServicePort,
  index: number,
  pods: readonly Pod[],
): readonly Problem[] {
  const { targetPort } = port;
  if (typeof targetPort !== "string") return [];
  const declared = pods.flatMap((pod) => containerPorts(pod));
  const protocol = protocolOf(port.protocol);
  if (declared.some((candidate) => candidate.name === targetPort && candidate.protocol === protocol)) return [];
  // The very name, of another protocol: that is what is wrong with it.
  const text = ({ name = "", protocol: theirs }: ContainerPort): string =>
    name === targetPort ? `${name} of ${theirs.toUpperCase()}, not ${protocol.toUpperCase()}` : name;
  const names = [...new Set(declared.filter(({ name }) => name !== undefined).map(text))].sort();
  const message =
    pods.length === 1
      ? `"${targetPort}" names no container port of the pod it selects (it has: ${listOf(names)}); traffic will be refused`
      : `"${targetPort}" names no container port of the ${pods.length} pods it selects (they have: ${listOf(names)}); traffic will be refused`;
  return [problem("error", service, `spec.ports[${index}].targetPort`, message)];
}

function listOf(names: readonly string[]): string {
  return names.length === 0 ? "no named ports" : names.join(", ");
}

/** What is kept but cannot be acted upon: said, never ignored in silence. */
function unfinished(
  service: Service,
  slices: readonly EndpointSlice[],
  { families, serviceCidrs }: ClusterConfig,
): readonly Problem[] {
  const { spec } = service;
  const warn = (field: string, message: string): Problem => problem("warning", service, field, message);
  const problems: Problem[] = [];
  for (const [index, text] of (spec.externalIPs ?? []).entries()) {
    const address = parseAddress(text);
    if (address !== undefined && serviceCidrs.some((range) => contains(range, address)))
      problems.push(
        warn(`spec.externalIPs[${index}]`, `${text} lies in the cluster's service range: it is not served`),
      );
  }
  const sources = spec.loadBalancerSourceRanges ?? [];
  for (const family of families) {
    if (sources.length === 0 || sources.some((range) => familyOf(range.trim()) === family)) continue;
    if (!clusterIpTexts(service).some((text) => parseAddress(text) !== undefined && familyOf(text) === family))
      continue;
    problems.push(
      warn(
        "spec.loadBalancerSourceRanges",
        `holds no IPv${family} range: nobody may connect to its IPv${family} address`,
      ),
    );
  }
  if (spec.trafficDistribution !== undefined && !hasHints(slices))
    problems.push(
      warn(
        "spec.trafficDistribution",
        "no EndpointSlice carries hints; every ready endpoint gets connections from everywhere",
      ),
    );
  return problems;
}

function hasHints(slices: readonly EndpointSlice[]): boolean {
  const endpoints = slices.flatMap((slice) => slice.endpoints ?? []);
  return endpoints.length === 0 || endpoints.some(({ hints }) => hints !== undefined);
}

function problem(severity: Problem["severity"], object: KubeObject, field: string, message: string): Problem {
  return { severity, origin: originOf(object, field), message };
}
