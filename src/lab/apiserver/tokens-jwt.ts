// JSON Web Tokens signed with ES256: text and claims, nothing about what the claims mean (tokens.ts).

import { createHash, createPublicKey, sign, verify, type KeyObject } from "node:crypto";

export type Claims = { readonly [name: string]: unknown };

/** Signs claims. RFC 7515 compact serialisation, RFC 7518 3.4: r and s side by side, 32 bytes each. */
export function signJwt(claims: Claims, key: KeyObject, keyId: string): string {
  const head = `${encode({ alg: "ES256", kid: keyId })}.${encode(claims)}`;
  return `${head}.${sign("sha256", Buffer.from(head), { key, dsaEncoding: "ieee-p1363" }).toString("base64url")}`;
}

/** The claims of a token that this very key has signed; undefined for any other text. Times are not looked at. */
export function verifyJwt(token: string, publicKey: KeyObject, keyId: string): Claims | undefined {
  const parts = token.split(".");
  const [head = "", body = "", signature = ""] = parts;
  if (parts.length !== 3 || !parts.every((part) => /^[A-Za-z0-9_-]+$/.test(part))) return undefined;
  const header = decode(head);
  // The algorithm is ours to choose, not the token's (RFC 8725 3.1).
  if (header?.["alg"] !== "ES256" || (header["kid"] !== undefined && header["kid"] !== keyId)) return undefined;
  const mark = Buffer.from(signature, "base64url");
  // RFC 4648 3.5: the last letter has bits to spare; only one spelling of a signature is ours.
  if (mark.toString("base64url") !== signature) return undefined;
  const text = Buffer.from(`${head}.${body}`);
  return verify("sha256", text, { key: publicKey, dsaEncoding: "ieee-p1363" }, mark) ? decode(body) : undefined;
}

/** The claims of a token whoever signed it, to tell whether it is meant for us; undefined where it is no token. */
export function unverifiedClaims(token: string): Claims | undefined {
  const [, body] = token.split(".");
  return body === undefined ? undefined : decode(body);
}

/** The name of a public key: a digest of it, as kube-apiserver names its keys. */
export function keyIdOf(key: KeyObject): string {
  return createHash("sha256")
    .update(publicOf(key).export({ type: "spki", format: "der" }))
    .digest("base64url");
}

/** A set of one public key. RFC 7517 5. */
export function keySet(key: KeyObject): object {
  const { kty, crv, x, y } = publicOf(key).export({ format: "jwk" });
  return { keys: [{ use: "sig", kty, kid: keyIdOf(key), crv, alg: "ES256", x, y }] };
}

export function publicOf(key: KeyObject): KeyObject {
  return key.type === "private" ? createPublicKey(key) : key;
}

function encode(value: object): string {
  return Buffer.from(JSON.stringify(value)).toString("base64url");
}

function decode(text: string): Claims | undefined {
  try {
    const value: unknown = JSON.parse(Buffer.from(text, "base64url").toString("utf8"));
    return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Claims) : undefined;
  } catch {
    return undefined;
  }
}
