import { programOf, type BuiltinWorkload } from "./workload.ts";
export const postgres: BuiltinWorkload = {
  name: "postgres",
  serves: (argv) => programOf(argv) === "postgres",
  start: () => ({ stop() {} }),
};
