// Command line options as Unix tools take them: -a -b, -ab, -o value, -ovalue, --long, --long value, --long=value.

export interface OptionTable {
  /** Long names (or single letters) of options without a value. */
  readonly flags: readonly string[];
  /** Options with a value. */
  readonly values: readonly string[];
  /** Letter → long name. */
  readonly letters?: Readonly<Record<string, string>>;
}

export interface ParsedOptions {
  has(name: string): boolean;
  /** The last value given. */
  value(name: string): string | undefined;
  /** All values given. */
  all(name: string): readonly string[];
  readonly rest: readonly string[];
}

/** The tool was called wrongly. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/** Reads options; words after `--` and words without a dash are the rest. Throws UsageError for an option the table does not have. */
export function parseOptions(words: readonly string[], table: OptionTable): ParsedOptions {
  const given = new Map<string, string[]>();
  const rest: string[] = [];
  const add = (name: string, value: string): void => void given.set(name, [...(given.get(name) ?? []), value]);
  const long = (letter: string): string => table.letters?.[letter] ?? letter;
  const queue = [...words];
  for (let word = queue.shift(); word !== undefined; word = queue.shift()) {
    if (word === "--") {
      rest.push(...queue.splice(0));
    } else if (word.startsWith("--")) {
      const [name = "", value] = word.slice(2).split(/=(.*)/s);
      if (table.flags.includes(name)) add(name, "");
      else if (table.values.includes(name)) add(name, value ?? need(queue, word));
      else throw new UsageError(`unknown option: ${word}`);
    } else if (word.startsWith("-") && word.length > 1) {
      for (let letters = word.slice(1); letters !== "";) {
        const name = long(letters[0] ?? "");
        letters = letters.slice(1);
        if (table.flags.includes(name)) {
          add(name, "");
        } else if (table.values.includes(name)) {
          add(name, letters === "" ? need(queue, word) : letters);
          letters = "";
        } else throw new UsageError(`unknown option: ${word}`);
      }
    } else {
      rest.push(word);
    }
  }
  return {
    has: (name) => given.has(name),
    value: (name) => given.get(name)?.at(-1),
    all: (name) => given.get(name) ?? [],
    rest,
  };
}

function need(queue: string[], word: string): string {
  const value = queue.shift();
  if (value === undefined) throw new UsageError(`option ${word}: requires a value`);
  return value;
}
