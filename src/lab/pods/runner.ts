// One container through its lives: image, environment and mounts, start, probes, end, back-off, start again.
// A container is a process (container.ts) or a server in the daemon (workloads/); from here on the two look the same.
//
// Not here: the order of a pod's containers, its sandbox and volumes (worker.ts), status and phases (status.ts).

import fs from "node:fs";
import { dirname, join } from "node:path";
import { PassThrough, Readable } from "node:stream";
import { finished } from "node:stream/promises";
import type { NetworkNamespace } from "../../kernel/namespaces.ts";
import type { Container, ContainerState, LifecycleHandler, Pod, Probe } from "../../kube/kinds.ts";
import { timeText, type Clock } from "../../watch/clock.ts";
import { durationText, type Backoff } from "./backoff.ts";
import { checkGrpc, checkHttp, checkTcp, type CheckTarget } from "./checks.ts";
import {
  holdContainer,
  rightsOf,
  startContainer,
  startInContainer,
  type Command,
  type ContainerProcess,
  type Rights,
} from "./container.ts";
import type { PodFacts } from "./downward.ts";
import { withEarlyOutput } from "./early-output.ts";
import { containerEnvironment, expand, hostnameOf, type Lookups } from "./env.ts";
import { ConfigError } from "./errors.ts";
import type { EventRecorder } from "./events.ts";
import { containerFiles, type ContainerFiles } from "./files.ts";
import { commandLine, type Image, type Images } from "./images/images.ts";
import type { ContainerLog, LogStore } from "./logs.ts";
import { startProbing, type CheckResult, type Prober, type ProbeKind } from "./probes.ts";
import type { RootMount, RootPlan } from "./root.ts";
import type { Sandbox } from "./sandbox.ts";
import type { ContainerRecord } from "./status.ts";
import { containerPath, type Toolbox } from "./toolbox.ts";
import { containerMounts, type ReadyVolume } from "./volumes.ts";
import { WorkloadError, type RunningWorkload } from "./workloads/workload.ts";

/** What a container needs of its pod and node. Functions where the answer changes with time. */
export interface RunnerContext {
  readonly pod: () => Pod;
  readonly facts: () => PodFacts;
  readonly lookups: Lookups;
  readonly sandbox: () => Sandbox;
  readonly nodeNetwork: NetworkNamespace;
  readonly volumes: () => ReadonlyMap<string, ReadyVolume>;
  /** /etc/hosts and the like. */
  readonly identityMounts: () => readonly RootMount[];
  /** Writes what they show; called before a root is built. */
  readonly writeIdentityFiles: () => void;
  readonly resolvConf: () => string;
  /** The pod's folder on disk. */
  readonly folder: string;
  readonly clock: Clock;
  readonly images: Images;
  readonly toolbox: Toolbox;
  readonly logs: LogStore;
  readonly events: EventRecorder;
  readonly backoff: Backoff;
  readonly random: () => string;
  /** The record has changed. */
  readonly changed: () => void;
}

export interface ContainerRunner {
  readonly name: string;
  readonly record: ContainerRecord;
  /** Resolves when the container has ended for good (by its restart policy, or because it was stopped). */
  run(): Promise<void>;
  /** Resolves when a sidecar has started, or any container has ended for good. */
  readonly started: Promise<void>;
  /** preStop, SIGTERM, and SIGKILL after the grace period; no more restarts. Resolves when it has ended. */
  stop(graceMs: number, why: string): Promise<void>;
  /** Shortens the time that a stop under way may take. */
  hurry(graceMs: number): void;
  /** Something that the container may be waiting for has changed. */
  retry(): void;
  /** Runs a command inside. Throws Error when the container is not running. */
  exec(command: Pick<Command, "argv" | "terminal" | "stdin">): ContainerProcess;
  /** The first process's own streams; undefined for a server in the daemon. */
  attach(): ContainerProcess | undefined;
  /** Its first process, if it has one of its own. */
  readonly pid: number | undefined;
}

/** One life: something that runs and ends. */
interface Life {
  readonly id: string;
  readonly ended: Promise<{ readonly code: number; readonly failure?: string }>;
  signal(name: NodeJS.Signals): void;
  readonly process?: ContainerProcess;
  /** The pid whose namespaces are the container's; made when first asked for. */
  pid(): number;
  environment: Readonly<Record<string, string>>;
  /** A command of the image that runs in the daemon; undefined where it must be a process. */
  command?(command: Pick<Command, "argv" | "terminal" | "stdin">): ContainerProcess | undefined;
}

/** A runner that has not run yet. `previous` is what the status said before the lab was started anew. */
export function createRunner(
  context: RunnerContext,
  spec: Container,
  role: ContainerRecord["role"],
  previous?: { readonly restartCount: number; readonly lastState: ContainerState; readonly hasRun: boolean },
): ContainerRunner {
  const { clock, events, backoff } = context;
  const key = (): string => `${context.pod().metadata.uid}/${spec.name}`;
  const stopping = new AbortController();
  const startedOnce = Promise.withResolvers<void>();
  let finished: Promise<void> | undefined;
  let life: Life | undefined;
  let probers: Prober[] = [];
  let kill: { at: (graceMs: number) => void } | undefined;
  let record: ContainerRecord = {
    spec,
    role,
    state: { waiting: { reason: waitingReason(context.pod(), role) } },
    lastState: previous?.lastState ?? {},
    restartCount: previous?.restartCount ?? 0,
    started: false,
    ready: false,
    image: spec.image ?? "",
    imageId: "",
  };
  /** Ends the wait for a missing ConfigMap or Secret. */
  let retry = (): void => {};
  let lives = previous?.hasRun === true ? 1 : 0;

  const update = (change: Partial<ContainerRecord>): void => {
    record = { ...record, ...change };
    context.changed();
  };
  const wait = (ms: number, interrupted?: (end: () => void) => void): Promise<void> =>
    new Promise((resolve) => {
      if (stopping.signal.aborted) return resolve();
      const end = (): void => {
        timer.cancel();
        resolve();
      };
      const timer = clock.after(ms, resolve);
      stopping.signal.addEventListener("abort", end, { once: true });
      interrupted?.(end);
    });

  async function run(): Promise<void> {
    while (!stopping.signal.aborted) {
      const begun = await begin();
      if (begun === undefined) break;
      const code = await live(begun);
      if (stopping.signal.aborted || !restarts(context.pod(), role, code)) break;
      await backOff();
    }
    startedOnce.resolve();
  }

  /** Tries until the container has been started or is stopped. */
  async function begin(): Promise<
    { readonly life: Life; readonly log: ContainerLog; readonly startedAt: number } | undefined
  > {
    while (!stopping.signal.aborted) {
      const image = await pull();
      if (image === undefined) return undefined;
      const startedAt = clock.now();
      const restart = lives > 0 && record.state.waiting?.reason !== "CreateContainerConfigError";
      if (restart) update({ restartCount: record.restartCount + 1 });
      const log = context.logs.open(logPod(context.pod()), spec.name, record.restartCount);
      try {
        life = create(image, log);
      } catch (error) {
        log.close();
        if (error instanceof ConfigError) {
          if (restart) record = { ...record, restartCount: record.restartCount - 1 };
          update({ state: { waiting: { reason: "CreateContainerConfigError", message: error.message } } });
          events.record(context.pod(), "Warning", "Failed", `Error: ${error.message}`, spec.name);
          await wait(configRetryMs, (end) => (retry = end));
          continue;
        }
        lives++;
        failedToStart(error as Error, startedAt);
        if (!restarts(context.pod(), role, startErrorCode)) return undefined;
        await backOff();
        continue;
      }
      lives++;
      events.record(context.pod(), "Normal", "Started", "Container started", spec.name);
      return { life, log, startedAt };
    }
    return undefined;
  }

  function failedToStart(error: Error, startedAt: number): void {
    const message =
      error instanceof WorkloadError ? error.message : `failed to create containerd task: ${error.message}`;
    const at = timeText(startedAt);
    const exitCode = error instanceof WorkloadError ? error.exitCode : startErrorCode;
    const reason = error instanceof WorkloadError ? "Error" : "StartError";
    events.record(context.pod(), "Warning", "Failed", `Error: ${message}`, spec.name);
    update({
      started: false,
      ready: false,
      state: { terminated: { exitCode, reason, message, startedAt: at, finishedAt: at } },
    });
  }

  /** The image, or undefined when stopped before there is one. */
  async function pull(): Promise<Image | undefined> {
    const name = spec.image ?? "";
    for (;;) {
      const found = context.images.lookup(name);
      const pod = context.pod();
      if ("image" in found) {
        events.record(pod, "Normal", "Pulled", `Container image "${name}" already present on machine`, spec.name);
        record = { ...record, image: found.image.name, imageId: found.image.id };
        return found.image;
      }
      const never = spec.imagePullPolicy === "Never";
      const reason = never ? "ErrImageNeverPull" : "ErrImagePull";
      const message = never ? `Container image "${name}" is not present with pull policy of Never` : found.refused;
      if (!never) events.record(pod, "Normal", "Pulling", `Pulling image "${name}"`, spec.name);
      events.record(
        pod,
        "Warning",
        "Failed",
        never ? message : `Failed to pull image "${name}": ${message}`,
        spec.name,
      );
      events.record(pod, "Warning", "Failed", `Error: ${reason}`, spec.name);
      update({ state: { waiting: { reason, message } } });
      const delay = backoff.tried(`image/${key()}/${name}`);
      // ErrImagePull is shown for a moment, then the back-off, as the kubelet alternates between the two.
      await wait(Math.min(1000, delay));
      if (stopping.signal.aborted) return undefined;
      if (!never) {
        events.record(pod, "Normal", "BackOff", `Back-off pulling image "${name}"`, spec.name);
        update({
          state: {
            waiting: {
              reason: "ImagePullBackOff",
              message: `Back-off pulling image "${name}": ErrImagePull: ${message}`,
            },
          },
        });
      }
      await untilMapped(name, Math.max(0, delay - 1000));
      if (stopping.signal.aborted) return undefined;
    }
  }

  /** Waits out a back-off, but looks every second whether somebody has mapped the image meanwhile. */
  async function untilMapped(name: string, ms: number): Promise<void> {
    const until = clock.now() + ms;
    while (!stopping.signal.aborted && clock.now() < until) {
      await wait(Math.min(1000, until - clock.now()));
      if ("image" in context.images.lookup(name)) return;
    }
  }

  function create(image: Image, log: ContainerLog): Life {
    const base = { PATH: containerPath, HOME: "/root", ...(spec.tty === true ? { TERM: "xterm" } : {}), ...image.env };
    const environment = containerEnvironment(context.facts(), spec, context.lookups, base);
    const mounts = [
      ...context.identityMounts(),
      ...terminationMount(),
      ...imageMounts(image),
      ...containerMounts(spec, context.volumes(), environment),
    ];
    events.record(context.pod(), "Normal", "Created", "Container created", spec.name);
    const argv = commandLine(image, expandedCommand(spec, environment));
    const parts: LifeParts = { image, environment, mounts, argv, log };
    return image.workload?.serves(argv) === true ? serve(parts) : startReal(parts);
  }

  interface LifeParts {
    readonly image: Image;
    readonly environment: Readonly<Record<string, string>>;
    readonly mounts: readonly RootMount[];
    readonly argv: readonly string[];
    readonly log: ContainerLog;
  }

  function rootPlan({ image, mounts }: LifeParts): RootPlan {
    const workDirectory = join(context.folder, "root");
    fs.mkdirSync(workDirectory, { recursive: true });
    fs.mkdirSync(dirname(terminationFile()), { recursive: true });
    fs.writeFileSync(terminationFile(), "");
    context.writeIdentityFiles();
    return {
      base: image.base,
      workDirectory,
      readOnly: spec.securityContext?.readOnlyRootFilesystem === true,
      mounts,
      toolbox: context.toolbox,
    };
  }

  function startReal(parts: LifeParts): Life {
    const rights = containerRights(spec);
    const started = startContainer({
      sandbox: context.sandbox(),
      root: rootPlan(parts),
      rights,
      command: {
        argv: parts.argv,
        env: parts.environment,
        workingDirectory: spec.workingDir ?? parts.image.workingDirectory,
        terminal: spec.tty === true,
        stdin: spec.stdin === true,
      },
    });
    const process = spec.stdinOnce === true ? withEarlyOutput(started) : started;
    process.stdout?.on("data", (chunk: Buffer) => parts.log.write("stdout", chunk));
    process.stderr?.on("data", (chunk: Buffer) => parts.log.write("stderr", chunk));
    return {
      id: context.random(),
      ended: process.ended,
      signal: (name) => void process.kill(name),
      process,
      pid: () => process.pid,
      environment: parts.environment,
    };
  }

  /** A server in the daemon. A process is made for it only when somebody wants to run a command inside. */
  function serve(parts: LifeParts): Life {
    const { image, log } = parts;
    const pod = context.pod();
    const facts = context.facts();
    const end = Promise.withResolvers<{ code: number }>();
    let held: ReturnType<typeof holdContainer> | undefined;
    let running: RunningWorkload | undefined;
    const finish = (code: number): void => {
      running?.stop();
      held?.kill("SIGKILL");
      end.resolve({ code });
    };
    const served: Life = {
      id: context.random(),
      ended: end.promise,
      signal(name) {
        if (name === "SIGKILL" || running?.terminate === undefined) finish(name === "SIGKILL" ? 137 : 0);
        else running.terminate();
      },
      pid() {
        held ??= holdContainer({ sandbox: context.sandbox(), root: rootPlan(parts), rights: containerRights(spec) });
        return held.pid;
      },
      environment: parts.environment,
      command({ argv, terminal }) {
        const command = image.workload?.command?.(argv);
        if (command === undefined) return undefined;
        const { network: namespace } = context.sandbox();
        return inDaemon((signal) => command({ namespace }, signal), terminal ? "terminal" : "streams");
      },
    };
    try {
      running = image.workload?.start({
        namespace: context.sandbox().network,
        pod,
        podIps: facts.podIps,
        nodeName: facts.nodeName,
        hostname: hostnameOf(pod),
        container: spec.name,
        args: parts.argv,
        env: parts.environment,
        files: withoutRemoved(containerFiles(parts.mounts), Object.keys(image.files), () => held?.pid),
        resolvConf: context.resolvConf(),
        log: (line) => log.line(line),
        exit: finish,
        run: (argv) => runIn(served, argv, new AbortController().signal),
      });
    } catch (error) {
      log.line((error as Error).message);
      if (error instanceof WorkloadError) throw error;
      throw new WorkloadError((error as Error).message);
    }
    return served;
  }

  /** From start to end of one life; its exit code. */
  async function live({
    life: current,
    log,
    startedAt,
  }: {
    life: Life;
    log: ContainerLog;
    startedAt: number;
  }): Promise<number> {
    update({ id: current.id, state: { running: { startedAt: timeText(startedAt) } }, started: false, ready: false });
    const hooked = postStart(current);
    startProbers(current);
    const end = await current.ended;
    for (const prober of probers) prober.stop();
    probers = [];
    await hooked;
    log.close();
    life = undefined;
    const message = end.failure ?? terminationMessage(end.code);
    const reason = end.failure === undefined ? (end.code === 0 ? "Completed" : "Error") : "StartError";
    const signal = end.code > 128 && end.code < 192 ? end.code - 128 : undefined;
    update({
      started: false,
      ready: false,
      state: {
        terminated: {
          exitCode: end.code,
          reason,
          ...(signal === undefined ? {} : { signal }),
          ...(message === "" ? {} : { message }),
          startedAt: timeText(startedAt),
          finishedAt: timeText(clock.now()),
          containerID: `fairlead://${current.id}`,
        },
      },
    });
    return end.code;
  }

  async function postStart(current: Life): Promise<void> {
    const hook = spec.lifecycle?.postStart;
    if (hook === undefined) return;
    const result = await runHook(hook, current);
    if (result.ok) return;
    events.record(
      context.pod(),
      "Warning",
      "FailedPostStartHook",
      `PostStartHook failed: ${result.message}`,
      spec.name,
    );
    current.signal("SIGKILL");
  }

  /** Startup first; the other two once it has succeeded. Without probes the container is ready when it runs. */
  function startProbers(current: Life): void {
    const after = (): void => {
      if (life !== current) return;
      update({ started: true, ready: spec.readinessProbe === undefined });
      startedOnce.resolve();
      if (spec.readinessProbe !== undefined)
        probers.push(prober("readiness", spec.readinessProbe, current, (ok) => update({ ready: ok })));
      if (spec.livenessProbe !== undefined)
        probers.push(
          prober(
            "liveness",
            spec.livenessProbe,
            current,
            (ok) => ok || void unhealthy("liveness", spec.livenessProbe, current),
          ),
        );
    };
    if (spec.startupProbe === undefined) return after();
    const startup = prober("startup", spec.startupProbe, current, (ok) => {
      startup.stop();
      if (ok) after();
      else void unhealthy("startup", spec.startupProbe, current);
    });
    probers.push(startup);
  }

  function prober(kind: ProbeKind, probe: Probe, current: Life, verdict: (ok: boolean) => void): Prober {
    const name = `${kind[0]?.toUpperCase()}${kind.slice(1)}`;
    // Whether it lives is not asked of a pod that is to go (pkg/kubelet/prober); whether it is ready, Services want to know.
    const isAsked = (): boolean => kind === "readiness" || context.pod().metadata.deletionTimestamp === undefined;
    return startProbing({
      probe,
      clock,
      check: (signal) => (isAsked() ? checkProbe(probe, current, signal) : Promise.resolve({ ok: true })),
      verdict: (result) => verdict(result === "success"),
      failed: (message) =>
        events.record(context.pod(), "Warning", "Unhealthy", `${name} probe failed: ${message}`, spec.name),
    });
  }

  async function unhealthy(kind: "liveness" | "startup", probe: Probe | undefined, current: Life): Promise<void> {
    const message = `Container ${spec.name} failed ${kind} probe, will be restarted`;
    events.record(context.pod(), "Normal", "Killing", message, spec.name);
    const seconds = probe?.terminationGracePeriodSeconds ?? context.pod().spec.terminationGracePeriodSeconds ?? 30;
    await end(current, seconds * 1000);
  }

  function checkProbe(probe: Probe, current: Life, signal: AbortSignal): Promise<CheckResult> {
    const target = checkTarget();
    if (probe.exec !== undefined) return checkCommand(probe.exec.command ?? [], current, signal);
    if (probe.httpGet !== undefined) return checkHttp(target, probe.httpGet, signal);
    if (probe.tcpSocket !== undefined) return checkTcp(target, probe.tcpSocket, signal);
    if (probe.grpc !== undefined) return checkGrpc(target, probe.grpc, signal);
    return Promise.resolve({ ok: false, message: "the probe names no action" });
  }

  function checkTarget(): CheckTarget {
    return { from: context.nodeNetwork, podIp: context.facts().podIps[0] ?? "127.0.0.1", container: spec };
  }

  async function checkCommand(argv: readonly string[], current: Life, signal: AbortSignal): Promise<CheckResult> {
    const { code, output, failure } = await runIn(current, argv, signal);
    return code === 0 ? { ok: true } : { ok: false, message: failure ?? output.trim() };
  }

  /** Runs a command to its end, or until the signal comes; what it wrote, as far as anybody wants to know. */
  async function runIn(
    current: Life,
    argv: readonly string[],
    signal: AbortSignal,
  ): Promise<{ readonly code: number; readonly output: string; readonly failure?: string }> {
    const process = execIn(current, { argv, terminal: false, stdin: false });
    let output = "";
    const collect = (chunk: Buffer): void => {
      if (output.length < 10_240) output += chunk.toString("utf8");
    };
    process.stdout?.on("data", collect);
    process.stderr?.on("data", collect);
    signal.addEventListener("abort", () => process.kill("SIGKILL"));
    return { ...(await process.ended), output };
  }

  async function runHook(hook: LifecycleHandler, current: Life): Promise<CheckResult> {
    const signal = new AbortController().signal;
    try {
      if (hook.exec !== undefined) return await checkCommand(hook.exec.command ?? [], current, signal);
      if (hook.httpGet !== undefined) return await checkHttp(checkTarget(), hook.httpGet, signal);
      if (hook.tcpSocket !== undefined) return await checkTcp(checkTarget(), hook.tcpSocket, signal);
      if (hook.sleep !== undefined) {
        const { seconds } = hook.sleep;
        await new Promise<void>((resolve) => void clock.after(seconds * 1000, resolve));
      }
      return { ok: true };
    } catch (error) {
      return { ok: false, message: (error as Error).message };
    }
  }

  function execIn(current: Life, command: Pick<Command, "argv" | "terminal" | "stdin">): ContainerProcess {
    return startInContainer({
      pid: current.pid(),
      sandbox: context.sandbox(),
      rights: containerRights(spec),
      command: {
        ...command,
        env: command.terminal ? { TERM: "xterm", ...current.environment } : current.environment,
        workingDirectory: spec.workingDir ?? "/",
      },
    });
  }

  /** preStop, the stop signal, and SIGKILL when the time is over. The hook's time counts. */
  async function end(current: Life, graceMs: number): Promise<void> {
    const over = Promise.withResolvers<void>();
    let timer: { cancel(): void } | undefined;
    const at = (ms: number): void => {
      timer?.cancel();
      if (ms > 0) timer = clock.after(ms, over.resolve);
      else over.resolve();
    };
    at(graceMs);
    kill = { at };
    const hook = spec.lifecycle?.preStop;
    if (hook !== undefined && graceMs > 0) {
      const result = await Promise.race([runHook(hook, current), over.promise, current.ended]);
      if (result !== undefined && "ok" in result && !result.ok)
        events.record(
          context.pod(),
          "Warning",
          "FailedPreStopHook",
          `PreStopHook failed: ${result.message}`,
          spec.name,
        );
    }
    if (graceMs > 0) current.signal((spec.lifecycle?.stopSignal ?? "SIGTERM") as NodeJS.Signals);
    await Promise.race([current.ended, over.promise]);
    timer?.cancel();
    kill = undefined;
    current.signal("SIGKILL");
    await current.ended;
  }

  async function backOff(): Promise<void> {
    const pod = context.pod();
    const state = record.state;
    const finishedAt = Date.parse(state.terminated?.finishedAt ?? "") || clock.now();
    const ms = backoff.waitMs(key(), finishedAt);
    update({ lastState: state });
    if (ms > 0) {
      const id = `${pod.metadata.name}_${pod.metadata.namespace ?? ""}(${pod.metadata.uid ?? ""})`;
      const delay = durationText(ms + clock.now() - finishedAt);
      events.record(
        pod,
        "Warning",
        "BackOff",
        `Back-off restarting failed container ${spec.name} in pod ${id}`,
        spec.name,
      );
      const message = `back-off ${delay} restarting failed container=${spec.name} pod=${id}`;
      update({ state: { waiting: { reason: "CrashLoopBackOff", message } } });
      await wait(ms);
    }
    backoff.tried(key());
  }

  function terminationMount(): readonly RootMount[] {
    return [
      { source: terminationFile(), target: spec.terminationMessagePath ?? "/dev/termination-log", readOnly: false },
    ];
  }

  function terminationFile(): string {
    return join(context.folder, "containers", spec.name, "termination-log");
  }

  function terminationMessage(code: number): string {
    const written = readSome(terminationFile(), 4096);
    if (written !== "" || code === 0 || spec.terminationMessagePolicy !== "FallbackToLogsOnError") return written;
    return context.logs.tail(logPod(context.pod()), spec.name, { lines: 80, bytes: 2048 });
  }

  function imageMounts(image: Image): readonly RootMount[] {
    const tools = Object.entries(image.tools).map(([target, tool]) => ({
      source: fs.realpathSync(join(context.toolbox.bin, tool)),
      target,
      readOnly: true,
    }));
    const files = Object.entries(image.files).map(([target, content]) => {
      const source = join(context.folder, "containers", spec.name, "image", target);
      fs.mkdirSync(dirname(source), { recursive: true });
      fs.writeFileSync(source, content(), { mode: 0o600 });
      return { source, target, readOnly: false, copied: true as const };
    });
    return [...image.mounts, ...tools, ...files];
  }

  const must = (): Life => {
    if (life === undefined)
      throw new Error(`container ${spec.name} of pod ${context.pod().metadata.name} is not running`);
    return life;
  };

  return {
    name: spec.name,
    get record() {
      return record;
    },
    run: () => (finished ??= run()),
    started: startedOnce.promise,
    async stop(graceMs, why) {
      stopping.abort();
      const current = life;
      if (current !== undefined) {
        events.record(context.pod(), "Normal", "Killing", why, spec.name);
        await end(current, graceMs);
      }
      await finished;
    },
    retry: () => retry(),
    hurry: (graceMs) => kill?.at(graceMs),
    exec: (command) => must().command?.(command) ?? execIn(must(), command),
    attach: () => must().process,
    get pid() {
      return life?.process?.pid;
    },
  };
}

/** Of the image's own files those that somebody inside has not removed. */
function withoutRemoved(
  files: ContainerFiles,
  own: readonly string[],
  pidOf: () => number | undefined,
): ContainerFiles {
  const isRemoved = (path: string): boolean => {
    const pid = own.includes(path) ? pidOf() : undefined;
    return pid !== undefined && fs.lstatSync(`/proc/${pid}/root${path}`, { throwIfNoEntry: false }) === undefined;
  };
  return { ...files, read: (path) => (isRemoved(path) ? undefined : files.read(path)) };
}

/** What runs in the daemon, as if it were a process. It reads nothing, so a terminal only joins its streams. */
function inDaemon(
  work: (signal: AbortSignal) => Promise<{ readonly code: number; readonly errors: string }>,
  how: "terminal" | "streams",
): ContainerProcess {
  const stop = new AbortController();
  const output = new PassThrough();
  const run = async (): Promise<{ code: number }> => {
    const { code, errors } = await work(stop.signal);
    output.end(how === "terminal" ? errors.replaceAll("\n", "\r\n") : errors);
    if (output.readableFlowing !== null) await finished(output);
    return { code };
  };
  return {
    pid: 0,
    ...(how === "terminal" ? { stdout: output } : { stdout: Readable.from([]), stderr: output }),
    ended: run(),
    kill() {
      stop.abort();
      return true;
    },
    resize() {},
  };
}

const startErrorCode = 128;
const configRetryMs = 10_000;

/** May the container be started again after this exit code? */
export function restarts(pod: Pod, role: ContainerRecord["role"], code: number): boolean {
  const { restartPolicy = "Always" } = pod.spec;
  if (role === "sidecar") return true;
  if (role === "ephemeral") return false;
  if (role === "init") return code !== 0 && restartPolicy !== "Never";
  return restartPolicy === "Always" || (restartPolicy === "OnFailure" && code !== 0);
}

function waitingReason(pod: Pod, role: ContainerRecord["role"]): string {
  return role === "ephemeral" || (role === "app" && (pod.spec.initContainers?.length ?? 0) === 0)
    ? "ContainerCreating"
    : "PodInitializing";
}

function expandedCommand(
  spec: Container,
  environment: Readonly<Record<string, string>>,
): Pick<Container, "command" | "args"> {
  const all = (words: readonly string[] | undefined): readonly string[] =>
    (words ?? []).map((word) => expand(word, environment));
  return { command: all(spec.command), args: all(spec.args) };
}

function containerRights({ securityContext }: Container): Rights {
  return rightsOf({
    ...(securityContext?.privileged === undefined ? {} : { privileged: securityContext.privileged }),
    ...(securityContext?.capabilities?.add === undefined ? {} : { add: securityContext.capabilities.add }),
    ...(securityContext?.capabilities?.drop === undefined ? {} : { drop: securityContext.capabilities.drop }),
  });
}

/** A pod as the log store names it. */
export function logPod({ metadata }: Pod): { readonly namespace: string; readonly name: string; readonly uid: string } {
  return { namespace: metadata.namespace ?? "", name: metadata.name, uid: metadata.uid ?? "" };
}

function readSome(path: string, bytesMax: number): string {
  try {
    return fs.readFileSync(path, "utf8").slice(0, bytesMax);
  } catch {
    return "";
  }
}
