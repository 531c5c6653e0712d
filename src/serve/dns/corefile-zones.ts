// The options of `file`: zones that this server has itself, from files, and where `root` says that files are.
//
// Not here: reading the files (zone-files.ts), which only servers load that have some.

import { posix } from "node:path";

import type { DnsName } from "../../wire/dns/name.ts";
import {
  bare,
  durationMs,
  errorAt,
  optionsOf,
  single,
  unknownOption,
  zonesFrom,
  type Fallthrough,
} from "./corefile-plugins.ts";
import type { Directive, Place } from "./corefile-tokens.ts";

/** `file DBFILE [ZONES…] { … }` */
export interface FileConfig {
  /** As the Corefile has it; below `root` where it is relative. */
  readonly path: string;
  readonly zones: readonly DnsName[];
  /** Milliseconds between looks at the file; 0: never. */
  readonly reloadMs: number;
  /** Is every change of the file one of the zone, or only another serial? */
  readonly anyChange: boolean;
  readonly fallthrough: Fallthrough;
  readonly place: Place;
}

/** Throws CorefileError. */
export function parseFile(directive: Directive, blockZones: readonly DnsName[]): FileConfig {
  const [path, ...zones] = directive.words;
  if (path === undefined) throw errorAt(directive, "file takes DBFILE [ZONES…]: the path of a zone file is missing");
  let reloadMs = 60_000;
  let anyChange = false;
  let fallthrough: Fallthrough = [];
  for (const option of optionsOf(directive)) {
    switch (option.name) {
      case "reload":
        reloadMs = durationMs(single(option), option);
        break;
      case "reload_by_mtime":
        bare(option);
        anyChange = true;
        break;
      case "fallthrough":
        fallthrough = zonesFrom(option.words, ["."], option);
        break;
      // CoreDNS reads it and does nothing with it: aliases are always followed.
      case "upstream":
        break;
      default:
        throw unknownOption("file", option);
    }
  }
  const { file, line } = directive;
  return {
    path,
    zones: zonesFrom(zones, blockZones, directive),
    reloadMs,
    anyChange,
    fallthrough,
    place: { file, line },
  };
}

/** Where a file is that a Corefile names. */
export function belowRoot(root: string | undefined, path: string): string {
  return root === undefined || posix.isAbsolute(path) ? path : posix.join(root, path);
}
