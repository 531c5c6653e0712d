// How a CertificateSigningRequest is answered, and when it goes: the work of upstream's approver, signer and cleaner.
//
// Not here: when it is looked at (certificate-requests.ts), what a signer signs (certificate-signers.ts), the bytes (apiserver/pkcs10.ts,
// apiserver/request-certificate.ts).

import { encodeBase64 } from "../../kube/base64.ts";
import { hasCondition, signers, type CertificateSigningRequest } from "../../kube/certificate-request.ts";
import { timeMs, timeText } from "../../watch/clock.ts";
import { endOfCertificate, readRequest } from "../api/admission/certificates.ts";
import { resourceTarget } from "../apiserver/authz-target.ts";
import type { Authorize } from "../apiserver/hooks.ts";
import type { CertificateRequest } from "../apiserver/pkcs10.ts";
import { requestedCertificate } from "../apiserver/request-certificate.ts";
import type { RequestAuthority } from "./certificate-requests.ts";
import { signerRules } from "./certificate-signers.ts";
import { certificateSigningRequests } from "./resources.ts";
import type { Cluster } from "./runtime.ts";

const hourMs = 3_600_000;
const keptMs = { answered: hourMs, waiting: 24 * hourMs };

/**
 * When a request goes: an hour after its answer, a day after it came to nothing, and with its certificate.
 * @public Loaded when it is needed (certificate-requests.ts), as all of this.
 */
export function endOf({ metadata, status = {} }: CertificateSigningRequest): number {
  const { conditions = [], certificate = "" } = status;
  if (conditions.length === 0) return (timeMs(metadata.creationTimestamp) ?? Infinity) + keptMs.waiting;
  const ends = conditions.map(({ type, lastUpdateTime }) => {
    const saidMs = timeMs(lastUpdateTime) ?? Infinity;
    if (type === "Denied" || type === "Failed") return saidMs + keptMs.answered;
    if (type !== "Approved") return Infinity;
    return certificate === ""
      ? saidMs + keptMs.waiting
      : Math.min(
          saidMs + keptMs.answered,
          endOfCertificate(Buffer.from(certificate, "base64").toString("latin1")) ?? Infinity,
        );
  });
  return Math.min(...ends);
}

/** Approves what a node asks for itself, or who may for nodes; false where it has to be asked again. @public */
export function approve(
  { objects }: Cluster,
  object: CertificateSigningRequest,
  { authorize }: RequestAuthority,
): boolean {
  const { spec } = object;
  if (spec.signerName !== signers.kubeletClient) return true;
  const request = readRequest(object);
  if (typeof request === "string" || signerRules[spec.signerName]?.(request, spec.usages ?? []) !== undefined)
    return true;
  const way = ways.find(({ fits, subresource }) => fits(object, request) && mayCreate(object, subresource, authorize));
  if (way === undefined) return false;
  const approved = {
    type: "Approved",
    status: "True",
    reason: "AutoApproved",
    message: `Auto approving ${way.what} after SubjectAccessReview.`,
  };
  const conditions = [...(object.status?.conditions ?? []), approved];
  objects.updateStatus(
    certificateSigningRequests,
    { ...object, status: { ...object.status, conditions } },
    { subresource: "approval" },
  );
  return true;
}

interface Way {
  readonly subresource: string;
  readonly what: string;
  readonly fits: (object: CertificateSigningRequest, request: CertificateRequest) => boolean;
}

const ways: readonly Way[] = [
  {
    subresource: "selfnodeclient",
    what: "self kubelet client certificate",
    fits: ({ spec }, { subject }) => spec.username === subject.commonName,
  },
  { subresource: "nodeclient", what: "kubelet client certificate", fits: () => true },
];

/** As a SubjectAccessReview about who asks. */
function mayCreate({ spec }: CertificateSigningRequest, subresource: string, authorize: Authorize): boolean {
  const { username = "", uid, groups = [], extra } = spec;
  const user = { username, groups, ...(uid !== undefined && { uid }), ...(extra !== undefined && { extra }) };
  const { group, resource } = certificateSigningRequests;
  return authorize(user, resourceTarget({ verb: "create", group, version: "*", resource, subresource })).allowed;
}

/** Signs what was approved, or says why not. Throws where the authority has ended. @public */
export function sign(
  { objects, clock }: Cluster,
  object: CertificateSigningRequest,
  authority: RequestAuthority,
): void {
  const { spec, status } = object;
  const rule = signerRules[spec.signerName];
  if (rule === undefined || hasCondition(object, "Failed")) return;
  const request = readRequest(object);
  const problem = typeof request === "string" ? request : rule(request, spec.usages ?? []);
  if (typeof request === "string" || problem !== undefined) {
    const failed = {
      type: "Failed",
      status: "True",
      reason: "SignerValidationFailure",
      message: problem ?? "",
      lastUpdateTime: timeText(clock.now()),
    };
    const conditions = [...(status?.conditions ?? []), failed];
    objects.updateStatus(certificateSigningRequests, { ...object, status: { ...status, conditions } });
    return;
  }
  const validity = validityOf(spec.expirationSeconds, clock.now(), authority.notAfter);
  const grant = { usages: spec.usages ?? [], ...validity };
  const pem = requestedCertificate(request, grant, authority.issuer);
  const certificate = encodeBase64(Buffer.from(pem));
  objects.updateStatus(certificateSigningRequests, { ...object, status: { ...status, certificate } });
}

const minuteMs = 60_000;
/** kube-controller-manager --cluster-signing-duration, and signer.go: clocks of clients may be behind, which short times allow for. */
const durations = { mostMs: 365 * 24 * hourMs, leastMs: 10 * minuteMs, backMs: 5 * minuteMs, shortMs: 8 * hourMs };

function validityOf(
  seconds: number | undefined,
  nowMs: number,
  authorityEnds: number,
): { readonly notBefore: number; readonly notAfter: number } {
  const { mostMs, leastMs, backMs, shortMs } = durations;
  if (nowMs >= authorityEnds)
    throw new Error(
      `sign a certificate: the authority's own has run out at ${timeText(authorityEnds)}; the next \`fairlead up\` makes another`,
    );
  const lastsMs = seconds === undefined ? mostMs : Math.max(leastMs, Math.min(seconds * 1000, mostMs));
  const ends = nowMs + lastsMs - (lastsMs < shortMs ? 0 : backMs);
  return { notBefore: nowMs - backMs, notAfter: Math.min(ends, authorityEnds) };
}
