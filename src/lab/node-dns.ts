// DNS on each node of a lab (`up --dns node-local`): the same zone and the same Corefile (ConfigMap kube-system/coredns) as the pods have.

import { startNodeDns, type NodeDns } from "../agent/node-dns.ts";
import type { NodeDnsSource } from "../agent/node-dns-source.ts";
import type { NodeNetwork } from "../agent/node.ts";
import type { ClusterConfig } from "../model/network.ts";
import type { Zone } from "../program/zone.ts";
import type { ObjectApi } from "./api/api.ts";
import type { Outside } from "./outside/connect.ts";
import { hostUpstream, relayOutside } from "./outside/relay.ts";

export function startLabNodeDns(parts: {
  readonly api: ObjectApi;
  readonly cluster: ClusterConfig;
  readonly outside: Outside;
  readonly node: string;
  readonly source: NodeDnsSource;
  readonly network: NodeNetwork;
  readonly zone: () => Zone;
  readonly log: (line: string) => void;
}): NodeDns {
  const { api, cluster, outside, log, ...rest } = parts;
  const folder = "/etc/coredns/";
  const data = (): Readonly<Record<string, string>> => {
    const key = { group: "", resource: "configmaps", namespace: "kube-system", name: "coredns" };
    return (api.get(key) as { readonly data?: Readonly<Record<string, string>> } | undefined)?.data ?? {};
  };
  // As the pods have it mounted, all of the ConfigMap's files.
  const read = (path: string): string | undefined =>
    path.startsWith(folder) ? data()[path.slice(folder.length)] : undefined;
  return startNodeDns({
    ...rest,
    domain: cluster.domain,
    upstream: hostUpstream(outside),
    relay: relayOutside(cluster, outside),
    corefile: {
      path: `${folder}Corefile`,
      text: () => data()["Corefile"] ?? "",
      read,
      list: (pattern) => (read(pattern) === undefined ? [] : [pattern]),
      env: {},
    },
    log: (line) => log(`${new Date().toISOString()} ${line}`),
  });
}
