// txtar: a text archive that people can read and edit: a script, then files after `-- name --` lines (the format of Go's txtar).

export interface Archive {
  readonly comment: string;
  readonly files: ReadonlyMap<string, string>;
}

const marker = /^-- (.+) --$/;

export function parseArchive(text: string): Archive {
  const files = new Map<string, string>();
  const comment: string[] = [];
  let current = comment;
  let name: string | undefined;
  const close = (): void => {
    if (name !== undefined) files.set(name, current.join(""));
  };
  for (const line of text.split(/(?<=\n)/)) {
    const match = marker.exec(line.trimEnd());
    if (match?.[1] === undefined) {
      current.push(line);
      continue;
    }
    close();
    name = match[1];
    current = [];
  }
  close();
  return { comment: comment.join(""), files };
}

export function formatArchive({ comment, files }: Archive): string {
  return (
    comment +
    [...files]
      .map(([name, text]) => `-- ${name} --\n${text === "" || text.endsWith("\n") ? text : `${text}\n`}`)
      .join("")
  );
}
