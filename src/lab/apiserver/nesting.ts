// How deep values may be nested. Whatever looks at an object calls itself for its parts: without a limit, a body of a few hundred kilobytes
// would use up the stack. Upstream's decoder refuses 10,000 levels (encoding/json: "exceeded max depth"); no kind has more than about 80.

import { badRequest } from "../api/errors.ts";

export const levelsMax: number = 500;

/** A value that was read from JSON text, itself. Throws StatusError 400 where it has more levels than are allowed. */
export function checkedNestingOf<T>(value: T, text: string): T {
  return opensAtMost(text, levelsMax) ? value : checkedNesting(value);
}

/** Has a text so few opening brackets, in quotes or out of them, that it cannot hold more levels? Most have, and to look is cheap. */
function opensAtMost(text: string, max: number): boolean {
  let open = 0;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if ((code === 0x5b || code === 0x7b) && ++open > max) return false;
  }
  return true;
}

/** The value itself. Throws StatusError 400 where it has more levels than are allowed. */
export function checkedNesting<T>(value: T): T {
  if (hasLevels(value, levelsMax + 1)) throw tooDeep();
  return value;
}

export function tooDeep(): Error {
  return badRequest(`exceeded max depth: objects and lists may be in one another up to ${levelsMax} levels`);
}

function hasLevels(value: unknown, count: number): boolean {
  if (typeof value !== "object" || value === null) return false;
  if (count === 1) return true;
  for (const name in value)
    if (hasLevels((value as { readonly [name: string]: unknown })[name], count - 1)) return true;
  return false;
}

/** More than any text holds that means something, in quotes or out of them. */
const openMax = 10_000;

/**
 * Has a text that many more opening brackets than closing ones, at any place? For languages whose parser takes seconds to find out that it
 * cannot go on (YAML).
 */
export function opensWithoutEnd(text: string): boolean {
  let open = 0;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === 0x5b || code === 0x7b) {
      if (++open > openMax) return true;
    } else if (code === 0x5d || code === 0x7d) open--;
  }
  return false;
}
