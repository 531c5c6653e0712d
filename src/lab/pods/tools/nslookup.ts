// nslookup and host, for machines that have neither: BIND's output.

import process from "node:process";
import { isIP } from "node:net";
import { lookup } from "node:dns/promises";
import { rcodeName, type DnsMessage } from "../../../wire/dns/message.ts";
import { formatRecordData, recordTypeNumber, type DnsRecord, type RecordType } from "../../../wire/dns/record.ts";
import { containerResolver, reverseName } from "./files.ts";

/** nslookup [-type=T] NAME [SERVER] */
export async function nslookup(words: readonly string[]): Promise<number> {
  const type = typeOf(words) ?? "A";
  const [name, server] = words.filter((word) => !word.startsWith("-"));
  if (name === undefined) {
    process.stderr.write("Usage: nslookup [-type=TYPE] NAME [SERVER]\n");
    return 1;
  }
  const out = (line: string): void => void process.stdout.write(`${line}\n`);
  let address: string | undefined;
  try {
    address = server === undefined ? undefined : (await lookup(server)).address;
  } catch {
    out(`nslookup: couldn't get address for '${server}': not found`);
    return 1;
  }
  const resolver = containerResolver(address === undefined ? {} : { server: address });
  out(`Server:\t\t${server ?? resolver.settings.nameservers[0] ?? ""}`);
  out(`Address:\t${resolver.settings.nameservers[0] ?? ""}#53\n`);
  const reverse = isIP(name) === 0 ? undefined : reverseName(name);
  try {
    const wanted = reverse === undefined ? type : "PTR";
    const asked = reverse ?? name;
    const found = await resolver.search(reverse === undefined ? asked : `${asked}.`, wanted);
    // BIND's nslookup asks for both families unless a type was named.
    const six = wanted === "A" && typeOf(words) === undefined ? await resolver.search(name, "AAAA") : undefined;
    if (found === undefined && six === undefined) {
      const last = await resolver.ask(resolver.candidates(asked).at(-1) ?? asked, wanted);
      if (last.rcode !== 0) out(`** server can't find ${asked}: ${rcodeName(last.rcode)}\n`);
      else out(`*** Can't find ${asked}: No answer\n`);
      return 1;
    }
    for (const record of [...(found?.message.answers ?? []), ...(six?.message.answers ?? [])]) out(recordLine(record));
    out("");
    return 0;
  } catch (error) {
    out(`;; ${(error as Error).message}\n;; no servers could be reached\n`);
    return 1;
  }
}

function typeOf(words: readonly string[]): RecordType | undefined {
  const text = words
    .map((word) => /^-(?:type|query|q|t|ty|querytype)=(\w+)$/i.exec(word)?.[1])
    .findLast((found) => found !== undefined);
  return text !== undefined && recordTypeNumber(text) !== undefined ? (text.toUpperCase() as RecordType) : undefined;
}

function recordLine({ name, data }: DnsRecord): string {
  switch (data.kind) {
    case "A":
    case "AAAA":
      return `Name:\t${name}\nAddress: ${data.address}`;
    case "CNAME":
      return `${name}\tcanonical name = ${formatRecordData(data)}`;
    case "PTR":
      return `${name}\tname = ${formatRecordData(data)}`;
    case "SRV":
      return `${name}\tservice = ${formatRecordData(data)}`;
    case "TXT":
      return `${name}\ttext = ${formatRecordData(data)}`;
    case "NS":
    case "MX":
    case "SOA":
    case "unknown":
      return `${name}\t${formatRecordData(data)}`;
  }
}

/** host [-t TYPE] NAME [SERVER] */
export async function host(words: readonly string[]): Promise<number> {
  const at = words.indexOf("-t");
  const type = at < 0 ? undefined : (words[at + 1]?.toUpperCase() as RecordType);
  const [name, server] = words.filter((word, index) => !word.startsWith("-") && (at < 0 || index !== at + 1));
  if (name === undefined) {
    process.stderr.write("Usage: host [-t TYPE] NAME [SERVER]\n");
    return 1;
  }
  const out = (line: string): void => void process.stdout.write(`${line}\n`);
  try {
    const resolver = containerResolver(server === undefined ? {} : { server: (await lookup(server)).address });
    const reverse = isIP(name) === 0 ? undefined : `${reverseName(name)}.`;
    const types: readonly RecordType[] = reverse !== undefined ? ["PTR"] : type !== undefined ? [type] : ["A", "AAAA"];
    const answers: DnsMessage[] = [];
    for (const one of types) {
      const found = await resolver.search(reverse ?? name, one);
      if (found !== undefined) answers.push(found.message);
    }
    if (answers.length === 0) {
      out(`Host ${name} not found: 3(NXDOMAIN)`);
      return 1;
    }
    for (const record of answers.flatMap((message) => message.answers)) out(hostLine(record));
    return 0;
  } catch (error) {
    out(`;; ${(error as Error).message}\n;; no servers could be reached`);
    return 1;
  }
}

function hostLine({ name, data }: DnsRecord): string {
  switch (data.kind) {
    case "A":
      return `${name} has address ${data.address}`;
    case "AAAA":
      return `${name} has IPv6 address ${data.address}`;
    case "CNAME":
      return `${name} is an alias for ${formatRecordData(data)}`;
    case "PTR":
      return `${name} domain name pointer ${formatRecordData(data)}`;
    case "SRV":
      return `${name} has SRV record ${formatRecordData(data)}`;
    case "TXT":
      return `${name} descriptive text ${formatRecordData(data)}`;
    case "MX":
      return `${name} mail is handled by ${formatRecordData(data)}`;
    case "NS":
    case "SOA":
    case "unknown":
      return `${name} has ${data.kind} record ${formatRecordData(data)}`;
  }
}
