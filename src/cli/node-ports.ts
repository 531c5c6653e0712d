// What agent and lab are told of node ports: `--nodeport-addresses`, kube-proxy's words (ranges of nodes' own addresses, or `primary`, which is
// also the default), and `--service-node-port-range`, kube-apiserver's.

import { parsePrefix, type Prefix } from "../ip/prefix.ts";
import { checkedNodePorts } from "../model/cluster.ts";
import type { ClusterConfig } from "../model/network.ts";

/** Undefined: node ports answer at the node's InternalIPs. Throws an Error that names the flag. */
export function nodePortRanges(list: string | undefined): readonly Prefix[] | undefined {
  if (list === undefined || list.trim() === "" || list.trim() === "primary") return undefined;
  const texts = list.split(",").map((text) => text.trim());
  if (texts.includes("primary")) throw new Error(`--nodeport-addresses ${list}: "primary" stands alone`);
  return texts.map((text) => {
    const range = parsePrefix(text);
    if (range === undefined) throw new Error(`--nodeport-addresses ${text} is no CIDR such as 10.244.0.0/16`);
    if (range !== "::1/128") return range;
    throw new Error(
      "--nodeport-addresses ::1/128: the kernel lets no packet of ::1 out to an endpoint: give 127.0.0.0/8, or ranges of links' addresses",
    );
  });
}

/** `30000-32767`. Undefined: that default. Throws an Error that names the flag. */
export function nodePortNumbers(text: string | undefined): ClusterConfig["nodePorts"] | undefined {
  if (text === undefined) return undefined;
  const [, first, last] = /^(\d+)-(\d+)$/.exec(text.trim()) ?? [];
  if (first === undefined) throw new Error(`--service-node-port-range ${text}: must be two ports such as 30000-32767`);
  return checkedNodePorts({ first: Number(first), last: Number(last) });
}
