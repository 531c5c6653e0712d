// `fairlead test FILE…`: expectations about connections, on manifests alone (CI needs no privileges), on a lab's model, or with real packets.
// A file is YAML: `tests:` with items `{from, to, protocol, expect: allow|deny, by}`.

import { readFileSync } from "node:fs";
import process from "node:process";

import { LineCounter, parseDocument } from "yaml";

import { labClient } from "../lab/client.ts";
import { labPaths } from "../lab/paths.ts";
import {
  expectationText,
  formatJunit,
  formatTap,
  meets,
  type Expectation,
  type Outcome,
  type Verdict,
} from "../trace/expectation.ts";
import { TraceQueryError, type TraceQuery } from "../trace/query.ts";
import type { Trace } from "../trace/trace.ts";
import { loadManifests } from "./manifests.ts";
import type { LiveResult } from "./trace.ts";

interface TestOptions {
  readonly namespace: string;
  readonly filename?: readonly string[];
  readonly live?: boolean;
  readonly output: "tap" | "junit";
  readonly name: string;
}

type Ask = (query: TraceQuery) => Promise<{ readonly trace: Trace; readonly live?: LiveResult }>;

export default async function test(files: readonly string[], options: TestOptions): Promise<number> {
  if (options.live === true && options.filename !== undefined)
    throw new Error("--live sends real packets: that needs a lab; leave out -f, or leave out --live");
  const read = files.map((file) => ({ file, expectations: readExpectations(file, readFileSync(file, "utf8")) }));
  const ask =
    options.filename === undefined ? askLab(options) : await askManifests(options.filename, options.namespace);
  const outcomes: Outcome[] = [];
  for (const { file, expectations } of read)
    for (const expectation of expectations)
      outcomes.push({
        name: expectationText(expectation),
        file,
        verdict: await verdictOf(ask, expectation, options.namespace),
      });
  process.stdout.write(options.output === "junit" ? formatJunit(outcomes) : formatTap(outcomes));
  return outcomes.every(({ verdict }) => verdict.ok) ? 0 : 1;
}

async function verdictOf(ask: Ask, expectation: Expectation, namespace: string): Promise<Verdict> {
  const { from, to, protocol } = expectation;
  try {
    const { trace, live } = await ask({ from, to, protocol, namespace });
    const verdict = meets(trace, expectation);
    if (!verdict.ok || live === undefined || live.agrees) return verdict;
    return {
      ok: false,
      detail: `the model says ${trace.disposition}, the real packet: ${live.outcome} ${live.detail}`,
    };
  } catch (error) {
    // A name that nobody has is a failed test; everything else is a failed run.
    if (error instanceof TraceQueryError || isNotFound(error)) return { ok: false, detail: (error as Error).message };
    throw error;
  }
}

function isNotFound(error: unknown): boolean {
  return error instanceof Error && "status" in error && error.status === 404;
}

function askLab(options: TestOptions): Ask {
  const lab = labClient(labPaths(options.name));
  return async (query) => lab.call("/trace", { ...query, live: options.live === true });
}

async function askManifests(files: readonly string[], namespace: string): Promise<Ask> {
  const objects = loadManifests(files, namespace, () => undefined);
  const { imagineLab } = await import("../lab/imagine.ts");
  const { trace } = await import("../trace/query.ts");
  const world = await imagineLab(objects);
  return async (query) => ({ trace: trace(world, query) });
}

/** The expectations of a file. Throws an error that names file and line of what cannot be read. */
export function readExpectations(file: string, text: string): readonly Expectation[] {
  const counter = new LineCounter();
  const document = parseDocument(text, { lineCounter: counter });
  const [broken] = document.errors;
  if (broken !== undefined) throw new Error(`${file}:${counter.linePos(broken.pos[0]).line}: ${broken.message}`);
  const items = document.getIn(["tests"], true);
  if (typeof items !== "object" || items === null || !("items" in items) || !Array.isArray(items.items))
    throw new Error(
      `${file}:1: there is no list "tests" of expectations such as {from: ns/pod, to: ns/service:80, expect: allow}`,
    );
  return items.items.map((_, index): Expectation => {
    const at = (key: string): unknown => document.getIn(["tests", index, key]);
    const fail = (message: string): never => {
      const node = document.getIn(["tests", index], true) as { range?: readonly [number, number, number] } | undefined;
      const line = node?.range === undefined ? 1 : counter.linePos(node.range[0]).line;
      throw new Error(`${file}:${line}: tests[${index}]: ${message}`);
    };
    const textAt = (key: string): string => {
      const value = at(key);
      return typeof value === "string" && value !== ""
        ? value
        : fail(`${key}: must be text such as production/frontend`);
    };
    const protocol = at("protocol") ?? "tcp";
    const expect = at("expect");
    const by = at("by");
    if (protocol !== "tcp" && protocol !== "udp" && protocol !== "sctp")
      return fail("protocol: must be tcp, udp or sctp");
    if (expect !== "allow" && expect !== "deny") return fail("expect: must be allow or deny");
    if (by !== undefined && typeof by !== "string") return fail("by: must be the name of a policy");
    return { from: textAt("from"), to: textAt("to"), protocol, expect, ...(by !== undefined && { by }) };
  });
}
