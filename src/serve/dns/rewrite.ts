// Acting on `rewrite name`: which name is asked instead, and how the answer is told under the name that was asked.

import { finishAnswer } from "../../wire/dns/answer.ts";
import type { DnsName } from "../../wire/dns/name.ts";
import type { Query } from "../../wire/dns/query.ts";
import type { DnsRecord, RecordData } from "../../wire/dns/record.ts";
import type { AnswerRule, RewriteRule } from "./corefile-rewrite.ts";
import { messageOf, type Outcome } from "./outcome.ts";

export interface RewrittenName {
  /** In lower case, no final dot. */
  readonly name: DnsName;
  /** What happens on the way back, in order. */
  readonly steps: readonly { readonly rule: AnswerRule; readonly from: string; readonly to: string }[];
}

/** The name to ask instead; undefined where no rule matches. */
export function rewriteName(rules: readonly RewriteRule[], asked: DnsName): RewrittenName | undefined {
  let name = dotted(asked);
  let matched = false;
  const steps: RewrittenName["steps"][number][] = [];
  for (const rule of rules) {
    const renamed = rule.rename(name);
    if (renamed === undefined) continue;
    matched = true;
    // The last change is undone first.
    steps.unshift(...rule.answers.map((answer) => ({ rule: answer, from: name, to: renamed })));
    name = renamed;
    if (rule.after === "stop") break;
  }
  return matched ? { name: undotted(name), steps } : undefined;
}

/** The outcome for the new name as the answer to the query: kept as long as that one, for the same name is always rewritten the same way. */
export function rewrittenBack(outcome: Outcome, query: Query, { name, steps }: RewrittenName): Outcome {
  if (typeof outcome === "number") return outcome;
  const message = messageOf({ ...query, name }, outcome.answer, 0);
  const back = (records: readonly DnsRecord[]): DnsRecord[] =>
    records.map((record) => ({
      ...record,
      name: renamed(record.name, "name", steps),
      data: renamedData(record.data, steps),
    }));
  const answer = finishAnswer({
    name: query.name,
    type: query.type,
    rcode: message.rcode & 0xf,
    authoritative: message.authoritative,
    answers: back(message.answers),
    authority: back(message.authority),
    additional: back(message.additional),
  });
  return { ...outcome, answer };
}

function renamed(name: DnsName, part: "name" | "value", steps: RewrittenName["steps"]): DnsName {
  let text = dotted(name.toLowerCase());
  for (const { rule, from, to } of steps) {
    if (rule.kind === "back") {
      if (text === to) text = from;
      else if (text.endsWith(`.${to}`)) text = text.slice(0, -to.length) + from;
    } else if (rule.part === part) text = rule.rename(text) ?? text;
  }
  return text === dotted(name.toLowerCase()) ? name : undotted(text);
}

function renamedData(data: RecordData, steps: RewrittenName["steps"]): RecordData {
  switch (data.kind) {
    case "NS":
    case "CNAME":
    case "PTR":
    case "MX":
    case "SRV":
      return { ...data, target: renamed(data.target, "value", steps) };
    case "SOA":
      return { ...data, primary: renamed(data.primary, "value", steps) };
    case "A":
    case "AAAA":
    case "TXT":
    case "unknown":
      return data;
  }
}

function dotted(name: string): string {
  return name === "." ? name : `${name}.`;
}

function undotted(name: string): string {
  return name === "." ? name : name.slice(0, -1);
}
