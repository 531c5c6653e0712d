// What comes of a question, and an answer's records, taken out of its bytes for what changes answers on their way (rewrite, autopath).

import { writeAnswer, type FinishedAnswer } from "../../wire/dns/answer.ts";
import { buildQuery, parseMessage, type DnsMessage } from "../../wire/dns/message.ts";
import type { Query } from "../../wire/dns/query.ts";
import { recordTypeName, recordTypes } from "../../wire/dns/record.ts";
import type { CachedAnswer } from "./forwarder.ts";

/** A whole answer (and its age in a cache, in seconds), or only an rcode; `silence` (acl.ts) and `transferring` are none. */
export type Outcome = (CachedAnswer & Keepable) | number;

/** An outcome without a response of its own: the zone is to be sent (transfer.ts). */
export const transferring = -2;

/** Is it a question for a whole zone? */
export function isTransfer(type: number): boolean {
  return type === recordTypes.AXFR || type === recordTypes.IXFR;
}

interface Keepable {
  /**
   * Set where everybody who asks this gets the same until the zone changes: whose answer it is (`ownerOf`). It may be kept as bytes then.
   */
  readonly owner?: number;
}

/** The whole answer as it would be sent to this query, as a value. Throws DnsFormatError. */
export function messageOf(query: Pick<Query, "name" | "type">, answer: FinishedAnswer, age: number): DnsMessage {
  const asked = buildQuery({ id: 0, name: query.name, type: recordTypeName(query.type) });
  const plain: Query = {
    kind: "query",
    id: 0,
    flags: 0,
    name: query.name,
    type: query.type,
    class: 1,
    questionEnd: asked.length,
    edns: undefined,
  };
  const out = new Uint8Array(asked.length + answer.bytes.length);
  const length = writeAnswer(out, asked, plain, answer, { limit: out.length, turn: 0, age });
  return parseMessage(out.subarray(0, length));
}
