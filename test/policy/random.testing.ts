// Clusters with policies to ask about: all of two small grammars, and random ones by seed, full of the awkward.
//
// Not here: how a world is asked (worlds.testing.ts).

import type { NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort } from "../../src/kube/kinds.ts";
import type { LabelSelector } from "../../src/kube/pod.ts";
import type {
  ClusterNetworkPolicy,
  ClusterNetworkPolicyPeer,
  ClusterNetworkPolicyProtocol,
} from "../../src/kube/policy-kinds.ts";
import { namespace, node } from "../../src/model/objects.testing.ts";
import { isIn } from "./oracle.ts";
import { addressOf, clusterPolicy, nodeAddress, pod, policy, type PolicyWorld } from "./worlds.testing.ts";

/** mulberry32 */
export interface Dice {
  roll(below: number): number;
  pick<T>(values: readonly T[]): T;
  once(n: number): boolean;
}

export function createDice(seed: number): Dice {
  let state = (seed * 0x9e3779b9) >>> 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
  const roll = (below: number): number => Math.floor(next() * below);
  return { roll, pick: (values) => values[roll(values.length)] as (typeof values)[number], once: (n) => roll(n) === 0 };
}

const apps = ["web", "api", "db"] as const;
const namespaceNames = ["red", "blue"] as const;

/** A random world: up to six pods on two nodes, up to five policies, full of the awkward. */
export function randomWorld(seed: number): PolicyWorld {
  const dice = createDice(seed);
  const namespaces = namespaceNames.map((name) => namespace(name, dice.once(2) ? { team: dice.pick(["a", "b"]) } : {}));
  const pods = Array.from({ length: 3 + dice.roll(3) }, (_, index) => {
    const labels: Record<string, string> = { app: dice.pick(apps) };
    if (dice.once(2)) labels["tier"] = dice.pick(["front", "back"]);
    return pod(
      `p${index}`,
      { namespace: dice.pick(namespaceNames), node: 1 + dice.roll(2), host: 10 + index },
      { labels, http: dice.pick([80, 8080]), hostNetwork: dice.once(9) },
    );
  });
  const world = { nodes: [node(1), node(2)], namespaces, pods };
  return { ...world, policies: randomPolicies(dice, world), clusterPolicies: randomClusterPolicies(dice, world) };
}

/** Up to four ClusterNetworkPolicies over the places of a world; often none. */
export function randomClusterPolicies(dice: Dice, world: Places): readonly ClusterNetworkPolicy[] {
  if (dice.once(3)) return [];
  return Array.from({ length: 1 + dice.roll(4) }, (_, index) => {
    const rules = <T>(make: () => T): readonly T[] => Array.from({ length: dice.roll(4) }, make);
    const rule = (): { action: "Accept" | "Deny" | "Pass"; protocols?: readonly ClusterNetworkPolicyProtocol[] } => {
      const protocols = dice.pick([
        undefined,
        undefined,
        [randomProtocol(dice)],
        [0, 1, 2].map(() => randomProtocol(dice)),
      ]);
      return { action: dice.pick(["Accept", "Deny", "Pass"]), ...(protocols !== undefined && { protocols }) };
    };
    const peers = <T>(make: () => T): readonly T[] => Array.from({ length: 1 + dice.roll(2) }, make);
    const ingress = rules(() => ({ ...rule(), from: peers(() => randomClusterPods(dice)) }));
    const egress = rules(() => ({ ...rule(), to: peers(() => randomClusterPeer(dice, world)) }));
    return clusterPolicy(`c${index}`, {
      tier: dice.pick(["Admin", "Admin", "Baseline"]),
      priority: dice.roll(3),
      subject: randomClusterPods(dice),
      ...(ingress.length > 0 && { ingress }),
      ...(egress.length > 0 && { egress }),
    });
  });
}

function randomClusterPods(dice: Dice): Pick<ClusterNetworkPolicyPeer, "namespaces" | "pods"> {
  const selectors = { namespaceSelector: randomNamespaceSelector(dice), podSelector: randomSelector(dice) };
  return dice.pick([{ namespaces: randomNamespaceSelector(dice) }, { pods: selectors }]);
}

function randomClusterPeer(dice: Dice, world: Places): ClusterNetworkPolicyPeer {
  switch (dice.roll(8)) {
    case 0:
      return { nodes: dice.pick<LabelSelector>([{}, { matchLabels: { "topology.kubernetes.io/zone": "zone-1" } }]) };
    case 1:
    case 2:
    case 3:
      return { networks: Array.from({ length: 1 + dice.roll(2) }, () => randomBlock(dice, world).cidr) };
    case 4:
      return dice.once(3)
        ? dice.pick<ClusterNetworkPolicyPeer>([{}, { domainNames: ["example.com"] }])
        : { namespaces: {} };
    default:
      return randomClusterPods(dice);
  }
}

function randomProtocol(dice: Dice): ClusterNetworkPolicyProtocol {
  const number = dice.pick([80, 8080, 53, 90]);
  const destinationPort = dice.pick([{ number }, { number }, { range: { start: 53, end: dice.pick([80, 90, 9000]) } }]);
  return dice.pick<ClusterNetworkPolicyProtocol>([
    { tcp: { destinationPort } },
    { tcp: { destinationPort } },
    { udp: { destinationPort } },
    { sctp: { destinationPort } },
    { destinationNamedPort: dice.pick(["http", "dns", "nobody"]) },
    ...(dice.once(8) ? [{}] : []),
  ]);
}

/** Up to five policies over the places of a world. */
export function randomPolicies(dice: Dice, world: Places): readonly NetworkPolicy[] {
  return Array.from({ length: 1 + dice.roll(5) }, (_, index) =>
    policy(`n${index}`, dice.pick(namespaceNames), randomSpec(dice, world)),
  );
}

type Places = Omit<PolicyWorld, "policies" | "clusterPolicies">;

function randomSpec(dice: Dice, world: Places): NetworkPolicy["spec"] {
  const rules = <T>(make: () => T): readonly T[] | undefined =>
    dice.pick([undefined, [], [make()], [make()], [make(), make()]]);
  const ingress = rules(() => randomRule(dice, world, "from"));
  const egress = rules(() => randomRule(dice, world, "to"));
  const policyTypes = dice.pick([undefined, ["Ingress"], ["Egress"], ["Ingress", "Egress"]] as const);
  return {
    podSelector: randomSelector(dice),
    ...(ingress !== undefined && { ingress }),
    ...(egress !== undefined && { egress }),
    ...(policyTypes !== undefined && { policyTypes }),
  };
}

function randomRule(dice: Dice, world: Places, field: "from" | "to"): Record<string, unknown> {
  const peers = dice.pick([
    undefined,
    [],
    [randomPeer(dice, world)],
    [randomPeer(dice, world), randomPeer(dice, world)],
  ]);
  const ports = dice.pick([
    undefined,
    undefined,
    [],
    [randomPort(dice)],
    [randomPort(dice), randomPort(dice), randomPort(dice)],
  ]);
  return { ...(peers !== undefined && { [field]: peers }), ...(ports !== undefined && { ports }) };
}

function randomSelector(dice: Dice): LabelSelector {
  const app = dice.pick(apps);
  return dice.pick<LabelSelector>([
    {},
    { matchLabels: { app } },
    { matchLabels: { app } },
    { matchExpressions: [{ key: "app", operator: "NotIn", values: [app] }] },
    { matchExpressions: [{ key: "tier", operator: "Exists" }] },
    { matchExpressions: [{ key: "tier", operator: "DoesNotExist" }] },
    { matchLabels: { app }, matchExpressions: [{ key: "tier", operator: "In", values: ["front", "back"] }] },
    { matchExpressions: [{ key: "tier", operator: "NotIn", values: ["front"] }] },
  ]);
}

function randomNamespaceSelector(dice: Dice): LabelSelector {
  return dice.pick<LabelSelector>([
    {},
    { matchLabels: { "kubernetes.io/metadata.name": dice.pick(namespaceNames) } },
    { matchLabels: { team: "a" } },
    { matchExpressions: [{ key: "team", operator: "DoesNotExist" }] },
  ]);
}

function randomPeer(dice: Dice, world: Places): NetworkPolicyPeer {
  switch (dice.roll(4)) {
    case 0:
      return { podSelector: randomSelector(dice) };
    case 1:
      return { namespaceSelector: randomNamespaceSelector(dice) };
    case 2:
      return { namespaceSelector: randomNamespaceSelector(dice), podSelector: randomSelector(dice) };
    default:
      return { ipBlock: randomBlock(dice, world) };
  }
}

function randomBlock(dice: Dice, world: Places): NonNullable<NetworkPolicyPeer["ipBlock"]> {
  const six = dice.once(3);
  const family = six ? 6 : 4;
  const someone = dice.pick(world.pods);
  const machine = dice.pick(world.nodes);
  const exact = `/${six ? 128 : 32}`;
  const wide = six
    ? ["::/0", "fd00:10:244::/56", "fd00:10:244:1::/64", "fd00:172:18::/64", "2001:db8::/32"]
    : ["0.0.0.0/0", "10.244.0.0/16", "10.244.1.0/24", "10.0.0.0/8", "172.18.0.0/16", "203.0.113.0/24"];
  const cidr = dice.pick([...wide, `${addressOf(someone, family)}${exact}`, `${nodeAddress(machine, family)}${exact}`]);
  const holes = [
    `${addressOf(dice.pick(world.pods), family)}${exact}`,
    `${nodeAddress(dice.pick(world.nodes), family)}${exact}`,
    ...(six ? ["fd00:10:244:1::/64", "fd00:10:244:1:8000::/65"] : ["10.244.1.0/24", "10.244.1.0/28", "10.244.2.8/29"]),
  ].filter((hole) => isIn(cidr, hole.split("/")[0] ?? "") && Number(hole.split("/")[1]) > Number(cidr.split("/")[1]));
  const except = holes.filter(() => dice.once(2));
  return { cidr, ...(except.length > 0 && { except }) };
}

function randomPort(dice: Dice): NetworkPolicyPort {
  const base = dice.pick([80, 8080, 53, 90]);
  return dice.pick<NetworkPolicyPort>([
    { port: base },
    { port: base, protocol: "TCP" },
    { port: base, protocol: "UDP" },
    { port: base, protocol: "SCTP" },
    { protocol: dice.pick(["TCP", "UDP", "SCTP"]) },
    { port: "http" },
    { port: "dns", protocol: "UDP" },
    { port: "nobody" },
    { port: 53, endPort: dice.pick([80, 90, 9000]), protocol: dice.pick(["TCP", "UDP"]) },
    { port: 81, endPort: 8080 },
    {},
  ]);
}

/** Every policy of a small grammar, each alone in the same little cluster. */
export function* everyWorld(): Iterable<PolicyWorld> {
  const nodes = [node(1), node(2)];
  const namespaces = [namespace("red", { team: "a" }), namespace("blue")];
  const pods = [
    pod("a", { namespace: "red", node: 1, host: 10 }, { labels: { app: "web" } }),
    pod("b", { namespace: "red", node: 2, host: 11 }, { labels: { app: "api" }, http: 8080 }),
    pod("c", { namespace: "blue", node: 1, host: 12 }, { labels: { app: "web" }, http: 8080 }),
  ];
  const selectors: readonly LabelSelector[] = [{}, { matchLabels: { app: "web" } }];
  const peers: readonly (readonly NetworkPolicyPeer[] | undefined)[] = [
    undefined,
    [],
    ...selectors.map((podSelector) => [{ podSelector }]),
    ...selectors.map((namespaceSelector) => [{ namespaceSelector }]),
    [{ namespaceSelector: { matchLabels: { team: "a" } } }],
    [
      {
        namespaceSelector: { matchExpressions: [{ key: "team", operator: "DoesNotExist" }] },
        podSelector: selectors[1] ?? {},
      },
    ],
    [{ namespaceSelector: {} }, { podSelector: { matchLabels: { app: "api" } } }],
    [{ ipBlock: { cidr: "10.244.0.0/16", except: ["10.244.1.12/32"] } }],
    [{ ipBlock: { cidr: "172.18.0.3/32" } }, { ipBlock: { cidr: "fd00:10:244::/56" } }],
    [{ ipBlock: { cidr: "0.0.0.0/0", except: ["10.244.1.0/24"] } }, { ipBlock: { cidr: "10.244.1.8/29" } }],
  ];
  const ports: readonly (readonly NetworkPolicyPort[] | undefined)[] = [
    undefined,
    [],
    [{ port: 80 }],
    [{ port: "http" }],
    [{ port: 53, endPort: 80, protocol: "UDP" }, { port: 8080 }],
    [{ protocol: "SCTP" }],
  ];
  for (const podSelector of selectors)
    for (const from of peers)
      for (const open of ports) {
        const rule = { ...(open !== undefined && { ports: open }) };
        const ingress = [{ ...rule, ...(from !== undefined && { from }) }];
        const egress = [{ ...rule, ...(from !== undefined && { to: from }) }];
        const world = { nodes, namespaces, pods, clusterPolicies: [] };
        yield { ...world, policies: [policy("in", "red", { podSelector, ingress })] };
        yield { ...world, policies: [policy("out", "red", { podSelector, policyTypes: ["Egress"], egress })] };
      }
  for (const policyTypes of [undefined, ["Ingress"], ["Egress"], ["Ingress", "Egress"]] as const)
    for (const podSelector of selectors)
      yield {
        nodes,
        namespaces,
        pods,
        clusterPolicies: [],
        policies: [policy("deny", "red", { podSelector, ...(policyTypes && { policyTypes }) })],
      };
}

/** Every ClusterNetworkPolicy of a small grammar, before one that denies the rest and beside a NetworkPolicy that lets some in. */
export function* everyClusterWorld(): Iterable<PolicyWorld> {
  const nodes = [node(1), node(2)];
  const namespaces = [namespace("red", { team: "a" }), namespace("blue")];
  const pods = [
    pod("a", { namespace: "red", node: 1, host: 10 }, { labels: { app: "web" } }),
    pod("b", { namespace: "red", node: 2, host: 11 }, { labels: { app: "api" }, http: 8080 }),
    pod("c", { namespace: "blue", node: 1, host: 12 }, { labels: { app: "web" }, http: 8080 }),
  ];
  const web: LabelSelector = { matchLabels: { app: "web" } };
  const inside: readonly Pick<ClusterNetworkPolicyPeer, "namespaces" | "pods">[] = [
    { namespaces: {} },
    { namespaces: { matchLabels: { team: "a" } } },
    { pods: { namespaceSelector: {}, podSelector: web } },
    { pods: { podSelector: {} } },
    {},
  ];
  const outside: readonly ClusterNetworkPolicyPeer[] = [
    { nodes: {} },
    { nodes: { matchLabels: { "topology.kubernetes.io/zone": "zone-2" } } },
    { networks: ["0.0.0.0/0"] },
    { networks: ["10.244.1.0/24", "fd00:10:244:2::/64", "172.18.0.2/32"] },
    { networks: ["10.244.1.12/32", "203.0.113.0/24"] },
    { domainNames: ["example.com"] },
  ];
  const protocols: readonly (readonly ClusterNetworkPolicyProtocol[] | undefined)[] = [
    undefined,
    [{ tcp: { destinationPort: { number: 80 } } }],
    [{ udp: { destinationPort: { range: { start: 53, end: 80 } } } }, { tcp: { destinationPort: { number: 8080 } } }],
    [{ destinationNamedPort: "http" }],
    [{}],
  ];
  const policies = [
    policy("n", "red", { podSelector: web, policyTypes: ["Ingress", "Egress"], ingress: [{ ports: [{ port: 80 }] }] }),
  ];
  const world = { nodes, namespaces, pods, policies };
  for (const tier of ["Admin", "Baseline"] as const)
    for (const action of ["Accept", "Deny", "Pass"] as const)
      for (const open of protocols) {
        const rule = { action, ...(open !== undefined && { protocols: open }) };
        const subject = { namespaces: { matchLabels: { team: "a" } } };
        const last = clusterPolicy("z", {
          tier,
          priority: 1,
          subject: { namespaces: {} },
          egress: [{ action: "Deny", to: [{ namespaces: {} }, { networks: ["::/0"] }] }],
          ingress: [{ action: "Deny", from: [{ namespaces: {} }] }],
        });
        for (const peer of [...inside, ...outside])
          yield {
            ...world,
            clusterPolicies: [
              clusterPolicy("a", { tier, priority: 0, subject, egress: [{ ...rule, to: [peer] }] }),
              last,
            ],
          };
        for (const peer of inside)
          yield {
            ...world,
            clusterPolicies: [
              clusterPolicy("a", { tier, priority: 0, subject, ingress: [{ ...rule, from: [peer] }] }),
              last,
            ],
          };
      }
}
