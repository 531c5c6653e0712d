// What a plugin says: results and errors as CNI's JSON, in the version the configuration asks for (CNI SPEC section 5).
//
//   version        ips[].version   interfaces[].mtu
//   0.3.0 – 0.4.0  "4" or "6"      –
//   1.0.0          –               –
//   1.1.0          –               yes

import { familyOf } from "../../ip/address.ts";
import type { CniError, CniResult } from "./cni.ts";
import { arrayAt, cniVersions, isObject, type CniVersion, type JsonObject } from "./request.ts";

/**
 * The result of an ADD: what the plugins before gave, then ours (section 3: what was given is passed on). `netns` is named as the runtime named it.
 * Throws CniError 6 for a previous result that is none.
 */
export function successResult(
  result: CniResult,
  { version, netns, before, dns }: { version: CniVersion; netns: string; before: JsonObject | undefined; dns: unknown },
): JsonObject {
  const previous = before ?? {};
  const interfacesBefore = arrayAt(previous, "interfaces");
  const familyNamed = cniVersions.indexOf(version) < cniVersions.indexOf("1.0.0");
  // Go's plugins write an empty `dns` where they have nothing to say.
  const said = previous["dns"];
  const names = isObject(said) && Object.keys(said).length > 0 ? said : dns;
  return {
    ...previous,
    cniVersion: version,
    interfaces: [
      ...interfacesBefore,
      ...result.interfaces.map(({ name, mac, mtu, sandbox }) => ({
        name,
        mac,
        ...(version === "1.1.0" && { mtu }),
        ...(sandbox !== undefined && { sandbox: netns }),
      })),
    ],
    ips: [
      ...arrayAt(previous, "ips"),
      ...result.ips.map(({ address, bits, gateway, interface: index }) => ({
        ...(familyNamed && { version: String(familyOf(address)) }),
        interface: interfacesBefore.length + index,
        address: `${address}/${bits}`,
        gateway,
      })),
    ],
    routes: [...arrayAt(previous, "routes"), ...result.routes],
    dns: isObject(names) ? names : {},
  };
}

/** The result of VERSION. */
export function versionResult(version: string): JsonObject {
  return { cniVersion: version, supportedVersions: cniVersions };
}

/** The error object: `msg` is one line, `details` the likely cure. */
export function errorResult(error: CniError, version: CniVersion): JsonObject {
  return {
    cniVersion: version,
    code: error.code,
    msg: error.message,
    ...(error.details !== undefined && { details: error.details }),
  };
}
