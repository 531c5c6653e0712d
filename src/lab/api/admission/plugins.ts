// The door to the admission plugins (plugin-list.ts): they are loaded when the first object is written.

import { createRequire } from "node:module";
import type { Admission, AdmissionRequest, Validation } from "../api.ts";
import type { Ask } from "./expressions.ts";
import type { DialWebhook } from "./webhook-client.ts";

export interface AdmissionPlugins {
  readonly admissions: readonly Admission[];
  readonly validations: readonly Validation[];
  /** What is asked about streams. */
  readonly connections: readonly Validation[];
}

export interface AdmissionPluginsOptions {
  /** May who makes the request (or a ServiceAccount) do something? For expressions about an `authorizer`. */
  readonly askAs?: (request: AdmissionRequest) => Ask;
  /** A connection to a webhook. */
  readonly dial?: DialWebhook;
}

const load = createRequire(import.meta.url);
const list = (): typeof import("./plugin-list.ts") => load("./plugin-list.ts") as typeof import("./plugin-list.ts");

/** The plugins for createObjectApi. */
export function admissionPlugins(options: AdmissionPluginsOptions = {}): AdmissionPlugins {
  let known: AdmissionPlugins | undefined;
  const plugins = (): AdmissionPlugins => (known ??= list().listPlugins(options));
  return {
    admissions: [
      (request) =>
        plugins().admissions.reduce((object, admission) => admission({ ...request, object }), request.object),
    ],
    validations: [
      (request) => {
        for (const validation of plugins().validations) validation(request);
      },
    ],
    connections: [
      (request) => {
        for (const connection of plugins().connections) connection(request);
      },
    ],
  };
}
