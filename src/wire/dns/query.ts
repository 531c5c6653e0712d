// A query as a server must see it: checked, and no more taken apart than answering needs. One pass, one string.
// Only what every DNS server must refuse is refused here; whether the name exists is the zone's business.
//
// Not here: whole messages as values (message.ts), writing the answer (answer.ts).

import { headerFlags, rcodes } from "./message.ts";
import { escapes } from "./name.ts";
import { recordTypes } from "./record.ts";

/** A well-formed query for one name. Offsets are into its own bytes. */
export interface Query {
  readonly kind: "query";
  readonly id: number;
  /** The header's second word. */
  readonly flags: number;
  /** In lower case (RFC 4343), no final dot, the root is ".". */
  readonly name: string;
  readonly type: number;
  readonly class: number;
  /** Where the question ends; it starts at 12. */
  readonly questionEnd: number;
  /** Undefined where the query has no OPT record. */
  readonly edns: QueryEdns | undefined;
}

interface QueryEdns {
  readonly udpBytes: number;
  readonly version: number;
  readonly dnssecOk: boolean;
}

/** What to do with bytes that are no query we can answer: say nothing, or send back this header with this rcode. */
export type Refusal =
  | { readonly kind: "silence" }
  | { readonly kind: "refusal"; readonly id: number; readonly flags: number; readonly rcode: number };

/** Looks at the first `length` bytes. Never throws: any bytes give a query or a refusal. */
export function readQuery(bytes: Uint8Array, length: number = bytes.length): Query | Refusal {
  if (length < 12) return silence;
  const id = uint16At(bytes, 0);
  const flags = uint16At(bytes, 2);
  // Answering answers would let two servers talk for ever (and a forged source address make them).
  if ((flags & headerFlags.response) !== 0) return silence;
  const refusal = (rcode: number): Refusal => ({ kind: "refusal", id, flags, rcode });
  if (((flags >>> 11) & 0xf) !== 0) return refusal(rcodes.NOTIMP);
  // One question (RFC 9619), no answers and no authority in a query, but for one record in IXFR (RFC 1995 3).
  const authority = uint16At(bytes, 8);
  if (uint16At(bytes, 4) !== 1 || uint16At(bytes, 6) !== 0 || authority > 1) return refusal(rcodes.FORMERR);

  let name = "";
  let at = 12;
  for (;;) {
    const size = bytes[at] ?? 0;
    // The first name of a message has nothing before it that a pointer could lead to.
    if (size > 63 || at + size >= length || at + size - 12 > 254) return refusal(rcodes.FORMERR);
    at += 1;
    if (size === 0) break;
    if (name !== "") name += ".";
    for (const end = at + size; at < end; at++) name += lowerEscapes[bytes[at] ?? 0];
  }
  const questionEnd = at + 4;
  if (questionEnd > length || (authority === 1 && uint16At(bytes, at) !== recordTypes.IXFR))
    return refusal(rcodes.FORMERR);
  const edns = readAdditional(bytes, questionEnd, length);
  if (edns === "malformed") return refusal(rcodes.FORMERR);
  return {
    kind: "query",
    id,
    flags,
    name: name === "" ? "." : name,
    type: uint16At(bytes, at),
    class: uint16At(bytes, at + 2),
    questionEnd,
    edns,
  };
}

const silence: Refusal = { kind: "silence" };

const lowerEscapes = escapes.map((text) => (text.length === 1 ? text.toLowerCase() : text));

// The records behind the question (IXFR's among them): an OPT record is EDNS, others (TSIG, cookies' friends) are walked over.
function readAdditional(bytes: Uint8Array, start: number, length: number): QueryEdns | undefined | "malformed" {
  let edns: QueryEdns | undefined;
  let at = start;
  for (let count = uint16At(bytes, 8) + uint16At(bytes, 10); count > 0; count--) {
    const nameStart = at;
    for (;;) {
      const size = bytes[at] ?? 0;
      if (at >= length) return "malformed";
      if (size >= 0xc0) {
        at += 2;
        break;
      }
      if (size > 63) return "malformed";
      at += size + 1;
      if (size === 0) break;
    }
    const dataEnd = at + 10 + uint16At(bytes, at + 8);
    if (at + 10 > length || dataEnd > length) return "malformed";
    if (uint16At(bytes, at) === recordTypes.OPT) {
      // RFC 6891 6.1.1: more than one is FORMERR; its name is the root.
      if (edns !== undefined || at !== nameStart + 1) return "malformed";
      edns = {
        udpBytes: uint16At(bytes, at + 2),
        version: bytes[at + 5] ?? 0,
        dnssecOk: ((bytes[at + 6] ?? 0) & 0x80) !== 0,
      };
    }
    at = dataEnd;
  }
  return at === length ? edns : "malformed";
}

function uint16At(bytes: Uint8Array, at: number): number {
  return ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
}
