// A Corefile that may change while the server runs: looked at every second, and put in force where it can be read.
// Without the reload plugin it stays as it is, as in CoreDNS. A look at a small file costs nothing, and nobody waits half a minute.
//
// Not here: what a Corefile says (corefile.ts), how the server changes to another (server.ts).

import type { Corefile } from "./corefile.ts";
import type { DnsServer } from "./server.ts";

export interface CorefileFile {
  /** The text now; empty while it is being written anew. */
  readonly read: () => string;
  /** Throws CorefileError. */
  readonly parse: (text: string) => Corefile;
  /** What has to be known before the server can act by it. */
  readonly prepare?: (corefile: Corefile) => Promise<void>;
}

const intervalMs = 1000;

/** Follows the file from the text that the server acts by. */
export function followCorefile(
  server: Pick<DnsServer, "reload" | "refuseReload">,
  file: CorefileFile,
  first: { readonly text: string; readonly corefile: Corefile },
): { close(): void } {
  let { text } = first;
  let isWatching = reloads(first.corefile);
  let isClosed = false;
  const timer = setInterval(() => {
    if (!isWatching) return;
    const now = file.read();
    if (now === text || now === "") return;
    text = now;
    void act(now);
  }, intervalMs).unref();

  const act = async (now: string): Promise<void> => {
    let next: Corefile;
    try {
      next = file.parse(now);
      await file.prepare?.(next);
      // The server may be gone by now, with its ports.
      if (isClosed) return;
    } catch (error) {
      if (isClosed) return;
      server.refuseReload(error instanceof Error ? error.message : String(error));
      return;
    }
    try {
      await server.reload(next);
      isWatching = reloads(next);
    } catch {
      // The server has said why, and goes on as before.
    }
  };
  return {
    close() {
      isClosed = true;
      clearInterval(timer);
    },
  };
}

/** The file named as on CoreDNS's command line: `-conf /etc/coredns/Corefile`, which is where it is without. */
export function corefilePath(args: readonly string[]): string {
  const at = args.findIndex((arg) => arg === "-conf" || arg === "--conf");
  const joined = args.find((arg) => /^--?conf=/.test(arg));
  return (at < 0 ? joined?.slice(joined.indexOf("=") + 1) : args[at + 1]) ?? "/etc/coredns/Corefile";
}

function reloads({ servers }: Corefile): boolean {
  return servers.some(({ reload }) => reload !== undefined && reload.intervalMs > 0);
}
