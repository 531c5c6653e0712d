// What policies dropped or were asked to tell, in the lab: a line in the node's log, and for a drop an Event on the pod that is isolated.
// Events are joined by their sink.
//
// Not here: the words (agent/policy-flows.ts), why a packet that has not been sent would be dropped (trace/).

import type { PolicyFlow } from "../agent/policy-flows.ts";
import type { ObjectApi } from "./api/api.ts";
import { startEventTelling } from "./controllers/events.ts";

export interface PolicyTelling {
  /** Something a node's kernel told. */
  told(flow: PolicyFlow, log: (line: string) => void): void;
  close(): void;
}

export function createPolicyTelling({ api }: { readonly api: ObjectApi }): PolicyTelling {
  const telling = startEventTelling(api);
  const recorder = telling.recorder("fairlead-policy");
  return {
    told({ verdict, pod, text }, log) {
      log(`${new Date().toISOString()} ${text}`);
      if (verdict === "accept" || telling.isClosed) return;
      const [namespace = "", name = ""] = pod.split("/");
      const object = api.get({ group: "", resource: "pods", namespace, name });
      if (object !== undefined) recorder.record(object, "Warning", "PolicyDrop", text);
    },
    close: () => telling.close(),
  };
}
