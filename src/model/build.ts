// Objects -> Network. In meaning a pure function of the objects; in practice it keeps what it made of each object last time,
// so that a change costs what changed: one EndpointSlice rebuilds one NetworkService, and everything else stays the same value (===).
//
// Not here: what an object means (node.ts, pod.ts, service.ts), and what is odd about it (problems.ts).

import type { Address } from "../ip/address.ts";
import type { EndpointSlice, Namespace, NetworkPolicy, Node, Pod, Service } from "../kube/kinds.ts";
import type { ClusterNetworkPolicy } from "../kube/policy-kinds.ts";
import type { KubeObject, Labels } from "../kube/object.ts";
import { selectsMap } from "../kube/selector.ts";
import type { BlockList } from "./blocks.ts";
import { serviceClaims, withoutContestedRanges, withoutOthersClaims } from "./claims.ts";
import { clusterPolicy, clusterPolicyProblems } from "./cluster-policy.ts";
import type {
  ClusterConfig,
  ClusterPolicy,
  Network,
  NetworkNamespace,
  NetworkNode,
  NetworkPod,
  NetworkService,
  Policy,
  Problem,
} from "./network.ts";
import { networkNamespace, networkNode } from "./node.ts";
import { containerPorts, isCompleted, networkPod } from "./pod.ts";
import { networkPolicy } from "./policy.ts";
import { nodeProblems, podProblems, policyProblems, serviceProblems } from "./problems.ts";
import { networkService, serviceNameLabel } from "./service.ts";
import { networkOf, servicesOf } from "./services-list.ts";
import { compareText, createGroups, createTable, difference, isSameValue, type Table } from "./table.ts";

/** All objects that matter to the network, in any order. Objects are immutable: a changed object is another object. */
export interface ClusterObjects {
  readonly nodes: readonly Node[];
  readonly namespaces: readonly Namespace[];
  readonly pods: readonly Pod[];
  readonly services: readonly Service[];
  readonly endpointSlices: readonly EndpointSlice[];
  readonly networkPolicies: readonly NetworkPolicy[];
  readonly clusterNetworkPolicies: readonly ClusterNetworkPolicy[];
}

/**
 * What became of Services and EndpointSlices since the last call, by somebody who knows: then the lists of `objects` are not looked at, from
 * the first call with changes on. A list of ten thousands is made anew for every change else, only to be compared with the one before.
 */
export interface ObjectChanges {
  readonly services: Difference<Service>;
  readonly endpointSlices: Difference<EndpointSlice>;
}

/** The Network of these objects. */
export function buildNetwork(cluster: ClusterConfig, objects: ClusterObjects): Network {
  return createNetworkBuilder(cluster)(objects);
}

/**
 * A function that gives the Network of the objects it is called with: the same as `buildNetwork`, but pieces whose objects have not
 * changed since the last call keep their identity, and so does the whole Network where nothing that matters has changed.
 */
export function createNetworkBuilder(
  cluster: ClusterConfig,
): (objects: ClusterObjects, changes?: ObjectChanges) => Network {
  const nodes = createNodes(cluster);
  const namespaces = createTable<NetworkNamespace>();
  const pods = createPods(cluster);
  const services = createServices(cluster, pods.selectedBy);
  const policies = createTable<Policy>();
  const policyObjections = createTable<readonly Problem[]>();
  const clusterPolicies = createTable<ClusterPolicy>();
  const clusterPolicyObjections = createTable<readonly Problem[]>();
  const isEnforced = cluster.policy !== "off";
  let before: ClusterObjects = none;
  let network: Network | undefined;

  return (objects, changes) => {
    const changedNodes = nodes.update(difference(before.nodes, objects.nodes));
    replace(difference(before.namespaces, objects.namespaces), namespaces, networkNamespace);
    const changedPolicies = difference(before.networkPolicies, objects.networkPolicies);
    if (isEnforced) replace(changedPolicies, policies, networkPolicy);
    replace(changedPolicies, policyObjections, (policy) => policyProblems(policy, cluster));
    const changedClusterPolicies = difference(before.clusterNetworkPolicies, objects.clusterNetworkPolicies);
    if (isEnforced) replace(changedClusterPolicies, clusterPolicies, clusterPolicy);
    replace(changedClusterPolicies, clusterPolicyObjections, (policy) => clusterPolicyProblems(policy, cluster));
    const changedPods = pods.update(difference(before.pods, objects.pods), nodes.addressesOf, changedNodes);
    services.update(
      changes?.services ?? difference(before.services, objects.services),
      changes?.endpointSlices ?? difference(before.endpointSlices, objects.endpointSlices),
      changedPods,
    );
    // Of what came as changes there is no list, and the next call has changes too.
    before = changes === undefined ? objects : { ...others(objects), services: [], endpointSlices: [] };
    const list = services.list();
    const parts = {
      cluster,
      nodes: nodes.values(),
      pods: pods.values(),
      namespaces: namespaces.values(),
      policies: policies.values(),
      clusterPolicies: clusterPolicies.values(),
    };
    const problems = [
      ...nodes.problems(),
      ...policyObjections.values().flat(),
      ...clusterPolicyObjections.values().flat(),
      ...pods.problems(),
      ...services.problems(),
    ].sort(compareProblems);
    const isSame =
      network !== undefined &&
      network.nodes === parts.nodes &&
      network.pods === parts.pods &&
      servicesOf(network) === list &&
      network.namespaces === parts.namespaces &&
      network.policies === parts.policies &&
      network.clusterPolicies === parts.clusterPolicies &&
      isSameValue(network.problems, problems);
    if (network === undefined || !isSame) network = networkOf({ ...parts, problems }, list);
    return network;
  };
}

/** Field by field: the other two may be lists that are made when they are asked for. */
function others(objects: ClusterObjects): Omit<ClusterObjects, "services" | "endpointSlices"> {
  const { nodes, namespaces, pods, networkPolicies, clusterNetworkPolicies } = objects;
  return { nodes, namespaces, pods, networkPolicies, clusterNetworkPolicies };
}

const none: ClusterObjects = {
  nodes: [],
  namespaces: [],
  pods: [],
  services: [],
  endpointSlices: [],
  networkPolicies: [],
  clusterNetworkPolicies: [],
};

type Difference<T> = ReturnType<typeof difference<T>>;

/** Sorts by namespace, then name: no name holds a NUL. */
function keyOf({ metadata }: KubeObject): string {
  return metadata.namespace === undefined ? metadata.name : `${metadata.namespace}\0${metadata.name}`;
}

function readable(key: string): string {
  return key.replace("\0", "/");
}

/** Applies a difference to a table of values that depend on one object each. An equal value stays the old one. */
function replace<T extends KubeObject, V>(change: Difference<T>, table: Table<V>, make: (object: T) => V): void {
  const added = new Set(change.added.map((object) => keyOf(object)));
  for (const object of change.removed) if (!added.has(keyOf(object))) table.set(keyOf(object), undefined);
  for (const object of change.added) setIfOther(table, keyOf(object), make(object));
}

/** True where the value is another than before. */
function setIfOther<V>(table: Table<V>, key: string, value: V | undefined): boolean {
  if (isSameValue(table.get(key), value)) return false;
  table.set(key, value);
  return true;
}

interface Nodes {
  /** True where some node is another than before. */
  update(change: Difference<Node>): boolean;
  values(): readonly NetworkNode[];
  readonly addressesOf: (name: string) => readonly Address[];
  problems(): readonly Problem[];
}

function createNodes(cluster: ClusterConfig): Nodes {
  const asked = createTable<NetworkNode>();
  const given = createTable<NetworkNode>();
  let settled: readonly NetworkNode[] = asked.values();
  let problems: readonly Problem[] = [];
  return {
    update(change) {
      replace(change, asked, networkNode);
      if (asked.values() === settled) return false;
      const gone = new Set(settled.map(({ name }) => name));
      settled = asked.values();
      const result = withoutContestedRanges(settled, cluster.serviceCidrs);
      for (const node of result.nodes) {
        gone.delete(node.name);
        setIfOther(given, node.name, node);
      }
      for (const name of gone) given.set(name, undefined);
      problems = [...result.problems, ...settled.flatMap((node) => nodeProblems(node, cluster))];
      return true;
    },
    values: () => given.values(),
    addressesOf: (name) => given.get(name)?.addresses ?? [],
    problems: () => problems,
  };
}

interface Pods {
  /** The labels of the pods whose labels, ports or existence changed, with their namespace: the Services that may be concerned. */
  update(
    change: Difference<Pod>,
    nodeAddresses: (name: string) => readonly Address[],
    nodesChanged: boolean,
  ): readonly PodLabels[];
  values(): readonly NetworkPod[];
  problems(): readonly Problem[];
  /** The pods of a namespace that a Service's selector matches and that have not completed, in order of name. */
  readonly selectedBy: (namespace: string, selector: Labels) => readonly Pod[];
}

interface PodLabels {
  readonly namespace: string;
  readonly labels: Labels;
}

function createPods(cluster: ClusterConfig): Pods {
  const table = createTable<NetworkPod>();
  const objects = new Map<string, Pod>();
  const byLabel = createGroups<string>();
  const onHostNetwork = new Set<string>();
  const problems = new Map<string, readonly Problem[]>();

  const labelKeys = (pod: Pod): readonly string[] =>
    Object.entries(pod.metadata.labels ?? {}).map((pair) => labelKey(namespaceOf(pod), pair));
  const remove = (pod: Pod): void => {
    const key = keyOf(pod);
    objects.delete(key);
    onHostNetwork.delete(key);
    problems.delete(key);
    for (const label of labelKeys(pod)) byLabel.delete(label, key);
  };
  const add = (pod: Pod): void => {
    const key = keyOf(pod);
    objects.set(key, pod);
    if (pod.spec.hostNetwork === true) onHostNetwork.add(key);
    const found = podProblems(pod, cluster);
    if (found.length > 0) problems.set(key, found);
    if (!isCompleted(pod)) for (const label of labelKeys(pod)) byLabel.add(label, key);
  };

  return {
    update(change, nodeAddresses, nodesChanged) {
      const old = new Map(change.removed.map((pod) => [keyOf(pod), pod]));
      const changed: PodLabels[] = [];
      for (const pod of change.removed) remove(pod);
      for (const pod of change.added) {
        const key = keyOf(pod);
        const previous = old.get(key);
        old.delete(key);
        add(pod);
        setIfOther(table, key, networkPod(pod, nodeAddresses));
        if (previous !== undefined && isSameToServices(previous, pod)) continue;
        changed.push(labelsOf(pod));
        if (previous !== undefined) changed.push(labelsOf(previous));
      }
      for (const [key, pod] of old) {
        table.set(key, undefined);
        changed.push(labelsOf(pod));
      }
      if (nodesChanged) {
        for (const key of onHostNetwork) setIfOther(table, key, networkPod(objects.get(key) as Pod, nodeAddresses));
      }
      return changed;
    },
    values: () => table.values(),
    problems: () => [...problems.values()].flat(),
    selectedBy(namespace, selector) {
      const candidates = Object.entries(selector).map((pair) => byLabel.get(labelKey(namespace, pair)));
      const [fewest] = candidates.sort((a, b) => a.size - b.size);
      return [...(fewest ?? [])]
        .sort(compareText)
        .map((key) => objects.get(key) as Pod)
        .filter((pod) => selectsMap(selector, pod.metadata.labels));
    },
  };
}

function labelsOf(pod: Pod): PodLabels {
  return { namespace: namespaceOf(pod), labels: pod.metadata.labels ?? {} };
}

/** Does a Service's relation to this pod stay as it was? */
function isSameToServices(a: Pod, b: Pod): boolean {
  return (
    isCompleted(a) === isCompleted(b) &&
    isSameValue(a.metadata.labels, b.metadata.labels) &&
    isSameValue(a.spec, b.spec) &&
    isSameValue(containerPorts(a), containerPorts(b))
  );
}

function namespaceOf({ metadata }: KubeObject): string {
  return metadata.namespace ?? "default";
}

function labelKey(namespace: string, [name, value]: readonly [string, string]): string {
  return `${namespace}\0${name}=${value}`;
}

interface Services {
  update(services: Difference<Service>, slices: Difference<EndpointSlice>, pods: readonly PodLabels[]): void;
  list(): BlockList<NetworkService>;
  problems(): readonly Problem[];
}

function createServices(
  cluster: ClusterConfig,
  selectedBy: (namespace: string, selector: Labels) => readonly Pod[],
): Services {
  const objects = new Map<string, Service>();
  const asked = new Map<string, NetworkService>();
  const given = createTable<NetworkService>();
  const problems = new Map<string, readonly Problem[]>();
  const contested = new Map<string, readonly Problem[]>();
  const slicesOf = createGroups<EndpointSlice>();
  const claimants = createGroups<string>();
  const bySelector = createGroups<string>();

  const ownerOf = (claim: string): string | undefined => {
    const rank = (key: string): string => `${objects.get(key)?.metadata.creationTimestamp ?? ""}\0${key}`;
    const keys = claimants.get(claim);
    return keys.size < 2 ? undefined : [...keys].sort((a, b) => compareText(rank(a), rank(b)))[0];
  };
  /** Who else has to be looked at again because a claim of this Service appeared or went. */
  const claim = (key: string, next: NetworkService | undefined): readonly string[] => {
    const old = claimsOf(asked.get(key));
    const wanted = claimsOf(next);
    if (isSameValue(old, wanted) && wanted.every((each) => claimants.get(each).size < 2)) return [];
    const concerned = [...old, ...wanted].flatMap((each) => [...claimants.get(each)]);
    for (const each of old) claimants.delete(each, key);
    for (const each of wanted) claimants.add(each, key);
    return concerned;
  };
  const settle = (key: string): void => {
    const service = asked.get(key);
    contested.delete(key);
    if (service === undefined) return given.set(key, undefined);
    if (serviceClaims(service).every((each) => claimants.get(each).size < 2))
      return void setIfOther(given, key, service);
    const result = withoutOthersClaims(service, (each) => {
      const owner = ownerOf(each);
      return owner === undefined || owner === key ? undefined : readable(owner);
    });
    if (result.problems.length > 0) contested.set(key, result.problems);
    setIfOther(given, key, result.service);
  };
  const rebuild = (key: string): readonly string[] => {
    const object = objects.get(key);
    const next = object === undefined ? undefined : networkService(object, [...slicesOf.get(key)]);
    const concerned = claim(key, next);
    if (next === undefined) asked.delete(key);
    else asked.set(key, next);
    return concerned;
  };
  const inspect = (key: string): void => {
    const object = objects.get(key);
    if (object === undefined) return void problems.delete(key);
    const selector = object.spec.selector ?? {};
    // Where others connect the pods, nobody has told us of them.
    const isKnown = Object.keys(selector).length > 0 && cluster.podNetwork?.kind !== "others";
    const pods = isKnown ? selectedBy(namespaceOf(object), selector) : undefined;
    const found = serviceProblems(object, { cluster, pods, slices: [...slicesOf.get(key)] });
    if (found.length > 0) problems.set(key, found);
    else problems.delete(key);
  };

  return {
    update(services, slices, pods) {
      const dirty = new Set<string>();
      for (const slice of slices.removed) {
        const key = serviceKeyOf(slice);
        if (key === undefined) continue;
        slicesOf.delete(key, slice);
        dirty.add(key);
      }
      for (const slice of slices.added) {
        const key = serviceKeyOf(slice);
        if (key === undefined) continue;
        slicesOf.add(key, slice);
        dirty.add(key);
      }
      for (const service of services.removed) {
        const key = keyOf(service);
        objects.delete(key);
        for (const label of selectorKey(service, cluster)) bySelector.delete(label, key);
        dirty.add(key);
      }
      for (const service of services.added) {
        const key = keyOf(service);
        objects.set(key, service);
        for (const label of selectorKey(service, cluster)) bySelector.add(label, key);
        dirty.add(key);
      }
      const toSettle = new Set(dirty);
      for (const key of dirty) for (const other of rebuild(key)) toSettle.add(other);
      for (const key of toSettle) settle(key);
      for (const { namespace, labels } of pods) {
        for (const pair of Object.entries(labels)) {
          for (const key of bySelector.get(labelKey(namespace, pair))) dirty.add(key);
        }
      }
      for (const key of dirty) inspect(key);
    },
    list: () => given.list(),
    problems: () => [...problems.values(), ...contested.values()].flat(),
  };
}

/** A Service can only select pods that have the first pair of its selector: enough to find it again when a pod changes. */
function selectorKey(service: Service, cluster: ClusterConfig): readonly string[] {
  // Where others connect the pods, nobody tells us of them.
  if (cluster.podNetwork?.kind === "others") return [];
  const [first] = Object.entries(service.spec.selector ?? {});
  return first === undefined ? [] : [labelKey(namespaceOf(service), first)];
}

function serviceKeyOf(slice: EndpointSlice): string | undefined {
  const name = slice.metadata.labels?.[serviceNameLabel];
  if (name === undefined) return undefined;
  return slice.metadata.namespace === undefined ? name : `${slice.metadata.namespace}\0${name}`;
}

function claimsOf(service: NetworkService | undefined): readonly string[] {
  return service === undefined ? [] : serviceClaims(service);
}

function compareProblems(a: Problem, b: Problem): number {
  return (
    compareText(a.origin.kind, b.origin.kind) ||
    compareText(a.origin.namespace ?? "", b.origin.namespace ?? "") ||
    compareText(a.origin.name, b.origin.name) ||
    compareText(a.origin.field ?? "", b.origin.field ?? "") ||
    compareText(a.message, b.message)
  );
}
