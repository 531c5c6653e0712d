// A resource record from one line of a zone file (RFC 1035 5.1): `name [TTL] [CLASS] TYPE data`.
//
// Not here: whole zone files ($ORIGIN, names that are relative); the other way is `formatRecordData` in record.ts.

import { parseAddress, familyOf } from "../../ip/address.ts";
import { nameLabels, type DnsName } from "./name.ts";
import { classIn, recordTypeNumber, type DnsRecord, type RecordData } from "./record.ts";

/** Reads the record; names are absolute with or without a final dot, the TTL is an hour where there is none. Undefined where it is none. */
export function parseRecord(text: string): DnsRecord | undefined {
  const words = wordsOf(text);
  const name = nameOf(words.shift());
  if (name === undefined) return undefined;
  let ttl = 3600;
  let recordClass = classIn;
  // RFC 1035 5.1: TTL and class in either order.
  for (let times = 0; times < 2; times++) {
    const [word = ""] = words;
    if (/^\d{1,10}$/.test(word)) ttl = Number(word);
    else if (Object.hasOwn(classes, word.toUpperCase())) recordClass = classes[word.toUpperCase()] ?? classIn;
    else break;
    words.shift();
  }
  const type = words.shift() ?? "";
  const data = ttl < 2 ** 31 ? dataOf(type.toUpperCase(), words) : undefined;
  return data && { name, class: recordClass, ttl, data };
}

const classes: Readonly<Record<string, number>> = { IN: 1, CH: 3, HS: 4 };

/** Words; what is quoted is one, and parentheses, which only join lines, are none. */
function wordsOf(text: string): string[] {
  return [...text.matchAll(/"((?:[^"\\]|\\.)*)"|[^\s()"]+/g)].map(([word, quoted]) =>
    quoted === undefined ? word : quoted.replaceAll(/\\(.)/g, "$1"),
  );
}

function dataOf(type: string, words: readonly string[]): RecordData | undefined {
  const [first] = words;
  switch (type) {
    case "A":
    case "AAAA": {
      const address = parseAddress(first ?? "");
      const isFamily = address !== undefined && familyOf(address) === (type === "A" ? 4 : 6);
      return isFamily && words.length === 1 ? { kind: type, address } : undefined;
    }
    case "NS":
    case "CNAME":
    case "PTR": {
      const target = nameOf(first);
      return target !== undefined && words.length === 1 ? { kind: type, target } : undefined;
    }
    case "MX": {
      const [preference] = numbersOf(words.slice(0, 1), 0xffff) ?? [];
      const target = nameOf(words[1]);
      if (preference === undefined || target === undefined || words.length !== 2) return undefined;
      return { kind: "MX", preference, target };
    }
    case "TXT": {
      const strings = words.map((word) => String.fromCharCode(...new TextEncoder().encode(word)));
      return strings.length > 0 && strings.every(({ length }) => length <= 255) ? { kind: "TXT", strings } : undefined;
    }
    case "SRV": {
      const [priority, weight, port] = numbersOf(words.slice(0, 3), 0xffff) ?? [];
      const target = nameOf(words[3]);
      if (priority === undefined || weight === undefined || port === undefined) return undefined;
      return target !== undefined && words.length === 4 ? { kind: "SRV", priority, weight, port, target } : undefined;
    }
    case "SOA": {
      const [primary, mailbox] = [nameOf(first), nameOf(words[1])];
      const numbers = words.length === 7 ? numbersOf(words.slice(2), 0xffffffff) : undefined;
      if (primary === undefined || mailbox === undefined || numbers === undefined) return undefined;
      const [serial = 0, refresh = 0, retry = 0, expire = 0, minimum = 0] = numbers;
      return { kind: "SOA", primary, mailbox, serial, refresh, retry, expire, minimum };
    }
    default: {
      // RFC 3597 5: `\# LENGTH HEX`, for any type.
      const number = recordTypeNumber(type);
      const hex = words.slice(2).join("");
      const isBytes = first === "\\#" && /^([0-9a-f]{2})*$/i.test(hex) && Number(words[1]) === hex.length / 2;
      if (number === undefined || !isBytes) return undefined;
      const bytes = Uint8Array.from(hex.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
      return { kind: "unknown", type: number, bytes };
    }
  }
}

function numbersOf(words: readonly string[], max: number): number[] | undefined {
  const numbers = words.map((word) => (/^\d{1,10}$/.test(word) ? Number(word) : NaN));
  return numbers.length > 0 && numbers.every((number) => number <= max) ? numbers : undefined;
}

function nameOf(word: string | undefined): DnsName | undefined {
  if (word === undefined) return undefined;
  const name = word.length > 1 && word.endsWith(".") ? word.slice(0, -1) : word;
  try {
    nameLabels(name);
  } catch {
    return undefined;
  }
  return name;
}
