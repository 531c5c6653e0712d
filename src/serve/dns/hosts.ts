// The `hosts` plugin: names and addresses of a file in hosts(5)'s form and of lines in the Corefile.

import { familyOf, parseAddress, type Address } from "../../ip/address.ts";
import { reverseName } from "../../program/zone-reverse.ts";
import { finishAnswer, type FinishedAnswer } from "../../wire/dns/answer.ts";
import { rcodes } from "../../wire/dns/message.ts";
import { isWithin, lowerName, type DnsName } from "../../wire/dns/name.ts";
import { classIn, recordTypes, type DnsRecord, type RecordData } from "../../wire/dns/record.ts";
import type { HostsConfig } from "./corefile-plugins.ts";

export interface Hosts {
  /** The answer, an rcode, or undefined where the next plugin is to be asked. */
  answer(name: DnsName, type: number): FinishedAnswer | number | undefined;
  /** Reads the file again. */
  refresh(): void;
  /** How many addresses it has. */
  readonly size: () => number;
}

export function createHosts(
  config: HostsConfig,
  read: (path: string) => string | undefined,
  changed: () => void,
): Hosts {
  let text: string | undefined;
  let table = tableOf(config.inline.join("\n"));
  const refresh = (): void => {
    const now = config.file === undefined ? "" : (read(config.file) ?? "");
    if (now === text) return;
    text = now;
    table = tableOf(`${now}\n${config.inline.join("\n")}`);
    changed();
  };
  refresh();
  return {
    answer(name, type) {
      if (type === recordTypes.PTR) {
        // Whatever the zones; an address that is not here is always the next plugin's.
        const pointers = config.noReverse ? undefined : table.pointers.get(name);
        return pointers && finished(name, type, pointers, config.ttl);
      }
      if (!config.zones.some((zone) => isWithin(name, zone))) return undefined;
      const found = table.names.get(name);
      if (found !== undefined) {
        // A name with an address exists for every type: no data, not no name, and nobody else is asked about it.
        const kind = type === recordTypes.A ? "A" : type === recordTypes.AAAA ? "AAAA" : undefined;
        const data = found.filter((each) => each.kind === kind);
        return finished(name, type, data, config.ttl);
      }
      if (config.fallthrough.some((zone) => isWithin(name, zone))) return undefined;
      // As CoreDNS: there is no SOA that could tell how long "no" holds.
      return rcodes.SERVFAIL;
    },
    refresh,
    size: () => table.names.size,
  };
}

interface Table {
  readonly names: ReadonlyMap<DnsName, readonly RecordData[]>;
  readonly pointers: ReadonlyMap<DnsName, readonly RecordData[]>;
}

// hosts(5): an address, its name, more names; `#` starts a comment. What is no address is left out, as everywhere.
function tableOf(text: string): Table {
  const names = new Map<DnsName, RecordData[]>();
  const pointers = new Map<DnsName, RecordData[]>();
  for (const line of text.split("\n")) {
    const [word = "", ...hosts] = (line.split("#")[0] ?? "").trim().split(/\s+/);
    const address = parseAddress(word.replace(/%.*$/, ""));
    if (address === undefined) continue;
    for (const host of hosts) {
      const name = lowerName(host);
      add(names, name, addressData(address));
      add(pointers, reverseName(address), { kind: "PTR", target: name });
    }
  }
  return { names, pointers };
}

function add(map: Map<DnsName, RecordData[]>, name: DnsName, data: RecordData): void {
  const list = map.get(name);
  if (list === undefined) map.set(name, [data]);
  else if (!list.some((each) => JSON.stringify(each) === JSON.stringify(data))) list.push(data);
}

function addressData(address: Address): RecordData {
  return { kind: familyOf(address) === 4 ? "A" : "AAAA", address };
}

function finished(name: DnsName, type: number, data: readonly RecordData[], ttl: number): FinishedAnswer {
  const answers = data.map((each): DnsRecord => ({ name, class: classIn, ttl, data: each }));
  return finishAnswer({ name, type, rcode: rcodes.NOERROR, authoritative: true, answers });
}
