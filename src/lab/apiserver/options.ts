// The options of requests (meta/v1 CreateOptions, UpdateOptions, PatchOptions, DeleteOptions, ListOptions): those that every write has,
// and how a wrong one is refused (apimachinery meta/v1/validation, meta/internalversion/validation).
//
// Not here: what deletions and watches read besides (write.ts, watch.ts).

import { invalid, notSupported, problemText, tooLong, type FieldProblem } from "../../kube/problem.ts";
import { StatusError } from "../api/store.ts";
import type { FieldValidation } from "./body.ts";
import type { Exchange } from "./exchange.ts";

export type OptionsKind = "CreateOptions" | "UpdateOptions" | "PatchOptions" | "DeleteOptions" | "ListOptions";

/** 422. */
export function invalidOptions(kind: OptionsKind, problem: FieldProblem): StatusError {
  const message = `${kind}.meta.k8s.io "" is invalid: ${problemText(problem)}`;
  return new StatusError(422, "Invalid", message, { group: "meta.k8s.io", kind, causes: [problem] });
}

/** The options of a request by its method. */
export function optionsKindOf(method: string | undefined): OptionsKind {
  return optionsKinds[method ?? ""] ?? "CreateOptions";
}

const optionsKinds: { readonly [method: string]: OptionsKind } = {
  PUT: "UpdateOptions",
  PATCH: "PatchOptions",
  DELETE: "DeleteOptions",
};

/** Do these values of `dryRun` ask for one? Throws StatusError 422. */
export function isDryRun(values: readonly unknown[], kind: OptionsKind): boolean {
  for (const value of values) if (value !== "All") throw invalidOptions(kind, notSupported("dryRun", values, ["All"]));
  return values.length > 0;
}

/** Does a request ask for a dry run in its query? Throws StatusError 422. */
export function asksDryRun({ request, target }: Pick<Exchange, "request" | "target">): boolean {
  return isDryRun(target.query.getAll("dryRun"), optionsKindOf(request.method));
}

/** The query's `fieldValidation`; Warn where it says nothing. Throws StatusError 422. */
export function fieldValidationOf(query: URLSearchParams, kind: OptionsKind): FieldValidation {
  const given = query.get("fieldValidation") ?? "";
  if (given === "") return "Warn";
  if (given === "Strict" || given === "Warn" || given === "Ignore") return given;
  throw invalidOptions(kind, notSupported("fieldValidation", given, ["", "Ignore", "Strict", "Warn"]));
}

/** Who is remembered for a write: the query's `fieldManager`, else the user agent's first word. Throws StatusError 422. */
export function managerName(given: string | null, userAgent: string | undefined, kind: OptionsKind): string {
  if (given !== null && given !== "") {
    if (Buffer.byteLength(given) > managerBytesMax)
      throw invalidOptions(kind, tooLong("fieldManager", managerBytesMax));
    if (!/^\P{C}*$/u.test(given))
      throw invalidOptions(kind, invalid("fieldManager", given, "should only contain printable characters"));
    return given;
  }
  const name = (userAgent ?? "").split("/", 1)[0]?.replace(/\p{C}/gu, "") ?? "";
  return name === "" ? "unknown" : name.slice(0, managerBytesMax);
}

// meta/v1/validation FieldManagerMaxLength
const managerBytesMax = 128;
