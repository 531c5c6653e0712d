// The `bind` plugin: addresses, or interfaces of the pod by name.

import { networkInterfaces } from "node:os";

import { parseAddress, type Address } from "../../ip/address.ts";
import type { NetworkNamespace } from "../../kernel/namespaces.ts";

/** Where to listen; undefined is every address. Throws where an interface has none. */
export function bindAddresses(namespace: NetworkNamespace, words: readonly string[]): readonly (Address | undefined)[] {
  if (words.length === 0) return [undefined];
  return words.flatMap((word) => {
    const address = parseAddress(word);
    if (address !== undefined) return address === "0.0.0.0" || address === "::" ? [undefined] : [address];
    // Link-local addresses would need their interface to be of use; nobody asks a server by them.
    const found = (namespace.run(() => networkInterfaces())[word] ?? [])
      .map((each) => each.address)
      .filter((each) => !each.startsWith("fe80:"));
    if (found.length === 0) throw new Error(`bind ${word}: that is neither an address nor an interface with one`);
    return found;
  });
}
