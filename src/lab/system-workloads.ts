// The system's own images: cluster DNS, and the node agents' face in kube-system. They run in the daemon like every built-in server.

import { resolve } from "node:path";

import type { ClusterConfig } from "../model/network.ts";
import type { Zone } from "../program/zone.ts";
import { parseCorefile, type Corefile } from "../serve/dns/corefile.ts";
import { corefilePath, followCorefile } from "../serve/dns/corefile-file.ts";
import { defaultCorefile, startDnsServer, type DnsServer } from "../serve/dns/server.ts";
import type { NodeLog } from "./node-log.ts";
import type { Outside } from "./outside/connect.ts";
import { hostUpstream, relayOutside } from "./outside/relay.ts";
import { builtinImages } from "./pods/images/builtin.ts";
import type { Images } from "./pods/images/images.ts";
import { programOf, type BuiltinWorkload } from "./pods/workloads/workload.ts";
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
  const dns = dnsWorkload(parts);
  parts.images.register(withoutTag(systemImages.dns), { entrypoint: ["/coredns"], workload: dns });
  // agnhost has a CoreDNS beside it, for tests that want a DNS server of their own.
  const beside = { ...dns, serves: (argv: readonly string[]) => programOf(argv) === "coredns" };
  for (const name of ["agnhost", "e2e-test-images/glibc-dns-testing"])
    parts.images.register(name, { ...builtinImages[name], beside });
  parts.images.register(withoutTag(systemImages.agent), {
    entrypoint: ["/fairlead-agent"],
    workload: agentWorkload(parts),
  });
}

function dnsWorkload({ zone, outside, cluster }: SystemParts): BuiltinWorkload {
  return {
    name: "dns",
    serves: () => true,
    start({ namespace, pod, args, env, files, log, exit }) {
      let server: DnsServer | undefined;
      let following: { close(): void } | undefined;
      let stopped = false;
      const path = corefilePath(args);
      // A container begins in its root folder.
      const read = (file: string): string | undefined => files.read(resolve("/", file))?.toString();
      const parse = (text: string): Corefile => parseCorefile(text, { file: path, read, list: files.list, env });
      const textNow = (): string => read(path) ?? "";
      const fail = (error: unknown): void => {
        log(`cannot serve: ${error instanceof Error ? error.message : String(error)}`);
        exit(1);
      };
      const first = textNow();
      try {
        const corefile = first === "" ? defaultCorefile(cluster.domain) : parse(first);
        if (first === "") log(`[INFO] there is no ${path}: the defaults hold`);
        startDnsServer({
          namespace,
          zone,
          upstream: hostUpstream(outside),
          // Others' pods ask as their network lets them.
          ...(pod.metadata.namespace === "kube-system" && { relay: relayOutside(cluster, outside) }),
          domain: cluster.domain,
          log,
          corefile,
          read,
        }).then((started) => {
          server = started;
          if (stopped) void started.close();
          else following = followCorefile(started, { read: textNow, parse }, { text: first, corefile });
        }, fail);
      } catch (error) {
        // The context is still being made: an exit now would be one before the start.
        setImmediate(() => fail(error));
      }
      return {
        stop() {
          stopped = true;
          following?.close();
          void server?.close();
        },
        // As long as the Corefile's lameduck says, clients that have not heard yet are answered.
        terminate() {
          following?.close();
          if (server === undefined) exit(0);
          else void server.close("lameduck").then(() => exit(0));
        },
      };
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
