// Answers for load balancers' addresses on the node's own link, in turn with the other nodes there: an address is held by the first of its
// candidates that is there, and those behind it find out by themselves when it is gone.
//
// Invariants: no address is on any link (the node's Program translates packets to it, whoever they are sent to); a node whose link carries
// nothing holds nothing; nothing is sent and no socket is open while no address has this node as a candidate.
// Not here: who the candidates are (load-balancers.ts, model/layer2.ts), when a node counts as gone (layer2-peers.ts), frames (layer2-port.ts).

import { familyOf, type Address, type Family } from "../ip/address.ts";
import type { Mac } from "../ip/mac.ts";
import type { Prefix } from "../ip/prefix.ts";
import type { NetworkKernel } from "../kernel/kernel.ts";
import type { NetworkNamespace } from "../kernel/namespaces.ts";
import { openLayer2Port, type Layer2Port, type PortPlace } from "./layer2-port.ts";
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
/** After an address came here it is told at once, and again so much later: others may not have let go of it yet, or a switch not be open. */
const againMs = [500, 1000, 2000, 4000];
/** Who asks for the first time since so long could not reach us before: what we told meanwhile it has not heard. */
const strangerMs = 1500;
const strangersMax = 1000;

/** Does nothing until the first view. */
export function startLayer2({ node, namespace, kernel, log }: Layer2Options): Layer2 {
  const ports = new Map<Family, Layer2Port>();
  const peers = createPeers();
  const held = new Set<Address>();
  const macs = new Map<string, Mac>();
  const askers = new Map<Mac, number>();
  /** When held addresses are to be told again. */
  const due = new Map<Address, number[]>();
  let view: Layer2View = { places: [], candidates: new Map(), ranges: [], nodes: new Map() };
  let known: ReadonlySet<Address> = new Set();
  let rivals: ReadonlyMap<string, Rival> = new Map();
  /** By the node's own address. */
  let owners: ReadonlyMap<Address, string> = new Map();
  let timer: NodeJS.Timeout | undefined;
  let nextProbeMs = 0;
  let carries = true;
  let allToldMs = -Infinity;
  const refused = new Set<string>();

  const portOf = (address: Address): Layer2Port | undefined => ports.get(familyOf(address));
  const tell = (address: Address): void => portOf(address)?.announce(address);
  const tellAgain = (address: Address, nowMs: number): void =>
    void due.set(
      address,
      againMs.map((delayMs) => nowMs + delayMs),
    );
  /** Their first question after a silence: what was told in between did not reach them. */
  const heardAsker = (mac: Mac): void => {
    const now = performance.now();
    const before = askers.get(mac);
    if (before !== undefined || askers.size < strangersMax) askers.set(mac, now);
    if (before !== undefined && now - before < strangerMs) return;
    if (now - allToldMs < strangerMs) return;
    allToldMs = now;
    for (const address of held) tellAgain(address, now);
  };
  const answered = (address: Address, mac: Mac): void => {
    const now = performance.now();
    const owner = owners.get(address);
    if (owner !== undefined) {
      macs.set(owner, mac);
      peers.heard(owner, "node", now);
      if (!peers.isThere(owner)) askAgent(owner);
      return;
    }
    for (const name of view.candidates.get(address) ?? []) {
      const key = rivalKey(name, familyOf(address));
      if (macs.get(key) === mac) peers.heard(key, "agent", now);
    }
    // What another node takes back is let go at once: it has told everybody.
    if (peers.judge(now).length > 0) decide();
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
  const decide = (): void => {
    const now = performance.now();
    for (const address of held) {
      if (carries && turnOf(address)) continue;
      held.delete(address);
      due.delete(address);
      log(`${address}: not announced here any more: ${whyNot(address)}`);
    }
    if (!carries) return;
    for (const address of known) {
      if (held.has(address) || !turnOf(address)) continue;
      held.add(address);
      tell(address);
      tellAgain(address, now);
      const before = (view.candidates.get(address) ?? []).slice(0, view.candidates.get(address)?.indexOf(node));
      log(`${address}: announced here${before.length === 0 ? "" : `, for nothing is heard of ${before.join(", ")}`}`);
    }
  };
  const whyNot = (address: Address): string => {
    if (!carries) return "the link carries nothing";
    const ranked = view.candidates.get(address) ?? [];
    if (ranked.length === 0) return "nobody asks for it";
    const next = ranked.find((name) => name !== node && isThere(name, address));
    return next === undefined ? "this node cannot" : `${next} does`;
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
    const now = performance.now();
    for (const port of ports.values()) port.look();
    peers.judge(now);
    if (now >= nextProbeMs) {
      nextProbeMs = Math.max(nextProbeMs + probeEveryMs, now + judgeEveryMs);
      checkCarrier(now);
      probe();
    }
    decide();
    for (const [address, times] of due) {
      const later = times.filter((each) => each > now);
      if (later.length === times.length) continue;
      tell(address);
      if (later.length === 0) due.delete(address);
      else due.set(address, later);
    }
  };

  const openPorts = (places: readonly PortPlace[]): void => {
    const wanted = new Map(places.map((place) => [familyOf(place.address), place]));
    for (const [family, port] of ports) {
      if (samePlace(wanted.get(family), port.place)) continue;
      port.close();
      ports.delete(family);
      macs.clear();
      // Everything is told anew from the new place.
      for (const address of held) if (familyOf(address) === family) held.delete(address);
    }
    for (const [family, place] of wanted) {
      if (ports.has(family)) continue;
      try {
        ports.set(
          family,
          openLayer2Port(namespace, place, {
            isHeld: (address) => held.has(address),
            isKnown(address, asker) {
              heardAsker(asker);
              return known.has(address) && carries;
            },
            // Without waiting for the next round: if it is one before us, its agent says so.
            announced(mac) {
              for (const key of rivals.keys()) if (macs.get(key) === mac && !peers.isThere(key)) askAgent(key);
            },
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
    const now = performance.now();
    view = next;
    known = new Set([...view.candidates].flatMap(([address, names]) => (names.includes(node) ? [address] : [])));
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
        [...rivals.values()].flatMap(({ address, about }) => [address, about]).filter(ofFamily),
      );
    }
    checkCarrier(now);
    decide();
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
    held: () => [...held],
    close() {
      clearInterval(timer);
      for (const port of ports.values()) port.close();
      ports.clear();
      held.clear();
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
