// The real programs of a cluster, built from their Go modules once and kept: etcd, the control plane, the kubelet, agnhost, and Flannel (bench/cni).
// Nothing of them is in the repository: the module proxy has their sources.
//
// Not here: starting them (cluster.testing.ts).

import { execFileSync, spawnSync } from "node:child_process";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { homedir, tmpdir } from "node:os";
import path from "node:path";
import process from "node:process";

export const kubernetesVersion = "1.36.3";
const etcdVersion = "3.6.8";
const flannelVersion = "0.28.4";

/** Where they are: FAIRLEAD_PEERS, or below the user's cache. */
export const peersFolder: string =
  process.env["FAIRLEAD_PEERS"] ??
  path.join(process.env["XDG_CACHE_HOME"] ?? path.join(homedir(), ".cache"), "fairlead", "peers");

const kubernetes = {
  "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
  "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
  "kube-scheduler": "k8s.io/kubernetes/cmd/kube-scheduler",
  "kube-proxy": "k8s.io/kubernetes/cmd/kube-proxy",
  kubelet: "k8s.io/kubernetes/cmd/kubelet",
  agnhost: "k8s.io/kubernetes/test/images/agnhost",
} as const;

export type Peer = keyof typeof kubernetes | "etcd" | "flanneld";

export function peer(name: Peer): string {
  return path.join(peersFolder, name);
}

/** The program of etcd that runs here: our own, or Debian's. */
export function etcdProgram(): string {
  const built = peer("etcd");
  return spawnSync(built, ["--version"]).status === 0 ? built : "/usr/bin/etcd";
}

/** Builds what is missing: about ten minutes on two cores, once. Throws where Go or the module proxy is missing. */
export function buildPeers(say: (line: string) => void): void {
  const names = Object.keys(kubernetes) as (keyof typeof kubernetes)[];
  const missing = names.filter((name) => !existsSync(peer(name)));
  if (missing.length > 0) buildKubernetes(missing, say);
  buildEtcd(say);
}

/** Flannel and the etcd it keeps its leases in; two minutes, once. Throws as `buildPeers`. */
export function buildFlannel(say: (line: string) => void): void {
  buildEtcd(say);
  if (existsSync(peer("flanneld"))) return;
  say(`building flanneld ${flannelVersion} from its module, once …`);
  building((work, go) => {
    const module = `github.com/flannel-io/flannel@v${flannelVersion}`;
    const { Dir } = JSON.parse(go("mod", "download", "-json", module)) as { readonly Dir: string };
    // A module's own main is built with what its own go.mod says.
    execFileSync("cp", ["-r", "--no-preserve=mode", `${Dir}/.`, work]);
    const main = path.join(work, "main.go");
    // One cloud's way between nodes, whose library a module proxy may refuse, and one that needs a C compiler: neither is used.
    const others = /^.*"github\.com\/flannel-io\/flannel\/pkg\/backend\/(?:tencentvpc|udp)"\n/gm;
    writeFileSync(main, readFileSync(main, "utf8").replaceAll(others, ""));
    const stamp = `-X github.com/flannel-io/flannel/pkg/version.Version=v${flannelVersion}`;
    build("flanneld", ".", `-s -w ${stamp}`, go, work);
  });
}

function buildEtcd(say: (line: string) => void): void {
  if (existsSync(peer("etcd")) || existsSync("/usr/bin/etcd")) return;
  say(`building etcd ${etcdVersion} …`);
  // A module of its own: what Kubernetes' imports need is none of etcd's business.
  building((work, go) => {
    writeFileSync(
      path.join(work, "main.go"),
      'package main\n\nimport _ "go.etcd.io/etcd/server/v3/etcdmain"\n\nfunc main() {}\n',
    );
    go("mod", "init", "peers");
    go("get", `go.etcd.io/etcd/server/v3@v${etcdVersion}`);
    go("mod", "tidy");
    build("etcd", "go.etcd.io/etcd/server/v3", "-s -w", go, work);
  });
}

function buildKubernetes(missing: readonly (keyof typeof kubernetes)[], say: (line: string) => void): void {
  say(`building ${missing.join(", ")} ${kubernetesVersion} from their modules, once …`);
  building((work, go) => {
    writeModule(
      work,
      missing.map((name) => kubernetes[name]),
      go,
    );
    const stamps = ["k8s.io/component-base/version", "k8s.io/client-go/pkg/version"].flatMap((of) => [
      `-X ${of}.gitVersion=v${kubernetesVersion}`,
      `-X ${of}.gitMajor=1`,
      `-X ${of}.gitMinor=36`,
    ]);
    for (const name of missing) build(name, kubernetes[name], ["-s", "-w", ...stamps].join(" "), go, work);
  });
}

/** Runs Go in a folder of its own, which is gone afterwards. */
function building(make: (work: string, go: (...words: string[]) => string) => void): void {
  mkdirSync(peersFolder, { recursive: true });
  const work = mkdtempSync(path.join(tmpdir(), "fairlead-peers-"));
  const go = (...words: string[]): string => {
    try {
      return execFileSync("go", words, { cwd: work, encoding: "utf8", env: { ...process.env, CGO_ENABLED: "0" } });
    } catch (error) {
      throw new Error(
        `build a real peer: go ${words.join(" ")}: ${error instanceof Error ? error.message : String(error)}; it needs Go 1.26 and a module proxy`,
        { cause: error },
      );
    }
  };
  try {
    make(work, go);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** k8s.io/kubernetes names its staging modules by v0.0.0: whoever builds it from outside says which versions are meant. */
function writeModule(work: string, packages: readonly string[], go: (...words: string[]) => string): void {
  const downloaded = JSON.parse(go("mod", "download", "-json", `k8s.io/kubernetes@v${kubernetesVersion}`)) as {
    readonly GoMod: string;
  };
  copyFileSync(downloaded.GoMod, path.join(work, "upstream.mod"));
  const upstream = JSON.parse(go("mod", "edit", "-json", "upstream.mod")) as {
    readonly Require: readonly { readonly Path: string; readonly Version: string }[];
  };
  rmSync(path.join(work, "upstream.mod"));
  go("mod", "init", "peers");
  const staging = upstream.Require.filter(({ Path, Version }) => Path.startsWith("k8s.io/") && Version === "v0.0.0");
  const version = kubernetesVersion.replace(/^1\./, "0.");
  go("mod", "edit", `-require=k8s.io/kubernetes@v${kubernetesVersion}`);
  for (const { Path } of staging) go("mod", "edit", `-replace=${Path}=${Path}@v${version}`);
  const imports = packages.map((name) => `\t_ "${name}"`).join("\n");
  writeFileSync(path.join(work, "tools.go"), `//go:build tools\n\npackage peers\n\nimport (\n${imports}\n)\n`);
  go("mod", "tidy");
}

function build(name: Peer, from: string, flags: string, go: (...words: string[]) => string, work: string): void {
  go("build", "-trimpath", "-ldflags", flags, "-o", path.join(work, name), from);
  // Whole or not at all: a build that is stopped leaves no half program behind.
  const draft = `${peer(name)}.${process.pid}`;
  copyFileSync(path.join(work, name), draft);
  renameSync(draft, peer(name));
}
