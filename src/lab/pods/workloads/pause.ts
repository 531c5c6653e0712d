// pause: holds the pod and does nothing.

import type { BuiltinWorkload } from "./workload.ts";
import { programOf } from "./workload.ts";

export const pause: BuiltinWorkload = {
  name: "pause",
  serves: (argv) => programOf(argv) === "pause",
  start: () => ({ stop() {} }),
};
