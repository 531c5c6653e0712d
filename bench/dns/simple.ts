// DNS queries a second and CPU per query of the server, in one process on loopback of a private network namespace.
//
//   npm run bench -- dns/simple [SECONDS]
//
// The client is another process of this file. It keeps a fixed number of queries under way and batches its system calls too, so that the
// server is what is measured. Beside it: the same answers through node:dgram, the obvious way to write such a server.

import { spawn, spawnSync } from "node:child_process";
import dgram from "node:dgram";
import { once } from "node:events";
import process from "node:process";
import { fileURLToPath } from "node:url";

import koffi from "koffi";

import { check, libc } from "../../src/kernel/ffi.ts";
import { currentNetworkNamespace } from "../../src/kernel/namespaces.ts";
import { bindUdpFd, socketAddressBytes } from "../../src/kernel/sockets.ts";
import { keptAnswer } from "../../src/program/zone-answer.ts";
import { compileZone, type Zone } from "../../src/program/zone.ts";
import { network, port, service } from "../../src/program/zone.testing.ts";
import { startDnsServer } from "../../src/serve/dns/server.ts";
import { udpLimit, writeAnswer } from "../../src/wire/dns/answer.ts";
import { buildQuery } from "../../src/wire/dns/message.ts";
import { readQuery } from "../../src/wire/dns/query.ts";

const services = 10_000;
const underWay = 256;

const file = fileURLToPath(import.meta.url);
const [role = "", ...rest] = process.argv.slice(2);

switch (role) {
  case "server":
    await measure(Number(rest[0]));
    break;
  case "client":
    await client(Number(rest[0]), Number(rest[1]));
    break;
  default: {
    const inside = [process.execPath, file, "server", role === "" ? "3" : role];
    process.exitCode = spawnSync("unshare", ["-Urn", "--", ...inside], { stdio: "inherit" }).status ?? 1;
  }
}

async function measure(seconds: number): Promise<void> {
  spawnSync("ip", ["link", "set", "lo", "up"]);
  const zone = bigZone();
  const server = await startDnsServer({
    namespace: currentNetworkNamespace(),
    zone: () => zone,
    upstream: undefined,
    domain: "cluster.local",
    log: () => {},
    ports: { dns: 5301, health: 0, ready: 0, metrics: 0 },
  });
  console.log(`${services} Services, A queries for random ones, ${underWay} under way, ${seconds} s each`);
  await run("Fairlead DNS (recvmmsg, finished answers, metrics)", 5301, seconds);
  await server.close();
  const plain = plainServer(zone, 5302);
  await run("the same answers by node:dgram, no metrics", 5302, seconds);
  plain.close();
}

async function run(label: string, serverPort: number, seconds: number): Promise<void> {
  // A first round makes the answers and warms the code.
  await clientProcess(serverPort, 1);
  const before = process.cpuUsage();
  const started = performance.now();
  const answered = await clientProcess(serverPort, seconds);
  const took = (performance.now() - started) / 1000;
  const { user, system } = process.cpuUsage(before);
  const perQuery = (user + system) / answered;
  console.log(
    `${label}: ${Math.round(answered / seconds)} q/s, ${perQuery.toFixed(2)} µs CPU a query (${Math.round((user + system) / took / 1e4)} % busy)`,
  );
}

async function clientProcess(serverPort: number, seconds: number): Promise<number> {
  const child = spawn(process.execPath, [file, "client", String(serverPort), String(seconds)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let output = "";
  child.stdout.on("data", (chunk: Buffer) => (output += chunk.toString()));
  await once(child, "exit");
  return Number(output);
}

/** Sends a new query for each answer; prints how many were answered. UDP may lose some: they are replaced twenty times a second. */
async function client(serverPort: number, seconds: number): Promise<void> {
  const fd = bindUdpFd(currentNetworkNamespace(), { address: "127.0.0.1", port: 0 });
  const connect = libc("int connect(int fd, const void *address, socklen_t length)");
  const address = socketAddressBytes("127.0.0.1", serverPort);
  check("connect to the server", connect(fd, address, address.length));
  const messages = createMessages();
  let answered = 0;
  let waiting = 0;
  const fill = (): void => {
    waiting += messages.send(fd, underWay - waiting);
  };
  const poll = koffi.node.poll(fd, { readable: true }, () => {
    const count = messages.receive(fd);
    answered += count;
    waiting = Math.max(waiting - count, 0);
    fill();
  });
  const refill = setInterval(() => {
    waiting = 0;
    fill();
  }, 50);
  fill();
  await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
  clearInterval(refill);
  poll.close();
  process.stdout.write(String(answered));
}

/** The client's system calls: 64 messages each. The layout is kernel/udp.ts's, without addresses. */
function createMessages(): { send(fd: number, count: number): number; receive(fd: number): number } {
  const recvmmsg = libc("int recvmmsg(int fd, void *messages, uint count, int flags, void *timeout)");
  const sendmmsg = libc("int sendmmsg(int fd, void *messages, uint count, int flags)");
  const queries = Array.from({ length: services }, (_, i) =>
    buildQuery({ id: i & 0xffff, name: nameOf(i), type: "A", udpBytes: 1232 }),
  );
  const block = new Uint8Array(new ArrayBuffer(64 * (64 + 16 + 64 + 16 + 128 + 512)));
  const view = new DataView(block.buffer);
  const base = koffi.address(block);
  const [sends, receives, vectors, data, sink] = [0, 64 * 64, 64 * 128, 64 * 160, 64 * 288];
  for (let i = 0; i < 64; i++) {
    for (const [headers, vector, buffer, size] of [
      [sends, vectors + i * 16, data + i * 128, 128],
      [receives, vectors + 64 * 16 + i * 16, sink + i * 512, 512],
    ] as const) {
      view.setBigUint64(headers + i * 64 + 16, base + BigInt(vector), true);
      view.setBigUint64(headers + i * 64 + 24, 1n, true);
      view.setBigUint64(vector, base + BigInt(buffer), true);
      view.setBigUint64(vector + 8, BigInt(size), true);
    }
  }
  let next = 0;
  return {
    send(fd, count) {
      const batch = Math.min(count, 64);
      for (let i = 0; i < batch; i++) {
        // 7919 is prime: names in an order that helps no cache.
        const query = queries[(next = (next + 7919) % services)] ?? new Uint8Array();
        block.set(query, data + i * 128);
        view.setBigUint64(vectors + i * 16 + 8, BigInt(query.length), true);
      }
      return batch === 0 ? 0 : Math.max(sendmmsg(fd, block.subarray(sends), batch, 0x40), 0);
    },
    receive: (fd) => Math.max(recvmmsg(fd, block.subarray(receives), 64, 0x40, null), 0),
  };
}

function bigZone(): Zone {
  return compileZone(
    network({
      services: Array.from({ length: services }, (_, i) =>
        service(`production/service-${i}`, { clusterIps: [`10.97.${i >> 8}.${i & 255}`], ports: [port("http", 80)] }),
      ),
    }),
  );
}

function nameOf(i: number): string {
  return `service-${i}.production.svc.cluster.local`;
}

function plainServer(zone: Zone, serverPort: number): dgram.Socket {
  const socket = dgram.createSocket("udp4");
  socket.on("message", (asked, from) => {
    const query = readQuery(asked);
    if (query.kind !== "query") return;
    const answer = keptAnswer(zone, query.name, query.type);
    if (answer === undefined) return;
    const out = new Uint8Array(1232);
    const length = writeAnswer(out, asked, query, answer, { limit: udpLimit(query), turn: 0 });
    socket.send(out.subarray(0, length), from.port, from.address);
  });
  socket.bind(serverPort, "127.0.0.1");
  return socket;
}
