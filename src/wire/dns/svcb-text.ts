// The parameters of SVCB and HTTPS records in zone files (RFC 9460 2.1, 7): `alpn=h2,h3 port=8443 ipv4hint=192.0.2.1`.

import type { Word } from "./zone-lines.ts";

/** What reading them needs of the record's reader. */
interface SvcbTools {
  readonly bytesOf: (word: Word) => Uint8Array;
  readonly base64: (text: string) => Uint8Array;
  readonly address: (text: string, family: 4 | 6) => Uint8Array;
  readonly wrong: (what: string) => Error;
}

/** RFC 9460 14.3.2, RFC 9461, RFC 9540. */
const keys = ["mandatory", "alpn", "no-default-alpn", "port", "ipv4hint", "ech", "ipv6hint", "dohpath", "ohttp"];

/** The parameters' bytes, in order of their keys as they must be sent. Throws what `wrong` makes. */
export function svcbFields(words: readonly Word[], tools: SvcbTools): readonly number[] {
  const found = new Map<number, Uint8Array>();
  const queue = [...words];
  for (let word = queue.shift(); word !== undefined; word = queue.shift()) {
    const [, name = "", equals, plain = ""] = /^([^=]*)(=?)([^]*)$/.exec(word.text) ?? [];
    // `key="quoted value"` are two words here.
    const isApart = equals === "=" && plain === "" && queue[0]?.quoted === true;
    const value = isApart ? (queue.shift() ?? word) : { text: plain, quoted: false };
    const key = keyOf(name);
    if (key === undefined) throw tools.wrong(`unknown parameter "${name}"`);
    if (found.has(key)) throw tools.wrong(`parameter ${name} stands twice`);
    found.set(key, valueOf(key, value, tools));
  }
  return [...found]
    .toSorted(([a], [b]) => a - b)
    .flatMap(([key, bytes]) => [key >>> 8, key & 0xff, bytes.length >>> 8, bytes.length & 0xff, ...bytes]);
}

function keyOf(name: string): number | undefined {
  const index = keys.indexOf(name.toLowerCase());
  if (index >= 0) return index;
  const number = /^key(\d{1,5})$/i.exec(name)?.[1];
  return number === undefined || Number(number) > 0xffff ? undefined : Number(number);
}

function valueOf(key: number, word: Word, { bytesOf, base64, address, wrong }: SvcbTools): Uint8Array {
  const list = word.text.split(",").filter((part) => part !== "");
  switch (keys[key] ?? "") {
    case "mandatory":
      return Uint8Array.from(
        list
          .map((name) => keyOf(name) ?? -1)
          .toSorted((a, b) => a - b)
          .flatMap((each) => {
            if (each < 0) throw wrong(`mandatory names an unknown parameter: "${word.text}"`);
            return [each >>> 8, each & 0xff];
          }),
      );
    case "alpn":
      return Uint8Array.from(
        list.flatMap((text) => {
          const bytes = bytesOf({ text, quoted: false });
          return [bytes.length, ...bytes];
        }),
      );
    case "no-default-alpn":
    case "ohttp":
      if (word.text !== "") throw wrong("no-default-alpn and ohttp have no value");
      return new Uint8Array();
    case "port": {
      const port = /^\d{1,5}$/.test(word.text) ? Number(word.text) : NaN;
      if (!(port <= 0xffff)) throw wrong(`"${word.text}" is no port`);
      return Uint8Array.of(port >>> 8, port & 0xff);
    }
    case "ipv4hint":
    case "ipv6hint": {
      const family = keys[key] === "ipv4hint" ? 4 : 6;
      return Uint8Array.from(list.flatMap((text) => [...address(text, family)]));
    }
    case "ech":
      return base64(word.text);
    default:
      return bytesOf(word);
  }
}
