// Requests for certificates: what openssl writes is read, what is not exactly a request is refused, and nothing does worse than that.

import assert from "node:assert/strict";
import { X509Certificate, createPrivateKey, createPublicKey, generateKeyPairSync } from "node:crypto";
import process from "node:process";
import { test } from "node:test";

import * as fc from "fast-check";

import { readCertificateRequest, RequestError, type CertificateRequest } from "./pkcs10.ts";
import { namesBytes, pem, requestBytes, testKey, type GivenRequest } from "./pkcs10.testing.ts";
import { requestedCertificate } from "./request-certificate.ts";
import { element, extension, issueCertificate, objectIdentifier, sequence, yes } from "./tls-certificate.ts";

const isLong = process.env["FAIRLEAD_LONG"] === "1";

// openssl ecparam -name prime256v1 -genkey -noout -out KEY; openssl req -new -key KEY -subj /CN=anna/O=devs/O=ops -outform DER | base64
const p256 =
  "MIHnMIGOAgEAMCwxDTALBgNVBAMMBGFubmExDTALBgNVBAoMBGRldnMxDDAKBgNVBAoMA29wczBZMBMGByqGSM49AgEGCCqGSM49" +
  "AwEHA0IABJIiAvojPKXNp1sJEQWXhvSthoPD7ffhIGTqIDovDR5k4auxMkqfGu+Fz2u6dT8pMttdwzvFUefnbRUOztsMMkmgADAK" +
  "BggqhkjOPQQDAgNIADBFAiA0u3eqJrUDXH2cnB3kYJ3xwTFTQ60dIWEartsvQO57fAIhAP7k9/Ag4iHQ8aYTSaOArHlbn8Uy1VHa" +
  "ao4aJEpK6BFs";
// openssl genrsa -out KEY 2048; openssl req as above
const rsa =
  "MIICcTCCAVkCAQAwLDENMAsGA1UEAwwEYW5uYTENMAsGA1UECgwEZGV2czEMMAoGA1UECgwDb3BzMIIBIjANBgkqhkiG9w0BAQEF" +
  "AAOCAQ8AMIIBCgKCAQEAzzVRdlK5o6nTEzwvEAFP9rd2xtntnfEpKY/GSS9tMzdvziX3HgP1+wVPv0OHxXBXU2dqfkSgXUpkpw7P" +
  "l+MA57+xxsW1VW+esXTac6GGa+HQmLXod1wHC4fEhEP6koU2pBegKAbgxyqg+T22+6H1Ew1OPRy7859UjBCZ2kZ6U1w9hTE1Hvqv" +
  "xmZj1K5o1RYgiXET5ke5tECdTOJKzekyG0YMxue9lYWpW2mdbjz3XaDJTx+QT5z+zzsutrf7V2/WZbuAwagt3n3zJJTPnD+EDvz1" +
  "fhZrwov7xP3HvX+V9ufUWkAqu240MvCZFdJPzsRSNX0XAbBw21Zvqk6ZMYk4+QIDAQABoAAwDQYJKoZIhvcNAQELBQADggEBAAD8" +
  "VEM+JYaB/HDq8/AcvPirtW+kk5XQkE9yYfjJsMu8usCmjZPeeWL14CGS1KjEnxmM32uen+FWzbU92E3wwpaRSCmDh2uk2D41AG4z" +
  "I8E289F8s9P0G0jIT9BuLaqASI1ELDHwOiKP6RxFyzs7MgDXgqya76CR84aeTINy5CMfk3MpHlL5UBAUa9UgBYYYhPH1qmmm2hdl" +
  "Ei7Ta5UmdFSgEAJCEzNQBxKDs6QcVuEeI1b4wulvcqEZVl0FcxOH29aKFrNiAgN+6HWdbizCCvEBoULBICMh74ijLKu+K7QbRLc3" +
  "UR2Mc3nNG+gRjjXu8q6wek7IIWmZ9xnR5sbXZCI=";
// openssl genpkey -algorithm ed25519 -out KEY; openssl req as above
const ed25519 =
  "MIGrMF8CAQAwLDENMAsGA1UEAwwEYW5uYTENMAsGA1UECgwEZGV2czEMMAoGA1UECgwDb3BzMCowBQYDK2VwAyEArwpxKp1btdmK" +
  "u+Ak7dUg6QEERGjDlVoyddLgnKwU3EagADAFBgMrZXADQQDRXRDSpIL6Oa81BlPV/lZPWiG2gocab3bMUbL/udg8KKs5IWfnnSN1" +
  "ZpEbxNYBFkxDnyiR2VCXjaFR3oVYXUMD";

function read(bytes: Uint8Array): CertificateRequest {
  return readCertificateRequest(Buffer.from(pem(bytes)));
}

function problem(bytes: Uint8Array): string {
  try {
    read(bytes);
    return "taken";
  } catch (error) {
    assert.ok(error instanceof RequestError, String(error));
    return error.message;
  }
}

const given = (request: GivenRequest): string => problem(requestBytes(request));

test("what openssl writes is read, and its signature checked", () => {
  for (const [text, type] of [
    [p256, "ec"],
    [rsa, "rsa"],
    [ed25519, "ed25519"],
  ] as const) {
    const { subject, publicKey, ...names } = read(Buffer.from(text, "base64"));
    assert.deepEqual([subject.commonName, subject.organizations], ["anna", ["devs", "ops"]]);
    assert.equal(publicKey.asymmetricKeyType, type);
    assert.deepEqual(names, { dnsNames: [], emailAddresses: [], uris: [], ipAddresses: [] });
    const bytes = Buffer.from(text, "base64");
    bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1;
    assert.match(problem(bytes), /verification (failure|error)$/);
  }
});

test("keys of all kinds that clients make; others are refused", () => {
  for (const type of ["rsa 4096", "P-384"] as const) assert.equal(given({ key: testKey(type) }), "taken");
  const of = (name: string): string => given({ key: generateKeyPairSync("ec", { namedCurve: name }).privateKey });
  assert.equal(of("secp521r1"), "taken");
  assert.equal(of("secp256k1"), "x509: unknown public key algorithm");
  const small = generateKeyPairSync("rsa", { modulusLength: 512 }).privateKey;
  assert.match(given({ key: small }), /^crypto\/rsa: 512-bit keys/);
});

test("subjects are read in every form of text, and of an attribute that counts once the last one does", () => {
  const attribute = (identifier: string, value: Uint8Array): Uint8Array =>
    element(0x31, sequence(objectIdentifier(identifier), value));
  const text = (tag: number, bytes: Uint8Array | string): Uint8Array => element(tag, Buffer.from(bytes));
  const subject = sequence(
    attribute("2.5.4.3", text(0x0c, "first")),
    attribute("2.5.4.3", text(0x1e, Buffer.from("Käse", "utf16le").swap16())),
    attribute("2.5.4.10", text(0x13, "one, two")),
    attribute("2.5.4.10", text(0x16, "three@x")),
    attribute("2.5.4.10", element(0x02, Uint8Array.of(1))),
    attribute("1.2.3.4", text(0x0c, "nobody asks")),
  );
  assert.deepEqual(read(requestBytes({ subject })).subject, {
    commonName: "Käse",
    organizations: ["one, two", "three@x"],
    attributes: [
      ["2.5.4.10", "one, two"],
      ["2.5.4.10", "three@x"],
      ["2.5.4.3", "Käse"],
    ],
  });
  const wrong = [text(0x0c, Uint8Array.of(0xff)), text(0x13, "a@b"), text(0x16, "ä"), text(0x1e, "abc")];
  for (const value of wrong)
    assert.match(given({ subject: sequence(attribute("2.5.4.3", value)) }), /malformed .* a text$/);
});

test("names are read; those that are none are refused, and kinds that nobody uses are passed over", () => {
  const names = [
    "DNS:a.example",
    "IP:0a000001",
    `IP:${"fd".padEnd(32, "0")}`,
    "email:a@b",
    "URI:spiffe://a/b",
    "other:x",
  ];
  const { dnsNames, emailAddresses, uris, ipAddresses } = read(requestBytes({ names }));
  assert.deepEqual([dnsNames, emailAddresses, uris], [["a.example"], ["a@b"], ["spiffe://a/b"]]);
  assert.deepEqual(
    ipAddresses.map(({ length }) => length),
    [4, 16],
  );
  assert.equal(given({ names: ["IP:0a0000"] }), "x509: cannot parse IP address of length 3");
  assert.equal(given({ names: ["DNS:\xe4"] }), "x509: SAN dNSName is malformed");
  assert.match(given({ names: ["URI:http://["] }), /cannot parse URI/);
  const alternative = extension("2.5.29.17", "plain", namesBytes(["DNS:a"]));
  assert.match(given({ extensions: [alternative, alternative] }), /duplicate requested extensions/);
});

test("only one PEM block of the right kind counts", () => {
  const bytes = Buffer.from(p256, "base64");
  const readText = (text: string): string => {
    try {
      return readCertificateRequest(Buffer.from(text)).subject.commonName;
    } catch (error) {
      assert.ok(error instanceof RequestError, String(error));
      return error.message;
    }
  };
  const block = pem(bytes);
  const good = [block, `some words\n${block}more`, block.replaceAll("\n", "\r\n"), block.replace("\n", "\nA: b\n\n")];
  for (const text of good) assert.equal(readText(text), "anna", text);
  const none = "PEM block type must be CERTIFICATE REQUEST";
  const bad = ["", "x", pem(bytes, "NEW CERTIFICATE REQUEST"), pem(bytes, "CERTIFICATE") + block, block.slice(0, -30)];
  for (const text of [...bad, block.replace("MIH", "M!H")]) assert.equal(readText(text), none, text);
  assert.match(problem(Buffer.concat([bytes, Uint8Array.of(5, 0)])), /number of values/);
  assert.match(problem(Buffer.alloc(40_000)), /longer than/);
});

test("no bit of a request can change, no byte go and none come", () => {
  const bytes = Buffer.from(ed25519, "base64");
  for (let at = 0; at < bytes.length; at++) {
    for (let bit = 0; bit < 8; bit++) {
      const changed = Buffer.from(bytes);
      changed[at] = (changed[at] ?? 0) ^ (1 << bit);
      assert.notEqual(problem(changed), "taken", `bit ${bit} of byte ${at}`);
    }
    assert.notEqual(problem(bytes.subarray(0, at)), "taken");
    assert.notEqual(problem(Buffer.concat([bytes.subarray(0, at), Uint8Array.of(0), bytes.subarray(at)])), "taken");
  }
});

/** DER of any shape: elements within elements, of the tags that requests have. */
const der: fc.Arbitrary<Uint8Array> = fc.letrec<{ any: Uint8Array }>((tie) => ({
  any: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    fc
      .tuple(
        fc.constantFrom(0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x0c, 0x13, 0x82, 0x87),
        fc.uint8Array({ maxLength: 9 }),
      )
      .map(([tag, contents]) => element(tag, contents)),
    fc
      .tuple(fc.constantFrom(0x30, 0x31, 0xa0), fc.array(tie("any"), { maxLength: 5 }))
      .map(([tag, parts]) => element(tag, Buffer.concat(parts))),
  ),
})).any;

test("any bytes give a request or say what is wrong", () => {
  const numRuns = isLong ? 200_000 : 2000;
  const goldens = [p256, rsa, ed25519].map((text) => Buffer.from(text, "base64"));
  const splice = fc.record({
    golden: fc.constantFrom(...goldens),
    at: fc.nat(300),
    gone: fc.nat(20),
    come: fc.oneof(fc.uint8Array({ maxLength: 20 }), der),
  });
  fc.assert(
    fc.property(splice, ({ golden, at, gone, come }) => {
      problem(Buffer.concat([golden.subarray(0, at), come, golden.subarray(at + gone)]));
    }),
    { numRuns },
  );
  fc.assert(
    fc.property(der, (bytes) => void problem(bytes)),
    { numRuns },
  );
  fc.assert(
    fc.property(fc.record({ subject: der, attributes: der }), (parts) => void given(parts)),
    { numRuns: numRuns / 10 },
  );
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      try {
        readCertificateRequest(bytes);
      } catch (error) {
        assert.ok(error instanceof RequestError, String(error));
      }
    }),
    { numRuns },
  );
});

const day = 24 * 3600 * 1000;
const now = Date.UTC(2026, 0, 31, 12);
const validity = { notBefore: now, notAfter: now + day };
const authority = issueCertificate({ subject: { commonName: "ca" }, use: "authority", ...validity });

test("a certificate says what was asked for and granted, and is nobody's authority", () => {
  const key = testKey("P-384");
  const issuer = { subject: { commonName: "ca" }, key: createPrivateKey(authority.key) };
  const names = ["DNS:a.example", "IP:0a000001", "email:a@b", "URI:spiffe://a/b"];
  const asked = [extension("2.5.29.17", "plain", namesBytes(names)), extension("2.5.29.19", "critical", sequence(yes))];
  const request = read(requestBytes({ key, subject: ["C=DE", "O=devs", "CN=anna"], extensions: asked }));
  const usages = ["s/mime", "email protection", "client auth", "digital signature", "decipher only"];
  const certificate = new X509Certificate(requestedCertificate(request, { usages, ...validity }, issuer));
  assert.ok(certificate.verify(new X509Certificate(authority.certificate).publicKey));
  assert.ok(certificate.checkIssued(new X509Certificate(authority.certificate)));
  assert.equal(certificate.ca, false);
  assert.equal(certificate.subject, "C=DE\nO=devs\nCN=anna");
  assert.equal(certificate.subjectAltName, "DNS:a.example, email:a@b, IP Address:10.0.0.1, URI:spiffe://a/b");
  assert.deepEqual(certificate.keyUsage, ["1.3.6.1.5.5.7.3.2", "1.3.6.1.5.5.7.3.4"]);
  assert.ok(certificate.publicKey.equals(createPublicKey(key)));
  assert.equal(Date.parse(certificate.validTo), validity.notAfter);
  // RFC 5280 4.2.1.3: digitalSignature and decipherOnly, bits 0 and 8 of nine.
  assert.ok(certificate.raw.includes(Buffer.from("0303078080", "hex")));
});
