// `acl [ZONES…] { allow|block|filter|drop [type TYPE…] [net SOURCE…] }`: who may ask what. Rules are read and acted upon here.
//
// As in CoreDNS the first line that fits decides, in each `acl` of the name; without one, everybody may ask.

import { parsePrefix, contains, hostPrefix, type Prefix } from "../../ip/prefix.ts";
import { familyOf, parseAddress, type Address } from "../../ip/address.ts";
import { rcodes } from "../../wire/dns/message.ts";
import { isWithin, type DnsName } from "../../wire/dns/name.ts";
import { recordTypeNumber } from "../../wire/dns/record.ts";
import { errorAt, optionsOf, zonesFrom } from "./corefile-plugins.ts";
import type { Directive } from "./corefile-tokens.ts";

export interface AclConfig {
  readonly zones: readonly DnsName[];
  readonly rules: readonly AclRule[];
}

interface AclRule {
  readonly action: (typeof actions)[number];
  /** Undefined: all. */
  readonly types: ReadonlySet<number> | undefined;
  readonly sources: readonly Prefix[] | undefined;
}

const actions = ["allow", "block", "filter", "drop"] as const;

/** An outcome without a response. */
export const silence = -1;

/** Throws CorefileError. */
export function parseAcl(directive: Directive, blockZones: readonly DnsName[]): AclConfig {
  const rules = optionsOf(directive).map((option): AclRule => {
    const action = actions.find((each) => each === option.name.toLowerCase());
    if (action === undefined) throw errorAt(option, `acl: "${option.name}" is none of ${actions.join(", ")}`);
    let types: Set<number> | undefined;
    let sources: Prefix[] | undefined;
    const words = [...option.words];
    while (words.length > 0) {
      const section = words.shift()?.toLowerCase() ?? "";
      const end = words.findIndex((word) => /^(type|net)$/i.test(word));
      const own = words.splice(0, end < 0 ? words.length : end);
      if (section !== "type" && section !== "net") throw errorAt(option, `acl: "${section}" is neither type nor net`);
      if (own.length === 0) throw errorAt(option, `acl: ${section} needs a value`);
      // A star is everything, whatever stands beside it.
      if (own.includes("*")) continue;
      if (section === "type") types = new Set([...(types ?? []), ...own.map((word) => typeOf(word, option))]);
      else sources = [...(sources ?? []), ...own.map((word) => sourceOf(word, option))];
    }
    return { action, types, sources };
  });
  return { zones: zonesFrom(directive.words, blockZones, directive), rules };
}

function typeOf(word: string, option: Directive): number {
  const type = recordTypeNumber(word);
  if (type === undefined) throw errorAt(option, `acl: "${word}" is no type of records`);
  return type;
}

function sourceOf(word: string, option: Directive): Prefix {
  const address = parseAddress(word);
  const prefix = address === undefined ? parsePrefix(word) : hostPrefix(address);
  if (prefix === undefined) throw errorAt(option, `acl: "${word}" is no address and no range of addresses`);
  return prefix;
}

/** Does it matter for this name who asks? */
export function isGuarded(acls: readonly AclConfig[], name: DnsName): boolean {
  return acls.some(({ zones }) => zones.some((zone) => isWithin(name, zone)));
}

/** REFUSED (`block`), NOERROR without anything (`filter`), `silence` (`drop`), or undefined where the question may be asked. */
export function refusalOf(
  acls: readonly AclConfig[],
  { name, type }: { readonly name: DnsName; readonly type: number },
  client: Address,
): number | undefined {
  for (const { zones, rules } of acls) {
    if (!zones.some((zone) => isWithin(name, zone))) continue;
    const rule = rules.find(
      ({ types, sources }) => (types?.has(type) ?? true) && (sources?.some((source) => holds(source, client)) ?? true),
    );
    switch (rule?.action) {
      case "allow":
        return undefined;
      case "block":
        return rcodes.REFUSED;
      case "filter":
        return rcodes.NOERROR;
      case "drop":
        return silence;
      case undefined:
    }
  }
  return undefined;
}

function holds(source: Prefix, client: Address): boolean {
  const plain = client.replace(/%.*$/, "");
  return familyOf(plain) === (source.includes(":") ? 6 : 4) && contains(source, plain);
}
