// The search list in one question: a pod's resolver that looks for `example.com` asks for `example.com.default.svc.cluster.local` first.
// The server knows the pod by its address, and so its search list; it walks the list itself and answers with the first name that exists,
// by a CNAME from the name that was asked (as CoreDNS does).
//
// Where a later name fails (an upstream that is away), the first name's answer is given: the client goes on by itself.

import type { Address } from "../../ip/address.ts";
import { clientNamespace, clusterSearch } from "../../program/zone-view.ts";
import type { Zone } from "../../program/zone.ts";
import { finishAnswer } from "../../wire/dns/answer.ts";
import { rcodes } from "../../wire/dns/message.ts";
import { isWithin, type DnsName } from "../../wire/dns/name.ts";
import type { Query } from "../../wire/dns/query.ts";
import { classIn, recordTypes, type DnsRecord } from "../../wire/dns/record.ts";
import type { ServerConfig } from "./corefile.ts";
import type { Metrics } from "./metrics.ts";
import { messageOf, type Outcome } from "./outcome.ts";

/** The names to try for this query, the asked one first; undefined where it is no first name of its client's search list. */
export function autopathOf(
  config: ServerConfig,
  parts: { readonly zone: () => Zone | undefined },
): ((query: Query, client: () => Address) => readonly DnsName[] | undefined) | undefined {
  const { autopath, kubernetes } = config;
  const domain = kubernetes?.zones.find((zone) => !zone.endsWith(".arpa"));
  if (autopath === undefined || domain === undefined) return undefined;
  const svc = `.svc.${domain}`;
  return (query, client) => {
    if (query.type !== recordTypes.A && query.type !== recordTypes.AAAA) return undefined;
    // Cheap tests first: most questions are no first names.
    if (!query.name.endsWith(svc) || !autopath.zones.some((zone) => isWithin(query.name, zone))) return undefined;
    const zone = parts.zone();
    const namespace = zone && clientNamespace(zone, client());
    if (namespace === undefined) return undefined;
    const list = clusterSearch(namespace, domain);
    const first = `.${list[0]}`;
    if (!query.name.endsWith(first) || query.name.length === first.length) return undefined;
    const base = query.name.slice(0, -first.length);
    // A single label is no name of others': asking them would tell them every typing error.
    return [...list.map((suffix) => `${base}.${suffix}`), ...(base.includes(".") ? [base] : [])];
  };
}

/** Walks the names; the answer is the first that exists, told under the asked name. */
export function answerByAutopath(
  query: Query,
  names: readonly DnsName[],
  ask: (query: Query) => Outcome | Promise<Outcome>,
  metrics: Metrics,
): Outcome | Promise<Outcome> {
  const first = ask(query);
  if (!(first instanceof Promise) && !isMissing(first)) return first;
  return walk(first, query, names, ask, metrics);
}

async function walk(
  first: Outcome | Promise<Outcome>,
  query: Query,
  names: readonly DnsName[],
  ask: (query: Query) => Outcome | Promise<Outcome>,
  metrics: Metrics,
): Promise<Outcome> {
  const answer = await first;
  if (!isMissing(answer)) return answer;
  for (const name of names.slice(1)) {
    try {
      const found = await ask({ ...query, name });
      if (typeof found === "number" || isMissing(found)) continue;
      metrics.autopaths++;
      return { answer: toldAs(query, name, found), age: 0 };
    } catch {
      return answer;
    }
  }
  return answer;
}

/** Is there no such name? */
export function isMissing(outcome: Outcome): boolean {
  const rcode = typeof outcome === "number" ? outcome : outcome.answer.flags & 0xf;
  return rcode === rcodes.NXDOMAIN;
}

function toldAs(query: Query, name: DnsName, found: Exclude<Outcome, number>): ReturnType<typeof finishAnswer> {
  const { answers, authority, rcode, authoritative } = messageOf({ ...query, name }, found.answer, found.age);
  const [head] = answers;
  const alias: DnsRecord[] =
    head === undefined
      ? []
      : [{ name: query.name, class: classIn, ttl: head.ttl, data: { kind: "CNAME", target: name } }];
  return finishAnswer({
    name: query.name,
    type: query.type,
    rcode: rcode & 0xf,
    authoritative,
    answers: [...alias, ...answers],
    authority,
  });
}
