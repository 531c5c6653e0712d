// A resource record from one line of a zone file (RFC 1035 5.1): `name [TTL] [CLASS] TYPE data`.
//
// Not here: whole zone files, $ORIGIN, names that are relative (zone-file.ts); the other way is `formatRecordData` in record.ts.

import { DnsFormatError } from "./format-error.ts";
import { nameLabels, type DnsName } from "./name.ts";
import { readDataText } from "./record-data-text.ts";
import { classIn, type DnsRecord } from "./record.ts";
import { zoneLines, ZoneTextError } from "./zone-lines.ts";

/** Reads the record; names are absolute with or without a final dot, the TTL is an hour where there is none. Undefined where it is none. */
export function parseRecord(text: string): DnsRecord | undefined {
  try {
    return recordOf(text);
  } catch (error) {
    if (error instanceof ZoneTextError || error instanceof DnsFormatError) return undefined;
    throw error;
  }
}

function recordOf(text: string): DnsRecord | undefined {
  const [line, another] = [...zoneLines(text)];
  if (line === undefined || another !== undefined) return undefined;
  const words = [...line.words];
  const name = nameOf(words.shift()?.text ?? "");
  let ttl = 3600;
  let recordClass = classIn;
  // RFC 1035 5.1: TTL and class in either order.
  for (let times = 0; times < 2; times++) {
    const word = words[0]?.text ?? "";
    if (/^\d{1,10}$/.test(word)) ttl = Number(word);
    else if (Object.hasOwn(classes, word.toUpperCase())) recordClass = classes[word.toUpperCase()] ?? classIn;
    else break;
    words.shift();
  }
  const type = words.shift()?.text ?? "";
  if (ttl >= 2 ** 31) return undefined;
  return { name, class: recordClass, ttl, data: readDataText(type.toUpperCase(), words, { line: 1, nameOf }) };
}

const classes: Readonly<Record<string, number>> = { IN: 1, CH: 3, HS: 4 };

/** Throws DnsFormatError. */
function nameOf(word: string): DnsName {
  const name = word.length > 1 && word.endsWith(".") ? word.slice(0, -1) : word;
  if (name === "") throw new DnsFormatError("no name", 0);
  nameLabels(name);
  return name;
}
