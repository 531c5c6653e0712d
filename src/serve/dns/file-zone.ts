// A zone as a file has it, and what it says to a question: RFC 1034 4.3.2 with wildcards (RFC 4592), DNAME (RFC 6672), delegations with
// their glue. Sections are filled as CoreDNS's `file` plugin does: the zone's servers beside every answer, the SOA beside "no" (RFC 2308).
//
// Not here: reading the file (wire/dns/zone-file.ts), when it is read again (zone-files.ts). Nothing is signed here: records of DNSSEC are
// told to those who ask for their type.

import { nameLabels, isWithin, labelsText, parentName, readName, type DnsName } from "../../wire/dns/name.ts";
import { rcodes } from "../../wire/dns/message.ts";
import { formatRecordData, recordTypes, typeOfData, type DnsRecord, type RecordData } from "../../wire/dns/record.ts";

export interface FileZone {
  /** In lower case, no final dot. */
  readonly origin: DnsName;
  readonly soa: SoaRecord;
  /** The zone's own servers. */
  readonly ns: readonly DnsRecord[];
  /** Records of each name by type, without the two above. */
  readonly names: ReadonlyMap<DnsName, Sets>;
  /** Names that exist because longer ones do (RFC 4592 2.2.2), and those that have records themselves. */
  readonly parents: ReadonlySet<DnsName>;
  /** All, for transfers: the SOA first and last, the zone's servers behind it. */
  readonly records: readonly DnsRecord[];
}

type Sets = ReadonlyMap<number, readonly DnsRecord[]>;
type SoaRecord = DnsRecord & { readonly data: Extract<RecordData, { readonly kind: "SOA" }> };

/** What a zone answers; `rcode` is one of `rcodes`, or YXDOMAIN. */
export interface FileAnswer {
  readonly rcode: number;
  /** False for a referral: the answer is another's to give. */
  readonly authoritative: boolean;
  readonly answers: readonly DnsRecord[];
  readonly authority: readonly DnsRecord[];
  readonly additional: readonly DnsRecord[];
  /** Is the next plugin to be asked instead, where `fallthrough` holds? Not where the name exists and has other types. */
  readonly isMissing: boolean;
  /** What is known up to here needs the answer for this name, which is not in the zone or not as it stands: `finish` completes it. */
  readonly continueAt?: DnsName;
}

/** What came of asking for the end of a chain: its records, and the rcode. */
export interface ChainEnd {
  readonly rcode: number;
  readonly answers: readonly DnsRecord[];
}

/** The zone of these records. Throws an Error that says what it lacks. */
export function makeFileZone(origin: DnsName, records: readonly DnsRecord[]): FileZone {
  let soa: SoaRecord | undefined;
  const ns: DnsRecord[] = [];
  const names = new Map<DnsName, Map<number, DnsRecord[]>>();
  const parents = new Set<DnsName>();
  const others: DnsRecord[] = [];
  // RFC 2181 5: a set has no record twice.
  const seen = new Set<string>();
  for (const record of records) {
    const { name, data } = record;
    const type = typeOfData(data);
    if (isSoa(record)) {
      if (name !== origin)
        throw new Error(
          `its SOA record is of ${absolute(name)}, not of ${absolute(origin)}: name the zone in the Corefile (file DBFILE ZONE), or write @`,
        );
      soa = record;
      continue;
    }
    if (type === recordTypes.NSEC3 || type === recordTypes.NSEC3PARAM)
      throw new Error(`${absolute(name)} has an NSEC3 record: zones that are signed so cannot be served`);
    const key = `${name} ${type} ${formatRecordData(data).toLowerCase()}`;
    if (seen.has(key)) continue;
    seen.add(key);
    if (type === recordTypes.NS && name === origin) {
      ns.push(record);
      continue;
    }
    others.push(record);
    let sets = names.get(name);
    if (sets === undefined) names.set(name, (sets = new Map()));
    const set = sets.get(type);
    if (set === undefined) sets.set(type, [record]);
    else set.push(record);
    for (let above = name; above !== "." && !parents.has(above); above = parentName(above)) parents.add(above);
  }
  if (soa === undefined) throw new Error(`it has no SOA record of ${absolute(origin)}`);
  parents.add(origin);
  return { origin, soa, ns, names, parents, records: [soa, ...ns, ...others, soa] };
}

function isSoa(record: DnsRecord): record is SoaRecord {
  return record.data.kind === "SOA";
}

/** What the zone says about a name in it. */
export function askFileZone(zone: FileZone, name: DnsName, type: number): FileAnswer {
  const { origin, soa, ns } = zone;
  if (name === origin && type === recordTypes.SOA) return found([soa], ns, []);
  if (name === origin && type === recordTypes.NS) return found(ns, [], glueOf(zone, ns));

  // From the top, whatever leads elsewhere comes first.
  const path = namesDownTo(name, origin);
  for (const each of path) {
    const sets = zone.names.get(each);
    const dname = sets?.get(recordTypes.DNAME)?.[0];
    if (dname !== undefined && each !== name) return followDname(zone, name, type, dname);
    const referral = sets && delegation(zone, each, name, type, sets);
    if (referral !== undefined) return { ...referral, authoritative: false, answers: [] };
  }
  const sets = zone.names.get(name);
  if (sets !== undefined) return answerFrom(zone, sets, name, type);
  // The apex, and names that only have names below them.
  if (zone.parents.has(name)) return { ...denied(zone, rcodes.NOERROR), isMissing: name !== origin };
  // RFC 4592 3.3.1: the source of synthesis is below the closest name that exists.
  const closest = path.findLast((each) => zone.parents.has(each)) ?? origin;
  const wildcard = closest === "." ? "*" : `*.${closest}`;
  const source = zone.names.get(wildcard);
  if (source !== undefined) return answerFrom(zone, source, name, type);
  if (zone.parents.has(wildcard)) return denied(zone, rcodes.NOERROR);
  return { ...denied(zone, rcodes.NXDOMAIN), isMissing: true };
}

/** The whole answer, with what others say about the end of its chain; undefined: nobody would be asked, which the client may do itself. */
export function finishChain(zone: FileZone, begun: FileAnswer, end: ChainEnd | undefined): FileAnswer {
  const answers = [...begun.answers, ...(end?.answers ?? [])];
  const { rcode = rcodes.NOERROR } = end ?? {};
  const isFailed = rcode === rcodes.NXDOMAIN || rcode === rcodes.SERVFAIL;
  const isNo = rcode === rcodes.NXDOMAIN || (end !== undefined && rcode === rcodes.NOERROR && end.answers.length === 0);
  return {
    // RFC 6604 3: the rcode is about the end of the chain.
    rcode: isFailed ? rcode : rcodes.NOERROR,
    authoritative: true,
    answers,
    authority: isNo ? [zone.soa] : zone.ns,
    additional: additionalOf(zone, answers),
    isMissing: false,
  };
}

function answerFrom(zone: FileZone, sets: Sets, name: DnsName, type: number): FileAnswer {
  const alias = sets.get(recordTypes.CNAME);
  if (alias !== undefined && type !== recordTypes.CNAME && type !== recordTypes.ANY)
    return follow(zone, named(alias, name), type);
  // RFC 8482 4.1: a question for ANY gets one set of records, not all.
  const set = type === recordTypes.ANY ? sets.values().next().value : sets.get(type);
  if (set === undefined) return denied(zone, rcodes.NOERROR);
  const answers = named(set, name);
  return found(answers, zone.ns, additionalOf(zone, answers));
}

/** As CoreDNS: eight aliases behind the first. */
const aliasesMax = 8;

// Along the aliases: to records, to a delegation, or to a name that has to be asked for like any other.
function follow(zone: FileZone, first: readonly DnsRecord[], type: number): FileAnswer {
  const answers = [...first];
  for (let steps = 0; ; steps++) {
    const last = answers.at(-1)?.data;
    if (last?.kind !== "CNAME") break;
    const target = last.target.toLowerCase();
    for (const each of namesDownTo(target, zone.origin)) {
      const sets = zone.names.get(each);
      const referral = sets && delegation(zone, each, target, type, sets);
      if (referral !== undefined) return { ...referral, authoritative: true, answers };
    }
    const sets = zone.names.get(target);
    if (sets === undefined || type === recordTypes.NS || (type === recordTypes.SOA && target === zone.origin))
      return { ...found(answers, zone.ns, []), continueAt: target };
    const alias = sets.get(recordTypes.CNAME);
    if (alias === undefined) {
      answers.push(...(sets.get(type) ?? []));
      break;
    }
    // It leads to itself.
    if (alias[0]?.data.kind === "CNAME" && alias[0].data.target.toLowerCase() === target) return failed;
    answers.push(...alias);
    if (steps >= aliasesMax) break;
  }
  return found(answers, zone.ns, additionalOf(zone, answers));
}

/** RFC 6672 2.2: what is left of the name goes before the target. */
function followDname(zone: FileZone, name: DnsName, type: number, dname: DnsRecord): FileAnswer {
  const target = dnameTarget(dname.data);
  const rest = name.slice(0, name.length - dname.name.length - 1);
  const renamed = target === "." ? rest : `${rest}.${target}`;
  if (renamed.toLowerCase() === name) return failed;
  if (!fits(renamed)) return { ...found([dname], zone.ns, []), rcode: yxdomain };
  const { class: recordClass, ttl } = dname;
  const alias: DnsRecord = { name, class: recordClass, ttl, data: { kind: "CNAME", target: renamed } };
  if (type === recordTypes.CNAME) return found([dname, alias], zone.ns, []);
  const answer = follow(zone, [alias], type);
  return answer.answers.length === 0 ? answer : { ...answer, answers: [dname, ...answer.answers] };
}

/** RFC 6672 2.2: the name that would come of it is too long. */
const yxdomain = 6;

function dnameTarget(data: RecordData): DnsName {
  return data.kind === "unknown" ? readName(data.bytes, 0).name : ".";
}

function fits(name: DnsName): boolean {
  try {
    return labelsText(nameLabels(name)) !== "";
  } catch {
    return false;
  }
}

// RFC 1034 4.2.1. The DS record of a cut is the parent's (RFC 4035 3.1.4.1).
function delegation(
  zone: FileZone,
  cut: DnsName,
  name: DnsName,
  type: number,
  sets: Sets,
): Pick<FileAnswer, "rcode" | "authority" | "additional" | "isMissing"> | undefined {
  const servers = cut === zone.origin ? undefined : sets.get(recordTypes.NS);
  if (servers === undefined || (type === recordTypes.DS && cut === name)) return undefined;
  return { rcode: rcodes.NOERROR, authority: servers, additional: glueOf(zone, servers), isMissing: false };
}

/** Addresses of servers that are themselves below what they serve. */
function glueOf(zone: FileZone, servers: readonly DnsRecord[]): readonly DnsRecord[] {
  return servers.flatMap(({ name, data }) => {
    const target = data.kind === "NS" ? data.target.toLowerCase() : undefined;
    return target !== undefined && isWithin(target, name) ? addressesOf(zone, target) : [];
  });
}

/** Addresses of what answers lead to, each once. */
function additionalOf(zone: FileZone, answers: readonly DnsRecord[]): readonly DnsRecord[] {
  const targets = new Set<DnsName>();
  for (const { data } of answers) {
    const target = targetOf(data)?.toLowerCase();
    if (target !== undefined && isWithin(target, zone.origin)) targets.add(target);
  }
  return [...targets].flatMap((target) => addressesOf(zone, target));
}

function targetOf(data: RecordData): DnsName | undefined {
  if (data.kind === "MX" || data.kind === "SRV") return data.target;
  const isService = data.kind === "unknown" && (data.type === recordTypes.SVCB || data.type === recordTypes.HTTPS);
  return isService ? readName(data.bytes, 2).name : undefined;
}

function addressesOf(zone: FileZone, name: DnsName): readonly DnsRecord[] {
  const sets = zone.names.get(name);
  return [...(sets?.get(recordTypes.A) ?? []), ...(sets?.get(recordTypes.AAAA) ?? [])];
}

/** The names from the zone's own down to this one; none where it is not in the zone. */
function namesDownTo(name: DnsName, origin: DnsName): DnsName[] {
  if (!isWithin(name, origin)) return [];
  const names = [name];
  for (let above = name; above !== origin && above !== ".";) names.unshift((above = parentName(above)));
  return names;
}

function named(records: readonly DnsRecord[], name: DnsName): readonly DnsRecord[] {
  return records[0]?.name === name ? records : records.map((record) => ({ ...record, name }));
}

function found(
  answers: readonly DnsRecord[],
  authority: readonly DnsRecord[],
  additional: readonly DnsRecord[],
): FileAnswer {
  return { rcode: rcodes.NOERROR, authoritative: true, answers, authority, additional, isMissing: false };
}

function denied(zone: FileZone, rcode: number): FileAnswer {
  return { ...found([], [zone.soa], []), rcode };
}

const failed: FileAnswer = { ...found([], [], []), rcode: rcodes.SERVFAIL };

function absolute(name: DnsName): string {
  return name === "." ? name : `${name}.`;
}
