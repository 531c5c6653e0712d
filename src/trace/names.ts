// From a name to addresses, as the client's resolver does it: the search list in order, each name asked of the cluster's zone.

import { familyOf, type Address } from "../ip/address.ts";
import type { Origin } from "../kube/object.ts";
import { expandSearch } from "../program/zone-search.ts";
import { lookup } from "../program/zone-lookup.ts";
import { lowerName } from "../wire/dns/name.ts";
import { nameCauses } from "./name-causes.ts";
import type { Step } from "./trace.ts";
import type { Start } from "./walk.ts";
import type { World } from "./world.ts";

/** The addresses a name gives to this client, IPv4 first, and the names tried on the way. Names of others end as `elsewhere`. */
export function resolveName(world: World, start: Start, host: string): Step & { kind: "name" } {
  const written = inHostsFile(world, start, host);
  if (written !== undefined) return written;
  const elsewhere = askedElsewhere(world, start, host);
  if (elsewhere !== undefined) return elsewhere;
  const tried: string[] = [];
  let rcode = "NXDOMAIN";
  for (const name of namesFor(world, start, host)) {
    tried.push(name);
    const answers: Address[] = [];
    let origin: Origin | undefined;
    let known = false;
    for (const type of ["A", "AAAA"] as const) {
      const found = lookup(world.zone, name, type);
      if (found === undefined) continue;
      known = true;
      if (found.rcode !== "NXDOMAIN") rcode = found.continueAt === undefined ? "NOERROR" : `CNAME ${found.continueAt}`;
      origin ??= found.origin;
      if (found.continueAt !== undefined) answers.push(...saidByOthers(world, found.continueAt, type));
      for (const record of found.answers) {
        if (record.data.kind !== "A" && record.data.kind !== "AAAA") continue;
        origin = record.origin;
        answers.push(record.data.address);
      }
    }
    if (!known) for (const type of ["A", "AAAA"] as const) answers.push(...saidByOthers(world, name, type));
    if (answers.length > 0 && !known) rcode = othersCode;
    if (answers.length > 0 || rcode.startsWith("CNAME")) {
      const once = isAskedOnce(world, start, tried) ? { askedOnce: true as const } : {};
      return { kind: "name", question: host, tried, answers, rcode, ...once, ...(origin && { origin }) };
    }
    if (!known) rcode = "asked of the upstream resolvers, not of the cluster";
  }
  const causes = nameCauses(world, start, host);
  return { kind: "name", question: host, tried, answers: [], rcode, ...(causes.length > 0 && { causes }) };
}

function saidByOthers(world: World, name: string, type: "A" | "AAAA"): readonly Address[] {
  const family = type === "A" ? 4 : 6;
  return (world.others?.get(lowerName(name)) ?? []).filter((address) => familyOf(address) === family);
}

/** The `rcode` of names that others' servers answered. */
export const othersCode = "by the upstream resolvers";

/** The `rcode` of names that nobody needs to be asked for. */
export const hostsFileCode = "in /etc/hosts";

function inHostsFile(world: World, start: Start, host: string): (Step & { kind: "name" }) | undefined {
  const name = host.toLowerCase();
  const loopback = name === "localhost" ? ["127.0.0.1", "::1"] : undefined;
  const answers = start.kind === "pod" ? world.resolver(start.pod).hosts.get(name) : loopback;
  if (answers === undefined) return undefined;
  return { kind: "name", question: host, tried: [host], answers, rcode: hostsFileCode };
}

// A hostNetwork pod with ClusterFirst is the one that people meet: it asks its machine's servers, which never heard of the cluster.
function askedElsewhere(world: World, start: Start, host: string): (Step & { kind: "name" }) | undefined {
  if (start.kind !== "pod") return undefined;
  const { servers } = world.resolver(start.pod);
  if (servers?.some((server) => world.network.cluster.dnsAddresses.includes(server)) === true) return undefined;
  const rcode = `asked of ${servers?.join(", ") ?? `the resolvers of ${start.pod.node}`}, not of cluster DNS`;
  const origin = { ...start.pod.origin, field: servers === undefined ? "spec.dnsPolicy" : "spec.dnsConfig" };
  const text = "in its node's network a pod asks cluster DNS with dnsPolicy ClusterFirstWithHostNet only";
  const causes = start.pod.hostNetwork ? { causes: [{ text, origin }] } : {};
  return { kind: "name", question: host, tried: [host], answers: [], rcode, origin, ...causes };
}

// Autopath knows a client by its own address, and the list by its namespace.
function isAskedOnce(world: World, start: Start, tried: readonly string[]): boolean {
  if (world.autopath !== true || start.kind !== "pod" || start.pod.hostNetwork || tried.length < 2) return false;
  return tried[0]?.endsWith(`.${start.pod.namespace}.svc.${world.zone.settings.domain}`) === true;
}

// Nodes and the outside do not ask cluster DNS by search list; a full name they may still be asked to explain.
function namesFor(world: World, start: Start, host: string): readonly string[] {
  if (start.kind !== "pod") return [host.replace(/\.$/, "")];
  const { search, ndots } = world.resolver(start.pod);
  return expandSearch(host, search, ndots);
}
