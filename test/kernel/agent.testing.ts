// A real node's agent as a process of its own (`fairlead agent …`), in a node's namespace, and an API server for it to watch: the lab's,
// reached on the loopback of each node.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import process from "node:process";

import type { KubeObject } from "../../src/kube/object.ts";
import { listenTcpFd } from "../../src/kernel/sockets.ts";
import type { NetworkNamespace } from "../../src/kernel/namespaces.ts";
import { startTestServer, type TestServer } from "../../src/lab/apiserver/server.testing.ts";

/** The API server's port on the loopback of each node. */
export const apiPort = 6443;

export interface TestApi extends TestServer {
  /** A kubeconfig file for any node, gone with the test. */
  readonly kubeconfig: string;
  /** A folder of the test's own. */
  readonly folder: string;
}

/** An API server that answers on the loopback of these namespaces, with a ServiceCIDR. */
export async function startApi(namespaces: readonly NetworkNamespace[]): Promise<TestApi> {
  const folder = mkdtempSync(join(tmpdir(), "fairlead-agent-"));
  const servers = namespaces.map((namespace) => {
    const server = createServer();
    server.listen({ fd: listenTcpFd(namespace, { address: "127.0.0.1", port: apiPort }) });
    return server;
  });
  const api = await startTestServer({ servers });
  const kubeconfig = join(folder, "kubeconfig");
  writeFileSync(
    kubeconfig,
    JSON.stringify({
      "current-context": "test",
      contexts: [{ name: "test", context: { cluster: "test" } }],
      clusters: [{ name: "test", cluster: { server: `http://127.0.0.1:${apiPort}` } }],
    }),
  );
  api.api.create({
    apiVersion: "networking.k8s.io/v1",
    kind: "ServiceCIDR",
    metadata: { name: "kubernetes" },
    spec: { cidrs: ["10.96.0.0/16", "fd00:10:96::/112"] },
  });
  return {
    ...api,
    kubeconfig,
    folder,
    close() {
      api.close();
      for (const server of servers) {
        server.close();
        server.closeAllConnections();
      }
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

export interface AgentProcess {
  /** What it said so far. */
  readonly lines: readonly string[];
  /** Resolves with the first line that matches; rejects where the process ends before. */
  says(pattern: RegExp): Promise<string>;
  /** Sends the signal; resolves with the exit code, or null, when it has ended. */
  end(signal?: NodeJS.Signals): Promise<number | null>;
  /** Sends a signal that does not end it. */
  send(signal: "SIGSTOP" | "SIGCONT"): void;
  readonly ended: Promise<number | null>;
}

const processes = new Set<AgentProcess>();

/** Runs `fairlead ARGUMENTS…` inside a namespace. */
export function runFairlead(namespace: NetworkNamespace, ...given: readonly string[]): AgentProcess {
  const child = namespace.run(() =>
    spawn(process.execPath, ["--disable-warning=ExperimentalWarning", resolve("src/cli/main.ts"), ...given], {
      stdio: ["ignore", "pipe", "pipe"],
    }),
  );
  const lines: string[] = [];
  const waiting = new Set<() => void>();
  let rest = "";
  const heard = (text: string): void => {
    const parts = (rest + text).split("\n");
    rest = parts.pop() ?? "";
    lines.push(...parts);
    for (const look of waiting) look();
  };
  child.stdout.setEncoding("utf8").on("data", heard);
  child.stderr.setEncoding("utf8").on("data", heard);
  const ended = once(child, "close").then(([code]) => code as number | null);
  const agent: AgentProcess = {
    lines,
    ended,
    says: (pattern) =>
      Promise.race([
        new Promise<string>((resolve) => {
          const look = (): void => {
            const found = lines.find((line) => pattern.test(line));
            if (found === undefined) return;
            waiting.delete(look);
            resolve(found);
          };
          waiting.add(look);
          look();
        }),
        ended.then((code): never =>
          assert.fail(`ended with ${code} and never said ${pattern}:\n${lines.join("\n")}\n${rest}`),
        ),
      ]),
    send: (signal) => void child.kill(signal),
    async end(signal = "SIGTERM") {
      child.kill(signal);
      return ended;
    },
  };
  processes.add(agent);
  void ended.then(() => processes.delete(agent));
  return agent;
}

/** Whatever still runs ends now. */
export async function endAll(): Promise<void> {
  await Promise.all([...processes].map((agent) => agent.end("SIGKILL")));
}

/** A Node with addresses, ranges and Ready. */
export function nodeObject(name: string, addresses: readonly string[], podCidrs: readonly string[]): KubeObject {
  return {
    apiVersion: "v1",
    kind: "Node",
    metadata: { name },
    spec: { podCIDRs: podCidrs },
    status: {
      addresses: addresses.map((address) => ({ type: "InternalIP", address })),
      conditions: [{ type: "Ready", status: "True" }],
    },
  };
}

/** A Service with one port 80 -> 8080, and its slice. */
export function serviceObjects(
  name: string,
  clusterIp: string,
  endpoints: readonly { readonly address: string; readonly node: string }[],
  spec: { readonly [field: string]: unknown } = {},
): readonly KubeObject[] {
  return [
    {
      apiVersion: "v1",
      kind: "Service",
      metadata: { name, namespace: "default" },
      spec: {
        type: "ClusterIP",
        clusterIP: clusterIp,
        clusterIPs: [clusterIp],
        ports: [{ name: "http", port: 80, targetPort: 8080, protocol: "TCP" }],
        ...spec,
      },
    },
    {
      apiVersion: "discovery.k8s.io/v1",
      kind: "EndpointSlice",
      metadata: { name, namespace: "default", labels: { "kubernetes.io/service-name": name } },
      addressType: clusterIp.includes(":") ? "IPv6" : "IPv4",
      ports: [{ name: "http", port: 8080, protocol: "TCP" }],
      endpoints: endpoints.map(({ address, node }) => ({
        addresses: [address],
        nodeName: node,
        conditions: { ready: true },
      })),
    },
  ];
}
