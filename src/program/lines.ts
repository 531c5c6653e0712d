// The entries of a Program as lines of text: what format.ts prints and diff.ts compares. One line an entry, each with a key that says which
// entry it is and the origin of the object that caused it.

import type { Origin } from "../kube/object.ts";
import { plainNamer, type Namer } from "./names.ts";
import type { ForwardingEntry, Link, LinkAddress, Neighbour, Program, Route, Sysctl } from "./program.ts";

/** The parts of a Program in the order they are printed. */
export const programParts = ["sysctls", "links", "addresses", "routes", "neighbours", "forwarding"] as const;
export type ProgramPart = (typeof programParts)[number];

/** One entry in the syntax of `ip`, `bridge` and `sysctl`. */
export interface Line {
  readonly part: ProgramPart | "tables";
  /** Unique in the Program. */
  readonly key: string;
  readonly text: string;
  readonly origin: Origin;
}

/** The lines of one part. */
export function partLines(program: Program, part: ProgramPart, namer: Namer = plainNamer): readonly Line[] {
  switch (part) {
    case "sysctls":
      return program.sysctls.map((entry) => line(part, entry.path, sysctlText(entry), entry));
    case "links":
      return program.links.map((entry) => line(part, entry.name, linkText(entry, namer), entry));
    case "addresses":
      return program.addresses.map((entry) =>
        line(part, `${entry.link} ${entry.address}`, addressText(entry, namer), entry),
      );
    case "routes":
      return program.routes.map((entry) => line(part, `${entry.to} ${entry.metric}`, routeText(entry, namer), entry));
    case "neighbours":
      return program.neighbours.map((entry) =>
        line(part, `${entry.link} ${entry.address}`, neighbourText(entry, namer), entry),
      );
    case "forwarding":
      return program.forwarding.map((entry) =>
        line(part, `${entry.link} ${entry.mac} ${entry.remote ?? ""}`.trimEnd(), forwardingText(entry, namer), entry),
      );
  }
}

function line(part: ProgramPart, key: string, text: string, { origin }: { readonly origin: Origin }): Line {
  return { part, key, text, origin };
}

/** `net/ipv4/ip_forward = 1` */
function sysctlText({ path, value }: Sysctl): string {
  return `${path} = ${value}`;
}

/** As `ip -d link` says it. */
function linkText(link: Link, { word }: Namer): string {
  switch (link.kind) {
    case "bridge":
      return `${link.name} type bridge address ${word(link.mac)} mtu ${link.mtu}`;
    case "vxlan":
      return (
        `${link.name} type vxlan id ${link.vni} dstport ${link.port} local ${word(link.local)} nolearning ` +
        `address ${word(link.mac)} mtu ${link.mtu}`
      );
    case "pod":
      return `${word(link.name)} master ${link.bridge} isolated on mtu ${link.mtu}`;
    case "uplink":
      return `${link.name} mtu ${link.mtu}`;
  }
}

function addressText({ address, bits, link }: LinkAddress, { word }: Namer): string {
  return `${word(address)}/${bits} dev ${link}`;
}

/** As `ip route` says it. */
export function routeText(route: Route, { word }: Namer = plainNamer): string {
  const words = route.action === "unreachable" ? ["unreachable", word(route.to)] : [word(route.to)];
  if (route.via !== undefined) words.push("via", word(route.via));
  if (route.link !== undefined) words.push("dev", route.link);
  if (route.source !== undefined) words.push("src", word(route.source));
  words.push("metric", String(route.metric));
  if (route.mtu !== undefined) words.push("mtu", String(route.mtu));
  if (route.onlink === true) words.push("onlink");
  return words.join(" ");
}

/** As `ip neighbour` says it. */
function neighbourText({ address, link, mac }: Neighbour, { word }: Namer): string {
  return `${word(address)} dev ${link} lladdr ${word(mac)} PERMANENT`;
}

/** As `bridge fdb` says it. */
function forwardingText({ link, mac, remote }: ForwardingEntry, { word }: Namer): string {
  return remote === undefined
    ? `${word(mac)} dev ${word(link)} master static`
    : `${word(mac)} dev ${word(link)} dst ${word(remote)} self permanent`;
}
