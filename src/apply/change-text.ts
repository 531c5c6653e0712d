// Changes in the words of iproute2, which people read: `route replace 10.244.2.0/24 dev fl.vx via 10.244.2.0 metric 100`.
// Text for reports only: nothing executes it.

import type { Change } from "../kernel/kernel.ts";

/** One change as the arguments that `ip` or `bridge` would take. */
export function describeChange(change: Change): string {
  switch (change.kind) {
    case "create-bridge":
      return `link add ${change.name} type bridge address ${change.mac} mtu ${change.mtu}`;
    case "create-vxlan":
      return `link add ${change.name} type vxlan id ${change.vni} dstport ${change.port} local ${change.local} mtu ${change.mtu}`;
    case "create-veth":
      return `link add ${change.name} type veth peer ${change.peer.name} mtu ${change.mtu}`;
    case "create-macvlan":
      return `link add ${change.name} link ${change.lower} type macvlan mode bridge address ${change.mac} mtu ${change.mtu}`;
    case "set-link":
      return `link set ${change.name}${linkSettings(change)}`;
    case "set-bridge-port":
      return `link set ${change.name} type bridge_slave ${portSettings(change.settings)}`;
    case "delete-link":
      return `link del ${change.name}`;
    case "delete-link-group":
      return `link del group ${change.group}`;
    case "set-address":
      return `addr replace ${change.address}/${change.bits} dev ${change.link}`;
    case "delete-address":
      return `addr del ${change.address}/${change.bits} dev ${change.link}`;
    case "set-route":
      return `route replace ${describeRoute(change)}`;
    case "delete-route":
      return `route del ${change.to} metric ${change.metric}`;
    case "set-neighbour":
      return `neigh replace ${change.address} lladdr ${change.mac} dev ${change.link} nud permanent`;
    case "delete-neighbour":
      return `neigh del ${change.address} dev ${change.link}`;
    case "set-forwarding":
      return `fdb replace ${change.mac} dev ${change.link}${suffix("dst", change.remote)} static`;
    case "delete-forwarding":
      return `fdb del ${change.mac} dev ${change.link}${suffix("dst", change.remote)}`;
  }
}

/** A route's own words, without the verb. */
export function describeRoute(route: {
  readonly to: string;
  readonly action: string;
  readonly link?: string;
  readonly via?: string;
  readonly source?: string;
  readonly mtu?: number;
  readonly metric: number;
}): string {
  const type = route.action === "forward" ? "" : `${route.action} `;
  const way = `${suffix("via", route.via)}${suffix("dev", route.link)}${suffix("src", route.source)}${suffix("mtu", route.mtu)}`;
  return `${type}${route.to}${way} metric ${route.metric}`;
}

function linkSettings(change: Extract<Change, { kind: "set-link" }>): string {
  const master = change.master === null ? " nomaster" : suffix("master", change.master);
  const state = change.up === undefined ? "" : change.up ? " up" : " down";
  return `${suffix("name", change.rename)}${suffix("address", change.mac)}${suffix("mtu", change.mtu)}${master}${suffix("alias", change.alias)}${suffix("addrgenmode", change.addressGeneration)}${suffix("netns", change.namespaceFd)}${suffix("group", change.group)}${state}`;
}

const portWords = {
  isolated: "isolated",
  hairpin: "hairpin",
  learning: "learning",
  unicastFlood: "flood",
  multicastFlood: "mcast_flood",
  broadcastFlood: "bcast_flood",
  neighbourSuppression: "neigh_suppress",
} as const;

function portSettings(settings: Extract<Change, { kind: "set-bridge-port" }>["settings"]): string {
  return Object.entries(portWords)
    .filter(([field]) => settings[field as keyof typeof portWords] !== undefined)
    .map(([field, word]) => `${word} ${settings[field as keyof typeof portWords] === true ? "on" : "off"}`)
    .join(" ");
}

function suffix(word: string, value: string | number | undefined): string {
  return value === undefined ? "" : ` ${word} ${value}`;
}
