// Addresses, prefixes and hardware addresses against what the specifications say, and arithmetic on numbers.

import assert from "node:assert/strict";
import { test } from "node:test";

import {
  addressBytes,
  addressFromBytes,
  addressFromValue,
  addressValue,
  compareAddresses,
  parseAddress,
} from "./address.ts";
import { macBytes, macFromBytes, macOfName } from "./mac.ts";
import { contains, overlaps, prefixOf, prefixRange } from "./prefix.ts";

void test("addresses have one form, and what is none is refused", () => {
  const forms: Readonly<Record<string, string>> = {
    "10.0.255.1": "10.0.255.1",
    "::": "::",
    "::1": "::1",
    "1::": "1::",
    "0:0:0:0:0:0:0:0": "::",
    "FD00:0010:0:0:0:0:0:5": "fd00:10::5",
    "2001:db8:0:1:1:1:1:1": "2001:db8:0:1:1:1:1:1",
    "2001:0:0:1:0:0:0:1": "2001:0:0:1::1",
    "2001:db8:0:0:1:0:0:1": "2001:db8::1:0:0:1",
    "::ffff:192.0.2.1": "::ffff:192.0.2.1",
    "::ffff:c000:201": "::ffff:192.0.2.1",
    "64:ff9b::192.0.2.1": "64:ff9b::c000:201",
    "1:2:3:4:5:6:1.2.3.4": "1:2:3:4:5:6:102:304",
    "1:2:3:4:5:6:7::": "1:2:3:4:5:6:7:0",
  };
  for (const [text, canonical] of Object.entries(forms)) {
    assert.equal(parseAddress(text), canonical, text);
    assert.equal(addressFromBytes(addressBytes(text)), canonical);
    assert.equal(addressFromValue(canonical.includes(":") ? 6 : 4, addressValue(text)), canonical);
  }
  const wrong = [
    "",
    ":",
    ":::",
    "1",
    "1.2.3",
    "1.2.3.4.5",
    "1.2.3.256",
    "01.2.3.4",
    "1..2.3",
    "1.2.3.4 ",
    "1:2",
    ":1::",
  ];
  const wrong6 = [
    "1:",
    "1::2::3",
    "1:2:3:4:5:6:7:8:9",
    "1:2:3:4:5:6:7:8::",
    "12345::",
    "g::",
    "fe80::1%eth0",
    "::1.2.3",
  ];
  const wrongMixed = ["::1.2.3.4:5", "1.2.3.4::", "1:2:3:4:5:6:7:1.2.3.4", "::ffff:01.2.3.4"];
  for (const text of [...wrong, ...wrong6, ...wrongMixed]) assert.equal(parseAddress(text), undefined, text);
  assert.deepEqual(["fd00::1", "10.0.0.10", "10.0.0.9", "fd00::"].sort(compareAddresses), [
    "10.0.0.9",
    "10.0.0.10",
    "fd00::",
    "fd00::1",
  ]);
});

void test("prefixes hold and overlap as their ranges of numbers do", () => {
  const addresses = [
    "10.244.1.7",
    "10.244.128.0",
    "10.245.0.1",
    "0.0.0.0",
    "fd00:10:244:1::7",
    "fd00:10:244:8000::",
    "::",
  ];
  const prefixes = addresses.flatMap((address) =>
    [0, 1, 7, 8, 9, 15, 16, 17, 23, 24, 31, 32, 48, 49, 64, 113, 127, 128]
      .filter((bits) => address.includes(":") || bits <= 32)
      .map((bits) => prefixOf(address, bits)),
  );
  for (const prefix of prefixes) {
    const { family, first, last } = prefixRange(prefix);
    for (const address of addresses) {
      const value = addressValue(address);
      const held = address.includes(":") === (family === 6) && value >= first && value <= last;
      assert.equal(contains(prefix, address), held, `${address} in ${prefix}`);
    }
    for (const other of prefixes) {
      const range = prefixRange(other);
      const shared = range.family === family && range.first <= last && first <= range.last;
      assert.equal(overlaps(prefix, other), shared, `${prefix} and ${other}`);
    }
  }
});

void test("a name's hardware address is FNV-1a's, locally administered and of one station", () => {
  for (const name of ["", "node-1", "node-00042/fl.vx", "größe"]) {
    let hash = 0xcbf29ce484222325n;
    for (const byte of Buffer.from(name)) hash = ((hash ^ BigInt(byte)) * 0x100000001b3n) & 0xffffffffffffffffn;
    const bytes = Buffer.from((hash & 0xffffffffffffn).toString(16).padStart(12, "0"), "hex");
    bytes[0] = (bytes[0]! & 0xfc) | 2;
    assert.equal(macOfName(name), bytes.toString("hex").replaceAll(/(..)(?=.)/g, "$1:"));
  }
  assert.deepEqual([...macBytes("0a:58:0a:f4:01:ff")], [0x0a, 0x58, 0x0a, 0xf4, 0x01, 0xff]);
  assert.equal(macFromBytes(macBytes("0a:58:0a:f4:01:ff")), "0a:58:0a:f4:01:ff");
});
