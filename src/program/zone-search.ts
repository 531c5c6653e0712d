// What a C library's resolver does with a name before it asks: the search list and `ndots` of resolv.conf(5).

import type { DnsName } from "../wire/dns/name.ts";

/**
 * The names that are tried, in order, without final dots: the resolver goes on to the next after NXDOMAIN or NODATA.
 * A name with a final dot is tried alone; one with at least `ndots` dots is tried as it is first, others last (resolv.conf(5), glibc and musl;
 * musl does not try it as it is first and then the list: it takes one of the two).
 */
export function expandSearch(name: DnsName, search: readonly DnsName[], ndots: number): DnsName[] {
  if (name.endsWith(".")) return [name.slice(0, -1)];
  const listed = search.map((domain) => `${name}.${domain.replace(/\.$/, "")}`);
  const dots = name.split(".").length - 1;
  return dots >= ndots ? [name, ...listed] : [...listed, name];
}
