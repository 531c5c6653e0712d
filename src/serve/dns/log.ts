// What the server says: a start banner and the errors that matter, each kind at most once a second, with how many were like it.
// A flood of failing questions therefore writes one line a second and not one a question.
//
// Not here: the query log (query-log.ts).

import type { Clock } from "./clock.ts";

export interface DnsLog {
  info(line: string): void;
  /** A question got SERVFAIL. */
  failed(question: string, reason: string): void;
  /** Something that needs somebody's hand. */
  error(line: string): void;
  /** A question was REFUSED. */
  refused(question: string, reason: string): void;
}

export function createDnsLog(write: (line: string) => void, clock: Clock): DnsLog {
  const kinds = new Map<string, { at: number; unsaid: number }>();
  const rarely = (kind: string, line: string): void => {
    const now = clock.now();
    const last = kinds.get(kind);
    if (last !== undefined && now - last.at < pauseMs) {
      last.unsaid++;
      return;
    }
    const more = last === undefined || last.unsaid === 0 ? "" : ` (and ${last.unsaid} more like it)`;
    // Reasons hold text from outside: what is remembered of them is bounded.
    if (kinds.size >= kindsMax) kinds.clear();
    kinds.set(kind, { at: now, unsaid: 0 });
    write(`[ERROR] ${line}${more}`);
  };
  return {
    info: (line) => write(`[INFO] ${line}`),
    error: (line) => write(`[ERROR] ${line}`),
    failed: (question, reason) => rarely(`failed ${reason}`, `${question}: SERVFAIL: ${reason}`),
    refused: (question, reason) => rarely(`refused ${reason}`, `${question}: REFUSED: ${reason}`),
  };
}

const pauseMs = 1000;
const kindsMax = 100;
