// UDP connections whose endpoint gets no new ones any more, but still answers: one that terminates and serves, or one that this node no
// longer chooses. What is under way there comes back; forgotten are they when the endpoint no longer serves (as kube-proxy does it,
// pkg/proxy/conntrack/cleanup.go: serving endpoints are no stale ones).
// Those of DNS only for a moment: a question has its answer by then, and a client that takes the same port for another question later
// would be led to a server that is about to end.
//
// Not here: which connections a change of Services leaves behind (apply/connections.ts).

import { KernelError, type ConnectionMatch } from "../kernel/kernel.ts";
import type { Network, ServicePort } from "../model/network.ts";

/** Connections that are left alone for a while. */
export interface Spared {
  /** Is the connection to be left alone? For ReconcileOptions. */
  spares(match: ConnectionMatch): boolean;
  /** Forgets those whose endpoint answers no more. To be called after each change. */
  forgetGone(): void;
  close(): void;
}

/** How long an answer to a question may take. Resolvers ask again after 5 s (resolv.conf(5)), and DNS servers end 5 s after they were told. */
const dnsMs = 3000;
const dnsPort = 53;

/** `answers`: does the endpoint of such a connection still answer? `forget` deletes connections. */
export function createSpared(parts: {
  readonly answers: (match: ConnectionMatch) => boolean;
  readonly forget: (match: ConnectionMatch) => void;
  readonly setTimer: (delayMs: number, call: () => void) => { cancel(): void };
}): Spared {
  const { answers, forget, setTimer } = parts;
  const spared = new Map<string, { readonly match: ConnectionMatch; readonly timer: { cancel(): void } | undefined }>();
  /** What the kernel refuses is tried again with the next change. */
  const end = (key: string, match: ConnectionMatch): void => {
    try {
      forget(match);
    } catch (error) {
      if (!(error instanceof KernelError)) throw error;
      return;
    }
    spared.get(key)?.timer?.cancel();
    spared.delete(key);
  };
  return {
    spares(match) {
      if (!answers(match)) return false;
      const key = JSON.stringify(match);
      spared.get(key)?.timer?.cancel();
      const timer = match.destinationPort === dnsPort ? setTimer(dnsMs, () => end(key, match)) : undefined;
      spared.set(key, { match, timer });
      return true;
    },
    forgetGone() {
      for (const [key, { match }] of spared) if (!answers(match)) end(key, match);
    },
    close() {
      for (const { timer } of spared.values()) timer?.cancel();
      spared.clear();
    },
  };
}

/** Has the Service that the connection asked for, at whichever of its addresses this node knows, its endpoint, and does that serve? */
export function isServing({ services, nodes }: Network, node: string, match: ConnectionMatch): boolean {
  const { destination = "", destinationPort, replySource, replySourcePort } = match;
  const serves = ({ protocol, endpoints }: ServicePort): boolean =>
    protocol === "udp" &&
    endpoints.some((one) => one.serving && one.address === replySource && one.port === replySourcePort);
  const service = services.find(({ clusterIps }) => clusterIps.includes(destination));
  if (service !== undefined) return service.ports.some((port) => port.port === destinationPort && serves(port));
  const own = nodes.find(({ name }) => name === node);
  const isOwn = (own?.nodePortAddresses ?? own?.addresses ?? []).includes(destination);
  const isAsked = ({ port, nodePort, external = [] }: ServicePort): boolean =>
    (isOwn && nodePort === destinationPort) ||
    (port === destinationPort && external.some(({ address }) => address === destination));
  return services.some(({ ports }) => ports.some((port) => isAsked(port) && serves(port)));
}
