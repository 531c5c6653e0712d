// Events on Node objects in the lab: what others changed in a node's kernel and was put back, and what could not be programmed.
// On a real cluster each agent posts them itself (agent/node-events.ts, which has the words).

import { eventsOf } from "../agent/node-events.ts";
import type { AgentEvent } from "../agent/agent.ts";
import type { ObjectApi } from "./api/api.ts";
import { startEventTelling } from "./controllers/events.ts";
import { nodes } from "./controllers/resources.ts";

export interface NodeTelling {
  told(node: string, event: AgentEvent): void;
  close(): void;
}

export function createNodeTelling({ api }: { readonly api: ObjectApi }): NodeTelling {
  const telling = startEventTelling(api);
  return {
    told(name, event) {
      const told = telling.isClosed ? [] : eventsOf(event);
      const object = told.length === 0 ? undefined : api.get({ ...nodes, name });
      if (object === undefined) return;
      for (const { type, reason, message } of told)
        telling.recorder("fairlead", name).record(object, type, reason, message);
    },
    close: () => telling.close(),
  };
}
