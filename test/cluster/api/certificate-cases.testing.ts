// Requests for certificates: what is in one, whom it is for, and how it is answered.

import { generateKeyPairSync } from "node:crypto";
import { namesBytes, pem, requestBytes, requestText, testKey } from "../../../src/lab/apiserver/pkcs10.testing.ts";
import {
  element,
  extension,
  issueCertificate,
  objectIdentifier,
  sequence,
  tagged,
} from "../../../src/lab/apiserver/tls-certificate.ts";
import { casesOf, of, status, type Case } from "./case.testing.ts";

const client = "kubernetes.io/kube-apiserver-client";
const base64 = (text: string): string => Buffer.from(text).toString("base64");
const der = (bytes: Uint8Array): object => ({ request: base64(pem(bytes)) });
const csr = (spec: object = {}): object => ({
  spec: { request: requestText({}), signerName: client, usages: ["client auth"], ...spec },
});
const condition = (type: string, more: object = {}): object => ({ type, status: "True", reason: "R", ...more });
const approval = (...conditions: readonly object[]): ReturnType<typeof of> =>
  of("approval", { status: { conditions } });

const bytes = Buffer.from(requestBytes({ subject: ["CN=anna", "O=devs"] }));
const changed = (at: number, by: number): Uint8Array =>
  Uint8Array.from(bytes, (byte, i) => (i === at ? byte ^ by : byte));
const block = pem(bytes);
const attribute = (identifier: string, value: Uint8Array): Uint8Array =>
  element(0x31, sequence(objectIdentifier(identifier), value));
const name = (tag: number, value: Uint8Array | string): object =>
  der(requestBytes({ subject: sequence(attribute("2.5.4.3", element(tag, Buffer.from(value)))) }));
const names = (...all: readonly string[]): object => der(requestBytes({ names: all }));
const alternative = extension("2.5.29.17", "plain", namesBytes(["DNS:a"]));
const curve = (namedCurve: string): object =>
  der(requestBytes({ key: generateKeyPairSync("ec", { namedCurve }).privateKey }));

const { certificate: authority } = issueCertificate({
  subject: { commonName: "ca" },
  use: "authority",
  notBefore: Date.UTC(2026, 0),
  notAfter: Date.UTC(2036, 0),
});

const asked = (about: string, spec: object): readonly [string, object] => [about, csr(spec)];

export const cases: readonly Case[] = casesOf("certificates.k8s.io/v1/certificatesigningrequests", [
  [
    "plain",
    csr(),
    { metadata: { labels: { a: "b" } } },
    { spec: { usages: ["server auth"], signerName: "example.org/other" } },
    { status: { conditions: [condition("Approved")] } },
    status({ conditions: [condition("Approved")] }),
    approval(condition("Approved")),
    approval(condition("Approved", { reason: "Other" })),
    approval(condition("Approved"), condition("Denied")),
    approval(),
    status({ conditions: [condition("Approved", { reason: "Another" }), condition("Failed")] }),
    status({ conditions: [condition("Failed")] }),
    status({ certificate: base64("x") }),
    status({ certificate: base64(authority) }),
    of("approval", { status: { certificate: base64(authority) } }),
  ],
  ["without anything", {}],
  ["an empty specification", { spec: {} }],
  [
    "conditions",
    csr(),
    approval(condition("Approved", { status: "False" }), condition("")),
    approval(condition("Other", { status: "Maybe" }), condition("Other"), { type: "X" }),
    approval(condition("Denied"), condition("Denied")),
    approval(condition("Denied", { lastUpdateTime: "2026-01-01T00:00:00Z" })),
    status({ conditions: [condition("Denied"), condition("Mine", { status: "Unknown" })] }),
    status({ conditions: [condition("Denied"), condition("Mine", { status: "False" })] }),
  ],
  ["a status of its own", { ...csr(), status: { conditions: [condition("Approved")], certificate: base64("x") } }],
  asked("who says who they are", { username: "x", groups: ["y"], uid: "z", extra: { a: ["b"] } }),
  asked("usages", { usages: ["client auth", "x", "client auth"] }),
  asked("no usages", { usages: [] }),
  asked("a short time", { expirationSeconds: 599 }),
  asked("a time", { expirationSeconds: 600 }),
  asked("no signer", { signerName: "" }),
  asked("the signer of old", { signerName: "kubernetes.io/legacy-unknown" }),
  ...["x", "a/b", "a.b/c/d", "A.b/c", "a.b/C_d", "a.b/c.d.e", "a..b/c", `${"a.".repeat(130)}b/c`, "a.b/"].map(
    (signerName) => asked(`signer ${signerName}`, { signerName }),
  ),
  asked("administrators", { request: requestText({ subject: ["O=system:masters", "CN=x"] }) }),
  asked("administrators elsewhere", {
    request: requestText({ subject: ["O=system:masters", "CN=x"] }),
    signerName: "example.org/x",
  }),
  asked("no PEM", { request: base64("x") }),
  asked("another block", { request: base64(pem(bytes, "CERTIFICATE")) }),
  asked("another block first", { request: base64(pem(bytes, "CERTIFICATE") + block) }),
  asked("text around", { request: base64(`a\n${block}b`) }),
  asked("a header", { request: base64(block.replace("\n", "\na: b\n\n")) }),
  asked("lines of Windows", { request: base64(block.replaceAll("\n", "\r\n")) }),
  asked("no end", { request: base64(block.slice(0, -30)) }),
  asked("something behind", der(Buffer.concat([bytes, Uint8Array.of(5, 0)]))),
  asked("a signature of another", der(changed(bytes.length - 1, 1))),
  asked("another subject", der(changed(bytes.indexOf(Buffer.from("anna")) + 1, 1))),
  ...(["rsa 2048", "rsa 4096", "P-256", "P-384"] as const).map((type) =>
    asked(type, der(requestBytes({ key: testKey(type) }))),
  ),
  asked("P-521", curve("secp521r1")),
  asked("P-224", curve("secp224r1")),
  asked("secp256k1", curve("secp256k1")),
  asked("brainpool", curve("brainpoolP256r1")),
  asked("a small key", der(requestBytes({ key: generateKeyPairSync("rsa", { modulusLength: 768 }).privateKey }))),
  asked(
    "a strange exponent",
    der(requestBytes({ key: generateKeyPairSync("rsa", { modulusLength: 2048, publicExponent: 3 }).privateKey })),
  ),
  asked("a name in UTF-8", name(0x0c, "Käse")),
  asked("a name in broken UTF-8", name(0x0c, Uint8Array.of(0xff, 0xfe))),
  asked("a printable name", name(0x13, "a b*&")),
  asked("a printable name that is not", name(0x13, "a@b")),
  asked("an IA5 name", name(0x16, "a@b")),
  asked("an IA5 name that is not", name(0x16, Uint8Array.of(0xe4))),
  asked("a wide name", name(0x1e, Uint8Array.of(0, 0x61))),
  asked("a number for a name", name(0x02, Uint8Array.of(1))),
  asked("no subject", der(requestBytes({ subject: sequence() }))),
  asked(
    "all kinds of names",
    names("DNS:a.b", "IP:0a000001", `IP:${"00".repeat(16)}`, "email:a@b", "URI:spiffe://a/b", "other:x"),
  ),
  asked("an address of three bytes", names("IP:0a0000")),
  asked("a name that is no ASCII", names("DNS:\xe4")),
  asked("a relative URI", names("URI:nothing")),
  asked("a broken URI", names("URI:http://[")),
  asked("names twice", der(requestBytes({ extensions: [alternative, alternative] }))),
  asked(
    "no names in the extension",
    der(requestBytes({ extensions: [extension("2.5.29.17", "critical", sequence())] })),
  ),
  asked("an extension that is none", der(requestBytes({ extensions: [sequence()] }))),
  asked("an authority", der(requestBytes({ extensions: [extension("2.5.29.19", "critical", sequence())] }))),
  asked("attributes that are none", der(requestBytes({ attributes: tagged(0, sequence()) }))),
  asked("no attributes", der(requestBytes({ attributes: new Uint8Array() }))),
]);
