// `fairlead show WHAT --here`: the agent of this machine answers over a unix socket that only its own user may open.
//
//   GET /routes, /services, /ipam …  ->  {"text": …, "value": …}
//
// Not here: what there is to see (show.ts).

import { mkdirSync, rmSync } from "node:fs";
import { dirname } from "node:path";
import { http } from "../kernel/http.ts";

import { views, type Shown, type ShownNode } from "./show.ts";

/** Answers until closed. Rejects with the file system's error. */
export async function startShowServer(path: string, node: () => ShownNode): Promise<{ close(): void }> {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  // The agent's lock says that whoever made it is gone.
  rmSync(path, { force: true });
  const server = http.createServer((incoming, response) => {
    const view = views[(incoming.url ?? "").slice(1)];
    try {
      if (view === undefined) throw new RangeError(`there are: ${Object.keys(views).join(", ")}`);
      const text = JSON.stringify(view(node()));
      response.writeHead(200, { "Content-Type": "application/json" }).end(text);
    } catch (error) {
      response.writeHead(404).end(error instanceof Error ? error.message : String(error));
    }
  });
  const mask = process.umask(0o077);
  try {
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(path, resolve);
    });
  } finally {
    process.umask(mask);
  }
  server.unref();
  return {
    close() {
      server.close();
      server.closeAllConnections();
      rmSync(path, { force: true });
    },
  };
}

/** Asks the agent behind a socket. Rejects with what to do where none answers. */
export function askAgent(path: string, what: string): Promise<Shown> {
  return new Promise((resolve, reject) => {
    const outgoing = http.request({ socketPath: path, path: `/${encodeURIComponent(what)}` }, (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => void chunks.push(chunk));
      response.once("end", () => {
        const text = Buffer.concat(chunks).toString("utf8");
        if (response.statusCode === 200) resolve(JSON.parse(text) as Shown);
        else reject(new Error(`show ${what} of this machine's agent: ${text}`));
      });
    });
    outgoing.once("error", (cause) =>
      reject(
        new Error(`show ${what}: no agent answers at ${path}: ${cause.message}; does fairlead agent run here?`, {
          cause,
        }),
      ),
    );
    outgoing.end();
  });
}
