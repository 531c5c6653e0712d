// What each of a cluster's own signers signs: which usages, subjects and names a request may have.
// Upstream: pkg/controller/certificates/signer, pkg/apis/certificates/helpers.go; the words are theirs.
//
// Not here: when something is signed (certificate-requests.ts).

import { signers } from "../../kube/certificate-request.ts";
import type { CertificateRequest } from "../apiserver/pkcs10.ts";

/** What is wrong with a request for its signer. */
export type SignerRule = (request: CertificateRequest, usages: readonly string[]) => string | undefined;

export const signerRules: { readonly [signerName: string]: SignerRule } = {
  [signers.client]: clientProblem,
  [signers.kubeletClient]: kubeletClientProblem,
  [signers.kubeletServing]: kubeletServingProblem,
  [signers.legacy]: () => undefined,
};

function clientProblem(_: CertificateRequest, usages: readonly string[]): string | undefined {
  const other = usages.find((usage) => !["digital signature", "key encipherment", "client auth"].includes(usage));
  if (other !== undefined) return `invalid usage for client certificate: ${other}`;
  return usages.includes("client auth") ? undefined : "missing required usage for client certificate: client auth";
}

function kubeletClientProblem(request: CertificateRequest, usages: readonly string[]): string | undefined {
  if (!isOfNodes(request)) return notOfNodes;
  if (request.dnsNames.length > 0) return "DNS subjectAltNames are not allowed";
  if (request.emailAddresses.length > 0) return "Email subjectAltNames are not allowed";
  if (request.ipAddresses.length > 0) return "IP subjectAltNames are not allowed";
  if (request.uris.length > 0) return "URI subjectAltNames are not allowed";
  return nameProblem(request) ?? usagesProblem(usages, "client auth");
}

function kubeletServingProblem(request: CertificateRequest, usages: readonly string[]): string | undefined {
  if (!isOfNodes(request)) return notOfNodes;
  if (request.dnsNames.length === 0 && request.ipAddresses.length === 0) return "DNS or IP subjectAltName is required";
  if (request.emailAddresses.length > 0) return "Email subjectAltNames are not allowed";
  if (request.uris.length > 0) return "URI subjectAltNames are not allowed";
  return usagesProblem(usages, "server auth") ?? nameProblem(request);
}

const notOfNodes = "subject organization is not system:nodes";

function isOfNodes({ subject: { organizations } }: CertificateRequest): boolean {
  return organizations.length === 1 && organizations[0] === "system:nodes";
}

function nameProblem({ subject }: CertificateRequest): string | undefined {
  return subject.commonName.startsWith("system:node:")
    ? undefined
    : "subject common name does not begin with system:node:";
}

/** A node's key is for signatures and one purpose; those of RSA may be for secrets besides. */
function usagesProblem(usages: readonly string[], purpose: string): string | undefined {
  const given = new Set(usages);
  const wanted = new Set(["digital signature", "key encipherment", purpose]);
  const isEnough = given.has("digital signature") && given.has(purpose) && given.isSubsetOf(wanted);
  return isEnough ? undefined : `usages did not match [${[...wanted].sort().join(" ")}]`;
}
