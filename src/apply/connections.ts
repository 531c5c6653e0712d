// Which tracked connections a change of Services leaves behind: UDP has no end of its own, so a client that keeps sending keeps its
// old endpoint, or its lack of one, for as long as it sends (SPEC-NOTES: flush on endpoint removal, Service deletion, 0 to n).
//
// TCP is left alone: an endpoint that goes closes its connections itself, and one that terminates slowly may finish them.
// Not here: a restart. Without a last Program nothing is known to have gone, and nothing is flushed.

import type { Address } from "../ip/address.ts";
import type { ConnectionMatch } from "../kernel/kernel.ts";
import { changeBetween, haveSameElements } from "../program/nftables/element-list.ts";
import type { NftSet, NftTable } from "../program/nftables/ruleset.ts";

/** Connections to forget after going from one Program's tables to the next's. */
export function staleConnections(previous: readonly NftTable[], next: readonly NftTable[]): readonly ConnectionMatch[] {
  const before = translationMaps(previous);
  const after = translationMaps(next);
  return [...new Set([...before.keys(), ...after.keys()])].flatMap((table) =>
    staleOfTable(before.get(table) ?? [], after.get(table) ?? []),
  );
}

// linux/in.h
const IPPROTO_UDP = 17;

/** By table, the maps that give an address and a port for a key with an address, a protocol and a port: the ones `dnat` reads. */
function translationMaps(tables: readonly NftTable[]): Map<string, readonly NftSet[]> {
  const isRead = (set: NftSet): boolean =>
    Array.isArray(set.data) &&
    set.data.length === 2 &&
    set.data[1] === "inet_service" &&
    set.key.includes("inet_proto") &&
    set.key.includes("inet_service") &&
    addressAt(set) >= 0;
  return new Map(tables.map((table) => [`${table.family} ${table.name}`, table.sets.filter(isRead)]));
}

/** A frontend's endpoints may be in several maps (session affinity, connections from inside): gone is what is in none of them any more. */
function staleOfTable(before: readonly NftSet[], after: readonly NftSet[]): ConnectionMatch[] {
  const touched = new Set<string>();
  for (const name of new Set([...before, ...after].map((set) => set.name))) {
    const old = before.find((set) => set.name === name);
    const now = after.find((set) => set.name === name);
    const shape = old ?? now;
    if (shape === undefined || (old !== undefined && now !== undefined && haveSameElements(old, now))) continue;
    const { gone, come } = changeBetween(old, now);
    for (const elements of [gone, come])
      for (const key of byFrontend([{ ...shapeOf(shape), elements }]).keys()) touched.add(key);
  }
  if (touched.size === 0) return [];
  // An element may only have moved to another index: look at all of a touched frontend's elements, but only at those.
  const had = byFrontend(before, touched);
  const has = byFrontend(after, touched);
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

interface Frontend {
  readonly address: Address;
  readonly port: number;
  /** `address port` of each. */
  readonly backends: Set<string>;
}

/** What is read of a set beside its elements. */
type Shape = Pick<NftSet, "key">;

function shapeOf({ key }: NftSet): Shape {
  return { key };
}

function byFrontend(
  sets: readonly (Shape & Pick<NftSet, "elements">)[],
  only?: ReadonlySet<string>,
): Map<string, Frontend> {
  const frontends = new Map<string, Frontend>();
  for (const set of sets) {
    const atAddress = addressAt(set);
    const atProtocol = set.key.indexOf("inet_proto");
    const atPort = set.key.indexOf("inet_service");
    for (const { key, data } of set.elements) {
      if (key[atProtocol] !== "udp" || !Array.isArray(data)) continue;
      const address = key[atAddress] ?? "";
      const port = Number(key[atPort]);
      const name = `${address} ${port}`;
      if (only !== undefined && !only.has(name)) continue;
      let frontend = frontends.get(name);
      if (frontend === undefined) frontends.set(name, (frontend = { address, port, backends: new Set() }));
      frontend.backends.add(`${data[0]} ${data[1]}`);
    }
  }
  return frontends;
}

function addressAt(set: Shape): number {
  return set.key.findIndex((type) => type === "ipv4_addr" || type === "ipv6_addr");
}
