// Names instead of addresses, for texts that are the same on every run and that people can read: pods, Services and nodes by name.
//
// Not here: DNS names (zone.ts).

import type { Address } from "../ip/address.ts";
import { hostPrefix } from "../ip/prefix.ts";
import type { Attachment, Network } from "../model/network.ts";
import { bridgeMac, gatewayOf, tunnelAddressOf, tunnelMac } from "./places.ts";

/** Replaces what is allocated by what it is allocated to. What has no name stays as it is. */
export interface Namer {
  /** `10.244.1.5` -> `api-server-a`; both addresses of a dual-stack pod have its one name. */
  readonly address: (address: Address) => string;
  /** One word of a Program: an address, a prefix, a hardware address, a link. */
  readonly word: (word: string) => string;
  /** Every such word of a text, wherever it stands alone or before a port. */
  readonly text: (text: string) => string;
}

/** Says everything as it is. */
export const plainNamer: Namer = { address: (text) => text, word: (text) => text, text: (text) => text };

/**
 * The names of a Network's addresses. Pods and Services go by their bare names where no other namespace has the same, else by
 * `namespace/name`. With a node's `attachments`, its pods' links and hardware addresses have names as well: `link(api-server-a)`.
 */
export function networkNamer(network: Network, attachments: readonly Attachment[] = []): Namer {
  const names = new Map<string, string>();
  const podName = shortNames(network.pods);
  const serviceName = shortNames(network.services);
  const nameAddress = (address: Address, name: string): void => {
    names.set(address, name);
    names.set(hostPrefix(address), name);
  };
  for (const node of network.nodes) {
    for (const address of node.addresses) nameAddress(address, node.name);
    for (const range of node.podCidrs) {
      nameAddress(gatewayOf(range), `${node.name}/gateway`);
      nameAddress(tunnelAddressOf(range), `${node.name}/tunnel`);
      names.set(range, `${node.name}/pods`);
    }
    names.set(bridgeMac(node.name), `mac(${node.name}/gateway)`);
    names.set(tunnelMac(node.name), `mac(${node.name}/tunnel)`);
  }
  for (const pod of network.pods) {
    if (!pod.hostNetwork) for (const address of pod.addresses) nameAddress(address, podName(pod));
  }
  for (const service of network.services)
    for (const address of service.clusterIps) nameAddress(address, serviceName(service));
  for (const attachment of attachments) {
    const name = podName(attachment);
    for (const address of attachment.addresses) nameAddress(address, name);
    names.set(attachment.link, `link(${name})`);
    names.set(attachment.mac, `mac(${name})`);
  }
  const word = (text: string): string => names.get(text) ?? text;
  return { address: word, word, text: (text) => replaceWords(text, names) };
}

interface Named {
  readonly namespace: string;
  readonly name: string;
}

function shortNames(all: readonly Named[]): (one: Named) => string {
  const namespaces = new Map<string, Set<string>>();
  for (const { namespace, name } of all) {
    const group = namespaces.get(name);
    if (group === undefined) namespaces.set(name, new Set([namespace]));
    else group.add(namespace);
  }
  return ({ namespace, name }) => ((namespaces.get(name)?.size ?? 0) > 1 ? `${namespace}/${name}` : name);
}

/** A word may end in a port (`10.96.0.1:80`, `[fd00::1]:80`) or a colon of the syntax around it. */
function replaceWords(text: string, names: ReadonlyMap<string, string>): string {
  return text.replace(/[0-9A-Za-z][0-9A-Za-z.:/_-]*/g, (word) => {
    const whole = names.get(word);
    if (whole !== undefined) return whole;
    const cut = word.lastIndexOf(":");
    const name = cut > 0 ? names.get(word.slice(0, cut)) : undefined;
    return name === undefined ? word : `${name}${word.slice(cut)}`;
  });
}
