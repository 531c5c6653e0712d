// Times and durations as text: RFC 3339, and what Go's time.ParseDuration reads.

import { durationNanos } from "../duration.ts";
import { Duration, Timestamp } from "./values.ts";

/** RFC 3339; undefined where it is none. */
export function parseTimestamp(text: string): Timestamp | undefined {
  const match = /^(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9})\d*)?(?:[Zz]|([+-])(\d\d):(\d\d))$/.exec(
    text,
  );
  if (match === null) return undefined;
  const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = match.slice(1, 7).map(Number);
  if (month < 1 || month > 12 || hour > 23 || minute > 59 || second > 59) return undefined;
  const date = new Date(0);
  date.setUTCFullYear(year, month - 1, day);
  if (date.getUTCDate() !== day) return undefined;
  date.setUTCHours(hour, minute, second);
  const offset = (match[8] === "-" ? -1 : 1) * (Number(match[9] ?? 0) * 60 + Number(match[10] ?? 0));
  const seconds = BigInt(date.getTime()) / 1000n - BigInt(offset * 60);
  return new Timestamp(seconds * 1_000_000_000n + BigInt((match[7] ?? "").padEnd(9, "0")));
}

/** As Go's time.ParseDuration; undefined where it is none. */
export function parseDuration(text: string): Duration | undefined {
  const nanos = durationNanos(text);
  return nanos === undefined ? undefined : new Duration(nanos);
}
