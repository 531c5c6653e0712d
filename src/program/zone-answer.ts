// The zone's answers as finished bytes: made by the first question for a name and type, kept for as long as the Zone lives.
// A changed Zone starts with none: making one takes microseconds, and no change can leave a wrong one behind.

import { finishAnswer, type FinishedAnswer } from "../wire/dns/answer.ts";
import { rcodes } from "../wire/dns/message.ts";
import type { DnsName } from "../wire/dns/name.ts";
import { recordTypeName, type DnsRecord } from "../wire/dns/record.ts";
import { denial, lookup, type ZoneAnswer } from "./zone-lookup.ts";
import type { Zone } from "./zone.ts";

/** An answer ready to be sent; with `continueAt` it ends in a CNAME that leads to others' names. */
export interface ZoneFinishedAnswer extends FinishedAnswer {
  readonly continueAt?: DnsName;
  /** The CNAMEs up to there. */
  readonly chain?: readonly DnsRecord[];
}

/** The finished answer to a question (`name` in lower case, no final dot), or undefined where others must be asked. */
export function finishedAnswer(zone: Zone, name: DnsName, type: number): ZoneFinishedAnswer | undefined {
  let types = known.get(zone);
  if (types === undefined) known.set(zone, (types = new Map()));
  let names = types.get(type);
  if (names === undefined) types.set(type, (names = new Map()));
  const made = names.get(name);
  if (made !== undefined) return made;
  const answer = makeAnswer(zone, name, type);
  // What does not exist has no end: only names that exist are kept, and those are as many as the zone has.
  if (answer !== undefined && answer.flags % 16 === rcodes.NOERROR && names.size < namesMax) names.set(name, answer);
  return answer;
}

/** "No such name" as bytes, by the zone named `cut`. */
export function finishedDenial(zone: Zone, cut: DnsName, name: DnsName, type: number): ZoneFinishedAnswer {
  return finished(denial(zone, cut), name, type);
}

/** Of each type. Pods' IPv6 names have many spellings, so even what exists needs a bound. */
const namesMax = 200_000;

const known = new WeakMap<Zone, Map<number, Map<DnsName, ZoneFinishedAnswer>>>();

function makeAnswer(zone: Zone, name: DnsName, type: number): ZoneFinishedAnswer | undefined {
  const found = lookup(zone, name, recordTypeName(type));
  return found === undefined ? undefined : finished(found, name, type);
}

function finished(found: ZoneAnswer, name: DnsName, type: number): ZoneFinishedAnswer {
  const { rcode, answers, authority, additional, continueAt } = found;
  const answer = finishAnswer({
    name,
    type,
    rcode: rcodes[rcode],
    authoritative: true,
    answers,
    authority,
    additional,
  });
  return continueAt === undefined ? answer : { ...answer, continueAt, chain: answers };
}
