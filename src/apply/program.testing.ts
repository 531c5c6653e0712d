// A small Program by hand, for tests of what reads Programs: one node of two, with its pods. What real ones look like is the compiler's.

import { macOfName } from "../ip/mac.ts";
import { hostPrefix } from "../ip/prefix.ts";
import type { Origin } from "../kube/object.ts";
import type { Attachment } from "../model/network.ts";
import type { Program, Route } from "../program/program.ts";

const node = (name: string): Origin => ({ kind: "Node", name });

/** A node with its bridge, its tunnel to one other node, and a pod for each attachment. */
export function programOf(attachments: readonly Attachment[], overrides: Partial<Program> = {}): Program {
  const origin = node("node-1");
  const other = node("node-2");
  const pods = attachments.map((attachment) => ({
    ...attachment,
    origin: { kind: "Pod", namespace: attachment.namespace, name: attachment.name },
  }));
  const routes: Route[] = [
    {
      to: "10.244.2.0/24",
      action: "forward",
      link: "fl.vx",
      via: "10.244.2.0",
      onlink: true,
      metric: 100,
      origin: other,
    },
    {
      to: "fd00:10:244:2::/64",
      action: "forward",
      link: "fl.vx",
      via: "fd00:10:244:2::",
      onlink: true,
      metric: 100,
      origin: other,
    },
    { to: "10.244.1.0/24", action: "unreachable", metric: 4096, origin },
    ...pods.flatMap((pod) =>
      pod.addresses.map((address): Route => ({
        to: hostPrefix(address),
        action: "forward",
        link: "cbr0",
        metric: 100,
        origin: pod.origin,
      })),
    ),
  ];
  return {
    node: "node-1",
    sysctls: [
      { path: "net/ipv4/ip_forward", value: "1", origin },
      { path: "net/ipv6/conf/all/forwarding", value: "1", origin },
    ],
    links: [
      { kind: "bridge", name: "cbr0", mac: macOfName("node-1 cbr0"), mtu: 1430, origin },
      {
        kind: "vxlan",
        name: "fl.vx",
        mac: macOfName("node-1 fl.vx"),
        mtu: 1430,
        vni: 4096,
        port: 4789,
        local: "172.30.0.11",
        origin,
      },
      { kind: "uplink", name: "eth0", mtu: 1500, origin },
      ...pods.map((pod) => ({
        kind: "pod" as const,
        name: pod.link,
        mtu: 1430,
        bridge: "cbr0",
        isolated: true as const,
        origin: pod.origin,
      })),
    ],
    addresses: [
      { link: "cbr0", address: "10.244.1.1", bits: 32, origin },
      { link: "cbr0", address: "fd00:10:244:1::1", bits: 128, origin },
      { link: "fl.vx", address: "10.244.1.0", bits: 32, origin },
    ],
    routes,
    neighbours: [
      { link: "fl.vx", address: "10.244.2.0", mac: macOfName("node-2 fl.vx"), origin: other },
      { link: "fl.vx", address: "fd00:10:244:2::", mac: macOfName("node-2 fl.vx"), origin: other },
      ...pods.flatMap((pod) =>
        pod.addresses.map((address) => ({ link: "cbr0", address, mac: pod.mac, origin: pod.origin })),
      ),
    ],
    forwarding: [
      { link: "fl.vx", mac: macOfName("node-2 fl.vx"), remote: "172.30.0.12", origin: other },
      ...pods.map((pod) => ({ link: pod.link, mac: pod.mac, origin: pod.origin })),
    ],
    tables: [],
    ...overrides,
  };
}

/** A pod's place on the node, by its number. */
export function attachmentOf(number: number): Attachment {
  return {
    id: `sandbox-${number}`,
    namespace: "default",
    name: `pod-${number}`,
    uid: `uid-${number}`,
    link: `flp${number.toString(16).padStart(12, "0")}`,
    mac: `0a:58:0a:f4:01:${(number & 0xff).toString(16).padStart(2, "0")}`,
    addresses: [`10.244.1.${number}`, `fd00:10:244:1::${number.toString(16)}`],
    hostPorts: [],
  };
}
