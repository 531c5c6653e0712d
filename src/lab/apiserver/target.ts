// What a request is about: its verb and the resource, namespace and name in its path (apiserver endpoints/request RequestInfo).
//
// Not here: whether the resource exists (kinds.ts) and whether the request is allowed (hooks.ts).

/** A request's target. Paths outside of /api and /apis have no resource. */
export interface Target {
  /** `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`; other paths have the method in small letters. */
  readonly verb: string;
  readonly method: string;
  /** The path alone, as it was sent. */
  readonly path: string;
  readonly query: URLSearchParams;
  /** Is it about a resource (`/api/v1/…`, `/apis/GROUP/VERSION/…`)? */
  readonly isResource: boolean;
  /** The empty string for the core group. */
  readonly group: string;
  readonly version: string;
  /** The plural: `pods`. */
  readonly resource: string;
  readonly namespace: string | undefined;
  readonly name: string | undefined;
  readonly subresource: string | undefined;
  /** Path segments behind the subresource (`proxy/a/b` gives `["a", "b"]`). */
  readonly rest: readonly string[];
}

const verbs: { readonly [method: string]: readonly [one: string, all: string] } = {
  GET: ["get", "list"],
  HEAD: ["get", "list"],
  POST: ["create", "create"],
  PUT: ["update", "update"],
  PATCH: ["patch", "patch"],
  DELETE: ["delete", "deletecollection"],
};

/** Subresources of namespaces; any other word behind a namespace's name is a resource in it. */
const namespaceSubresources = new Set(["status", "finalize"]);

/** Reads a request line. Undefined where the path cannot be read (bad percent escapes, a NUL, `.` or `..` as a name). */
export function parseTarget(method: string, url: string): Target | undefined {
  const question = url.indexOf("?");
  const path = question < 0 ? url : url.slice(0, question);
  const query = new URLSearchParams(question < 0 ? "" : url.slice(question + 1));
  const parts = segmentsOf(path);
  if (parts === undefined) return undefined;
  const other: Target = {
    verb: method.toLowerCase(),
    method,
    path,
    query,
    isResource: false,
    group: "",
    version: "",
    resource: "",
    namespace: undefined,
    name: undefined,
    subresource: undefined,
    rest: [],
  };
  const [root, first = "", second = ""] = parts;
  if (root === "api" && parts.length > 2)
    return resourceTarget({ ...other, group: "", version: first }, parts.slice(2));
  if (root === "apis" && parts.length > 3)
    return resourceTarget({ ...other, group: first, version: second }, parts.slice(3));
  return other;
}

function segmentsOf(path: string): readonly string[] | undefined {
  try {
    const parts = path.split("/").slice(1).map(decodeURIComponent);
    if (parts.at(-1) === "") parts.pop();
    return parts.some((part) => part.includes("\0")) ? undefined : parts;
  } catch {
    return undefined;
  }
}

function resourceTarget(base: Target, given: readonly string[]): Target | undefined {
  // The old way to say watch: /api/v1/watch/pods.
  const isOldWatch = given[0] === "watch" && given.length > 1;
  let parts = isOldWatch ? given.slice(1) : given;
  let namespace: string | undefined;
  if (parts[0] === "namespaces" && parts[1] !== undefined) {
    namespace = parts[1];
    if (parts[2] !== undefined && !namespaceSubresources.has(parts[2])) parts = parts.slice(2);
  }
  const [resource = "", name, subresource, ...rest] = parts;
  if (subresource !== "proxy" && [resource, name, subresource].some((part) => part === "." || part === ".."))
    return undefined;
  const [one, all] = verbs[base.method] ?? [base.verb, base.verb];
  const isWatch = base.method === "GET" && (isOldWatch || isTrue(base.query.get("watch")));
  const verb = isWatch && subresource === undefined ? "watch" : name === undefined ? all : one;
  return {
    ...base,
    isResource: true,
    verb,
    resource,
    // A namespace lies in itself, as authorisation sees it.
    namespace: namespace === "" ? undefined : namespace,
    name: name === "" ? undefined : name,
    subresource,
    rest,
  };
}

/** `true` and `1`, as Go's strconv.ParseBool; also the parameter without a value. */
export function isTrue(value: string | null): boolean {
  return value !== null && ["", "1", "t", "T", "true", "TRUE", "True"].includes(value);
}
