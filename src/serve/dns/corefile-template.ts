// `template CLASS TYPE [ZONES…] { match … answer … rcode … fallthrough }`: answers made of the question's name by patterns and by what of Go's
// templates people use for that: `{{ .Name }}`, `.Zone`, `.Class`, `.Type`, `.Remote`, `.Group.NAME`, `index .Match N`, `parseInt`.
//
// Not here: answering by it (template.ts).

import { rcodes } from "../../wire/dns/message.ts";
import type { DnsName } from "../../wire/dns/name.ts";
import { recordTypeNumber } from "../../wire/dns/record.ts";
import { errorAt, optionsOf, single, some, unknownOption, zonesFrom, type Fallthrough } from "./corefile-plugins.ts";
import { regularExpression } from "./corefile-rewrite.ts";
import type { Directive } from "./corefile-tokens.ts";

export interface TemplateConfig {
  /** Undefined: every type. */
  readonly type: number | undefined;
  readonly zones: readonly DnsName[];
  /** The first that matches counts; empty: every name. Names are in lower case with a final dot. */
  readonly matches: readonly RegExp[];
  readonly rcode: number;
  readonly answer: readonly Template[];
  readonly authority: readonly Template[];
  readonly additional: readonly Template[];
  /** Undefined: what no pattern matches is SERVFAIL. */
  readonly fallthrough: Fallthrough | undefined;
}

/** Gives the text of a record. */
export type Template = (values: TemplateValues) => string;

export interface TemplateValues {
  /** With their final dots. */
  readonly name: string;
  readonly zone: string;
  readonly type: string;
  /** Asked for only where a template says `.Remote`. */
  readonly remote: () => string;
  readonly match: RegExpExecArray | undefined;
}

/** Throws CorefileError. */
export function parseTemplate(directive: Directive, blockZones: readonly DnsName[]): TemplateConfig {
  const [className = "", typeName = "", ...zones] = directive.words;
  if (className !== "IN" && className !== "ANY")
    throw errorAt(directive, `template: the class is IN or ANY here, not "${className}"`);
  const type = recordTypeNumber(typeName);
  if (type === undefined) throw errorAt(directive, `template: "${typeName}" is no type of records`);
  const matches: RegExp[] = [];
  const templates: Record<"answer" | "authority" | "additional", Template[]> = {
    answer: [],
    authority: [],
    additional: [],
  };
  let rcode: number = rcodes.NOERROR;
  let fallthrough: Fallthrough | undefined;
  for (const option of optionsOf(directive)) {
    switch (option.name) {
      case "match":
        matches.push(...some(option).map((pattern) => regularExpression("template", pattern, option)));
        break;
      case "answer":
      case "authority":
      case "additional":
        templates[option.name].push(...some(option).map((text) => templateOf(text, option)));
        break;
      case "rcode":
        rcode = rcodeOf(option);
        break;
      case "fallthrough":
        fallthrough = zonesFrom(option.words, ["."], option);
        break;
      case "ederror":
        // Why, told beside the rcode (RFC 8914): nothing acts by it.
        some(option);
        break;
      case "var":
      case "expr":
        throw errorAt(option, `template: ${option.name} is not supported here: its expressions are not read`);
      default:
        throw unknownOption("template", option);
    }
  }
  const own = zonesFrom(zones, blockZones, directive);
  return { type: typeName === "ANY" ? undefined : type, zones: own, matches, rcode, ...templates, fallthrough };
}

function rcodeOf(option: Directive): number {
  const word = single(option);
  const found = Object.entries({ ...rcodes, YXDOMAIN: 6, YXRRSET: 7, NXRRSET: 8, NOTAUTH: 9, NOTZONE: 10 }).find(
    ([name]) => name === word,
  );
  if (found === undefined || found[1] > 15) throw errorAt(option, `template: unknown rcode "${word}"`);
  return found[1];
}

/** Text and `{{ … }}`; a dash inside of the braces takes the white space outside of them. */
function templateOf(text: string, place: Directive): Template {
  const parts = text.split(/(\{\{.*?\}\})/s).map((part, index, all): Template => {
    if (index % 2 === 1) return actionOf(part, place);
    let literal = part;
    if (all[index - 1]?.endsWith("-}}") === true) literal = literal.trimStart();
    if (all[index + 1]?.startsWith("{{-") === true) literal = literal.trimEnd();
    return () => literal;
  });
  return (values) => parts.map((part) => part(values)).join("");
}

function actionOf(action: string, place: Directive): Template {
  const words = action.slice(2, -2).replace(/^-|-$/g, "").trim().split(/\s+/);
  const [what = "", ...rest] = words;
  if (what === "parseInt") {
    const [base = "", bits = "", extra] = rest.slice(-2);
    const value = valueOf(rest.slice(0, -2), action, place);
    if (!/^\d+$/.test(base) || !/^\d+$/.test(bits) || extra !== undefined) throw unknown(action, place);
    return (values) => integerOf(value(values), Number(base));
  }
  return valueOf(words, action, place);
}

function valueOf([what = "", ...rest]: readonly string[], action: string, place: Directive): Template {
  const group = /^\.Group\.(\w+)$/.exec(what)?.[1];
  if (group !== undefined && rest.length === 0) return ({ match }) => match?.groups?.[group] ?? "";
  if (what === "index" && rest.length === 2) {
    const [of, which = ""] = rest;
    if (of === ".Match" && /^\d+$/.test(which)) return ({ match }) => match?.[Number(which)] ?? "";
    const named = /^"(\w+)"$/.exec(which)?.[1];
    if (of === ".Group" && named !== undefined)
      return ({ match }) => match?.groups?.[named] ?? (/^\d+$/.test(named) ? (match?.[Number(named)] ?? "") : "");
  }
  if (rest.length === 0) {
    switch (what) {
      case ".Name":
      case ".Question.Name":
        return ({ name }) => name;
      case ".Zone":
        return ({ zone }) => zone;
      case ".Class":
        return () => "IN";
      case ".Type":
        return ({ type }) => type;
      case ".Remote":
        return ({ remote }) => remote();
    }
  }
  throw unknown(action, place);
}

// strconv.ParseUint: what is no number fails, and with it the answer.
function integerOf(text: string, base: number): string {
  const value = Number.parseInt(text, base);
  if (!(value >= 0) || value.toString(base) !== text.toLowerCase().replace(/^0+(?=.)/, ""))
    throw new Error(`template: parseInt: "${text}" is no number to base ${base}`);
  return String(value);
}

function unknown(action: string, place: Directive): Error {
  return errorAt(
    place,
    `template: ${action} is not known here; known are .Name .Zone .Class .Type .Remote .Group.NAME, index .Match N, parseInt VALUE BASE BITS`,
  );
}
