// nginx's configuration language and the part of its meaning that demos use: servers, locations, return, static files, proxy_pass, upstreams.
// A directive that is not understood ends the container with a message, as nginx does with one it does not know; directives that only tune
// (workers, buffers, gzip, logs) are accepted and ignored.

import { dirname, join } from "node:path";
import type { ContainerFiles } from "../files.ts";
import { WorkloadError } from "./workload.ts";

/** A directive with its block, as written. */
export interface Directive {
  readonly name: string;
  readonly values: readonly string[];
  readonly block?: readonly Directive[];
  readonly file: string;
  readonly line: number;
}

export interface NginxConfiguration {
  readonly servers: readonly NginxServer[];
  /** Upstreams by name: `host:port` each, in order. */
  readonly upstreams: ReadonlyMap<string, readonly string[]>;
}

export interface NginxServer {
  readonly listen: readonly { readonly port: number; readonly address?: string; readonly isDefault: boolean }[];
  /** Empty: any host. */
  readonly names: readonly string[];
  readonly locations: readonly NginxLocation[];
}

/** What is done with the requests of one location; the settings of the server and http blocks are already in it. */
export interface NginxLocation {
  readonly match:
    | { readonly kind: "exact" | "prefix" | "prefix-first"; readonly path: string }
    | { readonly kind: "expression"; readonly expression: RegExp };
  readonly root: string;
  readonly alias?: string;
  readonly index: readonly string[];
  readonly tryFiles: readonly string[];
  readonly answer?: { readonly status: number; readonly text: string };
  readonly proxy?: { readonly target: string; readonly headers: readonly (readonly [string, string])[] };
  readonly headers: readonly (readonly [string, string])[];
  readonly defaultType: string;
  readonly logged: boolean;
}

/** The configuration that volumes bring, or undefined where they bring none. Throws WorkloadError naming file and line. */
export function readConfiguration(files: ContainerFiles): NginxConfiguration | undefined {
  const main = files.read("/etc/nginx/nginx.conf");
  const site = "/etc/nginx/conf.d";
  if (main !== undefined) return interpret(parse(main.toString("utf8"), "/etc/nginx/nginx.conf", files));
  const own = [site, "/etc/nginx/http.d", "/etc/nginx/templates"].flatMap((folder) =>
    files.list(folder).flatMap((name) => (name.endsWith(".conf") ? [join(folder, name)] : [])),
  );
  if (own.length === 0) return undefined;
  const http = own.flatMap((file) => parse(files.read(file)?.toString("utf8") ?? "", file, files));
  return interpret([{ name: "http", values: [], block: http, file: site, line: 1 }]);
}

/** nginx as it comes out of its image: files of /usr/share/nginx/html on a port. */
export function defaultConfiguration(port: number): NginxConfiguration {
  return interpret(
    parse(
      `http { server { listen ${port}; location / { root /usr/share/nginx/html; index index.html index.htm; } } }`,
      "default.conf",
    ),
  );
}

/** The directives of a text. Throws WorkloadError. */
export function parse(text: string, file: string, files?: ContainerFiles): readonly Directive[] {
  const tokens = tokenize(text);
  let at = 0;
  const block = (depth: number): Directive[] => {
    const directives: Directive[] = [];
    let words: { text: string; line: number }[] = [];
    for (; at < tokens.length;) {
      const token = tokens[at++];
      if (token === undefined) break;
      const isMark = !token.quoted;
      if (isMark && token.text === "}") {
        if (depth === 0) throw problem(`unexpected "}"`, file, token.line);
        return directives;
      }
      if (isMark && (token.text === ";" || token.text === "{")) {
        const [first, ...rest] = words;
        if (first === undefined) throw problem(`unexpected "${token.text}"`, file, token.line);
        const directive = { name: first.text, values: rest.map((word) => word.text), file, line: first.line };
        words = [];
        if (token.text === "{") directives.push({ ...directive, block: block(depth + 1) });
        else if (directive.name === "include") directives.push(...included(directive, files));
        else directives.push(directive);
        continue;
      }
      words.push(token);
    }
    if (words[0] !== undefined)
      throw problem(`directive "${words[0].text}" is not terminated by ";"`, file, words[0].line);
    if (depth > 0) throw problem('unexpected end of file, expecting "}"', file, tokens.at(-1)?.line ?? 1);
    return directives;
  };
  return block(0);
}

/** Files that include names: those of our volumes; the image's own (mime.types …) hold nothing we need. */
function included({ values, file }: Directive, files: ContainerFiles | undefined): readonly Directive[] {
  const [pattern = ""] = values;
  const path = pattern.startsWith("/") ? pattern : join(dirname(file), pattern);
  if (files === undefined) return [];
  const names = path.includes("*") ? files.list(dirname(path)).map((name) => join(dirname(path), name)) : [path];
  const suffix = path.slice(path.lastIndexOf("*") + 1);
  return names
    .filter((name) => !path.includes("*") || name.endsWith(suffix))
    .flatMap((name) => parse(files.read(name)?.toString("utf8") ?? "", name, files));
}

function tokenize(text: string): readonly { readonly text: string; readonly line: number; readonly quoted: boolean }[] {
  const tokens: { text: string; line: number; quoted: boolean }[] = [];
  const pattern = /#[^\n]*|"((?:\\.|[^"\\])*)"|'((?:\\.|[^'\\])*)'|[;{}]|(?:\\.|\$\{[^}]*\}|[^\s;{}"'])+|\n/gs;
  let line = 1;
  for (const match of text.matchAll(pattern)) {
    const [whole, double, single] = match;
    const quoted = double ?? single;
    if (whole !== "\n" && !whole.startsWith("#"))
      tokens.push({
        text: (quoted ?? whole).replaceAll(/\\([\\"'nrt])/g, unescape),
        line,
        quoted: quoted !== undefined,
      });
    line += whole.split("\n").length - 1;
  }
  return tokens;
}

function unescape(_whole: string, letter: string): string {
  return { n: "\n", r: "\r", t: "\t" }[letter] ?? letter;
}

interface Settings {
  readonly root: string;
  readonly index: readonly string[];
  readonly headers: readonly (readonly [string, string])[];
  readonly proxyHeaders: readonly (readonly [string, string])[];
  readonly defaultType: string;
  readonly logged: boolean;
}

const defaults: Settings = {
  root: "/usr/share/nginx/html",
  index: ["index.html"],
  headers: [],
  proxyHeaders: [],
  defaultType: "text/plain",
  logged: true,
};

const ignored =
  /^(?:absolute_redirect|access_log|aio|autoindex|charset|client_\w+|daemon|error_log|error_page|etag|events|expires|gzip\w*|http2|keepalive\w*|large_client_header_buffers|log_format|log_not_found|map_hash_\w+|master_process|output_buffers|pid|port_in_redirect|proxy_(?:buffer\w*|busy_\w+|cache\w*|connect_timeout|http_version|intercept_errors|next_upstream\w*|read_timeout|redirect|request_buffering|send_timeout|socket_keepalive|hide_header|ignore_\w+|max_\w+|temp_\w+)|resolver\w*|reset_timedout_connection|send_timeout|sendfile\w*|server_name_in_redirect|server_names_hash_\w+|server_tokens|tcp_\w+|types|types_hash_\w+|underscores_in_headers|user|variables_hash_\w+|worker_\w+|zone|keepalive|least_conn|ip_hash|stub_status|set_real_ip_from|real_ip_\w+|limit_\w+|load_module|env|pcre_jit)$/;

function interpret(main: readonly Directive[]): NginxConfiguration {
  const upstreams = new Map<string, readonly string[]>();
  const servers: NginxServer[] = [];
  for (const directive of main) {
    if (directive.name === "http") {
      const block = directive.block ?? [];
      const settings = settingsOf(block, defaults, ["server", "upstream"]);
      for (const inner of block) {
        if (inner.name === "server") servers.push(serverOf(inner, settings));
        if (inner.name === "upstream") upstreams.set(inner.values[0] ?? "", upstreamServers(inner));
      }
    } else if (!ignored.test(directive.name)) throw unknown(directive);
  }
  return { servers, upstreams };
}

function upstreamServers({ block = [] }: Directive): readonly string[] {
  return block.flatMap((inner) => {
    if (inner.name === "server") return inner.values.includes("down") ? [] : [inner.values[0] ?? ""];
    if (ignored.test(inner.name)) return [];
    throw unknown(inner);
  });
}

function serverOf({ block = [] }: Directive, outer: Settings): NginxServer {
  const settings = settingsOf(block, outer, ["listen", "server_name", "location", "return", "try_files", "proxy_pass"]);
  const listen = block.filter(({ name }) => name === "listen").map(listenOf);
  const names = block.filter(({ name }) => name === "server_name").flatMap(({ values }) => values);
  const locations = block.filter(({ name }) => name === "location").map((inner) => locationOf(inner, settings));
  const own = block.filter(({ name }) => ["return", "try_files", "proxy_pass"].includes(name));
  const whole: NginxLocation = { ...actionsOf(own, settings), match: { kind: "prefix", path: "" } };
  return {
    listen: listen.length === 0 ? [{ port: 80, isDefault: false }] : listen,
    names: names.filter((name) => name !== "_" && name !== ""),
    // A server's own return comes before its locations.
    locations: whole.answer === undefined ? [...locations, whole] : [whole],
  };
}

function listenOf({ values, file, line }: Directive): {
  readonly port: number;
  readonly address?: string;
  readonly isDefault: boolean;
} {
  const [where = "", ...flags] = values;
  if (flags.includes("ssl") || flags.includes("quic"))
    throw problem("Fairlead's stand-in for nginx does not serve TLS: remove ssl from this listen", file, line);
  const match = /^(?:(\[[^\]]+\]|[^:]+):)?(\d+)$/.exec(where);
  const isDefault = flags.includes("default_server") || flags.includes("default");
  if (match === null) return { port: 80, ...(where === "" ? {} : { address: plain(where) }), isDefault };
  const [, host, port] = match;
  const address = host === undefined || ["*", "0.0.0.0", "[::]"].includes(host) ? undefined : plain(host);
  return { port: Number(port), ...(address === undefined ? {} : { address }), isDefault };
}

function plain(host: string): string {
  return host.replace(/^\[(.*)\]$/, "$1");
}

function locationOf(directive: Directive, outer: Settings): NginxLocation {
  const { values, block = [] } = directive;
  const [first = "", second = ""] = values;
  const settings = settingsOf(block, outer, [
    "return",
    "try_files",
    "proxy_pass",
    "alias",
    "proxy_set_header",
    "internal",
  ]);
  const actions = actionsOf(block, settings);
  if (first === "=") return { ...actions, match: { kind: "exact", path: second } };
  if (first === "^~") return { ...actions, match: { kind: "prefix-first", path: second } };
  if (first === "~" || first === "~*")
    return { ...actions, match: { kind: "expression", expression: new RegExp(second, first === "~*" ? "i" : "") } };
  return { ...actions, match: { kind: "prefix", path: first } };
}

function settingsOf(block: readonly Directive[], outer: Settings, known: readonly string[]): Settings {
  let settings = outer;
  const headers: [string, string][] = [];
  const proxyHeaders: [string, string][] = [];
  for (const directive of block) {
    const { name, values } = directive;
    const [first = "", second = ""] = values;
    if (name === "root") settings = { ...settings, root: first };
    else if (name === "index") settings = { ...settings, index: values };
    else if (name === "default_type") settings = { ...settings, defaultType: first };
    else if (name === "access_log") settings = { ...settings, logged: first !== "off" };
    else if (name === "add_header") headers.push([first, second]);
    else if (name === "proxy_set_header") proxyHeaders.push([first, second]);
    else if (!known.includes(name) && !ignored.test(name)) throw unknown(directive);
  }
  // As in nginx: a level's own headers replace those of the levels above.
  return {
    ...settings,
    ...(headers.length === 0 ? {} : { headers }),
    ...(proxyHeaders.length === 0 ? {} : { proxyHeaders }),
  };
}

function actionsOf(block: readonly Directive[], settings: Settings): Omit<NginxLocation, "match"> {
  const find = (name: string): readonly string[] | undefined =>
    block.find((directive) => directive.name === name)?.values;
  const answer = find("return");
  const proxy = find("proxy_pass")?.[0];
  const alias = find("alias")?.[0];
  return {
    root: settings.root,
    ...(alias === undefined ? {} : { alias }),
    index: settings.index,
    tryFiles: find("try_files") ?? [],
    ...(answer === undefined ? {} : { answer: answerOf(answer) }),
    ...(proxy === undefined ? {} : { proxy: { target: proxy, headers: settings.proxyHeaders } }),
    headers: settings.headers,
    defaultType: settings.defaultType,
    logged: settings.logged,
  };
}

function answerOf([first = "", second = ""]: readonly string[]): { readonly status: number; readonly text: string } {
  const status = Number(first);
  return Number.isInteger(status) ? { status, text: second } : { status: 302, text: first };
}

function unknown({ name, file, line }: Directive): WorkloadError {
  return problem(`unknown directive "${name}": Fairlead's stand-in for nginx does not know it`, file, line);
}

function problem(message: string, file: string, line: number): WorkloadError {
  return new WorkloadError(`nginx: [emerg] ${message} in ${file}:${line}`);
}
