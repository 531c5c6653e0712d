// One pod on its node, from the first sight of it to its removal: volumes, sandbox and network, init containers in order, containers,
// status, termination. Everything that can be tried again is, until the pod is deleted.
//
// Not here: one container's life (runner.ts), which pods there are (kubelet.ts).

import { createHash } from "node:crypto";
import fs from "node:fs";
import { join } from "node:path";
import { CniError, type CniRequest, type PodNetwork } from "../../serve/cni/cni.ts";
import { parseAddress, type Address } from "../../ip/address.ts";
import { makeNetworkNamespace } from "../../kernel/namespace-maker.ts";
import type { NetworkNamespace } from "../../kernel/namespaces.ts";
import { sameJson } from "../../kube/equal.ts";
import type { ContainerState, ContainerStatus, Pod, Quantity, Volume } from "../../kube/kinds.ts";
import type { ObjectApi } from "../api/api.ts";
import { StatusError } from "../api/store.ts";
import { timeText, type Clock } from "../../watch/clock.ts";
import type { NamespacedProcess } from "../../kernel/process.ts";
import type { Backoff } from "./backoff.ts";
import { holdContainer, rightsOf } from "./container.ts";
import type { PodFacts } from "./downward.ts";
import { hostnameOf, type Lookups } from "./env.ts";
import { ConfigError } from "./errors.ts";
import type { EventRecorder } from "./events.ts";
import { hostsFile, resolvConf, type DnsSettings } from "./identity-files.ts";
import type { Images } from "./images/images.ts";
import type { LogStore } from "./logs.ts";
import type { RootMount } from "./root.ts";
import { createRunner, logPod, type ContainerRunner, type RunnerContext } from "./runner.ts";
import { createSandbox, type Sandbox } from "./sandbox.ts";
import { podStatus, type ContainerRecord } from "./status.ts";
import { hasStorageLimits, storageExcess, storageLookMs } from "./storage-limits.ts";
import type { Toolbox } from "./toolbox.ts";
import { prepareVolumes, referencedObjects, type ReadyVolume, type TokenRequest } from "./volumes.ts";

/** What all pods of a node share. */
export interface NodeContext {
  readonly nodeName: string;
  readonly nodeAddresses: readonly Address[];
  readonly nodeNetwork: NetworkNamespace;
  readonly allocatable: Readonly<Record<string, Quantity>>;
  readonly api: ObjectApi;
  readonly network: PodNetwork;
  readonly dns: DnsSettings;
  readonly clock: Clock;
  readonly images: Images;
  readonly toolbox: Toolbox;
  readonly logs: LogStore;
  readonly events: EventRecorder;
  readonly backoff: Backoff;
  /** 64 hexadecimal digits. */
  readonly random: () => string;
  readonly serviceAccountToken: (request: TokenRequest) => string;
  readonly lookups: (namespace: string) => Lookups;
  /** A folder a pod below this one, in memory, for configuration, secrets and tokens; below podsFolder unless given. */
  readonly memoryFolder?: string;
  /** A folder a pod below this one. */
  readonly podsFolder: string;
  readonly nodeDisk: string;
  readonly claims: string;
  readonly nodeHosts: string;
  readonly report: (message: string) => void;
}

export interface PodWorker {
  readonly pod: Pod;
  /** The object has changed: labels, deletion, conditions of others. */
  update(pod: Pod): void;
  /** The object is gone from the store: end now, write nothing. Resolves when everything is gone. */
  gone(): Promise<void>;
  /** The lab stops: processes end, the object stays as it is. */
  stop(): Promise<void>;
  /** The node is cut off: nothing is written until the function that comes back is called. */
  sleep(): () => void;
  /** A ConfigMap or Secret of this name (`configmap/name`) has changed. */
  objectChanged(name: string): void;
  runner(container: string | undefined): ContainerRunner;
  readonly runners: readonly ContainerRunner[];
  readonly sandbox: Sandbox | undefined;
}

/** Starts the pod. `ended` is called when nothing of it is left and its object may be forgotten. */
export function startPodWorker(node: NodeContext, first: Pod, ended: () => void): PodWorker {
  const { clock, api, events } = node;
  let pod = first;
  let sandbox: Sandbox | undefined;
  let podIps: readonly Address[] = [];
  let volumes: ReadonlyMap<string, ReadyVolume> = new Map();
  let writing: NodeJS.Immediate | undefined;
  let asleep = false;
  /** Ended before this lab started: its status is what it was. */
  let inert = false;
  /** With shareProcessNamespace: the process that is number 1 for all containers. */
  let reaper: NamespacedProcess | undefined;
  let deadline: { cancel(): void } | undefined;
  let failed: { readonly reason: string; readonly message: string } | undefined;
  /** `stop`: the lab stops; `delete`: the pod is being deleted; `gone`: its object is no more. */
  let ending: "stop" | "delete" | "gone" | undefined;
  const over = new AbortController();
  const folder = join(node.podsFolder, first.metadata.uid ?? "");
  const memory = join(node.memoryFolder ?? node.podsFolder, first.metadata.uid ?? "");
  const startTime = first.status?.startTime ?? timeText(clock.now());

  const facts = (): PodFacts => ({
    pod,
    podIps,
    nodeName: node.nodeName,
    hostIps: node.nodeAddresses,
    allocatable: node.allocatable,
  });
  const lookups = node.lookups(first.metadata.namespace ?? "");
  /** The tokens in the pod's volumes, and what asked for them. */
  const tokens = new Map<string, { readonly request: TokenRequest; readonly token: string }>();
  const tokenFor = (request: TokenRequest): string => {
    const token = node.serviceAccountToken(request);
    tokens.set(`${request.expirationSeconds} ${request.audience ?? ""}`, { request, token });
    return token;
  };

  const writeStatus = (isOver = false): void => {
    writing = undefined;
    if (inert || asleep || ending === "stop" || ending === "gone") return;
    // A condition that somebody else has just written is in the store before its watch tells of it.
    const there = storedPod(api, pod);
    // Gone meanwhile: the watch will say so.
    if (there === undefined) return;
    const status = podStatus({
      pod: { ...pod, ...(there.status === undefined ? {} : { status: there.status }) },
      records: runners.map(({ record }) => record),
      sandboxReady: sandbox !== undefined && podIps.length > 0,
      podIps,
      hostIps: node.nodeAddresses,
      startTime,
      now: timeText(clock.now()),
      ...(failed === undefined ? {} : { failed }),
      isOver,
    });
    if (!sameJson(status, there.status)) api.updateStatus({ ...there, status });
    // What else is new of it comes with the watch, which tells what has changed.
    pod = { ...pod, status };
  };
  const changed = (): void => {
    writing ??= setImmediate(writeStatus, false);
  };

  const files = identityFiles(folder);
  const context: RunnerContext = {
    pod: () => pod,
    facts,
    lookups,
    sandbox: () => {
      if (sandbox === undefined) throw new Error(`pod ${pod.metadata.name} has no sandbox`);
      return sandbox;
    },
    nodeNetwork: node.nodeNetwork,
    volumes: () => volumes,
    identityMounts: () => files.mounts,
    writeIdentityFiles: () =>
      files.write({
        hosts: hostsFile(pod, { podIps, domain: node.dns.domain, nodeHosts: node.nodeHosts }),
        hostname: `${hostnameOf(pod)}\n`,
        resolvConf: resolvConf(pod, node.dns),
      }),
    resolvConf: () => resolvConf(pod, node.dns),
    folder,
    clock,
    images: node.images,
    toolbox: node.toolbox,
    logs: node.logs,
    events,
    backoff: node.backoff,
    random: node.random,
    changed,
  };
  const runners: ContainerRunner[] = containersOf(first).map(({ spec, role }) =>
    createRunner(context, spec, role, beforeRestart(first, spec.name)),
  );
  const inits = runners.filter(({ record }) => record.role === "init" || record.role === "sidecar");
  const apps = runners.filter(({ record }) => record.role === "app");

  let nudge = (): void => {};
  /** Until the time is over, the pod ends, or something it may be waiting for has changed. */
  const wait = (ms: number): Promise<void> =>
    new Promise((resolve) => {
      if (over.signal.aborted) return resolve();
      const timer = clock.after(ms, resolve);
      nudge = () => {
        timer.cancel();
        resolve();
      };
      over.signal.addEventListener("abort", nudge, { once: true });
    });

  /** Until it works or the pod ends. */
  async function tryUntilDone(reason: string, prefix: string, attempt: () => void | Promise<void>): Promise<void> {
    const began = clock.now();
    for (let delay = 500; !over.signal.aborted; delay = Math.min(delay * 2, 60_000)) {
      try {
        return await attempt();
      } catch (error) {
        if (over.signal.aborted) return;
        // CNI SPEC, error 11: try again later. A node that has just started waits for its pod ranges; nobody need know.
        if (error instanceof CniError && error.code === tryAgainLater && clock.now() - began < 2000) {
          await wait(10);
          delay = 500;
          continue;
        }
        events.record(pod, "Warning", reason, `${prefix}${(error as Error).message}`);
        changed();
        await wait(delay);
      }
    }
  }

  async function prepare(): Promise<void> {
    await tryUntilDone("FailedMount", "", () => {
      volumes = prepareVolumes(pod.spec.volumes ?? [], volumeFolders(), {
        facts: facts(),
        lookups,
        serviceAccountToken: tokenFor,
      });
    });
    if (over.signal.aborted) return;
    await tryUntilDone("FailedCreatePodSandBox", "Failed to create pod sandbox: ", makeSandbox);
    if (over.signal.aborted || (pod.spec.volumes?.length ?? 0) === 0) return;
    keepTokens();
    // Files of the downward API know the pod's addresses only now.
    if (tellsStatus(pod.spec.volumes ?? [])) refreshVolumes();
  }

  function volumeFolders(): {
    readonly pod: string;
    readonly memory: string;
    readonly nodeDisk: string;
    readonly claims: string;
  } {
    return { pod: folder, memory, nodeDisk: node.nodeDisk, claims: node.claims };
  }

  function refreshVolumes(): void {
    try {
      volumes = prepareVolumes(pod.spec.volumes ?? [], volumeFolders(), {
        facts: facts(),
        lookups,
        serviceAccountToken: tokenFor,
      });
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      events.record(pod, "Warning", "FailedMount", error.message);
    }
  }

  /** Looks now and then whether a token in a volume is due to be replaced; who gives them out decides when. */
  function keepTokens(): void {
    if (tokens.size === 0) return;
    let timer = clock.after(tokenLookMs, look);
    over.signal.addEventListener("abort", () => timer.cancel(), { once: true });
    function look(): void {
      if ([...tokens.values()].some(({ request, token }) => isReplaced(request, token))) refreshVolumes();
      timer = clock.after(tokenLookMs, look);
    }
  }

  function isReplaced(request: TokenRequest, token: string): boolean {
    try {
      return node.serviceAccountToken(request) !== token;
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      // The ServiceAccount is gone: the old token stays, and is refused by whoever checks it.
      return false;
    }
  }

  async function makeSandbox(): Promise<void> {
    const id = sandboxId(pod);
    const hostNetwork = pod.spec.hostNetwork === true;
    // What is left of an earlier one (a start that failed half-way, a lab that ended without notice) goes first.
    if (!hostNetwork) await node.network.delete(cniRequest(pod, id));
    const network = hostNetwork ? node.nodeNetwork : await makeNetworkNamespace();
    const made = createSandbox({ id, hostname: hostnameOf(pod), network, hostNetwork });
    if (made.hostNetwork) {
      podIps = node.nodeAddresses;
    } else {
      try {
        setSysctls(made, pod);
        const result = await node.network.add(cniRequest(pod, made.id, made.network.fd));
        podIps = result.ips.map(({ address }) => address);
      } catch (error) {
        await node.network.delete(cniRequest(pod, made.id));
        made.close();
        throw error;
      }
    }
    sandbox = made;
    if (pod.spec.shareProcessNamespace === true) reaper = holdProcesses(made);
  }

  /** Process 1 of a pid namespace that all containers will join. */
  function holdProcesses(made: Sandbox): NamespacedProcess {
    const workDirectory = join(folder, "root");
    fs.mkdirSync(workDirectory, { recursive: true });
    const root = { base: { kind: "host" as const }, workDirectory, readOnly: false, mounts: [], toolbox: node.toolbox };
    const held = holdContainer({ sandbox: made, root, rights: rightsOf({}) });
    made.sharePidNamespaceOf(held.pid);
    return held;
  }

  async function removeSandbox(): Promise<void> {
    const old = sandbox;
    sandbox = undefined;
    reaper?.kill("SIGKILL");
    if (old === undefined) return;
    if (!old.hostNetwork && ending !== "stop") {
      try {
        await node.network.delete(cniRequest(pod, old.id, old.network.fd));
      } catch (error) {
        events.record(pod, "Warning", "FailedKillPod", `error killing pod: ${(error as Error).message}`);
      }
    }
    old.close();
  }

  /** Init containers one after the other; true when all have done their part. */
  async function initialize(): Promise<boolean> {
    for (const runner of inits) {
      const running = runner.run();
      if (runner.record.role === "sidecar") await Promise.race([runner.started, running]);
      else await running;
      if (over.signal.aborted) return false;
      if (runner.record.role === "init" && runner.record.state.terminated?.exitCode !== 0) return false;
    }
    return true;
  }

  /** Ephemeral containers come later, by `kubectl debug`; each runs once. */
  function startEphemeral(): void {
    if (sandbox === undefined || over.signal.aborted) return;
    for (const spec of pod.spec.ephemeralContainers ?? []) {
      if (runners.some(({ name }) => name === spec.name)) continue;
      const runner = createRunner(context, spec, "ephemeral");
      runners.push(runner);
      void guard(runner.run());
    }
  }

  async function main(): Promise<void> {
    // What the status says of an earlier sandbox is over: nobody must be sent to its addresses.
    if (first.status?.podIP !== undefined) writeStatus();
    // A pod that takes its time says what it waits for; of one among thousands that are under way nobody wants to know.
    const early = clock.after(1000, changed);
    await prepare();
    early.cancel();
    if (over.signal.aborted) return;
    changed();
    for (const message of notImplemented(pod)) events.record(pod, "Warning", "NotImplemented", message);
    startDeadline();
    watchStorage();
    startEphemeral();
    if (await initialize()) await Promise.all(apps.map((runner) => runner.run()));
    if (over.signal.aborted) return;
    await stopSidecars(graceMs());
    // All containers have ended for good: what is left is the object, with its status and its logs.
    writeStatus();
    await removeSandbox();
    changed();
  }

  function startDeadline(): void {
    deadline?.cancel();
    const seconds = pod.spec.activeDeadlineSeconds;
    if (seconds === undefined || failed !== undefined) return;
    const timer = clock.after(Date.parse(startTime) + seconds * 1000 - clock.now(), () => {
      if (over.signal.aborted) return;
      failed = { reason: "DeadlineExceeded", message: "Pod was active on the node longer than the specified deadline" };
      events.record(pod, "Normal", "DeadlineExceeded", failed.message);
      void stopContainers(graceMs()).then(changed);
    });
    deadline = timer;
    over.signal.addEventListener("abort", () => timer.cancel());
  }

  function watchStorage(): void {
    if (!hasStorageLimits(pod)) return;
    let timer = clock.after(storageLookMs, look);
    over.signal.addEventListener("abort", () => timer.cancel(), { once: true });
    function look(): void {
      const excess = storageExcess(pod, volumes, (name) => runners.find((runner) => runner.name === name)?.pid);
      if (excess === undefined || failed !== undefined) {
        timer = clock.after(storageLookMs, look);
        return;
      }
      failed = { reason: "Evicted", message: excess };
      events.record(pod, "Warning", "Evicted", excess);
      void guard(stopContainers(evictionGraceMs).then(changed));
    }
  }

  async function stopSidecars(grace: number): Promise<void> {
    for (const runner of inits.toReversed()) await runner.stop(grace, `Stopping container ${runner.name}`);
  }

  async function stopContainers(grace: number): Promise<void> {
    const others = runners.filter((runner) => !inits.includes(runner));
    await Promise.all(others.map((runner) => runner.stop(grace, `Stopping container ${runner.name}`)));
    await stopSidecars(grace);
  }

  function graceMs(): number {
    const { metadata, spec } = pod;
    return (metadata.deletionGracePeriodSeconds ?? spec.terminationGracePeriodSeconds ?? 30) * 1000;
  }

  async function terminate(grace: number): Promise<void> {
    over.abort();
    await stopContainers(grace);
    await running;
    await removeSandbox();
  }

  async function remove(): Promise<void> {
    await terminate(graceMs());
    // Whoever holds it, as its Job does, hears how it ended.
    const isHeld = (storedPod(api, pod)?.metadata.finalizers ?? []).length > 0;
    try {
      if (isHeld) writeStatus(true);
    } catch (error) {
      if (!(error instanceof StatusError)) throw error;
    }
    forget();
    if (ending !== "delete") return;
    ending = "gone";
    try {
      const { namespace = "", name, uid } = pod.metadata;
      api.delete(
        { group: "", resource: "pods", namespace, name },
        { gracePeriodSeconds: 0, ...(uid === undefined ? {} : { uid }) },
      );
    } catch (error) {
      if (!(error instanceof StatusError)) throw error;
    }
    ended();
  }

  function forget(): void {
    clearImmediate(writing);
    node.logs.remove(logPod(pod));
    fs.rmSync(folder, { recursive: true, force: true });
    fs.rmSync(memory, { recursive: true, force: true });
    for (const { name } of runners) node.backoff.forget(`${pod.metadata.uid}/${name}`);
  }

  const guard = (work: Promise<void>): Promise<void> =>
    work.catch((error: unknown) =>
      node.report(`pod ${pod.metadata.namespace}/${pod.metadata.name}: ${String((error as Error).stack)}`),
    );

  const isDone = (status = first.status): boolean => status?.phase === "Succeeded" || status?.phase === "Failed";
  let running: Promise<void> = Promise.resolve();
  let removing: Promise<void> | undefined;

  const startRemoval = (): void => {
    if (ending !== undefined) return;
    ending = "delete";
    removing = guard(remove());
  };

  if (first.metadata.deletionTimestamp !== undefined) startRemoval();
  else if (isDone()) inert = true;
  else {
    const lost = first.spec.restartPolicy === "Never" && hasRun(first);
    inert = lost;
    if (lost) abandon(node, first);
    else running = guard(main());
  }

  return {
    get pod() {
      return pod;
    },
    update(next) {
      const graceBefore = pod.metadata.deletionGracePeriodSeconds;
      const gates = pod.spec.readinessGates !== undefined;
      const before = pod;
      pod = next;
      if (next.metadata.deletionTimestamp !== undefined) {
        startRemoval();
        const grace = next.metadata.deletionGracePeriodSeconds;
        if (grace !== undefined && graceBefore !== undefined && grace < graceBefore)
          for (const runner of runners) runner.hurry(grace * 1000);
      } else {
        startEphemeral();
        if (sandbox !== undefined && next.spec.activeDeadlineSeconds !== before.spec.activeDeadlineSeconds)
          startDeadline();
        // What is asked for has changed: status says that it has been seen.
        if (gates || next.metadata.generation !== before.metadata.generation) changed();
      }
    },
    async gone() {
      if (ending === "gone") return;
      const under = removing;
      ending = "gone";
      for (const runner of runners) runner.hurry(0);
      await guard(under ?? terminate(0).then(forget));
      ended();
    },
    async stop() {
      const under = removing;
      ending = "stop";
      clearImmediate(writing);
      for (const runner of runners) runner.hurry(0);
      await guard(under ?? terminate(0));
    },
    sleep() {
      asleep = true;
      return () => {
        asleep = false;
        changed();
      };
    },
    objectChanged(name) {
      if (sandbox !== undefined && referencedObjects(pod).has(name)) refreshVolumes();
      nudge();
      for (const runner of runners) runner.retry();
    },
    runner(name) {
      const wanted = name ?? pod.metadata.annotations?.["kubectl.kubernetes.io/default-container"] ?? apps[0]?.name;
      const found = runners.find((runner) => runner.name === wanted);
      if (found === undefined) throw new Error(`container ${wanted} is not valid for pod ${pod.metadata.name}`);
      return found;
    },
    runners,
    get sandbox() {
      return sandbox;
    },
  };
}

/** pkg/kubelet/eviction immediateEvictionGracePeriodSeconds */
const evictionGraceMs = 1000;
const tryAgainLater = 11;
/** Tokens live ten minutes at least and are replaced after four fifths of their time. */
const tokenLookMs = 60_000;

/** Fields that the lab accepts and does not honour. Nothing is ignored silently. */
function notImplemented({ spec }: Pod): readonly string[] {
  const all = [...(spec.initContainers ?? []), ...spec.containers];
  const users = [spec.securityContext, ...all.map(({ securityContext }) => securityContext)];
  const asUser = users.some((context) => (context?.runAsUser ?? 0) !== 0 || context?.runAsNonRoot === true);
  return [
    ...(asUser
      ? ["runAsUser, runAsNonRoot: containers run as uid 0 of the lab's user namespace, which has this one user"]
      : []),
    ...(spec.hostPID === true ? ["hostPID: containers see the processes of their own pod only"] : []),
    ...(spec.hostIPC === true ? ["hostIPC: the pod has an IPC namespace of its own"] : []),
    ...(all.some(({ volumeDevices }) => (volumeDevices?.length ?? 0) > 0)
      ? ["volumeDevices: the lab has no block devices"]
      : []),
  ];
}

function containersOf({ spec }: Pod): readonly Pick<ContainerRecord, "spec" | "role">[] {
  return [
    ...(spec.initContainers ?? []).map((container) => ({
      spec: container,
      role: container.restartPolicy === "Always" ? ("sidecar" as const) : ("init" as const),
    })),
    ...spec.containers.map((container) => ({ spec: container, role: "app" as const })),
  ];
}

function allStatuses({ status }: Pod): readonly ContainerStatus[] {
  return [...(status?.initContainerStatuses ?? []), ...(status?.containerStatuses ?? [])];
}

function hasRun(pod: Pod): boolean {
  return (pod.status?.containerStatuses ?? []).some(({ state }) => state?.running !== undefined);
}

/** What a container's status said when the lab ended without notice: it was running and is no more. */
function beforeRestart(
  pod: Pod,
  name: string,
): { readonly restartCount: number; readonly lastState: ContainerState; readonly hasRun: boolean } | undefined {
  const status = allStatuses(pod).find((candidate) => candidate.name === name);
  if (status === undefined) return undefined;
  const { state, lastState = {}, restartCount } = status;
  if (state?.running !== undefined) return { restartCount, lastState: { terminated: lostState(state) }, hasRun: true };
  if (state?.terminated !== undefined)
    return { restartCount, lastState: { terminated: state.terminated }, hasRun: true };
  return { restartCount, lastState, hasRun: lastState.terminated !== undefined };
}

function lostState(state: ContainerState): NonNullable<ContainerState["terminated"]> {
  return {
    exitCode: 137,
    reason: "ContainerStatusUnknown",
    message: "The container ended together with the lab. The container used to be Running",
    ...(state.running?.startedAt === undefined ? {} : { startedAt: state.running.startedAt }),
  };
}

/** A pod that must not be started again and was running when the lab ended has failed. */
function abandon(node: NodeContext, first: Pod): void {
  const pod = storedPod(node.api, first);
  if (pod === undefined) return;
  const containerStatuses = (pod.status?.containerStatuses ?? []).map((status) =>
    status.state?.running === undefined
      ? status
      : { ...status, ready: false, started: false, state: { terminated: lostState(status.state) } },
  );
  node.api.updateStatus({
    ...pod,
    status: { ...pod.status, phase: "Failed", containerStatuses },
  });
}

/** The pod as it is stored now, whatever its watch has told of it yet; undefined where it is gone or another has its name. */
export function storedPod(
  api: Pick<ObjectApi, "get">,
  { metadata: { namespace = "", name, uid } }: Pod,
): Pod | undefined {
  const pod = api.get({ group: "", resource: "pods", namespace, name }) as Pod | undefined;
  return pod?.metadata.uid === uid ? pod : undefined;
}

/** CNI's request for a pod's sandbox. */
export function cniRequest(pod: Pod, containerId: string, namespaceFd?: number): CniRequest {
  return {
    containerId,
    ...(namespaceFd === undefined ? {} : { namespaceFd }),
    interfaceName: "eth0",
    podNamespace: pod.metadata.namespace ?? "",
    podName: pod.metadata.name,
    podUid: pod.metadata.uid ?? "",
    portMappings: pod.spec.containers.flatMap(({ ports = [] }) =>
      ports.flatMap(({ hostPort, containerPort, protocol = "TCP", hostIP }) => {
        if (hostPort === undefined || hostPort === 0) return [];
        const hostIp = hostIP === undefined ? undefined : parseAddress(hostIP);
        return [
          {
            hostPort,
            containerPort,
            protocol: protocol.toLowerCase() as "tcp" | "udp" | "sctp",
            ...(hostIp === undefined ? {} : { hostIp }),
          },
        ];
      }),
    ),
  };
}

/** Settings that the pod asks for; those every pod has come with its first process (sandbox.ts). */
function setSysctls(sandbox: Sandbox, pod: Pod): void {
  const own = pod.spec.securityContext?.sysctls ?? [];
  for (const { name } of own)
    if (!name.startsWith("net."))
      throw new ConfigError(`forbidden sysctl: "${name}" is not a setting of the pod's own network namespace`);
  sandbox.setSysctls(own);
}

function identityFiles(folder: string): {
  readonly mounts: readonly RootMount[];
  write(content: { readonly hosts: string; readonly hostname: string; readonly resolvConf: string }): void;
} {
  const names = { hosts: "hosts", hostname: "hostname", resolvConf: "resolv.conf" } as const;
  return {
    mounts: Object.values(names).map((name) => ({
      source: join(folder, "etc", name),
      target: `/etc/${name}`,
      readOnly: false,
    })),
    write(content) {
      fs.mkdirSync(join(folder, "etc"), { recursive: true });
      for (const [key, name] of Object.entries(names)) {
        const path = join(folder, "etc", name);
        // What a container has written into its /etc/hosts stays.
        if (!fs.existsSync(path)) fs.writeFileSync(path, content[key as keyof typeof names]);
      }
    },
  };
}

/** A pod has one sandbox at a time, so its name is a function of the pod: nothing has to be remembered to take an earlier one away. */
function sandboxId({ metadata }: Pod): string {
  return createHash("sha256")
    .update(`sandbox of pod ${metadata.uid ?? ""}`)
    .digest("hex");
}

/** Does a volume hold a fact of the pod's status, such as its addresses? */
function tellsStatus(volumes: readonly Volume[]): boolean {
  const items = volumes.flatMap(({ downwardAPI, projected }) => [
    ...(downwardAPI?.items ?? []),
    ...(projected?.sources ?? []).flatMap((source) => source.downwardAPI?.items ?? []),
  ]);
  return items.some(({ fieldRef }) => fieldRef?.fieldPath.startsWith("status.") === true);
}
