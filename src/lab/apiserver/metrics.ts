// What the server counts of itself, in Prometheus' text format 0.0.4, under upstream's names.

import type { ServedApi } from "../api/api.ts";
import type { Target } from "./target.ts";

export interface Metrics {
  answered(target: Target | undefined, code: number, ms: number): void;
  text(api: ServedApi): string;
}

const bucketsSeconds = [0.005, 0.025, 0.1, 0.25, 0.5, 1, 2, 5, 15, 60];

interface Durations {
  readonly counts: number[];
  sum: number;
  count: number;
}

export function createMetrics(): Metrics {
  const requests = new Map<string, number>();
  const durations = new Map<string, Durations>();
  return {
    answered(target, code, ms) {
      // What was not found may have any name: it would fill the memory.
      const labels = labelsOf(code === 404 ? undefined : target);
      const key = `${labels},code="${code}"`;
      requests.set(key, (requests.get(key) ?? 0) + 1);
      if (target?.verb === "watch") return;
      let each = durations.get(labels);
      if (each === undefined) durations.set(labels, (each = { counts: bucketsSeconds.map(() => 0), sum: 0, count: 0 }));
      const seconds = ms / 1000;
      each.sum += seconds;
      each.count++;
      for (const [index, bound] of bucketsSeconds.entries())
        if (seconds <= bound) each.counts[index] = (each.counts[index] ?? 0) + 1;
    },
    text: (api) => [...counterLines(requests), ...durationLines(durations), ...objectLines(api), ""].join("\n"),
  };
}

function labelsOf(target: Target | undefined): string {
  if (target?.isResource !== true) return 'verb="",group="",version="",resource=""';
  const { verb, group, version, resource } = target;
  return [`verb="${verb.toUpperCase()}"`, `group="${group}"`, `version="${version}"`, `resource="${resource}"`].join(
    ",",
  );
}

function counterLines(requests: ReadonlyMap<string, number>): readonly string[] {
  return [
    "# HELP apiserver_request_total Requests answered, by verb, resource and status code.",
    "# TYPE apiserver_request_total counter",
    ...[...requests].map(([labels, count]) => `apiserver_request_total{${labels}} ${count}`),
  ];
}

function durationLines(durations: ReadonlyMap<string, Durations>): readonly string[] {
  const name = "apiserver_request_duration_seconds";
  return [
    `# HELP ${name} Time until a request was answered; watches are not counted.`,
    `# TYPE ${name} histogram`,
    ...[...durations].flatMap(([labels, { counts, sum, count }]) => [
      ...bucketsSeconds.map((bound, index) => `${name}_bucket{${labels},le="${bound}"} ${counts[index]}`),
      `${name}_bucket{${labels},le="+Inf"} ${count}`,
      `${name}_sum{${labels}} ${sum}`,
      `${name}_count{${labels}} ${count}`,
    ]),
  ];
}

function objectLines(api: ServedApi): readonly string[] {
  const rows = new Map(api.kinds.all().map(({ stored }) => [`${stored.resource}.${stored.group}`, stored]));
  const lines = [...rows.values()].flatMap(({ group, resource }) => {
    const count = api.list({ group, resource }).items.length;
    const name = group === "" ? resource : `${resource}.${group}`;
    return count === 0 ? [] : [`apiserver_storage_objects{resource="${name}"} ${count}`];
  });
  return ["# HELP apiserver_storage_objects Objects stored.", "# TYPE apiserver_storage_objects gauge", ...lines];
}
