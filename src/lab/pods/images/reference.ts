// Image references: `nginx`, `docker.io/library/nginx:1.27`, `registry.example.com:5000/shop/api@sha256:…`.
// The grammar is that of github.com/distribution/reference, as far as names go.

export interface Reference {
  /** `docker.io` where none is named. */
  readonly registry: string;
  /** `library/nginx` */
  readonly repository: string;
  readonly tag: string;
  readonly digest?: string;
}

/** The parts of a reference, or undefined where the text is none. */
export function parseReference(text: string): Reference | undefined {
  const match = /^([^@]+?)(?::([\w][\w.-]{0,127}))?(?:@([a-z0-9]+:[0-9a-f]{32,}))?$/.exec(text);
  if (match === null) return undefined;
  const [, name = "", tag, digest] = match;
  const [first = "", ...rest] = name.split("/");
  const hasRegistry = rest.length > 0 && (first.includes(".") || first.includes(":") || first === "localhost");
  const registry = hasRegistry ? first : "docker.io";
  const path = hasRegistry ? rest : [first, ...rest];
  if (!path.every((part) => /^[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*$/.test(part))) return undefined;
  const repository = registry === "docker.io" && path.length === 1 ? `library/${path[0]}` : path.join("/");
  return { registry, repository, tag: tag ?? "latest", ...(digest === undefined ? {} : { digest }) };
}

/** The whole reference as one text, defaults filled in. */
export function referenceText({ registry, repository, tag, digest }: Reference): string {
  return `${registry}/${repository}:${tag}${digest === undefined ? "" : `@${digest}`}`;
}

/**
 * Does a built-in name (`nginx`, `hashicorp/http-echo`) stand for this reference? It matches at the end of the repository's path behind any
 * registry, so that mirrors work; on Docker Hub `somebody/nginx` is somebody's own image and no match.
 */
export function matchesName(name: string, { registry, repository }: Reference): boolean {
  if (name.includes(".") && name.split("/")[0]?.includes(".") === true) return `${registry}/${repository}` === name;
  const official = repository.replace(/^library\//, "");
  if (official === name) return true;
  return registry !== "docker.io" && repository.endsWith(`/${name}`);
}
