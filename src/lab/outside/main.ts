// The process that stays outside of the lab's namespaces: `node main.ts FD`, FD being one end of a socket pair whose other end the daemon has.
// It asks the host's resolvers for the lab, and ends when the other side goes away.

import process from "node:process";

import { runOutsideHelper } from "./helper.ts";

const fd = Number(process.argv[2]);
if (!Number.isInteger(fd) || fd < 3) throw new Error("main.ts FD: which descriptor leads to the lab's daemon?");
await runOutsideHelper(fd);
process.exit(0);
