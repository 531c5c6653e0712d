// The `transfer` plugin: whole zones by TCP to those who may have them (AXFR, RFC 5936; IXFR, RFC 1995, is answered with the whole zone, or
// with the SOA alone to those who have it), and word to the listed hosts when a zone is another (NOTIFY, RFC 1996).
//
// Not here: what a zone has (program/zone-transfer.ts, file-zone.ts). Loaded only by servers whose Corefile has the plugin (server.ts).

import { randomInt } from "node:crypto";

import type { Address } from "../../ip/address.ts";
import type { NetworkNamespace } from "../../kernel/namespaces.ts";
import { zoneSoa, zoneTransfer } from "../../program/zone-transfer.ts";
import type { Zone } from "../../program/zone.ts";
import { ednsUdpBytes } from "../../wire/dns/answer.ts";
import {
  buildMessage,
  emptyMessage,
  headerFlags,
  parseMessage,
  putQuestion,
  putRecord,
  rcodeName,
  rcodes,
} from "../../wire/dns/message.ts";
import { DnsFormatError } from "../../wire/dns/format-error.ts";
import { isWithin, readName, type DnsName } from "../../wire/dns/name.ts";
import type { Query } from "../../wire/dns/query.ts";
import { recordTypeName, recordTypes, type DnsRecord } from "../../wire/dns/record.ts";
import { createWriter, putBytes, putUint16, writtenBytes, type MessageWriter } from "../../wire/dns/writer.ts";
import { exchangeDns } from "./client.ts";
import type { TransferConfig, TransferHost } from "./corefile-zones.ts";
import type { DnsLog } from "./log.ts";
import { transferring } from "./outcome.ts";

/** A zone as it is now. */
export interface TransferZone {
  readonly serial: number;
  readonly soa: DnsRecord;
  /** Everything, the SOA first and last. */
  readonly records: () => Iterable<DnsRecord>;
}

/** The cluster's zone as its view shows it. */
export function clusterZone(view: Zone, serial: number): TransferZone | undefined {
  const [soa] = zoneSoa(view, serial);
  return soa && { serial, soa, records: () => zoneTransfer(view, serial) };
}

export interface Transfers {
  /** May this client have the zone of the question? `transferring`, or an rcode. */
  decide(query: Query, client: Address): number;
  /** The messages to this question, or an rcode. */
  messages(query: Query, asked: Uint8Array): TransferMessages | number;
  /** Tells the zone's hosts that it is another. */
  notify(zone: DnsName): void;
}

/** Messages one by one, and what to say when they have left: `12 records, serial 3`. */
export interface TransferMessages {
  readonly each: Iterable<Uint8Array>;
  readonly summary: () => string;
}

export function createTransfers(
  configs: readonly TransferConfig[],
  parts: {
    /** The zone of exactly this name; an rcode: it cannot be told; undefined: there is none. */
    readonly zoneOf: (name: DnsName) => TransferZone | number | undefined;
    readonly namespace: NetworkNamespace;
    readonly log: DnsLog;
  },
): Transfers {
  const { zoneOf, namespace, log } = parts;
  return {
    decide(query, client) {
      const config = transferFor(configs, query.name);
      if (config === undefined) return rcodes.REFUSED;
      if (!config.toAll && !config.hosts.some(({ address }) => address === client)) return rcodes.REFUSED;
      const zone = zoneOf(query.name);
      if (typeof zone === "number") return zone;
      return zone === undefined ? rcodes.REFUSED : transferring;
    },
    messages(query, asked) {
      const zone = zoneOf(query.name);
      if (zone === undefined || typeof zone === "number") return zone ?? rcodes.REFUSED;
      if (query.type !== recordTypes.IXFR) return messagesOf(query, asked, zone.records(), zone.serial);
      const known = serialAsked(asked);
      if (known === undefined) return rcodes.FORMERR;
      const isKnown = known === zone.serial || isNewer(known, zone.serial);
      return messagesOf(query, asked, isKnown ? [zone.soa] : zone.records(), zone.serial);
    },
    notify(zone) {
      const { hosts = [], source } = transferFor(configs, zone) ?? {};
      for (const host of hosts)
        void notifyHost(zone, host, source, namespace).catch((error: unknown) => {
          const reason = error instanceof Error ? error.message : String(error);
          log.error(`plugin/transfer: ${nameOf(host)} does not know that ${absolute(zone)} is another: ${reason}`);
        });
    },
  };
}

/** Of several the one with the longest zone. */
function transferFor(configs: readonly TransferConfig[], name: DnsName): TransferConfig | undefined {
  const lengthOf = ({ zones }: TransferConfig): number =>
    Math.max(-1, ...zones.filter((zone) => isWithin(name, zone)).map((zone) => (zone === "." ? 0 : zone.length)));
  const [longest] = configs.toSorted((a, b) => lengthOf(b) - lengthOf(a));
  return longest !== undefined && lengthOf(longest) >= 0 ? longest : undefined;
}

/** RFC 1995 3: what the client has is in the question's authority section. */
function serialAsked(asked: Uint8Array): number | undefined {
  try {
    const [record] = parseMessage(asked).authority;
    return record?.data.kind === "SOA" ? record.data.serial : undefined;
  } catch {
    return undefined;
  }
}

/** RFC 1982 3.2 */
function isNewer(a: number, b: number): boolean {
  return (a > b && a - b < 2 ** 31) || (a < b && b - a > 2 ** 31);
}

/** Pointers reach so far (RFC 1035 4.1.4), so nearly all names are short. */
const messageBytes = 0x4000;
const optBytes = 11;
/** What fits behind a header, the longest question and an OPT record. */
const recordBytesMax = 0xffff - 12 - 259 - optBytes;

function messagesOf(query: Query, asked: Uint8Array, records: Iterable<DnsRecord>, serial: number): TransferMessages {
  let sent = 0;
  let unwritten: string | undefined;
  function* each(): Generator<Uint8Array, undefined, undefined> {
    let count = 0;
    let writer = begin(query, asked);
    for (const record of records) {
      const before = writer.length;
      const problem = tryPut(writer, record);
      // A name that no message can hold is one that nobody can ask for: the others are sent all the same.
      if (problem !== undefined) {
        unwritten ??= problem;
        continue;
      }
      if (count > 0 && writer.length > messageBytes - optBytes) {
        writer.length = before;
        yield end(writer, query, count);
        count = 0;
        writer = begin(query, asked);
        putRecord(writer, record);
      }
      count++;
      sent++;
    }
    yield end(writer, query, count);
  }
  const leftOut = (): string => (unwritten === undefined ? "" : `; left out what cannot be sent: ${unwritten}`);
  return { each: each(), summary: () => `${sent} records, serial ${serial}${leftOut()}` };
}

/** Why the record cannot be written; the message is as it was then. */
function tryPut(writer: MessageWriter, record: DnsRecord): string | undefined {
  const before = writer.length;
  let problem: string;
  try {
    putRecord(writer, record);
    if (writer.length - before <= recordBytesMax) return undefined;
    problem = `${absolute(record.name)} has a record of ${writer.length - before} bytes`;
  } catch (error) {
    if (!(error instanceof DnsFormatError)) throw error;
    problem = error.message;
  }
  writer.length = before;
  for (const [name, at] of writer.names) if (at >= before) writer.names.delete(name);
  return problem;
}

function begin(query: Query, asked: Uint8Array): MessageWriter {
  const writer = createWriter();
  putUint16(writer, query.id);
  putUint16(writer, headerFlags.response | headerFlags.authoritative | (query.flags & headerFlags.recursionDesired));
  putUint16(writer, 1);
  for (let section = 0; section < 3; section++) putUint16(writer, 0);
  // As the client spelled it.
  const { name } = readName(asked, 12);
  putQuestion(writer, { name, type: recordTypeName(query.type), class: query.class });
  return writer;
}

function end(writer: MessageWriter, query: Query, count: number): Uint8Array {
  // RFC 6891 6.1.1: who asks with EDNS is answered with EDNS.
  if (query.edns !== undefined)
    putBytes(writer, Uint8Array.of(0, 0, recordTypes.OPT, ednsUdpBytes >>> 8, ednsUdpBytes & 0xff, 0, 0, 0, 0, 0, 0));
  const message = writtenBytes(writer);
  message[6] = count >>> 8;
  message[7] = count & 0xff;
  message[11] = query.edns === undefined ? 0 : 1;
  return message;
}

const notifyTries = 3;
const notifyMs = 2000;

// RFC 1996 3: opcode 4, AA, the zone's SOA as the question.
async function notifyHost(
  zone: DnsName,
  { address, port }: TransferHost,
  source: Address | undefined,
  namespace: NetworkNamespace,
): Promise<void> {
  const query = buildMessage({
    ...emptyMessage,
    id: randomInt(0x10000),
    opcode: 4,
    authoritative: true,
    questions: [{ name: zone, type: "SOA", class: 1 }],
  });
  const exchange = { namespace, server: address, port, timeoutMs: notifyMs, query, transport: "udp" as const };
  for (let left = notifyTries; ; left--) {
    try {
      const response = await exchangeDns({ ...exchange, ...(source !== undefined && { source }) });
      const rcode = (response[3] ?? 0) & 0xf;
      if (rcode === rcodes.NOERROR) return;
      throw new Error(`it says ${rcodeName(rcode)}`);
    } catch (error) {
      if (left <= 1) throw error;
    }
  }
}

function nameOf({ address, port }: TransferHost): string {
  return `${address.includes(":") ? `[${address}]` : address}:${port}`;
}

function absolute(name: DnsName): string {
  return name === "." ? name : `${name}.`;
}
