// What a transfer of the cluster's zone has (RFC 5936), as CoreDNS's kubernetes plugin sends it: Services with their addresses and ports,
// headless Services with their endpoints. Pods' names and those of a ClusterIP Service's endpoints are not in it: they are answered only.

import { familyOf } from "../ip/address.ts";
import type { NetworkService } from "../model/network.ts";
import { lowerName, type DnsName } from "../wire/dns/name.ts";
import { classIn, type DnsRecord } from "../wire/dns/record.ts";
import { lookup } from "./zone-lookup.ts";
import { serviceNames } from "./zone-service.ts";
import type { Zone } from "./zone.ts";

/** The zone's own SOA record with this serial. */
export function zoneSoa(zone: Zone, serial: number): DnsRecord[] {
  const { domain } = zone.settings;
  return (lookup(zone, domain, "SOA")?.answers ?? []).map((record) =>
    record.data.kind === "SOA" ? { ...record, data: { ...record.data, serial } } : record,
  );
}

/** The records, the SOA first and last. */
export function* zoneTransfer(zone: Zone, serial: number): Generator<DnsRecord, undefined, undefined> {
  const { domain, ttl } = zone.settings;
  const soa = zoneSoa(zone, serial);
  yield* soa;
  const servers = lookup(zone, domain, "NS")?.answers ?? [];
  yield* servers;
  const { service } = zone.server;
  // Its addresses come with its names, unless its namespace is not shown.
  const isShown = service && zone.namespaces.get(service.namespace)?.services.has(service.name);
  for (const { data } of servers) {
    if (data.kind !== "NS" || isShown === true) continue;
    for (const address of zone.server.addresses) {
      const kind = familyOf(address) === 4 ? "A" : "AAAA";
      yield { name: lowerName(data.target), class: classIn, ttl, data: { kind, address } };
    }
  }
  for (const namespace of zone.namespaces.values())
    for (const service of namespace.services.values()) yield* serviceRecords(service, zone);
  yield* soa;
}

function* serviceRecords(service: NetworkService, { settings }: Zone): Generator<DnsRecord, undefined, undefined> {
  const names = serviceNames(service, settings);
  for (const [relative, { records }] of names) {
    const isPort = relative.startsWith("_");
    if (!service.headless && relative !== "" && !isPort) continue;
    const weights = service.headless && isPort ? weightsOf(records, names) : undefined;
    for (const record of records) {
      const { data } = record;
      if (data.kind !== "SRV") yield record;
      else if (!service.headless) yield { ...record, data: { ...data, weight: 100 } };
      else if (weights !== undefined) yield { ...record, data: { ...data, weight: weights(data.target) } };
    }
  }
}

/** As CoreDNS: endpoints of one family share out 100, each slice by itself. */
function weightsOf(records: readonly DnsRecord[], names: ReturnType<typeof serviceNames>): (target: DnsName) => number {
  const kindOf = (target: DnsName): string =>
    names.get(target.slice(0, target.indexOf(".")))?.records[0]?.data.kind ?? "";
  const counts = new Map<string, number>();
  for (const { data } of records) {
    if (data.kind !== "SRV") continue;
    const kind = kindOf(data.target);
    counts.set(kind, (counts.get(kind) ?? 0) + 1);
  }
  return (target) => Math.max(Math.floor(100 / (counts.get(kindOf(target)) ?? 1)), 1);
}
