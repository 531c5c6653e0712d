// The machines of the lab and what joins them: a namespace per node, one for the underlay (switch and router), one for the
// internet beyond it, where external clients and servers live.
//
//   internet 203.0.113.10 ── router ── underlay switch ── node-1 eth0, node-2 eth0, …
//                              └────── a second switch, where nodes are to be in two subnets
//
// The router knows nodes and internet and nothing of pods or Services: what leaves a node with a pod's address gets no answer,
// just as in a real network. Every neighbour is permanent: the kernel's table is shared by all namespaces of the machine and small.
// Not here: what a wire is (wires.ts), what a node does with its packets (program/, apply/), pods' namespaces (lab/pods), the way to the real internet (lab/outside).

import { familyOf, type Address, type Family } from "../../ip/address.ts";
import { macOfName, type Mac } from "../../ip/mac.ts";
import { addressAt, contains, hostPrefix, prefixBits, type Prefix } from "../../ip/prefix.ts";
import type { Drift } from "../../apply/report.ts";
import { mustChange, type Change, type NetworkKernel } from "../../kernel/kernel.ts";
import { openKernel } from "../../kernel/linux.ts";
import { createNetworkNamespace, type NetworkNamespace } from "../../kernel/namespaces.ts";
import { outsideAddresses, uplinkName } from "../node-object.ts";
import { openNodeKernel } from "./node-kernel.ts";
import { keepUplink, type Given, type UplinkKeeper } from "./uplink.ts";
import { openWires, type Wires } from "./wires.ts";

export interface TopologyOptions {
  readonly families: readonly Family[];
  /** The underlay's ranges, one per family; the router has the first address of each. */
  readonly nodeCidrs: readonly Prefix[];
  /** Parts of those ranges, each a switch of its own behind the router; one switch for all where absent. */
  readonly subnets?: readonly Prefix[];
  /** Of the underlay, in bytes. */
  readonly mtu?: number;
  /** What hands took from a node's link and the lab gave it again; nothing is given again where absent. Heard of as far as somebody monitors the node's kernel. */
  readonly putBack?: (node: string, drift: readonly Drift[]) => void;
}

/** A namespace with its kernel: a node, the underlay or the internet. */
export interface Machine {
  readonly name: string;
  readonly namespace: NetworkNamespace;
  readonly kernel: NetworkKernel;
  readonly addresses: readonly Address[];
}

export interface Topology {
  readonly underlay: Machine;
  /** The external client and server. */
  readonly internet: Machine;
  readonly nodes: ReadonlyMap<string, Machine>;
  /** Makes a node's namespace with `eth0` on the underlay. Throws where the name is taken or an address lies in no node range; nothing is left then. */
  addNode(name: string, addresses: readonly Address[]): Machine;
  /** Removes it; its pods' namespaces belong to their makers. Unknown names are ignored. */
  removeNode(name: string): void;
  /** Pulls or plugs the node's wire at the switch: the node sees its carrier go, its own settings stay. */
  setUplink(name: string, state: "up" | "down"): void;
  /** The nodes whose wire carries packets now, as the switch sees it. */
  carrying(): ReadonlySet<string>;
  /** Of one of them. */
  carries(name: string): boolean;
  /** Has the router send packets for an address to a node, or to nobody. Unknown nodes are nobody. */
  announce(address: Address, node: string | undefined): void;
  /** Everything goes. */
  close(): void;
}

const switchName = "switch";
const internetPort = "internet";

/** RFC 5737 and RFC 3849: ranges for documentation stand for the world outside. */
export const internetCidrs: readonly Prefix[] = ["203.0.113.0/24", "2001:db8:1::/64"];
// linux/rtnetlink.h: RTPROT_STATIC.
const staticProtocol = 4;

/** The router's address in a range of the underlay: nodes must have others. */
export function routerAddress(range: Prefix): Address {
  return addressAt(range, 1);
}

/** The lab's namespaces without nodes. Throws KernelError; nothing is left then. */
export function createTopology({ families, nodeCidrs, subnets, mtu = 1500, putBack }: TopologyOptions): Topology {
  const inFamilies = (prefix: Prefix): boolean => families.includes(familyOf(prefix));
  const nodeRanges = nodeCidrs.filter(inFamilies);
  const switches = switchesOf(nodeRanges, (subnets ?? nodeRanges).filter(inFamilies));
  const internetRanges = internetCidrs.filter(inFamilies);
  const underlay = openMachine("underlay", nodeRanges.map(routerAddress));
  const internet = openMachineOr(underlay, () =>
    openMachine(
      "internet",
      outsideAddresses.filter((address) => families.includes(familyOf(address))),
    ),
  );
  const nodes = new Map<string, Plugged>();

  const close = (): void => {
    for (const node of nodes.values()) node.keeper?.close();
    for (const machine of [...nodes.values(), internet, underlay]) closeMachine(machine);
    nodes.clear();
  };
  let wires: Wires;
  try {
    wires = openWires(underlay.kernel, mtu, switches);
    makeRouter(underlay, switches);
    makeInternet(underlay, internet, internetRanges, mtu);
  } catch (error) {
    close();
    throw error;
  }

  const addNode = (name: string, addresses: readonly Address[]): Machine => {
    if (nodes.has(name)) throw new Error(`add node ${name}: there is a node of that name already`);
    const outside = addresses.find((address) => !nodeRanges.some((range) => contains(range, address)));
    const at = switches.find(({ ranges }) =>
      addresses.every((address) => ranges.some((range) => contains(range, address))),
    );
    if (outside !== undefined || at === undefined) {
      throw new Error(`add node ${name}: ${outside} lies in none of the underlay's ranges (${nodeRanges.join(", ")})`);
    }
    const machine: Machine = openMachine(name, addresses, (kernelName, namespace) =>
      openNodeKernel(kernelName, namespace, (event) => nodes.get(name)?.keeper?.changed(event)),
    );
    try {
      plug(underlay, machine, { wires, at });
      introduce(
        machine,
        [...nodes.values()].filter((other) => other.at === at),
      );
    } catch (error) {
      wires.unplug(machine);
      closeMachine(machine);
      throw error;
    }
    nodes.set(name, { ...machine, at, isPulled: false, keeper: putBack && keeperOf(machine, at, putBack) });
    return machine;
  };

  const keeperOf = (machine: Machine, at: Switch, told: NonNullable<TopologyOptions["putBack"]>): UplinkKeeper =>
    keepUplink({
      node: machine.name,
      kernel: machine.kernel,
      given: () => [
        ...givenAt(machine, at),
        ...[...nodes.values()].flatMap((other) =>
          other.at === at && other.name !== machine.name ? know(uplinkName, other) : [],
        ),
      ],
      replug() {
        wires.plug(machine, at.name, macOf(machine.name));
        mustChange(machine.kernel, [up(uplinkName)]);
        const node = nodes.get(machine.name);
        if (node?.isPulled === true) wires.setUplink(node, "down");
      },
      putBack: (drift) => told(machine.name, drift),
    });

  return {
    underlay,
    internet,
    nodes,
    addNode,
    removeNode(name) {
      const node = nodes.get(name);
      if (node === undefined) return;
      nodes.delete(name);
      node.keeper?.close();
      wires.unplug(node);
      mustChange(underlay.kernel, forget(node.at.name, node));
      for (const other of nodes.values()) if (other.at === node.at) mustChange(other.kernel, forget(uplinkName, node));
      closeMachine(node);
    },
    setUplink(name, state) {
      const node = nodes.get(name);
      if (node === undefined) throw new Error(`switch the uplink of ${name} ${state}: there is no such node`);
      node.isPulled = state === "down";
      wires.setUplink(node, state);
      settle(underlay, [...wires.portsOf(node), node.at.name], node);
    },
    carrying() {
      return new Set([...nodes.values()].flatMap((node) => (wires.carries(node) ? [node.name] : [])));
    },
    carries(name) {
      const node = nodes.get(name);
      return node !== undefined && wires.carries(node);
    },
    announce(address, node) {
      const holder = node === undefined ? undefined : nodes.get(node);
      mustChange(
        underlay.kernel,
        switches.flatMap((one) => announcement(one, address, holder)),
      );
      const to = hostPrefix(address);
      // The router looks for an address on its range's switch: the holder may be on another one, and a pool may lie in no switch's range.
      if (switches.length > 1 || !nodeRanges.some((range) => contains(range, address)))
        mustChange(underlay.kernel, [
          holder === undefined
            ? { kind: "delete-route", to, metric: 1, protocol: staticProtocol }
            : { kind: "set-route", to, action: "forward", link: holder.at.name, metric: 1, protocol: staticProtocol },
        ]);
    },
    close,
  };
}

// ---------------------------------------------------------------- the underlay

/** A link of the underlay. */
interface Switch {
  readonly name: string;
  /** The router's hardware address there. */
  readonly mac: Mac;
  /** One per family. */
  readonly ranges: readonly Prefix[];
}

interface Plugged extends Machine {
  readonly at: Switch;
  readonly keeper: UplinkKeeper | undefined;
  isPulled: boolean;
}

/** The first range of each family makes the first switch, and so on. */
function switchesOf(families: readonly Prefix[], subnets: readonly Prefix[]): readonly Switch[] {
  const byFamily = families.map((range) => subnets.filter((subnet) => familyOf(subnet) === familyOf(range)));
  const count = Math.max(...byFamily.map((list) => list.length));
  return Array.from({ length: count }, (_, index) => {
    const name = index === 0 ? switchName : `${switchName}${index + 1}`;
    return {
      name,
      mac: index === 0 ? macOfName(`underlay/${uplinkName}`) : macOfName(`underlay/${name}`),
      ranges: byFamily.flatMap((list) => list[index] ?? []),
    };
  });
}

function announcement({ name }: Switch, address: Address, holder: Plugged | undefined): readonly Change[] {
  if (holder?.at.name === name) return [{ kind: "set-neighbour", link: name, address, mac: macOf(holder.name) }];
  return [{ kind: "delete-neighbour", link: name, address }];
}

function makeRouter(underlay: Machine, switches: readonly Switch[]): void {
  for (const { name, ranges } of switches) {
    mustChange(underlay.kernel, [
      up(name),
      ...ranges.map((range): Change => ({
        kind: "set-address",
        link: name,
        address: routerAddress(range),
        bits: prefixBits(range),
      })),
    ]);
  }
  routeAsMachine(underlay.kernel);
}

function makeInternet(underlay: Machine, internet: Machine, ranges: readonly Prefix[], mtu: number): void {
  const routerMac = macOfName(`underlay/${internetPort}`);
  mustChange(underlay.kernel, [
    {
      kind: "create-veth",
      name: internetPort,
      mac: routerMac,
      mtu,
      peer: { name: uplinkName, mac: macOf(internet.name), namespaceFd: internet.namespace.fd },
    },
    up(internetPort),
    ...ranges.map((range): Change => ({
      kind: "set-address",
      link: internetPort,
      address: routerAddress(range),
      bits: prefixBits(range),
    })),
    ...know(internetPort, internet),
  ]);
  mustChange(internet.kernel, [
    up(uplinkName),
    ...ranges.flatMap((range) => [
      ...addressOn(uplinkName, internet, range),
      ...gatewayChanges(uplinkName, routerAddress(range), routerMac),
    ]),
  ]);
  settle(underlay, [internetPort], internet);
}

/** Both ends of a new wire carry packets when this returns. */
function settle(underlay: Machine, ports: readonly string[], machine: Machine): void {
  machine.kernel.idleLinks([uplinkName]);
  underlay.kernel.idleLinks(ports);
}

/** Forwarding on, and frames on the switch are none of IP's business. */
function routeAsMachine(kernel: NetworkKernel): void {
  const wanted = {
    "net/ipv4/ip_forward": "1",
    "net/ipv6/conf/all/forwarding": "1",
    "net/bridge/bridge-nf-call-iptables": "0",
    "net/bridge/bridge-nf-call-ip6tables": "0",
    "net/bridge/bridge-nf-call-arptables": "0",
  };
  for (const [path, value] of Object.entries(wanted)) {
    // A kernel without IPv6 or without bridge filtering has no such file, and needs none.
    const have = kernel.readSysctl(path);
    if (have !== undefined && have !== value) kernel.writeSysctl(path, value);
  }
}

// ---------------------------------------------------------------- nodes

function plug(underlay: Machine, node: Machine, { wires, at }: { readonly wires: Wires; readonly at: Switch }): void {
  wires.plug(node, at.name, macOf(node.name));
  mustChange(underlay.kernel, know(at.name, node));
  mustChange(node.kernel, [up(uplinkName), ...givenAt(node, at)]);
  const paths = ["iptables", "ip6tables", "arptables"].map((table) => `net/bridge/bridge-nf-call-${table}`);
  settle(underlay, [...wires.portsOf(node), at.name], node);
  for (const path of paths) if (node.kernel.readSysctl(path) === "1") node.kernel.writeSysctl(path, "0");
}

/** A node's addresses on its switch, and its way out. */
function givenAt(node: Machine, { ranges, mac }: Switch): readonly Given[] {
  return ranges.flatMap((range) => [
    ...addressOn(uplinkName, node, range),
    ...gatewayChanges(uplinkName, routerAddress(range), mac),
  ]);
}

/** Every node knows every other's hardware address on its link beforehand. */
function introduce(node: Machine, others: readonly Machine[]): void {
  mustChange(
    node.kernel,
    others.flatMap((other) => know(uplinkName, other)),
  );
  for (const other of others) mustChange(other.kernel, know(uplinkName, node));
}

function macOf(machine: string): Mac {
  return macOfName(`${machine}/${uplinkName}`);
}

function up(name: string): Change {
  return { kind: "set-link", name, addressGeneration: "none", up: true };
}

function addressOn(link: string, machine: Machine, range: Prefix): Given[] {
  return machine.addresses
    .filter((address) => contains(range, address))
    .map((address) => ({ kind: "set-address", link, address, bits: prefixBits(range) }));
}

function gatewayChanges(link: string, gateway: Address, mac: Mac): Given[] {
  const to = familyOf(gateway) === 4 ? "0.0.0.0/0" : "::/0";
  return [
    { kind: "set-neighbour", link, address: gateway, mac },
    { kind: "set-route", to, action: "forward", link, via: gateway, metric: 1024, protocol: staticProtocol },
  ];
}

function know(link: string, machine: Machine): Given[] {
  return machine.addresses.map((address) => ({ kind: "set-neighbour", link, address, mac: macOf(machine.name) }));
}

function forget(link: string, machine: Machine): Change[] {
  return machine.addresses.map((address) => ({ kind: "delete-neighbour", link, address }));
}

// ---------------------------------------------------------------- machines

function openMachine(
  name: string,
  addresses: readonly Address[],
  open: (name: string, namespace: NetworkNamespace) => NetworkKernel = openKernel,
): Machine {
  const namespace = createNetworkNamespace();
  try {
    return { name, namespace, kernel: open(name, namespace), addresses };
  } catch (error) {
    namespace.close();
    throw error;
  }
}

function openMachineOr(made: Machine, open: () => Machine): Machine {
  try {
    return open();
  } catch (error) {
    closeMachine(made);
    throw error;
  }
}

function closeMachine(machine: Machine): void {
  machine.kernel.close();
  machine.namespace.close();
}
