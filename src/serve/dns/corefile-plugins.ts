// The options of the smaller plugins of a Corefile, each as CoreDNS 1.15 documents it. Unknown options are errors.
//
// Not here: forward (corefile-forward.ts), rewrite (corefile-rewrite.ts).

import { parseAddress } from "../../ip/address.ts";
import { parsePrefix } from "../../ip/prefix.ts";
import { parseSelector, type Requirement } from "../../kube/selector.ts";
import { reverseZones } from "../../program/zone-reverse.ts";
import { nameLabels, lowerName, type DnsName } from "../../wire/dns/name.ts";
import { CorefileError, type Directive, type Place } from "./corefile-tokens.ts";

/** `kubernetes [ZONES…] { … }` */
export interface KubernetesConfig {
  /** The first that is no reverse zone is the cluster's domain. */
  readonly zones: readonly DnsName[];
  readonly ttl: number;
  /** `a-b-c-d.namespace.pod`: never, any address, or those of pods. */
  readonly pods: "disabled" | "insecure" | "verified";
  /** Endpoints without a hostname are named by their pods. */
  readonly endpointPodNames: boolean;
  readonly noEndpoints: boolean;
  /** A Service without ready endpoints does not exist. */
  readonly ignoreEmptyService: boolean;
  /** Empty: all. */
  readonly namespaces: readonly string[];
  /** Only namespaces with such labels. */
  readonly namespaceLabels: readonly Requirement[];
  /** Only Services and pods with such labels. */
  readonly labels: readonly Requirement[];
  readonly fallthrough: Fallthrough;
  /** Where the objects come from; undefined: from the cluster that the process is in, or that its command line names. */
  readonly apiServer: ApiServer | undefined;
}

/** The API server that a Corefile names: a kubeconfig file, or a URL, perhaps with the files of a client certificate. */
export type ApiServer =
  | { readonly kind: "kubeconfig"; readonly file: string; readonly context: string | undefined }
  | {
      readonly kind: "endpoint";
      readonly url: string;
      readonly tls: { readonly certificate: string; readonly key: string; readonly authority: string } | undefined;
    };

/** In which zones a name that is not there is asked of the next plugin. */
export type Fallthrough = readonly DnsName[];

/** `cache [TTL] [ZONES…] { … }`; times in seconds. */
export interface CacheConfig {
  readonly zones: readonly DnsName[];
  readonly success: CacheBounds;
  readonly denial: CacheBounds;
  /** Seconds that a SERVFAIL is kept. */
  readonly servfail: number;
  /** Fetched anew before it ends: asked at least `amount` times without a pause of `pauseSeconds`, and less than `percentage` of its time left. */
  readonly prefetch:
    | { readonly amount: number; readonly pauseSeconds: number; readonly percentage: number }
    | undefined;
  readonly stale: StaleConfig | undefined;
  readonly keepTtl: boolean;
}

/** `serve_stale [DURATION] [immediate [TTL [RECHECK]] | verify [TIMEOUT [TTL [RECHECK]]]]` */
export interface StaleConfig {
  /** How long after its end an answer may still be given. */
  readonly seconds: number;
  /** The upstream is asked first, for so many milliseconds (0: until it answers or fails); undefined: while the old answer is given. */
  readonly verifyMs: number | undefined;
  /** What clients are told. */
  readonly ttl: number;
  /** Seconds that an upstream that failed is not asked again. */
  readonly recheckSeconds: number;
}

export interface CacheBounds {
  readonly entries: number;
  readonly maxSeconds: number;
  readonly minSeconds: number;
  /** Nothing is kept for names in these zones. */
  readonly disabled: readonly DnsName[];
}

/** `hosts [FILE [ZONES…]] { … }` */
export interface HostsConfig {
  readonly file: string | undefined;
  readonly zones: readonly DnsName[];
  readonly inline: readonly string[];
  readonly ttl: number;
  readonly noReverse: boolean;
  readonly fallthrough: Fallthrough;
  readonly reloadMs: number;
}

/** `log [NAMES…] [FORMAT] { class … }`, one for each name. */
export type LogConfig = readonly {
  readonly scope: DnsName;
  readonly format: string;
  readonly classes: readonly LogClass[];
}[];

export type LogClass = (typeof logClasses)[number];

/** `health [:PORT] { lameduck DURATION }` */
export interface HealthConfig {
  readonly port: number;
  readonly lameduckMs: number;
}

/** `autopath [ZONES…] @kubernetes` */
export interface AutopathConfig {
  readonly zones: readonly DnsName[];
}

export function parseKubernetes(directive: Directive, blockZones: readonly DnsName[]): KubernetesConfig {
  const config = {
    zones: zonesFrom(directive.words, blockZones, directive),
    ttl: 5,
    pods: "disabled" as KubernetesConfig["pods"],
    endpointPodNames: false,
    noEndpoints: false,
    ignoreEmptyService: false,
    namespaces: [] as readonly string[],
    namespaceLabels: [] as readonly Requirement[],
    labels: [] as readonly Requirement[],
    fallthrough: [] as Fallthrough,
  };
  let kubeconfig: ApiServer | undefined;
  let url: string | undefined;
  let tls: (ApiServer & { readonly kind: "endpoint" })["tls"];
  if (config.zones.every(isReverse))
    throw errorAt(directive, "kubernetes needs a zone that is no reverse zone, such as cluster.local");
  for (const option of optionsOf(directive)) {
    switch (option.name) {
      case "endpoint_pod_names":
        bare(option);
        config.endpointPodNames = true;
        break;
      case "pods":
        config.pods = oneOf(option, ["disabled", "insecure", "verified"]);
        break;
      case "namespaces":
        config.namespaces = some(option);
        break;
      case "namespace_labels":
        config.namespaceLabels = selectorOf(option);
        break;
      case "fallthrough":
        config.fallthrough = fallthroughOf(option);
        break;
      case "ttl":
        config.ttl = integer(option, { min: 0, max: 3600 });
        break;
      case "noendpoints":
        bare(option);
        config.noEndpoints = true;
        break;
      case "ignore":
        oneOf(option, ["empty_service"]);
        config.ignoreEmptyService = true;
        break;
      case "labels":
        config.labels = selectorOf(option);
        break;
      case "endpoint":
        // CoreDNS takes several and uses the first; the others would be a promise nobody keeps.
        url = single(option);
        if (!URL.canParse(url) || !/^https?:$/.test(new URL(url).protocol))
          throw errorAt(option, `endpoint: "${url}" is no http or https URL`);
        break;
      case "tls": {
        const [certificate, key, authority, extra] = some(option);
        if (certificate === undefined || key === undefined || authority === undefined || extra !== undefined)
          throw errorAt(option, "tls takes CERT KEY CACERT");
        tls = { certificate, key, authority };
        break;
      }
      case "kubeconfig": {
        const [file = "", context, extra] = some(option);
        if (extra !== undefined) throw errorAt(option, `kubeconfig takes FILE [CONTEXT], not also "${extra}"`);
        kubeconfig = { kind: "kubeconfig", file, context };
        break;
      }
      // How fast CoreDNS may ask, and how long it waits for objects before it serves. One watch of each kind needs no limit, and serving
      // begins at once, with SERVFAIL for the cluster's names until they are known.
      case "apiserver_qps":
      case "apiserver_burst":
      case "apiserver_max_inflight":
        some(option);
        break;
      case "startup_timeout":
        durationMs(single(option), option);
        break;
      case "multicluster":
        throw errorAt(
          option,
          "kubernetes: multicluster is not supported here: Services of other clusters (ServiceImport) are not read",
        );
      case "zonal":
        throw errorAt(
          option,
          "kubernetes: zonal is not supported here: answers are the same for clients of every zone",
        );
      default:
        throw unknownOption("kubernetes", option);
    }
  }
  if (config.namespaces.length > 0 && config.namespaceLabels.length > 0)
    throw errorAt(directive, "kubernetes: namespaces and namespace_labels cannot stand together");
  if (tls !== undefined && url === undefined && kubeconfig === undefined)
    throw errorAt(directive, "kubernetes: tls without endpoint: name the API server that the certificate is for");
  return { ...config, apiServer: kubeconfig ?? (url === undefined ? undefined : { kind: "endpoint", url, tls }) };
}

function selectorOf(option: Directive): readonly Requirement[] {
  try {
    return parseSelector(some(option).join(" "));
  } catch (error) {
    throw errorAt(option, `${option.name}: ${error instanceof Error ? error.message : String(error)}`);
  }
}

export function parseCache(directive: Directive, blockZones: readonly DnsName[]): CacheConfig {
  const [first = "", ...others] = directive.words;
  const hasTtl = /^-?\d+$/.test(first);
  const ttl = hasTtl ? integerIn(first, directive, { min: 1, max: 2 ** 31 }) : undefined;
  const zones = zonesFrom(hasTtl ? others : directive.words, blockZones, directive);
  // plugin/cache: 9984 entries, an hour and half an hour. Its least time of 5 s, longer than some answers may live, is not taken over.
  let success: CacheBounds = { entries: 9984, maxSeconds: ttl ?? 3600, minSeconds: 0, disabled: [] };
  let denial: CacheBounds = { entries: 9984, maxSeconds: ttl ?? 1800, minSeconds: 0, disabled: [] };
  // CoreDNS keeps it five seconds where nothing is said.
  let servfail = 2;
  let prefetch: CacheConfig["prefetch"];
  let stale: CacheConfig["stale"];
  let keepTtl = false;
  for (const option of optionsOf(directive)) {
    switch (option.name) {
      case "success":
        success = { ...success, ...boundsOf(option) };
        break;
      case "denial":
        denial = { ...denial, ...boundsOf(option) };
        break;
      case "prefetch":
        prefetch = prefetchOf(option);
        break;
      case "serve_stale": {
        stale = staleOf(option);
        break;
      }
      case "servfail":
        servfail = durationMs(single(option), option) / 1000;
        if (servfail > 300) throw errorAt(option, "servfail can be kept 5 minutes at most");
        break;
      case "disable": {
        const [what, ...names] = option.words;
        const disabled = zonesFrom(names, ["."], option);
        if (what === "success") success = { ...success, disabled };
        else if (what === "denial") denial = { ...denial, disabled };
        else throw errorAt(option, `disable is for "success" or "denial", not "${what ?? ""}"`);
        break;
      }
      case "keepttl":
        bare(option);
        keepTtl = true;
        break;
      default:
        throw unknownOption("cache", option);
    }
  }
  return { zones, success, denial, servfail, prefetch, stale, keepTtl };
}

function staleOf(option: Directive): StaleConfig {
  const [life = "1h", mode = "immediate", ...rest] = option.words;
  if (mode !== "immediate" && mode !== "verify")
    throw errorAt(option, `serve_stale is "immediate" or "verify", not "${mode}"`);
  const verifyMs = mode === "verify" ? durationMs(rest.shift() ?? "0", option) : undefined;
  const [ttl = "0", recheck = "0", extra] = rest;
  if (extra !== undefined) throw errorAt(option, `serve_stale: what is "${extra}"?`);
  if (durationMs(ttl, option) % 1000 !== 0) throw errorAt(option, `serve_stale: TTL "${ttl}" is no whole seconds`);
  return {
    seconds: durationMs(life, option) / 1000,
    verifyMs,
    ttl: durationMs(ttl, option) / 1000,
    recheckSeconds: durationMs(recheck, option) / 1000,
  };
}

function boundsOf(option: Directive): Partial<CacheBounds> {
  const [entries, max, min, extra] = some(option);
  if (extra !== undefined) throw errorAt(option, `${option.name} takes CAPACITY [TTL] [MINTTL], not also "${extra}"`);
  return {
    entries: integerIn(entries ?? "", option, { min: 0, max: 2 ** 31 }),
    ...(max === undefined ? {} : { maxSeconds: integerIn(max, option, { min: 1, max: 2 ** 31 }) }),
    ...(min === undefined ? {} : { minSeconds: integerIn(min, option, { min: 0, max: 2 ** 31 }) }),
  };
}

function prefetchOf(option: Directive): CacheConfig["prefetch"] {
  const [amount, pause = "1m", percent = "10%", extra] = some(option);
  const percentage = /^(\d+)%$/.exec(percent)?.[1];
  if (percentage === undefined || extra !== undefined)
    throw errorAt(option, "prefetch takes AMOUNT [DURATION] [PERCENTAGE%]");
  return {
    amount: integerIn(amount ?? "", option, { min: 0, max: 2 ** 31 }),
    pauseSeconds: durationMs(pause, option) / 1000,
    percentage: integerIn(percentage, option, { min: 10, max: 90 }),
  };
}

export function parseHosts(directive: Directive, blockZones: readonly DnsName[]): HostsConfig {
  const [file, ...zones] = directive.words;
  const inline: string[] = [];
  let ttl = 3600;
  let noReverse = false;
  let fallthrough: Fallthrough = [];
  let reloadMs = 5000;
  for (const option of optionsOf(directive)) {
    switch (option.name) {
      case "fallthrough":
        fallthrough = fallthroughOf(option);
        break;
      case "no_reverse":
        bare(option);
        noReverse = true;
        break;
      case "ttl":
        ttl = integer(option, { min: 1, max: 65_535 });
        break;
      case "reload":
        reloadMs = durationMs(single(option), option);
        break;
      default:
        if (parseAddress(option.name) === undefined) throw unknownOption("hosts", option);
        if (option.words.length === 0) throw errorAt(option, `hosts: address ${option.name} has no name`);
        inline.push([option.name, ...option.words].join(" "));
    }
  }
  return {
    // Without a file CoreDNS reads the pod's own; entries in the block need none.
    file: file ?? (inline.length > 0 ? undefined : "/etc/hosts"),
    zones: zonesFrom(zones, blockZones, directive),
    inline,
    ttl,
    noReverse,
    fallthrough,
    reloadMs,
  };
}

/** CoreDNS's log line. */
const commonLogFormat =
  '{remote}:{port} - {>id} "{type} {class} {name} {proto} {size} {>do} {>bufsize}" {rcode} {>rflags} {rsize} {duration}';
const logClasses = ["all", "denial", "error", "success"] as const;

export function parseLog(directive: Directive, before: LogConfig | undefined): LogConfig {
  const { words } = directive;
  const last = words.at(-1) ?? "";
  const hasFormat = words.length > 1 && last.includes("{");
  const format = hasFormat ? last : "{common}";
  const names = hasFormat ? words.slice(0, -1) : words;
  let classes: readonly LogClass[] = ["all"];
  for (const option of optionsOf(directive)) {
    if (option.name !== "class") throw unknownOption("log", option);
    classes = some(option).map((word) => {
      const found = logClasses.find((each) => each === word);
      if (found === undefined) throw errorAt(option, `class is one of ${logClasses.join(", ")}, not "${word}"`);
      return found;
    });
  }
  const text = format
    .replaceAll("{common}", commonLogFormat)
    .replaceAll("{combined}", `${commonLogFormat} "{>opcode}"`);
  const unknown = [...text.matchAll(/\{[^}]*\}/g)].map(([field]) => field).find((field) => !logFields.has(field));
  if (unknown !== undefined)
    throw errorAt(directive, `log: unknown field ${unknown}; known are ${[...logFields].join(" ")}`);
  const scopes = names.length === 0 ? ["."] : names.map((name) => zoneName(name, directive));
  return [...(before ?? []), ...scopes.map((scope) => ({ scope, format: text, classes }))];
}

/** The fields of a log format. */
const logFields: ReadonlySet<string> = new Set(
  "{type} {name} {class} {proto} {remote} {local} {size} {port} {duration} {rcode} {rsize} {>rflags} {>id} {>opcode} {>do} {>bufsize}".split(
    " ",
  ),
);

export function parseHealth(directive: Directive): HealthConfig {
  let lameduckMs = 0;
  for (const option of optionsOf(directive)) {
    if (option.name !== "lameduck") throw unknownOption("health", option);
    lameduckMs = durationMs(single(option), option);
  }
  return { port: portOf(directive, 8080), lameduckMs };
}

/** Ready is ready here: what is known stays known, so both ways of watching it say the same. */
export function parseReady(directive: Directive, standard: number): number {
  for (const option of optionsOf(directive)) {
    if (option.name !== "monitor") throw unknownOption("ready", option);
    oneOf(option, ["until-ready", "continuously"]);
  }
  return portOf(directive, standard);
}

export function parsePort(directive: Directive, standard: number): number {
  noBlock(directive);
  return portOf(directive, standard);
}

// `ADDRESS:PORT` or `:PORT`. Pods have one network namespace each, so the address matters little; the port is what dashboards ask.
function portOf(directive: Directive, standard: number): number {
  const [address, extra] = directive.words;
  if (extra !== undefined) throw errorAt(directive, `${directive.name} takes one address, not also "${extra}"`);
  if (address === undefined) return standard;
  const port = /^(.*):(\d+)$/.exec(address)?.[2];
  if (port === undefined) throw errorAt(directive, `${directive.name}: "${address}" is no ADDRESS:PORT`);
  return integerIn(port, directive, { min: 0, max: 65_535 });
}

export function parseAutopath(directive: Directive, blockZones: readonly DnsName[]): AutopathConfig {
  noBlock(directive);
  const zones = [...directive.words];
  const source = zones.pop();
  if (source !== "@kubernetes") {
    throw errorAt(
      directive,
      `autopath takes its search list from @kubernetes here, not from "${source ?? ""}": it knows each client's pod`,
    );
  }
  return { zones: zonesFrom(zones, blockZones, directive) };
}

export function parseErrors(directive: Directive): void {
  // It is where the log goes anyhow.
  if (directive.words.some((word) => word !== "stdout")) throw errorAt(directive, "errors takes no words but stdout");
  for (const option of optionsOf(directive)) {
    // Every kind of error is written once a second at most anyhow.
    if (option.name === "consolidate") durationMs(some(option)[0] ?? "", option);
    else if (option.name === "stacktrace") bare(option);
    else throw unknownOption("errors", option);
  }
}

export function parseReload(directive: Directive): { readonly intervalMs: number } {
  noBlock(directive);
  const [interval, jitter, extra] = directive.words;
  if (interval === "off") return { intervalMs: 0 };
  if (extra !== undefined) throw errorAt(directive, "reload takes [INTERVAL] [JITTER]");
  const intervalMs = interval === undefined ? 30_000 : durationMs(interval, directive);
  if (intervalMs < 2000) throw errorAt(directive, "reload looks every 2s at most");
  if (jitter !== undefined) durationMs(jitter, directive);
  return { intervalMs };
}

export function parseLoadbalance(directive: Directive): void {
  noBlock(directive);
  const [policy, extra] = directive.words;
  if (policy !== undefined && policy !== "round_robin")
    throw errorAt(directive, `loadbalance is round_robin here, not "${policy}"`);
  if (extra !== undefined) throw errorAt(directive, `loadbalance round_robin takes no "${extra}"`);
}

export function parseBind(directive: Directive): readonly string[] {
  const except: string[] = [];
  for (const option of optionsOf(directive)) {
    if (option.name !== "except") throw unknownOption("bind", option);
    except.push(...some(option));
  }
  return some(directive).filter((address) => !except.includes(address));
}

/** `bufsize [SIZE]`, in bytes. */
export function parseBufsize(directive: Directive): number {
  noBlock(directive);
  return directive.words.length === 0 ? 1232 : integer(directive, { min: 512, max: 4096 });
}

export function parseRoot(directive: Directive): string {
  noBlock(directive);
  return single(directive);
}

export function parseBare(directive: Directive): void {
  noBlock(directive);
  bare(directive);
}

/** The zones of a plugin's words, or the server block's where it has none. */
export function zonesFrom(words: readonly string[], blockZones: readonly DnsName[], place: Place): readonly DnsName[] {
  return words.length === 0 ? blockZones : words.flatMap((word) => zoneNames(word, place));
}

/** The zones a name or an address range stands for. */
export function zoneNames(word: string, place: Place): readonly DnsName[] {
  const prefix = word.includes("/") ? parsePrefix(word) : undefined;
  return prefix === undefined ? [zoneName(word, place)] : reverseZones(prefix);
}

/** A zone's name as keys want it. Throws CorefileError. */
export function zoneName(word: string, place: Place): DnsName {
  try {
    nameLabels(word);
  } catch {
    throw errorAt(place, `"${word}" is no name of a zone`);
  }
  return lowerName(word);
}

function isReverse(zone: DnsName): boolean {
  return zone.endsWith("in-addr.arpa") || zone.endsWith("ip6.arpa");
}

export function errorAt(place: Place, message: string): CorefileError {
  return new CorefileError(message, place.file, place.line);
}

export function unknownOption(plugin: string, option: Directive): CorefileError {
  return errorAt(option, `plugin ${plugin}: unknown option "${option.name}"`);
}

/** The lines of a plugin's block; none of them has a block itself. */
export function optionsOf(directive: Directive): readonly Directive[] {
  const options = directive.block ?? [];
  for (const option of options) noBlock(option);
  return options;
}

function noBlock(directive: Directive): void {
  if (directive.block !== undefined) throw errorAt(directive, `${directive.name} takes no block`);
}

export function bare(option: Directive): void {
  if (option.words.length > 0) throw errorAt(option, `${option.name} takes nothing, not "${option.words.join(" ")}"`);
}

export function some(option: Directive): readonly string[] {
  if (option.words.length === 0) throw errorAt(option, `${option.name} needs a value`);
  return option.words;
}

export function single(option: Directive): string {
  const [word, extra] = some(option);
  if (extra !== undefined) throw errorAt(option, `${option.name} takes one value, not also "${extra}"`);
  return word ?? "";
}

export function oneOf<const T extends string>(option: Directive, values: readonly T[]): T {
  const word = single(option);
  const found = values.find((value) => value === word);
  if (found === undefined) throw errorAt(option, `${option.name} is one of ${values.join(", ")}, not "${word}"`);
  return found;
}

export function integer(option: Directive, bounds: { readonly min: number; readonly max: number }): number {
  return integerIn(single(option), option, bounds);
}

function integerIn(
  word: string,
  place: Directive,
  { min, max }: { readonly min: number; readonly max: number },
): number {
  const value = /^-?\d+$/.test(word) ? Number(word) : NaN;
  if (!(value >= min && value <= max))
    throw errorAt(place, `${place.name}: "${word}" is no number from ${min} to ${max}`);
  return value;
}

function fallthroughOf(option: Directive): Fallthrough {
  return zonesFrom(option.words, ["."], option);
}

const unitMs: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3,
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
};

/** A duration as Go writes it, `1m30s`, in milliseconds. */
export function durationMs(word: string, place: Place): number {
  if (word === "0") return 0;
  if (!/^(\d+(\.\d+)?(ns|us|µs|ms|s|m|h))+$/.test(word))
    throw errorAt(place, `"${word}" is no duration, such as 30s or 1m30s`);
  let total = 0;
  for (const [, number, unit] of word.matchAll(/(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)/g))
    total += Number(number) * (unitMs[unit ?? ""] ?? 0);
  return total;
}
