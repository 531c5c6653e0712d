import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { parseSchedule } from "./cron-schedule.ts";

void describe("cron schedules", () => {
  // The expected times are those that robfig/cron v3 documents and tests.
  const cases: readonly (readonly [schedule: string, after: string, next: string | undefined, timeZone?: string])[] = [
    ["*/15 * * * *", "2026-01-01T00:00:00Z", "2026-01-01T00:15:00Z"],
    ["*/15 * * * *", "2026-01-01T00:14:59Z", "2026-01-01T00:15:00Z"],
    ["0 0 * * *", "2026-02-28T12:00:00Z", "2026-03-01T00:00:00Z"],
    ["0 0 29 2 *", "2026-01-01T00:00:00Z", "2028-02-29T00:00:00Z"],
    ["0 0 31 2 *", "2026-01-01T00:00:00Z", undefined],
    ["30 4 * * mon-fri", "2026-01-02T05:00:00Z", "2026-01-05T04:30:00Z"],
    ["0 12 13 * fri", "2026-01-01T00:00:00Z", "2026-01-02T12:00:00Z"],
    ["0 12 * * 7", "2026-01-01T00:00:00Z", "2026-01-04T12:00:00Z"],
    ["5,10 1-3/2 * jan *", "2026-01-01T01:05:00Z", "2026-01-01T01:10:00Z"],
    ["5,10 1-3/2 * jan *", "2026-01-01T01:10:00Z", "2026-01-01T03:05:00Z"],
    ["@hourly", "2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z"],
    ["@every 1h30m", "2026-01-01T00:00:00Z", "2026-01-01T01:30:00Z"],
    ["0 9 * * *", "2026-01-01T00:00:00Z", "2026-01-01T08:00:00Z", "Europe/Berlin"],
    ["0 9 * * *", "2026-07-01T08:00:00Z", "2026-07-02T07:00:00Z", "Europe/Berlin"],
  ];
  for (const [schedule, after, next, timeZone = "UTC"] of cases) {
    void test(`${schedule} after ${after} in ${timeZone}`, () => {
      const found = parseSchedule(schedule, timeZone).next(Date.parse(after));
      assert.equal(found, next === undefined ? undefined : Date.parse(next));
    });
  }

  for (const wrong of [
    "",
    "* * * *",
    "60 * * * *",
    "* * 0 * *",
    "*/0 * * * *",
    "x * * * *",
    "5-1 * * * *",
    "@every 5",
  ]) {
    void test(`${JSON.stringify(wrong)} is refused`, () => {
      assert.throws(() => parseSchedule(wrong, "UTC"), RangeError);
    });
  }
});
