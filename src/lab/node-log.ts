// What a node's agent and kubelet say, a line each: kept (the newest), and told to whoever follows (`logs ds/kube-proxy`).

export interface NodeLog {
  write(line: string | undefined): void;
  /** The lines kept so far, then every new one, until closed. */
  follow(line: (text: string) => void): { close(): void };
}

const linesMax = 2000;

export function createNodeLog(): NodeLog {
  const kept: string[] = [];
  const readers = new Set<(text: string) => void>();
  return {
    write(line) {
      if (line === undefined || line === "") return;
      for (const each of line.trimEnd().split("\n")) {
        kept.push(each);
        for (const reader of readers) reader(each);
      }
      if (kept.length > linesMax) kept.splice(0, kept.length - linesMax);
    },
    follow(line) {
      for (const each of kept) line(each);
      readers.add(line);
      return { close: () => void readers.delete(line) };
    },
  };
}
