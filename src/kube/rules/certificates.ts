// Rules for CertificateSigningRequests. Wording: upstream's pkg/apis/certificates/validation and core/validation/names.go.
//
// Not here: the request itself, whose signature is checked (lab/api/admission/certificates.ts).

import {
  signers,
  type CertificateSigningRequest,
  type CertificateSigningRequestStatus,
  type RequestCondition,
} from "../certificate-request.ts";
import { sameJson } from "../equal.ts";
import { dnsLabel, dnsSubdomain, type Format } from "../formats.ts";
import {
  at,
  child,
  duplicate,
  forbidden,
  invalid,
  notSupported,
  required,
  tooLong,
  type FieldProblem,
} from "../problem.ts";
import type { Rules } from "./rule.ts";

export const certificateRules: Rules = {
  "certificates.v1.CertificateSigningRequestSpec": requestSpec,
};

const secondsMin = 600;

function* requestSpec(spec: CertificateSigningRequest["spec"], path: string): Iterable<FieldProblem> {
  const { usages = [], signerName, expirationSeconds } = spec;
  if (usages.length === 0) yield required(child(path, "usages"));
  for (const [index, usage] of usages.entries())
    if (usages.indexOf(usage) < index) yield duplicate(at(child(path, "usages"), index), usage);
  yield* signerProblems(signerName, child(path, "signerName"));
  if (expirationSeconds !== undefined && expirationSeconds < secondsMin)
    yield invalid(
      child(path, "expirationSeconds"),
      expirationSeconds,
      `may not specify a duration less than ${secondsMin} seconds (10 minutes)`,
    );
}

/** `example.com/signer`: a domain of several labels, and subdomains. */
function* signerProblems(name: string, path: string): Iterable<FieldProblem> {
  if (name === signers.legacy)
    return yield invalid(path, name, "the legacy signerName is not allowed via this API version");
  if (name === "") return yield required(path);
  const [domain = "", rest, ...more] = name.split("/");
  if (rest === undefined || more.length > 0)
    return yield invalid(path, name, "must be a fully qualified domain and path of the form 'example.com/signer-name'");
  if (domain.length > 253) yield tooLong(path, 253);
  const labels = domain.split(".");
  yield* labelProblems(domain, labels, dnsLabel, path);
  if (labels.length < 2) yield invalid(path, domain, "should be a domain with at least two segments separated by dots");
  yield* labelProblems(rest, rest.split("."), dnsSubdomain, path);
  if (name.length > namesMax) yield tooLong(path, namesMax);
}

const namesMax = 253 + 1 + 253 + 63 + 1;

/** What is wrong with the first bad label. */
function* labelProblems(
  value: string,
  labels: readonly string[],
  format: Format,
  path: string,
): Iterable<FieldProblem> {
  const bad = labels.find((label) => format(label).length > 0);
  if (bad === undefined) return;
  for (const problem of format(bad)) yield invalid(path, value, `validating label ${JSON.stringify(bad)}: ${problem}`);
}

/** Conditions that are said once and for all. */
const settled: readonly string[] = ["Approved", "Denied", "Failed"];
/** Conditions with a door of their own: `approval`. */
const approvals: readonly string[] = ["Approved", "Denied"];
const conditionsPath = "status.conditions";

/** What is wrong with a status that is written through `status` or `approval`. */
export function* requestStatus(
  { status: after = {} }: CertificateSigningRequest,
  { status: before = {} }: CertificateSigningRequest,
  subresource: string,
): Iterable<FieldProblem> {
  const conditions = after.conditions ?? [];
  yield* conditionProblems(conditions, before.conditions ?? []);
  for (const type of settled)
    if (typed(after, type).length < typed(before, type).length)
      yield forbidden(conditionsPath, `updates may not remove a condition of type ${JSON.stringify(type)}`);
  if (subresource !== "approval") yield* approvalProblems(after, before);
  // Through `approval` no certificate comes.
  const had = before.certificate ?? "";
  if (had !== "" && had !== (after.certificate ?? ""))
    yield forbidden("status.certificate", "updates may not modify existing certificate content");
}

function typed({ conditions = [] }: CertificateSigningRequestStatus, type: string): readonly RequestCondition[] {
  return conditions.filter((condition) => condition.type === type);
}

function* approvalProblems(
  after: CertificateSigningRequestStatus,
  before: CertificateSigningRequestStatus,
): Iterable<FieldProblem> {
  for (const type of approvals) {
    const [now, then] = [typed(after, type), typed(before, type)];
    if (now.length > then.length)
      yield forbidden(conditionsPath, `updates may not add a condition of type ${JSON.stringify(type)}`);
    else if (now.length === then.length && !sameJson(now, then))
      yield forbidden(conditionsPath, `updates may not modify a condition of type ${JSON.stringify(type)}`);
  }
}

function* conditionProblems(
  conditions: readonly RequestCondition[],
  before: readonly RequestCondition[],
): Iterable<FieldProblem> {
  // What was there before is tolerated.
  const wasBoth = approvals.every((type) => before.some((condition) => condition.type === type));
  const seen = new Set<string>();
  for (const [index, { type = "", status = "" }] of conditions.entries()) {
    const path = at(conditionsPath, index);
    if (type === "") yield required(child(path, "type"));
    const values = settled.includes(type) ? ["True"] : ["False", "True", "Unknown"];
    if (status === "") yield required(child(path, "status"));
    else if (!values.includes(status)) yield notSupported(child(path, "status"), status, values);
    const other = approvals.find((each) => each !== type);
    if (!wasBoth && approvals.includes(type) && seen.has(other ?? ""))
      yield invalid(conditionsPath, type, "Approved and Denied conditions are mutually exclusive");
    if (seen.has(type)) yield duplicate(child(path, "type"), type);
    seen.add(type);
  }
}
