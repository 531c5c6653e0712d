// Tracked connections of a namespace: list them, forget those that match.

import {
  connectionStatus,
  decodeConnection,
  deleteConnection,
  getConnections,
  type ConnectionInfo,
} from "../wire/netlink/conntrack.ts";
import type { ConnectionMatch, ConnectionState } from "./kernel.ts";
import { failureError, type NetlinkSocket } from "./netlink-socket.ts";

/** All connections. Throws KernelError. */
export function listConnections(socket: NetlinkSocket, kernelName: string): readonly ConnectionState[] {
  return dumpConnections(socket, kernelName, undefined).map(connectionState);
}

/** Deletes the connections that match; how many there were. One that ends meanwhile is not counted. Throws KernelError. */
export function deleteConnections(socket: NetlinkSocket, kernelName: string, match: ConnectionMatch): number {
  const found = dumpConnections(socket, kernelName, match).filter((connection) => matches(connection, match));
  const doing = `delete connections of ${kernelName}`;
  let deleted = 0;
  for (const failure of socket.pipeline(found.map(deleteConnection), doing)) {
    if (failure === undefined) deleted++;
    else if (failure.code !== "ENOENT") throw failureError(doing, failure);
  }
  return deleted;
}

function dumpConnections(
  socket: NetlinkSocket,
  kernelName: string,
  match: ConnectionMatch | undefined,
): readonly ConnectionInfo[] {
  const connections: ConnectionInfo[] = [];
  for (const message of socket.dump(getConnections(match), `list connections of ${kernelName}`)) {
    const connection = decodeConnection(message);
    if (connection !== undefined) connections.push(connection);
  }
  return connections;
}

function matches({ original, reply }: ConnectionInfo, match: ConnectionMatch): boolean {
  return (
    original.protocol === match.protocol &&
    (match.destination === undefined || original.destination === match.destination) &&
    (match.destinationPort === undefined || original.destinationPort === match.destinationPort) &&
    (match.replySource === undefined || reply.source === match.replySource) &&
    (match.replySourcePort === undefined || reply.sourcePort === match.replySourcePort)
  );
}

function connectionState({ original, reply, mark, status, timeoutSeconds }: ConnectionInfo): ConnectionState {
  return {
    ...original,
    replySource: reply.source,
    replyDestination: reply.destination,
    ...(reply.sourcePort === undefined ? {} : { replySourcePort: reply.sourcePort }),
    ...(reply.destinationPort === undefined ? {} : { replyDestinationPort: reply.destinationPort }),
    mark,
    assured: (status & connectionStatus.assured) !== 0,
    timeoutSeconds,
  };
}
