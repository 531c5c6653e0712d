// The plot of docs/benchmarks.md: from the start of the process to everything programmed, and from an endpoint's event to the kernel, by the
// number of Services, for `fairlead agent --only services` and the real kube-proxy. Both scales are logarithmic.
//
//   node bench/services/plot.ts [FILE]       measures with bench/services/alone.ts, in turns, and writes docs/services.svg
//
// FAIRLEAD_AT and KUBE_PROXY_AT: at which numbers of Services; 100,1000,10000,44000 and 100,1000,10000 unless given.
// FIGURES: a file with figures of earlier runs, as this prints them, to be drawn instead; of several for one point the smallest counts, as
// what else runs on the machine only ever adds.

import { spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import process from "node:process";

type Who = "Fairlead" | "kube-proxy";

interface Point {
  readonly services: number;
  readonly startMs: number;
  readonly changeMs: number;
}

const width = 420;
const height = 300;
const margin = { left: 64, right: 96, top: 34, bottom: 40 };
const colours: Readonly<Record<Who, string>> = { Fairlead: "#0a7", "kube-proxy": "#c50" };
const file = process.argv[2] ?? "docs/services.svg";
const at: Readonly<Record<Who, readonly number[]>> = {
  Fairlead: numbers(process.env.FAIRLEAD_AT ?? "100,1000,10000,44000"),
  "kube-proxy": numbers(process.env.KUBE_PROXY_AT ?? "100,1000,10000"),
};
const points: Record<Who, Point[]> = { Fairlead: [], "kube-proxy": [] };
const whos: readonly Who[] = ["Fairlead", "kube-proxy"];
if (process.env.FIGURES === undefined) measureAll();
else takeFigures(readFileSync(process.env.FIGURES, "utf8"));
writeFileSync(file, drawing(points));
console.log(`${file}, load ${readFileSync("/proc/loadavg", "utf8").split(" ")[0]}`);

function measureAll(): void {
  for (const services of [...new Set([...at.Fairlead, ...at["kube-proxy"]])].sort((a, b) => a - b))
    for (const who of whos) {
      if (!at[who].includes(services)) continue;
      const point = measure(who, services);
      points[who].push(point);
      const [start, change] = [point.startMs.toFixed(0), point.changeMs.toFixed(1)];
      console.log(`${who}, ${services} Services: start ${start} ms, change ${change} ms`);
    }
}

function takeFigures(lines: string): void {
  for (const who of whos) {
    const found = lines.matchAll(new RegExp(`^${who}, (\\d+) Services: start ([\\d.]+) ms, change ([\\d.]+) ms`, "gm"));
    const all = [...found].map((match) => match.slice(1).map(Number));
    const smallest = (services: number, which: 1 | 2): number =>
      Math.min(...all.filter(([one]) => one === services).map((each) => each[which] ?? Infinity));
    for (const services of [...new Set(all.map(([one = 0]) => one))].sort((a, b) => a - b))
      points[who].push({ services, startMs: smallest(services, 1), changeMs: smallest(services, 2) });
  }
}

function numbers(text: string): readonly number[] {
  return text.split(",").map(Number);
}

function measure(who: Who, services: number): Point {
  const { stdout, status } = spawnSync(process.execPath, ["bench/services/alone.ts", String(services)], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "inherit"],
    env: { ...process.env, CHANGES: "60", ...(who === "kube-proxy" && { PROXY: "kube-proxy" }) },
  });
  if (status !== 0) throw new Error(`${who} at ${services} Services ended with ${status}`);
  const value = (what: string): number => Number(new RegExp(`: ${what} +([\\d.]+)`).exec(stdout)?.[1]);
  return {
    services,
    startMs: value("process start to programmed, ms"),
    changeMs: value("a Service loses an endpoint, event to kernel, p50 ms"),
  };
}

// ---------------------------------------------------------------- the drawing

function drawing(all: Readonly<Record<Who, readonly Point[]>>): string {
  const start = chart("process start to everything programmed", all, ({ startMs }) => startMs);
  const change = chart("an endpoint's event to the kernel, median", all, ({ changeMs }) => changeMs);
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${2 * width} ${height}" font-family="sans-serif" font-size="12">`,
    `<rect width="${2 * width}" height="${height}" fill="#fff"/>`,
    ...start,
    `<g transform="translate(${width} 0)">`,
    ...change,
    "</g>",
    "</svg>",
    "",
  ].join("\n");
}

function chart(
  title: string,
  all: Readonly<Record<Who, readonly Point[]>>,
  valueOf: (point: Point) => number,
): readonly string[] {
  const every = whos.flatMap((who) => all[who]);
  const x = scale(
    every.map(({ services }) => services),
    [margin.left, width - margin.right],
  );
  const y = scale(every.map(valueOf), [height - margin.bottom, margin.top]);
  return [
    `<text x="${margin.left}" y="18" font-weight="bold">${title}</text>`,
    ...x.decades.flatMap((value) => [
      line(x.at(value), margin.top, x.at(value), height - margin.bottom, "#ddd"),
      text(x.at(value), height - margin.bottom + 16, value.toLocaleString("en"), "middle"),
    ]),
    text((margin.left + width - margin.right) / 2, height - 6, "Services of three endpoints", "middle"),
    ...y.decades.flatMap((value) => [
      line(margin.left, y.at(value), width - margin.right, y.at(value), "#ddd"),
      text(margin.left - 6, y.at(value) + 4, duration(value), "end"),
    ]),
    ...whos.flatMap((who) => series(who, all[who], (point) => [x.at(point.services), y.at(valueOf(point))], valueOf)),
  ];
}

function series(
  who: Who,
  points: readonly Point[],
  place: (point: Point) => readonly [number, number],
  valueOf: (point: Point) => number,
): readonly string[] {
  const last = points.at(-1);
  if (last === undefined) return [];
  const path = points.map((point) => place(point).map(round).join(",")).join(" ");
  const [endX, endY] = place(last);
  return [
    `<polyline points="${path}" fill="none" stroke="${colours[who]}" stroke-width="2"/>`,
    ...points.map((point) => {
      const [cx, cy] = place(point);
      return `<circle cx="${round(cx)}" cy="${round(cy)}" r="3" fill="${colours[who]}"/>`;
    }),
    `<text x="${round(endX + 7)}" y="${round(endY - 2)}" fill="${colours[who]}">${who}</text>`,
    `<text x="${round(endX + 7)}" y="${round(endY + 12)}" fill="${colours[who]}">${duration(valueOf(last))}</text>`,
  ];
}

/** Logarithmic, over whole decades. */
function scale(
  values: readonly number[],
  [from, to]: readonly [number, number],
): { readonly at: (value: number) => number; readonly decades: readonly number[] } {
  const low = Math.floor(Math.log10(Math.min(...values)));
  const high = Math.max(low + 1, Math.ceil(Math.log10(Math.max(...values))));
  return {
    at: (value) => from + ((Math.log10(value) - low) / (high - low)) * (to - from),
    decades: Array.from({ length: high - low + 1 }, (_, index) => 10 ** (low + index)),
  };
}

function line(x1: number, y1: number, x2: number, y2: number, colour: string): string {
  return `<line x1="${round(x1)}" y1="${round(y1)}" x2="${round(x2)}" y2="${round(y2)}" stroke="${colour}"/>`;
}

function text(x: number, y: number, words: string, anchor: "middle" | "end"): string {
  return `<text x="${round(x)}" y="${round(y)}" text-anchor="${anchor}">${words}</text>`;
}

/** Milliseconds. */
function duration(ms: number): string {
  if (ms >= 1000) return `${Number((ms / 1000).toPrecision(2))} s`;
  return `${Number(ms.toPrecision(2))} ms`;
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}
