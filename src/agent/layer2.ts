// Answers for load balancers' addresses on the node's own link, in turn with the other nodes there: an address is held by the first of its
// candidates that is there, and those behind it find out by themselves when it is gone.
//
// Nobody begins to answer while another still does, as far as both hear each other (layer2-claims.ts).
//
// Invariants: no address is on any link (the node's Program translates packets to it, whoever they are sent to); a node whose link carries
// nothing holds nothing; nothing is sent and no socket is open while no address has this node as a candidate; nothing is announced before
// all that had arrived was read; an agent that was held up answers for nothing before it has asked who does now.
// Not here: who the candidates are (load-balancers.ts, model/layer2.ts), when a node counts as gone (layer2-peers.ts), frames (layer2-port.ts).

import { familyOf, type Address, type Family } from "../ip/address.ts";
import type { Mac } from "../ip/mac.ts";
import type { Prefix } from "../ip/prefix.ts";
import type { NetworkKernel } from "../kernel/kernel.ts";
import type { NetworkNamespace } from "../kernel/namespaces.ts";
import { openLayer2Port, type Layer2Port, type PortEvents, type PortPlace } from "./layer2-port.ts";
import { askEveryMs, createClaims } from "./layer2-claims.ts";
import { createPeers, probeEveryMs } from "./layer2-peers.ts";

/** What there is to answer for. */
export interface Layer2View {
  /** Where the node is, one per family; none in a family it cannot answer in. */
  readonly places: readonly PortPlace[];
  /** Each address with its candidates, the first one first; those without this node may be missing. */
  readonly candidates: ReadonlyMap<Address, readonly string[]>;
  /** The ranges that all of these addresses are of. */
  readonly ranges: readonly Prefix[];
  /** Addresses of the candidates on the link, at most one per family. */
  readonly nodes: ReadonlyMap<string, readonly Address[]>;
}

export interface Layer2 {
  update(view: Layer2View): void;
  /** What this node answers for now. */
  held(): readonly Address[];
  close(): void;
}

export interface Layer2Options {
  /** This node's name. */
  readonly node: string;
  readonly namespace: NetworkNamespace;
  readonly kernel: Pick<NetworkKernel, "idleLinks">;
  readonly log: (line: string) => void;
}

/** How often what was heard is judged. */
const judgeEveryMs = 250;
/** Who has not looked for so long may have been given up by others (layer2-peers.ts), and answers no questions. */
const heldUpMs = 1200;
/** Who asks for the first time since so long could not reach us before: what we told meanwhile it has not heard. */
const strangerMs = 1500;
const strangersMax = 1000;

/** Does nothing until the first view. */
export function startLayer2({ node, namespace, kernel, log }: Layer2Options): Layer2 {
  const ports = new Map<Family, Layer2Port>();
  const peers = createPeers();
  const claims = createClaims();
  const macs = new Map<string, Mac>();
  const askers = new Map<Mac, number>();
  let view: Layer2View = { places: [], candidates: new Map(), ranges: [], nodes: new Map() };
  let known: ReadonlySet<Address> = new Set();
  let rivals: ReadonlyMap<string, Rival> = new Map();
  /** By the node's own address. */
  let owners: ReadonlyMap<Address, string> = new Map();
  let timer: NodeJS.Timeout | undefined;
  let asking: NodeJS.Timeout | undefined;
  let soon: NodeJS.Immediate | undefined;
  let nextProbeMs = 0;
  let lookedMs = performance.now();
  /** Rivals that have just been given up. */
  const lost = new Set<string>();
  let carries = true;
  let allToldMs = -Infinity;
  const refused = new Set<string>();

  const portOf = (address: Address): Layer2Port | undefined => ports.get(familyOf(address));
  const letGo = (address: Address): void => {
    if (claims.isHeld(address)) log(`${address}: not announced here any more: ${whyNot(address)}`);
    claims.drop(address);
  };
  /** Their first question after a silence: what was told in between did not reach them. */
  const heardAsker = (mac: Mac): void => {
    const now = performance.now();
    const before = askers.get(mac);
    if (before !== undefined || askers.size < strangersMax) askers.set(mac, now);
    if (before !== undefined && now - before < strangerMs) return;
    if (now - allToldMs < strangerMs) return;
    allToldMs = now;
    claims.tellAgain(now);
  };
  const judge = (nowMs: number): readonly string[] => {
    const changed = peers.judge(nowMs);
    for (const key of changed) if (!peers.isThere(key)) lost.add(key);
    return changed;
  };
  const isHeld = (address: Address): boolean => claims.isHeld(address) && performance.now() - lookedMs < heldUpMs;
  const answered: PortEvents["answered"] = (address, mac, who) => {
    const now = performance.now();
    const owner = owners.get(address);
    if (owner !== undefined) {
      macs.set(owner, mac);
      peers.heard(owner, "node", now);
      if (!peers.isThere(owner)) askAgent(owner);
      return;
    }
    if (who === "station") return claims.answered(address, now);
    for (const name of view.candidates.get(address) ?? []) {
      const key = rivalKey(name, familyOf(address));
      if (macs.get(key) === mac) peers.heard(key, "agent", now);
    }
    // What another node takes back is let go at once: it has told everybody.
    if (judge(now).length > 0) letGoOfOthers();
  };
  /** One before us that was given up is heard of: without waiting for the next round its agent is asked whether it is there. */
  const heardOf = (mac: Mac): void => {
    for (const key of rivals.keys()) if (macs.get(key) === mac && !peers.isThere(key)) askAgent(key);
  };
  const announced = (address: Address, mac: Mac): void => {
    heardOf(mac);
    const own = portOf(address)?.place.mac ?? mac;
    if (own === mac) return;
    if (claims.announced(address, mac, own, performance.now()))
      log(`${address}: not announced here any more: ${mac} says that it has it`);
    // There may be more to read.
    soon ??= setImmediate(step);
  };

  const askAgent = (key: string): void => {
    const [mac, rival] = [macs.get(key), rivals.get(key)];
    if (mac === undefined || rival === undefined) return;
    portOf(rival.about)?.askAgent(rival.about, { mac, address: rival.address });
    peers.probed(key, "agent");
  };
  const probe = (): void => {
    for (const [key, { address }] of rivals) {
      // To all, once one question to it alone was for nothing: its card may be another one.
      portOf(address)?.askNode(address, peers.isSilent(key) ? undefined : macs.get(key));
      peers.probed(key, "node");
      askAgent(key);
    }
  };

  const isThere = (name: string, address: Address): boolean => peers.isThere(rivalKey(name, familyOf(address)));
  const turnOf = (address: Address): boolean => {
    const ranked = view.candidates.get(address) ?? [];
    const own = ranked.indexOf(node);
    return own >= 0 && portOf(address) !== undefined && ranked.slice(0, own).every((name) => !isThere(name, address));
  };
  const before = (address: Address): readonly string[] => {
    const ranked = view.candidates.get(address) ?? [];
    return ranked.slice(0, ranked.indexOf(node));
  };
  const letGoOfOthers = (): void => {
    for (const address of claims.held()) if (!known.has(address) || !carries || !turnOf(address)) letGo(address);
  };
  const decide = (): void => {
    const now = performance.now();
    letGoOfOthers();
    for (const address of known) {
      if (!carries || !turnOf(address)) {
        claims.drop(address);
        continue;
      }
      const isLost = before(address).some((name) => lost.has(rivalKey(name, familyOf(address))));
      claims.want(address, isLost ? "at once" : "ask", now);
    }
    lost.clear();
  };
  /** What has come meanwhile: others may have taken what was held here. */
  const catchUp = (): number => {
    const now = performance.now();
    for (const port of ports.values()) port.look();
    if (now - lookedMs >= heldUpMs) claims.restart(now);
    lookedMs = now;
    return now;
  };
  /** Asks for what is wanted, takes what nobody answers for, and tells what is held. */
  const step = (): void => {
    clearImmediate(soon);
    soon = undefined;
    const now = catchUp();
    claims.settle(now);
    const { ask, tell, taken } = claims.next(now);
    for (const address of ask) portOf(address)?.askAll(address);
    for (const address of tell) portOf(address)?.announce(address);
    for (const address of taken) {
      const names = before(address);
      log(`${address}: announced here${names.length === 0 ? "" : `, for nothing is heard of ${names.join(", ")}`}`);
    }
    if (!claims.isAsking()) {
      clearInterval(asking);
      asking = undefined;
    } else if (asking === undefined) {
      asking = setInterval(step, askEveryMs);
      asking.unref();
    }
  };
  const whyNot = (address: Address): string => {
    if (!carries) return "the link carries nothing";
    const ranked = view.candidates.get(address) ?? [];
    if (ranked.length === 0) return "nobody asks for it";
    const next = ranked.find((name) => name !== node && isThere(name, address));
    if (next !== undefined) return `${next} does`;
    return known.has(address) ? "the node is at another place of the link" : "this node may not";
  };

  const checkCarrier = (nowMs: number): void => {
    const names = [...new Set([...ports.values()].map(({ place }) => place.name))];
    const now = names.length === 0 || kernel.idleLinks(names).length === 0;
    if (now === carries) return;
    carries = now;
    log(now ? "the link carries again" : "the link carries nothing: no load balancer's address is announced here");
    // What others said meanwhile was not heard.
    if (now) peers.restart(nowMs);
  };
  const turn = (): void => {
    const now = catchUp();
    judge(now);
    if (now >= nextProbeMs) {
      nextProbeMs = Math.max(nextProbeMs + probeEveryMs, now + judgeEveryMs);
      checkCarrier(now);
      probe();
    }
    decide();
    step();
  };

  const openPorts = (places: readonly PortPlace[]): void => {
    const wanted = new Map(places.map((place) => [familyOf(place.address), place]));
    for (const [family, port] of ports) {
      if (samePlace(wanted.get(family), port.place)) continue;
      port.close();
      ports.delete(family);
      macs.clear();
      // Everything is told anew from the new place.
      for (const address of new Set([...known, ...claims.held()])) if (familyOf(address) === family) letGo(address);
    }
    for (const [family, place] of wanted) {
      if (ports.has(family)) continue;
      try {
        ports.set(
          family,
          openLayer2Port(namespace, place, {
            isHeld,
            isKnown(address, asker) {
              heardAsker(asker);
              return known.has(address) && carries;
            },
            asked: heardOf,
            announced,
            answered,
            report: log,
          }),
        );
        refused.delete(place.name);
      } catch (error) {
        const text = `announce load balancers' addresses on ${place.name}: ${error instanceof Error ? error.message : String(error)}`;
        if (!refused.has(place.name)) log(text);
        refused.add(place.name);
      }
    }
  };

  const update = (next: Layer2View): void => {
    const now = catchUp();
    view = next;
    const knownBefore = known;
    known = new Set([...view.candidates].flatMap(([address, names]) => (names.includes(node) ? [address] : [])));
    for (const address of knownBefore) if (!known.has(address) && !claims.isHeld(address)) claims.drop(address);
    openPorts(known.size === 0 ? [] : view.places);
    const before = new Map<string, Rival>();
    for (const about of known) {
      const ranked = view.candidates.get(about) ?? [];
      for (const name of ranked.slice(0, ranked.indexOf(node))) {
        const address = view.nodes.get(name)?.find((each) => familyOf(each) === familyOf(about));
        const key = rivalKey(name, familyOf(about));
        if (address !== undefined && !before.has(key)) before.set(key, { address, about });
      }
    }
    rivals = before;
    owners = new Map([...rivals].map(([key, { address }]) => [address, key]));
    peers.watch(new Set(rivals.keys()), now);
    for (const [family, port] of ports) {
      const ofFamily = (address: Address): boolean => familyOf(address) === family;
      port.listen(
        [...known].filter(ofFamily),
        view.ranges.filter(ofFamily),
        [...[...rivals.values()].map(({ address }) => address), ...known].filter(ofFamily),
      );
    }
    checkCarrier(now);
    decide();
    step();
    if (known.size === 0) {
      clearInterval(timer);
      timer = undefined;
    } else if (timer === undefined) {
      timer = setInterval(turn, judgeEveryMs);
      timer.unref();
      nextProbeMs = now;
      turn();
    }
  };
  return {
    update,
    held: () => claims.held(),
    close() {
      clearInterval(timer);
      clearInterval(asking);
      clearImmediate(soon);
      for (const port of ports.values()) port.close();
      ports.clear();
      for (const address of claims.held()) claims.drop(address);
    },
  };
}

/** A node before us, in one family: it may have lost the other one. */
interface Rival {
  /** Its own. */
  readonly address: Address;
  /** One that it would answer for. */
  readonly about: Address;
}

function rivalKey(name: string, family: Family): string {
  return `${name} IPv${family}`;
}

function samePlace(a: PortPlace | undefined, b: PortPlace): boolean {
  return a !== undefined && a.index === b.index && a.name === b.name && a.mac === b.mac && a.address === b.address;
}
