// SCTP through Services: the kernel translates it as it does TCP. Only where the kernel speaks SCTP: `npm run test:guest` runs it on one
// that does.

import assert from "node:assert/strict";
import { test } from "node:test";

import { addressFromBytes } from "../../src/ip/address.ts";
import { errno, libc } from "../../src/kernel/ffi.ts";
import type { NetworkNamespace } from "../../src/kernel/namespaces.ts";
import { socketAddressBytes } from "../../src/kernel/sockets.ts";
import { podPort, startCluster } from "./cluster.testing.ts";

const AF_INET = 2;
const SOCK_STREAM = 1;
// SOCK_CLOEXEC
const SOCK_FLAGS = 0x80000;
const IPPROTO_SCTP = 132;

const socket = libc("int socket(int domain, int type, int protocol)");
const bind = libc("int bind(int fd, const void *address, socklen_t length)");
const listen = libc("int listen(int fd, int backlog)");
const connect = libc("int connect(int fd, const void *address, socklen_t length)");
const accept = libc("int accept4(int fd, void *address, void *length, int flags)");
const setsockopt = libc("int setsockopt(int fd, int level, int option, const void *value, socklen_t length)");
const close = libc("int close(int fd)");

const open = (namespace: NetworkNamespace): number =>
  namespace.run(() => socket(AF_INET, SOCK_STREAM | SOCK_FLAGS, IPPROTO_SCTP));

/** Both ends of a socket wait a second at most: linux/socket.h, struct timeval. */
function withTimeouts(fd: number): number {
  const [SOL_SOCKET, SO_RCVTIMEO, SO_SNDTIMEO] = [1, 20, 21];
  const second = new Uint8Array(BigInt64Array.of(5n, 0n).buffer);
  for (const option of [SO_RCVTIMEO, SO_SNDTIMEO]) setsockopt(fd, SOL_SOCKET, option, second, second.length);
  return fd;
}

void test("SCTP reaches an endpoint of a Service by its address and its node port; no endpoint, no connection", async (t) => {
  const cluster = await startCluster({ nodes: 2 });
  try {
    const [client, near, far] = await Promise.all([
      cluster.addPod("client", "node-1"),
      cluster.addPod("near", "node-1"),
      cluster.addPod("far", "node-2"),
    ]);
    const probe = open(client.namespace);
    if (probe < 0) {
      assert.equal(probe, -errno.EPROTONOSUPPORT);
      return t.skip("this kernel has no SCTP: npm run test:guest runs it on Debian's");
    }
    close(probe);
    await cluster.setServices(
      cluster.service("near", 100, [near], { protocols: ["sctp"], nodePort: 30080 }),
      cluster.service("far", 101, [far], { protocols: ["sctp"] }),
      cluster.service("nobody", 102, [], { protocols: ["sctp"] }),
    );
    const listeners = [near, far].map((pod) => {
      const fd = withTimeouts(open(pod.namespace));
      const any = socketAddressBytes("0.0.0.0", podPort);
      assert.deepEqual([bind(fd, any, any.length), listen(fd, 8)], [0, 0]);
      return fd;
    });
    /** As whom the listener saw the client. The kernel shakes hands by itself. */
    const ask = (from: NetworkNamespace, address: string, port: number, listener: number | undefined): string => {
      const fd = withTimeouts(open(from));
      const to = socketAddressBytes(address, port);
      const connected = connect(fd, to, to.length);
      assert.equal(connected, 0, `connect to ${address} port ${port}`);
      const peer = new Uint8Array(16);
      const taken = accept(listener ?? -1, peer, new Uint8Array(Int32Array.of(16).buffer), SOCK_FLAGS);
      assert.ok(taken >= 0, `accept: ${taken}`);
      close(taken);
      close(fd);
      return addressFromBytes(peer.slice(4, 8));
    };
    assert.equal(ask(client.namespace, "10.96.0.100", 80, listeners[0]), client.address(4));
    assert.equal(ask(client.namespace, "10.96.0.101", 80, listeners[1]), client.address(4));
    const node = cluster.node("node-1").machine.addresses.find((address) => !address.includes(":")) ?? "";
    ask(cluster.topology.internet.namespace, node, 30080, listeners[0]);
    const refused = withTimeouts(open(client.namespace));
    const nobody = socketAddressBytes("10.96.0.102", 80);
    assert.notEqual(connect(refused, nobody, nobody.length), 0);
    for (const fd of [...listeners, refused]) close(fd);
  } finally {
    await cluster.close();
  }
});
