// A Corefile as the settings it stands for: server blocks with the plugins that clusters ship by default.
// What a plugin or option here does not know is an error that names it and its line: nothing is skipped silently.
//
// Not here: the grammar (corefile-tokens.ts), each plugin's options (corefile-plugins.ts, corefile-forward.ts, corefile-rewrite.ts),
// acting on them (block.ts).

import type { DnsName } from "../../wire/dns/name.ts";
import { parseAcl, type AclConfig } from "./acl.ts";
import { parseForward, type ForwardConfig } from "./corefile-forward.ts";
import * as plugins from "./corefile-plugins.ts";
import type {
  AutopathConfig,
  CacheConfig,
  HealthConfig,
  HostsConfig,
  KubernetesConfig,
  LogConfig,
} from "./corefile-plugins.ts";
import { parseTemplate, type TemplateConfig } from "./corefile-template.ts";
import { parseFile, parseTransfer, type FileConfig, type TransferConfig } from "./corefile-zones.ts";
import { parseChaos, parseLocal, type ChaosConfig, type LocalConfig } from "./own-names.ts";
import { parseRewrite, type RewriteRule } from "./corefile-rewrite.ts";
import { CorefileError, readBlocks, type Block, type CorefileSources, type Directive } from "./corefile-tokens.ts";

/** Everything a Corefile says. */
export interface Corefile {
  readonly servers: readonly ServerConfig[];
}

/** One server block. Plugins that are not named are undefined or empty, and do nothing. */
export interface ServerConfig {
  readonly line: number;
  /** Zones it answers for, in lower case without final dot, the root is ".", with their ports. */
  readonly zones: readonly { readonly name: DnsName; readonly port: number }[];
  /** Addresses or names of interfaces; empty: all. */
  readonly bind: readonly string[];
  readonly errors: boolean;
  readonly log: LogConfig | undefined;
  readonly health: HealthConfig | undefined;
  readonly ready: { readonly port: number } | undefined;
  readonly prometheus: { readonly port: number } | undefined;
  readonly kubernetes: KubernetesConfig | undefined;
  readonly forwards: readonly ForwardConfig[];
  readonly cache: CacheConfig | undefined;
  readonly loop: boolean;
  /** Milliseconds between looks at the file. */
  readonly reload: { readonly intervalMs: number } | undefined;
  readonly loadbalance: boolean;
  readonly hosts: HostsConfig | undefined;
  readonly rewrites: readonly RewriteRule[];
  readonly autopath: AutopathConfig | undefined;
  readonly acls: readonly AclConfig[];
  readonly templates: readonly TemplateConfig[];
  readonly local: LocalConfig | undefined;
  readonly any: boolean;
  readonly chaos: ChaosConfig | undefined;
  readonly files: readonly FileConfig[];
  readonly transfers: readonly TransferConfig[];
  /** The folder that relative paths of files are below. */
  readonly root: string | undefined;
  /** The most bytes of a response by UDP to a client with EDNS; undefined: as many as ever. */
  readonly bufsize: number | undefined;
}

/** Reads a Corefile. Throws CorefileError, which says file, line and what is wrong. */
export function parseCorefile(text: string, sources: CorefileSources = { file: "Corefile" }): Corefile {
  const blocks = readBlocks(text, sources);
  if (blocks.length === 0) throw new CorefileError("there is no server block, such as `.:53 { … }`", sources.file, 1);
  const servers = blocks.map(serverOf);
  refuseTwice(servers, sources.file);
  return { servers };
}

type Draft = { -readonly [Field in keyof ServerConfig]: ServerConfig[Field] };

function serverOf(block: Block): ServerConfig {
  const zones = block.keys.flatMap((key) => zonesOf(key, block));
  const names = zones.map(({ name }) => name);
  const draft: Draft = {
    line: block.line,
    zones,
    bind: [],
    errors: false,
    log: undefined,
    health: undefined,
    ready: undefined,
    prometheus: undefined,
    kubernetes: undefined,
    forwards: [],
    cache: undefined,
    loop: false,
    reload: undefined,
    loadbalance: false,
    hosts: undefined,
    rewrites: [],
    autopath: undefined,
    acls: [],
    templates: [],
    local: undefined,
    any: false,
    chaos: undefined,
    files: [],
    transfers: [],
    root: undefined,
    bufsize: undefined,
  };
  const seen = new Set<string>();
  for (const directive of block.directives) {
    if (seen.has(directive.name) && !repeated.has(directive.name))
      throw new CorefileError(
        `plugin ${directive.name} stands twice in one server block`,
        directive.file,
        directive.line,
      );
    seen.add(directive.name);
    addPlugin(draft, directive, names);
  }
  checkTogether(draft, block);
  return draft;
}

const repeated: ReadonlySet<string> = new Set("acl bind file forward log rewrite template transfer".split(" "));

// In alphabetical order. A plugin that is CoreDNS's and not here is told from one that nobody has.
function addPlugin(draft: Draft, directive: Directive, zones: readonly DnsName[]): void {
  switch (directive.name) {
    case "acl":
      draft.acls = [...draft.acls, parseAcl(directive, zones)];
      return;
    case "any":
      plugins.parseBare(directive);
      draft.any = true;
      return;
    case "autopath":
      draft.autopath = plugins.parseAutopath(directive, zones);
      return;
    case "bind":
      draft.bind = [...draft.bind, ...plugins.parseBind(directive)];
      return;
    case "bufsize":
      draft.bufsize = plugins.parseBufsize(directive);
      return;
    case "cache":
      draft.cache = plugins.parseCache(directive, zones);
      return;
    // Questions end before clients give up anyhow.
    case "cancel":
      if (directive.words.length > 0) plugins.durationMs(plugins.single(directive), directive);
      return;
    case "chaos":
      draft.chaos = parseChaos(directive);
      return;
    // Nothing is said more with it, and nothing is to be had from it that would be known here.
    case "debug":
      plugins.parseBare(directive);
      return;
    case "metadata":
      plugins.zonesFrom(directive.words, zones, directive);
      return;
    case "errors":
      plugins.parseErrors(directive);
      draft.errors = true;
      return;
    case "file":
      draft.files = [...draft.files, parseFile(directive, zones)];
      return;
    case "forward":
      draft.forwards = [...draft.forwards, parseForward(directive)];
      return;
    case "health":
      draft.health = plugins.parseHealth(directive);
      return;
    case "hosts":
      draft.hosts = plugins.parseHosts(directive, zones);
      return;
    case "kubernetes":
      draft.kubernetes = plugins.parseKubernetes(directive, zones);
      return;
    case "loadbalance":
      plugins.parseLoadbalance(directive);
      draft.loadbalance = true;
      return;
    case "local":
      draft.local = parseLocal(directive);
      return;
    case "log":
      draft.log = plugins.parseLog(directive, draft.log);
      return;
    case "loop":
      plugins.parseBare(directive);
      draft.loop = true;
      return;
    case "prometheus":
      draft.prometheus = { port: plugins.parsePort(directive, 9153) };
      return;
    case "ready":
      draft.ready = { port: plugins.parseReady(directive, 8181) };
      return;
    case "reload":
      draft.reload = plugins.parseReload(directive);
      return;
    case "rewrite":
      draft.rewrites = [...draft.rewrites, ...parseRewrite(directive)];
      return;
    case "root":
      draft.root = plugins.parseRoot(directive);
      return;
    case "template":
      draft.templates = [...draft.templates, parseTemplate(directive, zones)];
      return;
    case "transfer":
      draft.transfers = [...draft.transfers, parseTransfer(directive, zones)];
      return;
    default:
      throw new CorefileError(
        `unknown plugin "${directive.name}"; known are ${knownPlugins.join(", ")}`,
        directive.file,
        directive.line,
      );
  }
}

const knownPlugins = [
  ..."acl any autopath bind bufsize cache cancel chaos debug errors file forward health hosts import kubernetes".split(
    " ",
  ),
  ..."loadbalance local log loop metadata prometheus ready reload rewrite root template transfer".split(" "),
];

function checkTogether(draft: Draft, block: Block): void {
  if (draft.autopath !== undefined && draft.kubernetes === undefined)
    throw new CorefileError(
      "autopath @kubernetes needs the kubernetes plugin in the same server block",
      block.file,
      block.line,
    );
}

/** The same zone on the same port and address is two answers to one question. */
function refuseTwice(servers: readonly ServerConfig[], file: string): void {
  const seen = new Set<string>();
  for (const { zones, bind, line } of servers) {
    for (const { name, port } of zones) {
      for (const address of bind.length === 0 ? [""] : bind) {
        const key = `${name} ${port} ${address}`;
        if (seen.has(key)) throw new CorefileError(`zone ${name} on port ${port} is defined twice`, file, line);
        seen.add(key);
      }
    }
  }
}

// `.`, `example.org:1053`, `dns://.:53`, `10.0.0.0/24`: one or, where a prefix does not end at a dot of its name, several zones.
function zonesOf(key: string, block: Block): { readonly name: DnsName; readonly port: number }[] {
  const [, scheme, rest = ""] = /^(?:([a-z0-9]+):\/\/)?(.*)$/i.exec(key) ?? [];
  if (scheme !== undefined && scheme.toLowerCase() !== "dns") {
    throw new CorefileError(
      `${key}: clients are served by ${scheme}:// nowhere here, only by dns:// (UDP and TCP)`,
      block.file,
      block.line,
    );
  }
  const colon = /^(.*):(\d+)$/.exec(rest);
  // `fd00::/64` ends in no port; `[…]` is not a zone.
  const isIpv6 = rest.includes("::") || (rest.match(/:/g)?.length ?? 0) > 1;
  const name = colon === null || (isIpv6 && !rest.includes("/")) ? rest : (colon[1] ?? "");
  const port = name === rest ? 53 : Number(colon?.[2]);
  if (!(port > 0 && port < 65_536)) throw new CorefileError(`${key}: bad port`, block.file, block.line);
  return plugins.zoneNames(name === "" ? "." : name, block).map((each) => ({ name: each, port }));
}
