import assert from "node:assert/strict";
import dgram from "node:dgram";
import { once } from "node:events";
import fs from "node:fs";
import net from "node:net";
import { after, test } from "node:test";

import { check, libc } from "./ffi.ts";
import { KernelError } from "./kernel.ts";
import { createNetworkNamespace } from "./namespaces.ts";
import { bindUdpFd, listenTcpFd, socketAddressBytes, tcpSocketFd } from "./sockets.ts";

const ioctl = libc("int ioctl(int fd, unsigned long request, void *argument)");
const namespace = createNetworkNamespace();
after(() => namespace.close());

/** The namespace a socket belongs to (linux/sockios.h: SIOCGSKNS). */
function namespaceOf(socket: number): string {
  const fd = check("ask a socket for its namespace", ioctl(socket, 0x894c, null));
  try {
    return `net:[${fs.fstatSync(fd).ino}]`;
  } finally {
    fs.closeSync(fd);
  }
}

void test("every socket belongs to the namespace it was made for", () => {
  const fds = [
    listenTcpFd(namespace, { port: 0 }),
    listenTcpFd(namespace, { port: 0, address: "127.0.0.1" }),
    bindUdpFd(namespace, { port: 0 }),
    tcpSocketFd(namespace, 4),
    tcpSocketFd(namespace, 6),
  ];
  for (const fd of fds) {
    assert.equal(namespaceOf(fd), namespace.id);
    fs.closeSync(fd);
  }
});

void test("a server without an address answers both families", async () => {
  const server = net.createServer((socket) => socket.end(socket.remoteAddress ?? ""));
  server.listen({ fd: listenTcpFd(namespace, { port: 8080 }) });
  await once(server, "listening");
  for (const [family, host, seen] of [
    [4, "127.0.0.1", "::ffff:127.0.0.1"],
    [6, "::1", "::1"],
  ] as const) {
    const client = new net.Socket({ fd: tcpSocketFd(namespace, family) }).connect({ host, port: 8080 });
    const chunks: Buffer[] = [];
    client.on("data", (chunk: Buffer) => chunks.push(chunk));
    await once(client, "close");
    assert.equal(Buffer.concat(chunks).toString(), seen);
  }
  server.close();
  await once(server, "close");
});

void test("an IPv6 address leaves the port of IPv4 free", () => {
  const six = listenTcpFd(namespace, { port: 8081, address: "::" });
  const four = listenTcpFd(namespace, { port: 8081, address: "0.0.0.0" });
  for (const fd of [six, four]) fs.closeSync(fd);
});

void test("datagrams arrive by an address of either family", async () => {
  // `bind` with a descriptor listens at once.
  const server = dgram.createSocket("udp6").bind({ fd: bindUdpFd(namespace, { port: 5353 }) });
  const client = dgram.createSocket("udp4").bind({ fd: bindUdpFd(namespace, { port: 0, address: "127.0.0.1" }) });
  client.send("hello", 5353, "127.0.0.1");
  const [message] = (await once(server, "message")) as [Buffer];
  assert.equal(message.toString(), "hello");
  server.close();
  client.close();
});

void test("refusals say what was asked for, and leak no descriptor", () => {
  const fd = listenTcpFd(namespace, { port: 8082 });
  const open = (): number => fs.readdirSync("/proc/self/fd").length;
  const before = open();
  const refused = (work: () => number, code: string, words: RegExp): void =>
    assert.throws(work, (error) => error instanceof KernelError && error.code === code && words.test(error.message));
  refused(() => listenTcpFd(namespace, { port: 8082 }), "EADDRINUSE", /^listen on tcp port 8082 in net:/);
  refused(() => bindUdpFd(namespace, { port: 53, address: "192.0.2.1" }), "EADDRNOTAVAIL", /bind udp 192\.0\.2\.1:53/);
  refused(() => listenTcpFd(namespace, { port: 1, address: "2001:db8::1" }), "EADDRNOTAVAIL", /tcp \[2001:db8::1\]:1/);
  assert.equal(open(), before);
  fs.closeSync(fd);
});

void test("addresses are written as the kernel wants them", () => {
  assert.deepEqual([...socketAddressBytes("10.1.2.3", 0x1f90).subarray(0, 8)], [2, 0, 0x1f, 0x90, 10, 1, 2, 3]);
  const six = socketAddressBytes("fd00::1", 53);
  assert.deepEqual([six.length, six[0], six[3], six[8], six[23]], [28, 10, 53, 0xfd, 1]);
});
