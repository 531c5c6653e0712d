// Names and hashes in Kubernetes' alphabet, which spells no words and no numbers (apimachinery util/rand).

const alphabet = "bcdfghjklmnpqrstvwxz2456789";
// apiserver names.SimpleNameGenerator: a name has 63 characters, five of them random.
const longestBase = 58;

/** `base` with five random characters behind it. */
export function generateName(base: string, random: () => number): string {
  let name = base.slice(0, longestBase);
  for (let i = 0; i < 5; i++) name += alphabet[Math.floor(random() * alphabet.length)] ?? "x";
  return name;
}

/** A short hash of any JSON value (32 bits of FNV-1a over canonical JSON), as pod-template-hash and revisions use it. */
export function hashOf(value: unknown): string {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(canonicalJson(value))) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
  // rand.SafeEncodeString: each decimal digit stands for a letter.
  return String(hash).replaceAll(/\d/g, (digit) => alphabet[digit.charCodeAt(0) % alphabet.length] ?? digit);
}

/** JSON with sorted keys, without null and undefined fields: equal objects give equal text. */
export function canonicalJson(value: unknown): string {
  return JSON.stringify(value, (_key, part: unknown) => {
    if (part === null) return undefined;
    if (typeof part !== "object" || Array.isArray(part)) return part;
    return Object.fromEntries(Object.entries(part).sort(([a], [b]) => (a < b ? -1 : 1)));
  });
}
