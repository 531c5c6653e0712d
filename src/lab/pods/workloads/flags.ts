// Command line flags as Go programs take them: -name=value, --name value, and booleans without a value.

/** Flags by name without dashes, and the words that are none. A flag in `booleans` takes no following word. */
export function parseFlags(
  words: readonly string[],
  booleans: ReadonlySet<string> = new Set(),
): { readonly flags: ReadonlyMap<string, string>; readonly rest: readonly string[] } {
  const flags = new Map<string, string>();
  const rest: string[] = [];
  for (let index = 0; index < words.length; index++) {
    const word = words[index] ?? "";
    const match = /^--?([A-Za-z][\w.-]*)(?:=(.*))?$/s.exec(word);
    if (match === null) {
      rest.push(word);
      continue;
    }
    const [, name = "", value] = match;
    if (value !== undefined) flags.set(name, value);
    else if (booleans.has(name)) flags.set(name, "true");
    else flags.set(name, words[++index] ?? "");
  }
  return { flags, rest };
}

/** A port from a flag; undefined where it is no port number. */
export function portOf(text: string | undefined, otherwise: number): number {
  const port = Number(text);
  return text !== undefined && Number.isInteger(port) && port > 0 && port < 65536 ? port : otherwise;
}

/** The port and address of `:5678` or `127.0.0.1:80`. */
export function listenAddress(text: string, otherwise: number): { readonly port: number; readonly address?: string } {
  const colon = text.lastIndexOf(":");
  const host = text.slice(0, Math.max(0, colon)).replace(/^\[(.*)\]$/, "$1");
  const port = portOf(text.slice(colon + 1), otherwise);
  return host === "" || host === "0.0.0.0" || host === "::" ? { port } : { port, address: host };
}
