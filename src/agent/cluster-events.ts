// Events of a real cluster (core/v1).

import { createHash, randomBytes } from "node:crypto";

import type { ObjectMeta } from "../kube/object.ts";
import { timeText } from "../watch/clock.ts";
import { ApiError, resourcePath, type ClusterClient } from "../watch/cluster/client.ts";

export interface ClusterEvent {
  readonly type: "Normal" | "Warning";
  readonly reason: string;
  readonly message: string;
  /** Whom it is about. */
  readonly about: {
    readonly apiVersion: string;
    readonly kind: string;
    readonly metadata: Pick<ObjectMeta, "name" | "namespace" | "uid">;
  };
  /** An Event of this name says so already: it is not told twice. Absent: each time is one of its own. */
  readonly name?: string;
  /** The node whose agent tells it. */
  readonly node: string;
  /** Milliseconds since 1970. */
  readonly atMs: number;
}

/** The same name for the same statement about the same object: after a change of the teller nothing is told twice while the first Event is kept. */
export function eventName({ name, uid = "" }: Pick<ObjectMeta, "name" | "uid">, statement: string): string {
  const hash = createHash("sha256").update(`${uid} ${statement}`).digest("hex").slice(0, 16);
  return `${name.slice(0, 236)}.${hash}`;
}

/** core/v1 Event: messages of more than 1024 bytes are refused. */
const messageMax = 1000;

/** Rejects as `request` does, except where an Event of that name is there. */
export async function postEvent(client: ClusterClient, event: ClusterEvent): Promise<void> {
  const { apiVersion, kind, metadata } = event.about;
  // Events about what has no namespace are in `default`.
  const namespace = metadata.namespace ?? "default";
  const time = timeText(event.atMs);
  const body = {
    apiVersion: "v1",
    kind: "Event",
    metadata: {
      name: event.name ?? `${metadata.name}.${event.atMs.toString(16)}${randomBytes(4).toString("hex")}`,
      namespace,
    },
    involvedObject: {
      apiVersion,
      kind,
      name: metadata.name,
      ...(metadata.namespace === undefined ? {} : { namespace }),
      uid: metadata.uid,
    },
    type: event.type,
    reason: event.reason,
    message: event.message.slice(0, messageMax),
    source: { component: "fairlead", host: event.node },
    reportingComponent: "fairlead",
    reportingInstance: event.node,
    firstTimestamp: time,
    lastTimestamp: time,
    count: 1,
  };
  const path = resourcePath({ group: "", version: "v1", resource: "events" }, { namespace });
  try {
    await client.request({ method: "POST", path, body });
  } catch (error) {
    const isThere = event.name !== undefined && error instanceof ApiError && error.reason === "AlreadyExists";
    if (!isThere) throw error;
  }
}
