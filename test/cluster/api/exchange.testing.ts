// The same sequences of requests to Fairlead's API server and to the real one, and where the answers differ: status, content type, every
// field with its zeros, generations, managed fields, and the events of watches. What is by chance (uids, times, versions, tokens) is not looked at.
//
// Not here: objects of every kind (compare.testing.ts), what is sent (the tables *-exchanges.testing.ts, in the words of exchange-words.testing.ts).

import { Agent, request } from "node:https";
import { isDeepStrictEqual } from "node:util";
import { causeText, chanceless, withMessages, type Cause, type Server } from "./compare.testing.ts";

/** One request. `path` and `body` may name `{ns}`, and `{uid}`, `{rv}` and `{continue}` of the last answer that had one. */
export interface Step {
  /** `GET /api/v1/namespaces/{ns}/pods?limit=2`. */
  readonly send: string;
  /** An object is sent as JSON, a text as it is. */
  readonly body?: unknown;
  readonly type?: string;
  readonly accept?: string;
  readonly headers?: { readonly [name: string]: string };
  /** A watch is read for as long as these take, and some time after them. */
  readonly during?: readonly Step[];
  /** Milliseconds before it is sent: what it speaks of takes its time on one side. */
  readonly afterMs?: number;
  /** What of the answer is compared: all of it where this is not said. */
  readonly see?: "all" | "status" | "type" | "nothing";
}

export type Exchange = readonly [about: string, ...steps: Step[]];

interface Reply {
  readonly status: number;
  readonly type: string;
  readonly warnings: readonly string[];
  readonly text: string;
}

/** What follows a request of a watch before it is closed. */
const settleMs = 400;

export interface ExchangeClient {
  run(exchange: Exchange, namespace: string): Promise<readonly (readonly string[])[]>;
  close(): void;
}

/** A client that runs exchanges and tells of each step what it saw, line by line. */
export function exchangeClient({ port, certificate, key }: Server): ExchangeClient {
  const agent = new Agent({ keepAlive: true, cert: certificate, key, rejectUnauthorized: false });

  const start = (step: Step, path: string, text: string): { reply: Promise<Reply>; stop(): void } => {
    const [method = ""] = step.send.split(" ");
    const type = step.type ?? (method === "PATCH" ? "application/merge-patch+json" : "application/json");
    const headers = {
      "user-agent": "compare",
      accept: step.accept ?? "application/json",
      ...(text === "" ? {} : { "content-type": type, "content-length": Buffer.byteLength(text) }),
      ...step.headers,
    };
    let stop = (): void => undefined;
    const reply = new Promise<Reply>((resolve, reject) => {
      const sent = request({ agent, host: "127.0.0.1", port, method, path, headers }, (response) => {
        const parts: Buffer[] = [];
        const done = (): void =>
          resolve({
            status: response.statusCode ?? 0,
            type: String(response.headers["content-type"]),
            warnings: [response.headers["warning"] ?? []].flat().flatMap((each) => each.split(/, (?=299)/)),
            text: Buffer.concat(parts).toString(),
          });
        stop = () => {
          done();
          response.destroy();
        };
        response.on("data", (part: Buffer) => parts.push(part));
        response.on("error", () => undefined);
        response.on("end", done);
      });
      sent.on("error", reject);
      sent.end(text);
    });
    return { reply, stop: () => stop() };
  };

  return {
    async run([, ...steps], namespace) {
      const known = new Map([["ns", namespace]]);
      const seen: (readonly string[])[] = [];
      const filled = (text: string): string =>
        text.replace(/\{(ns|uid|rv|continue)\}/g, (_, name: string) => known.get(name) ?? "");
      const send = async (step: Step): Promise<void> => {
        const [, path = ""] = step.send.split(" ");
        const body =
          step.body === undefined ? "" : typeof step.body === "string" ? step.body : JSON.stringify(step.body);
        if (step.afterMs !== undefined) await delay(step.afterMs);
        const { reply, stop } = start(step, filled(path), filled(body));
        if (/[?&]watch=|\/watch\//.test(path) && !path.includes("timeoutSeconds")) {
          await delay(settleMs);
          for (const each of step.during ?? []) await send(each);
          await delay(settleMs);
          stop();
        }
        const answer = await reply;
        remember(known, answer.text);
        seen.push([step.send, ...linesOf(answer, step.see ?? "all")]);
      };
      for (const step of steps) await send(step);
      return seen;
    },
    close: () => agent.destroy(),
  };
}

function delay(ms: number): Promise<void> {
  return new Promise((resolve) => void setTimeout(resolve, ms));
}

/** What later steps may speak of. */
function remember(known: Map<string, string>, text: string): void {
  try {
    const { metadata = {} } = JSON.parse(text) as { readonly metadata?: { readonly [name: string]: string } };
    const names = { uid: "uid", rv: "resourceVersion", continue: "continue" };
    for (const [name, field] of Object.entries(names))
      if (metadata[field] !== undefined) known.set(name, metadata[field]);
  } catch {
    // Not an object.
  }
}

function linesOf({ status, type, warnings, text }: Reply, see: NonNullable<Step["see"]>): readonly string[] {
  if (see === "nothing") return [];
  const first = [`status ${status}`];
  if (see === "status") return first;
  first.push(`type ${type}`, ...warnings.map((each) => `warning ${steady(each)}`).sort());
  if (see === "type") return first;
  // A watch is a line for each event.
  const whole = parsed(text);
  const values =
    whole === undefined ? text.split("\n").flatMap((line) => (line === "" ? [] : [parsed(line)])) : [whole];
  const told = values.filter((value) => !isIdleBookmark(value));
  if (values.length === 0 || values.includes(undefined)) return [...first, `text ${steady(text)}`];
  return [...first, ...told.flatMap((value, index) => fieldLines(value, told.length > 1 ? `#${index} ` : ""))];
}

/** A bookmark that comes when its time has come. */
function isIdleBookmark(value: unknown): boolean {
  const { type, object } = (value ?? {}) as {
    readonly type?: string;
    readonly object?: { readonly metadata?: { readonly annotations?: object } };
  };
  return type === "BOOKMARK" && object?.metadata?.annotations === undefined;
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

/** Metadata that is by chance, where it is there at all. */
const chances: ReadonlySet<string> = new Set(
  "resourceVersion uid creationTimestamp deletionTimestamp time continue lastTransitionTime lastUpdateTime startTime".split(
    " ",
  ),
);

function fieldLines(value: unknown, path: string): readonly string[] {
  if (Array.isArray(value))
    return value.length === 0 ? [`${path}: []`] : value.flatMap((each, index) => fieldLines(each, `${path}[${index}]`));
  if (typeof value !== "object" || value === null) return [`${path}: ${steady(JSON.stringify(value))}`];
  const fields = Object.entries(value);
  if (fields.length === 0) return [`${path}: {}`];
  const isError = (value as { readonly kind?: unknown; readonly status?: unknown }).status === "Failure";
  return fields
    .flatMap(([name, each]) => {
      if (!withMessages && isError && name === "message") return [];
      if (name === "causes" && Array.isArray(each)) return causeLines(each, `${path}.${name}`);
      // What has no details may say so.
      if (name === "details" && isEmptyObject(each)) return [];
      // Texts of others, and managed fields in rows of tables, are left out here.
      if (name === "description" && path.includes(".columnDefinitions[")) return [];
      if (name === "managedFields") return path.includes(".rows[") ? [] : managerLines(each, `${path}.${name}`);
      if (name === "continue" && each === "") return [];
      if (chances.has(name) && typeof each === "string") return [`${path}.${name}: ${each === "" ? "" : "by chance"}`];
      return fieldLines(each, `${path}.${name}`);
    })
    .sort();
}

/** By who they are about: their order is that of the seconds in which they wrote. */
function managerLines(entries: unknown, path: string): readonly string[] {
  if (!Array.isArray(entries)) return [`${path}: ${JSON.stringify(entries)}`];
  return (entries as readonly { readonly [field: string]: unknown }[]).flatMap((entry) => {
    const { manager, operation, apiVersion, subresource = "", time: _, ...rest } = entry;
    return fieldLines(rest, `${path}[${[manager, operation, apiVersion, subresource].join(" ")}]`);
  });
}

/** In any order; how often a thing is said is of no use to anybody. */
function causeLines(causes: readonly unknown[], path: string): readonly string[] {
  return [...new Set(causes.map((each) => `${path} ${causeText(each as Cause)}`))];
}

function isEmptyObject(value: unknown): boolean {
  return typeof value === "object" && value !== null && Object.keys(value).length === 0;
}

/** Of whole answers versions and ages are by chance as well. */
function steady(text: string): string {
  return chanceless(text)
    .replace(/(resourceVersion|resource version|version):? ?\\?"?\d+/gi, "$1 VERSION")
    .replace(/"\d+s"/g, "AGE");
}

/** Runs it against both; lines that only one of them has, a list a step in which they differ. */
export async function compareExchange(
  exchange: Exchange,
  namespace: string,
  ours: ExchangeClient,
  real: ExchangeClient,
): Promise<{ readonly [step: string]: readonly string[] }> {
  const [a, b] = await Promise.all([ours.run(exchange, namespace), real.run(exchange, namespace)]);
  const differences: { [step: string]: readonly string[] } = {};
  for (const [index, ourLines] of a.entries()) {
    const realLines = b[index] ?? [];
    if (isDeepStrictEqual(ourLines, realLines)) continue;
    // A client's mistake that the real one takes for its own is told as the client's here.
    if (realLines.includes("status 500") && ourLines[1]?.startsWith("status 4") === true) continue;
    const [extra, rest] = [without(ourLines, realLines), without(realLines, ourLines)];
    const lines = [...extra.map((line) => `ours ${line}`), ...rest.map((line) => `the real one's ${line}`)];
    differences[`${exchange[0]} (${index + 1}) ${ourLines[0] ?? ""}`] = lines.length > 0 ? lines : ["another order"];
  }
  return differences;
}

/** Lines of one list that the other has not, each as often as it is there. */
function without(lines: readonly string[], others: readonly string[]): readonly string[] {
  const left = [...others];
  return lines.filter((line) => {
    const at = left.indexOf(line);
    if (at >= 0) left.splice(at, 1);
    return at < 0;
  });
}
