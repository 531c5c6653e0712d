// The `log` plugin: a line for each answered question, in CoreDNS's format.
//
//   [INFO] 10.244.1.5:51034 - 4711 "A IN api.production.svc.cluster.local. udp 78 false 1232" NOERROR qr,aa,rd,ra 112 0.000043s

import { headerFlags, rcodeName } from "../../wire/dns/message.ts";
import { isWithin, readName } from "../../wire/dns/name.ts";
import type { Query } from "../../wire/dns/query.ts";
import { recordTypeName } from "../../wire/dns/record.ts";
import type { LogClass, LogConfig } from "./corefile-plugins.ts";
import type { DnsLog } from "./log.ts";
import type { RequestLabels } from "./metrics.ts";

export interface AnsweredQuery {
  readonly asked: Uint8Array;
  readonly query: Query;
  readonly labels: RequestLabels;
  readonly source: () => { readonly address: string; readonly port: number };
  readonly response: Uint8Array;
  readonly rcode: number;
  /** Milliseconds of the server's clock. */
  readonly ended: number;
}

/** Writes the line where a rule asks for it: the first whose names hold the question's. */
export function logQuery(log: DnsLog, rules: LogConfig, answered: AnsweredQuery): void {
  const rule = rules.find(({ scope }) => isWithin(answered.query.name, scope));
  if (rule === undefined) return;
  if (!rule.classes.includes("all") && !rule.classes.includes(classOf(answered))) return;
  let from: ReturnType<AnsweredQuery["source"]> | undefined;
  const once = { ...answered, source: () => (from ??= answered.source()) };
  let line = "";
  for (const part of partsOf(rule.format))
    line += part.startsWith("{") && part.endsWith("}") ? valueOf(part, once) : part;
  log.query(line);
}

/** A format's fields and what stands between them, in order. */
function partsOf(format: string): readonly string[] {
  let parts = knownFormats.get(format);
  if (parts === undefined)
    knownFormats.set(format, (parts = format.split(/(\{[^}]*\})/).filter((part) => part !== "")));
  return parts;
}

/** As many as Corefiles have had. */
const knownFormats = new Map<string, readonly string[]>();

// plugin/pkg/response: SERVFAIL, REFUSED and the like are errors, "no" is denial.
function classOf({ rcode, response }: AnsweredQuery): LogClass {
  if (rcode === 3) return "denial";
  if (rcode !== 0) return "error";
  return (response[6] ?? 0) + (response[7] ?? 0) === 0 ? "denial" : "success";
}

const flagNames: readonly (readonly [number, string])[] = [
  [headerFlags.response, "qr"],
  [headerFlags.authoritative, "aa"],
  [headerFlags.truncated, "tc"],
  [headerFlags.recursionDesired, "rd"],
  [headerFlags.recursionAvailable, "ra"],
  [headerFlags.authenticData, "ad"],
  [headerFlags.checkingDisabled, "cd"],
];

function flagsText(flags: number): string {
  const named = flags & allFlags;
  let text = knownFlags.get(named);
  if (text === undefined) {
    text = flagNames.flatMap(([bit, name]) => ((named & bit) === 0 ? [] : [name])).join(",");
    knownFlags.set(named, text);
  }
  return text;
}

const allFlags = flagNames.reduce((all, [bit]) => all | bit, 0);
const knownFlags = new Map<number, string>();

function valueOf(field: string, answered: AnsweredQuery): string {
  const { asked, query, labels, source, response, rcode, ended } = answered;
  switch (field) {
    case "{type}":
      return recordTypeName(query.type);
    case "{name}": {
      const { name } = readName(asked, 12);
      return name === "." ? "." : `${name}.`;
    }
    case "{class}":
      return query.class === 1 ? "IN" : query.class === 255 ? "ANY" : `CLASS${query.class}`;
    case "{proto}":
      return labels.protocol;
    case "{remote}": {
      const { address } = source();
      return address.includes(":") ? `[${address}]` : address;
    }
    case "{port}":
      return String(source().port);
    case "{size}":
      return String(labels.bytes);
    case "{duration}":
      return `${((ended - labels.started) / 1000).toFixed(9)}s`;
    case "{rcode}":
      return rcodeName(rcode);
    case "{rsize}":
      return String(response.length);
    case "{>rflags}": {
      return flagsText(((response[2] ?? 0) << 8) | (response[3] ?? 0));
    }
    case "{>id}":
      return String(query.id);
    case "{>opcode}":
      return "0";
    case "{>do}":
      return String(query.edns?.dnssecOk === true);
    case "{>bufsize}":
      return String(labels.protocol === "tcp" ? 0xffff : (query.edns?.udpBytes ?? 512));
  }
  return "-";
}
