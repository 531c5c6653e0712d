// `rewrite [continue|stop] name [exact|prefix|suffix|substring|regex] FROM TO [answer …]`: another name is asked, and the answer told under the first.
// Names are matched in lower case with a final dot, as CoreDNS does, so a regular expression may end in `\.$`.
//
// Not here: where rules apply (rewrite.ts).

import { bare, errorAt, zoneName } from "./corefile-plugins.ts";
import type { Directive } from "./corefile-tokens.ts";

export interface RewriteRule {
  /** `continue`: the rules behind it see the new name. */
  readonly after: "continue" | "stop";
  /** The new name of a name (both in lower case with a final dot), or undefined where the rule does not match. */
  readonly rename: (name: string) => string | undefined;
  readonly answers: readonly AnswerRule[];
}

/** What happens to names in the answer. */
export type AnswerRule =
  /** What was asked instead becomes what was asked, also at the end of longer names; in record data too. */
  | { readonly kind: "back" }
  | {
      readonly kind: "replace";
      readonly part: "name" | "value";
      readonly rename: (name: string) => string | undefined;
    };

const matchKinds = ["exact", "prefix", "suffix", "substring", "regex"] as const;

/** Also the form with a block: `rewrite stop { name … ; answer … }`. Throws CorefileError. */
export function parseRewrite(directive: Directive): readonly RewriteRule[] {
  const words = [...directive.words];
  const after = words[0] === "continue" || words[0] === "stop" ? (words.shift() as "continue" | "stop") : "stop";
  const lines =
    directive.block === undefined ? [words] : [words, ...directive.block.map((line) => [line.name, ...line.words])];
  for (const line of directive.block ?? []) if (line.block !== undefined) bare({ ...line, words: ["{"] });
  const all = lines.flat();
  // Without a field it is an exact name, as in CoreDNS.
  const field = all.shift();
  if (field !== "name") {
    throw errorAt(directive, `rewrite: only names can be rewritten here (\`rewrite name …\`), not "${field ?? ""}"`);
  }
  const kind = matchKinds.find((each) => each === all[0]) ?? "exact";
  if (kind === all[0]) all.shift();
  const [from, to, ...answer] = all;
  if (from === undefined || to === undefined) throw errorAt(directive, `rewrite name ${kind} takes FROM and TO`);
  const rename = renamer(kind, from, to, directive);
  const answers = answersOf(answer, kind, from, to, directive);
  return [{ after, rename, answers }];
}

function answersOf(
  words: readonly string[],
  kind: (typeof matchKinds)[number],
  from: string,
  to: string,
  directive: Directive,
): readonly AnswerRule[] {
  const rules: AnswerRule[] = kind === "exact" ? [{ kind: "back" }] : [];
  const rest = [...words];
  while (rest.length > 0) {
    if (rest[0] === "answer") rest.shift();
    const part = rest.shift();
    if ((part === "name" || part === "value") && rest[0] === "auto") continue;
    if (part === "auto") {
      if (kind === "suffix") {
        const rename = renamer("suffix", to, from, directive);
        rules.push({ kind: "replace", part: "name", rename }, { kind: "replace", part: "value", rename });
      } else if (kind !== "exact") rules.push({ kind: "back" });
      continue;
    }
    const [pattern, replacement] = rest.splice(0, 2);
    if ((part !== "name" && part !== "value") || pattern === undefined || replacement === undefined)
      throw errorAt(directive, `rewrite: "answer" takes auto, or name or value with FROM and TO, not "${part ?? ""}"`);
    rules.push({ kind: "replace", part, rename: renamer("regex", pattern, replacement, directive) });
  }
  return rules;
}

function renamer(
  kind: (typeof matchKinds)[number],
  from: string,
  to: string,
  directive: Directive,
): (name: string) => string | undefined {
  // As in CoreDNS each but a regular expression is read as a name with a final dot: `prefix api.` and `prefix api` are the same, and
  // neither is the beginning of `api-2`.
  const lower = absolute(from.toLowerCase());
  const target = absolute(to.toLowerCase());
  switch (kind) {
    case "exact": {
      const name = absolute(zoneName(from, directive));
      const renamed = absolute(zoneName(to, directive));
      return (asked) => (asked === name ? renamed : undefined);
    }
    case "prefix":
      return (asked) => (asked.startsWith(lower) ? target + asked.slice(lower.length) : undefined);
    case "suffix":
      return (asked) => (asked.endsWith(lower) ? asked.slice(0, -lower.length) + target : undefined);
    case "substring":
      return (asked) => (asked.includes(lower) ? asked.replaceAll(lower, target) : undefined);
    case "regex": {
      const pattern = regularExpression("rewrite", from, directive);
      return (asked) => {
        const match = pattern.exec(asked);
        return match === null
          ? undefined
          : absolute(to.replaceAll(/\{(\d+)\}/g, (_, index: string) => match[Number(index)] ?? "").toLowerCase());
      };
    }
  }
}

/** A regular expression in RE2's syntax, where that is written otherwise than here: flags in front, named groups. Throws CorefileError. */
export function regularExpression(plugin: string, text: string, directive: Directive): RegExp {
  if (text.length > 10_000) throw errorAt(directive, `${plugin}: a regular expression has 10000 characters at most`);
  const flags = /^\(\?([is]+)\)/.exec(text);
  const body = (flags === null ? text : text.slice(flags[0].length)).replaceAll("(?P<", "(?<");
  try {
    return new RegExp(body, flags?.[1] ?? "");
  } catch (error) {
    throw errorAt(directive, `${plugin}: ${error instanceof Error ? error.message : String(error)}`);
  }
}

function absolute(name: string): string {
  return name.endsWith(".") ? name : `${name}.`;
}
