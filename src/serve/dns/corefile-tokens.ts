// A Corefile as nested directives: words with the line they stand on, blocks in braces, snippets and files put in for `import`.
// The grammar is Caddy's, as CoreDNS uses it: words are divided by white space, `"…"` holds white space and line ends, `#` starts a comment
// where a word could start, `{$NAME}` and `{%NAME%}` are the environment.
//
// Not here: what a directive means (corefile.ts).

/** What is wrong with a Corefile, where, and mostly what to do. */
export class CorefileError extends Error {
  override readonly name = "CorefileError";
  readonly file: string;
  readonly line: number;

  constructor(message: string, file: string, line: number) {
    super(`${file}:${line}: ${message}`);
    this.file = file;
    this.line = line;
  }
}

/** Where a word stands. */
export interface Place {
  readonly file: string;
  readonly line: number;
}

/** One line: its first word, the others, and the lines of its block; without braces `block` is undefined. */
export interface Directive extends Place {
  readonly name: string;
  readonly words: readonly string[];
  readonly block: readonly Directive[] | undefined;
}

/** A server block: the names before the brace, the directives inside it. */
export interface Block extends Place {
  readonly keys: readonly string[];
  readonly directives: readonly Directive[];
}

/** What parsing may look at. */
export interface CorefileSources {
  /** Name of the Corefile, for messages and relative imports. */
  readonly file: string;
  /** A file's text by its absolute path; undefined where there is none. */
  readonly read?: (path: string) => string | undefined;
  /** The names in a folder, for imports with `*`. */
  readonly list?: (folder: string) => readonly string[];
  readonly env?: Readonly<Record<string, string | undefined>>;
}

/** The server blocks of a Corefile, imports put in. Throws CorefileError. */
export function readBlocks(text: string, sources: CorefileSources): readonly Block[] {
  const reader: Reader = {
    tokens: tokensOf(text, sources.file, sources.env ?? {}),
    at: 0,
    sources,
    snippets: new Map(),
    imports: 0,
  };
  const blocks: Block[] = [];
  while (reader.at < reader.tokens.length) {
    const block = readBlock(reader);
    if (block !== undefined) blocks.push(block);
  }
  return blocks;
}

interface Token extends Place {
  readonly text: string;
  /** A quoted brace is a word. */
  readonly quoted: boolean;
  /** Is it the first of its line? */
  readonly starts: boolean;
}

interface Reader {
  tokens: Token[];
  at: number;
  readonly sources: CorefileSources;
  readonly snippets: Map<string, readonly Token[]>;
  imports: number;
}

function tokensOf(text: string, file: string, env: Readonly<Record<string, string | undefined>>): Token[] {
  const tokens: Token[] = [];
  let line = 1;
  let at = 0;
  let last = 0;
  const push = (word: string, quoted: boolean, at: number): void => {
    tokens.push({ text: withEnvironment(word, env), quoted, starts: at !== last, file, line: at });
    last = line;
  };
  while (at < text.length) {
    const character = text[at] ?? "";
    if (character === "\n") line++;
    if (/\s/.test(character) || character === "\uFEFF") at++;
    else if (character === "#") while (at < text.length && text[at] !== "\n") at++;
    else if (character === '"') {
      const start = line;
      let word = "";
      for (at++; text[at] !== '"'; at++) {
        if (at >= text.length) throw new CorefileError('a quoted text has no end: add a `"`', file, start);
        // Only a quote can be escaped; other backslashes are regular expressions'.
        if (text[at] === "\\" && text[at + 1] === '"') at++;
        if (text[at] === "\n") line++;
        word += text[at];
      }
      at++;
      push(word, true, start);
    } else {
      const start = at;
      while (at < text.length && !/\s/.test(text[at] ?? "")) at++;
      push(text.slice(start, at), false, line);
    }
  }
  return tokens;
}

function withEnvironment(word: string, env: Readonly<Record<string, string | undefined>>): string {
  return word.replaceAll(/\{\$([^{}]+)\}|\{%([^{}]+)%\}/g, (_, a?: string, b?: string) => env[a ?? b ?? ""] ?? "");
}

const isOpen = (token: Token | undefined): boolean => token?.text === "{" && !token.quoted;
const isClose = (token: Token | undefined): boolean => token?.text === "}" && !token.quoted;

// The names may go on in the next line after a comma. A snippet is kept, an import at the top puts blocks in.
function readBlock(reader: Reader): Block | undefined {
  const first = reader.tokens[reader.at];
  if (first === undefined) return undefined;
  if (first.text === "import" && !first.quoted) {
    importHere(reader, takeLine(reader).words, first);
    return undefined;
  }
  if (isOpen(first) || isClose(first)) throw errorAt(`a "${first.text}" where the name of a zone was expected`, first);
  const keys: string[] = [];
  for (;;) {
    const token = reader.tokens[reader.at];
    if (token === undefined) throw errorAt(`the server block of ${keys.join(" ")} has no "{"`, first);
    if (isOpen(token)) break;
    if (isClose(token)) throw errorAt(`a "}" where "{" was expected`, token);
    keys.push(...token.text.split(",").filter((key) => key !== ""));
    reader.at++;
  }
  const open = reader.tokens[reader.at++] as Token;
  const [name = ""] = keys;
  if (keys.length === 1 && /^\(.+\)$/.test(name)) {
    keepSnippet(reader, name.slice(1, -1), open);
    return undefined;
  }
  return { keys, directives: readDirectives(reader, open), file: first.file, line: first.line };
}

function keepSnippet(reader: Reader, name: string, open: Token): void {
  if (reader.snippets.has(name)) throw errorAt(`there are two snippets (${name})`, open);
  const start = reader.at;
  for (let depth = 1; depth > 0; reader.at++) {
    const token = reader.tokens[reader.at];
    if (token === undefined) throw errorAt(`the snippet (${name}) has no "}"`, open);
    depth += isOpen(token) ? 1 : isClose(token) ? -1 : 0;
  }
  reader.snippets.set(name, reader.tokens.slice(start, reader.at - 1));
}

function readDirectives(reader: Reader, open: Token): Directive[] {
  const directives: Directive[] = [];
  for (;;) {
    const token = reader.tokens[reader.at];
    if (token === undefined) throw errorAt('this "{" has no "}"', open);
    if (isClose(token)) {
      reader.at++;
      return directives;
    }
    if (isOpen(token)) throw errorAt('a "{" stands alone: it belongs at the end of a line', token);
    const { words, brace } = takeLine(reader);
    if (token.text === "import" && !token.quoted) {
      importHere(reader, words, token);
      continue;
    }
    directives.push({
      name: token.text,
      words,
      block: brace === undefined ? undefined : readDirectives(reader, brace),
      file: token.file,
      line: token.line,
    });
  }
}

/** The rest of the line, and the brace that ends it. */
function takeLine(reader: Reader): { readonly words: string[]; readonly brace: Token | undefined } {
  reader.at++;
  const words: string[] = [];
  for (;;) {
    const token = reader.tokens[reader.at];
    if (token === undefined || token.starts || isClose(token)) return { words, brace: undefined };
    reader.at++;
    if (isOpen(token)) return { words, brace: token };
    words.push(token.text);
  }
}

/** More than any sensible Corefile has; a file that imports itself ends here. */
const importsMax = 1000;

// `import NAME` puts the snippet's words here, `import FILE` the files' (a pattern may match none).
function importHere(reader: Reader, words: readonly string[], place: Token): void {
  const [what] = words;
  if (what === undefined || words.length > 1) throw errorAt("`import` takes one snippet or file", place);
  if (++reader.imports > importsMax) throw errorAt(`${importsMax} imports: does one import itself?`, place);
  const put = (tokens: readonly Token[]): void => void reader.tokens.splice(reader.at, 0, ...tokens);
  const snippet = reader.snippets.get(what);
  if (snippet !== undefined) return put(snippet);
  const { read, list, env = {}, file } = reader.sources;
  const path = what.startsWith("/") ? what : `${file.slice(0, file.lastIndexOf("/") + 1)}${what}`;
  const cut = path.lastIndexOf("/") + 1;
  if (path.includes("*")) {
    const pattern = new RegExp(
      `^${path
        .slice(cut)
        .replaceAll(/[.+^${}()|[\]\\]/g, "\\$&")
        .replaceAll("*", ".*")}$`,
    );
    const names = (list?.(path.slice(0, cut - 1)) ?? []).filter((name) => pattern.test(name)).toSorted();
    return put(
      names.flatMap((name) => tokensOf(read?.(path.slice(0, cut) + name) ?? "", path.slice(0, cut) + name, env)),
    );
  }
  const text = read?.(path);
  if (text === undefined)
    throw errorAt(`import ${what}: there is no snippet (${what}) above, and no file ${path}`, place);
  put(tokensOf(text, path, env));
}

function errorAt(message: string, place: Place): CorefileError {
  return new CorefileError(message, place.file, place.line);
}
