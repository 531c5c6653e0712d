// `--nodeport-addresses` of agent and lab, kube-proxy's words: ranges of nodes' own addresses, or `primary`, which is also the default.

import { parsePrefix, type Prefix } from "../ip/prefix.ts";

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
