// Requests for certificates: PKCS#10 (RFC 2986) in PEM, read strictly and checked against the key that they carry.
// They come from anybody who may create a CertificateSigningRequest, so everything is refused that is not exactly what is expected: DER in
// its one form, no tags and no keys but those named here, nothing left over. What is done with keys and signatures is node:crypto's.
// Upstream, whose limits and words are kept where clients see them: Go's crypto/x509 ParseCertificateRequest and CheckSignature.
//
// Not here: who may ask for what (controllers/certificate-signers.ts), and the certificate (request-certificate.ts).

import { createPublicKey, verify, type KeyObject } from "node:crypto";
import { integer, objectIdentifier, sequence, tagged, element } from "./tls-certificate.ts";

/** What a request asks for. Its signature is that of its key. */
export interface CertificateRequest {
  readonly subject: RequestSubject;
  readonly publicKey: KeyObject;
  /** Subject alternative names. */
  readonly dnsNames: readonly string[];
  readonly emailAddresses: readonly string[];
  readonly uris: readonly string[];
  /** Four or sixteen bytes each. */
  readonly ipAddresses: readonly Uint8Array[];
}

export interface RequestSubject {
  /** The last one; empty where there is none. */
  readonly commonName: string;
  readonly organizations: readonly string[];
  /** All attributes that a certificate takes over, in its order: object identifier and text. */
  readonly attributes: readonly (readonly [identifier: string, text: string])[];
}

/** What is wrong with a request, as a sentence. */
export class RequestError extends Error {}

/** RFC 7468 7. */
const label = "CERTIFICATE REQUEST";
/** Some thousand names; what is read is a list of as many values. */
const bytesMax = 32 * 1024;

/**
 * Reads the first request of a text and checks its signature. Throws RequestError, and nothing else, whatever the bytes.
 * @public Loaded when it is needed (api/admission/certificates.ts).
 */
export function readCertificateRequest(pem: Uint8Array): CertificateRequest {
  const der = pemBlock(Buffer.from(pem).toString("latin1"));
  if (der === undefined) throw new RequestError(`PEM block type must be ${label}`);
  if (der.length > bytesMax) throw new RequestError(`x509: certificate request is longer than ${bytesMax} bytes`);
  // RFC 2986 4.2: CertificationRequest
  const [info, algorithm, signature] = exactly(3, contentsOf(only(der), tags.sequence), "request");
  const [version, subject, spki, attributes] = exactly(4, contentsOf(info, tags.sequence), "request");
  contentsOf(version, tags.integer);
  const key = publicKeyOf(spki);
  checkSignature({ algorithm, key, signed: info.whole, signature: bitsOf(signature) });
  return { subject: subjectOf(subject), publicKey: key.object, ...namesOf(attributes) };
}

// RFC 7468: text before and after a block, and headers within it (RFC 1421), are passed over.
function pemBlock(text: string): Buffer | undefined {
  const begin = /^-----BEGIN ([^\r\n]*)-----[ \t]*\r?$/m.exec(text);
  if (begin === null || begin[1] !== label) return undefined;
  const start = begin.index + begin[0].length;
  const end = text.indexOf(`\n-----END ${label}-----`, start);
  if (end < 0) return undefined;
  const lines = text.slice(start, end).trimStart().split("\n");
  const first = lines.findIndex((line) => !line.includes(":"));
  const base64 = lines
    .slice(Math.max(first, 0))
    .join("")
    .replaceAll(/[ \t\r]/g, "");
  if (base64.length % 4 !== 0 || !/^[A-Za-z0-9+/]+={0,2}$/.test(base64)) return undefined;
  return Buffer.from(base64, "base64");
}

/** Tags of X.690 8 that occur. */
const tags = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  objectIdentifier: 0x06,
  sequence: 0x30,
  set: 0x31,
  attributes: 0xa0,
} as const;

interface Element {
  readonly tag: number;
  readonly contents: Uint8Array;
  readonly whole: Uint8Array;
}

/** The elements that follow one another, each with a tag of one byte and the shortest form of its length (X.690 8.1, 10.1). */
function elementsOf(bytes: Uint8Array): readonly Element[] {
  const found: Element[] = [];
  for (let at = 0; at < bytes.length;) {
    const [tag = 0, short = 0x80] = bytes.subarray(at, at + 2);
    const more = short < 0x80 ? 0 : short & 0x7f;
    // No more than two bytes of length: the whole is not longer.
    if ((tag & 0x1f) === 0x1f || (short >= 0x80 && (more < 1 || more > 2))) throw malformed("an element");
    const start = at + 2 + more;
    const length = more === 0 ? short : bytes.subarray(at + 2, start).reduce((sum, byte) => sum * 256 + byte, 0);
    const isShortest = more === 0 || length >= (more === 1 ? 0x80 : 0x100);
    if (!isShortest || start + length > bytes.length) throw malformed("a length");
    const end = start + length;
    found.push({ tag, contents: bytes.subarray(start, end), whole: bytes.subarray(at, end) });
    at = end;
  }
  return found;
}

function only(bytes: Uint8Array): Element {
  const [first] = exactly(1, elementsOf(bytes), "request");
  return first;
}

type Tuple = {
  1: [Element];
  2: [Element, Element];
  3: [Element, Element, Element];
  4: [Element, Element, Element, Element];
};

function exactly<N extends keyof Tuple>(count: N, elements: readonly Element[], what: string): Tuple[N] {
  if (elements.length !== count) throw malformed(`the number of values of the ${what}`);
  return elements as Tuple[N];
}

/** The elements within a constructed one, of the tag that is expected; a primitive one has none. */
function contentsOf({ tag, contents }: Element, expected: number): readonly Element[] {
  if (tag !== expected) throw malformed(`a value of type ${tag.toString(16)} in the place of ${expected.toString(16)}`);
  return (tag & 0x20) === 0 ? [] : elementsOf(contents);
}

function malformed(what: string): RequestError {
  return new RequestError(`x509: malformed certificate request: ${what}`);
}

function hexOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}

/** How an object identifier is written, for comparisons. */
function named(identifier: string): string {
  return hexOf(objectIdentifier(identifier));
}

// X.690 8.6: our bit strings are whole bytes.
function bitsOf(element: Element): Uint8Array {
  contentsOf(element, tags.bitString);
  if (element.contents.length < 2 || element.contents[0] !== 0) throw malformed("a string of bits");
  return element.contents.subarray(1);
}

type KeyType = "rsa" | "ec" | "ed25519";

interface PublicKey {
  readonly type: KeyType;
  readonly object: KeyObject;
}

const nothing = element(0x05, new Uint8Array());
const ecPublicKey = objectIdentifier("1.2.840.10045.2.1");

// RFC 3279 2.3.1, RFC 5480 2.1.1, RFC 8410 3: P-224, P-256, P-384, P-521.
const keyAlgorithms: ReadonlyMap<string, KeyType> = new Map([
  [hexOf(sequence(objectIdentifier("1.2.840.113549.1.1.1"), nothing)), "rsa"],
  ...["1.3.132.0.33", "1.2.840.10045.3.1.7", "1.3.132.0.34", "1.3.132.0.35"].map((curve): [string, KeyType] => [
    hexOf(sequence(ecPublicKey, objectIdentifier(curve))),
    "ec",
  ]),
  [hexOf(sequence(objectIdentifier("1.3.101.112"))), "ed25519"],
]);

// RFC 5280 4.1.2.7: SubjectPublicKeyInfo
function publicKeyOf(spki: Element): PublicKey {
  const [algorithm, key] = exactly(2, contentsOf(spki, tags.sequence), "key");
  const type = keyAlgorithms.get(hexOf(algorithm.whole));
  if (type === undefined) throw new RequestError("x509: unknown public key algorithm");
  // RFC 5480 2.2: other clients read no compressed points.
  if (type === "ec" && bitsOf(key)[0] !== 4) throw new RequestError("x509: failed to unmarshal elliptic curve point");
  const object = keyObject(spki.whole);
  const { modulusLength = 2048, publicExponent = 65537n } = object.asymmetricKeyDetails ?? {};
  if (modulusLength < 1024 || modulusLength > 16_384)
    throw new RequestError(
      `crypto/rsa: ${modulusLength}-bit keys are ${modulusLength < 1024 ? "insecure" : "too large"}`,
    );
  if (publicExponent < 3n || publicExponent >= 2n ** 31n || publicExponent % 2n === 0n)
    throw new RequestError("crypto/rsa: invalid public exponent");
  return { type, object };
}

function keyObject(spki: Uint8Array): KeyObject {
  try {
    return createPublicKey({ key: Buffer.from(spki), format: "der", type: "spki" });
  } catch (cause) {
    throw new RequestError("x509: invalid public key", { cause });
  }
}

interface SignatureAlgorithm {
  readonly type: KeyType;
  readonly hash: string | null;
  readonly isPss?: boolean;
}

const pss = "1.2.840.113549.1.1.10";

// RFC 3279 2.2, RFC 4055 5, RFC 5758 3.2, RFC 8410 3. SHA-1 is good enough to show that one has the key, as it is upstream.
const signatureAlgorithms: ReadonlyMap<string, SignatureAlgorithm> = new Map([
  [named("1.2.840.113549.1.1.5"), { type: "rsa", hash: "sha1" }],
  [named("1.2.840.113549.1.1.11"), { type: "rsa", hash: "sha256" }],
  [named("1.2.840.113549.1.1.12"), { type: "rsa", hash: "sha384" }],
  [named("1.2.840.113549.1.1.13"), { type: "rsa", hash: "sha512" }],
  [named("1.2.840.10045.4.1"), { type: "ec", hash: "sha1" }],
  [named("1.2.840.10045.4.3.2"), { type: "ec", hash: "sha256" }],
  [named("1.2.840.10045.4.3.3"), { type: "ec", hash: "sha384" }],
  [named("1.2.840.10045.4.3.4"), { type: "ec", hash: "sha512" }],
  [named("1.3.101.112"), { type: "ed25519", hash: null }],
]);

// RFC 4055 3.1: the same hash for the message and for its mask, and a salt as long as the hash.
const pssAlgorithms: ReadonlyMap<string, SignatureAlgorithm> = new Map(
  (
    [
      ["sha256", 1, 32],
      ["sha384", 2, 48],
      ["sha512", 3, 64],
    ] as const
  ).map(([hash, arc, salt]) => {
    const hashed = sequence(objectIdentifier(`2.16.840.1.101.3.4.2.${arc}`), nothing);
    const mask = sequence(objectIdentifier("1.2.840.113549.1.1.8"), hashed);
    const parameters = sequence(tagged(0, hashed), tagged(1, mask), tagged(2, integer(Uint8Array.of(salt))));
    return [hexOf(sequence(objectIdentifier(pss), parameters)), { type: "rsa", hash, isPss: true }] as const;
  }),
);

function checkSignature(given: {
  readonly algorithm: Element;
  readonly key: PublicKey;
  readonly signed: Uint8Array;
  readonly signature: Uint8Array;
}): void {
  const { algorithm, key, signed, signature } = given;
  const [name, ...parameters] = contentsOf(algorithm, tags.sequence);
  const found = signatureAlgorithms.get(hexOf(name?.whole ?? nothing)) ?? pssAlgorithms.get(hexOf(algorithm.whole));
  if (found === undefined || parameters.length > 1)
    throw new RequestError("x509: cannot verify signature: algorithm unimplemented");
  const { type, hash, isPss = false } = found;
  if (type !== key.type)
    throw new RequestError(`x509: the signature is one of a key of type ${type}, the key is of type ${key.type}`);
  if (!isVerified(hash, signed, isPss ? { key: key.object, ...pssPadding } : { key: key.object }, signature))
    throw new RequestError(failures[type]);
}

// node:crypto: RSA_PKCS1_PSS_PADDING, RSA_PSS_SALTLEN_DIGEST
const pssPadding = { padding: 6, saltLength: -1 };

const failures: { readonly [type in KeyType]: string } = {
  rsa: "crypto/rsa: verification error",
  ec: "x509: ECDSA verification failure",
  ed25519: "x509: Ed25519 verification failure",
};

function isVerified(
  hash: string | null,
  signed: Uint8Array,
  key: { readonly key: KeyObject; readonly padding?: number; readonly saltLength?: number },
  signature: Uint8Array,
): boolean {
  try {
    return verify(hash, signed, key, signature);
  } catch {
    return false;
  }
}

/** The attributes of a subject that certificates take over, in their order: the first ones may come more than once, of the others the last one counts. */
const repeated = [
  "2.5.4.6", // country
  "2.5.4.10", // organization
  "2.5.4.11", // organizational unit
  "2.5.4.7", // locality
  "2.5.4.8", // state or province
  "2.5.4.9", // street address
  "2.5.4.17", // postal code
];
const single = ["2.5.4.3", "2.5.4.5"]; // common name, serial number

// RFC 5280 4.1.2.4: RDNSequence. Others' attributes, and values that are no texts, are left out, as upstream.
function subjectOf(subject: Element): RequestSubject {
  const found = new Map<string, string[]>();
  for (const set of contentsOf(subject, tags.sequence))
    for (const attribute of contentsOf(set, tags.set)) {
      const [type, value] = exactly(2, contentsOf(attribute, tags.sequence), "subject");
      contentsOf(type, tags.objectIdentifier);
      const text = textOf(value);
      if (text === undefined) continue;
      const key = hexOf(type.whole);
      const before = found.get(key);
      if (before === undefined) found.set(key, [text]);
      else before.push(text);
    }
  const valuesOf = (identifier: string): readonly string[] => found.get(named(identifier)) ?? [];
  const attributes = [
    ...repeated.flatMap((identifier) => valuesOf(identifier).map((text) => [identifier, text] as const)),
    ...single.flatMap((identifier) =>
      valuesOf(identifier)
        .slice(-1)
        .filter((text) => text !== "")
        .map((text) => [identifier, text] as const),
    ),
  ];
  return { commonName: valuesOf("2.5.4.3").at(-1) ?? "", organizations: valuesOf("2.5.4.10"), attributes };
}

// X.680 41: UTF8String, NumericString, PrintableString, TeletexString, IA5String, BMPString; undefined of anything else.
function textOf({ tag, contents }: Element): string | undefined {
  const found = textForms[tag];
  if (found === undefined) return undefined;
  const { encoding, form } = found;
  const bytes = Buffer.from(contents);
  const isWide = encoding === "utf16le";
  if (isWide && bytes.length % 2 !== 0) throw malformed("a text");
  const text = (isWide ? bytes.swap16() : bytes).toString(encoding);
  // What is not of its encoding comes out as something else.
  if (!form.test(text) || !text.isWellFormed() || !Buffer.from(text, encoding).equals(bytes)) throw malformed("a text");
  return text;
}

const textForms: { readonly [tag: number]: { readonly encoding: BufferEncoding; readonly form: RegExp } } = {
  0x0c: { encoding: "utf8", form: /^/ },
  0x12: { encoding: "latin1", form: /^[0-9 ]*$/ },
  // With * and &, as upstream: common mistakes.
  0x13: { encoding: "latin1", form: /^[A-Za-z0-9 '()+,\-./:=?*&]*$/ },
  0x14: { encoding: "latin1", form: /^/ },
  0x16: { encoding: "latin1", form: /^\p{ASCII}*$/u },
  0x1e: { encoding: "utf16le", form: /^/ },
};

const extensionRequest = named("1.2.840.113549.1.9.14");
const alternativeNames = named("2.5.29.17");

type Names = Pick<CertificateRequest, "dnsNames" | "emailAddresses" | "uris" | "ipAddresses">;

// RFC 2985 5.4.2, RFC 5280 4.2.1.6: the names among the extensions that are asked for. Other extensions are the authority's business.
function namesOf(attributes: Element): Names {
  const extensions = contentsOf(attributes, tags.attributes).flatMap((attribute) => {
    const [type, values] = exactly(2, contentsOf(attribute, tags.sequence), "attribute");
    const [first] = contentsOf(values, tags.set);
    return hexOf(type.whole) === extensionRequest && first !== undefined ? extensionsOf(first) : [];
  });
  const identifiers = extensions.map(({ identifier }) => identifier);
  if (new Set(identifiers).size < identifiers.length)
    throw new RequestError("x509: certificate request contains duplicate requested extensions");
  const value = extensions.find(({ identifier }) => identifier === alternativeNames)?.value;
  const names =
    value === undefined ? [] : exactly(1, elementsOf(value), "names").flatMap((all) => contentsOf(all, tags.sequence));
  const texts = (tag: number, kind: string): readonly string[] =>
    names.filter((name) => name.tag === tag).map(({ contents }) => asciiOf(contents, kind));
  const uris = texts(0x86, "uniformResourceIdentifier");
  for (const uri of uris)
    if (!/^[!-~]*$/.test(uri) || !URL.canParse(uri, "https://relative.example"))
      throw new RequestError(`x509: cannot parse URI ${JSON.stringify(uri)}`);
  const ipAddresses = names.filter(({ tag }) => tag === 0x87).map(({ contents }) => contents);
  for (const { length } of ipAddresses)
    if (length !== 4 && length !== 16) throw new RequestError(`x509: cannot parse IP address of length ${length}`);
  return { dnsNames: texts(0x82, "dNSName"), emailAddresses: texts(0x81, "rfc822Name"), uris, ipAddresses };
}

// RFC 5280 4.1: Extension, whose criticality may be left out.
function extensionsOf(all: Element): readonly { readonly identifier: string; readonly value: Uint8Array }[] {
  return contentsOf(all, tags.sequence).map((extension) => {
    const [identifier, ...rest] = contentsOf(extension, tags.sequence);
    const value = rest.at(-1);
    if (identifier?.tag !== tags.objectIdentifier || value?.tag !== tags.octetString || rest.length > 2)
      throw malformed("an extension");
    if (rest.length === 2) contentsOf(rest[0] as Element, tags.boolean);
    return { identifier: hexOf(identifier.whole), value: value.contents };
  });
}

function asciiOf(bytes: Uint8Array, kind: string): string {
  if (bytes.some((byte) => byte > 0x7f)) throw new RequestError(`x509: SAN ${kind} is malformed`);
  return Buffer.from(bytes).toString("latin1");
}
