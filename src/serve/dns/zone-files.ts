// The `file` plugin: zones from files, read at the start and again when their serial is another.
// A damaged file at the start is an error that names file and line; later the zone stays as it was, and the log says why.
// A file that is not there yet is waited for, as CoreDNS does: its zones are SERVFAIL until then.
//
// Not here: what a zone answers (file-zone.ts). Loaded only by servers whose Corefile has the plugin (server.ts).

import { finishAnswer } from "../../wire/dns/answer.ts";
import { rcodes } from "../../wire/dns/message.ts";
import { isWithin, type DnsName } from "../../wire/dns/name.ts";
import type { Query } from "../../wire/dns/query.ts";
import { classIn } from "../../wire/dns/record.ts";
import { parseZoneFile } from "../../wire/dns/zone-file.ts";
import { CorefileError } from "./corefile-tokens.ts";
import { belowRoot, type FileConfig } from "./corefile-zones.ts";
import { askFileZone, finishChain, makeFileZone, type ChainEnd, type FileAnswer, type FileZone } from "./file-zone.ts";
import { NoUpstreamError } from "./forwarder.ts";
import type { DnsLog } from "./log.ts";
import { messageOf, type Outcome } from "./outcome.ts";

export interface ZoneFiles {
  /** The answer, or undefined where the next plugin is to be asked. `ask` is for the end of chains that leave the zone. */
  answer(query: Query, ask: Ask): Outcome | Promise<Outcome> | undefined;
  /** The zone of exactly this name; undefined where there is none, or its file could not be read yet. */
  zone(name: DnsName): FileZone | undefined;
  /** Is the name in a zone of a file? */
  has(name: DnsName): boolean;
  /** For the log: `example.org. (serial 3) from /etc/coredns/db.example.org`. */
  readonly names: () => readonly string[];
  close(): void;
}

type Ask = (query: Query) => Outcome | Promise<Outcome>;

export interface ZoneFilesParts {
  /** The plugin's `root`, which relative paths are below. */
  readonly root: string | undefined;
  readonly read: (path: string) => string | undefined;
  readonly log: DnsLog;
  /** A zone is another: answers that were kept do not hold any more. */
  readonly changed: (zone: DnsName) => void;
}

/** Reads the files. Throws ZoneFileError, or an Error that names the file. */
export function openZoneFiles(configs: readonly FileConfig[], parts: ZoneFilesParts): ZoneFiles {
  const zones = new Map<DnsName, Loaded>();
  for (const config of configs) for (const origin of config.zones) zones.set(origin, loadFirst(config, origin, parts));
  const timers = configs
    .filter(({ reloadMs }) => reloadMs > 0)
    .map((config) => {
      const look = (): void => {
        for (const origin of config.zones) {
          const before = zones.get(origin);
          const now = before?.config === config ? loadAgain(before, parts) : undefined;
          if (before === undefined || now === undefined) continue;
          zones.set(origin, now);
          if (now.zone !== before.zone) parts.changed(origin);
        }
      };
      return setInterval(look, Math.min(config.reloadMs, 0x7fff_ffff)).unref();
    });
  // One of a few names; the longest that holds the question's.
  const origins = [...zones.keys()].toSorted((a, b) => b.length - a.length);
  const loadedFor = (name: DnsName): Loaded | undefined => {
    const origin = origins.find((each) => isWithin(name, each));
    return origin === undefined ? undefined : zones.get(origin);
  };
  return {
    answer(query, ask) {
      const loaded = loadedFor(query.name);
      if (loaded === undefined) return undefined;
      const { zone, config } = loaded;
      if (zone === undefined) return rcodes.SERVFAIL;
      const answer = askFileZone(zone, query.name, query.type);
      if (answer.isMissing && config.fallthrough.some((each) => isWithin(query.name, each))) return undefined;
      if (answer.continueAt === undefined) return finished(query, answer, "kept");
      return complete(zone, query, answer, { ...query, name: answer.continueAt }, ask);
    },
    zone: (name) => zones.get(name)?.zone,
    has: (name) => loadedFor(name) !== undefined,
    names: () =>
      [...zones].map(([origin, { zone, path }]) =>
        zone === undefined
          ? `${absolute(origin)} (SERVFAIL: there is no ${path})`
          : `${absolute(origin)} (serial ${zone.soa.data.serial}) from ${path}`,
      ),
    close() {
      for (const timer of timers) clearInterval(timer);
    },
  };
}

interface Loaded {
  readonly config: FileConfig;
  readonly origin: DnsName;
  readonly path: string;
  /** What was read last, also where it could not be used. */
  readonly text: string | undefined;
  readonly zone: FileZone | undefined;
}

function load(config: FileConfig, origin: DnsName, { root, read }: ZoneFilesParts): Loaded {
  const path = belowRoot(root, config.path);
  const text = read(path);
  if (text === undefined) return { config, origin, path, text, zone: undefined };
  const records = parseZoneFile(text, { file: path, origin, read });
  try {
    return { config, origin, path, text, zone: makeFileZone(origin, records) };
  } catch (error) {
    throw new Error(`${path}: ${reasonOf(error)}`, { cause: error });
  }
}

function loadFirst(config: FileConfig, origin: DnsName, parts: ZoneFilesParts): Loaded {
  const loaded = load(config, origin, parts);
  if (loaded.zone !== undefined) return loaded;
  const { place, reloadMs } = config;
  const what = `there is no zone file ${loaded.path}`;
  if (reloadMs === 0) throw new CorefileError(`file: ${what}`, place.file, place.line);
  parts.log.error(
    `plugin/file: ${what}: ${absolute(origin)} is SERVFAIL until there is (next look in ${reloadMs / 1000} s)`,
  );
  return loaded;
}

/** What is to be used from now on; undefined: all stays. */
function loadAgain(before: Loaded, { root, read, log, changed }: ZoneFilesParts): Loaded | undefined {
  const { config, origin, path } = before;
  const text = read(path);
  if (text === undefined) {
    if (before.text === undefined) return undefined;
    log.error(`plugin/file: ${path} is gone: ${absolute(origin)} stays as it was`);
    return { ...before, text };
  }
  // What it includes may be other than before.
  if (text === before.text && !/^\$include/im.test(text)) return undefined;
  let next: Loaded;
  try {
    next = load(config, origin, { root, read, log, changed });
  } catch (error) {
    // Said once for each text.
    if (text !== before.text) log.error(`plugin/file: ${reasonOf(error)} (${absolute(origin)} stays as it was)`);
    return { ...before, text };
  }
  const serial = next.zone?.soa.data.serial;
  if (!config.anyChange && serial === before.zone?.soa.data.serial) return { ...before, text };
  log.info(`plugin/file: ${absolute(origin)} from ${path} has serial ${serial ?? 0} now`);
  return next;
}

async function complete(zone: FileZone, query: Query, begun: FileAnswer, next: Query, ask: Ask): Promise<Outcome> {
  return finished(query, finishChain(zone, begun, await endOf(next, ask)), "once");
}

/** What the server itself says to the name, as it would to a client. */
async function endOf(query: Query, ask: Ask): Promise<ChainEnd | undefined> {
  try {
    const outcome = await ask(query);
    if (typeof outcome === "number")
      return outcome < 0 || outcome === rcodes.REFUSED ? undefined : { rcode: outcome, answers: [] };
    const { rcode, answers } = messageOf(query, outcome.answer, outcome.age);
    return rcode === rcodes.REFUSED ? undefined : { rcode, answers };
  } catch (error) {
    return error instanceof NoUpstreamError ? undefined : { rcode: rcodes.SERVFAIL, answers: [] };
  }
}

function finished(query: Query, answer: FileAnswer, how: "kept" | "once"): Outcome {
  const { rcode, answers } = answer;
  if (rcode === rcodes.SERVFAIL && answers.length === 0) return rcode;
  const whole = { answer: finishAnswer({ name: query.name, type: query.type, ...answer }), age: 0 };
  // Of nobody: goes with every change (`changed`).
  return how === "kept" && query.class === classIn ? { ...whole, owner: 0 } : whole;
}

function absolute(name: DnsName): string {
  return name === "." ? name : `${name}.`;
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
