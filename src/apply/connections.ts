// Which tracked connections a change of Services leaves behind: UDP has no end of its own, so a client that keeps sending keeps its
// old endpoint, or its lack of one, for as long as it sends (SPEC-NOTES: flush on endpoint removal, Service deletion, 0 to n).
//
// TCP is left alone: an endpoint that goes closes its connections itself, and one that terminates slowly may finish them.
// Not here: a restart. Without a last Program nothing is known to have gone, and nothing is flushed.

import type { Address } from "../ip/address.ts";
import type { ConnectionMatch } from "../kernel/kernel.ts";
import type { NftElement, NftSet, NftTable } from "../program/nftables/ruleset.ts";

/** Connections to forget after going from one Program's tables to the next's. */
export function staleConnections(previous: readonly NftTable[], next: readonly NftTable[]): readonly ConnectionMatch[] {
  const before = translationMaps(previous);
  const after = translationMaps(next);
  const matches: ConnectionMatch[] = [];
  for (const name of new Set([...before.keys(), ...after.keys()])) {
    const old = before.get(name);
    const now = after.get(name);
    if (old?.elements !== now?.elements) matches.push(...staleOfMap(old, now));
  }
  return matches;
}

// linux/in.h
const IPPROTO_UDP = 17;

/** Maps that give an address and a port for a key with an address, a protocol and a port: the ones `dnat` reads. */
function translationMaps(tables: readonly NftTable[]): Map<string, NftSet> {
  const maps = new Map<string, NftSet>();
  for (const table of tables) {
    for (const set of table.sets) {
      if (!Array.isArray(set.data) || set.data.length !== 2 || set.data[1] !== "inet_service") continue;
      if (set.key.includes("inet_proto") && set.key.includes("inet_service") && addressAt(set) >= 0)
        maps.set(`${table.family} ${table.name} ${set.name}`, set);
    }
  }
  return maps;
}

function staleOfMap(before: NftSet | undefined, after: NftSet | undefined): ConnectionMatch[] {
  const shape = before ?? after;
  if (shape === undefined) return [];
  const [gone, come] = changedElements(before?.elements ?? [], after?.elements ?? []);
  const old = byFrontend(shape, gone);
  const now = byFrontend(shape, come);
  if (old.size === 0 && now.size === 0) return [];
  // An element may only have moved to another index: look at all of a touched frontend's elements, but only at those.
  const touched = new Set([...old.keys(), ...now.keys()]);
  const had = byFrontend(shape, before?.elements ?? [], touched);
  const has = byFrontend(shape, after?.elements ?? [], touched);
  const matches: ConnectionMatch[] = [];
  for (const key of touched) {
    const frontend = (had.get(key) ?? has.get(key)) as Frontend;
    const kept = has.get(key)?.backends ?? new Set<string>();
    const { address, port } = frontend;
    const base = { protocol: IPPROTO_UDP, destination: address, destinationPort: port };
    for (const backend of had.get(key)?.backends ?? []) {
      if (kept.has(backend)) continue;
      const at = backend.lastIndexOf(" ");
      matches.push({ ...base, replySource: backend.slice(0, at), replySourcePort: Number(backend.slice(at + 1)) });
    }
    // From none to some: who sent to the address before is tracked as going to the address itself.
    if (!had.has(key)) matches.push({ ...base, replySource: address, replySourcePort: port });
  }
  return matches;
}

/** Elements only in the first and only in the second list, by identity: unchanged Services give the same elements, in the same order. */
export function changedElements(
  before: readonly NftElement[],
  after: readonly NftElement[],
): [readonly NftElement[], readonly NftElement[]] {
  let start = 0;
  while (start < before.length && start < after.length && before[start] === after[start]) start++;
  let end = 0;
  while (
    end < before.length - start &&
    end < after.length - start &&
    before[before.length - 1 - end] === after[after.length - 1 - end]
  )
    end++;
  const left = before.slice(start, before.length - end);
  const right = after.slice(start, after.length - end);
  const inLeft = new Set(left);
  const inRight = new Set(right);
  return [left.filter((one) => !inRight.has(one)), right.filter((one) => !inLeft.has(one))];
}

interface Frontend {
  readonly address: Address;
  readonly port: number;
  /** `address port` of each. */
  readonly backends: Set<string>;
}

function byFrontend(shape: NftSet, elements: readonly NftElement[], only?: ReadonlySet<string>): Map<string, Frontend> {
  const atAddress = addressAt(shape);
  const atProtocol = shape.key.indexOf("inet_proto");
  const atPort = shape.key.indexOf("inet_service");
  const frontends = new Map<string, Frontend>();
  for (const { key, data } of elements) {
    if (key[atProtocol] !== "udp" || !Array.isArray(data)) continue;
    const address = key[atAddress] ?? "";
    const port = Number(key[atPort]);
    const name = `${address} ${port}`;
    if (only !== undefined && !only.has(name)) continue;
    let frontend = frontends.get(name);
    if (frontend === undefined) frontends.set(name, (frontend = { address, port, backends: new Set() }));
    frontend.backends.add(`${data[0]} ${data[1]}`);
  }
  return frontends;
}

function addressAt(set: NftSet): number {
  return set.key.findIndex((type) => type === "ipv4_addr" || type === "ipv6_addr");
}
