// Events on Node objects in the lab: what others changed in a node's kernel and was put back, what could not be programmed, and a table of
// connections that is nearly full.
// On a real cluster each agent posts them itself (agent/node-events.ts, which has the words).

import { eventsOf, type NodeEvent } from "../agent/node-events.ts";
import type { AgentEvent } from "../agent/agent.ts";
import type { ObjectApi } from "./api/api.ts";
import { startEventTelling } from "./controllers/events.ts";
import { nodes } from "./controllers/resources.ts";

export interface NodeTelling {
  told(node: string, event: AgentEvent): void;
  tell(node: string, event: NodeEvent): void;
  close(): void;
}

export function createNodeTelling({ api }: { readonly api: ObjectApi }): NodeTelling {
  const telling = startEventTelling(api);
  const tellAll = (name: string, events: readonly NodeEvent[]): void => {
    const object = telling.isClosed || events.length === 0 ? undefined : api.get({ ...nodes, name });
    if (object === undefined) return;
    for (const { type, reason, message } of events)
      telling.recorder("fairlead", name).record(object, type, reason, message);
  };
  return {
    told: (name, event) => tellAll(name, eventsOf(event)),
    tell: (name, event) => tellAll(name, [event]),
    close: () => telling.close(),
  };
}
