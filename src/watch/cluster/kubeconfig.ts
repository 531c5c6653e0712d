// How to reach an API server and who we are there: read from a kubeconfig (clientcmd/api/v1 Config), or from what every pod is given.
// Files that a kubeconfig names are read when they are needed, not here: certificates and tokens are renewed under our feet (credentials.ts).
//
// Not here: talking to the server (client.ts), writing kubeconfigs (lab/apiserver/kubeconfig.ts).

import { readFileSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, isAbsolute, join } from "node:path";
import process from "node:process";

/** One API server and one user of it. */
export interface ClusterAccess {
  /** `https://10.0.0.1:6443`, perhaps with a path; without a slash at the end. */
  readonly server: string;
  /** PEM text or the file that holds it; absent: the authorities that Node trusts. */
  readonly authority?: PemSource;
  /** Whose certificate the server must show; absent: the host of `server`. */
  readonly serverName?: string;
  /** The server's certificate is not checked. */
  readonly insecure: boolean;
  readonly user: UserAccess;
  /** The context's namespace. */
  readonly namespace: string;
  /** For messages: `kubeconfig /etc/fairlead/kubeconfig, context admin`. */
  readonly from: string;
}

/** PEM text as it is, or where it is kept. */
export type PemSource = { readonly pem: string } | { readonly file: string };

export type UserAccess =
  | { readonly kind: "nobody" }
  | { readonly kind: "certificate"; readonly certificate: PemSource; readonly key: PemSource }
  | { readonly kind: "token"; readonly token: string }
  /** Read anew when it may have changed: service account tokens live for an hour. */
  | { readonly kind: "token-file"; readonly file: string }
  | { readonly kind: "basic"; readonly username: string; readonly password: string }
  | { readonly kind: "exec"; readonly command: ExecCommand };

/** A program that prints an ExecCredential (client.authentication.k8s.io, KEP-541). */
export interface ExecCommand {
  readonly apiVersion: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly env: readonly { readonly name: string; readonly value: string }[];
  /** Wants to know about the server. */
  readonly provideClusterInfo: boolean;
  /** What to do where the program is missing. */
  readonly installHint?: string;
}

/** A configuration that cannot be used; the message names the file and the field. */
export class KubeconfigError extends Error {
  override readonly name = "KubeconfigError";
}

/** Where a pod finds its own credentials (KEP-1205; client-go rest.InClusterConfig). */
const podFolder = "/var/run/secrets/kubernetes.io/serviceaccount";

/**
 * The access that a command line means: the named kubeconfig, else $KUBECONFIG (its first file), else the pod's own, else ~/.kube/config.
 * Throws KubeconfigError.
 */
export async function findAccess(options: {
  readonly kubeconfig?: string;
  readonly context?: string;
  readonly environment?: NodeJS.ProcessEnv;
}): Promise<ClusterAccess> {
  const { kubeconfig, context, environment = process.env } = options;
  const [listed] = (environment.KUBECONFIG ?? "").split(":").filter((file) => file !== "");
  const named = kubeconfig ?? listed;
  if (named !== undefined) return readKubeconfig(named, context);
  if (environment.KUBERNETES_SERVICE_HOST !== undefined) return podAccess(environment);
  return readKubeconfig(join(homedir(), ".kube", "config"), context);
}

/** The pod's own access. Throws KubeconfigError outside of a pod. */
export function podAccess(environment: NodeJS.ProcessEnv, folder: string = podFolder): ClusterAccess {
  const { KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: port = "443" } = environment;
  if (host === undefined)
    throw new KubeconfigError("this is no pod: KUBERNETES_SERVICE_HOST is not set; give --kubeconfig");
  return {
    server: `https://${host.includes(":") ? `[${host}]` : host}:${port}`,
    authority: { file: join(folder, "ca.crt") },
    insecure: false,
    user: { kind: "token-file", file: join(folder, "token") },
    namespace: textOf(join(folder, "namespace")) ?? "default",
    from: "the pod's service account",
  };
}

/** The access of a kubeconfig's context (the current one by default). Throws KubeconfigError. */
export async function readKubeconfig(path: string, context?: string): Promise<ClusterAccess> {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new KubeconfigError(`read kubeconfig ${path}: ${reason}; name another with --kubeconfig`, { cause });
  }
  return parseKubeconfig(text, { path, ...(context === undefined ? {} : { context }) });
}

/** As readKubeconfig, from text; files it names are relative to the folder of `path`. Throws KubeconfigError. */
export async function parseKubeconfig(
  text: string,
  { path, context }: { readonly path: string; readonly context?: string },
): Promise<ClusterAccess> {
  const fail = (message: string): never => {
    throw new KubeconfigError(`kubeconfig ${path}: ${message}`);
  };
  const config = fieldsOf(await parsed(text, path));
  const contextName = context ?? textField(config, "current-context") ?? fail("it has no current-context");
  if (contextName === "") fail("current-context is empty; choose one with kubectl config use-context");
  const named = (list: string, field: string, name: string): Fields =>
    fieldsOf(
      listField(config, list).find((entry) => textField(entry, "name") === name)?.[field] ??
        fail(`${list} has no entry named ${JSON.stringify(name)}`),
    );
  const chosen = named("contexts", "context", contextName);
  const clusterName = textField(chosen, "cluster") ?? fail(`context ${contextName} names no cluster`);
  const cluster = named("clusters", "cluster", clusterName);
  const userName = textField(chosen, "user") ?? "";
  const user = userName === "" ? {} : named("users", "user", userName);
  const file = (name: string): string => (isAbsolute(name) ? name : join(dirname(path), name));
  const server = textField(cluster, "server") ?? fail(`cluster ${clusterName} has no server`);
  if (!/^https?:\/\/./.test(server)) fail(`clusters[${clusterName}].server ${server} is no http or https URL`);
  if (cluster["proxy-url"] !== undefined)
    fail(`clusters[${clusterName}].proxy-url is not supported; use a context that reaches the server directly`);
  const pem = (fields: Fields, field: string, where: string): PemSource | undefined => {
    const data = textField(fields, `${field}-data`);
    if (data !== undefined && data !== "") {
      const decoded = Buffer.from(data, "base64").toString("utf8");
      if (!decoded.includes("-----BEGIN")) fail(`${where}.${field}-data is no base64 of PEM`);
      return { pem: decoded };
    }
    const name = textField(fields, field);
    return name === undefined || name === "" ? undefined : { file: file(name) };
  };
  const authority = pem(cluster, "certificate-authority", `clusters[${clusterName}]`);
  const serverName = textField(cluster, "tls-server-name");
  return {
    server: server.replace(/\/+$/, ""),
    ...(authority === undefined ? {} : { authority }),
    ...(serverName === undefined || serverName === "" ? {} : { serverName }),
    insecure: cluster["insecure-skip-tls-verify"] === true,
    user: userAccess(user, { where: `users[${userName}]`, file, pem, fail }),
    namespace: textField(chosen, "namespace") ?? "default",
    from: `kubeconfig ${path}, context ${contextName}`,
  };
}

/** client-go's order: certificate and token may both be given; a token names the user then. */
function userAccess(
  user: Fields,
  read: {
    readonly where: string;
    readonly file: (name: string) => string;
    readonly pem: (fields: Fields, field: string, where: string) => PemSource | undefined;
    readonly fail: (message: string) => never;
  },
): UserAccess {
  const { where, file, pem, fail } = read;
  const tokenFile = textField(user, "tokenFile");
  if (tokenFile !== undefined && tokenFile !== "") return { kind: "token-file", file: file(tokenFile) };
  const token = textField(user, "token");
  if (token !== undefined && token !== "") return { kind: "token", token };
  if (user.exec !== undefined) return { kind: "exec", command: execCommand(fieldsOf(user.exec), where, file, fail) };
  const certificate = pem(user, "client-certificate", where);
  const key = pem(user, "client-key", where);
  if (certificate !== undefined && key !== undefined) return { kind: "certificate", certificate, key };
  if (certificate !== undefined || key !== undefined)
    fail(
      `${where} has ${key === undefined ? "client-certificate without client-key" : "client-key without client-certificate"}`,
    );
  const username = textField(user, "username");
  if (username !== undefined) return { kind: "basic", username, password: textField(user, "password") ?? "" };
  if (user["auth-provider"] !== undefined)
    fail(`${where}.auth-provider was removed from Kubernetes in 1.26; use exec instead`);
  return { kind: "nobody" };
}

function execCommand(
  exec: Fields,
  where: string,
  file: (name: string) => string,
  fail: (message: string) => never,
): ExecCommand {
  const command = textField(exec, "command") ?? fail(`${where}.exec has no command`);
  const apiVersion = textField(exec, "apiVersion") ?? fail(`${where}.exec has no apiVersion`);
  if (!/^client\.authentication\.k8s\.io\/v1(beta1)?$/.test(apiVersion))
    fail(`${where}.exec.apiVersion ${apiVersion} is unknown; client.authentication.k8s.io/v1 and v1beta1 are known`);
  const args: unknown = exec.args ?? [];
  if (!Array.isArray(args) || !args.every((arg): arg is string => typeof arg === "string"))
    return fail(`${where}.exec.args is no list of texts`);
  const installHint = textField(exec, "installHint");
  return {
    apiVersion,
    // A name with a slash is relative to the kubeconfig; others are looked for in PATH.
    command: command.includes("/") ? file(command) : command,
    args,
    env: listField(exec, "env").map((entry) => ({
      name: textField(entry, "name") ?? fail(`${where}.exec.env has an entry without name`),
      value: textField(entry, "value") ?? "",
    })),
    provideClusterInfo: exec.provideClusterInfo === true,
    ...(installHint === undefined ? {} : { installHint }),
  };
}

type Fields = Readonly<Record<string, unknown>>;

async function parsed(text: string, path: string): Promise<unknown> {
  try {
    // Most kubeconfigs that programs write are JSON or small YAML; the parser is loaded for the latter only.
    if (text.trimStart().startsWith("{")) return JSON.parse(text) as unknown;
    const { parse } = await import("yaml");
    return parse(text) as unknown;
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new KubeconfigError(`kubeconfig ${path}: ${reason}`, { cause });
  }
}

function fieldsOf(value: unknown): Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Fields) : {};
}

function textField(fields: Fields, name: string): string | undefined {
  const value = fields[name];
  return typeof value === "string" ? value : undefined;
}

function listField(fields: Fields, name: string): readonly Fields[] {
  const value = fields[name];
  return Array.isArray(value) ? value.map(fieldsOf) : [];
}

function textOf(file: string): string | undefined {
  try {
    return readFileSync(file, "utf8").trim();
  } catch {
    return undefined;
  }
}
