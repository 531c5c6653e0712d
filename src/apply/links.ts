// Links of a Program: bridge and VXLAN are made here, the host's end of a pod's veth pair is made with its sandbox (agent/pod-network.ts)
// and only configured here, uplinks are never touched.

import type { BridgePortSettings, Change, LinkState } from "../kernel/kernel.ts";
import { names, type Link, type PodLink, type VxlanLink } from "../program/program.ts";
import type { EntryKind } from "./entries.ts";
import type { OwnLink } from "./kinds.ts";

/** The alias every link of ours carries, so that a restarted agent knows it (`ip -d link` shows it). */
export const linkAlias = "fairlead";

/** Links the kernel has that we made: by name and alias, as somebody else may use the name too. */
export function isOwnLink(state: LinkState): boolean {
  if (state.alias === undefined || !state.alias.startsWith(linkAlias)) return false;
  return ownLinkName(state.name);
}

/** The group links of ours enter to be deleted together. A new one each time: where a deletion fails, what is wanted again must not go with the next. */
let deletionGroup = 0xf1000000 + (Date.now() & 0xffffff);

/** The way to delete links: many at the price of one. */
export function deleteLinks(linkNames: readonly string[]): readonly Change[] {
  if (linkNames.length < 2) return linkNames.map((name) => ({ kind: "delete-link", name }));
  const group = deletionGroup++;
  return [
    ...linkNames.map((name): Change => ({ kind: "set-link", name, group })),
    { kind: "delete-link-group", group },
  ];
}

/** Names that only we give. What hangs on such a link (addresses, neighbours, forwarding entries) is ours. */
export const ownLinkName: OwnLink = (name) =>
  name === names.bridge || name === names.vxlan || name.startsWith(names.podLinkPrefix);

/** A port speaks only with its node: nothing is learned, flooded or passed to other ports. */
export const podPortSettings: BridgePortSettings = {
  isolated: true,
  hairpin: false,
  learning: false,
  unicastFlood: false,
  multicastFlood: false,
  broadcastFlood: false,
  neighbourSuppression: false,
};

/** A link we make or configure; uplinks are only read. */
export type OurLink = Exclude<Link, { kind: "uplink" }>;

/** What `wanted` has beside uplinks. */
export function ourLinks(wanted: readonly Link[]): readonly OurLink[] {
  return wanted.filter((link) => link.kind !== "uplink");
}

/** How links are compared and written. `states` is the whole dump, to find a port's bridge by its index; without it nothing can be compared. */
export function linkKind(states: readonly LinkState[]): EntryKind<OurLink, LinkState> {
  const nameOf = new Map(states.map((state) => [state.index, state.name]));
  const master = (state: LinkState): string | undefined =>
    state.master === undefined ? undefined : nameOf.get(state.master);
  return {
    part: "links",
    key: (link) => link.name,
    stateKey: (state) => state.name,
    same: sameLink,
    holds: (link, state) => !mustRecreate(link, state) && repairs(link, state, master(state)).length === 0,
    ours: isOwnLink,
    set: (link, state) => {
      if (state === undefined) return link.kind === "pod" ? configurePod(link) : createLink(link);
      if (!mustRecreate(link, state)) return repairs(link, state, master(state));
      // A link of another kind under our name: ours goes, somebody else's stays and the creation says EEXIST.
      return isOwnLink(state) ? [{ kind: "delete-link", name: link.name }, ...createLink(link)] : createLink(link);
    },
    remove: (link) => [{ kind: "delete-link", name: link.name }],
    removeState: (state) => [{ kind: "delete-link", name: state.name }],
    describe: (link) => `link ${link.name} type ${link.kind === "pod" ? "veth" : link.kind}`,
    describeState: (state) => `link ${state.name} type ${state.kind}`,
  };
}

function sameLink(a: OurLink, b: OurLink): boolean {
  if (a.mtu !== b.mtu) return false;
  switch (a.kind) {
    case "bridge":
      return b.kind === "bridge" && a.mac === b.mac;
    case "vxlan":
      return b.kind === "vxlan" && a.mac === b.mac && a.vni === b.vni && a.port === b.port && a.local === b.local;
    case "pod":
      return b.kind === "pod" && a.bridge === b.bridge;
  }
}

/** A new link with all it needs; a pod's link is never made here. */
function createLink(link: OurLink): readonly Change[] {
  // No link-local address: nobody speaks to it, and its duplicate detection and multicast reports are noise on every port.
  const up: Change = { kind: "set-link", name: link.name, addressGeneration: "none", up: true };
  switch (link.kind) {
    case "bridge":
      return [{ kind: "create-bridge", name: link.name, mac: link.mac, mtu: link.mtu, alias: linkAlias }, up];
    case "vxlan":
      return [createVxlan(link), up];
    case "pod":
      return configurePod(link);
  }
}

function createVxlan(link: VxlanLink): Change {
  const { name, mac, mtu, vni, port, local } = link;
  return { kind: "create-vxlan", name, mac, mtu, vni, port, local, alias: linkAlias };
}

/** Everything a pod's link needs, whatever it had: isolated before it is up. */
function configurePod(link: PodLink): readonly Change[] {
  return [
    { kind: "set-link", name: link.name, mtu: link.mtu, master: link.bridge, addressGeneration: "none" },
    { kind: "set-bridge-port", name: link.name, settings: podPortSettings },
    { kind: "set-link", name: link.name, up: true },
  ];
}

/** Is what is there something else altogether, or fixed for its life? */
function mustRecreate(link: OurLink, state: LinkState): boolean {
  switch (link.kind) {
    case "bridge":
      return state.kind !== "bridge" || !(isOwnLink(state) || state.mac === link.mac);
    case "vxlan":
      return (
        state.kind !== "vxlan" ||
        !(isOwnLink(state) || state.mac === link.mac) ||
        state.vxlan?.vni !== link.vni ||
        state.vxlan.port !== link.port ||
        state.vxlan.local !== link.local ||
        state.vxlan.learning
      );
    case "pod":
      return false;
  }
}

/** What turns the link that is there into the wanted one. */
function repairs(link: OurLink, state: LinkState, master: string | undefined): readonly Change[] {
  if (link.kind === "pod") return podHolds(link, state, master) ? [] : configurePod(link);
  const wrong = {
    ...(state.mac === link.mac ? {} : { mac: link.mac }),
    ...(state.mtu === link.mtu ? {} : { mtu: link.mtu }),
    ...(isOwnLink(state) ? {} : { alias: linkAlias }),
    ...(state.master === undefined ? {} : { master: null }),
    ...(state.up ? {} : { up: true }),
  };
  return Object.keys(wrong).length === 0 ? [] : [{ kind: "set-link", name: link.name, ...wrong }];
}

function podHolds(link: PodLink, state: LinkState, master: string | undefined): boolean {
  if (!state.up || state.mtu !== link.mtu || master !== link.bridge) return false;
  const port = state.bridgePort;
  return (
    port !== undefined &&
    (Object.keys(podPortSettings) as (keyof BridgePortSettings)[]).every((name) => port[name] === podPortSettings[name])
  );
}
