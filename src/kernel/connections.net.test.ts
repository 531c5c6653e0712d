// Needs: nft

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import dgram from "node:dgram";
import { once } from "node:events";
import { after, before, test } from "node:test";

import type { NetworkKernel } from "./kernel.ts";
import { openKernel } from "./linux.ts";
import { createNetworkNamespace, type NetworkNamespace } from "./namespaces.ts";
import { bindUdpFd } from "./sockets.ts";

// Datagrams to 127.0.0.53:53 and to [::1]:53 are sent on to a server on port 5353 of the same host.
const ruleset = `table inet t {
  chain output {
    type nat hook output priority -100
    ip daddr 127.0.0.53 udp dport 53 dnat ip to 127.0.0.1:5353
    ip6 daddr ::1 udp dport 53 dnat ip6 to [::1]:5353
  }
}
`;

let namespace: NetworkNamespace;
let kernel: NetworkKernel;
let server: dgram.Socket;

before(() => {
  namespace = createNetworkNamespace();
  kernel = openKernel("node-1", namespace);
  const nft = namespace.run(() => spawnSync("nft", ["-f", "-"], { input: ruleset, encoding: "utf8" }));
  assert.equal(nft.status, 0, nft.stderr);
  server = dgram.createSocket("udp6").bind({ fd: bindUdpFd(namespace, { port: 5353 }) });
  server.on("message", (message, from) => server.send(message, from.port, from.address));
});
after(() => {
  server.close();
  kernel.close();
  namespace.close();
});

/** Sends one datagram and waits for the answer; the port it came from. */
async function ask(destination: string): Promise<number> {
  const four = destination.includes(".");
  const fd = bindUdpFd(namespace, { port: 0, address: four ? "127.0.0.1" : "::1" });
  const client = dgram.createSocket(four ? "udp4" : "udp6").bind({ fd });
  client.send("?", 53, destination);
  await once(client, "message");
  const { port } = client.address();
  client.close();
  return port;
}

void test("a connection is listed with both directions", async () => {
  const port = await ask("127.0.0.53");
  const [connection] = kernel.connections().filter((one) => one.sourcePort === port);
  assert.ok(connection);
  const { timeoutSeconds, ...rest } = connection;
  assert.ok(timeoutSeconds > 0);
  assert.deepEqual(rest, {
    protocol: 17,
    source: "127.0.0.1",
    destination: "127.0.0.53",
    sourcePort: port,
    destinationPort: 53,
    replySource: "127.0.0.1",
    replyDestination: "127.0.0.1",
    replySourcePort: 5353,
    replyDestinationPort: port,
    mark: 0,
    assured: false,
  });
  assert.ok(kernel.flushConnections({ protocol: 17 }) >= 1);
});

void test("only what matches in every field is deleted, and counted", async () => {
  await ask("127.0.0.53");
  await ask("127.0.0.53");
  await ask("::1");
  const left = (): number => kernel.connections().filter((one) => one.destinationPort === 53).length;
  assert.equal(left(), 3);
  assert.equal(kernel.flushConnections({ protocol: 6, destination: "127.0.0.53" }), 0);
  assert.equal(kernel.flushConnections({ protocol: 17, destination: "127.0.0.54" }), 0);
  assert.equal(kernel.flushConnections({ protocol: 17, destination: "127.0.0.53", destinationPort: 54 }), 0);
  const backend = { protocol: 17, destination: "127.0.0.53", destinationPort: 53 };
  assert.equal(kernel.flushConnections({ ...backend, replySource: "127.0.0.1", replySourcePort: 53 }), 0);
  assert.equal(left(), 3);
  assert.equal(kernel.flushConnections({ ...backend, replySource: "127.0.0.1", replySourcePort: 5353 }), 2);
  assert.equal(left(), 1);
  assert.equal(kernel.flushConnections({ protocol: 17, replySource: "::1" }), 1);
  assert.equal(left(), 0);
});

void test("another namespace's connections are not seen", async () => {
  await ask("127.0.0.53");
  const other = createNetworkNamespace();
  const there = openKernel("node-2", other);
  assert.deepEqual(there.connections(), []);
  assert.equal(there.flushConnections({ protocol: 17 }), 0);
  there.close();
  other.close();
  assert.equal(kernel.flushConnections({ protocol: 17, destinationPort: 53 }), 1);
});
