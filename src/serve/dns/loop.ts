// A forwarding loop: questions sent to an upstream that come back here, for ever. A name nobody else can know is asked of each upstream of
// the pod's network; where it comes back as a question, others' names are not forwarded until a later look finds the way free.
// The cluster's own names are answered all the while (CoreDNS ends the process here, and takes them along).

import { randomBytes, randomInt } from "node:crypto";

import { buildMessage, emptyMessage } from "../../wire/dns/message.ts";
import { isWithin, type DnsName } from "../../wire/dns/name.ts";
import type { Upstreams } from "./upstreams.ts";
import type { DnsLog } from "./log.ts";

export interface LoopWatch {
  /** A question came in. */
  seen(name: DnsName): void;
  /** Throws where questions for this name would go round. */
  refuse(name: DnsName): void;
  close(): void;
}

const againMs = 10_000;

export function watchForLoop(own: Upstreams["own"], parts: { readonly log: DnsLog }): LoopWatch {
  const watched = own.map(({ from, upstream }) => {
    const secret = randomBytes(8).toString("hex");
    return { from, upstream, name: from === "." ? secret : `${secret}.${from}`, looped: false, cameBack: false };
  });
  let timer: NodeJS.Timeout | undefined;
  let closed = false;
  const look = async (): Promise<void> => {
    await Promise.all(
      watched.map(async (each) => {
        each.cameBack = false;
        // What the upstream says does not matter.
        await each.upstream.resolve(probe(each.name)).catch(() => {});
        if (closed || each.cameBack === each.looped) return;
        each.looped = each.cameBack;
        if (!each.looped) parts.log.info(`plugin/loop: the way to ${each.upstream.name} is free again`);
      }),
    );
    if (watched.some(({ looped }) => looped) && !closed) timer = setTimeout(() => void look(), againMs).unref();
  };
  // After the sockets are open, so that the question can come back.
  if (watched.length > 0) setImmediate(() => void look());
  return {
    seen(name) {
      for (const each of watched) {
        if (each.name !== name) continue;
        if (!each.looped) parts.log.error(`plugin/loop: ${explain(each.from, each.upstream.name)}`);
        each.cameBack = true;
        each.looped = true;
      }
    },
    refuse(name) {
      for (const { from, upstream, looped, name: secret } of watched)
        if (looped && (name === secret || isWithin(name, from))) throw new Error(explain(from, upstream.name));
    },
    close() {
      closed = true;
      clearTimeout(timer);
    },
  };
}

function explain(from: DnsName, upstream: string): string {
  return (
    `loop: questions for "${from === "." ? "." : `${from}.`}" that are forwarded to ${upstream} come back here. ` +
    "Forward to a resolver that does not ask this server: mostly /etc/resolv.conf of the node names a local stub (127.0.0.53); " +
    "name the real resolvers in `forward`, or in kubelet's --resolv-conf"
  );
}

// HINFO, as CoreDNS asks: nobody else does.
function probe(name: DnsName): Uint8Array {
  return buildMessage({
    ...emptyMessage,
    id: randomInt(0x10000),
    recursionDesired: true,
    questions: [{ name, type: "HINFO", class: 1 }],
  });
}
