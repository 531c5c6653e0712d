// agnhost's clients, which run as real processes: connect, dns-suffix, dns-server-list, etc-hosts, entrypoint-tester.
// Its servers live in the daemon (workloads/agnhost.ts) when they are a container's own command.

import { createSocket } from "node:dgram";
import { lookup } from "node:dns/promises";
import net from "node:net";
import process from "node:process";
import { readText } from "./files.ts";
import { parseOptions, UsageError } from "./options.ts";

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

/** connect HOST:PORT --timeout=3s --protocol=tcp|udp: TIMEOUT, REFUSED, DNS or OTHER on standard error. */
async function connect(words: readonly string[]): Promise<number> {
  const fail = (text: string): number => {
    process.stderr.write(`${text}\n`);
    return 1;
  };
  try {
    const options = parseOptions(words, { flags: ["udp-data"], values: ["timeout", "protocol"] });
    const [where = ""] = options.rest;
    const [, host = "", port = ""] = /^(?:\[?(.*?)\]?):(\d+)$/.exec(where) ?? [];
    if (port === "") return fail(`OTHER: address ${where}: missing port`);
    const timeout = durationMs(options.value("timeout") ?? "10s");
    const protocol = options.value("protocol") ?? "tcp";
    if (protocol !== "tcp" && protocol !== "udp")
      return fail(`OTHER: unsupported protocol ${protocol}: this stand-in has tcp and udp`);
    let address: string;
    try {
      ({ address } = await lookup(host));
    } catch {
      return fail("DNS: no such host");
    }
    await (protocol === "udp" ? tryUdp(address, Number(port), timeout) : tryTcp(address, Number(port), timeout));
    return 0;
  } catch (error) {
    if (error instanceof UsageError) return fail(`Error: ${error.message}`);
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === "ETIMEDOUT") return fail("TIMEOUT");
    return fail(code === "ECONNREFUSED" ? "REFUSED" : `OTHER: ${message}`);
  }
}

const timedOut = (): Error => Object.assign(new Error("timeout"), { code: "ETIMEDOUT" });

function tryTcp(host: string, port: number, timeoutMs: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = net.connect({ host, port });
    const timer = setTimeout(() => {
      socket.destroy();
      reject(timedOut());
    }, timeoutMs);
    const end = (finish: () => void): void => {
      clearTimeout(timer);
      socket.destroy();
      finish();
    };
    socket.once("connect", () => end(resolve));
    socket.once("error", (error) => end(() => reject(error)));
  });
}

/** As agnhost does: asks `hostname` and wants any answer. */
function tryUdp(host: string, port: number, timeoutMs: number): Promise<void> {
  const socket = createSocket(host.includes(":") ? "udp6" : "udp4");
  return new Promise<void>((resolve, reject) => {
    const timer = setTimeout(() => reject(timedOut()), timeoutMs);
    socket.once("message", () => {
      clearTimeout(timer);
      resolve();
    });
    socket.once("error", (error) => {
      clearTimeout(timer);
      reject(error);
    });
    socket.connect(port, host, () => socket.send("hostname\n"));
  }).finally(() => socket.close());
}

function durationMs(text: string): number {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m)?$/.exec(text);
  const unit = { ms: 1, s: 1000, m: 60_000 }[match?.[2] ?? "s"] ?? 1000;
  return Number(match?.[1] ?? 10) * unit;
}
