// The zone's answers as finished bytes, and whose they are: what a change of one Service can change of them.
//
// Not here: where they are kept (serve/dns/answer-table.ts).

import { finishAnswer, type FinishedAnswer } from "../wire/dns/answer.ts";
import { rcodes } from "../wire/dns/message.ts";
import type { DnsName } from "../wire/dns/name.ts";
import { recordTypeName, type DnsRecord } from "../wire/dns/record.ts";
import { lookup, type ZoneAnswer } from "./zone-lookup.ts";
import { createMemory } from "./zone-memory.ts";
import type { Zone } from "./zone.ts";

/** An answer ready to be sent; with `continueAt` it ends in a CNAME that leads to others' names. */
export interface ZoneFinishedAnswer extends FinishedAnswer {
  readonly continueAt?: DnsName;
  /** The CNAMEs up to there. */
  readonly chain?: readonly DnsRecord[];
  /** It begins with a CNAME: what follows is of another name. */
  readonly isAlias?: true;
}

/** The finished answer to a question (`name` in lower case, no final dot), or undefined where others must be asked; `cut` as in lookup. */
export function finishedAnswer(zone: Zone, name: DnsName, type: number, cut?: DnsName): ZoneFinishedAnswer | undefined {
  const found = lookup(zone, name, recordTypeName(type), cut);
  return found === undefined ? undefined : finished(found, name, type);
}

/** The same, made by the first question and kept for as long as the Zone lives: for servers whose answers nobody else keeps. */
export function keptAnswer(zone: Zone, name: DnsName, type: number): ZoneFinishedAnswer | undefined {
  let types = known.get(zone);
  if (types === undefined) known.set(zone, (types = new Map()));
  let names = types.get(type);
  if (names === undefined) types.set(type, (names = new Map()));
  const made = names.get(name);
  if (made !== undefined) return made;
  const answer = finishedAnswer(zone, name, type);
  // What does not exist has no end: only names that exist are kept, and those are as many as the zone has.
  if (answer !== undefined && answer.flags % 16 === rcodes.NOERROR && names.size < namesMax) names.set(name, answer);
  return answer;
}

/**
 * The Service, as a number that others seldom have, without which the answer (also "no such name") would be the same: 0 where that is not
 * one Service alone. With the same namespaces it changes only when a Service of this number does.
 */
export function ownerOf(name: DnsName, { settings: { domain } }: Zone, answer: ZoneFinishedAnswer): number {
  const end = name.length - domain.length - services.length;
  if (answer.isAlias === true || end <= 0 || !name.endsWith(domain) || !name.startsWith(services, end)) return 0;
  const dot = name.lastIndexOf(".", end - 1);
  // The namespace itself.
  if (dot < 0) return 0;
  return numberOf(name, name.lastIndexOf(".", dot - 1) + 1, end);
}

/** The number of a Service's answers. */
export function serviceOwner({ name, namespace }: { readonly name: string; readonly namespace: string }): number {
  const text = `${name}.${namespace}`;
  return numberOf(text, 0, text.length);
}

const services = ".svc.";

/** FNV-1a; never 0, and no larger than a word with a sign. */
function numberOf(text: string, from: number, to: number): number {
  let hash = 0x811c9dc5;
  for (let i = from; i < to; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return (hash ^ (hash >>> 15)) | 1;
}

/** Of each type. Pods' IPv6 names have many spellings, so even what exists needs a bound. */
const namesMax = 200_000;

const known = createMemory<Zone, Map<number, Map<DnsName, ZoneFinishedAnswer>>>("answers");

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
  if (answers[0]?.data.kind !== "CNAME") return answer;
  return { ...answer, isAlias: true, ...(continueAt !== undefined && { continueAt, chain: answers }) };
}
