// Requests for certificates as clients write them, for tests: any key, any subject, any names, and whatever else is to be wrong.

import { createPublicKey, generateKeyPairSync, sign, type KeyObject } from "node:crypto";
import { element, integer, nameOf, objectIdentifier, sequence, tagged, extension } from "./tls-certificate.ts";

export interface GivenRequest {
  /** Ed25519 unless given. */
  readonly key?: KeyObject;
  /** `CN=anna`, `O=devs`; or DER. */
  readonly subject?: readonly string[] | Uint8Array;
  /** `DNS:a.example`, `IP:` with bytes in hex, `email:`, `URI:`. */
  readonly names?: readonly string[];
  /** In the place of the extensions with the names. */
  readonly extensions?: readonly Uint8Array[];
  /** In the place of all attributes. */
  readonly attributes?: Uint8Array;
}

const identifiers: { readonly [name: string]: string } = {
  CN: "2.5.4.3",
  O: "2.5.4.10",
  C: "2.5.4.6",
  UID: "0.9.2342",
};
const nameTags: { readonly [kind: string]: number } = { email: 0x81, DNS: 0x82, URI: 0x86, IP: 0x87, other: 0xa0 };

/** A key as openssl makes it. */
export function testKey(type: "rsa 2048" | "rsa 4096" | "P-256" | "P-384" | "ed25519"): KeyObject {
  if (type === "ed25519") return generateKeyPairSync("ed25519").privateKey;
  const [name, bits] = type.split(" ");
  return name === "rsa"
    ? generateKeyPairSync("rsa", { modulusLength: Number(bits) }).privateKey
    : generateKeyPairSync("ec", { namedCurve: type }).privateKey;
}

/** The DER of a request. */
export function requestBytes(given: GivenRequest): Uint8Array {
  const { key = testKey("ed25519"), subject = ["CN=anna"] } = given;
  const info = sequence(
    integer(Uint8Array.of(0)),
    subject instanceof Uint8Array ? subject : subjectBytes(subject),
    createPublicKey(key).export({ type: "spki", format: "der" }),
    given.attributes ?? tagged(0, attributesOf(given)),
  );
  const isEd25519 = key.asymmetricKeyType === "ed25519";
  const algorithm = isEd25519
    ? sequence(objectIdentifier("1.3.101.112"))
    : key.asymmetricKeyType === "rsa"
      ? sequence(objectIdentifier("1.2.840.113549.1.1.11"), element(0x05, new Uint8Array()))
      : sequence(objectIdentifier("1.2.840.10045.4.3.2"));
  const signature = sign(isEd25519 ? null : "sha256", info, key);
  return sequence(info, algorithm, element(0x03, Buffer.concat([Uint8Array.of(0), signature])));
}

/** The request as an object's `spec.request`. */
export function requestText(given: GivenRequest): string {
  return Buffer.from(pem(requestBytes(given))).toString("base64");
}

/** DER as a PEM block. */
export function pem(bytes: Uint8Array, label = "CERTIFICATE REQUEST"): string {
  const lines = Buffer.from(bytes)
    .toString("base64")
    .replaceAll(/.{1,64}/g, "$&\n");
  return `-----BEGIN ${label}-----\n${lines}-----END ${label}-----\n`;
}

/** The private key as clients keep it. */
export function keyText(key: KeyObject): string {
  return key.export({ type: "pkcs8", format: "pem" });
}

function subjectBytes(subject: readonly string[]): Uint8Array {
  return nameOf(
    subject.map((each): [string, string] => {
      const [, name = "", text = ""] = /^(\w+)=([^]*)$/.exec(each) ?? [];
      return [identifiers[name] ?? name, text];
    }),
  );
}

function attributesOf({ names = [], extensions }: GivenRequest): Uint8Array {
  const all = extensions ?? (names.length === 0 ? [] : [extension("2.5.29.17", "plain", namesBytes(names))]);
  if (all.length === 0) return new Uint8Array();
  return sequence(objectIdentifier("1.2.840.113549.1.9.14"), element(0x31, sequence(...all)));
}

/** The value of an extension with names. */
export function namesBytes(names: readonly string[]): Uint8Array {
  return sequence(
    ...names.map((name) => {
      const [, kind = "", text = ""] = /^(\w+):(.*)$/.exec(name) ?? [];
      return element(nameTags[kind] ?? 0, Buffer.from(text, kind === "IP" ? "hex" : "latin1"));
    }),
  );
}
