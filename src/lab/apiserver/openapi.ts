import type { Kinds } from "../api/kinds.ts";
import type { Document } from "./discovery.ts";
export function openApi(
  _kinds: Kinds,
  _path: string,
  _query: URLSearchParams,
  _accept: string | undefined,
): Promise<Document | undefined> {
  return Promise.resolve(undefined);
}
