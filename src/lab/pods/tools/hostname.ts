// hostname, for machines that have none: -s -f -d -i -I.

import { lookup } from "node:dns/promises";
import os from "node:os";
import process from "node:process";
import { readText } from "./files.ts";

/** Setting the name is not for containers: exit status 1. */
export async function hostname(words: readonly string[]): Promise<number> {
  const name = os.hostname();
  const [option] = words;
  const full = fullName(name);
  switch (option) {
    case undefined:
      return say(name);
    case "-s":
      return say(name.split(".")[0] ?? name);
    case "-f":
    case "--fqdn":
      return say(full);
    case "-d":
      return say(full.includes(".") ? full.slice(full.indexOf(".") + 1) : "");
    case "-i":
      return say((await lookup(name, { all: true })).map(({ address }) => address).join(" "));
    case "-I":
      return say(ownAddresses().join(" "));
    default:
      process.stderr.write(
        `hostname: ${option.startsWith("-") ? `unknown option ${option}` : "you must be root to change the host name"}\n`,
      );
      return 1;
  }
}

function say(text: string): number {
  process.stdout.write(`${text}\n`);
  return 0;
}

function ownAddresses(): readonly string[] {
  return Object.values(os.networkInterfaces()).flatMap((link) =>
    (link ?? []).flatMap(({ address, internal }) => (internal || address.startsWith("fe80") ? [] : [address])),
  );
}

function fullName(name: string): string {
  for (const line of readText("/etc/hosts").split("\n")) {
    const [, first, ...others] = line.replace(/#.*/, "").trim().split(/\s+/);
    if (first !== undefined && (first === name || others.includes(name))) return first;
  }
  return name;
}
