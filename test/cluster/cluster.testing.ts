// A real cluster on this machine: etcd, kube-apiserver, kube-controller-manager and kube-scheduler on an underlay of its own, and nodes, each
// a network and mount namespace with a containerd and a kubelet. It has no network for pods: that is what the tests bring.
//
// Runs inside the namespaces that scripts/test-cluster.ts makes; everything here ends with them.
// Not here: building the programs (peers.testing.ts), what is tested (install.cluster.ts).

import { execFileSync, spawn, spawnSync, type ChildProcess } from "node:child_process";
import { createPrivateKey, generateKeyPairSync } from "node:crypto";
import { closeSync, mkdirSync, openSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import process from "node:process";

import type { KubeObject } from "../../src/kube/object.ts";
import { kubeconfigText } from "../../src/lab/apiserver/kubeconfig.ts";
import { issueCertificate, type KeyPair, type Subject } from "../../src/lab/apiserver/tls-certificate.ts";
import { openCluster, resourcePath, type ClusterClient } from "../../src/watch/cluster/client.ts";
import { readKubeconfig } from "../../src/watch/cluster/kubeconfig.ts";
import { pauseImage } from "./image.testing.ts";
import { etcdProgram, peer } from "./peers.testing.ts";

/** Of the underlay: its router, where the control plane is, and the nodes behind it. */
export const underlay = {
  control: ["10.77.0.1", "fd77::1"],
  node: (index: number): readonly [string, string] => [`10.77.0.${11 + index}`, `fd77::${11 + index}`],
  /** A machine that is no part of the cluster. */
  outside: ["203.0.113.10", "2001:db8::10"],
} as const;

export const ranges = {
  pods: ["10.244.0.0/16", "fd00:10:244::/56"],
  services: ["10.96.0.0/16", "fd00:10:96::/112"],
  dns: "10.96.0.10",
} as const;

export interface RealNode {
  readonly name: string;
  readonly addresses: readonly [string, string];
  /** Runs a program on the node; throws with what it said where it fails. */
  run(...words: string[]): string;
  /** Starts a program on the node that goes on; its log is ROLE-NODE.log in the cluster's logs. */
  start(role: string, ...words: string[]): ChildProcess;
  /** Runs a program in a pod's container, as a runtime does: without the API server. Its output, and how it ended. */
  exec(pod: string, ...words: string[]): { readonly status: number | null; readonly output: string };
  /** Takes the node off the underlay, or back. */
  cut(isCut: boolean): void;
}

export interface RealCluster {
  readonly client: ClusterClient;
  readonly kubeconfig: string;
  readonly nodes: readonly RealNode[];
  /** Where logs and kubeconfigs are: USER.kubeconfig. */
  readonly folder: string;
  /** Puts objects by server-side apply. */
  apply(objects: readonly KubeObject[]): Promise<void>;
  stopApiServer(): Promise<void>;
  startApiServer(): Promise<void>;
  /** The end of every program's log. */
  tails(): string;
  close(): Promise<void>;
}

const apiPort = 6443;

/** Starts it; resolves when the API server is ready and the kubelets run. Nodes are not ready before somebody brings a network. */
export async function startRealCluster(options: {
  readonly folder: string;
  readonly nodes: number;
  /** Image tars that every node has. */
  readonly images: readonly string[];
}): Promise<RealCluster> {
  const { folder } = options;
  mkdirSync(path.join(folder, "logs"), { recursive: true });
  const certificates = writeCertificates(folder);
  makeUnderlay();
  const children = new Map<string, ChildProcess>();
  const start = (name: string, command: string, words: readonly string[]): ChildProcess => {
    const log = openSync(path.join(folder, "logs", `${name}.log`), "a");
    const child = spawn(command, words, { stdio: ["ignore", log, log] });
    closeSync(log);
    children.set(name, child);
    return child;
  };
  const server = `https://${underlay.control[0]}:${apiPort}`;
  start("etcd", etcdProgram(), [
    "--data-dir",
    path.join(folder, "etcd"),
    "--unsafe-no-fsync",
    "--listen-client-urls=http://127.0.0.1:2379",
    "--advertise-client-urls=http://127.0.0.1:2379",
    "--listen-peer-urls=http://127.0.0.1:2380",
  ]);
  const startApiServer = async (): Promise<void> => {
    start("kube-apiserver", peer("kube-apiserver"), apiServerFlags(folder));
    await until("the API server to be ready", 120, () => isReady(client));
  };
  const client = openCluster(await readKubeconfig(certificates.admin));
  await startApiServer();
  const own = (name: string): readonly string[] =>
    ["kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig"].map(
      (flag) => `--${flag}=${path.join(folder, `${name}.kubeconfig`)}`,
    );
  start("kube-controller-manager", peer("kube-controller-manager"), [
    ...own("kube-controller-manager"),
    "--leader-elect=false",
    "--use-service-account-credentials=true",
    `--service-account-private-key-file=${path.join(folder, "sa.key")}`,
    `--root-ca-file=${path.join(folder, "ca.crt")}`,
    "--allocate-node-cidrs=true",
    `--cluster-cidr=${ranges.pods.join(",")}`,
    `--service-cluster-ip-range=${ranges.services.join(",")}`,
    // Nodes that say nothing are noticed within the test's patience.
    "--node-monitor-grace-period=30s",
    "--node-monitor-period=2s",
  ]);
  start("kube-scheduler", peer("kube-scheduler"), [...own("kube-scheduler"), "--leader-elect=false"]);
  const nodes = await Promise.all(
    Array.from({ length: options.nodes }, (_, index) =>
      startNode({ folder, index, server, images: options.images, start }),
    ),
  );
  const end = async (name: string, signal: NodeJS.Signals): Promise<void> => {
    const child = children.get(name);
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise<void>((resolve) => void child.once("exit", () => resolve()));
    child.kill(signal);
    await ended;
  };
  return {
    client,
    kubeconfig: certificates.admin,
    nodes,
    folder,
    async apply(objects) {
      for (const object of objects) await applyObject(client, object);
    },
    stopApiServer: () => end("kube-apiserver", "SIGKILL"),
    startApiServer,
    tails: () => tails(folder, [...children.keys()], nodes),
    async close() {
      client.close();
      for (const name of [...children.keys()].toReversed()) await end(name, "SIGKILL");
    },
  };
}

/** Asks again until it is so; rejects with what the last answer was. */
export async function until(what: string, seconds: number, isSo: () => Promise<unknown> | unknown): Promise<void> {
  const deadline = performance.now() + seconds * 1000;
  let last: unknown;
  for (;;) {
    try {
      last = await isSo();
      if (last === true) return;
    } catch (error) {
      last = error;
    }
    if (performance.now() > deadline)
      throw new Error(
        `waited ${seconds} s for ${what}: ${last instanceof Error ? last.message : JSON.stringify(last)}`,
      );
    await new Promise((resolve) => void setTimeout(resolve, 250));
  }
}

/** What it makes for itself when it starts is there: what the control plane may do, and the classes of its pods. */
async function isReady(client: ClusterClient): Promise<boolean> {
  for (const path of [
    "/api/v1/namespaces/kube-system",
    "/apis/rbac.authorization.k8s.io/v1/namespaces/kube-system/rolebindings/system::extension-apiserver-authentication-reader",
    "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/system:node-proxier",
    "/apis/scheduling.k8s.io/v1/priorityclasses/system-node-critical",
  ])
    await client.request({ path });
  return true;
}

async function applyObject(client: ClusterClient, object: KubeObject): Promise<void> {
  const { apiVersion, kind, metadata } = object;
  const [group, version] = apiVersion.includes("/") ? (apiVersion.split("/") as [string, string]) : ["", apiVersion];
  // Regular enough for what the tests bring.
  const resource = kind.endsWith("y") ? `${kind.slice(0, -1).toLowerCase()}ies` : `${kind.toLowerCase()}s`;
  const place = { name: metadata.name, ...(metadata.namespace !== undefined && { namespace: metadata.namespace }) };
  await client.request({
    method: "PATCH",
    path: `${resourcePath({ group, version, resource }, place)}?fieldManager=test&force=true`,
    contentType: "application/apply-patch+yaml",
    body: object,
  });
}

function ip(...words: string[]): void {
  execFileSync("ip", words, { stdio: ["ignore", "ignore", "inherit"] });
}

/** A bridge that every node is on, and a machine outside behind it. */
function makeUnderlay(): void {
  ip("link", "set", "lo", "up");
  ip("link", "add", "underlay", "type", "bridge");
  for (const address of [`${underlay.control[0]}/24`, `${underlay.control[1]}/64`])
    ip("addr", "add", address, "dev", "underlay", ...(address.includes(":") ? ["nodad"] : []));
  ip("link", "set", "underlay", "up");
  writeFileSync("/proc/sys/net/ipv4/ip_forward", "1");
  writeFileSync("/proc/sys/net/ipv6/conf/all/forwarding", "1");
  ip("netns", "add", "outside");
  ip("link", "add", "outside", "type", "veth", "peer", "name", "eth0", "netns", "outside");
  const far = (...words: string[]): void => ip("-n", "outside", ...words);
  // Without ::1, Go's programs take the machine for one without IPv6.
  far("link", "set", "lo", "up");
  for (const [near, distant, via] of [
    ["203.0.113.1/24", `${underlay.outside[0]}/24`, "203.0.113.1"],
    ["2001:db8::1/64", `${underlay.outside[1]}/64`, "2001:db8::1"],
  ] as const) {
    const nodad = near.includes(":") ? ["nodad"] : [];
    ip("addr", "add", near, "dev", "outside", ...nodad);
    far("addr", "add", distant, "dev", "eth0", ...nodad);
    ip("link", "set", "outside", "up");
    far("link", "set", "eth0", "up");
    far("route", "add", near.includes(":") ? "fd77::/64" : "10.77.0.0/24", "via", via);
  }
}

interface NodeParts {
  readonly folder: string;
  readonly index: number;
  readonly server: string;
  readonly images: readonly string[];
  readonly start: (name: string, command: string, words: readonly string[]) => ChildProcess;
}

async function startNode({ folder, index, server, images, start }: NodeParts): Promise<RealNode> {
  const name = `node-${index + 1}`;
  const addresses = underlay.node(index);
  const [address4, address6] = addresses;
  ip("netns", "add", name);
  ip("link", "add", name, "master", "underlay", "type", "veth", "peer", "name", "eth0", "netns", name);
  ip("link", "set", name, "up");
  for (const words of [
    ["link", "set", "lo", "up"],
    ["addr", "add", `${address4}/24`, "dev", "eth0"],
    ["addr", "add", `${address6}/64`, "dev", "eth0", "nodad"],
    ["link", "set", "eth0", "up"],
    ["route", "add", "default", "via", underlay.control[0]],
    ["route", "add", "default", "via", underlay.control[1]],
  ])
    ip("-n", name, ...words);

  const home = path.join(folder, name);
  mkdirSync(home);
  writeFileSync(path.join(home, "containerd.toml"), containerdConfig());
  writeFileSync(path.join(home, "kubelet.yaml"), kubeletConfig(folder));
  writeFileSync(path.join(home, "resolv.conf"), `nameserver ${underlay.control[0]}\n`);
  const authority = readAuthority(folder);
  const client = authority.issue({ commonName: `system:node:${name}`, organizations: ["system:nodes"] }, "client");
  const serving = authority.issue({ commonName: name }, "server", { names: [name], addresses: [...addresses] });
  writeFileSync(
    path.join(home, "kubeconfig"),
    kubeconfigText({ name, server, authority: authority.certificate, client, namespace: "default" }),
  );
  writeFileSync(path.join(home, "serving.crt"), serving.certificate);
  writeFileSync(path.join(home, "serving.key"), serving.key, { mode: 0o600 });
  const kubelet = [
    peer("kubelet"),
    `--config=${path.join(home, "kubelet.yaml")}`,
    `--kubeconfig=${path.join(home, "kubeconfig")}`,
    "--root-dir=/run/kubelet",
    "--cert-dir=/run/kubelet/pki",
    `--tls-cert-file=${path.join(home, "serving.crt")}`,
    `--tls-private-key-file=${path.join(home, "serving.key")}`,
    `--hostname-override=${name}`,
    `--node-ip=${addresses.join(",")}`,
  ];
  writeFileSync(path.join(home, "node.sh"), nodeScript(home, kubelet, images));
  const child = start(name, "nsenter", [
    `--net=/run/netns/${name}`,
    "unshare",
    "--mount",
    "--uts",
    "sh",
    path.join(home, "node.sh"),
  ]);
  await until(`${name} to have a container runtime`, 120, () => {
    if (child.exitCode !== null) throw new Error(`it ended: ${tail(path.join(folder, "logs", `${name}.log`))}`);
    // A shell makes the file before it writes into it.
    return /^\d+\n$/.test(readIfThere(path.join(home, "ready")) ?? "");
  });
  const pid = readFileSync(path.join(home, "ready"), "utf8").trim();
  const inside = (words: readonly string[]): readonly string[] => ["-t", pid, "-m", "-n", "-u", "--", ...words];
  const run = (...words: string[]): string => {
    const { status, stdout, stderr, error } = spawnSync("nsenter", inside(words), {
      encoding: "utf8",
      timeout: 60_000,
    });
    if (status !== 0) throw new Error(`${name}: ${words.join(" ")}: ${error?.message ?? ""}${stdout}${stderr}`);
    return stdout;
  };
  const ctr = ["ctr", "-a", "/run/containerd/containerd.sock", "-n", "k8s.io"];
  let execs = 0;
  return {
    name,
    addresses,
    run,
    start: (role, ...words) => start(`${role}-${name}`, "nsenter", inside(words)),
    exec(pod, ...words) {
      const filter = `labels."io.kubernetes.pod.name"==${pod},labels."io.cri-containerd.kind"==container`;
      const [id = ""] = run(...ctr, "containers", "ls", "-q", filter)
        .trim()
        .split("\n");
      if (id === "") throw new Error(`${name}: pod ${pod} has no container here`);
      const exec = [...ctr, "tasks", "exec", "--exec-id", `test-${process.pid}-${++execs}`, id, ...words];
      const { status, stdout, stderr } = spawnSync("nsenter", inside(exec), { encoding: "utf8", timeout: 60_000 });
      return { status, output: `${stdout}${stderr}`.trim() };
    },
    cut: (isCut) => ip("link", "set", name, isCut ? "down" : "up"),
  };
}

/**
 * The node's first program: private mounts over everything that a runtime, a kubelet and a CNI plugin write, containerd, the images, kubelet.
 * kubelet insists on three sysctls of the whole machine: it gets files of its own for those and may write none.
 */
function nodeScript(home: string, kubelet: readonly string[], images: readonly string[]): string {
  const quoted = (word: string): string => `'${word.replaceAll("'", "'\\''")}'`;
  return `set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /run
for folder in etc opt var; do
  mkdir -p /run/over/$folder/upper /run/over/$folder/work
  mount -t overlay -o lowerdir=/$folder,upperdir=/run/over/$folder/upper,workdir=/run/over/$folder/work overlay /$folder
done
mkdir -p /run/netns /etc/cni/net.d /opt/cni/bin /run/containerd /run/kubelet
cp /usr/lib/cni/loopback /opt/cni/bin/
mount --make-rshared /
hostname ${path.basename(home)}
containerd -c ${quoted(path.join(home, "containerd.toml"))} > ${quoted(path.join(home, "containerd.log"))} 2>&1 &
for i in $(seq 300); do ctr -a /run/containerd/containerd.sock version > /dev/null 2>&1 && break; sleep 0.1; done
${images.map((image) => `ctr -a /run/containerd/containerd.sock -n k8s.io images import ${quoted(image)} > /dev/null`).join("\n")}
# Whose namespaces others enter: only the kubelet's mounts keep settings from being written.
sleep infinity &
echo $! > ${quoted(path.join(home, "ready"))}
exec unshare --mount --propagation unchanged sh -c '
  mount --make-rprivate /proc
  mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys
  for pair in vm/overcommit_memory=1 kernel/panic=10 kernel/panic_on_oops=1; do
    file=/run/sysctl-$(basename \${pair%=*}); echo \${pair#*=} > $file; mount --bind $file /proc/sys/\${pair%=*}
  done
  exec "$@"' kubelet ${kubelet.map(quoted).join(" ")}
`;
}

function containerdConfig(): string {
  return `version = 2
root = "/run/containerd/root"
state = "/run/containerd/state"
oom_score = 0
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "${pauseImage}"
  disable_apparmor = true
  restrict_oom_score_adj = true
  enable_unprivileged_ports = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/opt/cni/bin"
    conf_dir = "/etc/cni/net.d"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
`;
}

function kubeletConfig(folder: string): string {
  return `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
failCgroupV1: false
failSwapOn: false
cgroupDriver: cgroupfs
cgroupsPerQOS: false
enforceNodeAllocatable: []
featureGates: { KubeletInUserNamespace: true }
makeIPTablesUtilChains: false
localStorageCapacityIsolation: false
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
healthzBindAddress: 127.0.0.1
podLogsDir: /run/pod-logs
clusterDomain: cluster.local
clusterDNS: [${ranges.dns}]
resolvConf: ${path.join(folder, "node-1", "resolv.conf")}
evictionHard: {}
authentication: { anonymous: { enabled: false }, webhook: { enabled: true }, x509: { clientCAFile: ${path.join(folder, "ca.crt")} } }
authorization: { mode: Webhook }
oomScoreAdj: 0
volumePluginDir: /run/kubelet/plugins
nodeStatusUpdateFrequency: 3s
`;
}

function apiServerFlags(folder: string): readonly string[] {
  const file = (name: string): string => path.join(folder, name);
  return [
    "--etcd-servers=http://127.0.0.1:2379",
    `--advertise-address=${underlay.control[0]}`,
    `--secure-port=${apiPort}`,
    `--service-cluster-ip-range=${ranges.services.join(",")}`,
    "--kubelet-preferred-address-types=InternalIP",
    "--authorization-mode=Node,RBAC",
    "--allow-privileged=true",
    `--client-ca-file=${file("ca.crt")}`,
    `--tls-cert-file=${file("apiserver.crt")}`,
    `--tls-private-key-file=${file("apiserver.key")}`,
    "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
    `--service-account-key-file=${file("sa.pub")}`,
    `--service-account-signing-key-file=${file("sa.key")}`,
    `--kubelet-client-certificate=${file("kubelet-client.crt")}`,
    `--kubelet-client-key=${file("kubelet-client.key")}`,
  ];
}

interface Authority {
  /** PEM */
  readonly certificate: string;
  issue(
    subject: Subject,
    use: "client" | "server",
    names?: { readonly names: readonly string[]; readonly addresses: readonly string[] },
  ): KeyPair;
}

const authoritySubject: Subject = { commonName: "cluster" };

function readAuthority(folder: string): Authority {
  const key = createPrivateKey(readFileSync(path.join(folder, "ca.key")));
  const now = Date.now();
  const validity = { notBefore: now - 3_600_000, notAfter: now + 10 * 86_400_000 };
  return {
    certificate: readFileSync(path.join(folder, "ca.crt"), "utf8"),
    issue: (subject, use, names) =>
      issueCertificate({ subject, use, ...names, ...validity }, { subject: authoritySubject, key }),
  };
}

/** The authority, the control plane's certificates and kubeconfigs, the service accounts' key. */
function writeCertificates(folder: string): { readonly admin: string } {
  const now = Date.now();
  const ca = issueCertificate({
    subject: authoritySubject,
    use: "authority",
    notBefore: now - 3_600_000,
    notAfter: now + 10 * 86_400_000,
  });
  const write = (name: string, text: string): void => writeFileSync(path.join(folder, name), text, { mode: 0o600 });
  write("ca.crt", ca.certificate);
  write("ca.key", ca.key);
  const authority = readAuthority(folder);
  const pair = (name: string, { certificate, key }: KeyPair): void => {
    write(`${name}.crt`, certificate);
    write(`${name}.key`, key);
  };
  pair(
    "apiserver",
    authority.issue({ commonName: "kube-apiserver" }, "server", {
      names: [
        "localhost",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
      ],
      addresses: ["127.0.0.1", "10.96.0.1", ...underlay.control],
    }),
  );
  pair("kubelet-client", authority.issue({ commonName: "apiserver", organizations: ["system:masters"] }, "client"));
  for (const [name, subject] of [
    ["admin", { commonName: "admin", organizations: ["system:masters"] }],
    ["kube-controller-manager", { commonName: "system:kube-controller-manager" }],
    ["kube-scheduler", { commonName: "system:kube-scheduler" }],
    ["kube-proxy", { commonName: "system:kube-proxy" }],
  ] as const) {
    const client = authority.issue(subject, "client");
    const server = `https://${underlay.control[0]}:${apiPort}`;
    write(
      `${name}.kubeconfig`,
      kubeconfigText({ name, server, authority: ca.certificate, client, namespace: "default" }),
    );
  }
  const { publicKey, privateKey } = generateKeyPairSync("rsa", {
    modulusLength: 2048,
    privateKeyEncoding: { type: "pkcs8", format: "pem" },
    publicKeyEncoding: { type: "spki", format: "pem" },
  });
  write("sa.key", privateKey);
  write("sa.pub", publicKey);
  return { admin: path.join(folder, "admin.kubeconfig") };
}

function readIfThere(file: string): string | undefined {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return undefined;
  }
}

/** The end of the logs of programs and pods. */
function tails(folder: string, programs: readonly string[], nodes: readonly RealNode[]): string {
  const own = programs.map((name) => `== ${name}\n${tail(path.join(folder, "logs", `${name}.log`))}`);
  const shown = 'for f in /run/pod-logs/*/*/*.log; do echo "== $(hostname) $f"; tail -n 12 $f; done';
  return [...own, ...nodes.map((node) => node.run("sh", "-c", shown))].join("\n");
}

function tail(file: string): string {
  const lines = (readIfThere(file) ?? "")
    .split("\n")
    .filter((line) => !line.includes("Container runtime network not ready"));
  return lines.slice(-8).join("\n");
}
