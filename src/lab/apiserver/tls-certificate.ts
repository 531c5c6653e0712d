// X.509 certificates, written as DER: what a cluster's own certificate authority, whose keys are of P-256, needs and nothing more.
// Own code for a reason: the usual library takes 140 ms to load and to make two certificates, this takes three, and `up` waits for it.
// Reading certificates is Node's (crypto.X509Certificate).
//
// Not here: which certificates a lab has and where they are kept (tls.ts), those that others ask for (request-certificate.ts).

import { createHash, createPublicKey, generateKeyPairSync, randomBytes, sign, type KeyObject } from "node:crypto";
import { addressBytes, type Address } from "../../ip/address.ts";

/** A certificate and its private key, both PEM. */
export interface KeyPair {
  readonly certificate: string;
  readonly key: string;
}

/** An X.500 name as Kubernetes reads it: the common name is the user, each organisation is a group. */
export interface Subject {
  readonly commonName: string;
  readonly organizations?: readonly string[];
}

export interface CertificateRequest {
  readonly subject: Subject;
  readonly use: "authority" | "server" | "client";
  /** Subject alternative names; servers only. */
  readonly names?: readonly string[];
  readonly addresses?: readonly Address[];
  /** Milliseconds since 1970. */
  readonly notBefore: number;
  readonly notAfter: number;
}

/** Who signs: an authority's subject and key. */
export interface Issuer {
  readonly subject: Subject;
  readonly key: KeyObject;
}

/** Makes a key and a certificate for it; an authority signs itself (`issuer` undefined). RFC 5280. */
export function issueCertificate(request: CertificateRequest, issuer?: Issuer): KeyPair {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const signer = issuer ?? { subject: request.subject, key: privateKey };
  const contents = {
    subject: nameOf(namesIn(request.subject)),
    publicKey,
    notBefore: request.notBefore,
    notAfter: request.notAfter,
    extensions: extensionsOf(request, publicKey, signer.key),
  };
  return {
    certificate: signedCertificate(contents, signer),
    key: privateKey.export({ type: "pkcs8", format: "pem" }),
  };
}

/** What a certificate says, its parts as DER. */
export interface CertificateContents {
  readonly subject: Uint8Array;
  readonly publicKey: KeyObject;
  /** Milliseconds since 1970. */
  readonly notBefore: number;
  readonly notAfter: number;
  readonly extensions: readonly Uint8Array[];
}

/** A certificate in PEM that an authority with a P-256 key has signed. RFC 5280 4.1. */
export function signedCertificate(contents: CertificateContents, issuer: Issuer): string {
  const body = sequence(
    tagged(0, integer(Uint8Array.of(2))),
    integer(randomBytes(16)),
    ecdsaWithSha256,
    nameOf(namesIn(issuer.subject)),
    sequence(timeOf(contents.notBefore), timeOf(contents.notAfter)),
    contents.subject,
    contents.publicKey.export({ type: "spki", format: "der" }),
    tagged(3, sequence(...contents.extensions)),
  );
  return pemOf("CERTIFICATE", sequence(body, ecdsaWithSha256, bitString(sign("sha256", body, issuer.key))));
}

function extensionsOf(request: CertificateRequest, key: KeyObject, issuerKey: KeyObject): readonly Uint8Array[] {
  const isAuthority = request.use === "authority";
  const alternatives = [
    // RFC 5280 4.2.1.6: GeneralName dNSName [2] IA5String, iPAddress [7] OCTET STRING.
    ...(request.names ?? []).map((name) => element(0x82, Buffer.from(name, "ascii"))),
    ...(request.addresses ?? []).map((address) => element(0x87, addressBytes(address))),
  ];
  return [
    extension("2.5.29.19", "critical", isAuthority ? sequence(yes) : sequence()),
    // RFC 5280 4.2.1.3: bit 0 digitalSignature, bit 5 keyCertSign, bit 6 cRLSign.
    extension(
      "2.5.29.15",
      "critical",
      isAuthority ? element(0x03, Uint8Array.of(1, 0b0000_0110)) : element(0x03, Uint8Array.of(7, 0b1000_0000)),
    ),
    extension("2.5.29.14", "plain", element(0x04, keyIdentifier(key))),
    ...(isAuthority ? [] : [authorityIdentifier(issuerKey)]),
    ...(isAuthority ? [] : [extension("2.5.29.37", "plain", sequence(objectIdentifier(keyPurpose[request.use])))]),
    ...(alternatives.length === 0 ? [] : [extension("2.5.29.17", "plain", sequence(...alternatives))]),
  ];
}

/** Which key has signed: RFC 5280 4.2.1.1. */
export function authorityIdentifier(issuerKey: KeyObject): Uint8Array {
  return extension("2.5.29.35", "plain", sequence(element(0x80, keyIdentifier(issuerKey))));
}

// RFC 5280 4.2.1.12: id-kp-serverAuth, id-kp-clientAuth.
const keyPurpose = { server: "1.3.6.1.5.5.7.3.1", client: "1.3.6.1.5.5.7.3.2", authority: "" } as const;

// RFC 5280 4.2.1.2: the SHA-1 of the public key's bits.
function keyIdentifier(key: KeyObject): Uint8Array {
  const spki = (key.type === "private" ? createPublicKey(key) : key).export({ type: "spki", format: "der" });
  // SEC 1 2.3.3: an uncompressed point of P-256 has 65 bytes, and they are the last of the structure.
  return createHash("sha1").update(spki.subarray(-65)).digest();
}

/** An X.500 name of these attributes, each an object identifier and a text. RFC 5280 4.1.2.4. */
export function nameOf(attributes: readonly (readonly [identifier: string, text: string])[]): Uint8Array {
  return sequence(
    ...attributes.map(([identifier, text]) =>
      element(0x31, sequence(objectIdentifier(identifier), element(0x0c, Buffer.from(text, "utf8")))),
    ),
  );
}

function namesIn({ commonName, organizations = [] }: Subject): readonly (readonly [string, string])[] {
  return [...organizations.map((organization) => ["2.5.4.10", organization] as const), ["2.5.4.3", commonName]];
}

// RFC 5280 4.1.2.5: UTCTime through 2049, GeneralizedTime from 2050 on.
function timeOf(milliseconds: number): Uint8Array {
  const digits = new Date(milliseconds).toISOString().replaceAll(/[-:T]|\.\d+/g, "");
  return digits < "2050" ? element(0x17, Buffer.from(digits.slice(2))) : element(0x18, Buffer.from(digits));
}

export function extension(identifier: string, criticality: "critical" | "plain", value: Uint8Array): Uint8Array {
  const parts = [objectIdentifier(identifier), element(0x04, value)];
  return criticality === "critical"
    ? sequence(parts[0] as Uint8Array, yes, parts[1] as Uint8Array)
    : sequence(...parts);
}

// X.690 8.1: identifier, length (short or long form), contents.
export function element(tag: number, contents: Uint8Array): Uint8Array {
  const { length } = contents;
  const lengthBytes = length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
  return Buffer.concat([Uint8Array.of(tag, ...lengthBytes), contents]);
}

export function sequence(...parts: readonly Uint8Array[]): Uint8Array {
  return element(0x30, Buffer.concat(parts));
}

export function tagged(number: number, contents: Uint8Array): Uint8Array {
  return element(0xa0 + number, contents);
}

// X.690 8.3: two's complement in the fewest bytes; ours are never negative.
export function integer(bytes: Uint8Array): Uint8Array {
  const first = bytes.findIndex((byte) => byte !== 0);
  const trimmed = first < 0 ? Uint8Array.of(0) : bytes.subarray(first);
  return element(0x02, (trimmed[0] ?? 0) >= 0x80 ? Buffer.concat([Uint8Array.of(0), trimmed]) : trimmed);
}

function bitString(bytes: Uint8Array): Uint8Array {
  return element(0x03, Buffer.concat([Uint8Array.of(0), bytes]));
}

// X.690 8.19: the first two arcs share a byte; the others are base 128 with the top bit meaning "more follows".
export function objectIdentifier(text: string): Uint8Array {
  const [first = 0, second = 0, ...rest] = text.split(".").map(Number);
  const bytes = rest.flatMap((arc) => {
    const digits = [arc & 0x7f];
    for (let left = arc >>> 7; left > 0; left >>>= 7) digits.unshift((left & 0x7f) | 0x80);
    return digits;
  });
  return element(0x06, Uint8Array.of(first * 40 + second, ...bytes));
}

export const yes: Uint8Array = element(0x01, Uint8Array.of(0xff));
// RFC 5758 3.2
const ecdsaWithSha256 = sequence(objectIdentifier("1.2.840.10045.4.3.2"));

function pemOf(label: string, bytes: Uint8Array): string {
  const lines =
    Buffer.from(bytes)
      .toString("base64")
      .match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join("\n")}\n-----END ${label}-----\n`;
}
