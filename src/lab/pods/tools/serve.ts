// The built-in servers as processes: for commands that start one from a shell (`sh -c "… && nginx -g 'daemon off;'"`).
// The same code that serves from the daemon, on this process's own network and files.

import { execFile } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import process from "node:process";
import type { NetworkNamespace } from "../../../kernel/namespaces.ts";
import { containerFiles } from "../files.ts";
import { parseFlags, portOf } from "../workloads/flags.ts";
import { send, serveHttp } from "../workloads/listen.ts";
import { agnhost } from "../workloads/agnhost.ts";
import { nginx } from "../workloads/nginx.ts";
import { redis } from "../workloads/redis.ts";
import { accessLine, httpEcho, httpd, urlOf, whoami } from "../workloads/web.ts";
import type { BuiltinWorkload, WorkloadContext } from "../workloads/workload.ts";
import { readText } from "./files.ts";

const servers: Readonly<Record<string, BuiltinWorkload>> = {
  agnhost,
  nginx,
  "http-echo": httpEcho,
  "httpd-foreground": httpd,
  "redis-server": redis,
  whoami,
};

/** Names of the servers that can be started as a process. */
export function isServer(name: string, words: readonly string[]): boolean {
  return servers[name]?.serves([name, ...words]) === true;
}

/** Serves until a signal comes; the exit status. */
export function serve(name: string, words: readonly string[]): Promise<number> {
  return running((context) => servers[name]?.start(context), [name, ...words]);
}

/** busybox's httpd: -f -p [ADDRESS:]PORT -h FOLDER. */
export function httpdTool(words: readonly string[]): Promise<number> {
  const { flags } = parseFlags(words, new Set(["f", "v", "vv", "i"]));
  const port = portOf((flags.get("p") ?? "80").split(":").at(-1), 80);
  const folder = fs.realpathSync(flags.get("h") ?? ".");
  return running((context) => {
    const files = containerFiles([{ source: folder, target: "/", readOnly: true }]);
    return serveHttp({ namespace: context.namespace, port }, (request, response) => {
      const { pathname } = urlOf(request);
      const path = decodeURIComponent(pathname);
      const file = files.read(files.kindOf(path) === "folder" ? `${path}/index.html` : path);
      if (flags.has("v")) context.log(accessLine(request, file === undefined ? 404 : 200));
      if (file === undefined)
        send(response, 404, "<HTML><BODY>404 Not Found</BODY></HTML>\n", { "content-type": "text/html" });
      else send(response, 200, file, { "content-type": path.endsWith(".txt") ? "text/plain" : "text/html" });
    });
  }, words);
}

function running(
  start: (context: WorkloadContext) => { stop(): void } | undefined,
  words: readonly string[],
): Promise<number> {
  return new Promise((resolve) => {
    const end = (code: number): void => {
      server?.stop();
      resolve(code);
    };
    let server: { stop(): void } | undefined;
    try {
      server = start(ownContext(words, end));
    } catch (error) {
      process.stderr.write(`${(error as Error).message}\n`);
      return resolve((error as { exitCode?: number }).exitCode ?? 1);
    }
    for (const signal of ["SIGTERM", "SIGINT", "SIGQUIT"] as const) process.once(signal, () => end(0));
  });
}

/** This container as the servers see one. */
function ownContext(args: readonly string[], exit: (code: number) => void): WorkloadContext {
  const hostname = os.hostname();
  const env = Object.fromEntries(Object.entries(process.env).map(([name, value]) => [name, value ?? ""]));
  const here: NetworkNamespace = { fd: -1, id: "net:[own]", run: (work) => work(), close() {} };
  const podIps = Object.values(os.networkInterfaces()).flatMap((link) =>
    (link ?? []).flatMap(({ address, internal }) => (internal || address.startsWith("fe80") ? [] : [address])),
  );
  return {
    namespace: here,
    pod: {
      apiVersion: "v1",
      kind: "Pod",
      metadata: { name: hostname, namespace: env["POD_NAMESPACE"] ?? "" },
      spec: { containers: [] },
    },
    podIps,
    nodeName: env["NODE_NAME"] ?? "",
    hostname,
    container: "",
    args,
    env,
    files: containerFiles([{ source: "/", target: "/", readOnly: true }]),
    resolvConf: readText("/etc/resolv.conf"),
    log: (line) => void process.stdout.write(`${line}\n`),
    exit,
    run: (argv) =>
      new Promise((resolve, reject) => {
        const [program = "", ...rest] = argv;
        execFile(program, rest, (error, stdout, stderr) => {
          const code = error === null ? 0 : error.code;
          if (typeof code === "string") reject(error ?? new Error(code));
          else resolve({ output: stdout + stderr, code: code ?? 137 });
        });
      }),
  };
}
