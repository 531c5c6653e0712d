// Whom a policy's peers mean today: selectors resolved to numbers. Rules that mean whole namespaces, or all pods, stay one number however
// many pods there are; only rules that look at pods' labels are spelled out by identity. Each peer remembers what it found and looks only
// at the identities that changed since.

import { matches, type Requirement } from "../kube/selector.ts";
import type { Policy, PolicyPeer } from "../model/network.ts";
import type { Identities, Identity } from "./policy-identities.ts";

/** Numbers that stand for nobody's identity: see policy-numbers.ts, reservedNumbers. */
export const peerNumbers = {
  anyPod: 1,
  anyone: 2,
  /** An address of the pods' that nobody is known to have. */
  unknownPod: 3,
} as const;

/** A peer of kind `pods` as numbers, or as identities where ports have names. The same value until one of them changes. */
export interface PeerNumbers {
  readonly numbers: readonly number[];
}
export interface PeerIdentities {
  readonly identities: readonly Identity[];
}

export type PodPeer = PolicyPeer & { readonly kind: "pods" };

/** The numbers of a peer: of identities, of namespaces, or that of all pods. */
export function peerNumbersOf(peer: PodPeer, policy: Pick<Policy, "namespace">, identities: Identities): PeerNumbers {
  if (peer.pods.length > 0) return identifiedNumbers(peerIdentities(peer, policy, identities));
  if (peer.namespaces === "own") {
    const own = identities.namespaceNumber(policy.namespace);
    return kept(peer, own === undefined ? [] : [own]);
  }
  return peer.namespaces.length === 0 ? anyPod : namespaceNumbers(peer, peer.namespaces, identities);
}

/** Every identity that a peer means. */
export function peerIdentities(
  peer: PodPeer,
  policy: Pick<Policy, "namespace">,
  identities: Identities,
): PeerIdentities {
  const { namespaces, pods } = peer;
  return followed(peer, identities, (identity) =>
    namespaces === "own"
      ? identity.namespace === policy.namespace && matches(pods, identity.labels)
      : matches(namespaces, identity.namespaceLabels) && matches(pods, identity.labels),
  );
}

/** Every identity that has a port of that name. `owner` keeps the memory: the port of the policy. */
export function identitiesWithPort(
  owner: { readonly protocol: string; readonly name: string },
  identities: Identities,
): PeerIdentities {
  return followed(owner, identities, ({ ports }) =>
    ports.some(({ name, protocol }) => name === owner.name && protocol === owner.protocol),
  );
}

const anyPod: PeerNumbers = { numbers: [peerNumbers.anyPod] };

interface Followed {
  readonly source: unknown;
  generation: number;
  readonly members: Map<string, Identity>;
  result: PeerIdentities;
}

const memory = new WeakMap<object, Followed>();

/** The identities that pass, in order of number, kept up to date by what changed. `owner` keeps the memory: it must always ask the same. */
export function followed(
  owner: object,
  identities: Identities,
  passes: (identity: Identity) => boolean,
): PeerIdentities {
  let entry = memory.get(owner);
  if (entry === undefined || entry.source !== identities.source) {
    entry = { source: identities.source, generation: -1, members: new Map(), result: { identities: [] } };
    memory.set(owner, entry);
  }
  if (entry.generation === identities.generation) return entry.result;
  const changed = entry.generation < 0 ? undefined : identities.changedSince(entry.generation);
  entry.generation = identities.generation;
  let isSame = true;
  const { members } = entry;
  const look = (key: string, identity: Identity | undefined): void => {
    const wanted = identity !== undefined && passes(identity) ? identity : undefined;
    if (members.get(key) === wanted) return;
    isSame = false;
    if (wanted === undefined) members.delete(key);
    else members.set(key, wanted);
  };
  if (changed === undefined) {
    for (const key of members.keys()) if (identities.get(key) === undefined) look(key, undefined);
    for (const identity of identities.all()) look(identity.key, identity);
  } else {
    for (const key of changed) look(key, identities.get(key));
  }
  if (!isSame) entry.result = { identities: [...members.values()].sort((a, b) => a.number - b.number) };
  return entry.result;
}

const lastNumbers = new WeakMap<object, PeerNumbers>();

/** The same value as last time where the numbers are the same. */
function kept(owner: object, numbers: readonly number[]): PeerNumbers {
  const known = lastNumbers.get(owner);
  if (known?.numbers.length === numbers.length && numbers.every((number, index) => number === known.numbers[index]))
    return known;
  const result = { numbers };
  lastNumbers.set(owner, result);
  return result;
}

const identified = new WeakMap<PeerIdentities, PeerNumbers>();

function identifiedNumbers(found: PeerIdentities): PeerNumbers {
  let result = identified.get(found);
  if (result === undefined) identified.set(found, (result = { numbers: found.identities.map(({ number }) => number) }));
  return result;
}

const selectedFrom = new WeakMap<
  object,
  { readonly from: Identities["namespaceList"]; readonly result: PeerNumbers }
>();

function namespaceNumbers(
  peer: PodPeer,
  requirements: readonly Requirement[],
  { namespaceList }: Identities,
): PeerNumbers {
  const known = selectedFrom.get(peer);
  if (known?.from === namespaceList) return known.result;
  const numbers = namespaceList.filter(({ labels }) => matches(requirements, labels)).map(({ number }) => number);
  const result = kept(
    peer,
    numbers.sort((a, b) => a - b),
  );
  selectedFrom.set(peer, { from: namespaceList, result });
  return result;
}
