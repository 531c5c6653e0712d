// Fields that a JSON text gives twice: JSON.parse keeps the last one and says nothing (RFC 8259 4 leaves it open).
// Reads texts that JSON.parse has accepted, and only those.

/** Their paths, each once, as `spec.replicas` or `spec.ports[0].port`. */
export function duplicateFields(text: string): readonly string[] {
  const found = new Set<string>();
  let at = 0;

  const skip = (): void => {
    while (" \t\n\r".includes(text[at] ?? "-")) at++;
  };
  const string = (): string => {
    const start = at++;
    while (text[at] !== '"') at += text[at] === "\\" ? 2 : 1;
    at++;
    return text.slice(start, at);
  };
  const value = (path: string): void => {
    skip();
    if (text[at] === "{") return members(path);
    if (text[at] === "[") return elements(path);
    if (text[at] === '"') return void string();
    while (at < text.length && !",]}".includes(text[at] ?? "")) at++;
  };
  const members = (path: string): void => {
    const seen = new Set<string>();
    at++;
    for (skip(); text[at] !== "}"; skip()) {
      const name = JSON.parse(string()) as string;
      const here = path === "" ? name : `${path}.${name}`;
      if (seen.has(name)) found.add(here);
      seen.add(name);
      skip();
      at++; // the colon
      value(here);
      skip();
      if (text[at] === ",") at++;
    }
    at++;
  };
  const elements = (path: string): void => {
    at++;
    let index = 0;
    for (skip(); text[at] !== "]"; skip()) {
      value(`${path}[${index++}]`);
      skip();
      if (text[at] === ",") at++;
    }
    at++;
  };

  value("");
  return [...found];
}
