// The sandbox of a pod: the namespaces its containers share. The network is there from the start; host name and IPC namespaces, which only
// real processes need, are made with the first of them, so that a thousand pods served in-process cost a thousand network namespaces and no more.

import { createSharedNamespaces, type SharedNamespaces } from "../../kernel/process.ts";
import { createNetworkNamespace, type NetworkNamespace } from "../../kernel/namespaces.ts";

export interface Sandbox {
  /** CNI_CONTAINERID: 64 hexadecimal digits, as container runtimes make them. */
  readonly id: string;
  readonly network: NetworkNamespace;
  readonly hostNetwork: boolean;
  /** What a new container's process joins. */
  namespaces(): { readonly network: NetworkNamespace; readonly shared: SharedNamespaces; readonly pidOf?: number };
  /** With shareProcessNamespace: the process whose pid namespace all containers join. */
  sharePidNamespaceOf(pid: number): void;
  close(): void;
}

/** Makes a sandbox; for a hostNetwork pod the network is the node's and stays open when the sandbox is closed. Throws KernelError. */
export function createSandbox(options: {
  readonly id: string;
  readonly hostname: string;
  readonly nodeNetwork?: NetworkNamespace;
}): Sandbox {
  const network = options.nodeNetwork ?? createNetworkNamespace();
  let shared: SharedNamespaces | undefined;
  let pidOf: number | undefined;
  return {
    id: options.id,
    network,
    hostNetwork: options.nodeNetwork !== undefined,
    namespaces() {
      // sethostname(2): at most 64 bytes.
      shared ??= createSharedNamespaces(options.hostname.slice(0, 64));
      return { network, shared, ...(pidOf === undefined ? {} : { pidOf }) };
    },
    sharePidNamespaceOf(pid) {
      pidOf = pid;
    },
    close() {
      shared?.close();
      shared = undefined;
      if (options.nodeNetwork === undefined) network.close();
    },
  };
}
