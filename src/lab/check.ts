// The check after `up`: real packets between real pods, so that "ready" means more than statuses.
// DNS by the kube-dns Service, a pod to a pod on another node, a pod to a Service, and the answer's source address.

import { familyOf } from "../ip/address.ts";
import type { NetworkNamespace } from "../kernel/namespaces.ts";
import type { NetworkPod, NetworkService } from "../model/network.ts";
import { queryDns } from "../serve/dns/client.ts";
import type { Lab } from "./lab.ts";
import { ping, probeTcp } from "./network/probe.ts";

interface Check {
  readonly name: string;
  readonly ok: boolean;
  readonly detail: string;
}

/** Empty where packets are off, or where there is nothing to check with. */
export async function checkWithPackets(lab: Lab): Promise<{ checks: readonly Check[] }> {
  const world = lab.network();
  const clients = world.pods.filter((pod) => !pod.hostNetwork && pod.ready && sandbox(lab, pod) !== undefined);
  const [client] = clients;
  const namespace = client && sandbox(lab, client);
  if (client === undefined || namespace === undefined) return { checks: [] };
  const service = world.services.find(
    (each) =>
      !each.headless &&
      each.namespace !== "kube-system" &&
      each.ports.some((port) => port.protocol === "tcp" && port.endpoints.some((endpoint) => endpoint.ready)),
  );
  const checks = await Promise.all([
    checkDns(lab, namespace, service),
    checkPods(client, namespace, clients),
    ...(service === undefined ? [] : [checkService(namespace, service)]),
  ]);
  return { checks: checks.flat() };
}

async function checkDns(lab: Lab, namespace: NetworkNamespace, service: NetworkService | undefined): Promise<Check[]> {
  const { domain, dnsAddresses } = lab.cluster;
  const name =
    service === undefined ? `kubernetes.default.svc.${domain}` : `${service.name}.${service.namespace}.svc.${domain}`;
  const wanted =
    service?.clusterIps ??
    lab.network().services.find((each) => each.name === "kubernetes" && each.namespace === "default")?.clusterIps ??
    [];
  const [server = ""] = dnsAddresses;
  const type = familyOf(wanted[0] ?? server) === 4 ? "A" : "AAAA";
  try {
    const answer = await queryDns(namespace, server, name, type);
    const addresses = answer.answers.flatMap(({ data }) =>
      data.kind === "A" || data.kind === "AAAA" ? [data.address] : [],
    );
    const ok = addresses.some((address) => wanted.includes(address));
    return [
      {
        name: "dns",
        ok,
        detail: `${server} says ${name} is ${addresses.join(", ") || answer.rcode}, not ${wanted.join(", ")}`,
      },
    ];
  } catch (error) {
    return [{ name: "dns", ok: false, detail: `${server} does not answer to ${name}: ${(error as Error).message}` }];
  }
}

async function checkPods(
  client: NetworkPod,
  namespace: NetworkNamespace,
  pods: readonly NetworkPod[],
): Promise<Check[]> {
  const other = pods.find((pod) => pod.node !== client.node) ?? pods.find((pod) => pod !== client);
  if (other === undefined) return [];
  const results = await Promise.all(
    other.addresses.map(async (address) => ({ address, result: await ping(namespace, { address, timeoutMs: 2000 }) })),
  );
  const failed = results.filter(({ result }) => result.outcome !== "answered");
  return [
    {
      name: client.node === other.node ? "pod to pod" : "pod to pod across nodes",
      ok: failed.length === 0,
      detail: failed
        .map(
          ({ address, result }) =>
            `${client.namespace}/${client.name} to ${other.namespace}/${other.name} ${address}: ${result.outcome}`,
        )
        .join("; "),
    },
  ];
}

async function checkService(namespace: NetworkNamespace, service: NetworkService): Promise<Check[]> {
  const port = service.ports.find(
    (each) => each.protocol === "tcp" && each.endpoints.some((endpoint) => endpoint.ready),
  );
  if (port === undefined) return [];
  const results = await Promise.all(
    service.clusterIps
      .filter((address) =>
        port.endpoints.some((endpoint) => endpoint.ready && familyOf(endpoint.address) === familyOf(address)),
      )
      .map(async (address) => ({
        address,
        result: await probeTcp(namespace, { address, port: port.port, timeoutMs: 2000 }),
      })),
  );
  const failed = results.filter(({ result }) => result.outcome !== "answered");
  return [
    {
      // A connected TCP socket takes answers from the address it asked and from no other.
      name: "service and reply",
      ok: failed.length === 0,
      detail: failed
        .map(({ address, result }) => `${service.namespace}/${service.name} ${address}:${port.port}: ${result.outcome}`)
        .join("; "),
    },
  ];
}

function sandbox(lab: Lab, pod: NetworkPod): NetworkNamespace | undefined {
  return lab.nodes().get(pod.node)?.kubelet?.sandboxOf({ namespace: pod.namespace, pod: pod.name });
}
