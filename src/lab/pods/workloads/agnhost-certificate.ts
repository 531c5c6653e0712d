// The certificate of agnhost's TLS servers: what CERT_FILE and KEY_FILE name, else one for localhost, made when it is first asked for.
// The original has such a pair in its image; here nobody's private key lies in a repository.

import { issueCertificate, type KeyPair } from "../../apiserver/tls-certificate.ts";
import { WorkloadError, type WorkloadContext } from "./workload.ts";

let own: KeyPair | undefined;

/** The files of the image: a pair for localhost. */
export const localhostFiles: Readonly<Record<string, () => string>> = {
  "/localhost.crt": () => (own ??= makeOwn()).certificate,
  "/localhost.key": () => (own ??= makeOwn()).key,
};

/** Throws WorkloadError for files that the container does not have. */
export function agnhostCertificate(
  context: Pick<WorkloadContext, "env" | "files">,
  names: { readonly certificate?: string; readonly key?: string } = {},
): KeyPair {
  const certificate = names.certificate ?? context.env["CERT_FILE"] ?? "";
  const key = names.key ?? context.env["KEY_FILE"] ?? "";
  if (isOwn(certificate) && isOwn(key)) return (own ??= makeOwn());
  return { certificate: read(certificate), key: read(key) };

  function read(path: string): string {
    const bytes = context.files.read(path);
    if (bytes === undefined) throw new WorkloadError(`open ${path}: no such file or directory`);
    return bytes.toString("utf8");
  }
}

/** /localhost.crt and /localhost.key are files of the original's image. */
function isOwn(path: string): boolean {
  return path === "" || path === "/localhost.crt" || path === "/localhost.key";
}

function makeOwn(): KeyPair {
  const now = Date.now();
  const year = 365 * 24 * 3600 * 1000;
  return issueCertificate({
    subject: { commonName: "localhost", organizations: ["Acme Co"] },
    use: "server",
    names: ["localhost", "example.com"],
    addresses: ["127.0.0.1", "::1"],
    notBefore: now - 24 * 3600 * 1000,
    notAfter: now + 10 * year,
  });
}
