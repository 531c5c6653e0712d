// The options of `file` and `transfer`: zones that this server has itself, from files, and who may have whole zones; and where `root` says
// that files are.
//
// Not here: reading the files (zone-files.ts), sending zones (transfer.ts), which only servers load that have some.

import { posix } from "node:path";

import { parseAddress, type Address } from "../../ip/address.ts";
import type { DnsName } from "../../wire/dns/name.ts";
import {
  bare,
  durationMs,
  errorAt,
  optionsOf,
  single,
  some,
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

/** `transfer [ZONES…] { to ADDRESS… | * }` */
export interface TransferConfig {
  readonly zones: readonly DnsName[];
  /** May everybody have them? */
  readonly toAll: boolean;
  /** Who may, and is told when a zone is another. */
  readonly hosts: readonly TransferHost[];
  /** Where that is told from; undefined: the address that leads there. */
  readonly source: Address | undefined;
}

export interface TransferHost {
  readonly address: Address;
  readonly port: number;
}

/** Throws CorefileError. */
export function parseTransfer(directive: Directive, blockZones: readonly DnsName[]): TransferConfig {
  const hosts: TransferHost[] = [];
  let toAll = false;
  let source: Address | undefined;
  for (const option of optionsOf(directive)) {
    switch (option.name) {
      case "to":
        for (const word of some(option)) {
          if (word === "*") toAll = true;
          else hosts.push(hostOf(word, option));
        }
        break;
      case "source": {
        const word = single(option);
        if (source !== undefined) throw errorAt(option, "transfer: source stands twice");
        source = parseAddress(word);
        if (source === undefined) throw errorAt(option, `transfer: source "${word}" is no address`);
        break;
      }
      default:
        throw unknownOption("transfer", option);
    }
  }
  if (!toAll && hosts.length === 0)
    throw errorAt(directive, "transfer needs `to`: addresses that may have the zones, or *");
  return { zones: zonesFrom(directive.words, blockZones, directive), toAll, hosts, source };
}

// `192.0.2.1`, `192.0.2.1:5300`, `2001:db8::1`, `[2001:db8::1]:5300`
function hostOf(word: string, option: Directive): TransferHost {
  const whole = parseAddress(word);
  if (whole !== undefined) return { address: whole, port: 53 };
  const [, text = "", port = "53"] = /^\[([^\]]+)\](?::(\d+))?$/.exec(word) ?? /^([^:]+):(\d+)$/.exec(word) ?? [];
  const address = parseAddress(text);
  if (address === undefined || !(Number(port) > 0 && Number(port) < 65_536))
    throw errorAt(option, `transfer: "${word}" is no address, ADDRESS:PORT or *`);
  return { address, port: Number(port) };
}

/** Where a file is that a Corefile names. */
export function belowRoot(root: string | undefined, path: string): string {
  return root === undefined || posix.isAbsolute(path) ? path : posix.join(root, path);
}
