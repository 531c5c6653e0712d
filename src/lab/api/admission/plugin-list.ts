// The admission plugins of an API server, in upstream's order (kubeapiserver/options/plugins.go). Each costs next to nothing where
// nothing is configured for it.
//
// Not here: namespaces' lifecycle (write-path.ts), ServiceAccounts (apiserver/authn-accounts.ts), tolerations (controllers/).

import { createRequire } from "node:module";
import { connect } from "node:net";
import type { Admission } from "../api.ts";
import { invalidObject } from "../errors.ts";
import { certificateRequests, givenCertificates } from "./certificates.ts";
import { limitDefaults, limitValidation } from "./limit-ranges.ts";
import { policyMutation } from "./mutating-policies.ts";
import { podSecurity, podSecurityLabels } from "./pod-security.ts";
import { policyValidation, type Policy } from "./policies.ts";
import type { AdmissionPlugins, AdmissionPluginsOptions } from "./plugins.ts";
import { podPriority, priorityClassValidation } from "./priorities.ts";
import { quotaValidation } from "./quotas.ts";
import { overheadValidation, podRuntimeClass } from "./runtime-classes.ts";
import type { DialWebhook } from "./webhook-client.ts";
import { webhookPlugins } from "./webhooks.ts";

const load = createRequire(import.meta.url);
const problems = (): typeof import("./policy-problems.ts") =>
  load("./policy-problems.ts") as typeof import("./policy-problems.ts");

/**
 * All of them.
 * @public Loaded when it is needed (plugins.ts).
 */
export function listPlugins(options: AdmissionPluginsOptions): AdmissionPlugins {
  const { askAs, dial = dialDirectly } = options;
  const webhooks = webhookPlugins({ dial, ...(askAs === undefined ? {} : { askAs }) });
  const policies = policyValidation(askAs);
  return {
    admissions: [
      podSecurityLabels,
      limitDefaults,
      podPriority,
      podRuntimeClass,
      policyMutation(askAs),
      webhooks.admission,
      policyProblems,
      certificateRequests,
    ],
    validations: [
      priorityClassValidation,
      limitValidation,
      podSecurity,
      overheadValidation,
      givenCertificates,
      policies,
      webhooks.validation,
      quotaValidation,
    ],
    connections: [policies, webhooks.connection],
  };
}

/** As any program on this machine would connect: for servers without a lab around them. */
const dialDirectly: DialWebhook = ({ host, port, timeoutMs }) =>
  new Promise((resolve, reject) => {
    const socket = connect({ host, port, timeout: timeoutMs });
    socket.once("error", reject);
    socket.once("timeout", () => socket.destroy(new Error("i/o timeout")));
    socket.once("connect", () => resolve(socket.setTimeout(0)));
  });

/** Policies are compiled before they are kept, and their status says what the types of their kinds make of them. */
const policyProblems: Admission = (request) => {
  const { kind, operation, object, previous, actor } = request;
  if (kind.group !== "admissionregistration.k8s.io" || operation === "delete" || actor.subresource !== undefined)
    return object;
  const { admissionProblems, typeChecked } = problems();
  const found = admissionProblems(request);
  if (found.length > 0) throw invalidObject(kind, object.metadata.name, found);
  if (object.kind !== "ValidatingAdmissionPolicy") return object;
  const before = previous?.metadata.generation ?? 0;
  const isSame = previous !== undefined && JSON.stringify(previous["spec"]) === JSON.stringify(object["spec"]);
  if (isSame) return object;
  const metadata = { ...object.metadata, generation: before + 1 };
  const checked = typeChecked({ ...object, metadata } as Policy, request.kinds);
  return { ...checked, metadata: object.metadata };
};
