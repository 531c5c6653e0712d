// The kernel settings a node needs, each with its reason. Namespaced ones only: they touch nobody else on the machine.

import type { NetworkNode } from "../model/network.ts";
import { answersAtLoopback } from "../model/node-ports.ts";
import { compareText } from "../model/table.ts";
import { names, type Sysctl } from "./program.ts";

/** Sorted by path. `why` of each is in `sysctlReasons`. */
export function nodeSysctls(node: NetworkNode): readonly Sysctl[] {
  const own = Object.entries(sysctlReasons).map(([path, { value }]) => ({ path, value, origin: node.origin }));
  return [...own, ...loopbackSysctls(node)].sort((a, b) => compareText(a.path, b.path));
}

/**
 * What a node needs whose node ports answer at 127.0.0.1, whoever connects its pods: packets of loopback may leave by any link to be
 * translated there, and their answers come back so. Of `all` and a link's own value the kernel takes the larger one; which link leads to an endpoint
 * is known to the routes alone. The guard (guard.ts) does from then on what this switches off: nobody else speaks to loopback (CVE-2020-8558).
 */
export function loopbackSysctls(node: NetworkNode): readonly Sysctl[] {
  return answersAtLoopback(node) ? [{ path: loopbackSysctl, value: "1", origin: node.origin }] : [];
}

/** Also what is to be put back by hand, when there is no guard any more. */
export const loopbackSysctl = "net/ipv4/conf/all/route_localnet";

/** What we set and why: the table in docs/pipeline.md. */
export const sysctlReasons: Readonly<Record<string, { readonly value: string; readonly why: string }>> = {
  "net/ipv4/ip_forward": { value: "1", why: "a node is its pods' router" },
  "net/ipv6/conf/all/forwarding": { value: "1", why: "a node is its pods' router" },
  "net/bridge/bridge-nf-call-iptables": {
    value: "0",
    why: "packets between pods pass the IP stack anyway; seen a second time from inside the bridge, translated Service connections to a local pod break",
  },
  "net/bridge/bridge-nf-call-ip6tables": { value: "0", why: "as above" },
  "net/bridge/bridge-nf-call-arptables": { value: "0", why: "as above" },
  "net/ipv4/conf/all/rp_filter": {
    value: "2",
    why: "loose, and loose wins over strict: a pod's packet to another node's own address comes back through the tunnel; the guard checks pods' sources exactly",
  },
  "net/ipv4/conf/all/send_redirects": {
    value: "0",
    why: "two pods of a node are on one link, so the kernel would tell each to reach the other directly, which isolated ports refuse",
  },
  [`net/ipv4/conf/${names.bridge}/send_redirects`]: {
    value: "0",
    why: "the kernel takes the larger of all and the link's own",
  },
  [`net/ipv4/conf/${names.vxlan}/send_redirects`]: {
    value: "0",
    why: "the kernel takes the larger of all and the link's own",
  },
  [`net/ipv4/conf/${names.bridge}/route_localnet`]: {
    value: "1",
    why: "the node reaches its pods' hostPorts at 127.0.0.1; the guard drops what comes for or from loopback by any link",
  },
  [`net/ipv6/conf/${names.bridge}/accept_ra`]: { value: "0", why: "no pod may announce itself as the node's router" },
  [`net/ipv6/conf/${names.vxlan}/accept_ra`]: { value: "0", why: "no pod may announce itself as the node's router" },
  "net/netfilter/nf_conntrack_tcp_timeout_close_wait": {
    value: "3600",
    why: "a connection of which one half is closed is remembered for an hour, as kube-proxy has it; the kernel's minute cuts off clients that still send",
  },
  "net/netfilter/nf_conntrack_tcp_be_liberal": {
    value: "1",
    why: "a segment outside of the window is else called invalid, not translated back, and the client resets a connection that was fine",
  },
};
