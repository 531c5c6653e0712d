// What answers requests about resources, discovery and OpenAPI: everything but the few paths that say that the server is there. The server
// loads it when the first of these requests comes, or when its start is over, so that nobody waits for it who does not need it.

import type { KubeObject } from "../../kube/object.ts";
import type { ServedApi } from "../api/api.ts";
import type { Kind } from "../api/kinds.ts";
import { discover, type Document } from "./discovery.ts";
import type { Exchange } from "./exchange.ts";
import type { Answer, Guard } from "./hooks.ts";
import { openApi } from "./openapi.ts";
import { readObject } from "./read.ts";
import type { ResourceOptions } from "./resource-answer.ts";
import { serveResource } from "./resources.ts";
import type { Target } from "./target.ts";
import { createWatchGroups } from "./watch-groups.ts";
import { createWatchSender } from "./watch-sender.ts";
import { createWatchLines } from "./watch.ts";

export interface Answers {
  /** Answers a request about a resource, but for streams. Throws StatusError. */
  resource(exchange: Exchange, kind: Kind): Promise<void>;
  /** The document of a path of discovery or OpenAPI; undefined where the path is none. Throws StatusError 406. */
  document(path: string, accept: string | undefined): Promise<Document | undefined>;
  /** The object a path names. Throws StatusError 404. */
  object(kind: Kind, target: Target): KubeObject;
}

export interface AnswersOptions {
  readonly api: ServedApi;
  readonly clock: () => number;
  readonly answers: { readonly [resource: string]: Answer };
  readonly guard: Guard | undefined;
}

export function createAnswers(options: AnswersOptions): Answers {
  const { api } = options;
  const sender = createWatchSender();
  const resources: ResourceOptions = {
    ...options,
    watch: {
      api,
      lines: createWatchLines(),
      sender,
      groups: createWatchGroups(api, sender),
      timeoutSecondsDefault: 1800 + Math.floor(Math.random() * 1800),
      bytesBehindMax: 16 * 1024 * 1024,
      bookmarkIntervalMs: 60_000,
    },
  };
  return {
    resource: (exchange, kind) => serveResource(exchange, kind, resources),
    document: async (path, accept) => discover(api.kinds, path, accept) ?? openApi(api.kinds, path, accept),
    object: (kind, target) => readObject(api, kind, target),
  };
}
