// agnhost's clients, which run as real processes: connect, dns-suffix, dns-server-list, etc-hosts, entrypoint-tester.
// Its servers live in the daemon (workloads/agnhost.ts) when they are a container's own command.

import { lookup } from "node:dns/promises";
import process from "node:process";
import type { NetworkNamespace } from "../../../kernel/namespaces.ts";
import { agnhostConnect } from "../workloads/agnhost-connect.ts";
import { readText } from "./files.ts";

/** Exit status 1 after any failure; `connect` says which on standard error, in agnhost's words. */
export async function agnhost(words: readonly string[]): Promise<number> {
  const [command = "", ...rest] = words;
  const out = (line: string): void => void process.stdout.write(`${line}\n`);
  switch (command) {
    case "connect":
      return connect(rest);
    case "dns-suffix":
      out(
        matches(/^search (.*)$/gm)
          .join(" ")
          .split(" ")
          .join(","),
      );
      return 0;
    case "dns-server-list":
      out(matches(/^nameserver (\S+)/gm).join(","));
      return 0;
    case "etc-hosts":
      out(readText("/etc/hosts"));
      return 0;
    case "entrypoint-tester":
      out(`["/agnhost" "entrypoint-tester" ${rest.map((word) => JSON.stringify(word)).join(" ")}]`);
      return 0;
    case "--version":
    case "version":
      out("agnhost version 2.53 (Fairlead)");
      return 0;
    default:
      process.stderr.write(
        `Error: ${command}: as a process there are connect, dns-suffix, dns-server-list, etc-hosts, entrypoint-tester; servers run as a container's own command\n`,
      );
      return 1;
  }
}

function matches(pattern: RegExp): readonly string[] {
  return [...readText("/etc/resolv.conf").matchAll(pattern)].map((match) => match[1] ?? "");
}

/** connect HOST:PORT, from this container. */
async function connect(words: readonly string[]): Promise<number> {
  const here: NetworkNamespace = { fd: -1, id: "net:[own]", run: (work) => work(), close() {} };
  const { code, errors } = await agnhostConnect(
    words,
    { namespace: here, resolve: async (name) => (await lookup(name)).address },
    new AbortController().signal,
  );
  process.stderr.write(errors);
  return code;
}
