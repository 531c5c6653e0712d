// redis-cli and pg_isready, as readiness probes and demos use them.

import net from "node:net";
import process from "node:process";
import { parseOptions } from "./options.ts";

/** redis-cli [-h HOST] [-p PORT] COMMAND…: one command, its reply as redis-cli prints it. */
export async function redisCli(words: readonly string[]): Promise<number> {
  const at = words.findIndex(
    (word, index) => !word.startsWith("-") && !["-h", "-p", "-a", "-n"].includes(words[index - 1] ?? ""),
  );
  const split = at < 0 ? words.length : at;
  const options = parseOptions(words.slice(0, split), {
    flags: ["raw", "no-auth-warning", "x", "c"],
    values: ["h", "p", "a", "n"],
  });
  const command = words.slice(split);
  const host = options.value("h") ?? "127.0.0.1";
  const port = Number(options.value("p") ?? 6379);
  if (command.length === 0) {
    process.stderr.write("redis-cli (Fairlead's small one): redis-cli [-h host] [-p port] COMMAND…\n");
    return 1;
  }
  try {
    const reply = await ask(host, port, encode(command));
    process.stdout.write(`${print(reply).text}\n`);
    return reply.startsWith("-") ? 1 : 0;
  } catch (error) {
    process.stderr.write(`Could not connect to Redis at ${host}:${port}: ${(error as Error).message}\n`);
    return 1;
  }
}

/** pg_isready [-h HOST] [-p PORT]: 0 where a server speaks PostgreSQL's protocol, 2 where none answers. */
export async function pgIsReady(words: readonly string[]): Promise<number> {
  const options = parseOptions(words, {
    flags: ["quiet"],
    values: ["host", "port", "username", "dbname", "timeout"],
    letters: { h: "host", p: "port", U: "username", d: "dbname", t: "timeout", q: "quiet" },
  });
  const host = options.value("host") ?? "127.0.0.1";
  const port = Number(options.value("port") ?? 5432);
  const say = (what: string): void =>
    void (options.has("quiet") || process.stdout.write(`${host}:${port} - ${what}\n`));
  try {
    // SSLRequest; a server answers S or N.
    const answer = await ask(host, port, Buffer.from("0000000804d2162f", "hex"));
    if (/^[SN]/.test(answer)) {
      say("accepting connections");
      return 0;
    }
  } catch {
    // No answer is the answer.
  }
  say("no response");
  return 2;
}

function ask(host: string, port: number, message: Uint8Array | string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = net.connect({ host, port, timeout: 3000 });
    let text = "";
    socket.on("timeout", () => socket.destroy(new Error("timeout")));
    socket.on("error", (error: NodeJS.ErrnoException) =>
      reject(error.code === "ECONNREFUSED" ? new Error("Connection refused") : error),
    );
    socket.on("connect", () => socket.write(message));
    socket.on("data", (chunk: Buffer) => {
      text += chunk.toString("utf8");
      if (!isWhole(text)) return;
      resolve(text);
      socket.destroy();
    });
    socket.on("close", () => reject(new Error("connection closed")));
  });
}

function encode(words: readonly string[]): string {
  return `*${words.length}\r\n${words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`).join("")}`;
}

/** Is this the whole reply? One byte is PostgreSQL's. */
function isWhole(text: string): boolean {
  if (!"+-:$*".includes(text[0] ?? "")) return true;
  return print(text).rest !== undefined;
}

/** A RESP2 reply as redis-cli prints it to a pipe; `rest` is undefined while it is incomplete. */
function print(text: string): { readonly text: string; readonly rest: string | undefined } {
  const end = text.indexOf("\r\n");
  if (end < 0) return { text: "", rest: undefined };
  const [kind, line, after] = [text[0], text.slice(1, end), text.slice(end + 2)];
  if (kind === "$") {
    if (line === "-1") return { text: "", rest: after };
    const bytes = Buffer.from(after, "utf8");
    const length = Number(line);
    if (bytes.length < length + 2) return { text: "", rest: undefined };
    return { text: bytes.toString("utf8", 0, length), rest: bytes.toString("utf8", length + 2) };
  }
  if (kind !== "*") return { text: line, rest: after };
  const items: string[] = [];
  let rest: string | undefined = after;
  for (let count = Number(line); count > 0; count--) {
    const item: { readonly text: string; readonly rest: string | undefined } = print(rest);
    if (item.rest === undefined) return { text: "", rest: undefined };
    items.push(item.text);
    rest = item.rest;
  }
  return { text: items.join("\n"), rest };
}
