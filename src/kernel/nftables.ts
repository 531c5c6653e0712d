// nf_tables of one network namespace: atomic transactions, and dumps of whole tables.
//
// Not here: what a table should hold (program/nftables), in which order to get there (program/nftables/diff.ts), bytes (wire/netlink).

import { flag, type NetlinkMessage } from "../wire/netlink/message.ts";
import { encodeBatch, type EncodedBatch } from "../wire/netlink/nftables-batch.ts";
import { TableDump, decodeGeneration, dumpRequests } from "../wire/netlink/nftables-dump.ts";
import type { NftBatchItem, NftElementState, NftKernelFamily, NftTableState } from "../wire/netlink/nftables.ts";
import { KernelError } from "./kernel.ts";
import type { NetworkNamespace } from "./namespaces.ts";
import { failureError, openNetlinkSocket, protocol, type NetlinkSocket } from "./netlink-socket.ts";

/** An open socket to the nf_tables of a namespace. */
export interface NftablesSocket {
  /** One atomic transaction: all of it or nothing. Throws KernelError with the index of the item that failed. */
  commit(batch: readonly NftBatchItem[]): void;
  /** What the kernel holds of one table, as of one moment; undefined where there is no such table. Throws KernelError. */
  table(family: NftKernelFamily, name: string): NftTableState | undefined;
  /** The elements of some of its sets; sets that are not there are missing. Throws KernelError. */
  elements(
    family: NftKernelFamily,
    name: string,
    sets: readonly string[],
  ): ReadonlyMap<string, readonly NftElementState[]>;
  /** Bytes of messages one transaction may have: splitPlan's bound. */
  readonly batchBytesMax: number;
  close(): void;
}

/** Opens a socket that stays in the namespace. Throws KernelError. */
export function createNftablesSocket(namespace: NetworkNamespace): NftablesSocket {
  // The wish is for 32 MiB; without CAP_NET_ADMIN in the first user namespace the kernel grants net.core.wmem_max.
  const socket = openNetlinkSocket(namespace, protocol.netfilter, { sendBufferBytes: 32 * 1024 * 1024 });
  return {
    commit: (batch) => commit(socket, namespace, batch),
    table: (family, name) => dumpTable(socket, namespace, family, name),
    elements: (family, name, sets) => dumpSets(socket, namespace, { family, name, sets }),
    // The kernel also refuses what it cannot get as one piece of memory; frame and rounding are left room.
    batchBytesMax: Math.min(socket.sendBytesMax, 16 * 1024 * 1024) - 4096,
    close: () => socket.close(),
  };
}

function commit(socket: NetlinkSocket, namespace: NetworkNamespace, batch: readonly NftBatchItem[]): void {
  if (batch.length === 0) return;
  const encoded = encodeBatch(batch);
  const last = encoded.requests.length - 2;
  // One acknowledgement, of the last message before the end: errors are reported for each message anyway.
  const requests = encoded.requests.map((request, i) =>
    i === last ? { ...request, flags: request.flags | flag.ack } : request,
  );
  const doing = `nftables transaction of ${batch.length} items in ${namespace.id}`;
  const answer = socket.transaction(requests, doing);
  const failed = answer.failures
    .keys()
    .toArray()
    .sort((a, b) => a - b)[0];
  if (failed !== undefined) {
    const failure = answer.failures.get(failed)!;
    throw itemError(encoded, batch, failed, (what, index) => failureError(what, failure, cureOf(failure.code), index));
  }
  if (answer.acknowledged.has(last)) return;
  throw new KernelError(
    `${doing}: no acknowledgement came${answer.overrun ? " (the receive buffer ran over)" : ""}; whether it is in force is unknown: read the table again`,
    { code: answer.overrun ? "ENOBUFS" : "EPROTO" },
  );
}

function itemError(
  encoded: EncodedBatch,
  batch: readonly NftBatchItem[],
  request: number,
  make: (doing: string, index: number | undefined) => KernelError,
): KernelError {
  const index = encoded.items[request];
  const item = index === undefined ? undefined : batch[index];
  return item === undefined
    ? make(`nftables transaction of ${batch.length} items`, undefined)
    : make(`nftables transaction, item ${index} of ${batch.length}, ${itemText(item)}`, index);
}

/** What an item does, for messages: `add 12 elements to set inet fairlead services4`. */
function itemText(item: NftBatchItem): string {
  const table = `${item.family} ${item.table}`;
  switch (item.kind) {
    case "add-table":
      return `add table ${table}`;
    case "delete-table":
      return `delete table ${table}`;
    case "flush-table":
      return `flush table ${table}`;
    case "add-chain":
      return `add chain ${table} ${item.chain.name}`;
    case "delete-chain":
      return `delete chain ${table} ${item.chain}`;
    case "flush-chain":
      return `flush chain ${table} ${item.chain}`;
    case "add-rule":
      return `add a rule to chain ${table} ${item.chain}`;
    case "delete-rule":
      return `delete rule ${item.handle} of chain ${table} ${item.chain}`;
    case "add-set":
      return `add set ${table} ${item.set.name}`;
    case "delete-set":
      return `delete set ${table} ${item.set}`;
    case "add-elements":
      return `add ${item.elements.length} elements to set ${table} ${item.set}`;
    case "delete-elements":
      return `delete ${item.elements.length} elements of set ${table} ${item.set}`;
  }
}

function cureOf(code: string): string | undefined {
  const cures: Readonly<Record<string, string>> = {
    EBUSY: "something still uses it",
    EEXIST: "another program may have changed the table: read it again and repeat",
    ENOENT: "another program may have changed the table: read it again and repeat",
    EPERM: "needs CAP_NET_ADMIN in the user namespace that owns the network namespace",
    EOPNOTSUPP: "the kernel lacks this part of nf_tables; see docs/requirements.md",
    ENFILE: "the set is full",
    EMLINK: "jumps are nested too deeply",
    ELOOP: "chains go in a circle",
  };
  return cures[code];
}

const dumpAttemptsMax = 20;

function dumpTable(
  socket: NetlinkSocket,
  namespace: NetworkNamespace,
  family: NftKernelFamily,
  name: string,
): NftTableState | undefined {
  const doing = `read nftables table ${family} ${name} in ${namespace.id}`;
  for (let attempt = 1; attempt <= dumpAttemptsMax; attempt++) {
    const before = generation(socket, doing);
    const state = dumpOnce(socket, family, name, doing);
    if (state !== "changed" && generation(socket, doing) === before) return state;
  }
  throw new KernelError(`${doing}: EINTR: it changed during each of ${dumpAttemptsMax} dumps; try again later`, {
    code: "EINTR",
  });
}

function dumpOnce(
  socket: NetlinkSocket,
  family: NftKernelFamily,
  name: string,
  doing: string,
): NftTableState | "changed" | undefined {
  try {
    socket.request(dumpRequests.table(family, name), doing);
  } catch (error) {
    if (error instanceof KernelError && error.code === "ENOENT") return undefined;
    throw error;
  }
  const dump = new TableDump(family, name);
  for (const message of socket.dump(dumpRequests.chains(family), doing)) dump.chain(message.body);
  const sets: string[] = [];
  for (const message of socket.dump(dumpRequests.sets(family, name), doing)) {
    const set = dump.set(message.body);
    if (set !== undefined) sets.push(set);
  }
  for (const message of socket.dump(dumpRequests.rules(family, name), doing)) dump.rule(message.body);
  for (const set of sets) {
    const elements = elementsOf(socket, family, name, set, doing);
    if (elements === undefined) return "changed";
    for (const message of elements) dump.elements(message.body);
  }
  return dump.finish();
}

/** Without the generation's check: what is asked for counts while it is read anyway. */
function dumpSets(
  socket: NetlinkSocket,
  namespace: NetworkNamespace,
  { family, name, sets }: { readonly family: NftKernelFamily; readonly name: string; readonly sets: readonly string[] },
): ReadonlyMap<string, readonly NftElementState[]> {
  const doing = `read sets of nftables table ${family} ${name} in ${namespace.id}`;
  const dump = new TableDump(family, name);
  const there = new Set<string>();
  let messages: readonly NetlinkMessage[];
  try {
    messages = socket.dump(dumpRequests.sets(family, name), doing);
  } catch (error) {
    if (error instanceof KernelError && error.code === "ENOENT") return new Map();
    throw error;
  }
  for (const message of messages) {
    const set = dump.set(message.body);
    if (set !== undefined && sets.includes(set)) there.add(set);
  }
  for (const set of there) {
    const elements = elementsOf(socket, family, name, set, doing);
    if (elements === undefined) there.delete(set);
    for (const message of elements ?? []) dump.elements(message.body);
  }
  const state = dump.finish();
  return new Map([...there].map((set) => [set, state.elements.get(set) ?? []]));
}

/** Undefined where the set went away meanwhile. */
function elementsOf(
  socket: NetlinkSocket,
  family: NftKernelFamily,
  name: string,
  set: string,
  doing: string,
): readonly NetlinkMessage[] | undefined {
  try {
    return socket.dump(dumpRequests.elements(family, name, set), doing);
  } catch (error) {
    if (error instanceof KernelError && error.code === "ENOENT") return undefined;
    throw error;
  }
}

function generation(socket: NetlinkSocket, doing: string): number {
  const [message] = socket.request(dumpRequests.generation(), doing);
  if (message === undefined)
    throw new KernelError(`${doing}: EPROTO: the kernel gave no generation`, { code: "EPROTO" });
  return decodeGeneration(message.body);
}
