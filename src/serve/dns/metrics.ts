// Counters and histograms in CoreDNS's names (plugin/metrics, cache, forward), so that existing dashboards and alerts work.
// Counting is adding to a number; text is made when somebody asks (Prometheus exposition format 0.0.4).

import { rcodeName } from "../../wire/dns/message.ts";
import { recordTypeName } from "../../wire/dns/record.ts";

/** All counts of one server. */
export interface Metrics {
  /** CoreDNS's label of the server: `dns://:53`. */
  readonly server: string;
  /** Label texts of requests by protocol, family, place and type (0 is "other"), made once: counting then makes no text. */
  readonly requestKeys: RequestKeys;
  /** By labels. */
  readonly requests: Map<string, number>;
  readonly responseKeys: readonly string[];
  readonly responses: Map<string, number>;
  readonly durations: Histogram;
  readonly requestBytes: Readonly<Record<"udp" | "tcp", Histogram>>;
  readonly responseBytes: Readonly<Record<"udp" | "tcp", Histogram>>;
  cacheHits: number;
  cacheMisses: number;
  cachePrefetches: number;
  cacheStale: number;
  autopaths: number;
  concurrentRejects: number;
  /** By server. */
  readonly checkFailures: Map<string, number>;
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

/** Counts of one port of a server of this domain, all zero. */
export function createMetrics(domain: string, port: number): Metrics {
  const server = `dns://:${port}`;
  const sizes = (): Histogram => createHistogram(sizeBounds);
  return {
    server,
    requestKeys: { udp: familyKeys(server, domain, "udp"), tcp: familyKeys(server, domain, "tcp") },
    responseKeys: Array.from(
      { length: 24 },
      (_, rcode) => `server="${server}",zone=".",view="",rcode="${rcodeName(rcode)}"`,
    ),
    requests: new Map(),
    responses: new Map(),
    durations: createHistogram(durationBounds),
    requestBytes: { udp: sizes(), tcp: sizes() },
    responseBytes: { udp: sizes(), tcp: sizes() },
    cacheHits: 0,
    cacheMisses: 0,
    cachePrefetches: 0,
    cacheStale: 0,
    autopaths: 0,
    concurrentRejects: 0,
    checkFailures: new Map(),
    forwarded: 0,
    forwardFailures: 0,
    forwardDurations: createHistogram(durationBounds),
  };
}

/** Counts a request that could be read. `place`: is it a name of the cluster's domain? */
export function countRequest(metrics: Metrics, labels: RequestLabels, type: number, place: "cluster" | "other"): void {
  const key = requestKey(metrics, labels, type, place);
  metrics.requests.set(key, (metrics.requests.get(key) ?? 0) + 1);
  observe(metrics.requestBytes[labels.protocol], labels.bytes);
}

/** The labels of such requests. */
export function requestKey(
  metrics: Metrics,
  { protocol, family }: Pick<RequestLabels, "protocol" | "family">,
  type: number,
  place: "cluster" | "other",
): string {
  const types = metrics.requestKeys[protocol][family][place];
  // CoreDNS names the usual types and calls the rest "other", which bounds the number of series.
  return types.get(type) ?? types.get(0) ?? "";
}

/** Counts a response. */
export function countResponse(
  metrics: Metrics,
  labels: RequestLabels,
  response: { readonly rcode: number; readonly bytes: number; readonly ended: number },
): void {
  const key = metrics.responseKeys[response.rcode] ?? "";
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

/** Counts a failed check of an upstream's server. */
export function countCheckFailure(metrics: Metrics, to: string): void {
  metrics.checkFailures.set(to, (metrics.checkFailures.get(to) ?? 0) + 1);
}

/** The page at /metrics. */
export function formatMetrics(
  ports: readonly {
    readonly metrics: Metrics;
    readonly cacheEntries: { readonly success: number; readonly denial: number };
    readonly unsent: number;
    readonly dropped: number;
  }[],
  process: { readonly reloadFailures: number },
): string {
  const all = ports.map(({ metrics }) => metrics);
  const merged = (of: (metrics: Metrics) => Iterable<readonly [string, number]>): Map<string, number> =>
    new Map(all.flatMap((metrics) => [...of(metrics)]));
  const each = (labels: string, of: (metrics: Metrics) => number): Map<string, number> =>
    new Map(all.map((metrics) => [`server="${metrics.server}"${labels}`, of(metrics)]));
  const cacheLabels = ',zones=".",view=""';
  const durations = (of: (metrics: Metrics) => Histogram): (readonly [string, Histogram])[] =>
    all.map((metrics) => [`server="${metrics.server}",zone=".",view=""`, of(metrics)]);
  const sizes = (of: (metrics: Metrics) => Metrics["requestBytes"]): (readonly [string, Histogram])[] =>
    all.flatMap((metrics) =>
      (["tcp", "udp"] as const).map(
        (proto) => [`server="${metrics.server}",zone=".",view="",proto="${proto}"`, of(metrics)[proto]] as const,
      ),
    );
  return [
    ...gauge(
      "coredns_build_info",
      "What runs here: Fairlead DNS, with CoreDNS's names for its counts.",
      new Map([['version="fairlead"', 1]]),
    ),
    ...counter(
      "coredns_dns_requests_total",
      "Counter of DNS requests made per zone, protocol and family.",
      merged((m) => m.requests),
    ),
    ...counter(
      "coredns_dns_responses_total",
      "Counter of response status codes.",
      merged((m) => m.responses),
    ),
    ...histogram(
      "coredns_dns_request_duration_seconds",
      "Time (in seconds) each request took.",
      durations((m) => m.durations),
    ),
    ...histogram(
      "coredns_dns_request_size_bytes",
      "Size of the requests.",
      sizes((m) => m.requestBytes),
    ),
    ...histogram(
      "coredns_dns_response_size_bytes",
      "Size of the responses.",
      sizes((m) => m.responseBytes),
    ),
    ...counter(
      "coredns_cache_requests_total",
      "Questions for others.",
      each(cacheLabels, (m) => m.cacheHits + m.cacheMisses),
    ),
    ...counter(
      "coredns_cache_hits_total",
      "Answers of others given from the cache.",
      each(`,type="success"${cacheLabels}`, (m) => m.cacheHits),
    ),
    ...counter(
      "coredns_cache_misses_total",
      "Questions for others that the cache could not answer.",
      each(cacheLabels, (m) => m.cacheMisses),
    ),
    ...counter(
      "coredns_cache_prefetch_total",
      "Answers fetched anew before their end.",
      each(cacheLabels, (m) => m.cachePrefetches),
    ),
    ...counter(
      "coredns_cache_served_stale_total",
      "Answers given after their end.",
      each(cacheLabels, (m) => m.cacheStale),
    ),
    ...gauge(
      "coredns_cache_entries",
      "Answers of others in the cache.",
      new Map(
        ports.flatMap(({ metrics: { server }, cacheEntries }) =>
          (["success", "denial"] as const).map((type): [string, number] => [
            `server="${server}",type="${type}"${cacheLabels}`,
            cacheEntries[type],
          ]),
        ),
      ),
    ),
    ...counter(
      "coredns_autopath_success_total",
      "Search lists answered in one question.",
      each("", (m) => m.autopaths),
    ),
    ...counter(
      "coredns_proxy_requests_total",
      "Questions sent to upstreams.",
      each(',proxy_name="forward"', (m) => m.forwarded),
    ),
    ...counter(
      "coredns_forward_failures_total",
      "Questions that upstreams did not answer.",
      each("", (m) => m.forwardFailures),
    ),
    ...counter(
      "coredns_forward_max_concurrent_rejects_total",
      "Questions not forwarded because of max_concurrent.",
      each("", (m) => m.concurrentRejects),
    ),
    ...counter(
      "coredns_proxy_healthcheck_failures_total",
      "Failed checks of upstreams.",
      new Map(
        all.flatMap((m) =>
          [...m.checkFailures].map(([to, count]): [string, number] => [
            `server="${m.server}",proxy_name="forward",to="${to}"`,
            count,
          ]),
        ),
      ),
    ),
    ...histogram(
      "coredns_proxy_request_duration_seconds",
      "Time upstreams took to answer.",
      all.map((m) => [`server="${m.server}",proxy_name="forward"`, m.forwardDurations]),
    ),
    ...counter(
      "coredns_reload_failed_total",
      "Corefiles that could not be used.",
      new Map([["", process.reloadFailures]]),
    ),
    ...counter(
      "fairlead_dns_unsent_total",
      "UDP responses the network did not take.",
      new Map(ports.map(({ metrics, unsent }) => [`server="${metrics.server}"`, unsent])),
    ),
    ...counter(
      "fairlead_dns_dropped_total",
      "UDP queries of clients that sent more than their share while more came in than could be answered.",
      new Map(ports.map(({ metrics, dropped }) => [`server="${metrics.server}"`, dropped])),
    ),
    "",
  ].join("\n");
}

// Seconds, CoreDNS's buckets (plugin.TimeBuckets: 0.00025 doubling 16 times).
export const durationBounds: readonly number[] = Array.from({ length: 16 }, (_, i) => 0.000_25 * 2 ** i);
// Bytes, CoreDNS's buckets.
export const sizeBounds: readonly number[] = [
  0, 100, 200, 300, 400, 511, 1023, 2047, 4095, 8291, 16e3, 32e3, 48e3, 64e3,
];

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
export const countedTypes: readonly number[] = [1, 28, 5, 43, 48, 65, 15, 35, 2, 47, 12, 6, 33, 16, 255];

function familyKeys(server: string, domain: string, protocol: string): FamilyKeys {
  const place = (family: string): PlaceKeys => ({
    cluster: typeKeys(server, protocol, family, `${domain}.`),
    other: typeKeys(server, protocol, family, "."),
  });
  return { 4: place("1"), 6: place("2") };
}

function typeKeys(server: string, protocol: string, family: string, zone: string): TypeKeys {
  const key = (type: string): string =>
    `server="${server}",zone="${zone}",view="",proto="${protocol}",family="${family}",type="${type}"`;
  return new Map([
    [0, key("other")],
    ...countedTypes.map((type): [number, string] => [type, key(recordTypeName(type))]),
  ]);
}

function counter(name: string, help: string, series: ReadonlyMap<string, number>): string[] {
  return [...heading(name, help, "counter"), ...[...series].map(([labels, value]) => sample(name, labels, value))];
}

function gauge(name: string, help: string, series: ReadonlyMap<string, number>): string[] {
  return [...heading(name, help, "gauge"), ...[...series].map(([labels, value]) => sample(name, labels, value))];
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
