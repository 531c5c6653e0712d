// The zone as text, for `show dns` and golden tests: lines of a zone file (RFC 1035 5), each with the object behind it.
//
//   api-server.production.svc.cluster.local.  5 IN A  10.96.41.7   # Service production/api-server spec.clusterIP (shop.yaml:31)

import { formatOrigin } from "../model/origin.ts";
import { formatRecordData, recordTypeName, typeOfData } from "../wire/dns/record.ts";
import { zoneNodes } from "./zone-lookup.ts";
import type { Zone, ZoneRecord } from "./zone.ts";

/** All records of the zone, one a line, names in line. `contains` keeps the lines whose name or data has that text. */
export function formatZone(zone: Zone, options: { readonly contains?: string } = {}): string {
  const records = zoneNodes(zone)
    .flatMap((node) => node.records)
    .filter((record) => options.contains === undefined || bareLine(record).includes(options.contains));
  return records.length === 0 ? "" : `${alignColumns(records.map(columnsOf)).join("\n")}\n`;
}

/** One record without its origin: `name. 5 IN A 10.96.41.7`. */
function bareLine(record: ZoneRecord): string {
  return columnsOf(record).slice(0, 3).join(" ");
}

function columnsOf(record: ZoneRecord): string[] {
  const name = record.name === "." ? "." : `${record.name}.`;
  const type = `${record.ttl} IN ${recordTypeName(typeOfData(record.data))}`;
  return [name, type, formatRecordData(record.data), `# ${formatOrigin(record.origin)}`];
}

function alignColumns(rows: readonly (readonly string[])[]): string[] {
  const widths = [0, 1, 2].map((column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  return rows.map((row) => row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join("  "));
}
