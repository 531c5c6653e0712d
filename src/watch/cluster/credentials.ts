// What a request to the API server carries to say who sends it, and what a connection needs to be trusted. Renewed under way: files are
// read again when they changed, programs are asked again when their answer has expired or the server says 401.
//
// Not here: where it is all written down (kubeconfig.ts).

import { execFile } from "node:child_process";
import { readFileSync, statSync } from "node:fs";
import process from "node:process";

import {
  KubeconfigError,
  type ClusterAccess,
  type ExecCommand,
  type PemSource,
  type UserAccess,
} from "./kubeconfig.ts";

/** Equal content is the same value (===): a connection made with it goes on being used. */
export interface Credentials {
  readonly ca?: string;
  readonly certificate?: string;
  readonly key?: string;
  /** The Authorization header. */
  readonly authorization?: string;
}

export interface CredentialSource {
  /** Today's. `renew`: the last ones were refused. Rejects with KubeconfigError where a file or program fails. */
  current(options?: { readonly renew?: true }): Promise<Credentials>;
}

/** The credentials of an access. `now`: milliseconds since 1970. */
export function createCredentials(access: ClusterAccess, now: () => number = Date.now): CredentialSource {
  const user = userSource(access, now);
  const authority = access.authority === undefined ? undefined : pemReader(access.authority);
  let last: Credentials = {};
  return {
    async current(options) {
      const own = await user(options?.renew === true);
      const next: Credentials = { ...own, ...(authority === undefined ? {} : { ca: authority() }) };
      if (!isSame(last, next)) last = next;
      return last;
    },
  };
}

type UserSource = (renew: boolean) => Promise<Omit<Credentials, "ca">>;

function userSource(access: ClusterAccess, now: () => number): UserSource {
  const { user } = access;
  switch (user.kind) {
    case "nobody":
      return async () => ({});
    case "token":
      return async () => bearer(user.token);
    case "basic": {
      const pair = Buffer.from(`${user.username}:${user.password}`).toString("base64");
      return async () => ({ authorization: `Basic ${pair}` });
    }
    case "token-file": {
      const read = fileReader(user.file);
      return async () => bearer(read().trim());
    }
    case "certificate": {
      const { certificate, key } = { certificate: pemReader(user.certificate), key: pemReader(user.key) };
      return async () => ({ certificate: certificate(), key: key() });
    }
    case "exec":
      return execSource(user, access, now);
  }
}

function bearer(token: string): Omit<Credentials, "ca"> {
  return { authorization: `Bearer ${token}` };
}

function pemReader(source: PemSource): () => string {
  return "pem" in source ? () => source.pem : fileReader(source.file);
}

/** A file's text, read again when it is another one (mounted secrets are swapped by a link) or has changed. */
function fileReader(file: string): () => string {
  let text: string | undefined;
  let seen = "";
  return () => {
    try {
      const { ino, mtimeMs, size } = statSync(file);
      const state = `${ino} ${mtimeMs} ${size}`;
      if (text === undefined || state !== seen) {
        text = readFileSync(file, "utf8");
        seen = state;
      }
      return text;
    } catch (cause) {
      // While it is being replaced, the old one serves.
      if (text !== undefined) return text;
      const reason = cause instanceof Error ? cause.message : String(cause);
      throw new KubeconfigError(`read credentials: ${reason}`, { cause });
    }
  };
}

/** Asks the program once for many requests; its answer serves until it expires or is refused. */
function execSource(
  { command }: Extract<UserAccess, { kind: "exec" }>,
  access: ClusterAccess,
  now: () => number,
): UserSource {
  let answer: { readonly credentials: Omit<Credentials, "ca">; readonly expiresAt: number } | undefined;
  let asking: Promise<Omit<Credentials, "ca">> | undefined;
  return async (renew) => {
    if (asking !== undefined) return asking;
    if (!renew && answer !== undefined && now() < answer.expiresAt) return answer.credentials;
    asking = (async () => {
      try {
        answer = credentialOf(await runCommand(command, access), command);
        return answer.credentials;
      } finally {
        asking = undefined;
      }
    })();
    return asking;
  };
}

const execTimeoutMs = 60_000;

function runCommand(exec: ExecCommand, access: ClusterAccess): Promise<string> {
  const authority = access.authority === undefined ? undefined : pemReader(access.authority)();
  const info = {
    kind: "ExecCredential",
    apiVersion: exec.apiVersion,
    spec: {
      interactive: false,
      ...(exec.provideClusterInfo && {
        cluster: {
          server: access.server,
          ...(access.serverName !== undefined && { "tls-server-name": access.serverName }),
          ...(access.insecure && { "insecure-skip-tls-verify": true }),
          ...(authority !== undefined && { "certificate-authority-data": Buffer.from(authority).toString("base64") }),
        },
      }),
    },
  };
  const own = Object.fromEntries(exec.env.map(({ name, value }) => [name, value]));
  const env = { ...process.env, ...own, KUBERNETES_EXEC_INFO: JSON.stringify(info) };
  return new Promise((resolve, reject) => {
    execFile(exec.command, exec.args, { env, timeout: execTimeoutMs }, (error, stdout, stderr) => {
      if (error === null) return resolve(stdout);
      const hint = exec.installHint === undefined ? "" : `; ${exec.installHint}`;
      const said = stderr.trim() === "" ? error.message : stderr.trim();
      reject(new KubeconfigError(`run credential program ${exec.command}: ${said}${hint}`, { cause: error }));
    });
  });
}

/** Reads an ExecCredential's status (client.authentication.k8s.io/v1). */
function credentialOf(
  text: string,
  { command }: ExecCommand,
): { readonly credentials: Omit<Credentials, "ca">; readonly expiresAt: number } {
  let value: { status?: { [field: string]: unknown } } | null;
  try {
    value = JSON.parse(text) as typeof value;
  } catch (cause) {
    throw new KubeconfigError(`run credential program ${command}: its answer is no JSON`, { cause });
  }
  const status = value?.status ?? {};
  const textOf = (field: string): string | undefined =>
    typeof status[field] === "string" && status[field] !== "" ? status[field] : undefined;
  const [token, certificate, key] = [textOf("token"), textOf("clientCertificateData"), textOf("clientKeyData")];
  if (token === undefined && (certificate === undefined || key === undefined))
    throw new KubeconfigError(
      `run credential program ${command}: its answer has neither status.token nor status.clientCertificateData and clientKeyData`,
    );
  const expires = Date.parse(textOf("expirationTimestamp") ?? "");
  return {
    credentials: {
      ...(token === undefined ? {} : bearer(token)),
      ...(certificate === undefined || key === undefined ? {} : { certificate, key }),
    },
    expiresAt: Number.isNaN(expires) ? Number.POSITIVE_INFINITY : expires,
  };
}

function isSame(a: Credentials, b: Credentials): boolean {
  return a.ca === b.ca && a.certificate === b.certificate && a.key === b.key && a.authorization === b.authorization;
}
