// The serial of the cluster's zone for those who copy it: larger with each change (RFC 1982), in seconds since 1970 as CoreDNS has it, so it
// grows over restarts too. Several changes between two looks are one.

import type { Zone } from "../../program/zone.ts";

/** The serial of a zone that was asked for now. */
export function createZoneSerial(): (zone: Zone) => number {
  let seen: Zone | undefined;
  let serial = 0;
  return (zone) => {
    if (zone !== seen) {
      seen = zone;
      serial = Math.max(serial + 1, Math.floor(Date.now() / 1000)) % 2 ** 32;
    }
    return serial;
  };
}
