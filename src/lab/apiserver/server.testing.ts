// A whole API server for tests: an empty store in memory, a plain listener on the loopback, and a client of a few lines.

import { openStore } from "../api/sqlite-store.ts";
import type { AdmissionPlugins } from "../api/admission/plugins.ts";
import type { ServedApi } from "../api/api.ts";
import { createObjectApi } from "../api/write.ts";
import { listenPlain, startApiServer, type ApiServerOptions } from "./server.ts";

export interface Answered {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  /** The body as JSON; tests look into it, so it has no type. */
  readonly body: any;
}

export interface TestServer {
  readonly api: ServedApi;
  readonly url: string;
  readonly errors: readonly unknown[];
  /** Sends a request; objects become JSON. */
  send(method: string, path: string, body?: unknown, headers?: { readonly [name: string]: string }): Promise<Answered>;
  close(): void;
}

/** What the API takes, of any method. */
export const bodyTypes: readonly string[] = [
  "application/json",
  "application/yaml",
  "application/vnd.kubernetes.protobuf",
  "application/json-patch+json",
  "application/merge-patch+json",
  "application/strategic-merge-patch+json",
  "application/apply-patch+yaml",
];

export const testTime: number = Date.UTC(2026, 0, 31, 12);

/** Starts a server with the namespaces `default` and `other`. */
export async function startTestServer(
  given: Partial<ApiServerOptions> & { readonly plugins?: AdmissionPlugins } = {},
): Promise<TestServer> {
  const { plugins, ...options } = given;
  const store = openStore({ path: ":memory:", clock: () => testTime });
  const api = createObjectApi({ store, admissions: [], ...plugins, clock: () => testTime });
  for (const name of ["default", "other"]) api.create({ apiVersion: "v1", kind: "Namespace", metadata: { name } });
  const { server, port } = await listenPlain();
  const errors: unknown[] = [];
  const started = startApiServer({
    api,
    servers: [server],
    clock: () => testTime,
    log: (_, error) => errors.push(error),
    ...options,
  });
  const url = `http://127.0.0.1:${port}`;
  return {
    api,
    url,
    errors,
    async send(method, path, body, headers = {}) {
      const response = await fetch(url + path, {
        method,
        headers: { ...(body === undefined ? {} : { "Content-Type": "application/json" }), ...headers },
        ...(body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) }),
      });
      const text = await response.text();
      return { status: response.status, headers: response.headers, text, body: parsed(text) };
    },
    close() {
      started.close();
      server.close();
      server.closeAllConnections();
      store.close();
    },
  };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

/** The events of a watch, one by one. */
export async function* watchEvents(
  url: string,
  headers: { readonly [name: string]: string } = {},
): AsyncGenerator<{
  readonly type: string;
  readonly object: Record<string, never> & { metadata: Record<string, never> };
}> {
  const response = await fetch(url, { headers });
  if (response.status !== 200 || response.body === null)
    throw new Error(`watch: ${response.status} ${await response.text()}`);
  let text = "";
  for await (const chunk of response.body.pipeThrough(new TextDecoderStream())) {
    text += chunk;
    const lines = text.split("\n");
    text = lines.pop() ?? "";
    for (const line of lines) yield JSON.parse(line) as never;
  }
}
