// May this user make namespaces of his own here? Tried with the lab's very flags; where not, the setting that forbids it and what allows it.
// Runs on the host's side, before there is any namespace, and loads nothing but Node's own modules.
//
// Not here: what the kernel can do inside (probe.ts).

import { spawnSync } from "node:child_process";
import fs from "node:fs";

/** The answer of a probe; `reason` says what forbids it and what would allow it. */
export type Answer = { readonly available: true } | { readonly available: false; readonly reason: string };

/**
 * Flags of `unshare` for the lab's user, network, mount, pid, uts and ipc namespaces. Without -p, -u and -i setns back to the first pid
 * namespace is refused; with --kill-child everything inside dies with the outer process.
 */
export const unshareFlags: readonly string[] = ["-Urnmpuif", "--map-root-user", "--mount-proc", "--kill-child", "--"];

/** Makes the namespaces, mounts in them, writes a sysctl in them, and throws them away: about 10 ms. */
export function probeUserNamespaces(): Answer {
  const attempt = spawnSync("unshare", [...unshareFlags, "sh", "-c", script], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "pipe"],
    timeout: 20_000,
  });
  if (attempt.status === 0) return { available: true };
  const words =
    (attempt.stderr || attempt.error?.message || `exit status ${attempt.status}`).trim().split("\n")[0] ?? "";
  return { available: false, reason: explainRefusal(readFacts(attempt.stdout ?? "", words)) };
}

/** What is known when namespaces were refused. */
export interface RefusalFacts {
  /** How far it got: nothing yet, namespaces made, mounted, sysctl written. */
  readonly reached: "nothing" | "namespaces" | "mount" | "sysctl";
  /** The first line of what `unshare` or the shell said. */
  readonly words: string;
  readonly unshareMissing: boolean;
  /** By path below /proc/sys; absent where the kernel has no such setting. */
  readonly settings: Readonly<Record<string, string | undefined>>;
  /** A seccomp filter is in force: `Seccomp: 2` in /proc/self/status. */
  readonly seccomp: boolean;
  /** The process is in a chroot: nothing is mounted on its `/`. */
  readonly chroot: boolean;
}

/** One sentence: what forbids namespaces here, and what allows them. */
export function explainRefusal(facts: RefusalFacts): string {
  const { words } = facts;
  if (facts.unshareMissing) return "there is no `unshare` program: install util-linux";
  switch (facts.reached) {
    case "nothing":
      return `${forbidden(facts)} (${words})`;
    case "namespaces":
      return `mounting inside a user namespace is forbidden, as in a container with an unprivileged or masked file system: allow it (Docker: --security-opt systempaths=unconfined --security-opt apparmor=unconfined) (${words})`;
    case "mount":
    case "sysctl":
      return `/proc/sys cannot be written inside the namespaces, as in a container with a read-only or masked /proc: allow it (Docker: --security-opt systempaths=unconfined) (${words})`;
  }
}

const script = `echo namespaces
mount -t tmpfs tmpfs /tmp || exit 1; echo mount
echo 1 > /proc/sys/net/ipv4/ip_forward || exit 1; echo sysctl`;

const settingPaths = [
  "user/max_user_namespaces",
  "user/max_net_namespaces",
  "user/max_mnt_namespaces",
  "user/max_pid_namespaces",
  "user/max_uts_namespaces",
  "user/max_ipc_namespaces",
  "kernel/unprivileged_userns_clone",
  "kernel/apparmor_restrict_unprivileged_userns",
];

/** Which of the known causes it is, the certain ones first. */
function forbidden({ settings, seccomp, chroot, words }: RefusalFacts): string {
  for (const path of settingPaths) {
    if (!path.startsWith("user/") || settings[path] !== "0") continue;
    const name = path.replaceAll("/", ".");
    return `${name} is 0: allow some with \`sysctl -w ${name}=10000\` as root`;
  }
  if (settings["kernel/unprivileged_userns_clone"] === "0")
    return "kernel.unprivileged_userns_clone is 0: allow them with `sysctl -w kernel.unprivileged_userns_clone=1` as root";
  if (settings["kernel/apparmor_restrict_unprivileged_userns"] === "1")
    return "kernel.apparmor_restrict_unprivileged_userns is 1: allow them with `sysctl -w kernel.apparmor_restrict_unprivileged_userns=0` as root";
  if (seccomp)
    return "a seccomp filter is in force, as in a container with Docker's defaults: allow unshare (Docker: --security-opt seccomp=unconfined --security-opt systempaths=unconfined)";
  if (chroot)
    return "this process is in a chroot, where the kernel allows no user namespaces: run outside of it, or use pivot_root";
  if (/no space left/i.test(words))
    return "a limit of namespaces is reached: raise user.max_user_namespaces and user.max_net_namespaces, or stop what uses them";
  return "user namespaces are refused, perhaps by a security module";
}

function readFacts(output: string, words: string): RefusalFacts {
  const reached = (["sysctl", "mount", "namespaces"] as const).find((stage) => output.split("\n").includes(stage));
  return {
    reached: reached ?? "nothing",
    words,
    unshareMissing: /ENOENT/.test(words),
    settings: Object.fromEntries(settingPaths.map((path) => [path, readText(`/proc/sys/${path}`)?.trim()])),
    seccomp: /^Seccomp:\s*2$/m.test(readText("/proc/self/status") ?? ""),
    chroot: !/^\S+ \S+ \S+ \S+ \/ /m.test(readText("/proc/self/mountinfo") ?? "0 0 0 0 / "),
  };
}

function readText(path: string): string | undefined {
  try {
    return fs.readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}
