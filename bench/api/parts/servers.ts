// The servers that are measured: Fairlead's API server, and etcd with kube-apiserver, each started afresh on the host's loopback in a folder
// of its own, with the same kinds of certificates, users and permissions, and durable writes.
//
// Peers' executables are looked for in $PEERS/bin (~/.cache/fairlead-peers/bin).

import { spawn, type ChildProcess } from "node:child_process";
import { createPublicKey } from "node:crypto";
import { existsSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { createSecureContext, type SecureContext } from "node:tls";
import { kubeconfigText } from "../../../src/lab/apiserver/kubeconfig.ts";
import { openCertificates, type Certificates } from "../../../src/lab/apiserver/tls.ts";
import { openConnection, type Connection } from "./connection.ts";

export interface RunningServer {
  readonly name: string;
  readonly port: number;
  readonly certificates: Certificates;
  readonly context: SecureContext;
  readonly kubeconfig: string;
  /** From the start of the first process to the first 200 of /readyz. */
  readonly firstAnswerMs: number;
  /** Processor time of all its processes so far. */
  cpuMs(): number;
  /** Resident memory of each process, in bytes. */
  memory(): readonly { readonly process: string; readonly bytes: number }[];
  stop(): Promise<void>;
}

export const peers: string = join(process.env["PEERS"] ?? join(homedir(), ".cache/fairlead-peers"), "bin");

/** Are the peers there? */
export function hasPeers(): boolean {
  return ["etcd", "kube-apiserver"].every((name) => existsSync(join(peers, name)));
}

/** Fairlead's API server alone (serve.ts). */
export function startFairlead(): Promise<RunningServer> {
  return start("fairlead", async (folder) => {
    const serve = join(import.meta.dirname, "serve.ts");
    // Its launcher opens the listener (lab/launch.ts), and clients that come early wait.
    const listener = await listen();
    return {
      port: portOf(listener),
      // As bin/fairlead starts it.
      commands: [[process.execPath, "--disable-warning=ExperimentalWarning", serve, folder, "3"]],
      listener,
      env: {
        NODE_COMPILE_CACHE: join(process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache"), "fairlead"),
      },
    };
  });
}

const peerPrograms = { etcd: join(peers, "etcd"), apiserver: join(peers, "kube-apiserver") };

/** etcd and kube-apiserver, of which there may be others than those of the bench. */
export function startPeer(programs: typeof peerPrograms = peerPrograms): Promise<RunningServer> {
  return start("etcd + kube-apiserver", async (folder) => {
    const [port, clients, members] = [await freePort(), await freePort(), await freePort()];
    const pki = join(folder, "pki");
    const [etcdClients, etcdMembers] = [`http://127.0.0.1:${clients}`, `http://127.0.0.1:${members}`];
    const etcd = [
      ["--name", "bench"],
      ["--data-dir", join(folder, "etcd")],
      ["--listen-client-urls", etcdClients],
      ["--advertise-client-urls", etcdClients],
      ["--listen-peer-urls", etcdMembers],
      ["--initial-advertise-peer-urls", etcdMembers],
      ["--initial-cluster", `bench=${etcdMembers}`],
      ["--quota-backend-bytes", "8000000000"],
    ];
    const apiserver = [
      `--etcd-servers=${etcdClients}`,
      "--bind-address=127.0.0.1",
      `--secure-port=${port}`,
      "--advertise-address=127.0.0.1",
      "--endpoint-reconciler-type=none",
      "--service-cluster-ip-range=10.96.0.0/16",
      "--authorization-mode=Node,RBAC",
      "--allow-privileged=true",
      `--client-ca-file=${pki}/ca.crt`,
      `--tls-cert-file=${pki}/apiserver.crt`,
      `--tls-private-key-file=${pki}/apiserver.key`,
      "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
      `--service-account-key-file=${pki}/sa.pub`,
      `--service-account-signing-key-file=${pki}/sa.key`,
    ];
    return {
      port,
      commands: [
        [programs.etcd, ...etcd.flat()],
        [programs.apiserver, ...apiserver],
      ],
      env: {},
    };
  });
}

interface Plan {
  readonly port: number;
  /** What the first command inherits as descriptor 3. */
  readonly listener?: Server;
  readonly commands: readonly (readonly string[])[];
  readonly env: NodeJS.ProcessEnv;
}

async function start(name: string, plan: (folder: string) => Promise<Plan>): Promise<RunningServer> {
  const folder = mkdtempSync(join(tmpdir(), "fairlead-bench-"));
  // A server that is started the second time finds its certificates, as labs do; the peer must find them.
  const certificates = openCertificates({ folder: join(folder, "pki"), names: ["localhost"], addresses: [] });
  const context = createSecureContext({ cert: certificates.admin.certificate, key: certificates.admin.key });
  const publicKey = createPublicKey(certificates.tokenKey).export({ type: "spki", format: "pem" });
  writeFileSync(join(folder, "pki/sa.pub"), publicKey);
  const { port, commands, env, listener } = await plan(folder);
  const inherited = listener === undefined ? [] : [descriptorOf(listener)];
  const log = openSync(join(folder, "log"), "a");
  const began = performance.now();
  const children = commands.map(([command = "", ...rest]) =>
    spawn(command, rest, { stdio: ["ignore", log, log, ...inherited], env: { ...process.env, ...env } }),
  );
  listener?.close();
  try {
    await firstAnswer(port, context, children, join(folder, "log"));
  } catch (error) {
    await stop(children, folder);
    throw error;
  }
  const firstAnswerMs = performance.now() - began;
  const kubeconfig = join(folder, "kubeconfig");
  writeFileSync(
    kubeconfig,
    kubeconfigText({
      name: "bench",
      server: `https://127.0.0.1:${port}`,
      authority: certificates.authority,
      client: certificates.admin,
      namespace: "default",
    }),
  );
  return {
    name,
    port,
    certificates,
    context,
    kubeconfig,
    firstAnswerMs,
    cpuMs: () => children.reduce((sum, { pid }) => sum + cpuMsOf(pid ?? 0), 0),
    memory: () =>
      children.map(({ pid, spawnfile }) => ({
        process: spawnfile.split("/").at(-1) ?? "",
        bytes: residentOf(pid ?? 0),
      })),
    stop: () => stop(children, folder),
  };
}

async function firstAnswer(
  port: number,
  context: SecureContext,
  children: readonly ChildProcess[],
  log: string,
): Promise<void> {
  const deadline = performance.now() + 180_000;
  for (;;) {
    let connection: Connection | undefined;
    try {
      connection = await openConnection(port, context);
      const { status } = await connection.request("GET", "/readyz");
      if (status === 200) return;
    } catch {
      // Not yet.
    } finally {
      connection?.close();
    }
    if (children.some(({ exitCode }) => exitCode !== null) || performance.now() > deadline)
      throw new Error(`the server does not answer: ${readFileSync(log, "utf8").slice(-2000)}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

async function stop(children: readonly ChildProcess[], folder: string): Promise<void> {
  await Promise.all(
    children.map(async (child) => {
      if (child.exitCode !== null) return;
      const ended = new Promise((resolve) => child.once("exit", resolve));
      child.kill("SIGKILL");
      await ended;
    }),
  );
  rmSync(folder, { recursive: true, force: true });
}

async function freePort(): Promise<number> {
  const server = await listen();
  const port = portOf(server);
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function listen(): Promise<Server> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return server;
}

function portOf(server: Server): number {
  const address = server.address();
  if (typeof address !== "object" || address === null) throw new Error("find a free port: the listener has no address");
  return address.port;
}

// Node has no public name for a listener's descriptor.
function descriptorOf(server: Server): number {
  return (server as unknown as { _handle: { fd: number } })._handle.fd;
}

// proc(5): fields 14 and 15 of /proc/PID/stat are user and system time in ticks of 10 ms.
function cpuMsOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) * 10;
}

function residentOf(pid: number): number {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]) * 1024;
}
