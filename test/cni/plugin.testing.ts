// bin/fairlead-cni as a runtime runs it, and a node's agent as a process beside it.

import assert from "node:assert/strict";
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import process from "node:process";

import { openKernel } from "../../src/kernel/linux.ts";
import { createNetworkNamespace, type NetworkNamespace } from "../../src/kernel/namespaces.ts";
import type { HostOptions } from "./host.testing.ts";

export const shellPlugin = path.resolve("bin/fairlead-cni");
export const nodePlugin = path.resolve("bin/fairlead-cni.mjs");

export interface CniHost {
  readonly directory: string;
  /** Lines the agent has logged. */
  readonly log: readonly string[];
  readonly process: ChildProcess;
  /** Ends the agent as it wants to be ended, or not. */
  stop(signal?: "SIGTERM" | "SIGKILL"): Promise<void>;
}

/** Starts an agent in the test's namespace. Resolves when it answers. */
export async function startHost(options: HostOptions): Promise<CniHost> {
  const child = spawn(process.execPath, [path.resolve("test/cni/host.testing.ts"), JSON.stringify(options)], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  const log: string[] = [];
  child.stderr.setEncoding("utf8").on("data", (text: string) => log.push(...text.split("\n").filter(Boolean)));
  const ended = once(child, "exit");
  const [first] = (await Promise.race([once(child.stdout, "data"), ended])) as [unknown];
  assert.equal(String(first), "ready\n", log.join("\n"));
  return {
    directory: options.directory,
    log,
    process: child,
    async stop(signal = "SIGTERM") {
      child.kill(signal);
      await ended;
    },
  };
}

/** A folder of the test's own, removed with it. */
export function scratchFolder(t: { after(call: () => void): void }): string {
  const folder = mkdtempSync(path.join(os.tmpdir(), "cni-"));
  // An agent that still runs makes new slots in it.
  t.after(() => rmSync(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 }));
  return folder;
}

/** A pod's namespace as a runtime names it. */
export interface Sandbox {
  readonly id: string;
  readonly namespace: NetworkNamespace;
  readonly path: string;
}

let sandboxes = 0;

export function makeSandbox(t: { after(call: () => void): void }): Sandbox {
  const namespace = createNetworkNamespace();
  t.after(() => namespace.close());
  return {
    id: `sandbox${++sandboxes}`,
    namespace,
    path: `/proc/${process.pid}/fd/${namespace.fd}`,
  };
}

export interface Call {
  readonly command: string;
  readonly directory: string;
  readonly id?: string;
  readonly netns?: string;
  readonly interfaceName?: string;
  readonly args?: string;
  /** An object becomes JSON. */
  readonly config?: string | Readonly<Record<string, unknown>>;
  /** Instead of bin/fairlead-cni itself: `["bash", "bin/fairlead-cni"]`. */
  readonly program?: readonly [string, ...string[]];
  readonly environment?: Readonly<Record<string, string>>;
}

export interface Outcome {
  readonly exitCode: number | null;
  /** Standard output, whole. */
  readonly output: string;
  /** Standard output read as JSON; empty where there is none. */
  readonly json: Readonly<Record<string, any>>;
}

export const network = { cniVersion: "1.1.0", name: "net", type: "fairlead-cni" } as const;

/** Runs the plugin once. */
export async function plugin(call: Call): Promise<Outcome> {
  const child = startPlugin(call);
  let output = "";
  child.stdout?.setEncoding("utf8").on("data", (text: string) => (output += text));
  const [exitCode] = (await once(child, "close")) as [number | null];
  return { exitCode, output, json: output === "" ? {} : (JSON.parse(output) as Outcome["json"]) };
}

/** Starts the plugin, for those who do not wait for its end. */
export function startPlugin(call: Call): ChildProcess {
  const [program, ...words] = call.program ?? [shellPlugin];
  const { config = network } = call;
  const set = (name: string, value: string | undefined): Record<string, string> =>
    value === undefined ? {} : { [name]: value };
  const child = spawn(program, words, {
    stdio: ["pipe", "pipe", "inherit"],
    env: {
      PATH: process.env["PATH"],
      ...(process.env["TMPDIR"] !== undefined && { TMPDIR: process.env["TMPDIR"] }),
      FAIRLEAD_CNI_DIR: call.directory,
      CNI_COMMAND: call.command,
      CNI_PATH: "/opt/cni/bin",
      ...set("CNI_CONTAINERID", call.id),
      ...set("CNI_NETNS", call.netns),
      ...set("CNI_IFNAME", "interfaceName" in call ? call.interfaceName : "eth0"),
      ...set("CNI_ARGS", call.args),
      ...call.environment,
    },
  });
  child.stdin?.on("error", () => {});
  child.stdin?.end(typeof config === "string" ? config : JSON.stringify(config));
  return child;
}

/** Every way to the agent that there is here. */
export const shells: readonly (readonly [string, ...string[]])[] = [
  [shellPlugin],
  ...(existsSync("/bin/bash") ? [["/bin/bash", shellPlugin] as const] : []),
  [process.execPath, nodePlugin],
];

/** The addresses of a sandbox's links, loopback's apart. */
export function addressesIn({ namespace, id }: Sandbox): readonly string[] {
  const kernel = openKernel(id, namespace);
  try {
    return kernel
      .addresses()
      .filter(({ link }) => link !== "lo")
      .map(({ address }) => address);
  } finally {
    kernel.close();
  }
}

/** Exit status and error code. */
export const codeOf = ({ exitCode, json }: Outcome): unknown => [exitCode, json["code"]];
