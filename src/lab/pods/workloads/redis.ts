import { programOf, type BuiltinWorkload } from "./workload.ts";
export const redis: BuiltinWorkload = {
  name: "redis",
  serves: (argv) => programOf(argv) === "redis",
  start: () => ({ stop() {} }),
};
