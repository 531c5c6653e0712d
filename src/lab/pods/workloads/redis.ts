// A stand-in for redis: speaks the protocol (RESP2), keeps a few values in memory, and says in INFO what it is.
// Enough for PING, counters and caches of demos; no persistence, no replication, no expiry beyond EX and PX.

import type net from "node:net";
import { parseFlags, portOf } from "./flags.ts";
import { serveTcp } from "./listen.ts";
import { programOf, type BuiltinWorkload } from "./workload.ts";

export const redis: BuiltinWorkload = {
  name: "redis",
  serves: (argv) => ["redis-server", "valkey-server"].includes(programOf(argv)) || argv[0]?.startsWith("--") === true,
  start(context) {
    const { flags } = parseFlags(context.args);
    const port = portOf(flags.get("port"), 6379);
    const store = createValues(() => Date.now());
    context.log("# Fairlead's stand-in for redis: values are kept in memory, nothing is written to disk");
    context.log("* Ready to accept connections tcp");
    return serveTcp({ namespace: context.namespace, port }, (socket) => converse(socket, store));
  },
};

type Reply =
  | { readonly kind: "simple" | "error" | "bulk"; readonly text: string }
  | { readonly kind: "integer"; readonly value: number }
  | { readonly kind: "null" }
  | { readonly kind: "array"; readonly items: readonly Reply[] };

const ok: Reply = { kind: "simple", text: "OK" };
const nothing: Reply = { kind: "null" };
const bulk = (text: string): Reply => ({ kind: "bulk", text });
const integer = (value: number): Reply => ({ kind: "integer", value });
const failure = (text: string): Reply => ({ kind: "error", text });

/** Values by key, strings only. */
interface Values {
  get(key: string): string | undefined;
  set(key: string, value: string, expiresMs?: number): void;
  delete(key: string): boolean;
  keys(): readonly string[];
  clear(): void;
}

function createValues(now: () => number): Values {
  const values = new Map<string, { readonly value: string; readonly until: number }>();
  const live = (key: string): string | undefined => {
    const entry = values.get(key);
    if (entry !== undefined && entry.until <= now()) values.delete(key);
    return entry !== undefined && entry.until > now() ? entry.value : undefined;
  };
  return {
    get: live,
    set: (key, value, expiresMs) =>
      void values.set(key, { value, until: expiresMs === undefined ? Number.POSITIVE_INFINITY : now() + expiresMs }),
    delete: (key) => live(key) !== undefined && values.delete(key),
    keys: () => [...values.keys()].filter((key) => live(key) !== undefined),
    clear: () => values.clear(),
  };
}

function converse(socket: net.Socket, values: Values): void {
  let rest: Buffer = Buffer.alloc(0);
  socket.on("data", (chunk: Buffer) => {
    rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    if (rest.length > 64 * 1024 * 1024) return void socket.destroy();
    const replies: string[] = [];
    for (;;) {
      const command = readCommand(rest);
      if (command === undefined) break;
      rest = rest.subarray(command.bytes);
      if (command.words.length === 0) continue;
      replies.push(encode(answer(command.words, values)));
      if (command.words[0]?.toUpperCase() === "QUIT") {
        socket.end(replies.join(""));
        return;
      }
    }
    if (replies.length > 0) socket.write(replies.join(""));
  });
}

/** The first whole command: an array of bulk strings, or words on a line (inline). Undefined while it is incomplete. */
export function readCommand(bytes: Buffer): { readonly words: readonly string[]; readonly bytes: number } | undefined {
  const end = bytes.indexOf("\r\n");
  if (end < 0) return undefined;
  const line = bytes.toString("latin1", 0, end);
  if (!line.startsWith("*")) return { words: line.split(/\s+/).filter((word) => word !== ""), bytes: end + 2 };
  const words: string[] = [];
  let at = end + 2;
  for (let count = Number(line.slice(1)); count > 0; count--) {
    const header = bytes.indexOf("\r\n", at);
    if (header < 0) return undefined;
    const length = Number(bytes.toString("latin1", at + 1, header));
    at = header + 2;
    if (bytes.length < at + length + 2) return undefined;
    words.push(bytes.toString("utf8", at, at + length));
    at += length + 2;
  }
  return { words, bytes: at };
}

function encode(reply: Reply): string {
  switch (reply.kind) {
    case "simple":
      return `+${reply.text}\r\n`;
    case "error":
      return `-${reply.text}\r\n`;
    case "bulk":
      return `$${Buffer.byteLength(reply.text)}\r\n${reply.text}\r\n`;
    case "integer":
      return `:${reply.value}\r\n`;
    case "null":
      return "$-1\r\n";
    case "array":
      return `*${reply.items.length}\r\n${reply.items.map(encode).join("")}`;
  }
}

function answer(words: readonly string[], values: Values): Reply {
  const [name = "", ...rest] = words;
  const command = commands[name.toUpperCase()];
  if (command === undefined)
    return failure(
      `ERR unknown command '${name}': this is Fairlead's stand-in for redis; it knows ${Object.keys(commands).join(" ")}`,
    );
  if (rest.length < command.least) return failure(`ERR wrong number of arguments for '${name.toLowerCase()}' command`);
  return command.run(rest, values);
}

const add = (key: string, by: number, values: Values): Reply => {
  const value = Number(values.get(key) ?? 0) + by;
  if (!Number.isSafeInteger(value)) return failure("ERR value is not an integer or out of range");
  values.set(key, String(value));
  return integer(value);
};

const commands: Readonly<
  Record<string, { readonly least: number; readonly run: (words: readonly string[], values: Values) => Reply }>
> = {
  PING: { least: 0, run: ([text]) => (text === undefined ? { kind: "simple", text: "PONG" } : bulk(text)) },
  ECHO: { least: 1, run: ([text = ""]) => bulk(text) },
  GET: { least: 1, run: ([key = ""], values) => optional(values.get(key)) },
  SET: { least: 2, run: set },
  DEL: { least: 1, run: (keys, values) => integer(keys.filter((key) => values.delete(key)).length) },
  EXISTS: { least: 1, run: (keys, values) => integer(keys.filter((key) => values.get(key) !== undefined).length) },
  INCR: { least: 1, run: ([key = ""], values) => add(key, 1, values) },
  DECR: { least: 1, run: ([key = ""], values) => add(key, -1, values) },
  INCRBY: { least: 2, run: ([key = "", by], values) => add(key, Number(by), values) },
  MGET: { least: 1, run: (keys, values) => ({ kind: "array", items: keys.map((key) => optional(values.get(key))) }) },
  KEYS: {
    least: 1,
    run: ([pattern = "*"], values) => ({ kind: "array", items: values.keys().filter(globTest(pattern)).map(bulk) }),
  },
  DBSIZE: { least: 0, run: (_words, values) => integer(values.keys().length) },
  FLUSHALL: { least: 0, run: (_words, values) => (values.clear(), ok) },
  INFO: {
    least: 0,
    run: () =>
      bulk(
        "# Server\r\nredis_version:7.4.0\r\nredis_mode:standalone\r\nfairlead:stand-in, values in memory only\r\n# Replication\r\nrole:master\r\nconnected_slaves:0\r\n",
      ),
  },
  SELECT: { least: 1, run: () => ok },
  CLIENT: { least: 0, run: () => ok },
  CONFIG: { least: 0, run: () => ({ kind: "array", items: [] }) },
  COMMAND: { least: 0, run: () => ({ kind: "array", items: [] }) },
  QUIT: { least: 0, run: () => ok },
};

function set([key = "", value = "", ...options]: readonly string[], values: Values): Reply {
  const upper = options.map((option) => option.toUpperCase());
  const seconds = Number(options[upper.indexOf("EX") + 1]);
  const ms = upper.includes("EX")
    ? seconds * 1000
    : upper.includes("PX")
      ? Number(options[upper.indexOf("PX") + 1])
      : undefined;
  const there = values.get(key) !== undefined;
  if ((upper.includes("NX") && there) || (upper.includes("XX") && !there)) return nothing;
  values.set(key, value, ms);
  return ok;
}

function optional(value: string | undefined): Reply {
  return value === undefined ? nothing : bulk(value);
}

function globTest(pattern: string): (key: string) => boolean {
  const expression = new RegExp(
    `^${pattern
      .replaceAll(/[.+^${}()|\\]/g, "\\$&")
      .replaceAll("*", ".*")
      .replaceAll("?", ".")}$`,
    "s",
  );
  return (key) => expression.test(key);
}
