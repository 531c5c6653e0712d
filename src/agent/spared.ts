// UDP connections whose endpoint gets no new ones any more, but still answers: one that terminates and serves, or one that this node no
// longer chooses. What is under way there comes back; forgotten are they when the endpoint no longer serves (as kube-proxy does it,
// pkg/proxy/conntrack/cleanup.go: serving endpoints are no stale ones).
//
// Not here: which connections a change of Services leaves behind (apply/connections.ts).

import { KernelError, type ConnectionMatch } from "../kernel/kernel.ts";
import type { Network } from "../model/network.ts";

/** Connections that are left alone for a while. */
export interface Spared {
  /** Is the connection to be left alone? For ReconcileOptions. */
  spares(match: ConnectionMatch): boolean;
  /** Forgets those whose endpoint answers no more. To be called after each change. */
  forgetGone(): void;
}

/** `answers`: does the endpoint of such a connection still answer? `forget` deletes connections. */
export function createSpared(parts: {
  readonly answers: (match: ConnectionMatch) => boolean;
  readonly forget: (match: ConnectionMatch) => void;
}): Spared {
  const { answers, forget } = parts;
  const spared = new Map<string, ConnectionMatch>();
  return {
    spares(match) {
      if (!answers(match)) return false;
      spared.set(JSON.stringify(match), match);
      return true;
    },
    forgetGone() {
      for (const [key, match] of spared) {
        if (answers(match)) continue;
        try {
          forget(match);
          spared.delete(key);
        } catch (error) {
          // The next change tries again.
          if (!(error instanceof KernelError)) throw error;
        }
      }
    },
  };
}

/** Does the Service at the connection's cluster address and port have its endpoint, and does that serve? */
export function isServing({ services }: Network, match: ConnectionMatch): boolean {
  const { destination = "", destinationPort, replySource, replySourcePort } = match;
  const service = services.find(({ clusterIps }) => clusterIps.includes(destination));
  return (
    service?.ports.some(
      ({ port, protocol, endpoints }) =>
        port === destinationPort &&
        protocol === "udp" &&
        endpoints.some((one) => one.serving && one.address === replySource && one.port === replySourcePort),
    ) === true
  );
}
