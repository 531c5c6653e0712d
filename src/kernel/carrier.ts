// Links that have just come up carry nothing for a moment: the kernel acts on a carrier (opens the queue, starts the bridge port) in a
// work queue of its own, and drops packets until then. Who hands out a link to others waits here first.
//
// Since Linux 6.8 a query of one link by name does that work at once (net/core/rtnetlink.c, rtnl_getlink: linkwatch_sync_dev; dumps
// do not). Older kernels are asked again until the link says that it runs.

import { decodeLink, getLink, linkFlag } from "../wire/netlink/link.ts";
import { flag } from "../wire/netlink/message.ts";
import type { NetworkKernel } from "./kernel.ts";
import { failureError, type NetlinkSocket } from "./netlink-socket.ts";

/** Resolves when all of the links carry packets, or after `timeoutMs` with the names of those that do not: their other end may be down. Ports go before their bridge. */
export async function carriersUp(
  kernel: NetworkKernel,
  names: readonly string[],
  timeoutMs = 1000,
): Promise<readonly string[]> {
  const deadline = performance.now() + timeoutMs;
  for (let delayMs = 1; ; delayMs *= 2) {
    const idle = kernel.idleLinks(names);
    if (idle.length === 0 || performance.now() >= deadline) return idle;
    await new Promise((resolve) => setTimeout(resolve, delayMs));
  }
}

/** The carrier is there, and the kernel has acted on it: before that, IFF_RUNNING says what was (RFC 2863's operational status). */
const carries = linkFlag.running | linkFlag.lowerUp;

/** NetworkKernel.idleLinks by netlink. Throws KernelError. */
export function idleLinks(socket: NetlinkSocket, kernelName: string, names: readonly string[]): readonly string[] {
  const doing = `look at links ${names.join(", ")} in ${kernelName}`;
  const requests = names.map((name) => ({ ...getLink(name), flags: flag.ack }));
  const { messages, failures } = socket.transaction(requests, doing);
  for (const failure of failures.values()) if (failure.code !== "ENODEV") throw failureError(doing, failure);
  const idle = messages.flatMap((message) => {
    const link = decodeLink(message);
    return link !== undefined && (link.flags & carries) !== carries ? [link.name] : [];
  });
  return names.filter((name) => idle.includes(name));
}
