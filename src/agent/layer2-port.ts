// One family on one link: what is asked there about load balancers' addresses and answered in the node's name, by ARP (RFC 826, 5227) or
// Neighbour Discovery (RFC 4861), announcements, and probes of other nodes.
//
// Two sockets, so that a flood of questions does not hide the answers to ours.
//
// Invariant: no question is answered before all that had arrived with it has been read.
// Not here: which addresses (layer2.ts), frames (wire/layer2).

import { familyOf, type Address } from "../ip/address.ts";
import type { Mac } from "../ip/mac.ts";
import { hostPrefix, type Prefix } from "../ip/prefix.ts";
import type { Closable } from "../kernel/kernel.ts";
import type { NetworkNamespace } from "../kernel/namespaces.ts";
import { joinGroups, openPacketSocket, type PacketSocket, type PacketSocketOptions } from "../kernel/packet-socket.ts";
import { arpAnnouncement, arpAnswer, arpRequest, decodeArp, encodeArp, nobody } from "../wire/layer2/arp.ts";
import {
  decodeNeighbourMessage,
  encodeNeighbourMessage,
  neighbourAnnouncement,
  neighbourAnswer,
  neighbourSolicitation,
  solicitedNode,
  unspecified,
} from "../wire/layer2/neighbour-discovery.ts";
import { askEveryMs } from "./layer2-claims.ts";

/** The node's place on a link. */
export interface PortPlace {
  readonly index: number;
  readonly name: string;
  readonly mac: Mac;
  /** The node's own address there. */
  readonly address: Address;
}

export interface Layer2Port extends Closable {
  readonly place: PortPlace;
  /** The addresses that questions are taken about, and the ranges they are of; and those that answers are taken from. */
  listen(asked: readonly Address[], ranges: readonly Prefix[], answering: readonly Address[]): void;
  /** "It is here now", to all of the link. */
  announce(address: Address): void;
  /** Asks all of the link who answers for an address. */
  askAll(address: Address): void;
  /** Asks the node's kernel: to all where its hardware address is not known. */
  askNode(address: Address, mac: Mac | undefined): void;
  /** Asks an agent whether it answers for an address when it is its turn. */
  askAgent(address: Address, node: { readonly mac: Mac; readonly address: Address }): void;
  /** Takes what has arrived by now. */
  look(): void;
}

export interface PortEvents {
  /** Is the address ours to answer for? */
  isHeld(address: Address): boolean;
  /** Another agent asks whether we are there: see askAgent. */
  isKnown(address: Address, asker: Mac): boolean;
  /** A neighbour asked about an address that others answer for. */
  asked(asker: Mac): void;
  /** Another station says that it has the address now. */
  announced(address: Address, mac: Mac): void;
  /** An answer to one of our questions: a node has the address, another station answers for it, or an agent is there. */
  answered(address: Address, mac: Mac, who: "station" | "agent or node"): void;
  report(line: string): void;
}

/** Answers a second: to all, and to one about one address, who may be a node that waits for it and must never miss them for long. */
const answersMax = { all: 1000, each: (2 * 1000) / askEveryMs };
const askersMax = 2000;
/** More than the kernel keeps for a socket: in a flood that never ends, whatever had arrived with the first of these has been read. */
const waitingMax = 1000;

/** Opens its sockets. Throws KernelError. */
export function openLayer2Port(namespace: NetworkNamespace, place: PortPlace, events: PortEvents): Layer2Port {
  const family = familyOf(place.address);
  const protocol = family === 4 ? "arp" : "ipv6";
  const take = createShares();
  const open = (kind: "asked" | "answered", takes: Pick<PacketSocketOptions, "came" | "caughtUp">): PacketSocket =>
    openPacketSocket(namespace, {
      link: place.index,
      linkName: place.name,
      wanted: { kind, protocol, about: [] },
      ...takes,
    });
  const dialect = family === 4 ? arpDialect(place, events) : discoveryDialect(place, events);
  let answered: PacketSocket | undefined;
  // Hundreds wait for an agent that was held up, and behind them that another has the address by now.
  const questions: Question[] = [];
  const answerAll = (): void => {
    // Who says that it has the address now has said so before these questions were read; of ARP both come in one row.
    if (family === 6) answered?.look();
    for (const { address, asker, isProbe, answer } of questions.splice(0)) {
      if (!isProbe) events.asked(asker);
      if (!(isProbe ? events.isKnown(address, asker) : events.isHeld(address))) continue;
      if (take(`${asker} ${address}`, performance.now())) asked.send(answer());
    }
  };
  const asked = open("asked", {
    came(frame) {
      const question = dialect.readQuestion(frame);
      if (question !== undefined && questions.push(question) >= waitingMax) answerAll();
    },
    caughtUp: answerAll,
  });
  try {
    answered = open("answered", { came: (frame) => dialect.readAnswer(frame) });
  } catch (error) {
    asked.close();
    throw error;
  }
  let members: Closable = { close() {} };
  let joined = "";
  let listened: string | undefined;
  /** Where IPv6's questions go. */
  const join = (addresses: readonly Address[]): void => {
    const groups = [...new Set(addresses.map(solicitedNode))].toSorted();
    if (groups.join(" ") === joined) return;
    joined = groups.join(" ");
    const before = members;
    const { close, refused } = joinGroups(namespace, place.index, groups);
    members = { close };
    before.close();
    if (refused.length > 0)
      events.report(`join ${refused.length} groups on ${place.name}: refused (${refused[0]}): questions may not come`);
  };
  return {
    place,
    listen(about, ranges, answering) {
      const now = [about, ranges, answering].map((list) => list.join(" ")).join("\n");
      if (now === listened) return;
      listened = now;
      if (family === 6) join(about);
      asked.want(about.map(hostPrefix), ranges);
      answered.want(answering.map(hostPrefix));
    },
    announce: (address) => void asked.send(dialect.announcement(address)),
    askAll: (address) => void answered.send(dialect.question(address)),
    askNode: (address, mac) => void answered.send(dialect.nodeProbe(address, mac)),
    askAgent: (address, node) => void answered.send(dialect.agentProbe(address, node)),
    look() {
      answered.look();
      asked.look();
    },
    close() {
      asked.close();
      answered.close();
      members.close();
    },
  };
}

interface Question {
  readonly address: Address;
  readonly asker: Mac;
  /** From another agent, by askAgent. */
  readonly isProbe: boolean;
  answer(): Uint8Array;
}

/** One family's way of saying it. */
interface Dialect {
  readQuestion(frame: Uint8Array): Question | undefined;
  /** Reads an answer, and tells it. */
  readAnswer(frame: Uint8Array): void;
  question(address: Address): Uint8Array;
  announcement(address: Address): Uint8Array;
  nodeProbe(address: Address, mac: Mac | undefined): Uint8Array;
  agentProbe(address: Address, node: { readonly mac: Mac; readonly address: Address }): Uint8Array;
}

function arpDialect({ mac, address: own }: PortPlace, { announced, answered }: PortEvents): Dialect {
  return {
    readQuestion(frame) {
      const packet = decodeArp(frame);
      if (packet?.operation !== "request" || packet.senderMac === mac) return undefined;
      if (packet.senderAddress === packet.targetAddress) {
        announced(packet.targetAddress, packet.senderMac);
        return undefined;
      }
      return {
        address: packet.targetAddress,
        asker: packet.senderMac,
        // Probes of RFC 5227 go to all; one station alone is asked in nobody's name by agents only.
        isProbe: packet.destination === mac && packet.senderAddress === nobody,
        answer: () => encodeArp(arpAnswer(packet, mac)),
      };
    },
    readAnswer(frame) {
      const packet = decodeArp(frame);
      if (packet?.operation !== "reply" || packet.destination !== mac || packet.senderMac === mac) return;
      // Agents are asked in nobody's name.
      answered(packet.senderAddress, packet.senderMac, packet.targetAddress === nobody ? "agent or node" : "station");
    },
    question: (address) => encodeArp(arpRequest({ mac, address: own }, address)),
    announcement: (address) => encodeArp(arpAnnouncement(mac, address)),
    nodeProbe: (address, to) => encodeArp(arpRequest({ mac, address: own }, address, to)),
    agentProbe: (address, node) => encodeArp(arpRequest({ mac, address: nobody }, address, node.mac)),
  };
}

function discoveryDialect({ mac, address: own }: PortPlace, { announced, answered }: PortEvents): Dialect {
  const from = { mac, address: own };
  return {
    readQuestion(frame) {
      const message = decodeNeighbourMessage(frame);
      if (message?.kind !== "solicitation" || message.source === mac) return undefined;
      return {
        address: message.target,
        asker: message.senderMac ?? message.source,
        // Who only wants to know whether an address still answers asks that address; agents ask the node about it.
        isProbe: message.destinationAddress === own && message.sourceAddress !== unspecified,
        answer: () => encodeNeighbourMessage(neighbourAnswer(message, from)),
      };
    },
    readAnswer(frame) {
      const message = decodeNeighbourMessage(frame);
      if (message?.kind !== "advertisement" || message.source === mac) return;
      const from = message.targetMac ?? message.source;
      if (!message.solicited) announced(message.target, from);
      else if (message.destination === mac) answered(message.target, from, "agent or node");
    },
    // As one who has no address yet: the answer goes to all, and is told from an agent's.
    question(address) {
      const { senderMac: _none, ...asked } = neighbourSolicitation({ mac, address: unspecified }, address);
      return encodeNeighbourMessage(asked);
    },
    announcement: (address) => encodeNeighbourMessage(neighbourAnnouncement(from, address)),
    nodeProbe: (address, to) =>
      encodeNeighbourMessage(neighbourSolicitation(from, address, to === undefined ? undefined : { mac: to, address })),
    agentProbe: (address, node) => encodeNeighbourMessage(neighbourSolicitation(from, address, node)),
  };
}

/** May this question be answered now? A share for each and one for all, by the second. */
export function createShares(): (question: string, nowMs: number) => boolean {
  const taken = new Map<string, number>();
  let all = 0;
  let endsMs = 0;
  return (question, nowMs) => {
    if (nowMs >= endsMs) {
      taken.clear();
      all = 0;
      endsMs = nowMs + 1000;
    }
    const own = taken.get(question) ?? 0;
    if (all >= answersMax.all || own >= answersMax.each) return false;
    if (taken.size < askersMax || own > 0) taken.set(question, own + 1);
    all++;
    return true;
  };
}
