// What a node's part of Services counts, in Prometheus' text format 0.0.4 and under kube-proxy's names (pkg/proxy/metrics), so that
// dashboards made for it go on working.

import { eligibleEndpoints } from "../../model/eligible.ts";
import type { Network, NetworkNode, NetworkService } from "../../model/network.ts";
import { servicesOf } from "../../model/services-list.ts";

/** What happened so far. */
export interface ProxyRecord {
  /** When the kernel was last brought in line, in milliseconds since 1970. */
  lastUpdated: number | undefined;
  /** Since when the kernel refuses something; undefined while it follows. */
  behindSince: number | undefined;
  /** A reconciliation: how long it took, how much was left undone. */
  synced(tookMs: number, failures: number, now: number): void;
  answered(what: "healthz" | "livez", code: number): void;
  /** Reconciliations that left something undone. */
  failed: number;
  readonly durations: { readonly counts: number[]; sum: number; count: number };
  readonly answers: Map<string, number>;
}

// 1 ms doubling to 16 s: prometheus.ExponentialBuckets(0.001, 2, 15).
const buckets = Array.from({ length: 15 }, (_, index) => 0.001 * 2 ** index);

export function createProxyRecord(): ProxyRecord {
  const durations = { counts: buckets.map(() => 0), sum: 0, count: 0 };
  const answers = new Map<string, number>();
  const record: ProxyRecord = {
    lastUpdated: undefined,
    behindSince: undefined,
    failed: 0,
    durations,
    answers,
    synced(tookMs, failures, now) {
      if (failures === 0) {
        record.lastUpdated = now;
        record.behindSince = undefined;
      } else {
        record.behindSince ??= now;
        record.failed++;
      }
      const seconds = tookMs / 1000;
      durations.sum += seconds;
      durations.count++;
      for (const [index, bound] of buckets.entries()) {
        if (seconds <= bound) durations.counts[index] = (durations.counts[index] ?? 0) + 1;
      }
    },
    answered(what, code) {
      const key = `kubeproxy_proxy_${what}_total{code="${code}"}`;
      answers.set(key, (answers.get(key) ?? 0) + 1);
    },
  };
  return record;
}

export function metricsText(record: ProxyRecord, network: Network, node: string): string {
  const { durations } = record;
  const duration = "kubeproxy_sync_proxy_rules_duration_seconds";
  const self = network.nodes.find(({ name }) => name === node);
  return [
    ...heading(duration, "histogram", "How long reconciliations with changes took."),
    ...buckets.map((bound, index) => `${duration}_bucket{le="${bound}"} ${durations.counts[index]}`),
    `${duration}_bucket{le="+Inf"} ${durations.count}`,
    `${duration}_sum ${durations.sum}`,
    `${duration}_count ${durations.count}`,
    ...heading(
      "kubeproxy_sync_proxy_rules_last_timestamp_seconds",
      "gauge",
      "When the kernel was last brought in line.",
    ),
    `kubeproxy_sync_proxy_rules_last_timestamp_seconds ${(record.lastUpdated ?? 0) / 1000}`,
    ...heading(
      "kubeproxy_sync_proxy_rules_no_local_endpoints_total",
      "gauge",
      "Services with policy Local that have endpoints, and none on this node.",
    ),
    ...(["internal", "external"] as const).map((policy) => {
      let count = 0;
      if (self !== undefined) servicesOf(network).forEach((each) => void (isMissing(each, self, policy) && count++));
      return `kubeproxy_sync_proxy_rules_no_local_endpoints_total{traffic_policy="${policy}"} ${count}`;
    }),
    ...heading(
      "kubeproxy_sync_proxy_rules_nftables_sync_failures_total",
      "counter",
      "Reconciliations that left something undone.",
    ),
    `kubeproxy_sync_proxy_rules_nftables_sync_failures_total ${record.failed}`,
    ...heading("kubeproxy_proxy_healthz_total", "counter", "Answers of /healthz by status code."),
    ...[...record.answers].filter(([key]) => key.includes("healthz")).map(([key, count]) => `${key} ${count}`),
    ...heading("kubeproxy_proxy_livez_total", "counter", "Answers of /livez by status code."),
    ...[...record.answers].filter(([key]) => key.includes("livez")).map(([key, count]) => `${key} ${count}`),
    "",
  ].join("\n");
}

function heading(name: string, type: string, help: string): readonly string[] {
  return [`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`];
}

function isMissing(service: NetworkService, node: NetworkNode, policy: "internal" | "external"): boolean {
  const isExternal = service.type === "NodePort" || service.type === "LoadBalancer";
  const asked = policy === "internal" ? service.internalTrafficPolicy : service.externalTrafficPolicy;
  if (asked !== "Local" || service.clusterIps.length === 0 || (policy === "external" && !isExternal)) return false;
  return service.ports.some(({ endpoints }) =>
    ([4, 6] as const).some(
      (family) =>
        eligibleEndpoints(endpoints, family, { scope: "cluster", node }).length > 0 &&
        eligibleEndpoints(endpoints, family, { scope: "local", node }).length === 0,
    ),
  );
}
