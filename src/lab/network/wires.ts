// The underlay's wires: what joins the router and the machines of one link, and may be pulled.
//
// Where the kernel has macvlan links, all of them share one wire: a frame that leaves one machine's eth0 is received by the other's at
// once. Where it has not, each has a veth pair to a bridge, a longer way: a stream between two nodes costs 4 to 5 % more there.
// Not here: addresses, routes and neighbours (topology.ts).

import type { Mac } from "../../ip/mac.ts";
import { mustChange, type NetworkKernel } from "../../kernel/kernel.ts";
import type { NetworkNamespace } from "../../kernel/namespaces.ts";
import { uplinkName } from "../node-object.ts";

export interface Wires {
  /** Makes `eth0` in a machine, not up yet, on the wire of a switch. */
  plug(machine: WiredMachine, at: string, mac: Mac): void;
  /** Takes `eth0` away. A machine that was never plugged in is ignored. */
  unplug(machine: WiredMachine): void;
  /** Pulls the machine's wire or plugs it in again: the machine sees its carrier go, its own settings stay. */
  setUplink(machine: WiredMachine, state: "up" | "down"): void;
  carries(machine: WiredMachine): boolean;
  /** Links of a machine's wire on the router's side that are to carry packets before the machine does. */
  portsOf(machine: WiredMachine): readonly string[];
}

export interface WiredMachine {
  readonly name: string;
  readonly namespace: NetworkNamespace;
  readonly kernel: NetworkKernel;
}

/** A link of the router where machines can be plugged in. */
export interface WiredSwitch {
  readonly name: string;
  readonly mac: Mac;
}

/**
 * In the router's namespace, with its links, not up yet; frames of up to `mtu` bytes.
 * Shared where the kernel can, unless bridged ones are asked for. Throws KernelError.
 */
export function openWires(
  router: NetworkKernel,
  mtu: number,
  switches: readonly WiredSwitch[],
  kind?: "bridged",
): Wires {
  if (kind === undefined && switches.every((each) => makeSharedSwitch(router, mtu, each)))
    return sharedWires(router, mtu);
  mustChange(
    router,
    switches.map(({ name, mac }) => ({ kind: "create-bridge", name, mac, mtu })),
  );
  return bridgedWires(router, mtu);
}

/** Larger than any machine's, whose links follow it downwards. */
const wireMtu = 65_535;

/** False, with nothing left of it, where the kernel has no macvlan links. */
function makeSharedSwitch(router: NetworkKernel, mtu: number, { name, mac }: WiredSwitch): boolean {
  const [wire, end] = [`${name}-wire`, `${name}-end`];
  mustChange(router, [{ kind: "create-veth", name: wire, mtu: wireMtu, peer: { name: end } }]);
  const [made] = router.change([{ kind: "create-macvlan", name, mac, mtu, lower: wire }]);
  if (made?.ok === false) {
    mustChange(router, [{ kind: "delete-link", name: wire }]);
    if (made.error.code === "EOPNOTSUPP") return false;
    throw made.error;
  }
  // What is for nobody on the wire, or for everybody, comes out of its end; there the router does not listen.
  // linux/Documentation/networking/ip-sysctl.rst, arp_ignore: 8, no replies for any local address.
  router.writeSysctl(`net/ipv4/conf/${end}/arp_ignore`, "8");
  mustChange(
    router,
    [wire, end].map((link) => ({ kind: "set-link", name: link, addressGeneration: "none", up: true })),
  );
  return true;
}

function sharedWires(router: NetworkKernel, mtu: number): Wires {
  return {
    plug({ namespace }, at, mac) {
      const lower = `${at}-wire`;
      mustChange(router, [{ kind: "create-macvlan", name: uplinkName, mac, mtu, lower, namespaceFd: namespace.fd }]);
    },
    unplug({ kernel }) {
      mustChange(kernel, [{ kind: "delete-link", name: uplinkName }]);
    },
    setUplink({ kernel }, state) {
      const isDown = state === "down";
      mustChange(kernel, [
        {
          kind: "set-link",
          name: uplinkName,
          macvlanMode: isDown ? "private" : "bridge",
          protoDown: isDown,
        },
      ]);
    },
    carries: ({ kernel }) =>
      kernel.idleLinks([uplinkName]).length === 0 &&
      // A link that is not there is no idle one; looking for this file is cheaper than a dump of all links.
      kernel.readSysctl(`net/ipv4/conf/${uplinkName}/forwarding`) !== undefined,
    portsOf: () => [],
  };
}

function bridgedWires(router: NetworkKernel, mtu: number): Wires {
  const ports = new Map<string, string>();
  let made = 0;
  return {
    plug({ name, namespace }, at, mac) {
      const port = `port${++made}`;
      const peer = { name: uplinkName, mac, namespaceFd: namespace.fd };
      mustChange(router, [{ kind: "create-veth", name: port, mtu, alias: `to ${name}`, peer }]);
      ports.set(name, port);
      mustChange(router, [{ kind: "set-link", name: port, master: at, addressGeneration: "none", up: true }]);
    },
    unplug({ name }) {
      const port = ports.get(name);
      ports.delete(name);
      if (port !== undefined) mustChange(router, [{ kind: "delete-link", name: port }]);
    },
    setUplink({ name }, state) {
      const port = ports.get(name);
      if (port !== undefined) mustChange(router, [{ kind: "set-link", name: port, up: state === "up" }]);
    },
    carries({ name }) {
      const port = ports.get(name);
      return router.links().some((link) => link.name === port && link.up && link.running);
    },
    portsOf({ name }) {
      const port = ports.get(name);
      return port === undefined ? [] : [port];
    },
  };
}
