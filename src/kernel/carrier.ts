// Links that have just come up carry nothing for a moment: the kernel acts on a carrier (opens the queue, starts the bridge port) in a
// work queue of its own, and drops packets until then. Who hands out a link to others waits here first.
//
// Since Linux 6.8 a query of one link by name does that work at once (net/core/rtnetlink.c, rtnl_getlink: linkwatch_sync_dev; dumps
// do not). Older kernels are asked again until the link says that it runs.

import { decodeLink, getLink, linkFlag } from "../wire/netlink/link.ts";
import { KernelError } from "./kernel.ts";
import type { NetworkNamespace } from "./namespaces.ts";
import { openNetlinkSocket, protocol, type NetlinkSocket } from "./netlink-socket.ts";

/** Asks once, in order: ports before their bridge. Gives the names of those that do not run yet; links that are gone count as done. */
export function settleLinks(namespace: NetworkNamespace, names: readonly string[]): readonly string[] {
  const socket = openNetlinkSocket(namespace, protocol.route);
  try {
    return names.filter((name) => !runs(socket, namespace, name));
  } finally {
    socket.close();
  }
}

/** Resolves when all run, or after `timeoutMs` with the names of those that still do not: their other end may be down. */
export async function linksRunning(
  namespace: NetworkNamespace,
  names: readonly string[],
  timeoutMs = 1000,
): Promise<readonly string[]> {
  const deadline = performance.now() + timeoutMs;
  for (let delayMs = 1; ; delayMs *= 2) {
    const idle = settleLinks(namespace, names);
    if (idle.length === 0 || performance.now() >= deadline) return idle;
    await new Promise((resolve) => setTimeout(resolve, delayMs));
  }
}

function runs(socket: NetlinkSocket, namespace: NetworkNamespace, name: string): boolean {
  try {
    const [message] = socket.request(getLink(name), `look at link ${name} in ${namespace.id}`);
    const link = message && decodeLink(message);
    return link === undefined || (link.flags & linkFlag.running) !== 0;
  } catch (error) {
    if (error instanceof KernelError && error.code === "ENODEV") return true;
    throw error;
  }
}
