// How the command line speaks: one voice for errors, columns for tables, ticks for progress.

import process from "node:process";

/** Prints `fairlead up: …` to standard error and gives the exit status. */
export function fail(command: string, error: unknown): number {
  const messages = messagesOf(error);
  for (const message of messages) {
    // Some messages open with the command's own name, as they are said elsewhere too.
    const text =
      message.startsWith(`${command} `) || message.startsWith(`${command}: `) ? message : `${command}: ${message}`;
    process.stderr.write(`fairlead ${text}\n`);
  }
  if (process.env["FAIRLEAD_DEBUG"] && error instanceof Error) process.stderr.write(`${error.stack}\n`);
  return 1;
}

// A refusal of many objects carries one message each.
function messagesOf(error: unknown): readonly string[] {
  if (!(error instanceof Error)) return [String(error)];
  const details = (error as { details?: { problems?: readonly string[] } }).details;
  return details?.problems && details.problems.length > 0 ? details.problems : [error.message];
}

/** Left-aligned columns with three spaces between, as kubectl prints them. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths: number[] = [];
  for (const row of rows) row.forEach((cell, i) => (widths[i] = Math.max(widths[i] ?? 0, cell.length)));
  return rows
    .map((row) => row.map((cell, i) => (i === row.length - 1 ? cell : cell.padEnd((widths[i] ?? 0) + 3))).join(""))
    .map((line) => `${line.trimEnd()}\n`)
    .join("");
}

/** `2 pods`, `1 pod`. */
export function count(n: number, noun: string): string {
  return `${n} ${noun}${n === 1 ? "" : "s"}`;
}

/** A step of `up`: a tick, what, detail, seconds. */
export function stepLine(ok: "✔" | "✘" | "…", what: string, detail: string, seconds: number): string {
  return `  ${ok} ${what.padEnd(23)} ${detail.padEnd(42)} ${seconds.toFixed(2)} s`;
}
