// Who a pod is to policies: a number for its namespace, its labels and its named ports. Pods that no policy could tell apart share one, so
// that what is allowed is said once for all replicas of a Deployment. No label is left out: a selector may name any of them.
// Numbers do not depend on policies, so a new policy renumbers nobody.
//
// Not here: hostNetwork pods, which are their node to every policy, and pods whose address two pods claim: nobody knows who is meant.

import { familyOf, type Address, type Family } from "../ip/address.ts";
import type { Labels } from "../kube/object.ts";
import type { NetworkNamespace, NetworkPod, Protocol } from "../model/network.ts";
import { compareText, createGroups, createTable, difference, isSameValue } from "../model/table.ts";
import { createAssembler, type Assembly } from "./assemble.ts";
import type { NftElement } from "./nftables/ruleset.ts";
import { createNumbers, type Numbers } from "./policy-numbers.ts";

/** One identity. Another object when its number changes, or its namespace's labels. */
export interface Identity {
  readonly key: string;
  readonly number: number;
  /** That stands for all pods of its namespace. */
  readonly namespaceNumber: number;
  readonly namespace: string;
  readonly namespaceLabels: Labels;
  readonly labels: Labels;
  readonly ports: readonly NamedPort[];
}

export interface NamedPort {
  readonly name: string;
  readonly protocol: Protocol;
  readonly port: number;
}

/** All identities of a Network's pods, at one moment. */
export interface Identities {
  /** The pod's; undefined for hostNetwork pods and those the Network does not have. */
  of(pod: NetworkPod): Identity | undefined;
  all(): Iterable<Identity>;
  /** The identity of that key as it is now. */
  get(key: string): Identity | undefined;
  /** Grows with every change of identities. */
  readonly generation: number;
  /** Keys that may have changed since then; undefined where that is too long ago to tell. */
  changedSince(generation: number): ReadonlySet<string> | undefined;
  /** Address -> identity, per family. The same arrays until something changes. */
  readonly addresses: Readonly<Record<Family, readonly NftElement[]>>;
  /** Identity -> namespace. */
  readonly namespaces: readonly NftElement[];
  /** Namespaces that have pods. The same array until one of them changes. */
  readonly namespaceList: readonly { readonly name: string; readonly labels: Labels; readonly number: number }[];
  /** Stands for whoever counts the generations. */
  readonly source: object;
  /** Addresses that more than one pod says it has. The same set until it changes. */
  readonly contested: ReadonlySet<Address>;
  /** Namespaces' numbers by name, of namespaces that have pods. */
  namespaceNumber(name: string): number | undefined;
  pod(namespace: string, name: string): NetworkPod | undefined;
  readonly pods: readonly NetworkPod[];
}

/** As nft writes a priority: `1f:c0de`. */
export function classId(number: number): string {
  return `${(number >>> 16).toString(16)}:${(number & 0xffff).toString(16)}`;
}

/** As nft writes a mark. */
export function markOf(number: number): string {
  return `0x${number.toString(16)}`;
}

const generationsKept = 64;

/** A function that gives the identities of these pods. Pure in meaning; it remembers the last call, so a change costs what changed. */
export function createIdentities(
  numbers: Numbers = createNumbers(),
): (pods: readonly NetworkPod[], namespaces: readonly NetworkNamespace[]) => Identities {
  let before: { pods: readonly NetworkPod[]; namespaces: readonly NetworkNamespace[] } = { pods: [], namespaces: [] };
  let labelsOf = new Map<string, Labels>();
  const identities = new Map<string, Identity>();
  const members = new Map<string, number>();
  const inNamespace = new Map<string, Set<string>>();
  const byName = new Map<string, NetworkPod>();
  const log: { readonly generation: number; readonly keys: ReadonlySet<string> }[] = [];
  const owners = createGroups<NetworkPod>();
  const contested = new Set<Address>();
  const namespaceElements = createTable<NftElement>();
  const source = {};
  let namespaceList: Identities["namespaceList"] = [];
  let contestedNow: ReadonlySet<Address> = new Set();
  let generation = 0;
  let last: Identities | undefined;

  const of = (pod: NetworkPod): Identity | undefined =>
    pod.hostNetwork ? undefined : identities.get(identityKey(pod));
  const makeLists = (): Record<Family, ReturnType<typeof addressAssembler>> => ({
    4: addressAssembler(4, of, (address) => contested.has(address)),
    6: addressAssembler(6, of, (address) => contested.has(address)),
  });
  let lists = makeLists();
  /** Whoever else says it has one of these addresses has to be looked at again: true where there is somebody. */
  const claim = (pod: NetworkPod, change: "add" | "delete"): boolean => {
    let isContest = false;
    for (const address of pod.addresses) {
      owners[change](address, pod);
      const isShared = owners.get(address).size > 1;
      if (isShared === contested.has(address)) continue;
      isContest = true;
      if (isShared) contested.add(address);
      else contested.delete(address);
    }
    return isContest;
  };

  const join = (pod: NetworkPod, changed: Set<string>): boolean => {
    if (pod.hostNetwork) return false;
    const key = identityKey(pod);
    const count = members.get(key) ?? 0;
    members.set(key, count + 1);
    if (count > 0) return false;
    changed.add(key);
    let siblings = inNamespace.get(pod.namespace);
    let moved = false;
    if (siblings === undefined) {
      inNamespace.set(pod.namespace, (siblings = new Set()));
      moved = numbers.add(namespaceKey(pod.namespace));
    }
    siblings.add(key);
    return numbers.add(key) || moved;
  };
  const part = (pod: NetworkPod, changed: Set<string>): boolean => {
    if (byName.get(podKey(pod)) === pod) byName.delete(podKey(pod));
    if (pod.hostNetwork) return false;
    const key = identityKey(pod);
    const count = (members.get(key) ?? 1) - 1;
    if (count > 0) {
      members.set(key, count);
      return false;
    }
    members.delete(key);
    changed.add(key);
    const siblings = inNamespace.get(pod.namespace);
    siblings?.delete(key);
    let moved = numbers.remove(key);
    if (siblings?.size === 0) {
      inNamespace.delete(pod.namespace);
      moved = numbers.remove(namespaceKey(pod.namespace)) || moved;
    }
    return moved;
  };
  const settle = (key: string, example: NetworkPod | undefined): void => {
    const known = identities.get(key);
    const sample = example ?? known;
    const number = numbers.of(key);
    const namespaceNumber = sample && numbers.of(namespaceKey(sample.namespace));
    if (sample === undefined || number === undefined || namespaceNumber === undefined) {
      identities.delete(key);
      return;
    }
    const { namespace, labels } = sample;
    identities.set(key, {
      key,
      number,
      namespaceNumber,
      namespace,
      namespaceLabels: labelsOf.get(namespace) ?? impliedLabels(namespace),
      labels,
      ports: "ports" in sample ? sample.ports : namedPorts(sample),
    });
  };

  return (pods, namespaces) => {
    if (last !== undefined && before.pods === pods && before.namespaces === namespaces) return last;
    const changed = new Set<string>();
    const { removed, added } = difference(before.pods, pods);
    let renumbered = false;
    let isContest = false;
    for (const pod of removed) if (!pod.hostNetwork) isContest = claim(pod, "delete") || isContest;
    for (const pod of added) if (!pod.hostNetwork) isContest = claim(pod, "add") || isContest;
    // First in, then out: an identity that a pod leaves and another enters stays what it is.
    for (const pod of added) renumbered = join(pod, changed) || renumbered;
    for (const pod of removed) renumbered = part(pod, changed) || renumbered;
    for (const pod of added) byName.set(podKey(pod), pod);
    if (before.namespaces !== namespaces) {
      const next = new Map(namespaces.map(({ name, labels }) => [name, { ...impliedLabels(name), ...labels }]));
      const touched = difference(before.namespaces, namespaces);
      labelsOf = next;
      for (const { name } of [...touched.removed, ...touched.added])
        for (const key of inNamespace.get(name) ?? []) changed.add(key);
    }
    // Names that hash alike are one in millions: then everybody is looked at.
    if (renumbered) for (const key of members.keys()) changed.add(key);
    const examples = new Map(added.filter((pod) => !pod.hostNetwork).map((pod) => [identityKey(pod), pod]));
    for (const key of changed) settle(key, members.has(key) ? examples.get(key) : undefined);
    for (const key of changed) {
      if (!members.has(key)) identities.delete(key);
      const identity = identities.get(key);
      namespaceElements.set(key, identity && namespaceElement(identity));
    }
    // Then pods that are the same have other elements.
    if (renumbered || isContest) lists = makeLists();
    if (isContest) contestedNow = new Set(contested);
    if (
      renumbered ||
      before.namespaces !== namespaces ||
      inNamespace.size !== namespaceList.length ||
      changed.size > 0
    ) {
      const listed = [...inNamespace.keys()].sort(compareText).flatMap((name) => {
        const number = numbers.of(namespaceKey(name));
        return number === undefined ? [] : [{ name, labels: labelsOf.get(name) ?? impliedLabels(name), number }];
      });
      if (!isSameValue(listed, namespaceList)) namespaceList = listed;
    }
    before = { pods, namespaces };
    if (changed.size > 0) {
      generation++;
      log.push({ generation, keys: changed });
      if (log.length > generationsKept) log.shift();
    }
    const atGeneration = generation;
    last = {
      of,
      all: () => identities.values(),
      get: (key) => identities.get(key),
      generation: atGeneration,
      changedSince(since) {
        if (since === generation) return none;
        if (log[0] === undefined || log[0].generation > since + 1) return undefined;
        return new Set(log.filter((entry) => entry.generation > since).flatMap((entry) => [...entry.keys]));
      },
      addresses: { 4: lists[4](pods).elements.addresses, 6: lists[6](pods).elements.addresses },
      namespaces: namespaceElements.values(),
      namespaceList,
      source,
      contested: contestedNow,
      namespaceNumber: (name) => (inNamespace.has(name) ? numbers.of(namespaceKey(name)) : undefined),
      pod: (namespace, name) => byName.get(`${namespace}\0${name}`),
      pods,
    };
    return last;
  };
}

const none: ReadonlySet<string> = new Set();

function namespaceElement({ number, namespaceNumber, namespace }: Identity): NftElement {
  return {
    key: [classId(number)],
    data: [classId(namespaceNumber)],
    origin: { kind: "Namespace", name: namespace },
  };
}

// kube-apiserver sets this label on every namespace; manifests alone need not have it.
function impliedLabels(namespace: string): Labels {
  return { "kubernetes.io/metadata.name": namespace };
}

function podKey({ namespace, name }: NetworkPod): string {
  return `${namespace}\0${name}`;
}

function namespaceKey(namespace: string): string {
  return `namespace ${namespace}`;
}

const keys = new WeakMap<NetworkPod, string>();

function identityKey(pod: NetworkPod): string {
  let key = keys.get(pod);
  if (key === undefined) {
    const labels = Object.entries(pod.labels).sort(([a], [b]) => compareText(a, b));
    const ports = namedPorts(pod).map(({ name, protocol, port }) => `${name} ${protocol} ${port}`);
    key = `pods ${pod.namespace} ${JSON.stringify(labels)} ${JSON.stringify(ports.sort(compareText))}`;
    keys.set(pod, key);
  }
  return key;
}

function namedPorts({ containerPorts }: NetworkPod): readonly NamedPort[] {
  return containerPorts.flatMap(({ name, protocol, port }) => (name === undefined ? [] : [{ name, protocol, port }]));
}

/** Elements for the addresses of pods of one family, in the pods' order. `isContested`: more than one pod says it has that address. */
function addressAssembler(
  family: Family,
  of: (pod: NetworkPod) => Identity | undefined,
  isContested: (address: Address) => boolean,
): (pods: readonly NetworkPod[]) => Assembly<"addresses"> {
  return createAssembler(["addresses"], (pod: NetworkPod) => {
    const identity = of(pod);
    const own =
      identity === undefined
        ? []
        : pod.addresses.filter((address) => familyOf(address) === family && !isContested(address));
    const elements = own.map((address) => ({
      key: [address],
      data: [classId(identity?.number ?? 0)],
      origin: { ...pod.origin, field: "status.podIPs" },
    }));
    return { elements: { addresses: elements }, chains: [] };
  });
}
