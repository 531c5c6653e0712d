// getent hosts and ahosts, for machines that have none (musl-based ones).

import { lookup } from "node:dns/promises";
import process from "node:process";

/** 0, 1 for a wrong call, 2 where a name was not found. */
export async function getent(words: readonly string[]): Promise<number> {
  const [database = "", ...names] = words;
  if (!["hosts", "ahosts", "ahostsv4", "ahostsv6"].includes(database) || names.length === 0) {
    process.stderr.write("getent (Fairlead's small one): getent hosts|ahosts|ahostsv4|ahostsv6 NAME…\n");
    return 1;
  }
  let status = 0;
  for (const name of names) {
    try {
      const family = database === "ahostsv4" ? 4 : database === "ahostsv6" ? 6 : 0;
      const found = await lookup(name, { all: true, family });
      const rows = database === "hosts" ? found.slice(0, 1) : found;
      for (const { address } of rows)
        process.stdout.write(`${address.padEnd(15)} ${database === "hosts" ? name : `STREAM ${name}`}\n`);
    } catch {
      status = 2;
    }
  }
  return status;
}
