// What the benchmarks of Services stand on: namespaces of their own, pods at the end of a veth pair, and the real kube-proxy.

import { spawn, spawnSync, type ChildProcess, type StdioOptions } from "node:child_process";
import { writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";

import type { NetworkKernel } from "../../src/kernel/kernel.ts";
import { openKernel } from "../../src/kernel/linux.ts";
import { createNetworkNamespace, type NetworkNamespace } from "../../src/kernel/namespaces.ts";
import { kubeProxyConfiguration, type KubeProxySettings } from "../../test/kube-proxy.testing.ts";

const inside = "FAIRLEAD_BENCH_INSIDE";

/** Runs the benchmark anew inside namespaces of its own, unless it is there, and ends with it. `module`: its import.meta.url. */
export function enterOwnNamespaces(module: string): void {
  if (process.env[inside] !== undefined) return;
  const again = [process.execPath, fileURLToPath(module), ...process.argv.slice(2)];
  // nft sends its transaction in one piece, which only real root may make large: beyond some hundred Services kube-proxy needs it.
  const user = process.getuid?.() === 0 ? [] : ["-U", "--map-root-user"];
  const { status } = spawnSync("unshare", [...user, "-nmpuif", "--mount-proc", "--kill-child", "--", ...again], {
    stdio: "inherit",
    env: { ...process.env, [inside]: "1" },
  });
  process.exit(status ?? 1);
}

/** Where the real peers are. */
export const binaries: string = join(process.env.PEERS ?? join(homedir(), ".cache/fairlead-peers"), "bin");

/** The command that is measured: FAIRLEAD, or this clone's. */
export const fairlead: string = process.env.FAIRLEAD ?? resolve("bin/fairlead");

/** `fairlead agent --only services`; what it leaves when it is killed is in `folder`. */
export function spawnAgent(settings: {
  readonly kubeconfig: string;
  readonly node: string;
  readonly clusterCidr?: string;
  readonly folder: string;
  readonly stdio: StdioOptions;
}): ChildProcess {
  const { kubeconfig, node, clusterCidr, folder, stdio } = settings;
  const words = ["agent", "--kubeconfig", kubeconfig, "--node", node, "--only", "services"];
  const range = clusterCidr === undefined ? [] : ["--cluster-cidr", clusterCidr];
  return spawn(fairlead, [...words, ...range, "--cni-dir", join(folder, "cni")], { stdio });
}

/** The real kube-proxy in nftables mode; `folder` takes its configuration. */
export function spawnKubeProxy(
  settings: Omit<KubeProxySettings, "mode"> & { readonly folder: string; readonly stdio: StdioOptions },
): ChildProcess {
  const config = join(settings.folder, "kube-proxy.yaml");
  writeFileSync(config, kubeProxyConfiguration({ ...settings, mode: "nftables" }));
  return spawn(join(binaries, "kube-proxy"), ["--config", config, "--v", "2"], { stdio: settings.stdio });
}

/** A namespace with this address behind a link of this name. */
export function addVethPod(kernel: NetworkKernel, link: string, address: string): NetworkNamespace {
  const namespace = createNetworkNamespace();
  const gateway = "169.254.1.1";
  kernel.change([
    { kind: "create-veth", name: link, mtu: 1500, peer: { name: "eth0", namespaceFd: namespace.fd } },
    { kind: "set-link", name: link, up: true },
    { kind: "set-address", link, address: gateway, bits: 32, scope: "link" },
    { kind: "set-route", to: `${address}/32`, action: "forward", link, metric: 0, protocol: 4, scope: "link" },
  ]);
  const own = openKernel(link, namespace);
  const route = { kind: "set-route", action: "forward", link: "eth0", metric: 0, protocol: 4 } as const;
  own.change([
    { kind: "set-link", name: "lo", up: true },
    { kind: "set-link", name: "eth0", up: true },
    { kind: "set-address", link: "eth0", address, bits: 32 },
    { ...route, to: `${gateway}/32`, scope: "link" },
    { ...route, to: "0.0.0.0/0", via: gateway },
  ]);
  own.close();
  return namespace;
}
