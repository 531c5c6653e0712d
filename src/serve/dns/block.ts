// One server block of a Corefile, acting: from a question to an answer through its plugins, in CoreDNS's order
// (local, any, chaos, rewrite, autopath, acl, template, transfer, hosts, kubernetes, file, forward with its cache).
//
// Not here: bytes and sockets (responder.ts, server.ts), logging and counting a request (responder.ts).

import type { Address } from "../../ip/address.ts";
import { finishedAnswer, ownerOf, type ZoneFinishedAnswer } from "../../program/zone-answer.ts";
import { viewZone } from "../../program/zone-view.ts";
import type { Zone } from "../../program/zone.ts";
import { finishAnswer } from "../../wire/dns/answer.ts";
import { parseMessage, rcodes } from "../../wire/dns/message.ts";
import { isWithin, lowerName, type DnsName } from "../../wire/dns/name.ts";
import type { Query } from "../../wire/dns/query.ts";
import { classIn, recordTypes } from "../../wire/dns/record.ts";
import { isGuarded, refusalOf } from "./acl.ts";
import { answerByAutopath, autopathOf, isMissing } from "./autopath.ts";
import type { ServerConfig } from "./corefile.ts";
import { belowRoot } from "./corefile-zones.ts";
import type { KubernetesConfig } from "./corefile-plugins.ts";
import type { FileZone } from "./file-zone.ts";
import { createForwarder, type Forwarder, type ForwarderLimits } from "./forwarder.ts";
import { answerAny, answerChaos, answerLocally, classChaos } from "./own-names.ts";
import type { answerByTemplates } from "./template.ts";
import { createHosts } from "./hosts.ts";
import { watchForLoop, type LoopWatch } from "./loop.ts";
import { isTransfer, messageOf, type Outcome } from "./outcome.ts";
import { rewrittenBack, rewriteName } from "./rewrite.ts";
import type { clusterZone, createTransfers, Transfers, TransferZone } from "./transfer.ts";
import type { openZoneFiles, ZoneFiles } from "./zone-files.ts";
import { createUpstreams, type CloseHow, type UpstreamParts, type Upstreams } from "./upstreams.ts";

export interface ZoneBlock {
  readonly config: ServerConfig;
  readonly forwarder: Forwarder;
  readonly upstreams: Upstreams;
  /** Zones from files, where the block has some. */
  readonly files: ZoneFiles | undefined;
  /** To whom its zones may be sent, where anybody is. */
  readonly transfers: Transfers | undefined;
  /** Called when it is in force. */
  begin(): void;
  /**
   * The answer to a question of class IN. Throws, or rejects, with the reason for SERVFAIL; NoUpstreamError is REFUSED. `depth`: of chains
   * that lead from zone to zone.
   */
  answer(query: Query, client: () => Address, depth?: number): Outcome | Promise<Outcome>;
  close(how: CloseHow): void;
}

export interface BlockParts extends UpstreamParts, RarePlugins {
  readonly zone: () => Zone | undefined;
  /** The cluster's domain; the zone has it under this name. */
  readonly domain: DnsName;
  /** To be called when answers that may be kept are others, although the zone is the same. */
  readonly changed: () => void;
  /** Of the cluster's zone, for those who copy it. */
  readonly serialOf: (zone: Zone) => number;
  /** The block of this server that a name is for. */
  readonly blockFor: (name: DnsName) => ZoneBlock | undefined;
}

/** What only those Corefiles load that name its plugin: `file`, `transfer`, `template`. */
export interface RarePlugins {
  readonly openZoneFiles: typeof openZoneFiles | undefined;
  readonly transfer:
    | { readonly createTransfers: typeof createTransfers; readonly clusterZone: typeof clusterZone }
    | undefined;
  readonly answerByTemplates: typeof answerByTemplates | undefined;
}

/** Throws where a file that it needs is damaged. */
export function createBlock(config: ServerConfig, parts: BlockParts): ZoneBlock {
  // First, for it may throw, and nothing else is open then.
  const changed = (zone: DnsName): void => {
    parts.changed();
    transfers?.notify(zone);
  };
  const files =
    config.files.length > 0 ? parts.openZoneFiles?.(config.files, { ...parts, root: config.root, changed }) : undefined;
  const upstreams = createUpstreams(config.forwards, parts);
  const loop: LoopWatch | undefined = config.loop ? watchForLoop(upstreams.own, parts) : undefined;
  const forwarder = createForwarder({
    upstreamOf: upstreams.of,
    clock: parts.clock,
    metrics: parts.metrics,
    limits: limitsOf(config),
  });
  const hosts =
    config.hosts && createHosts(config.hosts, (path) => parts.read(belowRoot(config.root, path)), parts.changed);
  const refreshing =
    hosts !== undefined && config.hosts !== undefined && config.hosts.reloadMs > 0 && config.hosts.file !== undefined;
  const timer = refreshing ? setInterval(hosts.refresh, config.hosts.reloadMs).unref() : undefined;
  const kubernetes = config.kubernetes && createKubernetes(config.kubernetes, parts, config.transfers.length > 0);
  const zoneOf = (name: DnsName): TransferZone | number | undefined =>
    kubernetes?.transfer(name) ?? fileTransfer(files?.zone(name));
  const transfers =
    config.transfers.length > 0 ? parts.transfer?.createTransfers(config.transfers, { ...parts, zoneOf }) : undefined;

  const forward = (query: Query, client: () => Address): Outcome | Promise<Outcome> => {
    loop?.refuse(query.name);
    const found = forwarder.ask(query, client);
    if (found instanceof Promise || found.times === undefined) return found;
    // "No such name" is the beginning of a search list to some clients.
    const isSame = config.autopath === undefined || found.answer.flags % 16 === rcodes.NOERROR;
    return isSame && query.class === classIn ? found : { answer: found.answer, age: found.age };
  };

  /** What comes behind rewrite and autopath. `depth`: of aliases that lead to names asked here. */
  const plain = (query: Query, client: () => Address, depth: number): Outcome | Promise<Outcome> => {
    if (!isGuarded(config.acls, query.name)) return unguarded(query, client, depth);
    const refusal = refusalOf(config.acls, query, client());
    if (refusal !== undefined) return refusal;
    const found = unguarded(query, client, depth);
    // The next who asks may be refused.
    return found instanceof Promise ? found.then(forThisClient) : forThisClient(found);
  };

  const unguarded = (query: Query, client: () => Address, depth: number): Outcome | Promise<Outcome> => {
    if (parts.answerByTemplates !== undefined && config.templates.length > 0) {
      const who = client();
      const ask = (each: Query): Outcome | Promise<Outcome> =>
        depth < aliasesMax ? plain(each, () => who, depth + 1) : rcodes.SERVFAIL;
      const made = parts.answerByTemplates(config.templates, query, () => who, ask);
      if (made !== undefined) return made;
    }
    // Only by TCP does such a question come so far (responder.ts).
    if (isTransfer(query.type)) return transfers?.decide(query, client()) ?? rcodes.REFUSED;
    const known = hosts?.answer(query.name, query.type);
    if (typeof known === "number") return known;
    // Of nobody: goes with every change, and when the file is another (`changed`).
    if (known !== undefined)
      return query.class === classIn ? { answer: known, age: 0, owner: 0 } : { answer: known, age: 0 };
    const answer = kubernetes?.answer(query);
    if (answer === undefined) {
      const filed = files?.answer(query, elsewhere(client, depth));
      if (filed === undefined) return forward(query, client);
      const isSame = config.autopath === undefined || filed instanceof Promise || !isMissing(filed);
      return isSame ? filed : forThisClient(filed);
    }
    if (typeof answer === "number") return answer;
    if (answer.continueAt !== undefined && files?.has(answer.continueAt) === true)
      return completeByFile(answer, query, { ...query, name: answer.continueAt }, elsewhere(client, depth));
    if (answer.continueAt === undefined || upstreams.of(answer.continueAt) === undefined) {
      const { owner } = answer;
      const isSame = config.autopath === undefined || answer.flags % 16 === rcodes.NOERROR;
      return isSame && query.class === classIn && owner !== undefined ? { answer, age: 0, owner } : { answer, age: 0 };
    }
    return completeChain(answer, query, answer.continueAt, forwarder);
  };

  /** Asks this server as its clients do, but for chains that have no end. */
  const elsewhere =
    (client: () => Address, depth: number) =>
    (query: Query): Outcome | Promise<Outcome> => {
      if (depth >= aliasesMax) return rcodes.SERVFAIL;
      const who = client();
      return parts.blockFor(query.name)?.answer(query, () => who, depth + 1) ?? rcodes.REFUSED;
    };

  const byAutopath = autopathOf(config, parts);
  const named = (query: Query, client: () => Address, depth: number): Outcome | Promise<Outcome> => {
    const search = byAutopath?.(query, client);
    if (search === undefined) return plain(query, client, depth);
    // Names behind the first are asked later, when the datagram's place is another's.
    const who = client();
    return answerByAutopath(query, search, (each) => plain(each, () => who, depth), parts.metrics);
  };

  return {
    config,
    forwarder,
    upstreams,
    files,
    transfers,
    begin() {
      for (const { zones } of config.files) for (const zone of zones) if (files?.zone(zone)) transfers?.notify(zone);
    },
    answer(query, client, depth = 0) {
      if (query.class === classChaos) return (config.chaos && answerChaos(config.chaos, query)) ?? rcodes.REFUSED;
      loop?.seen(query.name);
      const local = config.local && answerLocally(config.local, query);
      if (local !== undefined) return local;
      if (config.any && query.type === recordTypes.ANY) return answerAny(query);
      if (config.rewrites.length === 0) return named(query, client, depth);
      const rewritten = rewriteName(config.rewrites, query.name);
      if (rewritten === undefined) return named(query, client, depth);
      const outcome = named({ ...query, name: rewritten.name }, client, depth);
      const back = (found: Outcome): Outcome => rewrittenBack(found, query, rewritten);
      return outcome instanceof Promise ? outcome.then(back) : back(outcome);
    },
    close(how) {
      clearInterval(timer);
      files?.close();
      loop?.close();
      upstreams.close(how);
    },
  };
}

/** Longer chains of aliases, made by `template` or from zone to zone, end. */
const aliasesMax = 8;

function forThisClient(outcome: Outcome): Outcome {
  return typeof outcome === "number" ? outcome : { answer: outcome.answer, age: outcome.age };
}

function limitsOf({ cache }: ServerConfig): Partial<ForwarderLimits> {
  const none = { entries: 0, maxSeconds: 0, minSeconds: 0, keeps: () => false };
  if (cache === undefined) return { success: none, denial: none, keepServfail: 0, keepFailure: 0 };
  const keepsOf =
    (disabled: readonly DnsName[]) =>
    (name: DnsName): boolean =>
      cache.zones.some((zone) => isWithin(name, zone)) && !disabled.some((zone) => isWithin(name, zone));
  return {
    success: { ...cache.success, keeps: keepsOf(cache.success.disabled) },
    denial: { ...cache.denial, keeps: keepsOf(cache.denial.disabled) },
    keepServfail: cache.servfail,
    keepFailure: Math.min(cache.servfail, 2),
    prefetch: cache.prefetch,
    stale: cache.stale,
    keepTtl: cache.keepTtl,
  };
}

function fileTransfer(zone: FileZone | undefined): TransferZone | undefined {
  if (zone === undefined) return undefined;
  const { soa } = zone;
  return { serial: soa.data.serial, soa, records: () => zone.records };
}

interface Kubernetes {
  /** An answer (of nobody where `owner` is missing: it is not to be kept), an rcode, or undefined where the next plugin is to be asked. */
  answer(query: Query): (ZoneFinishedAnswer & { readonly owner?: number }) | number | undefined;
  /** The zone of exactly this name; an rcode while it is not known. */
  transfer(name: DnsName): TransferZone | number | undefined;
}

/** `isCopied`: may others have the whole zone? Then its serial tells them when it is another. */
function createKubernetes(config: KubernetesConfig, parts: BlockParts, isCopied: boolean): Kubernetes {
  const isReverse = (zone: DnsName): boolean => isWithin(zone, "in-addr.arpa") || isWithin(zone, "ip6.arpa");
  const [primary = lowerName(parts.domain)] = config.zones.filter((zone) => !isReverse(zone));
  let shown: { readonly zone: Zone; readonly views: ReadonlyMap<DnsName, Zone> } | undefined;
  const viewsOf = (zone: Zone): ReadonlyMap<DnsName, Zone> => {
    if (shown?.zone === zone) return shown.views;
    const views = config.zones
      .filter((name) => !isReverse(name))
      .map((domain): [DnsName, Zone] => [domain, viewZone(zone, { ...config, domain })]);
    shown = { zone, views: new Map(views) };
    return shown.views;
  };
  const falls = (name: DnsName): boolean => config.fallthrough.some((zone) => isWithin(name, zone));

  // One of a few names; the longest that holds the question's.
  const zones = config.zones.toSorted((a, b) => b.length - a.length);
  const transfer = (name: DnsName): TransferZone | number | undefined => {
    if (isReverse(name) || !zones.includes(name)) return undefined;
    const zone = parts.zone();
    const view = zone && viewsOf(zone).get(name);
    if (zone === undefined || view === undefined) return rcodes.SERVFAIL;
    return parts.transfer?.clusterZone(view, parts.serialOf(zone));
  };
  const answer: Kubernetes["answer"] = (query) => {
    const own = zones.find((zone) => isWithin(query.name, zone));
    if (own === undefined) return undefined;
    const zone = parts.zone();
    // Before the objects are known, so are the ranges of addresses: any reverse name could be ours.
    if (zone === undefined) return rcodes.SERVFAIL;
    const view = viewsOf(zone).get(isReverse(own) ? primary : own) ?? zone;
    // Where nothing falls through, every address of the reverse zone has its name here or nowhere.
    const cut = isReverse(own) && !falls(query.name) ? own : undefined;
    const found = finishedAnswer(view, query.name, query.type, cut);
    if (found === undefined) return undefined;
    // Names inside the cluster's own ranges are nobody else's, whatever may fall through: they are not told to others.
    // An ExternalName Service is there, also where its target is not.
    const isMissing = found.flags % 16 === rcodes.NXDOMAIN && found.isAlias !== true;
    if (isMissing && !isReverse(own) && falls(query.name)) return undefined;
    if (isCopied && query.type === recordTypes.SOA && query.name === own && !isReverse(own)) {
      const { name, type } = query;
      const copied = parts.transfer?.clusterZone(view, parts.serialOf(zone));
      const answers = copied === undefined ? [] : [copied.soa];
      return finishAnswer({ name, type, rcode: rcodes.NOERROR, authoritative: true, answers });
    }
    return { ...found, owner: ownerOf(query.name, view, found) };
  };
  return { answer, transfer };
}

/** An ExternalName Service whose target is in a zone of this server. */
async function completeByFile(
  ours: ZoneFinishedAnswer,
  query: Query,
  target: Query,
  ask: (query: Query) => Outcome | Promise<Outcome>,
): Promise<Outcome> {
  const end = await ask(target);
  const { answers, authority, rcode } =
    typeof end === "number"
      ? { answers: [], authority: [], rcode: Math.max(end, 0) }
      : messageOf(target, end.answer, end.age);
  const whole = { answers: [...(ours.chain ?? []), ...answers], authority, rcode: rcode & 0xf };
  return { answer: finishAnswer({ name: query.name, type: query.type, authoritative: true, ...whole }), age: 0 };
}

/** An ExternalName Service: our CNAME, and behind it what the upstream says about its target (specification 2.6). */
async function completeChain(
  ours: ZoneFinishedAnswer,
  query: Query,
  target: string,
  forwarder: Forwarder,
): Promise<Outcome> {
  const { answers, authority, rcode } = parseMessage(await forwarder.message({ ...query, name: target }));
  const whole = { answers: [...(ours.chain ?? []), ...answers], authority, rcode: rcode & 0xf };
  return { answer: finishAnswer({ name: query.name, type: query.type, authoritative: true, ...whole }), age: 0 };
}
