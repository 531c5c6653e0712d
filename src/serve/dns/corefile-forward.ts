// `forward FROM TO… { … }`: whose names are asked of whom, and how.
//
// Not here: asking (upstreams.ts).

import { familyOf, parseAddress, type Address } from "../../ip/address.ts";
import type { DnsName } from "../../wire/dns/name.ts";
import { rcodes } from "../../wire/dns/message.ts";
import {
  bare,
  durationMs,
  errorAt,
  integer,
  oneOf,
  optionsOf,
  single,
  some,
  unknownOption,
  zoneName,
  zoneNames,
} from "./corefile-plugins.ts";
import type { Directive } from "./corefile-tokens.ts";

export interface ForwardConfig {
  readonly line: number;
  readonly from: DnsName;
  /** In the order they stand. */
  readonly to: readonly ForwardTarget[];
  readonly except: readonly DnsName[];
  readonly policy: "random" | "round_robin" | "sequential";
  /** Failed checks in a row until a server counts as down; 0: never. */
  readonly maxFails: number;
  readonly healthCheck: { readonly intervalMs: number; readonly recursionDesired: boolean; readonly domain: DnsName };
  readonly transport: "as asked" | "tcp" | "udp first";
  /** For tls:// targets. Files are paths in the pod. */
  readonly tls: { readonly cert?: string; readonly key?: string; readonly ca?: string };
  readonly tlsServerName: string | undefined;
  /** Milliseconds an idle connection is kept. */
  readonly expireMs: number;
  /** Questions under way at once; 0: no limit. */
  readonly maxConcurrent: number;
  /** The next `forward` is asked where this one answers so. */
  readonly next: readonly number[];
  /** The next server is asked where one answers so. */
  readonly failover: readonly number[];
  /** Milliseconds for one server's answer. */
  readonly readTimeoutMs: number;
}

/** A server, or a file in resolv.conf's form that lists servers. */
export type ForwardTarget =
  | {
      readonly kind: "server";
      readonly protocol: "dns" | "tls";
      readonly address: Address;
      readonly port: number;
      readonly serverName?: string;
    }
  | { readonly kind: "file"; readonly path: string };

export function parseForward(directive: Directive): ForwardConfig {
  const [from, ...to] = directive.words;
  if (from === undefined || to.length === 0)
    throw errorAt(directive, "forward takes FROM and one or more TO, such as `forward . 10.0.0.2`");
  if (to.length > 15) throw errorAt(directive, "forward takes at most 15 upstreams");
  const config: { -readonly [Field in keyof ForwardConfig]: ForwardConfig[Field] } = {
    line: directive.line,
    from: zoneNames(from, directive)[0] ?? ".",
    to: to.map((word) => targetOf(word, directive)),
    except: [],
    policy: "random",
    maxFails: 2,
    healthCheck: { intervalMs: 500, recursionDesired: true, domain: "." },
    transport: "as asked",
    tls: {},
    tlsServerName: undefined,
    expireMs: 10_000,
    maxConcurrent: 0,
    next: [],
    failover: [],
    readTimeoutMs: 2000,
  };
  for (const option of optionsOf(directive)) setOption(config, option);
  return config;
}

function setOption(
  config: { -readonly [Field in keyof ForwardConfig]: ForwardConfig[Field] },
  option: Directive,
): void {
  switch (option.name) {
    case "except":
      config.except = [...config.except, ...some(option).flatMap((word) => zoneNames(word, option))];
      return;
    case "policy":
      config.policy = oneOf(option, ["random", "round_robin", "sequential"]);
      return;
    case "max_fails":
      config.maxFails = integer(option, { min: 0, max: 2 ** 31 });
      return;
    case "health_check":
      config.healthCheck = healthCheckOf(option);
      return;
    case "force_tcp":
      bare(option);
      config.transport = "tcp";
      return;
    case "prefer_udp":
      bare(option);
      if (config.transport !== "tcp") config.transport = "udp first";
      return;
    case "tls":
      config.tls = tlsOf(option);
      return;
    case "tls_servername":
      config.tlsServerName = single(option);
      return;
    case "expire":
      config.expireMs = durationMs(single(option), option);
      return;
    case "max_concurrent":
      config.maxConcurrent = integer(option, { min: 0, max: 2 ** 31 });
      return;
    case "next":
      config.next = some(option).map((word) => rcodeOf(word, option));
      return;
    case "failover":
      config.failover = some(option).map((word) => rcodeOf(word, option));
      return;
    case "read_timeout":
      config.readTimeoutMs = durationMs(single(option), option);
      return;
    // Every question and check opens its own socket, so connections have no number to bound and none to try often.
    case "max_connect_attempts":
    case "max_idle_conns":
      integer(option, { min: 0, max: 2 ** 31 });
      return;
    case "max_age":
      durationMs(single(option), option);
      return;
    case "failfast_all_unhealthy_upstreams":
      bare(option);
      return;
    default:
      throw unknownOption("forward", option);
  }
}

function healthCheckOf(option: Directive): ForwardConfig["healthCheck"] {
  const [interval = "", ...rest] = some(option);
  let recursionDesired = true;
  let domain = ".";
  for (let i = 0; i < rest.length; i++) {
    if (rest[i] === "no_rec") recursionDesired = false;
    else if (rest[i] === "domain" && rest[i + 1] !== undefined) domain = zoneName(rest[++i] ?? "", option);
    else throw errorAt(option, `health_check: unknown option "${rest[i]}"`);
  }
  return { intervalMs: durationMs(interval, option), recursionDesired, domain };
}

// plugin/forward: none, CA, CERT KEY, or CERT KEY CA.
function tlsOf(option: Directive): ForwardConfig["tls"] {
  const [a, b, c, extra] = option.words;
  if (extra !== undefined) throw errorAt(option, "tls takes [CERT KEY] [CA]");
  if (a === undefined) return {};
  if (b === undefined) return { ca: a };
  return { cert: a, key: b, ...(c === undefined ? {} : { ca: c }) };
}

function rcodeOf(word: string, option: Directive): number {
  const number = { ...rcodes, YXDOMAIN: 6, NOTAUTH: 9, NOTZONE: 10 }[word.toUpperCase()];
  if (number === undefined) throw errorAt(option, `${option.name}: "${word}" is no response code`);
  return number;
}

// `10.0.0.2`, `10.0.0.2:5353`, `[fd00::2]:53`, `tls://9.9.9.9%dns.quad9.net`, `/etc/resolv.conf`.
function targetOf(word: string, directive: Directive): ForwardTarget {
  const [, scheme = "dns", rest = ""] = /^(?:([a-z0-9]+):\/\/)?(.*)$/i.exec(word) ?? [];
  if (scheme !== "dns" && scheme !== "tls")
    throw errorAt(directive, `forward: ${word}: ${scheme}:// is not supported, dns:// and tls:// are`);
  if (rest.startsWith("/")) return { kind: "file", path: rest };
  const match = /^\[([^\]%]+)(?:%([^\]]+))?\](?::(\d+))?$/.exec(rest) ?? splitPlain(rest);
  const address = match === undefined ? undefined : parseAddress(match[1] ?? "");
  if (match === undefined || address === undefined) {
    throw errorAt(
      directive,
      `forward: "${word}" is neither an address nor an absolute path of a file in resolv.conf's form`,
    );
  }
  const port = Number(match[3] ?? (scheme === "tls" ? 853 : 53));
  if (!(port > 0 && port < 65_536)) throw errorAt(directive, `forward: ${word}: bad port`);
  const zone = match[2];
  if (scheme === "dns")
    return { kind: "server", protocol: "dns", address: zone === undefined ? address : `${address}%${zone}`, port };
  return { kind: "server", protocol: "tls", address, port, ...(zone === undefined ? {} : { serverName: zone }) };
}

function splitPlain(text: string): readonly (string | undefined)[] | undefined {
  const whole = /^([^%]+)(?:%(.+?))?$/.exec(text);
  const [, bare = "", zone] = whole ?? [];
  const address = parseAddress(bare);
  if (address !== undefined && familyOf(address) === 6) return [text, bare, zone];
  return /^([^:%]+)(?:%([^:]+))?(?::(\d+))?$/.exec(text) ?? /^([^:%]+):(\d+)$/.exec(text) ?? undefined;
}
