// Asks everything in both worlds, and says where the answers differ.

import { familyOf, type Address } from "../../../src/ip/address.ts";
import { ping, probeTcp, probeUdp } from "../../../src/lab/network/probe.ts";
import type { OneService } from "./random.testing.ts";
import {
  askers,
  balancersOnNode,
  nodeAddresses,
  places,
  podAddress,
  podGateways,
  type Place,
  type World,
} from "./world.testing.ts";

export interface Probe {
  readonly place: Place;
  readonly kind: "tcp" | "udp" | "ping";
  readonly address: Address;
  readonly port: number;
  /** Clients stay with their endpoint, so that which one it is differs. */
  readonly isSticky: boolean;
}

export interface Compared {
  readonly probes: number;
  readonly connections: number;
  readonly differences: readonly string[];
}

/** Whom everybody asks: every address of a Service at every port, ports that it does not have, and addresses that nobody has. */
export function probesOf(services: readonly OneService[], before: readonly OneService[]): readonly Probe[] {
  const targets = new Map<string, Omit<Probe, "place">>();
  const add = (target: Omit<Probe, "place">): void => {
    const key = `${target.kind} ${target.address} ${target.port}`;
    const known = targets.get(key);
    targets.set(key, { ...target, isSticky: target.isSticky || known?.isSticky === true });
  };
  for (const { service, ingress } of [...services, ...before]) {
    const { clusterIPs = [], externalIPs = [], ports = [], sessionAffinity } = service.spec;
    const isSticky = services.some((one) => one.service === service) && sessionAffinity === "ClientIP";
    const own = clusterIPs.filter((address) => address !== "None");
    const balancers = ingress.flatMap(({ ip }) => ip ?? []);
    for (const address of [...own, ...externalIPs, ...balancers]) {
      for (const { port, protocol } of ports)
        add({ kind: protocol === "TCP" ? "tcp" : "udp", address, port, isSticky });
      add({ kind: "tcp", address, port: 7, isSticky: false });
      add({ kind: "udp", address, port: 7, isSticky: false });
      add({ kind: "ping", address, port: 0, isSticky: false });
    }
    for (const { nodePort, protocol } of ports)
      if (nodePort !== undefined)
        for (const address of [...nodeAddresses, ...podGateways, ...loopback])
          add({ kind: protocol === "TCP" ? "tcp" : "udp", address, port: nodePort, isSticky });
  }
  for (const address of ["10.96.0.77", "fd00:10:96::77"]) {
    add({ kind: "tcp", address, port: 80, isSticky: false });
    add({ kind: "udp", address, port: 80, isSticky: false });
    add({ kind: "ping", address, port: 0, isSticky: false });
  }
  return [...targets.values()].flatMap((target) =>
    places
      .filter((place) => place === "node" || !loopback.includes(target.address))
      .map((place) => ({ ...target, place })),
  );
}

const loopback: readonly Address[] = ["127.0.0.1", "::1"];

const atOnce = 150;
const firstTries = 5;

/** Outcomes of each world. */
type Seen = readonly [Set<string>, Set<string>];

export async function compareWorlds(worlds: readonly [World, World], probes: readonly Probe[]): Promise<Compared> {
  const differences: string[] = [];
  let connections = 0;
  const queue = [...probes];
  const ask = async (
    probe: Probe,
    timeoutMs: number,
    { width, most }: { readonly width: number; readonly most: number },
  ): Promise<Seen> => {
    const seen: Seen = [new Set(), new Set()];
    const once = async (): Promise<void> => {
      const source = sourceOf(probe);
      const answers = await Promise.all(worlds.map((world) => outcome(world, probe, source, timeoutMs)));
      connections += 2;
      for (const [index, answer] of answers.entries()) seen[index]?.add(answer);
    };
    for (let tries = 0; tries < firstTries || (!isSame(probe, seen) && tries < most); tries += width) {
      await Promise.all(Array.from({ length: width }, once));
      if (isSilent(seen[0]) && isSilent(seen[1])) break;
      // Two outcomes that do not depend on chance.
      if (tries > firstTries && seen.every((each) => each.size === 1 && !isAnswered(each))) break;
    }
    return seen;
  };
  const work = async (): Promise<void> => {
    for (let probe = queue.shift(); probe !== undefined; probe = queue.shift()) {
      // What was silent because the machine was busy is asked anew, from the beginning.
      let seen = await ask(probe, patienceMs(probe), { width: 1, most: 12 });
      for (let again = 0; again < 2 && !isSame(probe, seen); again++)
        seen = await ask(probe, 1600, { width: 10, most: 40 });
      if (!isSame(probe, seen))
        differences.push(
          `${probe.place} asks ${probe.kind} ${probe.address} ${probe.port}${probe.isSticky ? " (sticky)" : ""}:` +
            `\n  kube-proxy: ${shown(seen[0])}\n  fairlead:   ${shown(seen[1])}`,
        );
    }
  };
  await Promise.all(Array.from({ length: atOnce }, work));
  return { probes: probes.length, connections, differences };
}

/** The error that comes of a first TCP segment by IPv6 finds the socket still busy with sending: the second one, a second later, is heard. */
function patienceMs({ kind, address }: Probe): number {
  return kind === "tcp" && familyOf(address) === 6 ? 1300 : 400;
}

let turn = 0;

/** Pods of the other node ask from many addresses, so that affinity shows all endpoints. */
function sourceOf({ place, address }: Probe): Address | undefined {
  if (place !== "passer") return undefined;
  return podAddress(2, askers[++turn % askers.length] ?? 0)[familyOf(address) === 4 ? 0 : 1];
}

async function outcome(
  world: World,
  { place, kind, address, port }: Probe,
  source: Address | undefined,
  timeoutMs: number,
): Promise<string> {
  const namespace = world.namespaceOf(place);
  const target = { address, timeoutMs, ...(source === undefined ? {} : { source }) };
  const result =
    kind === "tcp"
      ? await probeTcp(namespace, { ...target, port, read: true })
      : kind === "udp"
        ? await probeUdp(namespace, { ...target, port })
        : await ping(namespace, target);
  // What its own node does not let out fails at once, refused or dropped.
  if (result.outcome !== "answered" && place === "node" && kind !== "tcp") return "not answered";
  if (result.outcome !== "answered") return [result.outcome, result.code].filter(Boolean).join(" ");
  const said = "said" in result ? (result.said ?? "") : "";
  const [endpoint = "", client = ""] = said.trim().split(" ");
  if (client === source) return `${endpoint} saw its client`;
  // With policy Local kube-proxy rewrites the node's own address to another one of its own (docs/agent.md).
  return place === "node" && isOfNode(client) ? `${endpoint} saw the node` : `${endpoint} saw ${client}`;
}

function isSilent(seen: ReadonlySet<string>): boolean {
  return seen.size === 1 && (seen.has("timeout") || seen.has("not answered"));
}

function isAnswered(seen: ReadonlySet<string>): boolean {
  return [...seen].every((each) => each.includes(" saw "));
}

function isSame({ isSticky, place }: Probe, [a, b]: Seen): boolean {
  if (!isSticky || place === "passer") return a.size === b.size && [...a].every((each) => b.has(each));
  // Each world has its own endpoint, and with it the source that this one sees.
  const [x, y] = [a, b].map((set) => [...set].map((each) => (each.includes(" saw ") ? "one answers" : each)));
  return String(x?.sort()) === String(y?.sort());
}

function isOfNode(address: string): boolean {
  return ofNode.includes(address);
}

const ofNode: readonly string[] = [...nodeAddresses, ...podGateways, ...balancersOnNode];

function shown(seen: ReadonlySet<string>): string {
  return [...seen].sort().join("; ");
}
