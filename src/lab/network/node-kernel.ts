// A lab node's kernel: the machine's own, but that tunnels do not look for packets to join, and that the lab hears what its agent hears.
//
// Between nodes on one machine a packet arrives as large as its sender made it, up to 64 KB, so there is never anything to join (GRO), and the
// looking costs 2 to 4 % of what a stream takes. On real nodes packets come off a wire in frames: an agent leaves this to the machine.

import { KernelError, type Change, type MonitorEvent, type NetworkKernel } from "../../kernel/kernel.ts";
import { openKernel } from "../../kernel/linux.ts";
import type { NetworkNamespace } from "../../kernel/namespaces.ts";
import { setReceiveOffload } from "../../kernel/offload.ts";

/** As `openKernel`. `heard` gets the events of whoever monitors it: a second monitor would read all of them again. Throws KernelError. */
export function openNodeKernel(
  name: string,
  namespace: NetworkNamespace,
  heard?: (event: MonitorEvent) => void,
): NetworkKernel {
  const kernel = openKernel(name, namespace);
  const change: NetworkKernel["change"] = (changes) => {
    const results = kernel.change(changes);
    for (const [index, made] of changes.entries())
      if (made.kind === "create-vxlan" && results[index]?.ok === true) takeWhole(namespace, made);
    return results;
  };
  const monitor: NetworkKernel["monitor"] = (changed) =>
    kernel.monitor((event) => {
      changed(event);
      heard?.(event);
    });
  return Object.create(kernel, {
    change: { value: change, enumerable: true },
    monitor: { value: monitor, enumerable: true },
  }) as NetworkKernel;
}

function takeWhole(namespace: NetworkNamespace, { name }: Extract<Change, { kind: "create-vxlan" }>): void {
  try {
    setReceiveOffload(namespace, name, "off");
  } catch (error) {
    // A tunnel that looks is slower, and otherwise the same.
    if (!(error instanceof KernelError)) throw error;
  }
}
