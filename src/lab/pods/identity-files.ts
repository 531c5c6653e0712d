// /etc/hosts, /etc/hostname and /etc/resolv.conf of a pod's containers. Pure.
// Formats follow the kubelet (pkg/kubelet/kubelet_pods.go, pkg/kubelet/network/dns).

import type { Pod } from "../../kube/kinds.ts";
import { hostnameOf } from "./env.ts";

export interface DnsSettings {
  /** `cluster.local` */
  readonly domain: string;
  /** The cluster's DNS Service. */
  readonly addresses: readonly string[];
  /** The machine's own resolver settings, for dnsPolicy Default and for names outside. */
  readonly host: ResolverSettings;
}

export interface ResolverSettings {
  readonly nameservers: readonly string[];
  readonly searches: readonly string[];
  readonly options: readonly string[];
}

/** /etc/resolv.conf by dnsPolicy and dnsConfig. */
export function resolvConf(pod: Pod, dns: DnsSettings): string {
  const base = policySettings(pod, dns);
  const own = pod.spec.dnsConfig ?? {};
  const nameservers = unique([...base.nameservers, ...(own.nameservers ?? [])]);
  const searches = unique([...base.searches, ...(own.searches ?? [])]);
  const options = mergeOptions(base.options, own.options ?? []);
  const lines = [
    ...(searches.length === 0 ? [] : [`search ${searches.join(" ")}`]),
    ...nameservers.map((address) => `nameserver ${address}`),
    ...(options.length === 0 ? [] : [`options ${options.join(" ")}`]),
  ];
  return `${lines.join("\n")}\n`;
}

function policySettings(pod: Pod, { domain, addresses, host }: DnsSettings): ResolverSettings {
  const { dnsPolicy = "ClusterFirst", hostNetwork = false } = pod.spec;
  if (dnsPolicy === "None") return { nameservers: [], searches: [], options: [] };
  // A hostNetwork pod with ClusterFirst falls back to Default; ClusterFirstWithHostNet is for those who mean it.
  const fromCluster = dnsPolicy === "ClusterFirstWithHostNet" || (dnsPolicy === "ClusterFirst" && !hostNetwork);
  if (!fromCluster || addresses.length === 0) return host;
  const namespace = pod.metadata.namespace ?? "default";
  return {
    nameservers: addresses,
    searches: [`${namespace}.svc.${domain}`, `svc.${domain}`, domain, ...host.searches],
    options: ["ndots:5"],
  };
}

/** What the pod says replaces what the policy says, option by option. */
function mergeOptions(
  base: readonly string[],
  own: readonly { readonly name?: string; readonly value?: string }[],
): readonly string[] {
  const byName = new Map(base.map((option) => [option.split(":")[0] ?? option, option]));
  for (const { name, value } of own)
    if (name !== undefined) byName.set(name, value === undefined || value === "" ? name : `${name}:${value}`);
  return [...byName.values()];
}

/** /etc/hosts: loopback, the pod's own names at its addresses, and its hostAliases. A hostNetwork pod has the node's names. */
export function hostsFile(
  pod: Pod,
  options: { readonly podIps: readonly string[]; readonly domain: string; readonly nodeHosts: string },
): string {
  const own = fullName(pod, options.domain);
  const hostname = hostnameOf(pod);
  const names = own === undefined ? hostname : `${own}\t${hostname}`;
  const loopback = [
    "127.0.0.1\tlocalhost",
    "::1\tlocalhost ip6-localhost ip6-loopback",
    "fe00::0\tip6-localnet",
    "fe00::0\tip6-mcastprefix",
    "fe00::1\tip6-allnodes",
    "fe00::2\tip6-allrouters",
  ];
  const lines =
    pod.spec.hostNetwork === true
      ? [options.nodeHosts.trimEnd()]
      : ["# Kubernetes-managed hosts file.", ...loopback, ...options.podIps.map((ip) => `${ip}\t${names}`)];
  const aliases = (pod.spec.hostAliases ?? []).map(({ ip, hostnames = [] }) => `${ip}\t${hostnames.join("\t")}`);
  const ending = aliases.length === 0 ? [] : ["", "# Entries added by HostAliases.", ...aliases];
  return `${[...lines, ...ending].join("\n")}\n`;
}

/** `hostname.subdomain.namespace.svc.cluster.local` of a pod with a subdomain. */
function fullName(pod: Pod, domain: string): string | undefined {
  if (pod.spec.subdomain === undefined || pod.spec.subdomain === "") return undefined;
  return `${hostnameOf(pod)}.${pod.spec.subdomain}.${pod.metadata.namespace ?? "default"}.svc.${domain}`;
}

/** resolv.conf(5) as settings; what we do not know is left out. */
export function parseResolvConf(text: string): ResolverSettings {
  const nameservers: string[] = [];
  let searches: readonly string[] = [];
  const options: string[] = [];
  for (const line of text.split("\n")) {
    const [key, ...words] = line
      .replace(/[#;].*/, "")
      .trim()
      .split(/\s+/);
    if (key === "nameserver" && words[0] !== undefined) nameservers.push(words[0]);
    // The last of several search or domain lines holds.
    if (key === "search" || key === "domain") searches = words;
    if (key === "options") options.push(...words);
  }
  return { nameservers, searches: searches.filter((name) => name !== "."), options };
}

function unique(values: readonly string[]): readonly string[] {
  return [...new Set(values)];
}
