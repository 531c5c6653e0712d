// Counters and histograms in CoreDNS's names (plugin/metrics, cache, forward), so that existing dashboards and alerts work.
// Counting is adding to a number; text is made when somebody asks (Prometheus exposition format 0.0.4).

import { rcodeName } from "../../wire/dns/message.ts";
import { recordTypeName } from "../../wire/dns/record.ts";

/** All counts of one server. */
export interface Metrics {
  /** Label texts of requests by protocol, family, place and type (0 is "other"), made once: counting then makes no text. */
  readonly requestKeys: RequestKeys;
  /** By labels. */
  readonly requests: Map<string, number>;
  readonly responses: Map<string, number>;
  readonly durations: Histogram;
  readonly requestBytes: Readonly<Record<"udp" | "tcp", Histogram>>;
  readonly responseBytes: Readonly<Record<"udp" | "tcp", Histogram>>;
  cacheHits: number;
  cacheMisses: number;
  forwarded: number;
  forwardFailures: number;
  readonly forwardDurations: Histogram;
}

/** What is known of a request before it is answered. */
export interface RequestLabels {
  readonly protocol: "udp" | "tcp";
  readonly family: 4 | 6;
  /** Milliseconds of the server's clock. */
  readonly started: number;
  readonly bytes: number;
}

interface Histogram {
  readonly bounds: readonly number[];
  /** One more than bounds. */
  readonly counts: number[];
  sum: number;
}

type TypeKeys = ReadonlyMap<number, string>;
type PlaceKeys = Readonly<Record<"cluster" | "other", TypeKeys>>;
type FamilyKeys = Readonly<Record<4 | 6, PlaceKeys>>;
type RequestKeys = Readonly<Record<"udp" | "tcp", FamilyKeys>>;

/** Counts of a server of this domain, all zero. */
export function createMetrics(domain: string): Metrics {
  const sizes = (): Histogram => createHistogram(sizeBounds);
  return {
    requestKeys: { udp: familyKeys(domain, "udp"), tcp: familyKeys(domain, "tcp") },
    requests: new Map(),
    responses: new Map(),
    durations: createHistogram(durationBounds),
    requestBytes: { udp: sizes(), tcp: sizes() },
    responseBytes: { udp: sizes(), tcp: sizes() },
    cacheHits: 0,
    cacheMisses: 0,
    forwarded: 0,
    forwardFailures: 0,
    forwardDurations: createHistogram(durationBounds),
  };
}

/** Counts a request that could be read. `place`: is it a name of the cluster's domain? */
export function countRequest(metrics: Metrics, labels: RequestLabels, type: number, place: "cluster" | "other"): void {
  const types = metrics.requestKeys[labels.protocol][labels.family][place];
  // CoreDNS names the usual types and calls the rest "other", which bounds the number of series.
  const key = types.get(type) ?? types.get(0) ?? "";
  metrics.requests.set(key, (metrics.requests.get(key) ?? 0) + 1);
  observe(metrics.requestBytes[labels.protocol], labels.bytes);
}

/** Counts a response. */
export function countResponse(
  metrics: Metrics,
  labels: RequestLabels,
  response: { readonly rcode: number; readonly bytes: number; readonly ended: number },
): void {
  const key = responseKeys[response.rcode] ?? "";
  metrics.responses.set(key, (metrics.responses.get(key) ?? 0) + 1);
  observe(metrics.durations, (response.ended - labels.started) / 1000);
  observe(metrics.responseBytes[labels.protocol], response.bytes);
}

/** Counts a question sent to the upstream, when it is through. */
export function countForward(metrics: Metrics, seconds: number, outcome: "answered" | "failed"): void {
  metrics.forwarded++;
  if (outcome === "failed") metrics.forwardFailures++;
  observe(metrics.forwardDurations, seconds);
}

/** The page at /metrics. */
export function formatMetrics(
  metrics: Metrics,
  gauges: { readonly cacheEntries: number; readonly unsent: number },
): string {
  const zone = 'server="dns://:53",zone="."';
  return [
    ...counter(
      "coredns_dns_requests_total",
      "Counter of DNS requests made per zone, protocol and family.",
      metrics.requests,
    ),
    ...counter("coredns_dns_responses_total", "Counter of response status codes.", metrics.responses),
    ...histogram("coredns_dns_request_duration_seconds", "Time (in seconds) each request took.", [
      [zone, metrics.durations],
    ]),
    ...histogram("coredns_dns_request_size_bytes", "Size of the requests.", [
      [`${zone},proto="tcp"`, metrics.requestBytes.tcp],
      [`${zone},proto="udp"`, metrics.requestBytes.udp],
    ]),
    ...histogram("coredns_dns_response_size_bytes", "Size of the responses.", [
      [`${zone},proto="tcp"`, metrics.responseBytes.tcp],
      [`${zone},proto="udp"`, metrics.responseBytes.udp],
    ]),
    ...counter("coredns_cache_hits_total", "Answers of others given from the cache.", single(metrics.cacheHits)),
    ...counter(
      "coredns_cache_misses_total",
      "Questions for others that the cache could not answer.",
      single(metrics.cacheMisses),
    ),
    ...gauge("coredns_cache_entries", "Answers of others in the cache.", gauges.cacheEntries),
    ...counter("coredns_proxy_requests_total", "Questions sent to the upstream.", single(metrics.forwarded)),
    ...counter(
      "coredns_forward_failures_total",
      "Questions the upstream did not answer.",
      single(metrics.forwardFailures),
    ),
    ...histogram("coredns_proxy_request_duration_seconds", "Time the upstream took to answer.", [
      ['proxy_name="forward"', metrics.forwardDurations],
    ]),
    ...counter("fairlead_dns_unsent_total", "UDP responses the network did not take.", single(gauges.unsent)),
    "",
  ].join("\n");
}

// Seconds, CoreDNS's buckets (plugin.TimeBuckets: 0.00025 doubling 16 times).
const durationBounds = Array.from({ length: 16 }, (_, i) => 0.000_25 * 2 ** i);
// Bytes, CoreDNS's buckets.
const sizeBounds = [0, 100, 200, 300, 400, 511, 1023, 2047, 4095, 8291, 16e3, 32e3, 48e3, 64e3];

function createHistogram(bounds: readonly number[]): Histogram {
  return { bounds, counts: Array<number>(bounds.length + 1).fill(0), sum: 0 };
}

function observe(histogram: Histogram, value: number): void {
  const { bounds, counts } = histogram;
  let bucket = 0;
  while (bucket < bounds.length && value > (bounds[bucket] ?? 0)) bucket++;
  counts[bucket] = (counts[bucket] ?? 0) + 1;
  histogram.sum += value;
}

// Types with a label of their own (CoreDNS plugin/metrics/vars/monitor.go).
const countedTypes = [1, 28, 5, 43, 48, 65, 15, 35, 2, 47, 12, 6, 33, 16, 255];

function familyKeys(domain: string, protocol: string): FamilyKeys {
  const place = (family: string): PlaceKeys => ({
    cluster: typeKeys(protocol, family, `${domain}.`),
    other: typeKeys(protocol, family, "."),
  });
  return { 4: place("1"), 6: place("2") };
}

function typeKeys(protocol: string, family: string, zone: string): TypeKeys {
  const key = (type: string): string =>
    `server="dns://:53",zone="${zone}",view="",proto="${protocol}",family="${family}",type="${type}"`;
  return new Map([
    [0, key("other")],
    ...countedTypes.map((type): [number, string] => [type, key(recordTypeName(type))]),
  ]);
}

const responseKeys: readonly string[] = Array.from(
  { length: 24 },
  (_, rcode) => `server="dns://:53",zone=".",rcode="${rcodeName(rcode)}"`,
);

function single(value: number): Map<string, number> {
  return new Map([["", value]]);
}

function counter(name: string, help: string, series: ReadonlyMap<string, number>): string[] {
  return [...heading(name, help, "counter"), ...[...series].map(([labels, value]) => sample(name, labels, value))];
}

function gauge(name: string, help: string, value: number): string[] {
  return [...heading(name, help, "gauge"), sample(name, "", value)];
}

function histogram(name: string, help: string, series: readonly (readonly [string, Histogram])[]): string[] {
  const lines = heading(name, help, "histogram");
  for (const [labels, { bounds, counts, sum }] of series) {
    let total = 0;
    for (const [index, count] of counts.entries()) {
      total += count;
      lines.push(sample(`${name}_bucket`, `${labels},le="${bounds[index] ?? "+Inf"}"`, total));
    }
    lines.push(sample(`${name}_sum`, labels, sum), sample(`${name}_count`, labels, total));
  }
  return lines;
}

function heading(name: string, help: string, type: string): string[] {
  return [`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`];
}

function sample(name: string, labels: string, value: number): string {
  return labels === "" ? `${name} ${value}` : `${name}{${labels}} ${value}`;
}
