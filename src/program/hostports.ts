// hostPort: a port of the node that leads to one pod on it. The same maps as Services: a frontend with one backend.
// As with the portmap plugin of CNI, the pod sees the client's own address; a pod that asks its own hostPort is the hairpin case.
// The node itself also reaches it at 127.0.0.1, where the source becomes the node's (masquerade.ts). A packet from ::1 the kernel never lets out,
// so a hostPort at ::1 answers those alone who ask from another address of the node.

import { familyOf, type Family } from "../ip/address.ts";
import type { Origin } from "../kube/object.ts";
import type { Attachment, NetworkNode, NetworkPod, Protocol } from "../model/network.ts";
import { ofFamily } from "./places.ts";
import { podOrigin } from "./pods.ts";
import { collector, type Translation } from "./translation.ts";

/** What the node's pods' hostPorts add to the maps. `isTaken` says which frontends Services have: those keep them. */
export function hostPortTranslation(
  node: NetworkNode,
  context: {
    readonly pods: readonly NetworkPod[];
    readonly attachments: readonly Attachment[];
    readonly family: Family;
    readonly isTaken: (frontend: readonly string[]) => boolean;
  },
): Translation {
  const { pods, attachments, family, isTaken } = context;
  const collected = collector();
  for (const attachment of attachments) {
    const podAddress = ofFamily(attachment.addresses, family);
    if (podAddress === undefined || attachment.hostPorts.length === 0) continue;
    const pod = pods.find(({ namespace, name }) => namespace === attachment.namespace && name === attachment.name);
    for (const { protocol, hostPort, hostIp, port } of attachment.hostPorts) {
      const origin = declarationOf(pod, protocol, hostPort) ?? podOrigin(attachment, "spec.containers");
      const backends = [{ address: podAddress, port, origin }];
      const addresses = frontendsOf(hostIp, node, family);
      if (addresses.some((address) => isTaken([address, protocol, String(hostPort)]))) continue;
      for (const address of addresses)
        collected.frontend({ address, protocol, port: hostPort }, { backends, otherwise: "refuse", origin });
    }
  }
  return collected.result;
}

function declarationOf(pod: NetworkPod | undefined, protocol: Protocol, hostPort: number): Origin | undefined {
  const port = pod?.containerPorts.find((port) => port.hostPort === hostPort && port.protocol === protocol);
  return port === undefined ? undefined : { ...port.origin, field: `${port.origin.field ?? ""}.hostPort` };
}

/** Addresses of a family at which a hostPort answers. Those that ask for 127.0.0.1 are told apart by it. */
function frontendsOf(hostIp: string | undefined, node: NetworkNode, family: Family): readonly string[] {
  if (hostIp !== undefined && !isAny(hostIp)) return familyOf(hostIp) === family ? [hostIp] : [];
  const own = ofFamily(node.addresses, family);
  return [...(own === undefined ? [] : [own]), ...(family === 4 ? ["127.0.0.1"] : [])];
}

function isAny(address: string): boolean {
  return address === "0.0.0.0" || address === "::";
}
