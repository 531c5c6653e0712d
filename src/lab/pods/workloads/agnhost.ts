import { programOf, type BuiltinWorkload } from "./workload.ts";
export const agnhost: BuiltinWorkload = {
  name: "agnhost",
  serves: (argv) => programOf(argv) === "agnhost",
  start: () => ({ stop() {} }),
};
