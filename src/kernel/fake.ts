// A kernel in memory: NetworkKernel with the real one's rules and errors, so that everything above it runs without namespaces, as fast
// as memory and as faulty as a test wants. conformance.testing.ts runs the same suite against this and the real kernel.
//
// Not here: packets. Nothing is ever forwarded; trace/ executes Programs.

import { applyChange, createLinks, destroyLinks, linkStates, type FakeLinks } from "./fake-links.ts";
import { commitBatch, createTables, tableState } from "./fake-nftables.ts";
import {
  KernelError,
  type Change,
  type ChangeResult,
  type ConnectionMatch,
  type ConnectionState,
  type MonitorEvent,
  type NetworkKernel,
} from "./kernel.ts";
import type { NftBatchItem } from "../wire/netlink/nftables.ts";

/** The fake kernel, and what only tests do to it. */
export interface FakeKernel extends NetworkKernel {
  /** Stands for the namespace in `create-veth` and `set-link` of kernels of the same world. */
  readonly namespaceFd: number;
  /** Everything written through the NetworkKernel interface since the last `forgetWrites()`. */
  readonly writes: FakeWrites;
  forgetWrites(): void;
  /** What a person or another program does: the same rules, monitors are told, nothing is counted. */
  readonly byHand: {
    change(...changes: readonly Change[]): void;
    nft(...batch: readonly NftBatchItem[]): void;
    sysctl(path: string, value: string): void;
  };
  /** From now on one write in `n` fails with ENOMEM, chosen by the seed. 0: none. */
  failOneIn(n: number, seed?: number): void;
  /** Fails every write this names a code for. */
  failWhen(
    code:
      | ((change: Change | NftBatchItem | { readonly kind: "sysctl"; path: string }) => string | undefined)
      | undefined,
  ): void;
  setConnections(connections: readonly ConnectionState[]): void;
  /** The namespace ends: its links go with the other ends of their pairs. */
  destroy(): void;
}

export interface FakeWrites {
  readonly changes: readonly Change[];
  readonly batches: readonly (readonly NftBatchItem[])[];
  readonly sysctls: readonly string[];
  /** How many dumps were read: the fast path reads none. */
  readonly dumps: number;
}

/** Several namespaces of one machine: veth pairs may join them. */
export interface FakeWorld {
  kernel(name: string): FakeKernel;
  /** The kernel behind a `namespaceFd`. Throws KernelError EBADF. */
  open(namespaceFd: number): FakeKernel;
}

/** A machine in memory. */
export function createFakeWorld(): FakeWorld {
  const kernels = new Map<number, FakeKernel>();
  const states = new Map<number, FakeLinks>();
  const tellOthers = new Map<FakeLinks, () => void>();
  const world: FakeWorld = {
    kernel(name) {
      const namespaceFd = 1000 + kernels.size;
      const links = createLinks(
        name,
        (fd) => states.get(fd),
        (other) => tellOthers.get(other)?.(),
      );
      const { kernel, foreignChange } = makeKernel(name, namespaceFd, links);
      kernels.set(namespaceFd, kernel);
      states.set(namespaceFd, links);
      tellOthers.set(links, foreignChange);
      return kernel;
    },
    open(namespaceFd) {
      const kernel = kernels.get(namespaceFd);
      if (kernel === undefined) throw new KernelError(`open namespace fd ${namespaceFd}: EBADF`, { code: "EBADF" });
      return kernel;
    },
  };
  return world;
}

/** One namespace of its own machine. */
export function createFakeKernel(name: string): FakeKernel {
  return createFakeWorld().kernel(name);
}

/** What a fresh namespace of the lab's kernel answers for the values the Program sets. */
const defaultSysctls: ReadonlyMap<string, string> = new Map([
  ["net/ipv4/ip_forward", "0"],
  ["net/ipv4/conf/all/forwarding", "0"],
  ["net/ipv4/conf/all/send_redirects", "1"],
  ["net/ipv4/conf/default/send_redirects", "1"],
  ["net/ipv4/conf/all/rp_filter", "0"],
  ["net/ipv4/conf/all/route_localnet", "0"],
  ["net/ipv4/conf/default/rp_filter", "0"],
  ["net/ipv6/conf/all/forwarding", "0"],
  ["net/ipv6/conf/default/forwarding", "0"],
  ["net/bridge/bridge-nf-call-iptables", "1"],
  ["net/bridge/bridge-nf-call-ip6tables", "1"],
  ["net/bridge/bridge-nf-call-arptables", "1"],
  ["net/netfilter/nf_conntrack_tcp_be_liberal", "0"],
  ["net/netfilter/nf_conntrack_tcp_timeout_close_wait", "60"],
]);

function makeKernel(
  name: string,
  namespaceFd: number,
  links: FakeLinks,
): { kernel: FakeKernel; foreignChange: () => void } {
  const tables = createTables();
  const sysctls = new Map(defaultSysctls);
  const monitors = new Set<(what: MonitorEvent) => void>();
  const pending = new Map<string, MonitorEvent>();
  let connections: readonly ConnectionState[] = [];
  let changes: Change[] = [];
  let batches: (readonly NftBatchItem[])[] = [];
  let sysctlWrites: string[] = [];
  let dumps = 0;
  const faults = createFaults();

  const dump = <T>(value: T): T => {
    dumps++;
    return value;
  };
  const tell = (event: MonitorEvent): void => {
    if (monitors.size === 0) return;
    if (pending.size === 0) {
      setImmediate(() => {
        const events = [...pending.values()];
        pending.clear();
        for (const monitor of monitors) for (const one of events) monitor(one);
      });
    }
    pending.set(`${event.kind} ${event.link?.names.join(" ")}`, event);
  };
  const changeOne = (change: Change): ChangeResult => {
    try {
      faults.check(change);
      applyChange(links, change);
      return { ok: true };
    } catch (error) {
      if (error instanceof KernelError) return { ok: false, error };
      throw error;
    }
  };
  const sysctlOf = (path: string): string | undefined => sysctls.get(path) ?? perLinkSysctl(links, path);
  const putSysctl = (path: string, value: string): void => {
    if (sysctlOf(path) === undefined) throw new KernelError(`write sysctl ${path}: ENOENT`, { code: "ENOENT" });
    sysctls.set(path, value.trim());
  };

  const kernel: FakeKernel = {
    name,
    namespaceFd,
    nftBatchBytesMax: 4 << 20,
    links: () => dump(linkStates(links)),
    idleLinks: (names) =>
      linkStates(links)
        .filter((link) => names.includes(link.name) && !link.running)
        .map((link) => link.name),
    addresses: () => dump([...links.addresses]),
    routes: () => dump([...links.routes]),
    neighbours: () => dump([...links.neighbours]),
    forwarding: () => dump([...links.forwarding]),
    connections: () => connections,
    change(wanted) {
      changes.push(...wanted);
      return wanted.map(changeOne);
    },
    readSysctl: (path) => sysctlOf(path),
    writeSysctl(path, value) {
      sysctlWrites.push(path);
      faults.check({ kind: "sysctl", path });
      putSysctl(path, value);
    },
    nftTable: (family, table) => dump(tableState(tables, family, table)),
    nftElements(family, table, sets) {
      const elements = tableState(tables, family, table)?.elements ?? new Map<string, never>();
      return new Map(sets.flatMap((set) => (elements.has(set) ? [[set, elements.get(set) ?? []] as const] : [])));
    },
    nftCommit(batch) {
      batches.push(batch);
      for (const [index, item] of batch.entries()) faults.check(item, index);
      commitBatch(tables, batch);
    },
    flushConnections(match) {
      const kept = connections.filter((connection) => !matches(connection, match));
      const flushed = connections.length - kept.length;
      connections = kept;
      return flushed;
    },
    monitor(changed) {
      monitors.add(changed);
      return { close: () => void monitors.delete(changed) };
    },
    monitorLinks(changed) {
      const monitor = ({ kind }: MonitorEvent): void => void (kind === "link" && changed());
      monitors.add(monitor);
      return { close: () => void monitors.delete(monitor) };
    },
    close: () => monitors.clear(),
    get writes() {
      return { changes, batches, sysctls: sysctlWrites, dumps };
    },
    forgetWrites() {
      changes = [];
      batches = [];
      sysctlWrites = [];
      dumps = 0;
    },
    byHand: {
      change(...wanted) {
        for (const change of wanted) {
          applyChange(links, change);
          tell({ kind: monitorKind(change), detail: change.kind, ...linkOf(change) });
        }
      },
      nft(...batch) {
        commitBatch(tables, batch);
        tell({ kind: "nftables", detail: batch.map((item) => `${item.family} ${item.table}`).join(", ") });
      },
      sysctl: putSysctl,
    },
    failOneIn: (n, seed) => faults.oneIn(n, seed),
    failWhen: (code) => faults.when(code),
    setConnections: (wanted) => void (connections = wanted),
    destroy: () => destroyLinks(links),
  };
  return { kernel, foreignChange: () => tell({ kind: "link", detail: "changed from another namespace" }) };
}

/** `net/ipv4/conf/LINK/…` exists for every link, with the defaults of a fresh namespace. */
function perLinkSysctl(links: FakeLinks, path: string): string | undefined {
  const match = /^net\/ipv[46]\/conf\/([^/]+)\/[a-z_0-9]+$/.exec(path);
  const link = match?.[1];
  return links.links.some((one) => one.name === link) ? "0" : undefined;
}

type Fallible = Change | NftBatchItem | { readonly kind: "sysctl"; path: string };

function createFaults(): {
  check(write: Fallible, index?: number): void;
  oneIn(n: number, seed?: number): void;
  when(code: ((write: Fallible) => string | undefined) | undefined): void;
} {
  let n = 0;
  let state = 1;
  let codeFor: ((write: Fallible) => string | undefined) | undefined;
  // A linear congruential generator (Numerical Recipes' constants): all that is asked of it is to be repeatable.
  const next = (): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
  return {
    check(write, index) {
      const code = codeFor?.(write) ?? (n > 0 && next() < 1 / n ? "ENOMEM" : undefined);
      if (code === undefined) return;
      throw new KernelError(`${write.kind}: ${code}: injected fault`, index === undefined ? { code } : { code, index });
    },
    oneIn(one, seed = 1) {
      n = one;
      state = seed >>> 0;
    },
    when: (code) => void (codeFor = code),
  };
}

function monitorKind(change: Change): MonitorEvent["kind"] {
  switch (change.kind) {
    case "create-bridge":
    case "create-vxlan":
    case "create-veth":
    case "create-macvlan":
    case "set-link":
    case "set-bridge-port":
    case "delete-link":
    case "delete-link-group":
      return "link";
    case "set-address":
    case "delete-address":
      return "address";
    case "set-route":
    case "delete-route":
      return "route";
    case "set-neighbour":
    case "delete-neighbour":
    case "set-forwarding":
    case "delete-forwarding":
      return "neighbour";
  }
}

function linkOf(change: Change): Pick<MonitorEvent, "link"> {
  if ("name" in change) {
    const names = [change.name, ...(change.kind === "set-link" && change.rename !== undefined ? [change.rename] : [])];
    return { link: { names, isNew: change.kind.startsWith("create-") } };
  }
  return "link" in change && change.link !== undefined && monitorKind(change) !== "route"
    ? { link: { names: [change.link], isNew: false } }
    : {};
}

function matches(connection: ConnectionState, match: ConnectionMatch): boolean {
  return (
    connection.protocol === match.protocol &&
    (match.destination === undefined || connection.destination === match.destination) &&
    (match.destinationPort === undefined || connection.destinationPort === match.destinationPort) &&
    (match.replySource === undefined || connection.replySource === match.replySource) &&
    (match.replySourcePort === undefined || connection.replySourcePort === match.replySourcePort)
  );
}
