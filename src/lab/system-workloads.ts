// The system's own images: cluster DNS, and the node agents' face in kube-system. They run in the daemon like every built-in server.

import type { ClusterConfig } from "../model/network.ts";
import type { Zone } from "../program/zone.ts";
import { startDnsServer, type DnsServer } from "../serve/dns/server.ts";
import type { NodeLog } from "./node-log.ts";
import type { Outside } from "./outside/connect.ts";
import type { Images } from "./pods/images/images.ts";
import type { BuiltinWorkload } from "./pods/workloads/workload.ts";
import { systemImages } from "./system.ts";

export interface SystemParts {
  readonly images: Images;
  readonly zone: () => Zone | undefined;
  readonly outside: Outside;
  readonly cluster: ClusterConfig;
  readonly log: (node: string) => NodeLog | undefined;
}

/** Makes the images of system.ts known. */
export function registerSystemWorkloads(parts: SystemParts): void {
  parts.images.register(withoutTag(systemImages.dns), { entrypoint: ["/coredns"], workload: dnsWorkload(parts) });
  parts.images.register(withoutTag(systemImages.agent), {
    entrypoint: ["/fairlead-agent"],
    workload: agentWorkload(parts),
  });
}

function dnsWorkload({ zone, outside, cluster }: SystemParts): BuiltinWorkload {
  return {
    name: "dns",
    serves: () => true,
    start({ namespace, log, exit }) {
      let server: DnsServer | undefined;
      let stopped = false;
      const close = (): void => {
        stopped = true;
        void server?.close();
      };
      startDnsServer({
        namespace,
        zone,
        upstream: { name: "the host's resolvers", resolve: (query) => outside.resolve(query) },
        domain: cluster.domain,
        log,
      }).then(
        (started) => {
          server = started;
          if (stopped) void started.close();
        },
        (error: unknown) => {
          log(`cannot serve: ${String(error)}`);
          exit(1);
        },
      );
      return { stop: close };
    },
  };
}

// The agents themselves are part of the daemon and outlive this pod; it shows their log where people look for kube-proxy's.
function agentWorkload({ log }: SystemParts): BuiltinWorkload {
  return {
    name: "agent",
    serves: () => true,
    start(context) {
      const follow = log(context.nodeName)?.follow((line) => context.log(line));
      return { stop: () => follow?.close() };
    },
  };
}

function withoutTag(image: string): string {
  return image.slice(0, image.lastIndexOf(":"));
}
