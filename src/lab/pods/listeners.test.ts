import { test } from "node:test";
import assert from "node:assert/strict";
import { hears, parseSocketTable, placesOf } from "./listeners.ts";

const heading = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";

test("listening sockets of /proc/net/tcp and udp, both families", () => {
  const tcp = `${heading}   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0\n   1: 0100007F:1F91 0100007F:C001 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0\n`;
  assert.deepEqual(parseSocketTable(tcp, "tcp"), [
    { protocol: "tcp", address: "127.0.0.1", port: 8080, inode: "4711" },
  ]);
  const tcp6 = `${heading}   0: 000080FE00000000000000000100000A:0050 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 5 1 0\n`;
  assert.deepEqual(parseSocketTable(tcp6, "tcp"), [{ protocol: "tcp", address: "fe80::a00:1", port: 80, inode: "5" }]);
  const udp = `${heading}   0: 00000000:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 9 2 0\n`;
  assert.deepEqual(parseSocketTable(udp, "udp"), [{ protocol: "udp", address: "0.0.0.0", port: 53, inode: "9" }]);
});

test("who hears what is sent to an address, and where the others listen", () => {
  const at = (address: string, port = 9000) => ({ protocol: "tcp" as const, address, port });
  const cases: readonly (readonly [string, string, boolean])[] = [
    ["0.0.0.0", "10.244.0.5", true],
    ["0.0.0.0", "fd00::5", false],
    ["::", "10.244.0.5", true],
    ["::", "fd00::5", true],
    ["127.0.0.1", "10.244.0.5", false],
    ["127.0.0.1", "127.0.0.1", true],
    ["::1", "fd00::5", false],
    ["::ffff:10.244.0.5", "10.244.0.5", true],
  ];
  for (const [socket, address, expected] of cases)
    assert.equal(hears(at(socket), address), expected, `${socket} and ${address}`);
  assert.deepEqual(placesOf([at("0.0.0.0", 80), at("::", 80), at("127.0.0.1"), at("::1")]), [
    "80",
    "127.0.0.1:9000",
    "[::1]:9000",
  ]);
});
