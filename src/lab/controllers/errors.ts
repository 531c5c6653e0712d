// The API's refusals as controllers meet them.

import { StatusError } from "../api/store.ts";

/** What an error says, for Events and conditions. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** The API refuses to create in a namespace that is being deleted (403, apiserver plugin/namespace/lifecycle). */
export function isNamespaceTerminating(error: unknown): boolean {
  return error instanceof StatusError && error.code === 403 && error.message.includes("being terminated");
}

/** Somebody else wrote first. */
export function isConflict(error: unknown): boolean {
  return error instanceof StatusError && error.code === 409 && error.reason === "Conflict";
}
