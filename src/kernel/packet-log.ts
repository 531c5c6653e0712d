// Reads what `log group N` rules of one namespace tell (NFLOG). libuv waits for the socket, so a quiet log costs nothing and keeps no
// process alive. What comes faster than it is read is lost, and counted.

import koffi from "koffi";

import { NetlinkFormatError } from "../wire/netlink/attributes.ts";
import { bindPacketLog, decodeLoggedPacket, type LoggedPacket } from "../wire/netlink/packet-log.ts";
import type { Closable } from "./kernel.ts";
import type { NetworkNamespace } from "./namespaces.ts";
import { openNetlinkSocket, protocol } from "./netlink-socket.ts";

/** Enough for the headers. */
const headBytes = 128;

/** A reader of a log group. */
export interface PacketLog extends Closable {
  /** How many packets the kernel told that could not be read in time, as far as later ones show. */
  readonly lost: number;
}

/** Calls back for every packet of the group. A group has one reader in a namespace: with another one there already this throws KernelError (EBUSY). */
export function openPacketLog(
  namespace: NetworkNamespace,
  group: number,
  told: (packet: LoggedPacket) => void,
): PacketLog {
  const socket = openNetlinkSocket(namespace, protocol.netfilter);
  const doing = `read packets of log group ${group} in ${namespace.id}`;
  try {
    socket.request(bindPacketLog(group, headBytes), doing);
  } catch (error) {
    socket.close();
    throw error;
  }
  let lost = 0;
  let next: number | undefined;
  const look = (): void => {
    for (const message of socket.receive().messages) {
      const packet = readable(() => decodeLoggedPacket(message));
      if (packet === undefined) continue;
      const { sequence } = packet;
      if (sequence !== undefined) {
        if (next !== undefined) lost += (sequence - next) >>> 0;
        next = (sequence + 1) >>> 0;
      }
      told(packet);
    }
  };
  const poll = koffi.node.poll(socket.fd, { readable: true }, look);
  poll.unref();
  let isOpen = true;
  return {
    get lost() {
      return lost;
    },
    close() {
      if (!isOpen) return;
      isOpen = false;
      poll.close();
      socket.close();
    },
  };
}

/** A packet that cannot be read is not worth a crash. */
function readable<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (error instanceof NetlinkFormatError) return undefined;
    throw error;
  }
}
