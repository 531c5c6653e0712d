// Flannel as its own documentation installs it: flanneld with its defaults and `--ip-masq` on two nodes, leases in an etcd that both reach,
// VXLAN between them, and what its CNI plugin delegates to: Debian's `bridge` and `host-local` with what flanneld wrote into subnet.env.
//
// Not here: what is measured (traffic.ts), building it (test/cluster/peers.testing.ts).

import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { closeSync, mkdirSync, openSync, readFileSync } from "node:fs";
import path from "node:path";

import { createNetworkNamespace, type NetworkNamespace } from "../../src/kernel/namespaces.ts";
import { addByBridge, pathOf, sh } from "./place.ts";
import { buildFlannel, etcdProgram, peer } from "../../test/cluster/peers.testing.ts";

export interface FlannelPods {
  readonly client: NetworkNamespace;
  readonly server: NetworkNamespace;
  readonly address: string;
  stop(): Promise<void>;
}

const etcdAddress = "172.18.0.254";
const network = "10.87.0.0/16";

/** Starts it; `folder` is the CNI plugins', `/run` is the caller's own. Builds it first where it is missing. */
export async function startFlannel(folder: string): Promise<FlannelPods> {
  buildFlannel((line) => console.log(line));
  const children: ChildProcess[] = [];
  const underlay = createNetworkNamespace();
  sh(
    underlay,
    `ip link set lo up; ip link add switch type bridge; ip addr add ${etcdAddress}/24 dev switch; ip link set switch up`,
  );
  const client = `http://${etcdAddress}:2379`;
  children.push(
    start(underlay, etcdProgram(), [
      "--data-dir=/run/flannel-etcd",
      "--unsafe-no-fsync",
      `--listen-client-urls=${client}`,
      `--advertise-client-urls=${client}`,
      "--listen-peer-urls=http://127.0.0.1:2380",
    ]),
  );
  // etcd's gRPC gateway: keys and values in base64.
  const put = JSON.stringify({
    key: btoa("/coreos.com/network/config"),
    value: btoa(JSON.stringify({ Network: network, Backend: { Type: "vxlan" } })),
  });
  await until(`etcd to take Flannel's configuration`, () => {
    const words = ["-sf", "--max-time", "2", "-d", put, `${client}/v3/kv/put`];
    return underlay.run(() => spawnSync("curl", words)).status === 0;
  });
  const machines = [1, 2].map((n) => {
    const machine = createNetworkNamespace();
    sh(
      underlay,
      `ip link add port${n} type veth peer name eth0 netns ${pathOf(machine)}; ip link set port${n} master switch up`,
    );
    sh(
      machine,
      `ip link set lo up; ip link set eth0 up; ip addr add 172.18.0.${n}/24 dev eth0; ip route add default via ${etcdAddress}; echo 1 >/proc/sys/net/ipv4/ip_forward`,
    );
    const words = ["-etcd-endpoints", client, "-iface", "eth0", "-ip-masq", "-subnet-file", subnetFile(n)];
    children.push(start(machine, peer("flanneld"), words));
    return machine;
  });
  await until("Flannel's leases", () => [1, 2].every((n) => textOf(subnetFile(n)).includes("FLANNEL_SUBNET=")));
  const pods = machines.map((machine, index) => delegated(machine, index + 1, folder));
  const [one, two] = pods;
  if (one === undefined || two === undefined) throw new Error("no pods");
  return {
    client: one.pod,
    server: two.pod,
    address: two.address,
    async stop() {
      for (const child of children) {
        const ended = once(child, "exit");
        if (child.exitCode === null && child.kill("SIGKILL")) await ended;
      }
    },
  };
}

function subnetFile(n: number): string {
  return `/run/flannel-${n}/subnet.env`;
}

/** What flannel-io/cni-plugin makes of subnet.env with kube-flannel.yml's delegate: hairpinMode and isDefaultGateway, no ipMasq where flanneld does it. */
function delegated(machine: NetworkNamespace, n: number, folder: string): { pod: NetworkNamespace; address: string } {
  const env = new Map(
    textOf(subnetFile(n))
      .trim()
      .split("\n")
      .map((line) => line.split("=") as [string, string]),
  );
  const subnet = (env.get("FLANNEL_SUBNET") ?? "").replace(/\d+\/(\d+)$/, "0/$1");
  const pod = createNetworkNamespace();
  const config = {
    cniVersion: "0.3.1",
    name: "cbr0",
    type: "bridge",
    hairpinMode: true,
    isDefaultGateway: true,
    ipMasq: env.get("FLANNEL_IPMASQ") !== "true",
    mtu: Number(env.get("FLANNEL_MTU")),
    ipam: {
      type: "host-local",
      dataDir: `/run/flannel-${n}/cni`,
      ranges: [[{ subnet }]],
      routes: [{ dst: env.get("FLANNEL_NETWORK") }],
    },
  };
  return { pod, address: addByBridge(machine, pod, { folder, id: `flannel-${n}`, config }) };
}

function start(own: NetworkNamespace, command: string, words: readonly string[]): ChildProcess {
  mkdirSync("/run/flannel-logs", { recursive: true });
  const log = openSync(`/run/flannel-logs/${path.basename(command)}`, "a");
  try {
    return own.run(() => spawn(command, words, { stdio: ["ignore", log, log] }));
  } finally {
    closeSync(log);
  }
}

async function until(what: string, isSo: () => boolean): Promise<void> {
  const deadline = performance.now() + 60_000;
  while (!isSo()) {
    if (performance.now() > deadline)
      throw new Error(
        `waited 60 s for ${what}: ${["flanneld", "etcd"].map((one) => textOf(`/run/flannel-logs/${one}`).slice(-2000)).join("\n")}`,
      );
    await new Promise((resolve) => void setTimeout(resolve, 100));
  }
}

function textOf(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return "";
  }
}
