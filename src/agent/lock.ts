// One agent on a node. The lock is an abstract unix socket: it belongs to the network namespace whose kernel state it guards, needs no
// file, and the kernel lets go of it with the process, however that ends.

import { createServer } from "node:net";

/** Somebody else has the lock. */
export class LockedError extends Error {
  override readonly name = "LockedError";
}

/** The name is the same for every Fairlead agent: a second one of another version is refused too. */
const lockName = "\0fairlead-agent";

/** Takes the lock of the process's network namespace until closed, or the process ends. Rejects with LockedError. */
export async function takeAgentLock(): Promise<{ close(): void }> {
  const server = createServer((socket) => socket.destroy());
  await new Promise<void>((resolve, reject) => {
    server.once("error", (error: NodeJS.ErrnoException) => {
      if (error.code !== "EADDRINUSE") return reject(error);
      reject(
        new LockedError(
          "start the agent: another Fairlead agent works in this network namespace; stop it first (two would undo each other's work)",
          { cause: error },
        ),
      );
    });
    server.listen(lockName, resolve);
  });
  server.unref();
  return { close: () => void server.close() };
}
