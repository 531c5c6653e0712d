// This server, the real CoreDNS, unbound and knot with the same names in the same run: queries a second, CPU a query of the server, and how
// long the slowest hundredth waits where half as much is asked as it can.
//
//   node bench/dns/peers.ts [SERVICES] [SECONDS] [ROUNDS] [ROUNDS OF HALF LOAD]
//
// `fairlead dns` and CoreDNS watch the same lab's API server; unbound and knot have the same records as local data, and one thread.
// Every server is one process on 127.0.0.1, asked for random names that exist (A), 100 under way from 8 clients, in turns: by dnsperf, which
// needs a processor and a half of its own at these rates, and by bench/dns/generator.ts, which needs less. Latency is dnsperf's.
// Needs dnsperf, and unbound, knot and CoreDNS where they are to be measured (COREDNS names the binary).
// WORKERS=2 gives `fairlead dns` so many workers. `chrt -r 5` before it lets servers and clients run before all other work.

import process from "node:process";

import {
  answers,
  askByDnsperf,
  askByGenerator,
  corefileOf,
  loadNow,
  median,
  residentMb,
  startFairlead,
  startKnot,
  startRealCoredns,
  startUnbound,
  waits,
  withServices,
  type Server,
} from "./servers.ts";

const ports = { own: 10_153, coredns: 10_053, unbound: 10_253, knot: 10_353 };
/** Questions a second for the latency: about half of what CoreDNS can on two cores. */
const halfLoad = 20_000;

const [services = "10000", seconds = "5", rounds = "3", halfRounds = "3"] = process.argv.slice(2);
await withServices(Number(services), async (bench) => {
  const questions = bench.questions();
  // One Corefile for both, but for the ports.
  const lines = (port: number): string[] => ["errors", `prometheus 127.0.0.1:${port + 1}`, "cache 30", "loadbalance"];
  const corefile = (port: number): string => corefileOf(bench, port, lines(port));
  const servers = [
    startFairlead(bench, corefile(ports.own), ports.own, "ignore"),
    startRealCoredns(bench, corefile(ports.coredns), ports.coredns, "ignore"),
    startUnbound(bench, bench.names, "cluster.local.", ports.unbound),
    startKnot(bench, ports.knot),
  ].filter((server) => server !== undefined);
  for (const server of servers) await answers(server, bench.names.at(-1)?.name ?? "");
  // The first round warms up.
  for (const server of servers) askByDnsperf(server, questions, 2);
  for (const [label, ask] of [
    ["dnsperf", askByDnsperf],
    ["the generator", askByGenerator],
  ] as const) {
    console.log(`${bench.names.length} Services, A of random ones, ${seconds} s each by ${label}, in turns`);
    for (let round = 0; round < Number(rounds); round++) {
      for (const server of servers) {
        const { perSecond, cost, lost, askingCost } = ask(server, questions, Number(seconds));
        const asking = askingCost === undefined ? "" : ` (${askingCost.toFixed(1)} to ask)`;
        console.log(
          `${server.label.padEnd(14)} ${Math.round(perSecond)} q/s, ${cost.toFixed(1)} µs CPU a query${asking}, ${lost} lost, ${residentMb(server.pid)} MB, load ${loadNow()}`,
        );
      }
    }
  }
  console.log(`${halfLoad} questions a second, ${seconds} s each, in turns`);
  const slowest = new Map<Server, { readonly p99: number; readonly p999: number }[]>();
  for (let round = 0; round < Number(halfRounds); round++) {
    for (const server of servers) {
      const sorted = waits(server, questions, Number(seconds), halfLoad);
      const at = (share: number): number => sorted[Math.floor(sorted.length * share)] ?? NaN;
      slowest.set(server, [...(slowest.get(server) ?? []), { p99: at(0.99), p999: at(0.999) }]);
      console.log(
        `${server.label.padEnd(14)} median ${at(0.5).toFixed(3)} ms, p99 ${at(0.99).toFixed(3)} ms, p99.9 ${at(0.999).toFixed(3)} ms, ${sorted.length} answers`,
      );
    }
  }
  for (const [{ label }, each] of slowest) {
    const [p99, p999] = [median(each.map((one) => one.p99)), median(each.map((one) => one.p999))];
    console.log(`${label.padEnd(14)} median of ${each.length}: p99 ${p99.toFixed(3)} ms, p99.9 ${p999.toFixed(3)} ms`);
  }
});
