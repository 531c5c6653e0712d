// The kubeconfig of a lab, as text with everything embedded; and how it joins a kubeconfig that is there already.
//
// Not here: the certificates in it (tls.ts), which file it goes to (cli/kubeconfig.ts).

import type { KeyPair } from "./tls-certificate.ts";

/** What a client needs to know. */
export interface KubeconfigParts {
  /** The lab's name; cluster, user and context are called `fairlead-<name>`. */
  readonly name: string;
  /** `https://127.0.0.1:6443` */
  readonly server: string;
  /** PEM */
  readonly authority: string;
  readonly client: KeyPair;
  /** The context's namespace. */
  readonly namespace: string;
}

/** The kubeconfig of a lab as YAML (clientcmd/api/v1 Config). */
export function kubeconfigText(parts: KubeconfigParts): string {
  const name = contextName(parts.name);
  const text = JSON.stringify;
  return `apiVersion: v1
kind: Config
clusters:
- name: ${name}
  cluster:
    server: ${text(parts.server)}
    certificate-authority-data: ${base64(parts.authority)}
users:
- name: ${name}
  user:
    client-certificate-data: ${base64(parts.client.certificate)}
    client-key-data: ${base64(parts.client.key)}
contexts:
- name: ${name}
  context:
    cluster: ${name}
    user: ${name}
    namespace: ${text(parts.namespace)}
current-context: ${name}
preferences: {}
`;
}

/** What cluster, user and context of a lab are called. */
export function contextName(lab: string): string {
  return `fairlead-${lab}`;
}

/** A kubeconfig that could not be understood; the message says where. */
export class KubeconfigError extends Error {
  override readonly name = "KubeconfigError";
}

/**
 * An existing kubeconfig with another one's entries added, or put in the place of those of the same names; everything else stays,
 * comments too. The current context becomes the added one's. `previous`: what it was. Throws KubeconfigError.
 */
export async function mergeKubeconfig(
  existing: string,
  added: string,
): Promise<{ readonly text: string; readonly previous: string | undefined }> {
  const { isMap, isSeq, parse, parseDocument } = await import("yaml");
  const document = parseDocument(existing);
  const [problem] = document.errors;
  if (problem !== undefined) throw new KubeconfigError(problem.message);
  if (document.contents === null) return { text: added, previous: undefined };
  if (!isMap(document.contents)) throw new KubeconfigError("it is not a mapping such as `kind: Config`");
  const addition = parse(added) as {
    readonly [list in (typeof lists)[number]]: readonly { readonly name: string }[];
  } & {
    readonly "current-context": string;
  };
  for (const list of lists) {
    const present = document.get(list);
    if (!isSeq(present)) {
      document.set(list, document.createNode(addition[list]));
      continue;
    }
    // An empty list is written as []: entries look odd inside brackets.
    if (present.items.length === 0) present.flow = false;
    for (const entry of addition[list]) {
      const index = present.items.findIndex((item) => isMap(item) && item.get("name") === entry.name);
      if (index < 0) present.add(document.createNode(entry));
      else present.set(index, document.createNode(entry));
    }
  }
  const previous = document.get("current-context");
  document.set("current-context", addition["current-context"]);
  if (!document.has("apiVersion")) document.set("apiVersion", "v1");
  if (!document.has("kind")) document.set("kind", "Config");
  return {
    text: document.toString({ lineWidth: 0 }),
    previous: typeof previous === "string" && previous !== "" ? previous : undefined,
  };
}

/** The kubeconfig without the entries of one lab; undefined where there were none. Throws KubeconfigError. */
export async function withoutLab(existing: string, lab: string): Promise<string | undefined> {
  const { isMap, isSeq, parseDocument } = await import("yaml");
  const document = parseDocument(existing);
  const [problem] = document.errors;
  if (problem !== undefined) throw new KubeconfigError(problem.message);
  const name = contextName(lab);
  let found = false;
  for (const list of lists) {
    const present = document.contents === null || !isMap(document.contents) ? undefined : document.get(list);
    if (!isSeq(present)) continue;
    const kept = present.items.filter((item) => !(isMap(item) && item.get("name") === name));
    found ||= kept.length < present.items.length;
    present.items = kept;
  }
  if (!found) return undefined;
  if (document.get("current-context") === name) document.set("current-context", "");
  return document.toString({ lineWidth: 0 });
}

const lists = ["clusters", "users", "contexts"] as const;

function base64(text: string): string {
  return Buffer.from(text, "utf8").toString("base64");
}
