// What listens in a pod: the kernel's own tables of the pod's network namespace, and which container each socket belongs to.

import fs from "node:fs";
import { addressFromBytes, familyOf, type Address } from "../../ip/address.ts";
import type { NetworkNamespace } from "../../kernel/namespaces.ts";

export interface Listener {
  readonly protocol: "tcp" | "udp";
  readonly address: Address;
  readonly port: number;
  /** The container whose process holds the socket, where that is known. */
  readonly container?: string;
}

/** What this needs to know of a pod's containers. */
export interface ListeningContainer {
  readonly name: string;
  readonly pid: number | undefined;
  readonly record: { readonly state: { readonly running?: unknown } };
}

/** Listening TCP and bound, unconnected UDP sockets, without duplicates, by protocol and port. */
export function listenersOf(network: NetworkNamespace, containers: readonly ListeningContainer[]): readonly Listener[] {
  const sockets = network.run(() =>
    (["tcp", "tcp6", "udp", "udp6"] as const).flatMap((table) =>
      parseSocketTable(readTable(table), table.startsWith("tcp") ? "tcp" : "udp"),
    ),
  );
  const running = containers.filter(({ record }) => record.state.running !== undefined);
  const owners = running.length > 1 ? socketOwners(running) : new Map<string, string>();
  const [only] = running;
  // Sockets of no process of the pod are a server's in the daemon: with one such container it is clear whose.
  const inDaemon = running.filter(({ pid }) => pid === undefined);
  const listeners = sockets.map(({ inode, ...socket }) => {
    const container =
      running.length === 1
        ? only?.name
        : (owners.get(inode) ?? (inDaemon.length === 1 ? inDaemon[0]?.name : undefined));
    return { ...socket, ...(container === undefined ? {} : { container }) };
  });
  return listeners.sort(
    (a, b) => a.protocol.localeCompare(b.protocol) || a.port - b.port || a.address.localeCompare(b.address),
  );
}

/** Does what is sent to the address reach the socket? One at `::` takes IPv4 as well, unless its program forbade it, which nobody can see. */
export function hears(listener: Listener, address: Address): boolean {
  const at = listener.address.replace(/^::ffff:/, "");
  return at === address || at === "::" || (at === "0.0.0.0" && familyOf(address) === 4);
}

const placesMax = 8;

/** `8080` for every address, `127.0.0.1:9000` for one */
export function placesOf(listeners: readonly Listener[]): readonly string[] {
  const places = listeners.map(({ address, port }) => {
    if (address === "0.0.0.0" || address === "::") return `${port}`;
    return address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
  });
  const unlike = [...new Set(places)];
  return unlike.length > placesMax ? [...unlike.slice(0, placesMax), "…"] : unlike;
}

/** Listening sockets of a table of /proc/net, as proc(5) has it. */
export function parseSocketTable(
  text: string,
  protocol: "tcp" | "udp",
): readonly {
  readonly protocol: "tcp" | "udp";
  readonly address: Address;
  readonly port: number;
  readonly inode: string;
}[] {
  // net/tcp_states.h: TCP_LISTEN is 0A; an unconnected UDP socket is in TCP_CLOSE, 07.
  const listening = protocol === "tcp" ? "0A" : "07";
  return text.split("\n").flatMap((line) => {
    const fields = line.trim().split(/\s+/);
    const match = /^([0-9A-F]{8}|[0-9A-F]{32}):([0-9A-F]{4})$/.exec(fields[1] ?? "");
    if (match === null || fields[3] !== listening) return [];
    const [, hex = "", port = ""] = match;
    return [
      {
        protocol,
        address: addressFromBytes(hostOrderBytes(hex)),
        port: Number.parseInt(port, 16),
        inode: fields[9] ?? "",
      },
    ];
  });
}

/** Addresses stand there as 32-bit words in the machine's byte order, which is little-endian on both our processors. */
function hostOrderBytes(hex: string): Uint8Array {
  const bytes = Buffer.from(hex, "hex");
  for (let at = 0; at < bytes.length; at += 4) bytes.subarray(at, at + 4).reverse();
  return bytes;
}

function readTable(name: string): string {
  try {
    return fs.readFileSync(`/proc/thread-self/net/${name}`, "utf8");
  } catch {
    // A kernel without IPv6 has no such tables.
    return "";
  }
}

/** Container names by socket inode, from the open files of every process in the containers' pid namespaces. */
function socketOwners(containers: readonly ListeningContainer[]): ReadonlyMap<string, string> {
  const byNamespace = new Map<string, string>();
  for (const { name, pid } of containers) {
    const namespace = pid === undefined ? undefined : readLink(`/proc/${pid}/ns/pid`);
    if (namespace !== undefined) byNamespace.set(namespace, name);
  }
  const owners = new Map<string, string>();
  if (byNamespace.size === 0) return owners;
  for (const pid of fs.readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
    const container = byNamespace.get(readLink(`/proc/${pid}/ns/pid`) ?? "");
    if (container === undefined) continue;
    for (const inode of socketInodes(pid)) owners.set(inode, container);
  }
  return owners;
}

function socketInodes(pid: string): readonly string[] {
  try {
    return fs.readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
      const inode = /^socket:\[(\d+)\]$/.exec(readLink(`/proc/${pid}/fd/${fd}`) ?? "")?.[1];
      return inode === undefined ? [] : [inode];
    });
  } catch {
    return [];
  }
}

function readLink(path: string): string | undefined {
  try {
    return fs.readlinkSync(path);
  } catch {
    return undefined;
  }
}
