// What each plugin costs a question, here and in the real CoreDNS: each alone, then all together, in turns in the same run.
//
//   node bench/dns/plugins.ts [SERVICES] [SECONDS] [ROUNDS]
//
// One Corefile for both, but for the ports. The plain one has the kubernetes plugin alone. `forward`'s names are others', from an unbound with
// as many names as there are Services (at most 8,000: both caches keep that many), and in both caches when they are measured. The log's lines
// are written to a file, every one. dnsperf asks, 100 under way. Needs dnsperf, unbound and CoreDNS.

import { openSync } from "node:fs";
import process from "node:process";

import {
  answers,
  askByDnsperf,
  corefileOf,
  loadNow,
  median,
  startFairlead,
  startRealCoredns,
  startUnbound,
  withServices,
} from "./servers.ts";

const ports = { own: 10_553, coredns: 10_453, upstream: 10_653 };
const metrics = "prometheus 127.0.0.1:PORT";
const forward = `forward . 127.0.0.1:${ports.upstream}`;
const rewrite = "rewrite name suffix .prod. .default.svc.cluster.local. answer auto";
const all = ["errors", metrics, "cache 30", "loadbalance", "autopath @kubernetes", "loop", "log", rewrite, forward];

interface Variant {
  readonly label: string;
  readonly lines: readonly string[];
  readonly names: "Services" | "rewritten" | "others";
}

const variants: readonly Variant[] = [
  { label: "kubernetes alone", lines: [], names: "Services" },
  { label: "errors", lines: ["errors"], names: "Services" },
  { label: "prometheus", lines: [metrics], names: "Services" },
  { label: "cache", lines: ["cache 30"], names: "Services" },
  { label: "loadbalance", lines: ["loadbalance"], names: "Services" },
  { label: "autopath", lines: ["autopath @kubernetes"], names: "Services" },
  { label: "log", lines: ["log"], names: "Services" },
  { label: "rewrite, another name", lines: [rewrite], names: "Services" },
  { label: "rewrite", lines: [rewrite], names: "rewritten" },
  { label: "forward and cache, others' names", lines: [forward, "cache 30"], names: "others" },
  { label: "all, Services", lines: all, names: "Services" },
  { label: "all, rewritten names", lines: all, names: "rewritten" },
  { label: "all, others' names", lines: all, names: "others" },
];

const [services = "10000", seconds = "2", rounds = "3"] = process.argv.slice(2);
await withServices(Number(services), async (bench) => {
  const others = bench.names.slice(0, 8000).map(({ name, address }) => ({ name: otherName(name), address }));
  if (startUnbound(bench, others, "example.com.", ports.upstream) === undefined) return;
  console.log(`${services} Services, ${seconds} s each, ${rounds} rounds in turns; µs of processor a question`);
  for (const { label, lines, names } of variants) {
    const corefile = (port: number): string =>
      corefileOf(
        bench,
        port,
        lines.map((line) => line.replace("PORT", String(port + 1))),
      );
    const output = (name: string): number => openSync(bench.lab.file(name, ""), "w");
    const already = bench.started.length;
    const own = startFairlead(bench, corefile(ports.own), ports.own, output("own.log"));
    const coredns = startRealCoredns(bench, corefile(ports.coredns), ports.coredns, output("coredns.log"));
    if (coredns === undefined) return;
    const known = names === "others" ? new Set(others.map(({ name }) => name)) : undefined;
    const asked = (name: string): string =>
      names === "Services" ? name : names === "rewritten" ? name.replace(/\.default.*/, ".prod") : otherName(name);
    const last = bench.names.at(-1)?.name ?? "";
    const costs = { own: [] as number[], coredns: [] as number[] };
    for (const server of [own, coredns]) await answers(server, last);
    const questions = bench.questions((name) =>
      known === undefined || known.has(asked(name)) ? asked(name) : (others[0]?.name ?? ""),
    );
    for (const server of [own, coredns]) askByDnsperf(server, questions, 2);
    for (let round = 0; round < Number(rounds); round++) {
      costs.own.push(askByDnsperf(own, questions, Number(seconds)).cost);
      costs.coredns.push(askByDnsperf(coredns, questions, Number(seconds)).cost);
    }
    for (const each of bench.started.splice(already)) await each.stop();
    const text = (values: readonly number[]): string => values.map((value) => value.toFixed(1)).join(" ");
    const ratio = median(costs.coredns) / median(costs.own);
    console.log(
      `${label.padEnd(34)} ${text(costs.own).padEnd(16)} CoreDNS ${text(costs.coredns).padEnd(18)} ${ratio.toFixed(1)} times, load ${loadNow()}`,
    );
  }
});

function otherName(name: string): string {
  return name.replace(/\.default.*/, ".example.com");
}
