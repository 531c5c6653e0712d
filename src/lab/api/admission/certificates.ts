// What certificates there are in a CertificateSigningRequest: the request must be one, signed with its own key, and ask for nobody's
// place among the administrators; what is written as its certificate must be certificates.
// Upstream: pkg/apis/certificates/validation, plugin/pkg/admission/certificates/subjectrestriction.
//
// Not here: who may approve and sign (apiserver/authz-guard.ts), the other fields (kube/rules/certificates.ts).

import { X509Certificate } from "node:crypto";
import { createRequire } from "node:module";
import { signers, type CertificateSigningRequest } from "../../../kube/certificate-request.ts";
import { invalid } from "../../../kube/problem.ts";
import { validate } from "../../../kube/validate.ts";
import { timeMs } from "../../../watch/clock.ts";
import type { CertificateRequest } from "../../apiserver/pkcs10.ts";
import type { Admission, AdmissionRequest, Validation } from "../api.ts";
import { forbidden, invalidObject } from "../errors.ts";

const load = createRequire(import.meta.url);
const pkcs10 = (): typeof import("../../apiserver/pkcs10.ts") =>
  load("../../apiserver/pkcs10.ts") as typeof import("../../apiserver/pkcs10.ts");

/** The request in an object, or what is wrong with it. */
export function readRequest({ spec }: CertificateSigningRequest): CertificateRequest | string {
  const { readCertificateRequest, RequestError } = pkcs10();
  try {
    return readCertificateRequest(Buffer.from(spec.request ?? "", "base64"));
  } catch (error) {
    if (error instanceof RequestError) return error.message;
    throw error;
  }
}

const masters = "system:masters";

/** A request as it is created. */
export const certificateRequests: Admission = ({ operation, object, kind }) => {
  if (operation !== "create" || !isRequest(kind)) return object;
  const { spec, metadata } = object as CertificateSigningRequest;
  const request = readRequest(object as CertificateSigningRequest);
  if (typeof request === "string")
    throw invalidObject(kind, metadata.name, [invalid("spec.request", spec.request, request), ...validate(object)]);
  if (spec.signerName === signers.client && request.subject.organizations.includes(masters))
    throw forbidden(
      { ...kind, name: metadata.name },
      `use of ${signers.client} signer with ${masters} group is not allowed`,
    );
  return object;
};

/** A certificate as it is given. */
export const givenCertificates: Validation = ({ operation, object, previous, kind, actor }) => {
  if (operation !== "update" || actor.subresource !== "status" || !isRequest(kind)) return;
  const given = certificateOf(object);
  if (given === "" || given === certificateOf(previous)) return;
  const problem = certificateProblem(Buffer.from(given, "base64").toString("latin1"));
  if (problem !== undefined)
    throw invalidObject(kind, object.metadata.name, [invalid("status.certificate", "<certificate data>", problem)]);
};

function isRequest({ stored }: AdmissionRequest["kind"]): boolean {
  return stored.group === "certificates.k8s.io" && stored.resource === "certificatesigningrequests";
}

function certificateOf(object: AdmissionRequest["object"] | undefined): string {
  return (object as CertificateSigningRequest | undefined)?.status?.certificate ?? "";
}

/** When the certificate in a PEM block ends, in milliseconds since 1970; undefined where there is none. */
export function endOfCertificate(pem: string): number | undefined {
  try {
    return timeMs(new X509Certificate(pem).validTo);
  } catch {
    return undefined;
  }
}

/** What is wrong with the PEM blocks of a text: one at least, each a certificate. */
function certificateProblem(pem: string): string | undefined {
  const blocks = pem.split(/^-----BEGIN /m).slice(1);
  if (blocks.length === 0) return "must contain at least one CERTIFICATE PEM block";
  for (const block of blocks) {
    const type = /^([^\r\n]*?)-----/.exec(block)?.[1] ?? "";
    if (type !== "CERTIFICATE") return `only CERTIFICATE PEM blocks are allowed, found ${JSON.stringify(type)}`;
    const [text = ""] = block.split("-----END ", 1);
    if (text.includes(":")) return "no PEM block headers are permitted";
    if (endOfCertificate(`-----BEGIN ${block}`) === undefined) return "x509: malformed certificate";
  }
  return undefined;
}
