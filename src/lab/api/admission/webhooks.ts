// Admission webhooks: those of MutatingWebhookConfigurations change an object one after the other, those of
// ValidatingWebhookConfigurations let it pass or refuse it, all at once (apiserver admission/plugin/webhook, in its words).
// A write that has to ask throws AdmissionPending and is made anew with the answer (pending.ts). Only those are asked about who can wait:
// clients and controllers; what kubelets and the lab itself report passes.

import { createRequire } from "node:module";
import { withDefaults } from "../../../kube/defaults.ts";
import { sameJson } from "../../../kube/equal.ts";
import type { LabelSelector } from "../../../kube/pod.ts";
import type { KubeObject } from "../../../kube/object.ts";
import { fromStored, toStored } from "../../apiserver/conversions.ts";
import { applyJsonPatch, PatchError } from "../../apiserver/patch/json-patch.ts";
import type { Admission, AdmissionRequest, Validation } from "../api.ts";
import { pruned } from "../custom-schema.ts";
import { forbidden } from "../errors.ts";
import type { Kind } from "../kinds.ts";
import { StatusError, type ResourceName } from "../store.ts";
import type { Ask } from "./expressions.ts";
import { isExempt, matchedKind, type Rule } from "./matching.ts";
import { AdmissionPending, type Hearing, type Session } from "./pending.ts";
import { conditionsHold } from "./policies.ts";
import { postReview, type ClientConfig, type DialWebhook } from "./webhook-client.ts";

const load = createRequire(import.meta.url);
const expressions = (): typeof import("./expressions.ts") =>
  load("./expressions.ts") as typeof import("./expressions.ts");

/** admissionregistration/v1 MutatingWebhook and ValidatingWebhook, defaulted. */
export interface Webhook {
  readonly name: string;
  readonly clientConfig: ClientConfig;
  readonly rules?: readonly Rule[];
  readonly failurePolicy?: string;
  readonly matchPolicy?: string;
  readonly namespaceSelector?: LabelSelector;
  readonly objectSelector?: LabelSelector;
  readonly sideEffects?: string;
  readonly timeoutSeconds?: number;
  readonly reinvocationPolicy?: string;
  readonly admissionReviewVersions?: readonly string[];
  readonly matchConditions?: readonly { readonly name?: string; readonly expression?: string }[];
}

const group = "admissionregistration.k8s.io";
const mutatingResource: ResourceName = { group, resource: "mutatingwebhookconfigurations" };
const validatingResource: ResourceName = { group, resource: "validatingwebhookconfigurations" };

export interface WebhooksOptions {
  readonly dial: DialWebhook;
  readonly askAs?: (request: AdmissionRequest) => Ask;
  /** A number from 0 to below 1, for the reviews' uids. */
  readonly random?: () => number;
}

/** The two steps of a write in which webhooks are asked, and the one of a stream, whose options they may refuse and not change. */
export function webhookPlugins(options: WebhooksOptions): {
  readonly admission: Admission;
  readonly validation: Validation;
  readonly connection: Validation;
} {
  const plugins: { readonly admission: Admission; readonly validation: Validation } = {
    admission(request) {
      const { object, actor, operation } = request;
      const { session } = actor;
      if (session === undefined || isExempt(request)) return object;
      const mutating = matching(request, mutatingResource, options);
      if (mutating.length === 0 && matching(request, validatingResource, options).length === 0) return object;
      const hearing = hearingOf(session, request);
      // What was shown to webhooks is what is stored: its name, uid and addresses stay from try to try.
      if (hearing.shown !== undefined) return operation === "delete" ? object : hearing.shown;
      if (hearing.mutated !== undefined) return operation === "delete" ? object : hearing.mutated;
      throw pending(hearing, async () => {
        hearing.mutated = await mutate(request, mutating, options);
      });
    },
    validation(request) {
      const { session } = request.actor;
      if (session === undefined || isExempt(request)) return;
      const validating = matching(request, validatingResource, options);
      if (validating.length === 0 && session.hearings.size === 0) return;
      const key = keyOf(session, request);
      const hearing = session.hearings.get(key);
      if (validating.length === 0 || hearing?.passed === true) return done(session, key);
      const own = hearing ?? { previous: request.previous };
      session.hearings.set(key, own);
      if (own.refusal !== undefined) throw refusalOf(session, key, own);
      own.shown = request.object;
      throw pending(own, async () => {
        await Promise.all(validating.map((each) => validate(request, each, options)));
        own.passed = true;
      });
    },
  };
  return {
    ...plugins,
    connection(request) {
      plugins.admission(request);
      plugins.validation(request);
    },
  };
}

function done({ replays, hearings, counts }: Session, key: string): void {
  const base = key.slice(0, key.lastIndexOf(" "));
  counts.set(base, (counts.get(base) ?? 0) + 1);
  if (!replays) hearings.delete(key);
}

/** Which write of a session this is: by name, and by order where names are made up. */
function keyOf({ counts, replays }: Session, { operation, object, kind, actor }: AdmissionRequest): string {
  const { name, generateName, namespace = "" } = object.metadata;
  const known = operation === "create" && generateName !== undefined && generateName !== "" ? `${generateName}*` : name;
  const base = `${operation} ${kind.resource}.${kind.group} ${actor.subresource ?? ""} ${namespace}/${known}`;
  return `${base} ${replays ? (counts.get(base) ?? 0) : 0}`;
}

function hearingOf(session: Session, request: AdmissionRequest): Hearing {
  const key = keyOf(session, request);
  const known = session.hearings.get(key);
  // Somebody else has changed it meanwhile: what was said was about something else.
  if (known !== undefined && known.previous === request.previous) {
    if (known.refusal !== undefined) throw refusalOf(session, key, known);
    return known;
  }
  const hearing: Hearing = { previous: request.previous };
  session.hearings.set(key, hearing);
  return hearing;
}

function refusalOf({ hearings }: Session, key: string, { refusal }: Hearing): unknown {
  hearings.delete(key);
  return refusal;
}

function pending(hearing: Hearing, ask: () => Promise<void>): AdmissionPending {
  return new AdmissionPending(
    ask().catch((error: unknown) => {
      hearing.refusal = error;
    }),
  );
}

interface Matched {
  readonly hook: Webhook;
  readonly kind: Kind;
  readonly configuration: string;
}

/** The webhooks of a write, by the names of their configurations. */
function matching(request: AdmissionRequest, resource: ResourceName, { askAs }: WebhooksOptions): readonly Matched[] {
  const configurations = request.store.list(resource).items;
  if (configurations.length === 0) return [];
  return configurations.flatMap(({ metadata, webhooks = [] }) =>
    (webhooks as readonly Webhook[]).flatMap((hook) => {
      const { rules, namespaceSelector, objectSelector, matchPolicy } = hook;
      const kind =
        (rules ?? []).length === 0
          ? undefined
          : matchedKind(request, {
              resourceRules: rules ?? [],
              ...(namespaceSelector === undefined ? {} : { namespaceSelector }),
              ...(objectSelector === undefined ? {} : { objectSelector }),
              ...(matchPolicy === undefined ? {} : { matchPolicy }),
            });
      if (kind === undefined || !meetsConditions(request, hook, kind, askAs)) return [];
      return [{ hook, kind, configuration: metadata.name }];
    }),
  );
}

function meetsConditions(
  request: AdmissionRequest,
  hook: Webhook,
  kind: Kind,
  askAs: WebhooksOptions["askAs"],
): boolean {
  const { matchConditions = [] } = hook;
  if (matchConditions.length === 0) return true;
  const { prepare, createEvaluator } = expressions();
  const scope = { hasParams: false, hasAuthorizer: true };
  const ask = askAs?.(request);
  const evaluator = createEvaluator({ request, kind, ...(ask === undefined ? {} : { ask }) });
  const holds = conditionsHold(matchConditions, (source) =>
    evaluator.evaluate(prepare(source, scope, ["bool", "dyn"]), source),
  );
  if (holds === true || holds === false) return holds;
  if (hook.failurePolicy === "Ignore") return false;
  throw forbidden(
    { group: request.kind.group, resource: request.kind.resource, name: request.object.metadata.name },
    holds.failure,
  );
}

/** A webhook whose answer there is no doing without gave none. */
function failedCall({ name }: Webhook, why: string): StatusError {
  const message = `failed calling webhook ${JSON.stringify(name)}: ${why}`;
  return new StatusError(500, "InternalError", `Internal error occurred: ${message}`, { causes: [{ message }] });
}

interface ReviewAnswer {
  readonly allowed: boolean;
  readonly status?: {
    readonly code?: number;
    readonly reason?: string;
    readonly message?: string;
    readonly details?: object;
  };
  readonly patch?: readonly unknown[];
  readonly warnings: readonly string[];
}

/** Asks one webhook. Undefined where it gave no answer and may be ignored. Throws StatusError. */
async function asked(
  request: AdmissionRequest,
  { hook, kind }: Matched,
  isMutating: boolean,
  options: WebhooksOptions,
): Promise<ReviewAnswer | undefined> {
  const { actor } = request;
  if (actor.dryRun === true && hook.sideEffects !== "None" && hook.sideEffects !== "NoneOnDryRun")
    throw new StatusError(400, "BadRequest", `admission webhook ${JSON.stringify(hook.name)} does not support dry run`);
  const { random = Math.random } = options;
  const uid = uuid(random);
  const version = (hook.admissionReviewVersions ?? []).find((each) => each === "v1" || each === "v1beta1");
  try {
    if (version === undefined)
      throw new Error(
        "could not create admission objects: webhook does not accept known AdmissionReview versions (v1, v1beta1)",
      );
    const apiVersion = `admission.k8s.io/${version}`;
    const review = reviewOf(request, kind, uid, apiVersion);
    const answer = await postReview(hook.clientConfig, JSON.stringify(review), {
      timeoutMs: (hook.timeoutSeconds ?? 10) * 1000,
      dial: options.dial,
    });
    const read = answerOf(answer, { uid, apiVersion, isMutating });
    for (const warning of read.warnings) actor.warn?.(warning);
    return read;
  } catch (error) {
    if (error instanceof StatusError) throw error;
    if (hook.failurePolicy === "Ignore") return undefined;
    throw failedCall(hook, error instanceof Error ? error.message : String(error));
  }
}

function reviewOf(request: AdmissionRequest, kind: Kind, uid: string, apiVersion: string): object {
  const { reviewRequest, shownObject } = expressions();
  const { operation, object, previous } = request;
  const shown = (each: KubeObject | undefined): unknown =>
    each === undefined ? null : shownObject(each, request, kind);
  return {
    kind: "AdmissionReview",
    apiVersion,
    request: {
      uid,
      ...reviewRequest(request, kind),
      object: operation === "delete" ? null : shown(object),
      oldObject: shown(previous),
    },
  };
}

// webhook/request/admissionreview.go VerifyAdmissionResponse
function answerOf(
  given: unknown,
  expected: { readonly uid: string; readonly apiVersion: string; readonly isMutating: boolean },
): ReviewAnswer {
  const invalid = (why: string): Error => new Error(`received invalid webhook response: ${why}`);
  const { apiVersion, kind, response } = (typeof given === "object" && given !== null ? given : {}) as {
    readonly apiVersion?: string;
    readonly kind?: string;
    readonly response?: {
      readonly uid?: string;
      readonly allowed?: boolean;
      readonly status?: ReviewAnswer["status"];
      readonly patch?: string;
      readonly patchType?: string;
      readonly warnings?: readonly string[];
    };
  };
  if (response === undefined || response === null) throw invalid("webhook response was absent");
  const isV1 = expected.apiVersion.endsWith("/v1");
  if (isV1 && response.uid !== expected.uid)
    throw invalid(`expected response.uid=${JSON.stringify(expected.uid)}, got ${JSON.stringify(response.uid ?? "")}`);
  if (isV1 && (apiVersion !== expected.apiVersion || kind !== "AdmissionReview"))
    throw invalid(
      `expected webhook response of ${expected.apiVersion}, Kind=AdmissionReview, got ${apiVersion ?? ""}, Kind=${kind ?? ""}`,
    );
  const { patch, patchType } = response;
  if (patch !== undefined && !expected.isMutating) throw invalid("validating webhook may not return response.patch");
  if (patch !== undefined && patch !== "" && isV1 && patchType === undefined)
    throw invalid("webhook returned response.patch but not response.patchType");
  if (patchType !== undefined && patchType !== "JSONPatch")
    throw invalid(`webhook returned invalid response.patchType of ${JSON.stringify(patchType)}`);
  return {
    allowed: response.allowed === true,
    warnings: (response.warnings ?? []).filter((each) => typeof each === "string"),
    ...(response.status === undefined ? {} : { status: response.status }),
    ...(patch === undefined || patch === "" ? {} : { patch: patchOf(patch) }),
  };
}

function patchOf(text: string): readonly unknown[] {
  try {
    return JSON.parse(Buffer.from(text, "base64").toString()) as readonly unknown[];
  } catch (error) {
    throw new Error(`received undecodable patch in webhook response: ${String(error)}`, { cause: error });
  }
}

// webhook/errors/statuserror.go ToStatusErr
function denied({ name }: Webhook, { status = {} }: ReviewAnswer): StatusError {
  const { code = 0, reason = "", message = "", details = {} } = status;
  const by = `admission webhook ${JSON.stringify(name)} denied the request`;
  const text = message !== "" ? `${by}: ${message}` : reason !== "" ? `${by}: ${reason}` : `${by} without explanation`;
  return new StatusError(code < 400 ? 400 : code, reason, text, { ...details });
}

/** The object as the webhooks make it, one after the other; those that wish it see it again when others have changed it behind them. */
async function mutate(
  request: AdmissionRequest,
  hooks: readonly Matched[],
  options: WebhooksOptions,
): Promise<KubeObject> {
  let object = request.object;
  const seen = new Map<Matched, KubeObject>();
  const ask = async (each: Matched): Promise<void> => {
    const now = { ...request, object };
    const answer = await asked(now, each, true, options);
    if (answer !== undefined) {
      if (!answer.allowed) throw denied(each.hook, answer);
      if (answer.patch !== undefined && answer.patch.length > 0)
        object = patchedBy(each, request, object, answer.patch);
    }
    seen.set(each, object);
  };
  for (const each of hooks) await ask(each);
  for (const each of hooks)
    if (each.hook.reinvocationPolicy === "IfNeeded" && !sameJson(seen.get(each), object)) await ask(each);
  return object;
}

function patchedBy(
  { hook, kind }: Matched,
  { operation }: AdmissionRequest,
  object: KubeObject,
  patch: readonly unknown[],
): KubeObject {
  if (operation === "connect") return object;
  if (operation === "delete")
    throw new StatusError(
      500,
      "InternalError",
      `Internal error occurred: admission webhook ${JSON.stringify(hook.name)} attempted to modify the object, which is not supported for this operation`,
    );
  try {
    const result = toStored(applyJsonPatch(fromStored(object, kind), patch) as KubeObject, kind);
    const { name, namespace, uid } = object.metadata;
    const metadata = {
      ...result.metadata,
      name,
      ...(namespace === undefined ? {} : { namespace }),
      ...(uid === undefined ? {} : { uid }),
    };
    const kept = { ...result, metadata };
    if (kind.custom === undefined) return withDefaults(kept);
    // What the schema does not know goes after each webhook: the next one must not see it.
    const schema = kind.custom.schema?.openAPIV3Schema;
    return schema === undefined ? kept : (pruned(kept, schema, []) as KubeObject);
  } catch (error) {
    if (!(error instanceof PatchError)) throw error;
    throw new StatusError(500, "InternalError", `Internal error occurred: ${error.message}`);
  }
}

async function validate(request: AdmissionRequest, matched: Matched, options: WebhooksOptions): Promise<void> {
  const answer = await asked(request, matched, false, options);
  if (answer !== undefined && !answer.allowed) throw denied(matched.hook, answer);
}

function uuid(random: () => number): string {
  const digit = (): string => Math.floor(random() * 16).toString(16);
  return "xxxxxxxx-xxxx-4xxx-8xxx-xxxxxxxxxxxx".replace(/x/g, digit);
}
