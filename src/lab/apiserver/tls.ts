// The lab's own certificate authority: made once, kept in the lab's folder for its owner only, used again by every later `up`.
// A certificate that has nearly run out, or that lacks a name or address of today, is issued anew by the same authority.
//
// Not here: the bytes of a certificate (tls-certificate.ts), the kubeconfig around one (kubeconfig.ts).

import { createPrivateKey, generateKeyPairSync, X509Certificate, type KeyObject } from "node:crypto";
import { chmodSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import type { ServerOptions } from "node:https";
import { join } from "node:path";
import process from "node:process";
import type { Address } from "../../ip/address.ts";
import { addressAt } from "../../ip/prefix.ts";
import type { ClusterConfig } from "../../model/network.ts";
import {
  issueCertificate,
  type CertificateRequest,
  type Issuer,
  type KeyPair,
  type Subject,
} from "./tls-certificate.ts";

/** What the API server, its clients and its tokens are known by. */
export interface Certificates {
  /** The authority's certificate in PEM: what clients trust, and what client certificates are checked against. */
  readonly authority: string;
  readonly server: KeyPair;
  /** The lab's owner: user kubernetes-admin in group system:masters. */
  readonly admin: KeyPair;
  /** The authority as one that signs; milliseconds since 1970. */
  readonly issuer: Issuer;
  readonly notAfter: number;
  /** Signs ServiceAccount tokens (ES256). */
  readonly tokenKey: KeyObject;
  /** A client certificate, valid for a year; nobody keeps it but the caller. */
  issueClient(who: { readonly user: string; readonly groups: readonly string[] }): KeyPair;
}

export interface CertificateOptions {
  /** Where the files are: made where it is missing, mode 0700. */
  readonly folder: string;
  /** What the server is called and where it is reached, beside localhost. */
  readonly names: readonly string[];
  readonly addresses: readonly Address[];
  /** Milliseconds since 1970. */
  readonly clock?: () => number;
}

/** Reads the lab's certificates, making what is not there. The first time takes a few milliseconds. Throws where the folder cannot be written. */
export function openCertificates(options: CertificateOptions): Certificates {
  const { folder, clock = Date.now } = options;
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  chmodSync(folder, 0o700);
  const now = clock();
  const authority =
    keep(folder, "ca", (kept) => isValid(kept, now) && kept.certificate.ca) ??
    made(folder, "ca", { subject: authoritySubject, use: "authority", ...validity(now, authorityYears) });
  const issuer = { subject: authoritySubject, key: createPrivateKey(authority.key) };
  const authorityCertificate = new X509Certificate(authority.certificate);
  const ours = (kept: Kept): boolean =>
    isValid(kept, now) &&
    kept.certificate.checkIssued(authorityCertificate) &&
    kept.certificate.verify(authorityCertificate.publicKey);

  const names = [...new Set([...localNames, ...options.names])];
  const addresses = [...new Set([...localAddresses, ...options.addresses])];
  const server =
    keep(
      folder,
      "apiserver",
      (kept) =>
        ours(kept) &&
        names.every((name) => kept.certificate.checkHost(name) !== undefined) &&
        addresses.every((address) => kept.certificate.checkIP(address) !== undefined),
    ) ??
    made(
      folder,
      "apiserver",
      { subject: { commonName: "kube-apiserver" }, use: "server", names, addresses, ...validity(now, leafYears) },
      issuer,
    );
  const admin =
    keep(folder, "admin", ours) ??
    made(
      folder,
      "admin",
      {
        subject: { commonName: "kubernetes-admin", organizations: ["system:masters"] },
        use: "client",
        ...validity(now, leafYears),
      },
      issuer,
    );
  return {
    authority: authority.certificate,
    issuer,
    notAfter: Date.parse(authorityCertificate.validTo),
    server,
    admin,
    tokenKey: tokenKeyIn(folder),
    issueClient: ({ user, groups }) =>
      issueCertificate(
        {
          subject: { commonName: user, organizations: groups },
          use: "client",
          ...validity(clock(), leafYears),
        },
        issuer,
      ),
  };
}

/** What pods call the API server: its Service's names and addresses. */
export function serviceNames(cluster: Pick<ClusterConfig, "domain" | "serviceCidrs">): {
  readonly names: readonly string[];
  readonly addresses: readonly Address[];
} {
  const service = "kubernetes.default.svc";
  return {
    names: ["kubernetes", "kubernetes.default", service, `${service}.${cluster.domain}`],
    addresses: cluster.serviceCidrs.map((range) => addressAt(range, 1)),
  };
}

const authoritySubject: Subject = { commonName: "fairlead-ca" };
const localNames = ["localhost"];
const localAddresses: readonly Address[] = ["127.0.0.1", "::1"];
const authorityYears = 10;
const leafYears = 1;
const yearMs = 365 * 24 * 3600 * 1000;
/** A certificate with less left than this is issued anew. */
const renewalMs = 30 * 24 * 3600 * 1000;
/** Clocks of clients may be behind. */
const backdatedMs = 5 * 60 * 1000;

function validity(now: number, years: number): Pick<CertificateRequest, "notBefore" | "notAfter"> {
  return { notBefore: now - backdatedMs, notAfter: now + years * yearMs };
}

interface Kept {
  readonly certificate: X509Certificate;
  readonly key: KeyObject;
}

function isValid({ certificate, key }: Kept, now: number): boolean {
  return (
    certificate.checkPrivateKey(key) &&
    Date.parse(certificate.validFrom) <= now &&
    Date.parse(certificate.validTo) - renewalMs > now
  );
}

/** The pair in the folder where there is one that is still good; a torn or foreign one is as good as none. */
function keep(folder: string, name: string, isGood: (kept: Kept) => boolean): KeyPair | undefined {
  try {
    const certificate = readFileSync(join(folder, `${name}.crt`), "utf8");
    const key = readFileSync(join(folder, `${name}.key`), "utf8");
    return isGood({ certificate: new X509Certificate(certificate), key: createPrivateKey(key) })
      ? { certificate, key }
      : undefined;
  } catch {
    return undefined;
  }
}

function made(
  folder: string,
  name: string,
  request: CertificateRequest,
  issuer?: Parameters<typeof issueCertificate>[1],
): KeyPair {
  const pair = issueCertificate(request, issuer);
  write(folder, `${name}.key`, pair.key);
  write(folder, `${name}.crt`, pair.certificate);
  return pair;
}

function tokenKeyIn(folder: string): KeyObject {
  try {
    const key = createPrivateKey(readFileSync(join(folder, "sa.key"), "utf8"));
    if (key.asymmetricKeyDetails?.namedCurve === "prime256v1") return key;
  } catch {
    // None yet, or a torn one: tokens signed with it are refused from now on, and pods get new ones.
  }
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  write(folder, "sa.key", privateKey.export({ type: "pkcs8", format: "pem" }));
  return privateKey;
}

/** Whole or not at all: a reader never sees half a key. */
function write(folder: string, name: string, text: string): void {
  const draft = join(folder, `${name}.${process.pid}`);
  writeFileSync(draft, text, { mode: 0o600 });
  renameSync(draft, join(folder, name));
}

/** Certificates are asked for and judged by authn.ts, so that tokens work too. */
export function tlsOptions({ server, authority }: Certificates): ServerOptions {
  return { key: server.key, cert: server.certificate, ca: authority, requestCert: true, rejectUnauthorized: false };
}
