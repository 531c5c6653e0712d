// Cron schedules: `minute hour day month weekday`, with names, steps, ranges, lists and the @words (robfig/cron v3, as CronJobs use it).
// Pure: times are milliseconds, the time zone is an IANA name.

/** A schedule that can be asked for its times. */
export interface CronSchedule {
  /** The first time after `afterMs`, to the minute; undefined where there is none within five years. */
  next(afterMs: number): number | undefined;
}

const words: Readonly<Record<string, string>> = {
  "@yearly": "0 0 1 1 *",
  "@annually": "0 0 1 1 *",
  "@monthly": "0 0 1 * *",
  "@weekly": "0 0 * * 0",
  "@daily": "0 0 * * *",
  "@midnight": "0 0 * * *",
  "@hourly": "0 * * * *",
};
const monthNames = "jan feb mar apr may jun jul aug sep oct nov dec".split(" ");
const dayNames = "sun mon tue wed thu fri sat".split(" ");
const minuteMs = 60_000;
const horizonMs = 5 * 366 * 24 * 60 * minuteMs;

/** Reads a schedule. Throws RangeError that says which field is wrong. */
export function parseSchedule(text: string, timeZone: string): CronSchedule {
  const every = /^@every\s+(\S+)$/.exec(text.trim());
  if (every?.[1] !== undefined) return everySchedule(every[1]);
  const fields = (words[text.trim().toLowerCase()] ?? text.trim()).split(/\s+/);
  if (fields.length !== 5) throw new RangeError(`expected exactly 5 fields, found ${fields.length}: [${text}]`);
  const [minute = "", hour = "", day = "", month = "", weekday = ""] = fields;
  const sets = {
    minutes: parseField(minute, 0, 59, []),
    hours: parseField(hour, 0, 23, []),
    days: parseField(day, 1, 31, []),
    months: parseField(month, 1, 12, monthNames),
    weekdays: parseField(weekday, 0, 7, dayNames),
  };
  if (sets.weekdays.has(7)) sets.weekdays.add(0);
  // Where both days are restricted, either is enough; a star leaves it to the other.
  const isAnyDay = day.startsWith("*") || day === "?";
  const isAnyWeekday = weekday.startsWith("*") || weekday === "?";
  const dayMatches = (local: LocalTime): boolean => {
    const [byDay, byWeekday] = [sets.days.has(local.day), sets.weekdays.has(local.weekday)];
    return isAnyDay || isAnyWeekday ? byDay && byWeekday : byDay || byWeekday;
  };
  const zone = localTimes(timeZone);
  return {
    next(afterMs) {
      let at = Math.floor(afterMs / minuteMs) * minuteMs + minuteMs;
      const end = at + horizonMs;
      while (at < end) {
        const local = zone(at);
        const hourLeft = (60 - local.minute) * minuteMs;
        if (!sets.months.has(local.month) || !dayMatches(local)) at += hourLeft + (23 - local.hour) * 60 * minuteMs;
        else if (!sets.hours.has(local.hour)) at += hourLeft;
        else if (!sets.minutes.has(local.minute)) at += minuteMs;
        else return at;
      }
      return undefined;
    },
  };
}

interface LocalTime {
  readonly minute: number;
  readonly hour: number;
  readonly day: number;
  readonly month: number;
  readonly weekday: number;
}

function localTimes(timeZone: string): (ms: number) => LocalTime {
  const format = new Intl.DateTimeFormat("en-US", {
    timeZone,
    hourCycle: "h23",
    minute: "numeric",
    hour: "numeric",
    day: "numeric",
    month: "numeric",
    weekday: "short",
  });
  return (ms) => {
    const parts = Object.fromEntries(format.formatToParts(ms).map(({ type, value }) => [type, value]));
    return {
      minute: Number(parts["minute"]),
      hour: Number(parts["hour"]),
      day: Number(parts["day"]),
      month: Number(parts["month"]),
      weekday: dayNames.indexOf((parts["weekday"] ?? "").toLowerCase()),
    };
  };
}

function parseField(text: string, low: number, high: number, names: readonly string[]): Set<number> {
  const found = new Set<number>();
  const number = (part: string): number => {
    const named = names.indexOf(part.toLowerCase());
    const value = named >= 0 ? named + (low === 1 ? 1 : 0) : /^\d+$/.test(part) ? Number(part) : Number.NaN;
    if (Number.isNaN(value))
      throw new RangeError(`failed to parse number: ${JSON.stringify(part)} in ${JSON.stringify(text)}`);
    return value;
  };
  for (const part of text.split(",")) {
    const [range = "", stepText] = part.split("/");
    const step = stepText === undefined ? 1 : Number(stepText);
    if (!Number.isInteger(step) || step < 1) throw new RangeError(`step of range should be a positive number: ${part}`);
    const [first, last] =
      range === "*" || range === "?" ? [low, high] : bounds(range, number, stepText === undefined, high);
    if (first < low || last > high || first > last) throw new RangeError(`${part} lies outside ${low}-${high}`);
    for (let value = first; value <= last; value += step) found.add(value);
  }
  return found;
}

function bounds(range: string, number: (part: string) => number, single: boolean, high: number): [number, number] {
  const [from = "", to] = range.split("-");
  const first = number(from);
  return [first, to === undefined ? (single ? first : high) : number(to)];
}

/** `@every 1h30m`: from the last time on. */
function everySchedule(text: string): CronSchedule {
  const units: Readonly<Record<string, number>> = { h: 3_600_000, m: minuteMs, s: 1000 };
  if (!/^(\d+[hms])+$/.test(text)) throw new RangeError(`failed to parse duration: ${text}`);
  let ms = 0;
  for (const [, count, unit = ""] of text.matchAll(/(\d+)([hms])/g)) ms += Number(count) * (units[unit] ?? 0);
  return { next: (afterMs) => Math.floor(afterMs / 1000) * 1000 + Math.max(1000, ms) };
}
