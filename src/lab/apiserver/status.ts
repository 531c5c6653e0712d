// Errors as answers: meta/v1 Status. What is thrown as a StatusError keeps its words; anything else is ours to be ashamed of (500).
//
// Not here: which errors there are (api/errors.ts).

import { StatusError } from "../api/store.ts";
import type { Kind } from "../api/kinds.ts";

/** meta/v1 Status. */
export interface Status {
  readonly kind: "Status";
  readonly apiVersion: "v1";
  readonly metadata: object;
  readonly status: "Success" | "Failure";
  readonly message?: string;
  readonly reason?: string;
  readonly details?: object;
  /** What was asked for and done has none. */
  readonly code?: number;
}

/** A Status of an error. */
export type Failure = Status & { readonly code: number };

/** The Status of an error. `unexpected` hears of errors that are not StatusErrors. */
export function statusOf(error: unknown, unexpected: (error: unknown) => void): Failure {
  if (!(error instanceof StatusError)) {
    unexpected(error);
    const message = error instanceof Error ? error.message : String(error);
    return failure(500, "InternalError", `Internal error occurred: ${message}`, {
      causes: [{ message }],
    });
  }
  const { code, reason, message, details } = error;
  const status = failure(code, reason, message, details);
  return error instanceof ExpiredContinue ? { ...status, metadata: { continue: error.continue } } : status;
}

class ExpiredContinue extends StatusError {
  readonly continue: string;

  constructor(message: string, other: string) {
    super(410, "Expired", message);
    this.continue = other;
  }
}

/** 410 of a page asked for too late, with the way on (apiserver etcd3 handleExpiredKeyError). */
export function expiredContinue(other: string): StatusError {
  return new ExpiredContinue(
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without " +
      "the continue parameter, or use the continue token in this response to retrieve the remainder of the results. " +
      "Continuing with the provided token results in an inconsistent list - objects that were created, modified, or " +
      "deleted between the time the first chunk was returned and now may show up in the list.",
    other,
  );
}

const detailed: ReadonlySet<number> = new Set([404, 405, 406, 415, 422]);

function failure(code: number, reason: string, message: string, details: object): Failure {
  // apimachinery api/errors: answers of these codes have details even where there are none.
  const hasDetails = detailed.has(code) || Object.keys(details).length > 0;
  return {
    kind: "Status",
    apiVersion: "v1",
    metadata: {},
    status: "Failure",
    message,
    reason,
    ...(hasDetails ? { details } : {}),
    code,
  };
}

/** What a finished deletion answers. */
export function deletedStatus({ group, resource }: Kind, name: string, uid: string | undefined): Status {
  const details = { name, ...(group === "" ? {} : { group }), kind: resource, ...(uid === undefined ? {} : { uid }) };
  return { kind: "Status", apiVersion: "v1", metadata: {}, status: "Success", details };
}

/** 404 of a path that names no resource. */
export function noSuchResource(): StatusError {
  return new StatusError(404, "NotFound", "the server could not find the requested resource");
}

/** 405. */
export function methodNotAllowed(): StatusError {
  return new StatusError(405, "MethodNotAllowed", "the server does not allow this method on the requested resource");
}

/** 415. */
export function unsupportedMedia(contentType: string, supported: readonly string[]): StatusError {
  const list = supported.join(", ");
  const message = `the body of the request was in an unknown format - accepted media types include: ${list} (it was ${JSON.stringify(contentType)})`;
  return new StatusError(415, "UnsupportedMediaType", message);
}

/** 406. */
export function notAcceptable(supported: readonly string[]): StatusError {
  const message = `406: Not Acceptable\n\nAvailable representations: ${supported.join(", ")}`;
  return new StatusError(406, "NotAcceptable", message);
}

/** 504 in the shape that makes clients ask again: they know a newer state than we do. */
export function tooLargeResourceVersion(given: number, current: number): StatusError {
  const message = `Timeout: Too large resource version: ${given}, current: ${current}`;
  return new StatusError(504, "Timeout", message, {
    causes: [{ reason: "ResourceVersionTooLarge", message: "Too large resource version" }],
    retryAfterSeconds: 1,
  });
}
