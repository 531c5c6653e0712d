// The sandbox of a pod: the namespaces its containers share. The network is there from the start; host name, IPC namespaces and settings, which
// only real processes need, are made with the first of them, so that a thousand pods served in-process cost a thousand network namespaces and no more.

import fs from "node:fs";

import { createSharedNamespaces, type SharedNamespaces } from "../../kernel/process.ts";
import type { NetworkNamespace } from "../../kernel/namespaces.ts";

export interface Sandbox {
  /** CNI_CONTAINERID: 64 hexadecimal digits, as container runtimes make them. */
  readonly id: string;
  readonly network: NetworkNamespace;
  readonly hostNetwork: boolean;
  /** What a new container's process joins. */
  namespaces(): { readonly network: NetworkNamespace; readonly shared: SharedNamespaces; readonly pidOf?: number };
  /** Settings below /proc/sys (`net.core.somaxconn`) that the pod asks for. Throws the file system's error. Not for the node's network. */
  setSysctls(settings: readonly { readonly name: string; readonly value: string }[]): void;
  /** With shareProcessNamespace: the process whose pid namespace all containers join. */
  sharePidNamespaceOf(pid: number): void;
  close(): void;
}

/** A sandbox over a network: its own, which is closed with it, or the node's, which stays. */
export function createSandbox(options: {
  readonly id: string;
  readonly hostname: string;
  readonly network: NetworkNamespace;
  readonly hostNetwork: boolean;
}): Sandbox {
  const { network, hostNetwork } = options;
  let shared: SharedNamespaces | undefined;
  let pidOf: number | undefined;
  const asked = new Set<string>();
  const write = (settings: readonly { readonly name: string; readonly value: string }[]): void =>
    network.run(() => {
      for (const { name, value } of settings) fs.writeFileSync(`/proc/sys/${name.replaceAll(".", "/")}`, value);
    });
  return {
    id: options.id,
    network,
    hostNetwork,
    namespaces() {
      if (shared === undefined) {
        if (!hostNetwork) write(everyPodsSysctls.filter(({ name }) => !asked.has(name)));
        // sethostname(2): at most 64 bytes.
        shared = createSharedNamespaces(options.hostname.slice(0, 64));
      }
      return { network, shared, ...(pidOf === undefined ? {} : { pidOf }) };
    },
    setSysctls(settings) {
      if (settings.length > 0) write(settings);
      for (const { name } of settings) asked.add(name);
    },
    sharePidNamespaceOf(pid) {
      pidOf = pid;
    },
    close() {
      shared?.close();
      shared = undefined;
      if (!hostNetwork) network.close();
    },
  };
}

// Unprivileged ports from 0 and echo sockets for everybody are containerd's settings of every pod's namespace;
// a single-uid user namespace knows only group 0. Not at once for every pod: the kernel finds a file below /proc/sys/net by going
// through those of the same name of all namespaces that were asked for it (fs/proc/proc_sysctl.c, proc_sys_compare).
const everyPodsSysctls = [
  { name: "net.ipv4.ip_unprivileged_port_start", value: "0" },
  { name: "net.ipv4.ping_group_range", value: "0 0" },
];
