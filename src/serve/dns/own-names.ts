// The plugins that answer a few questions by themselves, before all others: `local` (localhost and the zones of loopback addresses, which are
// asked of nobody else), `any` (RFC 8482), `chaos` (which server is this?). In CoreDNS's words, so that whoever compares them sees no difference.

import { hostname } from "node:os";

import { finishAnswer } from "../../wire/dns/answer.ts";
import { rcodes } from "../../wire/dns/message.ts";
import { isWithin, type DnsName } from "../../wire/dns/name.ts";
import type { Query } from "../../wire/dns/query.ts";
import { classIn, recordTypes, type RecordData } from "../../wire/dns/record.ts";
import type { Outcome } from "./outcome.ts";
import { oneOf, optionsOf, unknownOption } from "./corefile-plugins.ts";
import type { Directive } from "./corefile-tokens.ts";

export interface LocalConfig {
  /** Are names that begin with `localhost.` answered too? */
  readonly prefix: boolean;
}

export interface ChaosConfig {
  readonly version: string;
  readonly authors: readonly string[];
}

/** `local { localhost_prefix on|off }`. Throws CorefileError. */
export function parseLocal(directive: Directive): LocalConfig {
  let prefix = true;
  for (const option of optionsOf(directive)) {
    if (option.name !== "localhost_prefix") throw unknownOption("local", option);
    prefix = oneOf(option, ["on", "off"]) === "on";
  }
  return { prefix };
}

/** `chaos [VERSION] [AUTHORS…]` */
export function parseChaos({ words: [version = "Fairlead DNS", ...authors] }: Directive): ChaosConfig {
  return { version, authors };
}

/** RFC 1035 3.2.4 */
export const classChaos = 3;

const localZones = ["localhost", "0.in-addr.arpa", "127.in-addr.arpa", "255.in-addr.arpa"];
// CoreDNS's, a week.
const localTtl = 604_800;

/** The answer to a question of class IN that is for `local`; undefined: it is for others. */
export function answerLocally({ prefix }: LocalConfig, { name, type }: Query): Outcome | undefined {
  const zone = localZones.find((each) => isWithin(name, each));
  const isPrefixed = prefix && name.startsWith("localhost.");
  if (zone === undefined && !isPrefixed) return undefined;
  const data: RecordData[] = [];
  if (isPrefixed || zone === "localhost") {
    if (type === recordTypes.A) data.push({ kind: "A", address: "127.0.0.1" });
    if (type === recordTypes.AAAA) data.push({ kind: "AAAA", address: "::1" });
  }
  const soa: RecordData = {
    kind: "SOA",
    primary: "localhost",
    mailbox: "root.localhost",
    serial: 1,
    refresh: 0,
    retry: 0,
    expire: 0,
    minimum: localTtl,
  };
  const isApex = name === zone;
  if (isApex && type === recordTypes.SOA) data.push(soa);
  if (isApex && type === recordTypes.NS) data.push({ kind: "NS", target: "localhost" });
  const isOne = name === "1.0.0.127.in-addr.arpa";
  if (isOne && type === recordTypes.PTR) data.push({ kind: "PTR", target: "localhost" });
  const exists = isApex || isOne || isPrefixed || zone === "localhost";
  const owner = isOne ? "127.in-addr.arpa" : exists ? name : (zone ?? name);
  return {
    answer: finishAnswer({
      name,
      type,
      rcode: exists ? rcodes.NOERROR : rcodes.NXDOMAIN,
      authoritative: false,
      answers: data.map((each) => ({ name, class: classIn, ttl: localTtl, data: each })),
      authority: data.length > 0 ? [] : [{ name: owner, class: classIn, ttl: localTtl, data: soa }],
    }),
    age: 0,
  };
}

/** RFC 8482 4.2: a HINFO record that says why. */
export function answerAny({ name, type }: Query): Outcome {
  const bytes = new TextEncoder().encode("\rANY obsoleted\x0cSee RFC 8482");
  const data: RecordData = { kind: "unknown", type: recordTypes.HINFO, bytes };
  const answers = [{ name, class: classIn, ttl: 8482, data }];
  return { answer: finishAnswer({ name, type, rcode: rcodes.NOERROR, authoritative: false, answers }), age: 0 };
}

/** The answer to a question of class CHAOS; undefined: there is none. */
export function answerChaos({ version, authors }: ChaosConfig, { name, type }: Query): Outcome | undefined {
  const texts = type === recordTypes.TXT ? chaosTexts(name, version, authors) : undefined;
  if (texts === undefined) return undefined;
  const answers = texts.map((text) => {
    const data: RecordData = { kind: "TXT", strings: [text.slice(0, 255)] };
    return { name, class: classChaos, ttl: 0, data };
  });
  return { answer: finishAnswer({ name, type, rcode: rcodes.NOERROR, authoritative: false, answers }), age: 0 };
}

function chaosTexts(name: DnsName, version: string, authors: readonly string[]): readonly string[] | undefined {
  switch (name) {
    case "version.bind":
    case "version.server":
      return [version];
    case "authors.bind":
      return authors;
    case "hostname.bind":
    case "id.server":
      return [hostname()];
  }
  return undefined;
}
