// Acting on `template`: the first whose zones, type and patterns fit makes the answer.
//
// Not here: its words (corefile-template.ts).

import type { Address } from "../../ip/address.ts";
import { finishAnswer } from "../../wire/dns/answer.ts";
import { rcodes } from "../../wire/dns/message.ts";
import { isWithin, type DnsName } from "../../wire/dns/name.ts";
import type { Query } from "../../wire/dns/query.ts";
import { recordTypeName, recordTypes, type DnsRecord } from "../../wire/dns/record.ts";
import { parseRecord } from "../../wire/dns/record-text.ts";
import type { Template, TemplateConfig, TemplateValues } from "./corefile-template.ts";
import { messageOf, type Outcome } from "./outcome.ts";

/**
 * The answer, or undefined where the next plugin is to be asked. `ask` is for the addresses behind a CNAME. Throws where a template makes no
 * record of the name.
 */
export function answerByTemplates(
  templates: readonly TemplateConfig[],
  query: Query,
  client: () => Address,
  ask: (query: Query) => Outcome | Promise<Outcome>,
): Outcome | Promise<Outcome> | undefined {
  for (const template of templates) {
    const zone = longest(template.zones.filter((each) => isWithin(query.name, each)));
    // As CoreDNS: a question for ANY is one for each type.
    const isType = query.type === recordTypes.ANY || (template.type ?? query.type) === query.type;
    if (zone === undefined || !isType) continue;
    const name = absolute(query.name);
    const match = matchOf(template.matches, name);
    if (match === undefined && template.matches.length > 0) {
      if (template.fallthrough?.some((each) => isWithin(query.name, each)) === true) continue;
      return rcodes.SERVFAIL;
    }
    // As CoreDNS: a failure has no records.
    if (template.rcode === rcodes.SERVFAIL) return rcodes.SERVFAIL;
    const values: TemplateValues = {
      name,
      zone: absolute(zone),
      type: recordTypeName(query.type === recordTypes.ANY ? (template.type ?? query.type) : query.type),
      remote: client,
      match: match ?? /.*/.exec(name) ?? undefined,
    };
    return completed(template, query, values, ask);
  }
  return undefined;
}

function completed(
  template: TemplateConfig,
  query: Query,
  values: TemplateValues,
  ask: (query: Query) => Outcome | Promise<Outcome>,
): Outcome | Promise<Outcome> {
  const records = (from: readonly Template[]): DnsRecord[] => from.map((each) => recordOf(each(values)));
  const own = records(template.answer);
  const sections = { authority: records(template.authority), additional: records(template.additional) };
  const finish = (answers: readonly DnsRecord[]): Outcome => {
    const { rcode } = template;
    const answer = finishAnswer({
      name: query.name,
      type: query.type,
      rcode,
      authoritative: true,
      answers,
      ...sections,
    });
    return { answer, age: 0 };
  };
  const { data } = own.at(-1) ?? {};
  const isAddress = query.type === recordTypes.A || query.type === recordTypes.AAAA;
  if (data?.kind !== "CNAME" || !isAddress) return finish(own);
  const target = data.target.toLowerCase();
  // One that leads to itself ends here.
  if (target === query.name) return finish(own);
  return behind(ask, { ...query, name: target }).then((answers) => finish([...own, ...answers]));
}

async function behind(ask: (query: Query) => Outcome | Promise<Outcome>, query: Query): Promise<readonly DnsRecord[]> {
  try {
    const found = await ask(query);
    return typeof found === "number" ? [] : messageOf(query, found.answer, found.age).answers;
  } catch {
    // The client gets the CNAME and can ask for its target.
    return [];
  }
}

function recordOf(text: string): DnsRecord {
  const record = parseRecord(text);
  if (record === undefined) throw new Error(`template: "${text}" is no record`);
  return record;
}

function matchOf(matches: readonly RegExp[], name: string): RegExpExecArray | undefined {
  for (const each of matches) {
    const match = each.exec(name);
    if (match !== null) return match;
  }
  return undefined;
}

function longest(zones: readonly DnsName[]): DnsName | undefined {
  return zones.toSorted((a, b) => b.length - a.length)[0];
}

function absolute(name: DnsName): string {
  return name === "." ? name : `${name}.`;
}
