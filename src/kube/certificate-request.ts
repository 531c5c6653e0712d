// CertificateSigningRequest: its type, the signers that Kubernetes has of its own, and how far a request has come.
//
// Not here: what is wrong with one (rules/certificates.ts), and who signs.

import type { KubeObject } from "./object.ts";

/** certificates/v1 */
export interface CertificateSigningRequest extends KubeObject {
  readonly apiVersion: "certificates.k8s.io/v1";
  readonly kind: "CertificateSigningRequest";
  readonly spec: {
    /** PKCS#10 in PEM, as base64. */
    readonly request?: string;
    readonly signerName: string;
    readonly usages?: readonly string[];
    readonly expirationSeconds?: number;
    /** Who asks; said by the API server alone. */
    readonly username?: string;
    readonly uid?: string;
    readonly groups?: readonly string[];
    readonly extra?: { readonly [name: string]: readonly string[] };
  };
  readonly status?: CertificateSigningRequestStatus;
}

export interface CertificateSigningRequestStatus {
  /** In PEM, as base64. */
  readonly certificate?: string;
  readonly conditions?: readonly RequestCondition[];
}

export interface RequestCondition {
  readonly type: string;
  readonly status?: string;
  readonly reason?: string;
  readonly message?: string;
  readonly lastUpdateTime?: string;
  readonly lastTransitionTime?: string;
}

/** The signers of every cluster. */
export const signers = {
  client: "kubernetes.io/kube-apiserver-client",
  kubeletClient: "kubernetes.io/kube-apiserver-client-kubelet",
  kubeletServing: "kubernetes.io/kubelet-serving",
  /** No longer given to new requests. */
  legacy: "kubernetes.io/legacy-unknown",
} as const;

/** Is the request approved, denied, failed? */
export function hasCondition({ status }: CertificateSigningRequest, type: "Approved" | "Denied" | "Failed"): boolean {
  return (status?.conditions ?? []).some((condition) => condition.type === type);
}
