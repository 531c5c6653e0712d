// Ranges of addresses that mean something else than a machine elsewhere (RFC 6890, RFC 4291).

import type { Prefix } from "./prefix.ts";

/** What no packet between machines may carry, or what only one link may. */
export const reservedRanges: readonly { readonly range: Prefix; readonly what: string }[] = [
  { range: "0.0.0.0/8", what: "this network (RFC 1122)" },
  { range: "127.0.0.0/8", what: "loopback" },
  { range: "169.254.0.0/16", what: "link-local" },
  { range: "224.0.0.0/3", what: "multicast and reserved" },
  { range: "::/127", what: "unspecified and loopback" },
  { range: "fe80::/10", what: "link-local" },
  { range: "ff00::/8", what: "multicast" },
];
