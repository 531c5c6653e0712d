// Where everything is on a node: addresses, hardware addresses and sizes that follow from the node's name and ranges alone,
// so that every node knows them of every other without asking. What compile and a pod's sandbox (agent/) have to agree on.

import { familyOf, type Address, type Family } from "../ip/address.ts";
import { macBytes, macOfName, type Mac } from "../ip/mac.ts";
import { addressAt, prefixAddress, type Prefix } from "../ip/prefix.ts";
import type { ClusterConfig, NetworkNode } from "../model/network.ts";
import { names, vxlanOverhead } from "./program.ts";

/** The node's address in a pod range, its pods' gateway: the first after the network address. */
export function gatewayOf(podCidr: Prefix): Address {
  return addressAt(podCidr, 1);
}

/** The node's address in a pod range as the end of a tunnel: the network address itself, which no pod gets. */
export function tunnelAddressOf(podCidr: Prefix): Address {
  return prefixAddress(podCidr);
}

/** The hardware address of a node's bridge, its pods' permanent neighbour. */
export function bridgeMac(node: string): Mac {
  return macOfName(`${node}/${names.bridge}`);
}

/** The hardware address of a node's VXLAN link. */
export function tunnelMac(node: string): Mac {
  return macOfName(`${node}/${names.vxlan}`);
}

/** The address tunnels start from: the first InternalIP. Undefined where the node has none: then it has no tunnel. */
export function tunnelEndpoint(node: NetworkNode): Address | undefined {
  return node.addresses[0];
}

/** The MTU of a node's pods and tunnel in bytes: what the underlay carries minus what the tunnel adds. */
export function podMtu(cluster: ClusterConfig, node: NetworkNode): number {
  const endpoint = tunnelEndpoint(node);
  return cluster.underlayMtu - vxlanOverhead(endpoint === undefined ? 6 : familyOf(endpoint));
}

/** The range or address of a family, or undefined. */
export function ofFamily<T extends string>(values: readonly T[], family: Family): T | undefined {
  return values.find((value) => familyOf(value) === family);
}

/** RFC 4291 appendix A: the link-local address the kernel gives a link with this hardware address (modified EUI-64). */
export function linkLocalOf(mac: Mac): Address {
  const [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0] = macBytes(mac);
  const group = (high: number, low: number): string => ((high << 8) | low).toString(16);
  // The second group holds 0xff in its low byte, so no run of two zero groups can follow "::" but at the very start.
  const groups = [group(a ^ 0x02, b), group(c, 0xff), group(0xfe, d), group(e, f)];
  return `fe80::${groups.join(":")}`;
}
