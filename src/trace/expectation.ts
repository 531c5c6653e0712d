// Expectations about connections (`fairlead test`): what somebody wants to be allowed or denied, held against a Trace.
//
// Not here: reading files (cli/test.ts), making Traces (query.ts).

import type { Protocol } from "../model/network.ts";
import { verdictOf } from "./matrix.ts";
import { isUnasked, type Trace } from "./trace.ts";

export interface Expectation {
  /** As `fairlead trace` takes them: `production/frontend`, `production/backend-db:5432`. */
  readonly from: string;
  readonly to: string;
  readonly protocol: Protocol;
  readonly expect: "allow" | "deny";
  /** The policy that allows it, or isolates against it. */
  readonly by?: string;
}

export interface Verdict {
  readonly ok: boolean;
  /** What was found instead, in words. */
  readonly detail: string;
}

/** `production/frontend may reach production/api-server:80/tcp` */
export function expectationText({ from, to, protocol, expect, by }: Expectation): string {
  const may = expect === "allow" ? "may reach" : "may not reach";
  return `${from} ${may} ${to}/${protocol}${by === undefined ? "" : `, by ${by}`}`;
}

/** Does the Trace meet it? Every way must: of two endpoints that differ, neither allow nor deny is true. */
export function meets(trace: Trace, expectation: Expectation): Verdict {
  if (isUnasked(trace) && expectation.expect === "allow")
    return { ok: false, detail: `${trace.from} may not ask cluster DNS for the name: trace it` };
  if (trace.disposition === "unresolved" && trace.paths.length === 0)
    return { ok: false, detail: `the name did not resolve: ${trace.name?.rcode ?? ""}` };
  if (trace.paths.length === 0) return { ok: false, detail: "there is no way to ask: the two share no IP family" };
  const verdicts = trace.paths.map(verdictOf);
  const wanted = expectation.expect === "allow" ? "allowed" : "denied";
  const other = verdicts.find(({ verdict }) => verdict !== wanted);
  if (other !== undefined) {
    const by = other.by.length === 0 ? "" : ` by ${other.by.join(", ")}`;
    const found =
      other.verdict === "unreachable"
        ? `does not arrive, ${trace.disposition}, but no policy denies it`
        : `is ${other.verdict}${by}`;
    return { ok: false, detail: `${trace.from} to ${trace.to} ${found}` };
  }
  const names = [...new Set(verdicts.flatMap(({ by }) => by))];
  if (expectation.by !== undefined && !names.includes(expectation.by))
    return {
      ok: false,
      detail: `${trace.from} to ${trace.to} is ${wanted}, but by ${names.join(", ") || "no policy"}, not by ${expectation.by}`,
    };
  return { ok: true, detail: names.join(", ") };
}

/** One expectation with its outcome. */
export interface Outcome {
  readonly name: string;
  readonly file: string;
  readonly verdict: Verdict;
}

/** Test Anything Protocol, version 14. */
export function formatTap(outcomes: readonly Outcome[]): string {
  const lines = outcomes.flatMap(({ name, verdict }, index) => [
    `${verdict.ok ? "ok" : "not ok"} ${index + 1} - ${name.replaceAll("#", "\\#")}`,
    ...(verdict.ok ? [] : ["  ---", `  message: ${JSON.stringify(verdict.detail)}`, "  ..."]),
  ]);
  return `${["TAP version 14", `1..${outcomes.length}`, ...lines].join("\n")}\n`;
}

/** JUnit's XML, as CI systems read it: a suite per file. */
export function formatJunit(outcomes: readonly Outcome[]): string {
  const files = [...new Set(outcomes.map(({ file }) => file))];
  const suites = files.map((file) => {
    const own = outcomes.filter((outcome) => outcome.file === file);
    const failures = own.filter(({ verdict }) => !verdict.ok).length;
    const cases = own.map(({ name, verdict }) =>
      verdict.ok
        ? `    <testcase name="${xml(name)}" classname="${xml(file)}"/>`
        : `    <testcase name="${xml(name)}" classname="${xml(file)}">\n      <failure message="${xml(verdict.detail)}"/>\n    </testcase>`,
    );
    return `  <testsuite name="${xml(file)}" tests="${own.length}" failures="${failures}">\n${cases.join("\n")}\n  </testsuite>`;
  });
  return `<?xml version="1.0" encoding="UTF-8"?>\n<testsuites>\n${suites.join("\n")}\n</testsuites>\n`;
}

function xml(text: string): string {
  const entities: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };
  return text.replace(/[&<>"]/g, (letter) => entities[letter] ?? letter);
}
