// dig, for machines that have none: one or more questions, dig's output, +short, +search, +noall +answer, -x.

import { lookup } from "node:dns/promises";
import process from "node:process";
import { rcodeName, type DnsMessage } from "../../../wire/dns/message.ts";
import { formatRecordData, recordTypeNumber, type DnsRecord, type RecordType } from "../../../wire/dns/record.ts";
import { containerResolver, exchangeTcp, exchangeWithin, reverseName } from "./files.ts";

interface Request {
  server: string | undefined;
  port: number;
  name: string;
  type: RecordType;
  readonly plus: Set<string>;
  timeoutSeconds: number;
}

/** 0 where a server answered, 9 where none did. */
export async function dig(words: readonly string[]): Promise<number> {
  const request = parse(words);
  if (typeof request === "string") {
    process.stderr.write(`${request}\n`);
    return 1;
  }
  const { plus } = request;
  const out = (line: string): void => void process.stdout.write(`${line}\n`);
  const started = performance.now();
  try {
    const server = request.server === undefined ? undefined : (await lookup(request.server)).address;
    const exchange = plus.has("tcp") ? exchangeTcp : exchangeWithin(request.timeoutSeconds * 1000);
    const resolver = containerResolver({ ...(server === undefined ? {} : { server }), port: request.port, exchange });
    const candidates = plus.has("search") ? resolver.candidates(request.name) : [request.name.replace(/\.$/, "")];
    let message: DnsMessage | undefined;
    for (const candidate of candidates) {
      message = await resolver.ask(candidate, request.type);
      if (message.rcode === 0 && message.answers.length > 0) break;
    }
    if (message === undefined) return 9;
    if (plus.has("short")) for (const { data } of message.answers) out(formatRecordData(data));
    else print(message, request, resolver.settings.nameservers[0] ?? "", Math.round(performance.now() - started), out);
    return 0;
  } catch (error) {
    out(`;; ${(error as Error).message}\n;; no servers could be reached`);
    return 9;
  }
}

function parse(words: readonly string[]): Request | string {
  const request: Request = { server: undefined, port: 53, name: "", type: "A", plus: new Set(), timeoutSeconds: 5 };
  const queue = [...words];
  for (let word = queue.shift(); word !== undefined; word = queue.shift()) {
    const time = /^\+(?:time|timeout)=(\d+)$/.exec(word)?.[1];
    if (time !== undefined) request.timeoutSeconds = Number(time);
    else if (word.startsWith("+")) request.plus.add(word.slice(1));
    else if (word.startsWith("@")) request.server = word.slice(1);
    else if (word === "-x") {
      const reverse = reverseName(queue.shift() ?? "");
      if (reverse === undefined) return "dig: -x wants an address";
      [request.name, request.type] = [reverse, "PTR"];
    } else if (word === "-t") request.type = (queue.shift() ?? "A").toUpperCase() as RecordType;
    else if (word === "-p") request.port = Number(queue.shift());
    else if (word === "-q") request.name = queue.shift() ?? "";
    else if (word.startsWith("-")) continue;
    else if (request.name !== "" && word.toUpperCase() === "IN") continue;
    else if (recordTypeNumber(word) !== undefined && !word.includes(".") && (request.name !== "" || queue.length > 0))
      request.type = word.toUpperCase() as RecordType;
    else request.name = word;
  }
  if (recordTypeNumber(request.type) === undefined) return `dig: unknown type ${request.type}`;
  if (request.name === "") return "usage: dig [@server] [-x address] [-t type] name [type] [+short] [+search]";
  return request;
}

function print(
  message: DnsMessage,
  { plus, name, type, port }: Request,
  server: string,
  ms: number,
  out: (line: string) => void,
): void {
  const all = !plus.has("noall");
  const flags = [
    ...(message.response ? ["qr"] : []),
    ...(message.authoritative ? ["aa"] : []),
    ...(message.truncated ? ["tc"] : []),
    ...(message.recursionDesired ? ["rd"] : []),
    ...(message.recursionAvailable ? ["ra"] : []),
  ].join(" ");
  if (all) {
    out(`\n; <<>> DiG (Fairlead) <<>> ${name} ${type}`);
    out(";; Got answer:");
    out(`;; ->>HEADER<<- opcode: QUERY, status: ${rcodeName(message.rcode)}, id: ${message.id}`);
    out(
      `;; flags: ${flags}; QUERY: ${message.questions.length}, ANSWER: ${message.answers.length}, AUTHORITY: ${message.authority.length}, ADDITIONAL: ${message.additional.length}\n`,
    );
    out(";; QUESTION SECTION:");
    for (const question of message.questions) out(`;${absolute(question.name)}\t\tIN\t${question.type}`);
    out("");
  }
  const section = (title: string, records: readonly DnsRecord[]): void => {
    if (records.length === 0) return;
    if (all) out(`;; ${title} SECTION:`);
    for (const record of records)
      out(`${absolute(record.name)}\t${record.ttl}\tIN\t${record.data.kind}\t${formatRecordData(record.data)}`);
    if (all) out("");
  };
  if (all || plus.has("answer")) section("ANSWER", message.answers);
  if (all || plus.has("authority")) section("AUTHORITY", message.authority);
  if (all || plus.has("additional")) section("ADDITIONAL", message.additional);
  if (!all) return;
  out(`;; Query time: ${ms} msec`);
  out(`;; SERVER: ${server}#${port}(${server})`);
  out("");
}

function absolute(name: string): string {
  return name.endsWith(".") ? name : `${name}.`;
}
