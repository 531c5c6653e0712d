// Numbers that stand for names: each name its own, none used for two at once, whatever order they came in. A name's number is a hash of it;
// of names that hash alike none gets that number, all of them take a second hash from a range of its own, and so on. So a number never
// goes from one name straight to another, which would let packets of one pass as the other's while a change is on its way to the kernel.

import { createGroups } from "../model/table.ts";

/** A set of names with their numbers. */
export interface Numbers {
  /** True where other names' numbers changed with it. */
  add(name: string): boolean;
  remove(name: string): boolean;
  /** From `reserved` to 2^32 - 2; undefined where a name is not there, or where too many hash alike (then it goes without). */
  of(name: string): number | undefined;
}

/** Below this, numbers are nobody's: constants of rules. */
export const reservedNumbers = 16;

/** No names yet. `hash` gives 32 bits for a text and a salt. */
export function createNumbers(hash: (text: string, salt: number) => number = mixedHash): Numbers {
  // Level 0 has the numbers below 2^31, level 1 the next 2^30, and so on: two levels never meet.
  const levels = Array.from({ length: 8 }, () => createGroups<string>());
  const at = (name: string, level: number): number => {
    const size = 2 ** (31 - level);
    const first = 2 ** 32 - 2 * size;
    return first + reservedNumbers + (hash(name, level) % (size - 2 * reservedNumbers));
  };
  const bucket = (name: string, level: number): string => String(at(name, level));
  const descend = (name: string, from: number): boolean => {
    let moved = false;
    for (let level = from; level < levels.length; level++) {
      const groups = levels[level] as (typeof levels)[number];
      const key = bucket(name, level);
      const others = [...groups.get(key)];
      groups.add(key, name);
      if (others.length === 0) return moved;
      moved = true;
      if (others.length === 1) descend(others[0] as string, level + 1);
    }
    return moved;
  };
  const leave = (name: string, from: number): boolean => {
    let moved = false;
    for (let level = from; level < levels.length; level++) {
      const groups = levels[level] as (typeof levels)[number];
      const key = bucket(name, level);
      if (!groups.get(key).has(name)) break;
      groups.delete(key, name);
      const left = [...groups.get(key)];
      if (left.length === 0) break;
      moved = true;
      if (left.length === 1) leave(left[0] as string, level + 1);
    }
    return moved;
  };
  return {
    add: (name) => (levels[0]?.get(bucket(name, 0)).has(name) === true ? false : descend(name, 0)),
    remove: (name) => leave(name, 0),
    of(name) {
      for (const [level, groups] of levels.entries()) {
        const members = groups.get(bucket(name, level));
        if (!members.has(name)) return undefined;
        if (members.size === 1) return at(name, level);
      }
      return undefined;
    },
  };
}

/** FNV-1a with the finish of murmur3, so that texts that differ in one letter differ in every bit. */
export function mixedHash(text: string, salt: number): number {
  let value = 0x811c9dc5 ^ Math.imul(salt, 0x9e3779b1);
  for (let index = 0; index < text.length; index++) value = Math.imul(value ^ text.charCodeAt(index), 0x01000193);
  value = Math.imul(value ^ (value >>> 16), 0x85ebca6b);
  value = Math.imul(value ^ (value >>> 13), 0xc2b2ae35);
  return (value ^ (value >>> 16)) >>> 0;
}
