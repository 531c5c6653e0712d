// The certificate that answers a request: its subject, names and key, for the usages and the time that the authority grants.
// No extension is taken over from the request but its names. Upstream: pkg/controller/certificates/authority.
//
// Not here: whether the request is to be granted (controllers/certificate-signers.ts), how one is read (pkcs10.ts).

import type { CertificateRequest } from "./pkcs10.ts";
import {
  authorityIdentifier,
  element,
  extension,
  nameOf,
  objectIdentifier,
  sequence,
  signedCertificate,
  type Issuer,
} from "./tls-certificate.ts";

export interface Grant {
  /** certificates/v1 KeyUsage; those that are unknown say nothing. */
  readonly usages: readonly string[];
  /** Milliseconds since 1970. */
  readonly notBefore: number;
  readonly notAfter: number;
}

/** A certificate in PEM that is nobody's authority. */
export function requestedCertificate(request: CertificateRequest, grant: Grant, issuer: Issuer): string {
  const { subject, publicKey } = request;
  const { notBefore, notAfter } = grant;
  const extensions = [...extensionsFor(request, grant.usages), authorityIdentifier(issuer.key)];
  return signedCertificate({ subject: nameOf(subject.attributes), publicKey, notBefore, notAfter, extensions }, issuer);
}

function* extensionsFor(request: CertificateRequest, usages: readonly string[]): Iterable<Uint8Array> {
  const bits = new Set(usages.flatMap((usage) => keyUsages[usage] ?? []));
  const purposes = Object.entries(keyPurposes).filter(([usage]) => usages.includes(usage));
  if (bits.size > 0) yield extension("2.5.29.15", "critical", namedBits(bits));
  if (purposes.length > 0) {
    const identifiers = new Set(purposes.map(([, identifier]) => identifier));
    yield extension("2.5.29.37", "plain", sequence(...[...identifiers].map(objectIdentifier)));
  }
  yield extension("2.5.29.19", "critical", sequence());
  const names = [
    ...request.dnsNames.map((name) => element(0x82, Buffer.from(name, "ascii"))),
    ...request.emailAddresses.map((name) => element(0x81, Buffer.from(name, "ascii"))),
    ...request.ipAddresses.map((address) => element(0x87, address)),
    ...request.uris.map((name) => element(0x86, Buffer.from(name, "ascii"))),
  ];
  // RFC 5280 4.2.1.6: critical where the subject says nothing.
  const criticality = request.subject.attributes.length === 0 ? "critical" : "plain";
  if (names.length > 0) yield extension("2.5.29.17", criticality, sequence(...names));
}

// RFC 5280 4.2.1.3, by the bit.
const keyUsages: { readonly [usage: string]: number } = {
  signing: 0,
  "digital signature": 0,
  "content commitment": 1,
  "key encipherment": 2,
  "data encipherment": 3,
  "key agreement": 4,
  "cert sign": 5,
  "crl sign": 6,
  "encipher only": 7,
  "decipher only": 8,
};

// RFC 5280 4.2.1.12, RFC 2407 and what Microsoft and Netscape had.
const keyPurposes: { readonly [usage: string]: string } = {
  any: "2.5.29.37.0",
  "server auth": "1.3.6.1.5.5.7.3.1",
  "client auth": "1.3.6.1.5.5.7.3.2",
  "code signing": "1.3.6.1.5.5.7.3.3",
  "email protection": "1.3.6.1.5.5.7.3.4",
  "s/mime": "1.3.6.1.5.5.7.3.4",
  "ipsec end system": "1.3.6.1.5.5.7.3.5",
  "ipsec tunnel": "1.3.6.1.5.5.7.3.6",
  "ipsec user": "1.3.6.1.5.5.7.3.7",
  timestamping: "1.3.6.1.5.5.7.3.8",
  "ocsp signing": "1.3.6.1.5.5.7.3.9",
  "microsoft sgc": "1.3.6.1.4.1.311.10.3.3",
  "netscape sgc": "2.16.840.1.113730.4.1",
};

// X.690 11.2.2: a list of named bits ends with the last one that is set.
function namedBits(bits: ReadonlySet<number>): Uint8Array {
  const last = Math.max(...bits);
  const bytes = new Uint8Array(1 + (last >> 3) + 1);
  bytes[0] = 7 - (last & 7);
  for (const bit of bits) bytes[1 + (bit >> 3)] = (bytes[1 + (bit >> 3)] ?? 0) | (0x80 >> (bit & 7));
  return element(0x03, bytes);
}
