// The kernel of one network namespace, as values and as changes: the only way the rest of the program touches it.
// Two implementations behind one interface and one conformance suite: netlink (linux.ts) and memory (fake.ts).
//
// Not here: which state is wanted (program/), and in which order to get there (apply/).

import type { Address, Family } from "../ip/address.ts";
import type { Mac } from "../ip/mac.ts";
import type { Prefix } from "../ip/prefix.ts";
import type { NftBatchItem, NftElementState, NftTableState } from "../wire/netlink/nftables.ts";

/** One network namespace's kernel state. All calls are synchronous: netlink answers in microseconds. */
export interface NetworkKernel {
  /** For messages: `node-1`. */
  readonly name: string;
  links(): readonly LinkState[];
  /** Of these links, asked in this order, those that carry no packets yet; a link that is gone is none. Asking hastens it: see carrier.ts. */
  idleLinks(names: readonly string[]): readonly string[];
  addresses(): readonly AddressState[];
  /** The main and local tables' unicast routes, of every protocol. */
  routes(): readonly RouteState[];
  neighbours(): readonly NeighbourState[];
  /** Forwarding database entries of bridges and VXLAN links. */
  forwarding(): readonly ForwardingState[];
  /** Sends the changes in order, one acknowledgement each. The first failure does not stop the rest; each result stands for one change. */
  change(changes: readonly Change[]): readonly ChangeResult[];
  /** A value below /proc/sys of this namespace, trimmed; undefined where the kernel has no such file. */
  readSysctl(path: string): string | undefined;
  /** Throws KernelError. */
  writeSysctl(path: string, value: string): void;
  /** What the kernel holds of one table; undefined where there is no such table. */
  nftTable(family: NftTableState["family"], name: string): NftTableState | undefined;
  /** The elements of some of its sets, with what they counted; sets that are not there are missing. */
  nftElements(
    family: NftTableState["family"],
    table: string,
    sets: readonly string[],
  ): ReadonlyMap<string, readonly NftElementState[]>;
  /** One atomic transaction. Throws KernelError with the index of the item that failed; nothing of it is then in force. */
  nftCommit(batch: readonly NftBatchItem[]): void;
  /** How many bytes of messages one transaction may have (the socket's send buffer allows it). */
  readonly nftBatchBytesMax: number;
  /** Deletes the connections that match; the number deleted. */
  flushConnections(match: ConnectionMatch): number;
  connections(): readonly ConnectionState[];
  /** Calls back (coalesced, asynchronously) whenever something other than our own change touched this namespace's network state. */
  monitor(changed: (what: MonitorEvent) => void): Closable;
  /** Calls back, asynchronously, when links may have changed, by whomever: for those who look at one link and no further, at a tenth of a monitor's price. */
  monitorLinks(changed: () => void): Closable;
  close(): void;
}

export interface Closable {
  close(): void;
}

export type MonitorEvent = {
  readonly kind: "link" | "address" | "route" | "neighbour" | "sysctl" | "nftables";
  readonly detail: string;
  /** Which link it is, or it is on, by its names before and after, and whether the link is new. Absent where nobody can say, and for tables and routes. */
  readonly link?: { readonly names: readonly string[]; readonly isNew: boolean };
};

export interface LinkState {
  readonly index: number;
  readonly name: string;
  /** rtnetlink's IFLA_INFO_KIND: bridge, veth, vxlan …; `loopback` and `` where the kernel gives none. */
  readonly kind: string;
  readonly mac?: Mac;
  readonly mtu: number;
  readonly up: boolean;
  /** Carrier: the other end is up. */
  readonly running: boolean;
  readonly alias?: string;
  /** Index of the bridge it is a port of. */
  readonly master?: number;
  /** Index of the other end, in the namespace `linkNetnsId`. */
  readonly peer?: number;
  readonly linkNetnsId?: number;
  readonly bridgePort?: BridgePortSettings;
  readonly vxlan?: {
    readonly vni: number;
    readonly port: number;
    readonly local?: Address;
    readonly learning: boolean;
  };
}

export interface BridgePortSettings {
  readonly isolated: boolean;
  readonly hairpin: boolean;
  readonly learning: boolean;
  readonly unicastFlood: boolean;
  readonly multicastFlood: boolean;
  readonly broadcastFlood: boolean;
  readonly neighbourSuppression: boolean;
}

export interface AddressState {
  readonly link: string;
  readonly address: Address;
  readonly bits: number;
  /** `global`, `link`, `host`. */
  readonly scope: string;
  readonly tentative: boolean;
}

export interface RouteState {
  readonly table: number;
  readonly to: Prefix;
  readonly family: Family;
  readonly action: "forward" | "unreachable" | "blackhole" | "prohibit" | "local" | "broadcast" | "other";
  readonly link?: string;
  readonly via?: Address;
  readonly onlink: boolean;
  readonly source?: Address;
  readonly mtu?: number;
  readonly metric: number;
  /** RTPROT_*: who made it. */
  readonly protocol: number;
  readonly scope: number;
}

export interface NeighbourState {
  readonly link: string;
  readonly address: Address;
  readonly mac?: Mac;
  readonly permanent: boolean;
}

export interface ForwardingState {
  readonly link: string;
  readonly mac: Mac;
  readonly remote?: Address;
  /** NUD_PERMANENT or NUD_NOARP: not learned. */
  readonly static: boolean;
  /** The kernel's own entry for a link's own address. */
  readonly own: boolean;
}

export interface ConnectionState {
  readonly protocol: number;
  readonly source: Address;
  readonly destination: Address;
  readonly sourcePort?: number;
  readonly destinationPort?: number;
  readonly replySource: Address;
  readonly replyDestination: Address;
  readonly replySourcePort?: number;
  readonly replyDestinationPort?: number;
  readonly mark: number;
  readonly assured: boolean;
  readonly timeoutSeconds: number;
}

/** Which connections: every field that is given must be equal. */
export interface ConnectionMatch {
  readonly protocol: number;
  readonly destination?: Address;
  readonly destinationPort?: number;
  readonly replySource?: Address;
  readonly replySourcePort?: number;
}

/** One change by rtnetlink. `set` creates or replaces, `delete` of something missing succeeds. */
export type Change =
  | {
      readonly kind: "create-bridge";
      readonly name: string;
      readonly mac: Mac;
      readonly mtu: number;
      readonly alias?: string;
    }
  | {
      readonly kind: "create-vxlan";
      readonly name: string;
      readonly mac: Mac;
      readonly mtu: number;
      readonly vni: number;
      readonly port: number;
      readonly local: Address;
      readonly alias?: string;
    }
  /** A veth pair; `peer.namespaceFd` puts the other end into that namespace at once. */
  | {
      readonly kind: "create-veth";
      readonly name: string;
      readonly mac?: Mac;
      readonly mtu: number;
      readonly alias?: string;
      readonly peer: { readonly name: string; readonly mac?: Mac; readonly namespaceFd?: number };
    }
  /** A link with a hardware address of its own on another one's wire; `namespaceFd` puts it into that namespace at once, `lower` stays. Of those of one wire, all that are in mode bridge reach each other. */
  | {
      readonly kind: "create-macvlan";
      readonly name: string;
      readonly mac: Mac;
      readonly mtu: number;
      readonly lower: string;
      readonly namespaceFd?: number;
    }
  | {
      readonly kind: "set-link";
      readonly name: string;
      readonly up?: boolean;
      readonly mtu?: number;
      readonly mac?: Mac;
      readonly master?: string | null;
      readonly alias?: string;
      readonly rename?: string;
      readonly namespaceFd?: number;
      readonly addressGeneration?: "none" | "eui64";
      /** For `delete-link-group`. */
      readonly group?: number;
      /** Of a macvlan link; `private` ones reach none of their wire, and none reaches them. */
      readonly macvlanMode?: "bridge" | "private";
      /** No carrier, whatever the wire says. */
      readonly protoDown?: boolean;
    }
  | { readonly kind: "set-bridge-port"; readonly name: string; readonly settings: Partial<BridgePortSettings> }
  | { readonly kind: "delete-link"; readonly name: string }
  /** All links of a group at once: the kernel waits about 20 ms for every deletion, of one link or of many. */
  | { readonly kind: "delete-link-group"; readonly group: number }
  | {
      readonly kind: "set-address";
      readonly link: string;
      readonly address: Address;
      readonly bits: number;
      readonly scope?: "global" | "link" | "host";
    }
  | { readonly kind: "delete-address"; readonly link: string; readonly address: Address; readonly bits: number }
  | {
      readonly kind: "set-route";
      readonly to: Prefix;
      readonly action: "forward" | "unreachable";
      readonly link?: string;
      readonly via?: Address;
      readonly onlink?: boolean;
      readonly source?: Address;
      readonly mtu?: number;
      readonly metric: number;
      readonly protocol: number;
      readonly scope?: "link" | "global";
    }
  | { readonly kind: "delete-route"; readonly to: Prefix; readonly metric: number; readonly protocol: number }
  | { readonly kind: "set-neighbour"; readonly link: string; readonly address: Address; readonly mac: Mac }
  | { readonly kind: "delete-neighbour"; readonly link: string; readonly address: Address }
  | { readonly kind: "set-forwarding"; readonly link: string; readonly mac: Mac; readonly remote?: Address }
  | { readonly kind: "delete-forwarding"; readonly link: string; readonly mac: Mac; readonly remote?: Address };

export type ChangeResult = { readonly ok: true } | { readonly ok: false; readonly error: KernelError };

/** For changes of which none may fail: throws the first refusal. All are sent, as by `change`. */
export function mustChange(kernel: Pick<NetworkKernel, "change">, changes: readonly Change[]): void {
  for (const result of kernel.change(changes)) if (!result.ok) throw result.error;
}

/** What the kernel answered to something we asked of it. The message ends with the likely cure where we know one. */
export class KernelError extends Error {
  override readonly name = "KernelError";
  /** errno's name: `EEXIST`. */
  readonly code: string;
  /** The kernel's own words (netlink extended acknowledgement), where it gave some. */
  readonly kernelText: string | undefined;
  /** Index of the failing item of a batch. */
  readonly index: number | undefined;

  constructor(message: string, options: { code: string; kernelText?: string; index?: number; cause?: unknown }) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = options.code;
    this.kernelText = options.kernelText;
    this.index = options.index;
  }
}
